"""The ESP32's windowed Xtensa ABI: compiler, kernels and the native module on an emulated core."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import core_api
import numpy as np
import pytest
from conftest import need, need_compiler
from test_qemu import CRC_SCRIPT, MPREMOTE, ON_TARGET, expected_crcs, mpremote  # noqa: F401

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import build_natmod  # noqa: E402
import build_qemu  # noqa: E402
import fetch_sources  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402
import xtensa_cc  # noqa: E402
import xtensa_tools  # noqa: E402

PROGRAM = core_api.HERE / "core_program.c"
NUMERICS = ["-std=c99", "-ffp-contract=off", "-fno-math-errno"]
BOARD = "XTENSA_SIM"


@pytest.fixture(scope="session")
def clang():
    """The cross compiler under gcc's name."""
    for package in setup_env.lacking("xtensa"):
        need(False, package, setup_env.advice([package]))
    try:
        xtensa_tools.use_clang()
    except SystemExit as e:
        need(False, "clang for Xtensa", e)
    return xtensa_tools.BIN / f"{xtensa_tools.PREFIX}gcc"


def compile_and_link(clang, folder, sources, options):
    """A program for the emulated core, without MicroPython."""
    strings = fetch_sources.fetch_sources("unix") / "shared" / "libc" / "string0.c"
    options = [*options, f"-I{strings.parents[2]}", f"-I{xtensa_tools.PORT}"]
    objects = []
    for source in [*sources, xtensa_tools.PORT / "sim.c", strings]:
        objects.append(folder / f"{source.stem}.o")
        plain = ["-fno-builtin"] if source == strings else []
        command = [clang, *options, *plain, "-c", source, "-o", objects[-1]]
        subprocess.run(command, check=True)
    elf = folder / "program.elf"
    script = f"-Wl,-T,{xtensa_tools.PORT / 'sim.ld'}"
    subprocess.run([clang, script, "-o", elf, *objects, xtensa_cc.LIBGCC], check=True)
    return elf


def run_emulated(elf):
    """What a program writes to the serial port until it ends well."""
    command = [*sim_qemu.MACHINES[BOARD], "-semihosting", "-nographic", "-monitor", "none"]
    command += ["-serial", "stdio", "-kernel", elf]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    return done.stdout


@pytest.mark.parametrize("level", ["-Os", "-O2"])
def test_core_and_kernels_give_the_bits_of_the_host(clang, tmp_path, level, expected_crcs):  # noqa: F811
    need_compiler("gcc")
    sources = [PROGRAM, *core_api.sources()]
    host = tmp_path / "host"
    subprocess.run(["gcc", "-O2", *NUMERICS, *sources, "-o", host], check=True)
    expected = subprocess.run([host], capture_output=True, text=True, check=True).stdout
    elf = compile_and_link(clang, tmp_path, sources, [level, *NUMERICS])
    assert run_emulated(elf) == expected
    # Where the settings are those of on_target/crc_of_training.py, so are the weights.
    crcs = {line.split()[2] for line in expected.splitlines()}
    for line in expected_crcs.splitlines():
        if line.startswith(("Full ", "Full-maps ", "TopK ")):
            assert line.split()[2] in crcs


VARIABLE = """
#include <stdarg.h>
#include <string.h>
#include "sim.h"

static void word(unsigned v) {
    char text[9] = {0};
    for (int i = 7; i >= 0; i--, v >>= 4) text[i] = "0123456789abcdef"[v & 15];
    text[8] = ' ';
    sim_write(text, 9);
}

__attribute__((noinline)) void handed_on(int skip, const char *kinds, va_list list) {
    (void)skip;
    for (; *kinds; kinds++) {
        if (*kinds == 'd') {
            double d = va_arg(list, double);
            unsigned long long bits;
            memcpy(&bits, &d, 8);
            word(bits >> 32);
        } else {
            word(va_arg(list, int));
        }
    }
}

__attribute__((noinline)) void take(int skip, const char *kinds, ...) {
    va_list list;
    va_start(list, kinds);
    handed_on(skip, kinds, list);
    va_end(list);
}

volatile int flag = 1;
volatile float low = 0.25f;

int main(int argc, char **argv) {
    take(0, "iiiiiiii", 1, 2, 3, 4, 5, 6, 7, 8);
    take(0, "didid", 1.5, 9, 2.5, 10, -2.0);
    float choice = flag > argc ? 0.5f : -0.5f;
    take(0, "dd", (double)choice, (double)(float)(low < 1.0f));
    return 0;
}
"""


def test_variable_arguments_are_found_where_gcc_puts_them(clang, tmp_path):
    (tmp_path / "variable.c").write_text(VARIABLE)
    elf = compile_and_link(clang, tmp_path, [tmp_path / "variable.c"], ["-O2"])
    assert run_emulated(elf).split() == [
        *(f"{i:08x}" for i in range(1, 9)),
        *("3ff80000", "00000009", "40040000", "0000000a", "c0000000"),
        *("3fe00000", "3ff00000"),
    ]


def test_wide_arithmetic_of_the_runtime_is_exact(tmp_path):
    need_compiler("gcc")
    names = ["__extendsfdf2", "__truncdfsf2", "__floatsidf", "__udivdi3", "__muldi3"]
    renamed = [f"-D{name}=own{name}" for name in names]
    library = tmp_path / "runtime.so"
    source = xtensa_tools.PORT / "runtime.c"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", *renamed, source, "-o", library], check=True)
    own = ctypes.CDLL(str(library))

    def function(name, result, *arguments):
        f = getattr(own, f"own{name}")
        f.restype, f.argtypes = result, arguments
        return f

    extend = function(names[0], ctypes.c_double, ctypes.c_float)
    truncate = function(names[1], ctypes.c_float, ctypes.c_double)
    float_of = function(names[2], ctypes.c_double, ctypes.c_int32)
    divide = function(names[3], ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    multiply = function(names[4], ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    rng = np.random.default_rng(5)
    n = 20_000
    bits = rng.integers(0, 1 << 64, (2, n), dtype=np.uint64)
    special = np.array([0, -0.0, 1, np.inf, -np.inf, np.nan, 1e-45, 3.4e38, 3.5e38, 1e-310])
    # Doubles near float32's range, half of them with a fraction that ends in a tie.
    near = bits[0] & np.uint64(0x800FFFFFFFFFFFFF) | (bits[1] % 300 + 870) << np.uint64(52)
    near[::2] = near[::2] & ~np.uint64(0x1FFFFFFF) | np.uint64(0x10000000)
    doubles = np.concatenate([near.view(np.float64), special])
    with np.errstate(all="ignore"):
        singles = doubles.astype(np.float32)
        np.testing.assert_array_equal([truncate(d) for d in doubles], singles)
        np.testing.assert_array_equal([extend(s) for s in singles], singles.astype(np.float64))
    shifted = bits >> (rng.integers(0, 64, (2, n), dtype=np.uint64))
    for a, b in zip(*shifted.tolist()):
        assert multiply(a, b) == a * b & (1 << 64) - 1
        assert divide(a, b or 1) == a // (b or 1)
        signed = (a & 0xFFFFFFFF) - (1 << 31)
        assert float_of(signed) == signed


@pytest.fixture(scope="session")
def stock(clang):
    """(firmware without tinyprop, folder of the native module for it)"""
    need(MPREMOTE.exists(), "mpremote", "make setup")
    found = shutil.which(f"{xtensa_tools.PREFIX}gcc")
    assert Path(found).parent == xtensa_tools.BIN
    return build_qemu.build_qemu(BOARD, plain=True), build_natmod.build_natmod("xtensawin")


def test_native_module_trains_as_the_unix_port_does(stock, expected_crcs, tmp_path):  # noqa: F811
    elf, folder = stock
    remote = shutil.copytree(folder, tmp_path / "remote")
    with sim_qemu.running(BOARD, elf) as port:
        assert mpremote(port, "mount", remote, "run", CRC_SCRIPT).endswith(expected_crcs)


def test_native_module_names_what_was_wrong(stock, tmp_path):
    elf, folder = stock
    remote = shutil.copytree(folder, tmp_path / "remote")
    with sim_qemu.running(BOARD, elf) as port:
        said = mpremote(port, "mount", remote, "run", ON_TARGET / "model_errors.py")
    assert said.splitlines()[-1] == "OK"


@pytest.mark.parametrize("name", ["module with ESP32S2", "FeatherS2 with ESP32-S2FN4R2"])
def test_chip_without_fpu_is_refused_at_import(stock, tmp_path, name):
    elf, folder = stock
    remote = shutil.copytree(folder, tmp_path / "remote")
    code = f"import sys\nclass Sys:\n class implementation:\n  _machine = {name!r}\n"
    code += (
        "sys.modules['sys'] = Sys\ntry:\n import _tinyprop\nexcept ImportError as e:\n print(e)"
    )
    with sim_qemu.running(BOARD, elf) as port:
        said = mpremote(port, "mount", remote, "exec", code)
    assert "needs the FPU of ESP32 and ESP32-S3, the ESP32-S2 has none" in said


# --- Fetching clang from a suite that moves ---


class Mirror:
    """apt that has the packages in the given version, or not at all."""

    command, mirror = ["apt-get"], "http://mirror.example/debian"

    def __init__(self, version):
        self.version = version

    def run(self, command, log_name, cwd=None, **others):
        for package in command[command.index("download") + 1 :]:
            name, _, wanted = package.partition("=")
            if self.version is None or wanted not in ("", self.version):
                return 100, Path("fetch.log")
            file = f"{name}_{self.version.replace(':', '%3a')}_amd64.deb"
            (cwd / file).write_text(name + self.version)
        return 0, Path("fetch.log")


def download(monkeypatch, folder, has):
    digest = fetch_sources.hashlib.sha256(b"clang-991:99.1-1").hexdigest()
    entry = {"name": "clang-99", "version": "1:99.1-1", "sha256": digest}
    lock = {"suite": "sid", "component": "main", "architecture": "amd64", "packages": [entry]}
    apt = Mirror(has)
    monkeypatch.setattr(xtensa_tools, "open_mirror", lambda *arguments: apt)
    monkeypatch.setattr(xtensa_tools, "run_logged", apt.run)
    monkeypatch.setattr(xtensa_tools, "apt_architecture", lambda: "amd64")
    return [p.name for p in xtensa_tools.download(lock, folder).iterdir()]


def test_pinned_compiler_is_fetched_without_a_word_about_it(monkeypatch, tmp_path, capsys):
    assert download(monkeypatch, tmp_path, "1:99.1-1") == ["clang-99_1%3a99.1-1_amd64.deb"]
    assert "Note" not in capsys.readouterr().out


def test_compiler_that_moved_on_is_taken_with_a_notice(monkeypatch, tmp_path, capsys):
    assert download(monkeypatch, tmp_path, "1:99.2-1") == ["clang-99_1%3a99.2-1_amd64.deb"]
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("Note: Debian sid has moved on") and said.endswith("clang-99 1:99.2-1")


def test_compiler_that_is_gone_ends_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="cannot fetch clang-99 from .*; or put Espressif's"):
        download(monkeypatch, tmp_path, None)


def test_damaged_compiler_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "write_text", lambda path, text: path.write_bytes(b"damaged"))
    with pytest.raises(SystemExit, match="wrong checksum: clang-99_.* has SHA-256"):
        download(monkeypatch, tmp_path, "1:99.1-1")
