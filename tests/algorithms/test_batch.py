"""What is measured next: exact gains of hypervolume, limits, no repeats, and batches that spread."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import pareto
from hwnas.algorithms import _batch as batches

RNG = np.random.default_rng


def brute(front_PM, reference_M, losses_NM):
    """Gains by their definition."""
    before = pareto.hypervolume(front_PM, reference_M)
    return [pareto.hypervolume(np.vstack([front_PM, row]), reference_M) - before for row in losses_NM]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_gains_are_differences_of_hypervolumes(objectives):
    for seed in range(5):
        rng = RNG(seed)
        known_PM, losses_NM = rng.random((12, objectives)), 1.3 * rng.random((40, objectives)) - 0.2
        front_PM = known_PM[pareto.front(known_PM)]
        reference_M = np.full(objectives, 0.9)
        expected = brute(front_PM, reference_M, losses_NM)
        assert batches.gains(front_PM, reference_M, losses_NM) == pytest.approx(expected, abs=1e-12)
        assert batches.gains(known_PM, reference_M, losses_NM) == pytest.approx(expected, abs=1e-12)
        assert 0 < sum(gain > 0 for gain in expected) < 40


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_without_a_front_the_gain_is_the_whole_volume(objectives):
    losses_NM = RNG(0).random((6, objectives))
    nothing_PM, reference_M = np.empty((0, objectives)), np.ones(objectives)
    gain_N = batches.gains(nothing_PM, reference_M, losses_NM)
    assert gain_N == pytest.approx((1 - losses_NM).prod(axis=1))


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_what_is_known_or_beyond_the_reference_adds_nothing(objectives):
    front_PM = np.full((1, objectives), 0.5)
    losses_NM = np.array([[0.5] * objectives, [0.6] * objectives, [0.1] * (objectives - 1) + [2.0]])
    assert batches.gains(front_PM, np.ones(objectives), losses_NM).tolist() == [0, 0, 0]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_every_pick_is_the_best_of_its_draw_given_those_before(objectives):
    rng = RNG(1)
    front_PM, reference_M = rng.random((3, objectives)) + 0.3, np.full(objectives, 2.0)
    losses_NMD = rng.random((30, objectives, 6))
    picked = batches.pick(front_PM, reference_M, losses_NMD, np.zeros((30, 6)))
    assert len(set(picked)) == len(picked) == 6
    known_PM = front_PM
    for draw, place in enumerate(picked):
        gain_N = np.array(brute(known_PM, reference_M, losses_NMD[:, :, draw]))
        gain_N[picked[:draw]] = -1
        assert gain_N[place] == pytest.approx(gain_N.max()) and gain_N[place] >= 0
        known_PM = np.vstack([known_PM, losses_NMD[place, :, draw]])


def test_a_batch_on_which_the_predictor_is_sure_spreads_along_the_front():
    x_N = np.linspace(0, 1, 101)
    losses_NMD = np.repeat(np.stack([x_N, 1 - x_N], axis=1)[:, :, None], 7, axis=2)
    picked = batches.pick(np.empty((0, 2)), np.array([1.1, 1.1]), losses_NMD, np.zeros((101, 7)))
    assert picked[0] == 50  # the largest rectangle
    assert np.diff([0, *sorted(picked), 100]).max() <= 25


def test_limits_come_first():
    losses_NMD = np.array([[0.1, 0.1], [0.5, 0.5], [0.6, 0.6]])[:, :, None].repeat(3, axis=2)
    excess_ND = np.array([[2.0] * 3, [0.0] * 3, [0.5] * 3])
    front_PM, reference_M = np.array([[0.9, 0.9]]), np.ones(2)
    # the one within the limits, then the one nearest to them
    assert batches.pick(front_PM, reference_M, losses_NMD, excess_ND) == [1, 2, 0]


def test_where_nothing_adds_anything_the_least_loss_on_a_common_scale_is_taken():
    losses_NMD = np.array([[2.0, 3000.0], [3.0, 1000.0], [4.0, 2500.0]])[:, :, None]
    assert batches.pick(np.zeros((1, 2)), np.ones(2), losses_NMD, np.zeros((3, 1))) == [1]


def test_no_more_is_picked_than_there_is():
    picked = batches.pick(np.empty((0, 1)), np.ones(1), RNG(0).random((3, 1, 9)), np.zeros((3, 9)))
    assert sorted(picked) == [0, 1, 2]
    assert batches.pick(np.empty((0, 1)), np.ones(1), np.empty((0, 1, 9)), np.empty((0, 9))) == []


def test_the_reference_lies_a_little_beyond_the_worst():
    assert batches.reference(np.array([[0.0, 5.0], [10.0, 5.0]])).tolist() == pytest.approx([11.0, 5.5])
    assert batches.reference(np.array([[0.0]])).tolist() == pytest.approx([0.1])
