"""Integer models in the core against the oracle, bit for bit: everything training may change."""

from dataclasses import replace

import core_api
import numpy as np
import pytest
from cases import NETWORKS, POLICY_CASES, network, of, specs
from core_api import CoreError, CoreModel, plan
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import integer, numerics
from oracle.spec import ACTIVATIONS, LOSSES, WEIGHTED, Layer, Optimizer, Policy, Spec
from pair import Pair, assert_same_bits, samples
from test_core_block import load, save
from test_core_conv import by_channel, networks
from test_core_model import NEUTRAL, parameters

F32 = np.float32
MLPS = {a: network(13, (17, 5), a) for a in ACTIVATIONS}
ALL = NETWORKS | MLPS

each_type = pytest.mark.parametrize("dtype", integer.TYPES)
each_loss = pytest.mark.parametrize("loss", LOSSES)
each_network = pytest.mark.parametrize("spec", ALL.values(), ids=ALL)
each_policy = pytest.mark.parametrize("policy", POLICY_CASES.values(), ids=POLICY_CASES)
types = of(*integer.TYPES)


def integers(spec, dtype, **changes):
    """What integers can train of it."""
    opt = Optimizer(rows=spec.opt.rows, lr=spec.opt.lr, momentum=spec.opt.momentum)
    return replace(spec, dtype=dtype, batch=1, opt=opt, **changes)


# --- Training ---


@each_type
@each_network
@each_policy
def test_training_is_bit_for_bit_that_of_the_oracle(core, dtype, spec, policy):
    turn = len(f"{spec}{policy}{dtype}") % 4
    spec = by_channel(spec) if turn % 2 else spec
    policy = replace(policy, rescale=turn // 2)
    spec = integers(spec, dtype, policy=policy, zero_skip=(0, 75)[turn % 2])
    for loss in LOSSES:
        pair = Pair(core, replace(spec, loss=loss))
        pair.assert_same()
        pair.run(samples(pair.net.spec, 10, vectors=turn > 1))


@settings(max_examples=150)
@given(
    spec=specs(), dtype=types, zeros=of(0.0, 0.7, 1.0), vectors=st.booleans(), size=of(0.01, 1, 99)
)
def test_any_network_trains_as_the_oracle_does(core, spec, dtype, zeros, vectors, size):
    pair = Pair(core, integers(spec, dtype))
    dense = core.tp_dense_macs(pair.model.address)
    assert (dense.forward, dense.backward) == pair.net.dense_macs()
    for _ in range(2):
        pair.run((x * F32(size), y) for x, y in samples(spec, 6, 1, zeros, vectors))
        pair.both("epoch_end")
        pair.assert_same()
    assert core.tp_backward_macs(pair.model.address) == pair.net.backward_macs()


def assert_same_parameters(a, b):
    for i, layer in enumerate(a.layers):
        if layer.off_w:
            groups = (m.weights_and_bias(i, "off_w") for m in (a, b))
            for one, other in zip(*groups, strict=True):
                assert_same_bits(one, other)
    assert [bytes(record) for record in a.ranges] == [bytes(record) for record in b.ranges]


@settings(max_examples=200)
@given(
    spec=networks(),
    dtype=types,
    zeros=of(0.0, 0.5, 1.0),
    vectors=st.booleans(),
    again=st.sets(st.integers(0, 7)),
)
def test_any_graph_trains_as_the_oracle_does(core, spec, dtype, zeros, vectors, again):
    spec = integers(spec, dtype)
    pair = Pair(core, spec)
    shared = CoreModel(core, replace(spec, keep=0, recompute=again))
    shared.block[shared.head.persist_bytes :] = 0xA5
    for x, y in samples(spec, 4, zeros=zeros, vectors=vectors):
        pair.train(x, y)
        shared.train_step(x, y)
        assert_same_bits(shared.predict(x), pair.model.predict(x))
        pair.net.predict(x)
    pair.assert_same()
    assert_same_parameters(shared, pair.model)
    assert shared.check() == core_api.OK


@each_type
@pytest.mark.parametrize("momentum", [0, 0.5])
def test_a_long_run_is_that_of_the_oracle_while_weights_and_ranges_grow(core, dtype, momentum):
    layers = (Layer(9, "relu"), Layer(8, "leaky_relu", slope=0.125), Layer(4))
    policy = replace(POLICY_CASES["tinypropv2"], threshold=0.3)
    opt = Optimizer(lr=0.02, momentum=momentum)
    spec = Spec(11, layers, loss=LOSSES[1], dtype=dtype, opt=opt, policy=policy)
    pair = Pair(core, spec)
    first = [record.e_w for record in pair.model.ranges]
    for i, (x, y) in enumerate(samples(spec, 400, vectors=True)):
        pair.train(x * F32(1 + i % 2), y * F32(9))
        if i % 40 == 0:
            pair.both("epoch_end")
            pair.assert_same()
        if i == 150:
            pair.both("reset_counters")
            pair.both("count_waited")
    pair.assert_same()
    assert sum(record.e_w for record in pair.model.ranges) > sum(first)
    head = pair.model.head
    assert head.waited == 1 < head.seen < 400 == head.trained + head.skipped + 151


@each_type
@pytest.mark.parametrize("n_in, hidden", [(784, 64), (255, 257), (1, 300), (64, 16), (65, 17)])
@pytest.mark.parametrize("zeros", [0.1, 0.8])
def test_wide_layers_train_as_in_the_oracle(core, dtype, n_in, hidden, zeros):
    policy = POLICY_CASES["tinyprop"]
    spec = network(n_in, (hidden,), outputs=10, policy=policy, dtype=dtype)
    pair = Pair(core, spec).run(samples(spec, 6, zeros=zeros))
    assert pair.model.head.trained == 6


@each_type
@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize(
    "scale, offset",
    [((), ()), ((0.01,), (0.5,)), ((-2.0, 1e-3), (0.0, -70.0)), ((1e-40, 3e8), (1e-40, 0.0))],
)
def test_integer_inputs_train_as_in_the_oracle(core, dtype, kind, scale, offset):
    spec = network(6, dtype=dtype, scale=scale, offset=offset)
    pair = Pair(core, spec)
    draw, limits = np.random.default_rng(1), np.iinfo(kind)
    for i in range(20):
        x = draw.integers(limits.min, limits.max, 6, kind, endpoint=True)
        pair.train(x >> (i % 4), i % 4)
        assert_same_bits(pair.model.predict(x), pair.net.predict(x))
    pair.assert_same()


@each_type
@pytest.mark.parametrize(
    "n_in, hidden", [(784, (64,)), (57, (40, 7)), (9, (300, 5)), (16, (4, 4))]
)
@pytest.mark.parametrize("zeros", [0, 0.5, 0.8, 1])
def test_images_train_as_in_the_oracle(core, dtype, n_in, hidden, zeros):
    """What is found while an image is read serves all passes of its step, and nothing after it."""
    policy = POLICY_CASES["topk"]
    spec = network(
        n_in, hidden, outputs=10, policy=policy, dtype=dtype, scale=(1 / 255,), offset=(0.0,)
    )
    pair, draw = Pair(core, spec), np.random.default_rng(n_in)
    for i in range(5):
        x = draw.integers(1, 255, n_in, "uint8", endpoint=True) * (draw.random(n_in) >= zeros)
        pair.train(x.astype("uint8"), i)
        before = pair.model.persistent().copy()
        pair.model.predict(x.astype("uint8") // 3)
        np.testing.assert_array_equal(pair.model.persistent(), before)
    pair.assert_same()
    assert pair.model.head.trained == 5 and pair.model.head.listed == 0


@each_type
@each_network
@each_loss
def test_maps_and_outputs_are_those_of_the_oracle(core, dtype, spec, loss):
    pair = Pair(core, integers(spec, dtype, loss=loss))
    for step in range(2):  # while ranges are found, and when they are fixed
        for x, y in samples(spec, 3, zeros=0.3 * step, vectors=step == 1):
            with pair.net.looking():
                maps = pair.net.forward(x)[1:-1]
            pair.model.predict(x)
            for i, expected in enumerate(maps):
                assert_same_bits(pair.model.output(i), expected, f"layer {i}")
            assert_same_bits(pair.model.predict(x), pair.net.predict(x))
            assert_same_bits(pair.model.output(), pair.net.predict(x))
            got, expected = pair.model.evaluate(x, y), pair.net.evaluate(x, y)
            assert_same_bits(got[0], expected[0])
            assert got[1] == expected[1]
            pair.assert_same()
        pair.train(x, y)


# --- Extremes ---


def fill(pair, values):
    """The same parameters and ranges for both. values(name, shape, low, high) makes integers."""
    net, t = pair.net, pair.net.type
    for r, (mine, theirs) in enumerate(zip(net.ranges, pair.model.ranges, strict=True)):
        for name, low, high in (("e_w", -60, 20), ("e_a", -30, 100), ("peak", 0, t.amax)):
            value = int(values(f"{name}{r}", 1, low, high)[0])
            squashed = r > 0 and net.layers[r - 1].spec.activation in ("sigmoid", "tanh")
            if (name == "e_w" and (r == 0 or not net.layers[r - 1].is_weighted)) or (
                name != "e_w" and (squashed or r == len(net.layers))
            ):
                continue
            setattr(mine, name, value)
            setattr(theirs, name, value)
    for i, layer in enumerate(net.layers):
        if layer.is_weighted:
            shape = layer.w.values.shape
            layer.w.values[:] = values(f"w{i}", shape, -t.limit, t.limit - 1)
            layer.b.values[:] = values(f"b{i}", shape[0], -(2**31), 2**31 - 1)
            w, b = pair.model.weights_and_bias(i, "off_w")
            w[:], b[:] = layer.w.values, layer.b.values
            if pair.model.layer(i).off_m:
                w, b = pair.model.weights_and_bias(i, "off_m")
                w[:] = values(f"w{i}", w.shape, -32767, 32767)
                b[:] = values(f"b{i}", shape[0], -(2**31), 2**31 - 1)
                layer.w.m[: len(w)], layer.b.m[:] = w, b
    return pair


@settings(max_examples=200)
@given(
    spec=st.one_of(specs(), networks()),
    dtype=types,
    seed=st.integers(0, 2**32 - 1),
    ends=st.booleans(),
    sizes=st.lists(of(0, 1e-38, 1e-3, 1, 1e6, 3e38, -3e38), min_size=1, max_size=4),
    lr=of(1e-30, 0.1, 1e30),
    momentum=of(0.0, 1e-9, 0.9, 0.99999994),
)
def test_any_parameters_and_ranges_train_as_in_the_oracle(
    core, spec, dtype, seed, ends, sizes, lr, momentum
):
    draw = np.random.default_rng(seed)

    def values(name, shape, low, high):
        v = draw.integers(low, high, shape, endpoint=True)
        return np.where(v < (low + high) // 2, low, high) if ends and name[0] in "wb" else v

    spec = replace(integers(spec, dtype), opt=Optimizer(lr=lr, momentum=momentum))
    pair = fill(Pair(core, spec), values)
    for size in sizes:
        for x, y in samples(spec, 1):
            with np.errstate(over="ignore"):
                x = np.nan_to_num(x * F32(size))
            assert_same_bits(pair.model.predict(x), pair.net.predict(x))
            assert pair.train(x, y) is not None  # the loss of integers is always finite
            pair.assert_same()
    before = bytes(pair.model.persistent())
    assert pair.model.check() == core_api.OK and bytes(pair.model.persistent()) == before


@each_type
@pytest.mark.parametrize("k", [64, 65, 1021, 65535])
@pytest.mark.parametrize("x_sign, w_sign", [(1, 1), (1, -1), (-1, -1)])
def test_largest_sums_are_exact(core, dtype, k, x_sign, w_sign):
    layers = (Layer(2, init="zeros"), Layer(2, init="zeros"))
    pair = Pair(core, Spec(k, layers, loss=LOSSES[1], dtype=dtype, opt=Optimizer(lr=1e-3)))
    limit = pair.net.type.limit
    fill(
        pair,
        lambda name, shape, low, high: np.full(
            shape, {"w": -limit if w_sign < 0 else limit - 1, "e": -7}.get(name[0], 0)
        ),
    )
    x = np.full(k, x_sign, F32)
    for y in (0, 1):
        assert_same_bits(pair.model.predict(x), pair.net.predict(x))
        pair.train(x, y)
        pair.assert_same()


@each_type
@pytest.mark.parametrize("units", [511, 512, 2048, 4096])
@pytest.mark.parametrize("sign", [1, -1])
def test_largest_errors_are_passed_on_exactly(core, dtype, units, sign):
    layers = (Layer(3), Layer(units, init="zeros"))
    pair = Pair(core, Spec(2, layers, loss=LOSSES[1], dtype=dtype, opt=Optimizer(lr=1e-3)))
    limit = pair.net.type.limit
    fill(
        pair, lambda name, shape, low, high: np.full(shape, {"w": -limit, "e": -7}.get(name[0], 0))
    )
    for _ in range(2):
        pair.train(np.ones(2, F32), np.full(units, sign * 3e38, F32))
        pair.assert_same()


# --- What leaves a model as it is ---


@each_type
def test_predicting_and_evaluating_leave_a_trained_model_as_it_is(core, dtype):
    spec = network(dtype=dtype)
    model = CoreModel(core, spec)
    (x, y), *others = samples(spec, 4)
    model.train_step(x, y)
    before = model.persistent().copy()
    for x, y in others:
        model.predict(x * F32(1e9))
        model.evaluate(x * F32(1e9), y)
    np.testing.assert_array_equal(model.persistent(), before)


@each_type
def test_refused_samples_leave_a_model_as_it_is(core, dtype):
    model = CoreModel(core, integers(NETWORKS["norm"], dtype))
    x = np.full(model.head.h * model.head.w * model.head.c, 1e9, F32)
    before = model.persistent().copy()
    for bad in (np.nan, np.inf):
        x[-1] = bad
        with pytest.raises(CoreError) as caught:
            model.train_step(x, 0)
        assert caught.value.code == core_api.NONFINITE and caught.value.got == len(x) - 1
    with pytest.raises(CoreError):
        model.train_step(np.ones(3, F32), 0)
    with pytest.raises(CoreError):
        model.train_step(np.ones(len(x), F32), 99)
    np.testing.assert_array_equal(model.persistent(), before)


@each_type
@pytest.mark.parametrize("policy", NEUTRAL.values(), ids=NEUTRAL)
def test_neutral_settings_are_full_training(core, dtype, policy):
    blocks = []
    for one in (Policy(), policy):
        model = CoreModel(core, network(dtype=dtype, policy=one))
        for x, y in samples(network(), 20):
            model.train_step(x, y)
        blocks.append(parameters(model).tobytes())
    assert blocks[0] == blocks[1]


@each_type
def test_samples_that_are_skipped_never_change_a_weight(core, dtype):
    policy = Policy("tinypropv2", d_min=0, d_max=0.7, threshold=0.7)
    pair = Pair(core, network(dtype=dtype, policy=policy))
    before = parameters(pair.model)
    pair.run(samples(pair.net.spec, 20))
    np.testing.assert_array_equal(parameters(pair.model), before)
    assert pair.model.head.skipped == 20


@each_type
@pytest.mark.parametrize("part", ["none", "bias", 2])
def test_what_does_not_train_keeps_every_bit(core, dtype, part):
    layers = list(NETWORKS["lenet"].layers)
    some = {"rows": part} if isinstance(part, int) else {"trainable": part}
    layers[2] = replace(layers[2], **some)
    spec = replace(NETWORKS["lenet"], layers=tuple(layers), opt=Optimizer(lr=0.5), dtype=dtype)
    pair = Pair(core, spec)
    before = [p.copy() for p in pair.model.weights_and_bias(2, "off_w")]
    pair.run(samples(spec, 20))
    w, b = pair.model.weights_and_bias(2, "off_w")
    rows = part if isinstance(part, int) else 0
    assert (w[:rows] != before[0][:rows]).any() == (rows > 0)
    np.testing.assert_array_equal(w[rows:], before[0][rows:])
    assert (b != before[1]).any() == (part != "none")


# --- Weights in and out ---


@each_type
@pytest.mark.parametrize("size", [0, 1e-30, 1e-3, 1, 300, 1e30])
def test_weights_go_in_and_out_as_in_the_oracle(core, dtype, size):
    spec = integers(NETWORKS["ds-cnn"], dtype)
    pair = Pair(core, spec)
    draw = np.random.default_rng(2)
    for i, layer in enumerate(spec.layers):
        if layer.kind not in WEIGHTED:
            assert pair.model.get_weights(i)[0] == core_api.RANGE
            continue
        shape = pair.net.layers[i].w.values.shape
        w, b = (draw.normal(size=n).astype(F32) * F32(size) for n in (shape, shape[0]))
        assert pair.model.set_weights(i, w, b) == core_api.OK
        pair.net.import_weights(i, w, b)
        answer, *got = pair.model.get_weights(i)
        assert answer == core_api.OK
        for one, other in zip(got, pair.net.export_weights(i), strict=True):
            assert_same_bits(one, other)
    pair.assert_same()
    pair.run(samples(spec, 3))


@each_type
def test_new_weights_start_without_velocity(core, dtype):
    spec = network(dtype=dtype, opt=Optimizer(momentum=0.9))
    pair = Pair(core, spec).run(samples(spec, 3))
    _, w, b = pair.model.get_weights(1)
    assert pair.model.weights_and_bias(1, "off_m")[0].any()
    pair.model.set_weights(1, w, b)
    pair.net.import_weights(1, w, b)
    assert not any(v.any() for v in pair.model.weights_and_bias(1, "off_m"))
    pair.assert_same()
    pair.run(samples(spec, 3))


@each_type
def test_weights_that_are_not_finite_are_refused(core, dtype):
    model = CoreModel(core, network(dtype=dtype))
    before = model.persistent().copy()
    _, w, b = model.get_weights(0)
    for group in (w, b):
        group[-1:] = np.nan
        assert model.set_weights(0, w, b) == core_api.NONFINITE
        group[-1:] = 0
    np.testing.assert_array_equal(model.persistent(), before)


def test_float_models_give_and_take_their_weights_unchanged(core):
    model, other = (CoreModel(core, network(seed=s)) for s in (1, 2))
    for i in range(3):
        _, w, b = model.get_weights(i)
        assert other.set_weights(i, w, b + F32(1)) == core_api.OK
        mine, theirs = (m.weights_and_bias(i, "off_w") for m in (model, other))
        assert_same_bits(theirs[0], mine[0])
        assert_same_bits(theirs[1], mine[1] + F32(1))


# --- Plans, settings, checkpoints ---


@each_type
def test_what_integers_cannot_train_is_refused_by_name(core, dtype):
    spec = network(dtype=dtype)
    frozen = (replace(spec.layers[0], trainable="none"), *spec.layers[1:])
    for changes, what in (
        ({"opt": Optimizer("adam")}, "optimizer"),
        ({"opt": Optimizer(weight_decay=0.5)}, "weight_decay"),
        ({"batch": 2}, "batch_size"),
        ({"layers": frozen, "external": (0,)}, "external"),
    ):
        with pytest.raises(CoreError, match=what) as caught:
            plan(core, replace(spec, **changes))
        assert caught.value.code == core_api.RANGE
    model = CoreModel(core, spec)
    before = model.persistent().copy()
    for opt in (Optimizer("adam"), Optimizer(momentum=0.5), Optimizer(weight_decay=0.5)):
        with pytest.raises(CoreError):
            model.set_optimizer(opt)
    np.testing.assert_array_equal(model.persistent(), before)
    model.set_optimizer(Optimizer(lr=0.5))
    assert model.head.opt.lr == 0.5


def test_other_types_are_refused(core):
    for dtype in b"iBx":
        wish = core_api.c_spec(network())
        wish.dtype = dtype
        with pytest.raises(CoreError, match="dtype") as caught:
            plan(core, wish)
        assert caught.value.code == core_api.DTYPE


@each_type
@each_network
def test_plan_counts_the_bytes_of_parameters_and_ranges(core, dtype, spec):
    got, floats = plan(core, integers(spec, dtype)), plan(core, replace(spec, keep=1))
    pair = Pair(core, integers(spec, dtype))
    with_momentum = plan(core, replace(integers(spec, dtype), opt=Optimizer(momentum=0.5)))
    one = {"i8": 1, "i16": 2}[dtype]
    weighted = [layer for layer in pair.net.layers if layer.is_weighted]
    assert got.parameters == sum(
        -(-layer.w.values.size * one // 4) * 4 + 4 * layer.out[2] for layer in weighted
    )
    assert with_momentum.optimizer == sum(
        -(-layer.w.values[: layer.trained_rows].size * 2 // 4) * 4 + 4 * layer.out[2]
        for layer in weighted
        if layer.b.trains
    )
    assert got.header == floats.header + 8 * (len(spec.layers) + 1)
    assert got.optimizer == got.gradients == got.external == 0
    assert got.activations < floats.activations
    assert got.persist == got.header + got.parameters
    assert got.total == got.persist + got.activations + got.scratch


@each_type
@pytest.mark.parametrize("name", ["lenet", "norm", "resnet"])
@pytest.mark.parametrize("before, momentum", [(0, 0), (1, 0.5), (70, 0), (70, 0.9)])
def test_training_resumes_from_a_checkpoint_bit_for_bit(core, dtype, name, before, momentum):
    spec = integers(NETWORKS[name], dtype, policy=POLICY_CASES["tinypropv2"])
    spec = replace(spec, opt=replace(spec.opt, momentum=momentum))
    steps = list(samples(spec, before + 10))
    whole, first = CoreModel(core, spec), CoreModel(core, spec)
    for x, y in steps:
        whole.train_step(x, y)
    for x, y in steps[:before]:
        first.train_step(x, y)
    again = load(core, save(first))
    for x, y in steps[before:]:
        again.train_step(x, y)
    np.testing.assert_array_equal(again.persistent(), whole.persistent())


@each_type
@pytest.mark.parametrize(
    "name, value",
    [("e_a", -31), ("e_a", 101), ("e_w", -61), ("e_w", 21), ("peak", None), ("peak", 2**32 - 1)],
)
def test_damaged_ranges_are_noticed(core, dtype, name, value):
    model = CoreModel(core, network(dtype=dtype))
    for x, y in samples(network(), 3):
        model.train_step(x, y)
    assert model.check() == core_api.OK
    setattr(model.ranges[1], name, integer.TYPES[dtype].amax + 1 if value is None else value)
    assert model.check() == core_api.FORMAT


def test_a_block_of_another_type_is_noticed(core):
    model = CoreModel(core, network(dtype="i8"))
    for dtype in b"hfix":
        model.head.dtype = dtype
        assert model.check() == core_api.FORMAT
    model.head.dtype = ord("b")
    assert model.check() == core_api.OK


# --- Parts ---


few = st.lists(st.integers(-3, 3) | st.integers(-(2**25) + 1, 2**25 - 1), max_size=130)


@given(
    d=st.lists(st.integers(-(2**31) + 1, 2**31 - 1) | st.integers(-3, 3), max_size=40) | few,
    k=st.integers(0, 45) | st.integers(0, 135),
)
def test_top_k_of_integers_keeps_the_rows_of_the_definition(core, d, k):
    d = np.array(d, np.int32)
    kept = d.copy()
    expected = np.zeros_like(d)
    rows = numerics.rows_kept(d.astype(np.int64), k)
    expected[rows] = d[rows]
    assert core.tp_topk_int(kept.ctypes.data, len(d), k) == len(rows)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("type_", [np.int8, np.int16])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 63, 1020, 1021, 65536])
def test_weights_near_the_end_of_their_range_are_counted(core, type_, n):
    rng = np.random.default_rng(n)
    most = np.iinfo(type_).max // 8 * 7 + 7
    near = rng.choice([1, -1], n) * (most + rng.integers(-2, 3, n))
    for w in (np.arange(n) - n // 2, near, np.where(rng.random(n) < 0.01, near, 1)):
        w = w.astype(type_)
        large = np.abs(w.astype(np.int32)) >= most
        found = core.tp_ki_count_large(w.ctypes.data, n, type_ == np.int16)
        assert found == np.count_nonzero(large)


@pytest.mark.parametrize("name", ["i8", "i16"])
@given(d=st.lists(st.integers(-(2**31) + 1, 2**31 - 1) | st.integers(-3, 3), max_size=40))
def test_errors_pass_a_relu_and_become_15_bits(core, name, d):
    d = np.array(d, np.int32)
    a = (np.arange(len(d)) * 5 % 7 - 2).astype("int" + name[1:])
    expected = np.where(a > 0, d, 0)
    bits = getattr(core, f"tp_ki_relu_d_{name}")(d.ctypes.data, a.ctypes.data, len(d))
    assert bits == np.bitwise_or.reduce(np.abs(expected.astype(np.int64)), initial=0)
    np.testing.assert_array_equal(d, expected)
    shift = bits.bit_length() - 15
    if shift > 0:
        core.tp_ki_narrow(d.ctypes.data, len(d), shift)
        rounded = (expected.astype(np.int64) + (1 << (shift - 1))) >> shift
        expected = np.clip(rounded, -32767, 32767)
        np.testing.assert_array_equal(d, expected)
        assert core.tp_ki_sum_abs(d.ctypes.data, len(d)) == np.abs(expected).sum()
