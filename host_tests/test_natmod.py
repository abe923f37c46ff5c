"""The native module, loaded into firmware that was built without tinyprop."""

import builtins
import json
import shutil
import subprocess
import sys
import types

import core_api
import numpy as np
import pytest
from conftest import need
from test_qemu import CRC_SCRIPT, MPREMOTE, ON_TARGET, expected_crcs, mpremote  # noqa: F401

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import build_natmod  # noqa: E402
import build_qemu  # noqa: E402
import build_rp2  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402
import sim_rp2  # noqa: E402

# In a native module an error takes heap for its text: on a locked heap it is a MemoryError.
FIRMWARE_ONLY = {"heap_locked"}
SCRIPTS = [p for p in sorted(ON_TARGET.glob("*.py")) if p.stem not in FIRMWARE_ONLY]
# Firmware without tinyprop -> what the loader must take there. The third passes floats in integer
# registers although it has an FPU, as the RP2350's does.
BOARDS = {
    "MPS2_AN385": "armv7m",
    "MPS2_AN386": "armv7emsp",
    "MPS2_AN386 FLOAT_ABI=softfp": "armv7emsp_softfp",
    "MPS2_AN500": "armv7emsp",
    "M0": "armv6m",
    "VIRT_RV32": "rv32imc",
}


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


def install(package, folder):
    """What `mip install` does with a package.json."""
    for target, source in json.loads(package.read_text())["urls"]:
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package.parent / source, folder / target)


@pytest.fixture(scope="session")
def package():
    """The package.json for all boards."""
    need_tools("qemu")
    return build_natmod.build_all()


def plain(board):
    """The firmware without tinyprop."""
    name, *options = board.split()
    return name, build_qemu.build_qemu(name, plain=True, options=options)


def as_trained_by(arch, lines):
    """Modules for small heaps are built without integers."""
    integers = arch not in build_natmod.SMALL_HEAP
    return "".join(
        line for line in lines.splitlines(keepends=True) if integers or "-i" not in line
    )


@pytest.mark.parametrize("board", BOARDS)
def test_board_takes_its_module_and_trains_as_the_firmware_does(
    package,
    board,
    expected_crcs,  # noqa: F811
    tmp_path,
):
    install(package, tmp_path)
    code = "import sys, tinyprop; print(*[m for m in sys.modules if m.startswith('_tinyprop_')])"
    with sim_qemu.running(*plain(board)) as port:
        out = mpremote(port, "mount", tmp_path, "exec", code, "run", CRC_SCRIPT)
    crcs = as_trained_by(BOARDS[board], expected_crcs)
    assert out.endswith(f"\n_tinyprop_{BOARDS[board]}\n{crcs}")


def test_mip_brings_a_working_tinyprop_to_a_pico_that_lacks_it(package, run_mpy, tmp_path):
    need_tools("firmware")
    build_rp2.build_rp2("RPI_PICO")
    image = build_rp2.BUILD / "rp2-RPI_PICO-plain" / "firmware.bin"
    # The routines for floats are slow there.
    script = tmp_path / "fewer_steps.py"
    script.write_text(CRC_SCRIPT.read_text().replace("STEPS = 64, 10, 200", "STEPS = 64, 10, 40"))
    assert script.read_text() != CRC_SCRIPT.read_text()
    with sim_rp2.running(image, tmp_path / "flash.bin") as port:
        mpremote(port, "mip", "install", package)
        crcs = as_trained_by("armv6m", run_mpy(script))
        assert mpremote(port, "run", script) == crcs


# --- Modules that do not fit ---


def load(board, folder, code="import _tinyprop"):
    """What a board without tinyprop says to the module in that folder."""
    with sim_qemu.running(*plain(board)) as port:
        command = [MPREMOTE, "connect", port, "mount", folder, "exec", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def mpy_version(folder):
    head = (folder / "_tinyprop.mpy").read_bytes()
    return f"{head[1]}.{head[2] & 3}"


@pytest.mark.parametrize(
    "board, arch",
    [
        ("MPS2_AN386", "armv7m"),
        ("MPS2_AN386", "armv6m"),
        ("MPS2_AN386", "armv7emsp_softfp"),
        ("MPS2_AN386 FLOAT_ABI=softfp", "armv7emsp"),
    ],
)
def test_wrong_float_abi_is_refused_at_import(board, arch):
    need_tools("qemu")
    error = load(board, build_natmod.build_natmod(arch))
    assert error.startswith(f"ImportError: _tinyprop.mpy is for {arch}, this firmware"), error


@pytest.mark.parametrize("board, arch", [("MPS2_AN385", "armv7emsp"), ("VIRT_RV32", "armv7m")])
def test_wrong_architecture_is_refused_at_import(board, arch, tmp_path):
    need_tools("qemu")
    folder = build_natmod.build_natmod(arch)
    assert load(board, folder) == "ValueError: incompatible .mpy arch"
    # The loader says which one it would take.
    install(folder / "package.json", tmp_path)
    wanted = f"_tinyprop_{BOARDS[board]}.mpy of .mpy version {mpy_version(folder)}"
    message = f"ImportError: this board needs {wanted}: it is not installed"
    assert load(board, tmp_path, "import tinyprop") == message


@pytest.mark.parametrize("place, value", [(1, 5), (2, 0x08)])
def test_module_of_another_micropython_is_refused_at_import(stock, tmp_path, place, value):
    install(stock[1] / "package.json", tmp_path)
    module = tmp_path / "_tinyprop_x64.mpy"
    data = bytearray(module.read_bytes())
    assert data[place] != value
    data[place] = value
    module.write_bytes(data)
    done = run_stock((stock[0], tmp_path), CRC_SCRIPT, tmp_path)
    wanted = f"_tinyprop_x64.mpy of .mpy version {mpy_version(stock[1])}"
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: this board needs {wanted}: incompatible .mpy file, build it from the "
        "MicroPython release of this firmware"
    )


def run_loader(mpy, modules):
    """The loader under a firmware with that `_mpy`; modules: architecture -> names or error."""
    firmware = types.SimpleNamespace(**({} if mpy is None else {"_mpy": mpy}))

    def find(name, *_):
        if name == "sys":
            return types.SimpleNamespace(implementation=firmware)
        found = modules.get(name.replace("_tinyprop_", ""), ImportError("no module"))
        if isinstance(found, Exception):
            raise found
        return types.SimpleNamespace(**found)

    names = {"__builtins__": {**vars(builtins), "__import__": find}}
    exec((build_natmod.PORT / "loader.py").read_text(), names)
    return names


@pytest.mark.parametrize("mpy", [0x1F06, 0x2306])  # FPU of single and of double precision
def test_loader_takes_the_first_module_that_works(mpy):
    refused = ImportError("this firmware passes floats otherwise")
    modules = {"armv7emsp": refused, "armv7m": {"plan": 1, "_own": 2}, "armv6m": {"plan": 3}}
    names = run_loader(mpy, modules)
    assert names["plan"] == 1 and "_own" not in names
    with pytest.raises(ImportError, match=r"needs _tinyprop_armv7emsp.mpy .* floats otherwise"):
        run_loader(mpy, {"armv7emsp": refused})


def test_loader_knows_every_architecture_there_is_a_module_for():
    def loads(number, arch):
        try:
            return run_loader(6 | 3 << 8 | number << 10, {arch: {"plan": 1}})["plan"] == 1
        except ImportError:
            return False

    for arch in build_natmod.ARCHS:
        assert any(loads(number, arch) for number in range(1, 16)), arch


@pytest.mark.parametrize("mpy", [None, 0x0306])
def test_loader_says_that_a_firmware_loads_no_native_module(mpy):
    with pytest.raises(ImportError, match="loads no native module: it needs tinyprop built in"):
        run_loader(mpy, {"armv6m": {"plan": 1}})


def test_packages_list_files_that_are_there(package):
    for listing in (package, *package.parent.glob("*/package.json")):
        urls = dict(json.loads(listing.read_text())["urls"])
        names = {p.name.replace(".py", "") for p in build_natmod.PACKAGE.glob("*.py")}
        listed = {t.split("/")[1].partition(".")[0] for t in urls if t.startswith("tinyprop/")}
        assert listed == names and "_tinyprop.py" in urls
        assert all((listing.parent / source).is_file() for source in urls.values())
    # A PC's module would be a waste of a board's flash.
    modules = [t for t in json.loads(package.read_text())["urls"] if "_tinyprop_" in t[0]]
    assert len(modules) == len(build_natmod.ARCHS) - 1


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
