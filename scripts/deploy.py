"""Get tinyprop and your files onto a board: `make boards`, `make flash`, `make deploy`, ...

  deploy.py boards                    which boards there are
  deploy.py flash --board RPI_PICO    put the firmware on one (scripts/flash.py)
  deploy.py deploy main.py data/      copy files, and tinyprop where the firmware lacks it
  deploy.py monitor                   the board's output and prompt

Files are copied under a temporary name (*.part), checked by SHA-256 on the board, and get their
names when all of them are there. A copy that was interrupted goes on where it stopped.
"""

import argparse
import base64
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import boards
import build_natmod
import flash
import serial
from boards import BoardError, Fault, Gone
from common import fail, run_main, say, short

PART = ".part"
CHUNK = 4096  # bytes sent at a time: a block of the RP2040's file system
LEAST_CHUNK = 256
# What each MicroPython release loads, for those who meet another (docs: "MicroPython .mpy files").
RELEASES = {(6, 3): "1.23 and later", (6, 2): "1.22", (6, 1): "1.20 and 1.21", (6, 0): "1.19"}
# Native module for an architecture that has none of its own.
STAND_IN = {"armv7em": "armv7m", "armv7emdp": "armv7emsp"}

ON_BOARD = """
import gc, hashlib, os
from binascii import a2b_base64 as _b
def _look(p, n):  # (size, SHA-256 if not longer than n); -1: not there, -2: a folder
    try:
        s = os.stat(p)
    except OSError:
        return -1, ''
    if s[0] & 0x4000 or s[6] > n:
        return -2 if s[0] & 0x4000 else s[6], ''
    h, b, i = hashlib.sha256(), bytearray(1024), 0
    with open(p, 'rb') as f:
        while True:
            k = f.readinto(b)
            if not k:
                break
            h.update(memoryview(b)[:k])
            i += 1
            if i % 64 == 0:
                print(end=' ')  # a sign of life
    return s[6], ''.join('%02x' % v for v in h.digest())
def _add(p, text):
    with open(p, 'ab') as f:
        f.write(_b(text))
def _folders(p):
    for i, c in enumerate(p):
        if c == '/' and i:
            try:
                os.stat(p[:i])
            except OSError:
                os.mkdir(p[:i])
def _install(part, target):
    try:
        os.rename(part, target)
    except OSError:  # FAT does not rename onto a file
        os.stat(part)
        os.remove(target)
        os.rename(part, target)
    if target.endswith('/_tinyprop.mpy'):
        try:
            os.remove(target[:-3] + 'py')  # mip's loader, which would be found first
        except OSError:
            pass
gc.collect()
"""
# Is the module in the firmware? A native one has a file.
HAS_MODULE = """
import gc, sys
def _has():
    try:
        import _tinyprop
        if hasattr(_tinyprop, '__file__'):
            return ''
        import tinyprop
        return tinyprop.__version__
    except Exception:
        return ''
    finally:
        for k in [k for k in sys.modules if 'tinyprop' in k]:
            del sys.modules[k]
        gc.collect()
"""


class Copy:
    """One file on its way to the board."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.part = target + PART
        self.data = Path(source).read_bytes()
        self.digest = hashlib.sha256(self.data).hexdigest()
        # Bytes of it that the board has under the temporary name: before, and now.
        self.there = self.safe = 0

    @property
    def name(self):
        return self.target.rpartition("/")[2]


def plan_copies(sources, folder):
    """What goes where: a file into `folder`, a folder with its name and all in it."""
    copies = []
    for source in map(Path, sources):
        if not source.exists():
            raise BoardError(f"{source} does not exist")
        base = source.resolve().parent
        found = sorted(p for p in source.resolve().rglob("*") if p.is_file())
        for path in found if source.is_dir() else [source.resolve()]:
            inner = path.relative_to(base)
            if any(n.startswith(".") or n == "__pycache__" for n in inner.parts[1:]):
                continue
            copies.append(Copy(path, f"{folder.rstrip('/')}/{inner.as_posix()}"))
    by_target = {}
    for copy in copies:
        other = by_target.setdefault(copy.target, copy)
        if other is not copy:
            both = f"{short(other.source)} and {short(copy.source)}"
            raise BoardError(f"{both} would both become {copy.target}")
    return copies


def check_mpy(copy, board):
    """Refuse a .mpy file that the board would not load."""
    head = copy.data[:4]
    if len(head) < 4 or head[:1] != b"M":
        raise BoardError(f"{short(copy.source)} is not a .mpy file")
    version, sub, arch = head[1], head[2] & 3, head[2] >> 2 & 15
    native = arch != 0
    mine, loads = (version, sub), board.abi
    if version != loads[0] or (native and mine != loads):
        names = [RELEASES.get(abi, "another release") for abi in (mine, loads)]
        raise BoardError(
            f"{short(copy.source)} has .mpy version {version}.{sub} (MicroPython {names[0]}), "
            f"the board loads {loads[0]}.{loads[1]} ({names[1]}): flash a fitting firmware"
        )
    arch = boards.ARCHS[arch] if arch < len(boards.ARCHS) else f"number {arch}"
    order = boards.THUMB
    lesser = arch in order and board.arch in order and order.index(arch) <= order.index(board.arch)
    if native and arch != board.arch and not lesser:
        raise BoardError(f"{short(copy.source)} is for {arch}, the board is {board.arch}")


def module_arch(arch, machine):
    """The architecture of the native module for a board's own and the name of its machine."""
    if arch == "armv7emsp" and "RP2350" in machine:
        return "armv7emsp_softfp"  # its firmware passes floats in integer registers
    return STAND_IN.get(arch, arch)


def module_copies(board, dry_run):
    """What is to be copied for `import tinyprop` to work; nothing where the firmware has it."""
    board.run(HAS_MODULE)
    has = board.evaluate("_has()")
    if has:
        say(f"The firmware has tinyprop {has}")
        return []
    arch = module_arch(board.arch, board.machine)
    if arch not in build_natmod.ARCHS:
        raise BoardError(
            f"{board.port} has no tinyprop in its firmware, and there is no native module for "
            f"{board.arch}: flash a firmware with tinyprop (make flash BOARD=...), or copy "
            "without it (MODULE=no)"
        )
    say(f"The firmware has no tinyprop: installing the native module for {arch}")
    if dry_run:
        return []
    folder = build_natmod.build_natmod(arch)
    library = next((p for p in board.evaluate("__import__('sys').path") if p.endswith("/lib")), "")
    found = sorted(p for p in folder.rglob("*") if p.suffix in (".mpy", ".py"))
    return [Copy(p, f"{library or '/lib'}/{p.relative_to(folder).as_posix()}") for p in found]


def survey(board, copies):
    """Compare with what the board has; returns the copies that are still to be made."""
    wanted = []
    for copy in copies:
        size, digest = board.evaluate(f"_look({copy.target!r}, {len(copy.data)})")
        if size == -2:
            raise BoardError(f"{copy.target} is a folder on the board")
        if (size, digest) == (len(copy.data), copy.digest):
            say(f"  {copy.target} is there already")
            continue
        size, digest = board.evaluate(f"_look({copy.part!r}, {len(copy.data)})")
        if digest and digest == hashlib.sha256(copy.data[:size]).hexdigest():
            copy.there = copy.safe = size
        elif size >= 0:  # of another file, or damaged
            board.run(f"os.remove({copy.part!r})")
        wanted.append(copy)
    return wanted


def check_space(board, copies):
    """All of it must fit beside what is there, before anything is written."""
    needs = {}  # by file system, told apart by what statvfs says
    for copy in copies:
        system = (0, 0, 0, 0)
        for path in ("/" + copy.target.split("/")[1], "/"):
            with contextlib.suppress(Fault):
                system = board.evaluate(f"os.statvfs({path!r})")
                break
        block = system[1]
        if not block:
            raise BoardError(f"{board.port} has no file system to copy to (not formatted?)")
        blocks = -(-len(copy.data) // block) - copy.there // block
        needs[system] = needs.get(system, 0) + blocks * block
    for system, need in needs.items():
        free = system[1] * system[3]
        if need > free:
            raise BoardError(
                f"the board's file system is full: {need:,} bytes are needed, {free:,} are free; "
                "nothing was copied"
            )


def send(board, copy, progress):
    """Bring a file's bytes to its temporary name on the board, and check them there."""
    board.run(f"_folders({copy.part!r})")
    if not copy.data:
        board.run(f"open({copy.part!r}, 'wb').close()")
    chunk = CHUNK
    while copy.safe < len(copy.data):
        piece = copy.data[copy.safe : copy.safe + chunk]
        text = base64.b64encode(piece).decode()
        try:
            board.run(f"_add({copy.part!r}, '{text}')")
        except Fault as e:
            if not str(e).startswith("MemoryError") or chunk <= LEAST_CHUNK:
                raise
            chunk //= 2  # little memory left there
            board.run("gc.collect()")
            continue
        copy.safe += len(piece)
        progress(copy)
    size, digest = board.evaluate(f"_look({copy.part!r}, {len(copy.data)})")
    if (size, digest) != (len(copy.data), copy.digest):
        board.run(f"os.remove({copy.part!r})")
        raise BoardError(
            f"{copy.target} did not arrive as it was sent (SHA-256 differs): nothing was installed"
        )


def show_progress(copy):
    if sys.stdout.isatty():
        percent = 100 * copy.safe // len(copy.data)
        print(f"\r  {copy.target} {percent:3d} %", end="\r" if percent == 100 else "", flush=True)


def copy_all(board, copies, progress=show_progress):
    """Copy what the board has not yet; all files get their names at the end."""
    try:
        board.run(ON_BOARD)
    except Fault as e:
        raise BoardError(f"{board.port} cannot check files that arrive: {e}") from None
    wanted = survey(board, copies)
    check_space(board, wanted)
    sent = []
    try:
        for copy in wanted:
            sent.append(copy)
            send(board, copy, progress)
            went_on = f", continued at {copy.there:,}" if copy.there else ""
            say(f"  {copy.target} {len(copy.data):,} bytes{went_on}")
    except Gone as e:
        safe = sum(copy.safe for copy in wanted)
        raise Gone(
            f"{e} in the middle of the copy, {safe:,} bytes are there: nothing was installed; "
            "connect it and run the same command again to go on"
        ) from None
    except Fault as e:
        for copy in sent:
            board.run(f"try:\n os.remove({copy.part!r})\nexcept OSError:\n pass")
        reason = str(e)
        if "ENOSPC" in reason or reason.endswith(" 28"):
            reason = "its file system is full"
        raise BoardError(
            f"the board could not store {sent[-1].target}: {reason}; nothing was installed"
        ) from None
    # What starts by itself comes last, when all it may need is there.
    wanted.sort(key=lambda copy: copy.name in ("boot.py", "main.py", "boot.mpy", "main.mpy"))
    try:
        for copy in wanted:
            board.run(f"_install({copy.part!r}, {copy.target!r})")
    except Gone as e:
        raise Gone(f"{e} while files got their names: run the same command again") from None
    return wanted


def deploy(arguments):
    board = boards.only_board(arguments.device, arguments.board, arguments.link)
    try:
        say(str(board))
        folder = board.evaluate("__import__('os').getcwd()")
        if arguments.to:
            folder = f"{'' if arguments.to.startswith('/') else folder}/{arguments.to.strip('/')}"
        copies = plan_copies(arguments.files, folder)
        module = module_copies(board, arguments.dry_run) if arguments.module == "yes" else []
        for copy in [*copies, *module]:
            if copy.source.suffix == ".mpy":
                check_mpy(copy, board)
        if arguments.dry_run:
            for copy in [*module, *copies]:
                size = f"{len(copy.data):,} bytes"
                say(f"  would copy {short(copy.source)} to {copy.target}, {size}")
            return
        started = time.monotonic()
        wanted = copy_all(board, [*module, *copies])
        count = sum(len(copy.data) - copy.there for copy in wanted)
        seconds = time.monotonic() - started
        files = "1 file" if len(wanted) == 1 else f"{len(wanted)} files"
        say(f"{files} copied: {count:,} bytes in {seconds:.1f} s, checked by SHA-256")
        if module:
            try:
                board.fresh()
                version = board.run("import tinyprop\nprint(tinyprop.__version__)").decode()
            except Fault as e:
                raise BoardError(f"tinyprop is installed, but the board cannot use it: {e}") from e
            say(f"The board has tinyprop {version.strip()} now")
        if arguments.reset:
            board.start(boards.AFTER_ANSWER + "machine.reset()")
            say("The board starts anew")
    finally:
        board.close()


def list_boards(arguments):
    ports = boards.serial_ports(arguments.device)
    found, silent = boards.ask_all(ports)
    for board in found:
        board.close()
        say(str(board))
    for reason in silent:
        say(f"(not a board: {reason})")
    drives = flash.find_drives()
    for drive in drives:
        say(f"{drive}: {flash.drive_chip(drive)} in its USB boot loader, ready for make flash")
    if not found and not drives:
        raise BoardError("none of them is a board") if silent else boards.no_board()


def monitor(arguments):
    """mpremote's terminal; where no one types, the board's output until Ctrl-C."""
    port = boards.only_port(arguments.device)
    if sys.stdin.isatty():
        command = [sys.executable, "-m", "mpremote", "connect", port, "repl"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode and not os.path.exists(port):
            raise Gone(f"{port} {boards.WENT_AWAY}")
        if done.returncode:
            raise BoardError((done.stderr.strip() or boards.why_closed(port)).splitlines()[-1])
        return
    try:
        board = serial.Serial(port, exclusive=True)
    except OSError:
        raise BoardError(boards.why_closed(port)) from None
    say(f"Output of {port} (Ctrl-C ends)")
    with board:
        try:
            while True:
                sys.stdout.buffer.write(board.read(board.in_waiting or 1))
                sys.stdout.buffer.flush()
        except KeyboardInterrupt:
            say("")
        except OSError:
            raise Gone(f"{port} {boards.WENT_AWAY}") from None


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name, run, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument(
            "--device", action="append", default=[], help="the board's serial port"
        )
        return command

    add("boards", list_boards, "list the boards there are")
    add("monitor", monitor, "show a board's output and prompt")
    one = add("flash", flash.flash, "put a firmware on a board")
    one.add_argument("--firmware", help="file to flash, default: build/firmware/<board>/")
    one.add_argument("--drive", help="folder of the USB boot loader's drive (RP2040, RP2350)")
    two = add("deploy", deploy, "copy files, and tinyprop where the firmware lacks it")
    two.add_argument("files", nargs="*", help="files and folders")
    two.add_argument("--to", help="folder on the board, default: the one it works in")
    two.add_argument("--with", dest="link", choices=list(boards.LINKS), default="mpremote")
    two.add_argument("--module", choices=("yes", "no"), default="yes", help="install tinyprop?")
    two.add_argument("--reset", action="store_true", help="start the board anew afterwards")
    for command in (one, two):
        command.add_argument("--board", help="RPI_PICO, ESP32_GENERIC, ...")
        command.add_argument(
            "--dry-run", action="store_true", help="say what would be done, change nothing"
        )
    return parser


def main(words=None):
    arguments = make_parser().parse_args(words)
    try:
        return arguments.run(arguments)
    except BoardError as e:
        fail(e)


if __name__ == "__main__":
    run_main(main)
