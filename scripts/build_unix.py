"""Build MicroPython's unix port with tinyprop inside: build/bin/micropython.

`--sanitize` builds build/bin/micropython-asan instead: AddressSanitizer and
UndefinedBehaviorSanitizer (ports/unix/sanitize.mk); `--features dense` builds
build/bin/micropython-dense. Full output goes to build/log/. Only what changed is built again; the
MicroPython source tree is not written to.
"""

import argparse
import os
import shutil
import sys
import time

import features
import setup_env
from common import BUILD, ROOT, fail, locked, run_logged, run_main, say, short
from fetch_sources import STAMP, fetch_sources

PORT = ROOT / "ports" / "unix"
MODULE = ROOT / "usermod_tinyprop" / "micropython.mk"
PACKAGE = ROOT / "py" / "tinyprop"
LISTS = [MODULE, features.MANIFESTS]

# Libraries that nothing here needs are left out: a C compiler is enough.
FEATURES = [
    "VARIANT=standard",
    "MICROPY_PY_SSL=0",
    "MICROPY_SSL_AXTLS=0",
    "MICROPY_SSL_MBEDTLS=0",
    "MICROPY_PY_BTREE=0",
    "MICROPY_PY_FFI=0",
]


def make(micropython, folder, build, arguments, recipe=""):
    """Run one of MicroPython's makefiles into `build`, a folder of ours.

    Make does not see that its own flags, the source version or `recipe` changed, so a stamp
    keeps them; when they differ, the build starts afresh.
    """
    source = micropython / STAMP
    version = source.read_text() if source.is_file() else ""
    command = ["make", "-C", micropython / folder, f"BUILD={build}", *arguments]
    wanted = "\n".join([*map(str, command), version, recipe])
    stamp = build / ".tinyprop-recipe"
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir(parents=True)
        stamp.write_text(wanted)
    # Without the ceiling `git describe` would name MicroPython's version after *our* commits.
    environment = {
        "GIT_CEILING_DIRECTORIES": str(micropython.parent),
        "MICROPY_MPYCROSS": str(BUILD / "mpy-cross" / "mpy-cross"),
    }
    command += [f"-j{os.cpu_count() or 1}", f"PYTHON={sys.executable}"]
    code, log = run_logged(command, build.name, tail=20, env=environment)
    if code != 0:
        fail(f"building {build.name} failed (full log: {short(log)})")


def port_recipe():
    """What decides which files go into the port: their names and the texts that list them."""
    frozen = sorted(str(p) for p in PACKAGE.rglob("*.py"))
    return "\n".join([*frozen, *(p.read_text() for p in [*LISTS, *sorted(PORT.glob("*.*"))])])


def install(program, target):
    """Put the program into build/bin in one step, and only when it changed; True if it did."""
    if target.is_file() and target.stat().st_mtime_ns == program.stat().st_mtime_ns:
        return False
    target.parent.mkdir(exist_ok=True)
    shutil.copy2(program, target.with_suffix(".new"))
    os.replace(target.with_suffix(".new"), target)
    return True


def build_unix(sanitize=False, wanted=features.ALL):
    """Bring build/bin/micropython (or micropython-asan, -dense) up to date; returns its path."""
    if any(c.isspace() for c in str(ROOT)):
        fail(f"make cannot build in a folder with a space in its name: {ROOT}")
    setup_env.require_build_tools()
    micropython = fetch_sources("unix")
    suffix = ("-asan" if sanitize else "") + wanted.suffix
    build, target = BUILD / f"unix{suffix}", BUILD / "bin" / f"micropython{suffix}"
    manifest = wanted.manifest(PORT / "manifest.py")
    arguments = [*FEATURES, f"USER_C_MODULES={ROOT}", f"FROZEN_MANIFEST={manifest}"]
    arguments += wanted.variables()
    if sanitize:
        arguments += ["DEBUG=1", "-f", "Makefile", "-f", PORT / "sanitize.mk"]
        arguments += [f"SANITIZE_DIR={PORT}"]
    if not (micropython / "lib" / "micropython-lib" / "README.md").exists():
        arguments += [f"MPY_LIB_DIR={stub_library()}"]
    started = time.monotonic()
    with locked("mpy-cross"):
        if not (BUILD / "mpy-cross" / "mpy-cross").is_file():
            say("Building mpy-cross ...")
        make(micropython, "mpy-cross", BUILD / "mpy-cross", ["COPT=-O0"])
    with locked(build.name):
        say(f"Building {short(target)} ...")
        make(micropython, "ports/unix", build, arguments, port_recipe())
        changed = install(build / "micropython", target)
    seconds = time.monotonic() - started
    say(f"{short(target)} is {'ready' if changed else 'up to date'} ({seconds:.1f} s)")
    return target


def stub_library():
    """The makefiles want a micropython-lib, which this build uses nothing of."""
    folder = BUILD / "no-micropython-lib"
    folder.mkdir(exist_ok=True)
    (folder / "README.md").touch()
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sanitize", action="store_true", help="with ASan and UBSan")
    parser.add_argument("--features", default="all", help=features.HELP)
    arguments = parser.parse_args()
    build_unix(arguments.sanitize, features.Features(arguments.features))


if __name__ == "__main__":
    run_main(main)
