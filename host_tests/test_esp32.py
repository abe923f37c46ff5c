"""The ESP32 recipe, as far as it can be tried without ESP-IDF and without the chip."""

import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import core_api
import pytest
from conftest import need

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import boards  # noqa: E402
import build_esp32  # noqa: E402
import deploy  # noqa: E402
import features  # noqa: E402
import fetch_sources  # noqa: E402
import flash  # noqa: E402
import setup_env  # noqa: E402

ESPTOOL = [setup_env.PYTHON, "-m", "esptool"]


@pytest.fixture(scope="module")
def micropython():
    folder = fetch_sources.SRC / "micropython"
    need((folder / "ports" / "esp32").is_dir(), str(folder), "python3 scripts/fetch_sources.py")
    return folder


def refused(call, *arguments):
    """The one line with which it must fail."""
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert str(caught.value).startswith("error: ")
    return str(caught.value)


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


# --- Looking for ESP-IDF and the sources ---


@pytest.fixture
def idf(tmp_path, monkeypatch):
    """Set up a folder that looks like an ESP-IDF of some version."""

    def make(version="5.4.1", on_path=True):
        folder = tmp_path / f"idf-{version}"
        program(folder / "tools" / "idf.py", "#!/bin/sh\n")
        numbers = zip(("MAJOR", "MINOR", "PATCH"), version.split("."))
        (folder / "tools" / "cmake").mkdir(exist_ok=True)
        (folder / "tools" / "cmake" / "version.cmake").write_text(
            "\n".join(f"set(IDF_VERSION_{n} {v})" for n, v in numbers)
        )
        monkeypatch.setenv("IDF_PATH", str(folder))
        if on_path:
            monkeypatch.setenv("PATH", f"{folder / 'tools'}:{os.environ['PATH']}")
        return folder

    monkeypatch.delenv("IDF_PATH", raising=False)
    return make


def test_missing_idf_says_what_to_install(micropython, monkeypatch):
    monkeypatch.delenv("IDF_PATH", raising=False)
    line = refused(build_esp32.find_idf, micropython, "esp32s3")
    assert "ESP-IDF is not set up" in line
    assert "git clone -b v5.4 --recursive https://github.com/espressif/esp-idf.git" in line
    assert "install.sh esp32s3 && . esp-idf/export.sh" in line


def test_idf_must_fit_this_micropython(micropython, idf):
    assert build_esp32.supported_idf(micropython) == ["5.2", "5.3", "5.4"]
    for version in ("5.2", "5.2.2", "5.3.0", "5.4.1"):
        assert build_esp32.find_idf(micropython, "esp32")[1] == version if idf(version) else None
    for version in ("4.4.8", "5.1.9", "5.5.0", "6.0.0"):
        idf(version)
        line = refused(build_esp32.find_idf, micropython, "esp32")
        assert f"ESP-IDF {version} in" in line and "wants 5.2 or 5.3 or 5.4" in line


def test_newer_micropython_names_other_idf_versions(tmp_path):
    port = tmp_path / "ports" / "esp32"
    port.mkdir(parents=True)
    text = "Text\nCurrently MicroPython supports v5.4.1, v5.5 and v5.10.2.\nMore v9.9\n"
    (port / "README.md").write_text(text)
    assert build_esp32.supported_idf(tmp_path) == ["5.4", "5.5", "5.10"]


def test_half_set_up_idf_says_what_is_missing(micropython, idf, tmp_path, monkeypatch):
    folder = idf(on_path=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert f". {folder}/export.sh" in refused(build_esp32.find_idf, micropython, "esp32")
    monkeypatch.setenv("IDF_PATH", str(tmp_path))
    assert "it has no tools/idf.py" in refused(build_esp32.find_idf, micropython, "esp32")


def test_libraries_that_the_fetched_sources_lack_are_named(tmp_path):
    (tmp_path / "lib").mkdir()
    line = refused(build_esp32.check_sources, tmp_path, "esp32s3")
    assert "lib/berkeley-db-1.xx, lib/micropython-lib, lib/tinyusb" in line
    assert "MICROPYTHON_DIR=/path make firmware PORT=esp32" in line
    assert "tinyusb" not in refused(build_esp32.check_sources, tmp_path, "esp32c3")


def test_boards_are_those_of_micropython_with_its_chips_and_offsets(micropython):
    for board, chip in build_esp32.BOARDS.items():
        folder = micropython / "ports" / "esp32" / "boards" / board
        config = (folder / "mpconfigboard.cmake").read_text()
        assert re.search(r"set\(IDF_TARGET (\w+)\)", config + "set(IDF_TARGET esp32)")[1] == chip
        described = json.loads((folder / "board.json").read_text())["deploy_options"]
        assert int(described["flash_offset"], 0) == build_esp32.OFFSETS[chip]
    assert "no recipe for BOARD=ESP32_X" in refused(build_esp32.chip_and_offset, "ESP32_X")


def test_make_firmware_ends_in_one_line_without_idf():
    environment = {k: v for k, v in os.environ.items() if k not in ("IDF_PATH", "MICROPYTHON_DIR")}
    command = [sys.executable, ROOT / "scripts" / "firmware.py", "esp32", "ESP32_GENERIC_C3"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "ESP-IDF is not set up" in line and "install.sh esp32c3" in line


# --- Partitions ---

FLASH = {"2MiB": 2, "4MiB": 4, "8MiB": 8, "16MiB": 16, "32MiB": 32}


def test_every_partition_table_of_micropython_fits_its_flash(micropython, capsys):
    tables = sorted((micropython / "ports" / "esp32").glob("partitions-*.csv"))
    assert len(tables) >= 5
    for table in tables:
        size = FLASH[table.stem.split("-")[1]] << 20
        start, room, files = build_esp32.check_partitions(table.read_text(), 1_000_000, size)
        assert start == 0x10000 and room >= 1_200_000 and files > 0
        line = refused(build_esp32.check_partitions, table.read_text(), 1_000_000, size // 2)
        assert f"the flash has {size // 2:,}" in line
    four = (tables[0].parent / "partitions-4MiB.csv").read_text()
    build_esp32.check_partitions(four, 0x1F0000 - 10, 4 << 20)
    assert "2,031,606 of the 2,031,616 bytes of its partition (10 free)" in capsys.readouterr().out


def test_application_that_does_not_fit_is_refused_with_the_numbers():
    table = "ota_0, app, ota_0, 0x10000, 1M\nota_1, app, ota_1, , 512K,\nvfs, data, fat,, 1M"
    rows = build_esp32.read_partitions(table)
    assert rows[1][3:] == (0x110000, 0x80000) and rows[2][3:] == (0x190000, 0x100000)
    line = refused(build_esp32.check_partitions, table, 0x80001, 4 << 20)
    assert "524,289 bytes, its partition ota_1 524,288: 1 too many" in line


@pytest.mark.parametrize(
    "table, named",
    [
        ("nvs, data, nvs, 0x9000, 0x6000\nfactory, app, factory, 0xe000, 1M", "line 2: factory"),
        ("nvs, data, nvs, 0x9000, six", "line 1 cannot be read"),
        ("# nothing\nnvs, data, nvs, 0x9000, 0x6000", "no partition for an application"),
        ("nvs, data", "line 1 cannot be read"),
    ],
)
def test_wrong_partition_tables_are_refused(table, named):
    assert named in refused(build_esp32.check_partitions, table, 1000, 4 << 20)


# --- The build, with an idf.py that only writes down what it is told ---

IDF_PY = """#!{python}
import json, pathlib, shutil, sys
build = pathlib.Path(sys.argv[sys.argv.index("-B") + 1])
for name in ("bootloader", "partition_table"):
    (build / name).mkdir(parents=True, exist_ok=True)
(build / "told.json").write_text(json.dumps([sys.argv, str(pathlib.Path.cwd())]))
here = pathlib.Path({here!r})
shutil.copy(here / "boot.bin", build / "bootloader" / "bootloader.bin")
(build / "partition_table" / "partition-table.bin").write_bytes(bytes(range(192)))
shutil.copy(here / "app.bin", build / "micropython.bin")
(build / "sdkconfig").write_text(
    'CONFIG_PARTITION_TABLE_CUSTOM_FILENAME="partitions-4MiB.csv"\\n'
    'CONFIG_ESPTOOLPY_FLASHSIZE="{flash}"\\n')
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images for the ESP32-C3, made by esptool from a small program."""
    for package in ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf"):
        found = package not in setup_env.lacking("qemu")
        need(found, package, setup_env.advice([package]))
    folder = tmp_path_factory.mktemp("images")
    (folder / "x.c").write_text("const char text[3000] = {1}; int start(void) { return *text; }\n")
    for name, place in (("boot", 0x40380000), ("app", 0x40384000)):
        link = ["-nostdlib", f"-Wl,-Ttext={place:#x}", "-Wl,-e,start", "-march=rv32imc"]
        compiler = ["riscv64-unknown-elf-gcc", *link, "-mabi=ilp32", folder / "x.c"]
        subprocess.run([*compiler, "-o", folder / f"{name}.elf"], check=True)
        make = ["--chip", "esp32c3", "elf2image", "-o", folder / f"{name}.bin"]
        done = subprocess.run([*ESPTOOL, *make, folder / f"{name}.elf"], capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def full_checkout(micropython, folder):
    """The fetched sources with files where the libraries they lack would be."""
    (folder / "lib").mkdir(parents=True)
    for inner in ("", "lib"):
        for path in (micropython / inner).iterdir():
            if path.name not in ("lib", "berkeley-db-1.xx", "micropython-lib", "tinyusb"):
                (folder / inner / path.name).symlink_to(path)
    extmod = (micropython / "extmod" / "extmod.cmake").read_text()
    sources = re.findall(r"\{MICROPY_LIB_BERKELEY_DIR\}/(\S+\.c)", extmod)
    sources = [f"lib/berkeley-db-1.xx/{name}" for name in [*sources, "README"]]
    library = ["lib/micropython-lib/README.md", "lib/micropython-lib/micropython/x"]
    for name in [*sources, *library, "lib/tinyusb/src/tusb.c"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def recipe(micropython, idf, images, tmp_path, monkeypatch):
    """Run the recipe for the ESP32-C3 with a pretended ESP-IDF; gives the build folder."""

    def build(flash="4MB"):
        folder = idf()
        text = IDF_PY.format(python=sys.executable, here=str(images), flash=flash)
        program(folder / "tools" / "idf.py", text)
        checkout = tmp_path / "checkout"
        if not checkout.exists():
            full_checkout(micropython, checkout)
        monkeypatch.setenv("MICROPYTHON_DIR", str(checkout))
        monkeypatch.setattr(build_esp32, "BUILD", tmp_path / "build")
        monkeypatch.setattr(build_esp32, "make", lambda *a: None)  # mpy-cross
        build_esp32.build_esp32("ESP32_GENERIC_C3")
        return tmp_path / "build"

    return build


def test_recipe_tells_idf_what_micropython_needs_and_combines_the_result(recipe, images, capsys):
    build = recipe()
    told, cwd = json.loads((build / "esp32-ESP32_GENERIC_C3" / "told.json").read_text())
    assert cwd.endswith("ports/esp32") and told[-1] == "build"
    defines = dict(w.split("=", 1) for w in told if "=" in w)
    assert defines["MICROPY_BOARD"] == "ESP32_GENERIC_C3"
    assert Path(defines["USER_C_MODULES"]).samefile(build_esp32.MODULE)
    assert Path(defines["MICROPY_FROZEN_MANIFEST"]).samefile(build_esp32.MANIFEST)
    assert Path(defines["MICROPY_BOARD_DIR"], "mpconfigboard.cmake").is_file()
    image = (build / "firmware" / "ESP32_GENERIC_C3" / "firmware.bin").read_bytes()
    boot, application = ((images / f"{n}.bin").read_bytes() for n in ("boot", "app"))
    assert image[: len(boot)] == boot and image[0x8000:][:192] == bytes(range(192))
    assert image[0x10000:] == application
    assert build_esp32.image_chip(image) == "esp32c3"
    assert "bytes of its partition" in capsys.readouterr().out
    info = subprocess.run(
        [*ESPTOOL, "image-info", build / "firmware" / "ESP32_GENERIC_C3" / "firmware.bin"],
        capture_output=True,
        text=True,
    )
    assert info.returncode == 0 and "Chip ID: 5 (ESP32-C3)" in info.stdout
    assert info.stdout.count("(valid)") == 2


@pytest.mark.parametrize("chip, begin", [("esp32", 0x1000), ("esp32s2", 0x1000), ("esp32s3", 0)])
def test_image_begins_with_the_boot_loader_wherever_that_lies(recipe, images, chip, begin):
    build = recipe()
    target = build / "image.bin"
    build_esp32.combine(build / "esp32-ESP32_GENERIC_C3", chip, 0x10000, target)
    image, boot = target.read_bytes(), (images / "boot.bin").read_bytes()
    assert image[: len(boot)] == boot
    assert image[0x8000 - begin :][:192] == bytes(range(192))
    assert image[0x10000 - begin :] == (images / "app.bin").read_bytes()


def test_firmware_that_does_not_fit_its_flash_leaves_the_old_one(recipe, tmp_path):
    firmware = recipe() / "firmware" / "ESP32_GENERIC_C3" / "firmware.bin"
    firmware.write_bytes(b"old")
    assert "the flash has 2,097,152" in refused(recipe, "2MB")
    assert firmware.read_bytes() == b"old"


# What ESP-IDF's own project.cmake does, as far as MicroPython's files need it.
PROJECT_CMAKE = """
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR riscv)
set(CMAKE_C_COMPILER riscv64-unknown-elf-gcc)
set(CMAKE_CXX_COMPILER riscv64-unknown-elf-g++)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS "-march=rv32imc -mabi=ilp32 --specs=picolibc.specs -Wall -Wextra -Werror")
macro(idf_component_register)
    cmake_parse_arguments(_ "" "" "SRCS;INCLUDE_DIRS;LDFRAGMENTS;REQUIRES" ${ARGN})
    add_library(__idf_main STATIC ${__SRCS})
    target_include_directories(__idf_main PUBLIC ${__INCLUDE_DIRS})
    set(COMPONENT_TARGET __idf_main)
    set(COMPONENT_LIB __idf_main)
endmacro()
macro(project name)
    _project(${name} C ASM)
    set(CONFIG_IDF_TARGET_ARCH_RISCV 1)
    add_subdirectory(main)
endmacro()
"""


@pytest.mark.parametrize("wanted", ["all", "dense"])
def test_glue_gives_the_sources_their_own_flags(micropython, images, tmp_path, wanted):
    """MicroPython's own CMake files take the module in, with ESP-IDF's part pretended."""
    need(shutil.which("cmake"), "cmake", setup_env.advice(["cmake"]))
    checkout = full_checkout(micropython, tmp_path / "checkout")
    (tmp_path / "idf" / "tools" / "cmake").mkdir(parents=True)
    (tmp_path / "idf" / "tools" / "cmake" / "project.cmake").write_text(PROJECT_CMAKE)
    wanted = features.Features(wanted)
    command = build_esp32.idf_command(checkout, "ESP32_GENERIC_C3", tmp_path / "build", wanted)
    defines = [f"-D{word}" for word in command if "=" in str(word)]
    command = ["cmake", "-S", checkout / "ports" / "esp32", "-B", tmp_path / "build", *defines]
    environment = {**os.environ, "IDF_PATH": str(tmp_path / "idf")}
    done = subprocess.run(
        [*command, "-DCMAKE_EXPORT_COMPILE_COMMANDS=1"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Found User C Module(s): usermod_tinyprop" in done.stdout + done.stderr
    listed = json.loads((tmp_path / "build" / "compile_commands.json").read_text())
    ours = {Path(c["file"]): c for c in listed if "usermod_tinyprop" in c["file"]}
    assert sorted(p.resolve() for p in ours) == sorted(core_api.SOURCE_DIR.glob("*/*.c"))
    parts = {f"-DTP_{part}={int(not wanted.left_out)}" for part in ("MAPS", "INTEGER")}
    for path, compile in ours.items():
        assert parts <= set(compile["command"].split()), path
        assert "-ffp-contract=off -fno-fast-math" in compile["command"], path
        if path.parent.name != "binding":  # that one needs ESP-IDF's headers
            where = compile["directory"]
            made = subprocess.run(compile["command"], shell=True, cwd=where, capture_output=True)
            assert made.returncode == 0, made.stderr.decode()[-2000:]
    # What is frozen: the board's own modules, and the package without what is left out.
    (frozen,) = (Path(d.split("=")[1]) for d in defines if "FROZEN_MANIFEST" in d)
    assert ("maps.py" in frozen.read_text()) == bool(wanted.left_out)
    text = (ROOT / "ports" / "esp32" / "manifest.py").read_text()
    assert 'include("../package"' in text and "boards/manifest.py" in text


# --- Flashing by esptool ---


class Chip:
    """The boot loader in an ESP32's ROM, and esptool's stub in RAM, as far as flashing needs it.

    Commands and answers as esptool's documentation of the serial protocol has them.
    """

    MAGIC = {0x40001000: 0x00F01D83}  # what tells an ESP32 from others
    FLASH_ID = {0: 0x3FF42080, 5: 0x60002058, 9: 0x60002058}

    def __init__(self, chip_id, dies_after=None):
        self.chip_id, self.dies_after, self.stub = chip_id, dies_after, False
        self.registers = {**self.MAGIC, self.FLASH_ID[chip_id]: 0x164020}  # 4 MB
        self.flash = bytearray(b"\xff" * (4 << 20))
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = f"socket://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        connection, _ = self.server.accept()
        received = b""
        with connection:
            while data := connection.recv(65536):
                received += data
                while received.count(b"\xc0") >= 2:
                    _, packet, received = received.split(b"\xc0", 2)
                    if self.dies_after == 0:
                        return
                    packet = packet.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
                    for answer in self.answers(packet):
                        answer = answer.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
                        connection.sendall(b"\xc0" + answer + b"\xc0")

    def answers(self, packet):
        def reply(value=1, result=b"", failed=0):
            tail = result + bytes([failed, 5 * failed] + [0, 0] * (not self.stub))
            return struct.pack("<BBHI", 1, op, len(tail), value) + tail

        op, body = packet[1], packet[8:]
        words = [int.from_bytes(body[i : i + 4], "little") for i in range(0, 16, 4)]
        if op == 0x08:  # SYNC
            yield from [reply(0x1234)] * 8
        elif op == 0x0A:  # READ_REG
            yield reply(self.registers.get(words[0], 0))
        elif op == 0x14 and self.chip_id == 0:  # GET_SECURITY_INFO, which the first one has not
            yield reply(failed=1)
        elif op == 0x14:
            yield reply(result=struct.pack("<IB7sII", 0, 0, bytes(7), self.chip_id, 0))
        elif op == 0x06:  # MEM_END starts the stub
            yield reply()
            self.stub = True
            yield b"OHAI"
        elif op == 0x10:  # FLASH_DEFL_BEGIN
            self.at, self.packed = words[3], zlib.decompressobj()
            yield reply()
        elif op == 0x11:  # FLASH_DEFL_DATA
            data = self.packed.decompress(body[16 : 16 + words[0]])
            self.flash[self.at : self.at + len(data)] = data
            self.at += len(data)
            if self.dies_after is not None:
                self.dies_after -= 1
            yield reply()
        elif op == 0x13:  # SPI_FLASH_MD5
            part = self.flash[words[0] : words[0] + words[1]]
            yield reply(result=hashlib.md5(part).digest())
        else:
            yield reply()


def write_image(path, chip_id):
    """Something with the head of an image, that compresses to about the half."""
    noise = b"".join(hashlib.sha256(struct.pack("<I", i // 2)).digest() for i in range(4000))
    path.write_bytes(struct.pack("<4B8xH10x", 0xE9, 1, 2, 0x20, chip_id) + noise)
    return path


def flash_board(board, path, port, *more):
    deploy.main(["flash", "--board", board, "--firmware", str(path), "--device", port, *more])


@pytest.fixture(autouse=True)
def nothing_plugged_in(monkeypatch):
    monkeypatch.setattr(boards.serial.tools.list_ports, "comports", list)


@pytest.mark.parametrize(
    "board, chip_id, offset",
    [("ESP32_GENERIC", 0, 0x1000), ("ESP32_GENERIC_S3", 9, 0), ("ESP32_GENERIC_C3", 5, 0)],
)
def test_esptool_writes_the_image_where_the_chip_looks_for_it(board, chip_id, offset, tmp_path):
    path, chip = write_image(tmp_path / "firmware.bin", chip_id), Chip(chip_id)
    flash_board(board, path, chip.port)
    data = path.read_bytes()
    assert chip.flash[offset : offset + len(data)] == data
    assert set(chip.flash[:offset]) <= {0xFF} and set(chip.flash[offset + len(data) :]) == {0xFF}


def test_image_for_another_chip_is_refused_before_and_by_esptool(tmp_path):
    path = write_image(tmp_path / "firmware.bin", 9)
    chip = Chip(9)
    line = refused(flash_board, "ESP32_GENERIC_C3", path, chip.port)
    assert "is esp32s3, but ESP32_GENERIC_C3 is an esp32c3" in line
    line = refused(flash_board, "ESP32_GENERIC_C3", write_image(path, 5), chip.port)
    assert "This chip is ESP32-S3, not ESP32-C3" in line
    path.write_bytes(b"no image at all, and long enough")
    assert "is no image" in refused(flash_board, "ESP32_GENERIC_C3", path, chip.port)
    assert set(chip.flash) == {0xFF}


def test_flashing_that_is_interrupted_says_what_to_do(tmp_path, monkeypatch):
    path, chip = write_image(tmp_path / "firmware.bin", 5), Chip(5, dies_after=3)
    line = refused(flash_board, "ESP32_GENERIC_C3", path, chip.port)
    assert "did not come to its end" in line and "run the same command again" in line
    assert 0 < sum(b != 0xFF for b in chip.flash[:65536])
    chip = Chip(5)
    flash_board("ESP32_GENERIC_C3", path, chip.port)
    assert chip.flash[: path.stat().st_size] == path.read_bytes()


def test_dry_run_names_the_command_and_touches_nothing(tmp_path, capsys):
    path = write_image(tmp_path / "firmware.bin", 0)
    flash_board("ESP32_GENERIC", path, "socket://127.0.0.1:1", "--dry-run")
    out = capsys.readouterr().out
    assert "would run: esptool --chip esp32 --port socket://127.0.0.1:1" in out
    assert out.rstrip().endswith(f"write-flash --flash-mode keep --flash-freq keep "
                                 f"--flash-size keep 0x1000 {path}")  # fmt: skip


def test_board_that_does_not_answer_and_missing_firmware_are_one_line(tmp_path):
    path = write_image(tmp_path / "firmware.bin", 0)
    line = refused(flash_board, "ESP32_GENERIC", path, "socket://127.0.0.1:1")
    assert "did not come to its end" in line
    line = refused(flash_board, "ESP32_GENERIC", tmp_path / "no.bin", "/dev/x")
    assert "does not exist: make firmware PORT=esp32 BOARD=ESP32_GENERIC" in line
    assert "no board found" in refused(deploy.main, ["flash", "--board", "ESP32_GENERIC",
                                                     "--firmware", str(path)])  # fmt: skip


def test_esptool_knows_the_arguments():
    command = flash.esptool_command("esp32s3", "/dev/no-such-port", Path("/no/such.bin"), 0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = re.sub(r"[\s│]+", " ", done.stdout + done.stderr)
    assert done.returncode != 0 and "such.bin" in said and "No such option" not in said
