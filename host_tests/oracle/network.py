"""A network in float32: forward, loss, sparse backward, update, counters."""

from math import prod

import numpy as np

from . import policy as policies
from .numerics import (
    F32,
    GOLDEN,
    MASK32,
    ONE,
    TWO,
    Xoshiro128StarStar,
    f32,
    hash32,
    lane_sum,
    rows_kept,
    running_sum,
    sigmoid,
    softmax,
    sqrt,
    tanh,
)
from .optimizer import Slots, Stepper
from .spec import WEIGHTED


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


def places_along(size, kernel, stride, same):
    """(number of places, how far the first one hangs over) of a window along one side."""
    if not same:
        return (size - kernel) // stride + 1, 0
    count = -(-size // stride)
    return count, max((count - 1) * stride + kernel - size, 0) // 2


class Windows:
    """index (places, groups, K): which value of the source map each value of a patch is, -1 where
    the patch hangs over the edge. One group holds the values of all channels, or of one."""

    def __init__(self, layer, shape):
        height, width, channels = shape
        kernel = shape[:2] if layer.kind == "dense" else layer.kernel
        kernel = [k or size for k, size in zip(kernel, shape, strict=False)]
        self.rows, top = places_along(height, kernel[0], layer.stride[0], layer.same)
        self.columns, left = places_along(width, kernel[1], layer.stride[1], layer.same)
        self.kernel = kernel
        y = np.arange(self.rows)[:, None] * layer.stride[0] - top + np.arange(kernel[0])
        x = np.arange(self.columns)[:, None] * layer.stride[1] - left + np.arange(kernel[1])
        y = y[:, None, :, None, None]
        x = x[None, :, None, :, None]
        index = (y * width + x) * channels + np.arange(channels)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = np.where(inside, index, -1).reshape(self.rows * self.columns, -1, channels)
        alone = layer.kind == "depthwise" and channels > 1
        self.index = np.swapaxes(index, 1, 2) if alone else index.reshape(len(index), 1, -1)

    def patches(self, x):
        return np.append(x, x.dtype.type(0))[self.index]

    def by_channel(self, channels):
        """index as (places, values of a window, channels), for pooling."""
        return self.index.reshape(len(self.index), -1, channels)


class LayerState:
    def __init__(self, spec, shapes, place, rng):
        self.spec = spec
        self.source = place if spec.source is None else spec.source
        self.other = place if spec.other is None else spec.other
        shape = shapes[self.source]
        self.out = shape
        self.is_weighted = spec.kind in WEIGHTED
        if spec.kind not in ("add", "dropout"):
            self.windows = Windows(spec, shape)
            channels = {"dense": spec.units, "conv": spec.units}.get(spec.kind, shape[2])
            channels *= spec.units if spec.kind == "depthwise" else 1
            self.out = (self.windows.rows, self.windows.columns, channels)
        self.n = prod(self.out)
        self.w = self.b = None
        self.trained_rows = 0
        if self.is_weighted:
            channels = self.out[2]
            self.places, self.groups, self.fan_in = self.windows.index.shape
            self.filters = channels // self.groups
            trains = spec.trainable == "all"
            self.w = Slots(self._draw(rng), trains)
            self.b = Slots(np.zeros(channels, F32), spec.trainable != "none")
            self.trained_rows = (spec.rows or channels) if trains else 0
            self.one_place = self.places == self.groups == 1
        self.ymax = F32(0)
        self.delta = np.zeros(self.n, F32)  # of the last trained sample, before selection
        self.kept = np.zeros(0, F32)  # what is kept of delta, as it is used
        self.rows = np.zeros(0, np.int64)  # which values are kept
        self.ratio = F32(0)
        self.reset_counters()

    @property
    def init(self):
        if self.spec.init == "auto":
            return "he" if self.spec.activation in ("relu", "leaky_relu") else "glorot"
        return self.spec.init

    def limit(self):
        """No weight that is drawn is larger."""
        if self.init in ("zeros", "ones"):
            return ONE
        dense = self.spec.kind == "dense"
        fan_out = self.filters * (1 if dense else prod(self.windows.kernel))
        return sqrt(F32(6) / F32(self.fan_in + (0 if self.init == "he" else fan_out)))

    def _draw(self, rng):
        shape = self.out[2], self.fan_in
        if self.init in ("zeros", "ones"):
            return np.full(shape, self.init == "ones", F32)
        u = f32([rng.uniform() for _ in range(prod(shape))])
        return ((u + u - ONE) * self.limit()).reshape(shape)

    def reset_counters(self):
        self.k_sum = 0
        self.macs = 0

    @property
    def k(self):
        return len(self.rows)

    def kept_map(self):
        """What is kept of delta, as (places, groups, filters)."""
        d = np.zeros(self.n, self.kept.dtype)
        d[self.rows] = self.kept
        return d.reshape(self.places, self.groups, self.filters)

    def filters_of(self, group):
        return slice(group * self.filters, (group + 1) * self.filters)


class Network:
    """State and use of one model; the attributes carry the names of tp_model_t and tp_layer_t."""

    def __init__(self, spec):
        self.spec = spec
        self.policy = spec.policy
        self.reset(spec.seed)

    def reset(self, seed):
        self.rng = Xoshiro128StarStar(seed)
        shapes = [self.spec.shape]
        self.layers = []
        for place, layer in enumerate(self.spec.layers):
            self.layers.append(LayerState(layer, shapes, place, self.rng))
            shapes.append(self.layers[-1].out)
        self.stepper = Stepper(self.spec.opt)
        # Does the d of a map matter? Map 0 is the input.
        self.wants = [False]
        for layer in self.layers:
            wants = layer.spec.trainable != "none" or self.wants[layer.source]
            self.wants.append(wants or (layer.spec.kind == "add" and self.wants[layer.other]))
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

    def skips_zeros(self, x):
        percent = self.spec.zero_skip
        return percent > 0 and int(np.count_nonzero(x)) * 100 <= percent * len(x)

    def columns_used(self, layer, x, skips=None):
        """(places, groups): how many values of each patch the kernels touch."""
        patches = layer.windows.patches(x)
        if self.skips_zeros(x) if skips is None else skips:
            return np.count_nonzero(patches, axis=2)
        return np.full(patches.shape[:2], layer.fan_in)

    @staticmethod
    def falls(layer, place, key):
        """Which values of a map dropout sets to 0; none without a key."""
        if key == 0:
            return np.zeros(layer.n, bool)
        draws = [
            hash32(key + place * GOLDEN + i * 0x85EBCA6B & MASK32) >> 8 for i in range(layer.n)
        ]
        return np.array(draws) < int(F32(layer.spec.slope) * F32(2**24))

    def dropped(self, layer, place, x, key):
        if key == 0:
            return x
        keep = ONE / (ONE - F32(layer.spec.slope))
        return np.where(self.falls(layer, place, key), F32(0), x * keep)

    def row_forward(self, layer, place, acts, key):
        x, kind = acts[layer.source], layer.spec.kind
        if layer.is_weighted:
            patches = layer.windows.patches(x)
            w = layer.w.values.reshape(layer.groups, layer.filters, layer.fan_in)
            z = lane_sum(w * patches[:, :, None, :]).reshape(layer.places, -1) + layer.b.values
            return activate(z.ravel(), layer.spec.activation, layer.spec.slope)
        if kind == "add":
            return activate(x + acts[layer.other], layer.spec.activation, layer.spec.slope)
        if kind == "dropout":
            return self.dropped(layer, place, x, key)
        index = layer.windows.by_channel(layer.out[2])
        values = np.append(x, F32(0))[index]
        if kind == "max_pool":
            return np.where(index < 0, F32(-np.inf), values).max(axis=1).ravel()
        inside = np.count_nonzero(index[:, :, :1] >= 0, axis=1)
        return (running_sum(np.swapaxes(values, 0, 1)) / f32(inside)).ravel()

    def forward(self, x, key=0):
        """The maps a_0 (the converted input) .. a_L, each as a vector."""
        acts = [self.convert(x)]
        for place, layer in enumerate(self.layers):
            acts.append(self.row_forward(layer, place, acts, key))
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
        before = list(self.rng.state)
        key = 0
        if any(layer.spec.kind == "dropout" for layer in self.layers):
            key = self.rng.next() | 1
        acts = self.forward(x, key)
        loss, delta = self.loss_and_delta(acts[-1], target)
        if not np.isfinite(loss):
            self.rng.state = before
            raise ValueError("loss is not finite")
        for layer in self.layers:
            if layer.is_weighted:
                used = self.columns_used(layer, acts[layer.source])
                self.forward_macs += int(used.sum()) * layer.filters
        trains = self._decide(delta)
        self.seen += 1
        self.batch_seen += 1
        if trains:
            self.trained += 1
            self.batch_trained += 1
            self.skips_in_row = 0
            self._backward(acts, delta, key)
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

    def _backward(self, acts, delta, key):
        if self.spec.batch == 1:
            self.stepper.begin()
        y_above = None
        # What has come together so far as dLoss/da of every map.
        sums = {len(self.layers): delta}
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            if not self.wants[i + 1]:
                continue
            delta = sums.pop(i + 1)
            if i + 1 < len(self.layers):
                spec = layer.spec
                delta = activate_backward(delta, acts[i + 1], spec.activation, spec.slope)
            layer.delta = delta

            def pass_on(source, dx):
                if self.wants[source]:
                    sums[source] = sums.get(source, F32(0)) + dx

            if layer.spec.kind == "add":
                pass_on(layer.source, delta)
                pass_on(layer.other, delta)
            elif layer.spec.kind == "dropout":
                pass_on(layer.source, self.dropped(layer, i, delta, key))
            elif not layer.is_weighted:
                start = sums.get(layer.source, np.zeros_like(acts[layer.source]))
                sums[layer.source] = self._pool_backward(layer, delta, acts[layer.source], start)
            else:
                if i + 1 < len(self.layers) and not np.isfinite(lane_sum(np.abs(delta))):
                    return
                x = acts[layer.source]
                passes_on = self.wants[layer.source]
                distance = sum(later.is_weighted for later in self.layers[i + 1 :])
                asked, y_above = self._select(layer, distance, y_above)
                self._count(layer, x, asked, passes_on)
                if passes_on:
                    start = sums.get(layer.source, np.zeros_like(x))
                    sums[layer.source] = self._input_delta(layer, start)
                self._learn(layer, x)

    @staticmethod
    def _pool_backward(layer, delta, x, start):
        """d of the source map, added to what is there, place by place."""
        channels = layer.out[2]
        dx = start.copy()
        index = layer.windows.by_channel(channels)
        for at, values in zip(index, delta.reshape(-1, channels), strict=True):
            for c in np.flatnonzero(values):
                inside = at[:, c][at[:, c] >= 0]
                share = values[c]
                if layer.spec.kind == "max_pool":
                    inside = inside[x[inside] == x[inside].max()][:1]
                else:
                    share = share / F32(len(inside))
                dx[inside] += share
        return dx

    @staticmethod
    def _input_delta(layer, start):
        """d of the source map, added to what is there: place by place the sum over the filters."""
        dx = start.copy()
        d = layer.kept_map()
        for p in range(layer.places):
            for g in range(layer.groups):
                kept = np.flatnonzero(d[p, g])
                if not len(kept):
                    continue
                w = layer.w.values[layer.filters_of(g)][kept]
                patch = running_sum(d[p, g, kept][:, None] * w)
                at = layer.windows.index[p, g]
                dx[at[at >= 0]] += patch[at >= 0]
        return dx

    def _select(self, layer, pos, y_above):
        share, y = ONE, None
        places, channels = layer.places, layer.out[2]
        by_channel = layer.spec.select == "channels"
        n = channels if by_channel else layer.n
        if policies.is_tinyprop(self.policy):
            y = self._note_error(layer, layer.delta)
            share = policies.share_kept(self.policy, y, layer.ymax, pos, y_above)
        asked = policies.rows_asked(self.policy, n, pos == 0, share)
        layer.ratio = share if policies.is_tinyprop(self.policy) else F32(asked) / F32(n)
        if by_channel:
            grid = layer.delta.reshape(places, channels)
            masked = np.zeros_like(grid)
            best = rows_kept(self.channel_sums(np.abs(grid)), asked)
            masked[:, best] = grid[:, best]
            layer.rows = np.flatnonzero(masked)
            asked *= places
        else:
            layer.rows = rows_kept(layer.delta, asked)
        layer.k_sum += layer.k
        layer.kept = self.kept_errors(layer, asked)
        return asked, y

    @staticmethod
    def channel_sums(grid):
        return running_sum(grid)

    def kept_errors(self, layer, asked):
        return policies.kept_errors(self.policy, layer.delta, layer.rows, asked)

    def _learn(self, layer, x):
        if layer.trained_rows:
            self._learn_weights(layer, layer.windows.patches(x), layer.kept_map())
        if layer.b.trains:
            d = layer.delta
            if layer.places > 1:
                d = running_sum(d.reshape(layer.places, -1))
            if self.spec.batch > 1:
                layer.b.sum += d
            else:
                self.stepper.product(layer.b, slice(None), d, ONE, decays=False)

    def _learn_weights(self, layer, patches, d):
        batch, stepper = self.spec.batch, self.stepper
        plain = stepper.is_plain and stepper.opt.weight_decay == 0
        touched = np.zeros(layer.out[2], bool)
        gradient = np.zeros_like(layer.w.values)
        for p, g, f in np.argwhere(d):
            row = g * layer.filters + f
            if row >= layer.trained_rows:
                continue
            touched[row] = True
            if batch > 1:
                layer.w.sum[row] += d[p, g, f] * patches[p, g]
            elif plain or layer.one_place:
                stepper.product(layer.w, slice(row, row + 1), d[p, g, f], patches[p, g])
            else:
                gradient[row] += d[p, g, f] * patches[p, g]
        if batch > 1:
            layer.w.kept |= touched
            return
        if not plain and not layer.one_place:
            stepper.gradient(layer.w, touched, gradient[touched])
        if stepper.opt.rows == "exact":
            rest = ~touched
            rest[layer.trained_rows :] = False
            stepper.gradient(layer.w, rest, np.zeros_like(layer.w.values[rest]))

    def _skips_in_update(self, layer):
        return self.spec.batch > 1 or (
            self.stepper.is_plain and self.stepper.opt.weight_decay == 0
        )

    def _count(self, layer, x, asked, passes_on):
        full = self.columns_used(layer, x, skips=False)
        used = self.columns_used(layer, x)
        below = self.layers[layer.source - 1].spec if layer.source else None
        direct = self._skips_in_update(layer)
        for p, g, f in np.argwhere(layer.kept_map()):
            if g * layer.filters + f < layer.trained_rows:
                layer.macs += int((used if direct else full)[p, g])
            if passes_on:
                layer.macs += int((used if below.activation == "relu" else full)[p, g])
        self.policy_macs += asked * layer.fan_in * ((layer.trained_rows > 0) + passes_on)

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
        for layer in self.layers:
            if not layer.is_weighted:
                continue
            if layer.w.trains:
                exact = self.stepper.opt.rows == "exact"
                rows = np.flatnonzero(layer.w.kept | exact)
                rows = rows[rows < layer.trained_rows]
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
        weighted = [layer for layer in self.layers if layer.is_weighted]
        sizes = [layer.n * layer.fan_in for layer in weighted]
        first = sum(n for n, layer in zip(sizes, weighted, strict=True) if layer.source == 0)
        return sum(sizes), 2 * sum(sizes) - first

    def backward_macs(self):
        return sum(layer.macs for layer in self.layers)
