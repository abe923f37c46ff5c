"""Train a reference model a few steps and print what it takes, on any board with tinyprop.

JOB holds: model, network (function of it), budget (0: all trains, in RAM), steps, and where the
parameters of a budgeted model are: file, and romfs where that is in an image in memory (address,
bytes). It may hold contributions (a table for the plan) and recompute (numbers of layers). Prints
one line of JSON.
"""

import gc
import json
import struct
from array import array

import _tinyprop
import tinyprop as tp


def external(job):
    if job.get("romfs"):
        import uctypes
        import vfs

        address, size = job["romfs"]
        vfs.mount(vfs.VfsRom(uctypes.bytearray_at(address, size)), "/parameters")
        return open("/parameters/" + job["file"], "rb")
    with open(job["file"], "rb") as f:
        return f.read()


def job_of(job):
    network = __import__(job["model"])
    loss = getattr(network, "LOSS", "softmax_cross_entropy")
    settings = dict(loss=loss, optimizer=tp.SGD(lr=2**-10), policy=tp.Full())
    budget, parameters, result = job["budget"], None, {}
    plain = getattr(network, job["network"])()[0].shape
    # Bytes become -1 .. 1, by numbers that are exact in binary.
    layers = getattr(network, job["network"])(tp.Input(plain, 1 / 128, -1), external=budget > 0)
    n = 1
    for d in plain:
        n *= d
    x = bytearray(n)
    for i in job.get("recompute", ()):
        layers[i].recompute = True
    if budget:
        parameters = external(job)
        choice = tp.Sequential.plan(layers, budget, job.get("contributions"), **settings)
        result["train"] = choice["train"]
    gc.collect()
    used = gc.mem_alloc()
    m = tp.Sequential(layers, external=parameters, **settings)
    gc.collect()
    result["heap"] = gc.mem_alloc() - used
    result["plan"] = m.plan()
    result["macs"] = m._m.counters()[-2:]
    y = 1
    result["losses"] = []
    for step in range(job["steps"]):
        for i in range(n):
            x[i] = (i * 37 + step * 101 + (i >> 5) * 11) & 255
        if loss[0] == "m":
            y = array("f", [v / 128 - 1 for v in x])
        loss_of = m.train_step(x, y)
        result["losses"].append("%08x" % struct.unpack("<I", struct.pack("<f", loss_of))[0])
    # What a checkpoint holds: everything that trained.
    result["crc"] = _tinyprop.crc32(memoryview(m._m.block)[: result["plan"]["persist"]])
    return result


print(json.dumps(job_of(JOB)))  # noqa: F821
