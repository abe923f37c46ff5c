"""Boards in QEMU, their serial port on a pseudo-terminal; called by scripts/sim.py and tests."""

import contextlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import setup_env
from common import BUILD, fail, say, short

ARM = ["qemu-system-arm", "-machine"]
RISCV = ["qemu-system-riscv32", "-bios", "none", "-machine"]
# Board -> what emulates it.
MACHINES = {
    "MPS2_AN385": [*ARM, "mps2-an385"],
    "MPS2_AN386": [*ARM, "mps2-an386"],
    "MPS2_AN500": [*ARM, "mps2-an500"],
    "M0": [
        *[*ARM, "microbit", "-global", "nrf51-soc.flash-size=1048576"],
        *["-global", "nrf51-soc.sram-size=262144"],
    ],
    "VIRT_RV32": [*RISCV, "virt"],
}
# Ticks of a board's time.ticks_cpu() in a microsecond (ports/qemu/tinyprop_board.c).
TICKS_PER_US = {**dict.fromkeys(MACHINES, 25), "M0": 16, "VIRT_RV32": 10}
# Every instruction takes 1024 ns of the board's time. As that is longer than any of these ticks,
# they tell how many were executed, exactly.
ICOUNT = ["-icount", "shift=10"]
COMMON = ["-nographic", "-monitor", "null", "-semihosting", "-serial", "pty"]
PORT = re.compile(r"char device redirected to (\S+)")
BOOT_SECONDS = 20
# Where a board with `mapped` sees that file: its external RAM, here in the place of flash.
MAPPED = 0x60000000


class Board:
    """A running board: `path` is its serial port. With `icount` its clock counts instructions.
    mapped: a file in the memory of MPS2_AN500, at MAPPED."""

    def __init__(self, board, firmware, icount=False, mapped=None):
        if not shutil.which(MACHINES[board][0]):
            missing = setup_env.require_packages("qemu")
            if missing:
                fail(f"missing {', '.join(missing)}: {setup_env.advice(missing)}")
        command = [*MACHINES[board], *COMMON, "-kernel", firmware]
        command += ICOUNT if icount else []
        if mapped:
            place = f"addr={MAPPED:#x},force-raw=on"
            command += ["-device", f"loader,file={mapped},{place}"]
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,  # Ctrl-C goes to us alone
        )
        self.path = self.find_port()

    def find_port(self):
        readable, _, _ = select.select([self.process.stdout], [], [], BOOT_SECONDS)
        line = self.process.stdout.readline().decode(errors="replace") if readable else ""
        found = PORT.search(line)
        if not found:
            self.close()
            fail(f"QEMU did not start: {self.last_error() or line.strip() or 'no serial port'}")
        return found.group(1)

    def last_error(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def close(self):
        """End the board; returns QEMU's exit code, negative where we ended it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return self.process.returncode


@contextlib.contextmanager
def running(board, firmware, icount=False, mapped=None):
    """A board that runs while the block does; gives its serial port."""
    emulated = Board(board, firmware, icount, mapped)
    try:
        yield emulated.path
    finally:
        emulated.close()


def sim_qemu(board, firmware=None, icount=False):
    """Run the board until Ctrl-C; prints the path of its serial port."""
    firmware = Path(firmware or BUILD / "firmware" / board / "firmware.elf")
    if not firmware.is_file():
        fail(f"{short(firmware)} does not exist: make firmware PORT=qemu BOARD={board}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emulated = Board(board, firmware, icount)
    try:
        say(f"{board} is running; its serial port is {emulated.path}")
        if icount:
            say("  time.ticks_us() advances by 1.024 with every instruction")
        say(f"  mpremote connect {emulated.path} repl        (Ctrl-C here ends the board)")
        emulated.process.wait()
        code = emulated.process.returncode
    except KeyboardInterrupt:
        code = 0
        say("\nThe board is off.")
    finally:
        emulated.close()
    if code != 0:
        fail(f"QEMU ended with {code}: {emulated.last_error()}")
