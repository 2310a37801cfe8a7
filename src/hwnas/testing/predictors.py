"""What a predictor promises."""

# Shape letters: N codes.

from __future__ import annotations

import numpy as np

from hwnas import codes
from hwnas.codes import Codes
from hwnas.predictors import LEAST, Floats, Predictor, tau
from hwnas.testing._shared import Check, hold, require, unchanged
from hwnas.testing.toys import SPACE, judge


def _known(count: int, seed: int = 0) -> tuple[Codes, Floats]:
    """Random toy codes and their made-up accuracy."""
    known_NG = codes.sample(SPACE, count, np.random.default_rng(seed))
    return known_NG, np.array([judge(code)["accuracy"] for code in codes.tuples(known_NG)])


def ranks_what_it_has_not_seen(predictor: Predictor) -> None:
    """From sixty networks it learns to rank others, and what it says about those held out is as good as that."""
    known_NG, values_N = _known(60)
    other_NG, truth_N = _known(200, seed=1)
    fitted = predictor.fit(SPACE, known_NG, values_N, np.random.default_rng(0))
    found = tau(truth_N, fitted.mean(other_NG))
    require(found > 0.4, f"it ranks networks that it has not seen with a Kendall tau of {found:.2f}")
    off = float(np.abs(fitted.mean(other_NG) - truth_N).mean())
    told = float(np.abs(fitted.held_out - values_N).mean())
    require(0.5 * off < told < 2 * off, f"it errs by {off:.3g}, and its held-out predictions by {told:.3g}")


def sees_active_choices_only(predictor: Predictor) -> None:
    """Networks that differ in choices that do not matter are one network to it."""
    raw_NG = np.random.default_rng(2).integers([len(choice.values) for choice in SPACE.choices], size=(50, len(SPACE)))
    fitted = predictor.fit(SPACE, *_known(30), np.random.default_rng(0))
    same = np.allclose(fitted.mean(raw_NG), fitted.mean(codes.canonical(SPACE, raw_NG)))
    require(same, "inactive choices change what it predicts")


def predicts_repeatably(predictor: Predictor) -> None:
    """The same values and the same generator give the same predictions, and nothing global changes."""
    known_NG, values_N = _known(20)
    other_NG, _ = _known(20, seed=1)
    predictor.fit(SPACE, known_NG, values_N, np.random.default_rng(0))  # what it imports may set something up
    with unchanged("fitting a predictor"):
        one, two = (predictor.fit(SPACE, known_NG, values_N, np.random.default_rng(3)) for _ in range(2))
        first, second = (each.draws(other_NG, 3, np.random.default_rng(4)) for each in (one, two))
    require(np.array_equal(one.mean(other_NG), two.mean(other_NG)), "the same seed gives other predictions")
    require(np.array_equal(first, second), "the same seed gives other draws")


def draws_scatter_around_the_mean(predictor: Predictor) -> None:
    """Draws are finite, N x D, and scatter around the mean about as widely as the spread says."""
    other_NG, _ = _known(40, seed=1)
    fitted = predictor.fit(SPACE, *_known(30), np.random.default_rng(0))
    draws_ND = fitted.draws(other_NG, 400, np.random.default_rng(0))
    mean_N, spread_N = fitted.mean(other_NG), fitted.spread(other_NG)
    require(draws_ND.shape == (40, 400) and np.isfinite(draws_ND).all(), f"draws have the shape {draws_ND.shape}")
    require(spread_N.shape == (40,) and (spread_N >= 0).all(), "the spread is no number from 0 on for each code")
    off = float(np.abs(draws_ND.mean(axis=1) - mean_N).max())
    require(off <= 0.3 * float(spread_N.max()) + 1e-9, f"the mean of the draws is off by {off:.3g}")
    ratio = float(draws_ND.std(axis=1).mean() / max(float(spread_N.mean()), 1e-12))
    require(0.5 < ratio < 1.5, f"draws scatter {ratio:.2f} times as widely as the spread says")


def takes_little_and_equal_values(predictor: Predictor) -> None:
    """A few values are enough, and values that are all equal are predicted as that."""
    known_NG, values_N = _known(LEAST)
    fitted = predictor.fit(SPACE, known_NG, values_N, np.random.default_rng(0))
    require(np.isfinite(fitted.mean(known_NG)).all(), f"from {LEAST} values it predicts something that is not finite")
    require(fitted.held_out.shape == (LEAST,), "it holds out another number of values than it was given")
    equal_N = np.full(LEAST, 7.0)
    fitted = predictor.fit(SPACE, known_NG, equal_N, np.random.default_rng(0))
    other_NG, _ = _known(10, seed=1)
    require(np.allclose(fitted.mean(other_NG), 7.0), "all values are 7, and it predicts something else")
    require(np.allclose(fitted.held_out, 7.0), "all values are 7, and it predicts something else for one held out")


PREDICTOR: tuple[Check, ...] = (
    ranks_what_it_has_not_seen,
    sees_active_choices_only,
    predicts_repeatably,
    draws_scatter_around_the_mean,
    takes_little_and_equal_values,
)


def check_predictor(predictor: Predictor) -> None:
    """Holds a predictor to its protocol."""
    hold(PREDICTOR, predictor)
