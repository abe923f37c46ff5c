"""The emulated RP2040 board behind a pseudo-terminal. Called by scripts/sim.py.

rp2040js (npm) runs the unchanged firmware on the stand-in boot ROM of ports/rp2/sim. The flash
chip is build/sim/<board>/flash.bin: what the board stores is there again at the next start. A
board that goes into its USB boot loader becomes a folder beside it, as a real one becomes a drive.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time
import tty
from pathlib import Path

import setup_env
from common import BUILD, ROOT, fail, locked, run_logged, say, short

SIM = ROOT / "ports" / "rp2" / "sim"
NPM = BUILD / "rp2040js"
MODULE = NPM / "node_modules" / "rp2040js" / "dist" / "esm" / "index.js"
PIECE = 1024
PENDING = 1 << 16


def install_emulator():
    """rp2040js as package-lock.json pins it, in build/rp2040js; returns its module file."""
    files = [SIM / "package.json", SIM / "package-lock.json"]
    wanted = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
    stamp = NPM / ".tinyprop-stamp"
    with locked("rp2040js"):
        installed = stamp.is_file() and stamp.read_text() == wanted
        if not (installed and shutil.which("node")):
            needed = ("nodejs",) if installed else ("nodejs", "npm")
            missing = [p for p in setup_env.require_packages("firmware") if p in needed]
            if missing:
                fail(f"missing {', '.join(missing)}: {setup_env.advice(missing)}")
        if installed:
            return MODULE
        say(f"Installing the RP2040 emulator into {short(NPM)} ...")
        shutil.rmtree(NPM, ignore_errors=True)
        NPM.mkdir(parents=True)
        for f in files:
            shutil.copy2(f, NPM)
        code, log = run_logged(
            ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], "rp2040js", 5, cwd=NPM
        )
        if code != 0 or not MODULE.is_file():
            fail(f"cannot install rp2040js (network down? details: {short(log)})")
        stamp.write_text(wanted)
    return MODULE


class Emulator:
    """A running board: `path` is its serial port. Use pump() until it returns False."""

    def __init__(self, firmware, flash, log=None):
        module = install_emulator()
        flash.parent.mkdir(parents=True, exist_ok=True)
        self.lock = open(flash.with_suffix(".lock"), "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"another emulator is using {short(flash)}")
        self.master, slave = pty.openpty()
        self.path = os.ttyname(slave)
        tty.setraw(slave, termios.TCSANOW)
        # With no one else holding the slave, the master sees when a program opens and closes it.
        os.close(slave)
        os.set_blocking(self.master, False)
        self.child = subprocess.Popen(
            ["node", SIM / "main.js", module, firmware, flash],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C goes to us alone; the child ends with its stdin
        )
        self.to_board = self.child.stdin.fileno()
        self.from_board = self.child.stdout.fileno()
        for f in (self.to_board, self.from_board):
            os.set_blocking(f, False)
        self.is_open = False
        self.down = bytearray()  # frames for the board
        self.up = bytearray()  # the board's output for the terminal

    def frame(self, kind, content=b""):
        self.down += kind + len(content).to_bytes(2, "little") + content

    def watch_port(self):
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        events = dict(poll.poll(0)).get(self.master, 0)
        is_open = not events & select.POLLHUP or bool(events & select.POLLIN)
        if is_open != self.is_open:
            self.is_open = is_open
            self.frame(b"C" if is_open else b"X")
            if not is_open:
                self.up.clear()

    def pump(self, seconds=0.02):
        """Carry what there is both ways, waiting at most `seconds`; False when the board ended."""
        self.watch_port()
        readable, writable = [], []
        if len(self.up) < PENDING:
            readable.append(self.from_board)
        if self.down:
            writable.append(self.to_board)
        if self.is_open:
            if len(self.down) < PENDING:
                readable.append(self.master)
            if self.up:
                writable.append(self.master)
        readable, writable, _ = select.select(readable, writable, [], seconds)
        if self.from_board in readable:
            data = os.read(self.from_board, PENDING)
            if not data:
                return False
            if self.is_open:  # like a real board's: what nobody listens to is lost
                self.up += data
        if self.master in readable:
            data = self.read_master()
            if data:
                self.frame(b"D", data)
        if self.to_board in writable and not self.write(self.to_board, self.down):
            return False
        if self.master in writable:
            self.write(self.master, self.up)
        return True

    def read_master(self):
        try:
            return os.read(self.master, PIECE)
        except OSError as e:
            if e.errno in (errno.EIO, errno.EAGAIN):  # closed meanwhile, or nothing there
                return b""
            raise

    @staticmethod
    def write(f, data):
        try:
            del data[: os.write(f, data[:PIECE])]
        except BlockingIOError:
            pass
        except OSError as e:
            if e.errno not in (errno.EIO, errno.EPIPE):
                raise
            return False
        return True

    def close(self):
        """End the board; returns its exit code."""
        self.child.stdin.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()
        os.close(self.master)
        self.lock.close()
        return self.child.returncode


@contextlib.contextmanager
def running(firmware, flash):
    """A board that runs while the block does, for tests and benchmarks; gives its serial port."""
    with tempfile.TemporaryFile() as log:
        emulator = Emulator(firmware, flash, log)
        going = True

        def carry():
            while going and emulator.pump():
                pass

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        try:
            yield emulator.path
        finally:
            going = False
            thread.join()
            emulator.close()


class Drive:
    """What the boot ROM does as a USB drive: blocks of a UF2 file go to flash as they come."""

    def __init__(self, flash, family=0xE48BFF56):
        self.folder, self.flash, self.family = flash.parent / "RPI-RP2", flash, family
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        info = "UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n"
        (self.folder / "INFO_UF2.TXT").write_text(info)

    def take(self):
        """Wait for a whole UF2 file; returns a file with the image that is in flash then."""
        written, erased, done = {}, set(), False
        with open(self.flash, "r+b") as chip:
            while not done:
                time.sleep(0.05)
                for path in self.folder.glob("*.[uU][fF]2"):
                    blocks = list(self.blocks(path.read_bytes()))
                    for offset, content, _ in blocks:
                        if written.get(offset) == content:
                            continue
                        if offset >> 12 not in erased:
                            chip.seek(offset & ~0xFFF)
                            chip.write(b"\xff" * 4096)
                            erased.add(offset >> 12)
                        chip.seek(offset)
                        chip.write(content)
                        written[offset] = content
                    done = done or bool(blocks) and len(blocks) == blocks[0][2]
            image = self.flash.with_suffix(".image")
            chip.seek(0)
            image.write_bytes(chip.read(max(offset + 256 for offset, *_ in blocks)))
        return image

    def blocks(self, data):
        """(offset in flash, content, number of blocks in all) of each block for this chip."""
        for at in range(0, len(data) - 511, 512):
            head = struct.unpack_from("<8I", data, at)
            offset = head[3] - 0x10000000
            if head[7] == self.family and 0 <= offset < 1 << 21:
                yield offset, data[at + 32 : at + 32 + head[4]], head[6]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def sim_rp2(board, firmware=None, flash=None):
    """Run the board until Ctrl-C; prints the path of its serial port, also after each restart."""
    firmware = Path(firmware or BUILD / "firmware" / board / "firmware.bin")
    if not firmware.is_file():
        fail(f"{short(firmware)} does not exist: make firmware PORT=rp2 BOARD={board}")
    flash = Path(flash or BUILD / "sim" / board / "flash.bin")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while firmware:
        firmware = run_until_off(board, firmware, flash)


def run_until_off(board, firmware, flash):
    """One run; returns the image to go on with, if the board was flashed then."""
    with tempfile.TemporaryFile() as log:
        emulator = Emulator(firmware, flash, log)
        say(f"{board} is running; its serial port is {emulator.path}")
        say(f"  mpremote connect {emulator.path} repl        (Ctrl-C here ends the board)")
        try:
            while emulator.pump():
                pass
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        code = emulator.close()
        log.seek(0)
        lines = [t for t in log.read().decode(errors="replace").splitlines() if t != "running"]
    if interrupted:
        say("\nThe board is off.")
    elif code == 0 and "boot loader" in (lines or [""])[-1]:
        drive = Drive(flash)
        say(f"{board} is in its USB boot loader; its drive is {short(drive.folder)}")
        try:
            return drive.take()
        except KeyboardInterrupt:
            say("\nThe board is off.")
        finally:
            drive.remove()
    elif code == 0:
        say(lines[-1] if lines else "The board is off.")
    else:
        errors = [t for t in lines if "error" in t.lower()] or lines or ["the emulator ended"]
        fail(errors[-1].removeprefix("error: ") if hasattr(str, "removeprefix") else errors[-1])
    return None
