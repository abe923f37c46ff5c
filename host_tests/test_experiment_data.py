"""Data sets in their published formats: what is in the files reaches the arrays; corrupt ones are
named, or left out and counted. The files are tiny and made here, byte by byte as published."""

import gzip
import struct
import sys
import wave

import core_api
import numpy as np
import pytest
from PIL import Image

SCRIPTS = core_api.ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "experiments")]

import audio  # noqa: E402
import experiment  # noqa: E402
import parts  # noqa: E402
import sources  # noqa: E402

RNG = np.random.default_rng(1)


def read(name, folder, skip_bad=False, **options):
    """(arrays, corrupt files)"""
    bad = sources.Bad(skip_bad)
    return sources.FORMATS[name](folder, options, bad), bad.files


def refused(name, folder, **options):
    with pytest.raises(SystemExit) as stopped:
        read(name, folder, **options)
    text = str(stopped.value)
    assert text.startswith("error: ") and "\n" not in text
    return text


# --- Images ---


def write_idx(path, values):
    data = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    data += values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture(params=["", ".gz"])
def mnist(request, tmp_path):
    arrays = {}
    for part, prefix, n in (("train", "train", 5), ("test", "t10k", 3)):
        arrays[f"x_{part}"] = RNG.integers(0, 256, (n, 28, 28))
        arrays[f"y_{part}"] = RNG.integers(0, 10, n)
        for x, kind in (("x", "images-idx3"), ("y", "labels-idx1")):
            write_idx(tmp_path / f"{prefix}-{kind}-ubyte{request.param}", arrays[f"{x}_{part}"])
    return tmp_path, arrays, request.param


def test_idx_files_give_their_images_and_labels(mnist):
    folder, arrays, _ = mnist
    found, _ = read("idx", folder)
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        assert np.array_equal(found[name], values) and found[name].dtype == np.uint8


def test_a_cut_or_missing_idx_file_is_named(mnist):
    folder, _, end = mnist
    path = folder / f"train-images-idx3-ubyte{end}"
    path.write_bytes(path.read_bytes()[:-100])
    assert path.name in refused("idx", folder)
    path.write_bytes(b"text")
    assert path.name in refused("idx", folder)
    path.unlink()
    assert "has no train-images-idx3-ubyte" in refused("idx", folder)


def test_labels_must_be_as_many_as_images(mnist):
    folder, _, end = mnist
    write_idx(folder / f"t10k-labels-idx1-ubyte{end}", np.arange(4))
    assert "3 images but 4 labels in the test part" in refused("idx", folder)


def cifar_rows(labels, n):
    """(bytes of n records, the images as rows of pixels)"""
    images = RNG.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    records = [bytes(labels(i)) + images[i].transpose(2, 0, 1).tobytes() for i in range(n)]
    return b"".join(records), images


def test_cifar10_batches_give_pixels_with_their_three_colours(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    images = []
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data, pixels = cifar_rows(lambda i: [i + 4], 2)
        (folder / f"{name}.bin").write_bytes(data)
        images.append(pixels)
    found, _ = read("cifar10", tmp_path)
    assert np.array_equal(found["x_train"], np.concatenate(images[:5]))
    assert np.array_equal(found["x_test"], images[5])
    assert list(found["y_train"]) == [4, 5] * 5 and list(found["y_test"]) == [4, 5]
    (folder / "data_batch_3.bin").write_bytes(b"x" * 3000)
    assert "data_batch_3.bin: 3000 bytes" in refused("cifar10", tmp_path)
    found, bad = read("cifar10", tmp_path, skip_bad=True)
    assert len(found["x_train"]) == 8 and [p.name for p in bad] == ["data_batch_3.bin"]


def test_cifar100_has_the_fine_labels(tmp_path):
    for part in ("train", "test"):
        data, _ = cifar_rows(lambda i: [3, 90 + i], 3)
        (tmp_path / f"{part}.bin").write_bytes(data)
    found, _ = read("cifar100", tmp_path)
    assert list(found["y_train"]) == [90, 91, 92] and found["x_test"].shape == (3, 32, 32, 3)


@pytest.fixture
def flowers(tmp_path):
    """Folders of images, each of one colour: red roses, blue violets; not all of one size."""
    for part in ("train", "test"):
        for name, colour in (("rose", (255, 0, 0)), ("violet", (0, 0, 255))):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            Image.new("RGB", (64, 64), colour).save(folder / "a.png")
            Image.new("RGB", (90, 50), colour).save(folder / "b.bmp")
    return tmp_path


def test_folders_of_images_give_squares_of_the_size_asked_for(flowers):
    found, _ = read("images", flowers, size=16)
    assert found["x_train"].shape == (4, 16, 16, 3) and found["x_train"].dtype == np.uint8
    for x, y in zip(found["x_test"], found["y_test"]):
        assert (x == [(255, 0, 0), (0, 0, 255)][y]).all()


def test_a_corrupt_image_is_named_or_left_out(flowers):
    path = flowers / "train" / "rose" / "a.png"
    path.write_bytes(path.read_bytes()[:40])
    assert "rose/a.png" in refused("images", flowers) and "--skip-bad" in refused(
        "images", flowers
    )
    found, bad = read("images", flowers, skip_bad=True)
    assert bad == [path] and list(found["y_train"]) == [0, 1, 1]


def test_images_without_a_test_folder_are_one_part(flowers):
    found, _ = read("images", flowers / "train")
    assert set(found) == {"x_train", "y_train"}


# --- Activity ---


@pytest.fixture
def har(tmp_path):
    """UCI HAR as in its archive: 9 x 128 signals and 561 features a window."""
    signals = [f"{a}_{b}" for a in ("body_acc", "body_gyro", "total_acc") for b in "xyz"]
    arrays = {}

    def write(path, values):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, values, fmt=" %.7e" if values.ndim > 1 else "%d", delimiter="")

    for part, n in (("train", 4), ("test", 2)):
        root = tmp_path / "UCI HAR Dataset" / part
        arrays[f"x_{part}"] = RNG.normal(size=(n, 128, 9)).astype(np.float32)
        arrays[f"features_{part}"] = RNG.uniform(-1, 1, (n, 561)).astype(np.float32)
        arrays[f"y_{part}"] = RNG.integers(1, 7, n)
        arrays[f"subj_{part}"] = RNG.integers(1, 31, n)
        for i, name in enumerate(signals):
            path = root / "Inertial Signals" / f"{name}_{part}.txt"
            write(path, arrays[f"x_{part}"][:, :, i])
        write(root / f"X_{part}.txt", arrays[f"features_{part}"])
        write(root / f"y_{part}.txt", arrays[f"y_{part}"])
        write(root / f"subject_{part}.txt", arrays[f"subj_{part}"])
    return tmp_path, arrays


def test_uci_har_gives_nine_signals_or_the_features_with_their_subjects(har):
    folder, arrays = har
    signals, _ = read("uci_har", folder)
    features, _ = read("uci_har", folder, features=True)
    for part in ("train", "test"):
        assert signals[f"x_{part}"] == pytest.approx(arrays[f"x_{part}"], rel=1e-6)
        assert features[f"x_{part}"] == pytest.approx(arrays[f"features_{part}"], rel=1e-6)
        assert list(signals[f"y_{part}"]) == list(arrays[f"y_{part}"] - 1)
        assert list(features[f"subj_{part}"]) == list(arrays[f"subj_{part}"])


def test_a_broken_line_of_uci_har_is_named_with_its_file(har):
    folder, _ = har
    path = folder / "UCI HAR Dataset" / "train" / "Inertial Signals" / "body_gyro_y_train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    assert "body_gyro_y_train.txt: (3, 128) values" in refused("uci_har", folder)
    path.write_text("\n".join([*lines[:-1], "1.0 oops"]))
    assert "body_gyro_y_train.txt" in refused("uci_har", folder)
    path.unlink()
    assert "has no body_gyro_y_train.txt" in refused("uci_har", folder)


# --- Sound ---


def write_wav(path, x, rate, width=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(width)
        f.setframerate(rate)
        f.writeframes((np.clip(x, -1, 1) * 32767).astype("<i2").tobytes())


def tone(frequency, rate, seconds):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def test_a_tone_is_loudest_in_its_mel_band():
    mel = audio.log_mel(
        tone(1000, 16000, 1).astype(np.float32), 16000, 640, 320, 1024, 40, 20, 4000
    )
    assert mel.shape == (49, 40)
    edges = np.linspace(*(2595 * np.log10(1 + np.array([20, 4000]) / 700)), 42)
    band = np.searchsorted(edges, 2595 * np.log10(1 + 1000 / 700)) - 1
    assert set(mel.argmax(axis=1)) <= {band - 1, band}


def test_mfcc_is_the_orthonormal_cosine_transform():
    x = RNG.normal(size=(3, 40))
    i, k = np.arange(40), np.arange(40)[:, None]
    basis = np.sqrt(2 / 40) * np.cos(np.pi * k * (2 * i + 1) / 80)
    basis[0] = np.sqrt(1 / 40)
    assert np.allclose(basis @ basis.T, np.eye(40))
    assert audio.dct(x, 10) == pytest.approx((x @ basis.T)[:, :10], abs=1e-5)


def test_wav_files_of_every_width_give_the_same_samples(tmp_path):
    x = np.array([0, 0.5, -0.5, 0.25])
    for width, code in (
        (1, lambda v: (v * 128 + 128).astype("u1").tobytes()),
        (2, lambda v: (v * 2**15).astype("<i2").tobytes()),
        (3, lambda v: b"".join(int(s * 2**23).to_bytes(3, "little", signed=True) for s in v)),
        (4, lambda v: (v * 2**31).astype("<i4").tobytes()),
    ):
        with wave.open(str(tmp_path / "a.wav"), "wb") as f:
            f.setnchannels(1)
            f.setsampwidth(width)
            f.setframerate(8000)
            f.writeframes(code(x))
        values, rate = audio.read_wav(tmp_path / "a.wav")
        assert rate == 8000 and list(values) == list(x)


@pytest.fixture
def commands(tmp_path):
    """Speech Commands: four words, two of them commands; each speaker says each word twice."""
    tested = []
    for i, word in enumerate(("yes", "stop", "bed", "cat")):
        for speaker in ("0a7c2a8d", "0b40aa8e", "0c5027de"):
            for n in range(2):
                name = f"{speaker}_nohash_{n}.wav"
                write_wav(tmp_path / word / name, tone(300 * (i + 1), 16000, 0.9), 16000)
                if speaker == "0c5027de":
                    tested.append(f"{word}/{name}")
    write_wav(
        tmp_path / "_background_noise_" / "pink_noise.wav", RNG.normal(size=40000) / 9, 16000
    )
    (tmp_path / "testing_list.txt").write_text("\n".join(tested) + "\n")
    (tmp_path / "validation_list.txt").write_text("")
    return tmp_path


def test_speech_commands_give_twelve_classes_split_as_the_list_says(commands):
    found, _ = read("speech_commands", commands)
    assert found["x_train"].shape[1:] == (49, 10) and found["x_train"].dtype == np.int8
    assert found["x_scale"].shape == found["x_offset"].shape == (10,)
    # Alphabetical after silence and unknown: down go left no off on right stop up yes.
    counts = {int(c): n for c, n in zip(*np.unique(found["y_train"], return_counts=True))}
    assert counts == {0: 1, 1: 1, 9: 4, 11: 4}
    who = found["spk_train"]
    assert set(who) == {-1, 0, 1} and set(found["spk_test"]) == {-1, 2}
    # The words are told apart by their tones: equal within a word, not across.
    x = found["x_train"].astype(int)
    first = {c: x[found["y_train"] == c] for c in (9, 11)}
    assert (first[9] == first[9][0]).all() and (first[9][0] != first[11][0]).any()


def test_a_corrupt_wav_is_named_or_left_out(commands):
    path = commands / "yes" / "0a7c2a8d_nohash_0.wav"
    path.write_bytes(path.read_bytes()[:200])
    assert "yes/0a7c2a8d_nohash_0.wav" in refused("speech_commands", commands)
    found, bad = read("speech_commands", commands, skip_bad=True)
    assert bad == [path] and (found["y_train"] == 11).sum() == 3
    write_wav(path, tone(300, 8000, 1), 8000)
    assert "8000 samples a second, expected 16000" in refused("speech_commands", commands)


def test_spoken_digits_are_split_by_recording_and_know_their_speaker(tmp_path):
    for digit in (0, 7):
        for speaker in ("george", "theo"):
            for i in (0, 4, 5, 49):
                x = tone(200 * (digit + 1), 8000, 0.3 + 0.01 * i)
                write_wav(tmp_path / "recordings" / f"{digit}_{speaker}_{i}.wav", x, 8000)
    found, _ = read("fsdd", tmp_path)
    for part in ("train", "test"):
        assert found[f"x_{part}"].shape == (8, 32, 20)
        assert sorted(found[f"y_{part}"]) == [0] * 4 + [7] * 4
        assert sorted(found[f"spk_{part}"]) == [0] * 4 + [1] * 4
    path = tmp_path / "recordings" / "x_theo_5.wav"
    path.write_bytes(b"RIFF")
    assert "x_theo_5.wav" in refused("fsdd", tmp_path)
    assert read("fsdd", tmp_path, skip_bad=True)[1] == [path]


def test_machine_sounds_give_five_frames_of_128_bands_and_their_file(tmp_path):
    root = tmp_path / "fan"
    for part, names in {
        "train": ["normal_id_00_00000000", "normal_id_02_00000000"],
        "test": ["normal_id_00_00000000", "anomaly_id_00_00000000"],
    }.items():
        for name in names:
            write_wav(root / part / f"{name}.wav", RNG.normal(size=16000) / 9, 16000)
    found, _ = read("dcase2020", tmp_path, machine="fan", stride=1)
    # (16000 - 1024) // 512 + 1 = 30 frames, 26 places for five of them.
    assert found["x_train"].shape == (52, 640) and found["x_test"].dtype == np.int8
    assert list(found["id_train"]) == [0] * 26 + [2] * 26
    # In the order of the names, so the anomaly is first.
    assert list(found["y_test"]) == [1] * 26 + [0] * 26
    assert list(found["clip_test"]) == [0] * 26 + [1] * 26
    values = found["x_train"][0] * found["x_scale"] + found["x_offset"]
    later = found["x_train"][1] * found["x_scale"] + found["x_offset"]
    # The next vector is one frame further.
    assert values[128:] == pytest.approx(later[:512], abs=0.3)
    write_wav(root / "test" / "normal_id_00_00000001.wav", np.zeros(2000), 16000)
    assert "normal_id_00_00000001.wav: 2000 samples, too short" in refused(
        "dcase2020", tmp_path, machine="fan"
    )


# --- From arrays to Dataset files ---


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "FOLDER", tmp_path / "parts")


def an_experiment(tmp_path, data):
    path = tmp_path / "a.toml"
    path.write_text(
        f'[data]\nnpz = "a.npz"\n{data}\n[model]\nlayers = []\n[training]\nepochs = 1\nlr = 1\n'
    )
    return experiment.Experiment(path)


def seen(tmp_path, data, **arrays):
    """(the training part as a network sees it, type of the stored values)"""
    (case,) = parts.cases(an_experiment(tmp_path, data), arrays)
    folder = tmp_path / "tpd"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.tpd").write_bytes(getattr(case, name).path.read_bytes())
    found, _ = read("tpd", folder)
    x = found["x_train"].astype(np.float32)
    return x * found.get("x_scale", 1) + found.get("x_offset", 0), found["x_train"].dtype


@pytest.fixture
def quantised():
    y = np.arange(40) % 2
    x = RNG.integers(-127, 128, (40, 4, 3)).astype(np.int8)
    scale, offset = np.float32([0.1, 0.2, 0.3]), np.float32([1, -2, 3])
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    return {**arrays, "x_scale": scale, "x_offset": offset}, x * scale + offset


def test_quantised_values_stay_as_they_are_and_are_standardised_by_their_scale(
    tmp_path, quantised
):
    arrays, values = quantised
    x, kind = seen(tmp_path, 'standardise = "channel"', **arrays)
    expected = (values - values.mean(axis=(0, 1))) / values.std(axis=(0, 1))
    assert kind == np.int8 and x == pytest.approx(expected, abs=1e-4)


def test_a_scale_along_an_axis_that_is_no_longer_the_last_is_kept_in_16_bits(tmp_path, quantised):
    arrays, values = quantised
    x, kind = seen(tmp_path, 'standardise = "channel"\nshape = [4, 3, 1]', **arrays)
    expected = (values - values.mean(axis=(0, 1))) / values.std(axis=(0, 1))
    assert kind == np.int16 and x == pytest.approx(expected[..., None], abs=1e-4)


def test_an_autoencoder_gets_the_standardised_samples_as_targets(tmp_path, quantised):
    arrays, values = quantised
    e = an_experiment(tmp_path, 'standardise = "channel"\ntarget = "input"')
    (case,) = parts.cases(e, arrays)
    data = case.train.path.read_bytes()
    targets = np.frombuffer(data[-48:], np.float32)
    expected = (values - values.mean(axis=(0, 1))) / values.std(axis=(0, 1))
    assert targets == pytest.approx(expected[-1].reshape(-1), abs=1e-4)
    assert case.scored[1] == (1, 1, 0)


def test_a_share_held_out_has_every_class_and_no_sample_twice():
    y = np.repeat([0, 1, 2], [50, 20, 5])
    train, test = parts._stratified(y, 0.2)
    assert list(np.bincount(y[test])) == [10, 4, 1] and (train ^ test).all()


def test_what_is_read_from_a_folder_is_kept_until_it_changes(
    tmp_path, flowers, monkeypatch, capsys
):
    e = an_experiment(tmp_path, "")
    e.data = {"folder": "train", "format": "images", "size": 8, "x": "x", "target": "class"}
    assert len(parts.arrays_of(e, flowers)["x_train"]) == 4
    calls = []
    real = sources.read_images

    def read_images(*arguments):
        calls.append(1)
        return real(*arguments)

    monkeypatch.setitem(sources.FORMATS, "images", read_images)
    parts.arrays_of(e, flowers)
    assert not calls
    (flowers / "train" / "rose" / "b.bmp").write_bytes(b"BM")
    for _ in range(2):
        assert len(parts.arrays_of(e, flowers, skip_bad=True)["x_train"]) == 3
        assert "left out 1 corrupt files: " in capsys.readouterr().out
    assert len(calls) == 1
    (flowers / "train" / "rose" / "a.png").unlink()
    (flowers / "train" / "rose" / "b.bmp").unlink()
    Image.new("RGB", (9, 9)).save(flowers / "train" / "rose" / "c.png")
    assert len(parts.arrays_of(e, flowers)["x_train"]) == 3 and len(calls) == 2
