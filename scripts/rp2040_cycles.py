"""Cycles of a training step on the RP2040, counted in the emulator.

The firmware trains; its SysTick timer counts. Records: build/bench/rp2040.json. Beside them stand
the rows of other implementations for the same network (dense input, ROM float routines).
"""

import argparse
import subprocess
from pathlib import Path

import sim_rp2
from common import BUILD, fail, run_main, say, short
from records import Records, print_table

BOARD = "RPI_PICO"
MPREMOTE = BUILD / "venv" / "bin" / "mpremote"
CLOCK_MHZ = 125
MODELS = {"mlp-64-32-10": (64, 32, 10), "mlp-784-32-10": (784, 32, 10)}
# Of integers, from bytes; what a dense step may cost.
INTEGERS = {
    ("mlp-784-64-10", "i16"): 1_100_000,
    ("mlp-784-64-10", "i8"): 900_000,
    ("mlp-64-32-10", "i16"): None,
    ("mlp-64-32-10", "i8"): None,
}
# With a worker on the second core: (model, dtype, policy, share of the inputs that are not zero).
TWO_CORES = (
    ("mlp-784-64-10", "i8", "Full", 100),
    ("mlp-784-64-10", "i16", "Full", 100),
    ("mlp-784-64-10", "i8", "TinyPropV2", 20),
    ("mlp-784-32-10", "f32", "Full", 100),
    ("mlp-784-32-10", "f32", "TinyPropV2", 20),
    ("mlp-64-32-10", "f32", "Full", 100),
)
# Steps before counting, so that TinyPropV2 has samples it knows.
WARM = {"mlp-64-32-10": 120, "mlp-784-32-10": 40}
POLICIES = {"Full": "tp.Full()", "TinyPropV2": "tp.TinyPropV2()"}
# Share of the inputs that are not zero: dense sensor data, and images.
FILLED = {"100 % inputs": 100, "20 % inputs": 20}
# Measured the same way from bare-metal C and from another library (ROM float, all inputs used).
OTHERS = {
    "mlp-64-32-10": {
        "AIfES": 2_178_487,
        "plain C loop": 818_640,
        "plain C loop, dead rows left out": 607_826,
    },
}

# What the board runs: count(f, x, y) is the cost of that call, measure() trains and counts.
COUNT = """
import machine
SYST = 0xE000E010
def count(f, x, y):
    mem = machine.mem32
    mem[SYST + 4] = 0xFFFFFF
    mem[SYST + 8] = 0
    mem[SYST] = 5
    f(x, y)
    return 0xFFFFFF - (mem[SYST + 8] & 0xFFFFFF)
"""
TRAIN = """
import random, tinyprop as tp
from array import array
random.seed(1)
def sample(n, filled, k):
    random.seed(k)
    return array("f", [random.random() + 0.01 if random.randrange(100) < filled else 0
                       for _ in range(n)])
def as_bytes(x):
    return bytes(int(v * 252) for v in x)
def nothing(x, y):
    pass
def measure(i, h, o, policy, filled, warm, steps, dtype, cores):
    tp.cores(cores)
    ints = dtype != "f32"
    m = tp.Sequential([tp.Input((i,), **({"scale": 1 / 255} if ints else {})),
                       tp.Dense(h, activation="relu"), tp.Dense(o)], dtype=dtype,
                      policy=policy, optimizer=tp.SGD(lr=0.01 if ints else 0.05), seed=1)
    tp.use(m)
    classes = [sample(i, filled, k) for k in range(5)]
    if ints:
        classes = [as_bytes(x) for x in classes]
    for n in range(warm):
        tp.train_step(classes[n % 5], n % 5)
    m._m.reset_counters()
    empty = min([count(nothing, classes[0], 0) for n in range(5)])
    total = 0
    for n in range(steps):
        total += count(tp.train_step, classes[n % 5], n % 5) - empty
    print("RESULT", total, m.stats()["skipped"])
"""


def on_board(port, *texts, timeout=300):
    """Run pieces of Python on the board, one after the other; what they printed."""
    command = [MPREMOTE, "connect", port]
    for text in texts:
        command += ["exec", text]
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if run.returncode != 0:
        fail(f"the board: {(run.stdout + run.stderr).strip().splitlines()[-1]}")
    return run.stdout


def measure(port, model, policy, filled, warm, steps=10, count=COUNT, dtype="f32", cores=1):
    """(mean cost of a step, share of samples skipped)."""
    sizes = ", ".join(model.split("-")[1:])
    call = f"measure({sizes}, {POLICIES[policy]}, {filled}, {warm}, {steps}, {dtype!r}, {cores})"
    output = on_board(port, count + TRAIN + call)
    cost, skipped = map(int, output.split("RESULT")[1].split())
    return cost / steps, skipped / steps


def macs(i, h, o):
    return 2 * i * h + 3 * h * o


def call_overhead(port, records):
    """A whole step, call and all, of a network with next to nothing in it: the call costs less."""
    cycles, _ = measure(port, "mlp-1-1-5", "Full", 100, warm=5)
    records.add("cycles_per_step", round(cycles), "cycles", BOARD, "mlp-1-1-5", "Full")
    return cycles


def measure_all(port, models=MODELS):
    records, rows = Records("rp2040", "python3 scripts/rp2040_cycles.py"), []
    call = call_overhead(port, records)
    rows.append(("mlp-1-1-5", "tinyprop Full: more than a call costs", f"{call:,.0f}", "", "", ""))
    for model in models:
        dense = macs(*MODELS[model])
        for name, cycles in OTHERS.get(model, {}).items():
            rows.append((model, name, f"{cycles:,}", f"{cycles / dense:.0f}", "", ""))
        for inputs, filled in FILLED.items():
            for policy in POLICIES:
                cycles, skipped = measure(port, model, policy, filled, WARM[model])
                ms = f"{cycles / CLOCK_MHZ / 1000:.2f}"
                rows.append(
                    (
                        model,
                        f"tinyprop {policy}, {inputs}",
                        f"{cycles:,.0f}",
                        f"{cycles / dense:.0f}",
                        ms,
                        f"{skipped:.0%}",
                    )
                )
                name = "rp2040" if filled == 100 else "rp2040-sparse-input"
                records.add(
                    "cycles_per_step", round(cycles), "cycles", BOARD, model, policy, name=name
                )
    return records, rows


def measure_integers(port):
    records, rows, targets = Records("rp2040_integers", "python3 scripts/rp2040_cycles.py"), [], []
    for (model, dtype), most in INTEGERS.items():
        dense = macs(*map(int, model.split("-")[1:]))
        # After two steps: all rows still have an error.
        cycles, _ = measure(port, model, "Full", 100, 2, steps=3, dtype=dtype)
        per_mac = f"{cycles / dense:.1f}"
        rows.append((model, dtype, f"{cycles:,.0f}", per_mac, f"{cycles / CLOCK_MHZ / 1000:.2f}"))
        records.add("cycles_per_step", round(cycles), "cycles", BOARD, model, "Full", dtype)
        if most:
            what = f"RP2040: dense step of {model} {dtype}, Python call included, cycles"
            targets.append((what, cycles, "<=", most))
    header = ("model", "dtype", "cycles per step", "per dense MAC", "ms")
    print_table("Integers, Full, no input is zero", header, rows)
    records.write()
    return targets


def measure_two_cores(port):
    records, rows = Records("rp2040_cores", "python3 scripts/rp2040_cycles.py"), []
    for model, dtype, policy, filled in TWO_CORES:
        cost = []
        for cores in (1, 2):
            warm = 2 if policy == "Full" else 20
            cycles, _ = measure(port, model, policy, filled, warm, 3, dtype=dtype, cores=cores)
            cost.append(cycles)
            name = f"rp2040-{cores}-cores"
            records.add(
                "cycles_per_step", round(cycles), "cycles", BOARD, model, policy, dtype, name=name
            )
        what = f"{policy}, {filled} % inputs"
        rows.append((model, dtype, what, *(f"{c:,.0f}" for c in cost), f"{cost[0] / cost[1]:.2f}"))
    header = ("model", "dtype", "what", "one core", "two cores", "speed-up")
    print_table("Two cores: cycles per step", header, rows)
    records.write()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--firmware", type=Path, help="another image than the built one")
    firmware = parser.parse_args().firmware or BUILD / "firmware" / BOARD / "firmware.bin"
    for path, remedy in ((firmware, "make firmware PORT=rp2"), (MPREMOTE, "make setup")):
        if not path.is_file():
            fail(f"{short(path)} does not exist: {remedy}")
    say("Training on the emulated RP2040 ...")
    with sim_rp2.running(firmware, BUILD / "sim" / BOARD / "cycles-flash.bin") as port:
        measure_integers(port)
        records, rows = measure_all(port)
        measure_two_cores(port)
    header = ("model", "what", "cycles per step", "per dense MAC", "ms", "skipped")
    print_table(f"RP2040 in the emulator, {CLOCK_MHZ} MHz, ROM float routines", header, rows)
    records.write()


if __name__ == "__main__":
    run_main(main)
