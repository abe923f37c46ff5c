"""Every error of tp.h: the code, the fault that names what was wrong, and a model unharmed."""

import ctypes as c
from dataclasses import replace

import core_api
import numpy as np
import pytest
from cases import OPTIMIZER_CASES, POLICY_CASES, network
from core_api import BLOCK, DTYPE, FORMAT, NONFINITE, OK, RANGE, SHAPE, SIZE, CoreError, CoreModel
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.spec import Layer, Optimizer, Policy
from pair import samples

F32 = np.float32
HEAD, ROW = c.sizeof(core_api.Model), c.sizeof(core_api.Layer)
NAN, INF = float("nan"), float("inf")

SPEC = network(policy=POLICY_CASES["tinypropv2"])
ADAM = replace(SPEC, opt=OPTIMIZER_CASES["adam"])
RATIO = replace(SPEC, policy=Policy("topk", ratio=0.5))
SOFT = replace(SPEC, layers=(Layer(5, "leaky_relu", slope=0.1), Layer(4)))
CONV = replace(
    SPEC,
    n_in=(6, 5, 2),
    layers=(
        Layer(3, "relu", kind="conv", kernel=(3, 3)),
        Layer(kind="max_pool", kernel=(2, 2), same=0),
        Layer(kind="dropout", slope=0.5),
        Layer(kind="add", source=3, other=2),
        Layer(4),
    ),
)
SCALED = replace(SPEC, n_in=6, scale=(1.0, 1.0), offset=(0.0, 0.0))


# --- Specifications ---


def change(spec, path, value):
    """A C specification with one field changed, e.g. path "layers.1.units" or "scale.0"."""
    result = core_api.c_spec(spec)
    *way, last = path.split(".")
    place = result
    for step in way:
        place = place[int(step)] if step.isdigit() else getattr(place, step)
    if last.isdigit():
        place[int(last)] = value
    else:
        setattr(place, last, value)
    return result


BAD = [
    (SPEC, "c", [0, 65536, 2**32 - 1], "input size", -1),
    (SPEC, "h", [0, 65536], "input height", -1),
    (SPEC, "w", [0, 65536], "input width", -1),
    (SPEC, "keep", [2], "keep", -1),
    (SPEC, "zero_skip", [101], "zero_skip", -1),
    (SPEC, "n_layers", [0, 33, 2**32 - 1], "number of layers", -1),
    (SPEC, "loss", [2, 255], "loss", -1),
    (SPEC, "batch", [0, 65536], "batch_size", -1),
    (SCALED, "n_scale", [7, 2**32 - 1], "length of the input scale", -1),
    (SPEC, "layers.0.kind", [0, 8, 255], "layer kind", 0),
    (SPEC, "layers.1.units", [0, 65536, 2**32 - 1], "units", 1),
    (SPEC, "layers.0.activation", [5, 255], "activation", 0),
    (SPEC, "layers.2.activation", [1, 4], "activation", 2),  # softmax wants logits
    (SPEC, "layers.1.init", [5], "init", 1),
    (SPEC, "layers.0.kernel_h", [1], "kernel height", 0),
    (SPEC, "layers.0.kernel_w", [1], "kernel width", 0),
    (SPEC, "layers.0.same", [1], "padding", 0),
    (SPEC, "layers.0.select", [1], "select", 0),
    (SPEC, "layers.0.source", [1, 2, 254], "source", 0),
    (SPEC, "layers.1.rows", [8, 65535], "filters to train", 1),
    (SPEC, "layers.1.external", [2], "external", 1),
    (CONV, "layers.1.external", [1], "external", 1),
    (CONV, "layers.1.recompute", [2], "recompute", 1),
    (CONV, "layers.0.kernel_h", [0, 7], "kernel height", 0),
    (CONV, "layers.0.kernel_w", [0, 6], "kernel width", 0),
    (CONV, "layers.0.same", [2], "padding", 0),
    (CONV, "layers.0.select", [2], "select", 0),
    (CONV, "layers.0.rows", [4], "filters to train", 0),
    (CONV, "layers.1.kernel_h", [5], "kernel height", 1),
    (CONV, "layers.1.activation", [1], "activation", 1),
    (CONV, "layers.1.trainable", [1], "trainable", 1),
    (CONV, "layers.2.slope", [-0.5, 1.0, NAN], "rate", 2),
    (CONV, "layers.2.source", [4], "source", 2),
    (CONV, "layers.3.other", [6], "second source", 3),
    (SPEC, "layers.1.trainable", [3], "trainable", 1),
    (SOFT, "layers.0.slope", [-0.1, 1.0, NAN, INF], "slope", 0),
    (SPEC, "opt.kind", [2], "optimizer kind", -1),
    (SPEC, "opt.rows", [2], "optimizer rows", -1),
    (SPEC, "opt.lr", [0.0, -0.1, NAN, INF], "lr", -1),
    (SPEC, "opt.momentum", [-0.1, 1.0, NAN], "momentum", -1),
    (SPEC, "opt.weight_decay", [-0.1, NAN, INF], "weight_decay", -1),
    (SPEC, "opt.weight_decay", [20.0, 100.0], "lr * weight_decay", -1),
    (ADAM, "opt.beta1", [-0.1, 1.0, NAN], "beta_1", -1),
    (ADAM, "opt.beta2", [-0.1, 1.0, NAN], "beta_2", -1),
    (ADAM, "opt.eps", [0.0, -1.0, NAN, INF], "epsilon", -1),
    (SPEC, "policy.kind", [4], "policy kind", -1),
    (RATIO, "policy.ratio", [0.0, 1.1, NAN], "ratio", -1),
    (SPEC, "policy.s_min", [-0.1, 1.1, NAN], "s_min", -1),
    (SPEC, "policy.s_max", [0.05, 1.1, NAN], "s_max", -1),
    (SPEC, "policy.zeta", [0.0, 1.1, NAN], "zeta", -1),
    (SPEC, "policy.ymax_decay", [0.0, 1.1, NAN], "ymax_decay", -1),
    (SPEC, "policy.beta_mode", [2], "beta_mode", -1),
    (SPEC, "policy.d_min", [-0.1, NAN, INF], "d_min", -1),
    (SPEC, "policy.d_max", [-0.1, NAN, INF], "d_max", -1),
    (SPEC, "policy.threshold", [NAN, INF, -INF], "threshold", -1),
    (SPEC, "policy.backoff", [32, 255], "backoff", -1),
]
BAD = [
    pytest.param(spec, path, value, what, layer, id=f"{path}={value}")
    for spec, path, values, what, layer in BAD
    for value in values
]


def refusal(function, *arguments):
    with pytest.raises(CoreError) as caught:
        function(*arguments)
    return caught.value


@pytest.mark.parametrize("spec, path, value, what, layer", BAD)
def test_bad_field_is_refused_by_name_and_number(core, spec, path, value, what, layer):
    core_api.plan(core, spec)  # it is the change that makes it bad
    bad = change(spec, path, value)
    error = refusal(core_api.plan, core, bad)
    assert (error.code, error.what, error.layer) == (RANGE, what, layer)
    assert not error.lo <= error.got <= error.hi
    if what != "lr * weight_decay":
        np.testing.assert_equal(error.got, F32(value))


@pytest.mark.parametrize("spec, path, value, what, layer", BAD[::5])
def test_fault_may_be_null_and_a_refused_block_stays_as_it_was(
    core, spec, path, value, what, layer
):
    bad = change(spec, path, value)
    plan = core_api.Plan()
    assert core.tp_plan(c.byref(bad), c.byref(plan), None) == RANGE
    block = core_api.aligned_bytes(core_api.plan(core, spec).total, core_api.POISON)
    assert core.tp_model_init(block.ctypes.data, len(block), c.byref(bad), None) == RANGE
    assert (block == core_api.POISON).all()


def test_input_scale_must_divide_the_input(core):
    spec = replace(SPEC, n_in=7, scale=(1.0, 1.0), offset=(0.0, 0.0))
    error = refusal(core_api.plan, core, spec)
    assert error.code == SHAPE and "input scale" in error.what
    assert (error.got, error.lo) == (2, 7)


@pytest.mark.parametrize("name", ["scale", "offset"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_input_scale_must_be_finite(core, name, value):
    error = refusal(core_api.plan, core, change(SCALED, f"{name}.1", value))
    assert (error.code, error.what) == (NONFINITE, f"input {name}")


def test_some_layer_must_train(core):
    layers = tuple(replace(layer, trainable="none") for layer in SPEC.layers)
    error = refusal(core_api.plan, core, replace(SPEC, layers=layers))
    assert (error.code, error.what, error.got) == (RANGE, "number of trainable layers", 0)


@pytest.mark.parametrize("widths", [(65535, 65535), (32768, 16384), (8192, 65535)])
def test_model_beyond_31_bits_is_refused(core, widths):
    spec = replace(SPEC, n_in=widths[0], layers=(Layer(widths[1]),))
    assert refusal(core_api.plan, core, spec).code == SIZE


def test_sizes_that_overflow_only_in_sum_are_refused(core):
    # Each layer and each slot fits; parameters, two moments and gradients together do not.
    big = replace(SPEC, n_in=16384, layers=(Layer(8192),))
    assert core_api.plan(core, big).total < 2**31
    for more in (
        replace(big, opt=Optimizer("adam"), batch=2),
        replace(big, layers=(Layer(8192), Layer(16384), Layer(8192), Layer(16384))),
    ):
        assert refusal(core_api.plan, core, more).code == SIZE


# --- Blocks ---


def test_short_block_is_refused_untouched(core):
    total = core_api.plan(core, SPEC).total
    for size in (0, 1, HEAD - 1, HEAD, total - 4, total - 1):
        block = core_api.aligned_bytes(max(size, 1), core_api.POISON)[:size]
        error = refusal(CoreModel, core, SPEC, block)
        assert (error.code, error.what, error.got) == (BLOCK, "bytes of the block", size)
        assert error.lo == total
        assert (block == core_api.POISON).all()


@pytest.mark.parametrize("shift", range(1, 8))
def test_misaligned_block_is_refused_untouched(core, shift):
    memory = core_api.aligned_bytes(core_api.plan(core, SPEC).total + 8, core_api.POISON)
    error = refusal(CoreModel, core, SPEC, memory[shift:])
    assert (error.code, error.what, error.got) == (BLOCK, "alignment of the block", shift)
    assert (memory == core_api.POISON).all()
    assert core.tp_model_get(memory.ctypes.data + shift, len(memory) - shift) is None


def test_get_knows_a_model_from_other_memory(core):
    model = CoreModel(core, SPEC)
    total = len(model.block)
    assert core.tp_model_get(model.address, total) == model.address
    assert core.tp_model_get(model.address, total - 1) is None
    assert core.tp_model_get(None, total) is None
    assert core.tp_model_get(model.address, 10) is None
    model.head.magic ^= 1
    assert core.tp_model_get(model.address, total) is None


# --- Calls ---

GOOD_X, GOOD_Y = next(samples(SPEC, 1))
SOFT_Y = np.full(4, 0.25, F32)


def with_value(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BAD_X = {
    "short": (GOOD_X[:-1].copy(), SHAPE, "values of x", 8),
    "long": (np.ones(10, F32), SHAPE, "values of x", 10),
    "empty": (np.ones(0, F32), SHAPE, "values of x", 0),
    "nan-first": (with_value(GOOD_X, 0, NAN), NONFINITE, "x", 0),
    "inf-middle": (with_value(GOOD_X, 4, INF), NONFINITE, "x", 4),
    "minus-inf-last": (with_value(GOOD_X, 8, -INF), NONFINITE, "x", 8),
}
BAD_Y = {
    "class -1": (-1, RANGE, "class index", -1),
    "class 4": (4, RANGE, "class index", 4),
    "class min": (-(2**31), RANGE, "class index", -(2**31)),
    "class max": (2**31 - 1, RANGE, "class index", F32(2**31 - 1)),
    "short": (SOFT_Y[:3].copy(), SHAPE, "values of y", 3),
    "long": (np.full(5, 0.2, F32), SHAPE, "values of y", 5),
    "nan": (with_value(SOFT_Y, 2, NAN), NONFINITE, "y", 2),
    "inf": (with_value(SOFT_Y, 0, INF), NONFINITE, "y", 0),
    "negative": (F32([0.5, -0.25, 0.5, 0.25]), RANGE, "target probability", -0.25),
    "sum 2": (F32([0.5, 0.5, 0.5, 0.5]), RANGE, "sum of the target probabilities", 2),
    "sum 0": (np.zeros(4, F32), RANGE, "sum of the target probabilities", 0),
}


def trained_pair_of_models(core, spec=SPEC):
    models = CoreModel(core, spec), CoreModel(core, spec)
    for model in models:
        for x, y in samples(spec, 5):
            model.train_step(x, y)
    return models


def assert_refused_without_harm(core, names, x, y, code, what, got):
    """The call fails as told, the model stays as it was and goes on as if nothing happened."""
    model, twin = trained_pair_of_models(core)
    for name in names:
        arguments = (x,) if name == "predict" else (x, y)
        error = refusal(getattr(model, name), *arguments)
        assert (error.code, error.what) == (code, what)
        assert error.got == got
        np.testing.assert_array_equal(model.persistent(), twin.persistent())
    for x, y in samples(SPEC, 5, seed=1):
        assert model.train_step(x, y) == twin.train_step(x, y)
    np.testing.assert_array_equal(model.persistent(), twin.persistent())


@pytest.mark.parametrize("x, code, what, got", BAD_X.values(), ids=BAD_X)
def test_bad_input_is_refused_and_does_no_harm(core, x, code, what, got):
    calls = ("predict", "evaluate", "train_step")
    assert_refused_without_harm(core, calls, x, GOOD_Y, code, what, got)


@pytest.mark.parametrize("y, code, what, got", BAD_Y.values(), ids=BAD_Y)
def test_bad_target_is_refused_and_does_no_harm(core, y, code, what, got):
    assert_refused_without_harm(core, ("evaluate", "train_step"), GOOD_X, y, code, what, got)


def test_unknown_element_type_is_refused_and_does_no_harm(core, monkeypatch):
    monkeypatch.setitem(core_api.DTYPES, "float64", "d")
    bad = np.ones(9, np.float64)
    calls = ("predict", "evaluate", "train_step")
    assert_refused_without_harm(core, calls, bad, GOOD_Y, DTYPE, "x", 0)
    bad = np.full(4, 0.25, np.float64)
    calls = ("evaluate", "train_step")
    assert_refused_without_harm(core, calls, GOOD_X, bad, DTYPE, "y", ord("d"))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mean_squared_error"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("value", [3e38, -3e38])
def test_loss_that_is_not_finite_is_refused_and_changes_nothing(core, loss, batch, value):
    spec = replace(SPEC, loss=loss, batch=batch)
    model = CoreModel(core, spec)
    model.train_step(GOOD_X, GOOD_Y)
    model.weights_and_bias(2, "off_w")[0][:] = value
    model.weights_and_bias(1, "off_w")[0][:] = 10
    before = model.persistent().copy()
    for call in (model.evaluate, model.train_step):
        error = refusal(call, np.ones(9, F32), 1)
        assert (error.code, error.what) == (NONFINITE, "loss")
        np.testing.assert_array_equal(model.persistent(), before)


@pytest.mark.parametrize("policy", POLICY_CASES.values(), ids=POLICY_CASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_errors_that_overflow_on_the_way_down_do_not_reach_the_weights(core, policy, batch):
    policy = replace(policy, threshold=-1.0)
    spec = replace(SPEC, n_in=2, layers=(Layer(4), Layer(3)), policy=policy, batch=batch)
    model = CoreModel(core, spec)
    # Logits of 0, so a finite loss; but W times the errors is beyond float32.
    model.weights_and_bias(1, "off_w")[0][:] = np.float32([[-3e38], [3e38], [3e38]])
    lower = [a.copy() for a in model.weights_and_bias(0, "off_w")]
    assert model.train_step(np.zeros(2, F32), 0)[0]
    model.flush()
    for now, before in zip(model.weights_and_bias(0, "off_w"), lower, strict=True):
        np.testing.assert_array_equal(now, before)
    assert np.isfinite(model.weights_and_bias(1, "off_w")[0]).all()
    assert model.check() == OK


def test_integers_that_overflow_when_scaled_are_refused(core):
    model = CoreModel(core, replace(SCALED, scale=(3e38, 1.0)))
    x = np.array([1, 1, 100, 1, 1, 1], np.int8)
    error = refusal(model.predict, x)
    assert (error.code, error.what, error.got) == (NONFINITE, "x", 2)


def test_mean_squared_error_takes_any_finite_target(core):
    model = CoreModel(core, replace(SPEC, loss="mean_squared_error"))
    assert model.train_step(GOOD_X, F32([-3, 100, 0.5, 0]))[0]


@pytest.mark.parametrize("off", [-0.0005, 0.0005])
def test_target_probabilities_may_miss_1_by_rounding(core, off):
    model = CoreModel(core, SPEC)
    assert model.train_step(GOOD_X, with_value(SOFT_Y, 1, 0.25 + off))[0]


# --- Changing settings ---


def test_optimizer_kind_and_layout_are_fixed(core):
    momentum = Optimizer(momentum=0.5)
    for made, asked, what in (
        (Optimizer(), Optimizer("adam"), "optimizer kind"),
        (Optimizer("adam"), Optimizer(), "optimizer kind"),
        (Optimizer(), momentum, "momentum"),
        (momentum, Optimizer(), "momentum"),
    ):
        model = CoreModel(core, replace(SPEC, opt=made))
        before = model.block.copy()
        error = refusal(model.set_optimizer, asked)
        assert error.code == RANGE and error.what.startswith(what)
        np.testing.assert_array_equal(model.block, before)


BAD_SETTINGS = [case for case in BAD if case.values[1].split(".")[0] in ("opt", "policy")]


@pytest.mark.parametrize("spec, path, value, what, layer", BAD_SETTINGS)
def test_bad_setting_is_refused_at_run_time_too(core, spec, path, value, what, layer):
    model = CoreModel(core, spec)
    before = model.block.copy()
    bad = change(spec, path, value)
    group = path.split(".")[0]
    call, new = (
        (core.tp_set_optimizer, bad.opt) if group == "opt" else (core.tp_set_policy, bad.policy)
    )
    error = refusal(core_api.checked, call, model.address, c.byref(new))
    assert (error.code, error.what) == (RANGE, what)
    assert call(model.address, c.byref(new), None) == RANGE
    np.testing.assert_array_equal(model.block, before)


# --- Damaged models ---

# A flip of any bit of these must be noticed: they say where things lie.
STRUCTURAL = {
    core_api.Model: (
        "magic block_bytes persist_bytes n_layers h w c n_scale index off_input off_scratch"
    ).split(),
    core_api.Layer: (
        "source other kernel_h kernel_w same flags h w c off_w off_m off_v off_g off_act off_d"
    ).split(),
}
DAMAGED = {
    "lazy": replace(SCALED, batch=2, opt=OPTIMIZER_CASES["momentum"]),
    "adam": replace(ADAM, policy=POLICY_CASES["topk"]),
    "conv": CONV,
}


def structural_bytes(model):
    places = set()
    starts = [(core_api.Model, 0)]
    starts += [(core_api.Layer, HEAD + ROW * i) for i in range(model.head.n_layers)]
    for kind, start in starts:
        for name in STRUCTURAL[kind]:
            field = getattr(kind, name)
            places.update(range(start + field.offset, start + field.offset + field.size))
    return places


def check_damaged(model, block):
    """tp_model_check of a damaged copy; where it passes the model must be safe to use."""
    copy = core_api.aligned_bytes(len(block) + 64, core_api.POISON)
    copy[: len(block)] = block
    damaged = CoreModel.adopt(model.core, copy[: len(block)])
    code = damaged.check()
    assert code in (OK, FORMAT, BLOCK)
    if code == OK:
        x, y = np.ones(model.core.tp_model_inputs(damaged.address), np.float32), 1
        for call in (damaged.train_step, damaged.train_step, damaged.evaluate):
            try:
                call(x, y)
            except CoreError as error:
                assert error.code == NONFINITE
        damaged.epoch_end()
    assert (copy[len(block) :] == core_api.POISON).all()
    return code


@pytest.mark.parametrize("spec", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("flip", [0x01, 0x02, 0x10, 0x80, 0xFF])
def test_flipped_byte_of_the_head_is_noticed_or_harmless(core, spec, flip):
    model = CoreModel(core, spec)
    for x, y in samples(spec, 3):
        model.train_step(x, y)
    assert check_damaged(model, model.block) == OK
    structural = structural_bytes(model)
    codes = {}
    for place in range(model.plan.header):
        block = model.block.copy()
        block[place] ^= flip
        codes[place] = check_damaged(model, block)
    assert [place for place in structural if codes[place] == OK] == []
    assert OK in codes.values()  # a counter may well differ


@pytest.mark.parametrize("what", ["off_w", "off_m", "off_v"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_parameters_that_are_not_finite_are_noticed(core, what, value):
    for layer in range(3):
        for group in range(2):
            model = CoreModel(core, ADAM)
            model.weights_and_bias(layer, what)[group].ravel()[-1] = value
            assert model.check() == FORMAT


def test_second_moments_below_zero_are_noticed(core):
    model = CoreModel(core, ADAM)
    model.weights_and_bias(1, "off_v")[1][-1] = -1e-9
    assert model.check() == FORMAT


def test_gradient_sums_that_are_not_finite_are_noticed(core):
    model = CoreModel(core, replace(SPEC, batch=2))
    model.weights_and_bias(2, "off_g")[1][-1] = NAN
    assert model.check() == FORMAT


@pytest.mark.parametrize(
    "path, value",
    [
        ("batch_seen", 2),
        ("batch_seen", 2**16 - 1),
        ("batch_trained", 2),
        ("beta1_t", NAN),
        ("beta1_t", 1.5),
        ("beta2_t", -0.5),
        ("opt.lr", NAN),
        ("opt.lr", 0.0),
        ("policy.zeta", 2.0),
        ("policy.threshold", INF),
        ("loss", 2),
        ("batch", 0),
        ("batch", 1),
    ],
)
def test_value_out_of_range_in_the_head_is_noticed(core, path, value):
    model = CoreModel(core, replace(SPEC, batch=2))
    place = model.head
    *way, last = path.split(".")
    for step in way:
        place = getattr(place, step)
    setattr(place, last, value)
    assert model.check() == FORMAT


@pytest.mark.parametrize("name", ["ymax", "slope"])
@pytest.mark.parametrize("value", [NAN, INF, -1.0])
def test_value_out_of_range_in_the_layer_table_is_noticed(core, name, value):
    model = CoreModel(core, SOFT)
    setattr(model.layer(0), name, value)
    assert model.check() == FORMAT


def test_truncated_model_is_noticed(core):
    model = CoreModel(core, SPEC)
    for size in [*range(0, 1000, 8), *range(1000, len(model.block), 100), len(model.block) - 1]:
        part = model.block[:size].copy()
        code = core.tp_model_check(part.ctypes.data, size)
        assert code == (FORMAT if size < HEAD else BLOCK), size


@settings(max_examples=300)
@given(data=st.binary(min_size=0, max_size=600), magic=st.booleans())
def test_garbage_is_no_model(core, data, magic):
    block = np.frombuffer(data, np.uint8).copy()
    if magic and len(block) >= 4:
        block[:4].view(np.uint32)[0] = core_api.MAGIC
    assert core.tp_model_check(block.ctypes.data, len(block)) in (FORMAT, BLOCK)


@settings(max_examples=300)
@given(data=st.data())
def test_several_damaged_bytes_never_make_a_model_unsafe(core, data):
    model = CoreModel(core, DAMAGED["lazy"])
    block = model.block.copy()
    places = st.integers(0, model.plan.header - 1)
    damage = data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=4))
    for place, value in damage.items():
        block[place] = value
    check_damaged(model, block)


def file_head(core):
    head = (c.c_uint8 * core_api.FILE_HEAD)()
    model = CoreModel(core, SPEC)
    core.tp_file_head(model.address, head)
    return head


def test_any_flipped_bit_of_a_file_head_is_noticed(core):
    size, crc = c.c_uint32(), c.c_uint32()
    head = file_head(core)
    for place in range(core_api.FILE_HEAD):
        for bit in range(8):
            head[place] ^= 1 << bit
            code = core.tp_file_head_check(head, len(head), c.byref(size), c.byref(crc))
            assert code == FORMAT
            head[place] ^= 1 << bit
    assert core.tp_file_head_check(head, len(head), c.byref(size), c.byref(crc)) == OK


def test_short_file_head_is_noticed(core):
    size, crc = c.c_uint32(), c.c_uint32()
    head = file_head(core)
    for n in range(core_api.FILE_HEAD):
        assert core.tp_file_head_check(head, n, c.byref(size), c.byref(crc)) == FORMAT


def test_block_bytes_of_a_damaged_payload_are_0(core):
    model = CoreModel(core, SPEC)
    whole = model.persistent().tobytes()
    assert core.tp_file_block_bytes(whole, len(whole)) == model.plan.total
    assert core.tp_file_block_bytes(whole, HEAD) == model.plan.total
    for n in (0, 1, HEAD - 1):
        assert core.tp_file_block_bytes(whole, n) == 0
    for name, value in (
        ("magic", 0),
        ("persist_bytes", HEAD - 1),
        ("persist_bytes", model.plan.total + 1),
        ("block_bytes", 2**31),
    ):
        head = core_api.Model.from_buffer_copy(whole)
        setattr(head, name, value)
        assert core.tp_file_block_bytes(bytes(head), HEAD) == 0, name
