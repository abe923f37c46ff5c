"""One job on MicroPython, any port: reads job.json in the working folder, works on the files
beside it, prints one JSON object a line.

The job: model ({"layers": [..]} or {"module": .., "arguments": ..}), classes, loss, optimizer and
policy ([name, settings]), rates (the learning rate of each epoch, float32 as hex), seed,
batch_size, curve (evaluate after every epoch), before (and before the first), scores (print the
loss of each test sample), start (the file to go on from: start.tp, or start.params, the parameters
one after the other; or none), trainable (what each layer with weights trains, or null for what it
says itself), keep (files to write: model.tp, model.params), describe (only make the model and tell
its size). Files: train.tpd, test.tpd (where there is a test part). Lines: {"scores": [..]},
{"epoch": ..}, {"result": ..}; or {"error": ..}.
"""

import json
import struct
import sys

import tinyprop as tp


def say(kind, value):
    print(json.dumps({kind: value}))


def rate(text):
    # Not as a decimal number: a board would round it once more.
    return struct.unpack("<f", bytes(int(text[i : i + 2], 16) for i in range(0, 8, 2)))[0]


def plain(value):
    return tuple(plain(v) for v in value) if isinstance(value, list) else value


def make(what, kind, settings):
    """An object of tinyprop from its name and its settings."""
    cls = getattr(tp, kind, None)
    if not isinstance(cls, type) or kind in ("Sequential", "Dataset", "Tensor", "FormatError"):
        raise ValueError("%s: tinyprop has no %s" % (what, kind))
    try:
        return cls(**{name: plain(value) for name, value in settings.items()})
    except (TypeError, ValueError) as e:
        raise ValueError("%s (%s): %s" % (what, kind, e))


def weighted(layers):
    """Places of the layers with weights."""
    return [i for i, y in enumerate(layers) if getattr(y, "_kind", 9) <= 3]


def layers(job, train):
    """All layers, training what the job says."""
    made = described(job["model"], train)
    parts = job["trainable"]
    if parts is not None:
        places = weighted(made)
        if len(parts) != len(places):
            what = "trainable has %d entries, the model %d layers with weights"
            raise ValueError(what % (len(parts), len(places)))
        for i, part in zip(places, parts):
            made[i].trainable = part
    return made


def described(model, train):
    """All layers. Of a file: what its layers(input, **arguments) gives. In a list "classes" is the
    number of classes or targets, and a layer that takes another one (`other`, `after`) says the
    `name` that one was given."""
    x = train.input()
    if "module" in model:
        sys.path.insert(0, "")
        network = __import__(model["module"])
        # Samples may have another shape with as many values: 28 x 28 for 28 x 28 x 1.
        x = tp.Input(network.layers()[0].shape, x.scale, x.offset)
        return network.layers(x, **model["arguments"])
    n = train.classes or train.targets
    made, named = [x], {}
    for i, settings in enumerate(model["layers"]):
        what = "layer %d" % (i + 1)
        settings = {k: n if v == "classes" else v for k, v in settings.items()}
        kind, name = settings.pop("layer"), settings.pop("name", None)
        for key in ("other", "after"):
            if key in settings:
                other = settings[key]
                if other not in named:
                    raise ValueError("%s (%s): no layer %r before it" % (what, kind, other))
                settings[key] = named[other]
        layer = make(what, kind, settings)
        made.append(layer)
        if name is not None:
            named[name] = layer
    return made


def parameters(m):
    """Weights and biases of all layers, one after the other."""
    for i in weighted(m.layers):
        yield memoryview(m.weights(i))
        yield memoryview(m.bias(i))


def read_parameters(m, path):
    with open(path, "rb") as f:
        for values in parameters(m):
            if f.readinto(values) != 4 * len(values):
                raise ValueError("%s is too short for the model" % path)


def write_parameters(m, path):
    with open(path, "wb") as f:
        for values in parameters(m):
            f.write(values)


def efforts(m, whole):
    """whole: dense multiply-accumulates, forward and backward, of the net that trains all."""
    s = m.stats()
    forward, backward = m._m.counters()[7:]
    shares = {"backward": backward / whole[1], "total": (forward + backward) / sum(whole)}
    r = {}
    for kind, share in shares.items():
        for name in ("effort_" + kind, "policy_effort_" + kind):
            r[name] = s[name] * share
    seen = s["seen"] or 1
    r["skipped_share"] = (s["skipped"] + s["waited"]) / seen
    r["waited_share"] = s["waited"] / seen
    r["seen"], r["trained"] = s["seen"], s["trained"]
    r["layers"] = [[y["name"], y["units"], y["mean_k"], y["macs"]] for y in s["layers"]]
    return r


def test_scores(m, test):
    """The loss of each test sample, a hundred a line."""
    scores = []
    for i in range(len(test)):
        scores.append("%.7g" % m.evaluate((test[i],), confusion=False).loss)
        if len(scores) == 100 or i + 1 == len(test):
            print('{"scores": [%s]}' % ", ".join(scores))
            scores = []


def score(job, m, test):
    if job["scores"]:
        test_scores(m, test)
        return {}
    e = m.evaluate(test, confusion=False)
    known = {} if e.accuracy is None else {"accuracy": 100 * e.accuracy}
    known["loss"] = e.loss
    return known


def run(job):
    train = tp.Dataset("train.tpd")
    test = tp.Dataset("test.tpd") if job["tests"] else None
    dtype = job["policy"][1].pop("dtype", "f32")
    optimizer, policy = make("optimizer", *job["optimizer"]), make("policy", *job["policy"])
    start = tp.load("start.tp") if job["start"] == "start.tp" else None
    if start and job["trainable"] is None:
        m = start
        m.set_optimizer(optimizer)
        m.set_policy(policy)
        m.reset_stats()
    else:
        m = tp.Sequential(
            layers(job, train),
            loss=job["loss"],
            optimizer=optimizer,
            policy=policy,
            seed=job["seed"],
            batch_size=job["batch_size"],
            dtype=dtype,
        )
    forward, backward = whole = (start or m)._m.counters()[7:]
    if start and start is not m:
        for to, values in zip(parameters(m), parameters(start)):
            to[:] = values
    elif job["start"] and not start:
        read_parameters(m, job["start"])
    start = None  # its memory is free again
    result = {"block_bytes": m.plan()["total"], "forward_macs": forward, "backward_macs": backward}
    result["inputs"], result["outputs"] = train.x.size, train.classes or train.targets
    result["filters"] = [len(m.bias(i)) for i in weighted(m.layers)]
    if job["describe"]:
        # One sample shows that data and model fit together.
        outputs = m.predict(train[0][0]).size
        if outputs != (train.classes or train.targets):
            what = "classes" if train.classes else "targets"
            n = train.classes or train.targets
            raise ValueError("the model has %d outputs, the data %d %s" % (outputs, n, what))
        say("result", result)
        return
    if job["before"] and test:
        point = score(job, m, test)
        point["epoch"] = 0
        say("epoch", point)
    rates = [rate(text) for text in job["rates"]]

    def after_epoch(info):
        done = info["epoch"]
        if test and (job["curve"] or done == len(rates)):
            point = efforts(m, whole)
            point.update(score(job, m, test))
            point["epoch"] = done
            say("epoch", point)
        if done < len(rates):
            m.lr = rates[done]

    if rates:
        m.lr = rates[0]
        m.fit(train, epochs=len(rates), callback=after_epoch, verbose=0)
    result.update(efforts(m, whole))
    for name in job["keep"]:
        m.save(name) if name == "model.tp" else write_parameters(m, name)
    say("result", result)


try:
    with open("job.json") as f:
        description = json.load(f)
    run(description)
except Exception as e:
    say("error", str(e) or type(e).__name__)
