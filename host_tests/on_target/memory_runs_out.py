# Each allocation in turn fails: a clean MemoryError, and everything stays usable.
import gc
import os
from array import array

import tinyprop as tp

FILE, DATA = "t_oom.tp", "t_oom.tpd"


def remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def state(m):
    return bytes(memoryview(m._m.block)[: m.plan()["persist"]])


x = array("f", [0.5, -1, 0, 2])
LAYERS = [tp.Input(4, scale=0.5), tp.Dense(6, "relu"), tp.Dense(3)]
PAIRS = [(x, k % 3) for k in range(8)]
policy = tp.TinyPropV2(backoff=3)
m = tp.Sequential(LAYERS, policy=policy, optimizer=tp.SGD(momentum=0.5), batch_size=2)
m.fit(PAIRS, verbose=0)
m.save(FILE)
remove(DATA)
d = tp.Dataset.create(DATA, 4, "f32", classes=3)
for px, py in PAIRS:
    d.append(px, py)
t = tp.Tensor((4, 3), "i16")


def make():
    q = tp.Sequential(LAYERS, policy=policy)
    return q.train_step(x, 1)


def many():
    return m.fit(PAIRS, epochs=2, verbose=0, validation=0.25, shuffle=False).history


def file():
    return m.fit(d, verbose=0)


def append():
    n = len(d)
    d.append([1, 2, 3, 4], 1)
    assert len(d) == n + 1


def tensors():
    t[1] = [1, 2, 3]
    t.copy_from(array("f", range(12)))
    return t[1:].reshape((3, 3)).tolist(), repr(t), t.shape, list(t[0])


def wrong():
    try:
        m.train_step(array("f", [1]), 1)
    except ValueError:
        return
    raise AssertionError("no ValueError")


CALLS = (
    ("make", make),
    ("fit", many),
    ("fit from a file", file),
    ("evaluate", lambda: m.evaluate(PAIRS)),
    ("predict", lambda: m.predict(x)),
    ("predict a list", lambda: m.predict([1, 2, 3, 4])),
    ("save", lambda: m.save(FILE)),
    ("load", lambda: tp.load(FILE)),
    ("copy", lambda: m.copy()),
    ("stats", lambda: repr(m.stats())),
    ("settings", lambda: (m.policy, m.optimizer, m.lr, m.plan())),
    ("tensors", tensors),
    ("data set", lambda: tp.Dataset(DATA).close()),
    ("append", append),
    ("wrong x", wrong),
)


def release(hoard):
    """Take a piece apart, so that a stale address of it on the stack, where the collector looks,
    keeps nothing else alive; returns the rest."""
    rest = hoard[0]
    hoard[0] = hoard[1] = None
    return rest


def with_free(pieces, call):
    """Run call with the heap full but for so many pieces; True if it had enough."""
    hoard = None
    for size in (4096, 256, 16, 1, 0):
        try:
            while True:
                hoard = [hoard, bytearray(size) if size else None]
        except MemoryError:
            pass
    for _ in range(pieces):
        if hoard is None:
            return None
        hoard = release(hoard)
    try:
        call()
        return True
    except MemoryError:
        return False
    finally:
        while hoard is not None:
            hoard = release(hoard)
        gc.collect()


for name, call in CALLS:
    m._run = None
    failed = 0
    pieces = 0
    while True:
        gc.collect()
        done = with_free(pieces, call)
        assert done is not None, name
        # The model works, whatever happened.
        assert m.train_step(x, 1) >= 0 and m.classify(x) < 3, name
        if done:
            break
        failed += 1
        pieces += 1
    # And the call itself, with memory.
    m._run = None
    call()
    assert state(tp.load(FILE)) is not None
    n = len(d)
    with tp.Dataset(DATA) as e:
        assert len(e) == n
        e.read(n - 1)
    print("%s: failed %d times" % (name, failed))
d.close()
remove(FILE)
remove(DATA)
print("OK")
