"""MOEA/D: trade-offs that share with their neighbours, and networks beyond a limit that come last."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import pareto
from hwnas.algorithms.moead import Moead
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.testing import SPREAD
from hwnas.trial import losses

from ._toy import GOALS, LIMITED, drive, volumes

THREE = (*GOALS, SPREAD)


def volume(search, seed):
    trials = drive(search, THREE, seed=seed, budget=400).trials[:400]
    return pareto.hypervolume(losses(trials, THREE), (0, 80, 8))


def test_it_beats_random_search_with_two_objectives():
    ours, random = volumes(Moead(), 200), volumes(Random(), 200)
    assert ours.mean() > random.mean() + 2 * random.std()


def test_it_beats_random_search_with_three_objectives():
    ours, random = (np.mean([volume(search, seed) for seed in range(6)]) for search in (Moead(), Random()))
    assert ours > random


def test_the_share_within_the_limit_rises():
    asked = drive(Moead(), goals=LIMITED, budget=300).trials
    within = [LIMITED[1].within(trial.values["latency"]) for trial in asked]
    assert np.mean(within[-100:]) > 0.5 > np.mean(within[:20])


def test_every_trade_off_keeps_its_best_and_a_newcomer_replaces_few():
    selection = Moead(neighbours=5, replaced=2).selection(2, 5, np.random.default_rng(0))
    share = np.linspace(0, 1, 5)
    front = np.column_stack([share, 1 - share])
    selection.admit(np.arange(5)[:, None], front + 0.5, np.zeros(5))
    before = selection.codes_DG[:, 0].copy()
    assert sorted(set(before)) == sorted(before[[0, 1, 2, 3, 4]]) and before[0] != before[4]
    selection.admit(np.array([[9]]), np.array([[0.2, 0.2]]), np.zeros(1))  # better than all of them
    assert (selection.codes_DG[:, 0] == 9).sum() == 2
    selection.admit(np.array([[8]]), np.array([[-9.0, -9.0]]), np.array([0.1]))  # it would be, and breaks a limit
    assert 8 not in selection.codes_DG


def test_parents_are_neighbours():
    selection = Moead(neighbours=3, local=1.0).selection(2, 20, np.random.default_rng(0))
    share = np.linspace(0, 1, 20)
    selection.admit(np.arange(20)[:, None], np.column_stack([share, 1 - share]), np.zeros(20))
    place = {int(code): direction for direction, (code,) in enumerate(selection.codes_DG)}
    ones, others = selection.couples(200)
    assert max(abs(place[a] - place[b]) for (a,), (b,) in zip(ones.tolist(), others.tolist(), strict=True)) <= 6


@pytest.mark.parametrize("options", [{"neighbours": 0}, {"replaced": 0}, {"local": 1.5}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Moead(**options)
