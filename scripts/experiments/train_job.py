"""One training run, on MicroPython: micropython train_job.py < job.json.

The job, one line of JSON: train, test (Dataset files), hidden (units of the hidden layers),
policy ([name, settings]), lr, epochs, seed, curve (evaluate after every epoch). The learning rate
falls in a straight line to a tenth of lr. Prints one JSON object per line: {"epoch": ...} with
curve, and {"result": ...} at the end. Runs on any port with the files at hand.
"""

import json
import sys

import tinyprop as tp


def score(m, test):
    return 100 * m.evaluate(test, confusion=False).accuracy


def efforts(m):
    s = m.stats()
    names = ("effort_backward", "effort_total", "policy_effort_backward", "policy_effort_total")
    r = {name: s[name] for name in names}
    seen = s["seen"] or 1
    r["skipped_share"] = (s["skipped"] + s["waited"]) / seen
    r["waited_share"] = s["waited"] / seen
    return r


def run(job):
    train, test = tp.Dataset(job["train"]), tp.Dataset(job["test"])
    name, settings = job["policy"]
    layers = [tp.Dense(n, activation="relu") for n in job["hidden"]]
    m = tp.Sequential(
        [train.input(), tp.Flatten()] + layers + [tp.Dense(train.classes)],
        optimizer=tp.SGD(lr=job["lr"]),
        policy=getattr(tp, name)(**settings),
        seed=job["seed"],
    )
    epochs, lr, curve = job["epochs"], job["lr"], job.get("curve")

    def after_epoch(info):
        if curve:
            point = efforts(m)
            point["accuracy"] = score(m, test)
            point["epoch"] = info["epoch"]
            print(json.dumps({"epoch": point}))
        m.lr = lr * (1 - 0.9 * info["epoch"] / epochs)

    m.fit(train, epochs=epochs, callback=after_epoch, verbose=0)
    result = efforts(m)
    result["accuracy"] = score(m, test)
    result["block_bytes"] = m.plan()["total"]
    sizes = [train.x.size] + job["hidden"] + [train.classes]
    result["model"] = "-".join(["mlp"] + [str(n) for n in sizes])
    if curve:
        result["layers"] = m.stats()["layers"]
    print(json.dumps({"result": result}))


run(json.loads(sys.stdin.readline()))
