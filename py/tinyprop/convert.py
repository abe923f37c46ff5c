"""Weights as float32 and models of another dtype: what firmware for float32 alone does without."""

import _tinyprop
from micropython import const

from .layers import _choice

_DEPTHWISE = const(3)  # the last kind of layer that has weights


class Convert:
    """Methods of Sequential."""

    def get_weights(self, i):
        """(W, b) of layer i as new Tensors of f32, whatever the dtype of the model is."""
        r = self._row(i)
        w = self._m.weights(r)
        w, b = _tinyprop.Tensor(w.shape, "f32"), _tinyprop.Tensor(w.shape[:1], "f32")
        self._m.floats(r, w, b, False)
        return w, b

    def set_weights(self, i, w=None, b=None):
        """Take W and b of layer i from buffers of f32; a model of integers rounds them."""
        self._m.floats(self._row(i), w, b, True)

    def exponents(self, i):
        """Exponents e of the output, weights and errors of layer i of a model of integers, where a
        value is q * 2**e; biases have -20."""
        return self._m.exponents(-1 if i == 0 else self._row(i))

    def astype(self, dtype):
        """A model of another dtype with the same layers, settings and weights, rounded."""
        from .sequential import new_block

        spec = (self._m, ord("fhb"[_choice("dtype", dtype, ("f32", "i16", "i8"))]))
        m = _tinyprop.Model(new_block(_tinyprop.plan(spec)[0]), spec, self._m.external)
        other = type(self)(None, external=self._m.external, _block=m.block)
        for r, i in enumerate(self._places):
            if self._m.layer(r)[0] <= _DEPTHWISE and not self.layers[i].external:
                other.set_weights(other._places[r], *self.get_weights(i))
        return other
