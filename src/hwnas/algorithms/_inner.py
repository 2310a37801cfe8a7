"""The search within a search: thousands of networks are bred and judged by prediction before one is measured."""

# Shape letters: N codes, G choices of the space, M objectives, P the population.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from hwnas import codes
from hwnas.algorithms._selection import order
from hwnas.codes import Codes
from hwnas.predictors import Floats
from hwnas.space import Space
from hwnas.trial import Goal, Search, Trial, excess

Judge: TypeAlias = Callable[[Codes], dict[str, Floats]]
"""Expected values of many codes by goal."""
Rated: TypeAlias = tuple[Codes, Floats, Floats]
"""Codes, their losses and their excess over the limits."""

PAIRED, MUTATED = 0.9, 0.8
"""How many children have two parents, and how many are mutated."""


def breed(
    space: Space,
    rate: Callable[[Codes], Rated],
    start_NG: Codes,
    rng: np.random.Generator,
    population: int,
    generations: int,
) -> Rated:
    """Evolution on arrays: every generation is one call of the predictors.

    Parents win tournaments of two; survivors are taken by excess over the limits, Pareto rank and crowding distance
    (Deb et al., 2002), which keeps the ends of the front alive; children by uniform crossover and by redrawing each
    choice with one over the number of choices. No network is alive twice.

    Returns:
        Everything that ever lived, each once.
    """
    alive = rate(np.unique(start_NG, axis=0))
    lived = [alive]
    for _ in range(generations):
        alive = _at(alive, ordered(alive)[:population])
        parent_2P = rng.integers(len(alive[0]), size=(2, 2, population)).min(axis=1)  # of two, the one better placed
        child_NG, other_NG = alive[0][parent_2P[0]], alive[0][parent_2P[1]]
        paired_N1 = rng.random((population, 1)) < PAIRED
        child_NG = np.where(paired_N1, codes.crossover(space, child_NG, other_NG, rng), child_NG)
        mutated_N1 = rng.random((population, 1)) < MUTATED
        child_NG = np.unique(np.where(mutated_N1, codes.mutate(space, child_NG, rng), child_NG), axis=0)
        born = rate(child_NG)
        lived.append(born)
        alive = _distinct([alive, born])
    return _distinct(lived)


def pursue(
    search: Search,
    goals: Sequence[Goal],
    space: Space,
    judge: Judge,
    start_NG: Codes,
    rng: np.random.Generator,
    evaluations: int,
) -> list[Trial]:
    """Any other search algorithm, told predictions instead of measurements.

    Args:
        start_NG: what it knows when it begins.
        evaluations: predictions that it may ask for beyond those.

    Returns:
        What it was told, the start included, with predicted values.
    """
    known: dict[tuple[int, ...], Trial] = {}

    def judged(wanted: Sequence[tuple[int, ...]], most: int) -> list[Trial]:
        new_NG = codes.array(space, dict.fromkeys(code for code in wanted if code not in known))[:most]
        if len(new_NG):
            values = {name: column.tolist() for name, column in judge(new_NG).items()}
            for place, code in enumerate(codes.tuples(new_NG)):
                own = {name: column[place] for name, column in values.items()}
                trial = Trial(len(known), code, own, "done")
                over = excess(trial, goals) > 0
                known[code] = Trial(trial.number, code, own, "over_limit") if over else trial
        return [known[code] for code in wanted if code in known]

    steps = search.steps(space, goals, rng)
    news, quiet = judged(codes.tuples(start_NG), len(start_NG)), 0
    limit = len(known) + evaluations
    asked = next(steps, None)
    while asked is not None and len(known) < limit and quiet < 20:
        before = len(known)
        news = [*news, *judged([space.canonical(code) for code in asked], limit - before)]
        try:
            asked = steps.send(news)
        except StopIteration:
            break
        news, quiet = [], quiet + 1 if len(known) == before else 0
    steps.close()
    return list(known.values())


def ordered(rated: Rated) -> Codes:
    """The places of codes from best to worst."""
    return order(rated[1], rated[2])


def _at(rated: Rated, place_P: Codes) -> Rated:
    return rated[0][place_P], rated[1][place_P], rated[2][place_P]


def _distinct(several: Sequence[Rated]) -> Rated:
    codes_NG, losses_NM, excess_N = (np.concatenate(parts) for parts in zip(*several, strict=True))
    _, place_N = np.unique(codes_NG, axis=0, return_index=True)
    return codes_NG[place_N], losses_NM[place_N], excess_N[place_N]
