"""Instructions of a training step on the boards that QEMU emulates, counted exactly.

With `-icount` the clock of the emulated board advances by a fixed time an instruction, and the
firmware reads it before and after each step. Two runs give the same numbers. They are no cycles:
QEMU knows no wait states. Records: build/bench/qemu.json. Beside them stand the rows of other
implementations for the same network (bare-metal C, gcc -O3, all inputs non-zero).
"""

import argparse

import build_qemu
import sim_qemu
from common import fail, run_main, say, short
from records import Records, print_table
from rp2040_cycles import FILLED, MPREMOTE, POLICIES, macs, measure

# Model -> steps before counting, so that TinyPropV2 has samples it knows.
WARM = {"mlp-64-32-10": 120, "mlp-784-32-10": 40, "mlp-784-64-10": 40}
TOO_BIG = {("M0", "mlp-784-64-10")}  # 204 kB, as much as its whole heap
# Measured in QEMU from bare-metal C and from another library, by a plugin that counts.
OTHERS = {
    ("MPS2_AN385", "mlp-64-32-10"): (916_000, 401_000, 337_000),
    ("MPS2_AN385", "mlp-784-64-10"): (19_715_657, 7_999_875, 6_599_182),
    ("M0", "mlp-64-32-10"): (1_941_000, 894_000, 729_000),
    ("MPS2_AN386", "mlp-64-32-10"): (283_000, 29_800, 17_100),
    ("MPS2_AN386", "mlp-784-64-10"): (5_832_602, 565_856, 318_862),
    ("MPS2_AN500", "mlp-64-32-10"): (283_000, 29_800, 17_100),
    ("MPS2_AN500", "mlp-784-64-10"): (5_832_462, 565_782, 318_864),
}
NAMES = ("AIfES", "plain C loop", "plain C loop, dead rows left out")

COUNT = """
import time
def count(f, x, y):
    start = time.ticks_cpu()
    f(x, y)
    ticks = time.ticks_diff(time.ticks_cpu(), start)
    return (ticks * 125 + {mhz} * 64) // ({mhz} * 128)
"""


def count_script(board):
    """What defines count(f, x, y) on the board: the instructions of a call."""
    return COUNT.format(mhz=sim_qemu.TICKS_PER_US[board])


def measure_board(board, firmware, records, models=WARM):
    """Measure one board into `records`; returns the rows of its table."""
    rows, count = [], count_script(board)
    with sim_qemu.running(board, firmware, icount=True) as port:
        for model in (m for m in models if (board, m) not in TOO_BIG):
            dense = macs(*map(int, model.split("-")[1:]))
            for name, value in zip(NAMES, OTHERS.get((board, model), ())):
                rows.append((board, model, name, f"{value:,}", f"{value / dense:.2f}", ""))
            for inputs, filled in FILLED.items():
                for policy in POLICIES:
                    value, skipped = measure(port, model, policy, filled, WARM[model], count=count)
                    what = f"tinyprop {policy}, {inputs}"
                    numbers = f"{value:,.0f}", f"{value / dense:.2f}", f"{skipped:.0%}"
                    rows.append((board, model, what, *numbers))
                    name = "qemu" if filled == 100 else "qemu-sparse-input"
                    for metric, number in (
                        ("instructions_per_step", value),
                        ("instructions_per_mac", round(value / dense, 4)),
                    ):
                        records.add(
                            metric, number, "instructions", board, model, policy, name=name
                        )
    return rows


def measure_all(boards):
    """Build, measure and print; writes the records and returns them."""
    records = Records("qemu", "python3 scripts/qemu_instructions.py")
    rows = []
    for board in boards:
        firmware = build_qemu.build_qemu(board)
        say(f"Training on {board} ...")
        rows += measure_board(board, firmware, records)
    header = ("board", "model", "what", "instructions per step", "per dense MAC", "skipped")
    print_table("One float32 training step in QEMU, Python call included", header, rows)
    records.write()
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("boards", nargs="*", help=", ".join(build_qemu.BOARDS))
    boards = parser.parse_args().boards
    for board in boards:
        if board not in build_qemu.BOARDS:
            fail(f"no board {board}: there is {', '.join(build_qemu.BOARDS)}")
    if not MPREMOTE.is_file():
        fail(f"{short(MPREMOTE)} does not exist: make setup")
    measure_all(boards or build_qemu.BOARDS)


if __name__ == "__main__":
    run_main(main)
