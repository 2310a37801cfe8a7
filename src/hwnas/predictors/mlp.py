"""A few small neural networks whose disagreement is their doubt."""

# Shape letters: N codes, E members of the ensemble.

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
class Mlp(Predictor):
    """The mean of several multilayer perceptrons on the active choices, as in Once-for-All's accuracy predictor.

    Args:
        hidden: widths of the hidden layers.
        members: networks that are averaged.
        decay: weight of the L2 penalty.
        epochs: at most.
    """

    hidden: tuple[int, ...] = (64, 64)
    members: int = 3
    decay: float = 1e-2
    epochs: int = 200

    def __post_init__(self) -> None:
        for name in ("members", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"hidden takes widths from 1 on, not {self.hidden!r}")

    def fit(self, space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator, /) -> Fitted:
        """Trains every member once per fold and once for all."""
        return Regression(self._ensemble, space, codes_NG, values_N, rng)

    def _ensemble(self, seed: int) -> Any:
        from sklearn.neural_network import MLPRegressor

        options: dict[str, Any] = {"solver": "lbfgs", "alpha": self.decay, "max_iter": self.epochs}
        return _Mean(
            [
                MLPRegressor(hidden_layer_sizes=self.hidden, random_state=seed + i, **options)
                for i in range(self.members)
            ]
        )


class _Mean:
    """Several regressors as one."""

    def __init__(self, members: list[Any]) -> None:
        self._members = members

    def fit(self, rows_NF: Floats, targets_N: Floats) -> _Mean:
        import warnings

        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():  # the number of epochs is meant as a limit
            warnings.simplefilter("ignore", ConvergenceWarning)
            for member in self._members:
                member.fit(rows_NF, targets_N)
        return self

    def predict(self, rows_NF: Floats) -> Floats:
        mean_N: Floats = np.mean([member.predict(rows_NF) for member in self._members], axis=0)
        return mean_N


__all__ = ["Mlp"]
