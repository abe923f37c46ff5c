"""The experiments hold what README and docs say of the digits, and fail clearly."""

import json
import statistics
import struct
import subprocess
import sys

import core_api
import numpy as np
import pytest

SCRIPTS = core_api.ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "experiments")]

import demo  # noqa: E402
import runner  # noqa: E402


@pytest.fixture(scope="module")
def outcome(mpy):
    """{policy: results of five seeds} of what `make demo` trains."""
    runner.MICROPYTHON = mpy
    results = [
        result for _, result in runner.run_jobs([{**j, "curve": False} for j in demo.jobs()])
    ]
    n = len(demo.SEEDS)
    return {name: results[i * n : (i + 1) * n] for i, name in enumerate(demo.POLICIES)}


def mean(results, key):
    return statistics.fmean(r[key] for r in results)


def test_tinypropv2_learns_digits_within_half_a_point_at_a_twentieth_of_the_backward_work(outcome):
    full, sparse = outcome["Full"], outcome["TinyPropV2"]
    assert mean(full, "accuracy") > 96
    assert mean(sparse, "accuracy") >= mean(full, "accuracy") - 0.5
    assert mean(sparse, "effort_backward") <= 0.05


def test_backoff_learns_digits_within_half_a_point_at_a_tenth_of_all_work(outcome):
    full, sparse = outcome["Full"], outcome["TinyPropV2+backoff"]
    assert mean(sparse, "accuracy") >= mean(full, "accuracy") - 0.5
    assert mean(sparse, "effort_total") <= 0.10


def test_a_model_needs_at_most_five_percent_more_than_its_parts(outcome):
    parameters, activations, deltas = 64 * 32 + 32 + 32 * 10 + 10, 64 + 32 + 10, 32 + 10
    parts = 4 * (parameters + activations + deltas)
    assert parts <= outcome["TinyPropV2"][0]["block_bytes"] <= 1.05 * parts


def test_one_seed_gives_one_result(mpy):
    runner.MICROPYTHON = mpy
    job = {**next(demo.jobs()), "epochs": 2, "policy": ("TinyPropV2", {"backoff": 2})}
    assert runner.run_job(job) == runner.run_job(job)


def test_shipped_digits_are_the_1797_of_the_source():
    counts = np.zeros(10, int)
    for part, samples in (("train", 1297), ("test", 500)):
        data = (core_api.ROOT / "examples" / "digits" / f"{part}.tpd").read_bytes()
        (head,) = struct.unpack_from("<I", data, 8)
        records = np.frombuffer(data[head:], np.uint8).reshape(samples, 65)
        assert records[:, :64].max() == 16
        counts += np.bincount(records[:, 64], minlength=10)
    # The class counts that the publishers of the set give.
    assert list(counts) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def table(tmp_path, *arguments):
    command = [sys.executable, SCRIPTS / "experiments" / "table.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)


def test_table_trains_on_npz_files_of_the_user(mpy, tmp_path):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 9, 300)
    x = np.zeros((300, 64), np.int8)
    x[np.arange(300), y] = 100
    scale = np.float32(0.1)
    np.savez(tmp_path / "cwru_fault9.npz", x_train=x, y_train=y, x_test=x, y_test=y, x_scale=scale)
    target = tmp_path / "table.md"
    options = ("--data", tmp_path, "--sets", "bearing", "mnist", "--seeds", "1")
    written = tmp_path / "records.json"
    run = table(tmp_path, *options, "--markdown", target, "--records", written)
    assert run.returncode == 0, run.stderr
    assert "skipped mnist: no mnist.npz" in run.stdout
    assert "Bearing faults" in target.read_text()
    records = json.loads(written.read_text())
    accuracy = [r["value"] for r in records if r["metric"] == "accuracy"]
    assert len(accuracy) == 3 and min(accuracy) == 100


def test_a_damaged_npz_file_is_named(mpy, tmp_path):
    (tmp_path / "cwru_fault9.npz").write_bytes(b"nothing")
    run = table(tmp_path, "--data", tmp_path, "--sets", "bearing", "--seeds", "1")
    assert run.returncode == 1
    assert "cwru_fault9.npz" in run.stderr and "Traceback" not in run.stderr
