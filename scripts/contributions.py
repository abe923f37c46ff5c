"""What a pretrained model gains by training what, for Sequential.plan(layers, budget=...).

    build/venv/bin/python scripts/contributions.py lenet new.npz --start build/models/lenet.params

Fine-tunes the model on the data again and again: the last 1, 2 .. n biases; then, with the biases
from there on, the weights of every layer for all of its filters and for 1/2, 1/4 and 1/8 of them.
The gain is that of the accuracy on the test part (of an autoencoder: the share by which its loss
falls) against the model as it was; for weights, against their biases alone. Writes
build/models/<model>.json, which a board reads as it is: contributions=json.load(open(...)).
"""

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import fail, run_main, say, short
from pretrain import FOLDER, NAMES, data_sets, learns_its_input, run_job

RATIOS = (1, 0.5, 0.25, 0.125)


def parts_of(filters, k, layer=None, ratio=1):
    """What all layers train: the last k their biases, and one of them a share of its weights."""
    parts = [False] * (len(filters) - k) + ["bias"] * k
    if layer is not None:
        n = max(1, int(filters[layer] * ratio + 0.5))
        parts[layer] = True if n >= filters[layer] else n
    return parts


def gain(before, after):
    if "accuracy" not in before:
        return (before["loss"] - after["loss"]) / before["loss"]
    return (after["accuracy"] - before["accuracy"]) / 100


def measure(job, last, done=None):
    """The table, from (biases and weights of) the last so many layers; the others gain nothing.
    job: arguments of pretrain.run_job."""
    start = run_job(**{**job, "epochs": 0})
    filters, before = start.result["filters"], start.points[0]
    n = len(filters)
    last = min(last or n, n)
    wishes = [(k, None, 0) for k in range(1, last + 1)]
    wishes += [(n - i, i, r) for i in range(n - last, n) for r in RATIOS]
    measured = {}

    def run(wish):
        after = run_job(**job, trainable=parts_of(filters, *wish)).points[-1]
        measured[wish] = gain(before, after)
        if done:
            done(len(measured), len(wishes))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(run, wishes))
    biases = [round(measured[min(k, last), None, 0], 4) for k in range(1, n + 1)]
    weights = [
        [round(measured[n - i, i, r] - measured[n - i, None, 0], 4) for r in RATIOS]
        if i >= n - last
        else [0] * len(RATIOS)
        for i in range(n)
    ]
    return {"biases": biases, "ratios": RATIOS, "weights": weights}, before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=NAMES)
    parser.add_argument("data", type=Path, help=".npz file, as for scripts/pretrain.py")
    parser.add_argument("--start", type=Path, help="pretrained parameters", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="only the first so many samples of each part")
    parser.add_argument("--last", type=int, help="look at the last so many layers only")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    for path in (a.data, a.start):
        if not path.is_file():
            fail(f"{path} does not exist")
    out = a.out or FOLDER / f"{a.model}.json"
    train, test = data_sets(a.data, a.limit, learns_its_input(a.model))
    job = {"model": a.model, "epochs": a.epochs, "lr": a.lr, "seed": a.seed}
    job.update(start=a.start, train=train, test=test)

    def done(n, of):
        if n % 10 == 0 or n == of:
            say(f"{n} of {of} trained")

    table, _ = measure(job, a.last, done)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table) + "\n")
    say("biases of the last 1, 2 ..: " + " ".join(f"{g:+.3f}" for g in table["biases"]))
    for i, gains in enumerate(table["weights"]):
        say(
            f"weights of layer {i + 1:2} at 1, 1/2, 1/4, 1/8: "
            + " ".join(f"{g:+.3f}" for g in gains)
        )
    say(f"{short(out)} is ready")


if __name__ == "__main__":
    run_main(main)
