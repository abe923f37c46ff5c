# Training takes nothing from the heap: each of these works while the heap is locked.
import gc
from array import array
from time import ticks_us

import micropython
import tinyprop as tp

POLICIES = (tp.Full(), tp.TopK(2), tp.TinyProp(), tp.TinyPropV2(backoff=3))
OPTIMIZERS = (tp.SGD(), tp.SGD(momentum=0.9, weight_decay=0.001, rows="exact"), tp.Adam())

x = array("f", [0.5, -1, 0, 2])
h, b, u = array("h", [5, -1, 0, 2]), array("b", [5, -1, 0, 2]), bytes([1, 2, 0, 255])
i, t = array("i", [5, -1, 0, 2]), tp.Tensor(x)
target = array("f", [0.25, 0.75, 0])
out = array("f", [0, 0, 0])

# Names that the locked parts set: a new global would take memory itself.
step = train_step = loss = k = a = c = wrong_x = wrong_y = None

for policy in POLICIES:
    for optimizer in OPTIMIZERS:
        for batch in (1, 3):
            m = tp.Sequential(
                [tp.Input(4, scale=0.1), tp.Dense(5, activation="relu"), tp.Dense(3)],
                policy=policy,
                optimizer=optimizer,
                batch_size=batch,
            )
            tp.use(m)
            step = m._m.step
            train_step = tp.train_step
            micropython.heap_lock()
            loss = tp.train_step(x, 1)
            loss = m.train_step(h, 2)
            loss = train_step(b, 0)
            step(u, True)
            step(i, target)
            step(t, 1)
            m._m.predict(u, out)
            k = m.classify(x)
            m._m.flush()
            m._m.epoch_end()
            micropython.heap_unlock()
            assert 0 < loss < 20 and 0 <= k < 3, (loss, k)
            assert abs(sum(out) - 1) < 1e-5
            assert m.stats()["seen"] == 6

# The float that comes back under lock is the same one each time; otherwise a new one.
micropython.heap_lock()
a = m.train_step(x, 1)
c = m.train_step(x, 1)
micropython.heap_unlock()
if isinstance(a, float) and a is c:
    print("floats on the heap")
before = m.train_step(x, 1)
after = m.train_step(x, 1)
assert before != after, "a loss must not change after the next step"

# A full heap is as good as a locked one.
hoard = []
try:
    while True:
        hoard.append(bytearray(64))
except MemoryError:
    pass
try:
    while True:
        hoard = [hoard]
except MemoryError:
    pass
good = 0
for _ in range(200):
    good += m.train_step(x, 1) > 0
hoard = None
gc.collect()
assert good == 200

# Errors do not need the heap either.
caught = 0
bad = array("f", [1, 2])
nan = array("f", [0, 0, float("nan"), 0])
wrong = ((bad, 0), (nan, 0), (x, 7), (x, bad), (None, 0), (x, 1.5))
errors = (ValueError, TypeError)
micropython.heap_lock()
for wrong_x, wrong_y in wrong:
    try:
        m.train_step(wrong_x, wrong_y)
    except errors:
        caught += 1
micropython.heap_unlock()
assert caught == 6

# Many samples in one call, as fit() asks for them: trained, waiting, tested.
m.set_policy(tp.TinyPropV2(threshold=0.5, backoff=3))
xs, ys = array("f", [0.1 * k for k in range(24)]), bytes([0, 1, 2, 0, 1, 2])
waits, sums = bytearray(6), array("f", [0, 0, 0])
counts = tp.Tensor((3, 3), "i32")
for training in (True, False):
    at = array("i", [0, 6, 0, 6, 5, 6, 7, 0, 3, 1000000, 0])
    m.reset_stats()
    for _ in range(5):
        at[0] = 0
        micropython.heap_lock()
        while at[0] < 6:
            if training:
                m._m.run(at, ticks_us, waits, xs, ys, None, None)
            else:
                m._m.run(at, ticks_us, None, xs, ys, counts, sums)
        micropython.heap_unlock()
    assert (m.stats()["seen"], sums[1]) == ((30, 0) if training else (0, 30))
    assert training or sum(counts[k, j] for k in range(3) for j in range(3)) == 30
print("OK")
