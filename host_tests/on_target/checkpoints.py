# save and load: everything comes back; damaged files are recognised.
import os
import struct
from array import array

import _tinyprop
import tinyprop as tp

PATH = "t_model.tp"
x = array("f", [0.5, -1, 0, 2])


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


def rewrite(data, path=PATH):
    with open(path, "wb") as f:
        f.write(data)


def exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


# What was saved goes on as if it had never stopped, bit for bit.
MODELS = (
    ([tp.Input(4), tp.Dense(6, "relu"), tp.Dense(3)], {}),
    ([tp.Input(4), tp.Dense(6, "tanh"), tp.Dense(3)], {"optimizer": tp.Adam(), "seed": 9}),
    (
        [tp.Input((2, 2), [1, 2], 3), tp.Flatten(), tp.Dense(6, "leaky_relu", slope=0.25)]
        + [tp.Dense(3, "sigmoid", "zeros", "bias")],
        {
            "loss": "mse",
            "optimizer": tp.SGD(0.1, 0.5, 0.01, "exact"),
            "policy": tp.TinyPropV2(warmup=3, max_skips=2, backoff=5),
        },
    ),
    ([tp.Input(4), tp.Dense(3)], {"batch_size": 4, "policy": tp.TopK(2)}),
)
for layers, settings in MODELS:
    remove()
    m = tp.Sequential(layers, **settings)
    for k in range(7):
        m.train_step(x, k % 3)
    m.save(PATH)
    assert not exists(PATH + ".tmp") and not exists(PATH + ".bak")
    assert os.stat(PATH)[6] == m.plan()["persist"] + 20
    q = tp.load(PATH)
    assert q.plan() == m.plan() and q.loss == m.loss and q.seed == m.seed and q.lr == m.lr
    assert repr(q.policy) == repr(m.policy) and repr(q.optimizer) == repr(m.optimizer)
    assert str(q.stats()).replace(" ", "")[:150] == str(m.stats()).replace(" ", "")[:150]
    for k in range(9):
        assert q.train_step(x, k % 3) == m.train_step(x, k % 3)
    assert q.predict(bytes(4)).tolist() == m.predict(bytes(4)).tolist()
    q.summary()
    # Saving over an older file.
    q.save(PATH)
    assert tp.load(PATH).stats()["seen"] == 16

# Cut off at every length, and longer than it was.
m = tp.Sequential([tp.Input(4), tp.Dense(6, "relu"), tp.Dense(3)])
m.train_step(x, 1)
m.save(PATH)
with open(PATH, "rb") as f:
    whole = f.read()
for n in range(0, len(whole), 1 if len(whole) < 1000 else 7):
    rewrite(whole[:n])
    raises(tp.FormatError, "", tp.load, PATH)
rewrite(whole + b"\0")
raises(tp.FormatError, "bytes after its head", tp.load, PATH)

# Any byte changed.
for i in range(len(whole)):
    bad = bytearray(whole)
    bad[i] ^= 1 << i % 8
    rewrite(bad)
    raises(tp.FormatError, "", tp.load, PATH)

# Other files, and a check sum that fits a senseless content.
for garbage in (b"", b"\xff" * 600, b"TPM1", bytes(600), b"TPD1" + bytes(96)):
    rewrite(garbage)
    raises(tp.FormatError, "", tp.load, PATH)


def forge(payload):
    head = b"TPM1\2\0\0\0" + struct.pack("<II", len(payload), _tinyprop.crc32(payload))
    rewrite(head + struct.pack("<I", _tinyprop.crc32(head)) + payload)


forge(whole[20:])
assert tp.load(PATH).stats()["seen"] == 1
forge(b"")
raises(tp.FormatError, "", tp.load, PATH)
forge(bytes(500))
raises(tp.FormatError, "", tp.load, PATH)
forge(whole[20:-4])
raises(tp.FormatError, "", tp.load, PATH)
refused = 0
for i in range(20, len(whole) - 3, 4):
    for value in (b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\xff\xff\xff\xff"):
        forge(whole[20:i] + value + whole[i + 4 :])
        try:
            q = tp.load(PATH)
        except (tp.FormatError, MemoryError):
            refused += 1
            continue
        # Some fields may hold anything; then it must still be a model that works.
        try:
            q.train_step(x, 1)
        except ValueError:
            pass
        q.predict(x)
        q.stats()
assert refused > 100, refused

# No file, no folder, no right to write.
remove()
raises(OSError, "", tp.load, PATH)
raises(OSError, "", m.save, "t_no_folder/" + PATH)
raises(OSError, "", m.save, "")

# Where a power cut left no file at path, its neighbours are read.
rewrite(whole, PATH + ".bak")
assert tp.load(PATH).stats()["seen"] == 1
rewrite(whole[:99], PATH + ".tmp")
assert tp.load(PATH).stats()["seen"] == 1
m.train_step(x, 1)
m.save(PATH)
assert tp.load(PATH).stats()["seen"] == 2 and not exists(PATH + ".tmp")
remove(PATH + ".bak")
remove()
print("OK")
