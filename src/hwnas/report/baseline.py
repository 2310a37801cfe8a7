"""The random search beside a run: where it lies in the record, and what the run's own search was worth against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.study import Study
from hwnas.trial import Goal
from hwnas.trials import Trials, curve
from hwnas.units import plural, show

BASELINE = "baseline"
"""The name of the random search among the runs of a database."""
COARSE = 32
"""In so many steps a place on a curve is looked for before it is looked for exactly."""
TERMS = "terms"
"""The fact that says which goals and limits it was made under."""


def terms(goals: Sequence[Goal]) -> list[list[Any]]:
    """What two searches must have in common, beside their parts, for their curves to be comparable; JSON-able."""
    return [[goal.name, goal.direction, goal.limit, goal.objective] for goal in goals]


def baseline_of(study: Study) -> Study | None:
    """The random search of the same parts, goals and limits, as far as it has come; None where there is none."""
    records = study.run.records
    if study.run.name == BASELINE or BASELINE not in records.names():
        return None
    beside = Study(study.bench, study.goals, records.open(BASELINE))
    if beside.run.facts().get(TERMS) != terms(study.goals):  # the run has gone on under other limits since
        return None
    return beside if any(trial.finished for trial in beside.trials()) else None


@dataclass(frozen=True)
class Against:
    """A search against a random one, both after equally many networks and in one box.

    Args:
        count: so many networks of each.
        random_count: so many networks the random search has judged in all.
        share, random_share: of the box that each dominates after `count`, 0 ... 1.
        passed: after so many networks the search was as far as the random one at its very end; None if it never was.
    """

    goals: tuple[Goal, ...]
    count: int
    random_count: int
    share: float
    random_share: float
    best: float | None
    random_best: float | None
    passed: int | None

    def sentence(self) -> str:
        """In words: `After 40 networks the search dominates 83.1 % of the box, a random search 71.0 %; …`."""
        objectives = [goal for goal in self.goals if goal.objective]
        after = f"After {plural(self.count, 'network')}"
        if len(objectives) > 1:
            text = f"{after} the search dominates {100 * self.share:.1f} % of the box, "
            text += f"a random search {100 * self.random_share:.1f} %"
        else:
            (goal,) = objectives
            own, other = (
                "nothing within the limits" if value is None else show(value, goal.unit)
                for value in (self.best, self.random_best)
            )
            text = f"{after} the best {goal.name} is {own}, that of a random search {other}"
        far = f"as far as {plural(self.random_count, 'random network')}"
        if self.passed is None:
            return f"{text}; the search has not come {far}."
        return f"{text}; the search was {far} after {self.passed:,}."

    def to_dict(self) -> dict[str, Any]:
        """For other programs."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "goals"}


def against(own: Trials, random: Trials) -> Against | None:
    """Compares a search with a random one; None while either has found nothing that could be compared."""
    own, random = (trials.where(lambda trial: trial.finished) for trials in (own, random))
    frame = both(own, random)
    if not frame.done() or not own or not random:
        return None
    count = min(len(own), len(random))
    (share,), (random_share,) = curve(own, frame, [count]), curve(random, frame, [count])
    (goal, *more) = [goal for goal in own.goals if goal.objective]
    best, random_best = (
        trials[:count].best(goal.name).values[goal.name] if not more and trials[:count].feasible() else None
        for trials in (own, random)
    )
    passed = first_at_least(own, frame, curve(random, frame, [len(random)])[0])
    return Against(own.goals, count, len(random), share, random_share, best, random_best, passed)


def both(*searches: Trials) -> Trials:
    """All trials together, for a box that all curves share."""
    return Trials([trial for trials in searches for trial in trials], searches[0].goals)


def first_at_least(trials: Trials, frame: Trials, share: float) -> int | None:
    """After how many trials a search had dominated so much of the box; None if it never has."""
    share -= 1e-12  # the last bit depends on the way in which a front was put together
    coarse = sorted({max(1, len(trials) * step // COARSE) for step in range(1, COARSE + 1)})
    reached = [count for count, seen in zip(coarse, curve(trials, frame, coarse), strict=True) if seen >= share]
    if not reached:
        return None
    before = max((count for count in coarse if count < reached[0]), default=0)
    fine = range(before + 1, reached[0])  # the share never falls
    shares = curve(trials, frame, fine)
    return next((count for count, seen in zip(fine, shares, strict=True) if seen >= share), reached[0])


__all__ = ["BASELINE", "TERMS", "Against", "against", "baseline_of", "both", "first_at_least", "terms"]
