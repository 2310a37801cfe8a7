"""Splitting: known counts by hand, and what must hold for any labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.data import Data, Part, Split
from hwnas.data._splits import InMemory, agree, check, cut, fingerprint, stratified
from hwnas.errors import ConfigError, DataError


def labels_of(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 40), min_size=1, max_size=8),
    shares=st.tuples(*[st.floats(0.01, 1.0)] * 3),
    seed=st.integers(0, 2**32),
)
def test_every_position_is_dealt_once_and_every_class_reaches_every_part(sizes, shares, seed):
    labels = labels_of(*sizes)
    parts = stratified(labels, shares, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part in parts:
        assert set(labels[part]) == set(range(len(sizes)))


def test_shares_are_kept_exactly_where_they_can_be():
    labels = labels_of(20, 40, 100)
    for part, sizes in zip(
        stratified(labels, (0.7, 0.15, 0.15), 0), [(14, 28, 70), (3, 6, 15), (3, 6, 15)], strict=True
    ):
        assert tuple(np.bincount(labels[part])) == sizes


def test_rounding_does_not_favour_a_split():
    # 10 images at 0.7, 0.15, 0.15: each class has one image too many for val and test; they must get it in turn.
    parts = stratified(labels_of(*[10] * 100), (0.7, 0.15, 0.15), 0)
    assert [len(part) for part in parts] == [700, 150, 150]


def test_tiny_classes_do_not_tax_large_ones():
    labels = labels_of(*[3] * 200, 100)
    parts = stratified(labels, (0.8, 0.1, 0.1), 0)
    for part, ideal in zip(parts, (80, 10, 10), strict=True):
        assert abs(np.sum(labels[part] == 200) - ideal) <= 2


def test_classes_take_turns_within_a_part():
    labels = labels_of(*[50] * 10)
    for part in stratified(labels, (0.6, 0.2, 0.2), 0):
        for turns in range(1, 11):
            assert set(np.bincount(labels[part[: 10 * turns]])) == {turns}


def test_the_seed_decides_and_the_deal_is_the_same_on_every_machine():
    labels = labels_of(5, 5)
    first = [part.tolist() for part in stratified(labels, (0.6, 0.2, 0.2), 0)]
    assert first == [part.tolist() for part in stratified(labels, (0.6, 0.2, 0.2), 0)]
    assert first != [part.tolist() for part in stratified(labels, (0.6, 0.2, 0.2), 1)]
    assert first == [[6, 3, 2, 8, 9, 1], [5, 0], [7, 4]]


def test_order_of_labels_does_not_matter():
    rng = np.random.default_rng(3)
    labels = rng.permutation(labels_of(7, 8, 9))
    parts = stratified(labels, (0.5, 0.25, 0.25), 0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(24))
    assert [np.bincount(labels[part]).sum() for part in parts] == [12, 6, 6]


def test_missing_parts_are_cut_out_of_train():
    train, test = labels_of(40, 40), labels_of(3, 5)
    found = cut({"train": train, "test": test}, ("a", "b"), (0.6, 0.2, 0.2), 0, "set")
    assert {part: origin for part, (origin, _) in found.items()} == {"train": "train", "val": "train", "test": "test"}
    assert [len(order) for _, order in found.values()] == [60, 20, 8]
    assert sorted(found["test"][1].tolist()) == list(range(8))
    both = np.concatenate([found["train"][1], found["val"][1]])
    assert sorted(both.tolist()) == list(range(80))


def test_given_parts_stay_whole():
    given_parts: dict[Part, np.ndarray] = {"train": labels_of(1, 1), "val": labels_of(2, 1), "test": labels_of(1, 4)}
    found = cut(given_parts, ("a", "b"), (0.6, 0.2, 0.2), 0, "set")
    assert all(origin == part and len(order) == len(given_parts[part]) for part, (origin, order) in found.items())


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ({"train": labels_of(9)}, ("cat",), ["set has only the class 'cat'"]),
        ({"train": labels_of()}, (), ["no classes"]),
        ({"train": labels_of(9, 2)}, ("cat", "dog"), ["class 'dog' of set has 2 images", "train, val, test"]),
        ({"train": labels_of(9, 1), "val": labels_of(1, 1)}, ("cat", "dog"), ["'dog'", "1 image,", "train, test"]),
        ({"train": labels_of(9, 9), "val": labels_of(1)}, ("cat", "dog"), ["train and val", "only train has 'dog'"]),
        (
            {"train": labels_of(9, 9), "test": labels_of(1, 1, 1)},
            ("a", "b", "c"),
            ["train and test", "only test has 'c'"],
        ),
    ],
)
def test_what_cannot_be_split_is_refused(labels, classes, words):
    with pytest.raises(DataError) as error:
        cut(labels, classes, (0.6, 0.2, 0.2), 0, "set")
    assert all(word in str(error.value) for word in words)
    assert error.value.hint


def test_parts_that_agree_pass():
    agree({"train": {"a", "b"}, "val": ["b", "a"]}, "set")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (((0.5, 0.5, 0.0), 0, None), "splits"),
        (((0.5, 0.5, 0.5), 0, None), "together 1"),
        (((1.2, -0.1, -0.1), 0, None), "splits"),
        (((float("nan"), 0.5, 0.5), 0, None), "splits"),
        (((0.5, 0.5), 0, None), "splits"),
        (((0.6, 0.2, 0.2), -1, None), "split_seed"),
        (((0.6, 0.2, 0.2), 0, 0), "resolution"),
    ],
)
def test_impossible_options_are_refused(options, word):
    with pytest.raises(ConfigError, match=word):
        check(*options)


def test_fingerprints_tell_facts_apart():
    assert fingerprint({"b": 1, "a": [2]}) == fingerprint({"a": [2], "b": 1})
    assert fingerprint("a", "b") != fingerprint("ab")
    assert len(fingerprint()) == 16
    int(fingerprint(0), 16)


class Counting(InMemory):
    """A data set that counts how often it is read."""

    name, classes, facts, fingerprint = "counting", ("a", "b"), {"classes": 2}, "0" * 16

    def __init__(self) -> None:
        self.reads: list[str] = []

    def _read(self, part: Part) -> Split:
        self.reads.append(part)
        return Split(torch.arange(2), torch.tensor([0, 1]))


def test_splits_are_read_once_and_only_when_needed():
    data: Data = (counting := Counting())
    assert counting.reads == []
    assert data.split("val") is data.split("val")
    assert counting.reads == ["val"]
