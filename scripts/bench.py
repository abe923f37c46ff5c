"""Benchmarks. Exact counts first (instructions of a training step, bytes), then accuracy and
effort on data. Each target is printed with pass or miss. Records: build/bench/*.json."""

import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import layer_instructions
from build_unix import build_unix
from common import BUILD, ROOT, fail, run_main, say
from records import Records, print_table
from setup_env import lacking

sys.path.insert(0, str(Path(__file__).resolve().parent / "experiments"))

BENCHMARKS = ROOT / "benchmarks"
MODELS = {"mlp-784-64-10": (784, 64, 10), "mlp-64-32-10": (64, 32, 10)}
STEPS = 20


def macs(n_in, hidden, classes):
    """Multiply-accumulates of a dense step: forward, weight gradient, d of the hidden layer."""
    return 2 * n_in * hidden + 3 * hidden * classes


def instructions(*command):
    """Instructions that callgrind counts in a whole process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    counted = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not counted:
        fail(f"valgrind failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}")
    return int(counted[1])


def per_step(*command, after=()):
    """Instructions of one step: that many more steps, divided. Start-up drops out."""
    few, many = (instructions(*command, n, *after) for n in (1, 1 + STEPS))
    return (many - few) / STEPS


def bare_loop(sizes, *flags):
    """The plain C loop of benchmarks/bare_loop.c, built for these sizes."""
    folder = BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "bare_loop"
    n_in, hidden, _ = sizes
    defines = [f"-DINPUTS={n_in}", f"-DHIDDEN={hidden}", *flags]
    command = ["gcc", "-O3", *defines, BENCHMARKS / "bare_loop.c", "-o", program, "-lm"]
    if subprocess.call(list(map(str, command))) != 0:
        fail("bare_loop.c does not compile")
    return per_step(program)


def bench_step(targets):
    micropython = build_unix()
    records = Records("step", "make bench")
    rows = []
    for model, sizes in MODELS.items():
        dense = macs(*sizes)
        counts = {
            "bare C loop -O3": bare_loop(sizes),
            "bare C loop -O3, dead rows left out": bare_loop(sizes, "-DSKIP_DEAD"),
        }
        for policy in ("Full", "TopK"):
            script = BENCHMARKS / "unix_step.py"
            counts[f"tinyprop {policy}"] = per_step(micropython, script, after=(policy, *sizes))
        bare = counts["bare C loop -O3"]
        for name, count in counts.items():
            rows.append(
                (model, name, f"{count:,.0f}", f"{count / dense:.2f}", f"{count / bare:.2f}")
            )
            policy = name.split()[-1] if name.startswith("tinyprop") else name
            for metric, value, unit in (
                ("instructions_per_step", count, "instructions"),
                ("instructions_per_mac", round(count / dense, 4), "instructions"),
            ):
                records.add(metric, value, unit, model=model, policy=policy)
        if model == "mlp-784-64-10":
            count = counts["tinyprop Full"]
            targets.append(("dense step, Python call included, x86-64", count, "<=", 0.7 * bare))
    title = "One float32 training step on x86-64 (callgrind), all inputs non-zero; TopK keeps 10 %"
    print_table(title, ("model", "", "instructions", "per MAC", "x bare loop"), rows)
    records.write()


def bench_layers(targets):
    """Single layers on the host and on an emulated Cortex-M4F without an operating system."""
    boards = [b for b in ("x86-64", "M4F") if not layer_instructions.missing_for(b)]
    results = layer_instructions.measure_all(boards)
    if "M4F" not in results:
        say("Targets of the Cortex-M4F: not measured, QEMU is missing")
        return
    counts = results["M4F"][0]

    def per_mac(what):
        return counts[what] / layer_instructions.dense_macs(what)

    for policy, limit in (("Full", 4.0), ("TopK", 2.0)):
        what = f"mlp-784-64-10 {policy}"
        targets.append((f"M4F: {what}, instructions per dense MAC", per_mac(what), "<=", limit))
    floor = per_mac("dense-256-64 full")
    for layer in ("conv3x3-16-16@16", "conv3x3-32-32@8", "conv1x1-64-64@8"):
        full = f"{layer} full"
        name = f"M4F: {layer} backward against a dense layer's"
        targets.append((name, per_mac(full) / floor, "<=", 1.3))
        share = counts[f"{layer} TopK"] / counts[full]
        targets.append((f"M4F: {layer} backward, 10 % kept against full", share, "<=", 1 / 6))


def bench_tables(targets):
    import table

    outcome = table.main([])
    digits = outcome.get("digits")
    if digits:
        drop = digits["Full"]["accuracy"] - digits["TinyPropV2"]["accuracy"]
        targets.append(("digits, TinyPropV2: points lost", drop, "<=", 0.5))
        effort = digits["TinyPropV2"]["effort_backward"]
        targets.append(("digits, TinyPropV2: backward effort", effort, "<=", 0.05))
        drop = digits["Full"]["accuracy"] - digits["TinyPropV2+backoff"]["accuracy"]
        targets.append(("digits, back-off: points lost", drop, "<=", 0.5))
        effort = digits["TinyPropV2+backoff"]["effort_total"]
        targets.append(("digits, back-off: total effort", effort, "<=", 0.10))
    others = [s for name, s in outcome.items() if name in table.REQUIRED]
    if len(others) < len(table.REQUIRED):
        say(
            "Targets of the six data sets: not measured, give their folder: make bench DATA=folder"
        )
    else:
        drops = [s["Full"]["accuracy"] - s["TinyPropV2"]["accuracy"] for s in others]
        efforts = [s["TinyPropV2"]["effort_backward"] for s in others]
        targets.append(("six data sets: mean points lost", fmean(drops), "<=", 0.5))
        targets.append(("six data sets: most points lost", max(drops), "<=", 1.5))
        targets.append(("six data sets: mean backward effort", fmean(efforts), "<=", 0.06))


def main():
    missing = [p for p in lacking("test") if p == "valgrind"]
    if missing:
        fail("missing valgrind: run `make setup`")
    targets = []
    bench_step(targets)
    bench_layers(targets)
    bench_tables(targets)
    rows = [
        (what, f"{value:,.3f}", f"{sign} {limit:,.3f}", "pass" if value <= limit else "MISS")
        for what, value, sign, limit in targets
    ]
    print_table("Targets", ("", "measured", "target", ""), rows)
    say("records: build/bench/")


if __name__ == "__main__":
    run_main(main)
