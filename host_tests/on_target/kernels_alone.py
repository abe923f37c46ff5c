# The parts one by one: a training step put together from single kernels equals the model's.
import math
from array import array

import _tinyprop as k
import tinyprop as tp


def raises(kind, text, f, *args):
    try:
        f(*args)
    except kind as e:
        assert text in str(e), "%r not in %r" % (text, str(e))
        return
    raise AssertionError("no %s: %s" % (kind.__name__, text))


def close(a, b, by=2e-6):
    return abs(a - b) <= by * max(1, abs(b))


# Elementary functions.
for v in (-30, -2, -0.3, -1e-3, 0, 1e-3, 0.3, 2, 30):
    assert close(k.exp(v) / math.exp(v), 1) and close(k.tanh(v), math.tanh(v))
    assert close(k.sigmoid(v), 1 / (1 + math.exp(-v)))
    if v > 0:
        assert close(k.log(v), math.log(v)) and close(k.sqrt(v), math.sqrt(v))
assert k.exp(100) == float("inf") and k.exp(-100) == 0 and k.log(0) == -float("inf")

# CRC-32 and the shuffled order.
assert k.crc32(b"123456789") == 0xCBF43926 == k.crc32(b"6789", k.crc32(b"12345"))
for n in (1, 2, 7, 64, 100):
    assert sorted(k.permute(i, n, 5) for i in range(n)) == list(range(n))
assert [k.permute(i, 50, 1) for i in range(50)] != [k.permute(i, 50, 2) for i in range(50)]
raises(ValueError, "n 0", k.permute, 0, 0, 1)
raises(ValueError, "i 7, allowed 0..6", k.permute, 7, 7, 1)

# Back-off bytes: a wait doubles up to its limit, and is forgotten when trained.
state = bytearray(2)
waits = []
for _ in range(5):
    k.backoff_note(state, 1, False, 4)
    waits.append(state[1] & 31)
assert waits == [1, 2, 4, 4, 4] and state[0] == 0, waits
k.backoff_note(state, 1, True, 4)
assert state[1] == 0
raises(IndexError, "sample 2, the back-off state has 2", k.backoff_note, state, 2, True, 4)

# Top-k: the largest, of equal ones the first; zeros are never kept.
d = array("f", [0.1, -0.5, 0.3, 0])
assert k.topk(d, 2) == 2 and list(d) == [0, -0.5, array("f", [0.3])[0], 0]
d = array("f", [1, -1, 1, 0])
assert k.topk(d, 2) == 2 and list(d) == [1, -1, 0, 0]
assert k.topk(d, 9) == 2 and k.topk(d, 0) == 0 and list(d) == [0, 0, 0, 0]
raises(ValueError, "k -1", k.topk, d, -1)

# One training step by hand, against the model.
m = tp.Sequential([tp.Input(3), tp.Dense(5, "tanh"), tp.Dense(2)], policy=tp.Full(), seed=4)
w1, b1, w2, b2 = (tp.Tensor(t.shape) for t in (m.weights(1), m.bias(1), m.weights(2), m.bias(2)))
for mine, its in ((w1, m.weights(1)), (b1, m.bias(1)), (w2, m.weights(2)), (b2, m.bias(2))):
    mine.copy_from(its)
x = array("f", [0.5, -0.25, 1])
a1, z, d1 = tp.Tensor(5), tp.Tensor(2), tp.Tensor(5)
lr = 0.05
k.dense_forward(a1, x, w1, b1, "tanh")
k.dense_forward(z, a1, w2, b2)
loss = k.cross_entropy(z, 1)
assert k.sparse_dense_backward(d1, w2, b2, a1, z, lr) == 2
k.activate_backward(d1, a1, "tanh")
assert k.sparse_dense_backward(None, w1, b1, x, d1, lr) == 5
assert loss == m.train_step(x, 1)
assert w1.tolist() == m.weights(1).tolist() and w2.tolist() == m.weights(2).tolist()
assert b1.tolist() == m.bias(1).tolist() and b2.tolist() == m.bias(2).tolist()

# Rows with delta 0 are left alone.
w, dx = tp.Tensor((2, 2)), tp.Tensor(2)
w.copy_from([1, 2, 3, 4])
assert k.sparse_dense_backward(dx, w, None, array("f", [1, 1]), array("f", [0, 2]), 0.5) == 1
assert w.tolist() == [[1.0, 2.0], [2.0, 3.0]] and dx.tolist() == [6.0, 8.0]

# Activations and softmax.
for name, want in (("relu", [0, 2]), ("leaky_relu", [-0.5, 2]), ("linear", [-1, 2])):
    a = array("f", [-1, 2])
    k.activate(a, name, 0.5)
    assert list(a) == want
z = array("f", [0, 0, 0, 0])
k.softmax(z)
assert list(z) == [0.25] * 4
out = array("f", [7, 7])
k.dense_forward(out, array("f", [1, 2]), array("f", [1, 2, 3, 4]))
assert list(out) == [5, 11]

# Shapes that do not fit.
f2, f3, f4 = (tp.Tensor(n) for n in (2, 3, 4))
raises(ValueError, "w has 4 values, out x in = 2 x 3", k.dense_forward, f2, f3, f4)
raises(ValueError, "b has 3 values, expected 2", k.dense_forward, f2, f2, f4, f3)
raises(
    ValueError,
    "w has 4 values, delta x in = 2 x 3",
    k.sparse_dense_backward,
    None,
    f4,
    None,
    f3,
    f2,
    1,
)
raises(ValueError, "dx has 3 values, expected 2", k.sparse_dense_backward, f3, f4, None, f2, f2, 1)
raises(ValueError, "b has 3 values, expected 2", k.sparse_dense_backward, None, f4, f3, f2, f2, 1)
raises(ValueError, "a has 3 values, expected 2", k.activate_backward, f2, f3, "relu")
raises(ValueError, "'swish' is not known", k.activate, f2, "swish")
raises(ValueError, "out cannot be written", k.dense_forward, bytes(8), f2, f4)
raises(ValueError, "'f' (f32)", k.softmax, array("d", [1]))
raises(ValueError, "class index 2", k.cross_entropy, f2, 2)
raises(ValueError, "class index", k.cross_entropy, tp.Tensor(0), 0)
k.softmax(tp.Tensor(0))
print("OK")
