"""Random search: every network as likely as the next, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hwnas.algorithms import Goal, Search, Steps
from hwnas.algorithms._selection import unseen
from hwnas.errors import ConfigError
from hwnas.space import Code, Space


@dataclass(frozen=True)
class Random(Search):
    """Random search without repeats (Bergstra and Bengio, 2012; for architectures Li and Talwalkar, 2019).

    The baseline that every other search has to beat. It looks at no result, and ends when the space is used up.

    Args:
        batch: codes per step.
    """

    batch: int = 16

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch!r}")

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """Asks for unseen random codes until there are none left."""
        known: set[Code] = set()
        fresh = unseen(space, known, rng)
        codes: list[Code] = []  # asks for nothing at first, to hear what is known already
        while True:
            known.update([trial.code for trial in (yield codes)])
            codes = list(islice(fresh, self.batch))
            if not codes:
                return


__all__ = ["Random"]
