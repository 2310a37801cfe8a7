"""What the tests of searches share: the toy problem of `hwnas.testing`, and how far codes and searches are apart."""

from __future__ import annotations

import numpy as np

from hwnas.space import Code
from hwnas.testing import GOALS, LIMITED, SPACE, cube, drive, judge, rough, volume
from hwnas.trial import Search

__all__ = ["GOALS", "LIMITED", "SPACE", "apart", "cube", "drive", "judge", "rough", "volumes"]


def volumes(search: Search, budget: int, seeds: int = 6) -> np.ndarray:
    """The hypervolume after a budget, by seed."""
    return np.array([volume(drive(search, seed=seed, budget=budget).trials[:budget]) for seed in range(seeds)])


def apart(one: Code, other: Code) -> int:
    """How many choices differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))
