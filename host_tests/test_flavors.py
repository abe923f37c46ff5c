"""The core tests once more: with sanitizers, another compiler, and without special kernels."""

import os
import subprocess
import sys

import core_api
import pytest
from conftest import need, need_compiler

HERE = core_api.HERE
CORE_TESTS = sorted(HERE.glob("test_core_*.py"))
# What two cores share: floats and integers, dense layers and maps.
SHARED_TESTS = [HERE / "test_core_conv.py", HERE / "test_core_int.py"]

# Both cores have parts of a step: forward of two layers, their updates, dx of the second.
SHARED = """
import ctypes, core_api, numpy
from oracle.spec import Layer, Spec
core = core_api.load("cores")
model = core_api.CoreModel(core, Spec(6, [Layer(5, "relu"), Layer(4)], seed=1))
model.train_step(numpy.ones(6, numpy.float32), 1)
print(ctypes.c_uint.in_dll(core, "tp_core1_jobs").value)
"""

# More values than the buffer has, which a sanitizer must see.
OVERRUN = """
import ctypes, core_api
core = core_api.load("asan")
buffer = ctypes.CDLL(None).malloc
buffer.restype = ctypes.c_void_p
core.tp_topk(buffer(399), 100, 5)
print("not noticed")
"""


def run(flavor, arguments):
    """Python with the core of a flavor, as a child: a sanitizer must be loaded first."""
    need_compiler(flavor)
    env = {**os.environ, "TINYPROP_CORE_FLAVOR": flavor, "PYTHONPATH": str(HERE)}
    if flavor == "asan":
        name = [core_api.FLAVORS[flavor][0], "-print-file-name=libasan.so"]
        library = subprocess.run(name, capture_output=True, text=True).stdout.strip()
        need(os.path.isabs(library), "libasan", "apt-get install gcc")
        env["LD_PRELOAD"] = library
        env["ASAN_OPTIONS"] = "detect_leaks=0"  # Python itself frees little at its end
        env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=core_api.ROOT)


@pytest.mark.parametrize("flavor", [f for f in core_api.FLAVORS if f not in ("gcc", "dense")])
def test_core_tests_pass_in_every_flavor(flavor):
    tests = SHARED_TESTS if flavor == "cores" else CORE_TESTS
    done = run(
        flavor,
        ["-m", "pytest", "-q", "-x", "-o", f"cache_dir=build/pytest_cache_{flavor}", *tests],
    )
    summary = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert "passed" in summary and "skipped" not in summary


def test_sanitizer_is_awake():
    done = run("asan", ["-c", OVERRUN])
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr and "not noticed" not in done.stdout


def test_two_cores_share_forward_backward_and_update():
    done = run("cores", ["-c", SHARED])
    assert done.stdout.strip() == "5", done.stdout + done.stderr
