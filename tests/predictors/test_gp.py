"""The Gaussian process: formulas against brute force, and what its kernels see."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes
from hwnas.errors import ConfigError
from hwnas.predictors import gp, tau
from hwnas.predictors.gp import BOUNDS, Gp
from hwnas.testing import SPACE, cube, judge

RNG = np.random.default_rng
both_kernels = pytest.mark.parametrize("counts", [True, False], ids=["counts", "places only"])


def known(count, seed=0, goal="accuracy"):
    """Different toy codes and their values."""
    codes_NG = np.unique(codes.sample(SPACE, count, RNG(seed)), axis=0)
    return codes_NG, np.array([judge(code)[goal] for code in codes.tuples(codes_NG)])


def inside(fitted, codes_NG, other_NG=None):
    """The prior covariance of codes, on the scale on which the process works."""
    other_NG = codes_NG if other_NG is None else other_NG
    return fitted._kernel(fitted._rows(codes_NG), fitted._rows(other_NG))


def noise_of(fitted, codes_NG):
    return float((fitted._lower_NN @ fitted._lower_NN.T)[0, 0] - inside(fitted, codes_NG)[0, 0])


@both_kernels
def test_what_is_held_out_is_what_a_process_without_it_predicts(counts):
    codes_NG, values_N = known(25)
    fitted = Gp(counts=counts).fit(SPACE, codes_NG, values_N, RNG(0))
    covariance_NN = inside(fitted, codes_NG) + noise_of(fitted, codes_NG) * np.eye(len(codes_NG))
    target_N = (values_N - values_N.mean()) / values_N.std()
    for out in range(len(codes_NG)):
        rest = np.arange(len(codes_NG)) != out
        alone = covariance_NN[out, rest] @ np.linalg.solve(covariance_NN[np.ix_(rest, rest)], target_N[rest])
        assert fitted.held_out[out] == pytest.approx(values_N.mean() + values_N.std() * alone, rel=1e-6)


@both_kernels
def test_draws_have_mean_and_covariance_of_the_posterior(counts):
    codes_NG, values_N = known(25)
    other_NG, _ = known(7, seed=1)
    fitted = Gp(counts=counts).fit(SPACE, codes_NG, values_N, RNG(0))
    covariance_NN = inside(fitted, codes_NG) + noise_of(fitted, codes_NG) * np.eye(len(codes_NG))
    cross_MN = inside(fitted, other_NG, codes_NG)
    posterior_MM = inside(fitted, other_NG) - cross_MN @ np.linalg.solve(covariance_NN, cross_MN.T)
    posterior_MM *= values_N.var()
    draws_MD = fitted.draws(other_NG, 40_000, RNG(2))
    assert np.allclose(fitted.spread(other_NG) ** 2, np.diag(posterior_MM))
    assert np.allclose(np.cov(draws_MD), posterior_MM, atol=0.03 * posterior_MM.max())
    assert np.allclose(draws_MD.mean(axis=1), fitted.mean(other_NG), atol=0.03 * fitted.spread(other_NG).max())


def test_twins_move_together():
    codes_NG, values_N = known(25)
    twin_NG = np.repeat(known(5, seed=3)[0][:1], 2, axis=0)
    one_D, two_D = Gp().fit(SPACE, codes_NG, values_N, RNG(0)).draws(twin_NG, 500, RNG(0))
    assert np.corrcoef(one_D, two_D)[0, 1] > 0.999


@both_kernels
def test_without_noise_it_passes_through_what_it_knows(counts, monkeypatch):
    monkeypatch.setattr(gp, "BOUNDS", (*BOUNDS[:2], (-18.0, -16.0)))
    codes_NG, values_N = known(30)
    fitted = Gp(counts=counts).fit(SPACE, codes_NG, values_N, RNG(0))
    assert np.allclose(fitted.mean(codes_NG), values_N, atol=1e-3 * values_N.std())
    assert (fitted.spread(codes_NG) < 0.01 * values_N.std()).all()
    assert fitted.spread(known(30, seed=9)[0]).max() > 0.1 * values_N.std()


@both_kernels
def test_the_gradient_of_the_likelihood_is_that_of_finite_differences(counts, monkeypatch):
    from scipy import optimize

    seen = {}

    def minimize(surprise, start_P, **options):
        seen["surprise"], seen["size"] = surprise, len(start_P)
        return found(surprise, start_P, **options)

    found = optimize.minimize
    monkeypatch.setattr(optimize, "minimize", minimize)
    codes_NG, values_N = known(20)
    Gp(counts=counts).fit(SPACE, codes_NG, values_N, RNG(0))
    assert seen["size"] == (5 + 1 + 1 + 1 + 1 if counts else 5 + 1 + 1)  # five axes and a height, a weight and a height
    for seed in range(3):
        point_P = RNG(seed).normal([-2.0] * seen["size"], 0.7)
        slope_P = seen["surprise"](point_P)[1]
        step_PP = 1e-5 * np.eye(seen["size"])
        ends = [(seen["surprise"](point_P + step_P)[0], seen["surprise"](point_P - step_P)[0]) for step_P in step_PP]
        assert slope_P == pytest.approx([(up - down) / 2e-5 for up, down in ends], rel=1e-4, abs=1e-5)


def test_an_axis_without_effect_is_given_less_weight():
    space = SPACE
    codes_NG = codes.sample(space, 80, RNG(0))
    acts = [choice.name for choice in space.choices].index("act")
    values_N = codes_NG[:, acts].astype(float)
    (term,) = Gp(counts=False).fit(space, codes_NG, values_N, RNG(0))._terms
    columns = {space.choices[0].name: slice(0, 5), "act": slice(5, 8)}
    assert term.weight_F[columns["act"]].min() > 5 * np.delete(term.weight_F, np.r_[5:8]).max()


def test_counts_help_where_places_do_not_matter():
    space = cube(*[3] * 12)
    codes_NG, other_NG = codes.sample(space, 40, RNG(0)), codes.sample(space, 200, RNG(1))

    def truth(codes_NG):
        return (codes_NG.sum(axis=1) - 12.0) ** 2

    with_counts, without = (
        tau(truth(other_NG), Gp(counts=counts).fit(space, codes_NG, truth(codes_NG), RNG(0)).mean(other_NG))
        for counts in (True, False)
    )
    assert with_counts > 0.7 > 0.4 > without


def test_many_networks_are_thinned_out_evenly():
    target_N = RNG(0).permutation(100.0 * np.arange(50))
    places = gp._spread(target_N, 11)
    assert len(places) == 11 and (np.diff(places) > 0).all()
    assert {0.0, 4900.0} <= set(target_N[places])
    assert np.diff(np.sort(target_N[places])).max() <= 500
    assert gp._spread(target_N, 50).tolist() == list(range(50))
    codes_NG, values_N = known(60)
    fitted = Gp(most=20, learn=10).fit(SPACE, codes_NG, values_N, RNG(0))
    assert len(fitted._rows_NF) == 20 and fitted.held_out.shape == values_N.shape
    assert tau(values_N, fitted.held_out) > 0.3


def test_one_network_that_was_measured_twice_is_no_trouble():
    codes_NG, values_N = known(10)
    twice_NG, both_N = np.concatenate([codes_NG, codes_NG]), np.concatenate([values_N, values_N + 0.01])
    fitted = Gp().fit(SPACE, twice_NG, both_N, RNG(0))
    assert np.isfinite(fitted.mean(codes_NG)).all() and np.isfinite(fitted.draws(twice_NG, 3, RNG(0))).all()


def test_the_root_of_a_matrix_that_rounding_left_indefinite():
    matrix_MM = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-12]])
    assert np.allclose(gp._root(matrix_MM) @ gp._root(matrix_MM).T, matrix_MM, atol=1e-6)


@pytest.mark.parametrize("option", ["learn", "most", "iterations"])
def test_options(option):
    with pytest.raises(ConfigError, match=f"{option} must be at least 4, not 3"):
        Gp(**{option: 3})
