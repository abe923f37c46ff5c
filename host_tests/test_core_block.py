"""The block: its size, its independence of the address, checkpoints."""

import ctypes as c
import struct
import zlib
from dataclasses import replace

import core_api
import numpy as np
import pytest
from cases import OPTIMIZER_CASES, POLICY_CASES, network, specs
from core_api import CoreModel
from hypothesis import given, settings
from oracle.spec import Layer, Optimizer, Policy, Spec
from pair import Pair, samples

HEAD, ROW = c.sizeof(core_api.Model), c.sizeof(core_api.Layer)
GUARD = 64  # a multiple of the alignment

RICH = network(
    opt=OPTIMIZER_CASES["adam-decay"],
    policy=POLICY_CASES["tinypropv2"],
    batch=3,
    scale=(0.5,),
    offset=(0.25,),
)


def four(n):
    return -(-n // 4) * 4


def expected_plan(spec):
    """The bytes of every part, from the descriptions in tp.h."""
    sizes = [spec.n_in] + [layer.units for layer in spec.layers]
    shapes = list(zip(spec.layers, sizes[1:], sizes, strict=False))
    # Of a layer whose bias alone trains, nothing is kept for its weights.
    trained = [
        (o, i if layer.trainable == "all" else 0)
        for layer, o, i in shapes
        if layer.trainable != "none"
    ]
    slots = 2 if spec.opt.kind == "adam" else int(spec.opt.momentum > 0)
    parts = {
        "header": HEAD + ROW * len(spec.layers) + 8 * len(spec.scale),
        "parameters": sum(4 * o * (i + 1) for _, o, i in shapes),
        "optimizer": slots * sum(4 * o * (i + 1) for o, i in trained),
        "gradients": sum(4 * o * (i + 1) + four(o) * (i > 0) for o, i in trained)
        * (spec.batch > 1),
    }
    persist = sum(parts.values())
    first = min(i for i, layer in enumerate(spec.layers) if layer.trainable != "none")
    parts["activations"] = 4 * (sum(sizes) + sum(sizes[first + 1 :]))
    parts["scratch"] = four(2 * max(sizes[:-1])) * (spec.zero_skip > 0)
    return {**parts, "persist": persist, "total": sum(parts.values()), "external": 0}


@given(spec=specs())
def test_plan_counts_every_byte(core, spec):
    plan = core_api.plan(core, spec)
    assert {name: getattr(plan, name) for name, _ in plan._fields_} == expected_plan(spec)


@given(spec=specs())
def test_maps_that_share_memory_take_no_more_than_input_outputs_and_one_delta(core, spec):
    plan = core_api.plan(core, replace(spec, keep=0))
    sizes = [spec.n_in] + [layer.units for layer in spec.layers]
    deltas = sizes[-1] + max(sizes[1:-1], default=0)
    assert plan.activations <= 4 * (sum(sizes) + deltas)


def test_plan_counts_the_input_scale(core):
    assert core_api.plan(core, RICH).header == expected_plan(RICH)["header"]


def test_largest_layers_can_be_planned(core):
    limit = core_api.MAX_UNITS
    wide = Spec(limit, (Layer(1), Layer(limit), Layer(1)))
    assert core_api.plan(core, wide).parameters == expected_plan(wide)["parameters"]
    deep = Spec(1, (Layer(1),) * core_api.MAX_LAYERS)
    Pair(core, deep).run(samples(deep, 2))


def use_in_every_way(model, spec):
    for x, y in samples(spec, 5):
        model.predict(x)
        model.evaluate(x, y)
        model.train_step(x, y)
    model.epoch_end()
    assert model.check() == core_api.OK
    model.reset(5)


@settings(max_examples=100)
@given(spec=specs())
def test_bytes_around_the_block_are_never_touched(core, spec):
    total = core_api.plan(core, spec).total
    memory = core_api.aligned_bytes(total + 2 * GUARD, core_api.POISON)
    use_in_every_way(CoreModel(core, spec, memory[GUARD:-GUARD]), spec)
    assert (memory[:GUARD] == core_api.POISON).all()
    assert (memory[-GUARD:] == core_api.POISON).all()


def test_larger_block_than_needed_is_left_alone_behind_the_model(core):
    total = core_api.plan(core, RICH).total
    memory = core_api.aligned_bytes(total + GUARD, core_api.POISON)
    use_in_every_way(CoreModel(core, RICH, memory), RICH)
    assert (memory[-GUARD:] == core_api.POISON).all()


def test_what_the_block_held_before_plays_no_role(core):
    total = core_api.plan(core, RICH).total
    clean, dirty = (
        CoreModel(core, RICH, core_api.aligned_bytes(total, fill)) for fill in (0, 0xFF)
    )
    np.testing.assert_array_equal(clean.block, dirty.block)


def test_accessors_point_into_the_block(core):
    model = CoreModel(core, RICH)
    assert core.tp_model_get(model.address, len(model.block)) == model.address
    assert core.tp_model_outputs(model.address) == 4
    for i, row in enumerate(model.layers):
        weights = core.tp_layer_weights(model.address, i) - model.address
        assert weights == row.off_w
        bias = core.tp_layer_bias(model.address, i) - model.address
        assert bias == row.off_w + 4 * model.fan_in(i) * row.c
        assert core.tp_layer_output(model.address, i) - model.address == row.off_act
        table = core.tp_model_layer(model.address, i).contents
        assert c.addressof(table) - model.address == HEAD + ROW * i


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_block_may_move_in_mid_training(core, steps):
    pair = Pair(core, RICH)
    for i, (x, y) in enumerate(samples(RICH, 30)):
        if i % steps == 0:
            old = pair.model.block
            pair.model = CoreModel.adopt(core, old.copy())
            old[:] = core_api.POISON
        pair.train(x, y)
    pair.assert_same()


def test_two_models_do_not_know_of_each_other(core):
    specs = (RICH, network(5, (3,), policy=POLICY_CASES["topk"]))
    pairs = [Pair(core, spec) for spec in specs]
    for one, other in zip(samples(specs[0], 30), samples(specs[1], 30), strict=True):
        pairs[0].train(*one)
        pairs[1].train(*other)
    for pair in pairs:
        pair.assert_same()


# --- Checkpoints ---


def save(model):
    """The bytes of a checkpoint file."""
    head = (c.c_uint8 * core_api.FILE_HEAD)()
    model.core.tp_file_head(model.address, head)
    return bytes(head) + model.persistent().tobytes()


def load(core, data):
    """As a reader of files does it: the head, the size of the block, the full check."""
    head, payload = data[: core_api.FILE_HEAD], data[core_api.FILE_HEAD :]
    size, crc = c.c_uint32(), c.c_uint32()
    buffer = (c.c_uint8 * len(head))(*head)
    code = core.tp_file_head_check(buffer, len(head), c.byref(size), c.byref(crc))
    assert code == core_api.OK
    assert (size.value, crc.value) == (len(payload), core.tp_crc32(0, payload, len(payload)))
    block = core_api.aligned_bytes(core.tp_file_block_bytes(payload, len(payload)), 0xEE)
    block[: len(payload)] = np.frombuffer(payload, np.uint8)
    model = CoreModel.adopt(core, block)
    assert model.check() == core_api.OK
    return model


def test_file_head_is_laid_out_as_documented(core):
    model = CoreModel(core, RICH)
    data = save(model)
    magic, version, zero, size, crc, head_crc = struct.unpack("<4sHHIII", data[:20])
    assert (magic, version, zero) == (b"TPM1", 2, 0)
    assert size == model.plan.persist == len(data) - 20
    assert crc == zlib.crc32(data[20:])
    assert head_crc == zlib.crc32(data[:16])


@pytest.mark.parametrize("before", [0, 1, 9, 10])
@pytest.mark.parametrize("opt", OPTIMIZER_CASES.values(), ids=OPTIMIZER_CASES)
def test_training_resumes_from_a_checkpoint_bit_for_bit(core, opt, before):
    spec = replace(RICH, opt=opt)
    pair = Pair(core, spec)
    for i, (x, y) in enumerate(samples(spec, 30)):
        if i == before:
            pair.model = load(core, save(pair.model))
            pair.assert_same()
        pair.train(x, y)
    pair.assert_same()


@settings(max_examples=100)
@given(spec=specs())
def test_check_accepts_any_trained_model_and_keeps_what_persists(core, spec):
    model = CoreModel(core, spec)
    for x, y in samples(spec, 4):
        try:
            model.train_step(x, y)
        except core_api.CoreError:
            return  # the rates drawn may be too large to stay finite
    before = model.persistent().copy()
    first = model.layer(0).off_w // 4
    floats = first + (model.plan.parameters + model.plan.optimizer) // 4
    if np.isfinite(model.block.view(np.float32)[first:floats]).all():
        assert model.check() == core_api.OK
        np.testing.assert_array_equal(model.persistent(), before)
        assert not model.block[len(before) :].any()


WILD = [float("nan"), float("inf"), 7.0, -1.0]
UNUSED = {
    "slope": lambda v: {"layers": (Layer(3, "relu", slope=v), Layer(4))},
    "betas": lambda v: {"opt": Optimizer("sgd", beta1=v, beta2=v, eps=v)},
    "ymax_decay": lambda v: {"policy": Policy("full", ymax_decay=v)},
    "shares": lambda v: {"policy": Policy("topk", k=2, ratio=v, s_min=v, s_max=v, zeta=v)},
    "decision": lambda v: {"policy": Policy("tinyprop", d_min=v, d_max=v, threshold=v)},
}


@pytest.mark.parametrize("changes", UNUSED.values(), ids=UNUSED)
@pytest.mark.parametrize("value", WILD)
def test_settings_that_a_model_does_not_use_may_be_anything(core, changes, value):
    spec = replace(network(), **changes(value))
    model, plain = CoreModel(core, spec), CoreModel(core, replace(spec, **changes(0.5)))
    for x, y in samples(spec, 3):
        assert model.train_step(x, y) == plain.train_step(x, y)
    model.epoch_end()
    assert model.check() == core_api.OK  # its checkpoint must stay readable
