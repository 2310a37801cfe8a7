"""Bayesian optimisation: what the model sees, both samplers, repeats, and silence."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from hwnas.algorithms.bayesian import Bayesian, _is_ordered, _Model
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.space import Choice
from hwnas.trial import Goal, Trial

from ._toy import GOALS, LIMITED, SPACE, cube, drive, judge

ONE = (Goal("latency", None, "min"),)
WIDE = cube(*[9] * 6)


def squares(code):
    return {"latency": float(sum((index - 4) ** 2 for index in code))}


def best(search, seed):
    run = drive(search, goals=ONE, space=WIDE, judge=squares, seed=seed, budget=60)
    return min(trial.values["latency"] for trial in run.trials[:60])


def test_tpe_needs_fewer_networks_than_random_search():
    ours, random = (np.mean([best(search, seed) for seed in range(3)]) for search in (Bayesian(startup=15), Random()))
    assert ours < 0.6 * random


@pytest.mark.slow
def test_a_gaussian_process_leads_further_than_chance_and_replays():
    search = Bayesian(sampler="gp", startup=8, batch=2)
    run = drive(search, ONE, space=WIDE, judge=squares, budget=16)
    losses = [trial.values["latency"] for trial in run.trials]
    assert min(losses[8:]) < min(losses[:8]) and np.mean(losses[8:]) < np.mean(losses[:8])
    assert drive(search, ONE, space=WIDE, judge=squares, budget=12).asked == run.asked[:12]


def test_a_gaussian_process_with_two_objectives_and_a_limit():
    asked = drive(Bayesian(sampler="gp", startup=8, batch=2), LIMITED, budget=10).asked
    assert len(asked) == len(set(asked)) == 10
    assert all(SPACE.canonical(code) == code for code in asked)


def test_the_model_sees_active_choices_losses_and_margins():
    goals = (GOALS[0], Goal("latency", None, "min", limit=15.0))
    model = _Model("tpe", SPACE, goals, seed=0)
    small = Trial(0, SPACE.smallest, judge(SPACE.smallest), "done")
    over = Trial(1, SPACE.largest, {"latency": 30.0}, "over_limit")
    model.learn([small, over, small, Trial(2, SPACE.at(5), state="failed")])
    kept = model.study.trials
    assert len(kept) == 2  # once each, and nothing of the failed one
    assert kept[0].values == [-small.values["accuracy"], small.values["latency"]]
    assert set(kept[0].params) == set(SPACE.decode(SPACE.smallest))
    assert kept[1].constraints["latency"] == pytest.approx(1.0)  # twice the limit
    assert kept[1].values == [-small.values["accuracy"], 30.0]  # not measured: the worst so far
    assert kept[0].constraints["latency"] < 0


def test_proposals_are_canonical_and_inactive_choices_are_not_proposed():
    model = _Model("tpe", SPACE, GOALS, seed=0)
    model.learn(drive(Random(), budget=30).trials)
    for _ in range(10):
        code = model.propose(set())
        assert SPACE.canonical(code) == code
        assert set(model.running[code].params) == set(SPACE.decode(code))


def test_what_is_known_is_dropped_and_then_replaced_by_a_neighbour():
    space = cube(3, 3, 2)
    run = drive(
        Bayesian(startup=2, batch=3, repeats=1), space=space, judge=lambda c: {"accuracy": 1.0, "latency": sum(c)}
    )
    assert sorted(run.asked) == sorted(space.codes()) and run.ended


def test_numbers_that_rise_or_fall_are_ordered():
    assert _is_ordered(Choice("rises", (1, 2.5, 4))) and _is_ordered(Choice("falls", (7, 5, 3)))
    assert not _is_ordered(Choice("jumps", (3, 7, 5))) and not _is_ordered(Choice("words", ("a", "b")))


def test_a_margin_without_a_value_is_none():
    model = _Model("tpe", SPACE, LIMITED, seed=0)
    model.learn([Trial(0, SPACE.smallest, {"accuracy": 0.5}, "over_limit")])
    (kept,) = model.study.trials
    assert kept.constraints == {"latency": 0.0} and all(map(math.isfinite, kept.values))


def test_the_log_of_optuna_is_silent_and_as_before(caplog):
    level = logging.getLogger("optuna").level
    with caplog.at_level(logging.DEBUG):
        drive(Bayesian(startup=5), budget=12)
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    assert logging.getLogger("optuna").level == level


@pytest.mark.parametrize("options", [{"sampler": "grid"}, {"startup": 0}, {"batch": 0}, {"repeats": -1}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Bayesian(**options)
