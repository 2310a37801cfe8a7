"""What a benchmark's table says about a network: no training, no measurement, the same answer every time."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Tabular(Metric):
    """One column of the family's table, in the table's own unit; networks are never built.

    Args:
        family: one with a table, such as `{nasbench201: {table: nasbench201.npz}}`.
        column: its name in the table.
    """

    family: Family
    column: str
    exact: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {"column": "accuracy"}

    def __post_init__(self) -> None:
        self._tabulated()

    def prepare(self, watch: Watch = silent, /) -> None:
        """Reads the table, so that a wrong name is told before the search."""
        self._tabulated().column(self.column)

    def __call__(self, candidate: Candidate, /) -> float:
        return self._tabulated().value(self.column, candidate.code)

    def _tabulated(self) -> Tabulated:
        if not isinstance(self.family, Tabulated):
            raise ConfigError(f"family {self.family.name!r} has no table, so there is no column {self.column!r}")
        return self.family


__all__ = ["Tabular"]
