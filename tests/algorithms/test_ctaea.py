"""C-TAEA: two archives, limits, whole generations."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.algorithms.ctaea import Ctaea
from hwnas.algorithms.random import Random
from hwnas.testing import SPREAD
from hwnas.trial import losses

from ._toy import GOALS, LIMITED, drive, volumes

THREE = (*GOALS, SPREAD)


def volume(search, seed):
    trials = drive(search, THREE, seed=seed, budget=300).trials[:300]
    return pareto.hypervolume(losses(trials, THREE), (0, 80, 8))


def test_it_beats_random_search_with_two_objectives():
    ours, random = volumes(Ctaea(), 200), volumes(Random(), 200)
    assert ours.mean() > random.mean() + 2 * random.std()


def test_it_beats_random_search_with_three_objectives():
    ours, random = (np.mean([volume(search, seed) for seed in range(6)]) for search in (Ctaea(), Random()))
    assert ours > random


def test_the_share_within_the_limit_rises():
    asked = drive(Ctaea(), goals=LIMITED, budget=300)
    within = [LIMITED[1].within(trial.values["latency"]) for trial in asked.trials]
    assert np.mean(within[-100:]) > 2 * np.mean(within[:20])


def test_generations_are_whole_and_as_large_as_the_population():
    run = drive(Ctaea(population=30), budget=120)
    assert [len(delivery) for delivery in run.deliveries] == [0, 30, 30, 30, 30]


def test_one_archive_converges_within_the_limit_and_the_other_explores_beyond():
    selection = Ctaea().selection(2, 4, np.random.default_rng(0))
    spread = np.linspace(0, 1, 4)
    selection.admit(np.arange(4)[:, None], np.column_stack([spread, 1 - spread]) + 1, np.zeros(4))
    # better in every loss, and over the limit
    selection.admit(np.arange(4, 8)[:, None], np.column_stack([spread, 1 - spread]), np.ones(4))
    converged, diverse = ({int(one.X[0]) for one in archive} for archive in (selection.converged, selection.diverse))
    assert converged == {0, 1, 2, 3} and diverse & {4, 5, 6, 7}
