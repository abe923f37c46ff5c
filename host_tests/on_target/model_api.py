# What a user can do with a model.
from array import array

import tinyprop as tp
from tinyprop import train_step


def close(a, b, by=1e-5):
    return abs(a - b) <= by * max(1, abs(a), abs(b))


def vector(t):
    return list(t)


def net(seed=1, **kw):
    layers = [tp.Input(4), tp.Dense(6, "relu"), tp.Dense(3)]
    return tp.Sequential(layers, seed=seed, policy=tp.Full(), **kw)


x = array("f", [0.5, -1, 0, 2])

# Defaults, and what can be read back.
m = tp.Sequential([tp.Input((2, 2)), tp.Flatten(), tp.Dense(6), tp.ReLU(), tp.Dense(3, "softmax")])
assert (m.loss, m.dtype, m.seed, m.batch_size) == ("softmax_cross_entropy", "f32", 1, 1)
assert m.lr == 0.05 and isinstance(m.optimizer, tp.SGD) and isinstance(m.policy, tp.TinyPropV2)
assert m.weights(2).shape == (6, 4) and m.bias(-1).shape == (3,) and len(m.output(4)) == 3
p = m.plan()
assert p["total"] == sum(p[k] for k in p if k not in ("total", "persist"))
assert p["parameters"] == 4 * (4 * 6 + 6 + 6 * 3 + 3) and p["gradients"] == p["optimizer"] == 0
assert len(m._m.block) == p["total"]
assert repr(tp.Sequential([tp.Input(4), tp.Dense(3)])).startswith(
    "Sequential([Input((4,)), Dense(3"
)
m.summary()

# One seed, one model.
assert net(5)._m.block == net(5)._m.block
assert net(5)._m.block != net(6)._m.block
assert net(0).weights(1)[0].tolist() != [0.0] * 4

# The module's train_step is that of the model in use, also where it was imported by name.
a, b, c = net(), net(), net(2)
tp.use(a)
loss = tp.train_step(x, 1)
assert loss == b.train_step(x, 1) and a._m.block == b._m.block
tp.use(c)
assert train_step(x, 1) != loss and c.stats()["seen"] == 1 and a.stats()["seen"] == 1
tp.use(b._m)
train_step(x, 1)
assert b.stats()["seen"] == 2

# Every form of the same input and target gives the same bits.
forms = [
    x,
    memoryview(x),
    tp.Tensor(x),
    tp.Tensor((2, 2), buffer=x),
    [0.5, -1, 0, 2],
    (0.5, -1, 0, 2),
]
for form in forms:
    q = net()
    assert q.train_step(form, 1) == loss
    one_hot = net()
    assert one_hot.train_step(form, [0, 1, 0]) == loss
    assert one_hot.train_step(form, bytes([0, 1, 0])) == q.train_step(form, True)
    assert q._m.block == one_hot._m.block
ints = [1, 0, 100, 7]
want = net()
want.train_step(array("f", ints), 2)
for form in (bytes(ints), bytearray(ints), array("b", ints), array("h", ints), array("i", ints)):
    q = net()
    q.train_step(form, 2)
    assert q._m.block == want._m.block

# Scale and offset of integer inputs: one number, or one per value of the last axis.
scaled = tp.Sequential([tp.Input((2, 2), 0.5, [-1, 3]), tp.Flatten(), tp.Dense(3)])
plain = tp.Sequential([tp.Input(4), tp.Dense(3)])
p1 = vector(scaled.predict(bytes([2, 4, 6, 8])))
assert p1 == vector(plain.predict(array("f", [0, 5, 2, 7])))
assert vector(scaled.predict(array("f", [0, 5, 2, 7]))) == p1
one = tp.Sequential([tp.Input(4, scale=1 / 255), tp.Dense(3)])
q = vector(one.predict(bytes([0, 51, 102, 255])))
assert all(close(u, v) for u, v in zip(q, plain.predict([0, 0.2, 0.4, 1])))

# Predict, classify, outputs of a layer.
p1 = m.predict(x)
out = array("f", [0, 0, 0])
assert m.predict(x, out) is out and vector(p1) == vector(out) == vector(m.predict(x, out=out))
assert close(sum(out), 1) and m.classify(x) == max(range(3), key=lambda k: out[k])
hidden = vector(m.output(2))
w, b1 = m.weights(2), m.bias(2)
for o in range(6):
    z = sum(w[o, k] * x[k] for k in range(4)) + b1[o]
    assert close(hidden[o], max(0, z))

# Weights are views of the model: what is written there is used.
m.weights(2).fill(0)
m.bias(2).fill(0)
m.bias(-1)[:] = [0, 5, 0]
assert m.classify(x) == 1

# Regression: a number where there is one output, else a vector.
r = tp.Sequential([tp.Input(2), tp.Dense(1)], loss="mse", policy=tp.Full(), optimizer=tp.SGD(0.1))
assert r.loss == "mean_squared_error"
r2, r3 = r.copy(), r.copy()
for _ in range(200):
    for u, v in ((0, 1), (1, 1), (1, 0), (2, 3)):
        t = 2 * u - v + 3
        loss = r.train_step([u, v], t)
        assert loss == r2.train_step([u, v], float(t)) == r3.train_step([u, v], array("f", [t]))
assert r._m.block == r2._m.block == r3._m.block
assert close(r.predict([3, 1])[0], 8, 1e-3)
assert r.evaluate([([3, 1], 8)]).accuracy is None

# Copies are independent; reset starts over.
a = net(7)
fresh = bytes(a._m.block)
c = a.copy()
a.train_step(x, 1)
assert bytes(c._m.block) == fresh != bytes(a._m.block) and c.stats()["seen"] == 0
a.reset()
assert bytes(a._m.block) == fresh
a.reset(8)
assert a._m.block == net(8)._m.block

# Settings at run time.
a = net(optimizer=tp.SGD(0.1, momentum=0.9))
a.lr = 0.25
assert a.lr == 0.25 and a.optimizer.momentum == 0.9
a.set_optimizer(tp.SGD(0.5, momentum=0.75, weight_decay=0.125, rows="exact"))
assert repr(a.optimizer) == "SGD(lr=0.5, momentum=0.75, weight_decay=0.125, rows='exact')"
a.set_policy(tp.TinyPropV2(threshold=2))
before = vector(a.weights(1)[0])
for _ in range(5):
    a.train_step(x, 0)
assert vector(a.weights(1)[0]) == before and a.stats()["skipped"] == 5
for policy in (
    tp.Full(),
    tp.TopK(3),
    tp.TopK(ratio=0.25),
    tp.TinyProp(0.2, 0.7, 0.5, True, True, 0.75),
):
    a.set_policy(policy)
    assert repr(a.policy) == repr(policy), (a.policy, policy)
policy = tp.TinyPropV2(0.2, 0.7, 0.9, 0.1, 0.8, 0.3, 1, False, False, 0.95, 10, 20, 30)
a.set_policy(policy)
assert repr(a.policy) == repr(policy)
adam = tp.Adam(0.01, 0.8, 0.9, 1e-6, 0.001, "exact")
assert repr(net(optimizer=adam).optimizer) == repr(adam)
assert net(optimizer="adam").lr == 0.001 and net(optimizer="sgd").lr == 0.05

# Frozen layers stay, bit for bit.
layers = [tp.Input(4), tp.Dense(6, "relu", trainable=False), tp.Dense(3, trainable="bias")]
a = tp.Sequential(layers, policy=tp.Full())
w1, w2, b2 = vector(a.weights(1)[3]), a.weights(2).tolist(), vector(a.bias(2))
for k in range(9):
    a.train_step(x, k % 3)
assert vector(a.weights(1)[3]) == w1 and a.weights(2).tolist() == w2 and vector(a.bias(2)) != b2
a.summary()

# Mini-batches: nothing changes before the batch is full, or flush().
a = net(batch_size=4)
assert a.plan()["gradients"] > 0
w1 = a.weights(2).tolist()
for _ in range(3):
    a.train_step(x, 0)
assert a.weights(2).tolist() == w1
a.flush()
w2 = a.weights(2).tolist()
assert w2 != w1
for _ in range(4):
    a.train_step(x, 0)
assert a.weights(2).tolist() != w2

# Counters and efforts.
a = net()
for k in range(10):
    a.train_step(x, k % 3)
s = a.stats()
assert (s["seen"], s["trained"], s["skipped"], s["waited"]) == (10, 10, 0, 0)
assert s["policy_effort_backward"] == s["policy_effort_total"] == 1
assert 0 < s["effort_backward"] < 1 and 0 < s["effort_total"] < 1
assert [y["units"] for y in s["layers"]] == [6, 3] and s["layers"][1]["mean_k"] == 3
text = str(s)
assert "seen 10, trained 10 (100.0 %)" in text and "1 Dense" in text
a.reset_stats()
assert a.stats()["seen"] == 0 and "seen 0" in str(a.stats())

# Evaluation.
data = [(x, 0), (array("f", [1, 1, 1, 1]), 2), (array("f", [9, 9, 9, 9]), [0, 1, 0])]
e = a.evaluate(data)
assert e.n == 3 and e.confusion.shape == (3, 3) and e.accuracy == e.correct / 3
best = [a.classify(u) for u, _ in data]
assert e.correct == (best[0] == 0) + (best[1] == 2) + (best[2] == 1)
for row, column in zip((0, 2, 1), best):
    assert e.confusion[row, column] == 1
assert "of 3)" in str(e) and "predicted" in str(e)
assert a.evaluate(data, confusion=False).confusion is None
assert a.stats()["seen"] == 0
print("OK")
