"""Exact MACs and parameters of elastic networks, as closed formulas over many architectures at once.

MACs are the multiplications of convolutions, linear layers and matrix products, for one input; parameters are the
trainable numbers of the extracted network, without BatchNorm statistics. Resolution is 224, sentences have 30 (the
translator) or 128 tokens (BERT), as in the runs that DyNAS-T's authors published, all of which these formulas meet.
"""

# Shape letters: N architectures. Genes are arrays of values, N x (entries of the gene).

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.families._counts import Elastic, Fixed, Ints, Tally, inverted_residuals, rounded

Genes: TypeAlias = Mapping[str, NDArray[Any]]
"""The values of every gene, by its name."""


def mobile(
    genes: Genes,
    classes: int,
    *,
    widths: Sequence[int],
    strides: Sequence[int],
    last: int,
    excited: Sequence[int] = (),
    closing: Sequence[tuple[int, int, int]] = (),
    mixed: int | None = None,
) -> tuple[Ints, Ints]:
    """MACs and params of inverted residuals in five elastic stages: Once-for-All's MobileNetV3 and ProxylessNAS.

    Args:
        genes: `ks` and `e` with four entries per stage, `d` with one.
        widths, strides, last, excited, closing, mixed: of the network, as `Fixed` has them.
    """
    blocks = (len(genes["d"]), len(strides) - 1, 4)
    elastic = Elastic(genes["ks"].reshape(blocks), genes["e"].reshape(blocks), genes["d"])
    return inverted_residuals(Fixed(widths, strides, last, classes, excited, closing, mixed), elastic, 224)


MULTIPLIERS = (0.65, 0.8, 1.0)
"""Of ResNet50's widths; its gene `w` holds indices of these."""
BASES, SLOTS = (2, 2, 4, 2), (0, 4, 8, 14)
"""Of ResNet50's stages: the blocks that are always there, and where the stage's entries of gene `e` begin."""


def resnet50(genes: Genes, classes: int) -> tuple[Ints, Ints]:
    """MACs and params of Once-for-All's ResNet50."""
    d, e, w = genes["d"], genes["e"], genes["w"]
    outs = rounded(np.multiply(64, MULTIPLIERS))
    stem, middle = outs[w[:, 1]], rounded(outs // 2)[w[:, 0]]
    tally, side = Tally(len(d)), 112
    tally.conv(3, middle, 3, side)
    tally.conv(middle, middle, 3, side, on=(d[:, 0] == 2).astype(np.int64))
    tally.conv(middle, stem, 3, side)
    channels, side = stem, 56
    for stage, width in enumerate((256, 512, 1024, 2048)):
        out = rounded(np.multiply(width, MULTIPLIERS))[w[:, 2 + stage]]
        for block in range(BASES[stage] + 2):
            on = (block < BASES[stage] + d[:, 1 + stage]).astype(np.int64)
            inner = rounded(np.rint(out * e[:, SLOTS[stage] + block]))
            tally.conv(channels, inner, 1, side, on=on)
            side = -(-side // (2 if stage and block == 0 else 1))
            tally.conv(inner, inner, 3, side, on=on)
            tally.conv(inner, out, 1, side, on=on)
            if block == 0:
                tally.conv(channels, out, 1, side)
            channels = out
    tally.linear(channels, classes)
    return tally.macs, tally.params


def translator(genes: Genes, classes: int) -> tuple[Ints, Ints]:
    """MACs and params of the translation transformer (Wang et al., 2020), 30 tokens in and 30 out.

    The number of heads changes neither; embeddings and the output projection are not counted among the params.
    """
    enc, dec = genes["encoder_embed_dim"][:, 0], genes["decoder_embed_dim"][:, 0]
    number = genes["decoder_layer_num"]
    on = (np.arange(6) < number).astype(np.int64)
    wide, narrow = genes["encoder_ffn_embed_dim"], on * genes["decoder_ffn_embed_dim"]
    reach = genes["decoder_arbitrary_ende_attn"]
    two, three = ((on * (reach == value)).sum(axis=1) for value in (1, 2))
    n = number[:, 0]
    macs = 5621838 + 369030 * enc + 983070 * dec + 60 * enc * wide.sum(axis=1) + 60 * dec * narrow.sum(axis=1)
    macs = macs + n * (1873926 + 92250 * dec + 30720 * enc)
    macs = macs + two * (921600 + 30720 * enc) + three * (1843200 + 61440 * enc)
    params = 6 * (2048 * enc + 1536 + 6 * enc) + (wide * (2 * enc[:, None] + 1)).sum(axis=1)
    params = params + n * (2048 * dec + 1536 + 1024 * (dec + enc) + 1536 + 9 * dec)
    params = params + (narrow * (2 * dec[:, None] + 1)).sum(axis=1)
    return macs, params


def bert(genes: Genes, classes: int) -> tuple[Ints, Ints]:
    """MACs and params of elastic BERT-base with 128 tokens.

    The MACs include layer norms, pooler and classifier; the params leave out layer norms and the classifier. Both are
    the conventions of the published runs.
    """
    heads, inner, n = _layers(genes, "intermediate_size")
    macs = 689792 + 196608 * n + 27262976 * heads.sum(axis=1) + 196608 * inner.sum(axis=1)
    params = 31036 * 768 + 768 * 768 + 768 + (_attention_params(heads) + inner * (2 * 768 + 1)).sum(axis=1)
    return macs, params + n * 768 * 2


def vit(genes: Genes, classes: int) -> tuple[Ints, Ints]:
    """MACs and params of elastic ViT-B/16 (Dosovitskiy et al., 2021), counted on the sub-network: 196 patches, 1 token.

    With all of it, these are torchvision's numbers for `vit_b_16`: 86,567,656 parameters and 17.56 GMACs.
    """
    heads, inner, n = _layers(genes, "vit_intermediate_sizes")
    patches, tokens = 196, 197
    each = tokens * (4 * 768 * 64 * heads + 2 * tokens * 64 * heads + 2 * 768 * inner)
    macs = patches * 768 * 768 + each.sum(axis=1) + 768 * classes
    params = 768 * 768 + 768 + 768 + tokens * 768 + (_attention_params(heads) + inner * (2 * 768 + 1)).sum(axis=1)
    params = params + n * (768 * 2 + 4 * 768) + 2 * 768 + 768 * classes + classes
    return macs, params


def _layers(genes: Genes, inner: str) -> tuple[Ints, Ints, Ints]:
    """Heads and inner widths of the layers, 0 where there is none, and the number of layers."""
    number = genes["num_layers"]
    on = (np.arange(12) < number).astype(np.int64)
    return on * genes["num_attention_heads"], on * genes[inner], number[:, 0]


def _attention_params(heads: Ints) -> Ints:
    """Of query, key, value and output projection, heads of 64 channels; the output's bias is not among them."""
    width = 64 * heads
    return 3 * (768 * width + width) + width * 768


__all__ = ["bert", "mobile", "resnet50", "translator", "vit"]
