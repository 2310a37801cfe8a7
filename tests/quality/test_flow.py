import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.candidate import Candidate, Family
from hwnas.errors import MetricError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.families.nasbench201 import NasBench201
from hwnas.quality._flow import flow, live
from hwnas.space import Choice, Space
from hwnas.testing.toys import SPACE, Toy


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    width: int = 4
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, self.width),)


def alive(made):
    return [row.name for row in live(Candidate(One(made), (0,))) if row.params]


class Attention(nn.Module):
    """Two tokens that look at each other; `explicit` writes out what the fused function does."""

    def __init__(self, explicit):
        super().__init__()
        self.norm = nn.LayerNorm(2)
        self.query, self.key, self.value, self.out = (nn.Linear(2, 2) for _ in range(4))
        self.explicit = explicit

    def forward(self, x):
        x = self.norm(x.view(-1, 2, 2))
        q, k, v = self.query(x), self.key(x), self.value(x)
        y = F.softmax(q @ k.mT, dim=-1) @ v if self.explicit else F.scaled_dot_product_attention(q, k, v)
        return self.out(y).flatten(1)


class Gated(nn.Module):
    """A gate, which is alive, beside a layer whose result is multiplied by zero, and one that nobody calls."""

    def __init__(self, squash):
        super().__init__()
        self.main, self.gate, self.zeroed, self.after, self.unused = (nn.Linear(4, 4) for _ in range(5))
        self.squash = squash

    def forward(self, x):
        zero = self.zeroed(x) * 0
        return self.main(x) * self.squash(self.gate(x)) + self.after(zero)


# --- what is alive --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explicit", [False, True])
def test_all_of_an_attention_is_alive(explicit):
    assert alive(lambda: Attention(explicit)) == ["norm", "query", "key", "value", "out"]


@pytest.mark.parametrize("squash", [nn.Sigmoid(), nn.Hardsigmoid(), torch.sigmoid])
def test_gates_live_and_what_meets_zeros_is_dead(squash):
    assert sorted(alive(lambda: Gated(squash))) == ["gate", "main"]


def test_deep_gates_and_attention_stay_in_range():
    deep = nn.Sequential(*(Gated(nn.Sigmoid()) for _ in range(60)), *(Attention(False) for _ in range(60)))
    assert len(alive(lambda: deep)) == 60 * 2 + 60 * 5


@pytest.mark.parametrize("family", [MobileNetV3(resolution=16, width=0.1), Toy()], ids=["mobilenetv3", "toy"])
def test_networks_without_dead_ends_are_alive_as_a_whole(family):
    candidate = Candidate(family, family.space.largest)
    assert live(candidate) == candidate.layers


def test_nothing_alive_is_told():
    with pytest.raises(MetricError, match="no path"):
        live(Candidate(NasBench201(channels=4, cells=1, resolution=8), (4, 4, 4, 0, 0, 0)))


def test_seeds_do_not_matter():
    one, two = (Candidate(Toy(), SPACE.smallest, seed) for seed in (1, 2))
    assert live(one) == live(two)


# --- what flows -----------------------------------------------------------------------------------------------------


def test_on_a_chain_all_layers_carry_the_same():
    made = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU6(), nn.Linear(8, 3), nn.Softsign())
    pairs, exponent = flow(Candidate(One(lambda: made), (0,)), "kaiming")
    first, second = (float((weight * slope).sum()) for weight, slope in pairs.values())
    assert exponent == 0 and list(pairs) == ["0.weight", "3.weight"]
    assert first == pytest.approx(second, rel=1e-12)
    assert all((weight >= 0).all() and weight.dtype == torch.float64 for weight, _ in pairs.values())
