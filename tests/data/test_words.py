"""What data sets of text share: tokens counted by hand, lengths, words left out, and what is kept of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.data import Part
from hwnas.data._splits import fingerprint
from hwnas.data._words import FromFile, Lexicon, Texts, Words, check_words, ordered, words_of
from hwnas.errors import ConfigError, DataError

TRAIN = ("The cat sat.", "the dog sat", "A cat!", "the end")


@dataclass(frozen=True)
class Sentences(Words):
    """A few sentences, the same in val and test."""

    length: int | None = None
    vocabulary: int = 3
    tokenizer: str | None = None
    folder: Path | None = None

    name = "sentences"
    classes = ("no", "yes")

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._says())

    def _texts(self) -> Mapping[Part, Texts]:
        labels = np.array([0, 1, 0, 1])
        other = ("the bird sat there", "A dog")
        return {"train": (TRAIN, labels), "val": (other, labels[:2]), "test": (other, labels[:2])}


def test_words_are_found_in_any_language():
    assert words_of("Don't STOP -- ça va?") == ["don't", "stop", "-", "-", "ça", "va", "?"]
    assert words_of("does n't cost $5") == ["does", "n't", "cost", "$", "5"]
    assert words_of(" \t") == []


def test_the_most_frequent_words_come_first_and_then_the_alphabet():
    assert Lexicon.of(TRAIN, 3).words == ("the", "cat", "sat")  # 3, 2 and 2 times
    assert Lexicon.of(TRAIN, 100).words == ("the", "cat", "sat", "!", ".", "a", "dog", "end")


def test_tokens_by_hand():
    data = Sentences()
    split = data.split("train")
    assert split.inputs.dtype == torch.int64
    # 3 the, 4 cat, 5 sat; 2 begins, 1 is unknown, 0 fills up; the longest text has 4 words
    assert split.inputs.tolist() == [[2, 3, 4, 5, 1], [2, 3, 1, 5, 0], [2, 1, 4, 1, 0], [2, 3, 1, 0, 0]]
    assert data.split("val").inputs.tolist() == [[2, 3, 1, 5, 1], [2, 1, 1, 0, 0]]
    assert data.facts == {"classes": 2, "vocabulary": 6, "length": 5}


def test_a_given_length_cuts():
    assert Sentences(length=3).split("train").inputs.tolist() == [[2, 3, 4], [2, 3, 1], [2, 1, 4], [2, 3, 1]]
    assert Sentences(length=3).facts["length"] == 3


def test_few_long_texts_do_not_decide_on_the_length(monkeypatch):
    texts = (*["one two"] * 97, *["word " * 700] * 3)
    made = {part: (texts, np.arange(100) % 2) for part in ("train", "val", "test")}
    monkeypatch.setattr(Sentences, "_texts", lambda _: made)
    assert Sentences().facts["length"] == 3
    made["train"] = (texts[50:], np.arange(50) % 2)
    assert Sentences().facts["length"] == 512


def test_networks_get_tokens_of_their_own_length():
    data = Sentences()
    raw = data.split("val").inputs
    assert data.ready(raw, torch.empty(1, 3, dtype=torch.int64, device="meta")).tolist() == [[2, 3, 1], [2, 1, 1]]
    longer = data.ready(raw, torch.empty(1, 7, dtype=torch.int64, device="meta"))
    assert longer.tolist() == [[2, 3, 1, 5, 1, 0, 0], [2, 1, 1, 0, 0, 0, 0]]


def test_words_are_left_out_at_the_rate_asked_for():
    data = Sentences()
    raw = torch.tensor([[2, 3, 4, 5, 0, 0]]).repeat(4000, 1)
    for strength, share in ((2, 0.1), (4, 0.2), (100, 0.5)):
        found = data.varied(raw, np.random.default_rng(0), strength)
        changed = found != raw
        assert (found[changed] == 1).all()
        assert not changed[:, 0].any() and not changed[:, 4:].any()
        assert changed[:, 1:4].float().mean().item() == pytest.approx(share, abs=0.01)


def test_an_exported_file_says_how_its_tokens_are_made():
    told = Sentences().preparation
    assert told["vocabulary"][3:] == ["the", "cat", "sat"] and len(told["vocabulary"]) == 6
    json.dumps(told)


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_words_are_kept_and_found_again(tmp_path):
    data = Sentences(folder=tmp_path / "run")
    data.keep()
    kept = json.loads((tmp_path / "run" / "vocabulary.json").read_text())
    assert kept == {"fingerprint": data.fingerprint, "words": ["the", "cat", "sat"]}
    record = tmp_path / "run" / "vocabulary.json"
    record.write_text(json.dumps({**kept, "words": ["dog", "the", "sat"]}))
    assert replace(data).split("val").inputs.tolist() == [[2, 4, 1, 5, 1], [2, 1, 3, 0, 0]]
    with pytest.raises(DataError, match="the words of other texts, or of other options"):
        replace(data, vocabulary=4).split("val")
    record.write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        replace(data).split("val")


# --- a tokenizer from a file ----------------------------------------------------------------------------------------


def write_tokenizer(place: Path, words: list[str], specials: list[str]) -> str:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.add_special_tokens(specials)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(word, words.index(word)) for word in ("[CLS]", "[SEP]")]
    )
    made.enable_padding()
    made.enable_truncation(2)
    made.save(str(place / "tokenizer.json"))
    return str(place / "tokenizer.json")


SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def test_a_tokenizer_of_a_published_model_is_used(tmp_path):
    path = write_tokenizer(tmp_path, [*SPECIALS, "the", "cat", "sat", "."], SPECIALS)
    data = Sentences(tokenizer=path)
    rows = [[2, 4, 5, 6, 7, 3], [2, 4, 1, 6, 3, 0], [2, 1, 5, 1, 3, 0], [2, 4, 1, 3, 0, 0]]
    assert data.split("train").inputs.tolist() == rows
    assert data.facts == {"classes": 2, "vocabulary": 8, "length": 6}
    short = Sentences(tokenizer=path, length=4).split("train").inputs
    assert short[0].tolist() == [2, 4, 5, 3], "the tokenizer knows how to cut"
    raw = torch.tensor(rows[0] + [0]).repeat(2000, 1)
    varied = data.varied(raw, np.random.default_rng(0), 4)
    assert sorted(set((varied != raw).nonzero()[:, 1].tolist())) == [1, 2, 3, 4]
    assert data.preparation["tokenizer"] == "tokenizer.json"
    data.keep()
    before = data.fingerprint
    write_tokenizer(tmp_path, [*SPECIALS, "the", "dog", "sat", "."], SPECIALS)
    assert replace(data).fingerprint != before


def test_tokenizers_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="there is no file"):
        FromFile(str(tmp_path / "none.json"))
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(ConfigError, match="no tokenizer of the tokenizers library"):
        FromFile(str(tmp_path / "odd.json"))
    path = write_tokenizer(tmp_path, ["the", *SPECIALS], SPECIALS)
    with pytest.raises(ConfigError, match=r"token 0 of .* is 'the'"):
        FromFile(path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"not installed\npip install tokenizers"):
        FromFile(path)


# --- small things ---------------------------------------------------------------------------------------------------


def test_classes_are_ordered_as_people_count():
    assert ordered(["10", "9", "-1"]) == ("-1", "9", "10")
    assert ordered(["b", "a", "b"]) == ("a", "b")


@pytest.mark.parametrize(("options", "word"), [((1, 5), "length"), ((None, 0), "vocabulary")])
def test_impossible_options_are_refused(options, word):
    with pytest.raises(ConfigError, match=word):
        check_words(*options)
