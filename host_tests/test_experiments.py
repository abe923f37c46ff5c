"""The experiments hold what README and docs say of the digits, run the same everywhere, go on
after an interruption, and fail clearly."""

import json
import os
import signal
import statistics
import struct
import subprocess
import sys

import core_api
import numpy as np
import pytest
from conftest import need

ROOT = core_api.ROOT
PATH = os.environ["PATH"]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "experiments")]

import build_qemu  # noqa: E402
import demo  # noqa: E402
import experiment  # noqa: E402
import parts  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import runner  # noqa: E402
import setup_env  # noqa: E402
import sim_qemu  # noqa: E402


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """What is kept of these runs goes with the test."""
    monkeypatch.setattr(runner, "JOBS", tmp_path / "jobs")
    monkeypatch.setattr(parts, "FOLDER", tmp_path / "parts")


@pytest.fixture(scope="module")
def unix(mpy):
    return runner.Unix(mpy)


# --- What the demo promises ---


@pytest.fixture(scope="module")
def digits(unix, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "JOBS", tmp_path_factory.mktemp("jobs"))
        patch.setattr(parts, "FOLDER", tmp_path_factory.mktemp("parts"))
        return demo.train(unix)


def test_tinypropv2_learns_digits_within_half_a_point_at_a_twentieth_of_the_backward_work(digits):
    full, sparse = digits.row("Full"), digits.row("TinyPropV2")
    assert full["accuracy"] > 96
    assert sparse["accuracy"] >= full["accuracy"] - 0.5
    assert sparse["effort_backward"] <= 0.05


def test_backoff_learns_digits_within_half_a_point_at_a_tenth_of_all_work(digits):
    full, sparse = digits.row("Full"), digits.row("TinyPropV2+backoff")
    assert sparse["accuracy"] >= full["accuracy"] - 0.5
    assert sparse["effort_total"] <= 0.10


def test_a_model_needs_at_most_five_percent_more_than_its_parts(digits):
    parameters, activations, deltas = 64 * 32 + 32 + 32 * 10 + 10, 64 + 32 + 10, 32 + 10
    needed = 4 * (parameters + activations + deltas)
    assert needed <= digits.row("TinyPropV2")["block_bytes"] <= 1.05 * needed


def test_shipped_digits_are_the_1797_of_the_source():
    counts = np.zeros(10, int)
    for part, samples in (("train", 1297), ("test", 500)):
        data = (ROOT / "examples" / "digits" / f"{part}.tpd").read_bytes()
        (head,) = struct.unpack_from("<I", data, 8)
        records = np.frombuffer(data[head:], np.uint8).reshape(samples, 65)
        assert records[:, :64].max() == 16
        counts += np.bincount(records[:, 64], minlength=10)
    # The class counts that the publishers of the set give.
    assert list(counts) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_digits_reach_the_net_as_they_are_shipped(digits):
    job = digits.policies["Full"][0][2]
    for part in ("train", "test"):
        data = (ROOT / "examples" / "digits" / f"{part}.tpd").read_bytes()
        assert job.files[f"{part}.tpd"][1] == runner.digest(data)


# --- A small data set of our own ---

TOML = """
seeds = {seeds}
[data]
npz = "set.npz"
standardise = "none"
[model]
layers = [
  {{ layer = "Dense", units = 8, activation = "relu" }},
  {{ layer = "Dense", units = "classes" }},
]
[training]
epochs = {epochs}
lr = 0.05
{more}
"""


def write_set(folder, n=60, classes=3, wrong_test=False, **more):
    """Samples that show their class, and nothing else."""
    rng = np.random.default_rng(1)
    arrays = {}
    for part in ("train", "test"):
        y = np.arange(n) % classes
        x = rng.integers(-10, 10, (n, 6))
        x[np.arange(n), y] = 100
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x.astype(np.int8), y
    if wrong_test:
        arrays["y_test"] = (arrays["y_test"] + 1) % classes
    arrays["x_scale"] = np.float32(0.01)
    np.savez(folder / "set.npz", **arrays, **more)


@pytest.fixture
def small(tmp_path):
    """Writes an experiment on the small set; gives its file."""

    def write(more="", seeds=2, epochs=5, **data):
        write_set(tmp_path, **data)
        path = tmp_path / "small.toml"
        path.write_text(TOML.format(seeds=seeds, epochs=epochs, more=more))
        return path

    return write


def outcomes(path, unix, machine=None, **limits):
    collection = experiment.Collection([str(path)])
    planned = run.prepare(collection, unix, path.parent, **limits)
    return run.measure(planned, machine or unix, unix)


def test_every_policy_and_seed_gets_its_place_in_table_and_records(small, unix, tmp_path):
    path = small()
    found = outcomes(path, unix)
    assert set(found[0].policies) == set(experiment.POLICIES)
    assert all(len(jobs) == 2 for jobs in found[0].policies.values())
    collection = experiment.Collection([str(path)])
    document = tmp_path / "table.md"
    report.write(found, collection, "a command", tmp_path / "out", document)
    records = json.loads((tmp_path / "out" / "results.json").read_text())
    names = "name board model policy dtype metric value unit command".split()
    assert all(list(r) == names and r["model"] == "mlp-6-8-3" for r in records)
    accuracy = {r["policy"]: r["value"] for r in records if r["metric"] == "accuracy"}
    assert accuracy["Full"] == accuracy["TinyPropV2"] == 100
    for policy in experiment.POLICIES:
        assert f"| {policy} |" in document.read_text()
    for picture in ("small.png", "small-layers.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_one_seed_gives_one_result(small, unix):
    def once():
        # Without a key: trained now, nothing kept.
        planned = run.prepare(experiment.Collection([str(path)]), unix, path.parent)
        jobs = [job for *_, job in planned[0].jobs]
        for job in jobs:
            runner.run_job(job, unix)
            del job.result["seconds"]
        return [(job.points, job.result) for job in jobs]

    path = small()
    assert once() == once()


def test_what_is_finished_is_not_trained_again_until_something_it_depends_on_changes(
    small, unix, monkeypatch
):
    def trainings(path):
        trained = []
        real = runner.run_job
        with monkeypatch.context() as patch:
            patch.setattr(runner, "run_job", lambda j, *a: (trained.append(j.label), real(j, *a)))
            outcomes(path, unix)
        # Those that only tell the size of the model are not kept.
        return len([label for label in trained if "seed" in label])

    path = small("[policies]\nFull = {}\nTinyPropV2 = {}", seeds=2)
    assert trainings(path) == 4
    assert trainings(path) == 0
    text = path.read_text()
    path.write_text(text.replace("lr = 0.05", "lr = 0.06"))
    assert trainings(path) == 4
    path.write_text(text.replace("TinyPropV2 = {}", "TinyPropV2 = { threshold = 0.1 }"))
    assert trainings(path) == 2
    path.write_text(text)
    write_set(path.parent, n=63)
    assert trainings(path) == 4


def command(*arguments):
    return [sys.executable, SCRIPTS / "experiments" / "run.py", *map(str, arguments)]


def test_an_interrupted_run_goes_on_where_it_was(mpy, small, tmp_path):
    path = small(seeds=12, epochs=200)
    options = (path, "--data", tmp_path, "--kept", tmp_path / "kept", "--policies", "Full")
    options += ("--out", tmp_path / "out")
    first = subprocess.Popen(
        command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in first.stdout:
        if "(1 of 12" in line:
            break
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=20)
    assert (first.returncode, err) == (1, "error: interrupted\n")
    second = subprocess.run(command(*options), capture_output=True, text=True, timeout=60)
    assert second.returncode == 0, second.stderr
    done = int(second.stdout.split(" of 12 trainings are done already")[0].split()[-1])
    assert 1 <= done < 12


def test_validation_does_not_look_at_the_test_part(small, unix):
    path = small("[policies]\nFull = {}", wrong_test=True)
    assert outcomes(path, unix)[0].row("Full")["accuracy"] == 0
    assert outcomes(path, unix, validation=7)[0].row("Full")["accuracy"] == 100


def test_a_validation_by_subject_keeps_subjects_whole(small, unix, tmp_path):
    who = np.arange(60) // 3 % 10
    path = small('[split]\nvalidate_by = "who"', who_train=who, who_test=who)
    e = experiment.Experiment(path)
    arrays = parts.arrays_of(e, tmp_path)
    train, held_out = parts._held_out(arrays, e.split)
    assert set(who[train]) | set(who[held_out]) == set(range(10))
    assert not set(who[train]) & set(who[held_out]) and len(set(who[held_out])) == 2
    assert set(who[parts._held_out(arrays, e.split, 8)[1]]) != set(who[held_out])


FINETUNE = """
[split]
by = "who"
new = "each"
[finetune]
epochs = 5
lr = 0.05
[policies]
Full = {}
TinyPropV2 = {}
"""


def test_fine_tuning_teaches_a_net_what_only_the_new_one_does(unix, tmp_path):
    """Three people show class c at place c; the fourth shows it at place c + 1."""
    rng = np.random.default_rng(2)
    arrays = {"x_scale": np.float32(0.01)}
    for part, n in (("train", 240), ("test", 120)):
        who, y = np.arange(n) % 4, np.arange(n) // 4 % 3
        x = rng.integers(-10, 10, (n, 6))
        x[np.arange(n), (y + (who == 3)) % 3] = 100
        arrays.update({f"x_{part}": x.astype(np.int8), f"y_{part}": y, f"who_{part}": who})
    np.savez(tmp_path / "set.npz", **arrays)
    path = tmp_path / "small.toml"
    path.write_text(TOML.format(seeds=2, epochs=10, more=FINETUNE))
    (found,) = outcomes(path, unix)
    by_who = {who: job.result for seed, who, job in found.policies["Full"] if seed == 1}
    assert by_who["who 0"]["before"] >= 95 and by_who["who 3"]["before"] <= 5
    assert by_who["who 3"]["accuracy"] >= 95
    rows = found.rows()
    assert list(rows) == [report.NONE, "Full", "TinyPropV2"]
    assert rows[report.NONE]["accuracy"] <= 80 and rows["TinyPropV2"]["accuracy"] >= 95
    # One net before for each seed and new person, whatever the policy after.
    assert len(list(runner.JOBS.glob("*.tp"))) == 8


LAST = """
[split]
by = "who"
new = [0]
[finetune]
epochs = 3
lr = 0.05
[policies]
Full = {}
"all named" = { policy = "Full", trainable = [true, true] }
last = { policy = "Full", trainable = [false, true] }
biases = { policy = "TinyPropV2", trainable = ["bias", "bias"] }
some = { policy = "Full", trainable = [2, true] }
"""
SAME = """
import tinyprop as tp
a, b = tp.load({!r}), tp.load({!r})
parts = [(i, f) for i in (1, 2) for f in (tp.Sequential.weights, tp.Sequential.bias)]
print([f(a, i).tolist() == f(b, i).tolist() for i, f in parts])
print([x == y for x, y in zip(a.weights(1).tolist(), b.weights(1).tolist())])
"""


def test_fine_tuning_moves_what_is_trainable_and_nothing_else(unix, run_mpy, tmp_path):
    path = tmp_path / "small.toml"
    write_set(tmp_path, who_train=np.arange(60) // 3 % 2, who_test=np.arange(60) // 3 % 2)
    path.write_text(TOML.format(seeds=1, epochs=2, more=LAST))
    planned = run.prepare(experiment.Collection([str(path)]), unix, tmp_path)
    for *_, job in planned[0].jobs:
        job.settings["keep"] = ["model.tp"]
    run.measure(planned, unix, unix)
    jobs = {policy: job for policy, *_, job in planned[0].jobs}

    def same(policy):
        script = tmp_path / "same.py"
        job = jobs[policy]
        script.write_text(SAME.format(str(job.start.model), str(job.model)))
        return [json.loads(line.lower()) for line in run_mpy(script).splitlines()]

    assert same("Full")[0] == same("all named")[0] == [False] * 4
    assert same("last")[0] == [True, True, False, False]
    assert same("biases")[0] == [True, False, True, False]
    assert same("some")[1] == [False] * 2 + [True] * 6
    # Efforts are shares of training all of it, whatever trains.
    results = {policy: job.result for policy, job in jobs.items()}
    for policy in ("Full", "all named"):
        assert results[policy]["policy_effort_backward"] == 1
    # 6-8-3: 24 products for the last weights, 24 for d before them, 48 for the weights before.
    assert results["last"]["policy_effort_backward"] == pytest.approx(24 / 96)
    assert results["last"]["policy_effort_total"] == pytest.approx((72 + 24) / (72 + 96))
    assert results["last"]["block_bytes"] < results["Full"]["block_bytes"]


def test_every_experiment_of_the_project_is_sound():
    for path in experiment.SETS.glob("*.toml"):
        collection = experiment.Collection([path.stem])
        assert collection.experiments
        names = {e.name for e in collection.experiments}
        mean = collection.mean or []
        for one in mean.values() if isinstance(mean, dict) else [mean]:
            assert set(one) <= names


# --- Bad input ---

BAD = {
    "[data]\nnpz = 3": "[data]: npz is 3, expected: str",
    "[trainin]": "unknown key 'trainin'",
    "[split]\ntest = 2.0": "test is 2.0",
    "[split]\nby = 'who'": "[finetune] and by in [split] go together",
    "[policies]\nFull = 1": "policy 'Full' is 1",
    "[policies]\nFulll = {}": "tinyprop has no Fulll",
    "[policies]\nTopK = { ratio = 0.1, k = 3 }": "TopK takes either k or ratio",
    "[policies]\nTinyPropV2 = { treshold = 1 }": "treshold",
    "[policies]\nFull = { trainable = [true, true] }": "'Full' is for a fine-tuning",
    FINETUNE.replace("Full = {}", "Full = { trainable = [true, 'x'] }"): "'Full' has 'x'",
    FINETUNE.replace("Full = {}", "Full = { trainable = true }"): "is True, expected: list",
    "[optimizer]\nkind = 'RMSprop'": "tinyprop has no RMSprop",
    "[optimizer]\nlr = 1.0": "lr belongs into [training]",
    "[[[": "small.toml: ",
}


@pytest.mark.parametrize("more", BAD, ids=range(len(BAD)))
def test_a_wrong_experiment_is_refused_in_one_line(small, unix, more, capsys):
    path = small()
    text = path.read_text()
    if more.startswith("[data]"):
        text = text.replace('[data]\nnpz = "set.npz"', more)
    else:
        text += more + "\n"
    path.write_text(text)
    with pytest.raises(SystemExit) as refused:
        outcomes(path, unix)
    assert str(refused.value).startswith("error: small")
    assert BAD[more] in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "layer, said",
    [
        ('{ layer = "Conv9D" }', "layer 1: tinyprop has no Conv9D"),
        ('{ layer = "Dataset" }', "layer 1: tinyprop has no Dataset"),
        ('{ layer = "Dense" }', "layer 1 (Dense): "),
        ('{ layer = "Dense", units = 8, activation = "rulu" }', "'rulu' is not known"),
        ("{ units = 8 }", "layer 1 of the model is not a table"),
    ],
)
def test_a_wrong_layer_is_named_before_anything_trains(small, unix, layer, said):
    path = small()
    path.write_text(path.read_text().replace('{ layer = "Dense", units = 8', layer + ", {", 1))
    text = path.read_text().replace(', {, activation = "relu" }', "")
    path.write_text(text)
    with pytest.raises(SystemExit, match="small") as refused:
        outcomes(path, unix)
    assert said in str(refused.value)
    assert not runner.JOBS.exists()


def test_samples_of_another_shape_than_the_model_takes_are_refused(small, unix):
    path = small()
    path.write_text(path.read_text().replace("standardise", "shape = [2, 3]\nstandardise"))
    with pytest.raises(SystemExit, match=r"Flatten\(\)"):
        outcomes(path, unix)
    path.write_text(path.read_text().replace("[2, 3]", "[2, 4]"))
    with pytest.raises(SystemExit, match=r"small: .*reshape"):
        outcomes(path, unix)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nothing-like-it"], "error: no experiment 'nothing-like-it'; there is"),
        (["mnist-mlp"], "error: mnist-mlp: no mnist.npz and no folder mnist (no folder given"),
        (["mnist-mlp", "--data", "no/such"], "error: no folder no/such"),
        (["digits-mlp", "--policies", "Half"], "error: digits-mlp has no policy 'Half'"),
        (["digits-mlp", "--seeds", "0"], "error: --seeds is 0"),
        (["digits-mlp", "--on", "/dev/ttyNOT"], "error: no serial port /dev/ttyNOT"),
    ],
)
def test_the_command_line_fails_in_one_line(mpy, arguments, said):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env={"PATH": PATH})
    assert done.returncode == 1 and done.stderr.startswith(said), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_collection_goes_on_without_the_data_sets_that_are_not_there(mpy, tmp_path):
    (tmp_path / "both.toml").write_text('experiments = ["small", "gone"]\nseeds = 1\n')
    write_set(tmp_path)
    text = TOML.format(seeds=3, epochs=2, more="[policies]\nFull = {}")
    (tmp_path / "small.toml").write_text(text)
    (tmp_path / "gone.toml").write_text(text.replace("set.npz", "gone.npz"))
    options = ("--data", tmp_path, "--kept", tmp_path, "--out", tmp_path / "out")
    done = subprocess.run(
        command(tmp_path / "both.toml", *options), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "skipped gone: no gone.npz" in done.stdout and "1 trainings on unix" in done.stdout


def test_a_damaged_npz_file_is_named(small, unix):
    path = small()
    (path.parent / "set.npz").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="set.npz: not an .npz file"):
        outcomes(path, unix)
    np.savez(path.parent / "set.npz", y_train=np.zeros(3))
    with pytest.raises(SystemExit, match="set.npz has no array 'x_train'"):
        outcomes(path, unix)


# --- Networks that are more than a chain of Dense ---

BRANCHING = """
title = "Branching"
seeds = 1
[data]
folder = "examples/digits"
format = "tpd"
shape = [8, 8, 1]
[model]
layers = [
  { layer = "Conv2D", filters = 8, kernel_size = [3, 3], padding = "same", name = "a" },
  { layer = "Conv2D", filters = 8, kernel_size = 3, padding = "same" },
  { layer = "Add", other = "a", activation = "relu" },
  { layer = "Flatten" },
  { layer = "Dense", units = "classes" },
]
[training]
epochs = 2
lr = 0.01
[policies]
Full = {}
TinyPropV2 = {}
"""
NET = """
import tinyprop as tp

def layers(x=None, units=8, classes=10):
    x = x or tp.Input((8, 8))
    return [x, tp.Flatten(), tp.Dense(units, activation="relu"), tp.Dense(classes)]
"""


def test_layers_take_others_by_their_names(mpy, unix, tmp_path):
    code = "import tinyprop; tinyprop.Conv2D"
    there = subprocess.run([mpy, "-c", code], capture_output=True).returncode == 0
    need(there, "Conv2D", "build a version with convolutional layers")
    path = tmp_path / "small.toml"
    path.write_text(BRANCHING)
    (found,) = outcomes(path, unix)
    # Three layers with weights; what is kept of a map is a share of its values.
    names, kept = report.kept_rows(found.policies["TinyPropV2"])
    assert [name.split()[1] for name in names] == ["Conv2D", "Conv2D", "Dense"]
    assert all(0 < share <= 1 for row in kept for share in row)
    assert found.row("Full")["accuracy"] > 80
    path.write_text(BRANCHING.replace('other = "a"', 'other = "b"'))
    with pytest.raises(SystemExit, match=r"layer 3 \(Add\): no layer 'b' before it"):
        outcomes(path, unix)


def test_a_model_may_be_a_file_of_its_own(unix, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    path = tmp_path / "small.toml"
    model = f'[model]\nfile = "{tmp_path / "net.py"}"\narguments = {{ units = 12 }}\n'
    head, tail = BRANCHING.split("[model]")[0], BRANCHING.split("[training]")[1]
    path.write_text(head + model + "[training]" + tail)
    (found,) = outcomes(path, unix)
    assert found.model == "net" and found.row("Full")["accuracy"] > 80
    first = found.policies["Full"][0][2].key
    # What the file says is part of what a kept training depends on.
    (tmp_path / "net.py").write_text(NET + "\n")
    assert outcomes(path, unix)[0].policies["Full"][0][2].key != first
    (tmp_path / "net.py").write_text("def layers(x=None, units=8): return [1 // 0]")
    with pytest.raises(SystemExit, match="error: small: divi"):
        outcomes(path, unix)
    (tmp_path / "net.py").write_text(NET)
    text = path.read_text()
    path.write_text(text.replace("units = 12", "units = 12, classes = 9"))
    with pytest.raises(SystemExit, match="the model has 9 outputs, the data 10 classes"):
        outcomes(path, unix)
    path.write_text(text.replace("net.py", "gone.py"))
    with pytest.raises(SystemExit, match="no file .*gone.py for the model"):
        outcomes(path, unix)


# --- Boards ---


@pytest.fixture(scope="module")
def firmware():
    for package in setup_env.lacking("qemu"):
        need(False, package, setup_env.advice([package]))
    need(runner.MPREMOTE.exists(), "mpremote", "make setup")
    return build_qemu.build_qemu("MPS2_AN385")


def test_a_board_gives_what_the_unix_port_gives(small, unix, firmware):
    def start():
        return sim_qemu.running("MPS2_AN385", firmware)

    def only_job(machine, **limits):
        return outcomes(path, unix, machine, **limits)[0].policies["TinyPropV2"][0][2]

    def same(a, b):
        assert a.key != b.key and len(a.points) == len(b.points) == 2
        for point, other in zip(a.points, b.points):
            assert (point["seen"], point["trained"]) == (other["seen"], other["trained"])
            for name in ("accuracy", "effort_backward", "effort_total"):
                # The board prints fewer digits.
                assert point[name] == pytest.approx(other[name], rel=1e-6)

    path = small("[policies]\nTinyPropV2 = {}", seeds=1, epochs=2, n=30)
    here = only_job(unix)
    same(here, only_job(runner.Emulated("MPS2_AN385", firmware, start, 1)))
    # Behind a serial port, as a real board is.
    with start() as port:
        same(here, only_job(runner.Board(port)))


def test_a_board_that_does_not_answer_is_named(tmp_path):
    port = tmp_path / "ttyNothing"
    port.write_text("")
    need(runner.MPREMOTE.exists(), "mpremote", "make setup")
    with pytest.raises(SystemExit, match="error: .*ttyNothing: "):
        runner.Board(str(port)).machine()


# --- Arithmetic ---


def test_auc_is_the_share_of_pairs_in_order_mean_over_files_and_machines():
    # Machine 1: files 0 (normal, mean 2), 1 (anomaly, 3), 2 (normal, 4): one pair of two.
    # Machine 2: files 3 (normal, 1), 4 (anomaly, 1): half a pair.
    scored = [(0, 0, 1), (0, 0, 1), (1, 1, 1), (2, 0, 1), (3, 0, 2), (4, 1, 2)]
    assert runner.auc([1, 3, 3, 4, 1, 1], scored) == pytest.approx(50)
    assert runner.auc([1, 3, 5, 4, 1, 2], scored) == pytest.approx(100)
    with pytest.raises(runner.JobError, match="no normal or no anomalous"):
        runner.auc([1, 1], [(0, 0, 1), (1, 0, 1)])


def test_an_anomaly_detector_is_validated_by_its_fit_to_normal_samples(small, unix):
    path = small("[policies]\nFull = {}", epochs=20, seeds=1)
    text = path.read_text().replace('"none"', '"all"\ntarget = "input"')
    path.write_text(text.replace("lr = 0.05", "lr = 0.2"))
    (found,) = outcomes(path, unix, validation=7)
    assert found.heading().endswith("(fit)")
    (job,) = [job for *_, job in found.policies["Full"]]
    for point in job.points:
        assert point["accuracy"] == pytest.approx(100 - 100 * point["loss"])
    # Standardised values have a mean square of 1, which a net that says 0 leaves as it is.
    assert 50 < found.row("Full")["accuracy"] < 100


def test_make_passes_on_where_to_train_only_if_it_is_said():
    def command(*more):
        make = ["make", "-n", "experiments", "SET=digits-mlp", *more]
        # An outer make's flags would steer this one.
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(make, cwd=ROOT, env=env, capture_output=True, text=True)
        return done.stdout.split()

    assert "digits-mlp" in command() and "--on" not in command()
    words = command("ON=RPI_PICO", "ARGS=--plan")
    assert words[-3:] == ["--on", "RPI_PICO", "--plan"]


def test_learning_rates_fall_as_the_schedule_says(small):
    e = experiment.Experiment(small())
    for schedule, expected in (
        ("linear", [1, 0.775, 0.55, 0.325]),
        ("cosine", [1, 0.8682, 0.55, 0.2318]),
        ("constant", [1, 1, 1, 1]),
    ):
        table = {"epochs": 4, "lr": 1.0, "schedule": schedule}
        assert e.rates(table) == pytest.approx(expected, abs=1e-4)


def test_the_share_of_rows_kept_is_of_the_samples_trained_in_each_epoch():
    def point(trained, mean_k):
        return {"trained": trained, "layers": [["1 Dense", 8, mean_k, 0]]}

    # Ten samples keep 4 rows of 8; then ten more keep 2, so the mean over all is 3; then none.
    points = [point(10, 4.0), point(20, 3.0), point(20, 3.0)]
    job = runner.Job("", {}, {}, points=points, result={"layers": [["1 Dense", 8, 3.0, 0]]})
    names, kept = report.kept_rows([(1, "", job)])
    assert names == ["1 Dense"] and kept[0][:2] == [0.5, 0.25] and np.isnan(kept[0][2])


def test_means_are_over_the_seeds_and_their_deviation_between_seeds():
    def job(accuracy):
        result = dict.fromkeys(report.METRICS, 1.0)
        return runner.Job("", {}, {}, result={**result, "accuracy": accuracy})

    outcome = report.Outcome("a", "A", "mlp", "accuracy", "unix")
    outcome.policies["Full"] = [
        (1, "x", job(90)),
        (1, "y", job(94)),
        (2, "x", job(88)),
        (2, "y", job(92)),
    ]
    row = outcome.row("Full")
    assert row["accuracy"] == 91 and row["std"] == pytest.approx(statistics.stdev([92, 90]))


def test_a_table_may_end_in_several_means_and_say_how_to_make_its_rows():
    result = {**dict.fromkeys(report.METRICS, 0.5), "block_bytes": 1, "layers": []}
    outcomes = []
    for name, accuracy in (("a", 90), ("b", 80), ("c", 40)):
        outcome = report.Outcome(name, name.upper(), "net", "accuracy", "unix")
        job = runner.Job("", {}, {}, result={**result, "accuracy": accuracy}, points=[])
        outcome.policies["Full"] = [(1, "", job)]
        outcomes.append(outcome)
    chosen = {"the good": ["a", "b"], "all": ["a", "b", "c"]}
    rows = {row[0]: row[2] for row in report.table_rows(outcomes, chosen)}
    assert rows["mean of 2: the good"] == "85.00" and rows["mean of 3: all"] == "70.00"
    assert not [key for key in rows if key.startswith("mean of") and ":" not in key]
    commands = report.commands(outcomes)
    assert "| A, net | `make experiments SET=a SEEDS=1` |" in commands
