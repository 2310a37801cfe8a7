"""Regularised evolution: ageing, tournaments, limits."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.algorithms.evolution import Evolution
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.trial import Goal, Trial

from ._toy import LIMITED, apart, cube, drive, judge, volumes

WIDE = cube(*[9] * 12)
ONE = (Goal("latency", None, "min"),)


def squares(code):
    return {"latency": float(sum((index - 4) ** 2 for index in code))}


def test_it_beats_random_search():
    ours, random = volumes(Evolution(), 200), volumes(Random(), 200)
    assert ours.mean() > random.mean() + 2 * random.std()


def test_one_goal_is_driven_to_its_best():
    run = drive(Evolution(population=30), goals=ONE, space=WIDE, judge=squares, budget=600)
    assert min(trial.values["latency"] for trial in run.trials) <= 5
    blind = drive(Random(), goals=ONE, space=WIDE, judge=squares, budget=600)
    assert min(trial.values["latency"] for trial in blind.trials) > 15


def test_parents_are_alive_and_the_fittest_of_them():
    # a tournament of 200 among 10 always meets the best one; a rate of 0 moves one choice
    search = Evolution(population=10, sample=200, batch=1, mutation=0.0)
    run = drive(search, goals=ONE, space=WIDE, judge=squares, budget=80)
    distances = []
    for number in range(10, 80):
        alive = run.trials[number - 10 : number]
        best = min(trial.values["latency"] for trial in alive)
        parents = [trial.code for trial in alive if trial.values["latency"] == best]
        distances.append(min(apart(run.asked[number], parent) for parent in parents))
    assert 1 <= min(distances) <= np.mean(distances) < 1.2  # a step on where the child was known


def test_the_failed_age_but_do_not_breed():
    search = Evolution(population=10, batch=1, mutation=0.0)
    steps = search.steps(WIDE, ONE, np.random.default_rng(0))
    next(steps)
    (code,) = steps.send([])
    good = Trial(0, code, squares(code), "done")
    (code,) = steps.send([good])
    children = []
    for number in range(1, 20):
        (code,) = steps.send([Trial(number, code, state="failed")])
        children.append(apart(code, good.code))
    # nine random codes, then children of the only one that lives, until it dies of age
    assert children[8] == 1 and min(children[:8]) > 1 and min(children[9:]) > 1


def test_what_lies_beyond_a_limit_breeds_by_how_far():
    goals = (Goal("latency", None, "min", limit=10.0), Goal("accuracy", None, "max"))
    near, far = (4,) * 6 + (0,) * 6, (0,) * 12
    earlier = [
        Trial(0, far, {"latency": 30.0, "accuracy": 0.9}, "over_limit"),
        Trial(1, near, {"latency": 11.0}, "over_limit"),
    ]
    steps = Evolution(population=2, sample=50, batch=4, mutation=0.0).steps(WIDE, goals, np.random.default_rng(0))
    next(steps)
    assert [apart(code, near) for code in steps.send(earlier)] == [1] * 4


def test_the_share_within_the_limit_rises():
    asked = drive(Evolution(), goals=LIMITED, budget=300).asked
    within = [LIMITED[1].within(judge(code)["latency"]) for code in asked]
    assert np.mean(within[-100:]) > 0.6 > 0.4 > np.mean(within[:50])


def test_a_warm_start_lets_the_best_live():
    earlier = drive(Random(), goals=ONE, space=WIDE, judge=squares, budget=60).trials
    best = min(earlier, key=lambda trial: trial.values["latency"])
    steps = Evolution(population=5, sample=100, batch=4, mutation=0.0).steps(WIDE, ONE, np.random.default_rng(0))
    next(steps)
    assert [apart(code, best.code) for code in steps.send(earlier)] == [1] * 4


@pytest.mark.parametrize(
    "options", [{"population": 0}, {"sample": 0}, {"batch": 0}, {"mutation": 1.5}, {"crossover": -0.1}]
)
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Evolution(**options)


def test_a_second_parent():
    run = drive(Evolution(crossover=1.0), budget=200)
    assert len(set(run.asked)) == len(run.asked)
    assert run.asked != drive(Evolution(), budget=200).asked
