"""Multiply-accumulates of one forward pass on one input: convolutions, linear layers, matrix products, attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from hwnas.candidate import Candidate, Family
from hwnas.hardware._counted import Many, counted
from hwnas.layers import macs
from hwnas.trial import Metric


@dataclass(frozen=True)
class Macs(Metric):
    """How much arithmetic a network does; says nothing about memory, so it ranks latency only roughly.

    One MAC is two FLOP. Biases, normalisation, activations, pooling and additions are free, as in Once-for-All
    (Cai et al., 2020) and in most published tables.

    Args:
        family: one that counts by formula lets a search know many networks at once.
    """

    family: Family | None = field(default=None, compare=False)  # no value depends on it
    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "MACs"

    def __call__(self, candidate: Candidate, /) -> float:
        return float(macs(candidate.layers))

    @property
    def of_codes(self) -> Many | None:
        """The MACs of many codes, where the family knows them without building."""
        return counted(self.family, 0)


__all__ = ["Macs"]
