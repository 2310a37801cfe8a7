"""Gradients of single samples, out of the one backward pass of a batch.

Where samples do not meet (normalisation by sample, or with frozen statistics), the gradient of the summed loss with
respect to what a layer gave holds every sample's own in its row; with what the layer was given, that makes the gradient
of its weights by sample.

Shape letters: B samples, T tokens or positions, I and O channels of input and output, G groups, P positions of the
output, M weights of one channel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.errors import MetricError
from hwnas.quality._probe import Call, normalised


def by_weight(calls: Sequence[Call], pairs: Mapping[str, tuple[Tensor, Tensor]]) -> list[list[Call]]:
    """The calls of convolutions and linear layers, those that use one weight together.

    Args:
        pairs: all weights with their gradients; a weight without any may be missing from the calls.

    Raises:
        MetricError: a weight that matters is used outside of its module, where nothing could be seen.
    """
    groups: dict[int, list[Call]] = {}
    for call in calls:
        if isinstance(call.module, nn.modules.conv._ConvNd | nn.Linear):
            groups.setdefault(id(call.module.weight), []).append(call)
    names = [{f"{call.name}.weight" if call.name else "weight" for call in group} for group in groups.values()]
    for name, (_, slope) in pairs.items():
        if slope.any() and not any(name in own for own in names):
            raise MetricError(f"the gradients of {name} cannot be told apart by sample: it is used outside its module")
    return [group for group, own in zip(groups.values(), names, strict=True) if own & pairs.keys()]


def rows(call: Call, batch: int) -> int:
    """How many rows of a layer's input belong to one sample; more than one where a network folds others into the batch.

    Raises:
        MetricError: the layer does not see the samples as rows.
    """
    each, rest = divmod(len(call.input), batch)
    if rest or not each:
        message = f"layer {call.name!r} sees {len(call.input)} rows for {batch} inputs: samples cannot be told apart"
        raise MetricError(message)
    return each


def weight_slopes(call: Call, batch: int) -> Tensor:
    """dR/dW by sample for one call of a convolution of any kind or a linear layer: B x the shape of the weight.

    Rows of a folded batch, (B x k) x ..., count for the sample that they are part of.

    Raises:
        MetricError: the layer does not see the samples as rows.
    """
    each = rows(call, batch)
    if isinstance(call.module, nn.Linear):
        slope_BTO = call.slope.reshape(batch, -1, call.slope.shape[-1])
        input_BTI = call.input.reshape(batch, -1, call.input.shape[-1])
        return torch.bmm(slope_BTO.transpose(1, 2), input_BTI)
    assert isinstance(call.module, nn.modules.conv._ConvNd)
    slopes = _convolution(call.module, call.input, call.slope)
    return slopes.reshape(batch, each, *slopes.shape[1:]).sum(1)


def scale_slopes(call: Call, batch: int) -> Tensor | None:
    """dR/d(scale) by sample for one call of a normalisation with frozen statistics: B x the shape of the scale, if any.

    Raises:
        MetricError: the layer does not see the samples as rows.
    """
    module = call.module
    scale = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) or scale is None:
        return None
    each = rows(call, batch)
    own = {
        name: torch.full_like(x, float(name == "weight"), dtype=call.input.dtype)
        for name, x in module.named_parameters()
    }
    with torch.no_grad(), normalised("frozen"):
        both: Tensor = call.slope * functional_call(module, own, call.input)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return both.reshape(batch, -1, *scale.shape).sum(1)
    return both.reshape(batch, each, scale.numel(), -1).sum((1, 3))


def gram(group: Sequence[Call], batch: int) -> Tensor:
    """The products of all samples' gradients of one weight: B x B, in float64.

    Args:
        group: all calls that use this weight.
    """
    call = group[0]
    if len(group) == 1 and isinstance(call.module, nn.Linear) and call.input.dim() == 2 and len(call.input) == batch:
        slope_BO, input_BI = call.slope.double(), call.input.double()
        return (slope_BO @ slope_BO.T) * (input_BI @ input_BI.T)
    return product(summed(group, batch))


def summed(group: Sequence[Call], batch: int) -> Tensor:
    """dR/dW by sample over all calls that use one weight: B x the shape of the weight."""
    return functools.reduce(torch.add, (weight_slopes(call, batch) for call in group))


def product(slopes: Tensor) -> Tensor:
    """The products of gradients by sample, B x any shape, with one another: B x B, in float64."""
    slopes = slopes.flatten(1)
    return (slopes @ slopes.T).double()


def _convolution(module: nn.modules.conv._ConvNd, input: Tensor, slope: Tensor) -> Tensor:
    """dR/dW by row; that of a transposed convolution is that of the convolution which takes its output back."""
    given, got = (slope, input) if module.transposed else (input, slope)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    windows = F.pad(given, module._reversed_padding_repeated_twice, mode=mode)
    for axis, size, stride, step in zip(
        range(2, windows.dim()), module.kernel_size, module.stride, module.dilation, strict=True
    ):
        windows = windows.unfold(axis, (size - 1) * step + 1, stride)[..., ::step]
        windows = windows.narrow(axis, 0, got.shape[axis])  # output_padding may leave one more
    space = range(2, got.dim())
    windows = windows.permute(0, 1, *(axis + len(space) for axis in space), *space)  # positions last: one copy in all
    batch, groups, inside = len(got), module.groups, given.shape[1] // module.groups
    got_BGOP = got.reshape(batch, groups, got.shape[1] // groups, -1)
    windows_BGMP = windows.reshape(batch, groups, inside * math.prod(module.kernel_size), -1)
    found: Tensor = got_BGOP @ windows_BGMP.transpose(2, 3)
    return found.reshape(batch, got.shape[1], inside, *module.kernel_size)
