"""What tests of zero-cost scores share: networks made on the spot, the benchmark's cells, and a pass in float64."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.candidate import Candidate, Family
from hwnas.families.nasbench201 import NasBench201, parse
from hwnas.quality import _probe
from hwnas.space import Choice, Space

TABLES = (Path(__file__).parents[1] / ".." / "shared" / "data" / "zero_cost").resolve()
needs_table = pytest.mark.skipif(not (TABLES / "nasbench201.npz").is_file(), reason="the benchmark's table is not here")
SMALL = NasBench201(channels=4, cells=1, resolution=8)
FULL = Candidate(SMALL, (4, 3, 2, 1, 4, 4))
ANCHORS = (13714, 3558, 1, 284, 1835)
"""Cells for which the scores of another implementation are known: from the best to one of skip connections alone."""


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    drawn: Callable[[int], torch.Tensor] = lambda batch: torch.randn(batch, 6)
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (self.drawn(batch),)


def one(made, drawn=None):
    """A candidate out of what makes its network, and what draws its inputs."""
    return Candidate(One(made) if drawn is None else One(made, drawn), (0,))


def images(batch):
    return torch.randn(batch, 3, 6, 6)


def linear(bias=False):
    """y = W x with 6 inputs and 3 outputs."""
    return one(lambda: nn.Linear(6, 3, bias=bias))


def given(candidate, setting):
    """W, x and the labels of a linear candidate, in float64."""
    (x,) = _probe.noise(candidate, setting)
    weight = _probe.untrained(candidate, setting.init)["weight"].double()
    labels = _probe.labels(candidate, x.double() @ weight.T, setting.part)
    return weight, x.double(), labels


def doubled(metric):
    """The same score, in float64."""

    class Double(type(metric)):
        def settings(self):
            return tuple(dataclasses.replace(setting, double=True) for setting in super().settings())

    return Double(**{field.name: getattr(metric, field.name) for field in dataclasses.fields(metric)})


@functools.cache
def table():
    return np.load(TABLES / "nasbench201.npz", allow_pickle=False)


@functools.cache
def cell(index):
    """A cell of NAS-Bench-201 by the benchmark's own number."""
    return Candidate(NasBench201(), parse(str(table()["arch_str"][index])))


def known(*columns):
    """What is known of the five cells, row by row: the cell's number first."""
    return list(zip(ANCHORS, *columns, strict=True))
