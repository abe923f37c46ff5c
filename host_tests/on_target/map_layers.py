# Networks of maps from the prompt: convolutions, pooling, branches, frozen parts, checkpoints.
import os
from array import array

import tinyprop as tp

PATH = "t_maps.tp"


def f32(*values):
    return array("f", values)


def model(*layers, **options):
    options.setdefault("policy", tp.Full())
    return tp.Sequential(list(layers), loss="mse", **options)


# By hand: 3 x 3 x 1, values 0..8.
x = f32(*range(9))
MAP = tp.Input((3, 3, 1))
m = model(MAP, tp.Conv2D(1, 2, init="ones"), tp.Flatten(), tp.Dense(1, init="ones"), keep=True)
assert m.predict(x)[0] == 8 + 12 + 20 + 24
assert m.output(1).shape == (2, 2, 1) and m.output(1)[0].tolist() == [[8], [12]]
assert m.weights(1).shape == (1, 2, 2, 1) and m.weights(3).shape == (1, 4)
m.bias(1)[0] = 1
assert m.predict(x)[0] == 68
loss = m.train_step(x, 66)
assert loss == 4 and m.delta(3)[0] == 4 and m.delta(1)[1].tolist() == [[4], [4]]
# dW = 4 * the sums of what each weight saw.
lr = m.lr
for got, seen in zip(m.weights(1).reshape((4,)).tolist(), (8, 12, 20, 24)):
    assert abs(got - (1 - lr * 4 * seen)) < 1e-5, (got, seen)

for layer, expected in (
    (tp.MaxPooling2D(2), [4]),
    (tp.MaxPooling2D(2, strides=1), [4, 5, 7, 8]),
    (tp.AveragePooling2D(2, padding="same"), [2, 3.5, 6.5, 8]),
    (tp.MaxPooling2D((1, 3)), [2, 5, 8]),
    (tp.GlobalAveragePooling2D(), [4]),
    (tp.GlobalMaxPooling2D(), [8]),
    (tp.DepthwiseConv2D(3, depth_multiplier=2, init="ones"), [36, 36]),
    (tp.Conv2D(1, 3, padding="same", strides=2, init="ones"), [8, 12, 20, 24]),
    (tp.BatchNormalization(f32(2), f32(1), f32(4), f32(0.999)), [2 * (v - 4) + 1 for v in x]),
):
    m = model(MAP, layer, tp.Flatten(), tp.Dense(1))
    m.predict(x)
    got = [v for v in memoryview(m.output(1))]
    assert len(got) == len(expected), (layer, got)
    for a, b in zip(got, expected):
        assert abs(a - b) < 1e-5, (layer, got)

# A sample of steps and channels.
m = model(
    tp.Input((5, 2)),
    tp.Conv1D(3, 2, strides=2, init="ones"),
    tp.MaxPooling1D(2),
    tp.Flatten(),
    tp.Dense(1),
)
m.predict(f32(*range(10)))
assert list(memoryview(m.output(1))) == [6] * 3 + [22] * 3
m = model(tp.Input((5, 2)), tp.GlobalAveragePooling1D(), tp.Dense(1))
m.predict(f32(*range(10)))
assert m.output(1).tolist() == [4, 5]

# A branch: the sum of a layer and a shortcut from further up.
a = tp.Conv2D(2, 1, init="ones")
b = tp.Conv2D(2, 3, padding="same", activation="relu")
m = model(
    MAP, a, b, tp.Conv2D(2, 1), tp.Add(a, activation="relu"), tp.Flatten(), tp.Dense(2), keep=True
)
m.predict(x)
one, two, both = (list(memoryview(m.output(i))) for i in (1, 3, 4))
for p, q, r in zip(one, two, both):
    assert r == max(p + q, 0)
first = m.train_step(x, f32(1, -1))
for _ in range(30):
    last = m.train_step(x, f32(1, -1))
assert last < first / 10

# Everything comes back from a file, the branch too.
m.save(PATH)
q = tp.load(PATH)
assert q.predict(x).tolist() == m.predict(x).tolist()
assert q.train_step(x, f32(0, 0)) == m.train_step(x, f32(0, 0))
assert q.predict(x).tolist() == m.predict(x).tolist() == q.copy().predict(x).tolist()
assert [type(y) for y in q.layers] == [type(y) for y in m.layers]
assert q.plan() == m.plan()

# Frozen layers whose parameters lie outside.
frozen = tp.Conv2D(2, 2, activation="relu", trainable=False)
head = [tp.Flatten(), tp.Dense(2)]
m = model(MAP, frozen, *head, seed=5)
outside = f32(*(list(memoryview(m.weights(1))) + list(memoryview(m.bias(1)))))
frozen.external = True
e = model(MAP, frozen, *head, external=outside)
e.weights(3).copy_from(m.weights(3))
for _ in range(5):
    assert e.train_step(x, f32(1, 0)) == m.train_step(x, f32(1, 0))
assert e.plan()["total"] < m.plan()["total"] and e.plan()["external"] == 40
e.save(PATH)
q = tp.load(PATH, external=outside)
assert q.predict(x).tolist() == e.predict(x).tolist()
e.summary()

# Only some filters, only the bias.
part = tp.Conv2D(3, 2, trainable=1)
m = model(MAP, part, tp.DepthwiseConv2D(2, trainable="bias"), tp.Flatten(), tp.Dense(1))
before = list(memoryview(m.weights(1))), list(memoryview(m.weights(2)))
m.train_step(x, 5)
after = list(memoryview(m.weights(1))), list(memoryview(m.weights(2)))
assert after[0][:4] != before[0][:4] and after[0][4:] == before[0][4:] and after[1] == before[1]
m.summary()

# Dropout: only while training.
m = model(MAP, tp.Flatten(), tp.Dropout(0.5), tp.Dense(1))
assert m.predict(x)[0] == m.predict(x)[0]
losses = {m.train_step(x, m.predict(x)[0]) for _ in range(8)}
assert len(losses) > 3

# fit() and evaluate() on maps, with a policy that keeps whole channels.
BAR = [
    f32(*(1.0 if (i % 3 if up else i // 3) == at else 0.0 for i in range(9)))
    for up in (0, 1)
    for at in (0, 1, 2)
]
data = [(v, k // 3) for k, v in enumerate(BAR)] * 4
m = tp.Sequential(
    [
        MAP,
        tp.Conv2D(6, 2, activation="relu", select="channels"),
        tp.MaxPooling2D(2),
        tp.Flatten(),
        tp.Dense(2),
    ],
    policy=tp.TinyPropV2(),
    optimizer=tp.SGD(0.1, momentum=0.5),
    seed=2,
)
m.fit(data, epochs=40, verbose=0)
result = m.evaluate(data)
assert result.accuracy == 1, result
s = m.stats()
assert s["skipped"] > 0 and 0 < s["effort_backward"] < s["policy_effort_backward"] < 1
assert [y["name"] for y in s["layers"]] == ["1 Conv2D", "4 Dense"]
os.remove(PATH)
print("OK")
