"""Number of trainable and frozen parameters of a network, every shared one once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from hwnas.candidate import Candidate, Family
from hwnas.hardware._counted import Many, counted
from hwnas.trial import Metric


@dataclass(frozen=True)
class Params(Metric):
    """How many numbers a network has to store; BatchNorm statistics and other buffers are not parameters.

    Args:
        family: one that counts by formula lets a search know many networks at once.
    """

    family: Family | None = field(default=None, compare=False)  # no value depends on it
    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __call__(self, candidate: Candidate, /) -> float:
        return float(sum(parameter.numel() for parameter in candidate.skeleton.parameters()))

    @property
    def of_codes(self) -> Many | None:
        """The parameters of many codes, where the family knows them without building."""
        return counted(self.family, 1)


__all__ = ["Params"]
