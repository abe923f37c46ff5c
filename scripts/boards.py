"""Boards on serial ports: find them, ask them what they are, run code on them.

The talking is done by mpremote's library, or by ampy's. A board is asked by interrupting what it
runs (Ctrl-C); it is not reset by mpremote, but ampy always resets it.
"""

import ast
import contextlib
import glob
import io
import os
import stat
import struct
import termios

import serial
import serial.tools.list_ports
from ampy.pyboard import Pyboard, PyboardError
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

# As MicroPython numbers them (py/persistentcode.h).
ARCHS = ["none", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp"]
ARCHS += ["xtensa", "xtensawin", "rv32imc", "rv64imc"]
THUMB = ARCHS[4:9]  # each of them runs what the ones before it run
PROMPT_SECONDS = 4
# Between two characters of an answer: erasing flash and collecting garbage take their time.
ANSWER_SECONDS = 20
WENT_AWAY = "went away (cable pulled, or board reset?)"
# Before code that ends the connection, so that the answer to its receipt still gets out.
AFTER_ANSWER = "import machine, time\ntime.sleep_ms(100)\n"
ASK = """
import sys
i = sys.implementation
i = [i.name, tuple(i.version)[:3]] + [getattr(i, n, None) for n in ('_machine', '_build', '_mpy')]
print(i + [sys.platform])
"""


class BoardError(Exception):
    """What went wrong, in one line."""


class Gone(BoardError):
    """The port stopped working, as it does when the cable is pulled."""


class Fault(BoardError):
    """An exception on the board; the text is the last line of its traceback."""


class OverMpremote:
    """Runs code on a board by mpremote's library."""

    def __init__(self, port):
        self.transport = SerialTransport(port, timeout=1)
        self.serial = self.transport.serial

    def enter(self):
        self.transport.enter_raw_repl(soft_reset=False, timeout_overall=PROMPT_SECONDS)
        self.serial.timeout = ANSWER_SECONDS

    def fresh(self):
        self.transport.exit_raw_repl()
        self.transport.enter_raw_repl(soft_reset=True, timeout_overall=PROMPT_SECONDS)

    def run(self, code):
        return self.transport.exec_raw(code, timeout=ANSWER_SECONDS)

    def start(self, code):
        self.transport.exec_raw_no_follow(code)

    def close(self):
        if self.transport.in_raw_repl:
            self.transport.exit_raw_repl()
        self.transport.close()


class OverAmpy:
    """The same by ampy's, which knows only the plain raw REPL: slower, for old firmware."""

    def __init__(self, port):
        self.board = Pyboard(port)
        self.serial = self.board.serial
        self.serial.timeout = 1
        self.serial.exclusive = True  # ampy itself would share the port

    def enter(self):
        self.board.enter_raw_repl()
        self.serial.timeout = ANSWER_SECONDS

    def fresh(self):
        self.board.exit_raw_repl()
        self.board.enter_raw_repl()  # resets
        self.serial.timeout = ANSWER_SECONDS

    def run(self, code):
        return self.board.exec_raw(code, timeout=ANSWER_SECONDS)

    def start(self, code):
        self.board.exec_raw_no_follow(code)

    def close(self):
        self.board.exit_raw_repl()
        self.board.close()


LINKS = {"mpremote": OverMpremote, "ampy": OverAmpy}


class Board:
    """A MicroPython board that answered: `name`, `machine`, `build`, `version`, `mpy`, `arch`."""

    def __init__(self, port, link="mpremote"):
        self.port = port
        if link == "ampy":
            Board(port).close()  # sees sooner than ampy that no board is there
        with self.watched(opening=True):
            self.link = LINKS[link](port)
        try:
            with self.watched(entering=True):
                self.link.enter()
            answer = ast.literal_eval(self.run(ASK).decode())
        except (BoardError, ValueError, SyntaxError) as e:
            self.close()
            if isinstance(e, BoardError):
                raise
            raise BoardError(f"{port} does not answer as a MicroPython board does") from None
        name, version, self.machine, self.build, self.mpy, self.platform = answer
        self.version = ".".join(map(str, version))
        self.machine = self.machine or self.platform
        if name != "micropython":
            self.close()
            raise BoardError(f"{port} is {self.machine} with {name}, which is not MicroPython")

    @contextlib.contextmanager
    def watched(self, opening=False, entering=False):
        """Turn what the libraries raise into one line; they also print, which is dropped."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except (TransportError, PyboardError, OSError, struct.error, termios.error) as e:
            if opening:
                raise BoardError(why_closed(self.port)) from None
            if is_missing(self.port) or isinstance(e, (OSError, termios.error)):
                raise Gone(f"{self.port} {WENT_AWAY}") from None
            if entering:
                raise BoardError(
                    f"{self.port} does not answer: no MicroPython there, or its program cannot "
                    "be interrupted (reset the board and try again)"
                ) from None
            raise Gone(f"{self.port} stopped answering") from None

    @property
    def arch(self):
        index = (self.mpy or 0) >> 10 & 15
        return ARCHS[index] if index < len(ARCHS) else f"number {index}"

    @property
    def abi(self):
        """(version, sub-version) of the .mpy files that its MicroPython loads."""
        return (self.mpy or 0) & 0xFF, (self.mpy or 0) >> 8 & 3

    def fresh(self):
        """A soft reset: the heap in one piece again."""
        with self.watched():
            self.link.fresh()

    def run(self, code):
        """Run code; returns what it printed."""
        with self.watched():
            out, error = self.link.run(code)
        if error:
            raise Fault(error.decode(errors="replace").strip().splitlines()[-1])
        return out

    def evaluate(self, expression):
        """The value of an expression, as far as it can be printed and read."""
        return ast.literal_eval(self.run(f"print(repr({expression}))").decode().strip())

    def start(self, code):
        """Run code that does not come back."""
        with self.watched():
            self.link.start(code)

    def close(self):
        with contextlib.suppress(Exception):
            self.link.close()

    def __str__(self):
        name = f" ({self.build})" if self.build else ""
        return f"{self.port}: {self.machine}{name}, MicroPython {self.version}, {self.arch}"


def users_of(port):
    """Names of the programs that have a port open, as far as we may see them."""
    names = []
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            process = link.split("/")[2]
            if os.readlink(link) == os.path.realpath(port) and int(process) != os.getpid():
                with open(f"/proc/{process}/comm") as f:
                    names.append(f"{f.read().strip()} (process {process})")
    return " and ".join(dict.fromkeys(names))


def is_missing(port):
    """Is a port's device not there? An address (socket://...) may be, as far as we know."""
    return "://" not in port and not os.path.exists(port)


def why_closed(port):
    """Why a port could not be opened."""
    if "://" in port:
        return f"nothing answers at {port}"
    try:
        kind = os.stat(port).st_mode
    except OSError:
        return f"{port} does not exist: is the board plugged in?"
    if not stat.S_ISCHR(kind):
        return f"{port} is not a serial port"
    if not os.access(port, os.R_OK | os.W_OK):
        return f"you may not open {port}: join the group that owns it (dialout) and log in again"
    return f"{port} is busy: {users_of(port) or 'another program'} is using it, end that first"


def serial_ports(devices=()):
    """The ports to look at: those named, else every USB serial port."""
    found = (p.device for p in sorted(serial.tools.list_ports.comports()) if p.vid is not None)
    return list(devices) or list(found)


def ask_all(ports, link="mpremote"):
    """(boards that answered and are open, why the others did not)"""
    boards, silent = [], []
    for port in ports:
        try:
            boards.append(Board(port, link))
        except BoardError as e:
            silent.append(str(e))
    return boards, silent


def no_board():
    return BoardError("no board found: plug one in, or name its serial port with DEVICE=/dev/...")


def only_port(devices=()):
    """The one serial port there is; asks nothing, so that what the board runs goes on."""
    ports = serial_ports(devices)
    if not ports:
        raise no_board()
    if len(ports) > 1:
        raise BoardError(f"{len(ports)} serial ports, choose with DEVICE=: {', '.join(ports)}")
    if is_missing(ports[0]):
        raise BoardError(why_closed(ports[0]))
    return ports[0]


def only_board(devices=(), build=None, link="mpremote"):
    """The one board there is, open; `build` (RPI_PICO, ...) chooses among several."""
    ports = serial_ports(devices)
    if not ports:
        raise no_board()
    boards, silent = ask_all(ports, link)
    fitting = [b for b in boards if not build or b.build in (build, None)]
    for board in boards:
        if board not in fitting or len(fitting) > 1:
            board.close()
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BoardError(f"{len(fitting)} boards, choose with DEVICE=: {listed(fitting)}")
    if boards:
        raise BoardError(f"no {build} here, but {listed(boards)}")
    raise BoardError("; ".join(silent))


def listed(boards):
    return "; ".join(map(str, boards))
