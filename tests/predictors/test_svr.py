"""Support-vector regression: the strength with the smallest held-out error is taken."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes, parts
from hwnas.errors import ConfigError
from hwnas.predictors import tau
from hwnas.predictors.svr import Svr
from hwnas.testing import SPACE, judge


def known(count, seed=0):
    codes_NG = codes.sample(SPACE, count, np.random.default_rng(seed))
    return codes_NG, np.array([judge(code)["accuracy"] for code in codes.tuples(codes_NG)])


def held_out_error(search):
    codes_NG, values_N = known(60)
    return float(((search.fit(SPACE, codes_NG, values_N, np.random.default_rng(0)).held_out - values_N) ** 2).mean())


def test_the_strength_with_the_smallest_held_out_error_is_taken():
    errors = [held_out_error(Svr(strengths=(strength,))) for strength in (1e-4, 1.0, 10.0)]
    assert held_out_error(Svr(strengths=(1e-4, 1.0, 10.0))) == min(errors) < 0.5 * errors[0]


def test_what_epsilon_forgives_is_not_learnt():
    codes_NG, values_N = known(40)
    blunt, fine = (
        Svr(epsilon=epsilon).fit(SPACE, codes_NG, values_N, np.random.default_rng(0)).mean(codes_NG)
        for epsilon in (10.0, 0.01)
    )
    assert np.ptp(blunt) < 1e-9 and tau(values_N, fine) > 0.8


def test_options():
    with pytest.raises(ConfigError, match="svr"):
        parts.make("predictors", {"svr": {"strengths": ["much"]}})
    with pytest.raises(ConfigError, match="strengths takes one or more numbers above 0"):
        Svr(strengths=())
    with pytest.raises(ConfigError, match="strengths takes one or more numbers above 0"):
        Svr(strengths=(1.0, 0.0))
    with pytest.raises(ConfigError, match="epsilon must not be negative, got -1"):
        Svr(epsilon=-1)
