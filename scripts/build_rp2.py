"""Build MicroPython firmware with tinyprop for RP2040 and RP2350 boards.

Called by scripts/firmware.py. The result is build/firmware/<BOARD>/firmware.{uf2,bin,elf}. The
same firmware without tinyprop is built once too (build/rp2-<BOARD>-plain), so that the flash and
RAM which tinyprop costs can be measured: printed, and written to cost.json beside the firmware.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import features
import setup_env
from build_unix import PACKAGE, make
from common import BUILD, ROOT, fail, locked, run_logged, say, short
from fetch_sources import STAMP, fetch_sources, own_micropython

PORT = ROOT / "ports" / "rp2"
MODULE = PORT / "micropython.cmake"
# What decides which files the module brings.
LISTS = [MODULE, ROOT / "usermod_tinyprop" / "micropython.cmake", features.MANIFESTS]
FLASH_START = 0x10000000
# UF2 family: which chip's boot ROM takes the file.
FAMILY = {"rp2040": 0xE48BFF56, "rp2350": 0xE48BFF59}
# Board -> chip, and the parts of MicroPython's lib/ it needs beyond those of every board.
BOARDS = {
    "RPI_PICO": ("rp2040", []),
    "RPI_PICO2": ("rp2350", []),
    "RPI_PICO_W": ("rp2040", ["cyw43-driver", "lwip", "btstack"]),
    "RPI_PICO2_W": ("rp2350", ["cyw43-driver", "lwip", "btstack"]),
}
BOARDS["PICO_W"] = BOARDS["RPI_PICO_W"]  # the name people look for
REAL_NAME = {"PICO_W": "RPI_PICO_W"}
# Flash is what is scarce; measured with scripts/rp2040_cycles.py. What stands behind -flto saves
# 200 to 500 bytes together: each of them makes code larger where nothing repeats itself.
SMALL = "-Os;-flto" + "".join(
    f";-fno-{what}"
    for what in (
        "expensive-optimizations",
        "tree-loop-im",
        "move-loop-invariants",
        "tree-switch-conversion",
        "tree-dominator-opts",
        "code-hoisting",
        "ipa-sra",
    )
)
SMALL += ";-fsplit-wide-types-early;-frename-registers"
OPTIMISATION = [
    f"-DTINYPROP_BINDING_OPT={SMALL}",
    f"-DTINYPROP_CORE_OPT={SMALL}",
    "-DTINYPROP_KERNELS_OPT=-O2",
]


def check_sources(micropython, board):
    """The fetched sources cannot have all that wireless boards need: Debian has lwip, but neither
    cyw43-driver (with the radio's firmware) nor btstack, whose licences are not free ones."""
    needed = ["pico-sdk", "tinyusb", "mbedtls", *BOARDS[board][1]]
    empty = [f"lib/{n}" for n in needed if not any((micropython / "lib" / n).glob("*"))]
    if not empty:
        return
    lacks = f"{board} needs {', '.join(empty)}, which {short(micropython)} lacks: "
    if own_micropython():
        fail(lacks + f"make -C {micropython}/ports/rp2 BOARD={board} submodules")
    advice = "use a checkout with its submodules, MICROPYTHON_DIR=/path make firmware ..."
    if board.endswith("_W"):
        advice += f" (the image of BOARD={board[:-2]} runs on it too, without its radio)"
    fail(lacks + advice)


def port_frozen(micropython, board):
    """The manifest of the board's own frozen modules; ours where micropython-lib is absent."""
    if not (micropython / "lib" / "micropython-lib" / "micropython").is_dir():
        return PORT / "plain" / "manifest.py"
    boards = micropython / "ports" / "rp2" / "boards"
    own = boards / board / "manifest.py"
    return own if own.is_file() else boards / "manifest.py"


def cmake_build(micropython, board, folder, options):
    """Configure and build one firmware into `folder`; afresh when what it is made from changed."""
    configure = ["cmake", "-S", micropython / "ports" / "rp2", "-B", folder]
    configure += [f"-DMICROPY_BOARD={board}", "-DPICO_NO_PICOTOOL=1", *options]
    source = micropython / STAMP
    recipe = [*map(str, configure), source.read_text() if source.is_file() else ""]
    recipe += [p.read_text() for p in sorted(PORT.rglob("*.py"))]
    if any("USER_C_MODULES" in o for o in options):
        recipe += [p.read_text() for p in LISTS]
        recipe += sorted(str(p) for p in PACKAGE.rglob("*.py"))
    wanted = "\n".join(recipe)
    stamp = folder / ".tinyprop-recipe"
    environment = {
        "GIT_CEILING_DIRECTORIES": str(micropython.parent),
        "MICROPY_MPYCROSS": str(BUILD / "mpy-cross" / "mpy-cross"),
    }
    name = folder.name
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        configure += [f"-DPython3_EXECUTABLE={sys.executable}"]
        code, log = run_logged(configure, name, tail=20, env=environment)
        if code != 0:
            fail(f"configuring {name} failed (full log: {short(log)})")
        stamp.write_text(wanted)
    jobs = os.environ.get("JOBS") or str(os.cpu_count() or 1)
    command = ["cmake", "--build", folder, "-j", jobs]
    code, log = run_logged(command, name, tail=20, env=environment)
    if code != 0:
        fail(f"building {name} failed (full log: {short(log)})")


def sizes(elf):
    """(flash, static RAM) in bytes: what is loaded from flash, and what RAM holds before main.

    RP2's linker script gives the rest of the RAM to MicroPython's heap, so sections that only
    reserve (heap, stacks) are not counted.
    """
    run = subprocess.run(
        ["arm-none-eabi-objdump", "-h", "-w", elf], capture_output=True, text=True, check=True
    )
    flash = ram = 0
    for line in run.stdout.splitlines():
        part = line.split()
        if len(part) < 8 or not part[0].isdigit():
            continue
        name, size, address = part[1], int(part[2], 16), int(part[3], 16)
        if "LOAD" in line:
            flash += size
        if 0x20000000 <= address < 0x20100000 and "ALLOC" in line:
            if not name.startswith((".heap", ".stack")):
                ram += size
    return flash, ram


def write_uf2(binary, target, family):
    """UF2: blocks of 512 bytes that carry 256 each, with their address and the chip's family."""
    data = binary.read_bytes()
    data += bytes(-len(data) % 256)
    count = len(data) // 256
    blocks = []
    for i in range(count):
        head = (0x0A324655, 0x9E5D5157, 0x2000, FLASH_START + 256 * i, 256, i, count, family)
        block = b"".join(n.to_bytes(4, "little") for n in head)
        block += data[256 * i : 256 * i + 256].ljust(476, b"\0")
        blocks.append(block + (0x0AB16F30).to_bytes(4, "little"))
    target.write_bytes(b"".join(blocks))


def build_rp2(board, wanted=features.ALL, ram_kernels=False):
    """Bring build/firmware/<board>/ up to date; returns the folder. Where `wanted` leaves parts
    out, its name ends with what there is; with the hottest loops in RAM, with -ram."""
    board = REAL_NAME.get(board, board)
    missing = setup_env.require_packages("firmware") + setup_env.require_packages("build")
    if missing:
        fail(f"missing {', '.join(missing)}: {setup_env.advice(missing)}")
    if any(c.isspace() for c in str(ROOT)):
        fail(f"make cannot build in a folder with a space in its name: {ROOT}")
    micropython = fetch_sources("rp2")
    check_sources(micropython, board)
    started = time.monotonic()
    with locked("mpy-cross"):
        make(micropython, "mpy-cross", BUILD / "mpy-cross", ["COPT=-O0"])
    frozen = port_frozen(micropython, board)
    name = board + wanted.suffix + ("-ram" if ram_kernels else "")
    ours, plain = BUILD / f"rp2-{name}", BUILD / f"rp2-{board}-plain"
    with locked(f"rp2-{board}"):
        say(f"Building MicroPython for {board} without tinyprop, to compare ...")
        cmake_build(micropython, board, plain, [f"-DMICROPY_FROZEN_MANIFEST={frozen}"])
        say(f"Building MicroPython for {name} with tinyprop ...")
        options = [
            f"-DUSER_C_MODULES={MODULE}",
            f"-DMICROPY_FROZEN_MANIFEST={wanted.manifest(PORT / 'manifest.py')}",
            f"-DMICROPY_MANIFEST_PORT_FROZEN={frozen}",
            *OPTIMISATION,
            *(f"-D{v}" for v in wanted.variables()),
            # Who leaves parts out wants a small image: 400 bytes for some speed.
            *([f"-DTINYPROP_KERNELS_OPT={SMALL}"] if wanted.left_out else []),
            *(["-DTINYPROP_RAM_KERNELS=1"] if ram_kernels else []),
        ]
        cmake_build(micropython, board, ours, options)
        folder = install(ours, BUILD / "firmware" / name, FAMILY[BOARDS[board][0]])
        (flash, ram), (flash_plain, ram_plain) = map(
            sizes, (ours / "firmware.elf", plain / "firmware.elf")
        )
    cost = {
        "flash": flash - flash_plain,
        "ram": ram - ram_plain,
        "flash_all": flash,
        "ram_all": ram,
    }
    (folder / "cost.json").write_text(json.dumps(cost) + "\n")
    say(f"{short(folder)}/firmware.uf2 is ready ({time.monotonic() - started:.1f} s)")
    say(
        f"tinyprop costs {cost['flash']:,} bytes of flash (aim 49,152) and "
        f"{cost['ram']:,} bytes of static RAM"
    )
    return folder


def install(build, folder, family):
    """Put the result into its folder, each file in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("elf", "bin"):
        shutil.copy2(build / f"firmware.{suffix}", folder / f".new.{suffix}")
    write_uf2(folder / ".new.bin", folder / ".new.uf2", family)
    for suffix in ("elf", "bin", "uf2"):
        os.replace(folder / f".new.{suffix}", folder / f"firmware.{suffix}")
    return folder
