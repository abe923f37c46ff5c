"""Set up this machine: Debian packages (as root) and the Python environment in build/venv.

Groups: `build` is what `make build` and `make demo` need, `test` adds what the whole suite uses,
`firmware` is what `make firmware` and `make sim` need, `qemu` the same for boards in QEMU,
`xtensa` for the ESP32's instruction set.
What the suite lacks here is listed in build/missing.json, {need: how to get it}: tests skip with
that reason. With CI=true nothing may be skipped, so a lack is an error. Without a compiler
nothing works, so that is always an error.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import BUILD, ROOT, fail, locked, run_logged, run_main, say, short

REQUIREMENTS = ROOT / "requirements-dev.txt"
VENV = BUILD / "venv"
PYTHON = VENV / "bin" / "python"
MISSING = BUILD / "missing.json"


def has_program(name):
    return shutil.which(name) is not None


def succeeds(*command, text=""):
    try:
        run = subprocess.run(command, input=text, text=True, capture_output=True)
    except FileNotFoundError:
        return False
    return run.returncode == 0


def has_newlib():
    include = "#include <stdlib.h>\n"
    return succeeds("arm-none-eabi-gcc", "-E", "-xc", "-", "-o", os.devnull, text=include)


def has_libstdcxx():
    include = "#include <cstdlib>\n"
    return succeeds("arm-none-eabi-g++", "-E", "-xc++", "-", "-o", os.devnull, text=include)


def has_picolibc():
    found = ["riscv64-unknown-elf-gcc", "--print-file-name=picolibc.specs"]
    try:
        return "/" in subprocess.run(found, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return False


def has_xtensa_headers():
    return os.path.exists("/usr/lib/xtensa-lx106-elf/include/string.h")


# Debian package -> is what it brings already here, whoever installed it?
PACKAGES = {
    "build": {
        "gcc": lambda: has_program("gcc"),
        "libc6-dev": lambda: succeeds("gcc", "-E", "-xc", "-", text="#include <stdlib.h>\n"),
        "make": lambda: has_program("make"),
        "python3-venv": lambda: succeeds(sys.executable, "-c", "import ensurepip"),
    },
    "test": {
        "clang": lambda: has_program("clang"),
        "valgrind": lambda: has_program("valgrind"),
        "gcc-arm-none-eabi": lambda: has_program("arm-none-eabi-gcc"),
        "libnewlib-arm-none-eabi": has_newlib,
    },
    "firmware": {
        "cmake": lambda: has_program("cmake"),
        "gcc-arm-none-eabi": lambda: has_program("arm-none-eabi-gcc"),
        "libnewlib-arm-none-eabi": has_newlib,
        "libstdc++-arm-none-eabi-newlib": has_libstdcxx,
        "nodejs": lambda: has_program("node"),
        "npm": lambda: has_program("npm"),
    },
    "qemu": {
        "gcc-arm-none-eabi": lambda: has_program("arm-none-eabi-gcc"),
        "libnewlib-arm-none-eabi": has_newlib,
        "gcc-riscv64-unknown-elf": lambda: has_program("riscv64-unknown-elf-gcc"),
        "picolibc-riscv64-unknown-elf": has_picolibc,
        "qemu-system-arm": lambda: has_program("qemu-system-arm"),
        "qemu-system-misc": lambda: has_program("qemu-system-riscv32"),
    },
    "xtensa": {
        "binutils-xtensa-lx106": lambda: has_program("xtensa-lx106-elf-ld"),
        "picolibc-xtensa-lx106-elf": has_xtensa_headers,
        "qemu-system-misc": lambda: has_program("qemu-system-xtensa"),
    },
}
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]


def lacking(group):
    return [package for package, is_here in PACKAGES[group].items() if not is_here()]


def advice(packages):
    names = " ".join(packages)
    if has_program("apt-get"):
        return f"sudo apt-get install --no-install-recommends {names}"
    return f"install what Debian calls {names}"


def apt_install(packages):
    """Install as root; a machine that never fetched package lists fetches them first."""
    say(f"Installing Debian packages: {' '.join(packages)} ...")
    install = [*INSTALL, *packages]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    if run_logged(install, "apt", env=quiet)[0] != 0:
        run_logged(["apt-get", "update"], "apt")
        run_logged(install, "apt", tail=5, env=quiet)


def require_packages(group):
    """Have a group's packages here, installing them if we may; returns those still missing."""
    if lacking(group) and has_program("apt-get") and os.geteuid() == 0:
        with locked("apt"):
            packages = lacking(group)
            if packages:
                apt_install(packages)
    return lacking(group)


def require_build_tools():
    missing = require_packages("build")
    if missing:
        fail(f"missing {', '.join(missing)}: {advice(missing)}")


def require_test_tools():
    groups = [group for group in PACKAGES if group != "build"]
    missing = sorted({package for group in groups for package in require_packages(group)})
    MISSING.parent.mkdir(exist_ok=True)
    MISSING.write_text(json.dumps({need: advice([need]) for need in missing}, indent=1) + "\n")
    if not missing:
        return
    if os.environ.get("CI"):
        fail(f"missing {', '.join(missing)}, and CI may skip nothing: {advice(missing)}")
    say(f"Some tests will be skipped; for all of them: {advice(missing)}")


def make_venv():
    """build/venv as requirements-dev.txt pins it; a stamp tells when nothing changed."""
    content = REQUIREMENTS.read_bytes() + sys.version.encode() + os.fsencode(VENV)
    wanted = hashlib.sha256(content).hexdigest()
    stamp = VENV / ".tinyprop-stamp"
    with locked("venv"):
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        say(f"Installing Python packages into {short(VENV)} ...")
        shutil.rmtree(VENV, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", VENV],
            [PYTHON, "-m", "pip", "install", "--no-input", "-r", REQUIREMENTS],
        ):
            code, log = run_logged(command, "venv", tail=5)
            if code != 0:
                fail(f"cannot set up {short(VENV)} (details: {short(log)})")
        stamp.write_text(wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", nargs="?", choices=list(PACKAGES), default="test")
    arguments = parser.parse_args()
    require_build_tools()
    if arguments.group == "test":
        require_test_tools()
    make_venv()
    say(f"Ready: {short(Path(VENV))}")


if __name__ == "__main__":
    run_main(main)
