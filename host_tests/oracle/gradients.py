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


# --- Networks of maps: plain loops over (height, width, channels) arrays ---


def _sides(layer, shape):
    """Kernel, stride, size of the output and zeros before the map, along height and width."""
    kernel = shape[:2] if layer.kind == "dense" else layer.kernel
    for size, k, stride in zip(shape, kernel, layer.stride, strict=False):
        k = k or size
        if layer.same:
            out = (size + stride - 1) // stride
            yield k, stride, out, max((out - 1) * stride + k - size, 0) // 2
        else:
            yield k, stride, (size - k) // stride + 1, 0


def _windows(layer, x):
    """(row, column, what the window covers, where it lies on the map) for every place; NaN where
    it hangs over the edge."""
    (kh, sh, oh, top), (kw, sw, ow, left) = _sides(layer, x.shape)
    wide = np.full((x.shape[0] + 2 * kh, x.shape[1] + 2 * kw, x.shape[2]), np.nan)
    wide[kh : kh + x.shape[0], kw : kw + x.shape[1]] = x
    out = np.empty((oh, ow, kh, kw, x.shape[2]))
    for i in range(oh):
        for j in range(ow):
            y0, x0 = kh + i * sh - top, kw + j * sw - left
            out[i, j] = wide[y0 : y0 + kh, x0 : x0 + kw]
    return out


def maps(spec, weights, biases, x):
    """Outputs of all rows, (height, width, channels) each; weights[i] is None without."""
    out = [np.asarray(x, np.float64).reshape(spec.shape)]
    for i, layer in enumerate(spec.layers):
        a = out[i if layer.source is None else layer.source]
        if layer.kind == "add":
            z = a + out[layer.other]
        else:
            patches = _windows(layer, a)
            if layer.kind == "max_pool":
                z = np.nanmax(patches, axis=(2, 3))
            elif layer.kind == "average_pool":
                z = np.nanmean(patches, axis=(2, 3))
            elif layer.kind == "depthwise":
                filters = weights[i].reshape(a.shape[2], layer.units, *patches.shape[2:4])
                z = np.einsum("hwklc,cmkl->hwcm", np.nan_to_num(patches), filters)
                z = z.reshape(*z.shape[:2], -1) + biases[i]
            else:
                filters = weights[i].reshape(layer.units, *patches.shape[2:])
                z = np.einsum("hwklc,oklc->hwo", np.nan_to_num(patches), filters) + biases[i]
        out.append(FUNCTIONS[layer.activation][0](z, layer.slope))
    return out[1:]


def map_loss(spec, weights, biases, x, t):
    a = maps(spec, weights, biases, x)[-1].ravel()
    if spec.loss == "softmax_cross_entropy":
        return float(t @ (np.log(np.sum(np.exp(a - a.max()))) + a.max() - a))
    return float(np.mean((a - t) ** 2))
