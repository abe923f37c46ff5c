"""The native module, loaded into firmware that was built without tinyprop."""

import json
import shutil
import subprocess
import sys

import core_api
import numpy as np
import pytest
from conftest import need
from test_qemu import CRC_SCRIPT, MPREMOTE, ON_TARGET, expected_crcs, mpremote  # noqa: F401

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import build_natmod  # noqa: E402
import build_qemu  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402

# In a native module an error takes heap for its text: on a locked heap it is a MemoryError.
FIRMWARE_ONLY = {"heap_locked"}
SCRIPTS = [p for p in sorted(ON_TARGET.glob("*.py")) if p.stem not in FIRMWARE_ONLY]
BOARDS = {"MPS2_AN385": "armv7m"}


def need_tools(group):
    for package in setup_env.lacking(group):
        need(False, package, setup_env.advice([package]))
    need(MPREMOTE.exists(), "mpremote", "make setup")


@pytest.fixture(scope="session")
def stock():
    """(unix port without tinyprop, folder with the module for it)"""
    need_tools("build")
    return build_natmod.build_stock_unix(), build_natmod.build_natmod("x64")


def run_stock(stock, script, cwd):
    program, folder = stock
    return subprocess.run(
        [program, "-X", "heapsize=640k", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={"MICROPYPATH": str(folder)},
    )


def test_stock_unix_port_has_no_tinyprop_of_its_own(stock, tmp_path):
    done = run_stock((stock[0], tmp_path), CRC_SCRIPT, tmp_path)
    assert done.returncode != 0 and "no module named '_tinyprop'" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_ends_well_with_the_native_module(stock, script, tmp_path, request):
    done = run_stock(stock, script, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "OK"
    if script == CRC_SCRIPT:
        assert done.stdout == request.getfixturevalue("expected_crcs")


@pytest.fixture(scope="session", params=BOARDS)
def plain(request):
    """(board, firmware without tinyprop, folder of the native module for it)"""
    need_tools("qemu")
    folder = build_natmod.build_natmod(BOARDS[request.param])
    return request.param, build_qemu.build_qemu(request.param, plain=True), folder


def test_native_module_trains_as_the_firmware_does(plain, expected_crcs, tmp_path):  # noqa: F811
    board, elf, folder = plain
    remote = shutil.copytree(folder, tmp_path / "remote")
    with sim_qemu.running(board, elf) as port:
        assert mpremote(port, "mount", remote, "run", CRC_SCRIPT).endswith(expected_crcs)


def load(board, folder, arch):
    """What a board without tinyprop says to the module of another architecture."""
    module = build_natmod.build_natmod(arch) / "_tinyprop.mpy"
    shutil.copy(module, folder)
    with sim_qemu.running(board, build_qemu.build_qemu(board, plain=True)) as port:
        command = [MPREMOTE, "connect", port, "mount", folder, "exec", "import _tinyprop"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def test_wrong_float_abi_is_refused_at_import(tmp_path):
    need_tools("qemu")
    for arch in ("armv7m", "armv6m"):
        error = load("MPS2_AN386", tmp_path, arch)
        assert error.startswith(f"ImportError: _tinyprop.mpy is for {arch}, this firmware"), error


def test_wrong_architecture_is_refused_at_import(tmp_path):
    need_tools("qemu")
    for board, arch in (("MPS2_AN385", "armv7emsp"), ("VIRT_RV32", "armv7m")):
        assert load(board, tmp_path, arch) == "ValueError: incompatible .mpy arch"


def test_package_lists_the_files_beside_it(stock):
    folder = stock[1]
    urls = json.loads((folder / "package.json").read_text())["urls"]
    assert sorted(path for _, path in urls) == sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*.*") if p.name != "package.json"
    )
    assert all(target == path for target, path in urls)


def test_no_variable_hides_in_data_sections():
    """The build takes .data for constants that hold addresses: named variables must not be."""
    need_tools("qemu")
    build_natmod.build_natmod("armv7m")
    objects = sorted((build_natmod.BUILD / "natmod-armv7m").glob("*.o"))
    assert len(objects) > 10
    symbols = subprocess.run(
        ["arm-none-eabi-objdump", "-t", *objects], capture_output=True, text=True, check=True
    ).stdout
    assert "tpmod_plan_obj" in symbols
    assert [s for s in symbols.splitlines() if ".rel.ro.constants" in s and " O " in s] == []


def test_division_for_the_m0_rounds_as_ieee_754_says(tmp_path):
    source = build_natmod.PORT / "divide.c"
    library = tmp_path / "divide.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    import ctypes

    divide = ctypes.CDLL(str(library)).tp_divide
    divide.restype, divide.argtypes = ctypes.c_float, [ctypes.c_float] * 2
    bits = np.random.default_rng(1).integers(0, 1 << 32, (2, 50_000), dtype=np.uint32)
    # Half of them with exponents so near that nothing over- or underflows, and special values.
    bits[:, ::2] = bits[:, ::2] & 0x807FFFFF | 0x3F800000
    special = np.float32([0, -0.0, 1, -1, 3, np.inf, -np.inf, np.nan, 1e-38 * 2, 3.4e38])
    a = np.concatenate([bits[0].view(np.float32), np.repeat(special, len(special))])
    b = np.concatenate([bits[1].view(np.float32), np.tile(special, len(special))])
    with np.errstate(all="ignore"):
        want = a / b
    tiny = np.finfo(np.float32).tiny
    normal = ~((abs(a) < tiny) & (a != 0) | (abs(b) < tiny) & (b != 0) | (abs(want) < tiny))
    normal |= (a == 0) | np.isinf(b) & np.isfinite(a)
    got = np.float32([divide(x, y) for x, y in zip(a, b)])
    same = (got.view(np.uint32) == want.view(np.uint32)) | np.isnan(got) & np.isnan(want)
    assert normal.sum() > 45_000 and same[normal].all()
