"""What checks of networks share: some codes, networks that are built for them, and all that is inside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.candidate import Candidate, Family
from hwnas.space import Code
from hwnas.testing.toys import SPACE, Toy

if TYPE_CHECKING:
    from torch import Tensor, nn


def some_codes(family: Family, count: int, seed: int = 0) -> list[Code]:
    """The smallest network, the largest, and up to so many random ones."""
    space, rng = family.space, np.random.default_rng(seed)
    return list(dict.fromkeys([space.smallest, space.largest, *(space.sample(rng) for _ in range(count))]))


def made(family: Family, code: Code) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network with fresh weights in evaluation mode, and two inputs."""
    candidate = Candidate(family, code)
    return candidate.model, candidate.batch(2)


def toy_network() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A toy network with every kind of branch, and two inputs."""
    return made(Toy(), SPACE.largest)


def inside(model: nn.Module) -> dict[str, Any]:
    """All that a network is, copied: tensors, whether they learn, gradients, modes, hooks and other attributes."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers"):
                for last, tensor in value.items():
                    if tensor is not None:
                        found[f"{name}.{last}"] = tensor.detach().clone()
                        found[f"{name}.{last}.requires_grad"] = tensor.requires_grad
                        found[f"{name}.{last}.grad"] = tensor.grad if tensor.grad is None else tensor.grad.clone()
            else:
                found[f"{name}.{key}"] = tuple(value) if isinstance(value, dict) else value
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two things are equal; tensors by their bits, or on meta by all but those."""
    import torch

    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return bool(one == other)
    alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    return alike and (one.is_meta or torch.equal(one, other))
