"""Update of parameters by SGD, SGD with momentum or Adam."""

import numpy as np

from .numerics import F32, ONE


class Slots:
    """One group of parameters (W or b of a layer) with what the optimiser remembers of it.

    m: momentum or first moment, v: second moment, sum: gradient of the mini-batch, kept: rows
    that have a part in it.
    """

    def __init__(self, values, trains):
        self.values = values
        self.trains = trains
        self.m, self.v, self.sum = (np.zeros_like(values) for _ in range(3))
        self.kept = np.zeros(len(values), bool)


class Stepper:
    """The formulas of DESIGN.md, "Update of a kept row"."""

    def __init__(self, opt):
        self.beta1_t = self.beta2_t = ONE
        self.set(opt)

    def set(self, opt):
        self.opt = opt
        self.lr, self.momentum = F32(opt.lr), F32(opt.momentum)
        self.weight_decay = F32(opt.weight_decay)
        self.decay = ONE - self.lr * self.weight_decay
        self.beta1, self.beta2, self.eps = F32(opt.beta1), F32(opt.beta2), F32(opt.eps)

    @property
    def is_plain(self):
        return self.opt.kind == "sgd" and self.opt.momentum == 0

    def begin(self):
        """A training step starts."""
        if self.opt.kind == "adam":
            self.beta1_t = self.beta1_t * self.beta1
            self.beta2_t = self.beta2_t * self.beta2

    def product(self, p, rows, delta, x, decays=True):
        """Step of the rows whose gradient is delta[rows] * x, as taken at batch 1."""
        if not self.is_plain:
            self.gradient(p, rows, delta * x, decays)
        elif decays and self.opt.weight_decay != 0:
            p.values[rows] = self.decay * p.values[rows] - (self.lr * delta) * x
        else:
            p.values[rows] = p.values[rows] - (self.lr * delta) * x

    def gradient(self, p, rows, g, decays=True):
        """Step of the rows whose gradient is g."""
        w = p.values[rows]
        decays = decays and self.opt.weight_decay != 0
        if self.is_plain:
            p.values[rows] = (self.decay * w if decays else w) - self.lr * g
            return
        if decays:
            g = g + self.weight_decay * w
        if self.opt.kind == "sgd":
            p.m[rows] = self.momentum * p.m[rows] + g
            p.values[rows] = w - self.lr * p.m[rows]
            return
        p.m[rows] = self.beta1 * p.m[rows] + (ONE - self.beta1) * g
        p.v[rows] = self.beta2 * p.v[rows] + ((ONE - self.beta2) * g) * g
        rate = (self.lr * np.sqrt(ONE - self.beta2_t)) / (ONE - self.beta1_t)
        p.values[rows] = w - (rate * p.m[rows]) / (np.sqrt(p.v[rows]) + self.eps)
