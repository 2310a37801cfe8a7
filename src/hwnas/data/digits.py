"""1,797 handwritten digits that come with scikit-learn, enlarged: real data, offline, in a second."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hwnas.data import Part, Split
from hwnas.data._pixels import Pixels, squares, tensor
from hwnas.data._splits import Fractions, check, cut, fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Digits(Pixels):
    """The UCI optical digits (Alpaydin and Kaynak, 1998), of which scikit-learn carries the test set.

    8 x 8 pixels with 17 grey levels, enlarged bilinearly and repeated to three channels.

    Args:
        resolution: side of the images in pixels; 8 leaves them as they are.
        splits: the shares of train, val and test.
        split_seed: another one deals the images out anew.
    """

    resolution: int = 32
    splits: Fractions = (0.6, 0.2, 0.2)
    split_seed: int = 0

    tiny: ClassVar[Mapping[str, Any]] = {"resolution": 8}

    def __post_init__(self) -> None:
        check(self.splits, self.split_seed, self.resolution)

    @property
    def name(self) -> str:
        return "digits"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("0123456789")

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.resolution, self.resolution

    @functools.cached_property
    def fingerprint(self) -> str:
        images, labels = _digits()
        return fingerprint(images.tolist(), labels.tolist(), self.resolution, self.splits, self.split_seed)

    def _read(self, part: Part) -> Split:
        import torch

        images, labels = _digits()
        _, chosen = cut({"train": labels}, self.classes, self.splits, self.split_seed, self.name)[part]
        return Split(tensor(squares(images[chosen], self.resolution)), torch.from_numpy(labels[chosen]))


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images, uint8, N x 8 x 8, on the scale 0 ... 255 instead of 0 ... 16; and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)


__all__ = ["Digits"]
