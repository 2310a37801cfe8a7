"""SWAP (Peng et al., 2024): how many different ways the units of an untrained network answer a batch of inputs.

Shape letters: S inputs, U units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Swap(Proxy):
    """The number of different sample-wise activation patterns; more is better.

    A unit's pattern says for which of S inputs it is on, that is, its pre-activation is above 0; units are all values
    that enter a ReLU or a function of its kind. Patterns are compared over all layers together. There are no more than
    2^S of them, nor more than units: with few inputs good networks can't be told apart (at S = 16 they reach 65,000 of
    65,536), so S is larger here than in the paper, and scores of different S can't be compared.

    Args:
        samples: S, from 2 to 63.
        init: how weights are drawn: "normal" as in the paper's own code, "kaiming" (normal, fan-in) or "default".
    """

    samples: int = 32
    init: Init = "normal"

    def __post_init__(self) -> None:
        if not 2 <= self.samples <= 63:
            raise ConfigError(f"samples takes a number from 2 to 63, a bit of an integer each, not {self.samples!r}")

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.samples),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Patterns()


class _Patterns(Watcher):
    """The different patterns of every call of an activation, as integers."""

    def __init__(self) -> None:
        self.found: list[NDArray[np.int64]] = []

    def activation(self, z: Tensor) -> None:
        on_SU = (z > 0).flatten(1)
        pattern_U = torch.zeros(on_SU.shape[1], dtype=torch.int64)
        for bit, on_U in enumerate(on_SU):
            pattern_U |= on_U.long() << bit
        self.found.append(np.unique(pattern_U.numpy()))

    def score(self) -> float:
        if not self.found:
            raise MetricError("the network has no activation whose units could be watched")
        return float(len(np.unique(np.concatenate(self.found))))


__all__ = ["Swap"]
