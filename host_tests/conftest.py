"""Fixtures: the C core as a library, and the unix port of MicroPython with tinyprop in it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import core_api
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# Where this process was started with Ctrl-C ignored, as in the background of a shell, what the
# tests start and interrupt would ignore it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

set_hypothesis_home_dir(core_api.ROOT / "build" / "hypothesis")
settings.register_profile(
    "tinyprop",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tinyprop")


def need(found, what, remedy):
    """Without a tool its tests are skipped, on a build server they fail."""
    if not found:
        message = f"{what} is missing: {remedy}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def need_compiler(flavor):
    compiler = core_api.FLAVORS[flavor][0]
    need(shutil.which(compiler), compiler, f"apt-get install {compiler}")


@pytest.fixture(scope="session")
def core():
    """The core, built as TINYPROP_CORE_FLAVOR says: one of core_api.FLAVORS."""
    flavor = os.environ.get("TINYPROP_CORE_FLAVOR", "gcc")
    need_compiler(flavor)
    return core_api.load(flavor)


@pytest.fixture(scope="session")
def mpy():
    """Path of the unix port; TINYPROP_MICROPYTHON names another one."""
    default = core_api.ROOT / "build" / "bin" / "micropython"
    binary = Path(os.environ.get("TINYPROP_MICROPYTHON", default))
    need(binary.exists(), str(binary), "python3 scripts/build_unix.py")
    return binary


@pytest.fixture
def run_mpy(mpy):
    """Run a script on the unix port and return what it printed; it must end well."""

    def run(script, *arguments, options=(), timeout=60, env=None):
        command = [mpy, *options, script, *arguments]
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment
        )
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
