"""NTK condition number (TE-NAS, Chen et al., 2021): how evenly gradient descent would learn all directions.

Shape letters: B samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality._probe import Call, Proxy, Setting, Watcher, check_batch
from hwnas.quality._samples import by_weight, gram, product, scale_slopes
from hwnas.quality._untrained import Init
from hwnas.trial import Reading

FLOOR = 1e-12
"""The least eigenvalue counts as no smaller than this share of the greatest: what is below it is rounding."""


@dataclass(frozen=True)
class Ntk(Proxy):
    """Minus the log condition number of the neural tangent kernel of an untrained network; more is better.

    score = -log(l_max / l_min) for the eigenvalues l of K = J J^T, B x B, where row i of J is the gradient of the sum
    of the outputs of sample i, noise, with respect to all convolution and linear weights and the scales of
    normalisation layers (no biases, no embeddings). BatchNorm has the statistics of the batch, as constants, so that
    row i is sample i's own, and one backward pass gives all of them. Eigenvalues are found in float64. Where l_min is 0
    but for rounding, as for two equal inputs or more samples than weights, it is taken for 1e-12 l_max, and `floored`
    in the details says so.

    The kernel grows with the batch: only scores of one batch size can be compared. A single draw is noisy (a deviation
    of 0.2 to 0.5); average several seeds.

    Args:
        batch: B, samples; all activations of them are held at once.
        init: how weights are drawn: "kaiming" (normal, fan-in), "normal" or "default" (the family's own).
        double: the pass in float64 too. Rounding grows with depth: it moves the condition number of 86 layers without
            shortcuts by a tenth or two.
        objective: "sum" of a sample's outputs, as in the paper, or "probe", their product with one fixed Gaussian
            vector, which is no constant where the last layer normalises.
    """

    batch: int = 64
    init: Init = "kaiming"
    double: bool = False
    objective: Literal["sum", "probe"] = "sum"

    tiny: ClassVar[Mapping[str, Any]] = {"batch": 4}

    def __post_init__(self) -> None:
        check_batch(self.batch, 2)
        if self.objective not in ("sum", "probe"):
            raise ConfigError(f"objective takes 'sum' or 'probe', not {self.objective!r}")

    def settings(self) -> tuple[Setting, ...]:
        setting = Setting(init=self.init, batch=self.batch, norm="frozen", objective=self.objective, double=self.double)
        return (setting,)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Kernel(self.batch)


class _Kernel(Watcher):
    """K, as it grows."""

    def __init__(self, batch: int) -> None:
        self.kernel_BB = torch.zeros(batch, batch, dtype=torch.float64)

    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.pairs = pairs

    def calls(self, calls: Sequence[Call]) -> None:
        batch = len(self.kernel_BB)
        for group in by_weight(calls, self.pairs):
            self.kernel_BB += gram(group, batch)
        scales: dict[int, Tensor] = {}
        for call in calls:
            slopes = scale_slopes(call, batch)
            if slopes is not None:
                key = id(call.module.weight)
                scales[key] = scales[key] + slopes if key in scales else slopes
        for slopes in scales.values():
            self.kernel_BB += product(slopes)

    def score(self) -> Reading:
        if not (self.kernel_BB.isfinite().all() and self.kernel_BB.any()):
            raise MetricError("the gradients of the outputs are 0 or not finite: there is no tangent kernel")
        values = torch.linalg.eigvalsh(self.kernel_BB)
        least, greatest = float(values[0]), float(values[-1])
        floored = least < FLOOR * greatest
        condition = 1 / FLOOR if floored else greatest / least
        return Reading(-math.log(condition), {"condition": condition, "floored": floored})


__all__ = ["Ntk"]
