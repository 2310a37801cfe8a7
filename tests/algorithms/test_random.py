"""Random search: uniform, without repeats, to the end."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.space import Choice, Space

from ._toy import SPACE, cube, drive, judge, rough


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_step_asks_for_a_batch(batch):
    steps = Random(batch=batch).steps(SPACE, (), np.random.default_rng(0))
    assert next(steps) == []
    assert [len(steps.send([])) for _ in range(3)] == [batch] * 3


def test_results_change_nothing():
    good = drive(Random(), budget=60)
    bad = drive(Random(), budget=60, judge=lambda code: {name: -value for name, value in judge(code).items()})
    assert good.asked == bad.asked


def test_all_choices_are_uniform():
    space = cube(2, 5, 7, *[9] * 6)
    asked = drive(Random(), space=space, judge=rough, budget=3000).asked
    for place, choice in enumerate(space.choices):
        counts = Counter(code[place] for code in asked)
        expected = len(asked) / len(choice.values)
        assert all(abs(counts[index] - expected) < 5 * expected**0.5 for index in choice.values)


def test_the_last_code_of_a_small_space_is_uniform_too():
    runs = [drive(Random(batch=1), space=cube(2, 3), judge=rough, seed=seed) for seed in range(600)]
    lasts = Counter(run.asked[-1] for run in runs)
    assert len(lasts) == 6
    assert all(abs(count - 100) < 50 for count in lasts.values())


def test_a_huge_space_whose_samples_are_nearly_always_the_same():
    words = tuple(range(200))
    rare = (Choice("a", words), Choice("b", words, ("a", (7,))), Choice("c", words, ("b", (7,))))
    space = Space("rare", (*rare, *(Choice(f"d{i}", words, ("c", (7,))) for i in range(20))))
    assert space.size > 10**45
    asked = drive(Random(), space=space, judge=lambda code: {}, budget=1000).asked
    assert len(set(asked)) == len(asked) >= 1000
    assert all(space.canonical(code) == code for code in asked)


def test_options():
    with pytest.raises(ConfigError, match="batch"):
        Random(batch=0)
