"""The integer oracle itself: by hand, against its float twin, at the extremes of all ranges."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from cases import NETWORKS, conv, network, pool
from oracle import gradients, integer
from oracle.integer import IntegerNetwork, mant, noise, sh
from oracle.network import Network
from oracle.numerics import Xoshiro128StarStar, softmax
from oracle.spec import ACTIVATIONS, LOSSES, Layer, Optimizer, Policy, Spec
from pair import samples

F32 = np.float32
TYPES = integer.TYPES

each_type = pytest.mark.parametrize("dtype", TYPES)
each_loss = pytest.mark.parametrize("loss", LOSSES)
MLPS = {a: network(13, (17, 5), a) for a in ACTIVATIONS}
each_network = pytest.mark.parametrize(
    "spec", (NETWORKS | MLPS).values(), ids=(NETWORKS | MLPS).keys()
)


def twin(net):
    """The float network with the weights and biases of an integer one."""
    other = Network(replace(net.spec, dtype="f32"))
    for i, layer in enumerate(other.layers):
        if layer.is_weighted:
            layer.w.values, layer.b.values = net.export_weights(i)
    return other


def with_biases(net, size=0.1):
    """Biases drawn so that they take part."""
    draw = np.random.default_rng(5)
    for i, layer in enumerate(net.layers):
        if layer.is_weighted:
            w, b = net.export_weights(i)
            net.import_weights(i, w, (draw.normal(size=len(b)) * size).astype(F32))
    return net


def real(q, exponent):
    return np.ldexp(np.asarray(q, np.float64), exponent)


# --- Arithmetic, by hand ---


def test_shifts_round_halves_up_and_saturate():
    # NITI's example: (1000, -300, 77) takes 10 bits; 7 of them are left by 3.
    assert integer.bits(1000) - 7 == 3
    assert list(sh([1000, -300, 77], 3)) == [125, -37, 10]
    assert list(sh([5, -5, 6, -6, 1, 0], 1)) == [3, -2, 3, -3, 1, 0]
    assert list(sh([5, -5], -1)) == [10, -10]
    assert list(sh([2**30, -(2**30), 1, -1, 0], -1)) == [2**31 - 1, -(2**31), 2, -2, 0]
    assert list(sh([1, -1, 0], -200)) == [2**31 - 1, -(2**31), 0]
    assert list(sh([2**62, -(2**62), 2**40], 62)) == [1, -1, 0]
    assert list(sh([2**62, -(2**62)], 1)) == [2**31 - 1, -(2**31)]
    assert list(sh([7, -7], 100)) == [0, 0]


@pytest.mark.parametrize(
    "f, m, x",
    [
        (1, 16384, -14),
        (2, 16384, -13),
        (0.75, 24576, -15),
        (1.99999, 16384, -13),
        (0.05, 26214, -19),
    ],
)
def test_mantissa_takes_15_bits(f, m, x):
    assert mant(f) == (m, x)
    assert m * 2.0**x == pytest.approx(f, rel=2**-15)


def test_mantissa_of_a_subnormal_is_nothing():
    assert mant(F32(1e-40)) == mant(F32(0)) == (0, 0)


def test_division_rounds_halves_away_from_zero():
    assert list(integer.rdiv(np.array([7, -7, 8, -8, 5, -5, 0]), 2)) == [4, -4, 4, -4, 3, -3, 0]
    assert list(integer.rdiv(np.array([4, 5, -4, -5]), 3)) == [1, 2, -1, -2]


def test_sum_of_errors_keeps_32_bits():
    assert integer.error(np.array([1, -2, 3]), -15) == 6 * 2.0**-15
    many = np.full(2**18, -32767)
    assert integer.error(many, -30) == F32(32767 * 2**18 >> 1) * 2.0**-29


@pytest.mark.parametrize(
    "limit, i8, i16",
    [(1.0, -6, -13), (127 / 128, -7, -13), (96 / 128, -7, -14), (0.0763, -10, -17)],
)
def test_weights_start_within_the_part_of_their_range_that_is_meant_for_it(limit, i8, i16):
    for t, e in ((TYPES["i8"], i8), (TYPES["i16"], i16)):
        assert integer.first_exponent(F32(limit), t.drawn) == e
        assert t.drawn / 2 < limit / 2.0**e <= t.drawn


@pytest.mark.parametrize("s", [5, 8, 11])
def test_noise_of_a_step_is_unbiased_in_every_column_and_spread_over_a_row(s):
    draws = np.array([noise(u, s, 50) for u in range(2**s)])
    assert (np.sort(draws, axis=0) == np.arange(2**s)[:, None]).all()
    products = np.arange(-25, 25) * 37
    assert (((products + draws) >> s).sum(axis=0) == products).all()
    assert (draws[:, 0::2] == draws[:, 1::2]).all()
    quarters = np.bincount(noise(0, s, 256) >> (s - 2))
    assert quarters.min() >= 56 and quarters.max() <= 72


@pytest.mark.parametrize("s", [8, 11, 14])
@pytest.mark.parametrize("row", [(0, 0), (1, 5), (3, 700)])
def test_what_rounding_takes_of_small_steps_comes_back_in_later_ones(s, row):
    net = IntegerNetwork(network(5, (9,), dtype="i8"))
    layer = copy.copy(net.layers[0])
    layer.place, o = row
    first = []
    for net.trained in range(4000):
        first.append(net._turn(layer, o) >> (32 - s))
    for step in (1, -3, 2**s // 7, 2**s // 2 + 1, 5 * 2**s // 3):
        columns = np.array([noise(u, s, 9) for u in first])
        lost = np.cumsum(((step + columns) >> s) - step / 2**s, axis=0)
        # Independent noise is off by sqrt(n p (1 - p)), 22 to 31 where p is not close to 0 or 1.
        assert np.abs(lost).max() < 6


@pytest.mark.parametrize("p, t", [(1000, 6), (-1000, 6), (-7, 12), (32767**2, 30), (3, 1), (3, 0)])
def test_steps_are_rounded_without_bias(p, t):
    net = IntegerNetwork(Spec(1, (Layer(1),), dtype="i8"))
    steps = np.array([net._step(p, t) for _ in range(4000)])
    assert set(steps) <= {-p >> t, (-p >> t) + 1}
    assert steps.mean() == pytest.approx(-p / 2**t, abs=0.04)


@pytest.mark.parametrize("kind", ["sigmoid", "tanh"])
def test_squashed_values_are_close_to_the_function(kind):
    t = np.arange(-40000, 40000, 7)
    truth = 1 / (1 + np.exp(-t / 4096)) if kind == "sigmoid" else np.tanh(t / 4096)
    values = integer.squash(t, -12, kind) / 32768
    assert np.abs(values - truth).max() < (3e-4 if kind == "sigmoid" else 7e-4)
    # tanh is exactly odd, sigmoid(-t) = 1 - sigmoid(t).
    total = values + integer.squash(-t, -12, kind) / 32768
    assert (total == (1 if kind == "sigmoid" else 0)).all()
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 10, 1009])
@pytest.mark.parametrize("spread", [0, 0.1, 3, 20, 2000])
def test_probabilities_are_close_to_softmax(n, spread):
    o = (np.random.default_rng(n).normal(size=n) * spread * 4096).astype(np.int64)
    e, top = integer.exponentials(o)
    p = IntegerNetwork._probabilities(e)
    assert top == o.max() and e.max() == 32768
    np.testing.assert_allclose(p / 32768, softmax(o / 4096)[0], atol=3e-4)
    assert abs(p.sum() - 32768) <= n / 2 + 1


def test_all_outputs_of_the_largest_layer_may_be_equal():
    e, _ = integer.exponentials(np.zeros(65535, np.int64))
    assert set(IntegerNetwork._probabilities(e)) == {1}


# --- The float twin ---


@each_type
@each_network
def test_every_row_is_within_one_unit_of_the_float_row(dtype, spec):
    net = with_biases(IntegerNetwork(replace(spec, dtype=dtype)))
    floats = twin(net)
    for x, _ in samples(spec, 3):
        maps = net.forward(x)
        exponents = [record.e_a for record in net.ranges[:-1]] + [integer.OUT_EXPONENT]
        values = [real(q, e).astype(F32) for q, e in zip(maps, exponents, strict=True)]
        assert np.abs(values[0] - x).max() <= 2.0 ** (exponents[0] - 1)
        for place, layer in enumerate(floats.layers):
            expected = floats.row_forward(layer, place, values, 0)
            apart = np.abs(values[place + 1] - expected).max() / 2.0 ** exponents[place + 1]
            kind = layer.spec.activation
            # Half a unit of rounding; tables, and a slope, which is rounded once more.
            most = {"sigmoid": 1.0, "tanh": 1.0, "leaky_relu": 0.52 + layer.spec.slope / 2}
            if place + 1 == len(maps) - 1:
                np.testing.assert_allclose(values[-1], expected, atol=2e-3)
            else:
                assert apart <= most.get(kind, 0.52), (place, apart)


@each_type
@each_network
@each_loss
def test_outputs_and_loss_are_close_to_those_of_the_float_network(dtype, spec, loss):
    net = with_biases(IntegerNetwork(replace(spec, dtype=dtype, loss=loss)))
    floats = twin(net)
    near = {"i8": 0.08, "i16": 0.01}[dtype]
    for vectors in (False, True):
        for x, y in samples(net.spec, 5, vectors=vectors):
            np.testing.assert_allclose(net.predict(x), floats.predict(x), atol=near)
            assert net.evaluate(x, y)[0] == pytest.approx(floats.evaluate(x, y)[0], abs=4 * near)


@each_type
@each_loss
@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "norm"] + ["leaky_relu", "tanh"])
def test_a_step_goes_down_the_numeric_gradient(dtype, loss, name):
    lr, draws = 1 / 32, {"i8": 40, "i16": 4}[dtype]  # so small that no weight is clipped
    spec = replace((NETWORKS | MLPS)[name], loss=loss, dtype=dtype, opt=Optimizer(lr=lr), seed=2)
    net = with_biases(IntegerNetwork(spec))
    x, t = next(samples(spec, 1, zeros=0, vectors=True))
    weighted = [i for i, layer in enumerate(net.layers) if layer.is_weighted]
    groups = [[None] * len(net.layers) for _ in range(2)]
    for i in weighted:
        for group, values in zip(groups, net.export_weights(i), strict=True):
            group[i] = values.astype(np.float64)
    steps = [0, 0]
    for key in range(draws):
        one = copy.deepcopy(net)
        one.rng, one.trained = Xoshiro128StarStar(key), key
        one.train_step(x, t)
        for i in weighted:
            for g, values in enumerate(one.export_weights(i)):
                part = np.zeros(sum(groups[g][j].size for j in weighted))
                at = sum(groups[g][j].size for j in weighted if j < i)
                part[at : at + values.size] = (groups[g][i] - values).ravel()
                steps[g] = steps[g] + part / (draws * lr)
    for step, group in zip(steps, groups, strict=True):
        slope = [
            gradients.numeric_gradient(
                lambda: gradients.map_loss(spec, *groups, x, t.astype(np.float64)), group[i]
            ).ravel()
            for i in weighted
        ]
        slope = np.concatenate(slope)
        sizes = np.linalg.norm(step), np.linalg.norm(slope)
        # At 7 bits some ReLU is off where it is on in float64, and large steps are clipped.
        assert step @ slope / sizes[0] / sizes[1] > {"i8": 0.93, "i16": 0.998}[dtype]
        assert sizes[0] / sizes[1] == pytest.approx(1, abs={"i8": 0.3, "i16": 0.01}[dtype])


@each_type
@pytest.mark.parametrize("lr", [0.5, 0.001])
def test_small_steps_reach_the_weights_on_average(dtype, lr):
    # What one step changes, averaged over the noise, is what the float step changes.
    spec = network(7, (5,), "tanh", outputs=3, dtype=dtype, opt=Optimizer(lr=lr))
    x, y = next(samples(spec, 1))
    floats = twin(IntegerNetwork(spec))
    old = floats.layers[0].w.values.copy()
    floats.train_step(x, y)
    wanted = floats.layers[0].w.values - old
    steps = []
    for key in range(600):
        net = IntegerNetwork(spec)
        net.rng, net.trained = Xoshiro128StarStar(key), key
        net.train_step(x, y)
        steps.append(net.export_weights(0)[0] - old)
    unit = 2.0 ** net.ranges[1].e_w
    apart = np.mean(steps, axis=0) - wanted
    assert np.abs(apart).max() < 5 * unit / np.sqrt(4 * 600) + 0.02 * np.abs(wanted).max()


@each_type
@pytest.mark.parametrize("name", ["one place", "many places"])
@pytest.mark.parametrize("rows", ["lazy", "exact"])
def test_velocities_follow_those_of_the_float_network_on_average(dtype, name, rows):
    opt = Optimizer(lr=2**-7, momentum=0.75, rows=rows)
    layers = (Layer(6, "tanh"),) if name == "one place" else (conv(3, activation="tanh"),)
    spec = Spec((4, 4, 1), (*layers, Layer(3)), dtype=dtype, opt=opt, seed=3)
    steps = list(samples(spec, 4, zeros=0.3))
    floats = twin(IntegerNetwork(spec))
    old, old_bias = (group.values.copy() for group in (floats.layers[0].w, floats.layers[0].b))
    for x, y in steps:
        floats.train_step(x, y)
    moved, speeds = [], []
    for key in range(200):
        net = IntegerNetwork(spec)
        net.rng, net.trained = Xoshiro128StarStar(key), 64 * 5 + key
        for x, y in steps:
            net.train_step(x, y)
        layer, w = net.layers[0], floats.layers[0].w
        speeds.append(real(layer.w.m, layer.range.e_w - net.type.fine))
        moved.append(net.export_weights(0)[0] - old)
    far = w.values - old
    near = {"i8": 0.12, "i16": 0.01}[dtype]
    for got, wanted in ((moved, far), (speeds, -opt.lr * w.m)):
        apart = np.linalg.norm(np.mean(got, axis=0) - wanted)
        assert apart < near * np.linalg.norm(wanted)
    # Nothing rounds biases visibly.
    shift = net.export_weights(0)[1] - old_bias
    np.testing.assert_allclose(shift, floats.layers[0].b.values - old_bias, rtol=0.1, atol=2e-4)


@each_type
def test_velocities_of_nothing_die_away(dtype):
    # Without bias: what is left is noise around 0, not a drift.
    net = IntegerNetwork(network(3, (), outputs=2, dtype=dtype, opt=Optimizer(momentum=0.5)))
    layer = net.layers[0]
    layer.w.m[:] = [[1000, -1000, 3], [-1, 32767, -32767]]
    layer.b.m[:] = 2**31 - 1, -(2**31)
    layer.delta = np.zeros(2, np.int64)
    seen = []
    for net.trained in range(60):
        for o in range(2):
            net._gather_speed(layer, o, 0, np.full(3, 127), 0)
        net._learn_bias(layer)
        seen.append(layer.w.m.copy())
    assert np.abs(seen[0]).max() <= 2**14 + 1 and np.abs(seen[30:]).max() <= 1
    assert set(layer.b.m) <= {-1, 0, 1}


@each_type
@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_integer_training_reaches_the_loss_of_float_training(dtype, momentum):
    opt = Optimizer(lr=0.05 * (1 - momentum), momentum=momentum)
    spec = network(13, (12,), dtype=dtype, opt=opt)
    losses = []
    for net in (IntegerNetwork(spec), Network(spec)):
        losses.append(np.mean([net.train_step(x, y)[1] for x, y in samples(spec, 500)][-100:]))
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[0] < 0.8 < np.log(4)


# --- Ranges ---


@each_type
@pytest.mark.parametrize("size", [1e-6, 0.02, 1, 300, 1e9])
def test_a_map_uses_its_bits_whatever_the_size_of_the_data(dtype, size):
    spec = network(9, dtype=dtype)
    net = IntegerNetwork(spec)
    t = net.type
    for x, y in samples(spec, 8):
        net.train_step((x * size).astype(F32), y)
    x, _ = next(samples(spec, 1))
    q = net.convert((x * F32(size)).astype(F32))
    assert 3 * 2**t.bits // 16 < np.abs(q).max() <= t.amax


@each_type
def test_looking_leaves_the_ranges_of_a_trained_model_alone(dtype):
    spec = network(dtype=dtype)
    net = IntegerNetwork(spec)
    (x, y), (z, _) = samples(spec, 2)
    net.predict(x)
    settled = [replace(record) for record in net.ranges]
    assert [record.e_a for record in settled] != [-net.type.bits] * 4  # found by looking
    net.train_step(x, y)
    before = [replace(record) for record in net.ranges]
    net.predict(z * F32(1e6))
    net.evaluate(z * F32(1e6), y)
    assert net.ranges == before


@each_type
def test_weights_close_to_the_end_of_their_range_are_halved(dtype):
    spec = network(3, (), outputs=2, dtype=dtype, opt=Optimizer(lr=1e-9))
    net = IntegerNetwork(spec)
    t, record = net.type, net.ranges[1]
    net.layers[0].w.values[:] = [[t.grows, 1, 0], [-1, 5, -7]]
    old, e = real(net.layers[0].w.values, record.e_w), record.e_w
    for x, y in list(samples(spec, 64)):
        assert record.e_w == e
        net.train_step(x, y)
    assert record.e_w == e + 1
    assert np.abs(real(net.layers[0].w.values, e + 1) - old).max() <= 2.0**e
    halves = []
    for _ in range(400):
        net.layers[0].w.values[:], record.e_w = [[t.grows, 1, 0], [-1, 5, -7]], e
        net._grow_weights()
        halves.append(net.layers[0].w.values.copy())
    np.testing.assert_allclose(np.mean(halves, axis=0)[0, 1:], [0.5, 0], atol=0.1)
    np.testing.assert_allclose(np.mean(halves, axis=0)[1], [-0.5, 2.5, -3.5], atol=0.1)


@each_type
@pytest.mark.parametrize("size", [1e-3, 0.7, 1, 50])
def test_imported_weights_are_within_half_a_unit_and_come_back_unchanged(dtype, size):
    net = IntegerNetwork(network(5, (3,), dtype=dtype))
    draw = np.random.default_rng(3)
    w, b = (draw.normal(size=n).astype(F32) * F32(size) for n in ((3, 5), 3))
    net.import_weights(0, w, b)
    once = net.export_weights(0)
    assert np.abs(once[0] - w).max() <= 2.0 ** (net.ranges[1].e_w - 1)
    assert np.abs(once[1] - b).max() <= 2.0**-21
    net.import_weights(0, *once)
    for got, expected in zip(net.export_weights(0), once, strict=True):
        np.testing.assert_array_equal(got, expected)


# --- Extremes: the oracle asserts that what is promised to fit 32 bits does ---


def extreme(spec, weight, **changes):
    net = IntegerNetwork(replace(spec, **changes))
    for layer in net.layers:
        if layer.is_weighted:
            layer.w.values[:] = weight
    return net


@each_type
@pytest.mark.parametrize("k", [1, 2, 63, 64, 65, 127, 128, 129, 1021, 4096, 65535])
@pytest.mark.parametrize("signs", [1, -1, 0])
def test_sums_of_extreme_products_are_exact(dtype, k, signs):
    t = TYPES[dtype]
    net = extreme(Spec(k, (Layer(1, init="zeros"),), dtype=dtype), -t.limit)
    layer, record = net.layers[0], net.ranges[0]
    sign = np.where(np.arange(k) % 2, 1, -1) if signs == 0 else signs
    x = np.full(k, t.amax) * sign
    z, e = net._weighted_forward(layer, 0, [x], x, record, 0)
    h = e - layer.range.e_w - record.e_a
    assert int(z[0]) == int(sum(int(v) for v in x)) * -t.limit >> h
    assert (h == 0) == (dtype == "i8" or k <= 64)


@each_type
@pytest.mark.parametrize("terms", [1, 2, 511, 512, 513, 1024, 2048, 4096, 8191, 65535])
@pytest.mark.parametrize("d", [-32767, 32767])
def test_errors_passed_on_fit_32_bits_at_the_extremes(dtype, terms, d):
    for weight in (-TYPES[dtype].limit, TYPES[dtype].limit - 1):
        layers = (Layer(1), Layer(terms, init="zeros"))
        net = extreme(Spec(1, layers, loss=LOSSES[1], dtype=dtype), weight)
        last = net.layers[1]
        last.delta = last.kept = np.full(terms, d)
        last.rows, net.sums = np.arange(terms), {}
        net._pass_through_weights(last)
        got = real(net.sums[1], net.ranges[1].e_d)
        expected = real(d * weight * terms, last.range.e_w)
        assert got[0] == pytest.approx(expected, rel=1e-2)


@each_type
@pytest.mark.parametrize("side", [1, 7, 181, 255])
@pytest.mark.parametrize("d", [-32767, 32767])
def test_gradients_of_filters_fit_32_bits_at_the_extremes(dtype, side, d):
    t = TYPES[dtype]
    spec = Spec((side, side, 2), (conv(1, (1, 1), activation="linear"), pool("average_pool", 0)))
    net = IntegerNetwork(replace(spec, loss=LOSSES[1], dtype=dtype))
    layer = net.layers[0]
    layer.delta = layer.kept = np.full(layer.n, d)
    layer.rows = np.arange(layer.n)
    steps = []
    net._learn_filter = lambda layer, o, total, e: steps.append(total)
    if not layer.one_place:
        net._learn_weights(
            layer, layer.windows.patches(np.full(2 * side**2, t.amax)), layer.kept_map()
        )
        dw = max(0, 15 + t.bits + integer.bits(side**2 - 1) - 31)
        assert steps[0][0] == pytest.approx(side**2 * d * t.amax / 2**dw, rel=1e-2)
    net._learn_bias(layer)
    assert (layer.b.values[0] > 0) == (d < 0)


@each_type
@pytest.mark.parametrize("window", [1, 2, 127, 181, 255])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_mean_of_equal_values_is_that_value(dtype, window, sign):
    layers = (pool("average_pool", window), Layer(1))
    net = IntegerNetwork(Spec((window, window, 1), layers, dtype=dtype))
    x = np.full(window**2, sign * net.type.amax)
    z, e = net._average_pool_forward(net.layers[0], 0, [x], x, net.ranges[0], 0)
    assert (z == x[0] * 256).all() and e == net.ranges[0].e_a - 8


@each_type
@each_loss
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", [*NETWORKS, *MLPS])
def test_training_from_extreme_weights_stays_in_range(dtype, loss, sign, name):
    t = TYPES[dtype]
    opt = Optimizer(lr=30.0, momentum=0.99 if sign > 0 else 0)
    spec = replace((NETWORKS | MLPS)[name], opt=opt, policy=Policy(rescale=1))
    for weight in (-t.limit, t.limit - 1):
        net = extreme(spec, weight, dtype=dtype, loss=loss)
        for layer in net.layers:
            if layer.is_weighted:
                layer.b.values[:] = sign * (2**31 - 1)
        for x, y in samples(net.spec, 3):
            for size in (1e38, 1e-38, 0, 1):
                trained, value = net.train_step(np.full_like(x, sign * size), y)
                assert trained and np.isfinite(value)
        for layer, record in zip(net.layers, net.ranges[1:], strict=True):
            assert -30 <= record.e_a <= 100 and -60 <= record.e_w <= 20 and -60 <= record.e_d <= 99
            if layer.is_weighted:
                assert -t.limit <= layer.w.values.min() <= layer.w.values.max() < t.limit


@each_type
def test_deep_dead_networks_keep_their_exponents_in_range(dtype):
    layers = (*(Layer(2, "sigmoid") for _ in range(31)), Layer(2))
    net = extreme(Spec(2, layers, dtype=dtype), 0)
    for _ in range(70):
        net.train_step(np.zeros(2, F32), 1)
    assert all(-100 <= record.e_d <= 99 for record in net.ranges)
