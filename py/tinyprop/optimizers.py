"""Optimisers: objects that only hold their settings."""

from micropython import const

from .layers import _choice

_ROWS = const(("lazy", "exact"))


def short_float(v):
    """The shortest number that has the same float32, 0.05 rather than 0.0500000007."""
    return float("%.7g" % v)


class Settings:
    """What optimisers and policies have in common: attributes, named in the order of their
    arguments, and _spec, the same as the tuple that the core takes."""

    _names = ()

    def _keep(self, *values):
        for name, value in zip(self._names, values):
            setattr(self, name, value)

    def __repr__(self):
        settings = ["%s=%r" % (name, getattr(self, name)) for name in self._names]
        return "%s(%s)" % (type(self).__name__, ", ".join(settings))


class SGD(Settings):
    """SGD(lr=0.05, momentum=0.0, weight_decay=0.0, rows="lazy")

    rows matters where a policy keeps only some rows of a layer: "lazy" leaves the others alone,
    "exact" gives them the step of a zero gradient (momentum, decay), at the cost of a dense pass.
    """

    _names = ("lr", "momentum", "weight_decay", "rows")

    def __init__(self, lr=0.05, momentum=0.0, weight_decay=0.0, rows="lazy"):
        self._keep(lr, momentum, weight_decay, rows)
        rows = _choice("rows", rows, _ROWS)
        self._spec = (0, rows, lr, momentum, weight_decay, 0.9, 0.999, 1e-7)


class Adam(Settings):
    """Adam(lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0, rows="lazy")"""

    _names = ("lr", "beta_1", "beta_2", "epsilon", "weight_decay", "rows")

    def __init__(
        self, lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0, rows="lazy"
    ):
        self._keep(lr, beta_1, beta_2, epsilon, weight_decay, rows)
        rows = _choice("rows", rows, _ROWS)
        self._spec = (1, rows, lr, 0.0, weight_decay, beta_1, beta_2, epsilon)


def restored_optimizer(spec):
    """The object for what _tinyprop.Model.optimizer() returns."""
    lr, momentum, decay, beta_1, beta_2, epsilon = map(short_float, spec[2:])
    rows = _ROWS[spec[1]]
    if spec[0] == 0:
        return SGD(lr, momentum, decay, rows)
    return Adam(lr, beta_1, beta_2, epsilon, decay, rows)


def to_optimizer(value):
    """An optimiser object; a name stands for its defaults."""
    if value is None or value == "sgd":
        return SGD()
    if value == "adam":
        return Adam()
    if not isinstance(value, (SGD, Adam)):
        raise ValueError("optimizer %r is not known: SGD(...), Adam(...)" % (value,))
    return value
