import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality._untrained import untrained
from hwnas.quality.epe import Epe
from probes import FULL, SMALL, TABLES, cell, doubled, linear, needs_table, one

K = 1e-5


def test_of_a_linear_network_by_hand():
    """All gradients are alike: with 3 classes of 5 or 6 inputs, every entry of every class is log(1 + k)."""
    assert Epe(batch=16)(linear()) == pytest.approx((6 * 6 + 5 * 5 + 5 * 5) * math.log1p(K), rel=1e-6)


def by_class(rows, classes):
    logs = [np.log(np.abs(np.corrcoef(rows[label::classes])) + K) for label in range(classes)]
    return [each.sum() for each in logs], [each.sum() / len(each) for each in logs]


def test_formula_with_training_statistics():
    model = SMALL.build(FULL.arch).train()
    model.load_state_dict(untrained(FULL, "default"))
    (x,) = _probe.noise(FULL, Epe().settings()[0])
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    sums, _ = by_class(slope.flatten(1).double().numpy(), 4)  # 16 inputs are enough for 4 of 10 classes
    assert Epe()(FULL) == pytest.approx(float(np.abs(sums).sum()), rel=1e-3)


def test_more_than_a_hundred_classes_are_compared_with_one_another():
    candidate = one(lambda: nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 101)))
    (x,) = _probe.noise(candidate, Epe(batch=404).settings()[0])
    x.requires_grad_()
    (slope,) = torch.autograd.grad(candidate.model(x).sum(), x)
    _, means = by_class(slope.double().numpy(), 101)
    expected = sum(abs(a - b) for a in means for b in means) / 101
    assert Epe(batch=404)(candidate) == pytest.approx(expected, rel=1e-4)


def test_agrees_with_float64():
    assert Epe()(FULL) == pytest.approx(doubled(Epe())(FULL), rel=1e-2)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Epe()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_too_few_for_a_class():
    with pytest.raises(ConfigError, match="batch must be at least 4, not 3"):
        Epe(batch=3)


@pytest.mark.slow
@needs_table
@pytest.mark.skipif(not (TABLES / "suite_zero_nb201.npz").is_file(), reason="the published scores are not here")
def test_ranks_like_the_published_scores():
    """Those of NAS-Bench-Suite-Zero were made with real images and classes, so only ranks can agree."""
    from scipy.stats import spearmanr

    published = np.load(TABLES / "suite_zero_nb201.npz", allow_pickle=False)
    column = list(published["proxies"]).index("epe_nas")
    known, found = [], []
    for row in random.Random(0).sample(range(724), 40):
        try:
            found.append(Epe()(cell(int(published["cifar10_index"][row]))))
        except MetricError:
            continue
        known.append(published["cifar10_score"][row, column])
    assert spearmanr(known, found).statistic > 0.7
