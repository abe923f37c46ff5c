"""What to train under a budget of bytes: the work of Sequential.plan(layers, budget=...)."""

import _tinyprop

from .sequential import _PLAN, describe, table

# Shares of the filters of a layer that may train.
RATIOS = (1.0, 0.5, 0.25, 0.125)


class Choice(dict):
    """What Sequential.plan(layers, budget=...) returns: the bytes, as plan() of a model, and what
    was chosen; prints as a table.

    train: what the layers with weights train, in their order: True, False, "bias" or how many of
    the first filters. gain: the sum of their contributions. budget, names.
    """

    def __repr__(self):
        rows = [["layer", "trains"]]
        for name, part in zip(self["names"], self["train"]):
            if not isinstance(part, bool):
                part = "bias" if part == "bias" else "first %d" % part
            rows.append([name, ("-", "all")[part] if isinstance(part, bool) else part])
        text = "%d bytes of %d: %s"
        parts = ", ".join("%s %d" % (n, self[n]) for n in _PLAN[2:] if self[n])
        return table(rows, 2) + "\n" + text % (self["total"], self["budget"], parts)

    __str__ = __repr__


def _gains(contributions, n):
    """Gains of the last 0, 1 .. n biases; shares; gains of the weights of each layer at these."""
    if contributions is None:
        # Layers near the output first; weights before another bias, and half of them do most.
        biases, weights, gain = [0], [], 1.0
        for _ in range(n):
            biases.append(biases[-1] + gain / 4)
            weights.insert(0, [gain * r**0.5 for r in RATIOS])
            gain *= 0.8
        return biases, RATIOS, weights
    try:
        biases, ratios, weights = [contributions[k] for k in ("biases", "ratios", "weights")]
    except KeyError as e:
        raise ValueError("the contributions lack %r" % e.args[0])
    if len(weights) != n or len(biases) != n:
        raise ValueError(
            "contributions of %d biases and the weights of %d layers, the model has %d of each"
            % (len(biases), len(weights), n)
        )
    return [0] + list(biases), ratios, weights


class _Search:
    def __init__(self, layers, settings):
        self.layers, self.spec, places, self.shapes = describe(layers, **settings)
        # A row: label, kind, .., 4 trainable, .., 15 how many filters, ..; see layers._row.
        rows = self.spec[8]
        self.rows = [r for r in range(len(rows)) if rows[r][1] <= 3]
        self.places = [places[r] for r in self.rows]
        self.filters = [self.shapes[r][-1] for r in self.rows]

    def plan(self, train):
        rows = list(self.spec[8])
        for r, part in zip(self.rows, train):
            y = rows[r]
            kind = 1 if part == "bias" else 2 if part else 0
            first = 0 if kind < 2 or part is True else part
            rows[r] = y[:4] + (kind,) + y[5:15] + (first,) + y[16:]
        return _tinyprop.plan(self.spec[:8] + (tuple(rows),) + self.spec[9:])

    def bytes(self, train, i=None, part=None):
        """Of the model that trains so, but for layer i."""
        if i is None:
            return self.plan(train)[0]
        before = train[i]
        train[i] = part
        n = self.plan(train)[0]
        train[i] = before
        return n

    def part(self, i, ratio):
        n = max(1, int(self.filters[i] * ratio + 0.5))
        return True if n >= self.filters[i] else n

    def with_biases(self, k, budget, gains):
        """The best found with the last k biases: (gain, train), None if they are too much."""
        biases, ratios, weights = gains
        n = len(self.rows)
        train = [False] * (n - k) + ["bias"] * k
        start = self.bytes(train)
        if start > budget:
            return None
        wishes = []
        for i in range(n - k, n):
            for ratio, gain in zip(ratios, weights[i]):
                if gain > 0:
                    part = self.part(i, ratio)
                    more = self.bytes(train, i, part) - start
                    wishes.append((gain / max(more, 1), gain, i, part))
        # The most for a byte first; a larger share of a layer takes the place of a smaller one.
        wishes.sort(key=lambda wish: -wish[0])
        got = [0] * n
        for _, gain, i, part in wishes:
            if gain > got[i]:
                if self.bytes(train, i, part) <= budget:
                    train[i], got[i] = part, gain
        return biases[k] + sum(got), train

    def refuse(self, budget):
        n = len(self.rows)
        plan = self.plan([False] * (n - 1) + ["bias"])
        most = max(range(2, len(_PLAN) - 1), key=lambda i: plan[i])
        text = "the budget of %d bytes is too small: the least possible are %d (only the bias of"
        text = text % (budget, plan[0]) + " %s trains), most of them %s, %d bytes"
        text %= (self.spec[8][self.rows[-1]][0], _PLAN[most], plan[most])
        if _PLAN[most] == "activations":
            size = 0
            for r, shape in enumerate(self.shapes):
                values = 1
                for d in shape:
                    values *= d
                if values > size:
                    size, label = values, self.spec[8][r][0]
            text += "; the largest output is that of %s, %d bytes" % (label, 4 * size)
        elif _PLAN[most] == "parameters":
            text += "; those of layers with external=True need no RAM where they do not train"
        raise ValueError(text)


def choose(layers, budget, contributions, settings):
    search = _Search(layers, settings)
    n = len(search.rows)
    gains = _gains(contributions, n)
    best = None
    for k in range(1, n + 1):
        found = search.with_biases(k, budget, gains)
        if found and (best is None or found[0] > best[0]):
            best = found
    if best is None:
        search.refuse(budget)
    gain, train = best
    for place, part in zip(search.places, train):
        search.layers[place].trainable = part
    choice = Choice(zip(_PLAN, search.plan(train)))
    choice["budget"], choice["gain"], choice["train"] = budget, gain, train
    choice["names"] = [search.spec[8][r][0] for r in search.rows]
    return choice
