import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._probe import scores
from hwnas.quality.fisher import Fisher
from hwnas.quality.grad_norm import GradNorm
from hwnas.quality.snip import Snip
from hwnas.quality.zico import Zico, _ratio
from probes import FULL, SMALL, cell, doubled, given, known, linear, needs_table


def test_of_a_linear_network_by_hand():
    slopes = []
    for part in (0, 1):
        weight, x, labels = given(linear(), replace(Zico().settings()[0], part=part))
        error = torch.softmax(x @ weight.T, dim=1) - F.one_hot(labels, 3)
        slopes.append(error.T @ x / 8)
    both = torch.stack(slopes)
    expected = math.log(float((both.abs().mean(0) / both.std(0, correction=0)).sum()))
    assert Zico()(linear()) == pytest.approx(expected, rel=1e-3)


def test_equal_gradients_are_left_out():
    first, second = torch.tensor([3.0, 2.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])
    assert _ratio(first, second) == 2.0  # (3 + 1) / 2 over (3 - 1) / 2
    assert _ratio(second, second) == 0.0


def test_layers_without_gradients_are_skipped():
    dead, live = Candidate(SMALL, (3, 0, 0, 1, 0, 0)), Candidate(SMALL, (0, 0, 0, 1, 0, 0))
    # the convolution on a dead end adds layers without gradients
    assert len(list(dead.model.parameters())) > len(list(live.model.parameters()))
    assert Zico(init="kaiming")(dead) == Zico(init="kaiming")(live)


def test_equal_batches_have_no_score(monkeypatch):
    real = _probe.noise
    monkeypatch.setattr(_probe, "noise", lambda candidate, setting: real(candidate, replace(setting, part=0)))
    monkeypatch.setattr(_probe, "labels", lambda candidate, output, part=0: torch.zeros(8, dtype=torch.int64))
    with pytest.raises(MetricError, match="no weight has different gradients"):
        Zico()(linear())


def test_shares_its_first_batch_with_the_scores_of_one(monkeypatch):
    alone = [metric(FULL) for metric in (Zico(), Snip(), GradNorm(), Fisher())]
    passes = []
    real = _probe.functional_call
    monkeypatch.setattr(_probe, "functional_call", lambda *given: passes.append(1) or real(*given))
    together = scores(FULL, [Zico(), Snip(), GradNorm(), Fisher()])
    assert len(passes) == 2 and together == pytest.approx(alone, rel=1e-6)


def test_agrees_with_float64():
    assert Zico()(FULL) == pytest.approx(doubled(Zico())(FULL), rel=1e-2)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Zico()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_no_inputs():
    with pytest.raises(ConfigError, match="batch must be at least 1, not 0"):
        Zico(batch=0)


@needs_table
@pytest.mark.parametrize(("index", "score", "spread"), known((889, 847, 586, 217, 83.3), (9, 2, 3, 2, 1.6)))
def test_known_scores(index, score, spread):
    """Mean and deviation of three seeds of another implementation."""
    assert Zico()(cell(index)) == pytest.approx(score, abs=4 * spread)
