"""Bayesian ridge regression: exact on sums, honest about what is held out, and draws that fit its own spread."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes
from hwnas.errors import ConfigError
from hwnas.predictors.ridge import Ridge
from hwnas.testing import SPACE, cube, judge

RNG = np.random.default_rng


def known(space, count, noise=0.0, seed=0):
    """Codes, and values that add up over the active choices."""
    rng = RNG(seed)
    codes_NG = codes.sample(space, count, rng)
    rows_NF = codes.one_hot(space, codes_NG)
    weight_F = RNG(99).normal(size=rows_NF.shape[1])
    return codes_NG, 50 + 3 * rows_NF @ weight_F + noise * rng.normal(size=count)


def noise_of(fitted, rows_NF):
    """The variance of the noise that a fit has found: of its posterior 1 / variance = 1 / prior + size^2 / noise."""
    size = np.linalg.svd(rows_NF - rows_NF.mean(axis=0), compute_uv=False)[0]
    return size**2 / (1 / fitted._variance_R[0] - 1 / fitted._prior)


@pytest.mark.parametrize("space", [cube(3, 4, 2, 5), SPACE], ids=["cube", "toy"])
def test_what_adds_up_is_recovered_exactly(space):
    codes_NG, values_N = known(space, 200)
    other_NG, truth_N = known(space, 100, seed=1)
    fitted = Ridge().fit(space, codes_NG, values_N, RNG(0))
    assert np.allclose(fitted.mean(other_NG), truth_N, atol=0.02 * truth_N.std())
    assert np.allclose(fitted.held_out, values_N, atol=0.02 * truth_N.std())


@pytest.mark.parametrize("count", [8, 30, 120], ids="{} networks".format)
def test_what_is_held_out_is_what_a_fit_without_it_predicts(count):
    # by hand, with the same strength of shrinkage: least squares with a penalty, the intercept free of it
    codes_NG, values_N = known(SPACE, count, noise=2.0)
    fitted = Ridge().fit(SPACE, codes_NG, values_N, RNG(0))
    rows_NF = codes.one_hot(SPACE, codes_NG)
    noise, prior = noise_of(fitted, rows_NF), fitted._prior
    for out in range(count):
        rest = np.arange(count) != out
        centre_F, middle = rows_NF[rest].mean(axis=0), values_N[rest].mean()
        x_NF, y_N = rows_NF[rest] - centre_F, values_N[rest] - middle
        weight_F = np.linalg.solve(x_NF.T @ x_NF + noise / prior * np.eye(x_NF.shape[1]), x_NF.T @ y_N)
        assert fitted.held_out[out] == pytest.approx(middle + (rows_NF[out] - centre_F) @ weight_F, rel=1e-5)


def test_the_noise_is_found():
    codes_NG, values_N = known(cube(3, 3, 3, 3, 3), 400, noise=2.0)
    fitted = Ridge().fit(cube(3, 3, 3, 3, 3), codes_NG, values_N, RNG(0))
    assert np.sqrt(((fitted.held_out - values_N) ** 2).mean()) == pytest.approx(2.0, rel=0.15)


def test_draws_have_the_covariance_of_the_weights():
    codes_NG, values_N = known(SPACE, 25, noise=2.0)
    fitted = Ridge().fit(SPACE, codes_NG, values_N, RNG(0))
    other_NG = codes.sample(SPACE, 6, RNG(5))
    draws_ND = fitted.draws(other_NG, 40_000, RNG(6))
    assert np.allclose(draws_ND.mean(axis=1), fitted.mean(other_NG), atol=0.05 * fitted.spread(other_NG).max())
    assert np.allclose(draws_ND.std(axis=1), fitted.spread(other_NG), rtol=0.03)
    rows_NF = codes.one_hot(SPACE, codes_NG)
    centred_NF, centre_F = rows_NF - rows_NF.mean(axis=0), rows_NF.mean(axis=0)
    noise = noise_of(fitted, rows_NF)
    precision_FF = centred_NF.T @ centred_NF / noise + np.eye(len(centre_F)) / fitted._prior
    apart_NF = codes.one_hot(SPACE, other_NG) - centre_F
    covariance_NN = values_N.var() * apart_NF @ np.linalg.inv(precision_FF) @ apart_NF.T
    assert np.allclose(np.cov(draws_ND), covariance_NN, atol=0.03 * covariance_NN.max())


def test_it_doubts_what_it_has_not_seen():
    space = cube(4, 4, 4)
    codes_NG = np.array([[0, i % 4, i % 3] for i in range(24)])  # the first choice never moves, the last value is new
    fitted = Ridge().fit(space, codes_NG, codes_NG.sum(axis=1) + 0.01 * RNG(0).normal(size=24), RNG(0))
    near, far = fitted.spread(np.array([[0, 1, 1], [3, 1, 3]]))
    assert far > 5 * near


def test_a_law_of_its_own_beats_chance_on_the_toy_problem():
    codes_NG = codes.sample(SPACE, 60, RNG(0))
    values_N = np.array([judge(code)["latency"] for code in codes.tuples(codes_NG)])
    fitted = Ridge().fit(SPACE, codes_NG, values_N, RNG(0))
    assert np.sqrt(((fitted.held_out - values_N) ** 2).mean()) < 0.5 * values_N.std()


def test_options():
    with pytest.raises(ConfigError, match="restarts must be at least 1, not 0"):
        Ridge(restarts=0)
