"""EPE-NAS (Lopes et al., 2021): how alike the input gradients are within a class.

Shape letters: B inputs, N inputs of one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.quality._jacobian import correlation, jacobian
from hwnas.quality._probe import Proxy, Setting, Watcher, check_batch
from hwnas.quality._untrained import Init

K = 1e-5
EACH = 4
"""Inputs of one class, at least; the score is undefined for fewer than 2."""
MANY = 100
"""Above so many classes, the paper compares classes instead of summing over them."""


@dataclass(frozen=True)
class Epe(Proxy):
    """The correlation between input gradients class by class, summed; more is better.

    For every class, s = sum log(|c| + 1e-5) over all entries c of the N x N correlation matrix between the gradients of
    the sum of all outputs with respect to its inputs. score = sum over classes of |s|; with more than 100 classes each
    s is divided by N, and the score is the mean over classes of the sum of |s - s'| over the others.

    The inputs are noise and the classes assigned in turn, so that all are equally large: as many classes as the network
    has, but no more than batch / 4. With real images the classes would mean something; the benchmarks that were scored
    without are no encouragement to use this score. BatchNorm uses the statistics of the batch. A network that takes ids
    is differentiated with respect to the vectors that it looks up for them.

    Args:
        batch: B, at least 4.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    batch: int = 16
    init: Init = "default"

    def __post_init__(self) -> None:
        check_batch(self.batch, EACH)

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch, objective="sum"),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Classes()


class _Classes(Watcher):
    def finished(self, setting: Setting, output: Tensor) -> None:
        self.classes = min(output.shape[-1], setting.batch // EACH)

    def inputs(self, slopes: Sequence[Tensor]) -> None:
        rows = jacobian(slopes)
        per_class = [correlation(rows[label :: self.classes]) for label in range(self.classes)]
        self.sums = [float((matrix.abs() + K).log().sum()) for matrix in per_class]
        self.sizes = [len(matrix) for matrix in per_class]

    def score(self) -> float:
        if self.classes <= MANY:
            return sum(map(abs, self.sums))
        means = [total / size for total, size in zip(self.sums, self.sizes, strict=True)]
        return sum(abs(one - other) for one in means for other in means) / self.classes


__all__ = ["Epe"]
