"""The RP2040 firmware, unchanged, on the emulated board: what a user does with a real one."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import core_api
import pytest
from conftest import need

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import build_rp2  # noqa: E402
import features  # noqa: E402
import rp2040_cycles  # noqa: E402
import setup_env  # noqa: E402
import sim_rp2  # noqa: E402

BOARD = "RPI_PICO"
ON_TARGET = core_api.HERE / "on_target"
# The others take minutes at the emulator's speed.
SCRIPTS = ("kernels_alone", "heap_locked", "quick_start", "fit_loops", "model_errors")
SCRIPTS += ("where_time_goes",)


def need_tools(group):
    for package in setup_env.lacking(group):
        need(False, package, setup_env.advice([package]))


@pytest.fixture(scope="session")
def firmware():
    """The firmware's folder, built if it is out of date."""
    need_tools("firmware")
    return build_rp2.build_rp2(BOARD)


@pytest.fixture(scope="session")
def tools():
    folder = rp2040_cycles.MPREMOTE.parent
    need((folder / "mpremote").exists(), "mpremote", "make setup")
    return folder


@contextmanager
def board(firmware, flash):
    with sim_rp2.running(firmware / "firmware.bin", flash) as port:
        yield port


@pytest.fixture(scope="module")
def flash(tmp_path_factory):
    return tmp_path_factory.mktemp("rp2") / "flash.bin"


@pytest.fixture(scope="module")
def port(firmware, tools, flash):
    """A running board's serial port."""
    with board(firmware, flash) as path:
        yield path


def tool(tools, port, *arguments, name="mpremote", timeout=120, **more):
    first = ["connect", port] if name == "mpremote" else ["-p", port]
    command = [tools / name, *first, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)


@pytest.fixture
def mpremote(tools, port):
    """Run mpremote against the board; it must end well. Gives its output."""

    def run(*arguments, **more):
        done = tool(tools, port, *arguments, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.replace("\r", "")

    return run


# --- The firmware ---


def test_tinyprop_costs_no_more_flash_than_was_accepted_and_at_most_1_kb_of_ram(firmware):
    cost = json.loads((firmware / "cost.json").read_text())
    assert 20_000 < cost["flash"] <= 96_500
    assert 0 <= cost["ram"] <= 1024


def test_small_image_costs_at_most_48_kb_of_flash_and_1_kb_of_ram(firmware):
    small = build_rp2.build_rp2(BOARD, features.Features("dense"))
    cost = json.loads((small / "cost.json").read_text())
    assert 20_000 < cost["flash"] <= 48 * 1024
    assert 0 <= cost["ram"] <= 1024


def test_uf2_holds_the_image_block_by_block(firmware):
    image, uf2 = ((firmware / f"firmware.{s}").read_bytes() for s in ("bin", "uf2"))
    assert len(uf2) % 512 == 0
    got = b""
    for i in range(len(uf2) // 512):
        block = uf2[512 * i : 512 * i + 512]
        head = [int.from_bytes(block[j : j + 4], "little") for j in range(0, 32, 4)]
        assert head[:2] == [0x0A324655, 0x9E5D5157] and block[-4:] == b"\x30\x6f\xb1\x0a"
        assert head[2:6] == [0x2000, 0x10000000 + 256 * i, 256, i]
        assert head[6:] == [len(uf2) // 512, 0xE48BFF56]
        got += block[32 : 32 + 256]
    assert got[: len(image)] == image and not any(got[len(image) :])


def run_script(*arguments, **more):
    command = [sys.executable, ROOT / "scripts" / arguments[0], *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("firmware.py", "rp2", "NO_SUCH"), "BOARD=NO_SUCH"),
        (("firmware.py", "nothing", "RPI_PICO"), "PORT=nothing"),
        (("sim.py", "NO_SUCH"), "BOARD=NO_SUCH"),
        (("sim.py", "RPI_PICO", "--firmware", "no/such.bin"), "no/such.bin"),
    ],
)
def test_unknown_boards_and_missing_firmware_are_one_line_errors(arguments, named):
    done = run_script(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and named in line


def test_missing_node_is_a_one_line_error_that_names_it(firmware, tmp_path):
    done = run_script("sim.py", BOARD, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: missing nodejs")


def test_board_that_needs_more_than_the_fetched_sources_says_what(firmware):
    micropython = build_rp2.fetch_sources("rp2")
    need(not any((micropython / "lib" / "lwip").glob("*")), "a fetched source tree", "unset it")
    done = run_script("firmware.py", "rp2", "RPI_PICO_W")
    assert done.returncode == 1 and "lib/cyw43-driver" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- The board ---


def test_prompt_is_there_within_five_seconds(firmware, tools, tmp_path):
    started = time.monotonic()
    with board(firmware, tmp_path / "flash.bin") as port:
        done = tool(tools, port, "exec", "print(6 * 7)", timeout=20)
        seconds = time.monotonic() - started
    assert done.stdout.strip() == "42", done.stdout + done.stderr
    assert seconds <= 5


def test_it_is_the_whole_firmware_with_tinyprop_in_it(mpremote):
    out = mpremote(
        "exec",
        "import sys, os, asyncio, machine, rp2, _thread, vfs, tinyprop, _tinyprop\n"
        "print(sys.implementation._machine, '|', tinyprop.__version__, '|', tinyprop.__file__)\n"
        "print(os.statvfs('/')[0] * os.statvfs('/')[2])",
    )
    machine, version, path = out.splitlines()[0].split(" | ")
    assert machine == "Raspberry Pi Pico with RP2040" and path.startswith("tinyprop/")
    package = json.loads((ROOT / "py" / "tinyprop" / "package.json").read_text())
    assert version == package["version"]
    assert int(out.splitlines()[1]) == 1408 * 1024


@pytest.mark.parametrize("script", SCRIPTS)
def test_on_target_scripts_pass_on_the_board(mpremote, script):
    out = mpremote("run", ON_TARGET / f"{script}.py", timeout=200)
    assert out.splitlines()[-1] in ("OK", "SKIP"), out


def test_files_survive_copying_unchanged(mpremote, tmp_path):
    data = b"".join(hashlib.sha256(bytes([i & 255, i >> 8])).digest() for i in range(1200))
    (tmp_path / "up.bin").write_bytes(data)
    mpremote("cp", tmp_path / "up.bin", ":t_copy.bin")
    digest = mpremote(
        "exec",
        "import hashlib; print(hashlib.sha256(open('t_copy.bin', 'rb').read()).digest().hex())",
    )
    assert digest.strip() == hashlib.sha256(data).hexdigest()
    mpremote("cp", ":t_copy.bin", tmp_path / "down.bin")
    assert (tmp_path / "down.bin").read_bytes() == data
    mpremote("rm", ":t_copy.bin")


def test_much_output_at_once_loses_nothing(mpremote):
    out = mpremote("exec", "for i in range(4000): print('line', i)")
    assert out.split("\n")[:-1] == [f"line {i}" for i in range(4000)]


def test_a_folder_of_the_host_can_be_mounted(mpremote, tmp_path):
    (tmp_path / "t_mounted.py").write_text("print('from the host', 3 * 3)\n")
    assert "from the host 9" in mpremote("mount", tmp_path, "exec", "import t_mounted")


def test_mip_installs_a_package_from_a_local_folder(mpremote, tmp_path):
    (tmp_path / "t_local.py").write_text("value = 17\n")
    (tmp_path / "package.json").write_text(
        json.dumps({"urls": [["t_local.py", "t_local.py"]], "version": "1"})
    )
    mpremote("mip", "install", str(tmp_path / "package.json"))
    assert mpremote("exec", "import t_local; print(t_local.value)").strip() == "17"


def test_ampy_works_too(tools, port, tmp_path):
    need((tools / "ampy").exists(), "ampy", "make setup")
    (tmp_path / "t_ampy.py").write_text("print('by ampy')\n" + "# filler\n" * 300)
    for arguments, wanted in (
        (("put", tmp_path / "t_ampy.py", "t_ampy.py"), ""),
        (("ls",), "/t_ampy.py"),
        (("run", tmp_path / "t_ampy.py"), "by ampy"),
    ):
        done = tool(tools, port, *arguments, name="ampy")
        assert done.returncode == 0 and wanted in done.stdout, done.stderr
    done = tool(tools, port, "get", "t_ampy.py", name="ampy")
    assert done.stdout.replace("\r", "").rstrip() == (tmp_path / "t_ampy.py").read_text().rstrip()


WRITE = "with open('{}', 'w') as f: f.write('{}')"


def test_reset_starts_the_program_afresh_and_keeps_the_files(mpremote):
    mpremote("exec", "forgotten = 1\n" + WRITE.format("t_kept.txt", "kept"))
    mpremote("reset")
    time.sleep(1)
    out = mpremote("exec", "print(open('t_kept.txt').read(), 'forgotten' in globals())")
    assert out.strip() == "kept False"


def test_ctrl_c_stops_a_program_on_the_board(tools, port):
    with pytest.raises(subprocess.TimeoutExpired):
        tool(tools, port, "exec", "while True: pass", timeout=2)
    assert tool(tools, port, "exec", "print('free')").stdout.strip() == "free"


def test_files_survive_switching_the_board_off(firmware, tools, tmp_path):
    flash = tmp_path / "flash.bin"
    with board(firmware, flash) as port:
        done = tool(tools, port, "exec", WRITE.format("t_off.txt", "still here"))
        assert done.returncode == 0
    assert flash.stat().st_size == 2 << 20
    with board(firmware, flash) as port:
        done = tool(tools, port, "exec", "print(open('t_off.txt').read())")
    assert done.stdout.strip() == "still here"


def test_two_emulators_cannot_share_a_flash(firmware, port, flash):
    with pytest.raises(SystemExit, match="another emulator is using"):
        sim_rp2.Emulator(firmware / "firmware.bin", flash)


def test_firmware_that_crashes_ends_the_emulator_with_an_error(tmp_path):
    need(shutil.which("node"), "node", "apt-get install nodejs")
    # boot2 that stops at a breakpoint, as HardFault's handler does.
    (tmp_path / "bad.bin").write_bytes(b"\x00\xbe" * 200)
    done = run_script("sim.py", BOARD, "--firmware", tmp_path / "bad.bin")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "crashed" in line


def test_ctrl_c_ends_make_sim_cleanly(firmware):
    command = [sys.executable, ROOT / "scripts" / "sim.py", BOARD]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert re.search(r"/dev/\S+", done.stdout.readline())
        time.sleep(0.5)
        done.send_signal(2)
        out, err = done.communicate(timeout=20)
    finally:
        done.kill()
    assert done.returncode == 0 and err == "" and "off" in out


# --- The same everywhere ---

# Inputs and settings are exact in binary, so that Python's own arithmetic (double on unix, single
# on the board) has no say.
TRAIN = """
import tinyprop as tp, _tinyprop
from array import array
for policy in (tp.Full(), tp.TopK(3), tp.TinyProp(), tp.TinyPropV2()):
    for optimizer in (tp.SGD(lr=0.125), tp.SGD(lr=0.0625, momentum=0.875), tp.Adam()):
        m = tp.Sequential(
            [tp.Input((12,)), tp.Dense(16, activation="relu"), tp.Dense(9, activation="tanh"),
             tp.Dense(8, activation="sigmoid"), tp.Dense(4)],
            policy=policy, optimizer=optimizer, seed=3)
        for step in range(50):
            k = step % 4
            x = array("f", [((step * 7 + 3 * i * k) % 11) / 4 - 1 for i in range(12)])
            m.train_step(x, k)
        w = [m.weights(i) for i in (1, 2, 3, 4)] + [m.bias(i) for i in (1, 2, 3, 4)]
        crc = 0
        for t in w:
            crc = _tinyprop.crc32(t, crc)
        print(type(policy).__name__, type(optimizer).__name__, hex(crc))
"""


def test_weights_are_those_of_the_unix_port_bit_for_bit(mpremote, run_mpy, tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    here, there = run_mpy(tmp_path / "train.py"), mpremote("run", tmp_path / "train.py")
    assert len(here.splitlines()) == 12 and len(set(here.split("0x")[1:])) > 6
    assert there == here


# --- Time ---


def test_a_training_step_beats_a_plain_c_loop_where_inputs_are_sparse(port):
    model = "mlp-64-32-10"
    plain = rp2040_cycles.OTHERS[model]["plain C loop"]
    library = rp2040_cycles.OTHERS[model]["AIfES"]
    dense, _ = rp2040_cycles.measure(port, model, "Full", 100, warm=5, steps=5)
    sparse, _ = rp2040_cycles.measure(port, model, "Full", 20, warm=5, steps=5)
    assert dense < plain < library and sparse < plain / 2
    # Every multiplication goes through the ROM's routine: far more than an integer's 1 cycle.
    assert dense > 100 * rp2040_cycles.macs(*rp2040_cycles.MODELS[model]) / 2
