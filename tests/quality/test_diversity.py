import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.families.nasbench201 import NasBench201
from hwnas.quality import _probe
from hwnas.quality._probe import Setting
from hwnas.quality._untrained import untrained
from hwnas.quality.diversity import Diversity, nuclear
from hwnas.space import Choice, Space

SMALL = NasBench201(channels=4, cells=1, resolution=8)


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network on vectors of six numbers."""

    made: Callable[[], nn.Module]
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, 6),)


def test_nuclear_norms_in_closed_form():
    assert nuclear(torch.eye(7)) == pytest.approx(7)  # its Frobenius norm is the root of 7
    u, v = torch.randn(5), torch.randn(9)
    assert nuclear(torch.outer(u, v)) == pytest.approx(float(u.norm() * v.norm()), rel=1e-3)
    kernel = torch.randn(8, 3, 3, 3)
    expected = float(torch.linalg.svdvals(kernel.flatten(1).double()).sum())
    assert nuclear(kernel) == pytest.approx(expected, rel=1e-9) == nuclear(kernel.flatten(1).T)


def test_nearly_square_normal_matrices_show_that_it_is_nuclear():
    matrix = torch.randn(200, 200)
    assert nuclear(matrix) / float(matrix.norm()) == pytest.approx(8 / (3 * math.pi) * 200**0.5, rel=0.02)


def test_one_linear_layer_in_closed_form():
    # R = z · Wx summed over the batch, so dR/dW = z xᵀ with x the sum of the inputs, a matrix of rank 1.
    on_trial = Candidate(One(lambda: nn.Linear(6, 5, bias=False)), (0,))
    setting = Setting(init="default", batch=4, objective="probe")
    (x,) = _probe.noise(on_trial, setting)
    weight = untrained(on_trial, "default")["weight"]
    output = torch.zeros(4, 5, requires_grad=True)
    (z,) = torch.autograd.grad(_probe.objective(on_trial, output, "probe"), output)
    expected = torch.linalg.svdvals(weight).sum() * z[0].norm() * x.sum(0).norm()
    reading = Diversity(batch=4, init="default")(on_trial)
    assert math.expm1(reading.value) == pytest.approx(float(expected), rel=1e-4)
    assert reading.details == {"layers": 1}


class Block(nn.Module):
    """A layer that calls itself attention, one that does not, and a head."""

    def __init__(self, named=True):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        if named:
            self.first.role = "attention"
        self.last.role = "head"

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


@pytest.mark.parametrize(("named", "layers"), [(True, 1), (False, 2)])
def test_every_layer_counts_once_in_its_role(named, layers):
    reading = Diversity(batch=4)(Candidate(One(lambda: Block(named)), (0,)))
    assert reading.details == {"layers": layers}


def test_a_layer_norm_at_the_end_leaves_no_rounding_noise():
    on_trial = Candidate(
        One(lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 8), nn.LayerNorm(8))), (0,)
    )
    single = Diversity(batch=4)(on_trial).value

    class Double(Diversity):
        def settings(self):
            return tuple(dataclasses.replace(setting, double=True) for setting in super().settings())

    assert Double(batch=4)(on_trial).value == pytest.approx(single, rel=1e-3)
    assert single > 0


def test_scale_of_a_weight_shows():
    def made(scale):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 20, bias=False), nn.ReLU(), nn.Linear(20, 3, bias=False))
        with torch.no_grad():
            model[0].weight.mul_(scale)
        return model

    one, three = (
        Diversity(batch=4, init="default")(Candidate(One(lambda s=s: made(s)), (0,))).value for s in (100, 300)
    )
    # The first weight and the second slope are three times as large.
    assert three - one == pytest.approx(2 * math.log(3), rel=1e-3)


def test_what_has_no_score():
    with pytest.raises(MetricError, match="no path leads"):
        Diversity()(Candidate(SMALL, (4, 0, 0, 0, 0, 0)))
    with pytest.raises(ConfigError, match="batch must be at least 1"):
        Diversity(batch=0)
