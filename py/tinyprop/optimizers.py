"""Optimisers: objects that only hold their settings."""

_ROWS = ("lazy", "exact")


def short_float(v):
    """The shortest number that has the same float32, 0.05 rather than 0.0500000007."""
    return float("%.7g" % v)


class _Optimizer:
    def __init__(self, kind, rows, lr, momentum, weight_decay, beta_1, beta_2, epsilon):
        if rows not in _ROWS:
            raise ValueError("rows %r is not known: lazy, exact" % (rows,))
        self.rows = rows
        self.lr = lr
        self.weight_decay = weight_decay
        row_mode = _ROWS.index(rows)
        self._spec = (kind, row_mode, lr, momentum, weight_decay, beta_1, beta_2, epsilon)


class SGD(_Optimizer):
    """SGD(lr=0.05, momentum=0.0, weight_decay=0.0, rows="lazy")

    rows matters where a policy keeps only some rows of a layer: "lazy" leaves the others alone,
    "exact" gives them the step of a zero gradient (momentum, decay), at the cost of a dense pass.
    """

    def __init__(self, lr=0.05, momentum=0.0, weight_decay=0.0, rows="lazy"):
        super().__init__(0, rows, lr, momentum, weight_decay, 0.9, 0.999, 1e-7)
        self.momentum = momentum

    def __repr__(self):
        settings = (self.lr, self.momentum, self.weight_decay, self.rows)
        return "SGD(lr=%g, momentum=%g, weight_decay=%g, rows=%r)" % settings


class Adam(_Optimizer):
    """Adam(lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0, rows="lazy")"""

    def __init__(
        self, lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0, rows="lazy"
    ):
        super().__init__(1, rows, lr, 0.0, weight_decay, beta_1, beta_2, epsilon)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def __repr__(self):
        s = "Adam(lr=%g, beta_1=%g, beta_2=%g, epsilon=%g, weight_decay=%g, rows=%r)"
        settings = (self.lr, self.beta_1, self.beta_2, self.epsilon)
        return s % (settings + (self.weight_decay, self.rows))


def restored_optimizer(spec):
    """The object for what _tinyprop.Model.optimizer() returns."""
    rows = _ROWS[spec[1]]
    lr, momentum, decay, beta_1, beta_2, epsilon = (short_float(v) for v in spec[2:])
    if spec[0] == 0:
        return SGD(lr, momentum, decay, rows)
    return Adam(lr, beta_1, beta_2, epsilon, decay, rows)


def to_optimizer(value):
    """An optimiser object; a name stands for its defaults."""
    if value is None or value == "sgd":
        return SGD()
    if value == "adam":
        return Adam()
    if not isinstance(value, _Optimizer):
        raise ValueError("optimizer %r is not known: SGD(...), Adam(...)" % (value,))
    return value
