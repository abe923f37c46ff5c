"""Run a board's firmware in an emulator: `make sim BOARD=RPI_PICO`."""

import argparse

import sim_qemu
import sim_rp2
from common import fail, run_main

# Board -> what emulates it, called with (board, firmware file or None).
EMULATORS = {
    "RPI_PICO": sim_rp2.sim_rp2,
    **{board: sim_qemu.sim_qemu for board in sim_qemu.MACHINES},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("board", help=", ".join(EMULATORS))
    parser.add_argument("--firmware", help="another firmware image than build/firmware/<board>/")
    arguments = parser.parse_args()
    if arguments.board not in EMULATORS:
        fail(f"no emulator for BOARD={arguments.board}: there is {', '.join(EMULATORS)}")
    EMULATORS[arguments.board](arguments.board, arguments.firmware)


if __name__ == "__main__":
    run_main(main)
