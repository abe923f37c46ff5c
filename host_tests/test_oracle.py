"""The oracle itself, against finite differences, float64 functions and sums done by hand."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from cases import NETWORKS
from oracle import gradients, numerics, policy
from oracle.network import Network
from oracle.spec import ACTIVATIONS, LOSSES, Layer, Optimizer, Policy, Spec
from pair import samples

F32 = np.float32
rng = np.random.default_rng(20)


# --- Arithmetic ---


def test_lane_sum_adds_every_fourth_element_first():
    # Lanes: 1e8 - 1e8, 1 + 0, 0, 1 + 0. One running float32 sum would lose both ones.
    terms = numerics.f32([1e8, 1, 0, 1, -1e8])
    assert numerics.lane_sum(terms) == 2
    assert numerics.running_sum(terms) == 0


def test_lane_sum_pairs_lane_0_with_2_and_1_with_3():
    assert numerics.lane_sum([1e8, 1, -1e8, 1]) == 2
    assert numerics.lane_sum([1e8, -1e8, 1, 1]) == 0


def test_running_sum_goes_one_by_one_from_plus_zero():
    assert numerics.running_sum(numerics.f32([1e8, 1, -1e8, 1])) == 1
    assert not np.signbit(numerics.running_sum(numerics.f32([-0.0])))


def ulps(got, truth):
    """Distance in units of the last place of the float32 nearest to the truth."""
    return np.abs(got.astype(np.float64) - truth) / np.spacing(np.abs(truth).astype(F32))


def points(low, high, n=1_000_000):
    return rng.uniform(low, high, n).astype(F32)


TINY = float(np.finfo(F32).tiny)
LOG_POINTS = np.exp(rng.uniform(np.log(TINY), np.log(3e38), 1_000_000)).astype(F32)
NEAR_0 = (np.sign(points(-1, 1)) * np.exp(rng.uniform(-80, 0, 1_000_000))).astype(F32)


@pytest.mark.parametrize(
    "function, truth, x, limit",
    [
        (numerics.exp, np.exp, points(-87.3, 88.7), 2),
        (numerics.exp, np.exp, points(-1, 1), 2),
        (numerics.log, np.log, LOG_POINTS, 2),
        (numerics.log, np.log, points(0.5, 2), 2),
        (numerics.tanh, np.tanh, points(-12, 12), 4),
        (numerics.tanh, np.tanh, NEAR_0, 4),
        (numerics.sigmoid, lambda x: 1 / (1 + np.exp(-x)), points(-87, 87), 4),
        (numerics.sigmoid, lambda x: 1 / (1 + np.exp(-x)), points(-4, 4), 4),
        (numerics.sqrt, np.sqrt, LOG_POINTS, 0.5),
    ],
)
def test_elementary_functions_are_within_stated_distance_of_truth(function, truth, x, limit):
    assert ulps(function(x), truth(x.astype(np.float64))).max() <= limit


def test_elementary_functions_answer_special_values():
    inf, nan = np.inf, np.nan
    expected = {
        numerics.exp: [(0, 1), (inf, inf), (-inf, 0), (88.8, inf), (-87.4, 0), (nan, nan)],
        numerics.log: [(1, 0), (0, -inf), (inf, inf), (-1, nan), (nan, nan)],
        numerics.sigmoid: [(0, 0.5), (inf, 1), (-inf, 0), (100, 1), (-100, 0), (nan, nan)],
        numerics.tanh: [(0, 0), (inf, 1), (-inf, -1), (11, 1), (-11, -1), (nan, nan)],
    }
    for function, pairs in expected.items():
        x, y = np.array(pairs, F32).T
        np.testing.assert_array_equal(function(x), y, function.__name__)
    assert np.signbit(numerics.tanh(F32(-0.0)))


def test_generator_gives_the_published_sequence():
    generator = numerics.Xoshiro128StarStar(0)
    generator.state = [1, 2, 3, 4]
    assert [generator.next() for _ in range(6)] == [
        11520,
        0,
        5927040,
        70819200,
        2031721883,
        1637235492,
    ]


def test_generator_is_seeded_by_the_hash_of_four_golden_steps():
    # h(0) = 0, and 4 * 0x9e3779b9 = 0x78dde6e4 has the negative 0x8722191c modulo 2^32.
    assert numerics.hash32(0) == 0
    assert numerics.Xoshiro128StarStar(0x8722191C).state[3] == 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 100, 257])
def test_permute_is_a_bijection(n):
    assert sorted(numerics.permute(i, n, 7) for i in range(n)) == list(range(n))


# --- Gradients ---


def small_spec(activation, loss, **changes):
    hidden = (Layer(5, activation, slope=0.1), Layer(4, activation, slope=0.1))
    last = Layer(3, "linear" if loss == LOSSES[0] else activation, slope=0.1)
    return replace(Spec(n_in=4, layers=(*hidden, last), loss=loss, seed=3), **changes)


def parameters(net, dtype=np.float64):
    """Weights and biases, the biases drawn so that they take part."""
    draw = np.random.default_rng(5)
    for layer in net.layers:
        layer.b.values[:] = draw.normal(size=layer.b.values.shape)
    return (
        [layer.w.values.astype(dtype) for layer in net.layers],
        [layer.b.values.astype(dtype) for layer in net.layers],
    )


each_network = pytest.mark.parametrize(
    "activation, loss", [(a, loss) for a in ACTIVATIONS for loss in LOSSES]
)


@each_network
def test_float64_gradients_match_finite_differences(activation, loss):
    spec = small_spec(activation, loss)
    w, b = parameters(Network(spec))
    x, t = next(samples(spec, 1, zeros=0, vectors=True))
    t = t.astype(np.float64)
    for group, analytic in zip((w, b), gradients.gradients(spec, w, b, x, t), strict=True):
        for values, expected in zip(group, analytic, strict=True):
            numeric = gradients.numeric_gradient(lambda: gradients.loss(spec, w, b, x, t), values)
            np.testing.assert_allclose(numeric, expected, rtol=1e-5, atol=1e-8)


@each_network
@pytest.mark.parametrize("batch", [1, 3])
def test_full_sgd_step_goes_down_the_gradient(activation, loss, batch):
    spec = small_spec(activation, loss, batch=batch, opt=Optimizer(lr=1.0))
    net = Network(spec)
    w, b = parameters(net)
    sums = None
    for x, t in samples(spec, batch, zeros=0, vectors=True):
        grads = sum(gradients.gradients(spec, w, b, x, t.astype(np.float64)), [])
        sums = grads if sums is None else [s + g for s, g in zip(sums, grads, strict=True)]
        trained, value = net.train_step(x, t)
        assert trained
        assert value == pytest.approx(gradients.loss(spec, w, b, x, t), rel=1e-5)
    after = [s.w.values for s in net.layers] + [s.b.values for s in net.layers]
    for old, new, g in zip(w + b, after, sums, strict=True):
        np.testing.assert_allclose(old - new, g / batch, rtol=1e-4, atol=2e-6)


SMOOTH = {n: s for n, s in NETWORKS.items() if all(y.kind != "dropout" for y in s.layers)}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", SMOOTH)
def test_step_of_a_convolutional_network_goes_down_the_numeric_gradient(name, loss):
    spec = replace(SMOOTH[name], loss=loss, opt=Optimizer(lr=1.0), seed=2)
    net = Network(spec)
    draw = np.random.default_rng(5)
    for layer in net.layers:
        if layer.is_weighted:
            layer.b.values[:] = draw.normal(size=layer.b.values.shape) * 0.1
    groups = [
        [getattr(y, g).values.astype(np.float64) if y.is_weighted else None for y in net.layers]
        for g in "wb"
    ]
    x, t = next(samples(spec, 1, zeros=0, vectors=True))
    t = t.astype(np.float64)
    expected = gradients.maps(spec, *groups, x)
    for got, want in zip(net.forward(x)[1:], expected, strict=True):
        np.testing.assert_allclose(got, want.ravel(), rtol=2e-5, atol=2e-6)
    numeric = [
        gradients.numeric_gradient(lambda: gradients.map_loss(spec, *groups, x, t), values)
        for group in groups
        for values in group
        if values is not None
    ]
    net.train_step(x, t)
    before = [values for group in groups for values in group if values is not None]
    after = [getattr(y, g).values for g in "wb" for y in net.layers if y.is_weighted]
    for old, new, g in zip(before, after, numeric, strict=True):
        np.testing.assert_allclose(old - new, g, rtol=2e-3, atol=2e-5)


if importlib.util.find_spec("torch"):
    import torch

    TORCH = {
        "linear": lambda z: z,
        "relu": torch.relu,
        "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.1),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }

    @each_network
    def test_float64_gradients_match_pytorch(activation, loss):
        spec = small_spec(activation, loss)
        w, b = parameters(Network(spec))
        x, t = next(samples(spec, 1, zeros=0, vectors=True))
        tw, tb = ([torch.tensor(p, requires_grad=True) for p in group] for group in (w, b))
        a, t = torch.tensor(x, dtype=torch.float64), torch.tensor(t, dtype=torch.float64)
        for layer, weights, bias in zip(spec.layers, tw, tb, strict=True):
            a = TORCH[layer.activation](weights @ a + bias)
        if loss == "softmax_cross_entropy":
            value = -(t * torch.log_softmax(a, 0)).sum()
        else:
            value = torch.nn.functional.mse_loss(a, t)
        value.backward()
        analytic = gradients.gradients(spec, w, b, x, t.numpy())
        for group, expected in zip((tw, tb), analytic, strict=True):
            for p, e in zip(group, expected, strict=True):
                np.testing.assert_allclose(p.grad.numpy(), e, rtol=1e-9, atol=1e-12)


# --- Optimisers, two steps with numbers that can be followed on paper ---


def one_weight(opt, rows=1, **changes):
    """A net z = w x without hidden layers, mean squared error: delta = 2 (w x - t)."""
    layer = Layer(rows, init="zeros")
    spec = Spec(1, (layer,), loss="mean_squared_error", opt=opt, **changes)
    net = Network(spec)
    return net, net.layers[0]


ONE = np.ones(1, F32)


def test_momentum_adds_to_the_velocity():
    # Step 1: delta -2, v -2, w .2, b .2. Step 2: a .4, delta -1.2, v -2.2, w .42.
    net, layer = one_weight(Optimizer(lr=0.1, momentum=0.5))
    net.train_step(ONE, ONE)
    np.testing.assert_allclose([layer.w.m[0, 0], layer.w.values[0, 0]], [-2, 0.2], rtol=1e-6)
    net.train_step(ONE, ONE)
    np.testing.assert_allclose([layer.w.m[0, 0], layer.w.values[0, 0]], [-2.2, 0.42], rtol=1e-6)
    np.testing.assert_allclose(layer.b.values, [0.42], rtol=1e-6)


def test_weight_decay_spares_the_bias():
    net, layer = one_weight(Optimizer(lr=0.1, weight_decay=0.5))
    layer.w.values[:] = layer.b.values[:] = 1
    # a = 2, delta = 2: w = .95 - .2, b = 1 - .2
    net.train_step(ONE, ONE)
    np.testing.assert_allclose([layer.w.values[0, 0], layer.b.values[0]], [0.75, 0.8], rtol=1e-6)


def test_first_adam_step_is_the_learning_rate_whatever_the_gradient():
    for target in (0.001, 1000.0):
        net, layer = one_weight(Optimizer("adam", lr=0.1, beta1=0.9, beta2=0.99))
        net.train_step(ONE, numerics.f32([target]))
        np.testing.assert_allclose(layer.w.values, [[0.1]], rtol=1e-4)
        np.testing.assert_allclose(layer.w.m, [[-0.2 * target]], rtol=1e-6)
        np.testing.assert_allclose(layer.w.v, [[0.04 * target**2]], rtol=1e-5)


def test_mini_batch_takes_the_mean_gradient():
    # delta = -2 and -4, mean -3; nothing moves before the second sample.
    net, layer = one_weight(Optimizer(lr=0.1), batch=2)
    net.train_step(ONE, ONE)
    assert layer.w.values[0, 0] == 0
    net.train_step(ONE, 2 * ONE)
    np.testing.assert_allclose([layer.w.values[0, 0], layer.b.values[0]], [0.3, 0.3], rtol=1e-6)


def test_exact_rows_decay_where_lazy_rows_wait():
    decayed = []
    for rows in ("lazy", "exact"):
        net, layer = one_weight(Optimizer(rows=rows, lr=0.1, weight_decay=0.5), rows=2)
        layer.w.values[:] = 1
        # Outputs 1 and 1, targets 1 and 0: the first row has no error.
        net.train_step(ONE, numerics.f32([1, 0]))
        decayed.append(float(layer.w.values[0, 0]))
    assert decayed == [1.0, pytest.approx(0.95)]


# --- Worked examples of the policies ---


def identity_net(opt=None, pol=None):
    """x -> ReLU(I x) -> I x -> softmax."""
    layers = (Layer(2, "relu"), Layer(2))
    net = Network(Spec(2, layers, opt=opt or Optimizer(lr=0.1), policy=pol or Policy()))
    for layer in net.layers:
        layer.w.values[:] = np.eye(2)
    return net


def test_meprop_keeps_the_largest_deltas():
    delta = numerics.f32([0.1, -0.5, 0.3, 0])
    assert list(numerics.rows_kept(delta, 2)) == [1, 2]
    assert list(numerics.rows_kept(delta, 4)) == [0, 1, 2]  # a zero needs no keeping
    assert list(numerics.rows_kept(numerics.f32([1, -2, 2, -2]), 2)) == [1, 2]


def test_meprop_step_changes_two_rows_of_four_and_every_bias():
    # Hidden delta = W2^T delta2 with delta2 = (p0, p1 - 1) = (.5, -.5): (.1, -.5, .3, 0).
    spec = Spec(
        2,
        (Layer(4), Layer(2, init="zeros")),
        opt=Optimizer(lr=1.0),
        policy=Policy("topk", k=2),
    )
    net = Network(spec)
    hidden, output = net.layers
    hidden.w.values[:] = 0
    output.w.values[:] = [[0.1, -0.5, 0.3, 0], [-0.1, 0.5, -0.3, 0]]
    net.train_step(numerics.f32([1, 2]), 1)
    dw = -hidden.w.values
    np.testing.assert_allclose(dw, [[0, 0], [-0.5, -1], [0.3, 0.6], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(-hidden.b.values, [0.1, -0.5, 0.3, 0], rtol=1e-6)
    assert output.k == 2 and hidden.k == 2


@pytest.mark.parametrize(
    "n, pos, y, y_max, share, k",
    [
        (10, 0, 2, 2, 0.9, 9),
        (10, 0, 0.5, 2, 0.3, 3),
        (16, 1, 1.2, 4.8, 0.15, 2),
        (32, 2, 1, 8, 0.05, 2),
        (8, 0, 0, 0, 0.1, 1),  # no error ever: s_min
    ],
)
def test_tinyprop_share_and_rows(n, pos, y, y_max, share, k):
    p = Policy("tinyprop", s_min=0.1, s_max=0.9, zeta=0.5)
    s = policy.share_kept(p, F32(y), F32(y_max), pos, F32(1))
    assert s == pytest.approx(share, rel=1e-6)
    assert policy.rows_asked(p, n, pos == 0, s) == k


def test_second_reading_of_beta_compares_with_the_layer_above():
    p = Policy("tinypropv2", s_min=0.2, s_max=0.8, beta_mode=1)
    # alpha = 1/2, beta = 1/4: (.2 + .5 * .6) / 4
    assert policy.share_kept(p, F32(1), F32(4), 1, F32(2)) == pytest.approx(0.125)
    # alpha is at most 1, and 1 at the output: .8 / 4
    assert policy.share_kept(p, F32(1), F32(4), 1, F32(0.5)) == pytest.approx(0.2)
    assert policy.share_kept(p, F32(1), F32(4), 0, None) == pytest.approx(0.2)


@pytest.mark.parametrize("beta_mode, d", [(0, 0.25), (1, 0.0)])
def test_decision_where_nothing_was_ever_wrong(beta_mode, d):
    p = Policy("tinypropv2", d_min=0.25, d_max=1, beta_mode=beta_mode)
    assert policy.decision(p, F32(0), F32(0)) == d


def test_rescaling_gives_the_kept_rows_the_error_of_all():
    # Sum |delta| = 1, kept .5 and .3: both times 1.25.
    delta = numerics.f32([0.1, -0.5, 0.3, 0.1])
    p, rows = Policy("topk", k=2, rescale=1), numerics.rows_kept(delta, 2)
    kept = policy.kept_errors(p, delta, rows, 2)
    np.testing.assert_allclose(kept, [-0.625, 0.375], rtol=1e-6)
    plain = policy.kept_errors(replace(p, rescale=0), delta, rows, 2)
    np.testing.assert_array_equal(plain, delta[1:3])


@pytest.mark.parametrize("beta_mode", [0, 1])
def test_tinypropv2_decides_by_the_error_relative_to_the_largest(beta_mode):
    # Softmax outputs for class 0 and their sum of |delta| = 2 (1 - p0).
    net = Network(Spec(1, (Layer(3, init="zeros"),), policy=Policy("tinypropv2", threshold=0.5)))
    net.policy = replace(net.policy, beta_mode=beta_mode)
    trained = []
    for p in ([0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [0.55, 0.25, 0.2]):
        net.layers[0].b.values[:] = np.log(p)
        net.layers[0].w.values[:] = 0
        trained.append(net.train_step(np.zeros(1, F32), 0)[0])
    assert trained == [True, False, True]
    assert net.layers[0].ymax == pytest.approx(1.6)


def test_tinypropv2_whole_step_by_hand():
    p = Policy("tinypropv2", s_min=0.5, s_max=0.5, zeta=1.0)  # one row of two in each layer
    net = identity_net(pol=p)
    trained, loss = net.train_step(numerics.f32([1, 2]), 0)
    hidden, output = net.layers
    assert trained and loss == pytest.approx(-np.log(0.26894), rel=1e-4)
    assert output.ymax == pytest.approx(1.46212, rel=1e-5)
    near = {"rtol": 1e-5}
    np.testing.assert_allclose(output.delta, [-0.73106, 0.73106], **near)
    assert list(output.rows) == [0]
    np.testing.assert_allclose(output.w.values, [[1.073106, 0.146212], [0, 1]], **near)
    np.testing.assert_allclose(output.b.values, [0.073106, -0.073106], **near)
    np.testing.assert_allclose(hidden.delta, [-0.73106, 0], **near)
    np.testing.assert_allclose(hidden.w.values, [[1.073106, 0.146212], [0, 1]], **near)
    np.testing.assert_allclose(hidden.b.values, [0.073106, 0], **near)


def test_warm_up_and_long_skipping_train_whatever_the_decision_says():
    p = Policy("tinypropv2", threshold=2.0, warmup=2, max_skips=3)
    net = identity_net(pol=p)
    x = numerics.f32([1, 2])
    trained = [net.train_step(x, 0)[0] for _ in range(10)]
    assert trained == [True, True, False, False, False, True, False, False, False, True]


def test_back_off_waits_1_2_4_epochs_up_to_the_limit_and_forgets_after_training():
    state = policy.BackOff()
    waits = []
    for _ in range(5):
        state.note(False, 6)
        waits.append(0)
        while state.waits():
            waits[-1] += 1
    assert waits == [1, 2, 4, 6, 6]
    state.note(True, 6)
    assert not state.waits()
    state.note(False, 6)
    assert [state.waits(), state.waits()] == [True, False]


# --- Counting ---


def test_backward_counts_of_the_papers_example():
    # MLP 784-32-16-10: full 26,432 multiply-accumulates, with k = (2, 2, 3) rows 1,792.
    spec = Spec(784, (Layer(32, "tanh"), Layer(16, "tanh"), Layer(10)))
    share = Policy("tinyprop", s_min=0.3, s_max=0.3, zeta=0.5)
    for p, backward in ((Policy(), 26432), (share, 1792)):
        net = Network(replace(spec, policy=p))
        net.train_step(np.ones(784, F32), 0)
        assert net.dense_macs() == (784 * 32 + 32 * 16 + 16 * 10, 26432)
        assert net.backward_macs() == net.policy_macs == backward


def test_columns_with_zeros_are_not_counted_where_the_index_is_used():
    # 3 of 4 inputs are used: 75 per cent, the index pays. With one more it would not.
    net = Network(Spec(4, (Layer(2),)))
    net.train_step(numerics.f32([1, 1, 1, 0]), 0)
    assert (net.forward_macs, net.backward_macs(), net.policy_macs) == (6, 6, 8)
    net = Network(Spec(5, (Layer(2),)))
    net.train_step(numerics.f32([1, 1, 1, 1, 0]), 0)
    assert (net.forward_macs, net.backward_macs(), net.policy_macs) == (10, 10, 10)
