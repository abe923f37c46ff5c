"""Experiment files: sets/*.toml. What may stand in one, and the check of it.

An experiment says the data set, the split, the model, the optimiser, the policies and the seeds; a
collection names experiments and what is different in all of them. `like` in an experiment names
another one whose tables it takes where it has none of its own.
"""

import copy
import math
from pathlib import Path

import sources
import tomllib
from common import ROOT, fail

SETS = Path(__file__).resolve().parent / "sets"
STANDARDISE = ("none", "pixels", "channel", "all", "deviation")
SCHEDULES = ("linear", "cosine", "constant")

# Label -> class and settings; what an experiment compares unless it says otherwise.
POLICIES = {
    "Full": {},
    "TopK": {"ratio": 0.1},
    "TinyProp": {},
    "TinyPropV2": {},
    "TinyPropV2+backoff": {"policy": "TinyPropV2", "backoff": 8},
}

# Table -> key -> type, or a tuple of the values allowed.
TRAINING = {"epochs": int, "lr": float, "schedule": SCHEDULES, "final": float}
KEYS = {
    "": {
        **{"title": str, "like": str, "seeds": (int, list), "batch_size": int, "curve": bool},
        **{"data": dict, "split": dict, "model": dict, "training": dict, "optimizer": dict},
        **{"policies": dict, "finetune": dict},
    },
    "data": {
        **{"npz": str, "folder": str, "format": tuple(sources.FORMATS), "x": str, "shape": list},
        **{"spectra": bool, "noise": float, "standardise": STANDARDISE},
        **{"target": ("class", "input"), "metric": ("accuracy", "auc", "fit")},
    },
    "split": {
        **{"test": float, "validate_by": str, "by": str, "new": (str, int, list)},
        **{"own_test": float, "order": str, "train_below": int, "test_from": int},
    },
    "model": {"name": str, "layers": list, "file": str, "arguments": dict, "loss": str},
    "training": TRAINING,
    "finetune": TRAINING,
    "collection": {
        **{"title": str, "intro": str, "experiments": list, "seeds": (int, list)},
        **{"policies": dict, "mean": (list, dict), "rows": ("all", "means"), "commands": bool},
    },
}


def check(where, table, known):
    """Every key of the table is known and has the right kind of value."""
    for key, value in table.items():
        if key not in known:
            fail(f"{where}: unknown key {key!r}, known: {', '.join(sorted(known))}")
        kind = known[key]
        if isinstance(kind, tuple) and isinstance(kind[0], str):
            if value not in kind:
                fail(f"{where}: {key} is {value!r}, allowed: {', '.join(kind)}")
            continue
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if float in kinds:
            kinds += (int,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(k.__name__ for k in kinds)
            fail(f"{where}: {key} is {value!r}, expected: {names}")


def read(path):
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        fail(f"{path.name}: {e}")


def whole(path, above=()):
    """The tables of an experiment file, with those of the one it is like where it has none."""
    raw = read(path)
    check(path.stem, raw, KEYS[""])
    if "like" not in raw:
        return raw
    sibling = path.parent / f"{raw['like']}.toml"
    if not sibling.is_file() or sibling in above:
        fail(f"{path.stem}: like: {sibling.name} is missing, or like this one")
    return {**whole(sibling, (*above, path, sibling)), **raw}


def find(name):
    """The file of an experiment or collection: a path, or the name of one in sets/."""
    path = Path(name) if str(name).endswith(".toml") else SETS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SETS.glob("*.toml")))
        fail(f"no experiment {name!r}; there is {known}, or give a .toml file")
    return path


class Experiment:
    """A checked experiment file."""

    def __init__(self, path):
        self.name = path.stem
        raw = whole(path)
        self.data = {"standardise": "none", "target": "class", "x": "x", **raw.get("data", {})}
        options = sources.OPTIONS.get(self.data.get("format"), {})
        check(f"{self.name}: [data]", self.data, {**KEYS["data"], **options})
        for table in ("split", "model", "training", "finetune"):
            check(f"{self.name}: [{table}]", raw.get(table, {}), KEYS[table])
        self.title = raw.get("title", self.name)
        self.split = raw.get("split", {})
        self.model = raw.get("model", {})
        self.batch_size = raw.get("batch_size", 1)
        self.curve = raw.get("curve", True)
        self.optimizer = {"kind": "SGD", **raw.get("optimizer", {})}
        self.training = raw.get("training", {})
        self.finetune = raw.get("finetune")
        self.set_seeds(raw.get("seeds", 3))
        self.set_policies(raw.get("policies", POLICIES))
        anomaly = self.data["target"] == "input"
        self.metric = self.data.get("metric", "auc" if anomaly else "accuracy")
        self.loss = self.model.get(
            "loss", "mean_squared_error" if anomaly else "softmax_cross_entropy"
        )
        self._complete()

    def _complete(self):
        """What must not be missing, and what only makes sense together."""
        if not ("npz" in self.data or "folder" in self.data):
            fail(f"{self.name}: [data] needs npz (a file) or folder and format")
        if ("folder" in self.data) != ("format" in self.data):
            fail(f"{self.name}: [data] folder and format go together")
        if "lr" in self.optimizer:
            fail(f"{self.name}: lr belongs into [training], not into [optimizer]")
        if ("layers" in self.model) == ("file" in self.model):
            fail(f"{self.name}: [model] needs either layers or file")
        for i, layer in enumerate(self.model.get("layers", []), 1):
            if not isinstance(layer, dict) or not isinstance(layer.get("layer"), str):
                fail(f"{self.name}: layer {i} of the model is not a table like {{ layer = ... }}")
        if "file" in self.model and not (ROOT / self.model["file"]).is_file():
            fail(f"{self.name}: no file {self.model['file']} for the model")
        for name, table in (("training", self.training), ("finetune", self.finetune)):
            for key in ("epochs", "lr"):
                if table is not None and not table.get(key, 0) > 0:
                    fail(f"{self.name}: [{name}] needs {key} above 0")
        if (self.finetune is None) != ("by" not in self.split):
            fail(f"{self.name}: [finetune] and by in [split] go together")
        if "by" in self.split and "new" not in self.split:
            fail(f"{self.name}: [split] needs new: who is fine-tuned on")
        order = [k in self.split for k in ("order", "train_below", "test_from")]
        if any(order) and not all(order):
            fail(f"{self.name}: [split] order, train_below and test_from go together")
        for key in ("test", "own_test"):
            if key in self.split and not 0 < self.split[key] < 1:
                fail(f"{self.name}: [split] {key} is {self.split[key]}, allowed 0 .. 1")

    def set_seeds(self, seeds):
        self.seeds = list(range(1, seeds + 1)) if isinstance(seeds, int) else list(seeds)
        if not self.seeds or not all(isinstance(s, int) and s > 0 for s in self.seeds):
            fail(f"{self.name}: seeds is {seeds!r}, expected: a number, or a list of seeds")

    def set_policies(self, table):
        """{label: (class, settings)}; the label is the class where none is given. trainable:
        {label: what each layer with weights trains}, where a policy says so. A dtype among the
        settings is that of the model."""
        self.policies, self.trainable = {}, {}
        for label, settings in table.items():
            if not isinstance(settings, dict):
                fail(f"{self.name}: policy {label!r} is {settings!r}, expected: a table")
            settings = dict(settings)
            if "trainable" in settings:
                self.trainable[label] = self._trainable(label, settings.pop("trainable"))
            self.policies[label] = (settings.pop("policy", label), settings)

    def _trainable(self, label, parts):
        if self.finetune is None:
            fail(f"{self.name}: trainable of policy {label!r} is for a fine-tuning")
        for part in parts if isinstance(parts, list) else [parts]:
            # True and False are integers too.
            if not (part == "bias" or (isinstance(part, int) and part >= 0)):
                fail(
                    f"{self.name}: trainable of policy {label!r} has {part!r}, "
                    'allowed: true, false, "bias", a number of filters'
                )
        if not isinstance(parts, list):
            fail(f"{self.name}: trainable of policy {label!r} is {parts!r}, expected: list")
        return parts

    def rates(self, table):
        """The learning rate of each epoch."""
        n, lr = table["epochs"], table["lr"]
        last = table.get("final", 0.1)
        shape = {
            "linear": lambda t: 1 - (1 - last) * t,
            "cosine": lambda t: last + (1 - last) * (1 + math.cos(math.pi * t)) / 2,
            "constant": lambda t: 1.0,
        }[table.get("schedule", "linear")]
        return [lr * shape(i / n) for i in range(n)]

    def variant(self, suffix, lr):
        """The same experiment at another learning rate (of the fine-tuning, where there is)."""
        other = copy.deepcopy(self)
        (other.finetune or other.training)["lr"] = lr
        other.name += suffix
        other.title += suffix
        return other


class Collection:
    """Experiments that make one table: a file with `experiments`, or those named one by one."""

    def __init__(self, names):
        # mean: names, or {label: names}. rows: "means" leaves the single experiments out of the
        # table. commands: the document says below it how to make the rows of each.
        self.intro, self.mean, self.rows, self.commands = "", None, "all", False
        self.experiments = []
        self.optional = set()
        paths = [find(name) for name in names]
        self.name = "+".join(path.stem for path in paths)
        self.title = self.name
        for path in paths:
            self._add(path, len(paths) == 1)

    def _add(self, path, alone):
        raw = read(path)
        if "experiments" not in raw:
            if path.stem not in [e.name for e in self.experiments]:
                self.experiments.append(Experiment(path))
            return
        check(path.stem, raw, KEYS["collection"])
        first = len(self.experiments)
        for name in raw["experiments"]:
            file = path.parent / f"{name}.toml"
            if not file.is_file():
                fail(f"{path.stem}: there is no experiment {name!r}")
            self._add(file, False)
        for experiment in self.experiments[first:]:
            # A collection goes on without the data sets that the user does not have.
            self.optional.add(experiment.name)
            if "seeds" in raw:
                experiment.set_seeds(raw["seeds"])
            if "policies" in raw:
                experiment.set_policies(raw["policies"])
        if alone:
            self.title = raw.get("title", path.stem)
            self.intro = raw.get("intro", "")
            self.mean = raw.get("mean")
            self.rows = raw.get("rows", "all")
            self.commands = raw.get("commands", False)
