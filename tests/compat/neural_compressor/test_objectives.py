"""Directions by name, the Pareto front, and one number of several."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwnas.compat.neural_compressor import objectives
from hwnas.compat.neural_compressor.objectives import Scale, directions, find_pareto_front, higher_is_better
from hwnas.errors import ConfigError, MetricError

UP = ("acc", "accuracy", "top1", "Top-1 Acc (%)", "accuracy_top1", "bleu", "val_f1", "mAP", "fps", "throughputMean")
DOWN = ("latency", "lat", "latency_ms", "params", "Model Parameters", "MACs", "model_size", "loss", "energy", "FLOPs")
TURNED = ("top1_error", "accuracyLoss", "bleu_drop", "Errors")
UNCLEAR = ("zap", "", "time_to_accuracy", "42")


def test_names_tell_which_way_is_better():
    assert [higher_is_better(name) for name in UP] == [True] * len(UP)
    assert [higher_is_better(name) for name in DOWN + TURNED] == [False] * len(DOWN + TURNED)
    assert [higher_is_better(name) for name in UNCLEAR] == [None] * len(UNCLEAR)


def test_the_user_decides_first():
    assert directions(["acc", "latency"], 2, None) == [True, False]
    assert directions(["acc", "latency"], 2, [False, True]) == [False, True]
    assert directions(["zap"], 1, [False]) == [False]
    assert directions(None, 1, None) == [True]


@pytest.mark.parametrize(
    ("names", "count", "given", "told"),
    [
        (["acc", "zap"], 2, None, r"for zap\n.*\['acc', 'zap'\]"),
        (None, 2, None, "2 numbers without names"),
        (["acc"], 1, [True, False], "2 entries and there are 1 metrics"),
    ],
)
def test_what_cannot_be_known_is_asked_for(names, count, given, told):
    with pytest.raises(ConfigError, match=told):
        directions(names, count, given)


def dominated_by_definition(rows):
    better = [[(a >= b).all() and (a > b).any() for a in rows] for b in rows]
    first = {tuple(row): index for index, row in reversed(list(enumerate(rows)))}
    return [i for i, row in enumerate(rows) if not any(better[i]) and first[tuple(row)] == i]


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_front_is_what_nothing_dominates(columns):
    rng = np.random.default_rng(columns)
    for _ in range(30):
        rows = rng.integers(5, size=(20, columns)).astype(float)
        assert find_pareto_front(rows) == dominated_by_definition(rows)


def test_rows_that_are_not_finite_are_on_no_front():
    assert find_pareto_front([[np.nan, 9], [1, np.inf], [1, 1]]) == [2]
    assert find_pareto_front([[np.nan, 9]]) == []
    with pytest.raises(ConfigError, match="points x metrics"):
        find_pareto_front([1, 2])


def test_results_are_read_as_plain_numbers():
    given = {"acc": np.float32(0.5), "params": torch.tensor(3), "latency": np.array(2)}
    assert objectives.plain(given) == {"acc": 0.5, "params": 3, "latency": 2}
    assert {type(value) for value in objectives.plain(given).values()} == {int, float}
    assert objectives.plain(torch.tensor([0.25])) == [0.25]
    assert objectives.plain((1, 2)) == [1, 2]
    assert objectives.plain(np.float64(0.5)) == 0.5


@pytest.mark.parametrize(
    "value", [None, "0.9", {}, [], float("nan"), {"acc": float("inf")}, True, np.ones((2, 2)), [[1]]]
)
def test_what_is_no_number(value):
    with pytest.raises(MetricError):
        objectives.plain(value)


def test_units_do_not_outweigh_each_other():
    scale = Scale()
    first, second = scale([0.5, -4e8]), scale([0.6, -4e8])
    assert first == pytest.approx(0.0)
    assert second == pytest.approx(0.2)
    assert scale([0.5, -2e8]) == pytest.approx(0.5)
    assert scale([0.5, -4e8]) == first  # the same metrics always give the same number


def test_one_metric_stays_as_it_is_and_zeros_set_no_scale():
    assert Scale()([75.4]) == 75.4
    scale = Scale()
    assert scale([0.0, 2.0]) == 1.0
    assert scale([8.0, 2.0]) == 2.0
