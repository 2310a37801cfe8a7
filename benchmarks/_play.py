"""What the benchmarks of searches share: a search played against a table, whole batches judged at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas import codes, pareto
from hwnas.space import Code, Space
from hwnas.trial import Goal, Search, Trial, excess

Floats = NDArray[np.float64]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Published measurements, with their provenance; they are not part of this repository."""


@dataclass(frozen=True)
class Problem:
    """A space, what counts, and a function that knows every network's values: by goal, for many codes at once."""

    space: Space
    goals: tuple[Goal, ...]
    judge: Callable[[NDArray[np.int64]], dict[str, Floats]]

    def trials(self, wanted: Sequence[Code], start: int) -> list[Trial]:
        """Judges codes, as a study would: over a limit is over the limit."""
        values = {name: column.tolist() for name, column in self.judge(codes.array(self.space, wanted)).items()}
        names = [goal.name for goal in self.goals]
        made = []
        for place, code in enumerate(wanted):
            own = {name: values[name][place] for name in names}
            trial = Trial(start + place, code, own, "done")
            over = excess(trial, self.goals) > 0
            made.append(Trial(trial.number, code, own, "over_limit") if over else trial)
        return made


@dataclass
class Course:
    """All trials in order, and the seconds that each step of the search took."""

    trials: list[Trial] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def values(self, name: str) -> Floats:
        """One goal's values in the order of evaluation."""
        return np.array([trial.values[name] for trial in self.trials])


def play(search: Search, problem: Problem, budget: int, seed: int, earlier: Sequence[Trial] = ()) -> Course:
    """Runs a search until so many networks are judged, those it knows from the beginning not counted."""
    course, known = Course(), {trial.code: trial for trial in earlier}
    steps = search.steps(problem.space, problem.goals, np.random.default_rng(seed))
    asked, news = next(steps), list(earlier)
    while True:
        fresh = [code for code in dict.fromkeys(asked) if code not in known][: budget - len(course.trials)]
        course.trials += problem.trials(fresh, len(known))
        known |= {trial.code: trial for trial in course.trials[len(course.trials) - len(fresh) :]}
        if len(course.trials) >= budget:
            return course
        news += [known[code] for code in asked]
        began = time.perf_counter()
        try:
            asked = steps.send(news)
        except StopIteration:
            return course
        course.seconds.append(time.perf_counter() - began)
        news = []


def volumes(losses_TM: Floats, reference_M: Floats) -> Floats:
    """The hypervolume after every evaluation: T. Only what changes the front is computed anew."""
    front_PM, volume, curve = np.empty((0, losses_TM.shape[1])), 0.0, []
    for loss_M in losses_TM:
        beaten = bool((front_PM <= loss_M).all(axis=1).any())
        if not beaten and (loss_M < reference_M).all():
            front_PM = np.concatenate([front_PM[~(loss_M <= front_PM).all(axis=1)], loss_M[None]])
            volume = pareto.hypervolume(front_PM, reference_M)
        curve.append(volume)
    return np.array(curve)


def first_reaching(curve_T: Floats, value: float) -> int | None:
    """After how many evaluations a curve first reaches a value; None if it never does."""
    reached = np.flatnonzero(curve_T >= value)
    return int(reached[0]) + 1 if len(reached) else None
