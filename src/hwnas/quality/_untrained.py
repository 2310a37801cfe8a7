"""Untrained weights for a candidate's network, and torch's functions exchanged while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hwnas.candidate import Candidate
from hwnas.seeds import derive, seeded

Init = Literal["kaiming", "normal", "default"]
"""How weights are drawn; scores of different initialisations are not comparable.

"kaiming": convolution and linear weights normal with deviation sqrt(2 / fan_in) (He et al., 2015), all biases 0, the
scale of normalisation layers 1; embeddings and whatever else a family draws at random normal with deviation
1 / sqrt(C), C numbers in a row; constants and buffers stay. "normal": the same with deviation 1 of convolution and
linear weights. "default": the family's own.
"""

ACTIVATIONS: tuple[Callable[..., Tensor], ...] = (
    F.relu,
    F.relu_,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    F.relu6,
    F.hardtanh,
    F.leaky_relu,
    F.prelu,
    F.elu,
    F.selu,
    F.celu,
    F.gelu,
    F.silu,
    F.mish,
    F.hardswish,
)
"""What units fire through. The modules of `torch.nn` call these functions, so modules are covered as well."""

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


class Exchanged(TorchFunctionMode):
    """While this context is open, some torch functions are replaced by others, in modules and in plain calls alike.

    Nothing is changed in the network itself, so nothing can be left behind.
    """

    def __init__(self, exchanged: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.exchanged = exchanged

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.exchanged.get(func, func)(*args, **(kwargs or {}))


def weighted(model: nn.Module) -> list[str]:
    """The names of all convolution and linear weights, shared ones once."""
    names = {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
    }
    return [name for name, _ in model.named_parameters() if name in names]


def untrained(candidate: Candidate, init: Init, plain: bool = False) -> dict[str, Tensor]:
    """All parameters and buffers of a candidate's network by name, drawn anew where `init` says so.

    A drawn tensor follows from the candidate's seed, its own name and its shape alone: what two networks have in common
    is drawn alike (common random numbers), and a score knows nothing of the space around a network. The candidate's own
    tensors are never written to.

    Args:
        plain: of the network without shortcuts.
    """
    model = candidate.plain if plain else candidate.model
    tensors = {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    if init == "default":
        return tensors
    own = dict.fromkeys(weighted(model))
    for name in own:
        empty = torch.empty_like(tensors[name], device="cpu")
        with seeded(derive(candidate.seed, "weights", name, tuple(empty.shape))):
            drawn = nn.init.normal_(empty) if init == "normal" else nn.init.kaiming_normal_(empty, nonlinearity="relu")
        tensors[name] = drawn
    for name, parameter in model.named_parameters():
        path, _, last = name.rpartition(".")
        if last.endswith("bias"):
            tensors[name] = torch.zeros_like(parameter)
        elif isinstance(model.get_submodule(path), _NORMS):
            tensors[name] = torch.ones_like(parameter)
        elif name not in own and bool((parameter != parameter.flatten()[0]).any()):
            empty = torch.empty_like(parameter, device="cpu", requires_grad=False)
            with seeded(derive(candidate.seed, "weights", name, tuple(empty.shape))):
                tensors[name] = nn.init.normal_(empty, std=empty.shape[-1] ** -0.5)
    return tensors
