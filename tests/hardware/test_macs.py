"""MACs as a metric: published values, without ever building weights."""

from __future__ import annotations

from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.hardware.macs import Macs


def test_published_values() -> None:
    family = MobileNetV3()
    assert Macs()(Candidate(family, family.space.largest)) == 566_170_656.0
    assert Macs()(Candidate(family, family.space.smallest)) == 121_278_672.0


def test_is_found_by_name_and_judges_structure_alone() -> None:
    metric = parts.make(("quality", "hardware"), "macs")
    assert metric == Macs() and metric.exact and metric.cheap and metric.unit == "MACs"
    family = MobileNetV3(classes=10, resolution=32, width=0.5)
    candidate = Candidate(family, family.space.smallest, seed=1)
    value = metric(candidate)
    assert isinstance(value, float) and "model" not in vars(candidate)
    assert value == metric(Candidate(family, family.space.smallest, seed=2))
