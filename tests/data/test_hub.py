"""Data sets of the Hub, through a stand-in for the library: columns, labels, splits, and what may go wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas import testing
from hwnas.data.hub import Hub
from hwnas.errors import ConfigError, DataError

PARTS = ("train", "val", "test")


class Table:
    """A split as the library has it: rows by number, columns by name, and what is known of the columns."""

    def __init__(self, columns, names=None):
        self.columns = columns
        self.features = {
            name: SimpleNamespace(names=names) if name == "label" and names else object() for name in columns
        }

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        return self.columns[key] if isinstance(key, str) else {name: some[key] for name, some in self.columns.items()}


def from_folder(path, config=None, revision=None):
    """What the library does with a folder of .jsonl files."""
    assert config is None and revision is None
    found = {}
    for file in sorted(Path(path).glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found[file.stem] = Table({name: [row[name] for row in rows] for name in rows[0]})
    return found


@pytest.fixture
def library(monkeypatch):
    """Puts a function in the place of the library's `load_dataset`, or lets it raise."""

    def put(load):
        def raising(*_, **__):
            raise load

        module = ModuleType("datasets")
        module.load_dataset = raising if isinstance(load, Exception) else load
        monkeypatch.setitem(sys.modules, "datasets", module)

    return put


def given(library, **tables):
    """Lets the library find these splits, whatever is asked for."""
    library(lambda *_, **__: tables)


def sentences(count, first=0, **columns):
    return {
        "sentence": [f"a sentence with the number {number}" for number in range(first, first + count)],
        "label": [number % 2 for number in range(count)],
        **columns,
    }


@pytest.mark.parametrize("check", testing.checks_of(Hub))
def test_it_keeps_the_contract(check, library, tmp_path):
    library(from_folder)
    check(Hub.example(tmp_path))


def test_texts_with_splits_of_their_own(library):
    asked = []

    def load(*words, **options):
        asked.append((*words, options))
        return {
            "train": Table(sentences(20), ["bad", "good"]),
            "validation": Table(sentences(6, 20), ["bad", "good"]),
            "test": Table(sentences(8, 30) | {"label": [-1] * 8}, ["bad", "good"]),
        }

    library(load)
    data = Hub("nyu-mll/glue", config="sst2", revision="abc")
    assert data.classes == ("bad", "good") and data.name == "glue/sst2"
    assert [len(data.split(part)) for part in PARTS] == [16, 6, 4], "labels of -1 are none: test is cut out of train"
    assert data.facts == {"classes": 2, "vocabulary": 3 + 5 + 16, "length": 7}
    assert data.split("val").inputs[0].tolist()[0] == 2
    assert asked == [("nyu-mll/glue", "sst2", {"revision": "abc"})], "it is loaded once"
    assert "vocabulary" in data.preparation


def test_words_of_texts_are_kept(library, tmp_path):
    given(library, train=Table(sentences(20)))
    data = Hub("a/b", folder=tmp_path, vocabulary=4)
    data.keep()
    assert len(json.loads((tmp_path / "vocabulary.json").read_text())["words"]) == 4
    assert torch.equal(replace(data).split("val").inputs, data.split("val").inputs)


def pictures(count, sizes=((8, 8),)):
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(256, size=(*sizes[number % len(sizes)], 3), dtype=np.uint8))
        for number in range(count)
    ]
    return {"img": images, "label": [number % 2 for number in range(count)]}


def test_images(library):
    columns = pictures(20)
    given(library, train=Table(columns, ["cat", "dog"]))
    data = Hub("a/pictures")
    assert data.classes == ("cat", "dog") and data.facts == {"classes": 2, "resolution": 8}
    assert [len(data.split(part)) for part in PARTS] == [14, 3, 3]
    known = {np.asarray(image).tobytes(): number % 2 for number, image in enumerate(columns["img"])}
    found = {
        image.permute(1, 2, 0).contiguous().numpy().tobytes(): label
        for part in PARTS
        for image, label in zip(data.split(part).inputs, data.split(part).labels.tolist(), strict=True)
    }
    assert found == known
    assert Hub("a/pictures", resolution=4).split("val").inputs.shape == (3, 3, 4, 4)
    assert data.ready(data.split("val").inputs, torch.empty(1, 3, 12, 12, device="meta")).shape == (3, 3, 12, 12)


def test_images_of_several_sizes_need_a_resolution(library):
    given(library, train=Table(pictures(20, ((8, 8), (6, 9)))))
    with pytest.raises(DataError, match=r"differ in size: .*\nset `resolution`"):
        Hub("a/pictures").split("train")
    assert Hub("a/pictures", resolution=5).facts["resolution"] == 5


def test_the_fingerprint_follows_content(library):
    given(library, train=Table(sentences(20)))
    one = Hub("a/b").fingerprint
    assert Hub("c/d").fingerprint == one
    assert Hub("a/b", split_seed=1).fingerprint != one != Hub("a/b", length=9).fingerprint
    given(library, train=Table(sentences(20, 1)))
    assert Hub("a/b").fingerprint != one


# --- columns --------------------------------------------------------------------------------------------------------


def test_columns_may_be_named(library):
    columns = {
        "idx": list(range(20)),
        **sentences(20),
        "other": ["x y z"] * 20,
        "stars": [number % 4 for number in range(20)],
    }
    given(library, train=Table(columns))
    assert Hub("a/b").facts["length"] == 7
    assert Hub("a/b", input="other").facts["length"] == 4
    assert Hub("a/b", label="stars").classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (sentences(20), {"input": "sentnce"}, ["no column 'sentnce'", "did you mean 'sentence'"]),
        (sentences(20), {"label": "stars"}, ["no column 'stars'"]),
        ({"text": ["a"] * 20, "mark": [1] * 20}, {}, ["no column that is taken for the label", "text, mark"]),
        ({"sound": [3.5] * 20, "label": [0, 1] * 10}, {}, ["no column that is taken for the input"]),
        ({"sound": [3.5] * 20, "label": [0, 1] * 10}, {"input": "sound"}, ["holds float, not text or images"]),
        (sentences(20) | {"label": [None, 1] * 10}, {}, ["no label in column 'label'"]),
        ({"text": ["a", " "] * 10, "label": [0, 1] * 10}, {}, ["example 1 of train", "no text"]),
        ({"text": ["a", None] * 10, "label": [0, 1] * 10}, {}, ["example 1 of train", "no text"]),
    ],
)
def test_columns_that_do_not_fit_are_refused(library, columns, options, words):
    given(library, train=Table(columns))
    with pytest.raises(DataError) as error:
        Hub("a/b", **options).split("train")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_data_set_without_training_examples_is_refused(library):
    given(library, test=Table(sentences(20)), train=Table({"sentence": [], "label": []}))
    with pytest.raises(DataError, match="no split to train on; it has test, train"):
        Hub("a/b").split("train")


# --- the library and the network ------------------------------------------------------------------------------------


def test_the_library_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    data = Hub("stanfordnlp/sst2")
    for look in (lambda: data.classes, lambda: data.fingerprint, lambda: data.split("train"), data.keep):
        with pytest.raises(ConfigError, match=r'library datasets, which is missing\npip install "hwnas\[hf\]"'):
            look()


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (FileNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), ["was not found", "owner/name"]),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), ["cannot be loaded", "HF_HUB_OFFLINE=1"]),
        (TimeoutError("too slow"), ["cannot be loaded: too slow"]),
        (ValueError("Config name is missing.\nPlease pick one"), ["ValueError: Config name is missing.", "`config`"]),
        (RuntimeError("Dataset scripts are no longer supported"), ["RuntimeError", "code of their own"]),
    ],
)
def test_what_goes_wrong_on_the_way_is_told(library, raised, words):
    library(raised)
    with pytest.raises(DataError) as error:
        Hub("a/b", config="c").split("train")
    assert all(word in str(error.value) for word in ("'a/b', config 'c',", *words)), str(error.value)
    assert error.value.__cause__ is raised


@pytest.mark.parametrize(
    ("options", "word"),
    [({"resolution": 0}, "resolution"), ({"length": 1}, "length"), ({"split_seed": -1}, "split_seed")],
)
def test_impossible_options_are_refused(options, word):
    with pytest.raises(ConfigError, match=word):
        Hub("a/b", **options)
