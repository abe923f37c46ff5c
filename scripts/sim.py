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
    parser.add_argument(
        "--icount", action="store_true", help="QEMU: its clock counts instructions"
    )
    arguments = parser.parse_args()
    if arguments.board not in EMULATORS:
        fail(f"no emulator for BOARD={arguments.board}: there is {', '.join(EMULATORS)}")
    if arguments.icount and arguments.board not in sim_qemu.MACHINES:
        fail(f"ICOUNT=1 is for QEMU's boards: {', '.join(sim_qemu.MACHINES)}")
    options = {"icount": True} if arguments.icount else {}
    EMULATORS[arguments.board](arguments.board, arguments.firmware, **options)


if __name__ == "__main__":
    run_main(main)
