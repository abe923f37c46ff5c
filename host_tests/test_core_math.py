"""Elementary functions, random numbers and vector operations of the core against the oracle."""

import ctypes as c
import zlib

import core_api
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle import numerics
from oracle.network import activate, activate_backward
from oracle.spec import ACTIVATIONS
from pair import assert_same_bits

F32 = np.float32
LARGEST, SMALLEST = np.finfo(F32).max, np.finfo(F32).tiny

FUNCTIONS = {
    "tp_expf": (numerics.exp, np.exp, 2),
    "tp_logf": (numerics.log, np.log, 2),
    "tp_sqrtf": (numerics.sqrt, np.sqrt, 0.5),
    "tp_tanhf": (numerics.tanh, np.tanh, 4),
    "tp_sigmoidf": (numerics.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 4),
}


def with_neighbours(values, reach=40):
    """Each value and the floats next to it."""
    near = np.array(values, F32).view(np.int32)[:, None] + np.arange(-reach, reach + 1)
    return near.astype(np.int32).view(F32).ravel()


def spread_points():
    """Every magnitude and sign alike, the usual range in detail, limits with neighbours."""
    draw = np.random.default_rng(11)
    every = draw.integers(0, 2**32, 1_500_000, dtype=np.uint32).view(F32)
    usual = draw.uniform(-100, 100, 500_000).astype(F32)
    small = draw.normal(size=500_000).astype(F32)
    edges = [1, 2, 4, 0.5, np.sqrt(0.5), np.sqrt(2), 0.175, 0.35, 10, 20, 88.72283, 87.33654]
    edges += list(np.arange(1, 128) * np.log(2)) + list((np.arange(0, 127) + 0.5) * np.log(2))
    edges += [2.0**e for e in range(-125, 127)]
    near = with_neighbours(edges)
    specials = np.array([0, np.inf, np.nan, LARGEST, SMALLEST], F32)
    x = np.concatenate([every, usual, small, near, -near, specials, -specials])
    return x[~((np.abs(x) < SMALLEST) & (x != 0))]  # subnormals are outside the promise


POINTS = spread_points()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_bit_for_bit_those_of_the_definition(core, name):
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name][0](POINTS)
    assert_same_bits(core_api.apply(core, name, POINTS), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_within_stated_distance_of_truth(core, name):
    _, truth, limit = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        exact = truth(POINTS.astype(np.float64))
        nearest = np.abs(exact).astype(F32)
    normal = (nearest >= SMALLEST) & (nearest <= LARGEST)
    got = core_api.apply(core, name, POINTS)[normal].astype(np.float64)
    distance = np.abs(got - exact[normal]) / np.spacing(nearest[normal])
    assert normal.sum() > 500_000
    assert distance.max() <= limit


def test_functions_keep_zero_sign_and_flush_below_the_smallest_normal(core):
    minus_zero = np.array([-0.0], F32)
    for name in ("tp_tanhf", "tp_sqrtf"):
        assert_same_bits(core_api.apply(core, name, minus_zero), minus_zero)
    below = np.array([-87.4, -100, -1e30, -np.inf], F32)
    for name in ("tp_expf", "tp_sigmoidf"):
        assert_same_bits(core_api.apply(core, name, below), np.zeros(4, F32))


def test_isfinite_knows_numbers_from_nan_and_infinity(core):
    for x in (0.0, -0.0, 1.0, LARGEST, -LARGEST, SMALLEST, 1e-45):
        assert core.tp_isfinite(x)
    for x in (np.inf, -np.inf, np.nan, -np.nan):
        assert not core.tp_isfinite(x)


# --- Integers ---


@pytest.mark.parametrize("seed", [0, 1, 2, 12345, 0x80000000, 0xFFFFFFFF, 0x8722191C])
def test_generator_gives_the_sequence_of_the_oracle(core, seed):
    state = (c.c_uint32 * 4)()
    core.tp_rng_seed(state, seed)
    oracle = numerics.Xoshiro128StarStar(seed)
    assert list(state) == oracle.state
    assert [core.tp_rng_next(state) for _ in range(500)] == [oracle.next() for _ in range(500)]
    assert list(state) == oracle.state


def test_generator_gives_the_published_sequence(core):
    state = (c.c_uint32 * 4)(1, 2, 3, 4)
    published = [11520, 0, 5927040, 70819200, 2031721883, 1637235492]
    assert [core.tp_rng_next(state) for _ in published] == published


@pytest.mark.parametrize("key", [0, 1, 0xFFFFFFFF])
def test_permute_is_a_bijection(core, key):
    for n in [*range(1, 70), 255, 256, 257, 1023, 1025, 4097]:
        image = [core.tp_permute(i, n, key) for i in range(n)]
        assert sorted(image) == list(range(n)), n


@pytest.mark.parametrize("i, n", [(0, 0), (5, 5), (7, 3), (2**32 - 1, 1)])
def test_permute_comes_back_from_an_index_out_of_range(core, i, n):
    assert core.tp_permute(i, n, 1) == i


def test_permute_shuffles_differently_for_each_key(core):
    orders = {tuple(core.tp_permute(i, 100, key) for i in range(100)) for key in range(50)}
    assert len(orders) == 50
    assert tuple(range(100)) not in orders


@given(n=st.integers(1, 2**32 - 1), share=st.floats(0, 1), key=st.integers(0, 2**32 - 1))
def test_permute_is_that_of_the_definition(core, n, share, key):
    i = min(int(share * n), n - 1)
    assert core.tp_permute(i, n, key) == numerics.permute(i, n, key)


@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
def test_crc32_is_that_of_zip_and_goes_on_in_pieces(core, data, cut):
    head, tail = data[:cut], data[cut:]
    assert core.tp_crc32(0, data, len(data)) == zlib.crc32(data)
    assert core.tp_crc32(core.tp_crc32(0, head, len(head)), tail, len(tail)) == zlib.crc32(data)


# --- Vectors ---

# Few different values, so that ties and zeros are common.
deltas = hnp.arrays(
    F32,
    st.integers(1, 40),
    elements=st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -3.0]),
        st.floats(-10, 10, width=32).filter(lambda v: v == 0 or abs(v) >= SMALLEST),
    ),
)


def top_k(core, d, k):
    kept = d.copy()
    keys = np.zeros(len(d), np.uint32)
    return core.tp_topk(kept.ctypes.data, len(d), k, keys.ctypes.data), kept


@given(d=deltas, k=st.integers(0, 45))
def test_top_k_keeps_the_rows_of_the_definition(core, d, k):
    count, kept = top_k(core, d, k)
    expected = np.zeros_like(d)
    rows = numerics.rows_kept(d, k)
    expected[rows] = d[rows]
    np.testing.assert_array_equal(kept, expected)
    assert count == len(rows)


@given(d=deltas, data=st.data())
def test_top_k_keeps_nothing_smaller_than_what_it_drops(core, d, data):
    k = data.draw(st.integers(0, len(d)))
    count, kept = top_k(core, d, k)
    assert count == min(k, np.count_nonzero(d)) == np.count_nonzero(kept)
    chosen = kept != 0
    assert (kept[chosen] == d[chosen]).all()
    dropped = np.abs(np.where(chosen, 0, d))
    if count:
        least = np.abs(kept[chosen]).min()
        assert least >= dropped.max()
        # Of equal ones the lowest index stays.
        equal = np.flatnonzero(np.abs(d) == least)
        assert chosen[equal].tolist() == sorted(chosen[equal].tolist(), reverse=True)


@pytest.mark.parametrize("d", [np.arange(1, 200), np.arange(200, 0, -1), np.ones(200)])
def test_top_k_copes_with_sorted_and_equal_values(core, d):
    d = d.astype(F32)
    for k in range(0, len(d) + 1):
        count, kept = top_k(core, d, k)
        np.testing.assert_array_equal(np.flatnonzero(kept), numerics.rows_kept(d, k))
        assert count == k


LONG = {
    "errors of a layer": lambda rng, n: rng.laplace(0, 0.01, n),
    "behind a relu and a pool": lambda rng, n: rng.normal(0, 1, n) * (rng.random(n) < 0.1),
    "of every magnitude": lambda rng, n: rng.choice([-1, 1], n) * 2.0 ** rng.uniform(-120, 120, n),
    "few are large": lambda rng, n: rng.normal(0, 1e-6, n) + 100 * (rng.random(n) < 0.01),
    "many are equal": lambda rng, n: rng.integers(-3, 4, n),
    "none": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("values", LONG)
@pytest.mark.parametrize("n", [255, 256, 1000, 4099, 70_000])
def test_top_k_of_a_long_vector_keeps_the_rows_of_the_definition(core, values, n):
    d = LONG[values](np.random.default_rng(n), n).astype(F32)
    for k in (1, 2, n // 50, n // 10, n // 3, n - 1, n):
        count, kept = top_k(core, d, k)
        rows = numerics.rows_kept(d, k)
        np.testing.assert_array_equal(np.flatnonzero(kept), rows)
        assert count == len(rows) and (kept[rows] == d[rows]).all()


def convert(core, x, scale=(), offset=(), n_scale=None):
    out = np.full(len(x), 7, F32)
    bad = c.c_uint32(99)
    scales = [(c.c_float * len(v))(*v) for v in (scale, offset)]
    n_scale = len(scale) if n_scale is None else n_scale
    v = core_api.view(x)
    code = core.tp_convert(out.ctypes.data, c.byref(v), *scales, n_scale, c.byref(bad))
    return code, out, bad.value


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("n_scale", [0, 1, 3])
def test_integers_are_scaled_channel_by_channel(core, dtype, n_scale):
    limits = np.iinfo(dtype)
    x = np.array([limits.min, limits.max, 0, 1, 100, 3, 16777217 % limits.max, 2, 5], dtype)
    scale, offset = F32([0.1, -3, 2**-7])[:n_scale], F32([0.5, 0, -1])[:n_scale]
    code, out, _ = convert(core, x, scale, offset)
    expected = x.astype(F32)
    if n_scale:
        channel = np.arange(9) % n_scale
        expected = expected * scale[channel] + offset[channel]
    assert code == core_api.OK
    assert_same_bits(out, expected)


def test_floats_are_taken_as_they_are_even_with_a_scale(core):
    x = F32([1.5, -0.0, LARGEST, 1e-30])
    code, out, _ = convert(core, x, [2.0], [1.0])
    assert code == core_api.OK
    assert_same_bits(out, x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4, 6])
def test_convert_names_the_element_that_is_not_finite(core, value, place):
    x = np.ones(7, F32)
    x[place] = value
    code, _, bad = convert(core, x)
    assert (code, bad) == (core_api.NONFINITE, place)


def test_convert_refuses_an_unknown_type(core):
    x = np.ones(3, F32)
    v = core_api.View(x.ctypes.data, 3, ord("d"))
    bad = c.c_uint32()
    out = np.zeros(3, F32)
    code = core.tp_convert(out.ctypes.data, c.byref(v), None, None, 0, c.byref(bad))
    assert code == core_api.DTYPE


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_and_their_derivatives_are_those_of_the_definition(core, activation):
    number = ACTIVATIONS.index(activation)
    draw = np.random.default_rng(3)
    z = np.concatenate([draw.normal(size=999) * 4, [0.0, -0.0, 50, -50, 200, -200]]).astype(F32)
    a = z.copy()
    core.tp_activate(a.ctypes.data, len(a), number, 0.125)
    expected = activate(z, activation, 0.125)
    assert_same_bits(a, expected)
    d = draw.normal(size=len(z)).astype(F32)
    d[::7] = -0.0
    expected = activate_backward(d, a, activation, 0.125)
    core.tp_activate_backward(d.ctypes.data, a.ctypes.data, len(a), number, 0.125)
    assert_same_bits(d, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_let_a_nan_through(core, activation):
    a = F32([np.nan])
    core.tp_activate(a.ctypes.data, 1, ACTIVATIONS.index(activation), 0.125)
    assert np.isnan(a[0])


def softmax(core, z):
    p = np.array(z, F32)
    top = c.c_float()
    log_sum = core.tp_softmax(p.ctypes.data, len(p), c.byref(top))
    return p, top.value, log_sum


@given(z=hnp.arrays(F32, st.integers(1, 33), elements=st.floats(-200, 200, width=32)))
def test_softmax_is_that_of_the_definition(core, z):
    expected, top, log_sum = numerics.softmax(z)
    p, got_top, got_log_sum = softmax(core, z)
    assert_same_bits(p, expected)
    assert got_top == top  # of +0 and -0 either will do
    assert_same_bits(got_log_sum, log_sum)
    assert p.astype(np.float64).sum() == pytest.approx(1, abs=1e-5)


def test_softmax_needs_no_place_for_the_maximum(core):
    z = F32([1, 2])
    assert core.tp_softmax(z.ctypes.data, 2, None) == F32(numerics.softmax([1, 2])[2])


@pytest.mark.parametrize("z", [[np.nan, 0], [0, np.nan, 1], [np.inf, 0], [0, np.inf]])
def test_softmax_of_logits_that_are_not_finite_says_so(core, z):
    assert not np.isfinite(softmax(core, z)[2])
