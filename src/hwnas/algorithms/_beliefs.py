"""What a search believes of networks that nobody has measured: exact goals are computed, all others are predicted."""

# Shape letters: N codes, G choices of the space, D draws, M objectives.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hwnas import codes
from hwnas.codes import Codes
from hwnas.predictors import LEAST, Fitted, Floats, Predictor, mape, tau
from hwnas.space import Code, Space
from hwnas.trial import Goal, Trial

STEEP = 4.0
"""Positive values whose largest is this many times the smallest are spaced as logarithms beyond the known ones."""


class Warp(Protocol):
    """Values as a predictor learns them: as losses, in an order that never changes."""

    def forth(self, values: Floats, /) -> Floats:
        """Values as learnt; smaller is better."""
        ...

    def back(self, warped: Floats, /) -> Floats:
        """What was learnt as values again."""
        ...


@dataclass(frozen=True)
class Plain:
    """Values as they are, or their logarithms where they span magnitudes: for goals that behave."""

    sign: float
    log: bool

    @classmethod
    def of(cls, goal: Goal, values_N: Floats) -> Plain:
        """The warp that fits the values of a goal."""
        log = bool(values_N.min() > 0 and values_N.max() > STEEP * values_N.min())
        return cls(1.0 if goal.direction == "min" else -1.0, log)

    def forth(self, values: Floats, /) -> Floats:
        return self.sign * (np.log(values) if self.log else values)

    def back(self, warped: Floats, /) -> Floats:
        values = self.sign * warped
        return np.exp(np.clip(values, -700.0, 700.0)) if self.log else values


@dataclass(frozen=True)
class Scores:
    """Values by their rank, spaced as a normal distribution: for goals with a few disasters among many good values.

    A front lies among the good values, of which a search measures ever more; spaced by rank they are told apart, and
    broken networks (accuracy of chance, a tenfold latency) do not set the scale of everything. Between known values
    the map is linear, beyond them it goes on as steeply as the outer tenth of them.
    """

    plain: Plain
    loss_K: Floats
    score_K: Floats
    slopes: tuple[float, float]

    @classmethod
    def of(cls, goal: Goal, values_N: Floats) -> Scores:
        """The warp that fits the values of a goal."""
        from scipy.special import ndtri
        from scipy.stats import rankdata

        plain = Plain.of(goal, values_N)
        loss_N = plain.forth(values_N)
        score_N = ndtri((rankdata(loss_N) - 0.5) / len(loss_N))
        loss_K, place_K = np.unique(loss_N, return_index=True)
        score_K = score_N[place_K]
        outer = max(1, len(loss_K) // 10)
        return cls(plain, loss_K, score_K, (_slope(loss_K, score_K, outer), _slope(loss_K, score_K, -outer)))

    def forth(self, values: Floats, /) -> Floats:
        return _beyond(self.plain.forth(values), self.loss_K, self.score_K, (1 / self.slopes[0], 1 / self.slopes[1]))

    def back(self, warped: Floats, /) -> Floats:
        return self.plain.back(_beyond(warped, self.score_K, self.loss_K, self.slopes))


def _slope(loss_K: Floats, score_K: Floats, outer: int) -> float:
    """Loss per score at one end: over so many of the smallest values, or, if negative, of the largest."""
    if len(loss_K) < 2:
        return 1.0
    inner, end = (outer, 0) if outer > 0 else (len(loss_K) - 1 + outer, len(loss_K) - 1)
    return float((loss_K[inner] - loss_K[end]) / (score_K[inner] - score_K[end]))


def _beyond(x: Floats, known_K: Floats, image_K: Floats, slopes: tuple[float, float]) -> Floats:
    """Linear interpolation that goes on beyond both ends."""
    inside = np.interp(x, known_K, image_K)
    below, above = np.minimum(x - known_K[0], 0.0), np.maximum(x - known_K[-1], 0.0)
    mapped: Floats = inside + slopes[0] * below + slopes[1] * above
    return mapped


@dataclass(frozen=True)
class Belief:
    """A predicted goal: what was learnt, how it is warped, and its error on networks held out.

    Args:
        misplaced: how far held-out predictions lie from the truth on average, counted in normal scores: an error of
            ranks, in which neither units nor disasters matter. It decides who predicts.
    """

    fitted: Fitted
    warp: Warp
    predictor: str
    misplaced: float
    mape: float
    tau: float


class Beliefs:
    """All goals that a search pursues or has to keep, each computed or predicted; `goals` are these.

    A goal that is only recorded, without a limit and no objective, changes nothing and is learnt by nobody.

    Args:
        predictors: of these, the one with the smallest held-out error is used, goal by goal.
    """

    def __init__(self, space: Space, goals: Sequence[Goal], predictors: Sequence[Predictor]) -> None:
        self._space, self._predictors = space, tuple(predictors)
        self.goals = tuple(goal for goal in goals if goal.objective or goal.limit is not None)
        self._ruler = next(filter(None, map(_computed, goals)), None)
        self._learnt: dict[str, Belief] = {}
        self._counted: dict[str, dict[Code, float]] = {goal.name: {} for goal in self.goals}
        self._stand_ins: dict[str, Belief] = {}
        self._size, self._ready = -1, False

    def learn(self, trials: Sequence[Trial], rng: np.random.Generator) -> bool:
        """Fits a predictor for every goal that needs one, on all trials that have its value, if there are new ones.

        Returns:
            False where some goal has too few values to learn from.
        """
        size = sum(len(trial.values) for trial in trials)
        if size != self._size:
            self._size, self._ready = size, self._learn(trials, rng)
        return self._ready

    def _learn(self, trials: Sequence[Trial], rng: np.random.Generator) -> bool:
        for goal in self.goals:
            if _computed(goal) is not None:
                continue
            known = {trial.code: trial.values[goal.name] for trial in trials if goal.name in trial.values}
            if goal.exact is not None:  # whatever was computed once is known as well
                self._counted[goal.name] |= known
                known = self._counted[goal.name]
            if len(known) < LEAST:
                return False
            belief = self._believe(goal, codes.array(self._space, known), np.array(list(known.values())), rng)
            (self._learnt if goal.exact is None else self._stand_ins)[goal.name] = belief
        return True

    def _believe(self, goal: Goal, codes_NG: Codes, values_N: Floats, rng: np.random.Generator) -> Belief:
        """The best of all predictors, each on plain values and on scores."""
        scores = Scores.of(goal, values_N)
        warps: tuple[Warp, ...] = (Plain.of(goal, values_N), scores)
        tried = []
        for warp in warps:
            for predictor in self._predictors:
                fitted = predictor.fit(self._space, codes_NG, warp.forth(values_N), rng)
                held_out_N = warp.back(fitted.held_out)
                misplaced = float(np.abs(scores.forth(held_out_N) - scores.forth(values_N)).mean())
                name = type(predictor).__name__.lower()
                errors = misplaced, mape(values_N, held_out_N), tau(values_N, held_out_N)
                tried.append(Belief(fitted, warp, name, *errors))
        return min(tried, key=lambda belief: belief.misplaced)

    # --- what is believed -------------------------------------------------------------------------------------------

    def values(self, codes_NG: Codes, careful: bool = False) -> dict[str, Floats]:
        """The expected value of every goal: N each.

        Args:
            careful: compute exact goals even where that is slow (a network is built); else a predictor, fitted to
                exact values, stands in for them.
        """
        return {goal.name: self._value(goal, codes_NG, careful) for goal in self.goals}

    def _value(self, goal: Goal, codes_NG: Codes, careful: bool) -> Floats:
        computed = _computed(goal)
        if computed is not None:
            return np.asarray(computed(codes_NG), dtype=float)
        if goal.exact is not None and careful:
            return self._count(goal, codes_NG)
        belief = (self._learnt if goal.exact is None else self._stand_ins)[goal.name]
        return belief.warp.back(belief.fitted.mean(codes_NG))

    def _count(self, goal: Goal, codes_NG: Codes) -> Floats:
        """Exact values one by one, each computed once."""
        assert goal.exact is not None
        known = self._counted[goal.name]
        for code in codes.tuples(codes_NG):
            if code not in known:
                known[code] = float(goal.exact(code))
        return np.array([known[code] for code in codes.tuples(codes_NG)])

    def draws(self, codes_NG: Codes, count: int, rng: np.random.Generator) -> dict[str, Floats]:
        """Equally likely guesses at every goal's values, N x D each; exact goals are the same in all of them."""
        drawn = {}
        for goal in self.goals:
            if goal.exact is not None:
                drawn[goal.name] = np.repeat(self._value(goal, codes_NG, careful=True)[:, None], count, axis=1)
            else:
                belief = self._learnt[goal.name]
                drawn[goal.name] = belief.warp.back(belief.fitted.draws(codes_NG, count, rng))
        return drawn

    def losses(self, values: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Values as losses of the objectives, and as excess over all limits: N x M and N, or the same with D last."""
        objectives = [_loss(goal, values[goal.name]) for goal in self.goals if goal.objective]
        shape = np.shape(objectives[0])
        excess = np.zeros(shape)
        for goal in self.goals:
            if goal.limit is not None:
                over = _loss(goal, values[goal.name]) - goal.loss(goal.limit)
                excess = excess + np.maximum(over, 0.0) / (abs(goal.limit) or 1.0)
        return np.stack(objectives, axis=1), excess

    def within_exact_limits(self, codes_NG: Codes, careful: bool = False) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which codes keep the limits that can be computed: no measurement is spent on the others."""
        kept_N = np.ones(len(codes_NG), dtype=bool)
        for goal in self.goals if len(codes_NG) else ():
            if goal.limit is None or goal.exact is None or (_computed(goal) is None and not careful):
                continue
            loss_N = _loss(goal, self._value(goal, codes_NG, careful=True))
            kept_N &= loss_N <= goal.loss(goal.limit)
        return kept_N

    def first_computed(self, codes_NG: Codes) -> Floats | None:
        """The first goal that is computed for many codes at once: a ruler for what has not been measured."""
        return None if self._ruler is None else np.asarray(self._ruler(codes_NG), dtype=float)

    @property
    def counts_slowly(self) -> bool:
        """Whether some exact goal is computed network by network."""
        return any(goal.exact is not None and goal.exact_many is None for goal in self.goals)

    # --- what is told -----------------------------------------------------------------------------------------------

    def notes(self) -> dict[str, dict[str, Any]]:
        """By goal: the predictor chosen and its error on networks held out, for the record."""
        return {
            name: {"predictor": each.predictor, "mape": _finite(each.mape), "tau": _finite(each.tau)}
            for name, each in self._learnt.items()
        }

    def expected(self, codes_NG: Codes) -> dict[Code, dict[str, dict[str, float]]]:
        """By code and predicted goal: the expected value and its spread, in the goal's own unit."""
        told: dict[Code, dict[str, dict[str, float]]] = {code: {} for code in codes.tuples(codes_NG)}
        for name, belief in self._learnt.items():
            mean_N, spread_N = belief.fitted.mean(codes_NG), belief.fitted.spread(codes_NG)
            middle_N = belief.warp.back(mean_N)
            wide_N = np.abs(belief.warp.back(mean_N + spread_N) - belief.warp.back(mean_N - spread_N)) / 2
            for code, middle, wide in zip(codes.tuples(codes_NG), middle_N.tolist(), wide_N.tolist(), strict=True):
                told[code][name] = {"predicted": _finite(middle), "predicted_spread": _finite(wide)}
        return told


def _computed(goal: Goal) -> Callable[[Codes], Any] | None:
    """The function that computes a goal for many codes at once, if it has one."""
    return goal.exact_many if goal.exact is not None else None


def _loss(goal: Goal, values: Floats) -> Floats:
    return values if goal.direction == "min" else -values


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
