"""ResNet-8, MLPerf Tiny's network for CIFAR-10 (32 x 32 x 3): 77,706 parameters with the batch
normalisation folded into the convolutions (78,666 with it), 12,501,632 multiply-accumulates."""

import tinyprop as tp

SHAPE, CLASSES = (32, 32, 3), 10


def _stack(layers, filters, stride, **w):
    """Two convolutions and the way around them."""
    start = layers[-1]
    layers.append(tp.Conv2D(filters, 3, stride, "same", "relu", **w))
    layers.append(tp.Conv2D(filters, 3, 1, "same", **w))
    if stride == 1:
        layers.append(tp.Add(start, "relu"))
        return
    main = layers[-1]
    layers.append(tp.Conv2D(filters, 1, stride, "same", after=start, **w))
    layers.append(tp.Add(main, "relu"))


def layers(x=None, **w):
    """x: the Input, if it has a scale; w: trainable=, external= of all layers with weights."""
    y = [x or tp.Input(SHAPE), tp.Conv2D(16, 3, 1, "same", "relu", **w)]
    _stack(y, 16, 1, **w)
    _stack(y, 32, 2, **w)
    _stack(y, 64, 2, **w)
    return y + [tp.GlobalAveragePooling2D(), tp.Dense(CLASSES, **w)]
