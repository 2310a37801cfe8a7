"""Tables of texts: columns, splits and classes as files have them, and what is refused, by line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hwnas
from hwnas import experiment
from hwnas.config import read
from hwnas.data.text import Text
from hwnas.errors import ConfigError, DataError

PARTS = ("train", "val", "test")
LINES = [
    f"a {word} film\t{label}"
    for label, words in enumerate(("poor dull odd", "fine great new"))
    for word in words.split()
] * 2
SST2 = Path(__file__).parents[2] / ".." / "shared" / "data" / "datasets" / "sst2"


@pytest.fixture
def saved(tmp_path):
    """A data set of files by name; of one alone, the file itself."""

    def save(files: dict[str, str | bytes], **options) -> Text:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        first = next(iter(files))
        return Text(str(tmp_path / Path(first).parts[0]), **options)

    return save


def texts(data: Text) -> dict[str, list[tuple[str, str]]]:
    """Texts and classes of every split, sorted."""
    return {
        part: sorted((text, data.classes[label]) for text, label in zip(some, labels.tolist(), strict=True))
        for part, (some, labels) in data._split_texts.items()
    }


def everything(data: Text) -> list[tuple[str, str]]:
    """Texts and classes of all splits, sorted."""
    return sorted(row for rows in texts(data).values() for row in rows)


def test_one_file_is_cut_into_splits_by_class(saved):
    data = saved({"films.tsv": "\n".join(LINES)}, splits=(0.5, 0.25, 0.25))
    assert (data.name, data.classes) == ("films", ("0", "1"))
    assert [len(data.split(part)) for part in PARTS] == [6, 3, 3]
    found = texts(data)
    assert everything(data) == sorted(tuple(line.split("\t")) for line in LINES)
    for part in PARTS:
        split = data.split(part)
        assert split.inputs.shape == (len(split), 4) and split.inputs.dtype == torch.int64
        assert set(split.labels.tolist()) == {0, 1}
    other = replace(data, split_seed=1)
    assert texts(other) != found and other.fingerprint != data.fingerprint


def test_a_folder_has_a_file_for_each_split(saved):
    body = "\n".join(LINES)
    files = {
        "set/train.tsv": body,
        "set/dev.tsv": "good\t1\nbad\t0\n",
        "set/test.tsv": "a\t1\nb\t0\nc\t0",
        "set/README": "",
    }
    data = saved(files)
    assert [len(data.split(part)) for part in PARTS] == [12, 2, 3]
    assert texts(data)["val"] == [("bad", "0"), ("good", "1")]
    assert (data.split("test").inputs == 1).any(), "words of the test texts alone are unknown"
    del files["set/dev.tsv"]
    (Path(data.path) / "dev.tsv").unlink()
    assert [len(replace(data).split(part)) for part in PARTS] == [10, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("x.tsv", "{0}\t{1}", {}),
        ("x.tsv", "{1}\t{0}", {"text": 1, "label": 0}),
        ("x.csv", "{0},{1}", {}),
        ("x.csv", "{0};{1}", {}),
        ("x.csv", '"{0}","{1}"', {}),
        ("x.txt", "{0}|{1}", {"delimiter": "|"}),
        ("x.tsv", "17\t{1}\t{0}", {"text": 2, "label": 1}),
        ("x.CSV", "{0},{1}\r", {}),
    ],
)
def test_columns_are_found(saved, name, content, options):
    rows = [line.split("\t") for line in LINES]
    data = saved({name: "\n".join(content.format(*row) for row in rows)}, **options)
    assert everything(data) == sorted(map(tuple, rows))


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("id,sentence,label", {}),
        ("id,Review,Sentiment", {}),
        ("id,body,kind", {"text": "body", "label": "kind"}),
        ("id,body,class", {"text": "body"}),
        ("\ufeffid,text,label", {}),
    ],
)
def test_the_first_line_may_name_columns(saved, header, options):
    rows = [line.split("\t") for line in LINES]
    body = "\n".join(f'{place},"{text}, really",{label}' for place, (text, label) in enumerate(rows))
    data = saved({"x.csv": f"{header}\n{body}\n"}, **options)
    assert everything(data) == sorted((f"{text}, really", label) for text, label in rows)


def test_quotation_marks_are_text_in_tsv_and_hold_lines_together_in_csv(saved):
    lines = "\n".join(LINES)
    data = saved({"x.tsv": f'"so" they said\t0\n{lines}'})
    assert ('"so" they said', "0") in everything(data)
    data = saved({"y.csv": '"two\nlines",0\n' + lines.replace("\t", ",")})
    assert ("two\nlines", "0") in everything(data)


def test_odd_line_ends_are_no_lines(saved):
    data = saved({"x.tsv": "\n".join(["a\u2028b\x85c\t1", *LINES])})
    assert ("a\u2028b\x85c", "1") in everything(data)


def test_the_fingerprint_follows_content_and_options(saved):
    data = saved({"x.tsv": "\n".join(LINES)})
    before = data.fingerprint
    options = [{"length": 9}, {"vocabulary": 7}, {"split_seed": 3}, {"splits": (0.6, 0.2, 0.2)}, {"text": 0}]
    found = {before, *(replace(data, **option).fingerprint for option in options)}
    assert len(found) == 6
    assert saved({"x.tsv": "\n".join(LINES).replace("odd", "old")}).fingerprint not in found


# --- what is refused ------------------------------------------------------------------------------------------------

BODY = "\n".join(LINES)


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ({"x.tsv": ""}, {}, ["x.tsv is empty"]),
        ({"x.tsv": "\n \n"}, {}, ["x.tsv is empty"]),
        ({"x.tsv": "text\tlabel\n"}, {}, ["names of columns, and no texts"]),
        ({"x.tsv": f"{BODY}\n \t1"}, {}, ["line 13 of", "no text"]),
        ({"x.tsv": f"{BODY}\na film\t"}, {}, ["line 13 of", "no label"]),
        ({"x.tsv": f"{BODY}\na\tb\t1"}, {}, ["line 13 of", "has 3 columns, the first line has 2"]),
        ({"x.tsv": f"{BODY}\na film"}, {}, ["line 13 of", "has 1 columns"]),
        ({"x.tsv": f"{BODY}\na film\tgod"}, {}, ["'god' of line 13 occurs nowhere else"]),
        ({"x.tsv": BODY.replace("\t", " ")}, {}, ["has 1 columns", "position 1 for label"]),
        ({"x.tsv": f"{BODY}\n".encode() + b"caf\xe9\t1"}, {}, ["line 13 of", "no UTF-8", "0xe9"]),
        ({"x.csv": f"{BODY}\n".replace("\t", ",") + "x" * 140_000 + ",1"}, {}, ["line 13 of", "field larger"]),
        ({"x.tsv": BODY}, {"text": "review"}, ["no column 'review'"]),
        ({"x.tsv": BODY}, {"label": 5}, ["has 2 columns", "position 5 for label"]),
        ({"x.tsv": BODY}, {"text": 1}, ["are the same column"]),
        ({"x.tsv": BODY}, {"label": 0}, ["are the same column"]),
        ({"x.tsv": "\n".join(LINES[:3] * 4)}, {}, ["only the class '0'"]),
        ({"set/dev.tsv": BODY}, {}, ["has no file for training", "dev.tsv"]),
        ({"set/notes.md": BODY}, {}, ["has no file for training", "no files of type"]),
        ({"set/train.tsv": BODY, "set/train.csv": BODY}, {}, ["a second file for the same split"]),
        ({"set/train.tsv": BODY, "set/dev.tsv": "x\t0\ny\t2"}, {}, ["train and val", "only val has '2'"]),
        ({"set/train.tsv": BODY, "set/dev.tsv": "x y"}, {}, ["dev.tsv has 1 columns"]),
    ],
)
def test_what_cannot_be_read_is_refused(saved, files, options, words):
    with pytest.raises(DataError) as error:
        saved(files, **options).split("train")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_files_that_are_not_there_are_refused(tmp_path):
    for look in (lambda data: data.classes, lambda data: data.fingerprint, lambda data: data.split("val")):
        with pytest.raises(DataError, match=r"none\.tsv cannot be read: No such file"):
            look(Text(str(tmp_path / "none.tsv")))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"delimiter": ""}, "delimiter is one character"),
        ({"delimiter": "::"}, "delimiter is one character"),
        ({"text": -1}, "text must be a name, or a position"),
        ({"text": "a", "label": "a"}, "two columns"),
        ({"length": 1}, "length"),
        ({"splits": (1.0, 0.0, 0.0)}, "splits"),
    ],
)
def test_impossible_options_are_refused(options, word):
    with pytest.raises(ConfigError, match=word):
        Text("x.tsv", **options)


# --- in an experiment -----------------------------------------------------------------------------------------------


def prepared(family, path, place):
    source = {"family": family, "data": str(path), "goals": {"macs": {"min": "macs"}}}
    return experiment.prepare(read(source), place / "run")


BERT = {"layers": [1, 2], "widths": [16, 32], "heads": [1, 2], "hiddens": [16, 32], "head_width": 8}


def test_a_family_takes_vocabulary_and_length_from_the_texts(saved, tmp_path):
    data = saved({"x.tsv": BODY})
    assert data.facts == {"classes": 2, "vocabulary": 11, "length": 4}
    family = prepared({"bert": BERT}, data.path, tmp_path).bench.family
    assert (family.classes, family.vocabulary, family.length) == (2, 11, 4)
    own = prepared({"bert": {**BERT, "vocabulary": 30, "length": 9}}, data.path, tmp_path).bench.family
    assert (own.classes, own.vocabulary, own.length) == (2, 30, 9)


def test_what_does_not_go_together_is_refused(saved, tmp_path):
    data = saved({"x.tsv": BODY})
    with pytest.raises(ConfigError, match="family: the family has 7 words, the data set 'x' has 11"):
        prepared({"bert": {**BERT, "vocabulary": 7}}, data.path, tmp_path)
    with pytest.raises(ConfigError, match="data: the networks of 'nasbench201' take 3 x 32 x 32 of float32"):
        prepared({"nasbench201": {"channels": 4, "cells": 1}}, data.path, tmp_path)
    with pytest.raises(ConfigError, match=r"data: the networks of 'bert' take 128 of int64, which .* 'digits' cannot"):
        prepared({"bert": BERT}, "digits", tmp_path)


def test_a_supernet_learns_to_read(saved, tmp_path):
    """One word decides; AdamW finds it, and every subnet reads with the shared weights."""
    kinds = {"good": ("fine", "great", "lovely", "superb"), "bad": ("poor", "dull", "silly", "awful")}
    things = ("film", "book", "play", "song", "story")
    rows = [f"the {thing} was {word}\t{kind}" for kind, words in kinds.items() for word in words for thing in things]
    data = saved({"x.tsv": "\n".join(rows)})
    shrink = {"epochs": 40, "batch": 14, "optimizer": "adamw", "lr": 0.01, "reuse": False}
    source = {
        "family": {"bert": BERT},
        "data": data.path,
        "weights": {"shrink": shrink},
        "goals": {"accuracy": {"max": "shared"}, "macs": {"min": "macs"}},
        "search": "random",
        "budget": 4,
        "confirm": 2,
        "export": False,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    assert [trial.values["accuracy"] for trial in study.trials()] == [1.0] * 4
    assert (tmp_path / "run" / "vocabulary.json").exists()


# --- real sentences -------------------------------------------------------------------------------------------------


def test_real_sentences():
    if not SST2.exists():
        pytest.skip("the SST-2 sentences are not at hand")
    data = Text(str(SST2))
    assert (data.name, data.classes) == ("sst2", ("0", "1"))
    assert [len(data.split(part)) for part in PARTS] == [6920, 872, 1821]
    assert [int(data.split(part).labels.sum()) for part in PARTS] == [3610, 444, 909]
    assert data.facts["vocabulary"] == 3 + 10_000 and 30 <= data.facts["length"] <= 54
    known = (data.split("test").inputs > 2).sum() / (data.split("test").inputs != 0).sum()
    assert known > 0.85
