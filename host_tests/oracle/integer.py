"""A network in integers, written from DESIGN.md, "Integer numerics": every tensor is integers
times a power of two. What decides (policies, dropout, counters) is that of network.py.

All arithmetic is exact in int64; `int32` and `uint32` hold what the definition promises to fit.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from .network import Network, one_hot
from .numerics import F32, GOLDEN, MASK32, ONE, TWO, f32, hash32, lane_sum

B_EXPONENT, OUT_EXPONENT, SOFTMAX_EXPONENT = -20, -12, -15
OUT_LIMIT = 2**22
D_LIMIT = 32767
E_A_MIN, E_A_MAX = -30, 100
E_W_MIN, E_W_MAX = -60, 20
E_D_MIN, E_D_MAX = -60, 20
TURN = 0xC13FA9A9  # as a part of 2^32 far from every simple fraction, and from GOLDEN
MAX32, MIN32 = 2**31 - 1, -(2**31)


@dataclass(frozen=True)
class Type:
    bits: int  # A: bits of a map's values, without the sign
    limit: int  # weights are -limit .. limit - 1
    drawn: int  # the largest weight at the start is at most this
    grows: int  # where more than 1 in `share` weights are as large as this, all are halved
    share: int
    product_shift: int  # of the products of dx
    fine: int  # a velocity's unit is 2^-fine of a weight's

    @property
    def amax(self):
        return 2**self.bits - 1


TYPES = {"i8": Type(7, 128, 127, 112, 8, 0, 11), "i16": Type(10, 32768, 12288, 28672, 64, 8, 3)}


@dataclass
class Range:
    """Of map r: its exponent, the largest |v| since the last look, the exponents of its d and of
    the weights of the row that computes it."""

    e_a: int
    e_w: int = 0
    e_d: int = 0
    peak: int = 0


# --- Arithmetic ---


def log2(v):
    """log2(v / 32768) times 32768 of v >= 32768; not exact, as DESIGN.md defines it."""
    n = v.bit_length() - 16
    f = (v >> n) & 32767
    q = int32(f * 1479) >> 15
    q = int32(f * (4863 - q)) >> 15
    q = 14481 + (int32(f * (q - 8755)) >> 15)
    return n * 32768 + f + (int32((int32(f * (32768 - f)) >> 15) * q + 16384) >> 15)


def int32(v):
    assert np.size(v) == 0 or (np.min(v) >= MIN32 and np.max(v) <= MAX32), "leaves int32"
    return v


def uint32(v):
    assert np.size(v) == 0 or (np.min(v) >= 0 and np.max(v) <= MASK32), "leaves uint32"
    return v


def bits(v):
    return int(v).bit_length()


def largest(v):
    return int(np.max(np.abs(v), initial=0))


def saturated(v):
    return np.clip(v, MIN32, MAX32)


def clipped(v, limit):
    return np.clip(v, -limit, limit)


def sh(v, s):
    """v * 2^-s of an int64, rounded half up, saturated to an int32."""
    v = np.asarray(v, np.int64)
    if s > 0:
        s = min(s, 62)
        return saturated((v >> s) + ((v >> (s - 1)) & 1))
    return saturated(saturated(v) << min(-s, 31))


def rdiv(v, n):
    """v / n, rounded half away from 0."""
    return np.sign(v) * ((np.abs(v) + n // 2) // n)


def fixed(x, exponent):
    """Real numbers as integers of that exponent, rounded half up (float64 holds all of it)."""
    return np.floor(np.asarray(x, np.float64) * 2.0**-exponent + 0.5)


def mant(f):
    """(m, x): f ~ m * 2^x of a float32 f > 0, 2^14 <= m < 2^15. (0, 0) of a subnormal."""
    pattern = int(F32(f).view(np.uint32))
    exponent = pattern >> 23 & 255
    if exponent == 0:
        return 0, 0
    m = ((pattern & 0x7FFFFF | 0x800000) + 256) >> 9
    x = exponent - 127 - 23 + 9
    return (16384, x + 1) if m == 32768 else (m, x)


def scaled(d, f):
    """d * f as (d, exponent to add)."""
    m, x = mant(f)
    return int32(d * m + 2**14) >> 15, 15 + x


def error(d, exponent):
    """sum |d| as float32."""
    total = int(np.abs(d).sum())
    over = max(0, bits(total) - 32)
    return np.ldexp(F32(total >> over), exponent + over)


LOGISTIC = np.floor(32768 / (1 + np.exp(-np.arange(65) / 8)) + 0.5).astype(np.int64)
POWERS = np.floor(32768 * 2 ** (-np.arange(33) / 32) + 0.5).astype(np.int64)


def squash(z, e_acc, kind):
    """Sigmoid or tanh in Q15."""
    t = clipped(sh(z, OUT_EXPONENT - e_acc), 32767)
    if kind == "tanh":
        t = clipped(2 * t, 32767)
    i, f = np.abs(t) >> 9, np.abs(t) & 511
    s = LOGISTIC[i] + (((LOGISTIC[i + 1] - LOGISTIC[i]) * f + 256) >> 9)
    s = np.where(t < 0, 32768 - s, s)
    return 2 * s - 32768 if kind == "tanh" else s


def exponentials(o):
    """2^15 exp(o - max o), max o."""
    top = o.max()
    u = int32(np.minimum(top - o, 65535) * 23637) >> 14
    n, f = u >> 12, u & 4095
    high, low = POWERS[f >> 7], POWERS[(f >> 7) + 1]
    return np.where(n > 15, 0, (high - (((high - low) * (f & 127) + 64) >> 7)) >> n), top


def q15(slope):
    return int(fixed(F32(slope), -15))


def leak(v, slope):
    return (v * q15(slope) + 2**14) >> 15


def first_exponent(limit, drawn):
    """The smallest e_w with limit <= drawn * 2^e_w."""
    e = E_W_MIN
    while e < E_W_MAX and float(limit) > drawn * 2.0**e:
        e += 1
    return e


def noise(draw, s, n):
    """What is added before a step's shift by s: neighbours share a value, pairs are spread."""
    step = (GOLDEN >> (32 - s)) | 1
    return (draw + (np.arange(n) >> 1) * step) & (2**s - 1)


# --- The network ---


class IntegerNetwork(Network):
    def __init__(self, spec):
        self.type = TYPES[spec.dtype]
        super().__init__(spec)

    def reset(self, seed):
        super().reset(seed)
        self.ranges = [Range(-self.type.bits) for _ in range(len(self.layers) + 1)]
        for layer, record in zip(self.layers, self.ranges[1:], strict=True):
            layer.range = record
            layer.place = self.layers.index(layer)
            layer.delta = np.zeros(layer.n, np.int64)
            layer.kept = np.zeros(0, np.int64)
            if layer.is_weighted:
                self._take(layer, layer.w.values, layer.b.values, layer.limit())

    def _take(self, layer, w, b, limit):
        t, record = self.type, layer.range
        record.e_w = first_exponent(limit, t.drawn)
        for group in (layer.w, layer.b):
            group.m = np.zeros(group.values.shape, np.int64)
        q = clipped(fixed(w, record.e_w), t.limit - 1)
        layer.w.values = q.astype(np.int64).reshape(layer.w.values.shape)
        layer.b.values = saturated(fixed(b, B_EXPONENT)).astype(np.int64)

    def import_weights(self, i, w, b):
        top = np.max(np.abs(w))
        self._take(self.layers[i], w, b, top if top > 0 else ONE)

    def export_weights(self, i):
        layer = self.layers[i]
        w = np.ldexp(f32(layer.w.values), layer.range.e_w)
        return w, np.ldexp(f32(layer.b.values), B_EXPONENT)

    # --- Forward ---

    def convert(self, x):
        x, record, t = np.asarray(x), self.ranges[0], self.type
        while True:
            v = self._input(x, record.e_a)
            top = largest(v)
            if top <= t.amax or record.e_a == E_A_MAX:
                break
            record.e_a = min(record.e_a + max(1, bits(top) - t.bits), E_A_MAX)
            record.peak = 0
        record.peak = max(record.peak, min(top, t.amax))
        return clipped(v, t.amax)

    def _input(self, x, e):
        if x.dtype == F32:
            return saturated(fixed(x, e)).astype(np.int64)
        q = x.astype(np.int64)
        if not self.spec.scale:
            return sh(q, e)
        v = np.empty(len(q), np.int64)
        n = len(self.spec.scale)
        for i, (scale, offset) in enumerate(zip(self.spec.scale, self.spec.offset, strict=True)):
            (ms, xs), (mo, xo) = mant(abs(F32(scale))), mant(abs(F32(offset)))
            product = sh(q[i::n] * (-ms if scale < 0 else ms), e - xs)
            v[i::n] = saturated(product + sh(-mo if offset < 0 else mo, e - xo))
        return v

    def row_forward(self, layer, place, acts, key):
        x, record = acts[layer.source], self.ranges[layer.source]
        z, e_acc = getattr(self, f"_{layer.spec.kind}_forward")(layer, place, acts, x, record, key)
        if place + 1 == len(self.layers):
            return self._outputs(layer, z, e_acc)
        if layer.spec.kind == "max_pool":
            layer.range.e_a = e_acc
            return z
        return self._fit(layer, z, e_acc)

    def _weighted_forward(self, layer, place, acts, x, record, key):
        h = bits(-(-layer.fan_in // 64) - 1) if self.spec.dtype == "i16" else 0
        w = layer.w.values.reshape(layer.groups, layer.filters, layer.fan_in)
        patches = layer.windows.patches(x)
        acc = np.stack([patches[:, g] @ w[g].T for g in range(layer.groups)], axis=1)
        acc = int32(acc >> h).reshape(layer.places, -1)
        e_acc = layer.range.e_w + record.e_a + h
        s = e_acc - B_EXPONENT
        b = layer.b.values
        return (acc + (sh(b, s) if s > 0 else b << min(-s, 31))).ravel(), e_acc

    _dense_forward = _conv_forward = _depthwise_forward = _weighted_forward

    def _add_forward(self, layer, place, acts, x, record, key):
        y, e_x, e_y = acts[layer.other], record.e_a, self.ranges[layer.other].e_a
        if e_x < e_y:
            x, y, e_x, e_y = y, x, e_y, e_x
        if e_x - e_y <= 20:
            return (x << (e_x - e_y)) + y, e_y
        return (x << 20) + sh(y, e_x - e_y - 20), e_x - 20

    @staticmethod
    def _gain(layer):
        """1 / (1 - rate) of dropout in Q14."""
        return min(int(F32(16384) / (ONE - F32(layer.spec.slope)) + F32(0.5)), 2**20)

    def _dropout_forward(self, layer, place, acts, x, record, key):
        gain = self._gain(layer) if key else 2**14
        return int32(np.where(self.falls(layer, place, key), 0, x * gain)), record.e_a - 14

    def _max_pool_forward(self, layer, place, acts, x, record, key):
        index = layer.windows.by_channel(layer.out[2])
        values = np.where(index < 0, MIN32, np.append(x, 0)[index])
        return values.max(axis=1).ravel(), record.e_a

    def _average_pool_forward(self, layer, place, acts, x, record, key):
        index = layer.windows.by_channel(layer.out[2])
        sums = np.append(x, 0)[index].sum(axis=1)
        for p, n in enumerate(np.count_nonzero(index[:, :, 0] >= 0, axis=1)):
            f = min(max(31 - self.type.bits - bits(n), 0), 8)
            sums[p] = rdiv(sums[p] << f, n) << (8 - f)
        return sums.ravel(), record.e_a - 8

    def _fit(self, layer, z, e_acc):
        """z as a map; its exponent grows first where it must."""
        t, record, spec = self.type, layer.range, layer.spec
        if spec.activation in ("sigmoid", "tanh"):
            s = squash(z, e_acc, spec.activation)
            record.e_a = -t.bits
            return clipped((s + 2 ** (14 - t.bits)) >> (15 - t.bits), t.amax)
        if spec.activation == "relu":
            z = np.maximum(z, 0)
        top = min(largest(z), 2**62)
        if sh(top, record.e_a - e_acc) > t.amax:
            record.e_a = max(record.e_a, e_acc - 16)
            while record.e_a < E_A_MAX and sh(top, record.e_a - e_acc) > t.amax:
                record.e_a += 1
            record.e_a = min(record.e_a, E_A_MAX)
            record.peak = 0
        record.peak = max(record.peak, min(int(sh(top, record.e_a - e_acc)), t.amax))
        q = clipped(sh(z, record.e_a - e_acc), t.amax)
        return np.where(q < 0, leak(q, spec.slope), q) if spec.activation == "leaky_relu" else q

    @staticmethod
    def _outputs(layer, z, e_acc):
        """The outputs of the model, with OUT_EXPONENT."""
        kind = layer.spec.activation
        if kind in ("sigmoid", "tanh"):
            return (squash(z, e_acc, kind) + 4) >> 3
        o = clipped(sh(z, OUT_EXPONENT - e_acc), OUT_LIMIT)
        if kind == "relu":
            return np.maximum(o, 0)
        return np.where(o < 0, leak(o, layer.spec.slope), o) if kind == "leaky_relu" else o

    # --- Ranges ---

    @contextmanager
    def looking(self):
        """Nothing is trained: ranges settle before the first training step, and stay then."""
        before = [replace(record) for record in self.ranges]
        yield
        if self.seen == 0:
            self._look(forget=False)
            return
        for record, old in zip(self.ranges, before, strict=True):
            vars(record).update(vars(old))

    def _follows(self, r):
        """Whether the exponent of map r follows its values."""
        if r == 0:
            return True
        spec = self.layers[r - 1].spec
        squashed = spec.activation in ("sigmoid", "tanh")
        return r < len(self.layers) and spec.kind != "max_pool" and not squashed

    def _look(self, forget):
        """Exponents that are too large shrink."""
        for r, record in enumerate(self.ranges):
            if record.peak == 0 and record.e_a > E_A_MIN and self._follows(r):
                record.e_a = max(record.e_a - self.type.bits, E_A_MIN)
            while 0 < record.peak <= 3 * 2**self.type.bits // 8 and record.e_a > E_A_MIN:
                record.e_a -= 1
                record.peak *= 2
            if forget:
                record.peak = 0

    def _grow_weights(self):
        t = self.type
        for layer in self.layers:
            if not layer.trained_rows:
                continue
            w, record = layer.w.values, layer.range
            large = np.count_nonzero(np.abs(w) >= t.grows)
            if large * t.share <= w.size or record.e_w >= E_W_MAX:
                continue
            layer.w.values = self._halved(w)
            if not self.stepper.is_plain:
                layer.w.m[: layer.trained_rows] = self._halved(layer.w.m[: layer.trained_rows])
            record.e_w += 1

    def _halved(self, v):
        draws = np.array([self.rng.next() for _ in range(-(-v.size // 32))])
        j = np.arange(v.size)
        return (v + (draws[j >> 5] >> (j & 31) & 1).reshape(v.shape)) >> 1

    # --- Outputs and loss ---

    def predict(self, x):
        with self.looking():
            o = self.forward(x)[-1]
        if self.spec.loss != "softmax_cross_entropy":
            return f32(o) * F32(2**-12)
        return f32(self._probabilities(exponentials(o)[0])) * F32(2**-15)

    def evaluate(self, x, target):
        with self.looking():
            return super().evaluate(x, target)

    @staticmethod
    def _probabilities(e):
        total = uint32(e.sum())
        return uint32(e * 32768 + total // 2) // total

    def loss_and_delta(self, o, target):
        by_class = np.ndim(target) == 0
        t = one_hot(target, len(o)) if by_class else f32(target)
        last = self.layers[-1]
        if self.spec.loss == "softmax_cross_entropy":
            e, top = exponentials(o)
            last.range.e_d = SOFTMAX_EXPONENT
            delta = self._probabilities(e) - fixed(t, SOFTMAX_EXPONENT).astype(np.int64)
            losses = F32(log2(int(e.sum()))) * F32(2.11531733e-5) + f32(top - o) * F32(2**-12)
            loss = losses[target] if by_class else lane_sum(t * losses)
            return loss, clipped(delta, D_LIMIT)
        goal = clipped(fixed(t, OUT_EXPONENT), 2**23).astype(np.int64)
        e, n = o - goal, F32(len(o))
        unit = f32(e) * F32(2**-12)
        last.range.e_d = OUT_EXPONENT
        delta, more = scaled(self._derived(last, e, o, -OUT_EXPONENT), TWO / n)
        last.range.e_d += more
        return lane_sum(unit * unit) / n, delta

    # --- Backward ---

    def train_step(self, x, target):
        result = super().train_step(x, target)
        if result[0] and self.trained % 64 == 0:
            self._grow_weights()
        if self.seen & (self.seen - 1) == 0 or self.seen % 256 == 0:
            self._look(forget=True)
        return result

    def _note_error(self, layer, delta):
        y = error(delta, layer.range.e_d)
        layer.ymax = max(layer.ymax, y)
        return y

    @staticmethod
    def _normalised(layer, d):
        s = max(0, bits(largest(d)) - 15)
        layer.range.e_d += s
        return clipped(sh(d, s), D_LIMIT)

    def _derived(self, layer, d, a, unit):
        """d * f'(a), normalised, its exponent in range; 2^unit of a is 1."""
        kind = layer.spec.activation
        if kind == "relu":
            d = np.where(a > 0, d, 0)
        d = self._normalised(layer, d)
        if kind == "leaky_relu":
            d = np.where(a > 0, d, int32(leak(d, layer.spec.slope)))
        elif kind in ("sigmoid", "tanh"):
            f = sh(a * (2**unit - a) if kind == "sigmoid" else a * a, 2 * unit - 15)
            f = f if kind == "sigmoid" else 32768 - f
            d = int32(d * f + 2**14) >> 15
        record = layer.range
        e = min(max(record.e_d, E_D_MIN), E_D_MAX)
        d = d if e == record.e_d else clipped(sh(d, e - record.e_d), D_LIMIT)
        record.e_d = e
        return d

    def _backward(self, acts, delta, key):
        y_above = None
        self.sums = {len(self.layers): delta}  # what has come together so far of the d of a map
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            if not self.wants[i + 1]:
                continue
            delta = self.sums.pop(i + 1)
            if i + 1 < len(self.layers):
                delta = self._derived(layer, delta, acts[i + 1], self.type.bits)
            layer.delta = delta
            whole = np.arange(layer.n)
            if layer.spec.kind == "add":
                self._pass_on(layer.other, layer.range.e_d, [(whole, delta)])
                self._pass_on(layer.source, layer.range.e_d, [(whole, delta)])
            elif layer.spec.kind == "dropout":
                kept = (delta * (self._gain(layer) if key else 2**14) + 2**13) >> 14
                kept = int32(np.where(self.falls(layer, i, key), 0, kept))
                self._pass_on(layer.source, layer.range.e_d, [(whole, kept)])
            elif not layer.is_weighted:
                self._pass_through_pool(layer, acts[layer.source])
            else:
                if layer.b.trains:
                    self._learn_bias(layer)
                x, passes_on = acts[layer.source], self.wants[layer.source]
                distance = sum(later.is_weighted for later in self.layers[i + 1 :])
                asked, y_above = self._select(layer, distance, y_above)
                self._count(layer, x, asked, passes_on)
                if passes_on:
                    self._pass_through_weights(layer)
                if layer.trained_rows:
                    self._learn_weights(layer, layer.windows.patches(x), layer.kept_map())

    def _pass_on(self, source, exponent, parts):
        """Add (where, values) pairs of that exponent to the d of a map."""
        if not self.wants[source]:
            return
        record = self.ranges[source]
        if source not in self.sums:
            total, record.e_d, s = np.zeros(self.layers[source - 1].n, np.int64), exponent, 0
        else:
            e = max(record.e_d, exponent) + 2
            total = sh(self.sums[source], e - record.e_d)
            record.e_d, s = e, e - exponent
        for where, values in parts:
            total[where] += sh(values, s)
        self.sums[source] = int32(total)

    def _pass_through_pool(self, layer, x):
        channels, parts = layer.out[2], []
        is_max = layer.spec.kind == "max_pool"
        index = layer.windows.by_channel(channels)
        for at, values in zip(index, layer.delta.reshape(-1, channels), strict=True):
            for c in np.flatnonzero(values):
                inside = at[:, c][at[:, c] >= 0]
                if is_max:
                    parts.append((inside[x[inside].argmax()], values[c]))
                else:
                    parts.append((inside, rdiv(int32(values[c] << 8), len(inside))))
        self._pass_on(layer.source, layer.range.e_d - (0 if is_max else 8), parts)

    def _pass_through_weights(self, layer):
        terms = layer.filters  # at most so many for one value of dx
        if layer.spec.kind != "dense":
            kernel, stride = layer.windows.kernel, layer.spec.stride
            terms *= -(-kernel[0] // stride[0]) * -(-kernel[1] // stride[1])
        ds = max(0, bits(terms) - 9)
        d = sh(layer.kept_map(), ds)
        w = layer.w.values.reshape(layer.groups, layer.filters, layer.fan_in)
        parts = []
        for p, g in np.argwhere(layer.kept_map().any(axis=2)):
            products = int32(d[p, g][:, None] * w[g]) >> self.type.product_shift
            at = layer.windows.index[p, g]
            parts.append((at[at >= 0], int32(products.sum(axis=0))[at >= 0]))
        shift = ds + self.type.product_shift
        self._pass_on(layer.source, layer.range.e_d + layer.range.e_w + shift, parts)

    @staticmethod
    def channel_sums(grid):
        return np.minimum(grid.sum(axis=0), MAX32)

    def kept_errors(self, layer, asked):
        kept = layer.delta[layer.rows]
        if not self.policy.rescale or asked >= layer.n or not len(kept):
            return kept
        total, part = (error(d, layer.range.e_d) for d in (layer.delta, kept))
        if total == part:
            return kept
        kept, more = scaled(kept, total / part)
        layer.range.e_d += more
        return kept

    # --- Steps ---

    def _skips_in_update(self, layer):
        return layer.one_place and self.stepper.is_plain

    def _step(self, p, t):
        """-p * 2^-t, rounded by a draw where there is something to round; None: too small."""
        if t > 30:
            return None
        if t <= 0:
            return int(saturated(-p << min(-t, 31)))
        return int(int32(int32(-p) + (self.rng.next() >> (32 - t)))) >> t

    def _learn_bias(self, layer):
        (m, x), keep = mant(self.stepper.lr), q15(self.stepper.momentum)
        b, v = layer.b.values, layer.b.m
        for o, g in enumerate(layer.delta.reshape(layer.places, -1).sum(axis=0)):
            step = 0
            if v[o] != 0:
                step = (keep * int(v[o]) + (self.rng.next() >> 17)) >> 15
            if g != 0:
                k = max(0, bits(abs(int(g))) - 15)
                p = int32(m * int(g >> k))
                step += self._step(p, -(x + layer.range.e_d + k - B_EXPONENT)) or 0
            step = saturated(step)
            v[o] = 0 if self.stepper.is_plain else step
            b[o] = saturated(b[o] + step)

    def _learn_weights(self, layer, patches, d):
        e = layer.range.e_d + self.ranges[layer.source].e_a - layer.range.e_w
        moves_all = self.stepper.opt.rows == "exact" and not self.stepper.is_plain
        if layer.one_place:
            for o in range(layer.trained_rows):
                if d[0, 0, o] != 0 or moves_all:
                    self._learn_row(layer, o, int(d[0, 0, o]), patches[0, 0], e)
            return
        dw = max(0, 15 + self.type.bits + bits(layer.places - 1) - 31)
        shifted = sh(d, dw)
        for o in range(layer.trained_rows):
            g, f = divmod(o, layer.filters)
            if d[:, g, f].any() or moves_all:
                total = int32(shifted[:, g, f] @ patches[:, g])
                self._learn_filter(layer, o, total, e + dw)

    def _learn_row(self, layer, o, d, x, e):
        m, exponent = mant(self.stepper.lr)
        p, e = int32(m * d), e + exponent
        if not self.stepper.is_plain:
            self._gather_speed(layer, o, p, x, e)
            return
        s, limit = 16, 2**20 - 1
        if self.spec.dtype == "i8":
            s, limit = min(max(7 - bits(abs(p)) - e, 8), 14), 127
        self._learn(layer, o, self._step(p, -(e + s)), limit, x, s)

    def _learn_filter(self, layer, o, total, e):
        m, exponent = mant(self.stepper.lr)
        s0 = max(0, bits(largest(total)) - 15)
        x = clipped(sh(total, s0), D_LIMIT)
        e += exponent + s0
        if not self.stepper.is_plain:
            self._gather_speed(layer, o, m if x.any() else 0, x, e)
        elif x.any():
            s = min(max(-e, 5), 29)
            self._learn(layer, o, self._step(m, -(e + s)), D_LIMIT, x, s)

    def _learn(self, layer, o, step, limit, x, s):
        """W[o] += step * x * 2^-s, rounded by noise."""
        step = min(max(step or 0, -limit), limit)
        if step == 0:
            return
        wide = self.spec.dtype == "i16"
        first = self.rng.next() & (2**s - 1) if wide else self._turn(layer, o) >> (32 - s)
        r = noise(first, s, len(x))
        w = layer.w.values[o] + (int32(step * x + r) >> s)
        layer.w.values[o] = np.clip(w, -self.type.limit, self.type.limit - 1)

    def _turn(self, layer, o):
        """Where the noise of a row begins: the same part of the range further in every step."""
        return hash32((layer.place << 16) + o) + self.trained * TURN & MASK32

    def _gather_speed(self, layer, o, p, x, e):
        """V[o] = momentum * V[o] - p * x * 2^e; W[o] += V[o]: each rounded by noise."""
        fine, n = self.type.fine, len(x)
        e += fine
        s = min(max(15 - bits(abs(p)) - e, 5), 29)
        step = self._step(p, -(e + s)) if p != 0 else 0
        step = min(max(step or 0, -D_LIMIT), D_LIMIT)
        push = int32(step * x + noise(self.rng.next() & (2**s - 1), s, n)) >> s
        draw = self.rng.next()
        kept = q15(self.stepper.momentum) * layer.w.m[o]
        v = clipped((int32(kept + noise(draw & 32767, 15, n)) >> 15) + push, D_LIMIT)
        layer.w.m[o] = v
        w = layer.w.values[o] + ((v + noise(self._turn(layer, o) >> (32 - fine), fine, n)) >> fine)
        layer.w.values[o] = np.clip(w, -self.type.limit, self.type.limit - 1)
