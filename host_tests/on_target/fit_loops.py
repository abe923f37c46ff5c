# fit: every form of data, slices of time, Ctrl-C, validation, early stop, back-off.
import time
from array import array

import tinyprop as tp
from _tinyprop import backoff_note, permute


def raises(kind, text, f, *args, **kw):
    try:
        f(*args, **kw)
    except kind as e:
        assert text in str(e), "%r not in %r" % (text, str(e))
        return
    raise AssertionError("no %s: %s" % (kind.__name__, text))


N = 40


def sample(k):
    """Two classes by the sign of a sum, never near 0."""
    v = [((k * 37 + j * 11) % 17 - 8) / 8 for j in range(3)]
    y = int(v[0] + v[1] + v[2] > 0)
    v[0] += 0.5 if y else -0.5
    return array("f", v), y


PAIRS = [sample(k) for k in range(N)]
X = array("f", [v for x, _ in PAIRS for v in x])
Y = bytes(y for _, y in PAIRS)
LAYERS = [tp.Input(3), tp.Dense(6, "relu"), tp.Dense(2)]


def net(**kw):
    kw.setdefault("policy", tp.Full())
    return tp.Sequential(LAYERS, **kw)


def state(m):
    """What a checkpoint holds."""
    return bytes(memoryview(m._m.block)[: m.plan()["persist"]])


class Sequence:
    """The least a sequence can be."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return PAIRS[i]


class Iterable:
    def __iter__(self):
        return iter(PAIRS)


# Forms of data with a length: the same order, so the same bits.
want = net()
run = want.fit(PAIRS, epochs=3, verbose=0)
assert run.done and run.epoch == 3 and run.stopped is None and run.info["epoch"] == 3
assert len(run.history["loss"]) == 3 and list(run.history["trained_share"]) == [1, 1, 1]
for data in (
    tuple(PAIRS),
    (X, Y),
    (tp.Tensor((N, 3), buffer=X), list(Y)),
    (X, array("i", list(Y))),
    ([x for x, _ in PAIRS], list(Y)),
    Sequence(),
    (X, array("f", [v for y in Y for v in (1 - y, y)])),
):
    m = net()
    m.fit(data, epochs=3, verbose=0)
    assert state(m) == state(want), data
    e, f = m.evaluate(data), want.evaluate(PAIRS)
    assert (e.loss, e.n, e.correct) == (f.loss, N, f.correct)
    assert e.confusion.tolist() == f.confusion.tolist()
assert want.evaluate(PAIRS).accuracy > 0.8

# In the given order: shuffle=False, and whatever can only be iterated.
want = net()
for _ in range(2):
    for x, y in PAIRS:
        want.train_step(x, y)
for data in (PAIRS, Iterable()):
    m = net()
    m.fit(data, epochs=2, shuffle=False, verbose=0)
    assert state(m) == state(want)
m = net()
m.fit((p for p in PAIRS), verbose=0)
assert m.stats()["seen"] == N and m.evaluate(iter(PAIRS)).n == N
raises(ValueError, "epoch 2", net().fit, (p for p in PAIRS), epochs=2, verbose=0)

# The order is another one in each epoch, and another one for each seed.
orders = []


class Spy(Sequence):
    def __getitem__(self, i):
        orders[-1].append(i)
        return PAIRS[i]


for seed in (1, 2):
    m = net(seed=seed)
    for _ in range(2):
        orders.append([])
        m.fit(Spy(), verbose=0)
assert all(sorted(o) == list(range(N)) for o in orders)
assert all(orders[i] != orders[j] for i in range(4) for j in range(i))

# Slices of time: the same weights in the end; at least one sample each.
want = net()
whole = want.fit(PAIRS, epochs=2, verbose=0, validation=0.25)
for data in (PAIRS, (X, Y)):
    m = net()
    run = m.fit(data, epochs=2, budget_ms=0, verbose=0, validation=0.25)
    assert not run.done and (run.epoch, run.step) == (0, 1) and m.stats()["seen"] == 1
    assert m.fit(data, epochs=2, budget_ms=0, verbose=0, validation=0.25) is run
    calls = 2
    while not run.done:
        run.resume(0)
        calls += 1
    assert 2 * N >= calls > N, calls
    assert state(m) == state(want)
    assert len(run.history) == 6 == len(whole.history)
    for name in run.history:
        assert list(run.history[name]) == list(whole.history[name]), name
    assert m.fit(data, epochs=2, verbose=0) is not run
m = net()
run = m.fit((X, Y), epochs=1000000, budget_ms=50, verbose=0)
assert not run.done and m.stats()["seen"] > 1

# A pair is the same data also when the tuple around it is new; other epochs start afresh.
m = net()
run = m.fit((X, Y), epochs=2, budget_ms=0, verbose=0)
assert m.fit((X, Y), epochs=2, budget_ms=0, verbose=0) is run
assert m.fit((X, Y), epochs=3, budget_ms=0, verbose=0) is not run


class Slow(Sequence):
    def __getitem__(self, i):
        time.sleep_ms(4)
        return PAIRS[i]


m = net()
started = time.ticks_ms()
run = m.fit(Slow(), epochs=3, budget_ms=60, verbose=0)
took = time.ticks_diff(time.ticks_ms(), started)
assert not run.done and 3 <= run.step <= 15 and took <= 80, (run, took)

# Ctrl-C anywhere: a model that works, and fit goes on where it was.
stop_at = 7


class Interrupted(Sequence):
    count = 0

    def __getitem__(self, i):
        Interrupted.count += 1
        if Interrupted.count == stop_at:
            raise KeyboardInterrupt
        return PAIRS[i]


m = net(batch_size=4)
data = Interrupted()
raises(KeyboardInterrupt, "", m.fit, data, epochs=2, verbose=0, validation=0.2)
assert m.stats()["seen"] == stop_at - 1 and m.train_step(*PAIRS[0]) > 0
run = m.fit(data, epochs=2, verbose=0, validation=0.2)
assert run.done and run.epoch == 2 and m.stats()["seen"] == 2 * 32 - 1 + 1

# Validation: the same samples in all epochs, never trained; drawn by the seed.
seen = []


class Watched(Sequence):
    def __getitem__(self, i):
        seen.append(i)
        return PAIRS[i]


m = net()
run = m.fit(Watched(), epochs=3, validation=0.25, verbose=0)
trained, held = set(seen[:30]), set(seen[30:40])
assert len(trained) == 30 and len(held) == 10 and not trained & held
assert set(seen[40:70]) == trained and set(seen[70:80]) == held
assert len(run.history["val_loss"]) == 3 and 0 <= min(run.history["val_accuracy"]) <= 1
assert held != set(range(30, 40))
seen.clear()
net().fit(Watched(), validation=0.25, shuffle=False, verbose=0)
assert seen == list(range(40))
m = net()
run = m.fit(PAIRS[:30], validation=PAIRS[30:], verbose=0)
assert m.stats()["seen"] == 30 and run.info["val_loss"] == m.evaluate(PAIRS[30:]).loss

# Early stop: by patience, by the callback.
m = net(optimizer=tp.SGD(1e-30))
run = m.fit(PAIRS, epochs=50, validation=0.25, patience=3, verbose=0)
assert run.done and run.stopped == "patience" and run.epoch == 4
infos = []
for answer in (True, "stop"):
    infos.clear()
    run = net().fit(
        PAIRS, 9, callback=lambda i, a=answer: infos.append(i) or len(infos) == 2 and a, verbose=0
    )
    assert run.done and run.stopped == "callback" and len(infos) == 2 == infos[1]["epoch"]
assert infos[0]["seen"] == N and infos[0]["trained"] == N and infos[0]["loss"] > 0
assert "callback" in repr(run)

# Many epochs keep a short history.
run = net().fit(PAIRS[:1], epochs=1000, verbose=0)
assert run.epoch == 1000 and 256 <= len(run.history["loss"]) <= 512
assert abs(run.history["loss"][-1] - run.info["loss"]) < 1e-9


def fails(info):
    raise RuntimeError("mine")


m = net()
raises(RuntimeError, "mine", m.fit, PAIRS, 3, callback=fails, verbose=0)
assert m.train_step(*PAIRS[0]) > 0
run = m.fit(PAIRS, 3, verbose=0)
assert run.done and run.epoch == 3 and len(run.history["loss"]) == 3

# Back-off: what waits costs nothing but a count.
m = net(policy=tp.TinyPropV2(threshold=0.6, backoff=4))
m.fit(PAIRS, epochs=12, verbose=0)
s = m.stats()
assert s["seen"] == 12 * N == s["trained"] + s["skipped"] + s["waited"] and s["waited"] > N
q = net(policy=tp.TinyPropV2(threshold=0.6))
q.fit(PAIRS, epochs=12, verbose=0)
assert q.stats()["waited"] == 0 and s["effort_total"] < q.stats()["effort_total"]
rows = net(policy=tp.TinyPropV2(threshold=0.6, backoff=4))
rows.fit((X, Y), epochs=12, verbose=0)
assert state(rows) == state(m)
# The same said sample by sample.
plain = net(policy=tp.TinyPropV2(threshold=0.6, backoff=4))
waits = bytearray(N)
for epoch in range(12):
    for k in range(N):
        i = permute(k, N, plain.seed + 7919 * epoch)
        if waits[i] & 31:
            waits[i] -= 1
        else:
            backoff_note(waits, i, plain._m.step(*PAIRS[i]), 4)
    plain._m.epoch_end()
for layer in range(2):
    for what in range(2):
        assert bytes(plain._m.weights(layer, what)) == bytes(m._m.weights(layer, what))
m = net(policy=tp.TinyPropV2(threshold=0.6, backoff=4))
m.fit(iter(PAIRS), verbose=0)
assert m.stats()["waited"] == 0

# A bad sample is named; the next call goes on behind it.
bad = list(PAIRS)
bad[5] = (array("f", [0, float("nan"), 0]), 1)
m = net()
raises(ValueError, "sample 5: x[1] is not a finite", m.fit, bad, shuffle=False, verbose=0)
assert m.stats()["seen"] == 5
assert m.fit(bad, shuffle=False, verbose=0).done and m.stats()["seen"] == N - 1
raises(ValueError, "sample 5: x[1]", m.evaluate, bad)
raises(
    ValueError,
    "sample 3: class index 2",
    net().fit,
    (X, bytes([0, 1, 0, 2] * 10)),
    1,
    shuffle=False,
)

# Arguments.
for empty in ([], (), iter([]), (b"", b""), ([], [])):
    raises(ValueError, "no samples", net().fit, empty, verbose=0)
    raises(ValueError, "no samples", net().evaluate, empty)
raises(ValueError, "epochs 0", net().fit, PAIRS, 0)
raises(ValueError, "epochs 1.5", net().fit, PAIRS, 1.5)
raises(ValueError, "validation 1", net().fit, PAIRS, validation=1)
raises(ValueError, "validation -0.1", net().fit, PAIRS, validation=-0.1)
raises(ValueError, "leaves none", net().fit, PAIRS[:1], validation=0.5)
raises(ValueError, "has a length", net().fit, iter(PAIRS), validation=0.5)
raises(ValueError, "patience 2 needs validation", net().fit, PAIRS, patience=2)
raises(ValueError, "x has 119 values, not a multiple of the 3", net().fit, (X[:-1], Y))
raises(ValueError, "y has 39 values", net().fit, (X, Y[:-1]))
raises(ValueError, "floats where class indices", net().fit, (X, array("f", list(Y))))
raises(ValueError, "X has 1 samples, Y 2", net().fit, ([X], [0, 1]))
raises(TypeError, "", net().fit, 5)
raises(TypeError, "", net().fit, [1, 2, 3])

net(policy=None).fit(PAIRS, epochs=2, validation=0.25)
print("OK")
