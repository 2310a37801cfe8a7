"""Zen-NAS's plain residual networks (Lin et al., 2021): super-blocks of any type, width and depth, as DE-NAS has them.

A network is a convolution, super-blocks of residual sub-layers, another convolution, pooling and a classifier; Zen-NAS
writes it as one line of text, a structure. `structure_of` and `arch_of` translate. Tensors bear the names of the
super-blocks and of their forms (a pair of kernels, a bottleneck): types of one form share weights, smaller kernels as
the centre of larger ones, and the forms stand side by side in the supernet.
"""

# Shape letters: N codes, G choices.

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.codes import Codes
from hwnas.errors import ConfigError, SpaceError
from hwnas.families import _plainnet
from hwnas.families._counts import Tally
from hwnas.families._plainnet import KINDS, SEARCHED, Structure, SuperBlock
from hwnas.space import Arch, Choice, Code, Space, Value

START = (
    "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK3K3(16,32,2,16,1)"
    "SuperResK3K3(32,64,2,32,1)SuperResK3K3(64,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)"
)
"""Where Zen-NAS and DE-NAS begin to search networks for images of 32 pixels."""
DEEPEST = 6
"""Sub-layers of a super-block."""
PUBLISHED = (168, 216, 272)
"""Widths of the networks that Zen-NAS found for CIFAR-10 which are too odd to be among the others."""


@dataclass(frozen=True)
class PlainNet(Family):
    """Residual super-blocks of six types, each with a width, a bottleneck and a number of sub-layers of its own.

    Zen-NAS lets a network grow by splitting deep super-blocks; here every one of them may be followed by `extra` more
    at the same resolution. Choices are `stem.width`, `block1.type`, `block1.width`, `block1.bottleneck`,
    `block1.layers`, `block1.more`, `block1.1.type` … and `head.width`.

    With the default options the largest network has 300 million parameters, and half of all random ones have ten or
    more: this is a space for scores without training. Under a tight limit, smaller `max_width` and `max_bottleneck`
    leave more of it.

    Args:
        classes: outputs of the classifier.
        resolution: side of the input images in pixels.
        structure: says how many super-blocks there are, and their strides; whatever else it says can vary, and its own
            widths are always among those to choose from.
        extra: how many super-blocks may follow each of these.
        max_width: channels of the stem, a super-block or the head, in multiples of 8 that grow further apart above 128.
        max_bottleneck: channels inside a super-block, likewise.
        excite: squeeze and excitation in every residual unit.
    """

    classes: int = 10
    resolution: int = 32
    structure: str = START
    extra: int = 1
    max_width: int = 512
    max_bottleneck: int = 128
    excite: bool = False

    scales: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {
        "resolution": 8,
        "structure": "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,8,2,8,1)SuperResK1K3K1(8,8,1,8,1)"
        "SuperConvK1BNRELU(8,16,1,1)",
        "max_width": 16,
        "max_bottleneck": 16,
    }

    def __post_init__(self) -> None:
        for option, least in (("classes", 1), ("resolution", 1), ("extra", 0), ("max_width", 8), ("max_bottleneck", 8)):
            if getattr(self, option) < least:
                raise ConfigError(f"{option} must be at least {least}, not {getattr(self, option)!r}")
        try:
            stem, *mains, head = _plainnet.parse(self.structure)
        except SpaceError as error:
            raise ConfigError(f"structure is {error.args[0]}") from error
        except ValueError as error:
            raise ConfigError(f"structure needs a stem and a head, not {self.structure!r} alone") from error
        if KINDS[stem.kind].residual or KINDS[head.kind].residual or not mains or stem.inner != 3:
            message = (
                f"structure goes from 3 channels through SuperConv, SuperRes … and SuperConv, not {self.structure!r}"
            )
            raise ConfigError(message, hint=f"the default is {START}")
        strange = [block.kind for block in mains if block.kind not in SEARCHED]
        if strange:
            raise ConfigError(f"structure takes the super-blocks {', '.join(SEARCHED)} in the middle, not {strange[0]}")

    @property
    def name(self) -> str:
        return "plainnet"

    @functools.cached_property
    def space(self) -> Space:
        start = self._start
        widths = _values(self.max_width, (block.out for block in start))
        inner = _values(self.max_bottleneck, (block.bottleneck for block in start if block.bottleneck is not None))
        depths = tuple(range(1, max(DEEPEST, *(block.layers for block in start)) + 1))
        choices = [Choice("stem.width", widths)]
        for place, number in self._slots:
            when = None
            if number:
                when = (f"block{place}.more", tuple(range(number, self.extra + 1)))
            name = _choice(place, number)
            choices += [
                Choice(f"{name}.{axis}", values, when)
                for axis, values in (("type", SEARCHED), ("width", widths), ("bottleneck", inner), ("layers", depths))
            ]
            if self.extra and not number:
                choices.append(Choice(f"block{place}.more", tuple(range(self.extra + 1))))
        return Space(self.name, (*choices, Choice("head.width", widths)))

    def build(self, arch: Arch, /) -> nn.Module:
        return self._net(arch, shortcuts=True)

    def without_shortcuts(self, arch: Arch, /) -> nn.Module:
        """The network as Zen-NAS scores it: no residual connections and no projections, but every ReLU."""
        return self._net(arch, shortcuts=False)

    def supernet(self) -> nn.Module:
        """Every super-block at its largest, in both forms side by side, averaged in its forward pass."""
        largest = self._blocks(self.space.decode(self.space.largest))
        per_form = {KINDS[kind].form: kind for kind in SEARCHED}  # the last of a form has the largest kernel
        runs = [
            (name, [replace(block, kind=kind) for kind in per_form.values()] if block.kind in SEARCHED else [block])
            for name, block in largest
        ]
        return _plainnet.all_forms(runs, self.classes, self.excite)

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, self.resolution, self.resolution),)

    def canonical(self, code: Code, /) -> Code:
        """Where a super-block of stride 1 may follow as an extra one or as the next one, it is the next one."""
        code = self.space.canonical(code)
        if not self.extra or all(block.stride > 1 for block in self._start[2:-1]):
            return code
        return self.space.encode(self.arch_of(self.structure_of(self.space.decode(code))))

    def counts(self, codes_NG: Codes, /) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters of many codes, N each, by formula: exactly those of the networks themselves."""
        places = {choice.name: place for place, choice in enumerate(self.space.choices)}
        value = {
            choice.name: np.array(choice.values)[codes_NG[:, places[choice.name]]] for choice in self.space.choices
        }
        kernels = np.array([KINDS[kind].kernel for kind in SEARCHED])
        pairs = np.array([KINDS[kind].form == "pair" for kind in SEARCHED])
        tally, (stem, *mains, head) = Tally(len(codes_NG)), self._start
        channels, side = _plain_run(tally, stem, np.int64(3), value["stem.width"], self.resolution)
        for place, number in self._slots:
            name = _choice(place, number)
            kind_N = codes_NG[:, places[f"{name}.type"]]
            run = _Run(
                inner=channels,
                out=value[f"{name}.width"],
                bottleneck=value[f"{name}.bottleneck"],
                kernel=kernels[kind_N],
                pair=pairs[kind_N],
                layers=value[f"{name}.layers"],
                on=value[f"block{place}.more"] >= number if number else np.ones(len(codes_NG), dtype=bool),
            )
            side = run.add_to(tally, side, 1 if number else mains[place - 1].stride, self.excite)
            channels = np.where(run.on, run.out, channels)
        channels, _ = _plain_run(tally, head, channels, value["head.width"], side)
        tally.linear(channels, self.classes)
        return tally.macs, tally.params

    # --- structures -------------------------------------------------------------------------------------------------

    def structure_of(self, arch: Arch, /) -> str:
        """An architecture as Zen-NAS writes it."""
        return _plainnet.spell(block for _, block in self._blocks(arch))

    def arch_of(self, structure: Structure, /) -> dict[str, Value]:
        """The architecture of a structure; `structure_of` gives the structure back.

        Raises:
            SpaceError: the text is no structure, or the space lacks it.
        """
        blocks, (first, *own, last) = _plainnet.parsed(structure), self._start
        middle, strides = blocks[1:-1], [block.stride for block in own]
        stem, head = replace(blocks[0], label=None), replace(blocks[-1], label=None)
        if stem != replace(first, out=stem.out, label=None):
            raise SpaceError(f"the first super-block is {first}, of any width, and not {stem}")
        if head != replace(last, inner=head.inner, out=head.out, label=None):
            raise SpaceError(f"the last super-block is {last}, of any width, and not {head}")
        slots = _aligned([block.stride for block in middle], strides, self.extra)
        if slots is None:
            have = ", ".join(str(stride) for stride in strides)
            raise SpaceError(
                f"this space lacks {_plainnet.spell(blocks)}",
                hint=f"super-blocks have the strides {have}, and up to {self.extra} of stride 1 after each; "
                "see the options `structure` and `extra`",
            )
        arch: dict[str, Value] = {"stem.width": stem.out, "head.width": head.out}
        if self.extra:
            arch |= {f"block{place}.more": number for place, number in slots}  # the last of a place counts
        for (place, number), block in zip(slots, middle, strict=True):
            name = _choice(place, number)
            arch |= {f"{name}.type": block.kind, f"{name}.width": block.out, f"{name}.layers": block.layers}
            arch[f"{name}.bottleneck"] = block.bottleneck or 0
        return self.space.decode(self.space.encode(arch))

    @functools.cached_property
    def _start(self) -> list[SuperBlock]:
        return _plainnet.parse(self.structure)

    @property
    def _slots(self) -> list[tuple[int, int]]:
        """Where super-blocks can be, in order: (place from 1, 0 or the number of an extra one)."""
        return list(itertools.product(range(1, len(self._start) - 1), range(self.extra + 1)))

    def _blocks(self, arch: Arch) -> list[tuple[str, SuperBlock]]:
        """The super-blocks of an architecture, with the names of their modules."""
        stem, *mains, head = self._start
        found = [("stem", replace(stem, out=int(arch["stem.width"]), label=None))]
        for place, number in self._slots:
            if number > int(arch.get(f"block{place}.more", 0)):
                continue
            name = _choice(place, number)
            block = SuperBlock(
                kind=str(arch[f"{name}.type"]),
                inner=found[-1][1].out,
                out=int(arch[f"{name}.width"]),
                stride=1 if number else mains[place - 1].stride,
                bottleneck=int(arch[f"{name}.bottleneck"]),
                layers=int(arch[f"{name}.layers"]),
            )
            found.append((name.replace(".", "_"), block))
        last = replace(head, inner=found[-1][1].out, out=int(arch["head.width"]), label=None)
        return [*found, ("head", last)]

    def _net(self, arch: Arch, shortcuts: bool) -> nn.Module:
        names, blocks = zip(*self._blocks(arch), strict=True)
        return _plainnet.network(blocks, self.classes, shortcuts=shortcuts, excite=self.excite, names=names)


# --- the space ------------------------------------------------------------------------------------------------------


def _choice(place: int, number: int) -> str:
    return f"block{place}.{number}" if number else f"block{place}"


def _values(most: int, more: Iterable[int]) -> tuple[int, ...]:
    """Multiples of 8 up to 128, of 16 up to 256, of 32 up to 512 and so on, the published ones, and some more."""
    found = {width for width in PUBLISHED if width <= most} | set(more)
    width = 8
    while width <= most:
        found.add(width)
        width += max(8, 2 ** (width.bit_length() - 1) // 8)
    return tuple(sorted(found))


def _aligned(strides: Sequence[int], own: Sequence[int], extra: int) -> list[tuple[int, int]] | None:
    """Which slot every super-block takes: the next place if that can be, else as an extra one; None if it can't be."""

    def rest(at: int, place: int, number: int) -> list[tuple[int, int]] | None:
        if at == len(strides):
            return [] if place == len(own) else None
        steps = [(place + 1, 0)] * (place < len(own) and strides[at] == own[place])
        steps += [(place, number + 1)] * (place > 0 and number < extra and strides[at] == 1)
        for step in steps:
            found = rest(at + 1, *step)
            if found is not None:
                return [step, *found]
        return None

    return rest(0, 0, 0)


# --- counts ---------------------------------------------------------------------------------------------------------


def _plain_run(tally: Tally, block: SuperBlock, inner: Any, out: Any, side: int) -> tuple[Any, int]:
    """Adds plain convolutions; gives their channels and the side of their output."""
    side, kernel = -(-side // block.stride), KINDS[block.kind].kernel
    tally.conv(inner, out, kernel, side)
    tally.conv(out, out, kernel, side, on=block.layers - 1)
    return out, side


@dataclass(frozen=True)
class _Run:
    """One residual super-block of N networks: everything N, `pair` and `on` of truth values."""

    inner: Any
    out: Any
    bottleneck: Any
    kernel: Any
    pair: Any
    layers: Any
    on: Any

    def add_to(self, tally: Tally, side: int, stride: int, excite: bool) -> int:
        """Adds the sub-layers; gives the side of the output. `on` of a convolution says how many there are."""
        after = -(-side // stride)
        first, later = self.on.astype(np.int64), self.on * (self.layers - 1)
        pair, units = self.pair * first, self.on * self.layers * np.where(self.pair, 1, 2)
        middle, single = self.bottleneck, first - pair
        tally.conv(self.inner, middle, self.kernel, after, on=pair)
        tally.conv(self.out, middle, self.kernel, after, on=pair * later)
        tally.conv(middle, self.out, self.kernel, after, on=pair * units)
        tally.conv(self.inner, middle, 1, side, on=single)  # the stride is in the convolution after it
        tally.conv(self.out, middle, 1, after, on=single * (units - 1))
        tally.conv(middle, middle, self.kernel, after, on=single * units)
        tally.conv(middle, self.out, 1, after, on=single * units)
        tally.conv(self.inner, self.out, 1, after, on=first)
        tally.params += first * self.out  # projections have a bias
        if excite:
            squeezed = np.maximum(1, np.rint(middle / 4).astype(np.int64))
            tally.conv(middle, squeezed, 1, 1, on=units)
            tally.conv(squeezed, middle, 1, 1, on=units)
        return after


__all__ = ["PlainNet"]
