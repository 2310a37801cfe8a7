import math

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._untrained import untrained
from hwnas.quality.jacob_cov import JacobCov
from probes import FULL, SMALL, cell, doubled, known, linear, needs_table, one

K = 1e-5


def formula(rows):
    values = np.linalg.eigvalsh(np.corrcoef(rows)).clip(0)
    return -float((np.log(values + K) + 1 / (values + K)).sum())


def test_of_a_linear_network_by_hand():
    """All gradients are alike: one eigenvalue is B, the others are 0."""
    expected = -(math.log(4 + K) + 1 / (4 + K)) - 3 * (math.log(K) + 1 / K)
    assert JacobCov(batch=4)(linear()) == pytest.approx(expected, rel=1e-6)


def test_of_uncorrelated_gradients():
    class Rows(nn.Module):
        """Its input gradient is another row of an orthogonal, centred matrix for every sample."""

        def forward(self, x):
            one = torch.tensor([1.0, -1.0])
            rows = torch.stack([torch.kron(a, b) for a in (one, one.abs()) for b in (one, one.abs())])[:3]
            return torch.stack([(x * rows).sum(1), x.square().sum(1) * 0], dim=1)

    candidate = one(Rows, lambda batch: torch.randn(batch, 4))
    assert JacobCov(batch=3)(candidate) == pytest.approx(-3 * (math.log(1 + K) + 1 / (1 + K)), rel=1e-9)


def test_formula_with_training_statistics():
    model = SMALL.build(FULL.arch).train()
    model.load_state_dict(untrained(FULL, "default"))
    (x,) = _probe.noise(FULL, JacobCov().settings()[0])
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert JacobCov()(FULL) == pytest.approx(formula(slope.flatten(1).double().numpy()), rel=1e-4)


class Words(nn.Module):
    """A network for ids, with positions."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 8), nn.Embedding(5, 8)
        self.norm, self.mix, self.head = nn.LayerNorm(8), nn.Linear(40, 16), nn.Linear(16, 3)

    def forward(self, ids):
        x = self.words(ids)
        x += self.places(torch.arange(5))
        return self.head(torch.tanh(self.mix(self.norm(x).flatten(1))))


def test_ids_are_differentiated_where_they_are_looked_up():
    candidate = one(Words, lambda batch: torch.randint(50, (batch, 5)))
    (ids,) = _probe.noise(candidate, JacobCov().settings()[0])
    model = candidate.model
    looked_up = model.words(ids).detach().requires_grad_()
    places = model.places(torch.arange(5)).detach()
    output = model.head(torch.tanh(model.mix(model.norm(looked_up + places).flatten(1))))
    (slope,) = torch.autograd.grad(output.sum(), looked_up)
    assert JacobCov()(candidate) == pytest.approx(formula(slope.flatten(1).double().numpy()), rel=1e-4)


def test_agrees_with_float64():
    assert JacobCov()(FULL) == pytest.approx(doubled(JacobCov())(FULL), rel=1e-3)


def test_leaves_inputs_without_gradients():
    candidate = Candidate(SMALL, FULL.code)
    candidate.batch(1)
    state = torch.get_rng_state()
    JacobCov()(candidate)
    assert torch.equal(state, torch.get_rng_state())
    assert not any(x.requires_grad for x in candidate.inputs)


# --- what cannot be judged ------------------------------------------------------------------------------------------


def test_ids_that_are_not_looked_up():
    class Counts(nn.Linear):
        def forward(self, ids):
            return super().forward(nn.functional.one_hot(ids, 6).sum(1).float())

    with pytest.raises(MetricError, match="takes no real numbers"):
        JacobCov()(one(lambda: Counts(6, 3), lambda batch: torch.randint(6, (batch, 5))))


def test_constant_gradients():
    with pytest.raises(MetricError, match="constant"):
        JacobCov()(one(lambda: nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), nn.Linear(1, 2)), grey))


def grey(batch):
    return torch.randn(batch, 1, 6, 6)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        JacobCov()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_one_input_cannot_be_compared():
    with pytest.raises(ConfigError, match="batch must be at least 2, not 1"):
        JacobCov(batch=1)


@needs_table
@pytest.mark.parametrize(
    ("index", "score", "spread"),
    known((-16.069, -16.066, -16.068, -16.056, -16.442), (0.015, 0.008, 0.004, 0.006, 0.065)),
)
def test_known_scores(index, score, spread):
    """Mean and deviation of three seeds of another implementation."""
    assert JacobCov()(cell(index)) == pytest.approx(score, abs=4 * spread)
