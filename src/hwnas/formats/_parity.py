"""Whether a file computes what its network computes, and how to run a network in evaluation mode without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import ExportError
from hwnas.formats import Format

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside this block the whole network is in evaluation mode; outside, every part is as it was."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def flat(output: Any) -> list[Tensor]:
    """What a network returned as one list of tensors: a file knows no tuples and no mappings."""
    import torch

    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, Sequence) and not isinstance(output, str):
        return [tensor for item in output for tensor in flat(item)]
    raise ExportError(f"a network must return tensors, in tuples or mappings if need be, not {type(output).__name__}")


def forward(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """One forward pass in evaluation mode, without gradients."""
    import torch

    with evaluating(model), torch.inference_mode():
        return flat(model(*inputs))


def parity(
    format: Format,
    path: Path,
    model: nn.Module,
    batches: Sequence[tuple[Tensor, ...]],
    absolute: float = 1e-5,
    relative: float = 1e-4,
) -> float:
    """The largest absolute difference between what the network and its file compute.

    A difference may reach absolute + relative * m, with m the largest magnitude of that output: single entries near
    zero carry the rounding of the large ones. It may never reach more than m / 100, since otherwise the tiny outputs
    of an untrained network would prove nothing. Batches of different sizes show whether a size was frozen into the
    file.

    Raises:
        ExportError: a difference is beyond that, or the outputs differ in number or shape, or are not finite.
        ValueError: no batches, so nothing would be proven.
    """
    if not batches:
        raise ValueError("parity needs at least one batch")
    worst = 0.0
    for inputs in batches:
        wanted = [tensor.double().numpy(force=True) for tensor in forward(model, inputs)]
        found = format.outputs(path, inputs)
        shapes = [array.shape for array in wanted], [array.shape for array in found]
        if shapes[0] != shapes[1]:
            raise ExportError(f"{path.name} returns the shapes {shapes[1]}, the network {shapes[0]}")
        for number, (want, have) in enumerate(zip(wanted, found, strict=True)):
            with np.errstate(invalid="ignore"):  # inf - inf is NaN, which fails the comparison below
                difference = float(np.abs(have - want).max(initial=0.0))
            magnitude = float(np.abs(want).max(initial=0.0))
            allowed = min(absolute + relative * magnitude, magnitude / 100)
            if not (np.isfinite(want).all() and difference <= allowed):
                raise ExportError(
                    f"{path.name} computes something else than the network: output {number} differs by "
                    f"{difference:.3g}, allowed is {allowed:.3g}"
                )
            worst = max(worst, difference)
    return worst


__all__ = ["evaluating", "flat", "forward", "parity"]
