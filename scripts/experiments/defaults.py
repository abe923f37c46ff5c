"""The experiment behind the defaults of TinyPropV2: a grid of its settings over seven data sets.

usage: defaults.py --data FOLDER [--seeds N] [--markdown FILE]. Each row is one setting: points
lost against full training (mean and most over the sets) and mean efforts. Records:
build/bench/defaults.json.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from build_unix import build_unix  # noqa: E402
from common import fail, run_main  # noqa: E402
from records import Records, print_table  # noqa: E402
from table import REQUIRED, train  # noqa: E402

SETS = ("digits", *REQUIRED)
# As the papers and the authors' code of TinyProp suggest; the point of departure.
PAPER = {
    "s_min": 0.1,
    "s_max": 0.9,
    "zeta": 0.5,
    "threshold": 0.5,
    "dense_output": False,
    "rescale": False,
}
HEADER = ("S", "zeta", "threshold", "output", "rescale", "lost", "most lost", "backward", "total")


def kept(s_min, s_max, threshold=0.05, dense_output=True, rescale=True):
    return {
        "s_min": s_min,
        "s_max": s_max,
        "zeta": 1.0,
        "threshold": threshold,
        "dense_output": dense_output,
        "rescale": rescale,
    }


def grid():
    """Settings from the paper's to ours, one question at a time."""
    yield PAPER
    yield {**PAPER, "threshold": 0.1, "zeta": 1.0}
    # Skipping samples only, at rising thresholds.
    for threshold in (0.05, 0.1, 0.2):
        yield kept(1.0, 1.0, threshold)
    # Keeping rows: in the output layer too, in the hidden layer only, rescaled.
    for s_min, s_max in ((0.1, 1.0), (0.2, 1.0)):
        yield kept(s_min, s_max, dense_output=False, rescale=False)
    for rescale in (False, True):
        for s_min, s_max in ((0.05, 0.25), (0.1, 0.5), (0.1, 1.0), (0.2, 1.0)):
            yield kept(s_min, s_max, rescale=rescale)
    yield kept(0.2, 1.0, threshold=0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DATA"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    a = parser.parse_args()
    if not a.data or not Path(a.data).is_dir():
        fail("needs the folder of the data sets: --data FOLDER")
    build_unix()
    settings = {f"{i}": s for i, s in enumerate(grid())}
    policies = {"Full": ("Full", {}), **{n: ("TinyPropV2", s) for n, s in settings.items()}}
    outcome = train(SETS, policies, a.seeds, a.data)
    missing = [name for name in SETS if name not in outcome]
    if missing:
        fail(f"no data for {', '.join(missing)} in {a.data}")
    records = Records("defaults", "scripts/experiments/defaults.py")
    rows = []
    for name, s in settings.items():
        mine = [outcome[d][name] for d in SETS]
        lost = [outcome[d]["Full"]["accuracy"] - outcome[d][name]["accuracy"] for d in SETS]
        values = {"points_lost": statistics.fmean(lost), "most_points_lost": max(lost)}
        for metric in ("effort_backward", "effort_total"):
            values[metric] = statistics.fmean(r[metric] for r in mine)
        label = " ".join(f"{k}={v}" for k, v in s.items())
        for metric, value in values.items():
            unit = "points" if "points" in metric else "share"
            records.add(metric, value, unit, model="mean of seven", policy=label)
        share = f"{s['s_min']:g} .. {s['s_max']:g}"
        output = "dense" if s["dense_output"] else "selected"
        cells = [f"{values[m]:.2f}" for m in ("points_lost", "most_points_lost")]
        cells += [f"{values[m]:.4f}" for m in ("effort_backward", "effort_total")]
        kept = (share, s["zeta"], s["threshold"], output, "yes" if s["rescale"] else "no")
        rows.append((*kept, *cells))
    print_table(f"TinyPropV2 settings, mean of {len(SETS)} sets, {a.seeds} seeds", HEADER, rows)
    records.write()
    if a.markdown:
        lines = ["| " + " | ".join(HEADER) + " |", "|---|" + "---:|" * (len(HEADER) - 1)]
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
        a.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    run_main(main)
