"""Jacobian covariance (Mellor et al., 2020): how differently an untrained network's output depends on different inputs.

Shape letters: B inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.quality._jacobian import correlation, jacobian
from hwnas.quality._probe import Proxy, Setting, Watcher, check_batch
from hwnas.quality._untrained import Init

K = 1e-5


@dataclass(frozen=True)
class JacobCov(Proxy):
    """The score of the correlation between the input gradients of a batch; more is better.

    score = -sum over eigenvalues v of log(v + k) + 1 / (v + k), k = 1e-5, for the B x B correlation matrix between the
    gradients of the sum of all outputs with respect to each input, noise. It is about -B at best, when no two gradients
    are correlated, and good networks differ in the third decimal, so the eigenvalues are those of a symmetric solver in
    float64, at least 0. BatchNorm uses the statistics of the batch, which is meant: samples are to meet. A network that
    takes ids is differentiated with respect to the vectors that it looks up for them.

    Args:
        batch: B, at least 2.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    batch: int = 16
    init: Init = "default"

    def __post_init__(self) -> None:
        check_batch(self.batch, 2)

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch, objective="sum"),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Correlation()


class _Correlation(Watcher):
    def inputs(self, slopes: Sequence[Tensor]) -> None:
        self.correlation_BB = correlation(jacobian(slopes))

    def score(self) -> float:
        values = torch.linalg.eigvalsh(self.correlation_BB).clamp_min(0) + K
        return -float((values.log() + 1 / values).sum())


__all__ = ["JacobCov"]
