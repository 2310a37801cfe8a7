"""DSS (Zhou et al., 2022, TF-TAS): how diverse a Transformer's attention is, and how much its other layers carry.

Letters: W the weights of one layer, R a product of the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import torch
from torch.func import functional_call

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.progress import Watch
from hwnas.quality._probe import Setting, noise, objective
from hwnas.quality._spectra import nuclear
from hwnas.quality._untrained import Init, untrained, weighted
from hwnas.trial import Metric, Reading


@dataclass(frozen=True)
class Dss(Metric):
    """Synaptic diversity of attention plus synaptic saliency of all other layers; more is better.

    score = sum over attention of |W|_* |dR/dW|_*  +  sum over other convolution and linear weights of |W dR/dW|, with
    nuclear norms (sums of singular values). All parameters are replaced by their absolute values, and the input is one
    image (or one sequence of features) of ones; token ids are random, since equal ones would make a constant sequence.
    What belongs to attention, the roles of the family say; every weight counts once. The pass is made in float64, with
    normalisation, softmax and activations at work, so that no law of conservation holds: the score is a heuristic and
    grows with size.

    Args:
        objective: R: "probe", the product with one fixed Gaussian vector; or "sum" of all outputs, as in the paper,
            which is constant, and useless, where a network ends with a LayerNorm.
        init: how weights are drawn: "kaiming" (normal, fan-in), "normal" or "default" (the family's own).
        family: whose networks need attention.
    """

    objective: Literal["probe", "sum"] = "probe"
    init: Init = "kaiming"
    family: Family | None = field(default=None, compare=False)  # no value depends on it

    def __post_init__(self) -> None:
        if self.objective not in ("probe", "sum"):
            raise ConfigError(f"objective takes 'probe' or 'sum', not {self.objective!r}")

    @classmethod
    def example(cls, place: Path) -> Self:
        """With a small Vision Transformer, for the contract tests."""
        small = {"classes": 4, "resolution": 8, "patch": 4, "depths": [1, 2], "widths": [16], "heads": [1, 2]}
        return cls(family=parts.make("families", {"vit": {**small, "ratios": [1], "head_width": 8}}))

    def prepare(self, watch: Watch, /) -> None:
        """Looks whether the family has attention.

        Raises:
            ConfigError: it has none.
        """
        if self.family is None or not self.family.buildable:
            return
        skeleton = Candidate(self.family, self.family.space.smallest).skeleton
        if "attention" not in self.family.roles(skeleton).values():
            raise ConfigError(
                f"dss needs networks with attention, and those of {self.family.name!r} have none",
                hint="`zen`, `synflow` and `naswot` judge convolutional networks",
            )

    def __call__(self, candidate: Candidate, /) -> Reading:
        """The score of one candidate, with both parts.

        Raises:
            MetricError: no weight has the role of attention, or the output does not depend on the weights.
        """
        model, setting = candidate.model, Setting(init=self.init, batch=1, double=True)
        roles = candidate.family.roles(model)
        if "attention" not in roles.values():
            raise MetricError("no weight of the network has the role 'attention'")
        tensors = {
            name: tensor.abs().double() if tensor.is_floating_point() else tensor
            for name, tensor in untrained(candidate, self.init).items()
        }
        weights = {name: tensors[name].requires_grad_() for name in weighted(model)}
        inputs = tuple(torch.ones_like(x) if x.is_floating_point() else x for x in noise(candidate, setting))
        with torch.enable_grad():
            total = objective(candidate, functional_call(model, tensors, inputs), self.objective)
        slopes = torch.autograd.grad(total, list(weights.values()), allow_unused=True, materialize_grads=True)
        diversity = saliency = 0.0
        for (name, leaf), slope in zip(weights.items(), slopes, strict=True):
            weight = leaf.detach()
            if roles[name] == "attention":
                diversity += nuclear(weight) * nuclear(slope)
            else:
                saliency += float((weight * slope).abs().sum())
        if not diversity + saliency > 0:
            raise MetricError(f"the output does not depend on the weights: the score is {diversity + saliency}")
        return Reading(diversity + saliency, {"diversity": diversity, "saliency": saliency})


__all__ = ["Dss"]
