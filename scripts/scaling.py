"""How the cost of a training step grows: instructions against multiply-accumulates executed, over
widths, depths and shares of rows kept (benchmarks/scaling.c), on emulated Cortex-M cores. Fits
instructions = a + b * MACs, prints b and R squared; --plot draws the points. Records:
build/bench/scaling.json."""

import argparse
import re
from pathlib import Path

import layer_instructions
import numpy as np
from common import fail, run_main, say, short
from records import Records, print_table

CORES = ("M0", "M4F")
TARGET = 0.99  # R squared


PASSES = ("forward", "select", "dx", "update")
ROWS = ("1 Dense 64", "2 Dense 10", "x, loss")
SPLIT = "784-64x1-10"


def measure(core):
    """{(network, percent kept): (instructions, MACs forward, MACs backward)}, and of one network
    {(percent kept, row, pass): instructions}"""
    output = layer_instructions.printed_by(core, "scaling")
    found = {}
    split = {
        (int(kept), ROWS[int(row)], PASSES[int(p)]): int(value, 16)
        for kept, row, p, value in re.findall(
            rf"^split {SPLIT} (\d+) (\d) (\d) ([0-9a-f]{{8}})$", output, re.M
        )
    }
    for kind, net, kept, value in re.findall(
        r"^(count|macs|back) (\S+) (\d+) ([0-9a-f]{8})$", output, re.M
    ):
        found.setdefault((net, int(kept)), {})[kind] = int(value, 16)
    if not found:
        fail(f"scaling.c printed no counts on {core}")
    return {key: (v["count"], v["macs"], v["back"]) for key, v in found.items()}, split


def fit(columns, y):
    """Least squares of y by the columns and a constant: (constant, factors, R squared)."""
    y = np.asarray(y, float)
    a = np.column_stack([np.ones(len(y)), *columns])
    solution = np.linalg.lstsq(a, y, rcond=None)[0]
    rest = y - a @ solution
    return solution[0], solution[1:], 1 - (rest @ rest) / ((y - y.mean()) @ (y - y.mean()))


def figures(points):
    """(a, b, R squared) of all MACs, and (a, forward, backward, R squared) told apart."""
    count, forward, backward = np.array(list(points.values()), float).T
    a, (b,), r = fit([forward + backward], count)
    a2, (f, k), r2 = fit([forward, backward], count)
    return (a, b, r), (a2, f, k, r2)


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # The same bytes each time, and letters as letters.
    matplotlib.rcParams.update({"svg.hashsalt": "tinyprop", "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(1, len(results), figsize=(5 * len(results), 4), sharex=True)
    for axis, (core, points) in zip(np.atleast_1d(axes), results.items()):
        (a, b, r), _ = figures(points)
        for kept in sorted({k for _, k in points}, reverse=True):
            chosen = [v for (_, k), v in points.items() if k == kept]
            macs, counts = [f + s for _, f, s in chosen], [c for c, _, _ in chosen]
            axis.loglog(macs, counts, "o", markersize=3, label=f"{kept} % of the rows")
        ends = [f + s for _, f, s in points.values()]
        line = np.geomspace(min(ends), max(ends), 50)
        axis.loglog(line, a + b * line, "k-", linewidth=0.7, label=f"{a:,.0f} + {b:.2f} per MAC")
        axis.set_title(f"{core}: $R^2$ = {r:.4f}", fontsize=10)
        axis.set_xlabel("multiply-accumulates executed, forward and backward", fontsize=8)
        axis.set_ylabel("instructions of a step", fontsize=8)
        axis.legend(fontsize=7)
        axis.grid(True, which="major", linewidth=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    say(f"picture: {short(path)}")


def print_split(core, split, records):
    """Where the instructions of a step go, by row and pass."""
    shares = sorted({kept for kept, _, _ in split}, reverse=True)
    lines = []
    for kept in shares:
        policy = "Full" if kept == 100 else f"TopK {kept} %"
        total = {p: sum(split[kept, row, p] for row in ROWS) for p in PASSES}
        cells = [f"{total[p]:,}" for p in PASSES]
        lines.append((policy, *cells, f"{sum(total.values()):,}"))
        for p in PASSES:
            metric = f"instructions_{p}"
            records.add(metric, total[p], "instructions", core, f"mlp-{SPLIT}", policy)
    print_table(f"{core}: instructions of mlp-{SPLIT} by pass", ("", *PASSES, "all"), lines)


def measure_all(cores=CORES, plot=None):
    """{core: (all together, told apart)}; printed and recorded."""
    records, rows = Records("scaling", "python3 scripts/scaling.py"), []
    results, splits, fits = {}, {}, {}
    for core in cores:
        say(f"Counting steps of many sizes on {core} ...")
        results[core], splits[core] = measure(core)
        fits[core] = figures(results[core])
        (a, b, r), (_, forward, backward, both) = fits[core]
        cells = len(results[core]), f"{a:,.0f}", f"{b:.2f}", f"{r:.4f}"
        rows.append((core, *cells, f"{forward:.2f}", f"{backward:.2f}", f"{both:.4f}"))
        for (net, kept), (count, f, k) in results[core].items():
            policy = "Full" if kept == 100 else f"TopK {kept} %"
            model = f"mlp-{net}"
            records.add("instructions_per_step", count, "instructions", core, model, policy)
            records.add("macs_per_step", f + k, "MACs", core, model, policy)
        for metric, value in (("instructions_per_mac", b), ("r_squared", r)):
            records.add(metric, round(float(value), 5), "1", core)
    header = ("", "steps", "constant", "per MAC", "R2", "forward", "backward", "R2 of both")
    print_table("Instructions of a step = constant + factor x MACs executed", header, rows)
    for core, split in splits.items():
        print_split(core, split, records)
    records.write()
    if plot:
        draw(results, Path(plot))
    return fits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", action="append", choices=list(layer_instructions.CORES))
    parser.add_argument("--plot", type=Path, help="file for a picture, .svg or .png")
    arguments = parser.parse_args()
    measure_all(arguments.core or CORES, arguments.plot)


if __name__ == "__main__":
    run_main(main)
