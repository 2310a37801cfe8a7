"""Bayesian ridge regression: every choice adds or takes away something, and a few dozen networks tell how much."""

# Shape letters: N codes, F one-hot columns, R rank, D draws.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas import codes
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.predictors import Fitted, Floats, Predictor
from hwnas.predictors._learning import Scale
from hwnas.space import Space


@dataclass(frozen=True)
class Ridge(Predictor):
    """Linear regression on the active choices whose strength of shrinkage follows from the data.

    Prior and noise variance maximise the evidence (MacKay, 1992), here over a singular value decomposition, which
    gives the leave-one-out predictions and exact draws of the weights for nothing. It ranks well from twenty networks
    on, and is the model to beat where effects add up.

    Args:
        restarts: starting points of the evidence maximisation.
    """

    restarts: int = 2

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise ConfigError(f"restarts must be at least 1, not {self.restarts!r}")

    def fit(self, space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator, /) -> Fitted:
        """One decomposition and a search in two numbers."""
        return _Line(space, codes_NG, values_N, self.restarts)


class _Line(Fitted):
    def __init__(self, space: Space, codes_NG: Codes, values_N: Floats, restarts: int) -> None:
        from scipy.optimize import minimize

        self._space, self._scale = space, Scale.of(values_N)
        target_N = self._scale.forth(values_N)
        rows_NF = codes.one_hot(space, codes_NG)
        self._centre_F = rows_NF.mean(axis=0)
        left_NR, size_R, self._right_RF = np.linalg.svd(rows_NF - self._centre_F, full_matrices=False)
        seen_R = left_NR.T @ target_N
        unseen = max(float(target_N @ target_N - seen_R @ seen_R), 0.0)

        def surprise(point: Floats) -> float:
            """The negative logarithm of the evidence, for the logarithms of prior and noise variance."""
            prior, noise = np.exp(point)
            variance_R = prior * size_R**2 + noise
            rest = len(target_N) - len(size_R)
            return float(np.log(variance_R).sum() + rest * point[1] + (seen_R**2 / variance_R).sum() + unseen / noise)

        starts = [np.array([-3.0 + 2 * i, -4.0 + 3 * i]) for i in range(restarts)]
        bounds = [(-12.0, 4.0), (-14.0, 2.0)]
        found = min((minimize(surprise, start, bounds=bounds) for start in starts), key=lambda each: float(each.fun))
        self._prior, noise = np.exp(found.x)
        shrink_R = self._prior * size_R**2 / (self._prior * size_R**2 + noise)
        self._weight_F = self._right_RF.T @ (shrink_R * seen_R / np.where(size_R > 0, size_R, 1.0) * (size_R > 0))
        self._variance_R = self._prior * noise / (self._prior * size_R**2 + noise)
        leverage_N = np.einsum("nr,r,nr->n", left_NR, shrink_R, left_NR) + 1 / len(target_N)
        residual_N = target_N - (rows_NF - self._centre_F) @ self._weight_F
        self.held_out = self._scale.back(target_N - residual_N / np.maximum(1 - leverage_N, 1e-9))

    def _rows(self, codes_NG: Codes) -> Floats:
        rows_NF: Floats = codes.one_hot(self._space, codes_NG) - self._centre_F
        return rows_NF

    def mean(self, codes_NG: Codes, /) -> Floats:
        mean_N: Floats = self._rows(codes_NG) @ self._weight_F
        return self._scale.back(mean_N)

    def spread(self, codes_NG: Codes, /) -> Floats:
        """In the directions that were seen the posterior's, in all others the prior's."""
        rows_NF = self._rows(codes_NG)
        inside_NR = rows_NF @ self._right_RF.T
        outside_N = np.maximum((rows_NF**2).sum(axis=1) - (inside_NR**2).sum(axis=1), 0.0)
        spread_N: Floats = np.sqrt(inside_NR**2 @ self._variance_R + self._prior * outside_N)
        return self._scale.spread * spread_N

    def draws(self, codes_NG: Codes, count: int, rng: np.random.Generator, /) -> Floats:
        """Each of a weight vector drawn from the posterior."""
        rows_NF = self._rows(codes_NG)
        free_FD = np.sqrt(self._prior) * rng.standard_normal((rows_NF.shape[1], count))
        free_FD -= self._right_RF.T @ (self._right_RF @ free_FD)
        known_RD = np.sqrt(self._variance_R)[:, None] * rng.standard_normal((len(self._variance_R), count))
        weights_FD = self._weight_F[:, None] + self._right_RF.T @ known_RD + free_FD
        draws_ND: Floats = rows_NF @ weights_FD
        return self._scale.back(draws_ND)


__all__ = ["Ridge"]
