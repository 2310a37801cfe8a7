"""Exact MACs and parameters of Once-for-All's MobileNetV3, for many architectures at once and without a network.

An architecture is what Once-for-All calls it: `ks`, the kernels, and `e`, the expansion ratios, of 4 blocks in each of
5 stages, and `d`, how many of its blocks a stage has. Entries of blocks that do not exist are ignored. MACs are those
of convolutions and linear layers for one image; parameters are all that training moves.
"""

# Shape letters: N architectures, S stages, B blocks of a stage, K kernels, E expansion ratios.

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.space import Choice

KERNELS, EXPANDS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
STAGES, BLOCKS = 5, 4
_CHANNELS = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
"""Of the stem, the first block, the five stages and the two wide layers of the head, at width 1."""
_STRIDES = (2, 2, 2, 1, 2)
_EXCITED = (False, True, False, True, True)

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Archs:
    """Architectures as positions among KERNELS, EXPANDS and DEPTHS.

    Args:
        kernels: N x S x B.
        expands: N x S x B.
        depths: N x S.
    """

    kernels: Counts
    expands: Counts
    depths: Counts

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Which blocks an architecture has: N x S x B."""
        blocks: NDArray[np.bool_] = np.arange(BLOCKS) < np.array(DEPTHS)[self.depths][:, :, None]
        return blocks


def choices() -> tuple[Choice, ...]:
    """The choices of the family `mobilenetv3` at its defaults, in the order in which `of_codes` reads them."""
    found: list[Choice] = []
    for stage in range(1, STAGES + 1):
        depth = f"stage{stage}.depth"
        found.append(Choice(depth, DEPTHS))
        for block in range(1, BLOCKS + 1):
            deep = tuple(value for value in DEPTHS if value >= block)
            when = None if len(deep) == len(DEPTHS) else (depth, deep)
            found.append(Choice(f"stage{stage}.block{block}.kernel", KERNELS, when))
            found.append(Choice(f"stage{stage}.block{block}.expand", EXPANDS, when))
    return tuple(found)


def of_codes(codes_NG: Counts) -> Archs:
    """The architectures of codes of the family `mobilenetv3` with default kernels, expansion ratios and depths."""
    stages = np.asarray(codes_NG, dtype=np.int64).reshape(-1, STAGES, 1 + 2 * BLOCKS)
    return Archs(stages[:, :, 1::2], stages[:, :, 2::2], stages[:, :, 0])


def macs(archs: Archs, width: float = 1.0, resolution: int = 224) -> Counts:
    """Multiply-accumulates of one image.

    Args:
        width: multiplies all channels.
        resolution: side of the image in pixels.

    Returns:
        N.
    """
    return _total(archs, *_tables(width, resolution)[0])


def params(archs: Archs, width: float = 1.0) -> Counts:
    """Trainable numbers, those of normalisation and the classifier for 1000 classes included.

    Returns:
        N.
    """
    return _total(archs, *_tables(width, 224)[1])


def _total(archs: Archs, base: int, blocks_SBKE: Counts) -> Counts:
    stage, block = np.arange(STAGES)[:, None], np.arange(BLOCKS)
    own_NSB = blocks_SBKE[stage, block, archs.kernels, archs.expands]
    total: Counts = base + np.where(archs.exists, own_NSB, 0).sum(axis=(1, 2))
    return total


@functools.lru_cache(maxsize=16)
def _tables(width: float, resolution: int) -> tuple[tuple[int, Counts], tuple[int, Counts]]:
    """For MACs and for parameters: what every network has, and what each kind of block adds, S x B x K x E."""
    stem, first, *stages, wide, last = (_rounded(channels * width) for channels in _CHANNELS)
    shape = (STAGES, BLOCKS, len(KERNELS), len(EXPANDS))
    macs_SBKE, params_SBKE = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    side = _halved(resolution, 2)
    fixed = [_conv(3, stem, 3, side), _conv(1, stem, 3, side), _conv(stem, first, 1, side)]
    channels = first
    for stage, (out, stride) in enumerate(zip(stages, _STRIDES, strict=True)):
        small = _halved(side, stride)
        for block in range(BLOCKS):
            before, width_in = (side, channels) if block == 0 else (small, out)
            for k, kernel in enumerate(KERNELS):
                for e, expand in enumerate(EXPANDS):
                    middle = _rounded(width_in * expand)
                    layers = [_conv(width_in, middle, 1, before), _conv(1, middle, kernel, small)]
                    layers += [_excite(middle)] * _EXCITED[stage] + [_conv(middle, out, 1, small)]
                    macs_SBKE[stage, block, k, e], params_SBKE[stage, block, k, e] = map(sum, zip(*layers, strict=True))
        side, channels = small, out
    fixed += [_conv(channels, wide, 1, side), (wide * last, wide * last), (last * 1000, last * 1000 + 1000)]
    macs_fixed, params_fixed = map(sum, zip(*fixed, strict=True))
    return (macs_fixed, macs_SBKE), (params_fixed, params_SBKE)


def _conv(channels: int, out: int, kernel: int, side: int) -> tuple[int, int]:
    """MACs and parameters of a convolution with its normalisation; `channels` is the inputs that each output sees."""
    weights = kernel * kernel * channels * out
    return side * side * weights, weights + 2 * out


def _excite(channels: int) -> tuple[int, int]:
    """MACs and parameters of squeeze and excitation, whose two layers have biases."""
    squeezed = _rounded(channels // 4)
    return 2 * channels * squeezed, 2 * channels * squeezed + squeezed + channels


def _halved(side: int, stride: int) -> int:
    return -(-side // stride)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, one more where that would take away over a tenth: how this network rounds widths."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
