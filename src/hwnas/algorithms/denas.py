"""DE-NAS's evolution: children of the best networks so far, by mutation and by crossover, checked before scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hwnas.algorithms import Goal, Search, Steps, Trial, evaluated, excess
from hwnas.algorithms._selection import best_first, unseen
from hwnas.errors import ConfigError, HwnasError
from hwnas.space import Code, Space

LAST = 200
"""Tries for one more child before chance takes over."""


@dataclass(frozen=True)
class DeNas(Search):
    """The evolution of DE-NAS (Intel's e2eAIOK), with what its released code leaves undone.

    The archive holds the best networks of everything so far. A generation is so many mutated members of it, so many
    children of two members, and, if asked for, so many new random networks. Only the first generation is random;
    the original draws as many again in every generation, which is half of its budget.

    A choice of one layer (its name has a dot: `layer3.heads`) and a choice of the whole network (`depth`, `width`) are
    redrawn with probabilities of their own. Goals that follow from the code alone are compared with their limits
    before a network is asked for; one that lies beyond is not, unless nothing within can be found. Then those that
    lie beyond by the least are asked, so that the search finds its way.

    Args:
        population: random networks of the first generation; what is known at the beginning counts.
        mutation, crossover, random: networks of every later generation, by kind.
        select: members of the archive.
        m_prob, s_prob: the probability that a layer's choice, and a whole network's, is redrawn; None for both moves
            one choice on average.
        sample: how many members compete to be a parent; 1 makes every member equally likely, more is greedier.
        scale_factor: a kind is given up after so many tries per network that is wanted.
        start: architectures that come before all others.
    """

    population: int = 50
    mutation: int = 25
    crossover: int = 25
    random: int = 0
    select: int = 50
    m_prob: float | None = 0.2
    s_prob: float | None = 0.4
    sample: int = 1
    scale_factor: int = 10
    start: tuple[Mapping[str, int | float | str], ...] = ()

    tiny: ClassVar[Mapping[str, Any]] = {"population": 20, "mutation": 6, "crossover": 6, "select": 10}

    def __post_init__(self) -> None:
        least = {"population": 0, "mutation": 0, "crossover": 0, "random": 0, "select": 1, "sample": 1}
        for name, bound in {**least, "scale_factor": 1}.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} must be at least {bound}, not {getattr(self, name)!r}")
        if self.mutation + self.crossover + self.random < 1:
            raise ConfigError("mutation, crossover and random are all 0, so a generation would be empty")
        for name in ("m_prob", "s_prob"):
            if not 0 <= (getattr(self, name) or 0.0) <= 1:
                raise ConfigError(f"{name} is a probability from 0 to 1, not {getattr(self, name)!r}")
        if (self.m_prob is None) != (self.s_prob is None):
            raise ConfigError("m_prob and s_prob are two probabilities, or None both: one choice on average")

    def objectives(self) -> tuple[int, int]:
        """One: the archive is sorted by it."""
        return (1, 1)

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """Generations, until the space is used up."""
        if sum(goal.objective for goal in goals) != 1:
            raise ConfigError(f"denas takes 1 objective, not {sum(goal.objective for goal in goals)}")
        earlier = yield []  # asks for nothing, to hear what is known already
        nursery = _Nursery(space, goals, rng, {trial.code for trial in earlier}, self.scale_factor)
        archive = best_first(earlier, goals)[: self.select]
        codes = [code for code in map(space.encode, self.start) if nursery.enter(code)]
        codes += nursery.drawn(self.population - len(earlier) - len(codes))
        codes = codes or self._generation(archive, nursery, goals)
        while codes := codes or nursery.least_beyond(self._size):
            trials = yield from evaluated(codes)
            nursery.known.update(trial.code for trial in trials)
            archive = best_first([*archive, *trials], goals)[: self.select]
            codes = self._generation(archive, nursery, goals)

    @property
    def _size(self) -> int:
        """Networks of one generation."""
        return self.mutation + self.crossover + self.random

    def _generation(self, archive: Sequence[Trial], nursery: _Nursery, goals: Sequence[Goal]) -> list[Code]:
        """Networks that nobody has asked for yet.

        New random ones where there are no parents. Where a generation is empty, one child that is near a parent is
        looked for with more patience, and only then a random network.
        """
        members = [trial.code for trial in archive if not excess(trial, goals)] or [trial.code for trial in archive]
        space, rng = nursery.space, nursery.rng
        if not members:
            return nursery.drawn(self._size)

        def parent() -> Code:
            return members[int(rng.integers(len(members), size=self.sample).min())]

        def mutated() -> Code:
            return self._mutated(parent(), space, rng)

        def crossed() -> Code:
            return space.crossover(parent(), parent(), rng)

        codes = nursery.bred(self.mutation, mutated)
        codes += nursery.bred(self.crossover, crossed if len(members) > 1 else mutated)
        codes += nursery.drawn(self.random)
        return codes or nursery.bred(1, lambda: space.mutate(parent(), rng), LAST) or nursery.drawn(self._size)

    def _mutated(self, code: Code, space: Space, rng: np.random.Generator) -> Code:
        """A different code: choices redrawn with the probability of their kind, at least one; others are kept."""
        if self.m_prob is None or self.s_prob is None:
            return space.mutate(code, rng)
        rate_G = np.array([self.m_prob if "." in choice.name else self.s_prob for choice in space.choices])
        counts_G = np.array([len(choice.values) for choice in space.choices])
        on_G = np.array(space.active(code))
        movable_G = on_G & (counts_G > 1)
        moved_G = movable_G & (rng.random(len(space)) < rate_G)
        if not moved_G.any() and movable_G.any():
            moved_G[rng.choice(np.flatnonzero(movable_G))] = True
        steps_G, woken_G = rng.integers(1, np.maximum(counts_G, 2)), rng.integers(counts_G)
        child_G = np.where(on_G, code, woken_G)  # what becomes active is drawn at random
        return space.canonical(np.where(moved_G, (child_G + steps_G) % counts_G, child_G).tolist())


@dataclass
class _Nursery:
    """Where codes come from: each once, and within the limits that can be computed.

    Args:
        known: all codes that were asked for, told or looked at.
        patience: tries per code that is wanted.
        beyond: codes that were looked at and lie beyond a limit, by how far.
    """

    space: Space
    goals: Sequence[Goal]
    rng: np.random.Generator
    known: set[Code]
    patience: int
    beyond: dict[Code, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fresh: Iterator[Code] = unseen(self.space, self.known, self.rng)

    def enter(self, code: Code) -> bool:
        """Whether a code is new; it is known from now on."""
        new = code not in self.known
        self.known.add(code)
        return new

    def bred(self, wanted: int, make: Callable[[], Code], patience: int | None = None) -> list[Code]:
        """New codes that are made so; fewer where patience runs out."""
        made: list[Code] = []
        for _ in range((patience or self.patience) * wanted):
            if len(made) == wanted:
                break
            code = make()
            if self.enter(code) and self._within(code):
                made.append(code)
        return made

    def drawn(self, wanted: int) -> list[Code]:
        """New random codes; fewer where `patience` or the space runs out."""
        made: list[Code] = []
        for _ in range(self.patience * wanted):
            code = next(self.fresh, None) if len(made) < wanted else None
            if code is None:
                break
            if self._within(code):
                made.append(code)
        return made

    def least_beyond(self, wanted: int) -> list[Code]:
        """What is asked for where nothing keeps the limits: of what was looked at, the nearest to them."""
        nearest = sorted(self.beyond, key=lambda code: (self.beyond[code], code))[:wanted]
        for code in nearest:
            del self.beyond[code]
        return nearest

    def _within(self, code: Code) -> bool:
        """Whether a code keeps the limits on all goals that can be computed; one that does not is noted."""
        far = sum(_excess(goal, code) for goal in self.goals if goal.limit is not None)
        if far > 0:
            self.beyond[code] = far
        return far <= 0


def _excess(goal: Goal, code: Code) -> float:
    """How far a code lies beyond a goal's limit, as far as that can be known without measuring."""
    if goal.exact is None:
        return 0.0
    try:
        many = goal.exact_many
        return goal.excess(float(many(np.array([code]))[0]) if many is not None else goal.exact(code))
    except HwnasError:  # the study will find out, and say why
        return 0.0


__all__ = ["DeNas"]
