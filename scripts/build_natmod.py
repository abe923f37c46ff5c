"""Build tinyprop as a native module, for boards whose firmware lacks it: `make natmod ARCH=x64`.

build/natmod/<arch>/ gets `_tinyprop.mpy`, the Python package and a package.json for `mpremote mip
install`. `make natmod ARCH=all` also writes build/natmod/package.json, which installs the modules
of all boards and a loader that takes the right one. With FEATURES=dense it is build/natmod-dense/.
`--stock` builds the unix port without
tinyprop, to try it with.
"""

import argparse
import json
import os
import shutil
import time

import features
import setup_env
import xtensa_tools
from build_unix import FEATURES, PACKAGE, make, stub_library
from common import BUILD, ROOT, fail, locked, run_logged, run_main, say, short
from fetch_sources import fetch_sources

PORT = ROOT / "ports" / "natmod"
MODULE = ROOT / "usermod_tinyprop"
OUT = BUILD / "natmod"
# Not a .py: who takes the folder as it is gets along without, importing `_tinyprop.mpy` itself.
LOADER = "_tinyprop.loader"
# Architecture -> the group of setup_env.py that brings its compiler.
ARCHS = {
    "x64": "build",
    "armv6m": "qemu",
    "armv7m": "qemu",
    "armv7emsp": "qemu",
    "armv7emsp_softfp": "qemu",
    "rv32imc": "qemu",
    "xtensawin": "xtensa",
}
OPTIONAL = ("xtensawin",)  # its compiler comes from another suite of Debian
BOARD_ARCHS = [arch for arch in ARCHS if arch != "x64"]
# The ESP8266 would need the whole file in one piece of its heap.
TOO_SMALL = {"xtensa": "the ESP8266 has 38,912 bytes of heap, the module's code alone took 39,084"}


def out(wanted):
    return OUT.with_name(OUT.name + wanted.suffix)


def prepare(arch):
    """Everything that a build needs; returns the MicroPython folder."""
    groups = sorted({"build", ARCHS[arch]})
    missing = [package for group in groups for package in setup_env.require_packages(group)]
    if missing:
        fail(f"missing {', '.join(missing)}: {setup_env.advice(missing)}")
    if any(c.isspace() for c in str(ROOT)):
        fail(f"make cannot build in a folder with a space in its name: {ROOT}")
    setup_env.make_venv()  # MicroPython's linker for native modules uses pyelftools and ar
    if arch == "xtensawin":
        xtensa_tools.use_windowed_compiler()
    micropython = fetch_sources("unix")
    with locked("mpy-cross"):
        make(micropython, "mpy-cross", BUILD / "mpy-cross", ["COPT=-O0"])
    return micropython


# The module lies in the heap, and a Pico's is small: integers only by FEATURES=dense,integers.
SMALL_HEAP = {"armv6m": ["TINYPROP_INTEGER=0"]}


def recipe(arch):
    files = [*sorted(PORT.glob("[!.]*")), MODULE / "micropython.mk"]
    if arch == "xtensawin":
        files += [*xtensa_tools.RECIPE, ROOT / "scripts" / "xtensa_object.py"]
    return "".join(path.read_text() for path in files)


def compile_package(folder, wanted):
    """The Python package, compiled here, which on the board would take heap and break it up.

    Its first file stays Python: so every release of MicroPython gets to the loader's message.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in sorted(set(PACKAGE.glob("*.py")) - {PACKAGE / f for f in wanted.without()}):
        if source.name == "__init__.py":
            shutil.copy2(source, folder)
            continue
        name = f"{folder.name}/{source.name}"
        command = [BUILD / "mpy-cross" / "mpy-cross", "-O3", "-s", name]
        command += ["-o", folder / source.with_suffix(".mpy").name, source]
        code, log = run_logged(command, "natmod-package", tail=5)
        if code != 0:
            fail(f"cannot compile {short(source)} (details: {short(log)})")


def write_package(folder, modules, package):
    """package.json: the loader, the native modules {architecture: file}, the Python package."""
    version = json.loads((PACKAGE / "package.json").read_text())["version"]
    urls = [["_tinyprop.py", f"{package}{LOADER}"]]
    urls += [[f"_tinyprop_{arch}.mpy", name] for arch, name in modules.items()]
    for path in sorted((folder / package / "tinyprop").iterdir()):
        urls.append([f"tinyprop/{path.name}", f"{package}tinyprop/{path.name}"])
    new = folder / "package.new"
    new.write_text(json.dumps({"version": version, "urls": urls}, indent=1) + "\n")
    os.replace(new, folder / "package.json")
    return sum((folder / name).stat().st_size for _, name in urls)


def build_natmod(arch, wanted=features.ALL):
    """Bring build/natmod/<arch>/ up to date; returns the folder."""
    started = time.monotonic()
    micropython = prepare(arch)
    folder, build = out(wanted) / arch, BUILD / f"natmod-{arch}{wanted.suffix}"
    with locked(build.name):
        say(f"Building _tinyprop.mpy for {arch} ...")
        arguments = [f"ARCH={arch}", f"MPY_DIR={micropython}", build / "_tinyprop.native.mpy"]
        arguments += wanted.variables() or SMALL_HEAP.get(arch, [])
        arguments += [f"MPY_LD={setup_env.PYTHON} {micropython}/tools/mpy_ld.py"]
        make(micropython, build, build, [*arguments, "-f", PORT / "Makefile"], recipe(arch))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(build / "_tinyprop.native.mpy", folder / "_tinyprop.new")
        os.replace(folder / "_tinyprop.new", folder / "_tinyprop.mpy")
        shutil.copy2(PORT / "loader.py", folder / LOADER)
        compile_package(folder / "tinyprop", wanted)
        total = write_package(folder, {arch: "_tinyprop.mpy"}, "")
    size = (folder / "_tinyprop.mpy").stat().st_size
    seconds = time.monotonic() - started
    say(
        f"{short(folder)}/_tinyprop.mpy is ready, {size:,} bytes, with its package {total:,} "
        f"({seconds:.1f} s)"
    )
    return folder


def build_all(wanted=features.ALL):
    """Every architecture, and one package for all boards; returns its package.json.

    A compiler that cannot be had here leaves its module out, with the reason; not in CI.
    """
    modules = {}
    for arch in ARCHS:
        try:
            build_natmod(arch, wanted)
        except SystemExit as e:
            if os.environ.get("CI") or arch not in OPTIONAL:
                raise
            say(f"Left out {arch}: {str(e).removeprefix('error: ')} (make natmod ARCH={arch})")
            continue
        if arch in BOARD_ARCHS:
            modules[arch] = f"{arch}/_tinyprop.mpy"
    with locked("natmod-all"):
        folder = out(wanted)
        total = write_package(folder, modules, f"{BOARD_ARCHS[0]}/")
    say(
        f"{short(folder)}/package.json is ready: mpremote mip install {short(folder)}/package.json"
        f" takes {total:,} bytes of any board's flash"
    )
    return folder / "package.json"


def build_stock_unix():
    """MicroPython's unix port without tinyprop; returns the program."""
    micropython = prepare("x64")
    build = BUILD / "unix-stock"
    arguments = [*FEATURES, "FROZEN_MANIFEST="]
    if not (micropython / "lib" / "micropython-lib" / "README.md").exists():
        arguments += [f"MPY_LIB_DIR={stub_library()}"]
    with locked(build.name):
        say("Building MicroPython's unix port without tinyprop ...")
        make(micropython, "ports/unix", build, arguments)
    return build / "micropython"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arch", nargs="?", default="x64", choices=[*ARCHS, *TOO_SMALL, "all"])
    parser.add_argument(
        "--stock", action="store_true", help="build the unix port without tinyprop"
    )
    parser.add_argument("--features", default="all", help=features.HELP)
    arguments = parser.parse_args()
    wanted = features.Features(arguments.features)
    if arguments.stock:
        say(f"{short(build_stock_unix())} is ready")
        return
    if arguments.arch in TOO_SMALL:
        fail(f"no native module for {arguments.arch}: {TOO_SMALL[arguments.arch]}")
    if arguments.arch == "all":
        build_all(wanted)
    else:
        build_natmod(arguments.arch, wanted)


if __name__ == "__main__":
    run_main(main)
