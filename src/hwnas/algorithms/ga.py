"""Genetic algorithm: for one objective, the fitter half of parents and children lives on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.algorithms._pymoo import Genetic, Selection, Tournament


@dataclass(frozen=True)
class Ga(Genetic):
    """A genetic algorithm for one objective (Holland, 1975): parents by tournament, and the best of old and new live.

    Networks beyond a limit come after all others, by their excess; what failed does not breed. Survival is pymoo's,
    children are made by the space's own crossover and mutation. No network is asked twice, and the search ends only
    when the space is used up. In an asynchronous study it breeds from what has arrived.

    Args:
        population: networks per generation, judged together.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
    """

    def objectives(self) -> tuple[int, int | None]:
        """Exactly one; further goals may be limits."""
        return (1, 1)

    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        from pymoo.algorithms.soo.nonconvex.ga import FitnessSurvival

        return Tournament(FitnessSurvival(), ("rank",), objectives, size, rng)


__all__ = ["Ga"]
