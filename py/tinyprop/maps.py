"""Layers on maps, (height, width, channels), and what branches; small firmware is built without.

tinyprop takes over every name of this file that starts without an underscore.
"""

from .layers import _SELECTS, _choice, _Layer, _refuse, _size

_PADDINGS = ("valid", "same")


def _pair(what, value):
    """A number, or one for the height and one for the width."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        _refuse(what, value, "a number or two")
    for n in pair:
        if not isinstance(n, int) or not 1 <= n <= 255:
            _refuse(what, n, "1..255")
    return pair


class _Window(_Layer):
    """A layer that looks at its map through a window."""

    _flat = False  # 1D: works on (steps, channels) as maps of height 1
    kernel = strides = (0, 0)
    padding = "valid"

    def _set_window(self, kernel, strides, padding):
        _choice("padding", padding, _PADDINGS)
        kernel, strides = _pair("kernel_size", kernel), _pair("strides", strides)
        if self._flat:
            kernel, strides = (1, kernel[1]), (1, strides[1])
        self.kernel = kernel
        self.strides = strides
        self.padding = padding

    @property
    def _window(self):
        return self.kernel + self.strides + (_PADDINGS.index(self.padding),)

    def _out(self, shape, name):
        wanted = 2 if self._flat else 3
        whole = not self.kernel[0]
        if len(shape) != wanted and not (whole and len(shape) == 2):
            text = "(steps, channels)" if wanted == 2 else "(height, width, channels)"
            raise ValueError("%stakes %s, gets shape %r" % (name, text, shape))
        channels = shape[-1]
        if self._kind == 2:
            channels = self.units
        elif self._kind == 3:
            channels *= self.units
        if whole:
            return (channels,)
        sides = ()
        for i in range(wanted - 1):
            size, k, stride = (v[i + 1 - wanted] for v in (shape[:-1], self.kernel, self.strides))
            if self.padding == "same":
                size += stride - 1
            elif k > size:
                raise ValueError("%skernel_size %d, the map has %d" % (name, k, size))
            else:
                size += stride - k
            sides += (size // stride,)
        return sides + (channels,)

    def __repr__(self):
        text = type(self).__name__ + "("
        if self._kind == 2:
            text += "%r, " % self.units
        if self.kernel[0]:
            text += "%r, strides=%r, padding=%r, " % (self.kernel, self.strides, self.padding)
        return _ended(text, self.activation)


class _Same(_Layer):
    """A layer whose output has the shape of its map."""

    def _out(self, shape, name):
        return shape

    def __repr__(self):
        return _ended(type(self).__name__ + "(", self.activation)


def _ended(text, activation):
    if activation != "linear":
        text += "activation=%r, " % activation
    return text.rstrip(", ") + ")"


class Conv2D(_Window):
    """Conv2D(filters, kernel_size, strides=1, padding="valid", activation="linear", init="auto",
    trainable=True, slope=0.01, select="elements", after=None, external=False)

    Maps are (height, width, channels). padding: valid, same (zeros around the map). select: what a
    policy keeps of this layer, single errors or whole "channels". The rest as in Dense.
    """

    _kind = 2

    def __init__(self, filters, kernel_size, strides=1, padding="valid", *rest, **options):
        self.units = filters
        self._set_window(kernel_size, strides, padding)
        self._set(*rest, **options)


class Conv1D(Conv2D):
    """Conv1D(filters, kernel_size, ...): as Conv2D, along samples of (steps, channels)."""

    _flat = True


class DepthwiseConv2D(Conv2D):
    """DepthwiseConv2D(kernel_size, strides=1, padding="valid", depth_multiplier=1, ...): every
    channel on its own, with so many filters. The rest as in Conv2D."""

    _kind = 3

    def __init__(
        self, kernel_size, strides=1, padding="valid", depth_multiplier=1, *rest, **options
    ):
        super().__init__(depth_multiplier, kernel_size, strides, padding, *rest, **options)


class BatchNormalization(DepthwiseConv2D):
    """BatchNormalization(gamma=None, beta=None, moving_mean=None, moving_variance=None,
    epsilon=0.001, trainable=True, after=None, external=False): per channel x * scale + shift.

    Samples come one by one, so nothing is averaged over a batch: the moments of a trained network
    are folded into scale and shift here, and these are what trains.
    """

    def __init__(
        self,
        gamma=None,
        beta=None,
        moving_mean=None,
        moving_variance=None,
        epsilon=0.001,
        **options,
    ):
        super().__init__(1, init="ones", **options)
        self.moments = (gamma, beta, moving_mean, moving_variance, epsilon)

    def _out(self, shape, name):
        return shape

    def _start(self, w, b):
        gamma, beta, mean, variance, epsilon = self.moments
        w = w.reshape((len(b),))
        for c in range(len(b)):
            scale = 1.0 if gamma is None else gamma[c]
            if variance is not None:
                scale /= (variance[c] + epsilon) ** 0.5
            w[c] = scale
            b[c] = (0.0 if beta is None else beta[c]) - (0.0 if mean is None else mean[c] * scale)


class MaxPooling2D(_Window):
    """MaxPooling2D(pool_size=2, strides=None, padding="valid", after=None); strides: pool_size if
    None."""

    _kind = 4

    def __init__(self, pool_size=2, strides=None, padding="valid", after=None):
        self._set_window(pool_size, pool_size if strides is None else strides, padding)
        self.after = after


class AveragePooling2D(MaxPooling2D):
    """AveragePooling2D(pool_size=2, strides=None, padding="valid", after=None): mean of what lies
    on the map."""

    _kind = 5


class MaxPooling1D(MaxPooling2D):
    """As MaxPooling2D, along (steps, channels)."""

    _flat = True


class AveragePooling1D(AveragePooling2D):
    """As AveragePooling2D, along (steps, channels)."""

    _flat = True


class GlobalMaxPooling2D(_Window):
    """The largest value of each channel, as a vector."""

    _kind = 4

    def __init__(self, after=None):
        self.after = after


class GlobalAveragePooling2D(GlobalMaxPooling2D):
    """The mean of each channel, as a vector."""

    _kind = 5


GlobalAveragePooling1D = GlobalAveragePooling2D
GlobalMaxPooling1D = GlobalMaxPooling2D


class Add(_Same):
    """Add(other, activation="linear", slope=0.01, after=None): the layer before (or `after`) plus
    the layer `other`, of the same shape."""

    _kind = 6

    def __init__(self, other, activation="linear", slope=0.01, after=None):
        self._set(activation, trainable=False, slope=slope, after=after)
        self.other = other

    def _index(self, layers, i, name, shape, shapes):
        """Position of the layer to add, whose shape is that of the other one."""
        at = _index(layers, self.other, i, name)
        if shapes[at] != shape:
            raise ValueError(
                "%sadds shape %r and, of layer %d, shape %r" % (name, shape, at, shapes[at])
            )
        return at


class Dropout(_Same):
    """Dropout(rate, after=None): while training each value is 0 with this probability, else
    / (1 - rate)."""

    _kind = 7

    def __init__(self, rate, after=None):
        self.slope = rate
        self.after = after


def _shape(shape):
    """(height, width, channels) of a sample, as the core sees it."""
    return (1,) * (3 - len(shape)) + shape if len(shape) < 4 else (1, 1, _size(shape))


def _index(layers, layer, i, name):
    for at in range(i):
        if layers[at] is layer:
            return at
    raise ValueError("%sthe layer %r is not before it" % (name, layer))


_KINDS = (Conv2D, DepthwiseConv2D, MaxPooling2D, AveragePooling2D, Add, Dropout)
_WHOLE = {4: GlobalMaxPooling2D, 5: GlobalAveragePooling2D}


def _load(model, y, maps):
    """The layer of a row of a model; what all layers have is set by restored_layers."""
    cls = _KINDS[y[0] - 2]
    if not y[5]:
        cls = _WHOLE.get(y[0], cls)
    layer = object.__new__(cls)
    layer.kernel = y[5:7]
    layer.strides = y[7:9]
    layer.padding = _PADDINGS[y[9]]
    layer.select = _SELECTS[y[10]]
    layer.other = maps[y[12]]
    if y[0] == 2:
        layer.units = y[17]
    elif y[0] == 3:  # filters per channel
        layer.units = y[17] // (model.layer(y[11] - 1)[17] if y[11] else model.info()[11])
    return layer
