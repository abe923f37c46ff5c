"""Build MicroPython with tinyprop for boards that QEMU emulates: build/firmware/<board>/.

`--plain` builds the same firmware without tinyprop (build/qemu-<board>-plain/firmware.elf), to
load the native module into.
"""

import argparse
import os
import shutil
import time

import features
import setup_env
import xtensa_tools
from build_unix import LISTS, PACKAGE, make, stub_library
from common import BUILD, ROOT, fail, locked, run_main, say, short
from fetch_sources import fetch_sources

PORT = ROOT / "ports" / "qemu"
BOARDS = ["MPS2_AN385", "VIRT_RV32", "M0", "MPS2_AN386", "MPS2_AN500"]
XTENSA_BOARDS = ["XTENSA_SIM"]


def recipe(plain, board):
    """What decides which files go into the firmware, and with what they are compiled."""
    files = [*sorted(PORT.rglob("*.mk")), *sorted(PORT.glob("*.py"))]
    if board in XTENSA_BOARDS:
        files += [*xtensa_tools.RECIPE, *xtensa_tools.PORT.glob("*.mk")]
    frozen = [] if plain else sorted(str(p) for p in PACKAGE.rglob("*.py"))
    files += [] if plain else LISTS
    return "\n".join([*frozen, *(p.read_text() for p in files)])


def build_qemu(board, wanted=features.ALL, plain=False, options=()):
    """Bring one board's firmware up to date; returns the .elf file.

    `options` are more variables for make, for a plain firmware in a folder of its own.
    """
    xtensa = board in XTENSA_BOARDS
    missing = setup_env.require_packages("xtensa" if xtensa else "qemu")
    missing += setup_env.require_packages("build")
    if missing:
        fail(f"missing {', '.join(missing)}: {setup_env.advice(missing)}")
    if any(c.isspace() for c in str(ROOT)):
        fail(f"make cannot build in a folder with a space in its name: {ROOT}")
    if xtensa:
        xtensa_tools.use_clang()
    micropython = fetch_sources("unix")
    build = "-".join(["qemu", board, *(["plain", *options] if plain else [])])
    build = BUILD / f"{build}{wanted.suffix}"
    folder = xtensa_tools.PORT if xtensa else PORT / "boards" / board
    arguments = [f"BOARD={board}", f"BOARD_DIR={folder}"]
    arguments += [f"FROZEN_MANIFEST={'' if plain else wanted.manifest(PORT / 'manifest.py')}"]
    arguments += options if plain else [f"USER_C_MODULES={ROOT}", *wanted.variables()]
    if not (micropython / "lib" / "micropython-lib" / "README.md").exists():
        arguments += [f"MPY_LIB_DIR={stub_library()}"]
    started = time.monotonic()
    with locked("mpy-cross"):
        make(micropython, "mpy-cross", BUILD / "mpy-cross", ["COPT=-O0"])
    with locked(build.name):
        say(f"Building MicroPython for {board} {'without' if plain else 'with'} tinyprop ...")
        make(micropython, "ports/qemu", build, arguments, recipe(plain, board))
        elf = build / "firmware.elf"
        if not plain:
            elf = BUILD / "firmware" / f"{board}{wanted.suffix}" / "firmware.elf"
            elf.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(build / "firmware.elf", elf.with_suffix(".new"))
            os.replace(elf.with_suffix(".new"), elf)
    say(f"{short(elf)} is ready ({time.monotonic() - started:.1f} s)")
    return elf


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("board", choices=BOARDS + XTENSA_BOARDS)
    parser.add_argument("--plain", action="store_true", help="without tinyprop")
    arguments = parser.parse_args()
    build_qemu(arguments.board, plain=arguments.plain)


if __name__ == "__main__":
    run_main(main)
