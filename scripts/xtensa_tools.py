"""A compiler for the windowed Xtensa ABI of ESP32, ESP32-S2 and ESP32-S3.

Espressif's `xtensa-esp32-elf-gcc` where it is on the PATH. Otherwise clang from Debian sid: it
and the libraries it runs on are unpacked into build/src/xtensa-clang/, a folder of their own with
its own loader, so nothing of the system changes, and called through scripts/xtensa_cc.py, which
knows what that clang cannot do. ports/xtensa/clang.lock names the versions and their SHA-256. sid
moves on: where a version is gone, today's is taken, which apt authenticates by Debian's signature,
and a line says so.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import setup_env
import xtensa_cc
from common import BUILD, ROOT, fail, locked, run_logged, run_main, say, short
from fetch_sources import STAMP, check_sha256, entry_hash, open_archive, open_mirror
from xtensa_cc import CLANG, LIBGCC

PORT = ROOT / "ports" / "xtensa"
LOCK = PORT / "clang.lock"
BIN = BUILD / "xtensa" / "bin"
PREFIX = "xtensa-esp32-elf-"
SOURCES = [PORT / "runtime.c", ROOT / "ports" / "natmod" / "divide.c"]
# What the compiled code depends on, beside its own sources.
RECIPE = [Path(xtensa_cc.__file__), LOCK, *SOURCES]
OTHER_WAY = f"or put Espressif's {PREFIX}gcc on the PATH"


def download(lock, folder):
    """The packages as files in `folder`: the pinned versions, or today's where one is gone."""
    entries = lock["packages"]
    apt = open_mirror(lock, entries, folder, OTHER_WAY)
    files = folder / "files"
    files.mkdir()
    say(f"Fetching {entries[0]['name']} and what it runs on, 70 MB ...")
    moved = []
    for entry in entries:
        name, pinned = entry["name"], f"{entry['name']}={entry['version']}"
        have = run_logged([*apt.command, "download", pinned], "fetch", cwd=files)[0] == 0
        if not have and run_logged([*apt.command, "download", name], "fetch", cwd=files)[0] != 0:
            fail(
                f"cannot fetch {name} from {apt.mirror} (no longer in Debian {lock['suite']}, or "
                f"network down? details: build/log/fetch.log); {OTHER_WAY}"
            )
        (file,) = files.glob(f"{name}_*.deb")
        if not have:
            moved.append(f"{name} {file.name.split('_')[1].replace('%3a', ':')}")
        elif apt_architecture() == lock["architecture"]:
            check_sha256(file, {**entry, "file": file.name})
    if moved:
        say(
            f"Note: Debian {lock['suite']} has moved on from {short(LOCK)}; taken, as Debian "
            f"signed it: {', '.join(moved)}"
        )
    return files


def apt_architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")


def unpack(files, folder):
    """The libraries, the compiler and its headers."""
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    for package in sorted(files.glob("*.deb")):
        with open_archive(package) as archive:
            members = [m for m in archive if m.name.startswith("./usr/lib/")]
            archive.extractall(folder, [m for m in members if "/gconv" not in m.name], **safe)
    try:
        (loader,) = folder.glob("usr/lib/*/ld-linux-*.so.*")
        (compiler,) = folder.glob("usr/lib/llvm-*/bin/clang")
        (headers,) = folder.glob("usr/lib/llvm-*/lib/clang/*/include")
    except ValueError:
        fail("cannot use the fetched clang: its packages hold something else than expected")
    (folder / "include").symlink_to(headers.relative_to(folder))
    loader, compiler = loader.relative_to(folder), compiler.relative_to(folder)
    (folder / "clang").write_text(
        '#!/bin/sh\nhere=${0%/*}\nexec "$here/' + f'{loader}" --argv0 "$0" --library-path '
        f'"$here/{loader.parent}" "$here/{compiler}" "$@"\n'
    )
    (folder / "clang").chmod(0o755)


def fetch_clang():
    lock = json.loads(LOCK.read_text())
    stamp = CLANG / STAMP
    if stamp.is_file() and stamp.read_text() == entry_hash(lock):
        return
    with tempfile.TemporaryDirectory(prefix=".clang-", dir=BUILD) as temporary:
        temporary = Path(temporary)
        files = download(lock, temporary)
        say(f"Unpacking clang into {short(CLANG)}/ ...")
        new = temporary / "new"
        new.mkdir()
        try:
            unpack(files, new)
        except tarfile.TarError as e:
            fail(f"cannot unpack the fetched clang: {e}")
        code, log = run_logged([new / "clang", "--target=xtensa", "--version"], "fetch")
        if code != 0:
            fail(f"the fetched clang does not run on this machine (details: {short(log)})")
        (new / STAMP).write_text(entry_hash(lock))
        shutil.rmtree(CLANG, ignore_errors=True)
        CLANG.parent.mkdir(exist_ok=True)
        new.rename(CLANG)


def make_tools():
    """build/xtensa/: the compiler and Debian's binutils under the names of Espressif's, libgcc."""
    wanted = "".join(p.read_text() for p in RECIPE) + str(BUILD) + sys.executable
    wanted = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = BIN / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(BIN, ignore_errors=True)
    BIN.mkdir(parents=True)
    for tool in ("ar", "ld", "nm", "objcopy", "objdump", "size"):
        (BIN / f"{PREFIX}{tool}").symlink_to(shutil.which(f"xtensa-lx106-elf-{tool}"))
    gcc = BIN / f"{PREFIX}gcc"
    gcc.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{xtensa_cc.__file__}" "$@"\n')
    gcc.chmod(0o755)
    LIBGCC.unlink(missing_ok=True)
    objects = []
    for source in SOURCES:
        objects.append(LIBGCC.parent / f"{source.stem}.o")
        options = ["-std=c99", "-O2", "-ffunction-sections", "-Dtp_divide=__divsf3"]
        command = [gcc, *options, "-c", source, "-o", objects[-1]]
        code, log = run_logged(command, "xtensa", tail=5)
        if code != 0:
            fail(f"the fetched clang cannot compile {short(source)} (details: {short(log)})")
    if run_logged([BIN / f"{PREFIX}ar", "rc", LIBGCC, *objects], "xtensa", tail=5)[0] != 0:
        fail(f"cannot make {short(LIBGCC)}")
    stamp.write_text(wanted)


def use_clang():
    """Have clang ready, under gcc's name first on the PATH."""
    missing = setup_env.require_packages("xtensa")
    if missing:
        fail(f"missing {', '.join(missing)}: {setup_env.advice(missing)}")
    with locked("xtensa"):
        fetch_clang()
        make_tools()
    path = os.environ["PATH"].split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([str(BIN), *(p for p in path if p != str(BIN))])


def use_windowed_compiler():
    """Espressif's compiler if the user has it, else clang."""
    found = shutil.which(f"{PREFIX}gcc")
    if found and Path(found).parent != BIN:
        say(f"Compiling with {found}")
        return
    use_clang()


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    use_clang()
    say(f"{short(BIN)}/{PREFIX}gcc is ready")


if __name__ == "__main__":
    run_main(main)
