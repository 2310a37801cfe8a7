"""Support-vector regression with a radial kernel, its strength chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.predictors import Fitted, Floats, Predictor
from hwnas.predictors._learning import Regression
from hwnas.space import Space


@dataclass(frozen=True)
class Svr(Predictor):
    """Support-vector regression (Drucker et al., 1997) on the active choices, one of DyNAS-T's two predictors.

    Args:
        strengths: penalties of an error to choose from, by the error that cross-validation finds.
        epsilon: errors up to this part of the values' spread cost nothing.
    """

    strengths: tuple[float, ...] = (1.0, 10.0, 100.0)
    epsilon: float = 0.01

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise ConfigError(f"strengths takes one or more numbers above 0, not {self.strengths!r}")
        if self.epsilon < 0:
            raise ConfigError(f"epsilon must not be negative, got {self.epsilon!r}")

    def fit(self, space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator, /) -> Fitted:
        """Fits once per strength and fold."""
        from sklearn.svm import SVR

        def fitted(strength: float, seed: int) -> Regression:
            def make(seed: int) -> Any:
                model = SVR(C=strength, epsilon=self.epsilon, gamma=1 / max(1, 2 * codes_NG.shape[1]))
                model.random_state = seed  # its constructor takes none, and would draw one from NumPy's global state
                return model

            return Regression(make, space, codes_NG, values_N, np.random.default_rng(seed))

        seed = int(rng.integers(2**31))  # the same folds for all of them
        tried = [fitted(strength, seed) for strength in self.strengths]
        return min(tried, key=lambda each: float(((each.held_out - values_N) ** 2).sum()))


__all__ = ["Svr"]
