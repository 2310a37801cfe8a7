"""Seeds: the same for the same words everywhere, different for different ones, and nothing left behind."""

from __future__ import annotations

import doctest
import hashlib
import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas import seeds
from hwnas.seeds import derive, seeded

WORDS = st.lists(st.text() | st.integers() | st.lists(st.integers()).map(tuple), max_size=4).map(tuple)


def test_the_definition():
    digest = hashlib.sha256(b'[3,"weights",[0,1]]').digest()
    assert derive(3, "weights", (0, 1)) == int.from_bytes(digest[:8], "big") // 2


@given(st.integers(), WORDS, st.integers(), WORDS)
def test_other_words_give_other_seeds(seed, words, other_seed, other_words):
    one, other = derive(seed, *words), derive(other_seed, *other_words)
    assert 0 <= one < 2**63
    assert (one == other) == ((seed, words) == (other_seed, other_words))


def test_words_do_not_run_together():
    assert len({derive(0, "ab"), derive(0, "a", "b"), derive(0, "1"), derive(0, 1), derive(0, (1,)), derive(1)}) == 6


def test_the_same_in_every_process():
    ask = "from hwnas.seeds import derive; print(derive(7, 'train', 3, (1, 2)))"
    answers = {
        int(subprocess.check_output([sys.executable, "-c", ask], env={"PYTHONHASHSEED": seed})) for seed in ("1", "2")
    }
    assert answers == {derive(7, "train", 3, (1, 2))}


def test_torch_follows_the_seed_inside_and_is_as_before_outside():
    torch.random.default_generator.manual_seed(1)
    expected = torch.rand(4)
    torch.random.default_generator.manual_seed(1)
    before = torch.rand(2)
    with seeded(5):
        one = torch.rand(3)
        with seeded(6):
            torch.rand(1)
        rest = torch.rand(3)
    with seeded(5):
        assert torch.equal(torch.rand(6), torch.cat([one, rest]))
    assert torch.equal(torch.cat([before, torch.rand(2)]), expected)


def test_an_error_inside_leaves_nothing_behind():
    state = torch.get_rng_state()
    try:
        with seeded(5):
            raise KeyError
    except KeyError:
        assert torch.equal(torch.get_rng_state(), state)


def test_examples_in_docstrings():
    assert doctest.testmod(seeds).failed == 0
