"""The demo: a digit classifier learns on MicroPython's unix port, by full training, by TinyPropV2
and by TinyPropV2 with back-off; mean of five seeds.

Prints the table, draws build/demo/training.png, writes build/demo/results.json.
"""

import statistics
import sys
import time
from pathlib import Path

from build_unix import build_unix
from common import BUILD, ROOT, fail, run_main, say, short
from records import Records, print_table

sys.path.insert(0, str(Path(__file__).resolve().parent / "experiments"))
from runner import run_jobs  # noqa: E402

FOLDER = BUILD / "demo"
DIGITS = ROOT / "examples" / "digits"
MODEL, HIDDEN, LR, EPOCHS, SEEDS = "mlp-64-32-10", [32], 0.05, 30, (1, 2, 3, 4, 5)
POLICIES = {
    "Full": ("Full", {}),
    "TinyPropV2": ("TinyPropV2", {}),
    "TinyPropV2+backoff": ("TinyPropV2", {"backoff": 8}),
}


def jobs():
    for policy in POLICIES.values():
        for seed in SEEDS:
            yield {
                "train": str(DIGITS / "train.tpd"),
                "test": str(DIGITS / "test.tpd"),
                "hidden": HIDDEN,
                "policy": policy,
                "lr": LR,
                "epochs": EPOCHS,
                "seed": seed,
                "curve": True,
            }


def mean(results, key):
    return statistics.fmean(r[key] for r in results)


def curve(runs, key):
    """Mean over the seeds after each epoch."""
    return [mean(points, key) for points in zip(*(points for points, _ in runs))]


def draw(runs, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    panels = [
        ("accuracy", "accuracy on 500 held-out digits (%)", "linear"),
        ("effort_backward", "backward effort so far (share of dense)", "log"),
        ("effort_total", "total effort so far (share of dense)", "log"),
    ]
    epochs = range(1, EPOCHS + 1)
    for axis, (key, title, scale) in zip(axes, panels):
        for name, style in zip(POLICIES, ("k-", "C0-", "C1--")):
            axis.plot(epochs, curve(runs[name], key), style, label=name)
        axis.set(title=title, xlabel="epoch", yscale=scale, xticks=range(0, EPOCHS + 1, 5))
        if scale == "log":
            axis.set_yticks([0.02, 0.05, 0.1, 0.2, 0.4], ["2 %", "5 %", "10 %", "20 %", "40 %"])
            axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(
        f"{MODEL} learns 1,297 handwritten digits on MicroPython, mean of {len(SEEDS)} seeds"
    )
    figure.savefig(path, dpi=110)


def main():
    build_unix()
    if not DIGITS.is_dir():
        fail(f"{short(DIGITS)} is missing: it is part of the repository")
    all_jobs = list(jobs())
    say(
        f"Training {MODEL} on handwritten digits: {len(POLICIES)} policies x {len(SEEDS)} seeds, "
        f"{EPOCHS} epochs each, in build/bin/micropython ..."
    )
    started = time.monotonic()

    def progress(n):
        if n % len(SEEDS) == 0:
            say(f"  {list(POLICIES)[n // len(SEEDS) - 1]}: done")

    outcomes = run_jobs(all_jobs, progress)
    say(f"  {len(all_jobs)} trainings in {time.monotonic() - started:.1f} s")
    n = len(SEEDS)
    runs = {name: outcomes[i * n : (i + 1) * n] for i, name in enumerate(POLICIES)}
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw(runs, FOLDER / "training.png")
    records = Records("digits", "make demo")
    rows = []
    full = mean([r for _, r in runs["Full"]], "accuracy")
    for name, outcome in runs.items():
        results = [r for _, r in outcome]
        value = {
            "accuracy": (mean(results, "accuracy"), "%"),
            "effort_backward": (mean(results, "effort_backward"), "share"),
            "effort_total": (mean(results, "effort_total"), "share"),
            "skipped_share": (mean(results, "skipped_share"), "share"),
            "block_bytes": (results[0]["block_bytes"], "B"),
        }
        for metric, (number, unit) in value.items():
            records.add(metric, number, unit, model=MODEL, policy=name)
        spread = statistics.stdev(r["accuracy"] for r in results)
        rows.append(
            (
                name,
                f"{value['accuracy'][0]:.2f} ± {spread:.2f}",
                f"{value['accuracy'][0] - full:+.2f}",
                f"{value['effort_backward'][0]:.4f}",
                f"{value['effort_total'][0]:.4f}",
                f"{100 * value['skipped_share'][0]:.1f} %",
                value["block_bytes"][0],
            )
        )
    records.write(FOLDER / "results.json")
    say(f"picture: {short(FOLDER / 'training.png')}")
    header = ("policy", "accuracy %", "points", "backward", "total", "skipped", "bytes")
    print_table(f"Digits, {MODEL}, float32, batch 1; efforts: share of dense", header, rows)


if __name__ == "__main__":
    run_main(main)
