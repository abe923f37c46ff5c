"""Build MicroPython firmware with tinyprop for ESP32 boards, with the user's ESP-IDF.

Called by scripts/firmware.py. The result is build/firmware/<BOARD>/firmware.bin: boot loader,
partition table and application in one image. MICROPYTHON_DIR must name a full checkout, as the
fetched sources come without the libraries this port needs.
"""

import json
import os
import re
import shutil
import struct
import time
from pathlib import Path

import features
import setup_env
from build_unix import make
from common import BUILD, ROOT, fail, locked, run_logged, say, short
from fetch_sources import fetch_sources

MODULE = ROOT / "usermod_tinyprop" / "micropython.cmake"
MANIFEST = ROOT / "ports" / "esp32" / "manifest.py"
# Board -> chip, as esptool calls it.
BOARDS = {
    "ESP32_GENERIC": "esp32",
    "ESP32_GENERIC_S2": "esp32s2",
    "ESP32_GENERIC_S3": "esp32s3",
    "ESP32_GENERIC_C3": "esp32c3",
    "ESP32_GENERIC_C6": "esp32c6",
}
# Where in flash the chip's ROM looks for the boot loader, with which the image begins.
OFFSETS = {"esp32": 0x1000, "esp32s2": 0x1000, "esp32s3": 0, "esp32c3": 0, "esp32c6": 0}
TABLE = 0x8000  # where the partition table lies
CHIP_IDS = {0: "esp32", 2: "esp32s2", 9: "esp32s3", 5: "esp32c3", 13: "esp32c6"}
# Libraries of MicroPython's lib/ that the port needs, and a file that shows they are there.
LIBRARIES = {
    "berkeley-db-1.xx": "README",
    "micropython-lib": "micropython",
    "tinyusb": "src/tusb.c",
}
NATIVE_USB = ("esp32s2", "esp32s3")
VERSIONS = ["5.2", "5.3", "5.4"]  # for MicroPython 1.25, if its README does not say
INSTALL = (
    "git clone -b v{0} --recursive https://github.com/espressif/esp-idf.git && "
    "esp-idf/install.sh {1} && . esp-idf/export.sh"
)


def chip_and_offset(board):
    if board not in BOARDS:
        fail(f"no recipe for BOARD={board} of esp32: there is {', '.join(BOARDS)}")
    return BOARDS[board], OFFSETS[BOARDS[board]]


def image_chip(head):
    """The chip that an image (its first 24 bytes) is for; "" if it is none."""
    if len(head) < 24 or head[0] != 0xE9:
        return ""
    return CHIP_IDS.get(struct.unpack_from("<H", head, 12)[0], "an unknown chip")


# ESP-IDF and MicroPython.


def supported_idf(micropython):
    """The release series of ESP-IDF that this MicroPython names in its README."""
    readme = micropython / "ports" / "esp32" / "README.md"
    text = readme.read_text() if readme.is_file() else ""
    sentence = re.search(r"MicroPython supports (v[^\n]+?)\.?\n", text)
    found = re.findall(r"v(\d+\.\d+)", sentence.group(1)) if sentence else []
    return sorted(set(found), key=as_number) or VERSIONS


def as_number(version):
    return [int(n) for n in version.split(".")]


def find_idf(micropython, chip):
    """(ESP-IDF's folder, its version), after looking whether it fits; else says what to do."""
    wanted = supported_idf(micropython)
    install = INSTALL.format(wanted[-1], chip)
    name = os.environ.get("IDF_PATH")
    if not name:
        fail(f"ESP-IDF is not set up (IDF_PATH is empty): {install}")
    idf = Path(name)
    if not (idf / "tools" / "idf.py").is_file():
        fail(f"IDF_PATH={name} is not an ESP-IDF: it has no tools/idf.py; {install}")
    file = idf / "tools" / "cmake" / "version.cmake"
    text = file.read_text() if file.is_file() else ""
    numbers = re.findall(r"set\(IDF_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)\)", text)
    version = ".".join(numbers)
    if ".".join(numbers[:2]) not in wanted:
        fail(
            f"ESP-IDF {version or 'of unknown version'} in {name} does not fit: this MicroPython "
            f"wants {' or '.join(wanted)}; {install}"
        )
    if not shutil.which("idf.py"):
        fail(f"idf.py is not on the PATH: . {name}/export.sh (first: {name}/install.sh {chip})")
    return idf, version


def check_sources(micropython, chip):
    needed = {n: f for n, f in LIBRARIES.items() if n != "tinyusb" or chip in NATIVE_USB}
    lacking = [n for n, f in needed.items() if not (micropython / "lib" / n / f).exists()]
    if lacking:
        fail(
            f"{short(micropython)} lacks lib/{', lib/'.join(lacking)}: use a full checkout, "
            "MICROPYTHON_DIR=/path make firmware PORT=esp32 ..., after make -C "
            "/path/ports/esp32 submodules"
        )


def idf_command(micropython, board, folder, wanted=features.ALL):
    """What configures and builds the firmware into `folder`."""
    settings = {
        "MICROPY_BOARD": board,
        "MICROPY_BOARD_DIR": micropython / "ports" / "esp32" / "boards" / board,
        "USER_C_MODULES": MODULE,
        "MICROPY_FROZEN_MANIFEST": wanted.manifest(MANIFEST),
    }
    values = [*(f"{k}={v}" for k, v in settings.items()), *wanted.variables()]
    defines = [word for value in values for word in ("-D", value)]
    return ["idf.py", *defines, "-B", folder, "build"]


# Partitions.


def read_number(text):
    """A size as partition tables have it: 0x1F0000, 2M, 64K."""
    scale = {"k": 1024, "m": 1024 * 1024}.get(text[-1:].lower(), 1)
    return int(text[:-1] if scale > 1 else text, 0) * scale


def read_partitions(text, first=0x9000):
    """[(name, type, subtype, offset, size)] of a partition table in ESP-IDF's CSV format."""
    rows, end = [], first
    for number, line in enumerate(text.splitlines(), 1):
        fields = [f.strip() for f in line.partition("#")[0].split(",")]
        if fields == [""]:
            continue
        try:
            name, kind, subtype, offset, size = (fields + [""] * 5)[:5]
            align = 0x10000 if kind in ("app", "0") else 0x1000
            start = read_number(offset) if offset else -(-end // align) * align
            length = read_number(size)
        except ValueError:
            fail(f"partition table, line {number} cannot be read: {line.strip()}")
        if start < end:
            fail(f"partition table, line {number}: {name} begins before {end:#x}, where it may")
        end = start + length
        rows.append((name, kind, subtype, start, length))
    return rows


def check_partitions(text, application, flash):
    """Does an application of so many bytes fit, and the whole table the flash? Says what is left.

    Returns (start and size of the application's partition, size of the file system).
    """
    rows = read_partitions(text)
    programs = [row for row in rows if row[1] in ("app", "0")]
    if not programs:
        fail("the partition table has no partition for an application")
    # Over-the-air updates have two; either must hold it.
    name, *_, room = min(programs, key=lambda row: row[4])
    end = max(row[3] + row[4] for row in rows)
    if end > flash:
        fail(f"the partition table ends at {end:,} bytes, the flash has {flash:,}")
    if application > room:
        fail(
            f"the application has {application:,} bytes, its partition {name} {room:,}: "
            f"{application - room:,} too many"
        )
    files = sum(row[4] for row in rows if row[0] in ("vfs", "ffat"))
    say(
        f"The application takes {application:,} of the {room:,} bytes of its partition "
        f"({room - application:,} free); {files:,} bytes are for files"
    )
    return programs[0][3], room, files


def configured(sdkconfig):
    """(file of the partition table, bytes of flash) of a configured build."""
    values = dict(re.findall(r'^CONFIG_(\w+)="?([^"\n]*)"?$', sdkconfig.read_text(), re.M))
    names = ("PARTITION_TABLE_CUSTOM_FILENAME", "ESPTOOLPY_FLASHSIZE")
    missing = [name for name in names if not values.get(name)]
    if missing:
        fail(f"{short(sdkconfig)} has no CONFIG_{missing[0]}")
    return values[names[0]], read_number(values[names[1]].rstrip("B"))


def combine(build, chip, start, target):
    """Boot loader, partition table and application in one image, made in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(".new.bin")
    command = [setup_env.PYTHON, "-m", "esptool", "--chip", chip, "merge-bin", "--output", new]
    command += ["--target-offset", f"{OFFSETS[chip]:#x}"]
    command += [f"{OFFSETS[chip]:#x}", build / "bootloader" / "bootloader.bin"]
    command += [f"{TABLE:#x}", build / "partition_table" / "partition-table.bin"]
    command += [f"{start:#x}", build / "micropython.bin"]
    code, log = run_logged(command, build.name, 5)
    if code != 0:
        fail(f"combining {build.name} failed (full log: {short(log)})")
    os.replace(new, target)


def build_esp32(board, wanted=features.ALL):
    """Bring build/firmware/<board>/ up to date; returns the folder."""
    chip, _ = chip_and_offset(board)
    setup_env.require_build_tools()
    setup_env.make_venv()  # esptool
    if any(c.isspace() for c in str(ROOT)):
        fail(f"ESP-IDF cannot build in a folder with a space in its name: {ROOT}")
    micropython = fetch_sources("unix")
    idf, version = find_idf(micropython, chip)
    check_sources(micropython, chip)
    port, build = micropython / "ports" / "esp32", BUILD / f"esp32-{board}{wanted.suffix}"
    started = time.monotonic()
    with locked("mpy-cross"):
        make(micropython, "mpy-cross", BUILD / "mpy-cross", ["COPT=-O0"])
    with locked(build.name):
        say(f"Building MicroPython for {board} with tinyprop (ESP-IDF {version}) ...")
        environment = {"MICROPY_MPYCROSS": str(BUILD / "mpy-cross" / "mpy-cross")}
        command = idf_command(micropython, board, build, wanted)
        code, log = run_logged(command, build.name, 20, cwd=port, env=environment)
        if code != 0:
            fail(f"building {build.name} failed (full log: {short(log)})")
        table, flash = configured(build / "sdkconfig")
        application = (build / "micropython.bin").stat().st_size
        start, room, files = check_partitions((port / table).read_text(), application, flash)
        folder = BUILD / "firmware" / f"{board}{wanted.suffix}"
        combine(build, chip, start, folder / "firmware.bin")
    cost = {"application": application, "partition": room, "files": files}
    (folder / "cost.json").write_text(json.dumps(cost) + "\n")
    say(f"{short(folder)}/firmware.bin is ready ({time.monotonic() - started:.1f} s)")
    say(f"make flash BOARD={board} puts it on a board")
    return folder
