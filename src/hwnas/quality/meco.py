"""MeCo (Jiang et al., 2023): how independent the channels of an untrained network's feature maps are.

Shape letters: B inputs, C channels, H height, W width, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._spectra import least_correlation
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Meco(Proxy):
    """The smallest eigenvalues of the correlations between channels, added up over feature maps; more is better.

    For each feature map of one input of noise: the C x C correlation of its channels over positions, of which the
    smallest eigenvalue counts. Positions are those of an image or the tokens of a sequence, B x T x C; what has neither
    counts 0, and so does a map with no more positions than channels, whose correlation is singular, and one with a
    constant channel. So images are enlarged where the family's networks take that; 7 x 7 maps of hundreds of channels
    count 0 at any rate.

    Args:
        hooks: which feature maps: "modules", the outputs of all modules, containers included, as in the paper's own
            code, so that a block counts what its last layer counts once more; or "activations", what comes out of a
            ReLU: of other activations, too, the positive part of what enters them is taken.
        zoom: how many times larger images are.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
    """

    hooks: Literal["modules", "activations"] = "modules"
    zoom: int = 2
    init: Init = "default"

    def __post_init__(self) -> None:
        if self.hooks not in ("modules", "activations"):
            raise ConfigError(f"hooks takes 'modules' or 'activations', not {self.hooks!r}")
        if self.zoom < 1:
            raise ConfigError(f"zoom must be at least 1, not {self.zoom!r}")

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=1, zoom=self.zoom),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Outputs() if self.hooks == "modules" else _Activations()


class _Independence(Watcher):
    """The sum, as it grows."""

    def __init__(self) -> None:
        self.total, self.maps = 0.0, 0

    def add(self, features: Tensor) -> None:
        if features.dim() in (3, 4):
            self.total += least_correlation(features[:1])
            self.maps += 1

    def score(self) -> float:
        if not self.maps:
            raise MetricError("the network has no feature maps: nothing in it has positions or tokens")
        return self.total


class _Outputs(_Independence):
    def module(self, name: str, module: nn.Module, output: Tensor) -> None:
        self.add(output)


class _Activations(_Independence):
    def activation(self, z: Tensor) -> None:
        self.add(F.relu(z))


__all__ = ["Meco"]
