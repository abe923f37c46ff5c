"""The core through ctypes and the same core inside MicroPython: every bit of 200 steps."""

from dataclasses import replace

import core_api
import numpy as np
import pytest
from cases import NETWORKS, OPTIMIZER_CASES, POLICY_CASES, network
from oracle import spec as names

STEPS = 200

# argv: file of samples; the specification and the steps are put in where the host knows them.
SCRIPT = """
import sys
from array import array
import _tinyprop as t
SPEC = {spec}
m = t.Model(bytearray(t.plan(SPEC)[0]), SPEC)
persist = t.plan(SPEC)[1]
with open(sys.argv[1], "rb") as f:
    samples = f.read()
xs = t.Tensor(({steps}, {n_in}), "{dtype}", samples)
loss = array("f", [0])
for i in range({steps}):
    loss[0] = m.train_step(xs[i], i * 7 % {n_out})
    print(bytes(loss).hex())
    if i == {steps} // 2:
        m.epoch_end()
print(bytes(m.predict(xs[0])).hex())
m.flush()
print(bytes(memoryview(m.block)[:persist]).hex())
"""


def spec_tuple(s):
    """A Spec as _tinyprop.plan and Model take it."""
    o, p = s.opt, s.policy
    optimizer = (names.OPTIMIZERS.index(o.kind), names.ROWS.index(o.rows))
    optimizer += (o.lr, o.momentum, o.weight_decay, o.beta1, o.beta2, o.eps)
    policy = (names.POLICIES.index(p.kind), p.beta_mode, p.dense_output, p.backoff, p.ratio)
    policy += (p.s_min, p.s_max, p.zeta, p.d_min, p.d_max, p.threshold, p.ymax_decay)
    policy += (p.k, p.warmup, p.max_skips, p.rescale)
    layers = tuple(
        layer_tuple(y, i in s.external, i in s.recompute) for i, y in enumerate(s.layers)
    )
    scales = ["None", "None"]
    if s.scale:
        scales = [f'array("f", {list(v)})' for v in (s.scale, s.offset)]
    head = f"{s.shape}, {names.LOSSES.index(s.loss)}, {s.batch}, {s.seed}, {', '.join(scales)}"
    tail = f"{s.keep}, {s.zero_skip}, {ord(core_api.VALUES[s.dtype].char)}"
    return f"({head}, {optimizer}, {policy}, {layers}, {tail})"


def layer_tuple(layer, external, recompute):
    """The fields of tp_layer_spec_t in their order, behind a label."""
    row = core_api.c_layer(layer, external, recompute)
    fields = [name for name, _ in core_api.LayerSpec._fields_ if name != "pad"]
    return ("layer", *(getattr(row, name) for name in fields))


def assert_same(core, run_mpy, tmp_path, spec, x):
    samples = tmp_path / "samples"
    samples.write_bytes(x.tobytes())
    script = tmp_path / "script.py"
    outputs = spec.layers[-1].units
    dtype = {"f": "f32", "h": "i16", "b": "i8", "B": "u8"}[core_api.DTYPES[x.dtype.name]]
    values = {"spec": spec_tuple(spec), "steps": STEPS, "n_in": spec.inputs, "n_out": outputs}
    script.write_text(SCRIPT.format(**values, dtype=dtype))
    *losses, predicted, block = run_mpy(script, samples).split()
    model = core_api.CoreModel(core, spec)
    for i in range(STEPS):
        _, loss = model.train_step(x[i], i * 7 % outputs)
        assert losses[i] == loss.tobytes().hex(), i
        if i == STEPS // 2:
            model.epoch_end()
    assert predicted == model.predict(x[0]).tobytes().hex()
    model.flush()
    assert block == model.persistent().tobytes().hex()
    assert model.head.seen == STEPS


def samples(n_in, dtype, seed):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        x = rng.normal(size=(STEPS, n_in)).astype(np.float32)
    else:
        x = rng.integers(-100, 100, size=(STEPS, n_in)).astype(dtype)
    x[rng.random(x.shape) < 0.4] = 0
    return x


@pytest.mark.parametrize("policy", POLICY_CASES)
@pytest.mark.parametrize("optimizer", OPTIMIZER_CASES)
def test_every_policy_and_optimizer(core, run_mpy, tmp_path, policy, optimizer):
    spec = network(opt=OPTIMIZER_CASES[optimizer], policy=POLICY_CASES[policy], seed=5)
    assert_same(core, run_mpy, tmp_path, spec, samples(spec.n_in, np.float32, 1))


@pytest.mark.parametrize("activation", names.ACTIVATIONS)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("loss", names.LOSSES)
def test_every_activation_loss_and_batch(core, run_mpy, tmp_path, activation, batch, loss):
    policy = POLICY_CASES["tinypropv2"]
    spec = network(13, (9, 6), activation, loss=loss, batch=batch, policy=policy, seed=0)
    assert_same(core, run_mpy, tmp_path, spec, samples(spec.n_in, np.float32, 2))


@pytest.mark.parametrize("dtype", [np.int16, np.int8, np.uint8])
def test_scaled_integers(core, run_mpy, tmp_path, dtype):
    spec = network(8, scale=(0.01, 0.03), offset=(0.5, -0.25))
    assert_same(core, run_mpy, tmp_path, spec, samples(8, dtype, 3))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("policy", ["full", "tinypropv2"])
def test_convolutional_networks(core, run_mpy, tmp_path, name, policy):
    spec = replace(NETWORKS[name], policy=POLICY_CASES[policy], seed=7)
    assert_same(core, run_mpy, tmp_path, spec, samples(spec.inputs, np.float32, 4))
