"""Training over many samples: fit() in time slices, and evaluate()."""

from array import array
from time import ticks_diff, ticks_ms

import _tinyprop

from .dataset import Dataset
from .sequential import Evaluation

# --- Data in its different forms ---
# A source has n samples (None: not known), train(i) -> trained or skipped, and test(i, counts,
# sums), which adds to a confusion matrix and to an array of loss, samples, hits.


class _Rows:
    """X a buffer of n samples, Y one of n labels (or n vectors): nothing is allocated per row."""

    def __init__(self, m, x, y):
        if isinstance(y, (list, tuple)):
            y = array("f" if y and isinstance(y[0], float) else "i", y)
        self.m, self.x, self.y = m, x, y
        size, n_in = _tinyprop.Tensor(x).size, m.info()[1]
        if size % n_in:
            raise ValueError("X has %d values, not a multiple of %d" % (size, n_in))
        self.n = size // n_in

    def train(self, i):
        return self.m.step_row(self.x, self.y, i)

    def test(self, i, counts, sums):
        return self.m.test_row(self.x, self.y, i, counts, sums)


class _Lists:
    def __init__(self, m, x, y):
        if len(x) != len(y):
            raise ValueError("X has %d samples, Y %d" % (len(x), len(y)))
        self.m, self.x, self.y, self.n = m, x, y, len(x)

    def train(self, i):
        return self.m.step(self.x[i], self.y[i])

    def test(self, i, counts, sums):
        return self.m.test(self.x[i], self.y[i], counts, sums)


class _Pairs:
    def __init__(self, m, data, n):
        self.m, self.data, self.n = m, data, n

    def train(self, i):
        x, y = self.data[i]
        return self.m.step(x, y)

    def test(self, i, counts, sums):
        x, y = self.data[i]
        return self.m.test(x, y, counts, sums)


class _File:
    def __init__(self, m, data):
        self.m, self.data, self.n = m, data, len(data)

    def train(self, i):
        y = self.data.read(i)
        return self.m.step(self.data.x, y)

    def test(self, i, counts, sums):
        y = self.data.read(i)
        return self.m.test(self.data.x, y, counts, sums)


class _Stream:
    """Anything that can be iterated, read in its order; sample i is the next one."""

    n = None

    def __init__(self, m, data):
        self.m, self.data = m, data
        self.rewind()

    def rewind(self):
        self.iterator = iter(self.data)

    def train(self, i):
        x, y = next(self.iterator)
        return self.m.step(x, y)

    def test(self, i, counts, sums):
        x, y = next(self.iterator)
        return self.m.test(x, y, counts, sums)


def _is_pair(data):
    # A tuple of two samples starts with a tuple (x, y).
    return isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], tuple)


def _source(m, data):
    if isinstance(data, Dataset):
        return _File(m, data)
    if _is_pair(data):
        x, y = data
        kind = _Lists if isinstance(x, list) else _Rows
        return kind(m, x, y)
    try:
        n = len(data)
    except TypeError:
        return _Stream(m, data)
    return _Pairs(m, data, n)


def _same(a, b):
    return a is b or (_is_pair(a) and _is_pair(b) and a[0] is b[0] and a[1] is b[1])


def _no_samples(epoch):
    if epoch == 0:
        return ValueError("no samples in the data")
    return ValueError("no samples left in epoch %d (a generator can be read once)" % (epoch + 1))


# --- Training ---

# Epochs of history: at most so many are kept, at least half of it.
_HISTORY = 512


class Run:
    """A training in progress, as fit() returns it.

    done; epoch and step where it stands; info: dict about the last finished epoch, as the callback
    gets it; history: dict of arrays with one float per epoch (loss, trained_share, effort_total,
    effort_backward, val_loss, val_accuracy; of many epochs the last few hundred); stopped: why it
    ended early ("callback", "patience") or None.
    """

    def __init__(self, model, data, epochs, validation, patience, shuffle):
        m = model._m
        if not isinstance(epochs, int) or epochs < 1:
            raise ValueError("epochs %r, allowed 1 and more" % (epochs,))
        self.model, self.data, self.epochs = model, data, epochs
        self.patience, self.shuffle = patience, shuffle
        self.callback = None
        self.verbose = 0
        self._m = m
        self._source = self._validation = _source(m, data)
        self._n_all = n = self._source.n
        self._n_validation = 0
        self._split = False
        if n == 0:
            raise _no_samples(0)
        if not isinstance(validation, (int, float)):
            self._validation = _source(m, validation)
            if not self._validation.n:
                raise ValueError("validation data needs a length above 0")
            self._n_validation = self._validation.n
        elif not 0 <= validation < 1:
            raise ValueError("validation %r, allowed 0 up to, not including, 1" % validation)
        elif validation > 0:
            if n is None:
                raise ValueError("validation takes a share of data that has a length")
            k = max(1, int(n * validation + 0.5))
            if k >= n:
                raise ValueError("validation %g of %d samples leaves none" % (validation, n))
            self._n_validation = k
            self._split = True
        if patience is not None and (not self._n_validation or patience < 1):
            raise ValueError("patience %r needs validation, and 1 epoch or more" % (patience,))
        self._n = n - self._n_validation if self._split else n
        # One byte per stored sample.
        wait = n is not None and model.policy._spec[3]
        self._waits = bytearray(n) if wait else None
        # The order differs from run to run and from epoch to epoch, but not by chance.
        self._seed = model.seed + m.counters()[0]
        self._split_key = model.seed & 0x3FFFFFFF
        self._longest = 0
        self._sums = array("f", (0, 0, 0))
        self._best = None
        self._worse = 0
        self.epoch = 0
        self.done = False
        self.stopped = None
        self.info = None
        names = ["loss", "trained_share", "effort_total", "effort_backward"]
        if self._n_validation:
            names.append("val_loss")
            if model.loss == "softmax_cross_entropy":
                names.append("val_accuracy")
        self.history = {name: array("f") for name in names}
        self._begin()

    def continues(self, data, epochs):
        return not self.done and _same(self.data, data) and self.epochs == epochs

    def _begin(self):
        """Start an epoch."""
        self.step = 0
        self._training = True
        self._ms = 0
        self._key = (self._seed + 7919 * self.epoch) & 0x3FFFFFFF
        self._limit = self._m.policy()[3]
        self._counters = self._m.counters()
        self._m.tally()
        for j in range(3):
            self._sums[j] = 0
        if self._source.n is None:
            self._source.rewind()

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
                    if left <= self._longest:
                        break
        finally:
            if self.done and self.model._run is self:
                self.model._run = None
        return self

    def _samples(self, left):
        """The samples still to do in this epoch; False when the time is up."""
        started = ticks_ms()
        if self._training:
            if not self._each(self._n, self._train, started, left):
                return False
            self._training = False
            self.step = 0
            self._m.epoch_end()
            self._trained = self._m.tally()
            spent = ticks_diff(ticks_ms(), started)
            if left is not None and self._n_validation and left - spent <= self._longest:
                return False
        return self._each(self._n_validation, self._test, started, left)

    def _each(self, n, do, started, left):
        last = ticks_ms()
        try:
            while n is None or self.step < n:
                i = self.step
                # First the count: a sample that raises is not tried again.
                self.step += 1
                do(i)
                if left is not None:
                    now = ticks_ms()
                    self._longest = max(self._longest, ticks_diff(now, last))
                    last = now
                    if left - ticks_diff(now, started) <= self._longest:
                        return self.step == n
        except StopIteration:
            self.step -= 1
            if self.step == 0:
                raise _no_samples(self.epoch)
        except ValueError as e:
            raise ValueError("sample %d: %s" % (self._index, e))
        return True

    def _train(self, i):
        if self.shuffle and self._n:
            i = _tinyprop.permute(i, self._n, self._key)
            if self._split:
                i = _tinyprop.permute(i, self._n_all, self._split_key)
        self._index = i
        waits = self._waits
        if waits is None:
            self._source.train(i)
        elif _tinyprop.backoff_waits(waits, i):
            self._m.waited()
        else:
            trained = self._source.train(i)
            _tinyprop.backoff_note(waits, i, trained, self._limit)

    def _test(self, i):
        if self._split:
            i += self._n
            if self.shuffle:
                i = _tinyprop.permute(i, self._n_all, self._split_key)
        self._index = i
        self._validation.test(i, None, self._sums)

    def _end(self):
        """The epoch is over: history, progress line, callback, early stop."""
        counters = self._m.counters()
        seen, trained, skipped, waited, forward, backward = (
            counters[j] - self._counters[j] for j in range(6)
        )
        loss, n = self._trained
        f, b = counters[7:]
        self.epoch += 1
        info = {
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
        if self._n_validation:
            loss, n, correct = self._sums
            info["val_loss"] = loss / n
            if "val_accuracy" in self.history:
                info["val_accuracy"] = correct / n
        self.info = info
        self._remember(info)
        self.done = self.epoch >= self.epochs
        if self.verbose:
            self._print(info)
        if self.patience is not None:
            if self._best is None or info["val_loss"] < self._best:
                self._best = info["val_loss"]
                self._worse = 0
            else:
                self._worse += 1
                if self._worse >= self.patience:
                    self._stop("patience")
        if self.callback is not None and self.callback(info) in (True, "stop"):
            self._stop("callback")
        if not self.done:
            self._begin()

    def _remember(self, info):
        for name, values in self.history.items():
            if len(values) >= _HISTORY:
                values = values[_HISTORY // 2 :]
                self.history[name] = values
            values.append(info[name])

    def _stop(self, why):
        if not self.done:
            self.done = True
            self.stopped = why

    def _print(self, info):
        text = "epoch %d/%d  loss %.4f" % (self.epoch, self.epochs, info["loss"])
        text += "  trained %.1f %%" % (100 * info["trained_share"])
        text += "  effort %.3f (backward %.3f)" % (info["effort_total"], info["effort_backward"])
        if "val_loss" in info:
            text += "  val loss %.4f" % info["val_loss"]
        if "val_accuracy" in info:
            text += " accuracy %.2f %%" % (100 * info["val_accuracy"])
        print(text + "  %.1f s" % (info["ms"] / 1000))

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
    i = 0
    try:
        while source.n is None or i < source.n:
            source.test(i, counts, sums)
            i += 1
    except StopIteration:
        pass
    except ValueError as e:
        raise ValueError("sample %d: %s" % (i, e))
    if i == 0:
        raise _no_samples(0)
    return Evaluation(sums[0] / i, i, int(sums[2]) if classes else None, counts)
