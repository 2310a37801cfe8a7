"""Datasets by name: what a data set must offer, whatever it is made of: images, text or speech."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hwnas.candidate import Family
from hwnas.parts import contract
from hwnas.space import Arch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Split:
    """Some labelled examples in memory, raw: small, exact, and not yet as a network takes them.

    Args:
        inputs: images, uint8, N x C x H x W; token ids, int64, N x T, padded with 0; or features of speech, float32,
            N x frames x mels, padded with frames of zeros.
        labels: int64, N.
    """

    inputs: Tensor
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
    def facts(self) -> Mapping[str, int]:
        """What the options of a family take from the data where their user did not say, by the name of the option.

        `classes` always; `resolution` of images, `vocabulary` and `length` of text, `frames` and `mels` of speech.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change whenever an example, a label or a split does."""
        ...

    def split(self, part: Part, /) -> Split:
        """One of the three splits, always in the same order."""
        ...

    def ready(self, inputs: Tensor, like: Tensor, /) -> Tensor:
        """A raw batch as a network takes it: normalised, and brought to the size that it wants.

        Args:
            inputs: some rows of a split, on any device.
            like: one input of the network, for its shape; usually on the meta device.

        Returns:
            A batch on the device of `inputs`, which stay as they are; of the shape of `like` but for its first axis.
        """
        ...

    def varied(self, inputs: Tensor, rng: np.random.Generator, strength: int, /) -> Tensor:
        """A raw batch for training, every example changed a little and at random, so that it is never learnt by heart.

        Args:
            inputs: some rows of a split, on the CPU.
            strength: 0 for no change.

        Returns:
            A batch of the same shape and type.
        """
        ...

    @property
    def preparation(self) -> Mapping[str, Any]:
        """What an exported file says of how its input is made, as JSON-able values by name. By default nothing."""
        return {}

    def keep(self) -> None:
        """Writes into the run folder what later sessions must find again, such as who belongs to which split.

        Called once, as soon as the folder exists; nothing else writes. By default there is nothing to keep.
        """
        return None


def batches(split: Split, data: Data, size: int, like: Tensor, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """A split in order, ready for a network that takes `like`, with its labels; the last batch may be smaller."""
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield data.ready(split.inputs[rows].to(device), like), split.labels[rows].to(device)


def fits(data: Data, like: Tensor) -> bool:
    """Whether the examples of a data set become what a network takes: networks for images cannot read text."""
    try:
        x = data.ready(data.split("train").inputs[:1], like)
    except (RuntimeError, IndexError, ValueError):  # what torch says of shapes that nobody meant
        return False
    return x.shape == like.shape and x.is_floating_point() == like.is_floating_point()


def like_of(family: Family, arch: Arch) -> Tensor:
    """One input of a network without storage (on the meta device): the shape of what it takes, asked of its family.

    Of networks that take several, the first one: what labelled data hold.
    """
    import torch

    with torch.device("meta"):
        return family.inputs(arch, 1)[0]


__all__ = ["Data", "Part", "Split", "batches", "fits", "like_of"]
