"""ZiCo (Li et al., 2023): gradients that are large and alike from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.quality._probe import Proxy, Setting, Watcher, check_batch
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Zico(Proxy):
    """The inverse coefficient of variation of the gradients of two batches; more is better.

    score = sum over convolution and linear layers of log sum_k mean |g_k| / std g_k, over two batches of noise with
    random labels and the weights k of a layer; std is the population's. A weight with equal gradients in both batches
    is left out, and so is a layer without any other. Dead layers shorten the sum, so the score counts layers too.
    BatchNorm uses the statistics of the batch.

    Args:
        batch: inputs in each of the two batches.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    batch: int = 8
    init: Init = "default"

    def __post_init__(self) -> None:
        check_batch(self.batch, 1)

    def settings(self) -> tuple[Setting, ...]:
        return tuple(Setting(init=self.init, batch=self.batch, part=part) for part in (0, 1))

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _TwoBatches()


class _TwoBatches(Watcher):
    def __init__(self) -> None:
        self.slopes: list[dict[str, Tensor]] = []

    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.slopes.append({name: slope.double() for name, (_, slope) in pairs.items()})

    def score(self) -> float:
        first, second = self.slopes
        layers = [_ratio(first[name], second[name]) for name in first]
        if not any(layers):
            raise MetricError("no weight has different gradients in two batches")
        return sum(math.log(ratio) for ratio in layers if ratio)


def _ratio(first: Tensor, second: Tensor) -> float:
    """The sum of mean / std over the weights of one layer."""
    mean, std = (first.abs() + second.abs()) / 2, (first - second).abs() / 2
    return float(torch.where(std > 0, mean / std, 0.0).sum())


__all__ = ["Zico"]
