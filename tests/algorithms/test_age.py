"""AGE-MOEA: better than chance, with two and with three objectives; and what it needs."""

from __future__ import annotations

import importlib.util

import pytest

from hwnas import parts
from hwnas.algorithms.age import Age
from hwnas.algorithms.random import Random
from hwnas.errors import MissingExtraError

from ._toy import volumes

pytest.importorskip("numba", reason="AGE-MOEA needs the extra `age`")


def test_it_beats_random_search():
    ours, random = volumes(Age(), 200, seeds=4), volumes(Random(), 200, seeds=4)
    assert ours.mean() > random.mean() + random.std()


def test_without_numba_it_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))
    with pytest.raises(MissingExtraError, match=r"pip install \"hwnas\[age\]\""):
        parts.make("algorithms", "age")
