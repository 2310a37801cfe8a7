"""SNIP (Lee et al., 2019; Abdelfattah et al., 2021): how much the loss would feel the loss of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.quality._probe import Proxy, Setting, Watcher, check_batch
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Snip(Proxy):
    """The connection sensitivity of all weights of an untrained network; more is better.

    score = sum |W dL/dW| over all convolution and linear weights, where L is the mean cross-entropy of one batch of
    noise with random labels. A mask of ones on every weight, of which the gradient is taken, gives the same value.
    BatchNorm uses the statistics of the batch. Only scores of one batch size and one initialisation can be compared.

    Args:
        batch: inputs at once.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    batch: int = 8
    init: Init = "default"

    def __post_init__(self) -> None:
        check_batch(self.batch, 1)

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Sensitivity()


class _Sensitivity(Watcher):
    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.total = sum(float((weight * slope).abs().sum(dtype=torch.float64)) for weight, slope in pairs.values())

    def score(self) -> float:
        return float(self.total)


__all__ = ["Snip"]
