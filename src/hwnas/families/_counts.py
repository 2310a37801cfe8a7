"""Exact MACs and parameters of networks of inverted residuals, for many codes at once and without building any.

MACs are those of convolutions and linear layers for one input; parameters are all that training moves, those of
normalisation included.
"""

# Shape letters: N networks, S stages, B blocks of a stage.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints: TypeAlias = NDArray[np.int64]


def rounded(channels: ArrayLike) -> Ints:
    """The nearest multiples of 8, one more where that would take away over a tenth.

    Example:
        >>> rounded([3, 19.2, 48, 36]).tolist()
        [8, 24, 48, 40]
    """
    wanted = np.asarray(channels)
    near = np.maximum(8, (wanted + 4).astype(np.int64) // 8 * 8)
    return np.asarray(np.where(near < 0.9 * wanted, near + 8, near), dtype=np.int64)


class Tally:
    """Adds up the layers of N networks: `macs` and `params`, each N.

    Sizes may be one for all networks or one for each; `on` is 0 where a network lacks the layer.
    """

    def __init__(self, count: int) -> None:
        self.macs, self.params = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def conv(self, inner: Any, outer: Any, kernel: Any, side: Any, *, groups: Any = 1, on: Any = 1) -> None:
        """A convolution without bias and its BatchNorm; `side` is that of its output."""
        weights = on * outer * (inner // groups) * kernel * kernel
        self.macs += weights * side * side
        self.params += weights + on * 2 * outer

    def linear(self, inner: Any, outer: Any, *, bias: bool = True, on: Any = 1) -> None:
        """A linear layer on one vector, or a convolution of 1 x 1 on one pixel."""
        self.macs += on * inner * outer
        self.params += on * (inner * outer + bias * outer)


@dataclass(frozen=True)
class Elastic:
    """What varies from network to network, as values; entries of blocks that a network lacks are ignored.

    Args:
        kernels: N x S x B.
        expands: N x S x B, how many times wider than its input a block is inside; at 1 nothing is widened.
        depths: N x S, the number of blocks, at least 1.
    """

    kernels: Ints
    expands: NDArray[Any]
    depths: Ints


@dataclass(frozen=True)
class Fixed:
    """What all networks share.

    Args:
        widths: channels of the stem, the first block and the stages.
        strides: of the stem and of each stage's first block.
        excited: the stages with squeeze and excitation, from 0.
        closing: blocks after the last stage: (kernel, expansion, output channels), stride 1.
        last: channels of the last convolution.
        mixed: width of the linear layer between pooling and classifier, if there is one.
    """

    widths: Sequence[int]
    strides: Sequence[int]
    last: int
    classes: int
    excited: Sequence[int] = ()
    closing: Sequence[tuple[int, int, int]] = ()
    mixed: int | None = None


def inverted_residuals(fixed: Fixed, elastic: Elastic, sides: ArrayLike) -> tuple[Ints, Ints]:
    """MACs and params, N each, of Once-for-All's MobileNetV3 and ProxylessNAS (Cai et al., 2020) and their like.

    Args:
        sides: of the square images in pixels, N or one for all.
    """
    count, stages, blocks = elastic.kernels.shape
    tally, side = Tally(count), _strided(np.asarray(sides, dtype=np.int64), fixed.strides[0])
    stem, first, *outs = fixed.widths
    tally.conv(3, stem, 3, side)
    tally.conv(stem, stem, 3, side, groups=stem)
    tally.conv(stem, first, 1, side)
    channels = first
    for stage in range(stages):
        for block in range(blocks):
            on = (block < elastic.depths[:, stage]).astype(np.int64)
            kernel, expand = elastic.kernels[:, stage, block], elastic.expands[:, stage, block]
            middle = rounded(np.rint(channels * expand))
            tally.conv(channels, middle, 1, side, on=on * (expand > 1))
            side = _strided(side, fixed.strides[stage + 1] if block == 0 else 1)
            tally.conv(middle, middle, kernel, side, groups=middle, on=on)
            if stage in fixed.excited:
                squeezed = rounded(middle // 4)
                tally.linear(middle, squeezed, on=on)
                tally.linear(squeezed, middle, on=on)
            tally.conv(middle, outs[stage], 1, side, on=on)
            channels = outs[stage]
    for size, expansion, out in fixed.closing:
        middle = rounded(channels * expansion)
        tally.conv(channels, middle, 1, side)
        tally.conv(middle, middle, size, side, groups=middle)
        tally.conv(middle, out, 1, side)
        channels = out
    tally.conv(channels, fixed.last, 1, side)
    if fixed.mixed is not None:
        tally.linear(fixed.last, fixed.mixed, bias=False)
    tally.linear(fixed.mixed or fixed.last, fixed.classes)
    return tally.macs, tally.params


def _strided(side: Ints, stride: int) -> Ints:
    """The side after a convolution that pads by half of its odd kernel."""
    return -(-side // stride)
