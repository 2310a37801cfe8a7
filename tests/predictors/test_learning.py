"""What predictors share: a common scale, columns by axis, how often values are taken, and held-out predictions."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes
from hwnas.predictors import mape, tau
from hwnas.predictors._learning import AXES, FOLDS, Regression, Scale, axis_columns, histogram
from hwnas.space import Choice, Space
from hwnas.testing import SPACE, cube

RNG = np.random.default_rng
PAIR = Space("pair", (Choice("b0.kernel", (3, 5)), Choice("b1.kernel", (3, 5, 7)), Choice("b0.width", (3, 4))))


class Echo:
    """A regressor that predicts the mean of what it was fitted on, and remembers what it saw."""

    def fit(self, rows_NF, targets_N):
        self.mean, self.fitted = targets_N.mean(), set(rows_NF.argmax(axis=1).tolist())
        return self

    def predict(self, rows_NF):
        self.asked = set(rows_NF.argmax(axis=1).tolist())
        return np.full(len(rows_NF), self.mean)


def test_a_scale_takes_out_mean_and_spread_and_gives_them_back():
    values_N = np.array([1.0, 2.0, 6.0])
    scale = Scale.of(values_N)
    assert scale.forth(values_N).mean() == pytest.approx(0) and scale.forth(values_N).std() == pytest.approx(1)
    assert scale.back(scale.forth(values_N)) == pytest.approx(values_N)
    assert Scale.of(np.full(4, 7.0)) == Scale(7.0, 1.0)


def test_axes_are_the_last_parts_of_names_and_every_column_belongs_to_one():
    kernels, widths = axis_columns(PAIR)
    assert (kernels.tolist(), widths.tolist()) == ([0, 1, 2, 3, 4], [5, 6])
    columns = np.concatenate(axis_columns(SPACE))
    assert sorted(columns) == list(range(codes.one_hot(SPACE, codes.array(SPACE, [SPACE.smallest])).shape[1]))
    assert len(axis_columns(SPACE)) == 5  # depth, act, kernel, expand, branch


def test_numbers_at_the_end_of_a_name_count_for_nothing():
    assert [len(columns) for columns in axis_columns(cube(2, 3, 4))] == [9]


def test_very_many_axes_are_one_group():
    names = "abcdefghijklmnop"
    many, enough = (Space("wide", tuple(Choice(name, (0, 1)) for name in names[:count])) for count in (AXES + 1, AXES))
    assert len(axis_columns(many)) == 1 and len(axis_columns(enough)) == AXES


def test_a_histogram_counts_values_wherever_they_are_taken():
    rows_NF = codes.one_hot(PAIR, np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1]]))
    counts_NV = histogram(PAIR, rows_NF)
    two = np.sqrt(2)  # kernels 3 and 5 can be taken twice, a kernel of 7 once, as can a width of 3 or 4
    expected = [[2 / two, 0, 0, 1, 0], [1 / two, 1 / two, 0, 0, 1], [1 / two, 1 / two, 0, 0, 1]]
    assert np.allclose(counts_NV, expected)


def test_what_is_held_out_was_predicted_from_the_other_folds():
    made, values_N = [], np.arange(12.0) ** 2
    codes_NG = np.arange(12)[:, None]
    fitted = Regression(lambda seed: made.append(Echo()) or made[-1], cube(100), codes_NG, values_N, RNG(0))
    *folds, whole = made
    assert len(folds) == FOLDS and whole.fitted == set(range(12))
    assert sorted(place for fold in folds for place in fold.asked) == list(range(12))
    for fold in folds:
        assert fold.fitted == set(range(12)) - fold.asked
        assert np.allclose(fitted.held_out[list(fold.asked)], values_N[list(fold.fitted)].mean())
    error = np.sqrt(((fitted.held_out - values_N) ** 2).mean())
    assert np.allclose(fitted.spread(codes_NG), error) and np.allclose(fitted.mean(codes_NG), values_N.mean())
    assert fitted.mean(codes_NG[:0]).shape == (0,)


def test_draws_without_covariances_are_independent():
    codes_NG = np.arange(12)[:, None]
    fitted = Regression(lambda seed: Echo(), cube(100), codes_NG, np.arange(12.0), RNG(0))
    draws_ND = fitted.draws(codes_NG[:3], 20_000, RNG(0))
    assert np.allclose(draws_ND.mean(axis=1), 5.5, atol=0.15)
    assert np.allclose(np.corrcoef(draws_ND), np.eye(3), atol=0.05)
    assert np.allclose(draws_ND.std(axis=1), fitted.spread(codes_NG[:3]), rtol=0.03)


def test_relative_errors_leave_out_zeros():
    assert mape(np.array([0.0, -2.0, 4.0]), np.array([9.0, -1.0, 4.0])) == 0.25
    assert mape(np.zeros(3), np.ones(3)) == 0.0


def test_rank_correlations():
    assert tau(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1)
    assert tau(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)
    # tau-b by its definition: 5 pairs agree, none disagrees, one is tied on one side
    assert tau(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(5 / np.sqrt(5 * 6))
    assert tau(np.ones(4), np.arange(4.0)) == tau(np.arange(4.0), np.ones(4)) == tau(np.ones(1), np.ones(1)) == 0.0
