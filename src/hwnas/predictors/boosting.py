"""Gradient-boosted trees: for hundreds of networks and choices that depend on one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hwnas.codes import Codes
from hwnas.errors import ConfigError, MissingExtraError
from hwnas.predictors import Fitted, Floats, Predictor
from hwnas.predictors._learning import Regression
from hwnas.space import Space


@dataclass(frozen=True)
class Boosting(Predictor):
    """Gradient boosting (Friedman, 2001) on the active choices.

    Args:
        engine: "sklearn", or "lightgbm" (faster on thousands of networks; pip install "hwnas[boosting]").
        trees: how many.
        depth: of each.
        rate: how much of each tree counts.
    """

    engine: Literal["sklearn", "lightgbm"] = "sklearn"
    trees: int = 200
    depth: int = 3
    rate: float = 0.1

    def __post_init__(self) -> None:
        for name in ("trees", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not 0 < self.rate <= 1:
            raise ConfigError(f"rate is a share above 0 and up to 1, not {self.rate!r}")

    def fit(self, space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator, /) -> Fitted:
        """Fits once per fold and once for all.

        Raises:
            MissingExtraError: LightGBM is asked for and not installed.
        """
        return Regression(self._makers()[self.engine], space, codes_NG, values_N, rng)

    def _makers(self) -> dict[str, Any]:
        return {"sklearn": self._sklearn, "lightgbm": self._lightgbm}

    def _sklearn(self, seed: int) -> Any:
        from sklearn.ensemble import GradientBoostingRegressor

        return GradientBoostingRegressor(
            n_estimators=self.trees,
            max_depth=self.depth,
            learning_rate=self.rate,
            subsample=0.8,
            max_features=0.5,
            random_state=seed,
        )

    def _lightgbm(self, seed: int) -> Any:
        try:
            from lightgbm import LGBMRegressor
        except ImportError:
            raise MissingExtraError("lightgbm", "boosting") from None
        return LGBMRegressor(
            n_estimators=self.trees,
            max_depth=self.depth,
            num_leaves=2**self.depth,
            learning_rate=self.rate,
            min_child_samples=5,
            subsample=0.8,
            subsample_freq=1,
            colsample_bytree=0.5,
            random_state=seed,
            n_jobs=1,
            deterministic=True,
            force_row_wise=True,
            verbose=-1,
        )


__all__ = ["Boosting"]
