"""Number of trainable and frozen parameters of a network, every shared one once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwnas.candidate import Candidate
from hwnas.trial import Metric


@dataclass(frozen=True)
class Params(Metric):
    """How many numbers a network has to store; BatchNorm statistics and other buffers are not parameters."""

    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __call__(self, candidate: Candidate, /) -> float:
        return float(sum(parameter.numel() for parameter in candidate.skeleton.parameters()))


__all__ = ["Params"]
