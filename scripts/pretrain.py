"""Train a reference model of examples/models on this machine, to be fine-tuned on a board.

    build/venv/bin/python scripts/pretrain.py lenet mnist.npz --epochs 3

The .npz holds x_train, y_train, x_test, y_test and, for quantised values, x_scale and x_offset.
Writes build/models/<model>.tp, a checkpoint, and build/models/<model>.params: the float32 weights
and biases, layer after layer, as Sequential(..., external=) takes them. One seed gives the same
files. The values are standardised; pictures that are mostly black keep their zeros.
"""

import argparse
import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "experiments"))

import numpy as np  # noqa: E402
import runner  # noqa: E402
from common import BUILD, ROOT, fail, run_main, say, short  # noqa: E402
from make_dataset import read_arrays, to_bytes  # noqa: E402

MICROPYTHON = BUILD / "bin" / "micropython"
MODELS = ROOT / "examples" / "models"
NAMES = sorted(p.stem for p in MODELS.glob("*.py"))
FOLDER = BUILD / "models"


def run_job(model, train, test, epochs=0, lr=0.01, seed=1, start=None, trainable=None, keep=()):
    """Train a reference model, at a rate that falls in a straight line to a tenth of lr; the job
    of scripts/experiments/runner.py, done. start: a file of parameters. Ends the program where it
    fails."""
    if not MICROPYTHON.is_file():
        fail(f"{short(MICROPYTHON)} does not exist: make build")
    settings = runner.settings(
        model={"module": "net", "arguments": {}},
        loss="mean_squared_error" if learns_its_input(model) else "softmax_cross_entropy",
        rates=runner.hex_rates([lr * (1 - 0.9 * i / epochs) for i in range(epochs)]),
        **{"seed": seed, "before": True, "trainable": trainable, "keep": list(keep)},
        start="start.params" if start else "",
        block_bytes=20 << 20,
    )
    files = {"net.py": MODELS / f"{model}.py", "train.tpd": train, "test.tpd": test}
    if start:
        files["start.params"] = start
    job = runner.Job(model, settings, {name: (path, "") for name, path in files.items()})
    try:
        runner.run_job(job, runner.Unix(MICROPYTHON))
    except runner.JobError as e:
        fail(f"{model}: {e}")
    return job


def standardised(x, x_test, scale, offset):
    """(x, x_test, scale, offset) of integers with one scale for all values."""
    if x.dtype == np.uint8 and x.mean() < 64:
        return x, x_test, 1 / 255, 0.0
    if x.dtype.kind in "iu" and np.ndim(scale) == 0:
        values = x[:: max(1, len(x) // 2000)].astype(np.float32)
        return x, x_test, 1 / values.std(), -values.mean() / values.std()
    # Every column of the last axis for itself, at 8 bits again: 4 deviations are 127.
    x, x_test = (v.astype(np.float32) * scale + offset for v in (x, x_test))
    axes = tuple(range(x.ndim - 1))
    mean, deviation = x.mean(axes), x.std(axes) + 1e-6
    x, x_test = (
        np.clip(np.round((v - mean) / deviation * (127 / 4)), -127, 127).astype(np.int8)
        for v in (x, x_test)
    )
    return x, x_test, 4 / 127, 0.0


def data_sets(npz, limit=None, own_input=False):
    """Paths of the Dataset files of an .npz file, the first `limit` samples of both parts; with
    own_input the samples are their own targets."""
    x, y, x_test, y_test = read_arrays(npz, ["x_train", "y_train", "x_test", "y_test"])
    with np.load(npz) as file:
        scale, offset = (file[n] if n in file else d for n, d in (("x_scale", 1), ("x_offset", 0)))
    x, x_test, scale, offset = standardised(x, x_test, scale, offset)
    classes = int(max(y.max(), y_test.max())) + 1
    digest = hashlib.sha256(Path(npz).read_bytes() + str((limit, own_input)).encode()).hexdigest()
    paths = []
    for part, values, labels in (("train", x, y), ("test", x_test, y_test)):
        path = FOLDER / "data" / f"{Path(npz).stem}-{digest[:12]}-{part}.tpd"
        values, labels = values[:limit], labels[:limit]
        if own_input:
            labels = (values.astype(np.float32) * scale + offset).reshape(len(values), -1)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(
                to_bytes(values, labels, None if own_input else classes, scale, offset)
            )
        except ValueError as e:
            fail(f"{npz}: {e}")
        paths.append(str(path))
    return paths


def learns_its_input(model):
    return "LOSS" in (MODELS / f"{model}.py").read_text()


def shown(point):
    accuracy = f", accuracy {point['accuracy']:.2f}%" if "accuracy" in point else ""
    return f"loss {point['loss']:.4f}{accuracy}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=NAMES)
    parser.add_argument("data", type=Path, help=".npz file")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="only the first so many samples of each part")
    parser.add_argument("--start", type=Path, help="parameters to start from, else drawn")
    parser.add_argument("--out", type=Path, help="path without its end (build/models/<model>)")
    a = parser.parse_args()
    out = a.out or FOLDER / a.model
    out.parent.mkdir(parents=True, exist_ok=True)
    if not a.data.is_file():
        fail(f"{a.data} does not exist")
    train, test = data_sets(a.data, a.limit, learns_its_input(a.model))
    names = ["model.tp", "model.params"]
    job = run_job(a.model, train, test, a.epochs, a.lr, a.seed, a.start, keep=names)
    say(f"before    {shown(job.points[0])}")
    say(f"after     {shown(job.points[-1])}")
    for name, content in job.kept.items():
        path = out.with_name(out.name + Path(name).suffix)
        path.write_bytes(content)
        say(f"{short(path)}  {len(content)} bytes  sha256 {runner.digest(content)[:16]}")


if __name__ == "__main__":
    run_main(main)
