"""A multi-layer perceptron in float32: forward, loss, sparse backward, update, counters."""

import numpy as np

from . import policy as policies
from .numerics import (
    F32,
    ONE,
    TWO,
    Xoshiro128StarStar,
    f32,
    lane_sum,
    rows_kept,
    running_sum,
    sigmoid,
    softmax,
    sqrt,
    tanh,
)
from .optimizer import Slots, Stepper

ZERO_SKIP_PERCENT = 75


def activate(z, kind, slope):
    if kind == "relu":
        return np.where(z <= 0, F32(0), z)  # a NaN stays
    if kind == "leaky_relu":
        return np.where(z < 0, z * F32(slope), z)
    return {"linear": f32, "sigmoid": sigmoid, "tanh": tanh}[kind](z)


def activate_backward(d, a, kind, slope):
    """d * f', with f' expressed by a = f(z)."""
    if kind == "relu":
        return np.where(a > 0, d, F32(0))
    if kind == "leaky_relu":
        return np.where(a > 0, d, d * F32(slope))
    if kind == "sigmoid":
        return d * (a * (ONE - a))
    if kind == "tanh":
        return d * (ONE - a * a)
    return d


def one_hot(index, n):
    t = np.zeros(n, F32)
    t[index] = 1
    return t


class LayerState:
    def __init__(self, spec, n_in, rng):
        self.spec = spec
        self.shape = (spec.units, n_in)
        self.w = Slots(self._draw(rng), spec.trainable == "all")
        self.b = Slots(np.zeros(spec.units, F32), spec.trainable != "none")
        self.ymax = F32(0)
        self.delta = np.zeros(spec.units, F32)  # of the last trained sample, before selection
        self.kept = np.zeros(0, F32)  # delta of the kept rows as it is used
        self.rows = np.zeros(0, np.int64)  # kept for the last trained sample
        self.ratio = F32(0)
        self.reset_counters()

    def _draw(self, rng):
        outputs, inputs = self.shape
        init = self.spec.init
        if init == "auto":
            init = "he" if self.spec.activation in ("relu", "leaky_relu") else "glorot"
        if init == "zeros":
            return np.zeros(self.shape, F32)
        limit = sqrt(F32(6) / F32(inputs if init == "he" else inputs + outputs))
        u = f32([rng.uniform() for _ in range(outputs * inputs)])
        return ((u + u - ONE) * limit).reshape(self.shape)

    def reset_counters(self):
        self.k_sum = 0
        self.macs = 0

    @property
    def k(self):
        return len(self.rows)


class Network:
    """State and use of one model; the attributes carry the names of tp_model_t and tp_layer_t."""

    def __init__(self, spec):
        self.spec = spec
        self.policy = spec.policy
        self.reset(spec.seed)

    def reset(self, seed):
        self.rng = Xoshiro128StarStar(seed)
        sizes = [self.spec.n_in] + [layer.units for layer in self.spec.layers]
        self.layers = [
            LayerState(layer, n_in, self.rng)
            for layer, n_in in zip(self.spec.layers, sizes, strict=False)
        ]
        self.stepper = Stepper(self.spec.opt)
        trained = [i for i, s in enumerate(self.layers) if s.spec.trainable != "none"]
        self.first_trained = min(trained, default=len(self.layers))
        self.batch_seen = self.batch_trained = self.skips_in_row = 0
        self.reset_counters()

    def reset_counters(self):
        self.seen = self.trained = self.skipped = self.waited = 0
        self.forward_macs = self.policy_macs = 0
        for layer in self.layers:
            layer.reset_counters()

    # --- Forward ---

    def convert(self, x):
        """Elements as float32: float32 as they are, integers scaled."""
        x = np.asarray(x)
        if x.dtype == F32 or not self.spec.scale:
            return x.astype(F32)
        channel = np.arange(len(x)) % len(self.spec.scale)
        return x.astype(F32) * f32(self.spec.scale)[channel] + f32(self.spec.offset)[channel]

    @staticmethod
    def columns_used(x):
        """How many columns the kernels touch for input x, and whether they skip zeros."""
        nonzero = int(np.count_nonzero(x))
        skips = nonzero * 100 <= ZERO_SKIP_PERCENT * len(x)
        return (nonzero if skips else len(x)), skips

    def forward(self, x):
        """The activations a_0 (the converted input) .. a_L."""
        acts = [self.convert(x)]
        for layer in self.layers:
            z = lane_sum(layer.w.values * acts[-1]) + layer.b.values
            acts.append(activate(z, layer.spec.activation, layer.spec.slope))
        return acts

    def predict(self, x):
        out = self.forward(x)[-1]
        return softmax(out)[0] if self.spec.loss == "softmax_cross_entropy" else out

    def loss_and_delta(self, a, target):
        """target: a class index, or one value per output."""
        by_class = np.ndim(target) == 0
        t = one_hot(target, len(a)) if by_class else f32(target)
        if self.spec.loss == "softmax_cross_entropy":
            p, top, log_total = softmax(a)
            losses = log_total - (a - top)
            return losses[target] if by_class else lane_sum(t * losses), p - t
        e = a - t
        n = F32(len(a))
        last = self.layers[-1].spec
        delta = activate_backward(e * (TWO / n), a, last.activation, last.slope)
        return lane_sum(e * e) / n, delta

    def evaluate(self, x, target):
        a = self.forward(x)[-1]
        return self.loss_and_delta(a, target)[0], int(np.argmax(a))

    # --- Training ---

    def train_step(self, x, target):
        """(trained, loss before the update). ValueError, and nothing changed, if not finite."""
        acts = self.forward(x)
        loss, delta = self.loss_and_delta(acts[-1], target)
        if not np.isfinite(loss):
            raise ValueError("loss is not finite")
        self.forward_macs += sum(
            layer.spec.units * self.columns_used(a)[0]
            for layer, a in zip(self.layers, acts, strict=False)
        )
        trains = self._decide(delta)
        self.seen += 1
        self.batch_seen += 1
        if trains:
            self.trained += 1
            self.batch_trained += 1
            self.skips_in_row = 0
            self._backward(acts, delta)
        else:
            self.skipped += 1
            self.skips_in_row += 1
        if self.batch_seen == self.spec.batch:
            self.flush()
        return trains, loss

    def _note_error(self, layer, delta):
        y = lane_sum(np.abs(delta))
        layer.ymax = max(layer.ymax, y)
        return y

    def _decide(self, delta):
        if self.policy.kind != "tinypropv2":
            return True
        last = self.layers[-1]
        y = self._note_error(last, delta)
        d = policies.decision(self.policy, y, last.ymax)
        return policies.trains(self.policy, d, self.seen, self.skips_in_row)

    def _backward(self, acts, delta):
        if self.spec.batch == 1:
            self.stepper.begin()
        y_above = None
        last = len(self.layers) - 1
        for i in range(last, self.first_trained - 1, -1):
            layer, x = self.layers[i], acts[i]
            layer.delta = delta
            asked, y_above = self._select(layer, last - i, y_above)
            passes_on = i > self.first_trained
            if passes_on:
                kept = layer.rows
                dx = running_sum(layer.kept[:, None] * layer.w.values[kept])
            self._count(i, x, asked, passes_on)
            self._learn(layer, x)
            if passes_on:
                below = self.layers[i - 1].spec
                delta = activate_backward(dx, x, below.activation, below.slope)

    def _select(self, layer, pos, y_above):
        share, y = ONE, None
        n = layer.spec.units
        if policies.is_tinyprop(self.policy):
            y = self._note_error(layer, layer.delta)
            share = policies.share_kept(self.policy, y, layer.ymax, pos, y_above)
        asked = policies.rows_asked(self.policy, n, pos == 0, share)
        layer.ratio = share if policies.is_tinyprop(self.policy) else F32(asked) / F32(n)
        layer.rows = rows_kept(layer.delta, asked)
        layer.k_sum += layer.k
        layer.kept = policies.kept_errors(self.policy, layer.delta, layer.rows, asked)
        return asked, y

    def _learn(self, layer, x):
        kept = layer.rows
        batch = self.spec.batch
        if layer.w.trains:
            if batch > 1:
                layer.w.sum[kept] += layer.kept[:, None] * x
                layer.w.kept[kept] = True
            else:
                self.stepper.product(layer.w, kept, layer.kept[:, None], x)
                if self.stepper.opt.rows == "exact":
                    rest = np.ones(layer.spec.units, bool)
                    rest[kept] = False
                    self.stepper.gradient(layer.w, rest, np.zeros_like(layer.w.values[rest]))
        if layer.b.trains:
            if batch > 1:
                layer.b.sum += layer.delta
            else:
                self.stepper.product(layer.b, slice(None), layer.delta, ONE, decays=False)

    def _count(self, i, x, asked, passes_on):
        layer = self.layers[i]
        n_in = len(x)
        used, skips = self.columns_used(x)
        opt = self.stepper.opt
        plain = self.stepper.is_plain and opt.weight_decay == 0
        per_row = 0
        if layer.w.trains:
            per_row += used if plain or self.spec.batch > 1 else n_in
        if passes_on:
            relu_below = self.layers[i - 1].spec.activation == "relu"
            per_row += used if relu_below and skips else n_in
        layer.macs += layer.k * per_row
        self.policy_macs += asked * n_in * (layer.w.trains + passes_on)

    def count_waited(self):
        """A stored sample that the back-off left out."""
        self.seen += 1
        self.waited += 1

    def flush(self):
        """Apply the mini-batch as far as it has come."""
        trained, self.batch_seen, self.batch_trained = self.batch_trained, 0, 0
        if self.spec.batch == 1 or not trained:
            return
        self.stepper.begin()
        share = ONE / F32(self.spec.batch)
        for layer in self.layers[self.first_trained :]:
            if layer.w.trains:
                exact = self.stepper.opt.rows == "exact"
                rows = np.flatnonzero(layer.w.kept | exact)
                self.stepper.gradient(layer.w, rows, layer.w.sum[rows] * share)
                layer.w.sum[:] = 0
                layer.w.kept[:] = False
            if layer.b.trains:
                self.stepper.gradient(layer.b, slice(None), layer.b.sum * share, decays=False)
                layer.b.sum[:] = 0

    def epoch_end(self):
        self.flush()
        if policies.is_tinyprop(self.policy):
            for layer in self.layers:
                layer.ymax = layer.ymax * F32(self.policy.ymax_decay)

    # --- Counting ---

    def dense_macs(self):
        """(forward, backward) multiply-accumulates of one sample under dense full training."""
        sizes = [outputs * inputs for outputs, inputs in (s.shape for s in self.layers)]
        return sum(sizes), 2 * sum(sizes) - sizes[0]

    def backward_macs(self):
        return sum(layer.macs for layer in self.layers)
