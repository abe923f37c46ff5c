"""Train a network on the unix port, write down where it stands, and train some steps more.

micropython network_steps.py DIGITS PATH MODEL POLICY DTYPE WARM STEPS: samples are those of
examples/digits, enlarged to the network's input; MODEL is mlp-inputs-hidden-classes or a file of
examples/models. Writes the checkpoint PATH.tp and the samples of the STEPS, PATH.x (pixels, then
the class); prints what became of them.
"""

import sys

import _tinyprop
import tinyprop as tp

digits, path, model, policy, dtype, warm, steps = sys.argv[1:]
warm, steps = int(warm), int(steps)
data = tp.Dataset(digits)
if model.startswith("mlp-"):
    n_in, hidden, classes = map(int, model.split("-")[1:])
    side = 8 if n_in == 64 else 28
    h, w, c = side, side, 1
else:
    network = __import__(model)
    h, w, c = (network.SHAPE + (1,))[:3]
# Pixels are 0 .. 16.
x = tp.Input((h, w, c), 1 / 16, 0)
if model.startswith("mlp-"):
    layers = [x, tp.Flatten(), tp.Dense(hidden, "relu"), tp.Dense(classes)]
else:
    layers = network.layers(x)
m = tp.Sequential(
    layers,
    optimizer=tp.SGD(lr=0.01),
    policy={"Full": tp.Full(), "TopK": tp.TopK(ratio=0.1), "TinyPropV2": tp.TinyPropV2()}[policy],
    dtype=dtype,
    seed=1,
)
sample = bytearray(h * w * c + 1)
places = [(i // w * 8 // h) * 8 + i % w * 8 // w for i in range(h * w)]


def step(i):
    sample[-1] = data.read(i % len(data))
    pixels = bytes(memoryview(data.x))
    sample[:-1] = bytes([pixels[p] for p in places for _ in range(c)])
    m.train_step(memoryview(sample)[:-1], sample[-1])


for i in range(warm):
    step(i)
m.reset_stats()
m.save(path + ".tp")
persist, crcs = m.plan()["persist"], []
with open(path + ".x", "wb") as f:
    for i in range(warm, warm + steps):
        step(i)
        f.write(sample)
        crcs.append("%08x" % _tinyprop.crc32(memoryview(m._m.block)[:persist]))
stats = m.stats()
print("inputs", len(sample) - 1)
print("block", m.plan()["total"])
print("macs", sum(m._m.counters()[-2:]))
for name in ("trained", "effort_total", "effort_backward"):
    print(name, stats[name])
print("crc", ",".join(crcs))
