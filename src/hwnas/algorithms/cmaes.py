"""CMA-ES: a normal distribution that learns where the good networks lie and how choices go together."""

# Shape letters: L codes of a round, V choices that can move.

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from hwnas.algorithms import Goal, Search, Steps, Trial, evaluated, excess, losses
from hwnas.algorithms._pymoo import fits
from hwnas.algorithms._selection import best_first, unseen
from hwnas.codes import Floats
from hwnas.errors import ConfigError
from hwnas.space import Code, Space

MOST = 16
"""Rounds grow up to so many times the population."""


@dataclass(frozen=True)
class Cmaes(Search):
    """CMA-ES for one objective (Hansen and Ostermeier, 2001): a normal distribution moves towards what is good.

    Every choice is a side of a cube, cut into as many equal pieces as it has values, so values should be listed from
    least to most. Distributions are the package cma's, and see only the order of the networks of a round: those beyond
    a limit come after all others, by their excess, and failed or lost ones last. A network that is known is judged by
    what is known about it and not asked again. A round that holds nothing new has converged: the distribution begins
    anew elsewhere, with twice as many networks a round (Auger and Hansen, 2005).

    The best of the trials that it is given at the beginning is where it begins; else it is the middle. It waits for
    whole rounds, and ends when the space is used up.

    Args:
        population: networks of a round, at the beginning.
        width: the standard deviation at the beginning; 1 is the whole range of every choice.
    """

    population: int = 20
    width: float = 0.2

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ConfigError(f"population must be at least 2, not {self.population!r}")
        if not 0 < self.width <= 1:
            raise ConfigError(f"width is a share of the range, more than 0 and at most 1, not {self.width!r}")

    def objectives(self) -> tuple[int, int | None]:
        """Exactly one; further goals may be limits."""
        return (1, 1)

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """One round per step; waits for all of it.

        Raises:
            ConfigError: there is more than one objective.
        """
        fits(self, goals)
        earlier = yield []  # asks for nothing, to hear what is known already
        judged: dict[Code, Trial] = {trial.code: trial for trial in earlier}
        known = set(judged)
        fresh = unseen(space, known, rng)
        cube, size = _Cube(space), self.population
        best = best_first(earlier, goals)[:1]
        middle_V = cube.place(best[0].code) if best else np.full(len(cube.sides_V), 0.5)

        def settle(new: Sequence[Code]) -> Generator[list[Code], list[Trial], None]:
            known.update(new)
            judged.update((trial.code, trial) for trial in (yield from evaluated(new)))
            known.update(judged)

        while True:
            strategy, rounds = _strategy(middle_V, self.width, size, rng), 0
            while True:
                points_LV, codes = cube.draw(strategy)
                new = [code for code in dict.fromkeys(codes) if code not in known]
                if not new:
                    break
                yield from settle(new)
                rounds += 1
                if not _learn(strategy, points_LV, _places([judged.get(code) for code in codes], goals)):
                    break
            if rounds:
                size = min(2 * size, MOST * self.population)
            else:  # not even the first round of a new distribution: most of the space is known
                new = list(islice(fresh, size))
                if not new:
                    return
                yield from settle(new)
            middle_V = rng.random(len(cube.sides_V))


class _Cube:
    """The space as a cube: each choice that can move is a side, cut into equal pieces. It has two sides at least."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.movable = [place for place, choice in enumerate(space.choices) if len(choice.values) > 1]
        sides = [len(space.choices[place].values) for place in self.movable]
        self.sides_V = np.array([*sides, *[1] * (2 - len(sides))])  # cma knows no single dimension

    def code(self, point_V: Floats) -> Code:
        """The network whose cell holds a point."""
        cells_V = np.clip((point_V * self.sides_V).astype(int), 0, self.sides_V - 1)
        raw = [0] * len(self.space)
        for place, cell in zip(self.movable, cells_V.tolist(), strict=False):
            raw[place] = cell
        return self.space.canonical(raw)

    def draw(self, strategy: Any) -> tuple[Floats, list[Code]]:
        """The points of a round, L x V, and the networks that they stand for."""
        with _undisturbed():
            points_LV = np.array(strategy.ask())
        return points_LV, [self.code(point_V) for point_V in points_LV]

    def place(self, code: Code) -> Floats:
        """The middle of a network's cell."""
        cells_V = np.zeros(len(self.sides_V))
        cells_V[: len(self.movable)] = [code[place] for place in self.movable]
        return np.asarray((cells_V + 0.5) / self.sides_V, dtype=float)


def _strategy(middle_V: Floats, width: float, size: int, rng: np.random.Generator) -> Any:
    """The package's strategy; it draws from this generator and leaves NumPy's global one alone."""
    with _undisturbed():
        import cma

        options = {
            "popsize": size,
            "bounds": [0, 1],
            "seed": np.nan,
            "randn": lambda *shape: rng.standard_normal(shape),
        }
        quiet = {"verbose": -9, "verb_log": 0, "verb_disp": 0}
        return cma.CMAEvolutionStrategy(middle_V, width, {**options, **quiet})


def _learn(strategy: Any, points_LV: Floats, places: list[float]) -> bool:
    """Moves the distribution; says whether it is of use for another round."""
    with _undisturbed():
        strategy.tell(list(points_LV), places)
        return not strategy.stop()


def _places(trials: Sequence[Trial | None], goals: Sequence[Goal]) -> list[float]:
    """The place of each among them, best first and equals together: the same whatever the scale of the losses."""
    rows = [trial if trial is not None else Trial(-1, (), state="failed") for trial in trials]
    loss_L = np.nan_to_num(losses(rows, goals)[:, 0], posinf=np.inf)
    over_L = np.array([excess(trial, goals) for trial in rows])
    keys = np.array(list(zip(over_L, np.where(over_L > 0, 0.0, loss_L), strict=True)))
    _, places_L = np.unique(keys, axis=0, return_inverse=True)
    return [float(place) for place in places_L.ravel()]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Around calls of cma: it warns of flat rounds and sets the filters of warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


__all__ = ["Cmaes"]
