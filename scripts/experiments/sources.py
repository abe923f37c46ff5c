"""Data sets in the formats they are published in. Every reader gives the arrays of one .npz file:
x_train, y_train, x_test, y_test (no test part: split later), x_scale and x_offset for quantised
values, and who or what a sample is of: <name>_train, <name>_test.

A corrupt file is named and ends the program, or is left out and counted (Bad).
"""

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import audio
import numpy as np
from common import fail, short
from make_dataset import TYPES, record_dtype


class Bad:
    """What becomes of corrupt files."""

    def __init__(self, skip=False):
        self.skip = skip
        self.files = []

    def __call__(self, path, reason):
        if not self.skip:
            fail(f"{short(path)}: {reason} (--skip-bad leaves such files out)")
        self.files.append(path)


def _one(folder, *names):
    """The file that is there under one of these names."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    fail(f"{short(folder)} has no {names[0]}")


def _inner(folder, name):
    """The folder itself or, where it holds the unpacked archive, the folder in it."""
    return folder / name if (folder / name).is_dir() else folder


def _files(folder, pattern):
    found = sorted(folder.glob(pattern))
    if not found:
        fail(f"{short(folder)} has no {pattern}")
    return found


def _each(paths, read, bad):
    """(read(path), path) of those that can be read."""
    for path in paths:
        try:
            yield read(path), path
        except (ValueError, OSError, SyntaxError) as e:  # SyntaxError: Pillow, of a PNG
            bad(path, str(e).splitlines()[0])


def _rows(read):
    read = list(read)
    if not read:
        fail("no file of the data set could be read")
    return [r for r, _ in read], [p for _, p in read]


def quantise(train, test):
    """int8 with a scale and an offset for each value of the last axis, from the training part;
    0.1 % at either end is clipped."""
    axes = tuple(range(train.ndim - 1))
    low, high = np.percentile(train, (0.1, 99.9), axis=axes).astype(np.float32)
    scale = np.maximum(high - low, 1e-6) / 254
    offset = (low + high) / 2

    def stored(x):
        return np.clip(np.rint((x - offset) / scale), -127, 127).astype(np.int8)

    return {"x_train": stored(train), "x_test": stored(test), "x_scale": scale, "x_offset": offset}


def numbers(names):
    """({name: number}, list of names) in sorted order."""
    order = sorted(set(names))
    return {name: i for i, name in enumerate(order)}, order


# --- Images ---

_IDX = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def _read_idx(path):
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as e:
        raise ValueError(f"not a gzip file ({e})") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX:
        raise ValueError("not an idx file")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError("the idx header is cut off")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    kind = np.dtype(_IDX[data[2]])
    if len(data) - start != np.prod(shape) * kind.itemsize:
        raise ValueError(f"{len(data) - start} bytes of data, its shape is {shape}")
    return np.frombuffer(data, kind, offset=start).reshape(shape)


def read_idx(folder, options, bad):
    """MNIST, Fashion-MNIST and the like: four idx files, gzipped or not."""
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        for x, kind in (("x", "images-idx3"), ("y", "labels-idx1")):
            names = [f"{prefix}-{kind}-ubyte", f"{prefix}-{kind}-ubyte".replace("-idx", ".idx")]
            path = _one(folder, *(n + end for n in names for end in ("", ".gz")))
            try:
                arrays[f"{x}_{part}"] = _read_idx(path)
            except ValueError as e:
                # There is only one file of each kind: nothing to go on with.
                fail(f"{short(path)}: {e}")
        if len(arrays[f"x_{part}"]) != len(arrays[f"y_{part}"]):
            n, m = len(arrays[f"x_{part}"]), len(arrays[f"y_{part}"])
            fail(f"{short(folder)}: {n} images but {m} labels in the {part} part")
    return arrays


def _cifar(folder, parts, label_bytes, bad):
    def read(path):
        data = np.frombuffer(path.read_bytes(), np.uint8)
        if not len(data) or len(data) % (label_bytes + 3072):
            raise ValueError(f"{len(data)} bytes, not a multiple of {label_bytes + 3072}")
        return data.reshape(-1, label_bytes + 3072)

    arrays = {}
    for part, names in parts.items():
        paths = [_one(folder, name) for name in names]
        rows = np.concatenate(_rows(_each(paths, read, bad))[0])
        # Stored channel by channel.
        arrays[f"x_{part}"] = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"y_{part}"] = rows[:, label_bytes - 1]
    return arrays


def read_cifar10(folder, options, bad):
    """The binary version: data_batch_1.bin .. data_batch_5.bin, test_batch.bin."""
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    folder = _inner(folder, "cifar-10-batches-bin")
    return _cifar(folder, {"train": train, "test": ["test_batch.bin"]}, 1, bad)


def read_cifar100(folder, options, bad):
    """The binary version: train.bin, test.bin; the fine labels."""
    folder = _inner(folder, "cifar-100-binary")
    return _cifar(folder, {"train": ["train.bin"], "test": ["test.bin"]}, 2, bad)


def read_images(folder, options, bad):
    """A folder of images for each class; where there are folders train/ and test/, in those.
    Cut to a square in the middle, box-filtered to size x size."""
    from PIL import Image

    size = options.get("size", 32)

    def read(path):
        with Image.open(path) as image:
            image = image.convert("RGB")
            w, h = image.size
            edge = min(w, h)
            left, top = (w - edge) // 2, (h - edge) // 2
            box = (left, top, left + edge, top + edge)
            return np.asarray(image.resize((size, size), Image.Resampling.BOX, box))

    parts = {p: folder / p for p in ("train", "test") if (folder / p).is_dir()}
    arrays, classes = {}, None
    for part, root in (parts or {"train": folder}).items():
        found = [
            p
            for p in _files(root, "*/*")
            if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".ppm")
        ]
        known, names = numbers(p.parent.name for p in found)
        if classes not in (None, names):
            fail(f"{short(folder)}: train and test do not have the same classes")
        classes = names
        x, paths = _rows(_each(found, read, bad))
        arrays[f"x_{part}"] = np.stack(x)
        arrays[f"y_{part}"] = np.array([known[p.parent.name] for p in paths])
    return arrays


# --- Activity ---


def _table(path):
    try:
        return np.loadtxt(path, dtype=np.float32, ndmin=2)
    except (ValueError, UnicodeDecodeError) as e:
        # Its rows belong to those of other files: nothing to go on with.
        fail(f"{short(path)}: {str(e).splitlines()[0]}")


def read_uci_har(folder, options, bad):
    """UCI HAR: nine inertial signals of 128 values; with features = true the 561 features."""
    folder = _inner(folder, "UCI HAR Dataset")
    arrays = {}
    for part in ("train", "test"):
        root = folder / part
        y = _table(_one(root, f"y_{part}.txt"))[:, 0].astype(np.int64) - 1
        subject = _table(_one(root, f"subject_{part}.txt"))[:, 0].astype(np.int64)
        if options.get("features"):
            paths = [_one(root, f"X_{part}.txt")]
        else:
            names = [f"{a}_{b}" for a in ("body_acc", "body_gyro", "total_acc") for b in "xyz"]
            paths = [_one(root / "Inertial Signals", f"{n}_{part}.txt") for n in names]
        tables = [_table(p) for p in paths]
        for path, table in zip(paths, tables):
            if len(table) != len(y) or table.shape != tables[0].shape:
                fail(f"{short(path)}: {table.shape} values, the labels are {len(y)}")
        if len(subject) != len(y):
            fail(f"{short(root)}: {len(subject)} subjects, {len(y)} labels")
        if y.min() < 0:
            fail(f"{short(root)}: label {y.min() + 1}, the first is 1")
        arrays[f"x_{part}"] = np.stack(tables, -1) if len(tables) > 1 else tables[0]
        arrays[f"y_{part}"], arrays[f"subj_{part}"] = y, subject
    return arrays


# --- Sound ---

COMMANDS = "yes no up down left right on off stop go".split()


def _wav(rate, features):
    def read(path):
        x, its = audio.read_wav(path)
        if its != rate:
            raise ValueError(f"{its} samples a second, expected {rate}")
        return features(x)

    return read


def read_speech_commands(folder, options, bad):
    """Google's Speech Commands: a folder for each word; 12 classes, MFCC 49 x 10, int8.

    Ten commands, _unknown_ (other words) and _silence_ (pieces of _background_noise_), of the
    latter two as many as of one command. testing_list.txt says which clips are the test part;
    without it (or with folders _unknown_ and _silence_, as in the published test set) a fifth of
    the speakers is.
    """
    ready = (folder / "_silence_").is_dir()
    clips = _files(folder, "*/*.wav")
    noise = [p for p in clips if p.parent.name == "_background_noise_"]
    clips = [p for p in clips if p.parent.name != "_background_noise_"]
    listed = folder / "testing_list.txt"
    listed = set(listed.read_text().split()) if listed.is_file() else None
    speakers, order = numbers(p.name.split("_")[0] for p in clips)
    rng = np.random.default_rng(1)
    chosen = set(rng.permutation(len(order))[: max(1, len(order) // 5)])

    def label(path):
        word = path.parent.name
        return word if word in COMMANDS or ready else "_unknown_"

    def is_test(path):
        if listed is not None and not ready:
            return f"{path.parent.name}/{path.name}" in listed
        return speakers[path.name.split("_")[0]] in chosen

    classes = ["_silence_", "_unknown_", *sorted(COMMANDS)]
    for path in clips:
        if label(path) not in classes:
            fail(f"{short(path.parent)} is not one of the 12 classes")
    read = _wav(16000, audio.command_mfcc)
    arrays, features = {}, {}
    for part, wanted in (("train", False), ("test", True)):
        mine = [p for p in clips if is_test(p) == wanted]
        unknown = [p for p in mine if label(p) == "_unknown_"]
        n = max(1, round((len(mine) - len(unknown)) / len(COMMANDS)))
        if not ready and len(unknown) > n:
            drop = {unknown[i] for i in rng.permutation(len(unknown))[n:]}
            mine = [p for p in mine if p not in drop]
        x, paths = _rows(_each(mine, read, bad))
        y = [classes.index(label(p)) for p in paths]
        who = [speakers[p.name.split("_")[0]] if "_nohash_" in p.name else -1 for p in paths]
        sounds = [s for s, _ in _each(noise, lambda p: _wav(16000, np.asarray)(p), bad)]
        sounds = [s for s in sounds if len(s) > 16000]
        for _ in range(n if sounds and not ready else 0):
            sound = sounds[rng.integers(len(sounds))]
            start = rng.integers(len(sound) - 16000)
            piece = sound[start : start + 16000] * np.float32(rng.uniform(0, 1))
            x.append(audio.command_mfcc(piece))
            y.append(0)
            who.append(-1)
        features[part] = np.stack(x)
        arrays[f"y_{part}"], arrays[f"spk_{part}"] = np.array(y), np.array(who)
    return {**arrays, **quantise(features["train"], features["test"])}


def read_fsdd(folder, options, bad):
    """Free Spoken Digit Dataset: recordings/<digit>_<speaker>_<index>.wav; index 0 to 4 is the
    test part; log-mel 32 x 20, int8."""

    def read(path):
        words = path.stem.split("_")
        if len(words) != 3 or not (words[0].isdigit() and words[2].isdigit()):
            raise ValueError("the name is not <digit>_<speaker>_<index>.wav")
        if int(words[0]) > 9:
            raise ValueError(f"digit {words[0]}")
        return _wav(8000, audio.digit_log_mel)(path), int(words[0]), words[1], int(words[2])

    rows, _ = _rows(_each(_files(_inner(folder, "recordings"), "*.wav"), read, bad))
    speakers, _ = numbers(r[2] for r in rows)
    parts = {"train": [r for r in rows if r[3] > 4], "test": [r for r in rows if r[3] <= 4]}
    arrays = {}
    for part, mine in parts.items():
        if not mine:
            fail(f"{short(folder)}: no recording for the {part} part")
        arrays[f"y_{part}"] = np.array([r[1] for r in mine])
        arrays[f"spk_{part}"] = np.array([speakers[r[2]] for r in mine])
    x = {part: np.stack([r[0] for r in mine]) for part, mine in parts.items()}
    return {**arrays, **quantise(x["train"], x["test"])}


def read_dcase2020(folder, options, bad):
    """DCASE 2020 task 2, one machine: train/normal_id_*.wav, test/{normal,anomaly}_id_*.wav;
    vectors of five log-mel frames of 128 bands. y: anomaly; clip, id: which file, which machine.

    stride: every so many vectors one is kept (neighbours share four frames of five).
    """
    root = folder / options["machine"] if "machine" in options else folder
    stride = options.get("stride", 5)

    def read(path):
        words = path.stem.split("_")
        if len(words) != 4 or words[0] not in ("normal", "anomaly") or not words[2].isdigit():
            raise ValueError("the name is not normal_id_<machine>_<number>.wav")
        x, rate = audio.read_wav(path)
        return audio.machine_log_mel(x, rate, 5)[::stride], words

    arrays, x = {}, {}
    for part in ("train", "test"):
        rows, _ = _rows(_each(_files(root / part, "*.wav"), read, bad))
        n = [len(vectors) for vectors, _ in rows]
        x[part] = np.concatenate([vectors for vectors, _ in rows])
        arrays[f"clip_{part}"] = np.repeat(np.arange(len(rows)), n)
        arrays[f"id_{part}"] = np.repeat([int(words[2]) for _, words in rows], n)
        arrays[f"y_{part}"] = np.repeat([int(words[0] == "anomaly") for _, words in rows], n)
    return {**arrays, **quantise(x["train"], x["test"])}


# --- Files of this project ---


def read_tpd(folder, options, bad):
    """train.tpd and test.tpd, as scripts/make_dataset.py writes them."""
    arrays = {}
    for part in ("train", "test"):
        path = _one(folder, f"{part}.tpd")
        data = path.read_bytes()
        if len(data) < 40 or data[:4] != b"TPD1":
            fail(f"{short(path)}: not a tinyprop data set")
        kinds = struct.unpack_from("<BB", data, 5)
        ndim, size, n_label, n_scale, *dims = struct.unpack_from("<B3I4I", data, 7)
        names = {code[0]: name for name, code in TYPES.items()}
        damaged = size != 40 + 8 * n_scale or len(data) < size or kinds[0] not in names
        if damaged or zlib.crc32(data[: size - 4]) != struct.unpack_from("<I", data, size - 4)[0]:
            fail(f"{short(path)}: the header is damaged")
        x = np.empty((0, *dims[:ndim]), names[kinds[0]])
        kind = record_dtype(x, bytes(kinds[1:]), n_label)
        n = (len(data) - size) // kind.itemsize
        records = np.frombuffer(data, kind, n, size)
        arrays[f"x_{part}"] = records["x"].copy()
        arrays[f"y_{part}"] = records["y"][:, 0] if kinds[1:] != (ord("f"),) else records["y"]
        if n_scale:
            scales = np.frombuffer(data, "<f4", 2 * n_scale, 36).reshape(2, n_scale)
            arrays["x_scale"], arrays["x_offset"] = scales
    return arrays


def read_npz(path, x="x"):
    """An .npz file; other samples than x go by their own name: <x>_train, <x>_scale."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file}
    except (ValueError, zlib.error, OSError, EOFError, zipfile.BadZipFile) as e:
        fail(f"{short(path)}: not an .npz file ({str(e).splitlines()[0] or type(e).__name__})")
    if x != "x":
        arrays = {k: v for k, v in arrays.items() if not k.startswith("x_")}
        arrays = {
            ("x" + k[len(x) :] if k.startswith(f"{x}_") else k): v for k, v in arrays.items()
        }
    if "x_train" not in arrays:
        fail(f"{short(path)} has no array '{x}_train'")
    return arrays


FORMATS = {
    "idx": read_idx,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "images": read_images,
    "uci_har": read_uci_har,
    "speech_commands": read_speech_commands,
    "fsdd": read_fsdd,
    "dcase2020": read_dcase2020,
    "tpd": read_tpd,
}
# Format -> settings of its own in [data].
OPTIONS = {
    "images": {"size": int},
    "uci_har": {"features": bool},
    "dcase2020": {"machine": str, "stride": int},
}


def listing(folder):
    """What a folder holds, to notice that it changed: names, sizes, times."""
    return [
        (str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns)
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    ]
