"""Weights shared without elastic layers: a small network borrows views of the big network's tensors.

Build the small network without storage, cut its tensors out of the big ones, and call it through
`torch.func.functional_call`. Training a supernet, judging a subnet, extracting it and inheriting weights are this one
mechanism, and a family gets it for free; where "leading channels, centre of the kernel" is wrong, its `crop` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwnas.candidate import Family
from hwnas.errors import WeightsError
from hwnas.seeds import seeded
from hwnas.space import Arch

Tensors = Mapping[str, Tensor]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name; a tied tensor appears once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def skeleton(family: Family, arch: Arch, training: bool = False) -> nn.Module:
    """A network of this architecture without storage, in evaluation or in training mode."""
    with torch.device("meta"):
        return family.build(arch).train(training)


def crop(like: Tensor, big: Tensor) -> Tensor:
    """The leading entries of every dimension; of a convolution's kernel (the last two of four) the centre.

    A 7x7 kernel is trained so that its middle 5x5 and 3x3 are useful (Once-for-All, Cai et al., 2020).

    Args:
        like: gives the shape; usually on the meta device.

    Returns:
        A view of `big`; `big` itself where the shapes agree.
    """
    if like.shape == big.shape:
        return big
    if like.dim() != big.dim() or any(small > large for small, large in zip(like.shape, big.shape, strict=True)):
        raise WeightsError(f"a tensor of shape {tuple(like.shape)} cannot be cut out of one of {tuple(big.shape)}")
    for dim, (small, large) in enumerate(zip(like.shape, big.shape, strict=True)):
        if small < large:
            centred = like.dim() == 4 and dim >= 2
            big = big.narrow(dim, large // 2 - small // 2 if centred else 0, small)
    return big


def borrow(family: Family, arch: Arch, small: nn.Module, big: Tensors) -> dict[str, Tensor]:
    """Every tensor that the small network needs, as views of the big network's: gradients flow into the big ones.

    BatchNorm statistics are cloned, since training mode writes into them; they are those of the big network and mean
    little for a small one before `calibrate`.

    Args:
        small: a `skeleton`.

    Raises:
        WeightsError: the big network lacks a tensor, or has it too small; names it.
    """
    borrowed: dict[str, Tensor] = {}
    missing: list[str] = []
    for names, written in ((small.named_parameters(), False), (small.named_buffers(), True)):
        for name, like in names:
            tensor = family.crop(name, like, big, arch)
            if tensor is None:
                if name not in big:
                    missing.append(name)
                    continue
                try:
                    tensor = crop(like, big[name])
                except WeightsError as error:
                    raise WeightsError(f"{name}: {error}") from None
            borrowed[name] = tensor.detach().clone() if written else tensor
    if missing:
        some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        hint = "these weights belong to another family or to other options of it"
        raise WeightsError(f"the big network of {family.name!r} has no tensor for {some}", hint=hint)
    return borrowed


def call(small: nn.Module, tensors: Tensors, *inputs: Tensor) -> Any:
    """The small network's output with borrowed tensors."""
    return torch.func.functional_call(small, dict(tensors), inputs)


def extract(family: Family, arch: Arch, tensors: Tensors) -> nn.Module:
    """A plain network with copies of its own, in evaluation mode: what is trained on, exported and deployed.

    Args:
        tensors: what `borrow` or `calibrate` gave.
    """
    with seeded(0):
        model = family.build(arch).eval()
    own = tensors_of(model)
    if set(own) != set(tensors):
        strange = ", ".join(sorted(set(own) ^ set(tensors))[:3])
        raise WeightsError(f"these tensors do not belong to this architecture: they differ in {strange}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
    return model


def calibrate(small: nn.Module, tensors: Tensors, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """BatchNorm statistics made anew for this network: the average of the batches' means and biased variances.

    Every layer normalises with the batch in hand meanwhile, as in training; all else is in evaluation mode. Batches
    should be of one size, since they weigh the same.

    Args:
        small: a skeleton or a plain module; it is left as it was found.
        batches: B x C x H x W each, normalised.

    Returns:
        The tensors with new statistics; those given are untouched. Without BatchNorm, simply the tensors.
    """
    ready = dict(tensors)
    norms = {name: module for name, module in small.named_modules() if _keeps_statistics(module)}
    if not norms:
        return ready
    for name in norms:
        for buffer, start in (("running_mean", 0.0), ("running_var", 1.0), ("num_batches_tracked", 0)):
            ready[f"{name}.{buffer}"] = torch.full_like(tensors[f"{name}.{buffer}"], start)
    counts: dict[str, int] = {}
    with _collecting(small, norms, counts), torch.no_grad():
        for batch in batches:
            call(small, ready, batch)
    for name, count in counts.items():
        # PyTorch averages unbiased variances; a deployed layer normalises as the batches were: with biased ones.
        ready[f"{name}.running_var"] *= (count - 1) / count
    return ready


def _keeps_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.track_running_stats


@contextmanager
def _collecting(small: nn.Module, norms: Mapping[str, nn.Module], counts: dict[str, int]) -> Iterator[None]:
    """BatchNorm layers average over all batches to come; `counts` tells how many values per channel each one saw."""
    training = [module for module in small.modules() if module.training]
    momenta = {name: module.momentum for name, module in norms.items()}
    hooks = []
    small.eval()
    for name, module in norms.items():
        module.training, module.momentum = True, None  # type: ignore[assignment]  # None: the plain average

        def count(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            counts[name] = max(2, inputs[0].numel() // inputs[0].shape[1])

        hooks.append(module.register_forward_pre_hook(count))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        small.eval()
        for module in training:
            module.training = True
        for name, module in norms.items():
            module.momentum = momenta[name]
