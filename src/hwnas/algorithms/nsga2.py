"""NSGA-II: a population that spreads along the Pareto front, generation by generation."""

# Shape letters: P codes of a generation, G choices of the space.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from hwnas.algorithms import Goal, Search, Steps, Trial, evaluated, excess, losses
from hwnas.algorithms._selection import best_first, mutant, unseen
from hwnas.errors import ConfigError
from hwnas.space import Code, Space

FAILED = 1e30
"""Loss and excess of what could not be judged: pymoo needs finite numbers."""


@dataclass(frozen=True)
class Nsga2(Search):
    """NSGA-II (Deb et al., 2002): parents by tournament, survivors by Pareto rank and then by room on the front.

    Selection and survival are pymoo's; children are made by the space's own crossover and mutation, which know which
    choices matter and need no order among their values. What is new beside the paper: the first generation holds the
    smallest and the largest network, between which the front lies, and no network is asked twice: a child that is
    known is mutated on, and the search ends only when the space is used up.

    The best of the trials that it is given at the beginning form the first generation. Trials beyond a limit come
    after all others, by their excess; failed and lost ones come last.

    Args:
        population: networks per generation, judged together. Small is better for the few hundred trials that real
            measurements allow.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
    """

    population: int = 20
    crossover: float = 0.9
    mutation: float | None = None

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ConfigError(f"population must be at least 2, not {self.population!r}")
        for name in ("crossover", "mutation"):
            if not 0 <= (getattr(self, name) or 0.0) <= 1:
                raise ConfigError(f"{name} is a probability from 0 to 1, not {getattr(self, name)!r}")

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """One generation per step; waits for all of it."""
        earlier = yield []  # asks for nothing, to hear what is known already
        known = {trial.code for trial in earlier}
        judged = {trial.code: trial for trial in best_first(earlier, goals)[: self.population]}
        fresh = unseen(space, known, rng, first=(space.smallest, space.largest))
        first = [*judged, *islice(fresh, self.population - len(judged))]
        if not first:  # everything is known, and all of it failed
            return
        mating = _Mating(space, known, fresh, self.crossover, self.mutation)
        algorithm = _algorithm(mating, first, objectives=losses([], goals).shape[1], seed=int(rng.integers(2**31)))
        while (generation := algorithm.ask()) is not None:
            codes = [tuple(row) for row in generation.get("X").tolist()]
            trials = {code: judged.get(code, Trial(-1, code, state="failed")) for code in codes}
            for trial in (yield from evaluated([code for code in codes if code not in judged])):
                if trial.code in trials or trial.code not in known:
                    trials[trial.code] = trial
            known.update(trials)
            algorithm.tell(infills=_individuals(list(trials.values()), goals))


@dataclass(frozen=True)
class _Mating:
    """Makes the children, where pymoo expects an object that does."""

    space: Space
    known: set[Code]
    fresh: Iterator[Code]
    crossover: float
    mutation: float | None

    def do(self, problem: Any, alive: Any, count: int, *, algorithm: Any, random_state: np.random.Generator) -> Any:
        """As many codes that nobody has asked for yet; fewer, and at last none, when the space is used up."""
        from pymoo.algorithms.moo.nsga2 import binary_tournament
        from pymoo.core.population import Population
        from pymoo.operators.selection.tournament import TournamentSelection

        select = TournamentSelection(func_comp=binary_tournament)
        couples = select(problem, alive, count, n_parents=2, algorithm=algorithm, random_state=random_state)
        children: list[Code] = []
        for couple in couples:
            one, other = (tuple(parent.X.tolist()) for parent in couple)
            if random_state.random() < self.crossover:
                one = self.space.crossover(one, other, random_state)
            child = mutant(self.space, one, self.known, self.fresh, random_state, self.mutation)
            if child is not None:
                children.append(child)
        return Population.new("X", np.array(children, dtype=int))


def _algorithm(mating: _Mating, first: Sequence[Code], objectives: int, seed: int) -> Any:
    """pymoo's NSGA-II, ready to be asked; it draws from a generator of its own."""
    from pymoo.config import Config

    Config.warnings["not_compiled"] = False  # it would print
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination

    problem = Problem(n_var=len(mating.space), n_obj=objectives, n_ieq_constr=1)
    algorithm = NSGA2(pop_size=len(first), sampling=np.array(first), mating=mating, eliminate_duplicates=False)
    return algorithm.setup(problem, termination=NoTermination(), seed=seed)


def _individuals(trials: Sequence[Trial], goals: Sequence[Goal]) -> Any:
    """Trials as pymoo wants them: losses F and, as its constraint, the excess G over the limits."""
    from pymoo.core.population import Population

    codes_PG = np.array([trial.code for trial in trials])
    excess_P1 = np.array([[excess(trial, goals)] for trial in trials])
    return Population.new(
        "X",
        codes_PG,
        "F",
        np.nan_to_num(losses(trials, goals), posinf=FAILED),
        "G",
        np.nan_to_num(excess_P1, posinf=FAILED),
    )


__all__ = ["Nsga2"]
