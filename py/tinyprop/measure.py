"""Where the time of a training step goes, and what sparse training saves of it."""

from array import array
from time import ticks_diff, ticks_us

import _tinyprop
from micropython import const

from .layers import Dense, Input
from .policies import Full, TinyPropV2, TopK
from .sequential import Sequential, table

# The made-up data of benchmark(): so many samples of 64 values.
_SAMPLES = const(100)
_PIECE = const(2048)
_LINES = const(
    (
        "layer",
        "forward",
        "select",
        "dx",
        "update",
        "time",
        "macs_forward",
        "macs_backward",
        "effort",
    )
)
_POLICIES = const(
    ("policy", "us", "speedup", "effort_total", "effort_backward", "loss", "accuracy")
)


class Report(list):
    """A list of dicts that prints as a table."""

    def __repr__(self):
        head = _LINES if "layer" in self[0] else _POLICIES
        rows = [head]
        for line in self:
            row = []
            for name in head:
                v = line[name]
                if isinstance(v, float):
                    v = "%.*f" % (1 if v >= 100 else 3, v)
                row.append("-" if v is None else v)
            rows.append(row)
        return table(rows)

    __str__ = __repr__


def profile(model, x, y, repeat=1, clock=None):
    clock = clock or ticks_us
    m = model._m
    n = m.info()[0]
    # In pieces: the model itself lies in the middle of what is free.
    size, pieces = m.info()[8], []
    try:
        for at in range(0, size, _PIECE):
            pieces.append(bytearray(min(_PIECE, size - at)))
    except MemoryError:
        pieces = None
        raise MemoryError("profile() needs %d bytes for a copy of the model" % size)
    sums = array("i", bytes(24 * (n + 1)))
    for _ in range(repeat):
        m.profile(x, y, clock, pieces, sums)
    report = Report()
    total = [0] * 7
    for r in range(n + 1):
        cells = [v / repeat for v in sums[6 * r : 6 * r + 4]]
        macs = [v // repeat for v in sums[6 * r + 4 : 6 * r + 6]]
        name, dense = "x, loss", 0
        if r < n:
            at = model._places[r]
            name = "%d %s" % (at, type(model.layers[at]).__name__)
            row = m.layer(r)
            # Forward, gradient, and d of the source where that is not the input.
            dense = row[15] * row[16] * row[17] * row[23] * (3 if row[11] else 2)
        cells = cells + macs + [dense]
        total = [a + b for a, b in zip(total, cells)]
        report.append(_line(name, cells))
    report.append(_line("all", total))
    return report


def _line(name, cells):
    effort = (cells[4] + cells[5]) / cells[6] if cells[6] else None
    return dict(zip(_LINES, [name] + cells[:4] + [sum(cells[:4])] + cells[4:6] + [effort]))


def _samples():
    """Ten classes: each has its own 32 of 64 values, of which a sample shows some."""
    x, y = bytearray(64 * _SAMPLES), bytearray(_SAMPLES)
    for i in range(_SAMPLES):
        y[i] = i % 10
        for j in range(32):
            at = 64 * i + _tinyprop.permute(j, 64, y[i])
            x[at] = _tinyprop.permute(j, 256, i) if (i + j) % 3 else 0
    return x, y


def benchmark(layers=None, data=None, policies=None, epochs=10, seed=1, verbose=1, **settings):
    if layers is None:
        layers = [Input(64, scale=1 / 255), Dense(32, "relu"), Dense(10)]
    if data is None:
        data = _samples()
    if policies is None:
        policies = Full(), TopK(ratio=0.1), TinyPropV2(), TinyPropV2(backoff=8)
    report = Report()
    for policy in policies:
        m = None  # its memory is for the next one
        m = Sequential(layers, policy=policy, seed=seed, **settings)
        if epochs > 1:
            m.fit(data, epochs - 1, verbose=0)
        m.reset_stats()
        started = ticks_us()
        info = m.fit(data, verbose=0).info
        us = ticks_diff(ticks_us(), started)
        if info["ms"] > 100000:  # the other clock may have wrapped
            us = 1000 * info["ms"]
        us /= info["seen"]
        name = type(policy).__name__ + ("+backoff" if getattr(policy, "backoff", 0) else "")
        speedup = report[0]["us"] / us if report else 1.0
        accuracy = m.evaluate(data, confusion=False).accuracy
        values = (name, us, speedup, info["effort_total"], info["effort_backward"])
        report.append(dict(zip(_POLICIES, values + (info["loss"], accuracy))))
    if verbose:
        print(report)
    return report
