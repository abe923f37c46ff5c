"""scripts/fetch_sources.py, run in a small copy of the project with a pretended apt."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# An apt-get that has one mirror and copies what it "downloads" from a folder.
APT = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in
    *indextargets*) echo "{label}|mirror://here/debian/" ;;
    *print-uris*) ;;
    *update) exit {update_code} ;;
    *download*) cp {pool}/* . ;;
esac
"""


def tar_with(path, files):
    with tarfile.open(path, "w:xz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


class Project:
    def __init__(self, folder):
        self.folder = folder
        self.src = folder / "build" / "src"
        self.programs = folder / "programs"
        self.pool = folder / "pool"
        self.calls = folder / "apt-calls"
        for part in ("scripts", "ports", "programs", "pool"):
            (folder / part).mkdir(parents=True)
        for name in ("common.py", "fetch_sources.py"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts" / name)
        for name in ("sh", "cp"):
            (self.programs / name).symlink_to(shutil.which(name))
        self.apt()
        self.publish("1.0", "one")

    def apt(self, label="Debian", update_code=0):
        text = APT.format(calls=self.calls, pool=self.pool, label=label, update_code=update_code)
        (self.programs / "apt-get").write_text(text)
        (self.programs / "apt-get").chmod(0o755)

    def publish(self, version, text):
        """Put a package into the pool, and into the lock with the right checksum."""
        archive = self.pool / f"micropython_{version}.orig.tar.xz"
        tar_with(archive, {"mp/py/py.mk": text, "mp/lib/README": "", "elsewhere": ""})
        self.lock = {
            "name": "micropython",
            "version": version,
            "kind": "source",
            "groups": ["unix"],
            "file": archive.name,
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "subfolder": "mp",
            "into": "micropython",
            "stubs": ["lib/sub/README.md"],
        }
        self.write_lock()

    def write_lock(self):
        lock = {"suite": "some", "component": "main", "packages": [self.lock]}
        (self.folder / "ports" / "sources.lock").write_text(json.dumps(lock))

    def run(self, *arguments, **environment):
        script = self.folder / "scripts" / "fetch_sources.py"
        return subprocess.run(
            [sys.executable, script, *arguments],
            env={"PATH": str(self.programs), **environment},
            capture_output=True,
            text=True,
        )

    def fails(self, *words, **environment):
        """It ends with one line on stderr that holds the words, and leaves nothing unpacked."""
        result = self.run(**environment)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert result.stderr.startswith("error: ")
        for word in words:
            assert word in result.stderr
        assert not (self.src / "micropython").exists()
        left = [p.name for p in self.src.rglob("*") if p.is_file()] if self.src.exists() else []
        assert set(left) <= {self.lock["file"]}
        assert not list(self.folder.glob("build/.apt-*"))
        return result


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def test_a_fetched_tree_is_whole_and_holds_only_the_wanted_subfolder(project):
    result = project.run("--for", "unix")
    assert result.returncode == 0, result.stderr
    tree = project.src / "micropython"
    assert (tree / "py" / "py.mk").read_text() == "one"
    assert (tree / "lib" / "sub" / "README.md").exists()
    assert sorted(p.name for p in project.src.iterdir()) == ["downloads", "micropython"]


def test_the_machines_own_mirror_is_used(project):
    result = project.run()
    assert "mirror://here/debian " in result.stdout
    assert "Dir::State::lists=" in project.calls.read_text()


def test_wrong_checksum_keeps_nothing(project):
    expected = project.lock["sha256"] = "0" * 64
    project.write_lock()
    project.fails("wrong checksum", project.lock["file"], expected)
    assert not list((project.src / "downloads").iterdir())


def test_a_damaged_download_is_refused_and_fetched_again(project):
    (project.src / "downloads").mkdir(parents=True)
    (project.src / "downloads" / project.lock["file"]).write_text("half a fi")
    project.fails("wrong checksum")
    assert project.run().returncode == 0


def test_an_archive_without_the_wanted_folder_leaves_nothing(project):
    project.lock["subfolder"] = "absent"
    project.write_lock()
    project.fails("absent")


def test_a_file_that_is_no_archive_leaves_nothing(project):
    (project.pool / project.lock["file"]).write_text("not an archive")
    project.lock["sha256"] = hashlib.sha256(b"not an archive").hexdigest()
    project.write_lock()
    project.fails("cannot unpack", project.lock["file"])


def test_no_network_is_said_in_one_line(project):
    project.apt(update_code=100)
    project.fails("mirror://here/debian", "network")


def test_a_version_the_mirror_does_not_have_is_said_in_one_line(project):
    (project.pool / project.lock["file"]).rename(project.pool / "other")
    project.fails("micropython 1.0", "version gone")


def test_no_mirror_is_said_in_one_line(project):
    project.apt(label="SomeOtherSystem")
    project.fails("no Debian mirror", "MICROPYTHON_DIR")


def test_a_machine_without_apt_is_told_of_the_other_way(project):
    (project.programs / "apt-get").unlink()
    project.fails("no apt-get", "MICROPYTHON_DIR")


def test_the_second_run_needs_no_apt(project):
    assert project.run().returncode == 0
    (project.programs / "apt-get").unlink()
    project.calls.unlink()
    result = project.run()
    assert result.returncode == 0, result.stderr
    assert not project.calls.exists()
    assert "Fetching" not in result.stdout


def test_a_lost_tree_comes_back_from_the_kept_download(project):
    assert project.run().returncode == 0
    shutil.rmtree(project.src / "micropython")
    (project.programs / "apt-get").unlink()
    assert project.run().returncode == 0
    assert (project.src / "micropython" / "py" / "py.mk").exists()


def test_a_changed_lock_replaces_the_tree(project):
    assert project.run().returncode == 0
    project.publish("2.0", "two")
    assert project.run().returncode == 0
    assert (project.src / "micropython" / "py" / "py.mk").read_text() == "two"


def test_an_own_checkout_is_used_and_nothing_fetched(project, tmp_path):
    own = tmp_path / "own"
    for part in ("py/py.mk", "ports/unix/Makefile"):
        (own / part).parent.mkdir(parents=True, exist_ok=True)
        (own / part).touch()
    assert project.run(MICROPYTHON_DIR=str(own)).returncode == 0
    assert project.run("--print-dir", MICROPYTHON_DIR=str(own)).stdout == f"{own}\n"
    assert not project.calls.exists()


@pytest.mark.parametrize("missing", ["py/py.mk", "ports/unix/Makefile", "everything"])
def test_a_wrong_own_checkout_is_named_with_what_it_lacks(project, tmp_path, missing):
    own = tmp_path / "own"
    for part in {"py/py.mk", "ports/unix/Makefile"} - {missing}:
        (own / part).parent.mkdir(parents=True, exist_ok=True)
        (own / part).touch()
    if missing == "everything":
        own = tmp_path / "nowhere"
        missing = "py/py.mk"
    project.fails(f"MICROPYTHON_DIR={own}", missing, MICROPYTHON_DIR=str(own))


def test_an_unknown_group_is_answered_with_the_known_ones(project):
    result = project.run("--for", "toaster")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: no sources for 'toaster': ports/sources.lock knows unix"
    ]


def test_the_real_lock_pins_every_file():
    lock = json.loads((ROOT / "ports" / "sources.lock").read_text())
    for entry in lock["packages"]:
        assert len(entry["sha256"]) == 64 and int(entry["sha256"], 16)
        assert entry["version"] and entry["kind"] in ("source", "binary")
        assert not os.path.isabs(entry["into"]) and ".." not in entry["into"]
