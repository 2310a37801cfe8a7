import math

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.quality.l2_norm import L2Norm
from probes import SMALL, TABLES, cell, linear, needs_table, one


def test_of_known_weights():
    def made():
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        with torch.no_grad():
            model[0].weight.fill_(0.5)
            model[3].weight.fill_(2.0)
        return model

    assert L2Norm()(one(made)) == pytest.approx(0.5 * math.sqrt(24) + 2 * math.sqrt(8))


def test_normal_weights_have_the_length_of_their_number():
    wide = one(lambda: nn.Linear(6, 5000))
    assert L2Norm(init="normal")(wide) == pytest.approx(math.sqrt(30_000), rel=0.02)
    assert L2Norm(init="kaiming")(wide) == pytest.approx(math.sqrt(30_000 * 2 / 6), rel=0.02)


def test_biases_do_not_count():
    assert L2Norm(init="kaiming")(linear(bias=True)) == L2Norm(init="kaiming")(linear())


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        L2Norm()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


@needs_table
@pytest.mark.skipif(not (TABLES / "suite_zero_nb201.npz").is_file(), reason="the published scores are not here")
def test_known_scores():
    """One seed of zero-cost NAS, as published for NAS-Bench-Suite-Zero."""
    published = np.load(TABLES / "suite_zero_nb201.npz", allow_pickle=False)
    column = list(published["proxies"]).index("l2_norm")
    for row in range(0, 700, 100):
        index = int(published["cifar10_index"][row])
        try:
            score = L2Norm()(cell(index))
        except MetricError:
            continue  # a cell without a path
        assert score == pytest.approx(published["cifar10_score"][row, column], rel=0.01)
