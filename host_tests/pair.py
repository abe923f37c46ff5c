"""The core and the oracle side by side: every step is done by both and compared bit for bit."""

import core_api
import numpy as np
from oracle.integer import IntegerNetwork
from oracle.network import Network


def bits(values):
    """Bit patterns, every NaN alike."""
    values = np.array(values, np.float32)
    values[np.isnan(values)] = np.nan
    return values.view(np.uint32)


def assert_same_bits(got, expected, what=""):
    if np.asarray(got).dtype.kind == "i":
        if not np.array_equal(got, expected):
            np.testing.assert_array_equal(got, expected, what)
        return
    if not np.array_equal(bits(got), bits(expected)):  # numpy.testing takes its time
        np.testing.assert_array_equal(got, expected, what)
        np.testing.assert_array_equal(bits(got), bits(expected), what)


GROUPS = {"off_w": "values", "off_m": "m", "off_v": "v", "off_g": "sum"}
COUNTERS = (
    "seen trained skipped waited forward_macs policy_macs batch_seen batch_trained skips_in_row"
).split()


def assert_same_layer(model, i, state, batch):
    row = model.layer(i)
    for offset, attribute in GROUPS.items():
        if getattr(row, offset):
            for array, group in zip(model.weights_and_bias(i, offset), "wb", strict=True):
                expected = getattr(getattr(state, group), attribute)
                expected = expected[: len(array)]
                assert_same_bits(array, expected, f"layer {i}: {group}.{attribute}")
    if batch > 1 and row.off_g:
        assert np.array_equal(model.row_flags(i) != 0, state.w.kept[: row.rows]), (
            f"layer {i}: rows"
        )
    for name in ("ymax", "ratio"):
        assert_same_bits(getattr(row, name), getattr(state, name), f"layer {i}: {name}")
    for name in ("k", "k_sum", "macs"):
        assert getattr(row, name) == getattr(state, name), f"layer {i}: {name}"


class Pair:
    def __init__(self, core, spec):
        self.model = core_api.CoreModel(core, spec)
        self.net = (Network if spec.dtype == "f32" else IntegerNetwork)(spec)

    def train(self, x, y):
        """One step of both; whether it trained, or None where the loss was not finite."""
        try:
            expected = self.net.train_step(x, y)
        except ValueError:
            try:
                self.model.train_step(x, y)
            except core_api.CoreError as error:
                assert error.code == core_api.NONFINITE
                return None
            raise AssertionError("the core accepted a loss that is not finite") from None
        trained, loss = self.model.train_step(x, y)
        assert trained == expected[0]
        assert_same_bits(loss, expected[1], "loss")
        if trained:
            self.assert_same_selection()
        return trained

    def both(self, name, *arguments):
        """Call a method that both have, for what it changes."""
        getattr(self.model, name)(*arguments)
        getattr(self.net, name)(*arguments)

    def assert_same_selection(self):
        """The rows kept, and the gradient of each."""
        for i, state in enumerate(self.net.layers):
            if not state.is_weighted or not self.net.wants[i + 1]:
                continue
            expected = np.zeros_like(state.delta)
            expected[state.rows] = state.kept
            assert np.array_equal(self.model.delta(i), expected), f"layer {i}: delta"
            if self.model.is_integer:
                assert self.model.ranges[i + 1].e_d == state.range.e_d, f"layer {i}: e_d"

    def assert_same(self):
        """Everything a checkpoint holds."""
        head, net = self.model.head, self.net
        for name in COUNTERS:
            assert getattr(head, name) == getattr(net, name), name
        assert list(head.rng) == net.rng.state
        assert_same_bits(head.beta1_t, net.stepper.beta1_t)
        assert_same_bits(head.beta2_t, net.stepper.beta2_t)
        for i, state in enumerate(net.layers):
            if not state.is_weighted:
                continue
            assert_same_layer(self.model, i, state, net.spec.batch)
        if self.model.is_integer:
            self.assert_same_ranges()

    def assert_same_ranges(self):
        records = zip(self.model.ranges, self.net.ranges, strict=True)
        for r, (got, expected) in enumerate(records):
            for name in ("e_a", "e_w", "peak"):
                assert getattr(got, name) == getattr(expected, name), f"map {r}: {name}"

    def run(self, samples):
        """Train on (x, y) pairs, then compare all; stops where the loss is no longer finite."""
        for x, y in samples:
            if self.train(x, y) is None:
                break
        self.assert_same()
        return self


def samples(spec, count, seed=0, zeros=0.4, vectors=False):
    """Learnable (x, y): a class index or a target vector decided by the input."""
    rng = np.random.default_rng(seed)
    outputs = spec.layers[-1].units
    rule = rng.normal(size=(outputs, spec.inputs))
    for _ in range(count):
        x = rng.normal(size=spec.inputs) * (rng.random(spec.inputs) >= zeros)
        score = rule @ x
        if not vectors:
            y = int(np.argmax(score))
        elif spec.loss == "softmax_cross_entropy":
            y = np.exp(score - score.max())
            y = (y / y.sum()).astype(np.float32)
        else:
            y = np.tanh(score).astype(np.float32)
        yield x.astype(np.float32), y
