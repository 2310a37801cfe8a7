"""A study played against a search, without networks; and spaces to play it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from hwnas.space import Choice, Code, Space
from hwnas.testing.toys import GOALS, LIMITED, SPACE, SPREAD, judge, latency
from hwnas.trial import Goal, Search, Trial, excess, misfit

REPEATS = 100
"""So many steps without a new network end a search that does not end itself, as in a study."""

Values: TypeAlias = Mapping[str, float]


@dataclass
class Course:
    """What went over the border between a study and a search, in order."""

    asked: list[Code] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    deliveries: list[list[Trial]] = field(default_factory=list)
    ended: bool = False


def fitting(search: Search) -> tuple[tuple[Goal, ...], tuple[Goal, ...]]:
    """Goals of the toy problem that a search takes, two objectives if possible: without a limit, and with one."""
    bound = Goal("latency", latency, "min", limit=LIMITED[1].limit, objective=False)
    choices = ((GOALS, LIMITED), (GOALS[:1], (GOALS[0], bound)), ((*GOALS, SPREAD), (*LIMITED, SPREAD)))
    return next((free, limited) for free, limited in choices if not misfit(search, free))


def drive(
    search: Search,
    goals: Sequence[Goal] | None = None,
    space: Space = SPACE,
    judge: Callable[[Code], Values] = judge,
    seed: int = 0,
    budget: int = 100,
    lose: float = 0.0,
    shuffle: bool = False,
    fail: float = 0.0,
    earlier: Sequence[Trial] = (),
    unasked: Sequence[Code] = (),
) -> Course:
    """Plays the study until so many networks were asked for, the search ends, or nothing new comes for a long time.

    What is known is answered again, from memory. A trial over a limit has the values of limited goals only, since the
    others were never measured.

    Args:
        goals: None takes some that fit the search.
        judge: the values of a code by goal; goals with an `exact` function know theirs.
        budget: distinct codes.
        lose: the share of answers that never come.
        shuffle: answers come in any order, and some of them late.
        fail: the share of trials that fail.
        earlier: a warm start, delivered with the first answer.
        unasked: codes of which one more is delivered with every answer.
    """
    goals = fitting(search)[0] if goals is None else goals
    exact = {goal.name: goal.exact for goal in goals if goal.exact is not None}
    chance = np.random.default_rng([seed, 1])
    steps = search.steps(space, goals, np.random.default_rng(seed))
    course, others = Course(), list(unasked)
    known = {trial.code: trial for trial in earlier}
    limited = [goal.name for goal in goals if goal.limit is not None]

    def tried(code: Code) -> Trial:
        if code not in known:
            values = {**judge(code), **{name: value(code) for name, value in exact.items()}}
            trial = Trial(len(known), code, values, "done")
            if chance.random() < fail:
                trial = Trial(trial.number, code, state="failed", error="as planned")
            elif excess(trial, goals) > 0:
                trial = Trial(trial.number, code, {name: values[name] for name in limited}, "over_limit")
            known[code] = trial
        return known[code]

    waiting: list[Trial] = list(earlier)
    seen: set[Code] = set()
    codes, stale = next(steps), 0
    while len(seen) < budget and stale < REPEATS:
        stale = stale + 1 if seen.issuperset(codes) and not waiting else 0
        seen.update(codes)
        course.asked += codes
        waiting += [tried(code) for code in codes if chance.random() >= lose]
        if others:
            waiting.append(tried(others.pop()))
        share = len(waiting)
        if shuffle and waiting:
            waiting = [waiting[i] for i in chance.permutation(len(waiting))]
            share = int(chance.integers(1, len(waiting) + 1))
        delivery, waiting = waiting[:share], waiting[share:]
        course.trials += delivery
        course.deliveries.append(delivery)
        try:
            codes = steps.send(delivery)
        except StopIteration:
            course.ended = True
            break
    return course


def cube(*sizes: int) -> Space:
    """A space of independent choices."""
    return Space("cube", tuple(Choice(f"c{i}", tuple(range(size))) for i, size in enumerate(sizes)))


def rough(code: Code) -> dict[str, float]:
    """Two conflicting goals on any space."""
    return {"accuracy": float(sum(code)) + 0.3 * (code[0] % 2), "latency": float(sum(i * i for i in code))}


_WORDS = tuple("abcdefghijklmnop")
SKEWED = Space(
    "skewed",
    (
        Choice("door", _WORDS),
        Choice("hall", _WORDS, ("door", ("p",))),
        Choice("room", _WORDS, ("hall", ("p",))),
        *(Choice(f"thing{i}", (0, 1, 2, 3), ("room", ("p",))) for i in range(3)),
    ),
)
"""15 of 16 samples are of 15 networks; 64 hide behind three unlikely words and come once in 4096."""
