"""Recordings: folders and arrays, splits, features as networks get them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from hwnas import experiment
from hwnas.config import read
from hwnas.data._sounds import log_mel
from hwnas.data.speech import Speech
from hwnas.errors import ConfigError, DataError

PARTS = ("train", "val", "test")
FSDD = Path(__file__).parents[2] / ".." / "shared" / "data" / "datasets" / "fsdd" / "fsdd_small.npz"


def noise(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8000, 8000, samples).astype(np.int16)


@pytest.fixture
def saved(tmp_path):
    """A folder of recordings by name: so many samples of noise each."""

    def save(files: dict[str, int], rates: dict[str, int] | None = None, **options) -> Speech:
        for seed, (name, samples) in enumerate(files.items()):
            path = tmp_path / "words" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(path, (rates or {}).get(name, 8000), noise(samples, seed))
        return Speech(str(tmp_path / "words"), **{"mels": 6, **options})

    return save


FILES = {f"{kind}/{number}.wav": 400 + 80 * number for kind in ("yes", "no") for number in range(6)}


def test_a_folder_for_each_class(saved):
    data = saved(FILES)
    assert (data.name, data.classes) == ("words", ("no", "yes"))
    assert [len(data.split(part)) for part in PARTS] == [8, 2, 2]
    for part in PARTS:
        split = data.split(part)
        assert split.inputs.dtype == torch.float32 and split.labels.dtype == torch.int64
        assert set(split.labels.tolist()) == {0, 1}
    assert data.facts == {"classes": 2, "frames": data.split("train").inputs.shape[1], "mels": 6}
    other = replace(data, split_seed=1)
    assert other.fingerprint != data.fingerprint
    assert not torch.equal(other.split("train").inputs, data.split("train").inputs)


def test_features_are_those_of_the_files_and_zeros_behind(saved, tmp_path):
    data = saved({f"{part}/{kind}/0.wav": 400 for part in PARTS for kind in ("a", "b")} | {"train/a/1.wav": 640})
    inputs, labels = data.split("train").inputs, data.split("train").labels
    assert inputs.shape == (3, 6, 6)  # 1 + (640 - 200) // 80 frames
    for row, label in zip(inputs, labels.tolist(), strict=True):
        names = [
            f"train/{'ab'[label]}/{number}.wav"
            for number in range(2)
            if (tmp_path / f"words/train/{'ab'[label]}/{number}.wav").exists()
        ]
        features = [
            log_mel(wavfile.read(tmp_path / "words" / name)[1].astype(np.float32) / 32768, 8000, 6, 200, 80)
            for name in names
        ]
        matches = [found for found in features if np.array_equal(row[: len(found)].numpy(), found)]
        assert matches and not row[len(matches[0]) :].any()


def test_the_class_may_begin_the_file_name(saved):
    data = saved({f"{digit}_{who}_{take}.wav": 500 for digit in (7, 10) for who in ("ann", "bob") for take in range(3)})
    assert data.classes == ("7", "10")
    assert sum(len(data.split(part)) for part in PARTS) == 12
    assert replace(data, label="prefix").fingerprint == data.fingerprint
    with pytest.raises(DataError, match=r"holds no \.wav files"):
        replace(data, label="folder").split("train")


def test_splits_that_are_there_are_honoured(saved):
    sizes = {"train": 4, "dev": 1, "testing": 0, "test": 2}
    files = {
        f"{part}/{kind}/{n}.wav": 400 for part, count in sizes.items() for kind in ("a", "b") for n in range(count)
    }
    data = saved(files)
    assert [len(data.split(part)) for part in PARTS] == [8, 2, 4]


def test_other_rates_are_brought_to_one(saved):
    files = {f"{kind}/{number}.wav": 8000 for kind in ("a", "b") for number in range(4)}
    data = saved(files, {name: 16000 for name in files if name.endswith("3.wav")}, rate=8000)
    frames = data.split("train").inputs.shape[1]
    assert frames == 98
    ends = {int((row != 0).any(1).sum()) for part in PARTS for row in data.split(part).inputs}
    assert ends == {48, 98}  # half a second, and a whole one
    assert replace(data, rate=16000).fingerprint != data.fingerprint


def test_recordings_are_cut_to_a_given_length(saved):
    data = saved(FILES, seconds=0.055)
    assert data.split("train").inputs.shape[1] == 4 == data.facts["frames"]  # 1 + (440 - 200) // 80
    assert saved(FILES, seconds=0.5).split("val").inputs.shape[1] == 48


def test_longer_recordings_of_other_splits_are_cut(saved):
    files = {f"{part}/{kind}/0.wav": 800 if part == "test" else 400 for part in PARTS for kind in ("a", "b")}
    data = saved(files)
    assert {data.split(part).inputs.shape[1] for part in PARTS} == {3}


# --- as networks get them -------------------------------------------------------------------------------------------


def test_bands_are_normalised_and_zeros_stay(saved):
    data = saved(FILES)
    raw = data.split("train").inputs
    x = data.ready(raw, raw[:1].to("meta"))
    real = (raw != 0).any(2)
    assert (~real).any() and not x[~real].any()
    assert x[real].mean(0).abs().max() < 1e-4
    torch.testing.assert_close(x[real].std(0, correction=0), torch.ones(6), rtol=1e-4, atol=0)


def test_networks_get_frames_as_many_as_they_want(saved):
    data = saved(FILES)
    raw = data.split("train").inputs
    own = data.ready(raw, raw[:1].to("meta"))
    assert torch.equal(data.ready(raw, torch.empty(1, 4, 6, device="meta")), own[:, :4])
    longer = data.ready(raw, torch.empty(1, 30, 6, device="meta"))
    assert torch.equal(longer[:, : raw.shape[1]], own) and not longer[:, raw.shape[1] :].any()


def test_variation_masks_stretches_with_the_mean(saved):
    data = saved({f"{kind}/{number}.wav": 4000 for kind in ("a", "b") for number in range(6)}, mels=16)
    raw = data.split("train").inputs.repeat(50, 1, 1)
    raw[:, -5:] = 0
    found = data.varied(raw, np.random.default_rng(0), 1)
    changed = found != raw
    mean = torch.tensor(data.preparation["mean"])
    assert torch.equal(found[changed], mean.expand_as(found)[changed])
    assert not changed[:, -5:].any(), "what lies behind the end stays so"
    heard = changed[:, :-5]
    frames, bands = heard.all(2).sum(1), heard.all(1).sum(1)
    assert frames.max() == raw.shape[1] // 10 and bands.max() == 2 and frames.min() == bands.min() == 0
    assert (heard == (heard.all(2)[:, :, None] | heard.all(1)[:, None, :])).all()
    twice = data.varied(raw, np.random.default_rng(0), 3) != raw
    assert twice.float().mean() > 2 * changed.float().mean()


def test_an_exported_file_says_how_its_features_are_made(saved):
    told = saved(FILES).preparation
    assert (told["rate"], told["window"], told["hop"], len(told["mean"]), len(told["std"])) == (
        8000,
        0.025,
        0.010,
        6,
        6,
    )


def test_a_family_takes_frames_and_mels_from_the_recordings(saved, tmp_path):
    data = saved(FILES)
    source = {"family": "asr", "data": data.path, "goals": {"macs": {"min": "macs"}}}
    try:
        read(source)
    except ConfigError:
        pytest.skip("there is no family for speech")
    tiny = {"depths": [1, 2], "widths": [16, 24], "ratios": [1, 1.5], "heads": [1, 2], "channels": 4, "decoder": "none"}
    family = experiment.prepare(read({**source, "family": {"asr": tiny}}), tmp_path / "run").bench.family
    facts = Speech(data.path).facts
    assert {name: getattr(family, name) for name in facts} == facts


# --- arrays ---------------------------------------------------------------------------------------------------------


def arrays(**changes) -> dict[str, np.ndarray]:
    ends = np.concatenate([[0], np.cumsum([400, 480] * 6)])
    made = {
        "audio": noise(int(ends[-1]), 0),
        "offsets": ends,
        "labels": np.arange(12) % 2,
        "sample_rate": np.int64(8000),
        "takes": np.arange(12) // 2,
    }
    return made | changes


def test_recordings_in_a_row(tmp_path):
    np.savez(tmp_path / "words.npz", **arrays())
    data = Speech(str(tmp_path / "words.npz"), mels=6)
    assert (data.name, data.classes) == ("words", ("0", "1"))
    assert [len(data.split(part)) for part in PARTS] == [8, 2, 2]
    held = replace(data, test={"takes": [0, 5]})
    assert [len(held.split(part)) for part in PARTS] == [6, 2, 4]
    ends = arrays()["offsets"]
    known = [
        log_mel(arrays()["audio"][ends[row] : ends[row + 1]].astype(np.float32) / 32768, 8000, 6, 200, 80)
        for row in (0, 1, 10, 11)
    ]
    rows = [row.numpy() for row in held.split("test").inputs]
    assert all(any(np.array_equal(row[: len(found)], found) for row in rows) for found in known)
    assert held.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"audio": None}, {}, ["no array 'audio'"]),
        ({"offsets": np.arange(5)}, {}, ["do not belong together", "offsets (5,)"]),
        ({"offsets": np.zeros(13, int)}, {}, ["do not rise from 0"]),
        ({"labels": np.zeros((12, 2))}, {}, ["do not belong together"]),
        ({"audio": np.concatenate([np.zeros(400), noise(4880, 0)]).astype(np.int16)}, {}, ["recording 0", "is silent"]),
        ({}, {"test": {"takes": [9]}}, ["no recording", "'takes'"]),
        ({}, {"test": {"speakers": [1]}}, ["no array 'speakers'"]),
        ({"labels": np.array([{}] * 12)}, {}, ["cannot be read", "pickle"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, options, words):
    made = {name: array for name, array in arrays(**changes).items() if array is not None}
    np.savez(tmp_path / "words.npz", **made)
    data = Speech(str(tmp_path / "words.npz"), **options)
    with pytest.raises(DataError) as error:
        [data.split(part) for part in PARTS]
    assert all(word in str(error.value) for word in words), str(error.value)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "yes/0.wav").write_bytes(b""), ["yes/0.wav", "no .wav file"]),
        (lambda place: wavfile.write(place / "yes/0.wav", 8000, np.zeros(900, np.int16)), ["yes/0.wav is silent"]),
        (lambda place: [file.unlink() for file in (place / "no").iterdir()], ["words/no holds no .wav files"]),
        (lambda place: [file.unlink() for file in sorted((place / "no").iterdir())[2:]], ["'no'", "2 recordings", "3"]),
        (lambda place: [file.rename(file.with_suffix(".mp3")) for file in place.glob("*/*")], ["holds no .wav files"]),
    ],
)
def test_what_cannot_be_read_is_refused(saved, tmp_path, spoil, words):
    data = saved(FILES)
    spoil(tmp_path / "words")
    with pytest.raises(DataError) as error:
        [data.split(part) for part in PARTS]
    assert all(word in str(error.value) for word in words), str(error.value)


def test_places_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*none"):
        Speech(str(tmp_path / "none")).split("train")
    (tmp_path / "x.mp3").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no \.npz file"):
        Speech(str(tmp_path / "x.mp3")).split("train")
    with pytest.raises(ConfigError, match="chooses among the arrays"):
        Speech(str(tmp_path), test={"takes": [0]}).split("train")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mels": 0}, "mels"),
        ({"seconds": -1.0}, "seconds"),
        ({"hop": float("inf")}, "hop"),
        ({"rate": 0}, "rate"),
        ({"test": {}}, "test names one array"),
        ({"split_seed": -1}, "split_seed"),
    ],
)
def test_impossible_options_are_refused(options, word):
    with pytest.raises(ConfigError, match=word):
        Speech("words", **options)


def test_windows_shorter_than_a_sample_are_refused(saved):
    with pytest.raises(ConfigError, match="too short for 8000 samples"):
        saved(FILES, hop=1e-5).split("train")


# --- real recordings ------------------------------------------------------------------------------------------------


def test_real_digits():
    if not FSDD.exists():
        pytest.skip("the spoken digits are not at hand")
    data = Speech(str(FSDD), test={"indices": [0, 1, 2, 3, 4]}, splits=(0.8, 0.1, 0.1))
    assert data.classes == tuple("0123456789")
    assert len(data.split("test")) == 150 and len(data.split("train")) + len(data.split("val")) == 750
    assert data.facts["mels"] == 40 and data.facts["frames"] <= 86  # the longest has 7,038 samples
    from sklearn.linear_model import RidgeClassifier

    like = data.split("train").inputs[:1].to("meta")
    train, test = (data.ready(data.split(part).inputs, like).flatten(1).numpy() for part in ("train", "test"))
    model = RidgeClassifier(100.0).fit(train, data.split("train").labels.numpy())
    assert model.score(test, data.split("test").labels.numpy()) > 0.85
