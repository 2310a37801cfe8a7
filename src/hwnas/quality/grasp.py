"""GraSP (Wang et al., 2020; Abdelfattah et al., 2021): what losing each weight would do to the flow of gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.quality._probe import Setting, check_batch, twice_differentiable
from hwnas.quality._untrained import Init
from hwnas.trial import Metric


@dataclass(frozen=True)
class Grasp(Metric):
    """The gradient signal that the weights of an untrained network preserve; more is better.

    score = -sum W (H g) over all convolution and linear weights, where g and H are gradient and Hessian of the mean
    cross-entropy of one batch of noise with random labels, at temperature 1. The minus is the sign of zero-cost NAS and
    found by experiment. It costs a second backward pass through the first one, two to five times the price of SNIP.
    BatchNorm uses the statistics of the batch.

    Args:
        batch: inputs at once.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    batch: int = 8
    init: Init = "default"

    def __post_init__(self) -> None:
        check_batch(self.batch, 1)

    def settings(self) -> tuple[Setting, ...]:
        """The pass that is run, which nothing else can share."""
        return (Setting(init=self.init, batch=self.batch),)

    def __call__(self, candidate: Candidate, /) -> float:
        """The score of one candidate.

        Raises:
            MetricError: no path leads from the input to the output, or the score is not finite.
        """
        (setting,) = self.settings()
        weights, loss = twice_differentiable(candidate, setting)
        slopes = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True, materialize_grads=True)
        total = torch.stack([(slope * slope.detach()).sum() for slope in slopes]).sum()
        bends = torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)
        score = -sum(
            float((weight.detach() * bend).sum(dtype=torch.float64))
            for weight, bend in zip(weights, bends, strict=True)
        )
        if not math.isfinite(score):
            raise MetricError(f"the score of Grasp is {score}")
        return score


__all__ = ["Grasp"]
