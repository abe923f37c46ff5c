"""Benchmarks. Exact counts first (instructions of a training step, here and on the boards that
QEMU emulates), then accuracy and effort on data. Each target is printed with pass or miss.
Records: build/bench/*.json."""

import os
import subprocess
import sys
from pathlib import Path

import build_natmod
import build_qemu
import build_rp2
import kernel_costs
import layer_instructions
import network_steps
import qemu_instructions
import rp2040_cycles
import rp2040_mnist
import scaling
import sim_rp2
from build_unix import build_unix
from common import BUILD, ROOT, fail, run_main, say
from records import Records, print_table
from setup_env import advice, lacking

sys.path.insert(0, str(Path(__file__).resolve().parent / "experiments"))

BENCHMARKS = ROOT / "benchmarks"
MODELS = {"mlp-784-64-10": (784, 64, 10), "mlp-64-32-10": (64, 32, 10)}
STEPS = 20


def macs(n_in, hidden, classes):
    """Multiply-accumulates of a dense step: forward, weight gradient, d of the hidden layer."""
    return 2 * n_in * hidden + 3 * hidden * classes


def per_step(*command, after=(), env=None):
    """Instructions of one step: that many more steps, divided. Start-up drops out."""
    few, many = (
        layer_instructions.of_process(*command, n, *after, env=env) for n in (1, 1 + STEPS)
    )
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
    script = BENCHMARKS / "unix_step.py"
    # Built into the unix port, and as a native module in a port without it.
    micropython, stock = build_unix(), build_natmod.build_stock_unix()
    native = {"MICROPYPATH": str(build_natmod.build_natmod("x64"))}
    records = Records("step", "make bench")
    rows = []
    for model, sizes in MODELS.items():
        dense = macs(*sizes)
        bare = bare_loop(sizes)
        skip_dead = bare_loop(sizes, "-DSKIP_DEAD")
        # (board, policy or other program, what the table calls it, instructions)
        counts = [
            ("unix", "bare C loop -O3", "bare C loop -O3", bare),
            ("unix", "bare C loop -O3, dead rows left out", "dead rows left out", skip_dead),
        ]
        for policy in ("Full", "TopK"):
            count = per_step(micropython, script, after=(policy, *sizes))
            counts.append(("unix", policy, f"tinyprop {policy}", count))
            if (model, policy) == ("mlp-784-64-10", "Full"):
                what = "dense step, Python call included, x86-64"
                targets.append((what, count, "<=", 0.7 * bare))
            count = per_step(stock, script, after=(policy, *sizes), env=native)
            counts.append(("natmod-x64", policy, f"tinyprop {policy}, native module", count))
        for board, policy, name, count in counts:
            per_mac = count / dense
            rows.append((model, name, f"{count:,.0f}", f"{per_mac:.2f}", f"{count / bare:.2f}"))
            for metric, value in (
                ("instructions_per_step", count),
                ("instructions_per_mac", round(per_mac, 4)),
            ):
                records.add(metric, value, "instructions", board, model, policy)
    title = "One float32 training step on x86-64 (callgrind), all inputs non-zero; TopK keeps 10 %"
    print_table(title, ("model", "", "instructions", "per MAC", "x bare loop"), rows)
    records.write()


def bench_boards(targets):
    if lacking("qemu"):
        say(f"Boards in QEMU: not measured, missing {', '.join(lacking('qemu'))}: make setup")
        return
    records = qemu_instructions.measure_all(build_qemu.BOARDS)
    dense = {"name": "qemu", "metric": "instructions_per_step", "policy": "Full"}
    for row in records.rows:
        bare = qemu_instructions.OTHERS.get((row["board"], row["model"]))
        if bare and row["model"] == "mlp-784-64-10" and dense.items() <= row.items():
            what = f"dense step, Python call included, {row['board']}"
            targets.append((what, row["value"], "<=", bare[1]))


def bench_layers(targets):
    """Single layers on the host and on an emulated Cortex-M4F without an operating system."""
    boards = [b for b in ("x86-64", "M3", "M4F") if not layer_instructions.missing_for(b)]
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
    for board, most in (("M3", 4.0), ("M4F", 2.5)):
        for dtype in ("i8", "i16"):
            what = f"mlp-784-64-10-{dtype} Full"
            count = results[board][0][what] / layer_instructions.dense_macs(what)
            targets.append((f"{board}: {what}, instructions per MAC", count, "<=", most))
    for dtype in ("i8", "i16"):
        what = f"mlp-784-64-10-{dtype} forward"
        targets.append((f"M4F: {what} alone, instructions per MAC", per_mac(what), "<=", 1.5))
    floor = per_mac("dense-256-64 full")
    for layer in ("conv3x3-16-16@16", "conv3x3-32-32@8", "conv1x1-64-64@8"):
        full = f"{layer} full"
        name = f"M4F: {layer} backward against a dense layer's"
        targets.append((name, per_mac(full) / floor, "<=", 1.3))
        share = counts[f"{layer} TopK"] / counts[full]
        targets.append((f"M4F: {layer} backward, 10 % kept against full", share, "<=", 1 / 6))


def bench_scaling(targets):
    """How a step grows: a line in the multiply-accumulates that are executed."""
    cores = [core for core in scaling.CORES if not layer_instructions.missing_for(core)]
    for core, ((_, _, r), _) in scaling.measure_all(cores).items():
        what = f"{core}: 120 networks, instructions against multiply-accumulates, 1 - R2"
        targets.append((what, 1 - r, "<=", 0.01))


def bench_kernels(targets):
    """The integer kernels, forward and update of a dense 784-64 layer."""
    boards = [b for b in kernel_costs.BOARDS if not kernel_costs.missing_for(b)]
    results = kernel_costs.measure_all(boards)
    for board, counts in results.items():
        for dtype in ("i8", "i16"):
            parts = [f"{name}_{dtype} 64x784" for name in ("matvec", "rows_update")]
            cost = sum(counts[what] for what in parts)
            if board == "RP2040":
                limit = {"i8": 0.9e6, "i16": 1.1e6}[dtype]
                targets.append((f"RP2040: {dtype} forward and update, cycles", cost, "<=", limit))
            elif board in ("M3", "M4F", "M7"):
                limit = 4.0 if board == "M3" else 2.5
                mean = sum(kernel_costs.per_product(counts, what) for what in parts) / 2
                what = f"{board}: {dtype} forward and update, instructions per product"
                targets.append((what, mean, "<=", limit))


def bench_tables(targets):
    import report
    import run

    collection, outcomes = run.train(["mlp"])
    outcome = {o.name: o.rows() for o in outcomes}
    digits = outcome["digits-mlp"]
    for policy, effort, most in (
        ("TinyPropV2", "effort_backward", 0.05),
        ("TinyPropV2+backoff", "effort_total", 0.10),
    ):
        drop = digits["Full"]["accuracy"] - digits[policy]["accuracy"]
        targets.append((f"digits, {policy}: points lost", drop, "<=", 0.5))
        name = effort.replace("effort_", "")
        targets.append((f"digits, {policy}: {name} effort", digits[policy][effort], "<=", most))
    mean = report.means(outcomes, collection.mean)
    if not mean:
        say(
            "Targets of the six data sets: not measured, give their folder: make bench DATA=folder"
        )
    else:
        ours = mean["TinyPropV2"]
        targets.append(("six data sets: mean points lost", -ours["points"], "<=", 0.5))
        targets.append(("six data sets: most points lost", -ours["least"], "<=", 1.5))
        effort = ours["effort_backward"]
        targets.append(("six data sets: mean backward effort", effort, "<=", 0.06))


def bench_models():
    """Reference models on every board that there is; no targets. In firmware, what its heap holds;
    on bare cores all, which must learn the same there."""
    network_steps.measure_all(network_steps.boards_here())


def bench_rp2040(targets):
    missing = lacking("firmware")
    if missing:
        say(f"RP2040: not measured, missing {', '.join(missing)}: {advice(missing)}")
        return
    firmware = build_rp2.build_rp2(rp2040_cycles.BOARD) / "firmware.bin"
    with sim_rp2.running(firmware, BUILD / "bench" / "rp2040-flash.bin") as port:
        targets += rp2040_cycles.measure_integers(port)
    bench_mnist(targets)


def bench_mnist(targets):
    data = os.environ.get("DATA")
    if not data:
        say("MNIST on the RP2040: not measured, give its folder: make bench DATA=folder")
        return
    targets += rp2040_mnist.measure_all(data) or []


def main():
    missing = [p for p in lacking("test") if p == "valgrind"]
    if missing:
        fail("missing valgrind: run `make setup`")
    targets = []
    bench_step(targets)
    bench_boards(targets)
    bench_layers(targets)
    bench_rp2040(targets)  # brings the firmware that the models want
    bench_models()
    bench_kernels(targets)
    bench_scaling(targets)
    bench_tables(targets)
    rows = [
        (what, f"{value:,.3f}", f"{sign} {limit:,.3f}", "pass" if value <= limit else "MISS")
        for what, value, sign, limit in targets
    ]
    print_table("Targets", ("", "measured", "target", ""), rows)
    say("records: build/bench/")


if __name__ == "__main__":
    run_main(main)
