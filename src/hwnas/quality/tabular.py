"""What a benchmark's table says about a network: no training, no measurement, the same answer every time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError
from hwnas.progress import Watch, silent
from hwnas.space import Code
from hwnas.trial import Metric


@runtime_checkable
class Tabulated(Protocol):
    """A family whose networks are listed in a table."""

    def column(self, name: str, /) -> NDArray[np.float64]:
        """One column; raises ConfigError with the known ones if there is none of this name."""
        ...

    def value(self, column: str, code: Code, /) -> float:
        """One network's value; raises MetricError if the table has none."""
        ...


@runtime_checkable
class TabulatedAtOnce(Tabulated, Protocol):
    """A table that looks up many networks at once."""

    def values(self, column: str, codes_NG: NDArray[np.int64], /) -> NDArray[np.float64]:
        """The values of codes, N; raises MetricError if the table lacks one of them."""
        ...


@dataclass(frozen=True)
class Tabular(Metric):
    """One column of the family's table, in the table's own unit; networks are never built.

    Args:
        family: one with a table, such as `{table: {path: data.csv}}` or `{nasbench201: {table: nasbench201.npz}}`.
        column: its name in the table.
        scale: what one of the table's units is worth: 0.001 makes milliseconds seconds.
        unit: for display, after scaling: "s", "bytes", "percent" …
        measured: the value stands for a measurement: a search has to ask for it, and may not compute it as it does with
            what follows from the code alone, such as a count.
    """

    family: Family
    column: str
    scale: float = 1.0
    unit: str = ""
    measured: bool = False
    exact: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {"column": "accuracy"}

    def __post_init__(self) -> None:
        self._tabulated()
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"scale takes a number above 0, not {self.scale!r}")
        if self.measured:
            object.__setattr__(self, "exact", False)  # of this one only

    def prepare(self, watch: Watch = silent, /) -> None:
        """Reads the table, so that a wrong name is told before the search."""
        self._tabulated().column(self.column)

    def __call__(self, candidate: Candidate, /) -> float:
        return self.scale * self._tabulated().value(self.column, candidate.code)

    def of_codes(self, codes_NG: NDArray[np.int64], /) -> NDArray[np.float64]:
        """The values of many codes at once, for a search that computes them: N."""
        table = self._tabulated()
        if isinstance(table, TabulatedAtOnce):
            return self.scale * table.values(self.column, codes_NG)
        values = [table.value(self.column, tuple(code)) for code in codes_NG.tolist()]
        return self.scale * np.array(values, dtype=np.float64)

    def _tabulated(self) -> Tabulated:
        if not isinstance(self.family, Tabulated):
            raise ConfigError(f"family {self.family.name!r} has no table, so there is no column {self.column!r}")
        return self.family


__all__ = ["Tabular"]
