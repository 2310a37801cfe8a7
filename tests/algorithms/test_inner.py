"""The search within the search: known optima, both ends of a front, and every other algorithm on predictions."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hwnas import codes, pareto, parts
from hwnas.algorithms import _inner as inner
from hwnas.algorithms.random import Random
from hwnas.testing import fitting
from hwnas.trial import Search, excess, losses

from ._toy import GOALS, LIMITED, SPACE, cube, judge

RNG = np.random.default_rng
DEAR = ("age", "bayesian")
every_other = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR))
        for name in parts.names("algorithms")
        if name != "linas"
    ],
)


def columns(codes_NG):
    """The toy problem for many codes."""
    rows = [judge(code) for code in codes.tuples(codes_NG)]
    return {name: np.array([row[name] for row in rows]) for name in ("accuracy", "latency")}


def made(name):
    """A search with few networks per step."""
    if name == "age" and importlib.util.find_spec("numba") is None:
        pytest.skip("AGE-MOEA needs the extra `age`")
    return parts.make("algorithms", {"bayesian": {"startup": 20}} if name == "bayesian" else name)


def start(count=10):
    return np.unique(codes.sample(SPACE, count, RNG(7)), axis=0)


def squares(space):
    """One loss with its least value at the code 0, 1, 2 …"""
    target_G = np.array([place % len(choice.values) for place, choice in enumerate(space.choices)])

    def rate(codes_NG):
        return codes_NG, ((codes_NG - target_G) ** 2.0).sum(axis=1, keepdims=True), np.zeros(len(codes_NG))

    return target_G, rate


def toy(codes_NG):
    found = columns(codes_NG)
    return codes_NG, np.stack([-found["accuracy"], found["latency"]], axis=1), np.zeros(len(codes_NG))


# --- breeding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_of_a_known_function_is_bred(seed):
    space = cube(*[6] * 10)  # sixty million
    target_G, rate = squares(space)
    lived = inner.breed(space, rate, codes.sample(space, 20, RNG(seed)), RNG(seed), 60, 50)
    assert lived[0][lived[1].argmin()].tolist() == target_G.tolist()


def test_everything_that_lived_comes_back_once_and_rated():
    space = cube(3, 3, 3, 3)
    _, rate = squares(space)
    calls = []
    lived = inner.breed(space, lambda own: calls.append(len(own)) or rate(own), start_of(space), RNG(0), 20, 8)
    assert len(calls) == 9 and max(calls) <= 20
    assert len(np.unique(lived[0], axis=0)) == len(lived[0]) > 40
    assert np.array_equal(rate(lived[0])[1], lived[1])


def start_of(space):
    return codes.sample(space, 5, RNG(3))


def test_both_ends_of_the_front_are_reached_and_stay_alive():
    space = cube(*[4] * 8)

    def rate(codes_NG):
        total_N, squares_N = codes_NG.sum(axis=1).astype(float), (codes_NG**2.0).sum(axis=1)
        return codes_NG, np.stack([total_N, squares_N - 12 * total_N], axis=1), np.zeros(len(total_N))

    lived = inner.breed(space, rate, np.full((1, 8), 2), RNG(0), 40, 60)
    assert lived[1].min(axis=0).tolist() == [0.0, 8 * (9.0 - 36.0)]  # nothing of everything, and all of it
    assert len(np.unique(lived[1][pareto.front(lived[1])], axis=0)) > 15


def test_what_is_bred_is_canonical():
    lived = inner.breed(SPACE, toy, start(), RNG(0), 20, 5)
    assert np.array_equal(codes.canonical(SPACE, lived[0]), lived[0])


def test_the_order_is_excess_then_rank_then_room():
    losses_NM = np.array([[0.0, 4.0], [1.0, 2.0], [1.2, 1.9], [4.0, 0.0], [5.0, 5.0], [0.0, 0.0], [-1.0, -1.0]])
    excess_N = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.1])
    order = inner.ordered((np.zeros((7, 1), dtype=int), losses_NM, excess_N)).tolist()
    assert set(order[:2]) == {0, 3} and set(order[2:4]) == {1, 2} and order[4:] == [4, 6, 5]


def test_networks_within_a_limit_are_bred_from_those_beyond():
    space = cube(*[6] * 8)

    def rate(codes_NG):
        total_N = codes_NG.sum(axis=1).astype(float)
        return codes_NG, -total_N[:, None], np.maximum(total_N - 5, 0)  # as large as possible, and 5 at most

    lived = inner.breed(space, rate, np.full((1, 8), 5), RNG(0), 40, 40)
    within = lived[2] <= 0
    assert lived[1][within].min() == -5


# --- any other search ------------------------------------------------------------------------------------------------


@every_other
def test_every_other_search_is_driven_by_predictions(name):
    search = made(name)
    goals, limited = fitting(search)
    for own in (goals, limited):
        asked = []

        def judged(codes_NG, asked=asked):
            asked.extend(codes.tuples(codes_NG))
            return {**columns(codes_NG), "spread": np.ptp(codes_NG, axis=1).astype(float)}

        trials = inner.pursue(search, own, SPACE, judged, start(), RNG(0), 60)
        assert len(asked) == len(set(asked)) == len(trials) == len(start()) + 60
        assert [trial.code for trial in trials] == asked
        for trial in trials:
            assert trial.values["latency"] == judge(trial.code)["latency"]
            assert trial.state == ("over_limit" if excess(trial, own) > 0 else "done")


@pytest.mark.parametrize("name", ["nsga2", "evolution", "ga", "moead"])
def test_what_is_pursued_is_found(name):
    search = made(name)
    goals = GOALS[:1] if search.objectives()[1] == 1 else GOALS
    trials = inner.pursue(search, goals, SPACE, columns, start(), RNG(0), 800)
    blind = inner.pursue(Random(), goals, SPACE, columns, start(), RNG(0), 800)
    reference = np.array([0.0, 80.0])[: len(goals)]
    ours, random = (pareto.hypervolume(losses(own, goals), reference) for own in (trials, blind))
    assert ours > random


@pytest.mark.parametrize("evaluations", [1, 7])
def test_few_evaluations_are_few(evaluations):
    for name in ("nsga2", "random", "grid"):
        trials = inner.pursue(made(name), GOALS, SPACE, columns, start(), RNG(0), evaluations)
        assert len(trials) <= len(start()) + evaluations


def test_a_small_space_is_used_up_and_ends():
    def sums(codes_NG):
        return dict.fromkeys(("accuracy", "latency"), codes_NG.sum(axis=1).astype(float))

    for name in ("random", "nsga2", "grid"):
        assert len(inner.pursue(made(name), LIMITED, cube(2, 3), sums, np.zeros((1, 2), int), RNG(0), 10_000)) == 6


@dataclass(frozen=True)
class Stubborn(Search):
    """Asks for one network for ever, and ends only when it is closed."""

    log: tuple[list[int], ...] = ()

    def steps(self, space, goals, rng, /):
        try:
            yield []
            while True:
                self.log[0].append(len((yield [space.largest])))
        finally:
            self.log[0].append(-1)


def test_a_search_that_asks_for_nothing_new_is_ended():
    search = replace(Stubborn(), log=([],))
    trials = inner.pursue(search, GOALS, SPACE, columns, start(), RNG(0), 100)
    assert len(trials) == len(start()) + 1
    assert search.log[0][-1] == -1 and len(search.log[0]) <= 22
