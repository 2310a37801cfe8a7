"""The ensemble of perceptrons: it sees what depends on one another, and averages its members."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes
from hwnas.errors import ConfigError
from hwnas.predictors.mlp import Mlp
from hwnas.testing import cube

WIDE = cube(*[2] * 6)


def parity(codes_NG):
    return (codes_NG[:, 0] != codes_NG[:, 1]).astype(float)


def test_choices_that_depend_on_one_another_are_learnt():
    known_NG, other_NG = (codes.sample(WIDE, 120, np.random.default_rng(seed)) for seed in (0, 1))
    fitted = Mlp(hidden=(8,), members=2, epochs=60).fit(WIDE, known_NG, parity(known_NG), np.random.default_rng(0))
    assert np.abs(fitted.mean(other_NG) - parity(other_NG)).mean() < 0.1


def test_members_start_differently_and_are_averaged():
    known_NG = codes.sample(WIDE, 20, np.random.default_rng(0))
    rows_NF = codes.one_hot(WIDE, known_NG)
    three = Mlp(hidden=(4,), members=3, epochs=20)._ensemble(5).fit(rows_NF, parity(known_NG))
    alone = [
        Mlp(hidden=(4,), members=1, epochs=20)._ensemble(5 + i).fit(rows_NF, parity(known_NG)).predict(rows_NF)
        for i in range(3)
    ]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert np.allclose(three.predict(rows_NF), np.mean(alone, axis=0))


@pytest.mark.parametrize("options", [{"members": 0}, {"epochs": 0}, {"hidden": ()}, {"hidden": (8, 0)}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Mlp(**options)
