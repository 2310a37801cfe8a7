"""C-TAEA: two archives, one that converges and keeps the limits, and one that explores beyond them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwnas.algorithms._pymoo import FAILED, Genetic, Selection, directions, individuals, merged, undisturbed
from hwnas.codes import Codes, Floats


@dataclass(frozen=True)
class Ctaea(Genetic):
    """C-TAEA (Li et al., 2019): an archive that converges within the limits breeds with one that ignores them.

    Both hold one network for each of many evenly spread directions, as many as the population is large. It is made for
    limits that are hard to meet and three objectives or more, and works with two. Survival and selection are pymoo's;
    children are made by the space's own crossover and mutation. No network is asked twice, and the search ends only
    when the space is used up. It waits for whole generations.

    Args:
        population: networks per generation, judged together; also the size of each archive.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
    """

    whole: ClassVar[bool] = True

    def objectives(self) -> tuple[int, int | None]:
        """Two or more."""
        return (2, None)

    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        return _Archives(objectives, size, rng)


class _Archives(Selection):
    """Both archives, of equal size: what has converged, and what is diverse."""

    def __init__(self, objectives: int, size: int, rng: np.random.Generator) -> None:
        from pymoo.algorithms.moo.ctaea import CADASurvival, RestrictedMating, comp_by_cv_dom_then_random

        with undisturbed():
            self.survival = CADASurvival(directions(size, objectives))
        self.mating = RestrictedMating(func_comp=comp_by_cv_dom_then_random)
        self.size, self.rng = size, rng
        self.converged = self.diverse = individuals(
            np.empty((0, 1), dtype=np.int64), np.empty((0, objectives)), np.empty(0)
        )

    def admit(self, codes_NG: Codes, losses_NM: Floats, excess_N: Floats, /) -> None:
        """Takes the last `size` newcomers for the generation, as pymoo does; fewer are filled up by the living."""
        newcomers = individuals(codes_NG, np.minimum(losses_NM, FAILED), excess_N)
        with undisturbed():
            self.converged, self.diverse = self.survival.do(
                None, merged(self.converged, newcomers), self.diverse, n_survive=self.size, random_state=self.rng
            )

    def couples(self, count: int, /) -> tuple[Codes, Codes]:
        """One parent of each archive, or both of the one that is further."""
        both = merged(self.converged, self.diverse)
        with undisturbed():
            pairs_N2 = self.mating.do(None, both, count, 2, to_pop=False, random_state=self.rng)
        codes_PG = np.array([individual.X for individual in both])
        return codes_PG[pairs_N2[:, 0]], codes_PG[pairs_N2[:, 1]]


__all__ = ["Ctaea"]
