import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.families.nasbench201 import NasBench201
from hwnas.quality.linear_regions import LinearRegions
from hwnas.space import Choice, Space


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    width: int = 2
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, self.width),)


def candidate(made, width=2):
    return Candidate(One(made, width), (0,))


def star(lines):
    """So many lines through the origin of the plane."""
    model = nn.Sequential(nn.Linear(2, lines, bias=False), nn.ReLU(), nn.Linear(lines, 2))
    angle = torch.arange(lines) * torch.pi / lines
    model[0].weight.data = torch.stack([angle.cos(), angle.sin()], 1)
    return model


@pytest.mark.parametrize("lines", [1, 2, 3, 8])
def test_lines_through_the_origin_cut_the_plane_into_sectors(lines):
    assert LinearRegions(samples=1000, init="default")(candidate(lambda: star(lines))) == 2 * lines


def test_patterns_counted_by_hand():
    made = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    on_trial = candidate(lambda: made)
    (x,) = on_trial.batch(256)
    with torch.no_grad():
        first = made[0](x)
        second = made[2](F.relu(first))
    patterns = {tuple(row) for row in (torch.cat([first, second], 1) > 0).tolist()}
    assert LinearRegions(init="default")(on_trial) == len(patterns) < 256


def test_usual_networks_saturate():
    usual = Candidate(NasBench201(channels=4, cells=1, resolution=8), (4, 4, 4, 4, 4, 4))
    assert LinearRegions(samples=64)(usual) == 64


def test_networks_without_activations():
    with pytest.raises(MetricError, match="no activation"):
        LinearRegions()(candidate(lambda: nn.Linear(2, 2)))


def test_one_input_has_one_region():
    with pytest.raises(ConfigError, match="at least 2"):
        LinearRegions(samples=1)


def test_is_a_part():
    spec = {"quality.linear_regions": {"samples": 99}}
    assert parts.spec_of(parts.make("quality", {"linear_regions": {"samples": 99}})) == spec
