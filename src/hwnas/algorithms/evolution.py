"""Regularised evolution: the oldest dies, the fittest of a few breeds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hwnas.algorithms import Goal, Search, Steps, Trial
from hwnas.algorithms._selection import best_first, mutant, unseen
from hwnas.errors import ConfigError
from hwnas.space import Code, Space


@dataclass(frozen=True)
class Evolution(Search):
    """Regularised (aging) evolution (Real et al., 2019): the oldest dies, the fittest of a few breeds.

    The population is a queue of the latest trials. A parent is the best of a random handful of them: with one goal by
    its value, with several by Pareto rank and crowding distance (Deb et al., 2002), and always those within the limits
    first. Failed trials grow old but never breed. What is new beside the paper: several children per step, optional
    crossover, the smallest and the largest network at the beginning, and no network twice.

    Args:
        population: trials that are alive; breeding begins when so many codes are known.
        sample: how many compete to be a parent; more is greedier.
        batch: children per step: so many can be judged at once.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
        crossover: the probability that a child has a second parent.
    """

    population: int = 50
    sample: int = 10
    batch: int = 8
    mutation: float | None = None
    crossover: float = 0.0

    tiny: ClassVar[Mapping[str, Any]] = {"population": 20, "sample": 5}

    def __post_init__(self) -> None:
        for name in ("population", "sample", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        for name in ("mutation", "crossover"):
            if not 0 <= (getattr(self, name) or 0.0) <= 1:
                raise ConfigError(f"{name} is a probability from 0 to 1, not {getattr(self, name)!r}")

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """Random codes first, then children of the latest trials, until the space is used up."""
        known: set[Code] = set()
        fresh = unseen(space, known, rng, first=(space.smallest, space.largest))
        earlier = yield []  # asks for nothing, to hear what is known already
        known.update(trial.code for trial in earlier)
        # the best of the earlier trials live, and they live longest
        alive = deque(reversed(best_first(earlier, goals)), maxlen=self.population)
        while True:
            breeders = best_first(alive, goals) if len(known) >= self.population else []
            children = (self._child(breeders, space, known, fresh, rng) for _ in range(self.batch))
            codes = [child for child in children if child is not None]
            if not codes:
                return
            trials = yield codes
            known.update(trial.code for trial in trials)
            alive.extend(trials)

    def _child(
        self,
        breeders: Sequence[Trial],
        space: Space,
        known: set[Code],
        fresh: Iterator[Code],
        rng: np.random.Generator,
    ) -> Code | None:
        """A code that nobody has asked for yet, entered in `known`; None if there is none left."""

        def parent() -> Code:
            return breeders[int(rng.integers(len(breeders), size=self.sample).min())].code

        if not breeders:
            return next(fresh, None)
        child = parent()
        if rng.random() < self.crossover:
            child = space.crossover(child, parent(), rng)
        return mutant(space, child, known, fresh, rng, self.mutation)


__all__ = ["Evolution"]
