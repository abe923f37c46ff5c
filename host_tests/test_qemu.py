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
import qemu_instructions  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402

BOARDS = build_qemu.BOARDS
ON_TARGET = core_api.HERE / "on_target"
CRC_SCRIPT = ON_TARGET / "crc_of_training.py"
SCRIPTS = sorted(p for p in ON_TARGET.glob("*.py") if p != CRC_SCRIPT)
MPREMOTE = setup_env.VENV / "bin" / "mpremote"

# The boards have no storage: files go to a littlefs in RAM. It takes nothing from the heap, so
# that it works when that is full; a slice would.
RAM_DISK = """
import micropython, vfs
@micropython.viper
def copy(to: ptr8, start: int, source: ptr8, begin: int, n: int):
    for i in range(n):
        to[start + i] = source[begin + i]
class Disk:
    data = bytearray(96 * 256)
    def readblocks(self, n, buf, offset=0):
        copy(buf, 0, self.data, n * 256 + offset, len(buf))
    def writeblocks(self, n, buf, offset=0):
        copy(self.data, n * 256 + offset, buf, 0, len(buf))
    def ioctl(self, op, arg):
        return 96 if op == 4 else 256 if op == 5 else 0
disk = Disk()
vfs.VfsLfs2.mkfs(disk)
vfs.mount(disk, "/")
del micropython, vfs, Disk, disk
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
    # Four policies, two more optimisers, two networks of maps, and two policies with both kinds
    # of network in i16 and i8, these with momentum, too: each with weights of its own.
    assert lines[-1] == "OK" and len({line.split()[2] for line in lines[:-1]}) == 18
    return done.stdout


def test_one_seed_gives_the_weights_of_the_unix_port(port, expected_crcs):
    assert mpremote(port, "run", CRC_SCRIPT) == expected_crcs


def test_every_script_ends_well(port):
    runs = [("soft-reset", "exec", RAM_DISK, "run", script) for script in SCRIPTS]
    ends = [line for line in mpremote(port, *sum(runs, ())).splitlines() if line == "OK"]
    assert len(ends) == len(SCRIPTS) > 8


def test_time_passes_and_a_mounted_folder_is_seen(firmware, port, tmp_path):
    (tmp_path / "there.txt").write_text("from the host")
    code = """
import time
us, cpu, ms = time.ticks_us(), time.ticks_cpu(), time.ticks_ms()
time.sleep_ms(100)
us, cpu, ms = time.ticks_us() - us, time.ticks_cpu() - cpu, time.ticks_ms() - ms
print(open('/remote/there.txt').read(), 100 <= ms < 2000, round(cpu / us))
"""
    ticks = sim_qemu.TICKS_PER_US[firmware[0]]
    out = mpremote(port, "mount", tmp_path, "exec", code, timeout=30)
    assert f"from the host True {ticks}" in out


TRAIN_FOR_EVER = """
import tinyprop as tp
from array import array
m = tp.Sequential([tp.Input(4), tp.Dense(8, "relu"), tp.Dense(2)], policy=tp.Full(), seed=1)
x = array("f", [1, 0, 0.5, 0.25])
while True:
    m.train_step(x, 1)
"""


def test_ctrl_c_ends_training_between_two_steps(port):
    with pytest.raises(subprocess.TimeoutExpired):
        mpremote(port, "exec", TRAIN_FOR_EVER, timeout=3)
    # mpremote starts with Ctrl-C; "resume" keeps what is there.
    code = "s = m.stats(); print(s['seen'] > 100, s['seen'] == s['trained'], m.classify(x))"
    assert mpremote(port, "resume", "exec", code, timeout=20).strip() == "True True 1"


# --- Instructions ---

LOOP = """
import micropython
@micropython.asm_thumb
def loop(r0, r1):
    label(again)
    sub(r0, r0, 1)
    bne(again)
def least(n):  # now and then the firmware looks for Ctrl-C
    return min([count(loop, n, 0) for _ in range(5)])
print(least(5000) - least(4000), least(4001) - least(4000))
"""


@pytest.mark.parametrize("firmware", ["MPS2_AN385"], indirect=True)
def test_instructions_are_counted_one_by_one(firmware):
    with sim_qemu.running(*firmware, icount=True) as port:
        out = mpremote(port, "exec", qemu_instructions.count_script(firmware[0]) + LOOP)
    assert out.split() == ["2000", "2"]


@pytest.mark.parametrize("firmware", ["M0", "MPS2_AN385", "MPS2_AN386"], indirect=True)
def test_two_runs_count_the_same_step_and_it_beats_a_plain_c_loop(firmware):
    model, counts = "mlp-64-32-10", []
    script = qemu_instructions.count_script(firmware[0])
    for _ in range(2):
        with sim_qemu.running(*firmware, icount=True) as port:
            counts.append(
                qemu_instructions.measure(port, model, "Full", 20, warm=3, steps=5, count=script)
            )
    assert counts[0] == counts[1]
    plain = qemu_instructions.OTHERS[firmware[0], model][1]
    assert 64 * 32 < counts[0][0] < plain


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


def test_sim_counts_instructions_on_qemu_boards_only():
    process = run_sim("RPI_PICO", "--icount")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == ""
    assert err == f"error: ICOUNT=1 is for QEMU's boards: {', '.join(sim_qemu.MACHINES)}\n"
