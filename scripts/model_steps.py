"""What a training step of the reference models costs, by board, policy and dtype.

    build/venv/bin/python scripts/model_steps.py                        # all boards
    build/venv/bin/python scripts/model_steps.py --board MPS2_AN386 --model lenet

Exact counts, Python call included: instructions on the emulated boards (QEMU) and on the unix
port (callgrind), cycles on the emulated RP2040. What does not fit a board's heap is left out and
said. Each network learns three samples, so that TinyPropV2 comes to know them; the steps counted
follow those of WARM, and their efforts stand beside. Records: build/bench/models.json.
"""

import argparse
import json
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import build_qemu
import sim_qemu
import sim_rp2
from build_unix import build_unix
from common import BUILD, ROOT, fail, run_main, say, short
from layer_instructions import of_process
from records import Records, print_table
from rp2040_cycles import CLOCK_MHZ, MPREMOTE

NETWORKS = ROOT / "examples" / "models"
JOB = ROOT / "benchmarks" / "model_steps.py"
UNITS = {"RPI_PICO": "cycles"}
# Model -> (steps before counting, steps counted).
WARM = {
    "mlp-64-32-10": (57, 3),
    "mlp-784-64-10": (27, 3),
    "lenet": (12, 3),
    "ds_cnn": (3, 3),
    "resnet8": (3, 3),
}
POLICIES = ("Full", "TopK", "TinyPropV2")
DTYPES = ("f32", "i16", "i8")
IN_QEMU = ("MPS2_AN385", "MPS2_AN386", "MPS2_AN500", "VIRT_RV32")
BOARDS = {
    "unix": WARM,
    **dict.fromkeys(IN_QEMU, WARM),
    "RPI_PICO": ("mlp-64-32-10", "mlp-784-64-10", "lenet"),
}
# count(f, ...) of a board: its clock is exact, and runs long enough for any of these steps.
COUNT = """
import time
def count(f, *a):
    start = time.ticks_us()
    f(*a)
    return time.ticks_diff(time.ticks_us(), start) * {} // {}
"""


def path(model):
    return NETWORKS / f"{model}.py"


def cases(board, models):
    """(model, dtype, policy)"""
    return [
        (model, dtype, policy)
        for model in BOARDS[board]
        if model in models
        for dtype in DTYPES
        for policy in POLICIES
    ]


@contextmanager
def running(board):
    """Serial port of the emulated board, and count() for it."""
    if board == "RPI_PICO":
        firmware = BUILD / "firmware" / board / "firmware.bin"
        with tempfile.TemporaryDirectory() as folder:
            with sim_rp2.running(firmware, Path(folder) / "flash.bin") as port:
                yield port, COUNT.format(CLOCK_MHZ, 1)
        return
    elf = build_qemu.build_qemu(board)
    with sim_qemu.running(board, elf, icount=True) as port:
        # An instruction takes 1.024 us there.
        yield port, COUNT.format(125, 128)


def on_board(board, models):
    results = []
    with running(board) as (port, count):
        for case in cases(board, models):
            model, *settings = case
            source = path(model).read_text() if path(model).is_file() else ""
            settings = ", ".join(map(repr, (model, source, *settings, *WARM[model])))
            call = f"{count}step({settings}, count)"
            command = [MPREMOTE, "connect", port, "run", JOB]
            done = subprocess.run(
                list(map(str, [*command, "exec", call])),
                capture_output=True,
                text=True,
                timeout=600,
            )
            lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
            if done.returncode != 0 or not lines:
                fail(f"{board}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
            results.append(json.loads(lines[-1]))
    return results


def on_unix(board, models):
    """Every case twice, without the steps counted and with them: start-up drops out."""
    micropython = build_unix()

    def command(case, warm, steps):
        heap = [micropython, "-X", "heapsize=16M"]
        model, *settings = case
        return [*heap, JOB, model, path(model), *settings, str(warm), str(steps)]

    def counted(case):
        warm, steps = WARM[case[0]]
        done = subprocess.run(
            list(map(str, command(case, warm, steps))), capture_output=True, text=True
        )
        if done.returncode != 0:
            fail(f"{case[0]}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        result = json.loads(done.stdout)
        few, many = (of_process(*command(case, *n)) for n in ((warm, 0), (warm, steps)))
        return {**result, "step": (many - few) / steps, "forward": None}

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(counted, cases(board, models)))


def measure_all(boards=BOARDS, models=WARM):
    """Measure and print; writes the records and returns them."""
    records, rows = Records("models", "build/venv/bin/python scripts/model_steps.py"), []
    for board in boards:
        say(f"Models on {board} ...")
        unit = UNITS.get(board, "instructions")
        for r in (on_unix if board == "unix" else on_board)(board, models):
            case = board, r["model"], r["policy"], r["dtype"]
            if "step" not in r:
                rows.append((*case, "does not fit", *[""] * 5))
                continue
            forward, backward = r["macs"]
            per_mac = r["step"] / (forward + backward)
            skipped = f"{r['skipped'] / r['seen']:.0%}"
            efforts = [f"{r[name]:.3f}" for name in ("effort_backward", "effort_total")]
            ahead = f"{r['forward']:,.0f}" if r["forward"] else ""
            rows.append((*case, f"{r['step']:,.0f}", f"{per_mac:.2f}", ahead, *efforts, skipped))
            records.add(f"{unit}_per_step", round(r["step"]), unit, *case)
            records.add(f"{unit}_per_mac", round(per_mac, 4), unit, *case)
            records.add("effort_total", round(r["effort_total"], 4), "", *case)
            if r["forward"]:
                records.add(f"{unit}_per_prediction", r["forward"], unit, *case)
    header = ("board", "model", "policy", "dtype", "a step", "per dense MAC", "a prediction")
    header += ("backward effort", "total effort", "skipped")
    print_table(
        "Training steps: instructions (RPI_PICO: cycles), Python call included", header, rows
    )
    records.write()
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", action="append", choices=BOARDS, help="default: all")
    parser.add_argument("--model", action="append", choices=WARM, help="default: all")
    arguments = parser.parse_args()
    if not MPREMOTE.is_file():
        fail(f"{short(MPREMOTE)} does not exist: make setup")
    measure_all(arguments.board or BOARDS, arguments.model or WARM)


if __name__ == "__main__":
    run_main(main)
