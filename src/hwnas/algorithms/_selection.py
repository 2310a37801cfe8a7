"""What searches share: networks that nobody has asked for yet, and trials from best to worst."""

# Shape letters: T trials, M losses, N codes, G choices of the space.

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np

from hwnas import codes
from hwnas.codes import Codes, Floats
from hwnas.pareto import crowding, ranks
from hwnas.space import Code, Space
from hwnas.trial import Goal, Trial, excess, losses

ATTEMPTS = 20
"""So many mutations in a row that lead to known codes, and a neighbourhood counts as used up."""
PATIENCE = 100
"""So many known codes in a row, and sampling brings too little."""
FEW = 1_000_000
"""So many codes can be shuffled at once."""


def some(
    asked: Sequence[Code], waiting: set[Code], needed: int
) -> Generator[list[Code], list[Trial], tuple[list[Trial], int]]:
    """Asks, and waits until so many of the codes that are waited for are answered, or the study has fallen silent.

    Returns:
        All that arrived, and how many codes were answered. After a silence `waiting` is empty: the rest is lost.
    """
    arrived: list[Trial] = []
    asking, answered, silence = list(asked), 0, 0
    while answered < needed and silence < 2:
        trials = yield asking
        silence = 0 if trials or asking else silence + 1
        asking = []
        arrived += trials
        for trial in trials:
            if trial.code in waiting:
                waiting.remove(trial.code)
                answered += 1
    if answered < needed:
        waiting.clear()
    return arrived, answered


def unseen(space: Space, known: set[Code], rng: np.random.Generator, first: Iterable[Code] = ()) -> Iterator[Code]:
    """Random codes that are not in `known`, each entered there as it is drawn; ends when there is none left.

    Codes come by `Space.sample` until that brings hardly anything new. From then on all that are left are equally
    likely, so that a space is used up to its last network, however seldom it is sampled.

    Args:
        known: the caller may add to it between two codes.
        first: codes that come before the random ones.
    """
    for code in first:
        if code not in known:
            known.add(code)
            yield code
    repeats = 0
    while repeats < PATIENCE:
        code = space.sample(rng)
        repeats += 1
        if code not in known:
            repeats = 0
            known.add(code)
            yield code
    for code in _everywhere(space, known, rng):
        if code not in known:
            known.add(code)
            yield code


def mutant(
    space: Space,
    code: Code,
    known: set[Code],
    fresh: Iterator[Code],
    rng: np.random.Generator,
    rate: float | None,
) -> Code | None:
    """A code near this one that is not in `known`, and is entered there: mutated until it is new.

    Where everything near is known, the next of `fresh`; None when the space is used up.
    """
    for _ in range(ATTEMPTS):
        code = space.mutate(code, rng, rate)
        if code not in known:
            known.add(code)
            return code
    return next(fresh, None)


def unknown(
    space: Space,
    children_NG: Codes,
    known: set[Code],
    fresh: Iterator[Code],
    rng: np.random.Generator,
    rate: float | None,
) -> list[Code]:
    """Children that are not in `known`, each entered there: `mutant` for many at once.

    A child that is known, or comes twice, is mutated until it is new; where everything near is known, the next of
    `fresh` takes its place. Fewer than N come only when the space is used up.
    """
    found: list[Code | None] = [None] * len(children_NG)
    again = np.arange(len(children_NG))
    for _ in range(ATTEMPTS):
        repeated = []
        for place, child in zip(again.tolist(), codes.tuples(children_NG), strict=True):
            if child in known:
                repeated.append(place)
            else:
                known.add(child)
                found[place] = child
        if not repeated:
            break
        children_NG = codes.mutate(space, children_NG[np.isin(again, repeated)], rng, rate)
        again = np.array(repeated)
    new = (child if child is not None else next(fresh, None) for child in found)
    return [child for child in new if child is not None]


def _everywhere(space: Space, known: set[Code], rng: np.random.Generator) -> Iterator[Code]:
    """Codes by their number: each once where they can be shuffled, otherwise drawn until all are known."""
    if space.size <= FEW:
        yield from (space.at(int(number)) for number in rng.permutation(space.size))
    while len(known) < space.size:
        # 64 bits more than needed make the remainder's bias negligible; generators draw no larger integers themselves
        yield space.at(int.from_bytes(rng.bytes(space.size.bit_length() // 8 + 9), "big") % space.size)


def best_first(trials: Sequence[Trial], goals: Sequence[Goal]) -> list[Trial]:
    """The trials that did not fail, best first: by excess over the limits, then Pareto rank, then crowding distance.

    With one objective it is the order of its losses.
    """
    judged = [trial for trial in trials if trial.state != "failed"]
    excess_T = np.array([excess(trial, goals) for trial in judged])
    return [judged[place] for place in order(losses(judged, goals), excess_T)]


def order(losses_TM: Floats, excess_T: Floats) -> Codes:
    """The places of rows from best to worst: by excess over the limits, then Pareto rank, then room on the front.

    This is the constrained order of NSGA-II (Deb et al., 2002); equals stay as they come.
    """
    kept_T = excess_T <= 0  # beyond a limit only the excess counts, and nobody is dominated from there
    rank_T, room_T = np.zeros(len(losses_TM), dtype=np.int64), np.zeros(len(losses_TM))
    rank_T[kept_T] = ranks(losses_TM[kept_T])
    for rank in np.unique(rank_T[kept_T]):
        here_T = kept_T & (rank_T == rank)
        room_T[here_T] = crowding(losses_TM[here_T])
    return np.lexsort((-room_T, rank_T, excess_T))
