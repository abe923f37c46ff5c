"""The reference models: their sizes, RAM to train them, pretraining and contributions."""

import subprocess
import sys

import core_api
import numpy as np
import pytest
from conftest import need

ROOT = core_api.ROOT
sys.path.insert(0, str(ROOT / "scripts"))
import contributions  # noqa: E402
import make_romfs  # noqa: E402
import memory  # noqa: E402
import pretrain  # noqa: E402
import setup_env  # noqa: E402

# Parameters and multiply-accumulates of a forward pass, worked out by hand from the published
# topologies: sum of (kernel * channels in + 1) * filters, without the + 1 times the places.
STACKS = [(16, 16, 32), (16, 32, 16), (32, 64, 8)]  # ResNet-8: channels in, out, side of the map
DEPTHWISE = [(8, 16, 48), (16, 32, 24), (32, 32, 24), (32, 64, 12), (64, 64, 12), (64, 128, 6)]
DEPTHWISE += [(128, 128, 6)] * 5 + [(128, 256, 3), (256, 256, 3)]
UNITS = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]


def convolution(kernel, channels, filters, places):
    return (kernel * channels + 1) * filters, kernel * channels * filters * places


def separable(channels, filters, places):
    return [convolution(9, 1, channels, places), convolution(1, channels, filters, places)]


LAYERS = {
    "resnet8": [
        convolution(9, 3, 16, 1024),
        *(convolution(9, i, o, n * n) for i, o, n in STACKS),
        *(convolution(9, o, o, n * n) for _, o, n in STACKS),
        *(convolution(1, i, o, n * n) for i, o, n in STACKS[1:]),
        convolution(1, 64, 10, 1),
    ],
    "ds_cnn": [
        convolution(40, 1, 64, 125),
        *(4 * separable(64, 64, 125)),
        convolution(1, 64, 12, 1),
    ],
    "mobilenet": [
        convolution(9, 3, 8, 48 * 48),
        *(one for i, o, n in DEPTHWISE for one in separable(i, o, n * n)),
        convolution(1, 256, 2, 1),
    ],
    "autoencoder": [convolution(1, i, o, 1) for i, o in zip(UNITS[:-1], UNITS[1:], strict=True)],
    "lenet5": [
        convolution(25, 1, 6, 784),
        convolution(25, 6, 16, 100),
        convolution(1, 400, 120, 1),
        convolution(1, 120, 84, 1),
        convolution(1, 84, 10, 1),
    ],
}
PUBLISHED = {
    # MLPerf Tiny (parameters with four numbers of batch normalisation per channel), LeCun 1998.
    "resnet8": (78_666, 12.5e6),
    "ds_cnn": (24_908, 2.66e6),
    "mobilenet": (221_794, 7.49e6),
    "autoencoder": (269_992, 0.264e6),
    "lenet5": (61_706, 0.4165e6),
}
# Channels whose batch normalisation is folded into the weights before.
NORMALISED = {"resnet8": 240, "ds_cnn": 576, "mobilenet": 2736, "autoencoder": 1032, "lenet5": 0}


@pytest.fixture(scope="module")
def unix(mpy):
    """{setting: result of its job on the unix port}"""
    results = {}

    def run(name):
        if name not in results:
            results[name] = memory.run_on_unix(memory.job_of(*memory.SETTINGS[name][:3]))
        return results[name]

    return run


@pytest.mark.parametrize("name", LAYERS)
def test_reference_models_are_the_published_networks(unix, name):
    result = unix(name)
    parameters, macs = (sum(n) for n in zip(*LAYERS[name], strict=True))
    assert result["plan"]["parameters"] == 4 * parameters
    assert result["macs"][0] == macs == pytest.approx(PUBLISHED[name][1], rel=0.01)
    assert parameters + 4 * NORMALISED[name] == PUBLISHED[name][0]


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet", "autoencoder"])
def test_partial_training_takes_at_most_256_kb(unix, name):
    result = unix(f"{name}-250k")
    assert result["plan"]["total"] <= 250_000
    assert result["heap"] >= result["plan"]["total"]
    assert sum(part is not False for part in result["train"]) >= 5
    assert len(set(result["losses"])) == 2


def test_a_lenet_trains_as_a_whole_in_128_kb(unix):
    plan = unix("lenet")["plan"]
    assert plan["total"] <= 128_000 and plan["external"] == 0


@pytest.mark.parametrize("name", ["lenet", "resnet8-250k", "mobilenet-250k", "autoencoder-250k"])
def test_training_on_a_board_is_that_of_the_unix_port(unix, name):
    board = memory.SETTINGS[name][3]
    for package in setup_env.lacking("firmware" if board == "RPI_PICO" else "qemu"):
        need(False, package, setup_env.advice([package]))
    need(memory.MPREMOTE.exists(), "mpremote", "make setup")
    there = memory.run_on_board(board, memory.job_of(*memory.SETTINGS[name][:3]))
    here = unix(name)
    assert (there["plan"], there["losses"], there["crc"]) == (
        here["plan"],
        here["losses"],
        here["crc"],
    )
    # Parameters in flash take no heap.
    assert there["heap"] < here["plan"]["total"] + 20_000


# --- Pretraining ---


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small .npz: digits that are a bright square at one of ten places."""
    rng = np.random.default_rng(1)
    y = np.arange(120) % 10
    x = rng.integers(0, 20, (120, 28, 28)).astype(np.uint8)
    for one, label in zip(x, y, strict=True):
        row, column = 4 + 12 * (label // 5), 2 + 5 * (label % 5)
        one[row : row + 6, column : column + 5] = 250
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    np.savez(path, x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    return path


def run_script(name, *arguments):
    command = [setup_env.VENV / "bin" / "python", ROOT / "scripts" / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def pretrained(mpy, data, tmp_path_factory):
    """(folder with lenet.tp and lenet.params, what the script said)"""
    folder = tmp_path_factory.mktemp("pretrained")
    options = ("lenet", data, "--epochs", 6, "--lr", 0.02, "--seed", 3)
    code, out, err = run_script("pretrain.py", *options, "--out", folder / "lenet")
    assert code == 0, err
    return folder, out


def test_pretraining_learns_and_one_seed_gives_the_same_files(pretrained, data, tmp_path):
    folder, out = pretrained
    before, after = (line.split("accuracy ")[1] for line in out.splitlines()[:2])
    assert float(before[:-1]) < 40 < 80 <= float(after[:-1])
    again = ("lenet", data, "--epochs", 6, "--lr", 0.02, "--seed", 3, "--out", tmp_path / "lenet")
    assert run_script("pretrain.py", *again)[0] == 0
    for name in ("lenet.tp", "lenet.params"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_parameters_in_romfs_give_the_checkpoints_model(run_mpy, pretrained, tmp_path):
    folder, _ = pretrained
    files = {"a": b"1", "lenet.params": (folder / "lenet.params").read_bytes()}
    (tmp_path / "image").write_bytes(make_romfs.romfs(files))
    (tmp_path / "script.py").write_text(f"""
import sys, vfs
sys.path.insert(0, {str(memory.MODELS)!r})
import lenet, tinyprop as tp
with open({str(tmp_path / "image")!r}, "rb") as f:
    image = f.read()
m = tp.load({str(folder / "lenet.tp")!r})
vfs.mount(vfs.VfsRom(image), "/rom")
assert open("/rom/a").read() == "1"
layers = lenet.layers(m.layers[0], external=True, trainable=False)
layers[-1].trainable = 4
outside = tp.Sequential(layers, external=open("/rom/lenet.params", "rb"))
x = bytes(range(256)) * 3 + bytes(16)
assert outside.predict(x).tolist() == m.predict(x).tolist()
# A layer that trains in part shows that part; a frozen one what lies outside.
last = len(layers) - 1
assert outside.weights(last).tolist() == m.weights(last).tolist()[:4]
assert outside.bias(last).tolist() == m.bias(last).tolist()
assert bytes(outside.weights(1)) == bytes(m.weights(1))
# After a reset the pretrained values are back.
outside.train_step(x, 3)
assert outside.predict(x).tolist() != m.predict(x).tolist()
outside.reset()
assert outside.predict(x).tolist() == m.predict(x).tolist()
# A checkpoint has what trained; the rest is given again.
outside.train_step(x, 3)
outside.save({str(tmp_path / "part.tp")!r})
again = tp.load({str(tmp_path / "part.tp")!r}, external=open("/rom/lenet.params", "rb"))
assert again.predict(x).tolist() == outside.predict(x).tolist()
print("OK")
""")
    assert run_mpy(tmp_path / "script.py").splitlines()[-1] == "OK"
    assert (tmp_path / "part.tp").stat().st_size < (folder / "lenet.tp").stat().st_size / 10


@pytest.mark.parametrize("size", range(8))
def test_every_file_of_an_image_starts_at_a_multiple_of_four(size):
    files = {"x" * (size + 1): b"\xee" * 40, "y": b"\xdd" * 200, "z" * 130: b"\xcc" * 40}
    image = make_romfs.romfs(files)
    for data in files.values():
        assert image.index(data) % 4 == 0


# --- Contributions ---


def test_contributions_say_what_training_a_part_gains(pretrained, data, mpy):
    folder, _ = pretrained
    train, test = pretrain.data_sets(data)
    job = {"model": "lenet", "epochs": 1, "lr": 0.02, "seed": 1, "train": train, "test": test}
    # Drawn weights: here there is something to gain.
    job["start"] = str(memory.drawn("lenet", "layers"))
    table, before = contributions.measure(job, last=2)
    assert [len(table[k]) for k in ("biases", "ratios", "weights")] == [4, 4, 4]
    assert (
        table["weights"][:2] == [[0] * 4] * 2 and table["biases"][1:] == [table["biases"][1]] * 3
    )
    # The same by hand: the last layer with all its weights.
    parts = [False, False, False, True]
    after = pretrain.run_job(**job, trainable=parts).points[-1]
    gained = (after["accuracy"] - before["accuracy"]) / 100
    assert table["biases"][0] + table["weights"][3][0] == pytest.approx(gained, abs=1e-3)
    assert max(table["weights"][2] + table["weights"][3]) > 0
    choice = memory.run_on_unix(memory.job_of("lenet", "layers", 30_000, table))
    assert choice["plan"]["total"] <= 30_000 and choice["train"][:2] == [False, False]


def test_scripts_end_in_one_line_where_something_is_missing(data, tmp_path):
    for arguments, said in (
        (("pretrain.py", "lenet", tmp_path / "no.npz"), "no.npz does not exist"),
        (("contributions.py", "lenet", data, "--start", tmp_path / "no"), "no does not exist"),
        (("memory.py", "vgg"), "no setting vgg"),
        (("memory.py", "ds_cnn-96k", "--budget", "9000"), "budget of 9000 bytes is too small"),
    ):
        code, _, err = run_script(*arguments)
        assert code == 1 and said in err and len(err.splitlines()) == 1
    short = tmp_path / "short.params"
    short.write_bytes(bytes(100))
    code, _, err = run_script("pretrain.py", "lenet", data, "--start", short, "--out", short)
    assert code == 1 and "lenet: start.params is too short" in err and len(err.splitlines()) == 1
