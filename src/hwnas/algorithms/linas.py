"""LINAS: light predictors learn from every measurement, and an inner search asks them thousands of times in between."""

# Shape letters: N codes, G choices of the space, M objectives, T trials, D draws.

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from hwnas import codes
from hwnas.algorithms import Goal, Search, Steps, Trial, Wish, losses, misfit
from hwnas.algorithms import _batch as batches
from hwnas.algorithms import _inner as inner_search
from hwnas.algorithms._beliefs import Beliefs
from hwnas.algorithms._selection import best_first, unseen
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.predictors import Floats, Predictor
from hwnas.predictors.gp import Gp
from hwnas.predictors.ridge import Ridge
from hwnas.space import Choice, Code, Space

FEW = 20_000
"""A space of so few networks is predicted whole; nothing needs to be bred."""
PARENTS = 100
"""So many of the best measured networks begin the inner search."""
POOL = (400, 60)
"""So many of the best predicted networks are looked at closely; the second where that is dear: from four objectives on,
or where an exact goal builds every network."""
MOST_QUIET = 5
"""Every step that brings nothing new doubles the next wish, so often at most: codes that a family takes for networks
known under another code (as in a sparse table) are got through quickly."""
OVERDUE = 3
"""After so many further steps, an answer that has not come is not waited for."""
TRIES = 20
"""So many random networks are looked at for each that is needed and keeps the limits that can be computed."""


@dataclass(frozen=True)
class Linas(Search):
    """Lightweight iterative search (Cummings et al., 2022): measure a few, learn, search the predictors, repeat.

    What is computed is never predicted: goals with exact values (multiply-accumulates, parameters …) enter as they
    are. All others have a predictor each, chosen anew at every step among `predictors`, on plain values and on their
    normal scores, by its held-out error on everything measured so far; the chosen one and its error are told in the
    record. The inner search starts from the best measured networks, and its candidates compete for the batch by the
    hypervolume that they would add to the measured front under draws from the predictors' posterior (Thompson
    sampling), so that a batch spreads along the front and over what is uncertain. No network is asked twice. Limits
    that can be computed are kept before anything is measured; predicted ones count in the draws.

    It does not wait for stragglers: what is under way counts as measured at its predicted value.

    Args:
        initial: networks measured before anything is predicted: the smallest, the largest and random ones in between.
        batch: networks per step, measured together.
        inner: the algorithm that searches the predictors: None is an evolution on arrays (an NSGA-II without limits on
            the number of objectives); any other by its spec, such as `{nsga2: {population: 50}}`. A space of up to
            20,000 networks is predicted whole instead, unless `inner` is given.
        evaluations: predictions per step for the inner search.
        population: of the evolution.
        predictors: to choose from.
    """

    initial: int = 20
    batch: int = 10
    inner: Search | None = None
    evaluations: int = 8000
    population: int = 200
    predictors: tuple[Predictor, ...] = field(default=(Ridge(), Gp(), Gp(counts=False)))

    tiny: ClassVar[Mapping[str, Any]] = {"batch": 20, "evaluations": 600, "population": 50, "predictors": ["ridge"]}

    def __post_init__(self) -> None:
        for name, least in (("initial", 4), ("batch", 1), ("evaluations", 1), ("population", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        if not self.predictors:
            raise ConfigError("predictors must name one or more, such as [ridge, gp]")

    def objectives(self) -> tuple[int, int | None]:
        """Any number, or what the inner search can pursue."""
        return (1, None) if self.inner is None else self.inner.objectives()

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """An initial design, then a batch per step, until the space is used up."""
        reason = misfit(self, goals)
        if reason:
            raise ConfigError(f"linas {reason}", hint="choose another inner search, or leave `inner` out")
        beliefs = Beliefs(space, goals, self.predictors)
        history = _History()
        history.add((yield []))  # asks for nothing, to hear what is known already
        fresh = unseen(space, history.known, rng)
        wish = Wish(self._design(space, beliefs, history, fresh, rng)) or self._proposals(
            space, beliefs, history, fresh, rng, self.batch
        )
        quiet = 0
        while wish:
            history.ask(wish)
            quiet = 0 if history.add((yield wish)) else min(quiet + 1, MOST_QUIET)
            wish = self._proposals(space, beliefs, history, fresh, rng, self.batch << quiet)

    def _design(
        self, space: Space, beliefs: Beliefs, history: _History, fresh: Iterator[Code], rng: np.random.Generator
    ) -> list[Code]:
        """The first networks: both ends of the space, and as evenly between them as can be seen without measuring.

        Between the ends, every network leans towards small or large to its own degree; of many, those are taken whose
        first exact goal (or, without one, their own lean) lies nearest to the rungs of a ladder.
        """
        wanted = self.initial - len(history.trials)
        if wanted <= 0:
            return []
        lean_N = rng.random(20 * self.initial)
        ladder_NG = np.unique(_leaning(space, lean_N, rng), axis=0)
        ends_NG = codes.array(space, (space.smallest, space.largest))
        ladder_NG = ladder_NG[beliefs.within_exact_limits(ladder_NG)]
        height_N = beliefs.first_computed(ladder_NG)
        if height_N is None:
            height_N = _size(space, ladder_NG)
        chosen = codes.tuples(ends_NG[beliefs.within_exact_limits(ends_NG)])
        for rung in np.linspace(0, 1, max(wanted - len(chosen), 0) + 2)[1:-1]:
            if not len(height_N):
                break
            target = height_N.min() + rung * np.ptp(height_N)
            chosen.append(tuple(ladder_NG[np.abs(height_N - target).argmin()].tolist()))
        design = [code for code in dict.fromkeys(chosen) if code not in history.known][:wanted]
        history.known.update(design)
        design, _ = _sorted_out(space, beliefs, design)
        return [*design, *_allowed(space, beliefs, fresh, wanted - len(design))[0]]

    def _proposals(
        self,
        space: Space,
        beliefs: Beliefs,
        history: _History,
        fresh: Iterator[Code],
        rng: np.random.Generator,
        size: int,
    ) -> Wish:
        """The next batch: what the predictors find worth measuring, filled up with what nobody has asked for."""
        from threadpoolctl import threadpool_limits

        wish = Wish()
        with threadpool_limits(1, user_api="blas"):  # small matrices, while others measure on the rest of the cores
            if beliefs.learn(history.judged(), rng):
                pool_NG = self._pool(space, beliefs, history, rng)
                picked_NG = self._pick(space, beliefs, history, pool_NG, rng, size)
                wish = Wish(codes.tuples(picked_NG), predicted=beliefs.expected(picked_NG), notes=beliefs.notes())
        history.known.update(wish)
        found, missed = _allowed(space, beliefs, fresh, size - len(wish))
        wish.extend(found)
        return wish or Wish(missed[:size])  # where nothing keeps the limits, the search at least goes on

    def _pool(self, space: Space, beliefs: Beliefs, history: _History, rng: np.random.Generator) -> Codes:
        """Unseen candidates, best predicted first: N x G."""

        def rate(codes_NG: Codes) -> inner_search.Rated:
            return codes_NG, *beliefs.losses(beliefs.values(codes_NG))

        goals = beliefs.goals
        if self.inner is None and space.size <= FEW:
            lived = rate(_whole(space))
        else:
            best_NG = codes.array(space, (trial.code for trial in best_first(history.judged(), goals)[:PARENTS]))
            parts = (
                best_NG,
                codes.mutate(space, best_NG, rng),
                codes.sample(space, PARENTS // 2, rng),
                codes.array(space, (space.smallest, space.largest)),
            )
            start_NG = np.unique(np.concatenate(parts), axis=0)
            if self.inner is None:
                generations = max(1, self.evaluations // self.population)
                lived = inner_search.breed(space, rate, start_NG, rng, self.population, generations)
            else:
                tried = inner_search.pursue(self.inner, goals, space, beliefs.values, start_NG, rng, self.evaluations)
                told = {goal.name: np.array([trial.values[goal.name] for trial in tried]) for goal in goals}
                lived = (codes.array(space, (trial.code for trial in tried)), *beliefs.losses(told))
        new_N = np.array([code not in history.known for code in codes.tuples(lived[0])], dtype=bool)
        lived = (lived[0][new_N], lived[1][new_N], lived[2][new_N])
        many, few = POOL
        size = few if beliefs.counts_slowly or lived[1].shape[1] > 3 else many
        pool_NG = lived[0][inner_search.ordered(lived)[: max(size, self.batch)]]
        kept_NG: Codes = pool_NG[beliefs.within_exact_limits(pool_NG, careful=True)]
        return kept_NG

    def _pick(
        self,
        space: Space,
        beliefs: Beliefs,
        history: _History,
        pool_NG: Codes,
        rng: np.random.Generator,
        size: int,
    ) -> Codes:
        """The batch: N x G."""
        if not len(pool_NG):
            return pool_NG
        losses_NMD, excess_ND = beliefs.losses(beliefs.draws(pool_NG, size, rng))
        known_TM = losses(history.within(), beliefs.goals)
        underway_NG = codes.array(space, history.underway())
        if len(underway_NG):  # as if they had come out as predicted
            loss_NM, over_N = beliefs.losses(beliefs.values(underway_NG, careful=True))
            known_TM = np.concatenate([known_TM, loss_NM[over_N <= 0]])
        everything_TM = known_TM if len(known_TM) else losses_NMD.mean(axis=2)
        reference_M = batches.reference(everything_TM)
        picked_NG: Codes = pool_NG[batches.pick(known_TM, reference_M, losses_NMD, excess_ND)]
        return picked_NG


class _History:
    """What a search has asked for and been told."""

    def __init__(self) -> None:
        self.trials: dict[Code, Trial] = {}
        self.known: set[Code] = set()
        self._asked: dict[Code, int] = {}
        self._step = 0

    def ask(self, wanted: Sequence[Code]) -> None:
        """Notes what is under way."""
        self._step += 1
        self._asked |= dict.fromkeys(wanted, self._step)

    def add(self, news: Sequence[Trial]) -> int:
        """Takes what came, asked or not; says how much of it is new."""
        before = len(self.trials)
        for trial in news:
            self.trials[trial.code] = trial
            self.known.add(trial.code)
            self._asked.pop(trial.code, None)
        return len(self.trials) - before

    def judged(self) -> list[Trial]:
        """Trials with values to learn from."""
        return [trial for trial in self.trials.values() if trial.state != "failed"]

    def within(self) -> list[Trial]:
        """Trials that have all their values and keep all limits."""
        return [trial for trial in self.trials.values() if trial.state == "done"]

    def underway(self) -> list[Code]:
        """Codes that may still be answered."""
        return [code for code, step in self._asked.items() if self._step - step < OVERDUE]


def _sorted_out(space: Space, beliefs: Beliefs, some: Sequence[Code]) -> tuple[list[Code], list[Code]]:
    """Codes that keep the limits that can be computed, and the others."""
    kept_N = beliefs.within_exact_limits(codes.array(space, some), careful=True)
    kept = [code for code, fine in zip(some, kept_N, strict=True) if fine]
    return kept, [code for code, fine in zip(some, kept_N, strict=True) if not fine]


def _allowed(space: Space, beliefs: Beliefs, fresh: Iterator[Code], wanted: int) -> tuple[list[Code], list[Code]]:
    """At most so many random codes that keep the limits that can be computed, and others that were met meanwhile."""
    found: list[Code] = []
    missed: list[Code] = []
    while len(found) < wanted and len(missed) < TRIES * wanted:
        some = list(islice(fresh, wanted - len(found)))
        if not some:
            break
        kept, others = _sorted_out(space, beliefs, some)
        found, missed = found + kept, missed + others
    return found, missed


@functools.lru_cache(maxsize=4)
def _whole(space: Space) -> Codes:
    """Every network of a small space: looked at anew at every step, and listed once."""
    return codes.array(space, space.codes())


def _leaning(space: Space, lean_N: Floats, rng: np.random.Generator) -> Codes:
    """Random codes, each of which leans towards small (0) or large (1) values as it is told: N x G."""
    columns = []
    for choice in space.choices:
        share_N = rng.beta(4 * lean_N + 0.3, 4 * (1 - lean_N) + 0.3)
        columns.append(_upwards(choice)[(share_N * (len(choice.values) - 1)).round().astype(int)])
    return codes.canonical(space, np.stack(columns, axis=1))


def _size(space: Space, codes_NG: Codes) -> Floats:
    """A rough size: how far all choices together stand from their least values."""
    size_N = np.zeros(len(codes_NG))
    for place, choice in enumerate(space.choices):
        rank = np.argsort(_upwards(choice)) / max(1, len(choice.values) - 1)
        size_N += rank[codes_NG[:, place]]
    return size_N


def _upwards(choice: Choice) -> Codes:
    """The indices of a choice's values from least to most: numbers by size, words as they are listed."""
    keys = [value if isinstance(value, int | float) else place for place, value in enumerate(choice.values)]
    return np.argsort(np.array(keys, dtype=float), kind="stable")


__all__ = ["Linas"]
