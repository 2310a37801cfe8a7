"""What the tests of searches share: the toy problem of `hwnas.testing`, and how far codes and searches are apart."""

from __future__ import annotations

import numpy as np

from hwnas.space import Code
from hwnas.testing import GOALS, LIMITED, SPACE, cube, drive, judge, rough, volume
from hwnas.trial import Search
from hwnas.workers import Here

__all__ = ["GOALS", "LIMITED", "SPACE", "Four", "apart", "cube", "drive", "judge", "rough", "volumes"]


def volumes(search: Search, budget: int, seeds: int = 6) -> np.ndarray:
    """The hypervolume after a budget, by seed."""
    return np.array([volume(drive(search, seed=seed, budget=budget).trials[:budget]) for seed in range(seeds)])


def apart(one: Code, other: Code) -> int:
    """How many choices differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))


class Four(Here):
    """Four pretended workers, which note how many networks were under way when the next one was finished."""

    capacity = 4

    def __init__(self, bench):
        super().__init__(bench)
        self.flying, self.heights = 0, []

    def submit(self, job):
        self.flying += len(job.codes)
        super().submit(job)

    def next_done(self, timeout=None):
        self.heights.append(self.flying)
        outcome = super().next_done(timeout)
        self.flying -= outcome is not None
        return outcome
