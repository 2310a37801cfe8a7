"""What predictors share: values on a common scale, choices by axis, cross-validation for those without a formula."""

# Shape letters: N codes, F one-hot columns.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas import codes
from hwnas.codes import Codes
from hwnas.predictors import Fitted, Floats
from hwnas.space import Choice, Space

FOLDS = 5
AXES = 12
"""So many groups of choices can be told apart by a few dozen networks; where there are more, all are one group."""


@dataclass(frozen=True)
class Scale:
    """Values with their mean and spread taken out; equal values have a spread of 1."""

    mean: float
    spread: float

    @classmethod
    def of(cls, values_N: Floats) -> Scale:
        """The scale on which these values have mean 0 and standard deviation 1."""
        return cls(float(values_N.mean()), float(values_N.std()) or 1.0)

    def forth(self, values: Floats) -> Floats:
        return (values - self.mean) / self.spread

    def back(self, values: Floats) -> Floats:
        return self.mean + self.spread * values


def axis_columns(space: Space) -> list[Codes]:
    """The one-hot columns of every axis: all kernels together, all depths …"""
    names = [_axis(choice) for choice in space.choices]
    if len(set(names)) > AXES:
        names = [""] * len(names)
    columns = np.repeat(names, [len(choice.values) for choice in space.choices])
    return [np.flatnonzero(columns == name) for name in sorted(set(names))]


class Regression(Fitted):
    """A scikit-learn style regressor as a fitted predictor: its spread is the error that cross-validation found.

    Args:
        make: a fresh regressor.
    """

    def __init__(
        self, make: Callable[[int], Any], space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator
    ) -> None:
        self._space, self._scale = space, Scale.of(values_N)
        rows_NF, targets_N = codes.one_hot(space, codes_NG), self._scale.forth(values_N)
        seed = int(rng.integers(2**31))
        held_out_N = np.empty(len(targets_N))
        fold_N = rng.permutation(len(targets_N)) % min(FOLDS, len(targets_N))
        for fold in np.unique(fold_N):
            out_N = fold_N == fold
            held_out_N[out_N] = make(seed).fit(rows_NF[~out_N], targets_N[~out_N]).predict(rows_NF[out_N])
        self.held_out = self._scale.back(held_out_N)
        self._error = float(np.sqrt(((held_out_N - targets_N) ** 2).mean())) * self._scale.spread
        self._model = make(seed).fit(rows_NF, targets_N)

    def mean(self, codes_NG: Codes, /) -> Floats:
        if not len(codes_NG):
            return np.empty(0)
        predicted_N: Floats = self._model.predict(codes.one_hot(self._space, codes_NG))
        return self._scale.back(predicted_N)

    def spread(self, codes_NG: Codes, /) -> Floats:
        return np.full(len(codes_NG), self._error)


def histogram(space: Space, rows_NF: Floats) -> Floats:
    """How often each value is taken along its axis, wherever that is; scaled so that a change of one weighs less the
    more choices the axis has: N x V."""
    names = [(_axis(choice), value) for choice in space.choices for value in choice.values]
    places: dict[tuple[str, object], int] = {}
    column_F = np.array([places.setdefault(name, len(places)) for name in names])
    takes_FV = np.eye(len(places))[column_F]
    counts_NV: Floats = rows_NF @ takes_FV / np.sqrt(takes_FV.sum(axis=0))
    return counts_NV


def _axis(choice: Choice) -> str:
    """A choice's axis; numbers at the end of a name count for nothing (`ks0`, `ks1` …)."""
    return choice.axis.rstrip("0123456789_")
