"""Optimisers and training policies (which samples train, and which rows of a layer). Objects that
only hold settings; the formulas are in the core. All defaults are in this file."""

from micropython import const

from .layers import _choice, _refuse

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


# In the order of the core. What a policy does not use gets the value that means "dense".
_NAMES = const(
    (
        "beta_mode",
        "dense_output",
        "backoff",
        "ratio",
        "s_min",
        "s_max",
        "zeta",
        "d_min",
        "d_max",
        "threshold",
        "ymax_decay",
        "k",
        "warmup",
        "max_skips",
        "rescale",
    )
)
_NEUTRAL = const((0, 0, 0, 1, 1, 1, 1, 0, 1, -1, 1, 0, 0, 0, 0))


class _Policy(Settings):
    _kind = 0

    def _set(self, *values):
        self._keep(*values)
        spec = [self._kind]
        for name, neutral in zip(_NAMES, _NEUTRAL):
            spec.append(getattr(self, name) if name in self._names else neutral)
        self._spec = tuple(spec)


class Full(_Policy):
    """Full(): every sample trains every row."""

    def __init__(self):
        self._set()


class TopK(_Policy):
    """TopK(k) or TopK(ratio=r): hidden layers update the k (or r * units) rows with the largest
    error (meProp). The output layer is dense."""

    _kind = 1

    def __init__(self, k=None, ratio=None):
        if (k is None) == (ratio is None):
            raise ValueError("TopK takes either k or ratio")
        if k is None:
            self._names = ("ratio",)
            self._set(ratio)
        else:
            if not isinstance(k, int) or k < 1:
                _refuse("k", k)
            self._names = ("k",)
            self._set(k)


class TinyProp(_Policy):
    """TinyProp(s_min=0.1, s_max=0.9, zeta=0.5, dense_output=False, rescale=False,
    ymax_decay=1.0)

    The share of rows of a layer follows its error: S = (s_min + Y / Ymax (s_max - s_min)) *
    zeta ** (distance from the output). Defaults of the authors' code.
    """

    _kind = 2
    _names = ("s_min", "s_max", "zeta", "dense_output", "rescale", "ymax_decay")

    def __init__(
        self, s_min=0.1, s_max=0.9, zeta=0.5, dense_output=False, rescale=False, ymax_decay=1.0
    ):
        self._set(s_min, s_max, zeta, dense_output, rescale, ymax_decay)


class TinyPropV2(_Policy):
    """TinyPropV2(s_min=0.2, s_max=1.0, zeta=1.0, d_min=0.0, d_max=1.0, threshold=0.05,
    beta_mode=0, dense_output=True, rescale=True, ymax_decay=1.0, warmup=0, max_skips=0, backoff=0)

    TinyProp, and samples whose error is small (decision metric D <= threshold) are not trained at
    all. The first `warmup` samples always train; after `max_skips` skips in a row one trains (0 =
    off). backoff=g: fit() leaves a skipped sample out for 1, 2, 4 .. g epochs, g up to 31.
    dense_output keeps all rows of the last layer; rescale lets the kept rows carry the error of
    the whole layer. How the defaults were found: docs/defaults.md.
    """

    _kind = 3
    _names = (
        "s_min",
        "s_max",
        "zeta",
        "d_min",
        "d_max",
        "threshold",
        "beta_mode",
        "dense_output",
        "rescale",
        "ymax_decay",
        "warmup",
        "max_skips",
        "backoff",
    )

    def __init__(
        self,
        s_min=0.2,
        s_max=1.0,
        zeta=1.0,
        d_min=0.0,
        d_max=1.0,
        threshold=0.05,
        beta_mode=0,
        dense_output=True,
        rescale=True,
        ymax_decay=1.0,
        warmup=0,
        max_skips=0,
        backoff=0,
    ):
        self._set(
            s_min,
            s_max,
            zeta,
            d_min,
            d_max,
            threshold,
            beta_mode,
            dense_output,
            rescale,
            ymax_decay,
            warmup,
            max_skips,
            backoff,
        )


def restored_policy(spec):
    """The object for what _tinyprop.Model.policy() returns."""
    kind = (Full, TopK, TinyProp, TinyPropV2)[spec[0]]
    names = kind._names
    if kind is TopK:
        names = ("k",) if spec[12] else ("ratio",)
    settings = {}
    for name, value in zip(_NAMES, spec[1:]):
        if name in names:
            if name in ("dense_output", "rescale"):
                value = bool(value)
            settings[name] = short_float(value) if isinstance(value, float) else value
    return kind(**settings)


def to_policy(value):
    if value is None:
        return TinyPropV2()
    if not isinstance(value, _Policy):
        raise ValueError(
            "policy %r is not known: Full(), TopK(...), TinyProp(...), TinyPropV2(...)" % (value,)
        )
    return value
