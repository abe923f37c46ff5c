"""The data sets of the experiments: where they come from and how a network is to see them.

`digits` ships in examples/digits. The others are .npz files (x_train, y_train, x_test, y_test,
and x_scale / x_offset for quantised values) in a folder that the user names; they become Dataset
files in build/data, standardised by the training part: mean 0, deviation 1.
"""

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import BUILD, ROOT, fail, say  # noqa: E402
from make_dataset import read_arrays, to_bytes  # noqa: E402


@dataclass(frozen=True)
class Task:
    """A data set and the network, learning rate and epochs it is trained with. The learning rate
    was set by hand, near the best of a few tries of full training with two seeds."""

    title: str
    file: str
    hidden: tuple
    lr: float
    epochs: int
    # Which values share a mean and a deviation: "pixels" none (x / 255), "channel" each position
    # of the last axis, "all" one deviation and mean, "deviation" one deviation and mean 0.
    standardise: str


TASKS = {
    "digits": Task("Digits 8x8", "", (32,), 0.05, 30, "pixels"),
    "mnist": Task("MNIST", "mnist", (64,), 0.01, 15, "pixels"),
    "fashion": Task("Fashion-MNIST", "fashion_mnist", (64,), 0.01, 15, "pixels"),
    "fsdd": Task("Spoken digits", "fsdd", (128,), 0.005, 30, "channel"),
    "har": Task("HAR, smart watch", "har_wisdm_watch", (128,), 0.005, 30, "deviation"),
    "har43": Task("HAR, 43 features", "har_wisdm_feat43", (64,), 0.01, 30, "none"),
    "speech": Task("Speech commands", "speech_commands12", (128,), 0.0075, 30, "channel"),
    "bearing": Task("Bearing faults", "cwru_fault9", (64,), 0.01, 15, "all"),
}


def _scaling(task, x, scale, offset):
    """(scale, offset) of the stored values for a network that wants them standardised."""
    if task.standardise == "pixels":
        return 1 / 255, None
    values = x.astype(np.float32) * scale + offset
    if task.standardise == "deviation":
        return scale / values.std(), None
    axes = tuple(range(values.ndim - 1)) if task.standardise == "channel" else None
    mean, deviation = values.mean(axis=axes), values.std(axis=axes) + 1e-6
    return scale / deviation, (offset - mean) / deviation


def _convert(task, source, target):
    names = ["x_train", "y_train", "x_test", "y_test"]
    x, y, x_test, y_test = read_arrays(source, names)
    classes = int(max(y.max(), y_test.max())) + 1
    if x.dtype.kind == "f":
        x, x_test, scale, offset = x.astype(np.float32), x_test.astype(np.float32), None, None
    else:
        with np.load(source) as file:
            stored = [
                file[n].astype(np.float32) if n in file else np.float32(default)
                for n, default in (("x_scale", 1), ("x_offset", 0))
            ]
        scale, offset = _scaling(task, x, *stored)
    for part, xs, ys in (("train", x, y), ("test", x_test, y_test)):
        data = to_bytes(xs, ys.astype(np.int64), classes, scale, offset)
        (target / f"{part}.tpd").write_bytes(data)


def files(name, folder):
    """(train, test) Dataset files of a task, or None where its data are not in folder."""
    task = TASKS[name]
    if not task.file:
        shipped = ROOT / "examples" / "digits"
        return shipped / "train.tpd", shipped / "test.tpd"
    source = Path(folder) / f"{task.file}.npz" if folder else None
    if source is None or not source.is_file():
        return None
    version = hashlib.sha256(source.read_bytes() + repr(task).encode()).hexdigest()[:12]
    target = BUILD / "data" / f"{name}-{version}"
    if not target.is_dir():
        say(f"Converting {source.name} ...")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: what an interruption leaves is never taken for the data.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            unfinished = Path(folder) / "data"
            unfinished.mkdir()
            try:
                _convert(task, source, unfinished)
            except ValueError as e:
                fail(f"{source.name}: {e}")
            unfinished.rename(target)
    return target / "train.tpd", target / "test.tpd"
