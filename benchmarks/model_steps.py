"""Training steps of the reference models, of any dtype and policy, through the Python call.

On a board: step(...) with a function that counts a call. On the unix port, for an instruction
counter: micropython model_steps.py MODEL PATH DTYPE POLICY WARM STEPS, which counts nothing.
"""

import gc
import json
import sys

import tinyprop as tp

POLICIES = {"Full": tp.Full(), "TopK": tp.TopK(ratio=0.1), "TinyPropV2": tp.TinyPropV2()}
CLASSES = 3


def layers(model, source):
    """Of mlp-inputs-hidden-classes, or of the source of a file of examples/models; from bytes."""
    if model.startswith("mlp-"):
        n, hidden, classes = map(int, model.split("-")[1:])
        x = tp.Input((n,), 1 / 128, -1)
        return [x, tp.Dense(hidden, activation="relu"), tp.Dense(classes)]
    names = {}
    exec(source, names)
    network = names["layers"]
    return network(tp.Input(network()[0].shape, 1 / 128, -1))


def network(model, source, dtype, policy):
    """(model, samples): none of their inputs is zero."""
    made, policy = layers(model, source), POLICIES[policy]
    m = tp.Sequential(made, optimizer=tp.SGD(lr=0.03), policy=policy, seed=1, dtype=dtype)
    n = 1
    for d in m.layers[0].shape:
        n *= d
    samples = []
    for k in range(CLASSES):
        x = bytearray(n)
        for i in range(n):
            x[i] = (i * 37 + k * 101 + (i >> 5) * 11) & 255 | 1
        samples.append(x)
    return m, samples


def step(model, source, dtype, policy, warm, steps, count):
    """Prints the mean cost of a step and of a prediction, and the efforts of those steps."""
    gc.collect()
    result = {"model": model, "dtype": dtype, "policy": policy}
    try:
        m, samples = network(model, source, dtype, policy)
    except MemoryError:
        print(json.dumps(result))
        return
    for k in range(warm):
        m.train_step(samples[k % CLASSES], k % CLASSES)
    m.reset_stats()
    total = 0
    for k in range(warm, warm + steps):
        total += count(m.train_step, samples[k % CLASSES], k % CLASSES)
    stats = m.stats()
    for name in ("seen", "skipped", "effort_backward", "effort_total"):
        result[name] = stats[name]
    result["macs"] = m._m.counters()[-2:]
    result["step"] = total / (steps or 1)
    result["forward"] = count(m.classify, samples[0])
    print(json.dumps(result))


def called(f, *a):
    f(*a)
    return 0


if __name__ == "__main__" and len(sys.argv) > 1:
    model, path, dtype, policy, warm, steps = sys.argv[1:]
    source = "" if model.startswith("mlp-") else open(path).read()
    step(model, source, dtype, policy, int(warm), int(steps), called)
