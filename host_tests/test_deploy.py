"""From this repository to a board: found, flashed, filled with files; and what may go wrong."""

import hashlib
import os
import pty
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import core_api
import pytest
from conftest import need
from test_qemu import RAM_DISK
from test_rp2 import firmware, tools  # noqa: F401

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import boards  # noqa: E402
import build_natmod  # noqa: E402
import build_qemu  # noqa: E402
import deploy  # noqa: E402
import flash  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402
import sim_rp2  # noqa: E402

DIGITS = ROOT / "examples" / "digits"
XOR = ROOT / "examples" / "xor.py"
PATTERN = b"".join(hashlib.sha256(bytes([i & 255, i >> 8])).digest() for i in range(2000))


def start(*words, **more):
    command = [sys.executable, ROOT / "scripts" / "deploy.py", *map(str, words)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **{**pipes, **more})


def run(*words, timeout=60, **more):
    """Run scripts/deploy.py; gives (exit code, output, errors)."""
    process = start(*words, **more)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def succeed(*words, **more):
    code, out, err = run(*words, **more)
    assert (code, err) == (0, ""), out + err
    return out


def refusal(*words, **more):
    """The one line with which a command must fail."""
    code, _, err = run(*words, **more)
    assert code == 1, err
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def refused(words):
    """The same within this process, where tests may change what the scripts see."""
    with pytest.raises(SystemExit) as caught:
        deploy.main([str(word) for word in words])
    assert str(caught.value).startswith("error: ")
    return str(caught.value)


def on_board(port, code):
    board = boards.Board(str(port))
    try:
        return board.run(code).decode().replace("\r", "").strip()
    finally:
        board.close()


def files(port, folder="/"):
    """{path: (size, SHA-256)} of all files on the board."""
    code = (
        deploy.ON_BOARD
        + f"""
def _walk(d):
    for n, t, *_ in os.ilistdir(d):
        p = d.rstrip('/') + '/' + n
        if t & 0x4000:
            _walk(p)
        else:
            print((p, _look(p, 1 << 30)), end=',')
_walk({folder!r})
"""
    )
    return dict(eval(f"[{on_board(port, code)}]"))  # noqa: S307


def as_sent(data):
    return len(data), hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def stock_image(firmware, tools):  # noqa: F811
    """The RP2040 firmware without tinyprop."""
    return deploy.build_natmod.BUILD / "rp2-RPI_PICO-plain" / "firmware.bin"


@pytest.fixture(scope="module")
def stock(stock_image, tmp_path_factory):
    """The port of an emulated RP2040 without tinyprop."""
    with sim_rp2.running(stock_image, tmp_path_factory.mktemp("stock") / "flash.bin") as path:
        yield path


@pytest.fixture(scope="module")
def ours(firmware, tools, tmp_path_factory):  # noqa: F811
    """The port of one with tinyprop, which has a file system of 40 kB at /small, too."""
    chip = tmp_path_factory.mktemp("ours") / "flash.bin"
    with sim_rp2.running(firmware / "firmware.bin", chip) as path:
        on_board(path, RAM_DISK.replace("96", "160").replace('"/"', '"/small"'))
        yield path


@pytest.fixture(scope="module")
def qemu(tools):  # noqa: F811
    """The port of an emulated Cortex-M3 with tinyprop and no file system."""
    for package in setup_env.lacking("qemu"):
        need(False, package, setup_env.advice([package]))
    with sim_qemu.running("MPS2_AN385", build_qemu.build_qemu("MPS2_AN385")) as path:
        yield path


@pytest.fixture
def plugged_in(monkeypatch):
    """Have these ports listed as USB serial ports, and no boot loader's drive."""

    class Port(SimpleNamespace):
        def __lt__(self, other):
            return self.device < other.device

    def plug(*ports):
        listed = [Port(device=str(p), vid=0x2E8A) for p in ports]
        listed.append(Port(device="/dev/ttyS0", vid=None))  # no board
        monkeypatch.setattr(boards.serial.tools.list_ports, "comports", lambda: listed)

    monkeypatch.setattr(flash, "mounted", list)
    monkeypatch.setattr(flash, "unmounted_drive", lambda: None)
    plug()
    return plug


# --- Finding boards ---


@pytest.mark.parametrize(
    "words", ["boards", "deploy main.py", "monitor", "flash", "flash --board RPI_PICO"]
)
def test_no_board_is_one_clear_line(plugged_in, words, tmp_path):
    words = words.split()
    if "--board" in words:
        write_uf2(tmp_path / "firmware.uf2", bytes(256))
        words += ["--firmware", str(tmp_path / "firmware.uf2")]
    assert "no board found: plug one in" in refused(words)


def test_boards_are_asked_what_they_are(plugged_in, stock, qemu, capsys):
    plugged_in(stock, qemu)
    deploy.main(["boards"])
    out = capsys.readouterr().out
    assert re.search(rf"^{stock}: .* RP2040 \(RPI_PICO\), MicroPython 1\.\S+, armv6m$", out, re.M)
    assert re.search(rf"^{qemu}: .* \(MPS2_AN385\), MicroPython 1\.\S+, armv7em$", out, re.M)


def test_two_boards_are_listed_and_neither_is_chosen(plugged_in, stock, qemu):
    plugged_in(stock, qemu)
    before = files(stock)
    line = refused(["deploy", XOR])
    assert "2 boards, choose with DEVICE=" in line and stock in line and qemu in line
    assert "2 serial ports" in refused(["monitor"])
    assert files(stock) == before


def test_board_chooses_among_several(plugged_in, stock, qemu, capsys):
    plugged_in(stock, qemu)
    deploy.main(["deploy", "--board", "MPS2_AN385", "--module", "no"])
    assert capsys.readouterr().out.startswith(f"{qemu}: ")
    assert "no RPI_PICO2 here, but" in refused(["deploy", "--board", "RPI_PICO2"])


def test_what_is_no_board_is_named(tmp_path, monkeypatch):
    assert "/dev/pts/no does not exist" in refusal("deploy", "--device", "/dev/pts/no")
    (tmp_path / "file").touch()
    assert "is not a serial port" in refusal("deploy", "--device", tmp_path / "file")
    master, slave = pty.openpty()
    monkeypatch.setattr(boards, "PROMPT_SECONDS", 0.5)
    try:
        for more in ([], ["--with", "ampy"]):
            line = refused(["deploy", "--device", os.ttyname(slave), *more])
            assert "does not answer: no MicroPython there" in line
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("words", [["deploy"], ["deploy", "--with", "ampy"], ["monitor"]])
def test_busy_port_says_who_is_using_it(stock, words):
    with boards.serial.Serial(stock, exclusive=True):
        line = refusal(*words, "--device", stock)
    assert f"{stock} is busy: python" in line and f"(process {os.getpid()})" in line


# --- Copying ---


@pytest.mark.parametrize("link", ["mpremote", "ampy"])
def test_files_and_folders_arrive_as_they_are(stock, tmp_path, link):
    folder = tmp_path / "t_data"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.bin").write_bytes(PATTERN[:9000])
    (folder / "empty").touch()
    (folder / "it's.txt").write_text("größer\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "no.pyc").touch()
    more = ["--device", stock, "--module", "no", "--to", f"t_{link}", "--with", link]
    out = succeed("deploy", XOR, folder, *more)
    assert "4 files copied" in out
    wanted = {
        "xor.py": XOR.read_bytes(),
        "t_data/inner/a.bin": PATTERN[:9000],
        "t_data/empty": b"",
        "t_data/it's.txt": "größer\n".encode(),
    }
    got = files(stock, f"/t_{link}")
    assert got == {f"/t_{link}/{name}": as_sent(data) for name, data in wanted.items()}
    out = succeed("deploy", XOR, folder, *more)
    assert "0 files copied" in out and out.count("is there already") == 4


def test_only_what_changed_is_copied_and_replaces_the_old(ours, tmp_path):
    changing, staying = tmp_path / "t_new.txt", tmp_path / "t_same.txt"
    staying.write_text("same")
    for text in ("first", "second, longer", ""):
        changing.write_text(text)
        out = succeed("deploy", changing, staying, "--device", ours)
        assert files(ours)["/t_new.txt"] == as_sent(text.encode())
    assert "1 file copied" in out and "/t_same.txt is there already" in out
    assert not [name for name in files(ours) if name.endswith(".part")]


def test_dry_run_says_what_it_would_do_and_changes_nothing(stock_image, tmp_path):
    chip = tmp_path / "flash.bin"
    with sim_rp2.running(stock_image, chip) as port:
        on_board(port, "pass")
        before = chip.read_bytes()
        out = succeed("deploy", XOR, DIGITS, "--device", port, "--dry-run")
        uf2 = write_uf2(tmp_path / "t.uf2", PATTERN)
        out += succeed("flash", "--firmware", uf2, "--device", port, "--dry-run")
        assert on_board(port, "print('still here')") == "still here"
    assert chip.read_bytes() == before
    assert "would copy examples/xor.py to /xor.py, 746 bytes" in out
    assert "installing the native module for armv6m" in out and "Building" not in out
    assert f"would send {port} into its boot loader and copy" in out


def test_missing_and_clashing_files_are_refused(ours, tmp_path):
    assert "no/such.py does not exist" in refusal("deploy", "no/such.py", "--device", ours)
    other = tmp_path / "xor.py"
    other.touch()
    assert "would both become /xor.py" in refusal("deploy", XOR, other, "--device", ours)
    on_board(ours, "import os\nos.mkdir('/t_folder')")
    (tmp_path / "t_folder").touch()
    line = refusal("deploy", tmp_path / "t_folder", "--device", ours)
    assert "/t_folder is a folder on the board" in line


def test_damage_on_the_way_is_noticed_and_nothing_is_installed(ours, tmp_path, monkeypatch):
    path = tmp_path / "t_damage.bin"
    path.write_bytes(b"old")
    succeed("deploy", path, "--device", ours)
    path.write_bytes(PATTERN[:9000])
    encode = deploy.base64.b64encode
    monkeypatch.setattr(deploy.base64, "b64encode", lambda data: encode(b"!" + data[1:]))
    assert "did not arrive as it was sent" in refused(["deploy", path, "--device", ours])
    left = files(ours)
    assert left["/t_damage.bin"] == as_sent(b"old") and "/t_damage.bin.part" not in left


def test_leftover_of_another_file_is_not_continued(ours, tmp_path):
    path = tmp_path / "t_left.bin"
    path.write_bytes(PATTERN[:9000])
    for leftover in (b"something else", PATTERN[:4096], PATTERN[:9001]):
        on_board(ours, f"with open('/t_left.bin.part', 'wb') as f: f.write({leftover!r})")
        out = succeed("deploy", path, "--device", ours)
        assert ("continued at 4,096" in out) == (leftover == PATTERN[:4096])
        assert files(ours)["/t_left.bin"] == as_sent(PATTERN[:9000])
        on_board(ours, "import os\nos.remove('/t_left.bin')")


def test_little_memory_on_the_board_means_smaller_pieces(ours, tmp_path, monkeypatch):
    path = tmp_path / "t_memory.bin"
    path.write_bytes(PATTERN[:9000])
    # A receiver that cannot take more than 1,000 bytes at a time.
    small = deploy.ON_BOARD.replace(
        "def _add(p, text):\n", "def _add(p, text):\n    if len(text) > 1400: raise MemoryError\n"
    )
    assert small != deploy.ON_BOARD
    monkeypatch.setattr(deploy, "ON_BOARD", small)
    deploy.main(["deploy", str(path), "--device", ours])
    assert files(ours)["/t_memory.bin"] == as_sent(PATTERN[:9000])
    on_board(ours, "import os\nos.remove('/t_memory.bin')")


def test_full_file_system_is_seen_before_anything_is_written(ours, tmp_path):
    (tmp_path / "t_small.txt").write_text("fits")
    (tmp_path / "t_large.bin").write_bytes(bytes(50_000))
    before = files(ours, "/small")
    line = refusal(
        "deploy",
        tmp_path / "t_small.txt",
        tmp_path / "t_large.bin",
        "--to",
        "/small",
        "--device",
        ours,
    )
    assert re.search(r"file system is full: 5\d,\d{3} bytes are needed, \d+,\d{3} are free", line)
    assert files(ours, "/small") == before


def test_file_system_that_fills_up_meanwhile_is_left_as_it_was(ours, tmp_path, monkeypatch):
    (tmp_path / "t_small.txt").write_text("fits")
    (tmp_path / "t_large.bin").write_bytes(bytes(50_000))
    monkeypatch.setattr(deploy, "check_space", lambda board, copies: None)
    before = files(ours, "/small")
    words = [
        "deploy",
        tmp_path / "t_small.txt",
        tmp_path / "t_large.bin",
        "--to",
        "/small",
        "--device",
        ours,
    ]
    line = refused(words)
    assert (
        "could not store /small/t_large.bin: its file system is full; nothing was installed"
        in line
    )
    assert files(ours, "/small") == before


def test_board_without_a_file_system_says_so_until_it_has_one(qemu):
    assert "has no file system to copy to" in refusal("deploy", XOR, "--device", qemu)
    on_board(qemu, RAM_DISK)
    assert "1 file copied" in succeed("deploy", XOR, "--device", qemu)
    assert files(qemu) == {"/xor.py": as_sent(XOR.read_bytes())}


class Emulated:
    """A board whose cable can be pulled: its emulator is killed."""

    def __init__(self, image, chip):
        self.emulator = sim_rp2.Emulator(image, chip, subprocess.DEVNULL)
        self.port, self.on = self.emulator.path, True
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()

    def carry(self):
        while self.on and self.emulator.pump():
            pass

    def pull(self):
        self.on = False
        self.thread.join()
        self.emulator.child.kill()
        self.emulator.close()


def test_copy_goes_on_after_the_cable_was_pulled(stock_image, tmp_path):
    chip, path, small = (tmp_path / n for n in ("flash.bin", "t_long.bin", "t_first.txt"))
    path.write_bytes(b"old")
    small.write_text("small")
    with sim_rp2.running(stock_image, chip) as port:
        succeed("deploy", path, "--module", "no", "--device", port)
    path.write_bytes(PATTERN)
    board = Emulated(stock_image, chip)
    process = start("deploy", small, path, "--module", "no", "--device", board.port)
    try:
        # Pulled when something of the file has come to the flash.
        wait_until(lambda: PATTERN[20000:20100] in chip.read_bytes())
    finally:
        board.pull()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert "went away" in line and "nothing was installed" in line and "run the same" in line
    with sim_rp2.running(stock_image, chip) as port:
        left = files(port)
        assert left["/t_long.bin"] == as_sent(b"old") and "/t_first.txt" not in left
        assert 20_000 <= left["/t_long.bin.part"][0] < len(PATTERN)
        out = succeed("deploy", small, path, "--module", "no", "--device", port)
        assert f"continued at {left['/t_long.bin.part'][0]:,}" in out
        assert files(port) == {
            "/t_long.bin": as_sent(PATTERN),
            "/t_first.txt": as_sent(b"small"),
        }


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- tinyprop on boards whose firmware lacks it ---


def test_firmware_that_has_tinyprop_gets_no_second_one(ours):
    before = files(ours)
    out = succeed("deploy", "--device", ours)
    assert "The firmware has tinyprop" in out and "0 files copied" in out
    assert files(ours) == before


def test_board_without_tinyprop_learns_after_one_command(stock):
    out = succeed("deploy", XOR, "--device", stock)
    assert "installing the native module for armv6m" in out and "The board has tinyprop" in out
    got = files(stock, "/lib")
    assert "/lib/_tinyprop.mpy" in got and "/lib/tinyprop/__init__.py" in got
    out = succeed("deploy", XOR, "--device", stock)
    assert "0 files copied" in out
    printed = on_board(stock, "import xor")
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert f"{a} xor {b} = {a ^ b}" in printed


def native_module(folder, version=6, sub=3, arch="armv6m"):
    """A file with the head of a native module."""
    path = folder / f"{arch}-{version}-{sub}.mpy"
    path.write_bytes(bytes([ord("M"), version, sub | boards.ARCHS.index(arch) << 2, 31]) + b"\0")
    return path


def test_mpy_files_that_the_board_cannot_load_are_refused(stock, tmp_path):
    before = files(stock)
    for path, reason in (
        (native_module(tmp_path, arch="armv7m"), "is for armv7m, the board is armv6m"),
        (native_module(tmp_path, arch="xtensawin"), "is for xtensawin, the board is armv6m"),
        (native_module(tmp_path, sub=1), "has .mpy version 6.1 (MicroPython 1.20 and 1.21)"),
        (native_module(tmp_path, version=5), "has .mpy version 5.3"),
        (tmp_path / "text.mpy", "is not a .mpy file"),
    ):
        if path.name == "text.mpy":
            path.write_text("print()")
        assert reason in refusal("deploy", path, "--module", "no", "--device", stock)
    assert files(stock) == before


def test_thumb_boards_take_modules_of_lesser_cores(tmp_path):
    board = SimpleNamespace(arch="armv7emsp", abi=(6, 3))
    for arch in ("armv6m", "armv7m", "armv7emsp", "none"):
        deploy.check_mpy(deploy.Copy(native_module(tmp_path, arch=arch), "/x.mpy"), board)
    for arch in ("armv7emdp", "rv32imc", "xtensa"):
        with pytest.raises(boards.BoardError, match=f"is for {arch}"):
            deploy.check_mpy(deploy.Copy(native_module(tmp_path, arch=arch), "/x.mpy"), board)


def patched(image, folder, mpy):
    """The same firmware, saying that it loads other .mpy files."""
    data, stock_mpy = image.read_bytes(), 6 | (3 | boards.ARCHS.index("armv6m") << 2) << 8
    old, new = (struct.pack("<I", value << 1 | 1) for value in (stock_mpy, mpy))
    assert data.count(old) == 1
    (folder / "patched.bin").write_bytes(data.replace(old, new))
    return folder / "patched.bin"


def test_other_micropython_abi_is_refused_before_anything_is_written(stock_image, tmp_path):
    image = patched(stock_image, tmp_path, 6 | (2 | boards.ARCHS.index("armv6m") << 2) << 8)
    with sim_rp2.running(image, tmp_path / "flash.bin") as port:
        line = refusal("deploy", XOR, "--device", port)
        assert "_tinyprop.mpy has .mpy version 6.3 (MicroPython 1.23 and later)" in line
        assert "the board loads 6.2 (1.22): flash a fitting firmware" in line
        assert files(port) == {}


def test_board_that_no_native_module_fits_is_told_what_to_do(stock_image, tmp_path):
    image = patched(stock_image, tmp_path, 6 | (3 | boards.ARCHS.index("x86") << 2) << 8)
    with sim_rp2.running(image, tmp_path / "flash.bin") as port:
        line = refusal("deploy", XOR, "--device", port)
        assert "no native module for x86: flash a firmware with tinyprop" in line
        assert "MODULE=no" in line
        assert "1 file copied" in succeed("deploy", XOR, "--module", "no", "--device", port)


def test_every_native_module_has_boards_that_take_it():
    machines = ("Raspberry Pi Pico 2 with RP2350", "another")
    taken = {deploy.module_arch(arch, name) for arch in boards.ARCHS for name in machines}
    assert set(build_natmod.ARCHS) <= taken


# --- Flashing by UF2 ---


def write_uf2(path, data, family=0xE48BFF56, lost=()):
    blocks = [data[i : i + 256].ljust(256, b"\0") for i in range(0, len(data), 256)]
    with open(path, "wb") as f:
        for i, block in enumerate(blocks):
            head = (0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + 256 * i, 256)
            head = struct.pack("<8I", *head, i, len(blocks), family)
            if i not in lost:
                f.write(head + block + bytes(220) + struct.pack("<I", 0x0AB16F30))
    return path


def make_drive(folder, board_id="RPI-RP2"):
    folder.mkdir()
    text = f"UF2 Bootloader v3.0\r\nModel: whatever\r\nBoard-ID: {board_id}\r\n"
    (folder / "INFO_UF2.TXT").write_text(text)
    return folder


@pytest.fixture
def drive(tmp_path, plugged_in, monkeypatch):
    """A boot loader's drive that takes what is written and stays."""
    monkeypatch.setattr(flash, "DRIVE_SECONDS", 0.3)
    folder = make_drive(tmp_path / "drive")
    monkeypatch.setattr(flash, "mounted", lambda: [str(tmp_path), str(folder)])
    return folder


def test_drive_is_found_and_a_wrong_chip_refused(drive, tmp_path, capsys):
    deploy.main(["boards"])
    assert f"{drive}: RP2040 in its USB boot loader" in capsys.readouterr().out
    for family, chip in (
        (0xE48BFF59, "RP2350"),
        (0xC47E5767, "ESP32-S3"),
        (7, "family 0x00000007"),
    ):
        uf2 = write_uf2(tmp_path / "t.uf2", PATTERN, family)
        line = refused(["flash", "--firmware", uf2])
        assert f"is for {chip}, but {drive} is RP2040" in line
    assert [p.name for p in drive.iterdir()] == ["INFO_UF2.TXT"]


def test_named_port_is_flashed_whatever_drive_is_there(drive, stock, tmp_path, capsys):
    words = ["flash", "--dry-run", "--firmware", str(write_uf2(tmp_path / "t.uf2", PATTERN))]
    deploy.main([*words, "--device", stock])
    assert f"would send {stock} into its boot loader" in capsys.readouterr().out
    # After an interruption the port is gone, and the drive is the board's.
    deploy.main([*words, "--device", "/dev/pts/gone"])
    assert f"would copy {tmp_path / 't.uf2'} to {drive}" in capsys.readouterr().out


def test_damaged_and_foreign_files_are_refused(drive, tmp_path):
    uf2 = write_uf2(tmp_path / "t.uf2", PATTERN, lost=(7, 8))
    assert "lacks 2 of its 250 blocks" in refused(["flash", "--firmware", uf2])
    data = write_uf2(tmp_path / "t.uf2", PATTERN).read_bytes()
    uf2.write_bytes(data[:1000])
    assert "not a whole UF2 file" in refused(["flash", "--firmware", uf2])
    uf2.write_bytes(data[:512] + bytes(512) + data[1024:])
    assert "block 1 is damaged" in refused(["flash", "--firmware", uf2])
    assert "no/such.uf2 does not exist" in refused(["flash", "--firmware", "no/such.uf2"])
    assert "only UF2 files" in refused(["flash", "--firmware", "firmware.bin"])
    line = refused(["flash", "--board", "NO_SUCH"])
    assert "build/firmware/NO_SUCH/firmware.uf2 does not exist: make firmware" in line
    assert [p.name for p in drive.iterdir()] == ["INFO_UF2.TXT"]


def test_drive_that_does_not_take_the_firmware_is_an_error(drive, tmp_path):
    uf2 = write_uf2(tmp_path / "t.uf2", PATTERN)
    assert "the board did not take" in refused(["flash", "--firmware", uf2])


def test_drive_that_goes_with_the_last_blocks_is_trusted_only_if_a_board_comes_back(
    drive, stock, tmp_path, plugged_in, monkeypatch, capsys
):
    uf2 = write_uf2(tmp_path / "t.uf2", PATTERN)
    info = (drive / flash.INFO).read_text()

    def restart(file):
        (drive / flash.INFO).unlink()
        plugged_in(*ports)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(flash, "RETURN_SECONDS", 0)
    monkeypatch.setattr(flash.os, "fsync", restart)
    ports = []
    assert "no board came back: plug the board in" in refused(["flash", "--firmware", uf2])
    (drive / flash.INFO).write_text(info)
    ports = [stock]
    deploy.main(["flash", "--firmware", str(uf2)])
    assert f"{stock}: Raspberry Pi Pico" in capsys.readouterr().out


def test_unknown_and_several_drives_are_refused(drive, tmp_path, monkeypatch):
    uf2 = write_uf2(tmp_path / "t.uf2", PATTERN)
    second = make_drive(tmp_path / "second", "SAMD21G18A-Feather-v0")
    monkeypatch.setattr(flash, "mounted", lambda: [str(drive), str(second)])
    line = refused(["flash", "--firmware", uf2])
    assert f"2 boot loader drives, choose with DRIVE=: {drive}, {second}" in line
    line = refused(["flash", "--firmware", uf2, "--drive", second])
    assert "belongs to SAMD21G18A-Feather-v0, which is not known here" in line


def test_drive_that_is_not_mounted_comes_with_the_command_for_it(plugged_in, monkeypatch):
    monkeypatch.setattr(flash, "unmounted_drive", lambda: "/dev/sdz1")
    line = refused(["flash"])
    assert "/dev/sdz1 is not mounted: udisksctl mount -b /dev/sdz1" in line


def test_rp2350_file_with_its_workaround_block_is_taken(tmp_path):
    path = write_uf2(tmp_path / "t.uf2", PATTERN, 0xE48BFF59)
    head = struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, 0x10FFFF00, 256, 0, 2, 0xE48BFF57)
    first = head + bytes(476) + struct.pack("<I", 0x0AB16F30)
    path.write_bytes(first + path.read_bytes())
    assert flash.uf2_chip(path) == "RP2350"


def test_board_of_another_chip_is_refused_before_it_is_stopped(stock, qemu, tmp_path):
    uf2 = write_uf2(tmp_path / "t.uf2", PATTERN, 0xE48BFF59)
    line = refusal("flash", "--firmware", uf2, "--device", stock)
    assert f"is for RP2350, but {stock} (Raspberry Pi Pico with RP2040) is RP2040" in line
    assert on_board(stock, "print(1)") == "1"
    assert "has no boot loader" in refusal("flash", "--firmware", uf2, "--device", qemu)


SIMULATE = "import sim_rp2, sys; sim_rp2.sim_rp2('RPI_PICO', *sys.argv[1:])"


def test_flashing_a_running_board_keeps_its_files_and_survives_an_interruption(
    firmware,  # noqa: F811
    stock_image,
    tmp_path,
):
    chip, log = tmp_path / "flash.bin", tmp_path / "log"
    command = [sys.executable, "-c", SIMULATE, stock_image, chip]
    with open(log, "w") as out:
        board = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=ROOT / "scripts", start_new_session=True
        )

    def ports():
        return re.findall(r"serial port is (\S+)", log.read_text())

    try:
        wait_until(ports)
        time.sleep(0.5)
        (port,) = ports()
        succeed("deploy", XOR, "--module", "no", "--device", port)
        # The board goes into its boot loader, and the copy to its drive ends after 100 kB.
        words = ["flash", "--board", "RPI_PICO", "--drive", tmp_path / "RPI-RP2"]
        limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (102400,) * 2)}
        line = refusal(*words, "--device", port, **limit)
        assert "flashing was interrupted after 102,400 of " in line and "BOOTSEL" in line
        # The boot loader is still there, and takes it the second time.
        assert "took the firmware (RP2040)" in succeed(*words)
        wait_until(lambda: len(ports()) == 2)
        time.sleep(0.5)
        assert list(files(ports()[1])) == ["/xor.py"]
        assert "The firmware has tinyprop" in succeed("deploy", "--device", ports()[1])
        image = (firmware / "firmware.bin").read_bytes()
        assert chip.read_bytes()[: len(image)] == image
    finally:
        board.send_signal(signal.SIGTERM)
        board.wait(20)
    assert board.returncode == 0 and not (tmp_path / "RPI-RP2").exists()


# --- Watching a board ---


def test_reset_starts_what_was_copied(stock_image, tmp_path):
    main = tmp_path / "main.py"
    main.write_text("import time\nwhile True:\n    print('running')\n    time.sleep(0.1)\n")
    chip = tmp_path / "flash.bin"
    with sim_rp2.running(stock_image, chip) as port:
        out = succeed("deploy", main, "--module", "no", "--reset", "--device", port)
        assert "The board starts anew" in out
        time.sleep(0.5)
        process = start("monitor", "--device", port)
        assert "Output of" in process.stdout.readline()
        assert "running" in process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_monitor_shows_output_and_ends_with_ctrl_c(stock):
    board = boards.Board(stock)
    board.start("import time\nfor i in range(100):\n print('tick', i)\n time.sleep(0.1)")
    board.link.serial.close()
    process = start("monitor", "--device", stock)
    assert "Output of" in process.stdout.readline()
    assert re.match(r"tick \d+", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    boards.Board(stock).close()  # leaves it at its prompt


def test_monitor_is_a_prompt_where_someone_types(stock):
    master, slave = pty.openpty()
    ends = {"stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True}
    process = start("monitor", "--device", stock, **ends)
    shown = b""

    def read_until(text):
        nonlocal shown
        while text not in shown:
            assert select.select([master], [], [], 10)[0], shown
            shown += os.read(master, 4096)

    try:
        read_until(b"exit this shell")
        time.sleep(0.3)
        os.write(master, b"\x03print(6 * 7)\r")
        read_until(b"42\r\n")
        os.write(master, b"\x18")
        assert process.wait(10) == 0
    finally:
        process.kill()
        os.close(master)
        os.close(slave)


def test_monitor_ends_when_the_board_goes_away(stock_image, tmp_path):
    board = Emulated(stock_image, tmp_path / "flash.bin")
    process = start("monitor", "--device", board.port)
    process.stdout.readline()
    board.pull()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1 and "went away" in err and len(err.splitlines()) == 1


# --- make ---


def test_make_passes_its_variables_on(tmp_path):
    make = ["make", "-n", "-C", str(ROOT), "PYTHON=python3"]
    variables = ["DEVICE=/dev/x", "FILES=a.py b", "WITH=ampy", "TO=/t", "DRY_RUN=1", "MODULE=no"]
    need(shutil.which("make"), "make", "apt-get install make")
    done = subprocess.run([*make, "deploy", *variables], capture_output=True, text=True)
    (line,) = [t for t in done.stdout.replace("\\\n", " ").splitlines() if "deploy.py" in t]
    words = line.partition("deploy.py")[2].split()
    parsed = deploy.make_parser().parse_args(words)
    assert (parsed.device, parsed.files, parsed.to) == (["/dev/x"], ["a.py", "b"], "/t")
    assert (parsed.link, parsed.module, parsed.dry_run) == ("ampy", "no", True)
