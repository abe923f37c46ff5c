"""What the scripts share: paths, progress lines, logged commands, locks. Standard library only."""

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"


def say(text):
    """One progress line, visible at once also through a pipe."""
    print(text, flush=True)


def short(path):
    """The path as a user at the top of the project would write it."""
    path = Path(path)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def fail(text):
    """End the program with one line on stderr and exit code 1."""
    raise SystemExit(f"error: {str(text).splitlines()[0]}")


def run_main(main):
    """Run a script's main function; Ctrl-C and system errors end it in one line each."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    except OSError as e:
        fail(e)


_logs_begun = set()


def run_logged(command, log_name, tail=0, cwd=None, env=None):
    """Run a command with its output in build/log/<log_name>.log, begun afresh by every script.

    `env` is added to the environment. On failure the last `tail` lines of the log go to stderr.
    Returns (exit code, log file).
    """
    log = BUILD / "log" / f"{log_name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # What an outer `make` hands down would steer an inner one.
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    environment = {k: v for k, v in os.environ.items() if k not in outer}
    with log.open("a" if log_name in _logs_begun else "w") as out:
        _logs_begun.add(log_name)
        out.write("$ " + " ".join(map(str, command)) + "\n")
        out.flush()
        environment.update(env or {})
        code = subprocess.call(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env=environment
        )
    if code != 0 and tail:
        lines = log.read_text(errors="replace").splitlines()[-tail:]
        print("\n".join(lines), file=sys.stderr, flush=True)
    return code, log


@contextlib.contextmanager
def locked(name):
    """Hold build/.<name>.lock, so that two runs at once take turns."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / f".{name}.lock", "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another run that is using build/ ({name}) ...")
            fcntl.flock(f, fcntl.LOCK_EX)
        yield
