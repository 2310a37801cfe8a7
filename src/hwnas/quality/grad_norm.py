"""Gradient norm (Abdelfattah et al., 2021): how strongly the loss pulls at the weights of an untrained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.quality._probe import Proxy, Setting, Watcher, check_batch
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class GradNorm(Proxy):
    """The norms of all layers' loss gradients, summed; more is better.

    score = sum over convolution and linear layers of ||dL/dW||_2, where L is the mean cross-entropy of one batch of
    noise with random labels: the version of zero-cost NAS, layer by layer, and not the norm of the whole gradient.
    BatchNorm uses the statistics of the batch. The sign of its correlation with accuracy changes between spaces.

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
        return _Norms()


class _Norms(Watcher):
    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.total = sum(float(slope.norm()) for _, slope in pairs.values())

    def score(self) -> float:
        return float(self.total)


__all__ = ["GradNorm"]
