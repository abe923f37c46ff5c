"""Sequential: a network on one model block, kept in one file that is replaced in one step."""

import gc
import os

import _tinyprop
from micropython import const

from . import layers as _layers
from .dataset import FormatError
from .policies import restored_optimizer, restored_policy, short_float, to_optimizer, to_policy

_ENOENT = const(2)
_EEXIST = const(17)
_ENOSPC = const(28)
_DEPTHWISE = const(3)  # the last kind of layer that has weights
_LOSSES = const(("softmax_cross_entropy", "mean_squared_error"))
_PLAN = (
    "total",
    "persist",
    "header",
    "parameters",
    "optimizer",
    "gradients",
    "activations",
    "scratch",
    "external",
)
_DTYPES = const(("f32", "i16", "i8"))
_LETTERS = const("fhb")
_APART = const(("parameters", "external"))


def new_block(n):
    """A bytearray of n bytes; the MemoryError says how much there is."""
    gc.collect()
    try:
        return bytearray(n)
    except MemoryError:
        free = gc.mem_free()
    raise MemoryError("the model needs %d bytes in one piece, %d bytes are free" % (n, free))


def table(rows, left=1):
    """Rows of cells as lines of text; the first `left` columns are left-aligned."""
    widths = [0] * len(rows[0])
    for row in rows:
        for i, c in enumerate(row):
            widths[i] = max(widths[i], len(str(c)))
    lines = []
    for row in rows:
        line = ""
        for i, c in enumerate(row):
            line += ("%-*s  " if i < left else "%*s  ") % (widths[i], c)
        lines.append(line.rstrip())
    return "\n".join(lines)


def _exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _remove(path):
    if _exists(path):
        os.remove(path)


def describe(
    layers,
    loss="softmax_cross_entropy",
    optimizer=None,
    policy=None,
    dtype="f32",
    seed=1,
    batch_size=1,
    keep=False,
    zero_skip=75,
):
    """(layers, specification for _tinyprop, places, shapes); see Sequential, compile_layers."""
    if loss == "mse":
        loss = "mean_squared_error"
    kind = _layers._choice("loss", loss, _LOSSES)
    letter = ord(_LETTERS[_layers._choice("dtype", dtype, _DTYPES)])
    layers, shape, rows, places, shapes = _layers.compile_layers(layers, kind == 0)
    x = layers[0]
    spec = (shape, kind, batch_size, seed, x.scale, x.offset, to_optimizer(optimizer)._spec)
    spec += (to_policy(policy)._spec, rows, keep, zero_skip, letter)
    return layers, spec, places, shapes


class Stats(dict):
    """What m.stats() returns: a dict that prints as a table."""

    def __repr__(self):
        seen = self["seen"]
        text = "samples  seen %d" % seen
        for name in ("trained", "skipped", "waited"):
            n = self[name]
            text += ", %s %d (%.1f %%)" % (name, n, 100 * n / (seen or 1))
        for name in ("backward", "total"):
            effort = "effort_" + name
            text += "\neffort   %-8s  %.4f  (%.4f without zero skipping)" % (
                name,
                self[effort],
                self["policy_" + effort],
            )
        rows = [["layer", "units", "mean k", "last k", "ratio", "MACs backward"]]
        for y in self["layers"]:
            row = [y["name"], y["units"], "%.1f" % y["mean_k"], y["k"], "%.3f" % y["ratio"]]
            rows.append(row + [y["macs"]])
        return text + "\n" + table(rows)

    __str__ = __repr__


class Evaluation:
    """What m.evaluate() returns.

    loss (mean), n, accuracy (0..1; None for mean_squared_error), confusion: Tensor (classes,
    classes) i32 of counts, row = true class, column = predicted; None where there is none.
    """

    def __init__(self, loss, n, correct, confusion):
        self.loss = loss
        self.n = n
        self.correct = correct
        self.accuracy = None if correct is None else correct / n
        self.confusion = confusion

    def __repr__(self):
        text = "loss %.4f" % self.loss
        if self.correct is not None:
            text += ", accuracy %.2f %% (%d of %d)" % (100 * self.accuracy, self.correct, self.n)
        else:
            text += ", %d samples" % self.n
        c = self.confusion
        if c is None:
            return text
        if len(c) > 16:
            return text + "\n%d x %d counts in .confusion" % c.shape
        rows = [["true"] + list(range(len(c))) + ["<- predicted"]]
        for i in range(len(c)):
            rows.append([i] + c[i].tolist() + [""])
        return text + "\n" + table(rows)


try:
    from .convert import Convert
except ImportError:  # small firmware
    Convert = object


class Sequential(Convert):
    """Sequential(layers, loss="softmax_cross_entropy", optimizer=SGD(), policy=TinyPropV2(),
    dtype="f32", seed=1, batch_size=1, keep=False, zero_skip=75, external=None)

    dtype: "f32", or "i16" or "i8": weights and maps of integers, with sums of 32 bits and updates
    rounded at random; SGD, batch_size 1. layers: Input first, then the rest, each taking the
    output of the one before it. loss: "softmax_cross_entropy" (y is a class index or a vector of
    probabilities) or "mean_squared_error" (y is a vector; a number where the model has one
    output). batch_size 1 updates in place and needs no memory for gradients. All memory is taken
    here; training and predicting with out= take none. Outputs and errors that do not live at the
    same time share memory; with keep=True all of them can be looked at. Zero inputs of a layer are
    left out (with the same result) where at most zero_skip percent of them are not zero; 0: never.
    external: buffer of float32 with the parameters of the layers that are external, W then b,
    layer after
    layer; it may lie in flash. What trains of these layers is copied from there.
    """

    def __init__(
        self,
        layers,
        *settings,
        external=None,
        _block=None,
        **named,
    ):
        self._run = None
        if _block is not None:
            self._m = _tinyprop.Model(_block, None, external)
            self.layers, self._places = _layers.restored_layers(self._m)
        else:
            self.layers, spec, self._places, _ = describe(layers, *settings, **named)
            self._m = _tinyprop.Model(new_block(_tinyprop.plan(spec)[0]), spec, external)
            for at in self._places:
                if hasattr(self.layers[at], "_start") and not self.layers[at].external:
                    start = self.get_weights(at)
                    self.layers[at]._start(*start)
                    self.set_weights(at, *start)
        # train_step(x, y) -> loss before the update. x: f32, i32, i16, i8 or u8 in anything with
        # the buffer protocol (or a short list); y: see above. Takes no memory: where the heap is
        # locked or full the loss comes in a float that the next call overwrites.
        self.train_step = self._m.train_step
        # classify(x) -> index of the largest output.
        self.classify = self._m.classify

    # --- Settings ---

    @property
    def loss(self):
        return _LOSSES[self._m.info()[3]]

    @property
    def seed(self):
        return self._m.info()[5]

    @property
    def batch_size(self):
        return self._m.info()[4]

    @property
    def dtype(self):
        return _DTYPES[_LETTERS.find(chr(self._m.info()[14]))]

    @property
    def optimizer(self):
        return restored_optimizer(self._m.optimizer())

    @property
    def policy(self):
        return restored_policy(self._m.policy())

    @property
    def lr(self):
        """Learning rate, to read and to set."""
        return short_float(self._m.optimizer()[2])

    @lr.setter
    def lr(self, value):
        spec = self._m.optimizer()
        self._m.optimizer(spec[:2] + (value,) + spec[3:])

    def set_optimizer(self, optimizer):
        """Other settings of the same kind of optimiser; its state stays."""
        self._m.optimizer(to_optimizer(optimizer)._spec)

    def set_policy(self, policy):
        self._m.policy(to_policy(policy)._spec)

    # --- Use ---

    def predict(self, x, out=None):
        """Output vector: probabilities for softmax_cross_entropy, else the last activations.

        out: a writable f32 buffer to fill; without it a new Tensor.
        """
        return self._m.predict(x, out)

    def fit(
        self,
        data,
        epochs=1,
        budget_ms=None,
        callback=None,
        validation=0.0,
        patience=None,
        shuffle=True,
        verbose=1,
    ):
        """Train on all samples of data `epochs` times; returns a fit.Run (done, info, history).

        data: a Dataset; (X, Y), X a buffer of all samples and Y one of all labels; a sequence of
        (x, y); two lists ([x ..], [y ..]); or anything that can be iterated, in its own order.
        budget_ms: come back after that time with run.done False. run.resume(budget_ms), or fit()
        with the same data and epochs, goes on there; also after Ctrl-C, and behind a sample that
        raised. callback(info) is called after each epoch; True or "stop" ends the training.
        validation: the share of samples kept for validation (drawn by the seed; the last ones
        without shuffle), or other data. patience: stop after so many epochs without a lower
        validation loss; the last weights stay. verbose=0 prints nothing. The loss in the progress
        line is the mean over the samples that were looked at, before their updates.
        """
        from .fit import Run

        run = self._run
        if run is None or not run.continues(data, epochs):
            run = Run(self, data, epochs, validation, patience, shuffle)
            self._run = run
        run.callback, run.verbose = callback, verbose
        return run.resume(budget_ms)

    def evaluate(self, data, confusion=True):
        """Loss, accuracy and confusion matrix over data (forms as in fit); an Evaluation."""
        from .fit import evaluate

        return evaluate(self, data, confusion)

    def flush(self):
        """Apply a mini-batch that is not full yet (batch_size > 1)."""
        self._m.flush()

    def reset(self, seed=None):
        """Draw all weights anew; forget optimiser and policy state and the counters."""
        self._run = None
        self._m.reset(self.seed if seed is None else seed)

    # --- Looking inside ---

    def _row(self, i):
        n = len(self.layers)
        at = i + n if i < 0 else i
        if at not in self._places:
            what = repr(self.layers[at]) if 0 <= at < n else "there is none"
            places = ", ".join(map(str, self._places))
            raise ValueError(
                "layer %d (%s) computes nothing; those that do: %s" % (i, what, places)
            )
        return self._places.index(at)

    def weights(self, i):
        """W of layer i (numbered as in summary()), a Tensor over the model: (units, inputs), of
        windows (filters, height, width, channels), depthwise without the channels."""
        return self._m.weights(self._row(i))

    def bias(self, i):
        """b of layer i, a Tensor (units,) over the model."""
        return self._m.weights(self._row(i), 1)

    def output(self, i):
        """Output of layer i after predict(), a Tensor over the model."""
        return self._m.weights(self._row(i), 2)

    def delta(self, i):
        """Errors (dLoss/dz) of layer i that the last training step kept, a Tensor over the model;
        only with keep=True."""
        return self._m.weights(self._row(i), 3)

    def plan(self, *budget, **settings):
        """Bytes of the model: total and its parts, and persist, the size of a checkpoint.

        Sequential.plan(layers, budget=bytes, contributions=None, ...), before there is a model,
        sets `trainable` of the layers so that the model will have at most so many bytes; returns
        what it chose, a budget.Choice. contributions: what to gain by training what, a dict made
        by scripts/contributions.py; without it, the nearer to the output the more. The rest: the
        settings that Sequential will be given. ValueError: not possible.
        """
        if not budget and not settings:
            return dict(zip(_PLAN, _tinyprop.plan(self._m)))
        if isinstance(self, Sequential):
            raise ValueError("the memory of this model is taken: Sequential.plan(layers, budget=)")
        return _layers.part("budget").choose(self, *budget, **settings)

    def summary(self):
        """Print layers, shapes, parameters and bytes."""
        rows = [["layer", "", "output", "activation", "parameters", "bytes"]]
        shape = self.layers[0].shape
        size = (4, 2, 1)[_DTYPES.index(self.dtype)]
        total = 0
        for i, y in enumerate(self.layers):
            cells = ["", "", ""]
            if i in self._places:
                r = self._places.index(i)
                spec = self._m.layer(r)
                shape = spec[15:18] if spec[15] * spec[16] > 1 else spec[17:18]
                last = i == self._places[-1] and self.loss == _LOSSES[0]
                name = "softmax" if last else _layers._ACTIVATIONS[spec[1]]
                n = ""
                cells = [name, n, ""]
                if spec[0] <= _DEPTHWISE:
                    n = (spec[23] + 1) * spec[17]
                    total += n
                    if spec[3] != 2:
                        name += (", frozen", ", bias only")[spec[3]]
                    elif spec[13] < spec[17]:
                        name += ", %d train" % spec[13]
                    cells = [name, n, (n - spec[17]) * size + 4 * spec[17]]
            elif isinstance(y, _layers.Flatten):
                shape = (_layers._size(shape),)
            rows.append([i, type(y).__name__, shape] + cells)
        print(table(rows, 4))
        p = self.plan()
        print("parameters  %d = %d bytes" % (total, p["parameters"] + p["external"]))
        extra = p["total"] - p["parameters"]
        parts = ", ".join("%s %d" % (n, p[n]) for n in reversed(_PLAN[2:]) if n not in _APART)
        print("training    %d bytes more: %s" % (extra, parts))
        file = p["persist"] + _tinyprop.FILE_HEAD
        print("peak        %d bytes, all taken now; a checkpoint has %d" % (p["total"], file))
        print("loss        %s, batch_size %d, seed %d" % (self.loss, self.batch_size, self.seed))
        print("optimizer   %r" % (self.optimizer,))
        print("policy      %r" % (self.policy,))

    def stats(self):
        """Counters since the model was made or reset_stats(): a dict that prints as a table.

        Effort = multiply-accumulates done / those of dense full training of the same samples;
        policy_effort_* count as if zero inputs were not skipped.
        """
        seen, trained, skipped, waited, forward, backward, policy, f, b = self._m.counters()
        n = seen or 1
        s = Stats(seen=seen, trained=trained, skipped=skipped, waited=waited)
        asked = (seen - waited) * f
        for by, there, back in ("", forward, backward), ("policy_", asked, policy):
            s[by + "effort_backward"] = back / (n * b)
            s[by + "effort_total"] = (there + back) / (n * (f + b))
        s["layers"] = []
        for r, place in enumerate(self._places):
            row = self._m.layer(r)
            if row[0] > _DEPTHWISE:
                continue
            units = row[15] * row[16] * row[17]
            ymax, ratio, k, k_sum, macs = row[18:23]
            y = {"name": "%d %s" % (place, type(self.layers[place]).__name__), "units": units}
            y["k"] = k
            y["mean_k"] = k_sum / (trained or 1)
            y["ratio"] = ratio
            y["ymax"] = ymax
            y["macs"] = macs
            s["layers"].append(y)
        return s

    def profile(self, *arguments, **named):
        """profile(x, y, repeat=1, clock=None)

        Time of a training step on x, y, layer by layer: a list of dicts that prints as a table.

        forward, select (with the bias), dx (errors of the layer before), update, and time, their
        sum, in us or in ticks of another clock such as time.ticks_cpu: the mean of `repeat` steps;
        MACs executed, and effort, their share of dense training. The backward pass is measured
        also where the policy would skip the sample. The model stays as it was: a copy of its
        persist bytes (see plan()) needs room on the heap, else MemoryError.
        """
        return _layers.part("measure").profile(self, *arguments, **named)

    def reset_stats(self):
        self._m.reset_counters()

    # --- Keeping ---

    def save(self, path):
        """Write a checkpoint. A power cut leaves the old or the new one at path."""
        m = self._m
        new, old = path + ".tmp", path + ".bak"
        head, payload = _tinyprop.file_head(m), memoryview(m.block)[: m.info()[8]]
        try:
            with open(new, "wb") as f:
                if f.write(head) + f.write(payload) != len(head) + len(payload):
                    raise OSError(_ENOSPC)
                f.flush()
            if hasattr(os, "sync"):
                os.sync()
            try:
                os.rename(new, path)
            except OSError as e:
                if e.errno != _EEXIST:
                    raise e
                # This file system does not replace: step aside first. load() knows the way back.
                _remove(old)
                os.rename(path, old)
                os.rename(new, path)
                _remove(old)
        except BaseException as e:
            # Also a Ctrl-C. Where path is gone, the new file is the only one.
            if _exists(path) or not _exists(old):
                _remove(new)
            raise e

    def copy(self):
        """An independent model with the same weights, settings and state."""
        block = new_block(len(self._m.block))
        block[:] = self._m.block
        return Sequential(None, external=self._m.external, _block=block)

    def __repr__(self):
        return "Sequential(%r, loss=%r)" % (self.layers, self.loss)


def _load(path, external):
    with open(path, "rb") as f:
        head = _tinyprop.file_check(f.read(256))
        if head is None:
            raise FormatError("%s is not a tinyprop model, or its head is damaged" % path)
        payload, crc, size = head
        damaged = FormatError("%s is damaged" % path)
        rest = f.seek(0, 2) - _tinyprop.FILE_HEAD
        if rest != payload:
            raise FormatError("%s has %d bytes after its head, not %d" % (path, rest, payload))
        # Check the whole before memory is taken for sizes that it tells.
        f.seek(_tinyprop.FILE_HEAD)
        chunk = memoryview(bytearray(256))
        seen = 0
        while True:
            n = f.readinto(chunk)
            if not n:
                break
            seen = _tinyprop.crc32(chunk[:n], seen)
        if seen != crc or not size or payload > size:
            raise damaged
        block = new_block(size)
        f.seek(_tinyprop.FILE_HEAD)
        if f.readinto(memoryview(block)[:payload]) != payload:
            raise damaged
    try:
        model = Sequential(None, external=external, _block=block)
    except ValueError as e:
        raise FormatError("%s: %s" % (path, e))
    if model._m.info()[8] != payload:
        raise damaged
    return model


def load(path, external=None):
    """Read a model that m.save(path) wrote: weights, settings, optimiser and policy state.
    (Where samples are maps, their Input has height, width and channels.) external: as in
    Sequential; the file does not hold those parameters.

    OSError: no such file. FormatError: not a model, or damaged. Where a power cut left no file
    at path, the one that was about to take its place, or the one before, is read.
    """
    try:
        return _load(path, external)
    except OSError as e:
        if e.errno != _ENOENT:
            raise e
        missing = e
    for end in (".tmp", ".bak"):
        try:
            return _load(path + end, external)
        except (OSError, FormatError):
            pass
    raise missing
