"""GradSign (Zhang and Jia, 2022): how far the gradients of single samples agree in sign.

Shape letters: B samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.quality._probe import Call, Proxy, Setting, Watcher, check_batch
from hwnas.quality._samples import by_weight, summed
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Gradsign(Proxy):
    """The agreement of the signs of single samples' gradients, summed over all weights; more is better.

    score = sum over convolution and linear weights k of |sum_i sign(dL_i/dW_k)|, where L_i is the cross-entropy of
    sample i, noise with a random label. It is the sum of the paper; the mean over weights, which some ports take, turns
    what the score says about size around. Each sample is judged as a batch of one, which makes BatchNorm an instance
    normalisation, so one backward pass gives the gradients of all samples. Signs of gradients near 0 are arbitrary:
    implementations differ by some 1e-4. Only scores of one batch size and one initialisation can be compared.

    Args:
        batch: B, samples.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    batch: int = 8
    init: Init = "default"

    def __post_init__(self) -> None:
        check_batch(self.batch, 2)

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch, norm="instance"),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Agreement(self.batch)


class _Agreement(Watcher):
    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.total = 0.0

    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.pairs = pairs

    def calls(self, calls: Sequence[Call]) -> None:
        for group in by_weight(calls, self.pairs):  # one layer at a time: B gradients of all weights would be too many
            self.total += float(summed(group, self.batch).sign().sum(0).abs().double().sum())

    def score(self) -> float:
        return self.total


__all__ = ["Gradsign"]
