# What README shows, and the first thing typed at a prompt.
from array import array

import tinyprop as tp

m = tp.Sequential([tp.Input((2,)), tp.Dense(8, activation="tanh"), tp.Dense(2)], seed=3)
tp.use(m)
first = last = 0
for epoch in range(2000):
    for a in (0, 1):
        for b in (0, 1):
            loss = tp.train_step(array("f", [a, b]), a ^ b)
            if epoch < 100:
                first += loss / 400
            if epoch >= 1900:
                last += loss / 400
assert last < 0.75 * first, (first, last)
for a in (0, 1):
    for b in (0, 1):
        p = m.predict([a, b])
        assert m.classify([a, b]) == a ^ b, (a, b, p)
        assert p[a ^ b] > 0.6, (a, b, p)
s = m.stats()
assert s["effort_backward"] < 0.5 and s["seen"] == 8000
print("loss", round(first, 3), "->", round(last, 3))
print(s)

# The same with full training goes further down.
m = tp.Sequential(
    [tp.Input(2), tp.Dense(8, activation="tanh"), tp.Dense(2)],
    optimizer=tp.SGD(0.3),
    policy=tp.Full(),
    seed=3,
)
for _ in range(300):
    for a in (0, 1):
        for b in (0, 1):
            loss = m.train_step([a, b], a ^ b)
assert loss < 0.02, loss
print("OK")
