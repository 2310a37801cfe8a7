"""Multiply-accumulates of one forward pass on one input: convolutions, linear layers, matrix products, attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwnas.candidate import Candidate
from hwnas.layers import macs
from hwnas.trial import Metric


@dataclass(frozen=True)
class Macs(Metric):
    """How much arithmetic a network does; says nothing about memory, so it ranks latency only roughly.

    One MAC is two FLOP. Biases, normalisation, activations, pooling and additions are free, as in Once-for-All
    (Cai et al., 2020) and in most published tables.
    """

    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "MACs"

    def __call__(self, candidate: Candidate, /) -> float:
        return float(macs(candidate.layers))


__all__ = ["Macs"]
