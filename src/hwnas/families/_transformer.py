"""Transformer blocks of plain modules (Vaswani et al., 2017), for families whose networks are made of them.

The residual stream after every attention and every feed-forward part is the output of a module, `AttentionPart` or
`FeedForwardPart`; every weight matrix belongs to an `nn.Linear`. A smaller width is the leading channels, fewer heads
are the first ones: with separate projections the general rule of cropping is right, with a fused one `crop_fused`.

Shape letters: B inputs, T tokens, S tokens of the source attended to, C channels, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import ConfigError

Activation = Callable[[], nn.Module]
DEVIATION = 0.02
"""Of embeddings and positions at the start, as in BERT and ViT."""


class Relative(Protocol):
    """What positions relative to one another add to attention; a module, so that its tables are parameters."""

    def keys(self, q_BHTD: Tensor, /) -> Tensor:
        """What to add to the scores, B x H x T x T, for queries that are scaled already."""
        ...

    def values(self, weights_BHTT: Tensor, /) -> Tensor:
        """What to add to the heads' outputs, B x H x T x D, for the weights of attention."""
        ...


class Attention(nn.Module):
    """Scaled dot-product attention with several heads, between tokens of one sequence or from one to another.

    Args:
        width: C of the input and of the output.
        heads: H.
        head_width: D, free of C: queries, keys and values are H x D wide.
        fused: one projection `qkv` to queries, keys and values in this order, instead of `q`, `k` and `v`.
        bias: whether the projections have one.
        source_width: C of another sequence, which keys and values are made of; None attends to the input itself.
        causal: no token sees those after it.
        relative: a module that is a `Relative`; goes without `causal`.
        dropout: probability of dropping a weight of attention while training.
    """

    role: ClassVar[str] = "attention"

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int,
        *,
        fused: bool = False,
        bias: bool = True,
        source_width: int | None = None,
        causal: bool = False,
        relative: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        if relative is not None and (causal or source_width is not None):
            raise ValueError("relative positions are for attention of all tokens to all tokens of the same sequence")
        if fused and source_width is not None:
            raise ValueError("one projection cannot make queries of one sequence and keys and values of another")
        super().__init__()
        inner = heads * head_width
        self.heads, self.fused, self.causal, self.dropout = heads, fused, causal, dropout
        if fused:
            self.qkv = nn.Linear(width, 3 * inner, bias)
        else:
            self.q = nn.Linear(width, inner, bias)
            self.k = nn.Linear(source_width or width, inner, bias)
            self.v = nn.Linear(source_width or width, inner, bias)
        self.out = nn.Linear(inner, width, bias)
        self.relative = relative

    def forward(self, x_BTC: Tensor, mask: Tensor | None = None, source_BSC: Tensor | None = None) -> Tensor:
        """B x T x C.

        Args:
            mask: B x S, true where a token may be attended to, or any shape of four dimensions that goes with
                B x H x T x S; every query needs a token to attend to.
            source_BSC: what keys and values are made of; None is the input.
        """
        q, k, v = (self._split(part) for part in self._project(x_BTC, x_BTC if source_BSC is None else source_BSC))
        if mask is not None and mask.dim() == 2:
            mask = mask[:, None, None, :]
        mixed = self._attend(q, k, v, mask) if self.relative is None else self._attend_relatively(q, k, v, mask)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y

    def _project(self, x: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        if self.fused:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            return q, k, v
        return self.q(x), self.k(source), self.v(source)

    def _split(self, x: Tensor) -> Tensor:
        """B x T x (H D) as B x H x T x D."""
        batch, tokens, width = x.shape
        return x.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        causal = self.causal
        if causal and mask is not None:  # PyTorch takes one of the two
            earlier = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
            mask, causal = mask & earlier, False
        rate = self.dropout if self.training else 0.0
        mixed: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate, is_causal=causal)
        return mixed

    def _attend_relatively(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        q = q * q.shape[-1] ** -0.5
        scores = q @ k.transpose(-2, -1) + self.relative.keys(q)  # type: ignore[union-attr, operator]
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        mixed: Tensor = weights @ v + self.relative.values(weights)  # type: ignore[union-attr, operator]
        return mixed


class FeedForward(nn.Sequential):
    """Two linear layers with an activation between them, for every token by itself."""

    role: ClassVar[str] = "mlp"

    def __init__(self, width: int, hidden: int, activation: Activation = nn.GELU, dropout: float = 0.0) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.act = activation()
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(hidden, width)


class _Part(nn.Module):
    """A layer with its shortcut: normalised before the layer (`norm_first`), or after the sum."""

    def __init__(self, width: int, *, norm_first: bool, eps: float, dropout: float) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def _around(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        y: Tensor = x + self.dropout(layer(self.norm(x) if self.norm_first else x))
        return y if self.norm_first else self.norm(y)


class AttentionPart(_Part):
    """Attention, its shortcut and its normalisation; the output is the residual stream."""

    def __init__(
        self, width: int, attention: Attention, *, norm_first: bool = True, eps: float = 1e-6, dropout: float = 0.0
    ) -> None:
        super().__init__(width, norm_first=norm_first, eps=eps, dropout=dropout)
        self.attention = attention

    def forward(self, x_BTC: Tensor, mask: Tensor | None = None, source_BSC: Tensor | None = None) -> Tensor:
        """B x T x C; `mask` and `source_BSC` as `Attention.forward` takes them, the source as it is."""
        return self._around(x_BTC, lambda x: self.attention(x, mask, source_BSC))


class FeedForwardPart(_Part):
    """The feed-forward layers, their shortcut and their normalisation; the output is the residual stream."""

    def __init__(
        self,
        width: int,
        feedforward: FeedForward,
        *,
        norm_first: bool = True,
        eps: float = 1e-6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, norm_first=norm_first, eps=eps, dropout=dropout)
        self.feedforward = feedforward

    def forward(self, x_BTC: Tensor) -> Tensor:
        """B x T x C."""
        return self._around(x_BTC, self.feedforward)


class EncoderLayer(nn.Module):
    """Attention of a sequence to itself, then the feed-forward layers.

    Args:
        width: C.
        hidden: width inside the feed-forward layers.
        head_width: D; None is C / H, and H must divide C.
        dropout: of weights of attention, of what is inside the feed-forward layers and of what joins the residual
            stream, while training.
        norm_first: LayerNorm before attention and feed-forward layers, not after their sums.
        relative: see `Attention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        head_width: int | None = None,
        activation: Activation = nn.GELU,
        dropout: float = 0.0,
        norm_first: bool = True,
        eps: float = 1e-6,
        fused: bool = False,
        bias: bool = True,
        relative: nn.Module | None = None,
    ) -> None:
        super().__init__()
        inner = _head_width(width, heads) if head_width is None else head_width
        attention = Attention(width, heads, inner, fused=fused, bias=bias, relative=relative, dropout=dropout)
        feedforward = FeedForward(width, hidden, activation, dropout)
        self.attention = AttentionPart(width, attention, norm_first=norm_first, eps=eps, dropout=dropout)
        self.feedforward = FeedForwardPart(width, feedforward, norm_first=norm_first, eps=eps, dropout=dropout)

    def forward(self, x_BTC: Tensor, mask: Tensor | None = None) -> Tensor:
        """B x T x C.

        Args:
            mask: B x T, true where a token may be attended to.
        """
        y: Tensor = self.feedforward(self.attention(x_BTC, mask))
        return y


class DecoderLayer(nn.Module):
    """Attention of a sequence to its own past, attention to a source, then the feed-forward layers.

    Args:
        source_width: C of the source; None is `width`. The others as in `EncoderLayer`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        head_width: int | None = None,
        source_width: int | None = None,
        activation: Activation = nn.GELU,
        dropout: float = 0.0,
        norm_first: bool = True,
        eps: float = 1e-6,
        bias: bool = True,
    ) -> None:
        super().__init__()
        inner = _head_width(width, heads) if head_width is None else head_width
        own = Attention(width, heads, inner, bias=bias, causal=True, dropout=dropout)
        cross = Attention(width, heads, inner, bias=bias, source_width=source_width or width, dropout=dropout)
        feedforward = FeedForward(width, hidden, activation, dropout)
        self.self_attention = AttentionPart(width, own, norm_first=norm_first, eps=eps, dropout=dropout)
        self.cross_attention = AttentionPart(width, cross, norm_first=norm_first, eps=eps, dropout=dropout)
        self.feedforward = FeedForwardPart(width, feedforward, norm_first=norm_first, eps=eps, dropout=dropout)

    def forward(
        self, x_BTC: Tensor, source_BSC: Tensor, mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """B x T x C.

        Args:
            source_BSC: the encoder's output.
            mask: B x T, true where a token of the sequence may be attended to, if it isn't later.
            source_mask: B x S, the same for the source.
        """
        x = self.cross_attention(self.self_attention(x_BTC, mask), source_mask, source_BSC)
        y: Tensor = self.feedforward(x)
        return y


class Classifier(nn.Linear):
    """The linear layer that gives the logits."""

    role: ClassVar[str] = "head"


def _head_width(width: int, heads: int) -> int:
    if width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}; give their width")
    return width // heads


def check_whole(option: str, given: int | Sequence[int]) -> None:
    """Raises ConfigError unless an option is a whole number from 1 on, or a list of such without repetition."""
    values = list(given) if isinstance(given, Sequence) else [given]
    if not values or len(set(values)) < len(values) or any(v != int(v) or v < 1 for v in values):
        raise ConfigError(f"{option} takes whole numbers from 1 on, none twice, not {given!r}")


def stream(model: nn.Module) -> Iterator[str]:
    """The names of the parts after which the residual stream can be seen, in order: what `Family.blocks` names."""
    return (name for name, module in model.named_modules() if isinstance(module, _Part))


def crop_fused(like: Tensor, big: Tensor) -> Tensor:
    """A fused projection's weight or bias cut out of a bigger one: queries, keys and values of the first heads each.

    Args:
        like: 3 H D (x C), for its shape.
        big: the same with at least as many heads and channels.

    Returns:
        `big` itself where the shapes agree, a view where as many heads are left, else a computed tensor.
    """
    if like.shape == big.shape:
        return big
    rows = len(like) // 3
    parts = big if len(like) == len(big) else torch.cat([part[:rows] for part in big.chunk(3)])
    return parts[:, : like.shape[1]] if like.dim() > 1 else parts


def on_default_device(make: Callable[[], nn.Module]) -> nn.Module:
    """A network on torch's default device whose weights are drawn by `initialise`, and only by that.

    Args:
        make: builds the network; buffers that are no state of training must be filled by `reset_parameters`.
    """
    device = torch.get_default_device()
    with torch.device("meta"):
        net = make()
    if device.type != "meta":
        initialise(net.to_empty(device=device))
    return net


def initialise(net: nn.Module) -> None:
    """Draws all parameters anew: matrices as Xavier (Glorot and Bengio, 2010), embeddings N(0, 0.02^2), biases 0.

    Modules with parameters of their own draw them in their `reset_parameters`, as normalisation layers do.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            # The usual N(0, 0.02^2) suits widths about 768: narrow networks hardly learn with it.
            nn.init.xavier_normal_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=DEVIATION)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]
