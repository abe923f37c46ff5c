# Dataset: written and read on the board, streamed, cut off, damaged.
import os
import time
from array import array

import tinyprop as tp

PATH = "t_data.tpd"


def raises(kind, text, f, *args, **kw):
    try:
        f(*args, **kw)
    except kind as e:
        assert text in str(e), "%r not in %r" % (text, str(e))
        return
    raise AssertionError("no %s: %s" % (kind.__name__, text))


def remove(path=PATH):
    try:
        os.remove(path)
    except OSError:
        pass


def content(path=PATH):
    with open(path, "rb") as f:
        return f.read()


def rewrite(data, path=PATH):
    with open(path, "wb") as f:
        f.write(data)


# Class labels, all types of x.
for dtype, values in (
    ("u8", [0, 255, 7]),
    ("i8", [-128, 127, 7]),
    ("i16", [-32768, 32767, 7]),
    ("i32", [-2147483648, 2147483647, 7]),
    ("f32", [-0.5, 1e30, 7.0]),
):
    remove()
    d = tp.Dataset.create(PATH, 3, dtype, classes=300)
    assert len(d) == 0 and list(d) == []
    d.append(values, 299)
    d.append(tp.Tensor(3, dtype), 0, flush=False)
    d.append([values[2], values[1], values[0]], 256)
    assert len(d) == 3 and d[-1][1] == 256
    d.close()
    with tp.Dataset(PATH) as d:
        assert (d.shape, d.dtype, d.classes, d.targets, d.scale) == ((3,), dtype, 300, None, None)
        assert [y for _, y in d] == [299, 0, 256]
        x, y = d[0]
        want = tp.Tensor(3, dtype)
        want.copy_from(values)
        assert x.tolist() == want.tolist() and y == 299 and x.dtype == dtype
        assert d[2][0][0] == want[2]
        raises(IndexError, "sample 3, the data set has 3", d.read, 3)
        raises(IndexError, "sample -4", d.read, -4)
        raises(ValueError, "open for reading", d.append, values, 0)

# Label vectors, two dimensions, scale per value of the last axis.
remove()
d = tp.Dataset.create(PATH, (3, 1), "u8", targets=2, scale=[0.5], offset=-1)
d.append([1, 2, 3], [0.25, -4])
d.append(bytes([4, 5, 6]), array("f", [1, 2]))
d.append(array("f", [300, -7, 2.5]), (0, 0))
assert d[1][0].tolist() == [[4], [5], [6]] and d[1][1].tolist() == [1.0, 2.0]
assert d[2][0].tolist() == [[255], [0], [2]]
raises(ValueError, "source has 2 values, expected 3", d.append, [1, 2], [0, 0])
raises(ValueError, "source has 1 values, expected 2", d.append, [1, 2, 3], [0])
raises(ValueError, "u8 256", d.append, [1, 2, 256], [0, 0])
assert len(d) == 3
d.close()
d = tp.Dataset(PATH)
assert (d.classes, d.targets, d.shape) == (None, 2, (3, 1))
assert d.scale.tolist() == [0.5] and d.offset.tolist() == [-1.0]
m = tp.Sequential([d.input(), tp.Flatten(), tp.Dense(2)], loss="mse")
a = m.predict(bytes([4, 5, 6])).tolist()
assert a == m.predict([1, 1.5, 2]).tolist()
d.close()

# Existing files are not overwritten; appending goes on, also behind a record that was cut off.
raises(OSError, "", tp.Dataset.create, PATH, 3, classes=2)
whole = content()
record = 3 + 1 + 8
for cut in (1, record - 1):
    rewrite(whole[: len(whole) - cut])
    with tp.Dataset(PATH, "a") as d:
        assert len(d) == 2 and d[1][1].tolist() == [1.0, 2.0]
        raises(IndexError, "", d.read, 2)
        d.append([7, 8, 9], [5, 6])
        assert len(d) == 3
    with tp.Dataset(PATH) as d:
        assert len(d) == 3 and d[2][0].tolist() == [[7], [8], [9]] and d[2][1][1] == 6

# What power loss between two appends leaves is the samples so far.
d = tp.Dataset(PATH, "a")
d.append([1, 1, 1], [1, 1])
with tp.Dataset(PATH) as other:
    assert len(other) == 4
d.close()

# Damaged or foreign: any cut of the header, any byte of it changed.
whole = content()
head = 36 + 8 + 4
for n in range(head):
    rewrite(whole[:n])
    raises(tp.FormatError, "", tp.Dataset, PATH)
for i in range(head):
    for flip in (1, 128):
        bad = bytearray(whole)
        bad[i] ^= flip
        rewrite(bad)
        raises(tp.FormatError, "", tp.Dataset, PATH)
rewrite(b"TPM1" + whole[4:])
raises(tp.FormatError, "not a tinyprop data set", tp.Dataset, PATH, "a")
rewrite(whole[:head])
with tp.Dataset(PATH) as d:
    assert len(d) == 0
    raises(ValueError, "no samples", m.fit, d)
    raises(ValueError, "no samples", m.evaluate, d)

# Arguments.
remove()
raises(OSError, "", tp.Dataset, "t_none.tpd")
raises(ValueError, "mode 'w'", tp.Dataset, PATH, "w")
raises(ValueError, "dtype 'u16'", tp.Dataset.create, PATH, 3, "u16", classes=2)
raises(ValueError, "either classes or targets", tp.Dataset.create, PATH, 3)
raises(ValueError, "either classes or targets", tp.Dataset.create, PATH, 3, "u8", 2, 2)
raises(ValueError, "classes 0, allowed 1..65535", tp.Dataset.create, PATH, 3, classes=0)
raises(ValueError, "targets 65536", tp.Dataset.create, PATH, 3, targets=65536)
raises(ValueError, "values 65536", tp.Dataset.create, PATH, (256, 256), classes=2)
raises(ValueError, "dimension 0", tp.Dataset.create, PATH, (3, 0), classes=2)
raises(ValueError, "scale has 2 values", tp.Dataset.create, PATH, 3, classes=2, scale=[1, 2])
raises(OSError, "", os.stat, PATH)
d = tp.Dataset.create(PATH, 3, classes=2)
raises(ValueError, "class index 2, the data set has 2 classes (0..1)", d.append, [1, 2, 3], 2)
raises(ValueError, "class index -1", d.append, [1, 2, 3], -1)
raises(ValueError, "class index 1.0", d.append, [1, 2, 3], 1.0)
d.close()

# Training from the file equals training from memory.
remove()
d = tp.Dataset.create(PATH, 4, "i8", classes=3, scale=0.1)
rows = []
for k in range(30):
    x = [(k * 7 + j * 5) % 21 - 10 for j in range(4)]
    rows.append((array("b", x), k % 3))
    d.append(x, k % 3, flush=False)
d.close()
d = tp.Dataset(PATH)
layers = [d.input(), tp.Dense(8, "relu"), tp.Dense(3)]
a, b = tp.Sequential(layers), tp.Sequential(layers)
a.fit(d, epochs=3, verbose=0)
b.fit(rows, epochs=3, verbose=0)
assert a._m.block == b._m.block
assert a.evaluate(d).loss == b.evaluate(rows).loss
for settings in (dict(policy=tp.TinyPropV2(backoff=4)), dict(policy=tp.Full(), batch_size=4)):
    a, b = tp.Sequential(layers, **settings), tp.Sequential(layers, **settings)
    # Slices of no time: one sample each.
    while not a.fit(d, epochs=4, budget_ms=0, validation=0.2, verbose=0).done:
        pass
    b.fit(rows, epochs=4, validation=0.2, verbose=0)
    assert a._m.block == b._m.block


# What reads a sample is Python code: it may move the back-off bytes, and it may raise.
def train(read, waits):
    m = tp.Sequential(layers, policy=tp.TinyPropV2(threshold=1, backoff=4))
    for _ in range(3):
        at = array("i", [0, 30, 0, 30, 1, 0, 0, 0, 4, 1 << 29, 0])
        m._m.run(at, time.ticks_us, waits, d.x, read, None, None)
        assert at[0] == 30
    return m


def moving(i):
    moved.extend(bytes(100))
    return d.read(i)


def failing(i):
    return d.read(i if i != 3 else 30)


still, moved = bytearray(30), bytearray(30)
assert train(d.read, still)._m.block == train(moving, moved)._m.block
assert max(still) > 0 and moved[:30] == still and len(moved) > 1000
at = array("i", [0, 30, 0, 0, 0, 0, 0, 0, 0, 1 << 29, 0])
raises(IndexError, "sample 30", a._m.run, at, time.ticks_us, None, d.x, failing, None, None)
assert at[0] == 4 and at[7] == 3
d.close()
remove()
print("OK")
