"""The boards that QEMU emulates: one seed, one result; and the scripts of on_target/."""

import os
import subprocess
import sys
import time

import core_api
import pytest
from conftest import need

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import build_qemu  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402

BOARDS = build_qemu.BOARDS
ON_TARGET = core_api.HERE / "on_target"
CRC_SCRIPT = ON_TARGET / "crc_of_training.py"
# With the heap full, the disk below could not work, as it is written in Python.
NEEDS_FLASH = ON_TARGET / "memory_runs_out.py"
SCRIPTS = sorted(p for p in ON_TARGET.glob("*.py") if p not in (CRC_SCRIPT, NEEDS_FLASH))
MPREMOTE = setup_env.VENV / "bin" / "mpremote"

# The boards have no storage: files go to a littlefs in RAM.
RAM_DISK = """
import vfs
class Disk:
    data = bytearray(96 * 256)
    def readblocks(self, n, buf, offset=0):
        n = n * 256 + offset
        buf[:] = memoryview(self.data)[n : n + len(buf)]
    def writeblocks(self, n, buf, offset=0):
        n = n * 256 + offset
        self.data[n : n + len(buf)] = buf
    def ioctl(self, op, arg):
        return {4: 96, 5: 256}.get(op, 0)
disk = Disk()
vfs.VfsLfs2.mkfs(disk)
vfs.mount(disk, "/")
del vfs, Disk, disk
"""


@pytest.fixture(scope="session", params=BOARDS)
def firmware(request):
    """(board, its firmware, built if it is out of date)"""
    for package in setup_env.lacking("qemu"):
        need(False, package, setup_env.advice([package]))
    need(MPREMOTE.exists(), "mpremote", "make setup")
    return request.param, build_qemu.build_qemu(request.param)


@pytest.fixture
def port(firmware):
    """A running board's serial port."""
    with sim_qemu.running(*firmware) as path:
        yield path


def mpremote(port, *arguments, timeout=240):
    command = [MPREMOTE, "connect", port, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout.replace("\r", "")


@pytest.fixture(scope="session")
def expected_crcs(mpy):
    done = subprocess.run([mpy, CRC_SCRIPT], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    # Four policies, two more optimisers, two networks of maps, each with weights of its own.
    assert lines[-1] == "OK" and len({line.split()[2] for line in lines[:-1]}) == 8
    return done.stdout


def test_one_seed_gives_the_weights_of_the_unix_port(port, expected_crcs):
    assert mpremote(port, "run", CRC_SCRIPT) == expected_crcs


@pytest.mark.parametrize("firmware", ["MPS2_AN385"], indirect=True)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_ends_well(port, script):
    assert mpremote(port, "exec", RAM_DISK, "run", script).splitlines()[-1] == "OK"


def test_time_passes_and_a_mounted_folder_is_seen(port, tmp_path):
    (tmp_path / "there.txt").write_text("from the host")
    code = "import time; t = time.ticks_ms(); time.sleep_ms(100); t = time.ticks_ms() - t; "
    code += "print(open('/remote/there.txt').read(), 100 <= t < 2000)"
    assert "from the host True" in mpremote(port, "mount", tmp_path, "exec", code, timeout=30)


def run_sim(*arguments):
    command = [sys.executable, ROOT / "scripts" / "sim.py", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_sim_names_a_port_that_works_until_it_is_ended(firmware):
    board, elf = firmware
    process = run_sim(board, "--firmware", elf)
    try:
        line = process.stdout.readline()
        assert line.startswith(f"{board} is running; its serial port is /dev/")
        port = line.split()[-1]
        code = "import tinyprop; print(tinyprop.__version__)"
        assert mpremote(port, "exec", code).strip()[0].isdigit()
    finally:
        process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "") and out.endswith("The board is off.\n")
    deadline = time.monotonic() + 5
    while os.path.exists(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(port)


def test_sim_says_in_one_line_that_the_firmware_is_missing():
    process = run_sim("M0", "--firmware", "no/such.elf")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == ""
    assert err == "error: no/such.elf does not exist: make firmware PORT=qemu BOARD=M0\n"
