# Sequential.plan(layers, budget=...): what it chooses fits, and is (close to) the best there is.
import gc
from array import array

import _tinyprop
import tinyprop as tp

describe = tp.sequential.describe
RATIOS = (1, 0.5, 0.25, 0.125)
CONTRIBUTIONS = {
    "biases": [0.01, 0.02, 0.05],
    "ratios": RATIOS,
    "weights": [[0.05, 0.03, 0.03, 0.01], [0.4, 0.3, 0.1, 0.05], [0.1, 0.09, 0.0, -0.01]],
}


def network(**w):
    return [
        tp.Input((8, 8, 2)),
        tp.Conv2D(4, 3, activation="relu", **w),
        tp.Conv2D(8, 3, activation="relu", **w),
        tp.Flatten(),
        tp.Dense(5, **w),
    ]


def raises(text, f, *args, **kw):
    try:
        f(*args, **kw)
    except ValueError as e:
        for part in text if isinstance(text, tuple) else (text,):
            assert part in str(e), "%r not in %r" % (part, str(e))
        return
    raise AssertionError("no ValueError: %s" % (text,))


def bytes_of(layers, parts):
    for i, part in zip((1, 2, 4), parts):
        layers[i].trainable = part
    gc.collect()  # what is kept shall not lie all over the heap
    return _tinyprop.plan(describe(layers)[1])[0]


# --- Everything there is, with its bytes and gain ---

layers = network(external=True)
filters = (4, 8, 5)
everything = []
for k in (1, 2, 3):
    combinations = [()]
    for i in range(3):
        known = [(False, 0)]
        if i >= 3 - k:
            known = [("bias", 0)]
            for ratio, gain in zip(RATIOS, CONTRIBUTIONS["weights"][i]):
                n = max(1, int(filters[i] * ratio + 0.5))
                known.append((True if n >= filters[i] else n, gain))
        combinations = [c + (one,) for c in combinations for one in known]
    for c in combinations:
        gain = CONTRIBUTIONS["biases"][k - 1] + sum([g for _, g in c])
        everything.append((bytes_of(layers, [part for part, _ in c]), gain))
least = min([n for n, _ in everything])

reached = 0
budgets = [least] + list(range(least + 100, 8000, 500)) + [100000]
for budget in budgets:
    layers = network(external=True)
    choice = tp.Sequential.plan(layers, budget=budget, contributions=CONTRIBUTIONS)
    assert choice["total"] <= budget
    assert [layers[i].trainable for i in (1, 2, 4)] == choice["train"]
    best = max([g for n, g in everything if n <= budget])
    assert choice["gain"] >= 0.85 * best, (budget, choice["gain"], best)
    reached += choice["gain"] > best - 1e-6
    if budget in budgets[::4]:
        parameters = array("f", [0.01] * (choice["external"] // 4))
        m = tp.Sequential(layers, external=parameters)
        assert m.plan()["total"] == len(m._m.block) == choice["total"]
        m.train_step(array("f", [1] * 128), 2)
assert reached >= 0.8 * len(budgets), "%d of %d" % (reached, len(budgets))
assert "layer 4 (Dense)" in repr(choice) and "%d bytes of 100000" % choice["total"] in repr(choice)

# Without a table: the last bias at least, and more budget never trains less.
gain = 0
for budget in budgets:
    layers = network(external=True)
    choice = tp.Sequential.plan(layers, budget)
    assert choice["train"][2] is not False and choice["gain"] >= gain
    gain = choice["gain"]
assert choice["train"] == [True] * 3

# What trains counts with all that goes with it.
layers, adam = network(external=True), dict(optimizer=tp.Adam(), batch_size=4)
choice = tp.Sequential.plan(layers, 9000, **adam)
assert tp.Sequential(layers, **adam).plan()["total"] == choice["total"] <= 9000
assert choice["optimizer"] > 0 and choice["gradients"] > 0

# --- Not possible ---

for n, w, most in ((least - 1, dict(external=True), "activations"), (3000, {}, "parameters")):
    layers = network(**w)
    before = [layers[i].trainable for i in (1, 2, 4)]
    text = ("budget of %d bytes is too small" % n, "layer 4 (Dense)", most)
    raises(text, tp.Sequential.plan, layers, budget=n)
    assert [layers[i].trainable for i in (1, 2, 4)] == before
raises("the least possible are %d" % least, tp.Sequential.plan, network(external=True), 0)
raises("layer 1 (Conv2D), 576 bytes", tp.Sequential.plan, network(external=True), 0)
raises("not know", tp.Sequential.plan, network(), 9000, loss="hinge")
few = dict(CONTRIBUTIONS)
few["weights"] = few["weights"][1:]
raises(("3 biases", "2 layers", "has 3"), tp.Sequential.plan, network(), 9000, few)
del few["biases"]
raises("lack 'biases'", tp.Sequential.plan, network(), 9000, few)
m = tp.Sequential(network())
raises("taken", m.plan, 9000)

# --- Less memory for more work ---

weights, macs = [], []
for again in (False, True):
    layers = [tp.Input((8, 8, 2))]
    layers += [tp.Conv2D(4, 3, padding="same", activation="relu") for _ in range(6)]
    layers += [tp.Flatten(), tp.Dense(5)]
    for i in (1, 2, 4):
        layers[i].recompute = again
    m = tp.Sequential(layers, policy=tp.Full())
    for step in range(6):
        m.train_step(array("f", [(i * step % 7) / 8 for i in range(128)]), step % 5)
    other = m.copy()
    assert other.plan() == m.plan() and other.layers[2].recompute == again
    weights.append(b"".join([bytes(m.weights(i)) for i in (1, 2, 3, 4, 5, 6, 8)]))
    macs.append((m.plan()["total"], m.stats()["effort_total"]))
assert weights[0] == weights[1]
assert macs[0][0] > macs[1][0] + 1024 and macs[0][1] < macs[1][1]
print("OK")
