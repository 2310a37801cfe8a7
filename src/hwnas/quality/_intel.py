"""DE-NAS's score of CNNs as its released code computes it, for comparison: reproducible, and not a good score.

Letters: B inputs, K classes, a the mixing of two inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.quality._probe import normalised
from hwnas.quality._untrained import weighted
from hwnas.seeds import seeded

SEED, MIXING = 12345, 0.01
"""Both are fixed in the released code."""


@dataclass(frozen=True)
class Terms:
    """What the released code puts together.

    Args:
        expressivity: log of the mean L1 distance of the features of two inputs that nearly agree.
        condition: of the neural tangent kernel, largest by smallest eigenvalue.
        saliency: SynFlow with BatchNorm, averaged per output channel.
    """

    expressivity: float
    condition: float
    saliency: float

    def score(self, expressivity: float, complexity: float, saliency: float) -> float:
        """The score with the weights of a conf file; a weight of 0 leaves its term out."""
        first = 0.0
        if expressivity:
            first = self.expressivity * expressivity / (self.saliency * saliency if saliency else 1.0)
        return first - self.condition * complexity


def terms(candidate: Candidate, batch: int) -> Terms:
    """The three terms of one CNN without shortcuts, every draw in the order of the released code.

    Raises:
        MetricError: the network is no CNN with BatchNorm.
    """
    model = candidate.plain
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    (like,) = candidate.inputs[:1]
    if not norms or like.dim() != 4:
        raise MetricError("the formula of the released code is about CNNs with BatchNorm only")
    tensors = {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    with seeded(SEED):
        for name in weighted(model):
            tensors[name].normal_()
        for name, _ in model.named_parameters():
            if name.endswith("bias"):
                tensors[name].zero_()
        for name in norms:
            tensors[f"{name}.weight"].fill_(1.0)
        images, other, third = (torch.randn(batch, *like.shape[1:]) for _ in range(3))
    expressivity = _distance(candidate, model, tensors, images, images + MIXING * other)
    condition = _condition(model, tensors, norms, third)
    return Terms(expressivity, condition, _saliency(model, tensors, like))


def _distance(
    candidate: Candidate, model: nn.Module, tensors: dict[str, Tensor], images: Tensor, near: Tensor
) -> float:
    kept: list[Tensor] = []
    last = model.get_submodule(candidate.family.blocks(model)[-1])
    hook = last.register_forward_hook(lambda _, __, features: kept.append(features))
    try:
        with torch.no_grad(), normalised("batch"):
            for x in (images, near):
                functional_call(model, tensors, (x,))
    finally:
        hook.remove()
    return math.log(float((kept[0] - kept[1]).abs().sum((1, 2, 3)).mean()))


def _condition(model: nn.Module, tensors: dict[str, Tensor], norms: list[str], images: Tensor) -> float:
    """One backward pass per sample through one graph in which BatchNorm mixes the samples."""
    own = [*weighted(model), *(f"{name}.weight" for name in norms)]
    leaves = {name: tensors[name].clone().requires_grad_() for name in own}
    with torch.enable_grad(), normalised("batch"):
        logits_BK = functional_call(model, {**tensors, **leaves}, (images,))
    rows = [
        torch.cat([slope.flatten() for slope in torch.autograd.grad(total, list(leaves.values()), retain_graph=True)])
        for total in logits_BK.sum(1)
    ]
    jacobian_BP = torch.stack(rows)
    eigenvalues_B = torch.linalg.eigvalsh(jacobian_BP @ jacobian_BP.T)
    return float(eigenvalues_B[-1] / eigenvalues_B[0])


def _saliency(model: nn.Module, tensors: dict[str, Tensor], like: Tensor) -> float:
    positive = {name: t.abs().double() if t.is_floating_point() else t for name, t in tensors.items()}
    leaves = {name: positive[name].requires_grad_() for name in weighted(model)}
    ones = torch.ones(1, *like.shape[1:], dtype=torch.float64)
    with torch.enable_grad(), normalised("batch"):
        total = functional_call(model, {**positive, **leaves}, (ones,)).sum()
    slopes = torch.autograd.grad(total, list(leaves.values()))
    pairs = zip(leaves.values(), slopes, strict=True)
    return sum(float((weight.detach() * slope).abs().flatten(1).sum(1).mean()) for weight, slope in pairs)
