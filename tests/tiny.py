"""A family of real networks and a data set so small that training a supernet takes a second."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.data import Part, Split
from hwnas.data._pixels import Pixels
from hwnas.seeds import derive
from hwnas.space import Arch, Choice, Space


@dataclass(frozen=True)
class Tiny(Family):
    """Inverted residual blocks with an elastic kernel and width, one or more of them."""

    classes: int = 4
    resolution: int | tuple[int, ...] = 8
    depths: tuple[int, ...] = (1, 2)
    kernels: tuple[int, ...] = (3, 5)
    widths: tuple[int, ...] = (4, 8)
    dropout: float = 0.0

    @property
    def name(self) -> str:
        return "tiny"

    @property
    def sides(self) -> tuple[int, ...]:
        return (self.resolution,) if isinstance(self.resolution, int) else tuple(self.resolution)

    @property
    def space(self) -> Space:
        choices = [Choice("resolution", self.sides)] if len(self.sides) > 1 else []
        choices.append(Choice("depth", self.depths))
        for block in range(1, max(self.depths) + 1):
            when = ("depth", tuple(depth for depth in self.depths if depth >= block))
            choices.append(Choice(f"block{block}.kernel", self.kernels, when))
            choices.append(Choice(f"block{block}.width", self.widths, when))
        return Space(self.name, tuple(choices))

    def build(self, arch: Arch, /) -> nn.Module:
        blocks = (Block(8, arch[f"block{i}.width"], arch[f"block{i}.kernel"]) for i in range(1, arch["depth"] + 1))
        return nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(3, 8, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(8),
                **{f"block{i}": block for i, block in enumerate(blocks, start=1)},
                pool=nn.AdaptiveAvgPool2d(2),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(self.dropout),
                head=nn.Linear(32, self.classes),
            )
        )

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        side = arch.get("resolution", self.sides[0])
        return (torch.randn(batch, 3, side, side),)


class Block(nn.Sequential):
    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__(
            OrderedDict(
                expand=nn.Conv2d(channels, width, 1, bias=False),
                norm1=nn.BatchNorm2d(width),
                act=nn.ReLU(),
                depthwise=nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
                norm2=nn.BatchNorm2d(width),
                project=nn.Conv2d(width, channels, 1),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@dataclass(frozen=True)
class Corners(Pixels):
    """Noise with one bright corner, which is the class."""

    sizes: tuple[int, int, int] = (64, 40, 48)
    side: int = 8
    seed: int = 0

    @property
    def name(self) -> str:
        return "corners"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("north-west", "north-east", "south-west", "south-east")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def _read(self, part: Part) -> Split:
        count, half = self.sizes[("train", "val", "test").index(part)], self.side // 2
        generator = torch.Generator().manual_seed(derive(self.seed, part) % 2**32)
        images = torch.randint(0, 100, (count, 3, self.side, self.side), generator=generator, dtype=torch.uint8)
        labels = torch.arange(count) % 4
        for image, label in zip(images, labels.tolist(), strict=True):
            top, left = half * (label // 2), half * (label % 2)
            image[:, top : top + half, left : left + half] += 100
        return Split(images, labels)


def state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, to compare with later."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all tensors are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
