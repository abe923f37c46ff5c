"""One training run of a reference model, on MicroPython: micropython model_job.py < job.json.

The job, one line of JSON: models (the folder), model, epochs, lr, seed, train and test (Dataset
files). May have: start (file of parameters to start from; else they are drawn), parts (what the
layers with weights train, as in the "train" of Sequential.plan(layers, budget=...)), and where to
write the result: checkpoint, parameters. The learning rate falls in a straight line to a tenth of
lr. Prints one JSON object.
"""

import json
import sys

import tinyprop as tp


def weighted(m):
    """Positions of the layers with weights."""
    return [i for i, y in enumerate(m.layers) if getattr(y, "_kind", 9) <= 3]


def run(job):
    sys.path.insert(0, job["models"])
    network = __import__(job["model"])
    train, test = tp.Dataset(job["train"]), tp.Dataset(job["test"])
    x = train.input()
    loss = getattr(network, "LOSS", "softmax_cross_entropy")
    # Data of another shape with as many values (28 x 28 for 28 x 28 x 1).
    layers = network.layers(tp.Input(network.layers()[0].shape, x.scale, x.offset))
    parts = job.get("parts")
    if parts:
        for y, part in zip([y for y in layers if getattr(y, "_kind", 9) <= 3], parts):
            y.trainable = part
    m = tp.Sequential(
        layers, loss, tp.SGD(lr=job["lr"]), tp.Full(), seed=job["seed"], zero_skip=50
    )
    if job.get("start"):
        with open(job["start"], "rb") as f:
            for i in weighted(m):
                for t in (m.weights(i), m.bias(i)):
                    if f.readinto(memoryview(t)) != t.nbytes:
                        raise ValueError("%s is too short for %s" % (job["start"], job["model"]))
    before = m.evaluate(test, confusion=False)
    epochs, lr = job["epochs"], job["lr"]

    def after_epoch(info):
        m.lr = lr * (1 - 0.9 * info["epoch"] / epochs)

    if epochs:
        m.fit(train, epochs=epochs, callback=after_epoch, verbose=0)
    after = m.evaluate(test, confusion=False)
    if job.get("checkpoint"):
        m.save(job["checkpoint"])
    if job.get("parameters"):
        with open(job["parameters"], "wb") as f:
            for i in weighted(m):
                f.write(m.weights(i))
                f.write(m.bias(i))
    result = {"before": [before.loss, before.accuracy], "after": [after.loss, after.accuracy]}
    result["bytes"] = m.plan()["total"]
    result["layers"] = [[type(m.layers[i]).__name__, len(m.bias(i))] for i in weighted(m)]
    print(json.dumps(result))


run(json.loads(sys.stdin.readline()))
