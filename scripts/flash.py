"""Put a firmware on a board: called by scripts/deploy.py.

RP2040 and RP2350: a UF2 file is copied to the drive of the USB boot loader (BOOTSEL). ESP32: by
esptool over the serial port. Both boot loaders are in ROM. A flash that is interrupted leaves a
board that may not start, but nothing that a second flash does not put right; the files on a
board lie elsewhere in its flash and stay.
"""

import contextlib
import glob
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import boards
import build_esp32
from boards import BoardError
from common import BUILD, say, short

INFO = "INFO_UF2.TXT"
LABELS = ("RPI-RP2", "RP2350")
DRIVE_SECONDS = 20  # until a drive has appeared, or has taken the firmware
RETURN_SECONDS = 10  # until the board is back as a serial port
AGAIN = "plug the board in with BOOTSEL held and run the same command again"
# Board-ID of a drive -> (chip, the board if none is named).
DRIVES = {"RPI-RP2": ("RP2040", "RPI_PICO"), "RP2350": ("RP2350", "RPI_PICO2")}
# UF2 family -> chip.
FAMILIES = {
    0xE48BFF56: "RP2040",
    **{family: "RP2350" for family in (0xE48BFF57, 0xE48BFF59, 0xE48BFF5A, 0xE48BFF5B)},
    0x1C5F21B0: "ESP32",
    0xBFDD4EEE: "ESP32-S2",
    0xC47E5767: "ESP32-S3",
    0xD42BA06C: "ESP32-C3",
}


# UF2 files and drives.


def uf2_chip(path):
    """The chip a UF2 file is for, after looking whether the file is whole."""
    data = path.read_bytes()
    if not data or len(data) % 512:
        raise BoardError(f"{short(path)} is not a whole UF2 file: it has {len(data):,} bytes")
    numbers = {}
    for at in range(0, len(data), 512):
        first, second, flags, _, size, number, count, family = struct.unpack_from("<8I", data, at)
        magic = (first, second, *struct.unpack_from("<I", data, at + 508))
        if magic != (0x0A324655, 0x9E5D5157, 0x0AB16F30) or size > 476:
            raise BoardError(f"{short(path)} is not a UF2 file: block {at // 512} is damaged")
        if not flags & 0x2000:
            raise BoardError(f"{short(path)} does not say for which chip it is")
        numbers.setdefault((family, count), set()).add(number)
    for (_, count), seen in numbers.items():
        # A block against one of the RP2350's errata says that it is one of two, and is alone.
        if len(seen) != count and (count, len(seen)) != (2, 1):
            raise BoardError(f"{short(path)} lacks {count - len(seen)} of its {count} blocks")
    chips = {FAMILIES.get(family, f"family {family:#010x}") for family, _ in numbers}
    return " and ".join(sorted(chips))


def mounted():
    """Folders that may be a boot loader's drive."""
    with contextlib.suppress(OSError), open("/proc/mounts") as f:
        lines = [line.split() for line in f]
        return [p[1].replace("\\040", " ") for p in lines if p[2] in ("vfat", "msdos", "fuseblk")]
    return glob.glob("/Volumes/*")


def find_drives():
    return [Path(p) for p in mounted() if (Path(p) / INFO).is_file()]


def drive_id(drive):
    text = (drive / INFO).read_text(errors="replace")
    found = [line.partition(":")[2].strip() for line in text.splitlines() if "Board-ID" in line]
    return found[0] if found else "something without a name"


def drive_chip(drive):
    return DRIVES[drive_id(drive)][0] if drive_id(drive) in DRIVES else drive_id(drive)


def unmounted_drive():
    """The device of a boot loader's drive that nobody has mounted."""
    found = [p for label in LABELS for p in glob.glob(f"/dev/disk/by-label/{label}")]
    return os.path.realpath(found[0]) if found else None


def wait_for(condition, seconds):
    """Poll until the condition holds; returns its last value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.1)


def named_drive(folder):
    """The drive in a list if it is there; any drive where none is named."""
    if folder is None:
        return find_drives()
    return [Path(folder)] if (Path(folder) / INFO).is_file() else []


def check_chip(path, chip, there, where):
    """Refuse a file that is for another chip."""
    if chip != there:
        raise BoardError(f"{short(path)} is for {chip}, but {where} is {there}")


def to_boot_loader(arguments, path, chip):
    """Send a board that runs MicroPython into its boot loader; returns the drive."""
    board = boards.only_board(arguments.device)
    say(str(board))
    try:
        if board.platform != "rp2":
            raise BoardError(
                f"{board.port} ({board.machine}) has no boot loader that takes UF2 files"
            )
        there = "RP2350" if "RP2350" in board.machine else "RP2040"
        check_chip(path, chip, there, f"{board.port} ({board.machine})")
        if arguments.dry_run:
            say(f"  would send {board.port} into its boot loader and copy {short(path)} there")
            return None
        others = find_drives()
        say("Sending the board into its boot loader ...")
        board.start(boards.AFTER_ANSWER + "machine.bootloader()")
    finally:
        board.close()

    def new_drives():
        return [d for d in named_drive(arguments.drive) if arguments.drive or d not in others]

    drives = wait_for(new_drives, DRIVE_SECONDS)
    if drives:
        return drives[0]
    raise BoardError(not_mounted() or "the boot loader's drive did not appear: is it mounted?")


def not_mounted():
    device = unmounted_drive()
    return device and (
        f"the boot loader's drive {device} is not mounted: udisksctl mount -b {device}, or "
        f"mount {device} somewhere, then run the same command again"
    )


def copy_uf2(path, drive):
    """Write the file to the drive; the board restarts with it when the last block is there.

    The boot ROM takes the blocks as they come and goes away after the last one, so there is no
    name to rename, and an error at the very end may only mean that it was quick. Returns whether
    there was none.
    """
    data, written = path.read_bytes(), 0
    try:
        with open(drive / "firmware.uf2", "wb", buffering=0) as f:
            while written < len(data):
                written += f.write(data[written : written + 65536])
            os.fsync(f.fileno())
        sure = True
    except (OSError, KeyboardInterrupt) as e:
        sure = False
        if written < len(data) or isinstance(e, KeyboardInterrupt):
            reason = e.strerror if isinstance(e, OSError) else "Ctrl-C"
            raise BoardError(
                f"flashing was interrupted after {written:,} of {len(data):,} bytes ({reason}): "
                f"{AGAIN}"
            ) from None
    if not wait_for(lambda: not (drive / INFO).exists(), DRIVE_SECONDS):
        raise BoardError(f"{drive} is still there: the board did not take {short(path)}")
    return sure


def what_came_back(ports):
    """Ask the flashed board what it is now, when it is there; `ports()` are where it may be."""

    def back():
        found, _ = boards.ask_all(ports())
        for board in found:
            board.close()
        return found

    return wait_for(back, RETURN_SECONDS)


def flash_uf2(arguments):
    named = arguments.drive
    # A port that is there is meant, whatever other board waits in its boot loader.
    running = any(not boards.is_missing(port) for port in arguments.device)
    drives = [] if running and not named else named_drive(named)
    if len(drives) > 1:
        names = ", ".join(map(str, drives))
        raise BoardError(f"{len(drives)} boot loader drives, choose with DRIVE=: {names}")
    if not drives and not named and not running and unmounted_drive():
        raise BoardError(not_mounted())
    known = DRIVES.get(drive_id(drives[0])) if drives else None
    board = arguments.board or (known[1] if known else None)
    if board is None and not arguments.firmware:
        with contextlib.closing(boards.only_board(arguments.device)) as asked:
            board = asked.build
    path = Path(arguments.firmware or BUILD / "firmware" / str(board) / "firmware.uf2")
    if not path.is_file():
        raise BoardError(f"{short(path)} does not exist: make firmware PORT=rp2 BOARD={board}")
    chip = uf2_chip(path)
    if drives:
        drive = drives[0]
        if not known:
            raise BoardError(f"{drive} belongs to {drive_id(drive)}, which is not known here")
    else:
        drive = to_boot_loader(arguments, path, chip)
        if drive is None:
            return
    check_chip(path, chip, drive_chip(drive), drive)
    if arguments.dry_run:
        say(f"  would copy {short(path)} to {drive}")
        return
    before = boards.serial_ports()
    say(f"Copying {short(path)} to {drive} ...")
    sure = copy_uf2(path, drive)
    # A drive that had to be named is an emulated board's, whose port nobody lists.
    new = what_came_back(lambda: set(boards.serial_ports()) - set(before)) if not named else []
    if not sure and not new:
        raise BoardError(
            f"{drive} went away with the last blocks, and no board came back: {AGAIN}"
        )
    say(f"The board took the firmware ({chip}) and starts with it")
    for board in new:
        say(str(board))


# ESP32.


def esptool_command(chip, port, path, offset):
    """What writes a whole image; esptool compares its hash with what is in flash afterwards."""
    return [
        *[sys.executable, "-m", "esptool", "--chip", chip, "--port", port, "--baud", "460800"],
        *["--before", "default-reset", "--after", "hard-reset", "write-flash"],
        # As the image's own boot loader says.
        *["--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep"],
        *[f"{offset:#x}", str(path)],
    ]


def flash_esp32(arguments):
    board = arguments.board
    chip, offset = build_esp32.chip_and_offset(board)
    path = Path(arguments.firmware or BUILD / "firmware" / board / "firmware.bin")
    if not path.is_file():
        raise BoardError(f"{short(path)} does not exist: make firmware PORT=esp32 BOARD={board}")
    found = build_esp32.image_chip(path.read_bytes()[:24])
    if found != chip:
        raise BoardError(f"{short(path)} is {found or 'no image'}, but {board} is an {chip}")
    port = boards.only_port(arguments.device)
    command = esptool_command(chip, port, path, offset)
    if arguments.dry_run:
        say(f"  would run: {' '.join(['esptool', *command[3:]])}")
        return
    reason = "esptool failed"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            for line in process.stdout:
                _, fatal, text = line.partition("fatal error occurred: ")
                reason = text.strip() if fatal else reason
                print(line, end="", flush=True)
        except KeyboardInterrupt:
            process.terminate()
            reason = "interrupted by Ctrl-C"
    if process.returncode:
        raise BoardError(
            f"flashing {port} did not come to its end: {reason} (nothing is lost: hold BOOT while "
            "you press RESET, and run the same command again)"
        )
    for asked in what_came_back(lambda: [port]) if "://" not in port else []:
        say(str(asked))


def flash(arguments):
    if (arguments.board or "").startswith("ESP"):
        flash_esp32(arguments)
    elif arguments.firmware and not arguments.firmware.lower().endswith(".uf2"):
        raise BoardError(f"{arguments.firmware}: only UF2 files without BOARD=ESP32_...")
    else:
        flash_uf2(arguments)
