"""Norm of the weights (Abdelfattah et al., 2021): the size of a network as its fresh weights tell it."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.candidate import Candidate
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._untrained import Init, untrained, weighted


@dataclass(frozen=True)
class L2Norm(Proxy):
    """The norms of all layers' fresh weights, summed; more is better.

    score = sum over convolution and linear layers of ||W||_2. It follows from shapes and initialisation alone: a
    baseline for scores that claim to see more than size.

    Args:
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    init: Init = "default"

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=2),)  # a pass only to tell networks without a path

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Size(candidate, self.init)


class _Size(Watcher):
    def __init__(self, candidate: Candidate, init: Init) -> None:
        self.candidate, self.init = candidate, init

    def score(self) -> float:
        tensors = untrained(self.candidate, self.init)
        return float(sum(float(tensors[name].norm()) for name in weighted(self.candidate.model)))


__all__ = ["L2Norm"]
