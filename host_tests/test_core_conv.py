"""Convolution, pooling, branches: the core against the oracle, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
from cases import NETWORKS, OPTIMIZER_CASES, POLICY_CASES, of, optimizers, policies
from core_api import CoreModel
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.spec import ACTIVATIONS, LOSSES, WEIGHTED, Layer, Optimizer, Policy, Spec
from pair import Pair, assert_same_bits, samples

each_network = pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS)
each_optimizer = pytest.mark.parametrize("opt", OPTIMIZER_CASES.values(), ids=OPTIMIZER_CASES)
each_policy = pytest.mark.parametrize("policy", POLICY_CASES.values(), ids=POLICY_CASES)


def by_channel(spec):
    layers = [
        replace(y, select="channels") if y.kind in ("conv", "depthwise") else y
        for y in spec.layers
    ]
    return replace(spec, layers=tuple(layers))


@each_network
@pytest.mark.parametrize("percent", [0, 75, 100])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
def test_all_maps_are_those_of_the_oracle(core, spec, percent, zeros):
    pair = Pair(core, replace(spec, zero_skip=percent))
    for x, _ in samples(spec, 2, zeros=zeros):
        maps = pair.net.forward(x)[1:]
        probabilities = pair.model.predict(x)
        for i, expected in enumerate(maps[:-1]):
            assert_same_bits(pair.model.output(i), expected, f"layer {i}")
        assert_same_bits(probabilities, pair.net.predict(x))


@each_network
@each_policy
@each_optimizer
@pytest.mark.parametrize("batch", [1, 3])
def test_training_is_bit_for_bit_that_of_the_oracle(core, spec, policy, opt, batch):
    turn = len(f"{policy}{opt}{batch}")
    spec = by_channel(spec) if turn % 2 else spec
    opt = replace(opt, rows=("lazy", "exact")[turn // 2 % 2])
    spec = replace(spec, policy=policy, opt=opt, batch=batch, zero_skip=(0, 75)[turn % 2])
    Pair(core, spec).run(samples(spec, 12))


@each_network
@pytest.mark.parametrize("batch", [1, 2])
def test_maps_may_share_memory_and_change_nothing(core, spec, batch):
    spec = replace(spec, batch=batch, policy=POLICY_CASES["tinyprop"])
    apart = CoreModel(core, spec)
    shared = CoreModel(core, replace(spec, keep=0))
    assert shared.plan.activations < apart.plan.activations
    # What lies behind a checkpoint's part is free to be anything.
    shared.block[shared.head.persist_bytes :] = 0xA5
    for x, y in samples(spec, 12):
        assert shared.train_step(x, y) == apart.train_step(x, y)
        assert_same_bits(shared.predict(x), apart.predict(x))
        assert shared.evaluate(x, y) == apart.evaluate(x, y)
    for i, layer in enumerate(spec.layers):
        if layer.kind in WEIGHTED:
            for a, b in zip(
                shared.weights_and_bias(i, "off_w"),
                apart.weights_and_bias(i, "off_w"),
                strict=True,
            ):
                assert_same_bits(a, b)
    head = bytes(shared.block[: shared.head.persist_bytes])
    assert shared.check() == 0 and head == bytes(shared.persistent())


@each_network
@each_optimizer
@pytest.mark.parametrize("by", ["elements", "channels"])
def test_neutral_settings_are_full_training(core, spec, opt, by):
    spec = replace(by_channel(spec) if by == "channels" else spec, opt=opt)
    blocks = []
    for policy in (
        Policy(),
        Policy("topk", ratio=1.0),
        Policy("tinyprop", s_min=1, s_max=1, zeta=1),
        Policy("tinypropv2", s_min=1, s_max=1, zeta=1, threshold=-1),
    ):
        model = CoreModel(core, replace(spec, policy=policy))
        for x, y in samples(spec, 8):
            model.train_step(x, y)
        rows = [i for i, y in enumerate(spec.layers) if y.kind in WEIGHTED]
        blocks.append(
            b"".join(p.tobytes() for i in rows for p in model.weights_and_bias(i, "off_w"))
        )
    assert len(set(blocks)) == 1


@pytest.mark.parametrize("trained", [1, 2, 4])
@pytest.mark.parametrize("opt", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("batch", [1, 2])
def test_only_the_first_filters_train(core, trained, opt, batch):
    spec = NETWORKS["lenet"]
    layers = (replace(spec.layers[0], rows=trained), *spec.layers[1:])
    spec = replace(spec, layers=layers, opt=OPTIMIZER_CASES[opt], batch=batch)
    pair = Pair(core, spec)
    before = pair.model.weights_and_bias(0, "off_w")[0].copy()
    pair.run(samples(spec, 10))
    changed = (pair.model.weights_and_bias(0, "off_w")[0] != before).any(axis=1)
    assert list(changed) == [True] * trained + [False] * (4 - trained)
    whole = CoreModel(core, replace(spec, layers=NETWORKS["lenet"].layers))
    saved = whole.plan.optimizer + whole.plan.gradients
    saved -= pair.model.plan.optimizer + pair.model.plan.gradients
    states = {"sgd": 0, "momentum": 1, "adam": 2}[opt] * 4 + (4 if batch > 1 else 0)
    assert states * (4 - trained) * 18 <= saved <= states * (4 - trained) * 18 + 4


@pytest.mark.parametrize("name, first", [("lenet", 2), ("resnet", 4), ("ds-cnn", 3)])
def test_nothing_is_kept_for_a_backward_pass_below_the_first_trained_layer(core, name, first):
    spec = NETWORKS[name]
    frozen = [replace(y, trainable="none") if i < first else y for i, y in enumerate(spec.layers)]
    some = replace(spec, layers=tuple(frozen))
    pair = Pair(core, some).run(samples(some, 6))
    assert [row.off_d > 0 for row in pair.model.layers] == pair.net.wants[1:]
    sizes = [CoreModel(core, replace(s, keep=0)).plan.activations for s in (spec, some)]
    assert sizes[1] < sizes[0]


def test_frozen_parameters_may_lie_outside_the_block(core):
    spec = replace(NETWORKS["lenet"], policy=POLICY_CASES["tinyprop"])
    frozen = tuple(
        replace(y, trainable="none") if i in (0, 2) else y for i, y in enumerate(spec.layers)
    )
    inside = CoreModel(core, replace(spec, layers=frozen))
    wish = replace(spec, layers=frozen, external=(0, 2))
    outside = CoreModel(core, wish)
    parameters = np.concatenate(
        [p.ravel() for i in (0, 2) for p in inside.weights_and_bias(i, "off_w")]
    )
    assert outside.plan.external == parameters.nbytes
    assert outside.plan.parameters + parameters.nbytes == inside.plan.parameters
    for i in (3, 4):
        for to, of_ in zip(
            outside.weights_and_bias(i, "off_w"), inside.weights_and_bias(i, "off_w"), strict=True
        ):
            to[:] = of_
    with pytest.raises(Exception, match="external parameters"):
        outside.predict(np.zeros(spec.inputs, np.float32))
    with pytest.raises(Exception, match="external parameters"):
        outside.use_external(parameters[:-1])
    outside.use_external(parameters)
    kept = parameters.copy()
    for x, y in samples(spec, 10):
        assert outside.train_step(x, y) == inside.train_step(x, y)
    assert_same_bits(parameters, kept)
    # A checkpoint does not hold where they were.
    assert outside.check() == 0
    with pytest.raises(Exception, match="external parameters"):
        outside.predict(np.zeros(spec.inputs, np.float32))


# Of the pretrained rows: all of them, so many filters, the biases or nothing.
PARTLY = {
    "lenet": {0: "bias", 2: 2, 3: 3, 4: "all"},
    "ds-cnn": {0: "none", 1: 3, 2: "bias", 4: 1},
    "norm": {0: 3, 1: 2, 3: "bias", 5: "none"},
}


@pytest.mark.parametrize("name", PARTLY)
@pytest.mark.parametrize("opt", ["sgd", "adam"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("percent", [0, 75])
def test_of_external_rows_only_what_trains_lies_in_the_block(core, name, opt, batch, percent):
    spec = replace(NETWORKS[name], opt=OPTIMIZER_CASES[opt], batch=batch, zero_skip=percent)
    layers = list(spec.layers)
    if name == "ds-cnn":
        layers[1] = replace(layers[1], units=2)  # the first filters end inside a group
    for i, part in PARTLY[name].items():
        some = {"trainable": "all", "rows": part} if isinstance(part, int) else {"trainable": part}
        layers[i] = replace(layers[i], **some)
    spec = replace(spec, layers=tuple(layers))
    inside = CoreModel(core, spec)
    pretrained = np.concatenate(
        [p.ravel() for i in PARTLY[name] for p in inside.weights_and_bias(i, "off_w")]
    )
    outside = CoreModel(core, replace(spec, external=tuple(PARTLY[name])))
    outside.use_external(pretrained)
    core.tp_model_take_external(outside.address)
    outside.head.rng[:] = inside.head.rng[:]  # that of dropout; external rows draw no weights
    kept = pretrained.copy()
    for x, y in samples(spec, 10):
        assert outside.train_step(x, y) == inside.train_step(x, y)
        assert_same_bits(outside.predict(x), inside.predict(x))
    assert_same_bits(pretrained, kept)
    moved = 0
    for i in PARTLY[name]:
        row = inside.layer(i)
        w, b = inside.weights_and_bias(i, "off_w")
        trained = np.concatenate([w[: row.rows].ravel(), b if row.trainable else b[:0]])
        at = outside.layer(i).off_w
        assert_same_bits(outside.array(at, trained.shape), trained, f"layer {i}")
        moved += trained.nbytes
    assert outside.plan.parameters == moved < inside.plan.parameters
    assert outside.plan.external == pretrained.nbytes == inside.plan.parameters
    assert outside.check() == 0


@pytest.mark.parametrize("name", ["norm"])
def test_dropout_rests_while_predicting_and_draws_anew_for_each_sample(core, name):
    spec = replace(NETWORKS[name], opt=Optimizer(lr=1e-30))
    model = CoreModel(core, spec)
    x, y = next(iter(samples(spec, 1)))
    steady = [model.predict(x).copy() for _ in range(2)]
    assert_same_bits(*steady)
    losses = {float(model.train_step(x, y)[1]) for _ in range(20)}
    assert len(losses) > 10
    assert_same_bits(model.predict(x), steady[0])


# --- Any network ---

SIDES = st.sampled_from([1, 2, 3, 4, 5, 7])


@st.composite
def networks(draw):
    shape = (draw(SIDES), draw(SIDES), draw(of(1, 2, 3, 5)))
    maps, layers = [shape], []
    for place in range(draw(st.integers(1, 5))):
        source = draw(st.sampled_from([None, None, None, *range(place + 1)]))
        height, width, channels = maps[place if source is None else source]
        kind = draw(of("conv", "conv", "depthwise", "max_pool", "average_pool", "add", "dropout"))
        twins = [r for r, m in enumerate(maps) if m == (height, width, channels)]
        twins = [r for r in twins if r != (place if source is None else source)]
        if kind == "add" and not twins:
            kind = "conv"
        same = draw(of(0, 1))
        kernel = tuple(draw(st.integers(1, 4 if same else min(4, n))) for n in (height, width))
        stride = (draw(of(1, 2, 3)), draw(of(1, 2)))
        weighted = kind in WEIGHTED
        layer = Layer(
            units=draw(of(1, 2, 3, 4, 5)) if kind == "conv" else draw(of(1, 2)) if weighted else 0,
            activation=draw(of(*ACTIVATIONS)) if weighted or kind == "add" else "linear",
            slope=draw(of(0.0, 0.25, 0.5)),
            init=draw(of("auto", "glorot", "ones")) if weighted else "auto",
            trainable=draw(of("all", "all", "all", "bias", "none")),
            kind=kind,
            kernel=(0, 0) if kind in ("add", "dropout") else kernel,
            stride=stride,
            same=same if kind not in ("add", "dropout") else 0,
            select=draw(of("elements", "channels")) if weighted else "elements",
            source=source,
            other=draw(st.sampled_from(twins)) if kind == "add" else None,
        )
        layers.append(layer)
        if kind in ("add", "dropout"):
            maps.append((height, width, channels))
            continue
        sides = [
            -(-n // s) if same else (n - k) // s + 1
            for n, k, s in zip((height, width), kernel, stride, strict=True)
        ]
        out = {"conv": layer.units, "depthwise": channels * layer.units}.get(kind, channels)
        maps.append((*sides, out))
    # Every output is used: what is left over is added up behind a small dense layer each.
    used = {place if y.source is None else y.source for place, y in enumerate(layers)}
    used |= {y.other for y in layers if y.kind == "add"}
    loose = [r for r in range(1, len(maps)) if r not in used]
    ends = []
    for r in loose:
        layers.append(Layer(draw(of(3, 4)) if len(loose) == 1 else 3, source=r))
        ends.append(len(layers))
    total = ends[0]
    for r in ends[1:]:
        layers.append(Layer(3, kind="add", source=total, other=r))
        total = len(layers)
    return Spec(
        shape,
        tuple(layers),
        loss=draw(of(*LOSSES)),
        batch=draw(of(1, 1, 1, 2)),
        seed=draw(st.integers(0, 2**32 - 1)),
        opt=draw(optimizers),
        policy=draw(policies),
        zero_skip=draw(of(0, 50, 75, 100)),
    )


@settings(max_examples=400)
@given(spec=networks(), zeros=of(0.0, 0.5, 1.0), vectors=st.booleans(), seed=st.integers(0, 99))
def test_any_graph_trains_as_the_oracle_does(core, spec, zeros, vectors, seed):
    pair = Pair(core, spec)
    dense = core.tp_dense_macs(pair.model.address)
    assert (dense.forward, dense.backward) == pair.net.dense_macs()
    shared = CoreModel(core, replace(spec, keep=0))
    steps = list(samples(spec, 4, seed, zeros, vectors))
    for x, y in steps:
        if pair.train(x, y) is None:
            break
        shared.train_step(x, y)
    pair.assert_same()
    assert core.tp_backward_macs(pair.model.address) == pair.net.backward_macs()
    for i, layer in enumerate(spec.layers):
        if layer.kind in WEIGHTED:
            arrays = (m.weights_and_bias(i, "off_w") for m in (pair.model, shared))
            for a, b in zip(*arrays, strict=True):
                assert_same_bits(a, b)
