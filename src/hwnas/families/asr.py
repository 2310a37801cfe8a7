"""Speech Transformers with elastic depth, width, heads and feed-forward layers, for commands and for transcription.

The encoder is searched as in DE-NAS; so may be the decoder that writes tokens, or there is none and the encoder's
output is averaged for a classifier. Features in, log-mel energies say, logits out. Smaller networks are the first
layers and the leading channels of larger ones; where heads are of another width, such a slice does not begin and end
with the larger network's heads.

Shape letters: B inputs, F frames, M mel bands, S positions of the encoder, T tokens, C channels, V classes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.families._reuse import reused
from hwnas.families._transformer import Classifier, DecoderLayer, EncoderLayer, check_whole, stream
from hwnas.space import Arch, Choice, Space

EPS = 1e-6
"""Of every LayerNorm."""
CONVOLUTIONS = ((5, 2), (5, 2), (1, 1))
"""Kernel and stride of the convolutions of the front end, along time and mel bands alike; the last adds its input."""
TOKENS, COMMANDS, PROCESSED, MELS = 5000, 35, 1280, 80
"""What is taken where nothing is said: tokens of a transcription, commands (Warden, 2018), and features of a frame
behind and before a convolutional front end."""


@dataclass(frozen=True)
class Asr(Family):
    """Speech Transformers for commands or transcription, whose layers have their own heads and feed-forward ratio.

    Attention is as wide as the tokens, in heads of width / heads channels. Layers normalise first, positions are
    sinusoidal, matrices are drawn as Xavier and Glorot do. Every frame counts: none is taken for padding.

    With `decoder: fixed` and `front: linear` the defaults are DE-NAS's space: it searches the encoder of a speech
    Transformer whose decoder stays as it is. There are two inputs then, features and the tokens so far (B x T), and
    the logits are B x T x V; without a decoder they are B x V.

    Args:
        decoder: "none" averages the encoder's output and classifies it; "fixed" has the most layers that
            `decoder_depths` allows, all alike; "searched" varies like the encoder.
        front: "conv" is three convolutions, which keep a quarter of the frames and of the bands, and a projection;
            "linear" the projection alone, for features that are processed already.
        classes: different commands, or tokens in the vocabulary; None is 35 commands or 5000 tokens.
        frames: steps in time of the features.
        mels: features of a frame; None is 80 for "conv" and 1280 for "linear".
        target: tokens of a transcription.
        depths: how many layers the encoder may have.
        widths: channels, the same in all layers of a network; multiples of all numbers of heads.
        ratios: how many times wider than the tokens the feed-forward layers are; the product is rounded down.
        heads: of a layer's attention.
        channels: of the convolutions.
        decoder_depths: how many layers the decoder may have.
        decoder_heads: of every layer of a fixed decoder.
        decoder_hidden: width inside the feed-forward layers of a fixed decoder.
        dropout: probability of dropping a feature or a weight of attention while training.
    """

    decoder: Literal["none", "fixed", "searched"] = "none"
    front: Literal["conv", "linear"] = "conv"
    classes: int | None = None
    frames: int = 400
    mels: int | None = None
    target: int = 64
    depths: tuple[int, ...] = (5, 6, 7, 8, 9, 10, 11, 12)
    widths: tuple[int, ...] = (192, 216, 240, 324, 384, 444)
    ratios: tuple[int | float, ...] = (3.0, 3.5, 4.0, 4.5, 5.0)
    heads: tuple[int, ...] = (2, 3, 4)
    channels: int = 64
    decoder_depths: tuple[int, ...] = (3, 4, 5, 6)
    decoder_heads: int = 4
    decoder_hidden: int = 2048
    dropout: float = 0.1

    tiny: ClassVar[Mapping[str, Any]] = {
        "classes": 10,
        "frames": 12,
        "mels": 8,
        "depths": [1, 2],
        "widths": [16, 24],
        "ratios": [1, 1.5],
        "heads": [1, 2],
        "channels": 4,
    }

    def __post_init__(self) -> None:
        if self.decoder not in ("none", "fixed", "searched"):
            raise ConfigError(f"decoder takes 'none', 'fixed' or 'searched', not {self.decoder!r}")
        if self.front not in ("conv", "linear"):
            raise ConfigError(f"front takes 'conv' or 'linear', not {self.front!r}")
        for option in ("frames", "target", "depths", "widths", "heads", "channels", "decoder_depths"):
            check_whole(option, getattr(self, option))
        for option in ("decoder_heads", "decoder_hidden"):
            check_whole(option, getattr(self, option))
        for option in ("classes", "mels"):
            if getattr(self, option) is not None:
                check_whole(option, getattr(self, option))
        if not self.ratios or len(set(self.ratios)) < len(self.ratios) or min(self.ratios) * min(self.widths) < 1:
            least = f"that make at least 1 of {min(self.widths)} channels"
            raise ConfigError(f"ratios takes numbers, none twice, {least}, not {self.ratios!r}")
        for heads in (*self.heads, *([self.decoder_heads] if self.decoder == "fixed" else [])):
            if odd := [width for width in self.widths if width % heads]:
                raise ConfigError(f"widths must be multiples of all numbers of heads; {odd[0]} is not one of {heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout takes a number from 0 to below 1, not {self.dropout!r}")

    @property
    def name(self) -> str:
        return "asr"

    @property
    def outputs(self) -> int:
        """V: how many commands or tokens there are."""
        return self.classes or (COMMANDS if self.decoder == "none" else TOKENS)

    @property
    def bands(self) -> int:
        """M: features of a frame."""
        return self.mels or (MELS if self.front == "conv" else PROCESSED)

    @functools.cached_property
    def space(self) -> Space:
        choices = [Choice("width", self.widths), Choice("depth", self.depths)]
        choices += self._layers("encoder", "depth", self.depths)
        if self.decoder == "searched":
            choices.append(Choice("decoder.depth", self.decoder_depths))
            choices += self._layers("decoder", "decoder.depth", self.decoder_depths)
        return Space(self.name, tuple(choices))

    def _layers(self, part: str, depth: str, depths: tuple[int, ...]) -> Iterator[Choice]:
        for layer in range(1, max(depths) + 1):
            deep = tuple(value for value in depths if value >= layer)
            when = None if len(deep) == len(depths) else (depth, deep)
            yield Choice(f"{part}{layer}.ratio", self.ratios, when)
            yield Choice(f"{part}{layer}.heads", self.heads, when)

    def build(self, arch: Arch, /) -> nn.Module:
        device = torch.get_default_device()
        with torch.device("meta"):  # the layers' own initialisation, which ours replaces, costs nothing there
            net = Recogniser(self, arch)
        return net if device.type == "meta" else _initialise(net.to_empty(device=device))

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        """Normal noise, B x F x M, and with a decoder random tokens, B x T, int64."""
        features = torch.randn(batch, self.frames, self.bands)
        if self.decoder == "none":
            return (features,)
        return features, torch.randint(self.outputs, (batch, self.target))

    def crop(self, name: str, like: Tensor, big: Mapping[str, Tensor], arch: Arch, /) -> Tensor | None:
        """The waves of positions depend on the width, so they are computed and not cut."""
        if not name.endswith("positions.table") or name not in big or like.shape == big[name].shape:
            return None
        return sinusoids(like.shape, big[name])

    def blocks(self, model: nn.Module, /) -> tuple[str, ...]:
        return ("embedding", *stream(model))

    def counts(self, codes_NG: Codes, /) -> tuple[Codes, Codes]:
        """MACs and parameters of many codes, N each, by formula: exactly those of the networks themselves."""
        codes_NG = np.asarray(codes_NG, dtype=np.int64)
        value_N = {
            choice.name: np.array(choice.values)[codes_NG[:, place]] for place, choice in enumerate(self.space.choices)
        }
        width = value_N["width"]
        front_macs, front_params, steps, features = self._front_counts
        macs: Codes = front_macs + steps * features * width
        params: Codes = front_params + (features + 1) * width + 2 * width
        for layer in range(1, max(self.depths) + 1):
            on = value_N["depth"] >= layer
            hidden = np.floor(width * value_N[f"encoder{layer}.ratio"]).astype(np.int64)
            macs += on * (steps * (4 * width**2 + 2 * width * hidden) + 2 * steps**2 * width)
            params += on * (4 * width**2 + 4 * width + 2 * width * hidden + hidden + width + 4 * width)
        tokens = 1 if self.decoder == "none" else self.target
        macs += tokens * width * self.outputs
        params += (width + 1) * self.outputs
        if self.decoder == "none":
            return macs, params
        params += self.outputs * width + 2 * width
        for layer in range(1, max(self.decoder_depths) + 1):
            if self.decoder == "searched":
                on = value_N["decoder.depth"] >= layer
                hidden = np.floor(width * value_N[f"decoder{layer}.ratio"]).astype(np.int64)
            else:
                on, hidden = np.ones_like(width, dtype=bool), np.full_like(width, self.decoder_hidden)
            matrices = tokens * (6 * width**2 + 2 * width * hidden) + 2 * steps * width**2
            macs += on * (matrices + 2 * tokens * (tokens + steps) * width)
            params += on * (8 * width**2 + 8 * width + 2 * width * hidden + hidden + width + 6 * width)
        return macs, params

    @functools.cached_property
    def _front_counts(self) -> tuple[int, int, int, int]:
        """MACs and parameters of the convolutions, S, and features of a position before the projection."""
        steps, bands, last, macs, params = self.frames, self.bands, 1, 0, 0
        for kernel, stride in CONVOLUTIONS if self.front == "conv" else ():
            steps, bands = -(-steps // stride), -(-bands // stride)
            macs += steps * bands * last * self.channels * kernel**2
            params += (last * kernel**2 + 1) * self.channels + 2 * self.channels * bands
            last = self.channels
        return macs, params, steps, last * bands

    def shape(self, arch: Arch, part: str, layer: int) -> tuple[int, int]:
        """Heads and feed-forward width of a layer of the "encoder" or the "decoder", the first being 1."""
        if part == "decoder" and self.decoder == "fixed":
            return self.decoder_heads, self.decoder_hidden
        return int(arch[f"{part}{layer}.heads"]), int(int(arch["width"]) * float(arch[f"{part}{layer}.ratio"]))

    def depth(self, arch: Arch, part: str) -> int:
        """How many layers the "encoder" or the "decoder" has."""
        if part == "encoder":
            return int(arch["depth"])
        known = {"none": 0, "fixed": max(self.decoder_depths)}
        return known[self.decoder] if self.decoder in known else int(arch["decoder.depth"])


class Recogniser(nn.Module):
    """Features, B x F x M, and perhaps tokens, B x T, to logits."""

    def __init__(self, family: Asr, arch: Arch) -> None:
        super().__init__()
        width, outputs = int(arch["width"]), family.outputs
        steps = family._front_counts[2]
        self.embedding = make_embedding(width, family.front, family.bands, steps, family.channels, family.dropout)
        self.encoder = _stack(make_encoder_layer, family, arch, "encoder")
        self.norm = nn.LayerNorm(width, EPS)
        self.decoder = None
        if family.decoder != "none":
            self.tokens = TokenEmbedding(width, outputs, family.target, family.dropout)
            self.decoder = _stack(make_decoder_layer, family, arch, "decoder")
            self.decoder_norm = nn.LayerNorm(width, EPS)
        self.head = Classifier(width, outputs)

    def forward(self, features_BFM: Tensor, tokens_BT: Tensor | None = None) -> Tensor:
        """Logits, B x V, or with a decoder B x T x V: what may follow every token, given those before it."""
        x = self.embedding(features_BFM)
        for layer in self.encoder:
            x = layer(x)
        x = self.norm(x)
        if self.decoder is None:
            logits: Tensor = self.head(x.mean(dim=1))
            return logits
        y = self.tokens(tokens_BT)
        for layer in self.decoder:
            y = layer(y, x)
        logits = self.head(self.decoder_norm(y))
        return logits


def _stack(make: Any, family: Asr, arch: Arch, part: str) -> nn.ModuleList:
    layers = []
    for layer in range(1, family.depth(arch, part) + 1):
        heads, hidden = family.shape(arch, part, layer)
        layers.append(make(int(arch["width"]), heads, hidden, dropout=family.dropout, eps=EPS))
    return nn.ModuleList(layers)


class Embedding(nn.Module):
    """Features as vectors with their positions: B x F x M to B x S x C."""

    role: ClassVar[str] = "embedding"

    def __init__(self, width: int, front: str, bands: int, steps: int, channels: int, dropout: float) -> None:
        super().__init__()
        blocks, last = [], 1
        for place, (kernel, stride) in enumerate(CONVOLUTIONS if front == "conv" else ()):
            bands = -(-bands // stride)
            blocks.append(ConvBlock(last, channels, kernel, stride, bands, shortcut=place == len(CONVOLUTIONS) - 1))
            last = channels
        self.front = nn.Sequential(*blocks)
        self.project = nn.Linear(last * bands, width)
        self.positions = Positions(steps, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BFM: Tensor) -> Tensor:
        x = features_BFM
        if len(self.front):
            x = self.front(x.unsqueeze(1)).transpose(1, 2).flatten(2)
        y: Tensor = self.dropout(self.positions(self.project(x)))
        return y


class ConvBlock(nn.Module):
    """A convolution over time and bands, normalised within every frame: B x C x F x M, smaller by the stride."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, bands: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm((bands, out), EPS)
        self.act = nn.LeakyReLU()
        self.shortcut = shortcut

    def forward(self, x_BCFM: Tensor) -> Tensor:
        framed = self.conv(x_BCFM).permute(0, 2, 3, 1)
        y: Tensor = self.act(self.norm(framed)).permute(0, 3, 1, 2)
        return x_BCFM + y if self.shortcut else y


class TokenEmbedding(nn.Module):
    """Tokens as vectors with their positions: B x T to B x T x C."""

    role: ClassVar[str] = "embedding"

    def __init__(self, width: int, vocabulary: int, length: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = Positions(length, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        words = self.words(tokens_BT)
        y: Tensor = self.dropout(self.positions(words * math.sqrt(words.shape[-1])))
        return y


class Positions(nn.Module):
    """Adds sines and cosines of the position to every vector (Vaswani et al., 2017)."""

    table: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.empty(length, width), persistent=False)

    def reset_parameters(self) -> None:
        """Fills the table."""
        self.table.copy_(sinusoids(self.table.shape, self.table))

    def forward(self, x_BTC: Tensor) -> Tensor:
        return x_BTC + self.table[: x_BTC.shape[1]]


def sinusoids(shape: torch.Size, like: Tensor) -> Tensor:
    """Waves with lengths from 2 pi to 20000 pi in geometric steps, a sine and a cosine of each.

    Args:
        shape: positions x channels.
        like: gives type and device.
    """
    length, width = shape
    place = torch.arange(length, dtype=torch.float64, device="cpu")[:, None]
    pace = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
    table = torch.stack([(place * pace).sin(), (place * pace).cos()], dim=-1).flatten(1)[:, :width]
    return table.to(like.device, like.dtype)


def _initialise(net: nn.Module) -> nn.Module:
    """Matrices N(0, 2 / (inputs + outputs)) (Glorot & Bengio, 2010), biases 0, LayerNorm as it is by default."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.LayerNorm | Positions):
            module.reset_parameters()
    return net


make_embedding = reused(Embedding)
make_encoder_layer = reused(EncoderLayer)
make_decoder_layer = reused(DecoderLayer)

__all__ = ["Asr"]
