# Bad input of every kind: an exception that names what was wrong, and a model as before.
from array import array

import tinyprop as tp

NAN, INF = float("nan"), float("inf")


def raises(kind, text, f, *args, **kw):
    try:
        f(*args, **kw)
    except kind as e:
        for part in text if isinstance(text, tuple) else (text,):
            assert part in str(e), "%r not in %r" % (part, str(e))
        return
    raise AssertionError("no %s: %s" % (kind.__name__, text))


def f32(*values):
    return array("f", values)


# --- Samples ---


def check_samples(m, n_in, n_out, single):
    """Every call must raise and leave every byte of a checkpoint alone."""
    persist = m.plan()["persist"]
    good = array("f", [0.5] * n_in)
    m.train_step(good, 0)
    before = bytes(memoryview(m._m.block)[:persist])
    calls = [
        (ValueError, ("x has %d values" % (n_in - 1), "takes %d" % n_in), good[1:], 0),
        (ValueError, ("x has %d values" % (n_in + 1), "takes %d" % n_in), bytes(n_in + 1), 0),
        (ValueError, "x has 0 values", b"", 0),
        (ValueError, ("'d'", "'f'"), array("d", good), 0),
        (ValueError, "'q'", array("q", [0] * n_in), 0),
        (ValueError, "'H'", array("H", [0] * n_in), 0),
        (ValueError, "x[1] is not a finite", f32(*([0, NAN] + [0] * (n_in - 2))), 0),
        (ValueError, "x[0] is not a finite", f32(*([-INF] + [0] * (n_in - 1))), 0),
        (TypeError, "x must be", None, 0),
        (TypeError, "x must be", 5, 0),
        (TypeError, "", ["a"] * n_in, 0),
        (ValueError, "x has 1 values,", [1.0], 0),
        (TypeError, "y must be", good, None),
        (
            ValueError,
            ("y has %d values" % (n_out + 1), "%d output" % n_out),
            good,
            f32(*[0] * (n_out + 1)),
        ),
        (ValueError, "y[0] is not a finite", good, f32(*([NAN] + [0] * (n_out - 1)))),
        (ValueError, "'d'", good, array("d", [0] * n_out)),
        (ValueError, "y is an integer of more", good, 1 << 70),
    ]
    if single:
        calls.append((ValueError, "y[0] is not a finite", good, INF))
    else:
        classes = "the model has %d classes (0..%d)" % (n_out, n_out - 1)
        calls.append((ValueError, ("class index %d" % n_out, classes), good, n_out))
        calls.append((ValueError, ("class index -1", classes), good, -1))
        calls.append((ValueError, "y is a float", good, 0.5))
        calls.append((ValueError, "class index", good, 0x3FFFFFFF))
    for kind, text, x, y in calls:
        raises(kind, text, m.train_step, x, y)
        raises(kind, text, m.evaluate, [(x, y)])
        if y == 0 and not isinstance(y, array):
            raises(kind, text, m.predict, x)
            raises(kind, text, m.classify, x)
        assert bytes(memoryview(m._m.block)[:persist]) == before, text
    raises(ValueError, "out has 1 value", m.predict, good, f32(0)) if n_out > 1 else None
    raises(ValueError, "out cannot be written", m.predict, good, bytes(4 * n_out))
    raises(ValueError, "out is a buffer of type 'B'", m.predict, good, bytearray(4 * n_out))
    assert m.train_step(good, 0) >= 0
    assert m.stats()["seen"] == 2


for policy in (tp.Full(), tp.TinyPropV2()):
    for optimizer in (tp.SGD(), tp.Adam()):
        layers = [tp.Input(4), tp.Dense(6, "relu"), tp.Dense(3)]
        check_samples(tp.Sequential(layers, policy=policy, optimizer=optimizer), 4, 3, False)
        check_samples(tp.Sequential(layers, "mse", optimizer, policy), 4, 3, False)
        layers = [tp.Input(4), tp.Dense(1)]
        check_samples(tp.Sequential(layers, "mse", optimizer, policy, batch_size=4), 4, 1, True)

m = tp.Sequential([tp.Input(4), tp.Dense(3)])
x = f32(1, 2, 3, 4)
raises(ValueError, ("target probability", "-0.5"), m.train_step, x, f32(1.5, -0.5, 0))
raises(ValueError, ("sum of the target", "0.5", "0.999..1.001"), m.train_step, x, f32(0.5, 0, 0))

# A loss that is not finite: nothing is changed.
before = bytes(m._m.block)[: m.plan()["persist"]]
w = m.weights(1)
kept = w[0, 0]
w[0, 0] = INF
raises(ValueError, "the loss is", m.train_step, x, 0)
w[0, 0] = kept
assert bytes(m._m.block)[: m.plan()["persist"]] == before

# A misaligned view would stop many boards.
odd = memoryview(bytearray(17))[1:]
raises(ValueError, "multiple of 4", tp.Tensor, 4, "f32", odd)
buffer = bytearray(20)
t = tp.Tensor(4, "f32", buffer, 4)
m.train_step(t, 0)
buffer[16:] = b""
raises(ValueError, "shrank to 16 bytes, it needs 20", m.train_step, t, 0)

# A block that was tampered with.
m2 = m.copy()
m2._m.block[0] ^= 255
raises(ValueError, "block", m2.train_step, x, 0)
m2._m.block[0] ^= 255
m2._m.block[64:] = b""
raises(ValueError, "block", m2.train_step, x, 0)

# --- Layers ---


def model(*layers, **kw):
    return tp.Sequential(list(layers), **kw)


i4, d3 = tp.Input(4), tp.Dense(3)
raises(ValueError, "Input", tp.Sequential, [])
raises(ValueError, "Input", model, d3)
raises(ValueError, "needs a Dense", model, i4)
raises(ValueError, "layer 2 (Input)", model, i4, d3, i4)
raises(ValueError, "layer 1 (int)", model, i4, 3)
raises(ValueError, ("layer 1 (Dense): units 0", "1..65535"), model, i4, tp.Dense(0), d3)
raises(ValueError, ("layer 2 (Dense): units -3", "1..65535"), model, i4, d3, tp.Dense(-3))
raises(ValueError, ("layer 2 (Dense): units 65536", "1..65535"), model, i4, d3, tp.Dense(65536))
raises(ValueError, ("units", "1..65535"), model, i4, tp.Dense(1 << 70))
raises(TypeError, "units must be an integer", model, i4, tp.Dense(2.5))
raises(TypeError, "", model, i4, tp.Dense("8"))
raises(
    ValueError, "layer 1 (Dense): takes a vector, gets shape (2, 2)", model, tp.Input((2, 2)), d3
)
raises(
    ValueError, "layer 3 (Dense): units 0", model, tp.Input((2, 2)), tp.Flatten(), d3, tp.Dense(0)
)
raises(ValueError, ("'gelu'", "relu, leaky_relu"), tp.Dense, 3, "gelu")
raises(ValueError, ("'orthogonal'", "glorot"), tp.Dense, 3, init="orthogonal")
raises(ValueError, "trainable 'no'", tp.Dense, 3, trainable="no")
raises(ValueError, "layer 1 (Dense): softmax", model, i4, tp.Dense(3, "softmax"), d3)
raises(ValueError, "layer 1 (Dense): softmax", model, i4, tp.Dense(3, "softmax"), loss="mse")
raises(ValueError, "layer 1 (Dense): activation 'tanh'", model, i4, tp.Dense(3, "tanh"))
raises(ValueError, "layer 1 (ReLU)", model, i4, tp.ReLU(), d3)
raises(ValueError, "layer 2 (ReLU)", model, i4, tp.Dense(3, "tanh"), tp.ReLU(), d3)
leaky = tp.Dense(3, "leaky_relu", slope=1.0)
raises(ValueError, ("layer 1 (Dense): slope 1", "0 up to"), model, i4, leaky, d3)
raises(ValueError, "slope nan", model, i4, tp.Dense(3, "leaky_relu", slope=NAN), d3)
raises(ValueError, "trainable", model, i4, tp.Dense(3, trainable=False))
raises(ValueError, ("number of layers 99", "1..32"), model, *([i4] + [d3] * 99))
raises(ValueError, "dimensions of the shape 0, allowed 1..4", tp.Input, ())
raises(ValueError, "dimensions of the shape 5, allowed 1..4", tp.Input, (1, 1, 1, 1, 1))
raises(ValueError, "dimension 0", tp.Input, (3, 0))
raises(ValueError, "dimension -1", tp.Input, -1)
raises(ValueError, ("input size 65536", "1..65535"), model, tp.Input((256, 256)), tp.Flatten(), d3)
raises(ValueError, "scale has 2 values, the last axis of (4, 3) has 3", tp.Input, (4, 3), [1, 2])
raises(ValueError, "offset has 4 values", tp.Input, (4, 3), [1, 2, 3], [1, 2, 3, 4])
raises(ValueError, "input scale is not a finite", model, tp.Input(4, scale=NAN), d3)
raises(ValueError, "input offset is not a finite", model, tp.Input(4, offset=-INF), d3)
raises(TypeError, "", tp.Input, 4, scale="x")

# --- Settings ---


def m_with(**kw):
    return tp.Sequential([tp.Input(4), tp.Dense(6, "relu"), tp.Dense(3)], **kw)


raises(ValueError, ("loss 'hinge'", "softmax_cross_entropy"), m_with, loss="hinge")
raises(ValueError, ("dtype 'f64'", "f32, i16, i8"), m_with, dtype="f64")
raises(ValueError, ("batch_size 0", "1..65535"), m_with, batch_size=0)
raises(ValueError, ("batch_size 65536", "1..65535"), m_with, batch_size=65536)
raises(TypeError, "batch_size must be an integer", m_with, batch_size=1.5)
raises(TypeError, "seed must be an integer", m_with, seed=0.5)
raises(ValueError, "optimizer 'rmsprop'", m_with, optimizer="rmsprop")
raises(ValueError, "policy 5", m_with, policy=5)
assert m_with(seed=-1).seed == 0xFFFFFFFF and m_with(seed=1 << 40).seed == 0

OPTIMIZERS = (
    (("lr 0", "above 0"), tp.SGD(lr=0)),
    (("lr -0.1", "above 0"), tp.SGD(lr=-0.1)),
    (("lr nan", "above 0"), tp.SGD(lr=NAN)),
    (("lr inf", "above 0"), tp.Adam(lr=INF)),
    (("momentum 1,", "not including, 1"), tp.SGD(momentum=1.0)),
    (("momentum -0.5", "0"), tp.SGD(momentum=-0.5)),
    (("weight_decay -1", "at least 0"), tp.SGD(weight_decay=-1)),
    (("lr * weight_decay 5", "1"), tp.SGD(lr=0.5, weight_decay=10)),
    (("beta_1 1", "0"), tp.Adam(beta_1=1)),
    (("beta_2 nan", "0"), tp.Adam(beta_2=NAN)),
    (("epsilon 0", "above 0"), tp.Adam(epsilon=0)),
)
for text, optimizer in OPTIMIZERS:
    raises(ValueError, text, m_with, optimizer=optimizer)
POLICIES = (
    (("ratio 0", "at most 1"), tp.TopK(ratio=0)),
    (("ratio 1.5", "1"), tp.TopK(ratio=1.5)),
    (("ratio nan", "1"), tp.TopK(ratio=NAN)),
    (("k 65536", "65535"), tp.TopK(65536)),
    (("s_min -0.1", "0..1"), tp.TinyProp(s_min=-0.1)),
    (("s_max 1.5", "..1"), tp.TinyProp(s_max=1.5)),
    (("s_max 0.2", "0.3..1"), tp.TinyPropV2(s_min=0.3, s_max=0.2)),
    (("zeta 0", "above 0"), tp.TinyProp(zeta=0)),
    (("zeta 1.1", "at most 1"), tp.TinyProp(zeta=1.1)),
    (("d_min -1", "0"), tp.TinyPropV2(d_min=-1)),
    (("d_max 0.5", "at least 0.7"), tp.TinyPropV2(d_min=0.7, d_max=0.5)),
    (("threshold nan", "finite"), tp.TinyPropV2(threshold=NAN)),
    (("threshold inf", "finite"), tp.TinyPropV2(threshold=INF)),
    (("ymax_decay 0", "above 0"), tp.TinyProp(ymax_decay=0)),
    (("beta_mode 2", "0..1"), tp.TinyPropV2(beta_mode=2)),
    (("warmup -1", "0"), tp.TinyPropV2(warmup=-1)),
    (("max_skips -1", "0"), tp.TinyPropV2(max_skips=-1)),
    (("backoff 32", "0..31"), tp.TinyPropV2(backoff=32)),
)
m = m_with(optimizer=tp.SGD(momentum=0.5))
before = bytes(m._m.block)
for text, policy in POLICIES:
    raises(ValueError, text, m_with, policy=policy)
    raises(ValueError, text, m.set_policy, policy)
raises(ValueError, "k 0", tp.TopK, 0)
raises(ValueError, "k -1", tp.TopK, -1)
raises(ValueError, "either k or ratio", tp.TopK)
raises(ValueError, "either k or ratio", tp.TopK, 3, 0.5)
raises(ValueError, "rows 'all'", tp.SGD, rows="all")
raises(TypeError, "", m_with, optimizer=tp.SGD(lr="fast"))

# Changes at run time are checked like those at the start.
raises(ValueError, "lr 0", setattr, m, "lr", 0)
raises(ValueError, "lr nan", setattr, m, "lr", NAN)
raises(ValueError, "optimizer kind", m.set_optimizer, tp.Adam())
raises(ValueError, "momentum", m.set_optimizer, tp.SGD())
raises(ValueError, "layer 0", m.weights, 0)
raises(ValueError, "layer 3", m.bias, 3)
raises(ValueError, "layer -4", m.output, -4)
assert bytes(m._m.block) == before

# --- Too big ---
raises(MemoryError, ("needs", "free"), model, tp.Input(60000), tp.Dense(5000))
raises(MemoryError, "2147483647", model, tp.Input(65535), tp.Dense(65535))
raises(MemoryError, "", tp.Tensor, 0x1FFFFFFF)

# --- No model in use ---
tp.use(None)
raises(RuntimeError, "use(model)", tp.train_step, x, 0)
raises(TypeError, "not int", tp.use, 5)
raises(TypeError, "", tp.use, tp.Sequential)
raises(TypeError, "", tp.train_step, x)
# Networks of maps.
MAP = tp.Input((6, 5, 2))


def network(*layers):
    return tp.Sequential([MAP] + list(layers) + [tp.Flatten(), tp.Dense(3)])


first = tp.Conv2D(4, 3)
raises(ValueError, "layer 1 (Conv2D): kernel_size 7, the map has 6", network, tp.Conv2D(4, 7))
raises(ValueError, "layer 1 (MaxPooling2D): kernel_size 6, the", network, tp.MaxPooling2D((2, 6)))
raises(ValueError, "kernel_size 0, allowed 1..255", tp.Conv2D, 4, 0)
raises(ValueError, "kernel_size 256, allowed 1..255", tp.DepthwiseConv2D, 256)
raises(ValueError, "strides (1, 2, 3), allowed a number or two", tp.Conv2D, 4, 3, (1, 2, 3))
raises(ValueError, "padding 'full' is not known: valid, same", tp.Conv2D, 4, 3, 1, "full")
raises(ValueError, "select 'rows' is not known", lambda: tp.Conv2D(4, 3, select="rows"))
raises(ValueError, "layer 1 (Conv2D): units 0, allowed 1..65535", network, tp.Conv2D(0, 3))
raises(
    ValueError,
    "layer 1 (Conv1D): takes (steps, channels), gets shape (6, 5, 2)",
    network,
    tp.Conv1D(4, 3),
)
raises(
    ValueError,
    "layer 2 (Dense): takes a vector, gets shape (4, 3, 4)",
    lambda: tp.Sequential([MAP, first, tp.Dense(3)]),
)
raises(
    ValueError,
    "layer 2 (Conv2D): takes (height, width, channels), gets shape (60,)",
    lambda: tp.Sequential([MAP, tp.Flatten(), tp.Conv2D(4, 3), tp.Dense(3)]),
)
raises(
    ValueError,
    "layer 3 (Add): adds shape (2, 1, 4) and, of layer 1, shape (4, 3, 4)",
    network,
    first,
    tp.MaxPooling2D(2),
    tp.Add(first),
)
raises(ValueError, "layer 1 (Add): the layer Conv2D(4", network, tp.Add(first))
raises(ValueError, "layer 2 (Add): number of maps to add 1", network, first, tp.Add(first))
raises(
    ValueError,
    "layer 1 (Dropout): rate 1, allowed 0 up to, not including, 1",
    network,
    tp.Dropout(1.0),
)
raises(
    ValueError,
    "layer 1 (Conv2D): filters to train 5, allowed 0..4",
    network,
    tp.Conv2D(4, 3, trainable=5),
)
raises(
    ValueError,
    "layer 1 (Conv2D): trainable 0, allowed 1 and more",
    network,
    tp.Conv2D(4, 3, trainable=0),
)
raises(
    ValueError,
    "layer 1 (Conv2D): uses of the output 0",
    network,
    first,
    tp.Conv2D(2, 1, after=MAP),
)
raises(
    ValueError, "zero_skip", lambda: tp.Sequential([MAP, tp.Flatten(), tp.Dense(3)], zero_skip=101)
)
frozen = tp.Conv2D(4, 3, trainable=False, external=True)
raises(
    ValueError,
    "the external parameters have 300 bytes, the model needs 304",
    lambda: tp.Sequential([MAP, frozen, tp.Flatten(), tp.Dense(3)], external=array("f", [0] * 75)),
)
m = network(frozen)
raises(
    ValueError,
    "the external parameters have 0 bytes, the model needs 304",
    m.predict,
    array("f", [1] * 60),
)
raises(ValueError, "no weights here", m.weights, 1)
raises(ValueError, "its memory is shared: make the model with keep=True", m.delta, 3)
raises(ValueError, "no layer up to this one trains", m.delta, 1)
raises(ValueError, "computes nothing", m.weights, 2)
print("OK")
