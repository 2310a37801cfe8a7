"""What stands in for a measurement: one file per regressor, each held to `Predictor`."""

# Shape letters: N codes, G choices of the space, D draws.

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.codes import Codes
from hwnas.parts import contract
from hwnas.space import Space

Floats = NDArray[np.float64]


class Fitted(Protocol):
    """A predictor that has learnt from some codes and their values."""

    held_out: Floats
    """What each value that it learnt from would have been predicted as without it, N: the honest error is made of
    these."""

    def mean(self, codes_NG: Codes, /) -> Floats:
        """What to expect of these codes: N. Thousands at once cost little."""
        ...

    def spread(self, codes_NG: Codes, /) -> Floats:
        """How far off that may be, as a standard deviation: N, not below zero."""
        ...

    def draws(self, codes_NG: Codes, count: int, rng: np.random.Generator, /) -> Floats:
        """What the values of these codes might be together: N x D, D equally likely guesses at the whole truth.

        Codes that are alike move together in a predictor that knows how much it knows; here by default they do not.
        """
        mean_N, spread_N = self.mean(codes_NG), self.spread(codes_NG)
        noise_ND: Floats = rng.standard_normal((len(mean_N), count))
        return mean_N[:, None] + spread_N[:, None] * noise_ND


@contract("predictors")
class Predictor(Protocol):
    """Learns a number from codes: the contract of `predictors/`.

    A predictor sees only the choices that are active, so that networks that are the same look the same. It keeps
    nothing between two calls, and takes randomness from `rng` alone.
    """

    def fit(self, space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator, /) -> Fitted:
        """Learns from canonical codes and one finite value for each.

        Args:
            codes_NG: N x G, at least `LEAST` of them.
            values_N: N, in any unit; they may all be equal.
        """
        ...


LEAST = 4
"""So few values teach nothing that could be checked."""


def mape(truth_N: Floats, predicted_N: Floats) -> float:
    """The mean absolute error relative to the true values, as a share; values of zero are left out.

    Example:
        >>> mape(np.array([2.0, 4.0]), np.array([1.0, 4.0]))
        0.25
    """
    some = truth_N != 0
    if not some.any():
        return 0.0
    return float(np.abs((predicted_N[some] - truth_N[some]) / truth_N[some]).mean())


def tau(truth_N: Floats, predicted_N: Floats) -> float:
    """Kendall's rank correlation (tau-b); 0.0 where either side is constant.

    Example:
        >>> round(tau(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])), 3)
        0.333
    """
    from scipy.stats import kendalltau

    if len(truth_N) < 2 or np.ptp(truth_N) == 0 or np.ptp(predicted_N) == 0:
        return 0.0
    return float(kendalltau(truth_N, predicted_N).statistic)


__all__ = ["LEAST", "Fitted", "Floats", "Predictor", "mape", "tau"]
