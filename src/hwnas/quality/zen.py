"""Zen-score (Lin et al., 2021): how strongly an untrained plain network's features answer to a small change.

Shape letters: B inputs, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.progress import Watch
from hwnas.quality._flow import _GATES, _LINEAR
from hwnas.quality._probe import Setting, _by_batch, noise
from hwnas.quality._untrained import ACTIVATIONS, Exchanged, untrained
from hwnas.trial import Metric, Reading

ALPHA = 0.01
"""The size of the change, relative to the inputs."""


@dataclass(frozen=True)
class Zen(Metric):
    """The logarithm of the expected change of the last feature map, with what BatchNorm scales down put back.

    score = log mean ||f(x) - f(x + 0.01 e)|| + sum over BatchNorms of log sqrt(mean over channels of their input's
    variance); x and e are standard normal noise, all weights are drawn from N(0, 1), and f are the features that enter
    the last pooling to one pixel, or that leave the last block where there is none. The network is scored without its
    shortcuts where its family can build that. More is better. The score grows almost linearly with depth: it is made
    for plain networks with a limit on layers and parameters, and shortcuts and dead ends spoil it.

    Variances are the biased ones of the batch of x. The paper's own code reads running statistics instead, which
    subtracts about 0.83 for every BatchNorm. One whose input does not vary (it stands in a dead end) counts nothing.

    With `bypass` BatchNorm is left out instead of compensated (the paper's Phi-score, which it replaces since the
    values of deep networks overflow; here they are divided by a power of two at every boundary between blocks, which is
    exact). Networks without shortcuts have nearly the same score then. Shortcuts and dead ends spoil nothing: what
    reaches no output does not count. Activations of all kinds are taken as ReLU, and gates stand open.

    Args:
        batch: B, inputs at once; at least 2.
        norm: of the change of one input: "frobenius" as in the paper, or "l1" as in its own code.
        compensate: the sum over BatchNorms; without it the first term hardly depends on the architecture, unless a
            network has no BatchNorm at all.
        bypass: BatchNorm is left out.
        family: whose networks need BatchNorm.
    """

    batch: int = 16
    norm: Literal["frobenius", "l1"] = "frobenius"
    compensate: bool = True
    bypass: bool = False
    family: Family | None = field(default=None, compare=False)  # no value depends on it

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ConfigError(f"batch must be at least 2, since BatchNorm needs several inputs, not {self.batch!r}")
        if self.norm not in ("frobenius", "l1"):
            raise ConfigError(f"norm takes 'frobenius' or 'l1', not {self.norm!r}")

    def prepare(self, watch: Watch, /) -> None:
        """Looks whether the family has BatchNorm.

        Raises:
            ConfigError: it has none.
        """
        if self.family is None or not self.family.buildable or not self.compensate:
            return
        skeleton = Candidate(self.family, self.family.space.smallest).skeleton
        if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in skeleton.modules()):
            raise ConfigError(
                f"the Zen-score needs networks with BatchNorm, and those of {self.family.name!r} have none",
                hint="`az`, `naswot` and `dss` judge networks without it",
            )

    def __call__(self, candidate: Candidate, /) -> Reading:
        """The score of one candidate, with both terms.

        Raises:
            MetricError: the network has no BatchNorm or no image as its input, or nothing changes.
        """
        setting = Setting(init="normal", batch=self.batch, plain=True)
        x, e = noise(candidate, setting), noise(candidate, Setting(init="normal", batch=self.batch, part=1))
        if not all(part.is_floating_point() for part in x):
            raise MetricError("the Zen-score changes inputs a little, and those of this network are whole numbers")
        changed = tuple(one + ALPHA * other for one, other in zip(x, e, strict=True))
        model = candidate.plain
        kinds = {type(module) for module in model.modules()}
        has_norm = any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
        if (self.compensate or self.bypass) and not has_norm:
            raise MetricError("the Zen-score needs a network with BatchNorm, and this one has none that matters")
        if self.bypass:
            return self._bypassed(candidate, x, changed)
        tensors = untrained(candidate, "normal", plain=True)
        block = next(reversed(candidate.family.blocks(model)), "")
        first, spread = watched(model, tensors, x, block)
        second, _ = watched(model, tensors, changed, block)
        if self.compensate and not spread:
            raise MetricError("the Zen-score needs a network with BatchNorm, and this one has none that matters")
        difference = (first - second).flatten(1)
        change = float(torch.linalg.vector_norm(difference, 2 if self.norm == "frobenius" else 1, 1).mean())
        if not change > 0:
            raise MetricError(f"a changed input changes the features by {change}: no path leads through the network")
        lost = sum(map(math.log, spread)) / 2 if self.compensate else 0.0
        return Reading(math.log(change) + lost, {"change": math.log(change), "compensation": lost})

    def _bypassed(self, candidate: Candidate, x: tuple[Tensor, ...], changed: tuple[Tensor, ...]) -> Reading:
        """The score without BatchNorm, in float32 where no block exceeds it."""
        both = tuple(torch.cat(pair) for pair in zip(x, changed, strict=True))
        tensors = untrained(candidate, "normal", plain=True)
        change = exponent = 0.0
        for dtype in (torch.float32, torch.float64):
            own = {name: each.to(dtype) if each.is_floating_point() else each for name, each in tensors.items()}
            features, exponent = unscaled(candidate, own, tuple(each.to(dtype) for each in both))
            difference = (features[: self.batch] - features[self.batch :]).double().flatten(1)
            change = float(torch.linalg.vector_norm(difference, 2 if self.norm == "frobenius" else 1, 1).mean())
            if math.isfinite(change):
                break
        if not (change > 0 and math.isfinite(change)):
            raise MetricError(f"a changed input changes the features by {change}: no path leads through the network")
        return Reading(math.log(change) + exponent * math.log(2))


def watched(
    model: nn.Module, tensors: Mapping[str, Tensor], inputs: tuple[Tensor, ...], block: str
) -> tuple[Tensor, list[float]]:
    """The last feature map, and for every BatchNorm the variance of its input, averaged over channels.

    Args:
        block: the module whose output are the features where nothing is pooled to one pixel.
    """
    features: dict[str, Tensor] = {}
    spread: list[float] = []

    def norm(input: Tensor, *args: Any, **options: Any) -> Tensor:
        variance = float(input.var([dim for dim in range(input.dim()) if dim != 1], correction=0).mean())
        if variance > 0:
            spread.append(variance)
        return _by_batch(input, *args, **options)

    def pool(input: Tensor, size: Any) -> Tensor:
        if size in (1, (1, 1), [1, 1]):
            features["pooled"] = input
        return F.adaptive_avg_pool2d(input, size)

    def leaves(_: nn.Module, __: Any, output: Any) -> None:
        features["block"] = output if isinstance(output, Tensor) else output[0]

    hook = model.get_submodule(block).register_forward_hook(leaves)
    try:
        with torch.no_grad(), Exchanged({F.batch_norm: norm, F.adaptive_avg_pool2d: pool}):
            functional_call(model, dict(tensors), inputs)
    finally:
        hook.remove()
    return features.get("pooled", features["block"]), spread


def unscaled(candidate: Candidate, tensors: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, int]:
    """The last feature map without BatchNorm, as a power of two that its numbers are to be multiplied by: (f, e).

    Without normalisation and biases a network is homogeneous: what one block's output is divided by, the last one's is.
    """
    model, features, exponent = candidate.plain, dict[str, Tensor](), 0

    def leaves(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal exponent
        if not isinstance(output, Tensor):
            features["block"] = output[0]
            return None
        most = float(output.abs().max())
        if 0 < most < math.inf:
            step = math.frexp(most)[1]
            exponent, output = exponent + step, output * 2.0**-step
        features["block"] = output
        return output

    def pool(input: Tensor, size: Any) -> Tensor:
        if size in (1, (1, 1), [1, 1]):
            features["pooled"] = input
        return F.adaptive_avg_pool2d(input, size)

    exchanged: dict[Callable[..., Any], Callable[..., Any]] = {
        **dict.fromkeys(ACTIVATIONS, _rectified),
        **{function: _LINEAR[function] for function in (*_GATES, F.batch_norm)},
        F.adaptive_avg_pool2d: pool,
    }
    hooks = [model.get_submodule(name).register_forward_hook(leaves) for name in candidate.family.blocks(model)]
    try:
        with torch.no_grad(), Exchanged(exchanged):
            functional_call(model, dict(tensors), inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not features:
        raise MetricError("the network has no features: its family names no blocks, and nothing is pooled")
    return features.get("pooled", features.get("block", torch.empty(0))), exponent


def _rectified(input: Tensor, *_: object, **__: object) -> Tensor:
    return torch.relu(input)


__all__ = ["Zen"]
