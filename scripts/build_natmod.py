"""Build tinyprop as a native module, for boards whose firmware lacks it: `make natmod ARCH=x64`.

build/natmod/<arch>/ gets `_tinyprop.mpy`, the Python package and a package.json, which mpremote's
`mip install` takes from a server. `--stock` builds build/natmod/stock/micropython, the unix port
without tinyprop, to try it with.
"""

import argparse
import json
import os
import shutil
import time

import setup_env
import xtensa_tools
from build_unix import FEATURES, PACKAGE, make, stub_library
from common import BUILD, ROOT, fail, locked, run_main, say, short
from fetch_sources import fetch_sources

PORT = ROOT / "ports" / "natmod"
MODULE = ROOT / "usermod_tinyprop"
OUT = BUILD / "natmod"
ARCHS = ["x64", "armv6m", "armv7m", "armv7emsp", "rv32imc", "xtensawin"]
# The ESP8266 would need the whole file in one piece of its heap (ports/esp8266/main.c).
TOO_SMALL = {"xtensa": "the ESP8266 has 38,912 bytes of heap, the module's code alone took 39,084"}


def prepare(arch):
    """Everything that a build needs; returns the MicroPython folder."""
    group = "build" if arch in ("x64", "xtensawin") else "qemu"
    missing = setup_env.require_packages("build")
    missing += [] if group == "build" else setup_env.require_packages(group)
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


def recipe(arch):
    files = [*sorted(PORT.glob("[!.]*")), MODULE / "micropython.mk"]
    if arch == "xtensawin":
        files += [*xtensa_tools.RECIPE, ROOT / "scripts" / "xtensa_object.py"]
    return "".join(path.read_text() for path in files)


def package_json(package):
    """The package's own list of files, and the native module."""
    listed = json.loads((PACKAGE / "package.json").read_text())
    urls = [[target, f"tinyprop/{name}"] for target, name in listed["urls"]]
    package.write_text(
        json.dumps({**listed, "urls": [["_tinyprop.mpy", "_tinyprop.mpy"], *urls]}, indent=1)
    )


def build_natmod(arch):
    """Bring build/natmod/<arch>/ up to date; returns the folder."""
    started = time.monotonic()
    micropython = prepare(arch)
    folder, build = OUT / arch, BUILD / f"natmod-{arch}"
    with locked(build.name):
        say(f"Building _tinyprop.mpy for {arch} ...")
        arguments = [f"ARCH={arch}", f"MPY_DIR={micropython}", build / "_tinyprop.native.mpy"]
        arguments += [f"MPY_LD={setup_env.PYTHON} {micropython}/tools/mpy_ld.py"]
        make(micropython, build, build, [*arguments, "-f", PORT / "Makefile"], recipe(arch))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(build / "_tinyprop.native.mpy", folder / "_tinyprop.new")
        os.replace(folder / "_tinyprop.new", folder / "_tinyprop.mpy")
        shutil.rmtree(folder / "tinyprop", ignore_errors=True)
        shutil.copytree(PACKAGE, folder / "tinyprop", ignore=shutil.ignore_patterns("*.json"))
        package_json(folder / "package.json")
    size = (folder / "_tinyprop.mpy").stat().st_size
    seconds = time.monotonic() - started
    say(f"{short(folder)}/_tinyprop.mpy is ready, {size:,} bytes ({seconds:.1f} s)")
    return folder


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
    arguments = parser.parse_args()
    if arguments.stock:
        say(f"{short(build_stock_unix())} is ready")
        return
    if arguments.arch in TOO_SMALL:
        fail(f"no native module for {arguments.arch}: {TOO_SMALL[arguments.arch]}")
    for arch in ARCHS if arguments.arch == "all" else [arguments.arch]:
        build_natmod(arch)


if __name__ == "__main__":
    run_main(main)
