"""A network made linear and positive: how much signal flows through each weight, and which weights no signal reaches.

Letters: W the weights of one layer, R the sum of the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.layers import Layer
from hwnas.quality._untrained import ACTIVATIONS, Exchanged, Init, untrained, weighted

Functions = Mapping[Callable[..., Tensor], Callable[..., Tensor]]

EXPONENTS = (0, 256, 512, 1000)
"""Powers of two by which the signal may be made smaller on both ends, so that its product stays within float64."""


def flow(candidate: Candidate, init: Init) -> tuple[dict[str, tuple[Tensor, Tensor]], int]:
    """Every convolution and linear weight as |W| with dR/dW, for one input of ones, in float64.

    The flow of a deep network exceeds float64. Then the inputs are made smaller by a power of two, and so is R, whose
    gradients reach from the other end; as the network is linear, that is exact.

    Returns:
        The pairs by name, and e: the slopes are to be multiplied by 2^e.

    Raises:
        MetricError: the flow exceeds float64 nonetheless, or the network is not linear in its input.
    """
    model = candidate.model
    positive = {name: _positive(name, tensor) for name, tensor in untrained(candidate, init).items()}
    names = weighted(model)
    leaves = {name: positive[name].requires_grad_() for name in names}
    for exponent in EXPONENTS:
        inputs = _ones(candidate, 2.0**-exponent)
        with torch.enable_grad(), Exchanged(_LINEAR):
            total = functional_call(model, positive, inputs).sum()
        slopes = torch.autograd.grad(
            total * 2.0**-exponent, list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        pairs = {name: (leaf.detach(), slope) for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)}
        if math.isfinite(sum(float((weight * slope).sum()) for weight, slope in pairs.values())):
            if exponent and not _is_linear(candidate, positive, exponent, float(total.detach())):
                break
            return pairs, 2 * exponent
    raise MetricError("the flow exceeds what float64 can hold")


def _positive(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return (torch.zeros_like(tensor) if name.endswith("bias") else tensor.abs()).double()


def _ones(candidate: Candidate, value: float = 1.0) -> tuple[Tensor, ...]:
    """One input in which all numbers are the same; token ids are 1."""
    return tuple(
        torch.full_like(x, value, dtype=torch.float64) if x.is_floating_point() else torch.ones_like(x)
        for x in candidate.inputs
    )


def _is_linear(candidate: Candidate, tensors: Mapping[str, Tensor], exponent: int, total: float) -> bool:
    """Whether half the input gives half the output: constants that are added, such as positions, would not scale."""
    with torch.no_grad(), Exchanged(_LINEAR):
        half = functional_call(candidate.model, dict(tensors), _ones(candidate, 2.0 ** -(exponent + 1))).sum()
    return math.isclose(2 * float(half), total, rel_tol=1e-9)


# --- which layers are alive -----------------------------------------------------------------------------------------


def live(candidate: Candidate) -> tuple[Layer, ...]:
    """The rows of a network that lie on a path from the input to the output; it follows from the code alone.

    A parameter is alive if R depends on it, where every weight is positive and no term can cancel another: an operation
    on zeros is dead, and so is one whose result is never used. A bias and a layer without weights live with what
    stands in the same module.

    Raises:
        MetricError: no path leads from the input to the output.
    """
    model = candidate.model
    own = dict(model.named_parameters())
    tensors = {name: _constant(name, tensor.detach()) for name, tensor in (*own.items(), *model.named_buffers())}
    names = [name for name, tensor in tensors.items() if name in own and tensor.is_floating_point()]
    leaves = [tensors[name].requires_grad_() for name in names]
    with torch.enable_grad(), Exchanged(_ALIVE):
        total = functional_call(model, tensors, _ones(candidate)).sum()
    slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    homes = {name: name.rpartition(".")[0] for name in names}
    alive = {
        homes[name]
        for name, slope in zip(names, slopes, strict=True)
        if not name.endswith("bias") and bool((tensors[name].detach() * slope).any())
    }
    rows = tuple(row for row in candidate.layers if _lives(row.name, alive, set(homes.values())))
    if not alive:
        raise MetricError("nothing is alive: no path leads from the input to the output")
    return rows


def _lives(name: str, alive: set[str], homes: set[str]) -> bool:
    """Whether a module lives: by its own parameters, else by those inside it; one without any does no harm."""
    if name in homes:
        return name in alive
    inside = {home for home in homes if home.startswith(f"{name}.")} if name else homes
    return bool(inside & alive) or not inside


def _constant(name: str, tensor: Tensor) -> Tensor:
    """Averages instead of sums, so that signals stay near 1 in networks of any depth; buffers keep their values."""
    if not tensor.is_floating_point():
        return tensor
    if name.endswith("bias"):
        return torch.zeros_like(tensor, dtype=torch.float64)
    fan = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
    return torch.full_like(tensor, 1.0 / fan, dtype=torch.float64)


# --- what functions become ------------------------------------------------------------------------------------------


def _as_it_is(input: Tensor, *_: object, **__: object) -> Tensor:
    return input


def _open(input: Tensor, *_: object, **__: object) -> Tensor:
    return torch.ones_like(input)


def _even(input: Tensor, dim: int = -1, *_: object, **__: object) -> Tensor:
    return torch.full_like(input, 1.0 / input.shape[dim])


def _average(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> Tensor:
    """Attention that looks everywhere alike."""
    mean = value.mean(-2, keepdim=True)
    return mean.expand(*mean.shape[:-2], query.shape[-2], mean.shape[-1])


_NORMALISATIONS = (F.batch_norm, F.instance_norm, F.group_norm, F.layer_norm, F.rms_norm, F.local_response_norm)
_SATURATING = (torch.tanh, Tensor.tanh, F.softsign)
_GATES = (torch.sigmoid, Tensor.sigmoid, F.hardsigmoid)
_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
_LINEAR: Functions = {
    **dict.fromkeys((*_NORMALISATIONS, *ACTIVATIONS, *_SATURATING), _as_it_is),
    **dict.fromkeys(_GATES, _open),
    **dict.fromkeys(_SOFTMAX, _even),
    F.scaled_dot_product_attention: _average,
}
"""Everything linear: gates stand open and attention looks everywhere alike, so what drives them counts nothing."""


def _bounded(input: Tensor, *_: object, **__: object) -> Tensor:
    """Grows from 1/2 towards 1 and never stops growing: what drives a gate has a slope."""
    return (1 + input) / (2 + input)


def _attended(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> Tensor:
    gate = _bounded(query.mean(-1, keepdim=True)) + _bounded(key.mean((-2, -1), keepdim=True))
    return gate * value.mean(-2, keepdim=True)


def _settled(input: Tensor, weight: Tensor | None, dim: int) -> Tensor:
    """Normalised to a mean of 1; zeros stay zeros. The scale belongs to the path."""
    mean = input.detach().mean()
    x = input / mean if mean > 0 else input
    return x if weight is None else x * weight.view(*(-1 if d == dim % x.dim() else 1 for d in range(x.dim())))


def _by_channel(position: int) -> Callable[..., Tensor]:
    def norm(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return _settled(input, options.get("weight", args[position] if len(args) > position else None), 1)

    return norm


def _by_feature(input: Tensor, shape: Sequence[int], weight: Tensor | None = None, *_: object, **__: object) -> Tensor:
    x = _settled(input, None, -1)
    return x if weight is None else x * weight


_ALIVE: Functions = {
    **_LINEAR,
    **dict.fromkeys((*_GATES, *_SOFTMAX), _bounded),
    F.scaled_dot_product_attention: _attended,
    F.batch_norm: _by_channel(2),
    F.instance_norm: _by_channel(2),
    F.group_norm: _by_channel(1),
    F.layer_norm: _by_feature,
    F.rms_norm: _by_feature,
}
"""Everything increasing: R has a slope wherever something leads to it."""
