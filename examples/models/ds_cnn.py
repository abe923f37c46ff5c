"""DS-CNN (small), MLPerf Tiny's network for spoken words (49 frames of 10 coefficients): 22,604
parameters with the batch normalisation folded, 2,656,768 multiply-accumulates."""

import tinyprop as tp

SHAPE, CLASSES = (49, 10, 1), 12


def layers(x=None, **w):
    """x: the Input, if it has a scale; w: trainable=, external= of all layers with weights."""
    y = [x or tp.Input(SHAPE), tp.Conv2D(64, (10, 4), 2, "same", "relu", **w)]
    for _ in range(4):
        y.append(tp.DepthwiseConv2D(3, 1, "same", activation="relu", **w))
        y.append(tp.Conv2D(64, 1, activation="relu", **w))
    return y + [tp.GlobalAveragePooling2D(), tp.Dense(CLASSES, **w)]
