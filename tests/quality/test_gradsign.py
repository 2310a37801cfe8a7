import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._untrained import untrained, weighted
from hwnas.quality.gradsign import Gradsign
from probes import FULL, SMALL, cell, doubled, given, known, linear, needs_table, one


def test_of_a_linear_network_by_hand():
    """The gradient of a sample is (p - y) x: negative at the label's row, positive elsewhere, times the input."""
    _, x, labels = given(linear(), Gradsign().settings()[0])
    signs = (1 - 2 * F.one_hot(labels, 3))[:, :, None] * x.sign()[:, None, :]
    assert Gradsign()(linear()) == float(signs.sum(0).abs().sum())


@pytest.mark.parametrize("code", [(4, 4, 4, 4, 4, 4), (1, 4, 3, 2, 0, 3)])
def test_is_a_loop_over_batches_of_one(code):
    candidate = Candidate(SMALL, code)
    model = SMALL.build(candidate.arch).train()
    model.load_state_dict(untrained(candidate, "default"))
    (setting,) = Gradsign().settings()
    (x,) = _probe.noise(candidate, setting)
    labels = _probe.labels(candidate, model(x))
    own = [dict(model.named_parameters())[name] for name in weighted(model)]
    signs = [torch.zeros_like(weight) for weight in own]
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), labels[i : i + 1])
        for total, slope in zip(signs, torch.autograd.grad(loss, own, materialize_grads=True), strict=True):
            total += slope.sign()
    assert Gradsign()(candidate) == pytest.approx(sum(float(total.abs().sum()) for total in signs), rel=1e-3)


def test_the_scale_of_the_loss_does_not_matter(monkeypatch):
    before = Gradsign()(FULL)
    real = _probe.objective
    monkeypatch.setattr(_probe, "objective", lambda *given: 4 * real(*given))
    assert Gradsign()(FULL) == before


def test_samples_that_are_alike_agree_in_everything(monkeypatch):
    monkeypatch.setattr(_probe, "labels", lambda *given: torch.zeros(8, dtype=torch.int64))
    alike = one(lambda: nn.Linear(6, 3), lambda batch: torch.rand(batch, 6) + 0.1)
    assert Gradsign()(alike) == 8 * 18


def test_agrees_with_float64():
    assert Gradsign()(FULL) == pytest.approx(doubled(Gradsign())(FULL), rel=1e-3)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Gradsign()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_one_sample_cannot_disagree():
    with pytest.raises(ConfigError, match="batch must be at least 2, not 1"):
        Gradsign(batch=1)


@needs_table
@pytest.mark.parametrize(("index", "score"), known((2.336e6, 1.868e6, 1.755e6, 2.206e5, 1.621e5)))
def test_known_scores(index, score):
    """Means of three seeds of another implementation, which deviate by up to 0.5 %."""
    assert Gradsign()(cell(index)) == pytest.approx(score, rel=0.01)
