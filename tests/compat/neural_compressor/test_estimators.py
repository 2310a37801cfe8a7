"""What DyNAS predicts with: exact counts, and a metric learnt from results."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.compat.dynast.supernets import find
from hwnas.compat.neural_compressor.estimators import Count, learnt
from hwnas.errors import DataError, SpaceError

RESNET = find("ofa_resnet50")


def vectors(count, seed=0):
    rng = np.random.default_rng(seed)
    return [RESNET.vector(RESNET.space.sample(rng)) for _ in range(count)]


def test_counts_are_exact():
    ends = [RESNET.vector(RESNET.space.smallest), RESNET.vector(RESNET.space.largest)]
    assert Count(RESNET, "macs").predict(ends).tolist() == [962_192_128, 7_491_643_904]
    assert Count(RESNET, "params").predict(ends[0]).tolist() == [6_539_280]


def test_a_metric_is_learnt_from_its_values():
    macs = Count(RESNET, "macs")
    known, fresh = vectors(60), vectors(50, seed=1)
    values = {RESNET.from_vector(vector): macs.predict(vector)[0] / 1e9 for vector in known}
    guess = learnt(RESNET, "latency", values, seed=0).predict(fresh)
    assert np.corrcoef(guess, macs.predict(fresh) / 1e9)[0, 1] > 0.9


def test_a_few_results_are_too_few():
    values = {RESNET.from_vector(v): 1.0 for v in vectors(3)}
    with pytest.raises(DataError, match=r"3 results with latency are too few(.|\n)*run agent\.search"):
        learnt(RESNET, "latency", values, seed=0)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(SpaceError, match="has 29 entries"):
        Count(RESNET, "macs").predict([0, 1])
