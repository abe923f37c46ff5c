"""scripts/make_dataset.py and tinyprop.Dataset mean the same file."""

import subprocess
import sys

import core_api
import numpy as np
import pytest

SCRIPTS = core_api.ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))
import make_dataset  # noqa: E402

# Reads a file, prints it, writes the same samples into another.
COPY = """
import sys
import tinyprop as tp
d = tp.Dataset(sys.argv[1])
print(len(d), d.shape, d.dtype, d.classes, d.targets)
scale = None if d.scale is None else list(d.scale)
offset = None if d.offset is None else list(d.offset)
print(scale, offset)
c = tp.Dataset.create(sys.argv[2], d.shape, d.dtype, d.classes, d.targets, scale, offset)
for x, y in d:
    print(x.tolist(), y if d.classes else y.tolist())
    c.append(x.reshape(-1), y)
c.close()
"""

KINDS = {
    "f32": (np.float32, (3,), 4, {}),
    "i32": (np.int32, (2, 3), 2, {}),
    "i16": (np.int16, (5,), 300, {"scale": 0.5}),
    "i8": (np.int8, (3, 1, 2), 2, {"scale": [0.5, 0.25], "offset": 3}),
    "u8": (np.uint8, (2, 2, 2, 3), 256, {"offset": [1, 2, 3]}),
    "u8-one": (np.uint8, (1,), 257, {}),
    "i16-vector": (np.int16, (3,), None, {}),
    "u8-vector": (np.uint8, (3, 3), None, {"scale": 1 / 255}),
}


def samples(dtype, shape, classes):
    rng = np.random.default_rng(4)
    if dtype == np.float32:
        x = rng.normal(size=(9, *shape)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        x = rng.integers(limits.min, limits.max + 1, size=(9, *shape)).astype(dtype)
    if classes is None:
        return x, rng.normal(size=(9, 2)).astype(np.float32)
    return x, rng.integers(0, classes, size=9)


@pytest.mark.parametrize("kind", KINDS)
def test_board_and_host_write_the_same_bytes(run_mpy, tmp_path, kind):
    dtype, shape, classes, scales = KINDS[kind]
    x, y = samples(dtype, shape, classes)
    one, two, script = tmp_path / "one.tpd", tmp_path / "two.tpd", tmp_path / "copy.py"
    one.write_bytes(make_dataset.to_bytes(x, y, classes, **scales))
    script.write_text(COPY)
    head, _, *rows = run_mpy(script, one, two).splitlines()
    name = {"f": "f32", "i": "i32", "h": "i16", "b": "i8", "B": "u8"}[
        core_api.DTYPES[x.dtype.name]
    ]
    assert head == f"9 {shape} {name} {classes} {2 if classes is None else None}"
    for i, row in enumerate(rows):
        got_x, got_y = eval(row.replace("] ", "], "))
        assert np.array_equal(np.array(got_x, dtype), x[i])
        assert np.array_equal(np.array(got_y, y.dtype), y[i])
    assert two.read_bytes() == one.read_bytes()


def run_script(tmp_path, *arguments):
    command = [sys.executable, SCRIPTS / "make_dataset.py", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)


def test_npz_on_the_command_line(run_mpy, tmp_path):
    x, y = samples(np.uint8, (4,), 5)
    np.savez(tmp_path / "a.npz", images=x, labels=y)
    names = ["--x", "images", "--y", "labels"]
    done = run_script(tmp_path, "a.npz", "a.tpd", *names, "--classes", "7", "--scale", "0.5,1,2,4")
    assert done.returncode == 0, done.stderr
    want = make_dataset.to_bytes(x, y, 7, [0.5, 1, 2, 4])
    assert (tmp_path / "a.tpd").read_bytes() == want
    assert "9 samples" in done.stdout


@pytest.mark.parametrize(
    "arrays, options, text",
    [
        ({"x": np.zeros((3, 2)), "z": np.zeros(3)}, [], "no array 'y'"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(4, int)}, [], "x has 3 samples, y 4"),
        ({"x": np.zeros((3, 2), "c8"), "y": np.zeros(3, int)}, [], "x is complex64"),
        ({"x": np.zeros((3, 2), "i8"), "y": np.zeros(3, int)}, [], "x is int64"),
        ({"x": np.full((3, 2), np.nan), "y": np.zeros(3, int)}, [], "not finite"),
        ({"x": np.zeros((3, 2)), "y": np.array([0, 1, 5])}, ["--classes", "3"], "allowed 0..2"),
        ({"x": np.zeros((3, 2)), "y": np.array([0, -1, 5])}, [], "-1..5"),
        ({"x": np.zeros((3, 2)), "y": np.zeros((3, 2, 2))}, [], "neither"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3, int)}, ["--scale", "1,2,3"], "scale has 3"),
        ({"x": np.zeros((3, 0)), "y": np.zeros(3, int)}, [], "0 values"),
        ({"x": np.zeros((1, 1, 1, 1, 1, 1)), "y": np.zeros(1, int)}, [], "5 dimensions"),
    ],
)
def test_wrong_arrays_get_one_line(tmp_path, arrays, options, text):
    np.savez(tmp_path / "a.npz", **arrays)
    done = run_script(tmp_path, "a.npz", "a.tpd", *options)
    assert done.returncode == 1 and not (tmp_path / "a.tpd").exists()
    assert text in done.stderr and done.stderr.count("\n") == 1


def test_files_that_are_none_get_one_line(tmp_path):
    (tmp_path / "a.npz").write_text("no zip")
    for name in ("a.npz", "b.npz"):
        done = run_script(tmp_path, name, "a.tpd")
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
