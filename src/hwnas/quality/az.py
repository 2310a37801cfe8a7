"""AZ-NAS (Lee and Ham, 2024): how rich an untrained network's features are, how they grow, and how gradients fare.

Shape letters: B inputs, C channels, H height, W width, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.layers import macs
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._spectra import entropy, gain
from hwnas.quality._untrained import Init

Part = Literal["expressivity", "progressivity", "trainability", "complexity"]


@dataclass(frozen=True)
class Az(Proxy):
    """One of the four scores of AZ-NAS, read at the boundaries between blocks; more is better.

    - "expressivity": the sum over boundaries of H, the entropy of the shares that principal directions have in the
      variance of the features over inputs and positions.
    - "progressivity": the least increase of H from one boundary to the next.
    - "trainability": the mean over blocks of 2 - s - 1 / (s + 1e-6), at most 0. A random sign for every feature after
      the block is sent back through it; s is the largest singular value of what comes back, times the signs, over the
      number of positions: 1 where the block keeps the size of gradients. Where it lowers the resolution, the positions
      that it merges count as channels of one. A block of an image network that hands back exactly what it was sent is
      an identity, which the formula would call perfect. The paper's code gives such a network the worst score, minus
      infinity; here the block counts as one that hands back nothing, about -1e6. Identities among tokens are left out.
    - "complexity": MACs.

    Positions are those of images, B x C x H x W, and tokens, B x T x C. The paper adds up the logarithms of a network's
    ranks in all four among other networks, which takes a pool: `quality.ensemble` does that. All parts of one batch
    share a forward pass, and a backward pass of one block at a time. Eigenvalues are clamped at 0, without which one
    connected network in eight has no score.

    Args:
        part: which score.
        batch: B, inputs at once.
        init: how weights are drawn: "kaiming" (normal, fan-in), "normal" or "default" (the family's own).
    """

    part: Part = "expressivity"
    batch: int = 16
    init: Init = "kaiming"

    def __post_init__(self) -> None:
        if self.part not in _WATCHERS:
            raise ConfigError(f"part takes {', '.join(_WATCHERS)}, not {self.part!r}")
        if self.batch < 2:
            raise ConfigError(f"batch must be at least 2, since features are compared, not {self.batch!r}")

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _WATCHERS[self.part](candidate)


class _Expressivity(Watcher):
    """The entropy of every boundary."""

    def __init__(self, candidate: Candidate) -> None:
        self.entropies: list[float] = []

    def block(self, place: int, features: Tensor) -> None:
        self.entropies.append(entropy(features))

    def score(self) -> float:
        if not self.entropies:
            raise MetricError("the network has no blocks whose features could be watched")
        return sum(self.entropies)


class _Progressivity(_Expressivity):
    def score(self) -> float:
        if len(self.entropies) < 2:
            raise MetricError(f"features cannot grow from block to block: the network has {len(self.entropies)}")
        return min(after - before for before, after in zip(self.entropies, self.entropies[1:], strict=False))


class _Trainability(Watcher):
    """What every block makes of gradients."""

    def __init__(self, candidate: Candidate) -> None:
        self.blocks: list[float] = []

    def transport(self, place: int, sent: Tensor, received: Tensor) -> None:
        size = gain(sent, received)
        if torch.equal(sent, received):
            size = 0.0 if sent.dim() == 4 else None
        if size is not None:
            self.blocks.append(2 - size - 1 / (size + 1e-6))

    def score(self) -> float:
        if not self.blocks:
            raise MetricError("the network has no two blocks between which gradients could be watched")
        return sum(self.blocks) / len(self.blocks)


class _Complexity(Watcher):
    """The MACs, which take no pass to know, but go with a network that has a path."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate

    def score(self) -> float:
        return float(macs(self.candidate.layers))


_WATCHERS: dict[str, type[_Expressivity | _Trainability | _Complexity]] = {
    "expressivity": _Expressivity,
    "progressivity": _Progressivity,
    "trainability": _Trainability,
    "complexity": _Complexity,
}

__all__ = ["Az"]
