"""Layers: what a Sequential is made of. They hold the wish of the user; the numbers live in the
model block."""

from array import array

from micropython import const

_KIND_DENSE = const(1)
_ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")
_INITS = const(("auto", "he", "glorot", "zeros"))
_TRAINABLE = const((False, "bias", True))


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


class Dense:
    """Dense(units, activation="linear", init="auto", trainable=True, slope=0.01)

    a = f(W x + b), W (units, inputs). activation: linear, relu, leaky_relu (slope below 0),
    sigmoid, tanh; softmax only as last layer, where the loss brings it along. init: he, glorot,
    zeros; auto = he for (leaky) ReLU, else glorot. trainable: True, False, or "bias".
    """

    def __init__(self, units, activation="linear", init="auto", trainable=True, slope=0.01):
        if activation is None:
            activation = "linear"
        _choice("activation", activation, _ACTIVATIONS + ("softmax",))
        _choice("init", init, _INITS)
        _choice("trainable", trainable, _TRAINABLE)
        self.units = units
        self.activation = activation
        self.init = init
        self.trainable = trainable
        self.slope = slope

    def __repr__(self):
        return "Dense(%r, activation=%r)" % (self.units, self.activation)


class Activation:
    """Activation(name, slope=0.01): gives the Dense before it this activation."""

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
    """Flatten(): samples of more than one dimension as a vector, last axis fastest."""

    def __repr__(self):
        return "Flatten()"


def compile_layers(layers, softmax_last):
    """(input layer, rows, places): rows for the core, places[r] = position of row r in layers."""
    layers = list(layers)
    if not layers or not isinstance(layers[0], Input):
        raise ValueError("the first layer must be Input(shape)")
    shape = layers[0].shape
    rows, places = [], []
    for i, layer in enumerate(layers[1:], 1):
        name = "layer %d (%s): " % (i, type(layer).__name__)
        if isinstance(layer, Dense):
            if len(shape) != 1:
                raise ValueError(
                    "%stakes a vector, gets shape %r: put Flatten() before it" % (name, shape)
                )
            rows.append([layer, layer.activation, layer.slope])
            places.append(i)
            shape = (layer.units,)
        elif isinstance(layer, Activation):
            if not rows or rows[-1][1] != "linear":
                raise ValueError(name + "needs a Dense with linear activation before it")
            rows[-1][1:] = layer.activation, layer.slope
        elif isinstance(layer, Flatten):
            shape = (_size(shape),)
        else:
            raise ValueError(name + "is not a layer of tinyprop")
    if not rows:
        raise ValueError("the model needs a Dense layer after its Input")
    for r, (layer, activation, slope) in enumerate(rows):
        last = r + 1 == len(rows)
        if activation == "softmax" and not (last and softmax_last):
            raise ValueError(
                "layer %d (Dense): softmax is for the last layer with loss softmax_cross_entropy"
                % places[r]
            )
        if last and softmax_last and activation not in ("linear", "softmax"):
            raise ValueError(
                "layer %d (Dense): activation %r, the last layer with loss"
                " softmax_cross_entropy takes linear or softmax" % (places[r], activation)
            )
        rows[r] = (
            _KIND_DENSE,
            0 if activation == "softmax" else _ACTIVATIONS.index(activation),
            _INITS.index(layer.init),
            _TRAINABLE.index(layer.trainable),
            layer.units,
            slope,
            places[r],
        )
    return layers, tuple(rows), places


def restored_layers(model):
    """The layers of a _tinyprop.Model, as a user would have written them."""
    n, n_in = model.info()[:2]
    scale = model.scale()
    if scale is None:
        layers = [Input(n_in)]
    else:
        k = scale.shape[1]
        # The block knows the last axis of the input only where the scale goes along it.
        layers = [Input(n_in if k in (1, n_in) else (n_in // k, k), scale[0], scale[1])]
        if len(layers[0].shape) > 1:
            layers.append(Flatten())
    places = []
    for r in range(n):
        _, activation, init, trainable, _, units, slope = model.layer(r)[:7]
        places.append(len(layers))
        layers.append(
            Dense(units, _ACTIVATIONS[activation], _INITS[init], _TRAINABLE[trainable], slope)
        )
    return layers, places


def model_rows(model, places):
    """The rows of the specification that a _tinyprop.Model was made from."""
    rows = []
    for r in range(model.info()[0]):
        kind, activation, init, trainable, _, units, slope = model.layer(r)[:7]
        rows.append((kind, activation, init, trainable, units, slope, places[r]))
    return tuple(rows)
