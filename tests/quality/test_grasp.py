import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._probe import twice_differentiable
from hwnas.quality._untrained import untrained, weighted
from hwnas.quality.grasp import Grasp
from probes import FULL, SMALL, doubled, given, images, linear, one


def test_of_a_linear_network_by_hand():
    """With P = softmax(x W^T): g = (P - Y)^T x / B, and H g = dP^T x / B where dP = P (Z - sum P Z), Z = x g^T."""
    weight, x, labels = given(linear(), Grasp().settings()[0])
    chance = torch.softmax(x @ weight.T, dim=1)
    slope = (chance - F.one_hot(labels, 3)).T @ x / 8
    moved = x @ slope.T
    bend = (chance * (moved - (chance * moved).sum(1, keepdim=True))).T @ x / 8
    assert Grasp()(linear()) == pytest.approx(-float((weight * bend).sum()), rel=1e-5)


def smooth():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Tanh(), nn.Flatten(), nn.Linear(80, 4))


def gated():
    """torch's own hard sigmoid has no second derivative."""
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Hardsigmoid(), nn.Flatten(), nn.Linear(80, 4))


@pytest.mark.parametrize("made", [smooth, gated])
def test_is_the_change_of_the_gradient_along_itself(made, monkeypatch):
    """H g is the difference of gradients at weights moved a little along the gradient, forth and back."""
    setting = replace(Grasp().settings()[0], double=True)
    candidate = one(made, images)
    names, (weights, loss) = weighted(candidate.model), twice_differentiable(candidate, setting)
    slopes = torch.autograd.grad(loss, weights)

    def pulled(step):
        moved = [weight.detach() + step * slope for weight, slope in zip(weights, slopes, strict=True)]
        tensors = {**untrained(candidate, "default"), **dict(zip(names, moved, strict=True))}
        monkeypatch.setattr(_probe, "untrained", lambda *given: tensors)
        again, loss = twice_differentiable(candidate, setting)
        monkeypatch.undo()
        return torch.autograd.grad(loss, again)

    bends = [(above - below) / 2e-4 for above, below in zip(pulled(1e-4), pulled(-1e-4), strict=True)]
    expected = -sum(float((weight.detach() * bend).sum()) for weight, bend in zip(weights, bends, strict=True))
    assert doubled(Grasp())(candidate) == pytest.approx(expected, rel=1e-5)


def test_agrees_with_float64():
    assert Grasp()(FULL) == pytest.approx(doubled(Grasp())(FULL), rel=1e-2)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.norm, self.head = nn.Linear(6, 18), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        q, k, v = self.qkv(x)[:, None].chunk(3, dim=-1)
        return self.head(self.norm(F.scaled_dot_product_attention(q, k, v)[:, 0]).mean(1))


def test_attention_is_differentiated_twice():
    candidate = one(Attention, lambda batch: torch.randn(batch, 5, 6))
    assert math.isfinite(Grasp()(candidate))
    assert Grasp()(candidate) == pytest.approx(doubled(Grasp())(candidate), rel=1e-2)


def test_leaves_everything_as_it_was():
    candidate = Candidate(SMALL, FULL.code)
    before = {name: tensor.clone() for name, tensor in candidate.model.state_dict().items()}
    state = torch.get_rng_state()
    assert Grasp()(candidate) == Grasp()(candidate)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in candidate.model.state_dict().items())
    assert all(parameter.grad is None for parameter in candidate.model.parameters())


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Grasp()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_a_network_without_weights():
    with pytest.raises(MetricError, match="depends on no convolution or linear weight"):
        Grasp()(one(nn.Identity))


def test_no_inputs():
    with pytest.raises(ConfigError, match="batch must be at least 1, not 0"):
        Grasp(batch=0)
