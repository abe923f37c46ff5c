"""Layers: what a Sequential is made of. They hold the wish of the user; the numbers live in the
model block."""

from array import array

from micropython import const

_DENSE = const(1)
_CONV = const(2)
_DEPTHWISE = const(3)
_MAX = const(4)
_AVERAGE = const(5)
_ADD = const(6)
_DROPOUT = const(7)
_ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")
_INITS = const(("auto", "he", "glorot", "zeros", "ones"))
_TRAINABLE = const((False, "bias", True))
_PADDINGS = const(("valid", "same"))
_SELECTS = const(("elements", "channels"))
_FROM_INPUT = const(255)


def _choice(what, value, known):
    """Index of value in known; ValueError lists what there is."""
    if value in known:
        return known.index(value)
    raise ValueError("%s %r is not known: %s" % (what, value, ", ".join(map(str, known))))


def _size(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def _shape(shape):
    """An int, tuple or list of 1 to 4 positive ints, as a tuple."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not 1 <= len(shape) <= 4:
        raise ValueError("shape has %d dimensions, allowed 1..4" % len(shape))
    for d in shape:
        if not isinstance(d, int) or d < 1:
            raise ValueError("shape %r: dimension %r, allowed 1 and more" % (shape, d))
    return shape


def _scale_arrays(shape, scale, offset):
    """Scale and offset as two arrays of the same length, 1 or shape[-1]; None, None for none."""
    if scale is None and offset is None:
        return None, None
    both = []
    for what, v, default in (("scale", scale, 1.0), ("offset", offset, 0.0)):
        v = default if v is None else v
        v = array("f", (v,) if isinstance(v, (int, float)) else v)
        if len(v) not in (1, shape[-1]):
            raise ValueError(
                "%s has %d values, the last axis of %r has %d" % (what, len(v), shape, shape[-1])
            )
        both.append(v)
    n = max(len(both[0]), len(both[1]))
    for i in range(2):
        if len(both[i]) < n:
            both[i] = array("f", [both[i][0]] * n)
    return both


class Input:
    """Input(shape, scale=None, offset=None): shape of one sample.

    Integer samples (i8, u8, i16, i32) become x * scale + offset; a scale per value of the last
    axis, or one number for all. Float samples are taken as they are.
    """

    def __init__(self, shape, scale=None, offset=None):
        self.shape = _shape(shape)
        self.scale, self.offset = _scale_arrays(self.shape, scale, offset)

    def __repr__(self):
        return "Input(%r)" % (self.shape,)


def _pair(what, value):
    """A number, or one for the height and one for the width."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError("%s %r, a number or two are allowed" % (what, value))
    for n in pair:
        if not isinstance(n, int) or not 1 <= n <= 255:
            raise ValueError("%s %r, allowed 1..255" % (what, n))
    return pair


class _Layer:
    """What a row of the network has. after: the layer whose output is taken, if not the one
    before."""

    _kind = 0
    _flat = False  # 1D: works on (steps, channels) as maps of height 1
    units = 1
    activation = "linear"
    init = "auto"
    trainable = external = False
    slope = 0.0
    kernel = strides = (0, 0)
    padding = "valid"
    select = "elements"
    other = after = None

    def _set(
        self,
        activation="linear",
        init="auto",
        trainable=True,
        slope=0.01,
        select="elements",
        after=None,
        external=False,
    ):
        self.activation = activation or "linear"
        _choice("activation", self.activation, _ACTIVATIONS + ("softmax",))
        _choice("init", init, _INITS)
        _choice("select", select, _SELECTS)
        if isinstance(trainable, bool) or not isinstance(trainable, int):
            _choice("trainable", trainable, _TRAINABLE)
        self.init = init
        self.trainable = trainable
        self.slope = slope
        self.select = select
        self.after = after
        self.external = external

    def _window(self, kernel, strides, padding):
        _choice("padding", padding, _PADDINGS)
        kernel, strides = _pair("kernel_size", kernel), _pair("strides", strides)
        if self._flat:
            kernel, strides = (1, kernel[1]), (1, strides[1])
        self.kernel = kernel
        self.strides = strides
        self.padding = padding

    def __repr__(self):
        text = type(self).__name__ + "("
        if self._kind < _DEPTHWISE:
            text += "%r, " % self.units
        if self.kernel[0]:
            text += "%r, strides=%r, padding=%r, " % (self.kernel, self.strides, self.padding)
        if self.activation != "linear" or self._kind == _DENSE:
            text += "activation=%r, " % self.activation
        return text.rstrip(", ") + ")"


class Dense(_Layer):
    """Dense(units, activation="linear", init="auto", trainable=True, slope=0.01, after=None,
    external=False)

    a = f(W x + b), W (units, inputs). activation: linear, relu, leaky_relu (slope below 0),
    sigmoid, tanh; softmax only as last layer, where the loss brings it along. init: he, glorot,
    zeros, ones; auto = he for (leaky) ReLU, else glorot. trainable: True, False, "bias", or a
    number: so many of the first units. after: the layer whose output to take, the one before if
    None. external: the parameters lie outside the model but for what trains, see Sequential.
    """

    _kind = _DENSE

    def __init__(self, units, *rest, **options):
        self.units = units
        self._set(*rest, **options)


class Conv2D(_Layer):
    """Conv2D(filters, kernel_size, strides=1, padding="valid", activation="linear", init="auto",
    trainable=True, slope=0.01, select="elements", after=None, external=False)

    Maps are (height, width, channels). padding: valid, same (zeros around the map). select: what a
    policy keeps of this layer, single errors or whole "channels". The rest as in Dense.
    """

    _kind = _CONV

    def __init__(self, filters, kernel_size, strides=1, padding="valid", *rest, **options):
        self.units = filters
        self._window(kernel_size, strides, padding)
        self._set(*rest, **options)


class Conv1D(Conv2D):
    """Conv1D(filters, kernel_size, ...): as Conv2D, along samples of (steps, channels)."""

    _flat = True


class DepthwiseConv2D(Conv2D):
    """DepthwiseConv2D(kernel_size, strides=1, padding="valid", depth_multiplier=1, ...): every
    channel on its own, with so many filters. The rest as in Conv2D."""

    _kind = _DEPTHWISE

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

    def _start(self, w, b):
        gamma, beta, mean, variance, epsilon = self.moments
        w = w.reshape((len(b),))
        for c in range(len(b)):
            scale = 1.0 if gamma is None else gamma[c]
            if variance is not None:
                scale /= (variance[c] + epsilon) ** 0.5
            w[c] = scale
            b[c] = (0.0 if beta is None else beta[c]) - (0.0 if mean is None else mean[c] * scale)


class MaxPooling2D(_Layer):
    """MaxPooling2D(pool_size=2, strides=None, padding="valid", after=None); strides: pool_size if
    None."""

    _kind = _MAX

    def __init__(self, pool_size=2, strides=None, padding="valid", after=None):
        self._window(pool_size, pool_size if strides is None else strides, padding)
        self.after = after


class AveragePooling2D(MaxPooling2D):
    """AveragePooling2D(pool_size=2, strides=None, padding="valid", after=None): mean of what lies
    on the map."""

    _kind = _AVERAGE


class MaxPooling1D(MaxPooling2D):
    """As MaxPooling2D, along (steps, channels)."""

    _flat = True


class AveragePooling1D(AveragePooling2D):
    """As AveragePooling2D, along (steps, channels)."""

    _flat = True


class GlobalMaxPooling2D(_Layer):
    """The largest value of each channel, as a vector."""

    _kind = _MAX

    def __init__(self, after=None):
        self.after = after


class GlobalAveragePooling2D(GlobalMaxPooling2D):
    """The mean of each channel, as a vector."""

    _kind = _AVERAGE


GlobalAveragePooling1D = GlobalAveragePooling2D
GlobalMaxPooling1D = GlobalMaxPooling2D


class Add(_Layer):
    """Add(other, activation="linear", slope=0.01, after=None): the layer before (or `after`) plus
    the layer `other`, of the same shape."""

    _kind = _ADD

    def __init__(self, other, activation="linear", slope=0.01, after=None):
        self._set(activation, trainable=False, slope=slope, after=after)
        self.other = other


class Dropout(_Layer):
    """Dropout(rate, after=None): while training each value is 0 with this probability, else
    / (1 - rate)."""

    _kind = _DROPOUT

    def __init__(self, rate, after=None):
        self.slope = rate
        self.after = after


class Activation:
    """Activation(name, slope=0.01): gives the layer before it this activation."""

    def __init__(self, activation, slope=0.01):
        _choice("activation", activation, _ACTIVATIONS + ("softmax",))
        self.activation = activation
        self.slope = slope

    def __repr__(self):
        return "Activation(%r)" % self.activation


class ReLU(Activation):
    """ReLU(): the same as Activation("relu")."""

    def __init__(self):
        super().__init__("relu")


class Flatten:
    """Flatten(after=None): samples of more than one dimension as a vector, last axis fastest."""

    def __init__(self, after=None):
        self.after = after

    def __repr__(self):
        return "Flatten()"


def _map_shape(shape):
    """(height, width, channels) of a sample, as the core sees it."""
    return (1,) * (3 - len(shape)) + shape if len(shape) < 4 else (1, 1, _size(shape))


def _out_shape(layer, shape, name):
    """Shape behind a layer of weights or pooling, from that before it."""
    kind = layer._kind
    if kind == _DENSE:
        if len(shape) != 1:
            raise ValueError(
                "%stakes a vector, gets shape %r: put Flatten() before it" % (name, shape)
            )
        return (layer.units,)
    if kind >= _ADD or isinstance(layer, BatchNormalization):
        return shape
    wanted = 2 if layer._flat else 3
    whole = not layer.kernel[0]
    if len(shape) != wanted and not (whole and len(shape) == 2):
        text = "(steps, channels)" if wanted == 2 else "(height, width, channels)"
        raise ValueError("%stakes %s, gets shape %r" % (name, text, shape))
    channels = shape[-1]
    if kind == _CONV:
        channels = layer.units
    elif kind == _DEPTHWISE:
        channels *= layer.units
    if whole:
        return (channels,)
    sides = ()
    for i in range(wanted - 1):
        size, k, stride = (v[i + 1 - wanted] for v in (shape[:-1], layer.kernel, layer.strides))
        if layer.padding == "same":
            size += stride - 1
        elif k > size:
            raise ValueError("%skernel_size %d, the map has %d" % (name, k, size))
        else:
            size += stride - k
        sides += (size // stride,)
    return sides + (channels,)


def _name(i, layer):
    return "layer %d (%s)" % (i, type(layer).__name__)


def compile_layers(layers, softmax_last):
    """(layers, shape of the input for the core, rows for the core, places, shapes): places[r] =
    position of row r in layers, shapes[r] that of its output."""
    layers = list(layers)
    if not layers or not isinstance(layers[0], Input):
        raise ValueError("the first layer must be Input(shape)")
    # Map r of the core and its shape for every position; activation and slope of every row.
    maps, shapes = [0], [layers[0].shape]
    rows, places, acts = [], [], []
    for i, layer in enumerate(layers[1:], 1):
        name = _name(i, layer) + ": "
        source, shape = maps[-1], shapes[-1]
        if getattr(layer, "after", None) is not None:
            at = _position(layers, layer.after, i, name)
            source, shape = maps[at], shapes[at]
        if isinstance(layer, _Layer):
            other = 0
            if layer._kind == _ADD:
                at = _position(layers, layer.other, i, name)
                other = maps[at] or _FROM_INPUT
                if shapes[at] != shape:
                    raise ValueError(
                        "%sadds shape %r and, of layer %d, shape %r"
                        % (name, shape, at, shapes[at])
                    )
            shape = _out_shape(layer, shape, name)
            rows.append((layer, source or _FROM_INPUT, other))
            acts.append([layer.activation, layer.slope])
            places.append(i)
            source = len(rows)
        elif isinstance(layer, Activation):
            ready = acts and source == len(rows) and acts[-1][0] == "linear"
            if not ready or rows[-1][0]._kind in (_MAX, _AVERAGE, _DROPOUT):
                raise ValueError(
                    name + "needs a layer of weights or Add with linear activation before it"
                )
            acts[-1] = [layer.activation, layer.slope]
        elif isinstance(layer, Flatten):
            shape = (_size(shape),)
        else:
            raise ValueError(name + "is not a layer of tinyprop")
        maps.append(source)
        shapes.append(shape)
    if not rows:
        raise ValueError("the model needs a Dense layer after its Input")
    core = []
    for r, (layer, source, other) in enumerate(rows):
        activation, slope = acts[r]
        last = r + 1 == len(rows)
        label = _name(places[r], layer)
        if activation == "softmax" and not (last and softmax_last):
            raise ValueError(
                label + ": softmax is for the last layer with loss softmax_cross_entropy"
            )
        if last and softmax_last and activation not in ("linear", "softmax"):
            raise ValueError(
                "%s: activation %r, the last layer with loss softmax_cross_entropy takes linear"
                " or softmax" % (label, activation)
            )
        core.append(_row(label, layer, activation, slope, source, other))
    shape = layers[0].shape
    plain = all(y._kind == _DENSE for y, _, _ in rows)
    shape = (1, 1, _size(shape)) if plain else _map_shape(shape)
    return layers, shape, tuple(core), places, [shapes[at] for at in places]


def _position(layers, layer, i, name):
    for at in range(i):
        if layers[at] is layer:
            return at
    raise ValueError("%sthe layer %r is not before it" % (name, layer))


def _row(label, layer, activation, slope, source, other):
    trainable, first = layer.trainable, 0
    if not isinstance(trainable, bool) and isinstance(trainable, int):
        trainable, first = True, trainable
        if first < 1:
            raise ValueError("%s: trainable %r, allowed 1 and more" % (label, first))
    return (
        label,
        layer._kind,
        0 if activation == "softmax" else _ACTIVATIONS.index(activation),
        _INITS.index(layer.init),
        _TRAINABLE.index(trainable),
        layer.units,
        slope,
        layer.kernel[0],
        layer.kernel[1],
        layer.strides[0],
        layer.strides[1],
        _PADDINGS.index(layer.padding),
        _SELECTS.index(layer.select),
        source,
        other,
        first,
        layer.external,
    )


def _units(model, y):
    """Units of a row: of depthwise ones, filters per channel."""
    if y[0] == _DEPTHWISE:
        return y[17] // (model.layer(y[11] - 1)[17] if y[11] else model.info()[11])
    return y[17] if y[0] < _DEPTHWISE else 1


def restored_layers(model):
    """The layers of a _tinyprop.Model, as a user would have written them."""
    info = model.info()
    n, n_in = info[:2]
    shape = info[9:12] if info[9] * info[10] > 1 else (n_in,)
    scale = model.scale()
    if scale is None:
        layers = [Input(shape)]
    else:
        k = scale.shape[1]
        # The block knows the last axis of a vector only where the scale goes along it.
        if len(shape) == 1 and k not in (1, n_in):
            shape = (n_in // k, k)
        layers = [Input(shape, scale[0], scale[1])]
    places, maps = [], [layers[0]]
    kinds = (Dense, Conv2D, DepthwiseConv2D, MaxPooling2D, AveragePooling2D, Add, Dropout)
    for r in range(n):
        y = model.layer(r)
        kind, source = y[0], y[11]
        after = None if source == r else maps[source]
        before = model.layer(source - 1)[15:17] if source else (len(shape), 1)
        if kind == _DENSE and before[0] * before[1] > 1:
            layers.append(Flatten(after))
            after = None
        cls = kinds[kind - 1]
        if not y[5]:
            cls = {_MAX: GlobalMaxPooling2D, _AVERAGE: GlobalAveragePooling2D}.get(kind, cls)
        layer = object.__new__(cls)
        layer.units = _units(model, y)
        layer.activation = _ACTIVATIONS[y[1]]
        layer.init = _INITS[y[2]]
        layer.trainable = y[13] if y[3] == 2 and y[13] < y[17] else _TRAINABLE[y[3]]
        layer.slope = y[4]
        layer.kernel = y[5:7]
        layer.strides = y[7:9]
        layer.padding = _PADDINGS[y[9]]
        layer.select = _SELECTS[y[10]]
        layer.other = maps[y[12]]
        layer.after = after
        layer.external = bool(y[14] & 32)
        places.append(len(layers))
        maps.append(layer)
        layers.append(layer)
    return layers, places


def model_rows(model, layers, places):
    """The rows of the specification that a _tinyprop.Model was made from."""
    rows = []
    for r in range(model.info()[0]):
        y = model.layer(r)
        row = (_name(places[r], layers[places[r]]),) + y[:4] + (_units(model, y),) + y[4:11]
        other = (y[12] or _FROM_INPUT) if y[0] == _ADD else 0
        rows.append(row + (y[11] or _FROM_INPUT, other, y[13], y[14] >> 5 & 1))
    return tuple(rows)
