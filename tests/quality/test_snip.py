import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._untrained import untrained, weighted
from hwnas.quality.snip import Snip
from probes import FULL, SMALL, cell, doubled, given, known, linear, needs_table


def test_of_a_linear_network_by_hand():
    weight, x, labels = given(linear(), Snip().settings()[0])
    error = torch.softmax(x @ weight.T, dim=1) - F.one_hot(labels, 3)
    assert Snip()(linear()) == pytest.approx(float((weight * (error.T @ x / 8)).abs().sum()), rel=1e-5)


def test_a_mask_of_ones_on_every_weight_gives_the_same():
    (setting,) = Snip().settings()
    tensors = untrained(FULL, "default")
    masks = {name: torch.ones_like(tensors[name], requires_grad=True) for name in weighted(FULL.model)}
    model = SMALL.build(FULL.arch).train()
    masked = {**tensors, **{name: tensors[name] * mask for name, mask in masks.items()}}
    logits = functional_call(model, masked, _probe.noise(FULL, setting))
    slopes = torch.autograd.grad(_probe.objective(FULL, logits, "loss"), list(masks.values()))
    assert Snip()(FULL) == pytest.approx(sum(float(slope.abs().sum()) for slope in slopes), rel=1e-4)


def test_agrees_with_float64():
    assert Snip()(FULL) == pytest.approx(doubled(Snip())(FULL), rel=1e-3)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Snip()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_no_inputs():
    with pytest.raises(ConfigError, match="batch must be at least 1, not 0"):
        Snip(batch=0)


@needs_table
@pytest.mark.parametrize(("index", "score", "spread"), known((124, 384, 62, 65.9, 2.5), (9, 5, 2, 3.9, 0.3)))
def test_known_scores(index, score, spread):
    """Mean and deviation of three seeds of another implementation."""
    assert Snip()(cell(index)) == pytest.approx(score, abs=2.5 * spread)
