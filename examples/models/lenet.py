"""Convolutional networks for digits (28 x 28), after LeCun et al. 1998 with ReLU and max pooling:
LeNet-5 with 61,706 parameters, and a small one with 13,262 that trains as a whole on an RP2040."""

import tinyprop as tp

SHAPE, CLASSES = (28, 28), 10


def lenet5(x=None, **w):
    """416,520 multiply-accumulates. x, w: as in layers()."""
    return _network(x, "same", (120, 84), w)


def layers(x=None, **w):
    """250,640 multiply-accumulates. x: the Input, if it has a scale; w: trainable=, external= of
    all layers with weights."""
    return _network(x, "valid", (40,), w)


def _network(x, padding, units, w):
    y = [x or tp.Input(SHAPE + (1,)), tp.Conv2D(6, 5, 1, padding, "relu", **w), tp.MaxPooling2D()]
    y += [tp.Conv2D(16, 5, activation="relu", **w), tp.MaxPooling2D(), tp.Flatten()]
    return y + [tp.Dense(n, "relu", **w) for n in units] + [tp.Dense(CLASSES, **w)]
