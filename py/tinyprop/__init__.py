"""tinyprop: train neural networks on the board, with sparse backpropagation.

    import tinyprop as tp
    m = tp.Sequential([tp.Input((64,)), tp.Dense(32, activation="relu"), tp.Dense(10)])
    tp.use(m)
    loss = tp.train_step(x, y)

Tensor(shape, dtype=None, buffer=None, offset=0) is a shape and a dtype (f32, i32, i16, i8, u8)
over the bytes of any object with the buffer protocol, or over zeros of its own; Tensor(array)
takes shape and dtype from the array. Attributes: shape, dtype, ndim, size, nbytes. t[i], t[i, j]
and t[a:b] (first axis, step 1) are numbers or views; all of them can be assigned a number, a
buffer, or a list. fill(v), copy_from(source), reshape(shape), tolist(); itself a buffer. Numbers
assigned must fit the dtype; copies from a buffer round halves to even and saturate, NaN has no
integer. Keep the tensor as long as a memoryview of it. Single kernels are in _tinyprop.

Errors: ValueError (shape, dtype, range), MemoryError, OSError (files), FormatError (a file that
is not a model or a data set, or is damaged), TypeError (not a number or buffer at all).
"""

import _tinyprop
from _tinyprop import Tensor

from .dataset import Dataset, FormatError
from .layers import Activation, Dense, Flatten, Input, ReLU, part
from .policies import SGD, Adam, Full, TinyProp, TinyPropV2, TopK
from .sequential import Sequential, load

try:
    from .maps import *  # noqa: I001 - the larger part first
    from _tinyprop import cores
except ImportError:

    def __getattr__(name):
        raise AttributeError("no '%s' in this build, FEATURES=all has it" % name)


__version__ = "0.1.0"

_session = _tinyprop.Session()

# use(model): train_step() below means this model from now on, also where it was imported by name.
use = _session.use

# train_step(x, y) -> loss of the sample before the update; see Sequential.train_step.
train_step = _session.train_step


def benchmark(*arguments, **named):
    """benchmark(layers=None, data=None, policies=None, epochs=10, seed=1, verbose=1, **settings)

    Dense against sparse training, here and now: a list of dicts, printed as a table.

    us: time of one sample in the last of `epochs`; speedup over the first policy; effort, loss and
    accuracy (on the data it trains on) likewise. layers: default 64-32-10. data: as for fit(),
    default 100 made-up samples. policies: default Full, TopK with 10 %, TinyPropV2, and that with
    back-off. settings: of Sequential.
    """
    return part("measure").benchmark(*arguments, **named)
