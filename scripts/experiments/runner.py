"""Runs jobs (train_job.py) on MicroPython: on the unix port, as many at once as there are cores,
on emulated boards, or on a board behind a serial port. What a finished job printed is kept in
build/experiments/jobs under a key of all it depends on, so an interrupted run goes on."""

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
from common import BUILD, ROOT, fail, say  # noqa: E402

SCRIPT = ROOT / "scripts" / "experiments" / "train_job.py"
JOBS = BUILD / "experiments" / "jobs"
MPREMOTE = BUILD / "venv" / "bin" / "mpremote"
# A first guess of the time a sample takes, until the jobs themselves tell.
MACS_PER_SECOND, SECONDS_PER_SAMPLE = 2.5e9, 4e-5


class JobError(Exception):
    """A job did not end well; the text is one line."""


@dataclass
class Job:
    """settings: what train_job.py documents; files: name beside it -> (path, digest). start: a
    job whose net this one goes on with. scored: for each test sample (group, anomaly, machine)."""

    label: str
    settings: dict
    files: dict
    start: "Job" = None
    scored: list = field(default_factory=list)
    cost: float = 1.0
    kept: dict = None  # name -> content of the files that settings["keep"] asks for
    points: list = None
    result: dict = None
    key: str = None

    def set_key(self, machine):
        """machine: digest of what runs the job."""
        script = digest(SCRIPT.read_bytes())
        parts = [self.settings, {n: d for n, (_, d) in self.files.items()}, self.scored]
        parts += [machine, script, self.start.key if self.start else None]
        self.key = digest(json.dumps(parts, sort_keys=True).encode())[:32]

    @property
    def record(self):
        return JOBS / f"{self.key}.json"

    @property
    def model(self):
        return JOBS / f"{self.key}.tp"

    def recall(self):
        """Take the kept outcome, if there is one; True if so."""
        try:
            kept = json.loads(self.record.read_text())
            self.points, self.result = kept["points"], kept["result"]
        except (OSError, ValueError, KeyError):
            return False
        return self.model.is_file() or not self.settings["keep"]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def settings(**more):
    """The settings of a job, all that train_job.py reads."""
    return {
        **{"model": None, "loss": "softmax_cross_entropy", "optimizer": ["SGD", {}]},
        **{"policy": ["Full", {}], "rates": [], "seed": 1, "batch_size": 1, "curve": False},
        **{
            "scores": False,
            "before": False,
            "start": "",
            "trainable": None,
            "keep": [],
            "describe": False,
            "tests": True,
        },
        # Not for the board: how much memory a job wants.
        "block_bytes": 0,
        **more,
    }


def hex_rates(rates):
    return [np.float32(rate).tobytes().hex() for rate in rates]


def auc(scores, scored):
    """Area under the ROC curve in percent: the mean score of a group (a file) tells normal from
    anomalous; the mean over the machines."""
    groups, at = np.unique([g for g, _, _ in scored], return_inverse=True)
    if len(scores) != len(scored):
        raise JobError(f"{len(scores)} scores for {len(scored)} samples")
    mean = np.bincount(at, scores) / np.bincount(at)
    first = np.searchsorted(np.sort(at), np.arange(len(groups)))
    order = np.argsort(at, kind="stable")[first]
    anomaly = np.array([a for _, a, _ in scored])[order]
    machine = np.array([m for _, _, m in scored])[order]
    areas = []
    for one in np.unique(machine):
        good, bad = (
            mean[(machine == one) & (anomaly == 0)],
            mean[(machine == one) & (anomaly == 1)],
        )
        if len(good) and len(bad):
            higher = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
            areas.append(100 * higher)
    if not areas:
        raise JobError("the test part has no normal or no anomalous files")
    return float(np.mean(areas))


# --- Where jobs run ---


class Unix:
    """The unix port, a process for each job."""

    name = "unix"

    def __init__(self, micropython):
        self.micropython = micropython
        self.workers = os.cpu_count() or 1

    def machine(self):
        return digest(Path(self.micropython).read_bytes())

    def command(self, folder, job, place):
        # Twice the model (a checkpoint is read into a second block), and samples.
        heap = 8 + (3 * job.settings["block_bytes"] >> 20)
        return [self.micropython, "-X", f"heapsize={heap}M", SCRIPT], folder

    @contextlib.contextmanager
    def place(self):
        yield None


class Board:
    """A board on a serial port, which reads the files over it; one job at a time."""

    def __init__(self, port):
        self.name = self.port = port
        self.workers = 1

    def machine(self):
        code = "import sys, tinyprop; print(sys.implementation, tinyprop.__version__)"
        command = [MPREMOTE, "connect", self.port, "exec", code]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            lines = (run.stdout + run.stderr).strip().splitlines() or ["no answer"]
            fail(f"{self.port}: {lines[-1]}")
        return run.stdout.strip()

    def command(self, folder, job, place):
        return [MPREMOTE, "connect", place, "mount", "-l", folder, "run", SCRIPT], None

    @contextlib.contextmanager
    def place(self):
        yield self.port


class Emulated(Board):
    """An emulated board; each worker has one of its own."""

    def __init__(self, board, firmware, start, workers=None):
        self.name, self.firmware, self.start = board, Path(firmware), start
        self.workers = workers or os.cpu_count() or 1

    def machine(self):
        return digest(self.firmware.read_bytes())

    @contextlib.contextmanager
    def place(self):
        with self.start() as port:
            yield port


def where(name):
    """Unix for "unix", an emulated board by its name, else the serial port of a board."""
    import build_unix

    if name == "unix":
        return Unix(build_unix.build_unix())
    import build_qemu
    import build_rp2
    import sim_qemu
    import sim_rp2

    if name in sim_qemu.MACHINES:
        firmware = build_qemu.build_qemu(name)
        return Emulated(name, firmware, lambda: sim_qemu.running(name, firmware))
    if name == "RPI_PICO":
        firmware = build_rp2.build_rp2(name) / "firmware.bin"

        @contextlib.contextmanager
        def start():
            with tempfile.TemporaryDirectory() as folder:
                with sim_rp2.running(firmware, Path(folder) / "flash.bin") as port:
                    yield port

        return Emulated(name, firmware, start)
    if not Path(name).exists():
        boards = ", ".join(("unix", "RPI_PICO", *sim_qemu.MACHINES))
        fail(f"no serial port {name} (others than ports: {boards})")
    return Board(name)


# --- One job ---

_running = set()
_lock = threading.Lock()


def _kill_all():
    with _lock:
        for process in _running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _lines(command, cwd):
    """What a process prints on stdout, read until its end; raises JobError."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to us alone
        )
        with _lock:
            _running.add(process)
        try:
            out = process.communicate()[0]
        finally:
            with _lock:
                _running.discard(process)
        errors.seek(0)
        lines = out.splitlines()
        if process.returncode != 0:
            reason = (errors.read().strip() or out.strip() or "no message").splitlines()[-1]
            raise JobError(f"{reason} (exit code {process.returncode})")
    return lines


def _outcome(lines, job):
    """(points, result) from what a job printed."""
    points, scores, result = [], [], None
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            continue  # mpremote's own words
        if "error" in said:
            raise JobError(said["error"])
        if "scores" in said:
            scores += said["scores"]
        if "epoch" in said:
            point = said["epoch"]
            if scores:
                point["accuracy"] = auc(np.array(scores), job.scored)
                scores = []
            elif "loss" in point:
                point.setdefault("accuracy", 100 - 100 * point["loss"])  # no classes: the fit
            points.append(point)
        result = said.get("result", result)
    if result is None:
        raise JobError(f"it ended early: {lines[-1] if lines else 'no output'}")
    if points and "accuracy" in points[-1]:
        result["accuracy"] = points[-1]["accuracy"]
    if points and points[0]["epoch"] == 0 and "accuracy" in points[0]:
        result["before"] = points[0]["accuracy"]
    return points, result


def run_job(job, machine, place=None):
    """Run one job now and keep its outcome. Raises JobError."""
    with tempfile.TemporaryDirectory(prefix="tinyprop-job-") as folder:
        folder = Path(folder)
        files = dict(job.files)
        if job.start:
            files["start.tp"] = (job.start.model, "")
        for name, (path, _) in files.items():
            (folder / name).symlink_to(Path(path).resolve())
        (folder / "job.json").write_text(json.dumps(job.settings))
        started = time.monotonic()
        job.points, job.result = _outcome(_lines(*machine.command(folder, job, place)), job)
        job.result["seconds"] = round(time.monotonic() - started, 2)
        job.kept = {name: (folder / name).read_bytes() for name in job.settings["keep"]}
        if job.key is None:
            return
        JOBS.mkdir(parents=True, exist_ok=True)
        if job.settings["keep"]:
            _keep(job.model, job.kept["model.tp"])
        outcome = {"label": job.label, "points": job.points, "result": job.result}
        _keep(job.record, json.dumps(outcome).encode())


def _keep(path, data):
    unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    unfinished.write_bytes(data)
    unfinished.replace(path)


# --- Many jobs ---


class Progress:
    """How far a run is, and when it may be over; a bar on a terminal, lines elsewhere."""

    def __init__(self, jobs, workers):
        self.total = len(jobs)
        self.cost = sum(job.cost for job in jobs)
        self.workers = min(workers, len(jobs)) or 1
        self.done, self.done_cost, self.spent = 0, 0.0, 0.0
        self.started = time.monotonic()
        self.bar = None

    def __enter__(self):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if Console().is_terminal:
            columns = (
                BarColumn(),
                TextColumn("{task.completed}/{task.total}  {task.description}"),
            )
            self.bar = Progress(*columns)
            self.bar.start()
            self.task = self.bar.add_task(self.left(), total=self.total)
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.stop()

    def left(self):
        # What the jobs so far took beside what was guessed for them corrects the guess.
        ratio = self.spent / self.done_cost if self.done_cost else 1.0
        seconds = (self.cost - self.done_cost) * ratio / self.workers
        return "done" if self.done == self.total else f"about {duration(seconds)} left"

    def finished(self, job):
        self.done += 1
        self.done_cost += job.cost
        self.spent += job.result["seconds"]
        accuracy = job.result.get("accuracy")
        outcome = "" if accuracy is None else f" {accuracy:.2f} %,"
        text = f"{job.label}:{outcome} {duration(job.result['seconds'])}"
        if self.bar:
            self.bar.console.print(text, highlight=False)
            self.bar.update(self.task, completed=self.done, description=self.left())
        else:
            say(f"  {text}  ({self.done} of {self.total}, {self.left()})")


def duration(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def run_jobs(jobs, machine, fresh=False):
    """Bring every job to its result, those with the same key once. Ends the program where one
    fails; what is done by then is kept."""
    identity = machine.machine()
    unique = {}
    for job in jobs:
        job.set_key(identity)
        unique.setdefault(job.key, job)
    left = [job for job in unique.values() if fresh or not job.recall()]
    if len(left) < len(unique):
        say(f"{len(unique) - len(left)} of {len(unique)} trainings are done already")
    if left:
        say(f"{len(left)} trainings on {machine.name} ...")
        with Progress(left, machine.workers) as progress:
            _run_all(left, machine, progress)
    for job in jobs:
        job.points, job.result = unique[job.key].points, unique[job.key].result


def _run_all(jobs, machine, progress):
    # The long ones first, so that no core idles at the end.
    waiting = queue.SimpleQueue()
    for job in sorted(jobs, key=lambda job: -job.cost):
        waiting.put(job)
    stop = threading.Event()
    lock = threading.Lock()

    def work():
        with machine.place() as place:
            while not stop.is_set():
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    run_job(job, machine, place)
                except JobError as e:
                    if stop.is_set():
                        return
                    raise JobError(f"{job.label}: {e}") from None
                with lock:
                    progress.finished(job)

    workers = min(machine.workers, len(jobs))
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException as e:
            stop.set()
            _kill_all()
            if isinstance(e, JobError):
                fail(e)
            raise
