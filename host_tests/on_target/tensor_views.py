# Tensor: views, indexing, writing, and what happens when the buffer under it changes.
from array import array

from tinyprop import Tensor


def raises(kind, text, f, *args, **kw):
    try:
        f(*args, **kw)
    except kind as e:
        assert text in str(e), "%r not in %r" % (text, str(e))
        return
    raise AssertionError("no %s: %s" % (kind.__name__, text))


def put(t, i, v):
    t[i] = v


def put_all(t, v):
    t[:] = v


# Made of zeros.
t = Tensor((2, 3))
assert (t.shape, t.dtype, t.ndim, t.size, t.nbytes, len(t)) == ((2, 3), "f32", 2, 6, 24, 2)
assert t.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
assert repr(t) == 'Tensor((2, 3), "f32", [0, 0, 0, 0, 0, 0])'
assert repr(Tensor(1, "u8")) == 'Tensor((1,), "u8", [0])'
assert "..." in repr(Tensor(99))
assert bool(t) and not Tensor(0) and Tensor((4, 0)).tolist() == [[], [], [], []]

# Elements, rows, slices: all views of the same bytes.
t[0, 1] = 5
t[-1, -1] = 0.5
t[1][0] = -1
assert t.tolist() == [[0.0, 5.0, 0.0], [-1.0, 0.0, 0.5]]
assert t[0, 1] == 5.0 and t[1].tolist() == [-1.0, 0.0, 0.5] and t[1:].shape == (1, 3)
row = t[0]
row[2] = 7
assert t[0, 2] == 7.0
t[1] = (1, 2, 3)
t[0] = t[1]
assert t.tolist() == [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
t[:1] = 9
assert t.tolist() == [[9.0, 9.0, 9.0], [1.0, 2.0, 3.0]]
assert [x.tolist() for x in t] == t.tolist() and list(t[1]) == [1.0, 2.0, 3.0]
u = Tensor((2, 2, 2, 2), "i16")
u[1, 0, 1, 1] = 300
assert u[1, 0].tolist() == [[0, 0], [0, 300]] and u[1, 0, 1, 1] == 300
assert u[1:2][0, 0, 1, 1] == 300 and u[5:].size == 0 and u[-9:1].shape == (1, 2, 2, 2)

# Indices that do not fit.
raises(IndexError, "index 2, the axis has 2", lambda: t[2])
raises(IndexError, "index -3", lambda: t[-3])
raises(IndexError, "3 indices, the tensor has 2 dimensions", lambda: t[0, 0, 0])
raises(IndexError, "index 3, the axis has 3", put, t, (0, 3), 1)
raises(TypeError, "integers", lambda: t["a"])
raises(TypeError, "integers", lambda: t[0, 0:1])
raises(ValueError, "step", lambda: t[::2])

# Views of other objects' buffers.
a = array("h", [1, -2, 300, 4])
v = Tensor(a)
assert v.dtype == "i16" and v.tolist() == [1, -2, 300, 4]
v[0] = 9
a[3] = -7
assert a[0] == 9 and v[3] == -7
assert Tensor((2, 2), buffer=a)[1].tolist() == [300, -7]
assert Tensor(None, None, a, 4).tolist() == [300, -7]
assert Tensor((2, -1), buffer=a).shape == (2, 2)
b = bytearray(b"\x00\x00\x80\x3f\x00\x00\x00\x40")
assert Tensor(2, "f32", b).tolist() == [1.0, 2.0] and Tensor(b).dtype == "u8"
assert Tensor(1, "f32", b, 4)[0] == 2.0 and Tensor(4, "i16", memoryview(b))[1] == 0x3F80
assert Tensor(array("i", [-5]))[0] == -5 and Tensor(array("b", [-5]))[0] == -5
assert Tensor(Tensor(3, "i8")).dtype == "i8"
raises(ValueError, "the shape has 3 elements of 4 bytes, the buffer 8 bytes", Tensor, 3, "f32", b)
raises(ValueError, "after offset 8", Tensor, 1, "f32", b, 8)
raises(ValueError, "multiple of 4", Tensor, 1, "f32", b, 2)
raises(ValueError, "offset -1", Tensor, 1, "f32", b, -1)
raises(ValueError, "dtype 'f16' is not known: f32, i32, i16, i8, u8", Tensor, 1, "f16")
raises(ValueError, "'q'", Tensor, array("q", [1]))
raises(ValueError, "5 dimensions, allowed 1..4", Tensor, (1, 1, 1, 1, 1))
raises(ValueError, "dimension -1", Tensor, -1)
raises(ValueError, "elements", Tensor, (65536, 65536))
raises(TypeError, "", Tensor, None)
raises(TypeError, "", Tensor, 2.5)

# Only for reading.
r = Tensor(b"\x01\x02\x03")
assert r[2] == 3
raises(ValueError, "cannot be written", put, r, 0, 1)
raises(ValueError, "cannot be written", r.fill, 1)

# A buffer that moves is found again, one that shrinks is noticed.
g = bytearray(8)
v = Tensor(8, "u8", g)
for _ in range(40):
    g.extend(bytes(50))
g[3] = 77
assert v[3] == 77
v[4] = 78
assert g[4] == 78
g[4:] = b""
raises(ValueError, "shrank to 4 bytes, it needs 8", lambda: v[7])
raises(ValueError, "shrank", v.tolist)
raises(ValueError, "shrank", v.fill, 1)
raises(ValueError, "shrank", memoryview, v)

# Numbers must fit; a list is checked before anything is written.
q = Tensor(3, "i8")
q[0] = -128
q[1] = True
raises(ValueError, "i8 128, allowed -128..127", put, q, 2, 128)
raises(TypeError, "i8 must be an integer", put, q, 2, 1.5)
raises(ValueError, "i8 -129", put_all, q, [1, 2, -129])
assert q.tolist() == [-128, 1, 0]
raises(ValueError, "source has 2 values, expected 3", q.copy_from, [1, 2])
raises(TypeError, "fill", q.copy_from, 1)
raises(TypeError, "", put, Tensor(1), 0, "x")
big = Tensor(2, "i32")
big[0], big[1] = 2147483647, -2147483648
assert big.tolist() == [2147483647, -2147483648]
allowed = ", allowed -2147483648..2147483647"
raises(ValueError, allowed, put, big, 0, 2147483648)
raises(ValueError, allowed, put, big, 0, -2147483649)
raises(ValueError, "i32", put, big, 0, -(1 << 80))
u = Tensor(2, "u8")
raises(ValueError, "u8 -1, allowed 0..255", u.fill, -1)

# Copies between types: to integers rounds half to even and saturates, NaN is refused.
q = Tensor(8, "i8")
q.copy_from(array("f", [0.5, 1.5, -2.5, 2.6, -1000, float("inf"), -0.4, 127.4]))
assert q.tolist() == [0, 2, -2, 3, -128, 127, 0, 127]
raises(ValueError, "source[1] is nan", q.copy_from, array("f", [9, float("nan")] + [0] * 6))
assert q[0] == 0
u = Tensor(3, "u8")
u.copy_from(array("h", [-5, 300, 7]))
assert u.tolist() == [0, 255, 7]
f = Tensor(3)
f.copy_from(u)
assert f.tolist() == [0.0, 255.0, 7.0]
big.copy_from(array("f", [3e9, -3e9]))
assert big.tolist() == [2147483647, -2147483648]
f[0:2] = f[1:3]
assert f.tolist() == [255.0, 7.0, 7.0]
f.fill(float("nan"))
assert f[0] != f[0]
raises(ValueError, "'d'", f.copy_from, array("d", [1, 2, 3]))

# Shapes and the buffer protocol.
t = Tensor((2, 3), "i16")
t.copy_from([1, 2, 3, 4, 5, 6])
assert t.reshape((3, 2)).tolist() == [[1, 2], [3, 4], [5, 6]] and t.reshape(-1).shape == (6,)
assert t.reshape((3, -1)).shape == (3, 2)
raises(ValueError, "the new shape has 4 values, expected 6", t.reshape, (2, 2))
raises(ValueError, "only one", t.reshape, (-1, -1))
m = memoryview(t)
assert (
    len(m) == 6
    and m[5] == 6
    and bytes(t[1:])[0] == 4
    and array("h", t[1]) == array("h", [4, 5, 6])
)
m[0] = -9
assert t[0, 0] == -9
raises(AttributeError, "", setattr, t, "shape", (6,))
print("OK")
