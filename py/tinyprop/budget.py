"""What to train under a budget of bytes: the work of Sequential.plan(layers, budget=...)."""

import gc

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


def _first(wish):
    return wish[0]


class _Search:
    def __init__(self, layers, settings):
        self.layers, self.spec, places, self.shapes = describe(layers, **settings)
        # A row: label, kind, .., 4 trainable, .., 15 how many filters, ..; see layers._row.
        self.all = list(self.spec[8])
        self.rows = [r for r in range(len(self.all)) if self.all[r][1] <= 3]
        self.places = [places[r] for r in self.rows]
        self.filters = [self.shapes[r][-1] for r in self.rows]
        self.train = [None] * len(self.rows)
        self.calls = 0

    def set(self, i, part):
        """Layer i trains this part."""
        if self.train[i] == part and isinstance(part, bool) == isinstance(self.train[i], bool):
            return
        self.train[i] = part
        y = self.all[self.rows[i]]
        kind = 1 if part == "bias" else 2 if part else 0
        first = 0 if kind < 2 or part is True else part
        self.all[self.rows[i]] = y[:4] + (kind,) + y[5:15] + (first,) + y[16:]

    def biases(self, k):
        """The last k layers train their biases."""
        n = len(self.rows)
        for i in range(n):
            self.set(i, "bias" if i >= n - k else False)

    def plan(self):
        # The block will need one large piece: leave no garbage high up in the heap.
        self.calls += 1
        if self.calls % 16 == 0:
            gc.collect()
        return _tinyprop.plan(self.spec[:8] + (tuple(self.all),) + self.spec[9:])

    def bytes_with(self, i, part):
        before = self.train[i]
        self.set(i, part)
        n = self.plan()[0]
        self.set(i, before)
        return n

    def part(self, i, ratio):
        n = max(1, int(self.filters[i] * ratio + 0.5))
        return True if n >= self.filters[i] else n

    def with_biases(self, k, budget, gains):
        """The best found with the last k biases: (gain, train), None if they are too much."""
        biases, ratios, weights = gains
        n = len(self.rows)
        self.biases(k)
        start = self.plan()[0]
        if start > budget:
            return None
        wishes = []
        for i in range(n - k, n):
            for ratio, gain in zip(ratios, weights[i]):
                if gain > 0:
                    part = self.part(i, ratio)
                    more = self.bytes_with(i, part) - start
                    wishes.append((gain / max(more, 1), gain, i, part))
        # The most for a byte first; a larger share of a layer takes the place of a smaller one.
        wishes.sort(key=_first, reverse=True)
        got = [0] * n
        for _, gain, i, part in wishes:
            if gain > got[i] and self.bytes_with(i, part) <= budget:
                self.set(i, part)
                got[i] = gain
        return biases[k] + sum(got), list(self.train)

    def refuse(self, budget):
        self.biases(1)
        plan = self.plan()
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


def choose(layers, budget, contributions=None, **settings):
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
    del best, found
    gc.collect()
    train = list(train)
    for place, part in zip(search.places, train):
        search.layers[place].trainable = part
    for i, part in enumerate(train):
        search.set(i, part)
    choice = Choice(zip(_PLAN, search.plan()))
    choice["budget"], choice["gain"], choice["train"] = budget, gain, train
    choice["names"] = [search.spec[8][r][0] for r in search.rows]
    return choice
