"""AGE-MOEA: a genetic algorithm that adapts to the shape of the Pareto front."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

from hwnas.algorithms._pymoo import Genetic, Selection, Tournament, undisturbed
from hwnas.errors import MissingExtraError


@dataclass(frozen=True)
class Age(Genetic):
    """AGE-MOEA (Panichella, 2019): survivors by Pareto rank, then by closeness and diversity on the front's own shape.

    The front is taken for a curve of constant p-norm whose p is estimated anew in each generation, so that distances
    are measured along it, be it convex or concave. Survival is pymoo's and needs the extra `age`; children are made by
    the space's own crossover and mutation. No network is asked twice, and the search ends only when the space is used
    up. In an asynchronous study it breeds from what has arrived.

    Args:
        population: networks per generation, judged together.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.

    Raises:
        MissingExtraError: numba is not installed.
    """

    def __post_init__(self) -> None:
        if importlib.util.find_spec("numba") is None:
            raise MissingExtraError("numba", "age")
        super().__post_init__()

    def objectives(self) -> tuple[int, int | None]:
        """Two or more."""
        return (2, None)

    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        with undisturbed():
            from pymoo.algorithms.moo.age import AGEMOEASurvival

        return Tournament(AGEMOEASurvival(), ("rank", "-crowding"), objectives, size, rng)


__all__ = ["Age"]
