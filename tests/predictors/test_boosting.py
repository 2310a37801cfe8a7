"""Boosted trees: they see what depends on one another, with either engine."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hwnas import codes
from hwnas.errors import ConfigError, MissingExtraError
from hwnas.predictors import tau
from hwnas.predictors.boosting import Boosting
from hwnas.predictors.ridge import Ridge
from hwnas.testing import cube

WIDE = cube(*[2] * 6)


def parity(codes_NG):
    """Whether the first two choices differ: no choice alone has an effect."""
    return (codes_NG[:, 0] != codes_NG[:, 1]) + 0.01 * codes_NG[:, 5]


@pytest.mark.parametrize("engine", ["sklearn", "lightgbm"])
def test_choices_that_depend_on_one_another_are_learnt(engine):
    if engine == "lightgbm":
        pytest.importorskip("lightgbm", reason="LightGBM is the extra `boosting`")
    known_NG, other_NG = (codes.sample(WIDE, 150, np.random.default_rng(seed)) for seed in (0, 1))
    ours, linear = (
        predictor.fit(WIDE, known_NG, parity(known_NG), np.random.default_rng(0)).mean(other_NG)
        for predictor in (Boosting(engine=engine, trees=60), Ridge())
    )
    assert np.abs(ours - parity(other_NG)).mean() < 0.1 < 0.4 < np.abs(linear - parity(other_NG)).mean()


def test_trees_of_depth_one_only_add_up():
    known_NG = codes.sample(WIDE, 150, np.random.default_rng(0))
    stumps = Boosting(depth=1, trees=20).fit(WIDE, known_NG, parity(known_NG), np.random.default_rng(0))
    assert abs(tau(parity(known_NG).round(), stumps.held_out)) < 0.5


def test_without_lightgbm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    known_NG = codes.sample(WIDE, 10, np.random.default_rng(0))
    with pytest.raises(MissingExtraError, match=r"pip install \"hwnas\[boosting\]\""):
        Boosting(engine="lightgbm").fit(WIDE, known_NG, parity(known_NG), np.random.default_rng(0))


@pytest.mark.parametrize("options", [{"trees": 0}, {"depth": 0}, {"rate": 0.0}, {"rate": 1.5}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Boosting(**options)
