"""Plain gradients in float64, to check the oracle itself. No selection, no rounding order."""

import numpy as np

FUNCTIONS = {
    "linear": (lambda z, s: z, lambda z, s: np.ones_like(z)),
    "relu": (lambda z, s: np.maximum(z, 0), lambda z, s: (z > 0) * 1.0),
    "leaky_relu": (lambda z, s: np.where(z > 0, z, s * z), lambda z, s: np.where(z > 0, 1.0, s)),
    "sigmoid": (
        lambda z, s: 1 / (1 + np.exp(-z)),
        lambda z, s: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    ),
    "tanh": (lambda z, s: np.tanh(z), lambda z, s: 1 / np.cosh(z) ** 2),
}


def forward(spec, weights, biases, x):
    """The pre-activations z_1 .. z_L and activations a_0 .. a_L."""
    zs, acts = [], [np.asarray(x, np.float64)]
    for layer, w, b in zip(spec.layers, weights, biases, strict=True):
        zs.append(w @ acts[-1] + b)
        acts.append(FUNCTIONS[layer.activation][0](zs[-1], layer.slope))
    return zs, acts


def loss(spec, weights, biases, x, t):
    a = forward(spec, weights, biases, x)[1][-1]
    if spec.loss == "softmax_cross_entropy":
        return float(t @ (np.log(np.sum(np.exp(a - a.max()))) + a.max() - a))
    return float(np.mean((a - t) ** 2))


def gradients(spec, weights, biases, x, t):
    """(dW, db) of every layer for one sample with target vector t."""
    zs, acts = forward(spec, weights, biases, x)
    if spec.loss == "softmax_cross_entropy":
        e = np.exp(acts[-1] - acts[-1].max())
        da = e / e.sum() * t.sum() - t
    else:
        da = 2 * (acts[-1] - t) / len(t)
    dw, db = [], []
    for layer, w, z, a in reversed(list(zip(spec.layers, weights, zs, acts[:-1], strict=True))):
        delta = da * FUNCTIONS[layer.activation][1](z, layer.slope)
        dw.insert(0, np.outer(delta, a))
        db.insert(0, delta)
        da = w.T @ delta
    return dw, db


def numeric_gradient(f, values, step=1e-6):
    """Central differences of f() over every element of the array values, in place."""
    out = np.zeros_like(values)
    for i in np.ndindex(values.shape):
        kept = values[i]
        values[i] = kept + step
        above = f()
        values[i] = kept - step
        out[i] = (above - f()) / (2 * step)
        values[i] = kept
    return out
