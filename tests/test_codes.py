"""Arrays of codes do what the space does to one code."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes, testing
from hwnas.space import Choice, Space

SPACES = [testing.SPACE, testing.SKEWED, testing.cube(1, 3, 2)]


@pytest.fixture(params=SPACES, ids=lambda space: space.name)
def space(request):
    return request.param


def some(space, count=200, seed=0):
    """Raw codes, inactive choices anything."""
    rng = np.random.default_rng(seed)
    return rng.integers([len(choice.values) for choice in space.choices], size=(count, len(space)))


def test_canonical_active_and_one_hot_agree_with_the_space_row_by_row(space):
    raw = some(space)
    assert codes.tuples(codes.canonical(space, raw)) == [space.canonical(tuple(row)) for row in raw]
    assert codes.active(space, raw).tolist() == [list(space.active(row)) for row in raw]
    assert np.array_equal(codes.one_hot(space, raw), np.stack([space.one_hot(tuple(row)) for row in raw]))


def test_tuples_are_codes_of_plain_ints_and_come_back(space):
    made = codes.tuples(codes.sample(space, 20, np.random.default_rng(1)))
    assert all(type(code) is tuple and all(type(index) is int for index in code) for code in made)
    assert codes.tuples(codes.array(space, made)) == made
    assert codes.array(space, []).shape == (0, len(space))


def test_samples_are_as_likely_as_those_of_the_space():
    space = testing.SPACE
    many = codes.sample(space, 4000, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    one_by_one = codes.array(space, (space.sample(rng) for _ in range(4000)))
    shares = [codes.one_hot(space, each).mean(axis=0) for each in (many, one_by_one)]
    assert np.abs(shares[0] - shares[1]).max() < 0.04


def test_mutants_differ_are_canonical_and_every_value_can_come(space):
    parents = np.repeat(codes.canonical(space, some(space, 1)), 3000, axis=0)
    children = codes.mutate(space, parents, np.random.default_rng(0))
    assert (children != parents).any(axis=1).all()
    assert np.array_equal(codes.canonical(space, children), children)
    reached = codes.one_hot(space, children).any(axis=0)
    movable = codes.one_hot(space, codes.array(space, space.neighbours(tuple(parents[0])))).any(axis=0)
    assert reached[movable].all()


@pytest.mark.parametrize("rate", [None, 0.0, 0.5, 1.0])
def test_mutation_moves_as_many_choices_as_its_rate_says(rate):
    space = testing.cube(*[4] * 20)
    parents = codes.sample(space, 2000, np.random.default_rng(0))
    moved = (codes.mutate(space, parents, np.random.default_rng(1), rate) != parents).sum(axis=1).mean()
    expected = {None: 1 + (1 - 1 / 20) ** 20, 0.0: 1.0, 0.5: 10.0, 1.0: 20.0}[rate]  # at least one always moves
    assert moved == pytest.approx(expected, abs=0.15)


def test_what_cannot_move_stays():
    space = Space("still", (Choice("only", (1,)),))
    assert codes.mutate(space, np.zeros((3, 1), dtype=np.int64), np.random.default_rng(0)).tolist() == [[0]] * 3


def test_children_take_every_choice_from_a_parent():
    space = testing.cube(5, 5, 5, 5)
    one, other = np.zeros((500, 4), dtype=np.int64), np.full((500, 4), 4)
    children = codes.crossover(space, one, other, np.random.default_rng(0))
    assert set(np.unique(children)) == {0, 4}
    assert 0.4 < (children == 0).mean() < 0.6
