"""Linear regions (Chen et al., 2021, TE-NAS): into how many linear pieces an untrained network cuts its inputs.

Shape letters: B inputs, U units of one activation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class LinearRegions(Proxy):
    """The number of different activation patterns over many random inputs; more is better, up to their number.

    Two inputs lie in the same linear region of a ReLU network if all units of all layers are in the same state, on
    (pre-activation above 0) or off. Units are all values that enter a ReLU or a function of its kind; only of a
    piecewise linear function the regions are linear.

    The score saturates at `samples`: a network of more than a few dozen units puts almost every input into a region of
    its own, and all such networks tie. It tells networks apart only if they are as narrow, and their inputs as small,
    as in the paper, which counts over 3,000 crops of 3 x 3 pixels with one channel. Elsewhere use `naswot`, which says
    how far apart the patterns are, or `swap`.

    Args:
        samples: B, inputs of noise, at least 2.
        init: how weights are drawn: "kaiming" (normal, fan-in), "normal" or "default" (the family's own).
    """

    samples: int = 256
    init: Init = "kaiming"

    tiny: ClassVar[Mapping[str, Any]] = {"samples": 32}

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigError(f"samples must be at least 2, not {self.samples!r}")

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.samples),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Regions(self.samples)


class _Regions(Watcher):
    """A digest of every input's pattern, as it grows, which takes no memory."""

    def __init__(self, samples: int) -> None:
        self.digests = [hashlib.blake2b(digest_size=16) for _ in range(samples)]
        self.watched = False

    def activation(self, z: Tensor) -> None:
        self.watched = True
        for digest, pattern in zip(self.digests, np.packbits((z > 0).flatten(1).numpy(), axis=1), strict=True):
            digest.update(pattern.tobytes())

    def score(self) -> float:
        if not self.watched:
            raise MetricError("the network has no activation whose units could be watched")
        return float(len({digest.digest() for digest in self.digests}))


__all__ = ["LinearRegions"]
