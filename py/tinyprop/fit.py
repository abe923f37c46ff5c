"""Training over many samples: fit() in time slices, and evaluate()."""

from array import array
from time import ticks_diff, ticks_ms, ticks_us

import _tinyprop
from micropython import const

from .dataset import Dataset
from .layers import _refuse
from .sequential import Evaluation

# --- Data in its different forms ---


# Where a run over samples stands, an array("i") that Model.run() reads and writes; what its items
# mean stands there.
_STEP = const(0)
_END = const(1)
_BASE = const(2)
_N = const(3)
_KEY = const(4)
_TOTAL = const(5)
_SPLIT_KEY = const(6)
_INDEX = const(7)
_BACKOFF = const(8)
_LEFT = const(9)
_LONGEST = const(10)
_BYTES = const(44)
_ENDLESS = const(0x3FFFFFFF)
# So long (us) C goes on before the interpreter may look at what else there is to do.
_SLICE = const(20000)


class _Source:
    """A sequence of pairs; what the other forms of data do differently stands below.

    n samples (None: not known). get(i) puts sample i into x and y; where xs is not None, run() of
    the model goes through xs and ys by itself.
    """

    x = y = xs = ys = None

    def __init__(self, m, data, n):
        self.m, self.data, self.n = m, data, n

    def get(self, i):
        self.x, self.y = self.data[i]

    def run(self, at, waits, counts, sums):
        """One sample, or as many as have time. Without sums they are trained, with sums (an array
        of loss, samples, hits) tested and added to these and to the confusion matrix."""
        m = self.m
        if not m.run(at, ticks_us, waits, self.xs, self.ys, counts, sums):
            return
        started = ticks_us()
        i = at[_INDEX]
        self.get(i)
        trained = m.step(self.x, self.y, counts, sums)
        if waits is not None:
            _tinyprop.backoff_note(waits, i, trained, at[_BACKOFF])
        at[_LONGEST] = max(at[_LONGEST], ticks_diff(ticks_us(), started))


class _Rows(_Source):
    """X a buffer of n samples, Y one of n labels (or n vectors): nothing is allocated per row."""

    def __init__(self, m, x, y):
        if isinstance(y, (list, tuple)):
            y = array("f" if y and isinstance(y[0], float) else "i", y)
        self.m, self.xs, self.ys = m, x, y
        # Rounded up: what is left over is refused with the first sample.
        self.n = -(-_tinyprop.Tensor(x).size // m.info()[1])


class _Lists(_Source):
    def get(self, i):
        x, y = self.data
        self.x, self.y = x[i], y[i]


class _Stream(_Source):
    """Anything that can be iterated, read in its order; sample i is the next one."""

    def rewind(self):
        self.iterator = iter(self.data)

    def get(self, i):
        self.x, self.y = next(self.iterator)


def _is_pair(data):
    # A tuple of two samples starts with a tuple (x, y).
    return isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], tuple)


def _source(m, data):
    if _is_pair(data):
        x, y = data
        if not isinstance(x, list):
            return _Rows(m, x, y)
        n = len(x)
        if n != len(y):
            raise ValueError("X has %d samples, Y %d" % (n, len(y)))
        return _Lists(m, data, n)
    try:
        n = len(data)
    except TypeError:
        stream = _Stream(m, data, None)
        stream.rewind()
        return stream
    source = _Source(m, data, n)
    if isinstance(data, Dataset):
        source.xs, source.ys = data.x, data.read
    return source


def _no_samples(epoch):
    if epoch == 0:
        return ValueError("no samples in the data")
    return ValueError("no samples left in epoch %d (a generator can be read once)" % (epoch + 1))


# --- Training ---

# Epochs of history: at most so many are kept, at least half of it.
_HISTORY = const(512)
# The last two where there is validation, the very last where there are classes.
_NAMES = const(
    ("loss", "trained_share", "effort_total", "effort_backward", "val_loss", "val_accuracy")
)
_LINE = const("epoch %d/%d  loss %.4f  trained %.1f %%  effort %.3f (backward %.3f)%s  %.1f s")


class Run:
    """A training in progress, as fit() returns it.

    done; epoch and step where it stands; info: dict about the last finished epoch, as the callback
    gets it; history: dict of arrays with one float per epoch (loss, trained_share, effort_total,
    effort_backward, val_loss, val_accuracy; of many epochs the last few hundred); stopped: why it
    ended early ("callback", "patience") or None.
    """

    def __init__(self, model, data, epochs, validation, patience, shuffle):
        if not isinstance(epochs, int) or epochs < 1:
            _refuse("epochs", epochs)
        self.model, self.data, self.epochs = model, data, epochs
        self.patience, self.shuffle = patience, shuffle
        self._m = m = model._m
        self._source = self._validation = _source(m, data)
        self._n = n = self._source.n
        self._at = array("i", bytes(_BYTES))
        k = 0
        if n == 0:
            raise _no_samples(0)
        if not isinstance(validation, (int, float)):
            self._validation = _source(m, validation)
            k = self._validation.n
            if not k:
                raise ValueError("validation data needs a length above 0")
        elif not 0 <= validation < 1:
            _refuse("validation", validation, "0 up to, not including, 1")
        elif validation > 0:
            if n is None:
                raise ValueError("validation takes a share of data that has a length")
            k = max(1, int(n * validation + 0.5))
            if k >= n:
                raise ValueError("validation %g of %d samples leaves none" % (validation, n))
            self._n = n - k
        if patience is not None and (not k or patience < 1):
            raise ValueError("patience %r needs validation, and 1 epoch or more" % (patience,))
        self._n_validation = k
        self._split = self._n != n
        # One byte per stored sample.
        self._waits = bytearray(n) if n and m.policy()[3] else None
        # The order differs from run to run and from epoch to epoch, but not by chance.
        self._seed = model.seed + m.counters()[0]
        self._split_key = model.seed & 0x3FFFFFFF
        self._best = None
        self._phase = 0  # 0 before an epoch, 1 training, 2 validation
        self.epoch = self._ms = 0
        self.done = False
        self.stopped = self.info = None
        self.history = {}
        last = 5 + (model.loss == "softmax_cross_entropy") if k else 4
        for name in _NAMES[:last]:
            self.history[name] = array("f")

    @property
    def step(self):
        return self._at[_STEP]

    def continues(self, data, epochs):
        mine = self.data
        same = data is mine
        if not same and _is_pair(data) and _is_pair(mine):
            same = data[0] is mine[0] and data[1] is mine[1]
        return same and not self.done and self.epochs == epochs

    def resume(self, budget_ms=None):
        """Go on for at most budget_ms (None: to the end), but at least for one sample."""
        started = epoch_started = ticks_ms()
        left = budget_ms
        try:
            while not self.done:
                try:
                    finished = self._samples(left)
                finally:
                    self._ms += ticks_diff(ticks_ms(), epoch_started)
                if not finished:
                    break
                self._end()
                epoch_started = ticks_ms()
                if left is not None:
                    left = budget_ms - ticks_diff(epoch_started, started)
                    if self._late(left):
                        break
        finally:
            if self.done and self.model._run is self:
                self.model._run = None
        return self

    def _late(self, left):
        """Is there no time left for one more sample?"""
        return left * 1000 <= self._at[_LONGEST]

    def _samples(self, left):
        """The samples still to do in this epoch; False when the time is up."""
        started = ticks_ms()
        m, at = self._m, self._at
        if self._phase == 0:
            self._ms = 0
            at[_BACKOFF] = m.policy()[3]
            self._counters = m.counters()
            self._sums = array("f", (0, 0, 0))
            m.tally()
            n = self._n
            if n is None:
                self._source.rewind()
            self._order(0, n, 0, n, (self._seed + 7919 * self.epoch) & 0x3FFFFFFF)
            self._phase = 1
        if self._phase == 1:
            if not self._each(self._source, self._waits, None, started, left):
                return False
            m.epoch_end()
            self._trained = m.tally()
            self._order(0, self._n_validation, self._n if self._split else 0, 0, 0)
            self._phase = 2
            if left is not None and self._n_validation:
                if self._late(left - ticks_diff(ticks_ms(), started)):
                    return False
        return self._each(self._validation, None, self._sums, started, left)

    def _order(self, step, end, base, n, key):
        """Samples step to end, from base on, shuffled by key among n; what is kept for validation
        was drawn from all of them."""
        at = self._at
        at[_STEP], at[_BASE], at[_KEY], at[_SPLIT_KEY] = step, base, key, self._split_key
        at[_END] = _ENDLESS if end is None else end
        shuffle = self.shuffle and end is not None
        at[_N] = n if shuffle else 0
        at[_TOTAL] = self._source.n if shuffle and self._split else 0

    def _each(self, source, waits, sums, started, left):
        at = self._at
        at[_LEFT] = _SLICE
        try:
            while at[_STEP] < at[_END]:
                if left is not None:
                    at[_LEFT] = min(_SLICE, max(0, left - ticks_diff(ticks_ms(), started)) * 1000)
                source.run(at, waits, None, sums)
                if left is not None and self._late(left - ticks_diff(ticks_ms(), started)):
                    return at[_STEP] == at[_END]
        except StopIteration:
            at[_STEP] -= 1
            if at[_STEP] == 0:
                raise _no_samples(self.epoch)
        except ValueError as e:
            raise ValueError("sample %d: %s" % (at[_INDEX], e))
        return True

    def _end(self):
        """The epoch is over: history, progress line, callback, early stop."""
        counters = list(self._m.counters())
        for j in range(6):
            counters[j] -= self._counters[j]
        seen, trained, skipped, waited, forward, backward, _, f, b = counters
        loss, n = self._trained
        self.epoch += 1
        self.done = self.epoch >= self.epochs
        self._phase = self._at[_STEP] = 0
        self.info = info = {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "loss": loss / n if n else 0.0,
            "seen": seen,
            "trained": trained,
            "trained_share": trained / seen,
            "skipped": skipped,
            "waited": waited,
            "effort_backward": backward / (seen * b),
            "effort_total": (forward + backward) / (seen * (f + b)),
            "ms": self._ms,
        }
        text = why = ""
        if self._n_validation:
            loss, n, correct = self._sums
            info["val_loss"] = loss / n
            text = "  val loss %.4f" % (loss / n)
            if "val_accuracy" in self.history:
                info["val_accuracy"] = correct / n
                text += " accuracy %.2f %%" % (100 * correct / n)
        for name, values in self.history.items():
            if len(values) >= _HISTORY:
                values = values[_HISTORY // 2 :]
                self.history[name] = values
            values.append(info[name])
        if self.verbose:
            shown = self.epoch, self.epochs, info["loss"], 100 * info["trained_share"]
            shown += info["effort_total"], info["effort_backward"], text, self._ms / 1000
            print(_LINE % shown)
        if self.patience is not None:
            if self._best is None or info["val_loss"] < self._best:
                self._best = info["val_loss"]
                self._worse = 0
            else:
                self._worse += 1
                if self._worse >= self.patience:
                    why = "patience"
        if self.callback is not None and self.callback(info) in (True, "stop"):
            why = why or "callback"
        if why and not self.done:
            self.done = True
            self.stopped = why

    def __repr__(self):
        state = "done" if self.done else "step %d of the next" % self.step
        if self.stopped:
            state = "stopped by " + self.stopped
        return "Run(%d of %d epochs, %s)" % (self.epoch, self.epochs, state)


# --- Evaluation ---


def evaluate(model, data, confusion):
    m = model._m
    source = _source(m, data)
    classes = m.info()[2] if model.loss == "softmax_cross_entropy" else 0
    counts = None
    if confusion and 1 < classes <= 64:
        counts = _tinyprop.Tensor((classes, classes), "i32")
    sums = array("f", (0, 0, 0))
    at = array("i", bytes(_BYTES))
    at[_END] = _ENDLESS if source.n is None else source.n
    at[_LEFT] = _SLICE
    try:
        while at[_STEP] < at[_END]:
            source.run(at, None, counts, sums)
    except StopIteration:
        at[_STEP] -= 1
    except ValueError as e:
        raise ValueError("sample %d: %s" % (at[_INDEX], e))
    n = at[_STEP]
    if n == 0:
        raise _no_samples(0)
    return Evaluation(sums[0] / n, n, int(sums[2]) if classes else None, counts)
