"""Vision Transformers with elastic depth, width, heads and feed-forward layers (AutoFormer, Chen et al., 2021).

The space is the one that DE-NAS searches. Heads are 64 channels wide whatever the network's width, every layer has its
own number of heads and its own ratio, and positions relative to one another are added to keys and to values in two
dimensions (Wu et al., 2021). The released networks also drop whole layers while training; these do not.

Shape letters: B inputs, T tokens, the class token first, P patches along a side, H heads, D channels of a head, E
channels of a token.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.candidate import Family
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.families._reuse import reused
from hwnas.families._transformer import (
    DEVIATION,
    Classifier,
    EncoderLayer,
    check_whole,
    crop_fused,
    on_default_device,
    stream,
)
from hwnas.space import Arch, Choice, Space


@dataclass(frozen=True)
class Vit(Family):
    """Vision Transformers whose layers have their own number of heads and feed-forward ratio each.

    The defaults are DE-NAS's space for CIFAR-10, with images enlarged to 224 pixels.

    Args:
        classes: outputs of the classifier.
        resolution: side of the square images in pixels, a multiple of `patch`.
        patch: side of the square patches that become tokens.
        depths: how many layers a network may have.
        widths: channels of the tokens, the same in all layers of a network.
        ratios: how many times wider than the tokens the feed-forward layers are; the product is rounded down.
        heads: of a layer's attention.
        head_width: channels of a head.
        relative: learns positions relative to one another, in every layer.
        max_relative: patches that are farther apart than this along an axis count as this far.
        absolute: learns a position for every token.
        pool: what is classified: "mean" of all patches, or the "class" token.
        dropout: probability of dropping a feature or a weight of attention while training.
        fused: one matrix for queries, keys and values, as many published weights have it.
    """

    classes: int = 10
    resolution: int = 224
    patch: int = 16
    depths: tuple[int, ...] = (12, 13, 14, 15, 16)
    widths: tuple[int, ...] = (192, 216, 240, 320, 384, 448, 528, 576, 624)
    ratios: tuple[int | float, ...] = (3.0, 3.5, 4.0)
    heads: tuple[int, ...] = (3, 4, 5, 6, 7, 9, 10)
    head_width: int = 64
    relative: bool = True
    max_relative: int = 14
    absolute: bool = True
    pool: Literal["mean", "class"] = "mean"
    dropout: float = 0.0
    fused: bool = False

    tiny: ClassVar[Mapping[str, Any]] = {
        "classes": 10,
        "resolution": 8,
        "patch": 4,
        "depths": [1, 2],
        "widths": [16, 24],
        "ratios": [1, 1.5],
        "heads": [1, 2],
        "head_width": 8,
        "dropout": 0.1,
    }

    def __post_init__(self) -> None:
        for option in ("classes", "resolution", "patch", "depths", "widths", "heads", "head_width", "max_relative"):
            check_whole(option, getattr(self, option))
        if self.resolution % self.patch:
            raise ConfigError(f"resolution must be a multiple of patch, {self.patch}, not {self.resolution!r}")
        if not self.ratios or len(set(self.ratios)) < len(self.ratios) or min(self.ratios) * min(self.widths) < 1:
            raise ConfigError(f"ratios takes numbers above 0, none twice, not {self.ratios!r}")
        if self.pool not in ("mean", "class"):
            raise ConfigError(f"pool takes 'mean' or 'class', not {self.pool!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout takes a number from 0 to below 1, not {self.dropout!r}")

    @property
    def name(self) -> str:
        return "vit"

    @property
    def side(self) -> int:
        """P."""
        return self.resolution // self.patch

    @functools.cached_property
    def space(self) -> Space:
        choices = [Choice("depth", self.depths), Choice("width", self.widths)]
        for layer in range(1, max(self.depths) + 1):
            deep = tuple(depth for depth in self.depths if depth >= layer)
            when = None if len(deep) == len(self.depths) else ("depth", deep)
            choices.append(Choice(f"layer{layer}.ratio", self.ratios, when))
            choices.append(Choice(f"layer{layer}.heads", self.heads, when))
        return Space(self.name, tuple(choices))

    def build(self, arch: Arch, /) -> nn.Module:
        return on_default_device(functools.partial(self._net, arch))

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, self.resolution, self.resolution),)

    def crop(self, name: str, like: Tensor, big: Mapping[str, Tensor], arch: Arch, /) -> Tensor | None:
        return crop_fused(like, big[name]) if ".qkv." in name and name in big else None

    def blocks(self, model: nn.Module, /) -> tuple[str, ...]:
        return ("embedding", *stream(model))

    def counts(self, codes_NG: Codes, /) -> tuple[Codes, Codes]:
        """MACs and parameters of many codes, N each, by formula: exactly those of the networks themselves."""
        codes_NG = np.asarray(codes_NG, dtype=np.int64)
        value_GN = [np.array(choice.values)[codes_NG[:, place]] for place, choice in enumerate(self.space.choices)]
        depth, width, *layers = value_GN
        tokens, pixels = self.side**2 + 1, 3 * self.patch**2
        macs = (tokens - 1) * pixels * width + width * self.classes
        params = (pixels + 1) * width + width + self.absolute * tokens * width + 2 * width
        params += (width + 1) * self.classes
        tables = 4 * (2 * self.max_relative + 2) * self.head_width if self.relative else 0
        for place, (ratio, heads) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
            on, inner, hidden = depth > place, heads * self.head_width, np.floor(width * ratio).astype(np.int64)
            matrices = 4 * width * inner + 2 * width * hidden
            relative = 4 * (self.side + 1) * inner if self.relative else 0
            macs += on * tokens * (matrices + 2 * tokens * inner + relative)
            params += on * (matrices + 3 * inner + width + hidden + width + 4 * width + tables)
        return macs, params

    def _net(self, arch: Arch) -> nn.Module:
        width = int(arch["width"])
        net = OrderedDict[str, nn.Module]()
        net["embedding"] = Embedding(width, self.patch, self.side, self.absolute, self.dropout)
        for layer in range(1, int(arch["depth"]) + 1):
            net[f"layer{layer}"] = make_layer(
                width,
                int(arch[f"layer{layer}.heads"]),
                int(width * float(arch[f"layer{layer}.ratio"])),
                self.head_width,
                self.side if self.relative else None,
                self.max_relative,
                self.dropout,
                self.fused,
            )
        net["norm"] = nn.LayerNorm(width, 1e-6)
        net["pool"] = Pool(self.pool == "mean")
        net["head"] = Classifier(width, self.classes)
        return nn.Sequential(net)


class Embedding(nn.Module):
    """Patches as tokens behind a class token, with positions: B x 3 x height x width to B x T x E."""

    role: ClassVar[str] = "embedding"

    def __init__(self, width: int, patch: int, side: int, absolute: bool, dropout: float) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, side**2 + 1, width)) if absolute else None
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        """Draws the class token and the positions; the convolution is another module's."""
        nn.init.normal_(self.token, std=DEVIATION)
        if self.positions is not None:
            nn.init.normal_(self.positions, std=DEVIATION)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.project(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(patches.shape[0], -1, -1), patches], dim=1)
        if self.positions is not None:
            x = x + self.positions
        y: Tensor = self.dropout(x)
        return y


class Pool(nn.Module):
    """One vector of all tokens: the mean of the patches, or the class token."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, x_BTE: Tensor) -> Tensor:
        return x_BTE[:, 1:].mean(dim=1) if self.mean else x_BTE[:, 0]


class RelativePositions(nn.Module):
    """What keys and values learn from where a patch lies relative to the one that looks at it.

    Every offset along an axis has a vector, in one table for rows and one for columns; those of a pair are added. Entry
    0 of a table is for every pair with the class token.

    All pairs need no T x T vectors: what depends on the row alone is computed once per row of patches. "Lines" are the
    P rows and the class token, then the P columns and the class token: L = 2 P + 2.
    """

    offsets: Tensor
    """T x L: the entry, in both tables one after the other, for a token that looks at a line."""

    def __init__(self, side: int, head_width: int, farthest: int) -> None:
        super().__init__()
        self.side, self.farthest = side, farthest
        self.key_tables = nn.Parameter(torch.empty(2, 2 * farthest + 2, head_width))
        self.value_tables = nn.Parameter(torch.empty(2, 2 * farthest + 2, head_width))
        empty = torch.empty(side**2 + 1, 2 * side + 2, dtype=torch.int64)
        self.register_buffer("offsets", empty, persistent=False)

    def reset_parameters(self) -> None:
        """Draws the tables, and fills the buffer, which is the same in all networks."""
        for tables in (self.key_tables, self.value_tables):
            nn.init.normal_(tables, std=DEVIATION)
        line = torch.arange(self.side, device=self.offsets.device)
        apart = (line - line[:, None]).clamp(-self.farthest, self.farthest) + self.farthest + 1
        rows, columns = self.offsets.zero_().chunk(2, dim=1)
        rows[1:, :-1] = apart.repeat_interleave(self.side, dim=0)
        columns[1:, :-1] = apart.repeat(self.side, 1)
        columns += 2 * self.farthest + 2

    def keys(self, q_BHTD: Tensor) -> Tensor:
        """B x H x T x T, to be added to the scores of attention."""
        lines_TLD = F.embedding(self.offsets, self.key_tables.flatten(0, 1))
        rows, columns = torch.einsum("bhtd,tld->bhtl", q_BHTD, lines_TLD).chunk(2, dim=-1)
        patches = rows[..., :-1, None] + columns[..., None, :-1]
        return torch.cat([rows[..., -1:] + columns[..., -1:], patches.flatten(-2)], dim=-1)

    def values(self, weights_BHTT: Tensor) -> Tensor:
        """B x H x T x D, to be added to what the heads give."""
        lines_TLD = F.embedding(self.offsets, self.value_tables.flatten(0, 1))
        token, patches = weights_BHTT[..., :1], weights_BHTT[..., 1:]
        grid = patches.reshape(*patches.shape[:-1], self.side, self.side)
        seen_BHTL = torch.cat([grid.sum(-1), token, grid.sum(-2), token], dim=-1)
        return torch.einsum("bhtl,tld->bhtd", seen_BHTL, lines_TLD)


def _layer(
    width: int,
    heads: int,
    hidden: int,
    head_width: int,
    side: int | None,
    farthest: int,
    dropout: float,
    fused: bool,
) -> nn.Module:
    """An encoder layer; with relative positions on a grid of `side` x `side` patches, if that is given."""
    relative = None if side is None else RelativePositions(side, head_width, farthest)
    return EncoderLayer(width, heads, hidden, head_width=head_width, dropout=dropout, fused=fused, relative=relative)


make_layer = reused(_layer)

__all__ = ["Vit"]
