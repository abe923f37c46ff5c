"""Turn arrays of an .npz file into a data set file for tinyprop.Dataset (.tpd).

The format is described in py/tinyprop/dataset.py. x: n samples of 1 to 4 dimensions; uint8, int8,
int16, int32 and float32 are kept, bool becomes uint8 and float64 float32. y: n class indices, or
(n, values) label vectors. --scale and --offset (one number, or one per value of the last axis)
are stored with the data: integer x mean x * scale + offset.
"""

import argparse
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from common import fail, run_main, say

TYPES = {"f4": b"f", "i4": b"i", "i2": b"h", "i1": b"b", "u1": b"B"}
MAX_VALUES = 65535


def record_dtype(x, label_type, n_label):
    """One record: x, zeros up to a multiple of the label's element size, label."""
    label = np.dtype({b"B": "<u1", b"H": "<u2", b"f": "<f4"}[label_type])
    x_bytes = x.dtype.itemsize * int(np.prod(x.shape[1:]))
    at = -(-x_bytes // label.itemsize) * label.itemsize
    count = n_label if label_type == b"f" else 1
    fields = {
        "names": ["x", "y"],
        "formats": [(x.dtype.newbyteorder("<"), x.shape[1:]), (label, (count,))],
        "offsets": [0, at],
        "itemsize": at + count * label.itemsize,
    }
    return np.dtype(fields)


def to_bytes(x, y, classes=None, scale=None, offset=None):
    """The whole file for samples x (n, ...) and labels y. Raises ValueError."""
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype == bool:
        x = x.astype(np.uint8)
    elif x.dtype == np.float64:
        x = x.astype(np.float32)
    kind = x.dtype.str[1:]
    if kind not in TYPES:
        raise ValueError(f"x is {x.dtype}, allowed: float32, int32, int16, int8, uint8")
    if x.ndim == 1:
        x = x[:, None]
    if not 2 <= x.ndim <= 5:
        raise ValueError(f"samples have {x.ndim - 1} dimensions, allowed 1..4")
    shape = x.shape[1:]
    if not 1 <= np.prod(shape) <= MAX_VALUES:
        raise ValueError(f"a sample has {np.prod(shape)} values, allowed 1..{MAX_VALUES}")
    if len(y) != len(x):
        raise ValueError(f"x has {len(x)} samples, y {len(y)}")
    if y.ndim == 2 or (y.ndim == 1 and y.dtype.kind == "f"):
        y = y.reshape(len(y), -1).astype("<f4")
        label_type, n_label = b"f", y.shape[1]
        if not 1 <= n_label <= MAX_VALUES:
            raise ValueError(f"a label has {n_label} values, allowed 1..{MAX_VALUES}")
        finite = np.isfinite(y).all()
    elif y.ndim == 1 and y.dtype.kind in "iub":
        y = y.astype(np.int64)
        n_label = int(y.max()) + 1 if classes is None and len(y) else classes
        if n_label is None or not 1 <= n_label <= MAX_VALUES:
            raise ValueError(f"{n_label} classes, allowed 1..{MAX_VALUES}")
        if len(y) and (y.min() < 0 or y.max() >= n_label):
            raise ValueError(f"class indices {y.min()}..{y.max()}, allowed 0..{n_label - 1}")
        label_type = b"B" if n_label <= 256 else b"H"
        y = y[:, None]
        finite = True
    else:
        raise ValueError(f"y is {y.dtype} {y.shape}: neither class indices nor label vectors")
    if not finite or (kind == "f4" and not np.isfinite(x).all()):
        raise ValueError("x or y has a value that is not finite")
    scales = b""
    n_scale = 0
    if scale is not None or offset is not None:
        scale = np.atleast_1d(np.float32(1 if scale is None else scale))
        offset = np.atleast_1d(np.float32(0 if offset is None else offset))
        n_scale = max(len(scale), len(offset))
        for name, values in (("scale", scale), ("offset", offset)):
            if len(values) not in (1, shape[-1]):
                raise ValueError(f"{name} has {len(values)} values, the last axis {shape[-1]}")
            scales += np.broadcast_to(values, n_scale).astype("<f4").tobytes()
    dims = (*shape, 1, 1, 1, 1)[:4]
    size = 36 + len(scales) + 4
    types = (TYPES[kind], label_type, len(shape))
    head = struct.pack("<4sBccBIII4I", b"TPD1", 1, *types, size, n_label, n_scale, *dims) + scales
    records = np.zeros(len(x), record_dtype(x, label_type, n_label))
    records["x"] = x
    records["y"] = y
    return head + struct.pack("<I", zlib.crc32(head)) + records.tobytes()


def numbers(text):
    return [float(v) for v in text.split(",")]


def read_arrays(path, names):
    try:
        with np.load(path) as file:
            missing = [n for n in names if n not in file]
            if missing:
                fail(f"{path} has no array {missing[0]!r}; it has {', '.join(file)}")
            return [file[n] for n in names]
    except (ValueError, zipfile.BadZipFile) as e:
        fail(f"{path} is not an .npz file: {e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("npz", type=Path)
    parser.add_argument("tpd", type=Path)
    parser.add_argument("--x", default="x", help="name of the samples in the .npz (x)")
    parser.add_argument("--y", default="y", help="name of the labels in the .npz (y)")
    parser.add_argument("--classes", type=int, help="number of classes (largest index + 1)")
    parser.add_argument("--scale", type=numbers, help="for example 0.00392157, or 1,0.5,2")
    parser.add_argument("--offset", type=numbers)
    a = parser.parse_args()
    x, y = read_arrays(a.npz, [a.x, a.y])
    try:
        data = to_bytes(x, y, a.classes, a.scale, a.offset)
    except ValueError as e:
        fail(e)
    a.tpd.write_bytes(data)
    say(f"{a.tpd}: {len(x)} samples, {len(data)} bytes")


if __name__ == "__main__":
    run_main(main)
