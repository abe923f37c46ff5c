"""Build firmware for a board: `make firmware PORT=rp2 BOARD=RPI_PICO FEATURES=all`."""

import argparse

import build_esp32
import build_qemu
import build_rp2
import features
from common import fail, run_main

# Port -> board -> what builds it.
BUILDERS = {
    "rp2": {board: build_rp2.build_rp2 for board in build_rp2.BOARDS},
    "esp32": {board: build_esp32.build_esp32 for board in build_esp32.BOARDS},
    "qemu": {board: build_qemu.build_qemu for board in build_qemu.BOARDS},
    "xtensa": {board: build_qemu.build_qemu for board in build_qemu.XTENSA_BOARDS},
}
DEFAULT_BOARD = {
    "rp2": "RPI_PICO",
    "esp32": "ESP32_GENERIC",
    "qemu": "MPS2_AN385",
    "xtensa": "XTENSA_SIM",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", help=", ".join(BUILDERS))
    parser.add_argument("board", nargs="?", default="", help="default: the port's usual board")
    parser.add_argument("--features", default="all", help=features.HELP)
    parser.add_argument("--ram-kernels", action="store_true", help="rp2: hottest loops in RAM")
    arguments = parser.parse_args()
    boards = BUILDERS.get(arguments.port)
    if boards is None:
        fail(f"no recipe for PORT={arguments.port}: there is {', '.join(BUILDERS)}")
    board = arguments.board or DEFAULT_BOARD[arguments.port]
    if board not in boards:
        fail(f"no recipe for BOARD={board} of {arguments.port}: there is {', '.join(boards)}")
    wanted = features.Features(arguments.features)
    if not arguments.ram_kernels:
        boards[board](board, wanted)
    elif arguments.port == "rp2":
        build_rp2.build_rp2(board, wanted, ram_kernels=True)
    else:
        fail(f"RAM_KERNELS=1 is for PORT=rp2, not {arguments.port}")


if __name__ == "__main__":
    run_main(main)
