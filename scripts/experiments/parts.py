"""From the arrays of a data set to the Dataset files that jobs train and test on: standardised by
the training part, split as the experiment says, kept in build/experiments/data by content."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import audio
import numpy as np
import sources
from common import BUILD, ROOT, fail, say, short
from make_dataset import to_bytes

FOLDER = BUILD / "experiments" / "data"
VALIDATION = 0.2


@dataclass
class Part:
    """A Dataset file: its name is the digest of its content."""

    path: Path
    n: int
    digest: str


@dataclass
class Case:
    """What one training needs. who: the new speaker or subject, where there is one; before: what
    the net was trained on before; scored: for each test sample (group, anomaly, machine)."""

    train: Part
    test: Part
    who: str = ""
    before: Part = None
    scored: list = field(default_factory=list)


def _written(data):
    digest = hashlib.sha256(data).hexdigest()
    path = FOLDER / f"{digest[:20]}.tpd"
    if not path.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(data)
        unfinished.replace(path)
    return path, digest


def _cached(reader, folder, options, bad):
    """The arrays of a folder in its published format, kept as .npz as long as nothing changes."""
    code = b"".join(Path(m.__file__).read_bytes() for m in (sources, audio))
    state = repr((reader.__name__, sorted(options.items()), sources.listing(folder), bad.skip))
    key = hashlib.sha256(code + state.encode()).hexdigest()[:20]
    path = FOLDER / f"{key}.npz"
    if not path.is_file():
        say(f"Reading {short(folder)} ...")
        arrays = reader(folder, options, bad)
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, **arrays, left_out=np.array([short(p) for p in bad.files], str))
        unfinished.replace(path)
    arrays = sources.read_npz(path)
    left_out = arrays.pop("left_out")
    if len(left_out):
        names = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        say(f"left out {len(left_out)} corrupt files: {names}")
    return arrays


def arrays_of(experiment, folder, skip_bad=False):
    """The arrays of the experiment's data set, or None where neither source is there."""
    data = experiment.data
    roots = [Path(folder)] if folder else []
    if "npz" in data:
        for root in roots:
            if (root / data["npz"]).is_file():
                return sources.read_npz(root / data["npz"], data["x"])
    if "folder" in data:
        options = {k: data[k] for k in sources.OPTIONS.get(data["format"], {}) if k in data}
        for root in (*roots, ROOT):
            if (root / data["folder"]).is_dir():
                reader = sources.FORMATS[data["format"]]
                return _cached(reader, root / data["folder"], options, sources.Bad(skip_bad))
    return None


def wanted(experiment):
    """What arrays_of looks for, for a message."""
    data = experiment.data
    names = [data[k] for k in ("npz",) if k in data]
    names += [f"folder {data['folder']}"] if "folder" in data else []
    return " and no ".join(names)


def _stratified(y, share, seed=7):
    """(mask of the kept, mask of the held out): the share of each class, drawn once for all."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(y), bool)
    for label in np.unique(y):
        places = rng.permutation(np.flatnonzero(y == label))
        out[places[: round(len(places) * share)]] = True
    return ~out, out


def _held_out(arrays, split, draw=7, part="train"):
    """Masks over the training part: what trains and what validates; whole subjects where the
    experiment tests on unseen ones. draw: the seed that decides which."""
    y = arrays[f"y_{part}"] if f"y_{part}" in arrays else np.zeros(len(arrays[f"x_{part}"]))
    if "validate_by" not in split:
        return _stratified(y, VALIDATION, draw)
    group = _group(arrays, split["validate_by"], part)
    who = np.random.default_rng(draw).permutation(np.unique(group))
    out = np.isin(group, who[: max(1, round(len(who) * VALIDATION))])
    return ~out, out


def _group(arrays, name, part):
    if f"{name}_{part}" not in arrays:
        known = sorted(k[: -len("_train")] for k in arrays if k.endswith("_train"))
        fail(f"the data set has no {name}_{part}; it has {', '.join(known)}")
    return arrays[f"{name}_{part}"]


def _select(arrays, part, mask):
    """The samples of a part that the mask keeps: {name without the part: array}."""
    end = f"_{part}"
    return {k[: -len(end)]: v[mask] for k, v in arrays.items() if k.endswith(end)}


def _joined(a, b):
    return {k: np.concatenate([a[k], b[k]]) for k in a if k in b}


class _Writer:
    """Turns samples into Dataset files, standardised by the samples it was made with."""

    def __init__(self, experiment, arrays, reference):
        data = experiment.data
        self.name = experiment.name
        self.target = data["target"]
        self.shape = data.get("shape")
        self.classes = int(max(arrays[k].max() for k in ("y_train", "y_test") if k in arrays)) + 1
        x = reference["x"]
        scale, offset = arrays.get("x_scale"), arrays.get("x_offset")
        self.is_float = x.dtype.kind == "f"
        if scale is not None:
            scale = np.float32(scale)
        if offset is not None:
            offset = np.float32(offset)
        mode = data["standardise"]
        if mode == "pixels":
            scale, offset = 1 / 255, None
        elif mode != "none":
            values = x.astype(np.float32)
            values *= 1 if scale is None else scale
            values += 0 if offset is None else offset
            axes = tuple(range(values.ndim - 1)) if mode == "channel" else None
            deviation = values.std(axis=axes) + (1e-6 if mode != "deviation" else 0)
            mean = values.mean(axis=axes) if mode != "deviation" else 0
            scale = (1 if scale is None else scale) / deviation
            if mode == "deviation":
                offset = None if offset is None else offset / deviation
            else:
                offset = ((0 if offset is None else offset) - mean) / deviation
        self.scale, self.offset = scale, offset
        if not self.is_float and self.shape and np.size(scale) not in (1, self.shape[-1]):
            # A Dataset has one scale, or one for each value of its last axis: 16 bits with one
            # scale for all hold these numbers without a visible loss.
            self.step = np.abs(self._values(x)).max() / 32000
        else:
            self.step = None

    def _values(self, x):
        x = x.astype(np.float32)
        x = x if self.scale is None else x * np.float32(self.scale)
        return x if self.offset is None else x + np.float32(self.offset)

    def write(self, samples):
        x, scale, offset = samples["x"], self.scale, self.offset
        y = samples.get("y")
        if self.target == "input":
            y = self._values(x).reshape(len(x), -1)
        if self.is_float:
            x, scale, offset = self._values(x), None, None
        elif self.step is not None:
            x = np.clip(np.rint(self._values(x) / self.step), -32767, 32767).astype(np.int16)
            scale, offset = self.step, None
        try:
            if self.shape:
                x = x.reshape(len(x), *self.shape)
            if y.ndim == 1:
                y = y.astype(np.int64)
            path, digest = _written(to_bytes(x, y, self.classes, scale, offset))
        except ValueError as e:
            fail(f"{self.name}: {e}")
        return Part(path, len(x), digest)


def _limited(samples, n, seed=3):
    """At most n samples, drawn once for all."""
    if n is None or len(samples["x"]) <= n:
        return samples
    chosen = np.sort(np.random.default_rng(seed).permutation(len(samples["x"]))[:n])
    return {k: v[chosen] for k, v in samples.items()}


def cases(experiment, arrays, validation=None, train_limit=None, test_limit=None):
    """The trainings of an experiment: one, or one for each new speaker or subject.

    validation: a seed; the test part is left alone, and the fifth of the training part that it
    draws stands in for it.
    """
    arrays = dict(arrays)
    if experiment.data.get("spectra") or experiment.data.get("noise"):
        _vibrations(experiment, arrays)
    split = experiment.split
    if "x_test" not in arrays:
        if "test" not in split:
            fail(f"{experiment.name}: the data set has no test part: [split] test = 0.2 makes one")
        kept, out = _stratified(arrays["y_train"], split["test"])
        parts = _select(arrays, "train", kept), _select(arrays, "train", out)
        for part, samples in zip(("train", "test"), parts):
            arrays.update({f"{k}_{part}": v for k, v in samples.items()})
    for name in ("y_train", "y_test"):
        if name not in arrays and experiment.data["target"] == "class":
            fail(f"{experiment.name}: the data set has no {name}")
    if "by" in split:
        return _new_subjects(experiment, arrays, validation, train_limit, test_limit)
    everything = np.ones(len(arrays["x_train"]), bool)
    train, test = (everything, None) if not validation else _held_out(arrays, split, validation)
    train = _select(arrays, "train", train)
    if validation:
        test = _select(arrays, "train", test)
    else:
        test = _select(arrays, "test", np.ones(len(arrays["x_test"]), bool))
    train, test = _limited(train, train_limit), _limited(test, test_limit)
    writer = _Writer(experiment, arrays, train)
    scored = []
    if experiment.metric == "auc":
        n = range(len(test["x"]))
        clip, machine = test.get("clip", n), test.get("id", [0] * len(n))
        scored = [(int(c), int(a), int(i)) for c, a, i in zip(clip, test["y"], machine)]
    return [Case(writer.write(train), writer.write(test), scored=scored)]


def _vibrations(experiment, arrays):
    """Windows of samples become spectra of unit energy, behind noise where it is asked for."""
    noise, rng = experiment.data.get("noise", 0), np.random.default_rng(5)
    spectra = {}
    for part in ("train", "test"):
        x = arrays[f"x_{part}"].astype(np.float32) * np.float32(arrays.get("x_scale", 1))
        if x.ndim != 2 or x.shape[1] % 128:
            fail(f"{experiment.name}: spectra are of windows of n * 128 samples, not {x.shape}")
        spectra[part] = audio.band_spectra(x + noise * rng.standard_normal(x.shape))
    arrays.update(sources.quantise(spectra["train"], spectra["test"]))


def _new_subjects(experiment, arrays, validation, train_limit, test_limit):
    """For each new speaker or subject: everyone else's training part, then their own data, split
    by their order, by share, or as the data set is."""
    split = experiment.split
    by, new = split["by"], split["new"]
    trained, tested = (_group(arrays, by, part) for part in ("train", "test"))
    everyone, counts = np.unique(trained[trained >= 0], return_counts=True)
    if new == "each":
        new = everyone
    elif new == "test":
        new = np.unique(tested)
    elif isinstance(new, int):
        new = everyone[np.argsort(-counts, kind="stable")][:new]
    elif isinstance(new, str):
        fail(f'{experiment.name}: [split] new is {new!r}, allowed: "each", "test", n, or a list')
    result = []
    for who in new:
        mine = [
            _select(arrays, part, group == who)
            for part, group in (("train", trained), ("test", tested))
        ]
        if "order" in split:
            own = _joined(*mine)
            if split["order"] not in own:
                fail(f"{experiment.name}: the data set has no {split['order']}_train")
            at = own[split["order"]]
            parts = (at < split["train_below"], at >= split["test_from"])
            mine = [{k: v[mask] for k, v in own.items()} for mask in parts]
        elif "own_test" in split:
            own = _joined(*mine)
            mine = [
                {k: v[m] for k, v in own.items()} for m in _stratified(own["y"], split["own_test"])
            ]
        train, test = mine
        if validation:
            kept, out = _stratified(train["y"], VALIDATION, validation)
            test = {k: v[out] for k, v in train.items()}
            train = {k: v[kept] for k, v in train.items()}
        for what, samples in (("training", train), ("test", test)):
            if not len(samples["x"]):
                fail(f"{experiment.name}: {by} {who} has no samples for the {what} part")
        others = _select(arrays, "train", trained != who)
        writer = _Writer(experiment, arrays, others)
        train, test = _limited(train, train_limit), _limited(test, test_limit)
        result.append(
            Case(writer.write(train), writer.write(test), f"{by} {who}", writer.write(others))
        )
    return result
