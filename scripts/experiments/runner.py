"""Runs training jobs (train_job.py) on the unix port, as many at once as there are cores."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import BUILD, ROOT, fail  # noqa: E402

MICROPYTHON = BUILD / "bin" / "micropython"
SCRIPT = ROOT / "scripts" / "experiments" / "train_job.py"


def run_job(job):
    """(points after each epoch, result) of one job; ends the program when it fails."""
    # Not as an argument: MicroPython ends at once when one is longer than 255 bytes.
    command = [MICROPYTHON, "-X", "heapsize=8M", SCRIPT]
    run = subprocess.run(command, input=json.dumps(job) + "\n", capture_output=True, text=True)
    if run.returncode != 0:
        reason = (run.stderr.strip() or run.stdout.strip() or "no message").splitlines()[-1]
        fail(f"training on {Path(job['train']).name} ({job['policy'][0]}): {reason}")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return [line["epoch"] for line in lines if "epoch" in line], lines[-1]["result"]


def run_jobs(jobs, done=None):
    """Results in the order of jobs. done(how many) is called after each."""
    results = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for result in pool.map(run_job, jobs):
            results.append(result)
            if done:
                done(len(results))
    return results
