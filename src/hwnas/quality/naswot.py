"""NASWOT (Mellor et al., 2021): how differently an untrained network's units fire for different inputs.

Shape letters: B inputs, U units of one activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._untrained import ACTIVATIONS, Exchanged, Init, untrained
from hwnas.trial import Metric


@dataclass(frozen=True)
class Naswot(Metric):
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
        init: how weights are drawn: "kaiming" (normal, fan-in) or "default" (the family's own).
    """

    batch: int = 16
    init: Init = "kaiming"

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ConfigError(f"batch must be at least 2, since inputs are compared, not {self.batch!r}")

    @torch.no_grad()
    def __call__(self, candidate: Candidate, /) -> float:
        """The score of one candidate.

        Raises:
            MetricError: the output does not depend on the input, there are no activations, or K is singular.
        """
        agreement_BB = torch.zeros(self.batch, self.batch, dtype=torch.float64)

        def watched(activation: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def call(input: Tensor, *args: Any, **options: Any) -> Tensor:
                # With +1 and -1 for on and off, the product counts agreements minus disagreements. It is exact in
                # float32 below 2^24 units.
                sign_BU = (input > 0).float().reshape(self.batch, -1).mul_(2).sub_(1)
                agreement_BB.add_((sign_BU @ sign_BU.T).double() + sign_BU.shape[1], alpha=0.5)
                return activation(input, *args, **options)

            return call

        exchanged = {activation: watched(activation) for activation in ACTIVATIONS}
        with Exchanged({**exchanged, F.batch_norm: _by_batch}):
            output = functional_call(candidate.model, untrained(candidate, self.init), candidate.batch(self.batch))
        if torch.equal(output, output[:1].expand_as(output)):
            raise MetricError("the output is the same for all inputs: no path leads from the input to the output")
        if not agreement_BB.any():
            raise MetricError("the network has no activation whose units could be watched")
        if torch.linalg.matrix_rank(agreement_BB, hermitian=True) < self.batch:
            raise MetricError(
                f"the codes of {self.batch} inputs are dependent: two are alike, or there are too few units"
            )
        return float(torch.linalg.slogdet(agreement_BB).logabsdet)


def _by_batch(
    input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """BatchNorm as in training, without keeping statistics."""
    return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)


__all__ = ["Naswot"]
