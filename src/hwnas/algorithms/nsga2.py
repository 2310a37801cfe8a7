"""NSGA-II: a population that spreads along the Pareto front, generation by generation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.algorithms._pymoo import Genetic, Selection, Tournament


@dataclass(frozen=True)
class Nsga2(Genetic):
    """NSGA-II (Deb et al., 2002): parents by tournament, survivors by Pareto rank and then by room on the front.

    Survival is pymoo's; children are made by the space's own crossover and mutation, which know which choices matter
    and need no order among their values. What is new beside the paper: the first generation holds the smallest and the
    largest network, between which the front lies, and no network is asked twice: a child that is known is mutated on,
    and the search ends only when the space is used up. In an asynchronous study it breeds from what has arrived.

    The best of the trials that it is given at the beginning form the first generation. Trials beyond a limit come
    after all others, by their excess; what failed does not breed.

    Args:
        population: networks per generation, judged together. Small is better for the few hundred trials that real
            measurements allow.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
    """

    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        return Tournament(RankAndCrowding(), ("rank", "-crowding"), objectives, size, rng)


__all__ = ["Nsga2"]
