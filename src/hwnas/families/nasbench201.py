"""NAS-Bench-201 (Dong and Yang, 2020): one repeated cell of six edges, with the benchmark's table if given.

Node 0 is the input of a cell, node 3 its output; every node is the sum of one operation of each node before it. The
network is a stem, three stages of equal cells at C, 2C and 4C channels with a residual reduction between them, and a
head. The benchmark writes a cell as `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, node after node; `parse` and `spell`
translate. Its FLOPs are the MACs of all convolutions and of the classifier plus one per class for the classifier's
bias; a count of MACs alone is smaller by the number of classes.
"""

from __future__ import annotations

import csv
import functools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.errors import ConfigError, DataError, MetricError, SpaceError, nearest
from hwnas.space import Arch, Choice, Code, Space

OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
"""From least to most; the order of the benchmark's own numbers is another."""
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""(node, source), in the order of the architecture string."""


@dataclass(frozen=True)
class NasBench201(Family):
    """Cells of six edges with five operations each: 15,625 codes, one choice `node1.from0.op` per edge.

    The defaults build the benchmark's own network for CIFAR-10.

    Args:
        classes: outputs of the classifier.
        resolution: side of the input images in pixels; a multiple of 4.
        channels: C, the width of the first stage; the others have 2C and 4C.
        cells: per stage.
        table: a `.npz` or `.csv` file with what is known about the cells: a column `arch_str` or `arch` of architecture
            strings and columns of numbers, which the metric `quality.tabular` reads. With a table every code is a key
            of its own, since equal cells were trained more than once and have a row each.
    """

    classes: int = 10
    resolution: int = 32
    channels: int = 16
    cells: int = 5
    table: str | None = None

    scales: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {"resolution": 8, "channels": 4, "cells": 1}

    def __post_init__(self) -> None:
        for option in ("classes", "resolution", "channels", "cells"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option} must be at least 1, not {getattr(self, option)!r}")
        if self.resolution % 4:
            raise ConfigError(f"resolution is halved twice and must be a multiple of 4, not {self.resolution!r}")

    @property
    def name(self) -> str:
        return "nasbench201"

    @functools.cached_property
    def space(self) -> Space:
        return Space(self.name, tuple(Choice(_choice(node, source), OPERATIONS) for node, source in EDGES))

    def build(self, arch: Arch, /) -> nn.Module:
        return self._network({(node, source): (str(arch[_choice(node, source)]),) for node, source in EDGES})

    def supernet(self) -> nn.Module:
        """A network that holds all five operations on every edge, averaged in its forward pass.

        A tensor has the same name and shape here as in every cell that uses its operation.
        """
        return self._network(dict.fromkeys(EDGES, OPERATIONS))

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, self.resolution, self.resolution),)

    def canonical(self, code: Code, /) -> Code:
        """The smallest code of those that build this network but for parts that cannot matter.

        Operations without weights on a node that is always zero and edges that do not lead to the output become `none`,
        and nodes 1 and 2 are exchanged where no edge joins them. These rules are exact for trained networks too. The
        benchmark's own classes of equal cells (6,466 of them) are not: they take two uses of one convolution for two
        convolutions, and a convolution of zeros for zero, although its normalisation learns a constant.
        """
        code = self.space.canonical(code)
        if self.table is not None:
            return code
        ops = dict(zip(EDGES, code, strict=True))
        weightless = {OPERATIONS.index("skip_connect"), OPERATIONS.index("avg_pool_3x3")}
        for node, source in EDGES:
            silent = source > 0 and not any(ops[edge] for edge in EDGES if edge[0] == source)
            if silent and ops[node, source] in weightless:
                ops[node, source] = 0
        for node, source in reversed(EDGES):
            if node < 3 and not any(ops[edge] for edge in EDGES if edge[1] == node):
                ops[node, source] = 0
        live = tuple(ops.values())
        if live[2]:
            return live
        return min(live, (live[1], live[0], 0, live[3], live[5], live[4]))

    # --- the table --------------------------------------------------------------------------------------------------

    def value(self, column: str, code: Code, /) -> float:
        """What the table says about a cell, in the table's own unit (accuracies of this benchmark are per cent).

        Raises:
            ConfigError: there is no table, or it has no such column of numbers.
            DataError: the table cannot be used.
            MetricError: the table has no row or no value for this cell.
        """
        values = self.column(column)
        row = self._table[0].get(code)
        if row is None:
            raise MetricError(f"{self.table} has no row for {spell(code)}")
        if not np.isfinite(values[row]):
            raise MetricError(f"{self.table} has no {column!r} for {spell(code)}")
        return float(values[row])

    def column(self, name: str, /) -> NDArray[np.float64]:
        """One column of the table, in the order of its rows; NaN where nothing is known.

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
        """The row of every cell, and the columns of numbers."""
        if self.table is None:
            raise ConfigError(
                f"{self.name!r} was given no table",
                hint="set its option `table` to a .npz or .csv file of the benchmark",
            )
        path = Path(self.table)
        if path.suffix not in _READERS:
            raise ConfigError(f"table must be a .npz or .csv file, not {self.table!r}")
        if not path.is_file():
            raise ConfigError(f"table {self.table!r} does not exist")
        try:
            columns = _READERS[path.suffix](path)
            texts = next((columns[name] for name in ("arch_str", "arch") if name in columns), np.empty(0))
            if texts.dtype.kind != "U":
                raise ValueError("it has no column `arch_str` or `arch` of architecture strings")
            rows = {parse(str(text)): row for row, text in enumerate(texts)}
            if len(rows) < len(texts):
                raise ValueError(f"its {len(texts)} rows are about {len(rows)} different cells")
        except (ValueError, TypeError, OSError, EOFError, BadZipFile, csv.Error) as error:
            raise DataError(f"table {self.table!r} cannot be used: {error}") from error
        numbers = {
            name: column.astype(np.float64)
            for name, column in columns.items()
            if column.shape == texts.shape and column.dtype.kind in "iuf"
        }
        return rows, numbers

    # --- the network ------------------------------------------------------------------------------------------------

    def _network(self, ops: Mapping[tuple[int, int], Sequence[str]]) -> nn.Module:
        width = self.channels
        parts: dict[str, nn.Module] = {
            "stem": nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        }
        for stage in (1, 2, 3):
            if stage > 1:
                parts[f"reduction{stage - 1}"] = Reduction(width, 2 * width)
                width *= 2
            parts[f"stage{stage}"] = nn.Sequential(*(Cell(width, ops) for _ in range(self.cells)))
        parts["head"] = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, self.classes)
        )
        return nn.Sequential(OrderedDict(parts))


# --- the modules ----------------------------------------------------------------------------------------------------


class Cell(nn.Module):
    """Four nodes, of which the first is the input and the last the output."""

    def __init__(self, channels: int, ops: Mapping[tuple[int, int], Sequence[str]]) -> None:
        super().__init__()
        for node in (1, 2, 3):
            edges = {source: _edge(channels, ops[node, source]) for source in range(node)}
            self.add_module(f"node{node}", Node({source: edge for source, edge in edges.items() if edge is not None}))

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for node in self.children():
            values.append(node(values))
        return values[-1]


class Node(nn.Module):
    """The sum of the edges that lead to one node of a cell, or zero where there are none."""

    def __init__(self, edges: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.sources = tuple(edges)
        for source, edge in edges.items():
            self.add_module(f"from{source}", edge)

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        terms = [edge(values[source]) for source, edge in zip(self.sources, self.children(), strict=True)]
        return _total(terms) if terms else values[0] * 0


class Mixed(nn.ModuleDict):
    """Several operations side by side on one edge, averaged."""

    def forward(self, x: Tensor) -> Tensor:
        return _total([operation(x) for operation in self.values()]) / len(self)


class Reduction(nn.Module):
    """A residual block that halves the resolution; its shortcut has no normalisation."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.main = nn.Sequential(_relu_conv_norm(channels, out, 3, stride=2), _relu_conv_norm(out, out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(channels, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.main(x) + self.shortcut(x)
        return y


def _total(terms: Sequence[Tensor]) -> Tensor:
    return sum(terms[1:], terms[0])


def _relu_conv_norm(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=conv, norm=nn.BatchNorm2d(out)))


_MODULES: dict[str, Callable[[int], nn.Module]] = {
    "skip_connect": lambda channels: nn.Identity(),
    "avg_pool_3x3": lambda channels: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "nor_conv_1x1": lambda channels: _relu_conv_norm(channels, channels, 1),
    "nor_conv_3x3": lambda channels: _relu_conv_norm(channels, channels, 3),
}


def _edge(channels: int, ops: Sequence[str]) -> nn.Module | None:
    """One edge with its operation under the operation's name, so that names agree with those of the supernet."""
    modules = OrderedDict((op, _MODULES[op](channels)) for op in ops if op != "none")
    if len(ops) > 1:
        return Mixed(modules)
    return nn.Sequential(modules) if modules else None


# --- names and files ------------------------------------------------------------------------------------------------


def _choice(node: int, source: int) -> str:
    return f"node{node}.from{source}.op"


def parse(text: str) -> Code:
    """The code of an architecture string such as `|none~0|+|none~0|none~1|+|none~0|none~1|none~2|`.

    Raises:
        SpaceError: the text is not a cell of this benchmark.
    """
    code = tuple(OPERATIONS.index(op) for op in re.findall(r"\|(\w+)~", text) if op in OPERATIONS)
    if len(code) != len(EDGES) or spell(code) != text:
        raise SpaceError(f"{text!r} is no cell; one looks like {spell((0, 1, 2, 3, 4, 0))}; known: {OPERATIONS!r}")
    return code


def spell(code: Code) -> str:
    """The architecture string of a code, as the benchmark writes it."""
    words = {edge: f"{OPERATIONS[op]}~{edge[1]}|" for edge, op in zip(EDGES, code, strict=True)}
    return "+".join("|" + "".join(words[node, source] for source in range(node)) for node in (1, 2, 3))


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_csv(path: Path) -> dict[str, NDArray[np.generic]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = [row for row in csv.reader(file, strict=True) if row]
    return {name: _numbers_or_words(words) for name, *words in zip(header, *rows, strict=True)}


def _numbers_or_words(words: Sequence[str]) -> NDArray[np.generic]:
    """A column of a text file: numbers if every entry that is not empty is one."""
    try:
        return np.array([float(word or "nan") for word in words])
    except ValueError:
        return np.array(words)


_READERS: dict[str, Callable[[Path], dict[str, NDArray[np.generic]]]] = {".npz": _read_npz, ".csv": _read_csv}

__all__ = ["NasBench201", "parse", "spell"]
