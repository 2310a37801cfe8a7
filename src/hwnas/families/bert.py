"""Text encoders like BERT (Devlin et al., 2019) with elastic depth, width, heads and feed-forward layers.

The space is the one that DE-NAS searches: heads are 64 channels wide whatever the network's width, and all layers are
alike unless `per_layer` is set. Smaller networks are the first layers, heads and channels of larger ones.

Shape letters: B inputs, T tokens, C channels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.families._reuse import reused
from hwnas.families._transformer import Classifier, EncoderLayer, check_whole, crop_fused, on_default_device, stream
from hwnas.space import Arch, Choice, Space

EPS = 1e-12
"""Of every LayerNorm, as in the published networks."""


@dataclass(frozen=True)
class Bert(Family):
    """Text encoders that normalise after every layer, with a classifier of sentences.

    The defaults are DE-NAS's space around BERT-base, whose vocabulary they have.

    Args:
        classes: outputs of the classifier.
        vocabulary: number of different tokens.
        length: tokens of a sentence, padding included.
        positions: the longest sentence that could be read.
        layers: how many layers a network may have.
        widths: channels of the tokens.
        heads: of a layer's attention.
        hiddens: widths inside the feed-forward layers.
        head_width: channels of a head.
        per_layer: every layer has its own number of heads and its own feed-forward width.
        pad: the token that fills sentences up and is not looked at; None if there is none.
        pool: what is classified: the first token, called "class", or the "mean" of all that are not `pad`.
        dropout: probability of dropping a feature or a weight of attention while training.
        fused: one matrix for queries, keys and values.
    """

    classes: int = 2
    vocabulary: int = 30522
    length: int = 128
    positions: int = 512
    layers: tuple[int, ...] = tuple(range(4, 13))
    widths: tuple[int, ...] = tuple(range(128, 769, 16))
    heads: tuple[int, ...] = tuple(range(8, 13))
    hiddens: tuple[int, ...] = tuple(range(128, 3073, 32))
    head_width: int = 64
    per_layer: bool = False
    pad: int | None = 0
    pool: Literal["class", "mean"] = "class"
    dropout: float = 0.0
    fused: bool = False

    tiny: ClassVar[Mapping[str, Any]] = {
        "vocabulary": 50,
        "length": 8,
        "positions": 12,
        "layers": [1, 2],
        "widths": [16, 32],
        "heads": [1, 2],
        "hiddens": [16, 32],
        "head_width": 8,
        "dropout": 0.1,
    }

    def __post_init__(self) -> None:
        whole = ("classes", "vocabulary", "length", "positions", "layers", "widths", "heads", "hiddens", "head_width")
        for option in whole:
            check_whole(option, getattr(self, option))
        if self.length > self.positions:
            message = f"length can be at most the number of positions, {self.positions}, not {self.length!r}"
            raise ConfigError(message, hint=f"set positions to {self.length}, or leave the ends of sentences out")
        if self.pad is not None and not 0 <= self.pad < self.vocabulary:
            raise ConfigError(f"pad takes a token from 0 to {self.vocabulary - 1}, or None, not {self.pad!r}")
        if self.vocabulary < 2:
            raise ConfigError("vocabulary takes 2 tokens or more: one would be the padding")
        if self.pool not in ("class", "mean"):
            raise ConfigError(f"pool takes 'class' or 'mean', not {self.pool!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout takes a number from 0 to below 1, not {self.dropout!r}")

    @property
    def name(self) -> str:
        return "bert"

    @functools.cached_property
    def space(self) -> Space:
        depth, width = Choice("layers", self.layers), Choice("width", self.widths)
        if not self.per_layer:
            choices = [depth, Choice("heads", self.heads), width, Choice("hidden", self.hiddens)]
            return Space(self.name, tuple(choices))
        choices = [depth, width]
        for layer in range(1, max(self.layers) + 1):
            deep = tuple(count for count in self.layers if count >= layer)
            when = None if len(deep) == len(self.layers) else ("layers", deep)
            choices.append(Choice(f"layer{layer}.heads", self.heads, when))
            choices.append(Choice(f"layer{layer}.hidden", self.hiddens, when))
        return Space(self.name, tuple(choices))

    def build(self, arch: Arch, /) -> nn.Module:
        return on_default_device(lambda: Encoder(self, arch))

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        """B x T tokens without padding, int64: no token twice in a sentence before all have occurred."""
        tokens = self.vocabulary - (self.pad is not None)
        rounds = -(-self.length // tokens)
        ids_BT = torch.rand(batch, rounds, tokens).argsort(dim=-1).flatten(1)[:, : self.length]
        return (ids_BT if self.pad is None else ids_BT + (ids_BT >= self.pad),)

    def crop(self, name: str, like: Tensor, big: Mapping[str, Tensor], arch: Arch, /) -> Tensor | None:
        return crop_fused(like, big[name]) if ".qkv." in name and name in big else None

    def blocks(self, model: nn.Module, /) -> tuple[str, ...]:
        return ("embedding", *stream(model))

    def counts(self, codes_NG: Codes, /) -> tuple[Codes, Codes]:
        """MACs and parameters of many codes, N each, by formula: exactly those of the networks themselves."""
        codes_NG = np.asarray(codes_NG, dtype=np.int64)
        places = {choice.name: place for place, choice in enumerate(self.space.choices)}

        def value_N(name: str) -> Codes:
            return np.array(self.space.choices[places[name]].values, np.int64)[codes_NG[:, places[name]]]

        depth, width = value_N("layers"), value_N("width")
        macs = width * (width + self.classes)
        params = (self.vocabulary + self.positions + 2 + 2) * width + (width + 1) * (width + self.classes)
        for layer in range(1, max(self.layers) + 1):
            prefix = f"layer{layer}." if self.per_layer else ""
            on = (depth >= layer).astype(np.int64)
            hidden, inner = value_N(f"{prefix}hidden"), value_N(f"{prefix}heads") * self.head_width
            matrices: Codes = 4 * width * inner + 2 * width * hidden
            macs += on * self.length * (matrices + 2 * self.length * inner)
            params += on * (matrices + 3 * inner + width + hidden + width + 4 * width)
        return macs, params

    def shape(self, arch: Arch, layer: int) -> tuple[int, int]:
        """The number of heads and the feed-forward width of a layer, the first being 1."""
        prefix = f"layer{layer}." if self.per_layer else ""
        return int(arch[f"{prefix}heads"]), int(arch[f"{prefix}hidden"])


class Encoder(nn.Module):
    """Embedding, layers `layer1`, `layer2` …, a pooler with tanh, and a classifier."""

    def __init__(self, family: Bert, arch: Arch) -> None:
        super().__init__()
        width = int(arch["width"])
        self.pad, self.mean, self.depth = family.pad, family.pool == "mean", int(arch["layers"])
        self.embedding = Embedding(width, family.vocabulary, family.positions, family.dropout)
        for layer in range(1, self.depth + 1):
            heads, hidden = family.shape(arch, layer)
            block = make_layer(
                width,
                heads,
                hidden,
                head_width=family.head_width,
                dropout=family.dropout,
                norm_first=False,
                eps=EPS,
                fused=family.fused,
            )
            self.add_module(f"layer{layer}", block)
        self.pooler = nn.Linear(width, width)
        self.act = nn.Tanh()
        self.dropout = nn.Dropout(family.dropout)
        self.head = Classifier(width, family.classes)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Logits of B sentences.

        Args:
            ids_BT: int64.
            mask_BT: true for the tokens that count; None are all that are no padding.
        """
        if mask_BT is None and self.pad is not None:
            mask_BT = ids_BT != self.pad
            mask_BT = mask_BT | ~mask_BT.any(dim=1, keepdim=True)  # nothing but padding attends to all of it
        x = self.embedding(ids_BT)
        for layer in range(1, self.depth + 1):
            x = self.get_submodule(f"layer{layer}")(x, mask_BT)
        y: Tensor = self.head(self.dropout(self.act(self.pooler(self._pooled(x, mask_BT)))))
        return y

    def _pooled(self, x_BTC: Tensor, mask_BT: Tensor | None) -> Tensor:
        if not self.mean:
            return x_BTC[:, 0]
        if mask_BT is None:
            return x_BTC.mean(dim=1)
        share_BT1 = mask_BT.to(x_BTC.dtype)[:, :, None]
        return (x_BTC * share_BT1).sum(dim=1) / share_BT1.sum(dim=1)


class Embedding(nn.Module):
    """Tokens as vectors, with their positions and the type of the first of two sentences: B x T to B x T x C."""

    role: ClassVar[str] = "embedding"

    def __init__(self, width: int, vocabulary: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        x = self.words(ids_BT) + self.positions(places_T) + self.types.weight[0]
        y: Tensor = self.dropout(self.norm(x))
        return y


make_layer = reused(EncoderLayer)

__all__ = ["Bert"]
