"""MobileNetV1, width 0.25, MLPerf Tiny's network for "is there a person?" (96 x 96 x 3): 210,850
parameters with the batch normalisation folded, 7,489,664 multiply-accumulates, 29 of the core's 32
rows."""

import tinyprop as tp

SHAPE, CLASSES = (96, 96, 3), 2
# Filters of the pointwise convolutions; a * marks those whose depthwise one halves the map.
_BLOCKS = "16 *32 32 *64 64 *128 128 128 128 128 128 *256 256"


def layers(x=None, **w):
    """x: the Input, if it has a scale; w: trainable=, external= of all layers with weights."""
    y = [x or tp.Input(SHAPE), tp.Conv2D(8, 3, 2, "same", "relu", **w)]
    for block in _BLOCKS.split():
        stride = 2 if block[0] == "*" else 1
        y.append(tp.DepthwiseConv2D(3, stride, "same", activation="relu", **w))
        y.append(tp.Conv2D(int(block.strip("*")), 1, activation="relu", **w))
    return y + [tp.GlobalAveragePooling2D(), tp.Dense(CLASSES, **w)]
