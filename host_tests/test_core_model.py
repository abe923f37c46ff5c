"""Training in the core against the oracle, bit for bit: weights, deltas, rows, counters."""

import ctypes as c
from dataclasses import replace

import numpy as np
import pytest
from cases import OPTIMIZER_CASES, POLICY_CASES, network, of, specs
from core_api import CoreModel, u8
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.network import Network
from oracle.policy import BackOff
from oracle.spec import ACTIVATIONS, INITS, LOSSES, ROWS, Layer, Optimizer, Policy, Spec
from pair import Pair, assert_same_bits, samples

F32 = np.float32

# Every setting under which a policy must be full training.
NEUTRAL = {
    "topk-all": Policy("topk", k=100),
    "topk-ratio-1": Policy("topk", ratio=1.0),
    "topk-rescaled": Policy("topk", k=100, rescale=1),
    "tinyprop": Policy("tinyprop", s_min=1, s_max=1, zeta=1),
    "tinypropv2": Policy("tinypropv2", s_min=1, s_max=1, zeta=1, threshold=-1),
    "tinypropv2-warm": Policy("tinypropv2", s_min=1, s_max=1, zeta=1, threshold=9, warmup=999),
}


def by_name(name, cases):
    return pytest.mark.parametrize(name, cases.values(), ids=cases.keys())


each_optimizer = by_name("opt", OPTIMIZER_CASES)
each_policy = by_name("policy", POLICY_CASES)
each_rows = pytest.mark.parametrize("rows", ROWS)
each_batch = pytest.mark.parametrize("batch", [1, 3])
each_loss = pytest.mark.parametrize("loss", LOSSES)


def parameters(model):
    """A copy of all that training may change for good."""
    head, first = model.head, model.layer(0).off_w
    return model.block[first : head.persist_bytes].copy()


# --- Before training ---


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_weights_are_drawn_as_defined(core, init, activation):
    layers = (Layer(5, activation, init=init), Layer(3, init=init))
    pair = Pair(core, Spec(7, layers, seed=42))
    pair.assert_same()
    weights, bias = pair.model.weights_and_bias(0, "off_w")
    assert not bias.any()
    assert weights.any() == (init != "zeros")


def test_seed_decides_the_weights(core):
    first, same, other = (CoreModel(core, network(seed=s)).block.tobytes() for s in (1, 1, 2))
    assert first == same != other


def test_reset_equals_a_new_model(core):
    spec = network(opt=OPTIMIZER_CASES["adam"], policy=POLICY_CASES["tinyprop"], batch=2)
    pair = Pair(core, spec).run(samples(spec, 5))
    pair.both("reset", 77)
    pair.assert_same()
    fresh = CoreModel(core, replace(spec, seed=77))
    np.testing.assert_array_equal(pair.model.persistent(), fresh.persistent())


# --- Forward ---


@each_loss
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("zeros", [0.0, 0.5, 1.0])
def test_forward_pass_gives_the_outputs_of_the_oracle(core, loss, activation, zeros):
    spec = network(13, (17, 5), activation, loss=loss)
    pair = Pair(core, spec)
    for x, y in samples(spec, 20, zeros=zeros):
        assert_same_bits(pair.model.predict(x), pair.net.predict(x))
        value, best = pair.model.evaluate(x, y)
        expected, expected_best = pair.net.evaluate(x, y)
        assert_same_bits(value, expected)
        assert best == expected_best
        for i, a in enumerate(pair.net.forward(x)[1:]):
            assert_same_bits(pair.model.output(i), a)


def test_predicting_and_evaluating_leave_model_and_counters_as_they_are(core):
    spec = network()
    model = CoreModel(core, spec)
    before = model.persistent().copy()
    for x, y in samples(spec, 3):
        model.predict(x)
        model.evaluate(x, y)
    np.testing.assert_array_equal(model.persistent(), before)


def test_evaluate_names_the_lowest_of_equal_outputs(core):
    spec = Spec(2, (Layer(5, init="zeros"),))
    model = CoreModel(core, spec)
    x = np.ones(2, F32)
    assert model.evaluate(x, 0)[1] == 0
    model.weights_and_bias(0, "off_w")[1][:] = [0, 2, 1, 2, 2]
    assert model.evaluate(x, 0)[1] == 1


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_integer_inputs_train_like_their_scaled_values(core, dtype):
    spec = network(6, scale=(0.01, 0.02), offset=(-0.5, 0.25))
    pair, floats = Pair(core, spec), CoreModel(core, spec)
    draw = np.random.default_rng(1)
    for i in range(20):
        x = draw.integers(0, 100, 6).astype(dtype)
        assert pair.train(x, i % 4)
        floats.train_step(pair.net.convert(x), i % 4)
    pair.assert_same()
    np.testing.assert_array_equal(parameters(pair.model), parameters(floats))


# --- Trajectories ---


@each_loss
@each_batch
@each_rows
@each_optimizer
@each_policy
def test_200_steps_are_bit_for_bit_those_of_the_oracle(core, policy, opt, rows, batch, loss):
    # All activations in one net; which of them lies where changes from case to case.
    turn = len(f"{policy}{opt}{rows}{batch}{loss}") % 5
    kinds = ACTIVATIONS[turn:] + ACTIVATIONS[:turn]
    last = "linear" if loss == LOSSES[0] else kinds[0]
    layers = zip((9, 7, 8, 5, 6, 4), (*kinds, last), strict=True)
    spec = Spec(
        11,
        tuple(Layer(n, a, slope=0.125, init="he") for n, a in layers),
        loss=loss,
        batch=batch,
        seed=turn,
        opt=replace(opt, rows=rows),
        policy=replace(policy, rescale=turn % 2),
    )
    pair = Pair(core, spec)
    for i, (x, y) in enumerate(samples(spec, 200, vectors=turn % 2 == 0)):
        assert pair.train(x * F32(2), y) is not None, "this case should stay finite"
        if i % 50 == 0:
            pair.both("epoch_end")
            pair.assert_same()
    pair.assert_same()
    head = pair.model.head
    assert head.seen == 200 == head.trained + head.skipped
    assert head.trained > 10 and pair.model.layer(0).k_sum > 0
    assert (head.skipped > 10) == (policy.kind == "tinypropv2")


@settings(max_examples=300)
@given(spec=specs(), zeros=of(0.0, 0.3, 0.7, 1.0), vectors=st.booleans(), seed=st.integers(0, 99))
def test_any_network_trains_as_the_oracle_does(core, spec, zeros, vectors, seed):
    pair = Pair(core, spec)
    pair.assert_same()
    assert (core.tp_dense_macs(pair.model.address).forward) == pair.net.dense_macs()[0]
    assert (core.tp_dense_macs(pair.model.address).backward) == pair.net.dense_macs()[1]
    for _ in range(2):
        pair.run(samples(spec, 6, seed, zeros, vectors))
        pair.both("epoch_end")
        pair.assert_same()
    assert core.tp_backward_macs(pair.model.address) == pair.net.backward_macs()


@pytest.mark.parametrize("n_in, hidden", [(784, 64), (255, 257), (1, 300)])
@pytest.mark.parametrize("zeros", [0.1, 0.8])
def test_wide_layers_train_as_in_the_oracle(core, n_in, hidden, zeros):
    spec = network(n_in, (hidden,), outputs=10, policy=POLICY_CASES["tinyprop"])
    pair = Pair(core, spec).run(samples(spec, 10, zeros=zeros))
    assert pair.model.head.trained == 10


def test_learning_rate_and_policy_may_change_on_the_way(core):
    spec = network(opt=OPTIMIZER_CASES["momentum"], policy=POLICY_CASES["full"])
    pair = Pair(core, spec).run(samples(spec, 10))
    for opt in (OPTIMIZER_CASES["momentum-decay"], Optimizer("sgd", "exact", momentum=0.1)):
        pair.model.set_optimizer(opt)
        pair.net.stepper.set(opt)
        pair.run(samples(spec, 10))
    for policy in (*POLICY_CASES.values(), Policy("topk", ratio=0.2)):
        pair.model.set_policy(policy)
        pair.net.policy = policy
        pair.run(samples(spec, 10))


# --- Promises of the policies ---


def trained_parameters(core, spec, count=40):
    model = CoreModel(core, spec)
    for x, y in samples(spec, count):
        model.train_step(x, y)
    model.flush()
    return parameters(model)


@by_name("policy", NEUTRAL)
@each_batch
@each_rows
@each_optimizer
def test_neutral_settings_are_full_training_bit_for_bit(core, policy, opt, rows, batch):
    spec = network(opt=replace(opt, rows=rows), batch=batch)
    full = trained_parameters(core, spec)
    assert (trained_parameters(core, replace(spec, policy=policy)) == full).all()
    reduced = replace(spec, policy=POLICY_CASES["tinyprop"])
    assert (trained_parameters(core, reduced) != full).any()


@pytest.mark.parametrize("ratio, k", [(0.001, 1), (0.15, 1), (0.2, 2), (0.5, 4), (1.0, 8)])
def test_top_k_ratio_is_rounded_to_one_row_at_least(core, ratio, k):
    spec = network(hidden=(8,), activation="tanh", policy=Policy("topk", ratio=ratio))
    pair = Pair(core, spec).run(samples(spec, 5))
    assert [row.k for row in pair.model.layers] == [k, 4]


@pytest.mark.parametrize("beta_mode, trains", [(0, True), (1, False)])
def test_decision_where_nothing_was_ever_wrong(core, beta_mode, trains):
    policy = Policy("tinypropv2", d_min=0.25, threshold=0.125, beta_mode=beta_mode)
    spec = Spec(3, (Layer(4, init="zeros"),), loss="mean_squared_error", policy=policy)
    pair = Pair(core, spec)
    assert pair.train(np.ones(3, F32), np.zeros(4, F32)) == trains
    pair.assert_same()


@each_batch
def test_rescaled_rows_carry_the_error_of_the_layer(core, batch):
    spec = network(activation="tanh", policy=Policy("topk", k=2, rescale=1), batch=batch)
    pair = Pair(core, spec)
    for x, y in samples(spec, 10):
        pair.train(x, y)
        for i in range(2):
            kept, full = pair.model.delta(i), pair.net.layers[i].delta
            assert np.count_nonzero(kept) == 2 < np.count_nonzero(full)
            assert np.abs(kept).sum() == pytest.approx(np.abs(full).sum(), rel=1e-5)
    pair.assert_same()


@pytest.mark.parametrize("beta_mode", [0, 1])
@each_batch
def test_tinypropv2_that_never_skips_is_tinyprop(core, beta_mode, batch):
    spec = network(batch=batch)
    traces = []
    for kind in ("tinyprop", "tinypropv2"):
        policy = Policy(kind, threshold=-1, zeta=0.75, beta_mode=beta_mode)
        model = CoreModel(core, replace(spec, policy=policy))
        trace = []
        for x, y in samples(spec, 60):
            assert model.train_step(x, y)[0]
            trace.append([(row.k, row.ratio, row.ymax) for row in model.layers])
        traces.append((trace, parameters(model).tobytes()))
    assert traces[0] == traces[1]
    assert len({k for step in traces[0][0] for k, _, _ in step}) > 2


@each_optimizer
@each_rows
@each_batch
def test_threshold_of_d_max_never_changes_a_weight(core, opt, rows, batch):
    policy = Policy("tinypropv2", d_min=0, d_max=0.7, threshold=0.7)
    spec = network(opt=replace(opt, rows=rows), policy=policy, batch=batch)
    model = CoreModel(core, spec)
    before = parameters(model)
    for x, y in samples(spec, 30):
        assert not model.train_step(x, y)[0]
    model.epoch_end()
    np.testing.assert_array_equal(parameters(model), before)
    head = model.head
    assert (head.seen, head.trained, head.skipped, head.skips_in_row) == (30, 0, 30, 30)
    assert (head.beta1_t, head.beta2_t, head.policy_macs) == (1, 1, 0)
    assert core.tp_backward_macs(model.address) == 0 < head.forward_macs
    assert model.layer(2).ymax > 0 == model.layer(1).ymax


def one_sparse_step(core, opt, rows, before=20):
    """A model after training, state before one more step, and which hidden rows it kept."""
    spec = network(opt=replace(opt, rows=rows), policy=Policy("topk", k=2))
    model = CoreModel(core, spec)
    *first, last = samples(spec, before + 1)
    for x, y in first:
        model.train_step(x, y)
    groups = [g for g in ("off_w", "off_m", "off_v") if getattr(model.layer(1), g)]
    old = {g: model.weights_and_bias(1, g)[0].copy() for g in groups}
    model.train_step(*last)
    new = {g: model.weights_and_bias(1, g)[0].copy() for g in groups}
    kept = model.delta(1) != 0
    assert kept.sum() == 2 == model.layer(1).k
    return old, new, kept


@each_optimizer
def test_backward_leaves_unselected_rows_untouched(core, opt):
    old, new, kept = one_sparse_step(core, opt, "lazy")
    for group in old:
        changed = (old[group] != new[group]).any(axis=1)
        np.testing.assert_array_equal(changed, kept, group)


def test_exact_momentum_lets_unselected_rows_roll_on(core):
    opt = OPTIMIZER_CASES["momentum"]
    old, new, kept = one_sparse_step(core, opt, "exact")
    v = F32(opt.momentum) * old["off_m"][~kept]
    assert v.any()
    assert_same_bits(new["off_m"][~kept], v)
    assert_same_bits(new["off_w"][~kept], old["off_w"][~kept] - F32(opt.lr) * v)


def test_exact_adam_lets_the_moments_of_unselected_rows_fade(core):
    opt = OPTIMIZER_CASES["adam"]
    old, new, kept = one_sparse_step(core, opt, "exact")
    for group, beta in (("off_m", opt.beta1), ("off_v", opt.beta2)):
        assert old[group][~kept].any()
        assert_same_bits(new[group][~kept], F32(beta) * old[group][~kept])
    assert (new["off_w"][~kept] != old["off_w"][~kept]).any()


def test_exact_decay_shrinks_unselected_rows(core):
    opt = OPTIMIZER_CASES["sgd-decay"]
    old, new, kept = one_sparse_step(core, opt, "exact")
    decay = F32(1) - F32(opt.lr) * F32(opt.weight_decay)
    assert_same_bits(new["off_w"][~kept], decay * old["off_w"][~kept])


def test_plain_sgd_has_no_lazy_or_exact(core):
    spec = network(policy=Policy("topk", k=2))
    lazy, exact = (
        trained_parameters(core, replace(spec, opt=Optimizer(rows=rows))) for rows in ROWS
    )
    assert (lazy == exact).all()


# --- Mini-batches, frozen layers, counters ---


@each_optimizer
def test_mini_batch_moves_weights_only_when_it_is_full(core, opt):
    spec = network(opt=opt, batch=4)
    model = CoreModel(core, spec)
    for i, (x, y) in enumerate(samples(spec, 12), start=1):
        before = model.weights_and_bias(1, "off_w")[0].copy()
        model.train_step(x, y)
        moved = (model.weights_and_bias(1, "off_w")[0] != before).any()
        assert moved == (i % 4 == 0)


@each_policy
@each_rows
def test_flush_applies_a_batch_that_is_not_full_once(core, policy, rows):
    spec = network(opt=Optimizer("adam", rows), policy=policy, batch=8)
    pair = Pair(core, spec).run(samples(spec, 3))
    before = pair.model.weights_and_bias(2, "off_w")[0].copy()
    pair.both("flush")
    pair.assert_same()
    once = pair.model.weights_and_bias(2, "off_w")[0].copy()
    assert (once != before).any()
    pair.both("flush")
    pair.assert_same()
    np.testing.assert_array_equal(pair.model.weights_and_bias(2, "off_w")[0], once)


def test_batch_in_which_no_sample_trained_changes_nothing(core):
    # Even exact Adam with weight decay must not tick.
    opt = replace(OPTIMIZER_CASES["adam-decay"], rows="exact")
    spec = network(opt=opt, policy=Policy("tinypropv2", threshold=5.0, warmup=2), batch=2)
    model = CoreModel(core, spec)
    states = []
    for i, (x, y) in enumerate(samples(spec, 6)):
        assert model.train_step(x, y)[0] == (i < 2)
        states.append((parameters(model).tobytes(), model.head.beta1_t))
    assert states[0] != states[1] == states[3] == states[5]
    assert model.head.batch_seen == 0


@each_optimizer
@each_batch
@pytest.mark.parametrize("policy", [Policy(), Policy("topk", k=2)], ids=["full", "topk"])
@pytest.mark.parametrize("frozen", ["first", "middle", "last", "below-last"])
def test_frozen_layers_keep_every_bit(core, opt, batch, policy, frozen):
    free = {"first": (1, 2), "middle": (0, 2), "last": (0, 1), "below-last": (2,)}[frozen]
    spec = network(opt=opt, policy=policy, batch=batch)
    layers = [
        layer if i in free else replace(layer, trainable="none")
        for i, layer in enumerate(spec.layers)
    ]
    spec = replace(spec, layers=tuple(layers))
    pair = Pair(core, spec)
    model = pair.model

    def snapshot():
        return [
            np.concatenate([p.ravel() for p in model.weights_and_bias(i, "off_w")])
            for i in range(3)
        ]

    before = snapshot()
    pair.run(samples(spec, 20))
    for i, (old, new) in enumerate(zip(before, snapshot(), strict=True)):
        assert (old != new).any() == (i in free), f"layer {i}"
    assert [row.macs > 0 for row in model.layers] == [i >= min(free) for i in range(3)]
    assert [row.off_g > 0 for row in model.layers] == [batch > 1 and i in free for i in range(3)]


@each_optimizer
@each_batch
def test_bias_only_layers_move_their_bias_only(core, opt, batch):
    spec = network(opt=opt, batch=batch)
    hidden = tuple(replace(layer, trainable="bias") for layer in spec.layers[:2])
    spec = replace(spec, layers=(*hidden, spec.layers[2]))
    pair = Pair(core, spec)
    before = [p.copy() for p in pair.model.weights_and_bias(0, "off_w")]
    pair.run(samples(spec, 20))
    after = pair.model.weights_and_bias(0, "off_w")
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1] != before[1]).any()
    assert pair.model.layer(0).macs == 0 < pair.model.layer(1).macs


def test_bias_takes_the_full_delta(core):
    spec = network(hidden=(8,), activation="tanh", policy=Policy("topk", k=1))
    pair = Pair(core, spec).run(samples(spec, 1))
    weights, bias = pair.model.weights_and_bias(0, "off_w")
    assert (bias != 0).all()
    assert_same_bits(bias, -(F32(spec.opt.lr) * pair.net.layers[0].delta))
    fresh = Network(spec).layers[0].w.values
    assert (weights != fresh).any(axis=1).sum() == 1


def test_layer_without_any_error_so_far_keeps_s_min(core):
    # Targets equal to the outputs: every delta is 0, and so is every Ymax.
    policy = Policy("tinyprop", s_min=0.25, zeta=0.5)
    layers = (Layer(8, init="zeros"), Layer(4, init="zeros"))
    spec = Spec(3, layers, loss="mean_squared_error", policy=policy)
    pair = Pair(core, spec)
    pair.train(np.ones(3, F32), np.zeros(4, F32))
    assert [row.ratio for row in pair.model.layers] == [0.25, 0.25]
    pair.assert_same()


def test_counters_start_again_but_training_goes_on(core):
    spec = network(policy=POLICY_CASES["tinyprop"])
    pair = Pair(core, spec).run(samples(spec, 10))
    weights = parameters(pair.model)
    pair.both("reset_counters")
    head = pair.model.head
    assert (head.seen, head.trained, head.forward_macs, head.policy_macs) == (0, 0, 0, 0)
    assert all(row.k_sum == row.macs == 0 for row in pair.model.layers)
    assert all(row.ymax > 0 for row in pair.model.layers)
    np.testing.assert_array_equal(parameters(pair.model), weights)
    pair.both("count_waited")
    assert (pair.model.head.waited, pair.model.head.seen) == (1, 1)
    for x, y in samples(spec, 5):
        pair.train(x, y)
    assert (pair.model.head.trained, pair.model.head.seen) == (5, 6)


def test_epoch_end_lets_ymax_fade(core):
    spec = network(policy=Policy("tinyprop", ymax_decay=0.5))
    pair = Pair(core, spec).run(samples(spec, 5))
    before = [row.ymax for row in pair.model.layers]
    pair.model.epoch_end()
    assert [row.ymax for row in pair.model.layers] == [y / 2 for y in before]
    assert min(before) > 0


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 16, 17, 31])
def test_back_off_byte_waits_as_the_oracle_does(core, limit):
    draw = np.random.default_rng(limit)
    state, oracle = u8(0), BackOff()
    longest = 0
    for _ in range(600):
        waits = core.tp_backoff_waits(c.byref(state))
        assert waits == oracle.waits()
        if not waits:
            trained = bool(draw.random() < 0.1)
            core.tp_backoff_note(c.byref(state), trained, limit)
            oracle.note(trained, limit)
            longest = max(longest, oracle.left)
    assert longest == limit
