# The same training on every board: one seed gives the same weights, so the same checksums.
import gc
from array import array

import _tinyprop
import tinyprop as tp

INPUTS, CLASSES, STEPS = 64, 10, 200
POLICIES = (tp.Full(), tp.TopK(4), tp.TinyProp(), tp.TinyPropV2())
# Firmware may be built without layers of maps and without integers.
MAPS = hasattr(tp, "Conv2D")
WEIGHTED = (tp.Dense, tp.Conv2D) if MAPS else (tp.Dense,)


def sample(step, x):
    """Pixels 0..1 from integers alone, half of them zero; the class is the bright tenth."""
    y = _tinyprop.permute(step, STEPS, 7) % CLASSES
    for i in range(INPUTS):
        v = _tinyprop.permute((i * 41 + step * 17) % 997, 997, step) % 33 - 16
        x[i] = max(v, 0) / 32
    for i in range(y * 6, y * 6 + 6):
        x[i] = 1 - x[i] / 2
    return y


def dense():
    return [tp.Input(INPUTS), tp.Dense(32, activation="relu"), tp.Dense(CLASSES)]


def maps():
    """A little of everything: windows, a branch, pooling."""
    first = tp.Conv2D(4, 3, padding="same", activation="relu")
    layers = [tp.Input((8, 8, 1)), first, tp.DepthwiseConv2D(3, padding="same")]
    layers += [tp.Add(first, activation="relu"), tp.MaxPooling2D(2)]
    layers += [tp.Conv2D(8, 3, strides=2, activation="relu", select="channels")]
    return layers + [tp.Flatten(), tp.Dense(CLASSES)]


def checksum(m):
    crc = 0
    for i, layer in enumerate(m.layers):
        if isinstance(layer, WEIGHTED):
            crc = _tinyprop.crc32(m.weights(i), crc)
            crc = _tinyprop.crc32(m.bias(i), crc)
    return crc


def train(policy, optimizer, layers=dense, dtype="f32"):
    gc.collect()
    m = tp.Sequential(layers(), optimizer=optimizer, policy=policy, seed=1, dtype=dtype)
    start = checksum(m)
    x = array("f", [0] * INPUTS)
    tp.use(m)
    for step in range(STEPS):
        y = sample(step, x)
        tp.train_step(x, y)
    end = checksum(m)
    assert end != start
    tp.use(None)  # or the next model would have to lie beside this one
    s = m.stats()
    name = type(policy).__name__ + ("" if layers == dense else "-maps")
    name += "" if dtype == "f32" else "-" + dtype
    print(name, type(optimizer).__name__, "%08x" % end, s["trained"])


# The largest models first, while there is memory in one piece.
train(POLICIES[0], tp.Adam(lr=0.002))
train(POLICIES[3], tp.SGD(lr=0.02, momentum=0.9, weight_decay=0.001))
for policy in POLICIES:
    train(policy, tp.SGD(lr=0.05))
for policy in (POLICIES[0], POLICIES[3]) if MAPS else ():
    train(policy, tp.SGD(lr=0.05), maps)
for dtype in ("i16", "i8") if hasattr(_tinyprop.Model, "exponents") else ():
    for layers in (dense, maps) if MAPS else (dense,):
        for policy in (POLICIES[0], POLICIES[3]):
            train(policy, tp.SGD(lr=0.05), layers, dtype)
    train(POLICIES[3], tp.SGD(lr=0.02, momentum=0.9), maps if MAPS else dense, dtype)
print("OK")
