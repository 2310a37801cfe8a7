"""Grid search: every network once, in an order that covers the space early."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from hwnas.algorithms.grid import Grid, _stride, _strides
from hwnas.errors import ConfigError
from hwnas.space import Choice, Space

from ._toy import SPACE, cube, drive, rough


def test_counting_is_the_order_of_the_space():
    space = cube(3, 2, 4)
    run = drive(Grid(order="counting", batch=5), space=space, judge=rough, budget=1000)
    assert run.asked == list(space.codes()) and run.ended


def test_the_ends_come_first_and_a_part_covers_every_value_equally():
    space = cube(2, 5, 7, *[9] * 6)
    asked = drive(Grid(), space=space, judge=rough, budget=2000).asked
    assert asked[:2] == [space.smallest, space.largest]
    for place, choice in enumerate(space.choices):
        counts = Counter(code[place] for code in asked)
        expected = len(asked) / len(choice.values)
        assert all(abs(counts[index] - expected) < 0.25 * expected for index in choice.values)


def test_a_huge_conditional_space_begins_at_once():
    words = tuple(range(200))
    rare = (Choice("a", words), Choice("b", words, ("a", (7,))), Choice("c", words, ("b", (7,))))
    space = Space("rare", (*rare, *(Choice(f"d{i}", words, ("c", (7,))) for i in range(20))))
    asked = drive(Grid(), space=space, judge=lambda code: {}, budget=1000).asked
    assert len(set(asked)) == len(asked) >= 1000
    assert all(space.canonical(code) == code for code in asked)


@pytest.mark.parametrize("size", [1, 2, 3, 12, 97, 1000, 720720])
def test_strides_meet_every_number_once(size):
    assert np.gcd(_stride(size), size) == 1
    if size <= 1000:
        assert sorted(_strides(size, np.random.default_rng(0))) == list(range(size))


def test_a_stride_is_the_golden_part_of_any_size():
    for size in (10**6, SPACE.size, 10**40):
        assert abs(_stride(size) / size - 0.6180339887) < 1e-3
    first = sorted(number / 10**40 for number in islice(_strides(10**40, np.random.default_rng(0)), 100))
    assert max(np.diff(first)) < 0.03  # a hundred steps leave no gap of three hundredths


def test_options():
    with pytest.raises(ConfigError, match="batch"):
        Grid(batch=0)
    with pytest.raises(ConfigError, match="order"):
        Grid(order="random")
