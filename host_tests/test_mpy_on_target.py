"""The scripts of on_target/ on the unix port, as built and with sanitizers."""

import json
import os
import subprocess

import core_api
import pytest
from conftest import need

SCRIPTS = sorted((core_api.HERE / "on_target").glob("*.py"))
# A small heap: memory_runs_out.py fills it for each allocation, and boards have no more.
OPTIONS = ["-X", "heapsize=320k"]


@pytest.fixture(params=["plain", "asan"])
def binary(request, mpy):
    if request.param == "plain":
        return mpy
    sanitized = core_api.ROOT / "build" / "bin" / "micropython-asan"
    need(sanitized.exists(), str(sanitized), "make build-asan")
    return sanitized


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_ends_well(binary, script, tmp_path):
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [binary, *OPTIONS, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "OK"
    # What a script wrote, it removed.
    assert list(tmp_path.iterdir()) == []


def test_scripts_need_nothing_from_the_host():
    known = {"array", "gc", "math", "micropython", "os", "struct", "time", "vfs"}
    known |= {"tinyprop", "_tinyprop"}
    for script in SCRIPTS:
        for line in script.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1] in known, f"{script.name}: {line}"


def test_package_for_mip_lists_every_file():
    package = core_api.ROOT / "py" / "tinyprop"
    listed = json.loads((package / "package.json").read_text())
    files = sorted(path.name for path in package.glob("*.py"))
    assert listed["urls"] == [[f"tinyprop/{name}", name] for name in files]
    assert f'__version__ = "{listed["version"]}"' in (package / "__init__.py").read_text()
