"""U-NSGA-III: many objectives, directions, and tournaments within one of them."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.algorithms._pymoo import Tournament
from hwnas.algorithms.random import Random
from hwnas.algorithms.unsga3 import Unsga3
from hwnas.testing import SPREAD
from hwnas.trial import losses

from ._toy import GOALS, drive, volumes

THREE = (*GOALS, SPREAD)


def volume(search, seed):
    trials = drive(search, THREE, seed=seed, budget=200).trials[:200]
    return pareto.hypervolume(losses(trials, THREE), (0, 80, 8))


def test_it_beats_random_search_with_two_objectives():
    ours, random = volumes(Unsga3(), 200), volumes(Random(), 200)
    assert ours.mean() > random.mean() + 2 * random.std()


def test_it_beats_random_search_with_three_objectives():
    ours, random = (np.mean([volume(search, seed) for seed in range(6)]) for search in (Unsga3(), Random()))
    assert ours > random


def test_two_of_different_directions_toss_a_coin_and_two_of_one_are_compared():
    selection = Unsga3().selection(2, 4, np.random.default_rng(0))
    losses_NM = np.array([[0.0, 1.0], [0.05, 1.05], [1.0, 0.0], [1.05, 0.05]])
    selection.admit(np.arange(4)[:, None], losses_NM, np.zeros(4))
    order = [int(individual.X[0]) for individual in selection.alive]
    at = {name: order.index(name) for name in range(4)}
    assert isinstance(selection, Tournament)
    pairs = np.array([[at[0], at[1]], [at[3], at[2]], [at[1], at[2]]] * 100).T
    won = np.array(order)[selection.winners(*pairs)].reshape(100, 3)
    assert (won[:, 0] == 0).all() and (won[:, 1] == 2).all()
    assert 25 < (won[:, 2] == 1).sum() < 75


def test_beyond_a_limit_the_smaller_excess_wins_whatever_the_direction():
    selection = Unsga3().selection(2, 4, np.random.default_rng(0))
    selection.admit(np.arange(3)[:, None], np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), np.array([0.2, 0.1, 0.0]))
    order = [int(individual.X[0]) for individual in selection.alive]
    ones, others = (np.array([order.index(name) for name in names]) for names in ((0, 1, 2), (1, 2, 0)))
    assert np.array(order)[selection.winners(ones, others)].tolist() == [1, 2, 2]
