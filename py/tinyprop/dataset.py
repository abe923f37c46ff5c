"""Dataset: samples streamed from a file, so that RAM does not grow with their number.

The file, all numbers little-endian:
    0   4  b"TPD1"
    4   1  version: 1
    5   1  type of x: b"f" float32, b"i" int32, b"h" int16, b"b" int8, b"B" uint8
    6   1  type of the label: b"B" or b"H" class index (uint8, uint16), b"f" float32 vector
    7   1  dimensions of x: 1 to 4
    8   4  bytes of the header, H
    12  4  number of classes, or of values in a label vector
    16  4  values in the scale, S: 0, 1 or the last dimension
    20  16 four dimensions, 1 where not used
    36     S float32 scale, then S float32 offset: integer x mean x * scale + offset
    H-4 4  CRC-32 of all bytes before
    H      the records, each: x row-major, zeros up to a multiple of the label's element size,
           label
There is no count: the number of records is what the file has room for. A record that was cut off
(power) does not count and is overwritten by the next append.
"""

import struct
from os import stat

import _tinyprop
from micropython import const

from .layers import Input, _choice, _refuse, _scale_arrays, _shape, _size

_HEAD = const("<4sBBBBIII4I")
_HEAD_BYTES = const(36)
_DTYPES = const(("f32", "i32", "i16", "i8", "u8"))
_TYPES = const("fihbB")  # of the same
_EEXIST = const(17)


class FormatError(ValueError):
    """Not a file of tinyprop, or a damaged one."""


class Dataset:
    """Dataset(path, mode="r"): the samples of a file; mode "a" also appends.

    len(d); d[i] -> (x, y), x a Tensor that the next read overwrites, y a class index or, for label
    vectors, a Tensor likewise. shape, dtype, classes (None for vectors), targets (None for
    classes), scale and offset (None where x is not scaled). OSError: no such file. FormatError:
    not a data set, or its header is damaged.
    """

    def __init__(self, path, mode="r"):
        if mode not in ("r", "a"):
            _refuse("mode", mode, "r, a")
        self.path = path
        self._append = mode == "a"
        self._f = open(path, "r+b" if self._append else "rb")
        try:
            self._parse()
        except Exception as e:
            self._f.close()
            raise e

    def _parse(self):
        path, f = self.path, self._f
        head = f.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES or head[:4] != b"TPD1":
            raise FormatError("%s is not a tinyprop data set" % path)
        _, version, x, y, ndim, size, n_label, n_scale, *dims = struct.unpack(_HEAD, head)
        if version != 1:
            raise FormatError("%s has version %d, known is 1" % (path, version))
        x, y = chr(x), chr(y)
        self.shape = shape = tuple(dims[:ndim])
        n = _size(shape)
        most = _tinyprop.MAX_UNITS
        rest = None
        # The size comes from the file: look at it before that much is read.
        if n_scale <= most and size == _HEAD_BYTES + 8 * n_scale + 4:
            rest = bytearray(f.read(size - _HEAD_BYTES))
        if (
            not rest
            # What the CRC-32 of anything is, followed by its own CRC-32.
            or _tinyprop.crc32(rest, _tinyprop.crc32(head)) != 0x2144DF1C
            or not (x in _TYPES and y in "BHf" and 1 <= ndim <= 4 and 0 < n <= most)
            or not (0 < n_label <= most and n_scale in (0, 1, shape[-1]))
        ):
            raise FormatError("the header of %s is damaged" % path)
        self.dtype = _DTYPES[_TYPES.find(x)]
        self.scale = self.offset = None
        if n_scale:
            self.scale, self.offset = _tinyprop.Tensor((2, n_scale), "f32", rest)
        self._start = size
        self._label = y
        y = struct.calcsize(y)
        at = -(-n * struct.calcsize(x) // y) * y
        self.classes, self.targets = n_label, None
        if self._label == "f":
            self.classes, self.targets = None, n_label
            y *= n_label
        self._at = at
        self._record = record = bytearray(at + y)
        # The one sample in memory.
        self.x = _tinyprop.Tensor(shape, self.dtype, record)
        self._y = self.targets and _tinyprop.Tensor(n_label, "f32", record, at)
        self._n = (f.seek(0, 2) - size) // len(record)

    @staticmethod
    def create(path, shape, dtype="u8", classes=None, targets=None, scale=None, offset=None):
        """A new, empty file, open for append(). Either classes (a label is a class index below
        it) or targets (a label is a vector of so many floats). OSError (EEXIST) where path is."""
        shape = _shape(shape)
        typecode = _TYPES[_choice("dtype", dtype, _DTYPES)]
        if (classes is None) == (targets is None):
            raise ValueError("a data set has either classes or targets")
        most = _tinyprop.MAX_UNITS
        for what, n in (("values", _size(shape)), ("classes", classes), ("targets", targets)):
            if n is not None and (not isinstance(n, int) or not 1 <= n <= most):
                _refuse(what, n, "1..%d" % most)
        label = "f" if classes is None else "B" if classes <= 256 else "H"
        scale, offset = _scale_arrays(shape, scale, offset)
        n_scale = 0 if scale is None else len(scale)
        size = _HEAD_BYTES + 8 * n_scale + 4
        types = (ord(typecode), ord(label), len(shape))
        dims = shape + (1,) * (4 - len(shape))
        head = struct.pack(_HEAD, b"TPD1", 1, *types, size, classes or targets, n_scale, *dims)
        if n_scale:
            head += bytes(scale) + bytes(offset)
        head += struct.pack("<I", _tinyprop.crc32(head))
        try:
            stat(path)
        except OSError:
            with open(path, "wb") as f:
                f.write(head)
            return Dataset(path, "a")
        raise OSError(_EEXIST, path)

    def input(self):
        """The Input layer for these samples."""
        return Input(self.shape, self.scale, self.offset)

    def read(self, i):
        """Read sample i into x; returns its label. Takes no memory for class labels."""
        n = self._n
        at = i + n if i < 0 else i
        if not 0 <= at < n:
            raise IndexError("sample %d, the data set has %d" % (i, n))
        record = self._record
        size = len(record)
        self._f.seek(self._start + at * size)
        if self._f.readinto(record) != size:
            raise FormatError("%s ends inside sample %d" % (self.path, at))
        if self._y is not None:
            return self._y
        at = self._at
        return record[at] if self._label == "B" else record[at] | record[at + 1] << 8

    def append(self, x, y, flush=True):
        """Add a sample: x as many numbers as shape has (integers saturate), y a label. With
        flush it is on the medium when append returns; else after flush() or close()."""
        if not self._append:
            raise ValueError("%s is open for reading: Dataset(path, 'a')" % self.path)
        record, at, n = self._record, self._at, self.classes
        if n is None:
            self._y.copy_from(y)
        elif not isinstance(y, int) or not 0 <= y < n:
            raise ValueError("class index %r, the data set has %d classes (0..%d)" % (y, n, n - 1))
        else:
            record[at] = y & 255
            if self._label == "H":
                record[at + 1] = y >> 8
        self.x.copy_from(x)
        self._f.seek(self._start + self._n * len(record))
        self._f.write(record)
        if flush:
            self._f.flush()
        self._n += 1

    def flush(self):
        self._f.flush()

    def close(self):
        self._f.close()

    def __len__(self):
        return self._n

    def __getitem__(self, i):
        y = self.read(i)
        return self.x, y

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        label = "%d classes" % self.classes if self.classes else "%d targets" % self.targets
        return "Dataset(%r: %d x %r %s, %s)" % (self.path, self._n, self.shape, self.dtype, label)
