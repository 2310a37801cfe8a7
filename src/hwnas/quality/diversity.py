"""Synaptic diversity (Zhou et al., 2022): how many directions the weights and their slopes have before training.

Letters: W the weights of one layer as a matrix, out x in, R the scalar whose gradient is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._untrained import Init
from hwnas.trial import Reading

__all__ = ["Diversity"]


@dataclass(frozen=True)
class Diversity(Proxy):
    """The sum of log(1 + |W|_* |dR/dW|_*) over layers, |.|_* the nuclear norm, the sum of singular values.

    The paper adds up the products themselves. They differ by orders of magnitude between layers, so that one layer
    decides; their logarithms let every layer count, and rank cells of NAS-Bench-201 better (0.78 against 0.64). A layer
    on which the output does not depend counts nothing.

    The layers are the projections of attention, as in the paper (TF-TAS); in a network without attention they are all
    convolutions and linear layers but the head, a kernel taken as a matrix out x (in k k), which is an extension. R is
    the product of the outputs with one fixed Gaussian vector, since a plain sum is constant where the last layer
    normalises, and all gradients are then rounding noise. BatchNorm has the batch's statistics, as constants. Every
    layer counts once; weights are those of the network at hand, whatever space it comes from.

    Args:
        batch: inputs.
        init: how weights are drawn.
    """

    batch: int = 16
    init: Init = "kaiming"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch!r}")

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch, norm="frozen", objective="probe"),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Norms(candidate)


class _Norms(Watcher):
    """The sum over layers, as soon as the gradients are there."""

    def __init__(self, candidate: Candidate) -> None:
        self.roles = candidate.family.roles(candidate.model)

    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        attention = {name for name, role in self.roles.items() if role == "attention"}
        names = attention or {name for name, role in self.roles.items() if role not in ("head", "embedding")}
        own = [pair for name, pair in pairs.items() if name in names]  # in order, or the last digit is left to chance
        self.layers = len(own)
        self.total = sum(math.log1p(nuclear(weight) * nuclear(slope)) for weight, slope in own)

    def score(self) -> Reading:
        if not self.total > 0:
            raise MetricError("no layer has both weights and gradients: no path leads from the input to the output")
        return Reading(self.total, {"layers": self.layers})


def nuclear(matrix: Tensor) -> float:
    """The sum of singular values of a weight, out x everything else.

    From the eigenvalues of the smaller Gram matrix in float64, several times as fast as singular values; what rounding
    makes of a singular value of zero is 1e-8 of the largest.
    """
    flat = matrix.flatten(1).double()
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    return float(torch.linalg.eigvalsh(gram).clamp_(min=0.0).sqrt_().sum())
