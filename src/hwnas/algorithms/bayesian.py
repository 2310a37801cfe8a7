"""Bayesian optimisation: a model of what is known says where the next network is worth most."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from hwnas.algorithms import Goal, Search, Steps, Trial, losses
from hwnas.algorithms._selection import mutant, some, unseen
from hwnas.errors import ConfigError
from hwnas.space import Choice, Code, Space


@dataclass(frozen=True)
class Bayesian(Search):
    """Bayesian optimisation through Optuna, in memory: for a few hundred dear networks and any number of objectives.

    The sampler "tpe" compares the densities of good and other networks (Bergstra et al., 2011); "gp" is a Gaussian
    process with the logarithm of the expected (hypervolume) improvement, stronger and so slow that it is for a hundred
    networks rather than for a thousand. Only active choices are modelled; numbers that rise or fall are taken as
    ordered, everything else as words. Every goal with a limit is a constraint.

    It begins with the smallest, the largest and random networks. A proposal that is known is dropped; when the next
    `repeats` are known too, a network near the last one is asked. Failed networks are not modelled. It asks for as
    many further networks as answers came, so that an asynchronous study is never idle, and ends when the space is
    used up.

    Args:
        sampler: "tpe" or "gp".
        startup: networks before the model is asked; what is known at the beginning counts.
        batch: networks per step, proposed with those that are still being judged in mind.
        repeats: so many further proposals, if one is known already, before a network near it takes its place.
    """

    sampler: Literal["tpe", "gp"] = "tpe"
    startup: int = 20
    batch: int = 4
    repeats: int = 3

    tiny: ClassVar[Mapping[str, Any]] = {"startup": 110, "batch": 10, "repeats": 0}

    def __post_init__(self) -> None:
        if self.sampler not in ("tpe", "gp"):
            raise ConfigError(f"sampler is 'tpe' or 'gp', not {self.sampler!r}")
        for name, least in (("startup", 1), ("batch", 1), ("repeats", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """Random codes first, then what the model proposes."""
        earlier = yield []  # asks for nothing, to hear what is known already
        known = {trial.code for trial in earlier}
        fresh = unseen(space, known, rng, first=(space.smallest, space.largest))
        model = _Model(self.sampler, space, goals, seed=int(rng.integers(2**31)))
        trials, waiting, wanted = earlier, set[Code](), self.batch
        while True:
            known.update(trial.code for trial in trials)
            model.learn(trials)
            proposals = (self._proposal(model, known, fresh, rng) for _ in range(wanted))
            asked = [code for code in proposals if code is not None]
            if not asked:
                return
            waiting.update(asked)
            trials, answered = yield from some(asked, waiting, 1)
            wanted = answered if waiting else self.batch

    def _proposal(
        self, model: _Model, known: set[Code], fresh: Iterator[Code], rng: np.random.Generator
    ) -> Code | None:
        """A code that nobody has asked for yet, entered in `known`; None if there is none left."""
        if len(known) < self.startup:
            return next(fresh, None)
        for _ in range(self.repeats + 1):
            code = model.propose(known)
            if code not in known:
                known.add(code)
                return code
        return mutant(model.space, code, known, fresh, rng, None)


class _Model:
    """Optuna's study of the space: it is told of finished trials, and proposes codes."""

    def __init__(self, sampler: str, space: Space, goals: Sequence[Goal], seed: int) -> None:
        self.space, self.goals = space, goals
        self.worst_M = np.full(losses([], goals).shape[1], -np.inf)
        self.running: dict[Code, Any] = {}
        self.learnt: set[Code] = set()
        self.flat = sampler == "gp"  # it models choices that every network has, so inactive ones are proposed to it too
        with _quiet() as optuna:
            self.optuna = optuna
            kind = optuna.samplers.GPSampler if self.flat else optuna.samplers.TPESampler
            groups = {} if self.flat else {"multivariate": True, "group": True}
            chosen = kind(seed=seed, n_startup_trials=2, warn_independent_sampling=False, **groups)
            self.study = optuna.create_study(directions=["minimize"] * len(self.worst_M), sampler=chosen)
            self.kinds = [_distribution(choice) for choice in space.choices]

    def propose(self, known: set[Code]) -> Code:
        """What the model thinks best, in the light of what is being judged; it may be known."""
        with _quiet():
            trial = self.study.ask()
            raw = [0] * len(self.space)
            on = [True] * len(self.space)
            for place, choice in enumerate(self.space.choices):
                if not self.flat:
                    on = list(self.space.active(raw))  # what comes before a choice decides about it
                if on[place] and len(choice.values) > 1:
                    raw[place] = self._suggested(trial, choice)
            code = self.space.canonical(raw)
            if code in known:
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            else:
                self.running[code] = trial
            return code

    def _suggested(self, trial: Any, choice: Choice) -> int:
        if _is_ordered(choice):
            return int(trial.suggest_int(choice.name, 0, len(choice.values) - 1))
        return int(trial.suggest_categorical(choice.name, tuple(range(len(choice.values)))))

    def learn(self, trials: Sequence[Trial]) -> None:
        """Takes in what was judged, each network once; what failed teaches nothing."""
        judged = {trial.code: trial for trial in trials if trial.code not in self.learnt}
        self.learnt.update(judged)
        with _quiet():
            for trial in judged.values():
                if trial.code in self.running:
                    self.study.tell(self.running.pop(trial.code), state=self.optuna.trial.TrialState.FAIL)
                if trial.state != "failed":
                    self.study.add_trial(self._finished(trial))

    def _finished(self, trial: Trial) -> Any:
        """A trial as Optuna keeps it: by its canonical code, with losses even where limits spared measuring them."""
        losses_M = losses([trial], self.goals)[0]
        self.worst_M = np.where(np.isfinite(losses_M), np.maximum(self.worst_M, losses_M), self.worst_M)
        worst_M = np.where(np.isfinite(self.worst_M), self.worst_M, 0.0)
        on = self.space.active(trial.code)
        modelled = [
            place
            for place, choice in enumerate(self.space.choices)
            if len(choice.values) > 1 and (self.flat or on[place])
        ]
        return self.optuna.trial.create_trial(
            values=np.where(np.isfinite(losses_M), losses_M, worst_M).tolist(),
            params={self.space.choices[place].name: trial.code[place] for place in modelled},
            distributions={self.space.choices[place].name: self.kinds[place] for place in modelled},
            constraints={goal.name: _margin(goal, trial) for goal in self.goals if goal.limit is not None},
        )


def _is_ordered(choice: Choice) -> bool:
    """Whether its values are numbers that rise or fall; everything else is a set of words."""
    numbers = [value for value in choice.values if not isinstance(value, str)]
    return len(numbers) == len(choice.values) and numbers in (sorted(numbers), sorted(numbers, reverse=True))


def _distribution(choice: Choice) -> Any:
    """As Optuna writes down what `suggest` allows."""
    import optuna

    if _is_ordered(choice):
        return optuna.distributions.IntDistribution(0, len(choice.values) - 1)
    return optuna.distributions.CategoricalDistribution(tuple(range(len(choice.values))))


def _margin(goal: Goal, trial: Trial) -> float:
    """How far a value lies beyond the limit, relative to it; negative within, and 0 where it is not known."""
    if goal.limit is None or goal.name not in trial.values:
        return 0.0
    return (goal.loss(trial.values[goal.name]) - goal.loss(goal.limit)) / (abs(goal.limit) or 1.0)


@contextmanager
def _quiet() -> Iterator[Any]:
    """Optuna, which inside this block neither logs nor warns of what is experimental."""
    import optuna

    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield optuna
    finally:
        logger.setLevel(level)


__all__ = ["Bayesian"]
