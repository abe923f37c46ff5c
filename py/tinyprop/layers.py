"""Layers: what a Sequential is made of. They hold the wish of the user; the numbers live in the
model block."""

from array import array

from micropython import const

_DENSE = const(1)
_MAX = const(4)
_AVERAGE = const(5)
_ADD = const(6)
_DROPOUT = const(7)
_ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")
_INITS = const(("auto", "he", "glorot", "zeros", "ones"))
_TRAINABLE = const((False, "bias", True))
_SELECTS = ("elements", "channels")
_FROM_INPUT = const(255)


def part(name):
    """A module of the package that small firmware is built without."""
    try:
        return __import__("tinyprop." + name, None, None, (name,))
    except ImportError:
        raise ValueError("built without %s: FEATURES=all has it" % name)


def _refuse(what, got, allowed="1 and more"):
    raise ValueError("%s %r, allowed %s" % (what, got, allowed))


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
        _refuse("dimensions of the shape", len(shape), "1..4")
    for d in shape:
        if not isinstance(d, int) or d < 1:
            _refuse("shape %r: dimension" % (shape,), d)
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


class _Layer:
    """What a row of the network has. after: the layer whose output is taken, if not the one
    before. recompute: set it to True and the output is not kept in memory for the backward pass
    but computed again there, with the same result."""

    _kind = 0
    _window = (0, 0, 0, 0, 0)  # height, width, strides, padding
    units = 1
    activation = "linear"
    init = "auto"
    trainable = external = recompute = False
    slope = 0.0
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

    def _out(self, shape, name):
        """Shape behind this layer, from that before it."""
        if len(shape) != 1:
            raise ValueError(
                "%stakes a vector, gets shape %r: put Flatten() before it" % (name, shape)
            )
        return (self.units,)

    def __repr__(self):
        return "Dense(%r, activation=%r)" % (self.units, self.activation)


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


def _name(i, layer):
    return "layer %d (%s)" % (i, type(layer).__name__)


def compile_layers(layers, softmax_last):
    """(layers, shape of the input for the core, rows for the core, places, shapes): places[r] =
    position of row r in layers, shapes[r] that of its output."""
    layers = list(layers)
    if not layers or not isinstance(layers[0], Input):
        raise ValueError("the first layer must be Input(shape)")
    # Map r of the core and its shape for every position.
    source, shape = 0, layers[0].shape
    maps, shapes = [source], [shape]
    rows, places = [], []
    plain = True
    for i, layer in enumerate(layers[1:], 1):
        name = _name(i, layer) + ": "
        if getattr(layer, "after", None) is not None:
            at = part("maps")._index(layers, layer.after, i, name)
            source, shape = maps[at], shapes[at]
        if isinstance(layer, _Layer):
            other = 0
            if layer._kind == _ADD:
                at = layer._index(layers, i, name, shape, shapes)
                other = maps[at] or _FROM_INPUT
            shape = layer._out(shape, name)
            plain = plain and layer._kind == _DENSE
            rows.append([layer, source or _FROM_INPUT, other, layer.activation, layer.slope])
            places.append(i)
            source = len(rows)
        elif isinstance(layer, Activation):
            row = rows[-1] if 0 < source == len(rows) else None
            if not row or row[3] != "linear" or row[0]._kind in (_MAX, _AVERAGE, _DROPOUT):
                raise ValueError(
                    name + "needs a layer of weights or Add with linear activation before it"
                )
            row[3:] = layer.activation, layer.slope
        elif isinstance(layer, Flatten):
            shape = (_size(shape),)
        else:
            raise ValueError(name + "is not a layer of tinyprop")
        maps.append(source)
        shapes.append(shape)
    if not rows:
        raise ValueError("the model needs a Dense layer after its Input")
    for r, (layer, source, other, activation, slope) in enumerate(rows):
        softmax = softmax_last and r + 1 == len(rows)
        label = _name(places[r], layer)
        if activation == "softmax":
            if not softmax:
                raise ValueError(
                    label + ": softmax is for the last layer with loss softmax_cross_entropy"
                )
            activation = "linear"
        elif softmax and activation != "linear":
            raise ValueError(
                "%s: activation %r, the last layer with loss softmax_cross_entropy takes linear"
                " or softmax" % (label, activation)
            )
        trainable, first = layer.trainable, 0
        if not isinstance(trainable, bool) and isinstance(trainable, int):
            trainable, first = True, trainable
            if first < 1:
                _refuse(label + ": trainable", first)
        row = (
            label,
            layer._kind,
            _ACTIVATIONS.index(activation),
            _INITS.index(layer.init),
            _TRAINABLE.index(trainable),
            layer.units,
            slope,
        )
        row += layer._window + (_SELECTS.index(layer.select), source, other, first)
        rows[r] = row + (layer.external, layer.recompute)
    shape = layers[0].shape
    shape = (1, 1, _size(shape)) if plain else part("maps")._shape(shape)
    return layers, shape, tuple(rows), places, [shapes[at] for at in places]


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
    for r in range(n):
        y = model.layer(r)
        source = y[11]
        after = None if source == r else maps[source]
        if y[0] == _DENSE:
            before = model.layer(source - 1)[15:17] if source else (len(shape), 1)
            if before[0] * before[1] > 1:
                layers.append(Flatten(after))
                after = None
            layer = object.__new__(Dense)
            layer.units = y[17]
        else:
            layer = part("maps")._load(model, y, maps)
        layer.activation = _ACTIVATIONS[y[1]]
        layer.init = _INITS[y[2]]
        layer.trainable = y[13] if y[3] == 2 and y[13] < y[17] else _TRAINABLE[y[3]]
        layer.slope = y[4]
        layer.after = after
        layer.external = bool(y[14] & 32)
        layer.recompute = y[24] > 0
        places.append(len(layers))
        maps.append(layer)
        layers.append(layer)
    return layers, places
