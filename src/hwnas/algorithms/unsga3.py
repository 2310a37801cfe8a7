"""U-NSGA-III: a population that keeps to evenly spread directions, for many objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwnas.algorithms._pymoo import Genetic, Selection, Tournament, directions

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Unsga3(Genetic):
    """U-NSGA-III (Seada and Deb, 2016): survivors by Pareto rank, then by who is missing in one of many directions.

    Directions in which the objectives are traded for one another are spread evenly, as many as the population is
    large; crowded ones make room for empty ones. Two that compete to be a parent are compared only if they belong to
    the same direction. It is made for three objectives and more, and works with two. Survival is pymoo's; children are
    made by the space's own crossover and mutation. No network is asked twice, and the search ends only when the space
    is used up. In an asynchronous study it breeds from what has arrived.

    Args:
        population: networks per generation, judged together; also the number of directions.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
    """

    def objectives(self) -> tuple[int, int | None]:
        """Two or more."""
        return (2, None)

    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival

        survival = ReferenceDirectionSurvival(directions(size, objectives))
        return _Niches(survival, ("rank", "dist_to_niche"), objectives, size, rng)


class _Niches(Tournament):
    """Tournaments that are decided by rank and closeness within one direction, and by chance between two."""

    def winners(self, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
        niche_P, excess_P = self.noted("niche"), self.excess()
        strange_N = (niche_P[ones] != niche_P[others]) & (excess_P[ones] <= 0) & (excess_P[others] <= 0)
        tossed_N = np.where(self.rng.random(len(ones)) < 0.5, ones, others)
        return np.where(strange_N, tossed_N, super().winners(ones, others))


__all__ = ["Unsga3"]
