"""The networks of Zen-NAS (Lin et al., 2021): structures as text, what they cost, how they are edited and built.

A structure is a chain of super-blocks, each a run of equal sub-layers: `SuperResK3K3(8,16,2,8,1)` takes 8 channels,
gives 16, halves the image in its first sub-layer and has 8 channels inside. DE-NAS writes its CNNs the same way.
"""

from __future__ import annotations

import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from numpy.random import Generator
from torch import Tensor, nn

from hwnas.errors import SpaceError, nearest
from hwnas.families._reuse import reused

EPS = 1e-3
"""Of every BatchNorm."""
FACTORS = (2.5, 2, 1.5, 1.25, 1, 1 / 1.25, 1 / 1.5, 1 / 2, 1 / 2.5)
"""What an edit may multiply a width by."""
WIDEST, DEEP = 2048, 6
"""No edit widens further; residual super-blocks of so many sub-layers are split."""


# --- what a super-block is ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SuperBlock:
    """A run of equal sub-layers; the first one has the stride and the input's width.

    Args:
        kind: a name of `KINDS`.
        inner: channels that come in.
        bottleneck: channels inside a residual sub-layer; None in plain convolutions.
        layers: sub-layers, at least 1. One of a bottleneck or an inverted kind has two residual units.
        label: what its text calls it, in front of a `|`; it means nothing.
    """

    kind: str
    inner: int
    out: int
    stride: int
    bottleneck: int | None
    layers: int
    label: str | None = None

    def __str__(self) -> str:
        numbers = (self.inner, self.out, self.stride, self.bottleneck, self.layers)
        label = "" if self.label is None else f"{self.label}|"
        return f"{self.kind}({label}{','.join(str(number) for number in numbers if number is not None)})"


Structure: TypeAlias = str | Sequence[SuperBlock]
"""A chain of super-blocks, as text or parsed."""


@dataclass(frozen=True)
class ConvShape:
    """A convolution without bias that pads by half of its odd kernel."""

    inner: int
    out: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1

    @property
    def weights(self) -> int:
        return self.inner // self.groups * self.out * self.kernel**2


@dataclass(frozen=True)
class UnitShape:
    """Convolutions in a row, each normalised, with a ReLU between them and at the end.

    Args:
        residual: whether the input is added before the last ReLU.
        projection: the convolution on the shortcut, which has a bias; None where the input is added as it is.
    """

    convs: tuple[ConvShape, ...]
    residual: bool = False
    projection: ConvShape | None = None


_Rows: TypeAlias = Iterator[tuple[ConvShape, ...]]


@dataclass(frozen=True)
class Kind:
    """What the sub-layers of a super-block are.

    Args:
        form: a word for the arrangement of convolutions; kinds of one form differ in numbers alone and share weights.
        rows: the convolutions of every unit of a block, given its kind.
        expand: how many times wider than its output an inverted unit is inside.
    """

    form: str
    rows: Callable[[SuperBlock, Kind], _Rows]
    kernel: int
    expand: int = 1

    @property
    def residual(self) -> bool:
        return self.rows is not _plain


def _steps(block: SuperBlock) -> Iterator[tuple[int, int]]:
    """What comes into every sub-layer, and its stride."""
    yield block.inner, block.stride
    yield from ((block.out, 1) for _ in range(block.layers - 1))


def _plain(block: SuperBlock, kind: Kind) -> _Rows:
    for inner, stride in _steps(block):
        yield (ConvShape(inner, block.out, kind.kernel, stride),)


def _pair(block: SuperBlock, kind: Kind) -> _Rows:
    middle = block.bottleneck or 0
    for inner, stride in _steps(block):
        yield ConvShape(inner, middle, kind.kernel, stride), ConvShape(middle, block.out, kind.kernel)


def _bottleneck(block: SuperBlock, kind: Kind) -> _Rows:
    middle = block.bottleneck or 0
    for step in _steps(block):
        for inner, stride in (step, (block.out, 1)):
            core = ConvShape(middle, middle, kind.kernel, stride)
            yield ConvShape(inner, middle), core, ConvShape(middle, block.out)


def _inverted(block: SuperBlock, kind: Kind) -> _Rows:
    middle = block.bottleneck or 0
    for step in _steps(block):
        for (inner, stride), out in ((step, middle), ((middle, 1), block.out)):
            wide = rounded(out * kind.expand)
            core = ConvShape(wide, wide, kind.kernel, stride, groups=wide)
            yield ConvShape(inner, wide), core, ConvShape(wide, out)


KINDS = {
    **{f"SuperConvK{kernel}BNRELU": Kind("conv", _plain, kernel) for kernel in (1, 3, 5, 7)},
    **{f"SuperResK1K{kernel}K1": Kind("bottleneck", _bottleneck, kernel) for kernel in (3, 5, 7)},
    **{f"SuperResK{kernel}K{kernel}": Kind("pair", _pair, kernel) for kernel in (3, 5, 7)},
    **{
        f"SuperResIDWE{expand}K{kernel}": Kind("inverted", _inverted, kernel, expand)
        for expand in (1, 2, 4, 6)
        for kernel in (3, 5, 7)
    },
}
"""Every super-block that can be built, by its name."""
SEARCHED = tuple(name for name, kind in KINDS.items() if kind.form in ("bottleneck", "pair"))
"""The six kinds among which Zen-NAS and DE-NAS search."""


def units(block: SuperBlock) -> tuple[UnitShape, ...]:
    """What a super-block is made of; the first shortcut has a projection always, later ones where widths differ."""
    kind = KINDS[block.kind]
    found = []
    for place, convs in enumerate(kind.rows(block, kind)):
        inner, out = convs[0].inner, convs[-1].out
        needed = kind.residual and (place == 0 or inner != out)
        stride = block.stride if place == 0 else 1
        found.append(UnitShape(convs, kind.residual, ConvShape(inner, out, 1, stride) if needed else None))
    return tuple(found)


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8; halves go to the even one, as Zen-NAS has it.

    Example:
        >>> [rounded(channels) for channels in (3, 12, 20, 28, 36)]
        [8, 16, 16, 32, 32]
    """
    return max(8, 8 * round(channels / 8))


# --- text -----------------------------------------------------------------------------------------------------------

_HEAD = re.compile(r"([A-Za-z][A-Za-z0-9]*)\(")
_BODY = re.compile(r"(?:([^|(),]*)\|)?([^|()]*)\)")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


def parse(text: str) -> list[SuperBlock]:
    """The super-blocks of a text such as `SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)`; `spell` gives it back.

    Raises:
        SpaceError: something else is written there, or a block does not take what the one before it gives; says where.
    """
    blocks: list[SuperBlock] = []
    at = 0
    while at < len(text) or not blocks:
        head = _HEAD.match(text, at)
        if head is None:
            raise _wrong(text, at, "a super-block such as SuperResK3K3(8,16,1,8,1)")
        if head[1] not in KINDS:
            raise _wrong(text, at, f"the name of a super-block; {nearest(head[1], KINDS)}")
        names = ["in", "out", "stride", *["bottleneck"] * KINDS[head[1]].residual, "sub-layers"]
        body = _BODY.match(text, head.end())
        if body is None:
            raise _wrong(text, head.end(), f"{len(names)} numbers ({', '.join(names)}) and a closing bracket")
        words = body[2].split(",")
        if len(words) != len(names):
            raise _wrong(text, body.start(2), f"{len(names)} numbers ({', '.join(names)}), not {len(words)}")
        place = body.start(2)
        for name, word in zip(names, words, strict=True):
            if not _NUMBER.fullmatch(word):
                raise _wrong(text, place, f"a whole number from 1 to 999999 ({name}), not {word!r}")
            place += len(word) + 1
        inner, out, stride, *middle, layers = map(int, words)
        if blocks and inner != blocks[-1].out:
            raise _wrong(text, body.start(2), f"{blocks[-1].out} channels, which the block before gives, not {inner}")
        blocks.append(SuperBlock(head[1], inner, out, stride, middle[0] if middle else None, layers, body[1]))
        at = body.end()
    return blocks


def spell(blocks: Iterable[SuperBlock]) -> str:
    """The text of super-blocks."""
    return "".join(map(str, blocks))


def parsed(structure: Structure) -> list[SuperBlock]:
    """The super-blocks of a structure in either form."""
    return parse(structure) if isinstance(structure, str) else list(structure)


def _wrong(text: str, at: int, wanted: str) -> SpaceError:
    rest = text[at : at + 30] + "…" * (len(text) > at + 30)
    return SpaceError(f"no structure of super-blocks: at character {at + 1} ({rest or 'the end'!r}) expected {wanted}")


# --- what a structure costs -----------------------------------------------------------------------------------------


def layers(structure: Structure) -> int:
    """Sub-layers, DE-NAS's `budget_num_layers`: one of a bottleneck kind counts 1, although it has six convolutions."""
    return sum(block.layers for block in parsed(structure))


def params(structure: Structure, classes: int, *, shortcuts: bool = True) -> int:
    """Trainable parameters of the network that `network` builds without `excite`."""
    blocks = parsed(structure)
    total = blocks[-1].out * classes + classes
    for unit in (unit for block in blocks for unit in units(block)):
        total += sum(conv.weights + 2 * conv.out for conv in unit.convs)
        if unit.projection is not None and shortcuts:
            total += unit.projection.weights + 3 * unit.projection.out
    return total


def size_estimate(structure: Structure, classes: int) -> int:
    """Parameters as Zen-NAS counts them, DE-NAS's `budget_model_size`: up to 1% too few.

    A BatchNorm counts one per channel, a projection's has none, and the classifier's bias is one number.
    """
    blocks = parsed(structure)
    total = blocks[-1].out * classes + 1
    for unit in (unit for block in blocks for unit in units(block)):
        every = (*unit.convs, unit.projection) if unit.projection is not None else unit.convs
        total += sum(conv.weights + conv.out for conv in every)
    return total


def flops(structure: Structure, classes: int, side: int, *, corrected: bool = False) -> int:
    """MACs, and one operation per value that a BatchNorm gives, as Zen-NAS counts them: DE-NAS's `budget_flops`.

    Args:
        side: of the square images in pixels.
        corrected: projections for what they are; Zen-NAS divides them by the square of their stride twice.
    """
    blocks = parsed(structure)
    total = blocks[-1].out * classes
    for unit in (unit for block in blocks for unit in units(block)):
        for conv in unit.convs:
            side = -(-side // conv.stride)
            total += (conv.weights + conv.out) * side**2
        if unit.projection is not None:
            twice = 1 if corrected else unit.projection.stride**2
            total += (unit.projection.weights + unit.projection.out) * side**2 // twice
    return total


# --- edits ----------------------------------------------------------------------------------------------------------


def widths(channels: int) -> tuple[int, ...]:
    """What an edit may make of a width, from least to most; the width itself is among them if it is a multiple of 8.

    Example:
        >>> widths(16)
        (8, 16, 24, 32, 40)
    """
    return tuple(sorted({rounded(min(WIDEST, max(8, channels * factor))) for factor in FACTORS}))


def edits(block: SuperBlock) -> Iterator[SuperBlock]:
    """What one edit of Zen-NAS can make of a super-block, itself included: other widths, two sub-layers more or less.

    Residual blocks become any of the six kinds; a plain convolution changes its width and has one layer. Strides stay.
    """
    if block.bottleneck is None:
        yield from (replace(block, out=out, layers=1) for out in widths(block.out))
        return
    depths = range(max(1, block.layers - 2), block.layers + 3)
    every = itertools.product(depths, SEARCHED, widths(block.out), widths(block.bottleneck))
    for depth, kind, out, bottleneck in every:
        yield replace(block, kind=kind, out=out, bottleneck=bottleneck, layers=depth)


def edited(blocks: Sequence[SuperBlock], place: int, block: SuperBlock) -> list[SuperBlock]:
    """The structure with one super-block replaced: inputs fit again, and blocks that have become deep are split."""
    return split(split(chained([*blocks[:place], block, *blocks[place + 1 :]])))


def edit(blocks: Sequence[SuperBlock], rng: Generator) -> list[SuperBlock]:
    """One random edit of one super-block, each equally likely; the last block, which feeds the classifier, included."""
    place = int(rng.integers(len(blocks)))
    choices = list(edits(blocks[place]))
    return edited(blocks, place, choices[int(rng.integers(len(choices)))])


def chained(blocks: Iterable[SuperBlock]) -> list[SuperBlock]:
    """Every block takes what the one before it gives."""
    fitted: list[SuperBlock] = []
    for block in blocks:
        fitted.append(replace(block, inner=fitted[-1].out) if fitted else block)
    return fitted


def split(blocks: Iterable[SuperBlock]) -> list[SuperBlock]:
    """Residual blocks of six layers and more become one of three layers and one of the rest.

    Example:
        >>> spell(split(parse("SuperResK3K3(8,16,2,8,7)")))
        'SuperResK3K3(8,16,2,8,3)SuperResK3K3(16,16,1,8,4)'
    """
    halves: list[SuperBlock] = []
    for block in blocks:
        if block.bottleneck is None or block.layers < DEEP:
            halves.append(block)
        else:
            halves.append(replace(block, layers=3))
            halves.append(replace(block, inner=block.out, stride=1, layers=block.layers - 3))
    return halves


# --- networks -------------------------------------------------------------------------------------------------------


def network(
    structure: Structure,
    classes: int,
    *,
    shortcuts: bool = True,
    excite: bool = False,
    names: Sequence[str] | None = None,
) -> nn.Module:
    """A network of super-blocks, then average pooling and a classifier.

    Args:
        shortcuts: False leaves them and their projections out; all other tensors keep their names.
        excite: squeeze and excitation before the last convolution of every residual unit.
        names: of the super-blocks' modules; None is `stem`, `block1`, `block2` … and `head`.

    Raises:
        SpaceError: the structure is none.
    """
    blocks = parsed(structure)
    parts = OrderedDict[str, nn.Module]()
    for name, block in zip(names or block_names(blocks), blocks, strict=True):
        parts[name] = nn.Sequential(OrderedDict([(KINDS[block.kind].form, _run(block, shortcuts, excite))]))
    parts["classifier"] = Classifier(blocks[-1].out, classes)
    return nn.Sequential(parts)


def block_names(blocks: Sequence[SuperBlock]) -> list[str]:
    """`stem` and `head` for plain convolutions at the ends, and numbered blocks from 1 between them."""
    names = [f"block{place}" for place in range(1, len(blocks) + 1)]
    if not KINDS[blocks[0].kind].residual:
        names = ["stem", *names[:-1]]
    if len(blocks) > 1 and not KINDS[blocks[-1].kind].residual:
        names[-1] = "head"
    return names


def all_forms(runs: Iterable[tuple[str, Sequence[SuperBlock]]], classes: int, excite: bool = False) -> nn.Module:
    """A network with several super-blocks side by side, averaged: of one name, each with a form of its own."""
    parts = OrderedDict[str, nn.Module]()
    out = 0
    for name, blocks in runs:
        parts[name] = Mixed({KINDS[block.kind].form: _run(block, True, excite) for block in blocks})
        out = blocks[-1].out
    parts["classifier"] = Classifier(out, classes)
    return nn.Sequential(parts)


def _run(block: SuperBlock, shortcuts: bool, excite: bool) -> nn.Module:
    own = units(block)
    return nn.Sequential(
        OrderedDict((f"unit{place}", Unit(unit, shortcuts, excite)) for place, unit in enumerate(own, start=1))
    )


class Mixed(nn.ModuleDict):
    """Several runs of sub-layers side by side, averaged."""

    def forward(self, x: Tensor) -> Tensor:
        total, *rest = (run(x) for run in self.values())
        for more in rest:
            total = total + more
        mean: Tensor = total / len(self)
        return mean


class Unit(nn.Module):
    """Convolutions in a row, and perhaps the input, added before the last ReLU."""

    def __init__(self, shape: UnitShape, shortcuts: bool, excite: bool) -> None:
        super().__init__()
        parts = OrderedDict[str, nn.Module]()
        for place, conv in enumerate(shape.convs, start=1):
            if place > 1:
                parts[f"act{place - 1}"] = nn.ReLU()
            if excite and shape.residual and place == len(shape.convs):
                parts["excite"] = Excite(conv.inner)
            parts[f"conv{place}"] = make_conv(conv)
            parts[f"norm{place}"] = make_norm(conv.out)
        self.main = nn.Sequential(parts)
        self.residual = shape.residual and shortcuts
        if self.residual and shape.projection is not None:
            projection, norm = make_conv(shape.projection, bias=True), make_norm(shape.projection.out)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, norm=norm))
        elif self.residual:
            self.shortcut = nn.Sequential()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.main(x)
        if self.residual:
            y = y + self.shortcut(x)
        out: Tensor = self.act(y)
        return out


class Excite(nn.Sequential):
    """Squeeze and excitation: every channel is scaled by what a small network makes of all channel means."""

    def __init__(self, channels: int) -> None:
        squeezed = max(1, round(channels / 4))
        parts = OrderedDict[str, nn.Module]()
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["reduce"] = make_conv(ConvShape(channels, squeezed))
        parts["norm1"] = make_norm(squeezed)
        parts["act"] = nn.ReLU()
        parts["expand"] = make_conv(ConvShape(squeezed, channels))
        parts["norm2"] = make_norm(channels)
        parts["gate"] = nn.Sigmoid()
        super().__init__(parts)

    def forward(self, x: Tensor) -> Tensor:
        scale = x
        for part in self:
            scale = part(scale)
        return x * scale


class Classifier(nn.Sequential):
    """Average pooling and a linear layer."""

    role: ClassVar[str] = "head"

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(channels, classes))
        )


def conv_of(shape: ConvShape, bias: bool = False) -> nn.Module:
    """The module of a convolution."""
    padding = shape.kernel // 2
    return nn.Conv2d(shape.inner, shape.out, shape.kernel, shape.stride, padding, groups=shape.groups, bias=bias)


def norm_of(channels: int) -> nn.Module:
    """The BatchNorm after every convolution."""
    return nn.BatchNorm2d(channels, eps=EPS)


make_conv, make_norm = reused(conv_of), reused(norm_of)
