"""NAS-Bench-Macro (Su et al., 2021): eight layers of three operations, with the benchmark's table if given.

The stem gives C channels; stages of 2, 3 and 3 layers halve the image and double the channels in their first layer. The
benchmark writes a network as eight digits, such as `22212202`; `parse` and `spell` translate. Its FLOPs are the MACs of
convolutions and classifier, as ours.
"""

# Shape letters: N codes, G choices (the layers), R runs of the training.

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.codes import Codes
from hwnas.errors import ConfigError, DataError, MetricError, SpaceError, nearest
from hwnas.families._counts import Tally
from hwnas.space import Arch, Choice, Code, Space
from hwnas.tables import Cells, Sheet, read

OPERATIONS = ("identity", "mbconv_e3_k3", "mbconv_e6_k5")
"""In the order of the benchmark's digits."""
SIZES = (None, (3, 3), (6, 5))
"""How many times wider than its input an operation is inside, and its kernel."""
STAGES = (2, 3, 3)
"""Layers of each stage."""
FIRST = tuple(sum(STAGES[:stage]) for stage in range(len(STAGES)))
"""The first layer of each stage, from 0."""
LAYERS, LAST = sum(STAGES), 1280
"""Choices, and channels of the last convolution."""


@dataclass(frozen=True)
class NasBenchMacro(Family):
    """Inverted residual blocks or nothing in eight layers: 6,561 codes of 3,969 networks, one choice `layer1.op` each.

    The defaults build the benchmark's own network for CIFAR-10.

    Args:
        classes: outputs of the classifier.
        resolution: side of the input images in pixels; a multiple of 8.
        channels: C, the width of the stem; the stages have 2C, 4C and 8C.
        table: a `.npz` or `.csv` file with what is known about the networks, which the metric `quality.tabular` reads:
            a column `arch_str` or `arch` of eight digits, or a matrix `arch` of eight columns, and columns of numbers.
            A matrix of numbers is a column of its rows' means under its own name (the accuracies of three runs), and
            its columns are there as name0, name1 …. Rows of one network are one: its values are their means.
    """

    classes: int = 10
    resolution: int = 32
    channels: int = 32
    table: str | None = None

    scales: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {"resolution": 8, "channels": 2}

    def __post_init__(self) -> None:
        for option in ("classes", "resolution", "channels"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option} must be at least 1, not {getattr(self, option)!r}")
        if self.resolution % 8:
            raise ConfigError(f"resolution is halved three times and must be a multiple of 8, not {self.resolution!r}")

    @property
    def name(self) -> str:
        return "nasbenchmacro"

    @functools.cached_property
    def space(self) -> Space:
        return Space(self.name, tuple(Choice(f"layer{layer}.op", OPERATIONS) for layer in range(1, LAYERS + 1)))

    def build(self, arch: Arch, /) -> nn.Module:
        return self._network([(str(arch[choice.name]),) for choice in self.space.choices])

    def without_shortcuts(self, arch: Arch, /) -> nn.Module:
        """The network without the additions in its blocks; an identity is a layer that is not there, and stays so."""
        return self._network([(str(arch[choice.name]),) for choice in self.space.choices], shortcuts=False)

    def supernet(self) -> nn.Module:
        """A network that holds all three operations in every layer, averaged in its forward pass.

        A tensor has the same name and shape here as in every network that uses its operation.
        """
        return self._network([OPERATIONS] * LAYERS)

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, self.resolution, self.resolution),)

    def canonical(self, code: Code, /) -> Code:
        """Identities after the first layer of a stage do nothing, so they stand at its end: 3,969 codes are left."""
        code = self.space.canonical(code)
        own: list[int] = []
        for first, count in zip(FIRST, STAGES, strict=True):
            working = [op for op in code[first + 1 : first + count] if op]
            own += [code[first], *working, *[0] * (count - 1 - len(working))]
        return tuple(own)

    def counts(self, codes_NG: Codes, /) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters of many codes, N each, by formula: exactly those of the networks themselves."""
        tally, channels, side = Tally(len(codes_NG)), self.channels, self.resolution
        tally.conv(3, channels, 3, side)
        for layer, op_N in enumerate(codes_NG.T):
            stride = 2 if layer in FIRST else 1
            out = channels * stride
            tally.conv(channels, out, 1, side // stride, on=(op_N == 0) * (stride - 1))
            for op, (expand, kernel) in enumerate(filter(None, SIZES), start=1):
                middle, on_N = channels * expand, (op_N == op).astype(np.int64)
                tally.conv(channels, middle, 1, side, on=on_N)
                tally.conv(middle, middle, kernel, side // stride, groups=middle, on=on_N)
                tally.conv(middle, out, 1, side // stride, on=on_N)
            channels, side = out, side // stride
        tally.conv(channels, LAST, 1, side)
        tally.linear(LAST, self.classes)
        return tally.macs, tally.params

    # --- the table --------------------------------------------------------------------------------------------------

    def value(self, column: str, code: Code, /) -> float:
        """What the table says about a network, in the table's own unit (accuracies of this benchmark are per cent).

        Raises:
            ConfigError: there is no table, or it has no such column of numbers.
            DataError: the table cannot be used.
            MetricError: the table has no row or no value for this network.
        """
        return float(self.values(column, np.array([self.space.check(code)], dtype=np.int64))[0])

    def values(self, column: str, codes_NG: Codes, /) -> NDArray[np.float64]:
        """The same for many codes at once: N."""
        known, (rows, _) = self.column(column), self._table
        own = [self.canonical(tuple(code)) for code in codes_NG.tolist()]
        value_N = np.array([known[rows[code]] if code in rows else math.nan for code in own], dtype=np.float64)
        for place in np.flatnonzero(np.isnan(value_N)).tolist():
            lack = repr(column) if own[place] in rows else "row"
            raise MetricError(f"{self.table} has no {lack} for {spell(own[place])}")
        return value_N

    def column(self, name: str, /) -> NDArray[np.float64]:
        """One column, a value per listed network in the order of their first rows; NaN where nothing is known.

        Raises:
            ConfigError: there is no table, or it has no such column of numbers.
            DataError: the table cannot be used.
        """
        columns = self._table[1]
        if name not in columns:
            raise ConfigError(f"{self.table} has no column of numbers named {name!r}; {nearest(name, columns)}")
        return columns[name]

    @functools.cached_property
    def _table(self) -> tuple[dict[Code, int], dict[str, NDArray[np.float64]]]:
        """The place of every listed network, and the columns of numbers by place."""
        if self.table is None:
            raise ConfigError(
                f"{self.name!r} was given no table",
                hint="set its option `table` to a .npz or .csv file of the benchmark",
            )
        sheet = read(self.table)
        try:
            codes, described = _described(sheet)
        except SpaceError as error:
            raise DataError(f"table {self.table!r} cannot be used: {error}") from error
        listed = [self.canonical(code) for code in codes]
        rows = {code: place for place, code in enumerate(dict.fromkeys(listed))}
        found = {name: _numbers(cells) for name, cells in sheet.columns.items() if name not in described}
        numbers = {name: column for name, column in found.items() if column is not None}
        for name, group in sheet.groups.items():
            if numbers.keys() >= set(group):
                numbers.setdefault(name, _means(np.array([numbers[own] for own in group])))
        place_N = np.array([rows[code] for code in listed])
        return rows, {name: _per_network(column, place_N, len(rows)) for name, column in numbers.items()}

    # --- the network ------------------------------------------------------------------------------------------------

    def _network(self, ops: Iterable[tuple[str, ...]], shortcuts: bool = True) -> nn.Module:
        channels = self.channels
        parts: dict[str, nn.Module] = {"stem": _conv_norm(3, channels, 3, act=True)}
        for layer, own in enumerate(ops):
            stride = 2 if layer in FIRST else 1
            modules = OrderedDict((op, _operation(op, channels, stride, shortcuts)) for op in own)
            parts[f"layer{layer + 1}"] = Mixed(modules) if len(own) > 1 else nn.Sequential(modules)
            channels *= stride
        parts["head"] = _conv_norm(channels, LAST, 1, act=True)
        parts["classifier"] = Classifier(LAST, self.classes)
        return nn.Sequential(OrderedDict(parts))


# --- the modules ----------------------------------------------------------------------------------------------------


class Mixed(nn.ModuleDict):
    """Several operations side by side in one layer, averaged."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([operation(x) for operation in self.values()]).mean(dim=0)


class Block(nn.Sequential):
    """Inverted residual: widen, filter every channel by itself, narrow; add the input if it fits."""

    def __init__(self, channels: int, *, expand: int, kernel: int, stride: int, shortcut: bool) -> None:
        middle, out = channels * expand, channels * stride
        parts = OrderedDict[str, nn.Module]()
        parts["expand"] = _conv_norm(channels, middle, 1, act=True)
        parts["depthwise"] = _conv_norm(middle, middle, kernel, stride=stride, groups=middle, act=True)
        parts["project"] = _conv_norm(middle, out, 1)
        super().__init__(parts)
        self.shortcut = shortcut and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for part in self:
            y = part(y)
        return x + y if self.shortcut else y


class Classifier(nn.Sequential):
    """Average pooling and a linear layer."""

    role: ClassVar[str] = "head"

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(channels, classes))
        )


def _operation(op: str, channels: int, stride: int, shortcuts: bool) -> nn.Module:
    """One layer; where the image is halved, an identity is a convolution."""
    size = SIZES[OPERATIONS.index(op)]
    if size is not None:
        expand, kernel = size
        return Block(channels, expand=expand, kernel=kernel, stride=stride, shortcut=shortcuts)
    return _conv_norm(channels, channels * stride, 1, stride=stride) if stride > 1 else nn.Identity()


def _conv_norm(
    channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = False
) -> nn.Module:
    parts = OrderedDict[str, nn.Module]()
    parts["conv"] = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    parts["norm"] = nn.BatchNorm2d(out)
    if act:
        parts["act"] = nn.ReLU()
    return nn.Sequential(parts)


# --- names and files ------------------------------------------------------------------------------------------------


def parse(text: str) -> Code:
    """The code of eight digits such as `22212202`: 0 is the identity.

    Raises:
        SpaceError: the text is no network of this benchmark.
    """
    if len(text) != LAYERS or set(text) - set("012"):
        raise SpaceError(f"{text!r} is no network; one has {LAYERS} digits, each 0, 1 or 2, such as 22212202")
    return tuple(map(int, text))


def spell(code: Iterable[Any]) -> str:
    """The digits of a code, as the benchmark writes it."""
    return "".join(map(str, code))


def _described(sheet: Sheet) -> tuple[list[Code], set[str]]:
    """The networks of a table's rows, and the columns that say so."""
    name = next((name for name in ("arch_str", "arch") if name in sheet.names), None)
    if name is None:
        raise SpaceError("it has no column `arch_str` or `arch` of architectures")
    columns = [sheet.columns[own] for own in sheet.groups.get(name, (name,))]
    # Read as numbers, digits have lost the zeros in front.
    texts = [spell(row) if len(row) > 1 else str(row[0]).zfill(LAYERS) for row in zip(*columns, strict=True)]
    return [parse(text) for text in texts], {"arch_str", "arch", *sheet.groups.get("arch", ())}


def _numbers(cells: Cells) -> NDArray[np.float64] | None:
    """A column of numbers, NaN where nothing is known; None if it holds words."""
    if any(isinstance(cell, str) for cell in cells):
        return None
    return np.array([math.nan if cell is None else cell for cell in cells], dtype=np.float64)


def _means(values_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of what is known in every column: N; NaN where that is nothing."""
    known_RN = np.isfinite(values_RN)
    times_N = known_RN.sum(axis=0)
    sums_N = np.where(known_RN, values_RN, 0.0).sum(axis=0)
    return np.where(times_N > 0, sums_N / np.maximum(times_N, 1), math.nan)


def _per_network(column_N: NDArray[np.float64], place_N: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """The mean of what is known about each network; NaN where that is nothing."""
    known_N = np.isfinite(column_N)
    sums = np.bincount(place_N[known_N], weights=column_N[known_N], minlength=count)
    times = np.bincount(place_N[known_N], minlength=count)
    return np.where(times > 0, sums / np.maximum(times, 1), math.nan)


__all__ = ["NasBenchMacro", "parse", "spell"]
