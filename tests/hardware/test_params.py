"""Parameters as a metric: published values, shared and unused parameters, without ever building weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.hardware.params import Params
from hwnas.space import Arch, Choice, Space


def test_published_values() -> None:
    family = MobileNetV3()
    assert Params()(Candidate(family, family.space.largest)) == 7_664_760.0
    assert Params()(Candidate(family, family.space.smallest)) == 3_410_792.0


def test_is_found_by_name_and_judges_structure_alone() -> None:
    metric = parts.make(("quality", "hardware"), "params")
    assert metric == Params() and metric.exact and metric.cheap and metric.unit == ""
    family = MobileNetV3(classes=10, resolution=32, width=0.5)
    candidate = Candidate(family, family.space.smallest)
    assert isinstance(metric(candidate), float) and "model" not in vars(candidate)


@dataclass(frozen=True)
class Tied(Family):
    """Two linear layers that share one matrix, and a parameter that nothing uses."""

    @property
    def name(self) -> str:
        return "tied"

    @property
    def space(self) -> Space:
        return Space("tied", (Choice("width", (4, 8)),))

    def build(self, arch: Arch, /) -> nn.Module:
        width = int(arch["width"])
        net = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Linear(width, width))
        net[2].weight = net[0].weight
        net.register_parameter("unused", nn.Parameter(torch.zeros(3)))
        return net

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, int(arch["width"])),)


def test_shared_parameters_count_once_and_buffers_not_at_all() -> None:
    assert Params()(Candidate(Tied(), (1,))) == 8 * 8 + 8 + 2 * 8 + 8 + 3
