import copy
import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.families.bert import Bert
from hwnas.families.nasbench201 import NasBench201
from hwnas.families.vit import Vit
from hwnas.progress import silent
from hwnas.quality.dss import Dss
from hwnas.space import Choice, Space

VIT = Vit(classes=4, resolution=8, patch=4, depths=(1, 2), widths=(16,), ratios=(1, 2), heads=(1, 2), head_width=8)
BERT = Bert(vocabulary=50, length=8, layers=(1, 2), widths=(16,), heads=(2,), hiddens=(16, 32), head_width=8)


class Attention(nn.Linear):
    role = "attention"


class Mlp(nn.Linear):
    role = "mlp"


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    shape: tuple[int, ...]
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, *self.shape),)


def candidate(made, *shape):
    return Candidate(One(made, shape), (0,))


def own(made, *shape, objective="sum"):
    return Dss(objective=objective, init="default")(candidate(made, *shape))


def nuclear(matrix):
    return float(np.linalg.svd(matrix.detach().double().numpy(), compute_uv=False).sum())


# --- closed forms ---------------------------------------------------------------------------------------------------


def test_diversity_of_one_layer():
    """y = W x with R = sum y has the gradient 1 x^T, of rank one: |dR/dW|_* = sqrt(outputs) |x|, and x is all ones."""
    layer = Attention(6, 4, bias=False)
    reading = own(lambda: nn.Sequential(layer), 6)
    assert reading.value == pytest.approx(nuclear(layer.weight.abs()) * math.sqrt(4) * math.sqrt(6), rel=1e-9)
    assert reading.details == {"diversity": reading.value, "saliency": 0.0}


def test_attention_is_diverse_and_the_rest_is_salient():
    """Also where a layer of the feed-forward part is square, and where nobody says a role."""
    first, second, third = Attention(6, 5), Mlp(5, 5), nn.Linear(5, 3)
    made = nn.Sequential(first, second, third)
    reading = own(lambda: made, 6)
    one, two, three = (layer.weight.detach().abs().double() for layer in made)
    bias_one, bias_two = (layer.bias.detach().abs().double() for layer in made[:2])
    x = one.sum(1) + bias_one
    y = two @ x + bias_two
    back = three.sum(0)
    slope = torch.outer(two.T @ back, torch.ones(6, dtype=torch.float64))
    assert reading.details["diversity"] == pytest.approx(nuclear(one) * nuclear(slope), rel=1e-9)
    assert reading.details["saliency"] == pytest.approx(float(back @ two @ x + (three @ y).sum()), rel=1e-9)
    assert reading.value == pytest.approx(sum(reading.details.values()))


def test_signs_do_not_matter():
    def made():
        return nn.Sequential(Attention(6, 5), nn.LayerNorm(5), nn.GELU(), Mlp(5, 3))

    def turned():
        model = made()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(torch.randn_like(parameter).sign())
        return model

    assert own(made, 6).value == own(turned, 6).value


def test_shared_weights_count_once():
    layer = Attention(5, 5, bias=False)
    once = own(lambda: nn.Sequential(layer), 5).value
    twice = own(lambda: nn.Sequential(layer, layer), 5).value
    weight = layer.weight.detach().abs().double()
    ones = torch.ones(5, dtype=torch.float64)
    slope = torch.outer(ones, weight @ ones) + torch.outer(weight.T @ ones, ones)
    assert once == pytest.approx(nuclear(weight) * 5, rel=1e-9)
    assert twice == pytest.approx(nuclear(weight) * nuclear(slope), rel=1e-9)


def test_the_sum_of_a_layer_norm_says_nothing_and_a_probe_does():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = Attention(6, 8), Mlp(8, 8)

        def forward(self, x):
            return F.layer_norm(self.two(F.gelu(self.one(x))), (8,))

    try:
        noise = own(Normed, 6, objective="sum").value
    except MetricError:  # nothing but zeros
        noise = 0.0
    assert noise < 1e-9
    assert own(Normed, 6, objective="probe").value > 0.1


# --- Transformers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [VIT, BERT], ids=["vit", "bert"])
def test_transformers_have_both_parts_and_grow(family):
    small, large = (Dss()(Candidate(family, code)) for code in (family.space.smallest, family.space.largest))
    assert min(small.details.values()) > 0
    assert large.details["diversity"] > small.details["diversity"]
    assert large.value > small.value


def test_attention_is_four_matrices_per_layer():
    model = Candidate(VIT, VIT.space.largest).model
    roles = VIT.roles(model)
    assert list(roles.values()).count("attention") == 4 * 2


def test_leaves_everything_as_it_was():
    on_trial = Candidate(VIT, VIT.space.largest)
    before = copy.deepcopy(on_trial.model.state_dict())
    state = torch.get_rng_state()
    assert Dss()(on_trial) == Dss()(Candidate(VIT, on_trial.code))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in on_trial.model.state_dict().items())


# --- what cannot be judged ------------------------------------------------------------------------------------------


def test_families_without_attention_are_told_before_the_search():
    with pytest.raises(ConfigError, match="attention"):
        Dss(family=NasBench201()).prepare(silent)
    Dss(family=VIT).prepare(silent)


def test_networks_without_attention():
    with pytest.raises(MetricError, match="attention"):
        own(lambda: nn.Sequential(nn.Linear(4, 4), Mlp(4, 4)), 4)


def test_outputs_without_weights():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(4, 4)

        def forward(self, x):
            return x + 0 * self.attention(x)

    with pytest.raises(MetricError, match="does not depend"):
        own(Deaf, 4)


def test_options():
    with pytest.raises(ConfigError, match="probe"):
        Dss(objective="loss")


def test_is_a_part():
    assert parts.spec_of(parts.make("quality", {"dss": {"objective": "sum"}})) == {"quality.dss": {"objective": "sum"}}
