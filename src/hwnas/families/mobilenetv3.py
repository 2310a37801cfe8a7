"""MobileNetV3 with elastic kernels, widths and depths: the space of Once-for-All (Cai et al., 2020).

Five stages of inverted residual blocks between a fixed stem and a fixed head (Howard et al., 2019). Every block has a
kernel size and an expansion ratio, every stage keeps the first few of its blocks, and the image size may vary. Modules
bear the names of the choices (`stage2.block1`), so a small network's tensors are the leading channels, and the centre
of the depthwise kernels, of the big network's tensors of the same name.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.families import _counts
from hwnas.families._counts import Ints
from hwnas.families._reuse import reused
from hwnas.space import Arch, Choice, Space

STEM, EXPAND, LAST = 16, 960, 1280
"""Channels outside the stages: of the stem and the first block, and of the two wide layers of the head."""


@dataclass(frozen=True)
class Stage:
    """What all blocks of one stage share; the stride is that of the first one."""

    channels: int
    act: type[nn.Module]
    excite: bool
    stride: int
    small_stride: int


STAGES = (
    Stage(24, nn.ReLU, excite=False, stride=2, small_stride=2),
    Stage(40, nn.ReLU, excite=True, stride=2, small_stride=2),
    Stage(80, nn.Hardswish, excite=False, stride=2, small_stride=1),
    Stage(112, nn.Hardswish, excite=True, stride=1, small_stride=1),
    Stage(160, nn.Hardswish, excite=True, stride=2, small_stride=2),
)


@dataclass(frozen=True)
class MobileNetV3(Family):
    """Inverted residual blocks with an elastic kernel and expansion each, in stages of elastic depth.

    The defaults at `width=1.0` and `width=1.2` are the two published networks without their kernel transforms: smaller
    kernels are the plain centre of larger ones.

    Args:
        classes: outputs of the classifier.
        resolution: side of the square images in pixels; several make the image size a choice.
        width: multiplies all channels, which are then rounded to multiples of 8.
        stem: "imagenet" divides the image side by 32; "small" keeps the stem and the first block at full size and
            divides by 8, so that an image of 32 pixels ends as 4 x 4. None is "small" below 96 pixels.
        kernels: sides of the depthwise kernels, odd.
        expands: how many times wider than its input a block is inside.
        depths: how many blocks a stage may have.
        dropout: probability of dropping a feature before the classifier while training.
    """

    classes: int = 1000
    resolution: int | tuple[int, ...] = 224
    width: float = 1.0
    stem: Literal["imagenet", "small"] | None = None
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int | float, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (2, 3, 4)
    dropout: float = 0.0

    scales: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {
        "classes": 10,
        "resolution": [16, 24],
        "width": 0.1,
        "kernels": [3, 5],
        "expands": [1, 2],
        "depths": [1, 2],
        "dropout": 0.1,
    }

    def __post_init__(self) -> None:
        _check_whole("classes", self.classes)
        _check_whole("resolution", self.resolution)
        _check_whole("kernels", self.kernels, odd=True)
        _check_whole("depths", self.depths)
        if not self.expands or len(set(self.expands)) < len(self.expands) or min(self.expands) < 1:
            raise ConfigError(f"expands takes numbers from 1 on, none twice, not {self.expands!r}")
        if not 0 < self.width < math.inf:
            raise ConfigError(f"width takes a number above 0, not {self.width!r}")
        if self.stem not in ("imagenet", "small", None):
            raise ConfigError(f"stem takes 'imagenet', 'small' or None, not {self.stem!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout takes a number from 0 to below 1, not {self.dropout!r}")

    @property
    def name(self) -> str:
        return "mobilenetv3"

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The image sides that may be chosen, or the only one."""
        return (self.resolution,) if isinstance(self.resolution, int) else tuple(self.resolution)

    @property
    def small(self) -> bool:
        """Whether the stem keeps the full size of the image, and all stages together divide it by 8."""
        return max(self.resolutions) < 96 if self.stem is None else self.stem == "small"

    @functools.cached_property
    def space(self) -> Space:
        choices = [Choice("resolution", self.resolutions)] if len(self.resolutions) > 1 else []
        for stage in range(1, len(STAGES) + 1):
            depth = f"stage{stage}.depth"
            choices.append(Choice(depth, self.depths))
            for block in range(1, max(self.depths) + 1):
                deep = tuple(value for value in self.depths if value >= block)
                when = None if len(deep) == len(self.depths) else (depth, deep)
                choices.append(Choice(f"stage{stage}.block{block}.kernel", self.kernels, when))
                choices.append(Choice(f"stage{stage}.block{block}.expand", self.expands, when))
        return Space(self.name, tuple(choices))

    def build(self, arch: Arch, /) -> nn.Module:
        device = torch.get_default_device()
        if device.type == "meta":
            return self._net(arch)
        with torch.device("meta"):  # the layers' own initialisation, which ours replaces, costs nothing there
            net = self._net(arch)
        return _initialise(net.to_empty(device=device))

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        side = int(arch.get("resolution", self.resolutions[0]))
        return (torch.randn(batch, 3, side, side),)

    def counts(self, codes_NG: Codes, /) -> tuple[Ints, Ints]:
        """MACs and parameters of many codes, N each, by formula: exactly those of the networks themselves."""
        value_NG = [np.array(choice.values)[codes_NG[:, place]] for place, choice in enumerate(self.space.choices)]
        sides = value_NG.pop(0) if len(self.resolutions) > 1 else self.resolutions[0]
        value_NSC = np.stack(value_NG, axis=1).reshape(len(codes_NG), len(STAGES), 1 + 2 * max(self.depths))
        elastic = _counts.Elastic(
            kernels=value_NSC[:, :, 1::2].astype(np.int64),
            expands=value_NSC[:, :, 2::2],
            depths=value_NSC[:, :, 0].astype(np.int64),
        )
        return _counts.inverted_residuals(self._fixed, elastic, sides)

    @property
    def _fixed(self) -> _counts.Fixed:
        stem, expand, last = (rounded(channels * self.width) for channels in (STEM, EXPAND, LAST))
        strides = [stage.small_stride if self.small else stage.stride for stage in STAGES]
        return _counts.Fixed(
            widths=[stem, stem, *(rounded(stage.channels * self.width) for stage in STAGES)],
            strides=[1 if self.small else 2, *strides],
            last=expand,
            classes=self.classes,
            excited=[place for place, stage in enumerate(STAGES) if stage.excite],
            mixed=last,
        )

    def _net(self, arch: Arch) -> nn.Module:
        stem, expand, last = (rounded(channels * self.width) for channels in (STEM, EXPAND, LAST))
        net = OrderedDict[str, nn.Module]()
        net["stem"] = make_conv_norm(3, stem, 3, stride=1 if self.small else 2, act=nn.Hardswish)
        net["first"] = make_block(stem, stem, kernel=3, stride=1, expand=1, act=nn.ReLU, excite=False)
        channels = stem
        for number, stage in enumerate(STAGES, start=1):
            blocks = OrderedDict[str, nn.Module]()
            out, stride = rounded(stage.channels * self.width), stage.small_stride if self.small else stage.stride
            for block in range(1, int(arch[f"stage{number}.depth"]) + 1):
                name = f"stage{number}.block{block}"
                blocks[f"block{block}"] = make_block(
                    channels,
                    out,
                    kernel=int(arch[f"{name}.kernel"]),
                    stride=stride if block == 1 else 1,
                    expand=float(arch[f"{name}.expand"]),
                    act=stage.act,
                    excite=stage.excite,
                )
                channels = out
            net[f"stage{number}"] = nn.Sequential(blocks)
        net["expand"] = make_conv_norm(channels, expand, 1, act=nn.Hardswish)
        net["pool"] = nn.AdaptiveAvgPool2d(1)
        net["mix"] = nn.Conv2d(expand, last, 1, bias=False)
        net["act"] = nn.Hardswish()
        net["flatten"] = nn.Flatten()
        net["dropout"] = nn.Dropout(self.dropout)
        net["classifier"] = nn.Linear(last, self.classes)
        return nn.Sequential(net)


class Block(nn.Sequential):
    """Inverted residual: widen, filter every channel by itself, weigh the channels, narrow; add the input if it fits.

    Args:
        expand: width of the middle relative to `channels`; at 1 there is no widening convolution.
        excite: whether the channels are weighed (squeeze and excitation).
    """

    def __init__(
        self, channels: int, out: int, *, kernel: int, stride: int, expand: float, act: type[nn.Module], excite: bool
    ) -> None:
        middle = rounded(round(channels * expand))
        parts = OrderedDict[str, nn.Module]()
        if expand > 1:
            parts["expand"] = conv_norm(channels, middle, 1, act=act)
        parts["depthwise"] = conv_norm(middle, middle, kernel, stride=stride, groups=middle, act=act)
        if excite:
            parts["excite"] = Excite(middle)
        parts["project"] = conv_norm(middle, out, 1)
        super().__init__(parts)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for part in self:
            y = part(y)
        return x + y if self.shortcut else y


class Excite(nn.Sequential):
    """Squeeze and excitation: every channel is scaled by what a small network makes of all channel means."""

    def __init__(self, channels: int) -> None:
        squeezed = rounded(channels // 4)
        parts = OrderedDict[str, nn.Module]()
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["reduce"] = nn.Conv2d(channels, squeezed, 1)
        parts["act"] = nn.ReLU()
        parts["expand"] = nn.Conv2d(squeezed, channels, 1)
        parts["gate"] = nn.Hardsigmoid()
        super().__init__(parts)

    def forward(self, x: Tensor) -> Tensor:
        scale = x
        for part in self:
            scale = part(scale)
        return x * scale


def conv_norm(
    channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Module:
    """A convolution that keeps the image size up to its stride, BatchNorm and perhaps an activation."""
    parts = OrderedDict[str, nn.Module]()
    parts["conv"] = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    parts["norm"] = nn.BatchNorm2d(out)
    if act is not None:
        parts["act"] = act()
    return nn.Sequential(parts)


def rounded(channels: float) -> int:
    """The nearest multiple of 8, one more where that would take away over a tenth."""
    return int(_counts.rounded(channels))


make_block, make_conv_norm = reused(Block), reused(conv_norm)


def _initialise(net: nn.Module) -> nn.Module:
    """Convolutions from N(0, 2 / (outputs x kernel area)), the classifier from U(-1, 1) / sqrt(inputs), biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return net


def _check_whole(option: str, given: int | Sequence[int], odd: bool = False) -> None:
    values = [given] if isinstance(given, int) else list(given)
    if not values or len(set(values)) < len(values) or min(values) < 1 or (odd and any(v % 2 == 0 for v in values)):
        raise ConfigError(f"{option} takes {'odd' if odd else 'whole'} numbers from 1 on, none twice, not {given!r}")


__all__ = ["MobileNetV3"]
