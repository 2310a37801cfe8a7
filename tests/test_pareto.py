"""Ranks, crowding, hypervolume and the knee against hand-worked examples, brute force and published values."""

from __future__ import annotations

import csv
import doctest
from itertools import combinations
from pathlib import Path

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwnas import pareto

INF, NAN = np.inf, np.nan
SHARED = Path(__file__).parents[1] / ".." / "shared" / "data" / "ofa_search"


def always(*strategies):
    """A property of everything that the strategies draw, however slow the machine."""
    return lambda test: settings(deadline=None)(given(*strategies)(test))


def points(lowest=0, highest=6):
    """Tables of small integers, so that ties and equal points are frequent."""
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 4))
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=st.integers(lowest, highest).map(float)))


def peeled(losses):
    """Ranks by their definition."""
    rank, left, level = np.zeros(len(losses), dtype=int), list(range(len(losses))), 0
    while left:
        best = [
            i for i in left if not any((losses[j] <= losses[i]).all() and (losses[j] < losses[i]).any() for j in left)
        ]
        rank[best] = level
        left, level = [i for i in left if i not in best], level + 1
    return rank


def included(losses, reference):
    """Hypervolume by inclusion and exclusion: the volume of every intersection of boxes, with alternating sign."""
    sides = [np.maximum(reference - row, 0) for row in losses]
    return sum(
        (-1) ** (size + 1) * np.prod(np.minimum.reduce(chosen))
        for size in range(1, len(sides) + 1)
        for chosen in combinations(sides, size)
    )


def test_doctests():
    assert doctest.testmod(pareto).failed == 0


class TestRanks:
    def test_by_hand(self):
        assert pareto.ranks([[1, 5], [2, 3], [4, 1], [2, 4], [4, 3], [5, 5], [2, 3]]).tolist() == [0, 0, 0, 1, 1, 2, 0]

    @always(points())
    def test_against_the_definition(self, losses):
        assert pareto.ranks(losses).tolist() == peeled(losses).tolist()

    @always(points(), st.permutations(range(12)))
    def test_order_scale_and_shift_change_nothing(self, losses, order):
        rank = pareto.ranks(losses)
        order = [i for i in order if i < len(losses)]
        assert pareto.ranks(losses[order]).tolist() == rank[order].tolist()
        assert pareto.ranks(1000 * losses - 7).tolist() == rank.tolist()
        assert pareto.ranks(np.exp(losses)).tolist() == rank.tolist()
        assert pareto.ranks(np.vstack([losses, losses])).tolist() == [*rank, *rank]

    def test_one_loss_is_sorting(self):
        assert pareto.ranks([[3], [1], [2], [1]]).tolist() == [2, 0, 1, 0]

    def test_what_is_not_finite_comes_after_everything_else(self):
        losses = [[9, 9], [1, INF], [8, 9], [NAN, 0], [INF, INF], [-INF, 0]]
        assert pareto.ranks(losses).tolist() == [1, 2, 0, 2, 3, 2]
        assert pareto.ranks([[1, INF], [2, INF], [INF, 0]]).tolist() == [0, 1, 0]

    def test_nothing(self):
        assert pareto.ranks(np.empty((0, 2))).tolist() == []
        assert pareto.ranks(np.empty((3, 0))).tolist() == [0, 0, 0]

    def test_many_points(self):
        losses = np.random.default_rng(0).random((10_000, 2))
        rank = pareto.ranks(losses)
        # along every chain of dominance the rank rises: check each point against the best of the front above it
        for level in range(1, rank.max() + 1, 20):
            above, here = losses[rank == level - 1], losses[rank == level]
            assert all((above <= row).all(axis=1).any() for row in here)

    def test_the_front_is_what_has_rank_zero(self):
        assert pareto.front([[2, 2], [1, 3], [3, 3], [1, 3]]).tolist() == [0, 1, 3]
        assert pareto.front([[2, INF], [1, 3]]).tolist() == [1]


class TestCrowding:
    def test_by_hand(self):
        # second point: (3 - 0) / 10 + (8 - 3) / 8; third: (10 - 1) / 10 + (4 - 0) / 8
        room = pareto.crowding([[0, 8], [1, 4], [3, 3], [10, 0]])
        assert room.tolist() == pytest.approx([INF, 3 / 10 + 5 / 8, 9 / 10 + 4 / 8, INF])

    @pytest.mark.parametrize("count", [1, 2])
    def test_few_points_are_all_ends(self, count):
        assert pareto.crowding([[0, 8], [1, 4]][:count]).tolist() == [INF] * count

    def test_equal_losses_give_no_room(self):
        assert pareto.crowding([[1, 1]] * 4).tolist() == [INF, 0, 0, INF]
        assert pareto.crowding([[0, 1, 4], [1, 1, 2], [2, 1, 1], [4, 1, 0]])[1:3].tolist() == [0.5 + 0.75, 0.75 + 0.5]

    def test_what_is_not_finite_has_no_room(self):
        room = pareto.crowding([[0, 8], [INF, 0], [1, 4], [NAN, 1], [2, 0]])
        assert room.tolist() == pytest.approx([INF, 0, 2, 0, INF])
        assert pareto.crowding([[INF, 1]]).tolist() == [0]
        assert pareto.crowding(np.empty((0, 2))).tolist() == []

    @always(st.integers(0, 1000), st.integers(1, 4))
    def test_order_scale_and_shift_change_nothing(self, seed, objectives):
        rng = np.random.default_rng(seed)
        losses = rng.random((15, objectives))
        room, order = pareto.crowding(losses), rng.permutation(15)
        assert pareto.crowding(losses[order]) == pytest.approx(room[order])
        assert pareto.crowding(losses * rng.uniform(0.1, 9, objectives) + 3) == pytest.approx(room)

    def test_against_pymoo(self):
        from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

        th = np.random.default_rng(0).random(30) * np.pi / 2
        losses = np.c_[np.cos(th), np.sin(th)]
        # pymoo divides by the number of objectives
        assert pareto.crowding(losses) / 2 == pytest.approx(calc_crowding_distance(losses))


class TestHypervolume:
    def test_by_hand(self):
        assert pareto.hypervolume([[1, 4], [2, 2], [4, 1]], [5, 5]) == 4 * 1 + 3 * 2 + 1 * 1
        assert pareto.hypervolume([[0, 0, 0]], [2, 3, 4]) == 24
        assert pareto.hypervolume([[3], [1], [2]], [4]) == 3

    @always(points(), st.integers(1, 7))
    def test_against_inclusion_and_exclusion(self, losses, worst):
        losses = losses[:7]
        reference = np.full(losses.shape[1], float(worst))
        assert pareto.hypervolume(losses, reference) == pytest.approx(included(losses, reference))

    @always(points(), st.integers(1, 6))
    def test_against_counted_cells(self, losses, worst):
        axes = [np.arange(worst) + 0.5] * losses.shape[1]
        cells = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, losses.shape[1])
        covered = (losses[:, None, :] <= cells[None]).all(axis=2).any(axis=0).sum()
        assert pareto.hypervolume(losses, [worst] * losses.shape[1]) == pytest.approx(covered)

    @pytest.mark.parametrize("objectives", [2, 3, 4, 5])
    def test_against_moocore_and_drawing_lots(self, objectives):
        rng = np.random.default_rng(objectives)
        losses = rng.random((40, objectives))
        volume = pareto.hypervolume(losses, np.ones(objectives))
        assert volume == pytest.approx(moocore.hypervolume(losses, ref=np.ones(objectives)))
        lots = rng.random((20_000, objectives))
        hit = np.mean([(losses <= lot).all(axis=1).any() for lot in lots])
        assert volume == pytest.approx(hit, abs=0.015)

    @always(points(), points())
    def test_more_points_never_take_volume_away(self, some, more):
        if some.shape[1] == more.shape[1]:
            worst = np.full(some.shape[1], 7.0)
            both = pareto.hypervolume(np.vstack([some, more]), worst)
            assert both >= pareto.hypervolume(some, worst) - 1e-9
            assert both <= pareto.hypervolume(some, worst) + pareto.hypervolume(more, worst) + 1e-9
            assert pareto.hypervolume(some, worst) == pareto.hypervolume(some[pareto.front(some)], worst)

    def test_what_is_not_better_than_the_reference_adds_nothing(self):
        assert pareto.hypervolume([[1, 1], [0, 5], [0, 3], [INF, 0], [NAN, 0], [-INF, 0]], [3, 3]) == 4
        assert pareto.hypervolume([[3, 0], [9, 9]], [3, 3]) == 0
        assert pareto.hypervolume(np.empty((0, 2)), [3, 3]) == 0

    def test_scale_and_shift(self):
        losses = np.random.default_rng(0).random((20, 3))
        volume = pareto.hypervolume(losses, [1, 1, 1])
        assert pareto.hypervolume(losses * [2, 3, 5] - 4, [-2, -1, 1]) == pytest.approx(30 * volume)

    @pytest.mark.parametrize(
        ("run", "values"),
        [
            ("mbnv3w10_evonsga2_acc_macs", {50: 2.5341, 100: 2.6541, 250: 2.8554, 500: 2.9783}),
            ("mbnv3w10_linasnsga2_acc_macs", {50: 2.5894, 200: 2.9264, 400: 3.0387, 500: 3.0589}),
        ],
    )
    def test_recorded_searches(self, run, values):
        path = SHARED / f"{run}.csv"
        if not path.exists():
            pytest.skip(f"the recorded searches are not here: {path}")
        with path.open() as file:
            rows = [(float(row["MACs"]) / 1e9, -float(row["Top-1 Acc (%)"])) for row in csv.DictReader(file)]
        for count, expected in values.items():
            assert pareto.hypervolume(rows[:count], [0.6, -70.0]) == pytest.approx(expected, abs=5e-5)


class TestReferencePoint:
    def test_a_little_worse_than_the_worst(self):
        assert pareto.reference_point([[0, 30], [10, 10], [INF, 99]]).tolist() == [11, 32]
        assert pareto.reference_point([[0, 30], [10, 10]], margin=0).tolist() == [10, 30]

    def test_equal_values(self):
        assert pareto.reference_point([[5, 0, -4]]) == pytest.approx([5.5, 0.1, -3.6])

    def test_nothing_finite(self):
        reference = pareto.reference_point([[INF, 1], [2, NAN]])
        assert reference.tolist() == [0, 0]
        assert pareto.hypervolume([[INF, 1], [2, NAN]], reference) == 0

    @always(points(lowest=-6))
    def test_every_point_lies_inside(self, losses):
        assert (losses < pareto.reference_point(losses)).all()
        assert pareto.hypervolume(losses, pareto.reference_point(losses)) > 0


class TestKnee:
    def test_by_hand(self):
        # scaled: (0, 1), (0.1, 0.5), (0.4, 0.1), (1, 0); the third is deepest
        assert pareto.knee([[0, 10], [1, 5], [4, 1], [10, 0], [0.5, 20]]) == 2

    def test_few_points(self):
        assert pareto.knee([[4, 2]]) == 0
        assert pareto.knee([[0, 1], [1, 0]]) == 0
        assert pareto.knee([[9, 9], [1, 2], [1, 2]]) == 1

    def test_a_straight_front_has_its_knee_in_the_middle(self):
        assert pareto.knee([[x, 4 - x] for x in range(5)]) == 2
        assert pareto.knee([[x / 10, 1 - x / 10] for x in range(11)]) == 5

    def test_a_flat_loss_is_ignored(self):
        assert pareto.knee([[0, 7, 10], [1, 7, 1], [10, 7, 0]]) == 1

    def test_a_bulging_front_has_no_better_point_than_its_ends(self):
        assert pareto.knee([[0, 1], [0.8, 0.8], [1, 0]]) in (0, 2)

    def test_three_losses(self):
        assert pareto.knee([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0.2, 0.3, 0.2], [0.3, 0.3, 0.2]]) == 3

    def test_what_is_not_finite_is_taken_only_if_there_is_nothing_else(self):
        assert pareto.knee([[0, INF], [5, 5], [NAN, 0]]) == 1
        assert pareto.knee([[3, INF], [0, INF]]) == 1

    @always(st.integers(0, 1000))
    def test_scale_and_shift_change_nothing(self, seed):
        losses = np.random.default_rng(seed).random((20, 2))
        knee = pareto.knee(losses)
        assert pareto.ranks(losses)[knee] == 0
        assert pareto.knee(losses * [1000, 0.01] - 5) == knee
