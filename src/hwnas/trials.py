"""Some trials with the questions one asks of them: who is feasible, who is on the front, who is best."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from hwnas import pareto
from hwnas.errors import ConfigError, RecordError, nearest
from hwnas.trial import Goal, Trial, losses

SETTLED = 10
"""Before so many networks are judged, the box around their values jumps, and a share of it says nothing."""


class Trials(Sequence[Trial]):
    """Some trials of a study, with the questions one asks of them; every answer is a plain value or fewer trials."""

    def __init__(self, trials: Iterable[Trial], goals: Sequence[Goal]) -> None:
        self._trials, self.goals = tuple(trials), tuple(goals)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> Trials: ...
    def __getitem__(self, index: int | slice) -> Trial | Trials:
        """One trial, or some."""
        if isinstance(index, slice):
            return Trials(self._trials[index], self.goals)
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    def __repr__(self) -> str:
        shown = ", ".join(f"#{trial.number}" for trial in self._trials[:8])
        return f"Trials({len(self)}: {shown}{' …' if len(self) > 8 else ''})"

    def where(self, keep: Callable[[Trial], bool]) -> Trials:
        """The trials for which a question is answered with yes."""
        return Trials(filter(keep, self._trials), self.goals)

    def done(self) -> Trials:
        """Those with all their values, over a limit or not."""
        names = [goal.name for goal in self.goals]
        return self.where(lambda trial: trial.state != "failed" and all(name in trial.values for name in names))

    def feasible(self) -> Trials:
        """Those that are done and keep every limit."""
        return self.where(lambda trial: trial.state == "done")

    def losses(self) -> Any:
        """Objectives as losses, smaller is better: T x M."""
        return losses(self._trials, self.goals)

    def front(self) -> Trials:
        """The feasible ones that no other feasible one beats, best first in the first objective."""
        feasible = self.feasible()
        if not feasible:
            return feasible
        values = feasible.losses()
        best = np.flatnonzero(pareto.ranks(values) == 0)
        order = sorted(best, key=lambda i: (tuple(values[i]), feasible[int(i)].number))
        return Trials([feasible[int(i)] for i in order], self.goals)

    def under(self, **limits: float) -> Trials:
        """Those that keep further limits: `under(latency=0.002)`; for a goal that is maximised it means "at least"."""
        chosen = [replace(self.goal(name), limit=limit) for name, limit in limits.items()]
        return self.where(
            lambda trial: all(goal.name in trial.values and goal.within(trial.values[goal.name]) for goal in chosen)
        )

    def best(self, name: str) -> Trial:
        """The best feasible trial in one goal; ties go to whoever is better in the others, then to the earlier one.

        Raises:
            RecordError: nothing is feasible.
        """
        goal, feasible = self.goal(name), self.feasible()
        if not feasible:
            raise RecordError(f"none of these {len(self)} trials is done and within the limits")
        others = [other for other in self.goals if other.name != name]
        return min(
            feasible,
            key=lambda t: (goal.loss(t.values[name]), [o.loss(t.values[o.name]) for o in others], t.number),
        )

    def knee(self) -> Trial:
        """The trial of the front where more of one goal begins to cost much of the others."""
        front = self.front()
        if not front:
            raise RecordError(f"none of these {len(self)} trials is done and within the limits")
        return front[pareto.knee(front.losses())]

    def goal(self, name: str) -> Goal:
        """A goal by name."""
        for goal in self.goals:
            if goal.name == name:
                return goal
        raise ConfigError(f"no goal is named {name!r}; {nearest(name, [goal.name for goal in self.goals])}")


class Best:
    """The front so far and the box around all values, kept trial by trial: what a live display shows costs no scan."""

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._goals = goals
        self._front: list[tuple[Trial, Any]] = []
        self._count = 0
        self._low: Any = np.inf
        self._high: Any = -np.inf

    def add(self, trial: Trial) -> None:
        """Takes a finished trial into account."""
        (values,) = losses([trial], self._goals)
        if not np.isfinite(values).all():
            return
        self._count += 1
        self._low, self._high = np.minimum(self._low, values), np.maximum(self._high, values)
        if trial.state != "done" or any((other <= values).all() for _, other in self._front):
            return
        self._front = [(old, other) for old, other in self._front if not (values <= other).all()] + [(trial, values)]

    def facts(self) -> dict[str, Any]:
        """The best value of every objective, and the share of the box that the front dominates."""
        if not self._front:
            return {}
        front = Trials([trial for trial, _ in self._front], self._goals)
        best = {goal.name: front.best(goal.name).values[goal.name] for goal in self._goals if goal.objective}
        if self._count < SETTLED or len(best) < 2:  # of one objective the best value says it all
            return {"best": best}
        own = np.stack([values for _, values in self._front])
        return {"best": best, "hypervolume": _share(own, self._low, self._high)}


def hypervolume(trials: Trials, frame: Trials | None = None) -> float:
    """The share of the box of objectives that the feasible trials dominate, 0 ... 1.

    The box reaches from the best to the worst value of every objective among the trials of `frame` (all by default).
    """
    return curve(trials, frame, [len(trials)])[0]


def curve(trials: Trials, frame: Trials | None, counts: Sequence[int]) -> list[float]:
    """What `hypervolume` says of the first so many trials, at several points of a search.

    Only the front so far is carried from point to point, so that ten thousand trials take no time.

    Args:
        frame: the trials that the box is made of, the same for all curves that are to be compared; None is `trials`.
        counts: how many of the first trials; ascending.
    """
    values = (trials if frame is None else frame).done().losses()
    if not len(values):
        return [0.0] * len(counts)
    low, high = values.min(axis=0), values.max(axis=0)
    own = trials.losses()
    feasible = [place for place, trial in enumerate(trials) if trial.state == "done"]
    best, shares, share, before = own[:0], [], 0.0, 0
    for count in counts:
        until = bisect.bisect_left(feasible, count)
        if until > before:
            both = np.concatenate([best, own[feasible[before:until]]])
            best, before = both[pareto.front(both)], until
            share = _share(best, low, high)
        shares.append(share)
    return shares


def _share(own: Any, low: Any, high: Any) -> float:
    """The share of the box from `low` to `high` that losses dominate."""
    span = np.where(high > low, high - low, 1.0)
    return float(pareto.hypervolume((own - low) / span, np.full(own.shape[1], 1.0 + 1e-9)))
