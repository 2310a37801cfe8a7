"""NASWOT (Mellor et al., 2021): how differently an untrained network's units fire for different inputs.

Shape letters: B inputs, U units of one activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._probe import Proxy, Setting, Watcher
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Naswot(Proxy):
    """The log determinant of the agreement between the binary codes of a batch of inputs; more is better.

    score = log det K, where K[i, j] counts the units that are in the same state, on or off, for inputs i and j. A unit
    is on where its pre-activation is above 0; units are all values that enter a ReLU or a function of its kind (ReLU6,
    hardtanh, leaky ReLU, PReLU, ELU, SELU, CELU, GELU, SiLU, Mish, Hardswish), as a module or as a call, once per call.
    For functions other than ReLU this is a convention without a proof of its worth.

    The inputs are standard normal noise, the same for all candidates of a run. BatchNorm uses the statistics of the
    batch, as in training, and dropout is off. The score grows like B log(units): only scores of one batch size and one
    initialisation can be compared.

    Args:
        batch: B, at least 2.
        init: how weights are drawn: "kaiming" (normal, fan-in), "normal" or "default" (the family's own).
    """

    batch: int = 16
    init: Init = "kaiming"

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ConfigError(f"batch must be at least 2, since inputs are compared, not {self.batch!r}")

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Agreement(self.batch)


class _Agreement(Watcher):
    """K, as it grows."""

    def __init__(self, batch: int) -> None:
        self.kernel_BB = torch.zeros(batch, batch, dtype=torch.float64)

    def activation(self, z: Tensor) -> None:
        # With +1 and -1 for on and off, the product counts agreements minus disagreements. It is exact in float32 below
        # 2^24 units.
        sign_BU = (z > 0).float().reshape(len(z), -1).mul_(2).sub_(1)
        self.kernel_BB.add_((sign_BU @ sign_BU.T).double() + sign_BU.shape[1], alpha=0.5)

    def score(self) -> float:
        if not self.kernel_BB.any():
            raise MetricError("the network has no activation whose units could be watched")
        if torch.linalg.matrix_rank(self.kernel_BB, hermitian=True) < len(self.kernel_BB):
            raise MetricError(
                f"the codes of {len(self.kernel_BB)} inputs are dependent: two are alike, or there are too few units"
            )
        return float(torch.linalg.slogdet(self.kernel_BB).logabsdet)


__all__ = ["Naswot"]
