"""Fetch the pinned sources of MicroPython and friends (ports/sources.lock) into build/src/.

They come from the Debian archive, through the mirror this machine's own apt is set up for, and
apt is given a private state folder: nothing of the system changes and no root is needed. Every
file must have the SHA-256 of the lock, whatever the mirror says. Once a folder is in place, its
stamp (the hash of its lock entry) makes the next run return at once, without network.

MICROPYTHON_DIR=/path uses that MicroPython checkout instead and fetches nothing.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from common import BUILD, ROOT, fail, locked, run_logged, run_main, say, short

LOCK = ROOT / "ports" / "sources.lock"
SRC = BUILD / "src"
STAMP = ".tinyprop-source"
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
OTHER_WAY = "MICROPYTHON_DIR=/path uses a MicroPython checkout of your own"


def entry_hash(entry):
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def file_sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def in_place(entry):
    stamp = SRC / entry["into"] / STAMP
    return stamp.is_file() and stamp.read_text() == entry_hash(entry)


# The mirror and apt.


def apt_output(*arguments):
    result = subprocess.run(
        ["apt-get", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return result.stdout if result.returncode == 0 else ""


def configured_mirrors():
    """The Debian mirrors of this machine's apt: those with fetched lists first, else any named."""
    listed = apt_output("indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    mirrors = [line.split("|", 1)[1] for line in listed.splitlines() if line.startswith("Debian|")]
    if not mirrors:  # no `apt-get update` so far: ask what it would fetch
        planned = apt_output("-o", "Debug::NoLocking=1", "update", "--print-uris")
        uris = [line.split("'")[1] for line in planned.splitlines() if line.startswith("'")]
        mirrors = [u.split("/dists/")[0] for u in uris if u.endswith("/InRelease")]
        mirrors = [m for m in mirrors if m.endswith("/debian")]
    return list(dict.fromkeys(m.rstrip("/") for m in mirrors))


class Apt:
    """apt-get with lists and caches of its own, which knows one mirror and one suite."""

    def __init__(self, folder, mirror, suite, component):
        self.mirror = mirror
        keyring = [f" signed-by={k}" for k in KEYRINGS if os.path.exists(k)][:1]
        key = keyring[0] if keyring else ""
        sources = folder / "sources.list"
        sources.write_text(
            f"deb [target=Packages lang=none{key}] {mirror} {suite} {component}\n"
            f"deb-src [target=Sources{key}] {mirror} {suite} {component}\n"
        )
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Retries": "2",
        }
        self.command = ["apt-get", "-q"]
        for key, value in settings.items():
            self.command += ["-o", f"{key}={value}"]

    def update(self):
        return run_logged([*self.command, "update"], "fetch")[0] == 0

    def download(self, entry, folder):
        verb = ["source", "--download-only", "--tar-only"]
        if entry["kind"] == "binary":
            verb = ["download"]
        package = f"{entry['name']}={entry['version']}"
        code, _ = run_logged([*self.command, *verb, package], "fetch", cwd=folder)
        return code == 0 and (folder / entry["file"]).is_file()


def open_mirror(lock, entries, folder, other_way=OTHER_WAY):
    """The first configured mirror that answers for the suite."""
    what = f"cannot fetch {entries[0]['name']} {entries[0]['version']}"
    if not shutil.which("apt-get"):
        fail(f"{what}: this machine has no apt-get; {other_way}")
    mirrors = configured_mirrors()
    if not mirrors:
        fail(f"{what}: apt names no Debian mirror here; {other_way}")
    for i, mirror in enumerate(mirrors):
        (folder / str(i)).mkdir()
        apt = Apt(folder / str(i), mirror, lock["suite"], lock["component"])
        say(f"Reading the package index of Debian {lock['suite']} from {mirror} ...")
        if apt.update():
            return apt
    fail(
        f"{what}: no answer for suite {lock['suite']} from {' or '.join(mirrors)} "
        f"(network down? details: build/log/fetch.log); {other_way}"
    )


# Verify and unpack.


def check_sha256(path, entry):
    """A file with another hash is removed, so that the next run fetches it again."""
    got = file_sha256(path)
    if got != entry["sha256"]:
        path.unlink()
        fail(f"wrong checksum: {entry['file']} has SHA-256 {got}, expected {entry['sha256']}")


def fetch(lock, entries):
    """Bring the entries' files into build/src/downloads/, each one verified."""
    downloads = SRC / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    missing = []
    for entry in entries:
        if (downloads / entry["file"]).is_file():
            check_sha256(downloads / entry["file"], entry)
        else:
            missing.append(entry)
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=BUILD) as temporary:
        temporary = Path(temporary)
        apt = open_mirror(lock, missing, temporary)
        for entry in missing:
            say(f"Fetching {entry['name']} {entry['version']} ...")
            if not apt.download(entry, temporary):
                fail(
                    f"cannot fetch {entry['name']} {entry['version']} from {apt.mirror} "
                    f"(network down, or version gone? details: build/log/fetch.log); {OTHER_WAY}"
                )
            check_sha256(temporary / entry["file"], entry)
            os.replace(temporary / entry["file"], downloads / entry["file"])


def open_archive(path):
    """A tar file as it is, or the data member of a .deb (an `ar` archive)."""
    if path.suffix != ".deb":
        return tarfile.open(path)
    content = path.read_bytes()
    position = len(b"!<arch>\n")
    while position < len(content):
        header = content[position : position + 60]
        start, size = position + 60, int(header[48:58])
        if header.startswith(b"data.tar"):
            return tarfile.open(fileobj=io.BytesIO(content[start : start + size]))
        position = start + size + size % 2
    raise tarfile.TarError("no data member")


def inside(name, folder):
    return f"{os.path.normpath(name)}/".startswith(f"{folder}/")


def unpack(entry):
    """Unpack into a temporary folder beside the target, then rename: all of it or nothing."""
    target = SRC / entry["into"]
    say(f"Unpacking {entry['name']} {entry['version']} into {short(target)}/ ...")
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=SRC) as temporary:
        temporary = Path(temporary)
        try:
            with open_archive(SRC / "downloads" / entry["file"]) as archive:
                members = [m for m in archive if inside(m.name, entry["subfolder"])]
                if not members:
                    raise tarfile.TarError(f"it holds no {entry['subfolder']}/")
                safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                archive.extractall(temporary / "new", members, **safe)
        except tarfile.TarError as e:
            fail(f"cannot unpack {entry['file']}: {e}")
        folder = temporary / "new" / entry["subfolder"]
        for stub in entry.get("stubs", []):
            (folder / stub).parent.mkdir(parents=True, exist_ok=True)
            (folder / stub).write_text("Stub: this source tree comes without the submodule.\n")
        (folder / STAMP).write_text(entry_hash(entry))
        if target.exists():
            target.rename(temporary / "old")
        folder.rename(target)


# What other scripts call.


def own_micropython():
    """The folder named by MICROPYTHON_DIR, checked; None when the variable is not set."""
    name = os.environ.get("MICROPYTHON_DIR")
    if not name:
        return None
    folder = Path(name).resolve()
    for part in ("py/py.mk", "ports/unix/Makefile"):
        if not (folder / part).is_file():
            fail(f"MICROPYTHON_DIR={name} is not a MicroPython source tree: it has no {part}")
    return folder


def fetch_sources(group):
    """Have everything of one group in build/src/; returns the MicroPython folder to use."""
    own = own_micropython()
    if own:
        return own
    lock = json.loads(LOCK.read_text())
    # Outer folders first: a new micropython/ takes its old lib/ subfolders away with it.
    entries = [e for e in lock["packages"] if group in e["groups"]]
    entries.sort(key=lambda e: e["into"])
    if not entries:
        names = sorted({g for e in lock["packages"] for g in e["groups"]})
        fail(f"no sources for {group!r}: ports/sources.lock knows {', '.join(names)}")
    if not all(map(in_place, entries)):
        with locked("src"):
            fetch(lock, [e for e in entries if not in_place(e)])
            for entry in entries:
                if not in_place(entry):
                    unpack(entry)
    return SRC / "micropython"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--for", dest="group", default="unix", help="unix (default) or rp2")
    parser.add_argument(
        "--print-dir", action="store_true", help="print only the MicroPython folder to use"
    )
    arguments = parser.parse_args()
    if arguments.print_dir:
        print(own_micropython() or SRC / "micropython")
        return
    say(f"Sources for {arguments.group} are in {short(fetch_sources(arguments.group))}")


if __name__ == "__main__":
    run_main(main)
