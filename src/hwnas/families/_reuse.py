"""Blocks that are built once and then copied: skeletons of networks cost a fraction of what their layers cost."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import nn

Options = ParamSpec("Options")


def reused(factory: Callable[Options, nn.Module]) -> Callable[Options, nn.Module]:
    """On the meta device, equal calls of a block's factory build it once and get copies from then on.

    Most of the time that a skeleton takes goes into initialising tensors that have no storage. Elsewhere the factory is
    called as it is. Its options must be hashable, and decide all there is about the block.
    """
    prototypes: dict[Any, nn.Module] = {}

    @functools.wraps(factory)
    def make(*args: Options.args, **kwargs: Options.kwargs) -> nn.Module:
        if torch.get_default_device().type != "meta":
            return factory(*args, **kwargs)
        key = (args, tuple(sorted(kwargs.items())))
        if key not in prototypes:
            prototypes[key] = factory(*args, **kwargs)
        return duplicate(prototypes[key])

    return make


def duplicate(module: nn.Module) -> nn.Module:
    """A module of its own with the same structure and tensors of its own on the meta device: a quick deepcopy."""
    copy = type(module).__new__(type(module))
    for name, value in vars(module).items():
        vars(copy)[name] = value.copy() if isinstance(value, dict | set) else value
    inner = vars(copy)
    # A detached tensor is another one over the same nothing: on the meta device there is no storage to share.
    inner["_modules"] = {n: child if child is None else duplicate(child) for n, child in module._modules.items()}
    inner["_parameters"] = {n: p if p is None else nn.Parameter(p.detach()) for n, p in module._parameters.items()}
    inner["_buffers"] = {n: b if b is None else b.detach() for n, b in module._buffers.items()}
    return copy
