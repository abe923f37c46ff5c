"""Accuracy and effort of the policies, data set by data set: `make table DATA=folder`.

Trains on MicroPython's unix port, several seeds a policy. Without DATA only the digits that ship
with the project are used. Records: build/bench/table.json; --markdown FILE writes the table.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from build_unix import build_unix  # noqa: E402
from common import fail, run_main, say  # noqa: E402
from datasets import TASKS, files  # noqa: E402
from records import Records, print_table  # noqa: E402
from runner import run_jobs  # noqa: E402

POLICIES = {
    "Full": ("Full", {}),
    "TinyPropV2": ("TinyPropV2", {}),
    "TinyPropV2+backoff": ("TinyPropV2", {"backoff": 8}),
    "TopK": ("TopK", {"ratio": 0.1}),
    "TinyProp": ("TinyProp", {}),
}
DEFAULT = ("Full", "TinyPropV2", "TinyPropV2+backoff")
# The sets whose mean counts against the targets.
REQUIRED = ("mnist", "fashion", "fsdd", "har", "speech", "bearing")
METRICS = {
    "accuracy": "%",
    "effort_backward": "share",
    "effort_total": "share",
    "policy_effort_backward": "share",
    "policy_effort_total": "share",
    "skipped_share": "share",
    "block_bytes": "B",
}
HEADER = ("data set", "policy", "accuracy %", "points", "backward", "total")
HEADER += ("backward*", "total*", "skipped")
NOTE = "* as the policy asked, as if zeros were multiplied too"


def train(names, policies, seeds, folder):
    """{data set: {policy: {metric: mean over the seeds, std of accuracy, model}}}.

    policies: {name: (class of tinyprop, settings)}.
    """
    jobs, places = [], []
    for name in names:
        task, parts = TASKS[name], files(name, folder)
        if parts is None:
            say(f"skipped {name}: no {task.file}.npz; give its folder: make table DATA=folder")
            continue
        for policy in policies:
            for seed in range(1, seeds + 1):
                places.append((name, policy))
                jobs.append(
                    {
                        "train": str(parts[0]),
                        "test": str(parts[1]),
                        "hidden": task.hidden,
                        "policy": policies[policy],
                        "lr": task.lr,
                        "epochs": task.epochs,
                        "seed": seed,
                    }
                )
    say(f"{len(jobs)} trainings on build/bin/micropython ...")

    def progress(n):
        if n == len(jobs) or places[n - 1] != places[n]:
            say(f"  {places[n - 1][0]}, {places[n - 1][1]}: done ({n} of {len(jobs)})")

    outcome = {}
    results = [result for _, result in run_jobs(jobs, progress)]
    for place in dict.fromkeys(places):
        mine = [r for p, r in zip(places, results) if p == place]
        row = {metric: statistics.fmean(r[metric] for r in mine) for metric in METRICS}
        row["model"] = mine[0]["model"]
        row["std"] = statistics.stdev(r["accuracy"] for r in mine) if len(mine) > 1 else 0.0
        outcome.setdefault(place[0], {})[place[1]] = row
    return outcome


def table_rows(outcome):
    rows = []
    for name, policies in outcome.items():
        full = policies.get("Full")
        for i, (policy, r) in enumerate(policies.items()):
            points = f"{r['accuracy'] - full['accuracy']:+.2f}" if full else ""
            title = f"{TASKS[name].title}, {r['model'][4:]}" if i == 0 else ""
            efforts = [f"{r[m]:.4f}" for m in list(METRICS)[1:5]]
            accuracy = f"{r['accuracy']:.2f} ± {r['std']:.2f}"
            share = f"{100 * r['skipped_share']:.1f} %"
            rows.append((title, policy, accuracy, points, *efforts, share))
    return rows


def means(outcome):
    """The mean over the required sets, where all of them were trained with Full."""
    rows = []
    if not all(name in outcome and "Full" in outcome[name] for name in REQUIRED):
        return rows
    for policy in outcome[REQUIRED[0]]:
        mine = [outcome[name][policy] for name in REQUIRED]
        points = [
            outcome[name][policy]["accuracy"] - outcome[name]["Full"]["accuracy"]
            for name in REQUIRED
        ]
        cells = [f"{statistics.fmean(r[m] for r in mine):.4f}" for m in list(METRICS)[1:5]]
        accuracy = f"{statistics.fmean(r['accuracy'] for r in mine):.2f}"
        share = f"{100 * statistics.fmean(r['skipped_share'] for r in mine):.1f} %"
        change = f"{statistics.fmean(points):+.2f} (least {min(points):+.2f})"
        title = "mean of the six" if not rows else ""
        rows.append((title, policy, accuracy, change, *cells, share))
    return rows


DOCUMENT = """# Accuracy and effort, data set by data set

`make table DATA=folder SEEDS={seeds}` trains every row on MicroPython's unix port and prints this
table; `docs/results.md` is what it wrote. The folder holds the data sets as .npz files with
`x_train`, `y_train`, `x_test`, `y_test` (and `x_scale`, `x_offset` for quantised values):
{files}; the digits are part of the project.

Networks are MLPs with ReLU, trained sample by sample by plain SGD in float32 from random weights,
all policies with the same seeds, order, epochs and learning rates (set by hand near the best for
full training: `scripts/experiments/datasets.py`), falling in a straight line to a tenth.
TinyPropV2 has its default settings; back-off waits up to 8 epochs. Accuracy is that of the test
part after the last epoch, mean and standard deviation over {seeds} seeds; points are against full
training. Efforts are multiply-accumulates done, as a share of those of dense full training; in the
columns with a star they are counted as the policy asked, as if zero inputs were multiplied too.
The settings were chosen on these test parts too (docs/defaults.md).

"""


def markdown(rows, seeds):
    files = ", ".join(f"`{task.file}`" for task in TASKS.values() if task.file)
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * 2 + "---:|" * (len(HEADER) - 2)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return DOCUMENT.format(seeds=seeds, files=files) + "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder of .npz files")
    parser.add_argument("--sets", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--policies", nargs="*", default=DEFAULT, choices=list(POLICIES))
    parser.add_argument("--seeds", type=int, default=os.environ.get("SEEDS", 8))
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--records", type=Path, help="instead of build/bench/table.json")
    a = parser.parse_args(arguments)
    if a.data and not Path(a.data).is_dir():
        fail(f"no folder {a.data}")
    build_unix()
    outcome = train(a.sets, {name: POLICIES[name] for name in a.policies}, a.seeds, a.data)
    records = Records("table", f"make table DATA=folder SEEDS={a.seeds}")
    for name, policies in outcome.items():
        for policy, row in policies.items():
            for metric, unit in METRICS.items():
                value = row[metric]
                records.add(metric, value, unit, model=row["model"], policy=policy, name=name)
    rows = table_rows(outcome) + means(outcome)
    print_table(
        f"Float32, batch 1, {a.seeds} seeds; efforts: share of dense training", HEADER, rows
    )
    say(NOTE)
    records.write(a.records)
    if a.markdown:
        a.markdown.write_text(markdown(rows, a.seeds))
    return outcome


if __name__ == "__main__":
    run_main(lambda: main() and 0)
