import pytest
import torch
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._untrained import untrained, weighted
from hwnas.quality.grad_norm import GradNorm
from probes import FULL, SMALL, cell, doubled, given, known, linear, needs_table


def test_of_a_linear_network_by_hand():
    weight, x, labels = given(linear(), GradNorm().settings()[0])
    error = torch.softmax(x @ weight.T, dim=1) - F.one_hot(labels, 3)
    assert GradNorm()(linear()) == pytest.approx(float((error.T @ x / 8).norm()), rel=1e-5)


def test_norms_are_taken_layer_by_layer():
    (setting,) = GradNorm().settings()
    model = SMALL.build(FULL.arch).train()
    model.load_state_dict(untrained(FULL, "default"))
    _probe.objective(FULL, model(*_probe.noise(FULL, setting)), "loss").backward()
    own = dict(model.named_parameters())
    expected = sum(float(own[name].grad.norm()) for name in weighted(model))
    assert GradNorm()(FULL) == pytest.approx(expected, rel=1e-4)


def test_agrees_with_float64():
    assert GradNorm()(FULL) == pytest.approx(doubled(GradNorm())(FULL), rel=1e-3)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        GradNorm()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_no_inputs():
    with pytest.raises(ConfigError, match="batch must be at least 1, not 0"):
        GradNorm(batch=0)


@needs_table
@pytest.mark.parametrize(
    ("index", "score", "spread"), known((62.1, 208.1, 29.2, 33.8, 1.61), (4.8, 1.6, 0.8, 2.9, 0.19))
)
def test_known_scores(index, score, spread):
    """Mean and deviation of three seeds of another implementation."""
    assert GradNorm()(cell(index)) == pytest.approx(score, abs=2.5 * spread)
