"""FEATURES=dense: what is left does the same, bit for bit, and what is left out says so."""

import json
import os
import subprocess
import sys

import core_api
import numpy as np
import pytest
from cases import NETWORKS, specs
from conftest import need_compiler
from core_api import CoreModel
from hypothesis import given, settings
from oracle.spec import Layer, Spec
from pair import samples

sys.path.insert(0, str(core_api.ROOT / "scripts"))
import build_unix  # noqa: E402
import features  # noqa: E402

ON_TARGET = core_api.HERE / "on_target"
# The others make layers of maps or call single kernels.
SCRIPTS = ("checkpoints", "dataset_files", "fit_loops", "model_api", "quick_start", "tensor_views")
FEATURE = -8
CHAIN = Spec(6, (Layer(5, "relu"), Layer(3)))


@pytest.fixture(scope="module")
def small():
    need_compiler("dense")
    return core_api.load("dense")


@pytest.fixture(scope="module")
def small_mpy():
    """The unix port without maps, built if it is out of date."""
    return build_unix.build_unix(wanted=features.Features("dense"))


def run(binary, script, cwd):
    # fit_loops.py and others look at the time a step takes.
    done = subprocess.run([binary, script], capture_output=True, text=True, timeout=120, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


# --- The core ---


@given(spec=specs())
@settings(max_examples=60)
def test_blocks_of_both_builds_are_the_same_byte_for_byte(core, small, spec):
    both = [CoreModel(one, spec) for one in (core, small)]
    for x, y in samples(spec, 4):
        for model in both:
            try:
                model.train_step(x, y)
            except core_api.CoreError as error:
                assert error.code == core_api.NONFINITE
    assert np.array_equal(both[0].block, both[1].block)
    # Either takes up what the other one left.
    block = both[0].block.copy()
    assert small.tp_model_check(block.ctypes.data, len(block)) == core_api.OK
    block = both[1].block.copy()
    assert core.tp_model_check(block.ctypes.data, len(block)) == core_api.OK


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_maps_are_refused_and_so_are_their_blocks(core, small, name):
    with pytest.raises(core_api.CoreError) as caught:
        core_api.plan(small, NETWORKS[name])
    assert caught.value.code == FEATURE and "maps" in caught.value.what
    block = CoreModel(core, NETWORKS[name]).block
    assert small.tp_model_check(block.ctypes.data, len(block)) == FEATURE


@pytest.mark.parametrize(
    "changes", [{"external": 1}, {"recompute": 1}, {"select": 1}, {"source": 255}, {"kernel_h": 1}]
)
def test_dense_layers_that_need_what_is_left_out_are_refused(small, changes):
    spec = core_api.c_spec(CHAIN)
    for field, value in changes.items():
        setattr(spec.layers[1], field, value)
    with pytest.raises(core_api.CoreError) as caught:
        core_api.plan(small, spec)
    assert caught.value.code == FEATURE and caught.value.layer == 1


# --- MicroPython ---


def test_weights_are_those_of_the_whole_build(mpy, small_mpy, tmp_path):
    code, whole = run(mpy, ON_TARGET / "crc_of_training.py", tmp_path)
    assert code == 0
    left_out = ("-maps", "-i16", "-i8")
    dense = [line for line in whole.splitlines() if not any(part in line for part in left_out)]
    assert len(dense) == 7 < len(whole.splitlines())
    assert run(small_mpy, ON_TARGET / "crc_of_training.py", tmp_path) == (
        0,
        "\n".join([*dense, ""]),
    )


def test_integers_without_maps_have_the_weights_of_the_whole_build(mpy, tmp_path):
    binary = build_unix.build_unix(wanted=features.Features("dense,integers"))
    _, whole = run(mpy, ON_TARGET / "crc_of_training.py", tmp_path)
    kept = [line for line in whole.splitlines() if "-maps" not in line]
    assert sum("-i8" in line or "-i16" in line for line in kept) >= 2
    code, out = run(binary, ON_TARGET / "crc_of_training.py", tmp_path)
    # Where there are no maps, another dense network trains with momentum.
    assert code == 0 and set(kept) <= set(out.splitlines())


@pytest.mark.parametrize("script", SCRIPTS)
def test_on_target_scripts_pass_without_maps(small_mpy, script, tmp_path):
    code, out = run(small_mpy, ON_TARGET / f"{script}.py", tmp_path)
    assert code == 0 and out.splitlines()[-1] == "OK", out[-2000:]


REFUSED = """
import tinyprop as tp
d = tp.Dense(3)
four = tp.Input(4)
for wish in (
    "tp.Conv2D",
    "exec('from tinyprop import MaxPooling2D')",
    "tp.Sequential([four, d, tp.Dense(2, after=four)])",
    "tp.Sequential([four, tp.Dense(2, external=True), d])",
    "tp.Sequential.plan([four, d], budget=1000)",
    "tp.load('maps.tp')",
    "tp.Sequential([four, d], dtype='i8')",
    "tp.load('integers.tp')",
):
    try:
        eval(wish)
    except (AttributeError, ValueError) as e:
        print(type(e).__name__, e)
print(hasattr(tp, "Conv2D"), tp.load("dense.tp").classify(bytes(4)))
tp.load("dense.tp").save("again.tp")
"""
SAVE = """
import tinyprop as tp
maps = tp.Sequential([tp.Input((4, 4, 1)), tp.Conv2D(2, 3), tp.Flatten(), tp.Dense(2)])
maps.save("maps.tp")
tp.Sequential([tp.Input(4), tp.Dense(2)], dtype="i8").save("integers.tp")
m = tp.Sequential([tp.Input(4), tp.Dense(5, activation="relu"), tp.Dense(3)], policy=tp.Full())
m.train_step(b"1234", 2)
m.save("dense.tp")
print(m.classify(bytes(4)))
"""


def test_what_is_left_out_says_how_to_get_it_and_files_are_the_same(mpy, small_mpy, tmp_path):
    (tmp_path / "save.py").write_text(SAVE)
    (tmp_path / "refused.py").write_text(REFUSED)
    code, answer = run(mpy, "save.py", tmp_path)
    assert code == 0
    code, out = run(small_mpy, "refused.py", tmp_path)
    *refused, last = out.splitlines()
    assert code == 0 and last == f"False {answer.strip()}", out
    names = [line.split()[0] for line in refused]
    assert names == ["AttributeError"] * 2 + ["ValueError"] * 3 + [
        "FormatError",
        "ValueError",
        "FormatError",
    ], out
    assert all("in this build" in line for line in refused[:2]), out
    assert all("built without" in line for line in refused[2:]), out
    assert all("FEATURES=all" in line for line in refused), out
    assert "layer 1 (Dense)" in refused[3] and "maps.tp" in refused[5]
    assert all("without layers of maps" in refused[i] for i in (3, 5)), out
    assert all("without integers" in refused[i] for i in (6, 7)), out
    assert (tmp_path / "again.tp").read_bytes() == (tmp_path / "dense.tp").read_bytes()


# --- The option ---


def test_features_are_a_list_of_parts_and_a_wrong_one_is_named():
    every = ",".join(["dense", *features.PARTS])
    for text in ("all", every, "all,dense"):
        whole = features.Features(text)
        assert (whole.suffix, whole.variables(), whole.without()) == ("", [], [])
    dense = features.Features("dense")
    assert dense.suffix == "-dense" and "TINYPROP_MAPS=0" in dense.variables()
    for text in ("dens", "", "dense,nothing"):
        with pytest.raises(SystemExit, match=f"FEATURES={text}: there is all, dense"):
            features.Features(text)


def test_files_that_may_stay_out_are_files_of_the_package():
    package = core_api.ROOT / "py" / "tinyprop"
    listed = json.loads((package / "package.json").read_text())["urls"]
    out = [name for part in features.PARTS.values() for name in part[1]]
    assert {f"tinyprop/{name}" for name in out} < {name for name, _ in listed}
    assert all(os.path.isfile(package / name) for name in out)
