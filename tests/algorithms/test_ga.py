"""Genetic algorithm: one objective, limits, the best always alive."""

from __future__ import annotations

import numpy as np

from hwnas.algorithms.ga import Ga
from hwnas.algorithms.random import Random
from hwnas.trial import Goal, Trial

from ._toy import GOALS, SPACE, apart, cube, drive, judge

ONE = (Goal("latency", None, "min"),)
WIDE = cube(*[9] * 12)
BOUND = (GOALS[0], Goal("latency", None, "min", limit=15.0, objective=False))


def squares(code):
    return {"latency": float(sum((index - 4) ** 2 for index in code))}


def test_one_goal_is_driven_to_its_best():
    run = drive(Ga(), goals=ONE, space=WIDE, judge=squares, budget=800)
    assert min(trial.values["latency"] for trial in run.trials) <= 4
    blind = drive(Random(), goals=ONE, space=WIDE, judge=squares, budget=800)
    assert min(trial.values["latency"] for trial in blind.trials) > 15


def test_a_limit_is_learnt_and_the_best_lies_within_it():
    def best(search, seed):
        trials = drive(search, BOUND, seed=seed, budget=200).trials[:200]
        return max(trial.values["accuracy"] for trial in trials if trial.state == "done")

    ours, random = (np.mean([best(search, seed) for seed in range(5)]) for search in (Ga(), Random()))
    assert ours > random
    asked = drive(Ga(), BOUND, budget=300).asked
    within = [judge(code)["latency"] <= 15 for code in asked]
    assert np.mean(within[-100:]) > 2 * np.mean(within[:20])


def test_only_the_best_are_parents():
    good, bad = (4,) * 12, (0,) * 12
    earlier = [Trial(i, code, squares(code), "done") for i, code in enumerate((bad, good))]
    steps = Ga(population=2, crossover=0.0, mutation=0.0).steps(WIDE, ONE, np.random.default_rng(0))
    next(steps)
    children = steps.send(earlier)  # a tournament of both is always won by the better one
    assert [apart(child, good) for child in children] == [1, 1]


def test_the_smallest_and_the_largest_network_are_looked_at_first():
    steps = Ga(population=6).steps(SPACE, GOALS[:1], np.random.default_rng(0))
    next(steps)
    assert steps.send([])[:2] == [SPACE.smallest, SPACE.largest]
