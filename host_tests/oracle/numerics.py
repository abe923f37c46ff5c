"""Float32 arithmetic as DESIGN.md, "Numerics", defines it. Arrays in, arrays out."""

import numpy as np

F32 = np.float32
ONE, TWO = F32(1), F32(2)
GOLDEN = 0x9E3779B9
MASK32 = 0xFFFFFFFF

LOG2_E = F32(1.44269504)
LN2_HIGH, LN2_LOW = F32(0.693359375), F32(-2.12194440e-4)
EXP_MAX, EXP_MIN = F32(88.72283), F32(-87.33654)
EXP_TAYLOR = [F32(1 / n) for n in (5040, 720, 120, 24, 6, 2)]
SQRT_HALF_BITS = 0x3F3504F3
TANH_ONE_FROM, TANH_TAYLOR_BELOW = F32(20), F32(0.35)


def f32(values):
    return np.asarray(values, dtype=F32)


def lane_sum(terms):
    """Sum over the last axis: lane j adds the terms j, j + 4, ... from +0."""
    terms = f32(terms)
    rounds = -(-terms.shape[-1] // 4)
    lanes = np.zeros(terms.shape[:-1] + ((rounds + 1) * 4,), F32)
    lanes[..., 4 : 4 + terms.shape[-1]] = terms
    lanes = lanes.reshape(terms.shape[:-1] + (rounds + 1, 4))
    s = np.add.accumulate(lanes, axis=-2)[..., -1, :]
    return (s[..., 0] + s[..., 2]) + (s[..., 1] + s[..., 3])


def running_sum(terms):
    """Sum over the first axis in rising order, from +0."""
    rows = np.zeros((len(terms) + 1,) + terms.shape[1:], F32)
    rows[1:] = terms
    return np.add.accumulate(rows, axis=0)[-1]


def _horner(coefficients, x):
    y = coefficients[0]
    for c in coefficients[1:]:
        y = y * x + c
    return y


def _power_of_two(n):
    return ((np.asarray(n, np.int32) + np.int32(127)) << np.int32(23)).view(F32)


def exp(x):
    x = f32(x)
    inside = (x >= EXP_MIN) & (x <= EXP_MAX)
    v = np.where(inside, x, F32(0))
    n = np.trunc(v * LOG2_E + np.where(v < 0, F32(-0.5), F32(0.5)))
    r = (v - n * LN2_HIGH) - n * LN2_LOW
    y = _horner(EXP_TAYLOR, r)
    y = (y * r) * r + r
    y = y + ONE
    n = n.astype(np.int32)
    half = n >> 1
    y = y * _power_of_two(half) * _power_of_two(n - half)
    y = np.where(x < EXP_MIN, F32(0), np.where(x > EXP_MAX, F32(np.inf), y))
    return np.where(np.isnan(x), x, y)


def log(x):
    x = f32(x)
    usual = (x > 0) & (x < np.inf)
    bits = np.where(usual, x, ONE).view(np.int32)
    e = (bits - np.int32(SQRT_HALF_BITS)) >> np.int32(23)
    f = (bits - (e << np.int32(23))).view(F32)
    e = e.astype(F32)
    u = f - ONE
    s = u / (u + TWO)
    z = s * s
    t = (s + s) * (z * _horner([F32(1 / 9), F32(1 / 7), F32(1 / 5), F32(1 / 3)], z))
    y = e * LN2_HIGH + ((s + s) + (t + e * LN2_LOW))
    special = np.where(x == 0, F32(-np.inf), np.where(x > 0, x, F32(np.nan)))
    return np.where(usual, y, special)


def sigmoid(x):
    x = f32(x)
    e = exp(-np.abs(x))  # exp(-x) where x >= 0, exp(x) elsewhere
    return np.where(x >= 0, ONE, e) / (ONE + e)


def tanh(x):
    x = f32(x)
    with np.errstate(over="ignore", invalid="ignore"):
        u = np.abs(x) + np.abs(x)
        small = u < TANH_TAYLOR_BELOW
        v = np.where(small, u, F32(0))
        q = np.where(small, (_horner(EXP_TAYLOR, v) * v) * v + v, exp(u) - ONE)
        y = np.where(u > TANH_ONE_FROM, ONE, q / (q + TWO))
    return np.copysign(y, x)


def sqrt(x):
    return np.sqrt(f32(x))


def softmax(z):
    """Probabilities, max z, log sum exp(z - max)."""
    z = f32(z)
    top = np.max(z)
    e = exp(z - top)
    total = lane_sum(e)
    return e / total, top, log(total)


def rows_kept(d, k):
    """Indices, rising, of the k largest |d|: lowest index first among equals, never a zero."""
    keys = np.abs(d).astype(np.int64)
    if d.dtype == F32:
        keys = np.abs(d).view(np.int32).astype(np.int64)
    order = np.argsort(-keys, kind="stable")[:k]
    return np.sort(order[keys[order] != 0])


def rounded_share(n, share):
    """trunc(n * share + 0.5) limited to 1..n."""
    return min(max(int(F32(n) * F32(share) + F32(0.5)), 1), n)


def hash32(x):
    x &= MASK32
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK32
    x ^= x >> 15
    x = x * 0x846CA68B & MASK32
    return x ^ x >> 16


def _rotate_left(x, n):
    return (x << n | x >> 32 - n) & MASK32


class Xoshiro128StarStar:
    def __init__(self, seed):
        self.state = [hash32(seed + i * GOLDEN) for i in range(1, 5)]

    def next(self):
        s = self.state
        result = _rotate_left(s[1] * 5 & MASK32, 7) * 9 & MASK32
        t = s[1] << 9 & MASK32
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = _rotate_left(s[3], 11)
        return result

    def uniform(self):
        return F32(self.next() >> 8) * F32(2.0**-24)


def permute(i, n, key):
    """A bijection of 0..n-1: four Feistel rounds, walked until the result is below n."""
    half = 0
    while 4**half < n:
        half += 1
    mask = 2**half - 1
    while True:
        left, right = i >> half, i & mask
        for r in range(1, 5):
            left, right = right, left ^ (hash32(right + key + r * GOLDEN) & mask)
        i = left << half | right
        if i < n:
            return i
