"""Family (protocol) and Candidate: one architecture on trial, with everything about it made once and lazily."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from hwnas.codes import Codes
from hwnas.parts import contract
from hwnas.seeds import derive, seeded
from hwnas.space import Arch, Code, Space

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hwnas.layers import Layer


@contract("families")
class Family(Protocol):
    """What can be built: a space of architectures, and how a plain network is made from one of them.

    The contract of `families/`. `build` is called often, under `torch.device("meta")` as well as on the CPU, and must
    be deterministic but for the initialisation of its weights.

    A family of which only values are known, such as a table, says `buildable = False`: its `build` and `inputs` raise,
    and there is nothing to export. One that knows MACs and parameters without building is `Countable` too.
    """

    buildable: ClassVar[bool] = True
    scales: ClassVar[bool] = False
    """Whether its networks also take images of another side than `inputs` gives, as all-convolutional ones do."""

    @property
    def name(self) -> str:
        """The name under which reports speak of this family."""
        ...

    @property
    def space(self) -> Space:
        """What may vary."""
        ...

    def build(self, arch: Arch, /) -> nn.Module:
        """A plain, static module for one architecture."""
        ...

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        """Random inputs of the right shape, drawn from torch's generator on torch's default device."""
        ...

    def supernet(self) -> nn.Module:
        """The big network whose tensors all others are cut from; the largest one unless a family says otherwise."""
        return self.build(self.space.decode(self.space.largest))

    def canonical(self, code: Code, /) -> Code:
        """The code that stands for this network; a family whose different codes build equal networks refines it."""
        return self.space.canonical(code)

    def crop(self, name: str, like: Tensor, big: Mapping[str, Tensor], arch: Arch, /) -> Tensor | None:
        """One small tensor cut out of the big ones, where "leading channels, centre of the kernel" is wrong.

        Args:
            name: the tensor's name in the small network.
            like: that tensor, for its shape; usually on the meta device.
            big: all tensors of the big network by name.

        Returns:
            A view or a computed tensor of the same shape; None asks for the general rule.
        """
        return None

    def blocks(self, model: nn.Module, /) -> tuple[str, ...]:
        """The modules whose outputs are the boundaries between the blocks of a network, by name, from input to output.

        What scores that compare one block's features with the next one's look at: the stem and every block, without
        the head; in a Transformer the residual stream after every attention and every feed-forward part.
        """
        from torch import nn

        def inside(name: str, module: nn.Module) -> list[str]:
            chain = type(module) in (nn.Sequential, nn.ModuleList)  # a class of its own is a block of its own
            children = list(module.named_children())
            if not chain or not any(any(child.children()) for _, child in children):
                return [name]
            return [deeper for child, part in children for deeper in inside(f"{name}.{child}", part)]

        top = [deeper for name, module in model.named_children() for deeper in inside(name, module)]
        return tuple(top[:-1] or top)

    def roles(self, model: nn.Module, /) -> Mapping[str, str]:
        """What every convolution and linear weight is for, by its name: "attention", "mlp", "embedding", "head" or "".

        A weight has the role of the nearest module around it that says `role`, as our own blocks do.
        """
        from torch import nn

        found: dict[str, str] = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
                around = [".".join(name.split(".")[:depth]) for depth in range(name.count(".") + 1, -1, -1)]
                said = (getattr(model.get_submodule(path), "role", None) for path in around)
                found[f"{name}.weight" if name else "weight"] = next((str(role) for role in said if role), "")
        return found


@runtime_checkable
class Plain(Protocol):
    """A family that can build its networks without their shortcuts, as scores made for plain networks want them."""

    def without_shortcuts(self, arch: Arch, /) -> nn.Module:
        """The network with every residual connection and its projection left out; other tensors keep their names."""
        ...


@runtime_checkable
class Countable(Protocol):
    """A family that counts by formula, so that a search may know the exact cost of thousands of codes at once."""

    def counts(self, codes_NG: Codes, /) -> tuple[Codes, Codes]:
        """MACs of one input and trainable parameters of many codes, N each: exactly those of the built networks.

        Args:
            codes_NG: N x G; they need not be canonical.
        """
        ...


@dataclass(frozen=True)
class Candidate:
    """One architecture on trial. Nothing is built before somebody looks at it, and nothing twice.

    Args:
        seed: of the run; the weights of `model` follow from it and the code, whatever was built before.
    """

    family: Family
    code: Code
    seed: int = 0

    @functools.cached_property
    def arch(self) -> Arch:
        """The values of the active choices."""
        return self.family.space.decode(self.code)

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network on the CPU with fresh weights, in evaluation mode."""
        with seeded(derive(self.seed, "weights", self.code)):
            return self.family.build(self.arch).eval()

    @functools.cached_property
    def plain(self) -> nn.Module:
        """The network without shortcuts where its family can build that, else `model`."""
        if not isinstance(self.family, Plain):
            return self.model
        with seeded(derive(self.seed, "weights", self.code)):
            return self.family.without_shortcuts(self.arch).eval()

    @functools.cached_property
    def skeleton(self) -> nn.Module:
        """The network without storage (on the meta device): shapes for counting and for borrowing weights."""
        import torch

        with torch.device("meta"):
            return self.family.build(self.arch).eval()

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The network as rows with MACs, parameters and bytes, for one input (batch 1)."""
        import torch

        from hwnas.layers import table

        with torch.device("meta"):
            return table(self.skeleton, self.family.inputs(self.arch, 1))

    @functools.cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """One random input (batch 1) on the CPU, the same for every candidate of a run."""
        return self.batch(1)

    def batch(self, size: int) -> tuple[Tensor, ...]:
        """Random inputs of a given batch size on the CPU, the same for every candidate of a run."""
        with seeded(derive(self.seed, "inputs", size)):
            return self.family.inputs(self.arch, size)
