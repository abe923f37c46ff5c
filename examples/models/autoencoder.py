"""The autoencoder of MLPerf Tiny for machine sound (5 frames of 128 bands): 265,864 parameters
with the batch normalisation folded, 264,192 multiply-accumulates. It learns its own input."""

import tinyprop as tp

SHAPE, LOSS = (640,), "mean_squared_error"


def layers(x=None, **w):
    """x: the Input, if it has a scale; w: trainable=, external= of all layers with weights."""
    y = [x or tp.Input(SHAPE)]
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        y.append(tp.Dense(units, "relu", **w))
    return y + [tp.Dense(640, **w)]
