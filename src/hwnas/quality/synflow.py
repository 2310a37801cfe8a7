"""SynFlow (Tanaka et al., 2020; Abdelfattah et al., 2021): how much signal flows through all positive weights.

Letters: W the weights of one layer, R the sum of the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.quality._untrained import ACTIVATIONS, Exchanged, Init, untrained, weighted
from hwnas.trial import Metric


def _as_it_is(input: Tensor, *_: object, **__: object) -> Tensor:
    return input


def _open(input: Tensor, *_: object, **__: object) -> Tensor:
    return torch.ones_like(input)


_NORMALISATIONS = (F.batch_norm, F.instance_norm, F.group_norm, F.layer_norm, F.rms_norm, F.local_response_norm)
_SATURATING = (torch.tanh, Tensor.tanh, F.softsign)
_GATES = (torch.sigmoid, Tensor.sigmoid, F.hardsigmoid)
_LINEAR: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    **dict.fromkeys((*_NORMALISATIONS, *ACTIVATIONS, *_SATURATING), _as_it_is),
    **dict.fromkeys(_GATES, _open),
}


@dataclass(frozen=True)
class Synflow(Metric):
    """The synaptic flow through a network that was made linear and positive; more is better.

    score = log sum |W dR/dW| over all convolution and linear weights, on one input of ones, in float64, with the
    absolute value of every parameter and all biases 0. With `log` it is log-SynFlow (Cavagnero et al., 2023),
    sum |W| log(1 + |dR/dW|), which grows less wildly with depth and ranks better.

    The flow is conserved, that is, equal in all layers of a chain, only if the network is linear. So normalisation
    is bypassed; activations (ReLU and its kin, with ReLU6, Hardswish and tanh), whose arguments can't be negative here,
    return them as they are; and sigmoid and hard sigmoid, which are the gates of squeeze-and-excitation, return 1: the
    gate is open and the weights that drive it count 0 (as an identity the gate would square the signal in every block).
    Softmax stays: the weights of an attention add up to 1 and keep the flow. Functions are recognised, not modules, so
    that an activation written as a call is treated alike; one written out in arithmetic is not recognised.

    The score says how large a network is more than how good. The signs of the weights do not matter, their size does.

    Args:
        log: log-SynFlow instead.
        init: how weights are drawn: "kaiming" (normal, fan-in) or "default" (the family's own).
    """

    log: bool = False
    init: Init = "kaiming"

    def __call__(self, candidate: Candidate, /) -> float:
        """The score of one candidate.

        Raises:
            MetricError: no path leads from the input to the output, or the flow exceeds float64.
        """
        model = candidate.model
        tensors = {
            name: tensor.double() if tensor.is_floating_point() else tensor
            for name, tensor in untrained(candidate, self.init).items()
        }
        for name, _ in model.named_parameters():
            tensors[name] = torch.zeros_like(tensors[name]) if name.endswith("bias") else tensors[name].abs()
        weights = [tensors[name].requires_grad_() for name in weighted(model)]
        inputs = [torch.ones_like(x, dtype=torch.float64 if x.is_floating_point() else None) for x in candidate.inputs]
        with torch.enable_grad(), Exchanged(_LINEAR):
            total = functional_call(model, tensors, tuple(inputs)).sum()
        slopes = torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            pairs = list(zip(weights, slopes, strict=True))
            flow = sum(float((weight * slope).abs().sum()) for weight, slope in pairs)
            damped = sum(float((weight * slope.abs().log1p()).sum()) for weight, slope in pairs)
        if flow == 0.0:
            raise MetricError("no signal flows: no path leads from the input to the output")
        if not math.isfinite(flow):
            raise MetricError(f"the flow exceeds what float64 can hold ({flow})")
        return damped if self.log else math.log(flow)


__all__ = ["Synflow"]
