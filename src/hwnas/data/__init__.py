"""Datasets by name: what a data set must offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from hwnas.candidate import Family
from hwnas.parts import contract
from hwnas.space import Arch

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Split:
    """Some labelled images in memory.

    Args:
        images: uint8, N x C x H x W.
        labels: int64, N.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@contract("data")
class Data(Protocol):
    """A classification data set with three splits: the contract of `data/`.

    `train` fits weights and re-calibrates BatchNorm, `val` steers the search, `test` is looked at once, at the end.
    Constructors only store options; files are read at the first use and kept.
    """

    @property
    def name(self) -> str:
        """How reports call this data set."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training images by channel, on the scale 0 ... 1."""
        ...

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training images by channel, on the scale 0 ... 1."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change whenever an image, a label or a split does."""
        ...

    def split(self, part: Part, /) -> Split:
        """One of the three splits, always in the same order."""
        ...

    def keep(self) -> None:
        """Writes into the run folder what later sessions must find again, such as who belongs to which split.

        Called once, as soon as the folder exists; nothing else writes. By default there is nothing to keep.
        """
        return None


def normalise(images: Tensor, data: Data, resolution: int | None = None) -> Tensor:
    """Images as networks want them: float32, mean 0 and deviation 1 by channel, resized if a resolution is given.

    Args:
        images: uint8, B x C x H x W.

    Returns:
        float32, B x C x R x R, laid out channels last, which convolutions are fastest with.
    """
    import torch
    from torch.nn import functional as F

    x = images.float().div_(255.0)
    if resolution is not None and tuple(x.shape[-2:]) != (resolution, resolution):
        x = F.interpolate(x, size=(resolution, resolution), mode="bilinear", antialias=True, align_corners=False)
    mean = torch.tensor(data.mean, device=x.device).view(1, -1, 1, 1)
    std = torch.tensor(data.std, device=x.device).view(1, -1, 1, 1)
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def batches(
    split: Split, data: Data, size: int, resolution: int | None = None, device: str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """A split in order, as normalised images with their labels; the last batch may be smaller."""
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield normalise(split.images[rows].to(device), data, resolution), split.labels[rows].to(device)


def side_of(family: Family, arch: Arch) -> int:
    """The side of the images that a network takes, asked of its family."""
    import torch

    with torch.device("meta"):
        return int(family.inputs(arch, 1)[0].shape[-1])


__all__ = ["Data", "Part", "Split", "batches", "normalise", "side_of"]
