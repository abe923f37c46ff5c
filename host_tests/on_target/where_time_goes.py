# profile() tells what each layer does and changes nothing; benchmark() compares policies.
from array import array

import tinyprop as tp

PASSES = ("forward", "select", "dx", "update")


def net(**kw):
    a = tp.Conv2D(3, 3, activation="relu", padding="same")
    layers = [tp.Input((6, 6, 2)), a, tp.DepthwiseConv2D(3, padding="same")]
    layers += [tp.BatchNormalization(), tp.Conv2D(3, 1), tp.Add(a), tp.MaxPooling2D(2)]
    layers += [tp.Dropout(0.3), tp.AveragePooling2D(2), tp.Flatten(), tp.Dense(3)]
    return tp.Sequential(layers, **kw)


def state(m):
    """What a checkpoint holds."""
    return bytes(memoryview(m._m.block)[: m.plan()["persist"]])


x = array("f", [(k * 7 % 11 - 4) / 4 for k in range(72)])
for kw in (
    {"policy": tp.Full()},
    {"policy": tp.TopK(2), "optimizer": tp.Adam(weight_decay=0.01), "batch_size": 2},
    {"policy": tp.TinyPropV2(threshold=9), "optimizer": tp.SGD(momentum=0.9, rows="exact")},
):
    m, same = net(**kw), net(**kw)
    for q in (m, same):
        q.train_step(x, 1)
    before, tally = state(m), m._m.tally()
    report = m.profile(x, 2, repeat=2)
    assert state(m) == before and tally == same._m.tally() and m._m.tally()[1] == 0
    names = [line["layer"].split()[1] for line in report[:-2]]
    assert names[0] == "Conv2D" and names[-1] == "Dense" and len(names) == 9, names
    for line in report:
        assert abs(line["time"] - sum(line[p] for p in PASSES)) < 1, line
    for key in PASSES + ("macs_forward", "macs_backward"):
        assert abs(report[-1][key] - sum(line[key] for line in report[:-1])) < 1, key
    assert report[0]["macs_forward"] > 0 and report[0]["macs_backward"] > 0
    assert report[-2]["effort"] is None and 0 < report[-1]["effort"] <= 1
    assert "forward" in repr(report) and "Dropout" in repr(report)
    # As if it had never been there.
    for q in (m, same):
        q.train_step(x, 0)
    assert state(m) == state(same)

# What was executed is what a step counts, and each kind of layer took part.
m = net(policy=tp.TopK(2))
report = m.profile(x, 2)
m.train_step(x, 2)
counters = m._m.counters()
assert (report[-1]["macs_forward"], report[-1]["macs_backward"]) == tuple(counters[4:6])

# A clock of one's own is refused, a bad sample leaves all as it was.
before = state(m)
for wrong in ((x[:5], 0), (x, 3), (array("f", [float("nan")] * 72), 0)):
    try:
        m.profile(*wrong)
        raise AssertionError(wrong)
    except ValueError:
        pass
try:
    m.profile(x, 0, clock=lambda: 1)
    raise AssertionError
except TypeError as e:
    assert "clock" in str(e)
assert state(m) == before

layers = [tp.Input(8), tp.Dense(6, "relu"), tp.Dense(2)]
data = bytes(k * k % 5 for k in range(80)), bytes(k % 2 for k in range(10))
lines = tp.benchmark(layers, data, epochs=2, verbose=0, optimizer=tp.SGD(0.02))
assert [line["policy"] for line in lines] == "Full TopK TinyPropV2 TinyPropV2+backoff".split()
assert lines[0]["speedup"] == 1 and lines[1]["effort_backward"] < lines[0]["effort_backward"]
for line in lines:
    assert line["us"] > 0 and 0 < line["effort_total"] <= 1 and 0 <= line["accuracy"] <= 1
assert "speedup" in repr(lines)
tp.benchmark(policies=[tp.Full()], epochs=1)
print("OK")
