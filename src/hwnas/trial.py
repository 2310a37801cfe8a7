"""Metric, Search (protocols), Goal, Trial: how a candidate is judged, and what came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError
from hwnas.parts import contract
from hwnas.progress import Watch
from hwnas.space import Code, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = Literal["running", "done", "failed", "over_limit"]
Steps: TypeAlias = Generator[list[Code], list["Trial"], None]
"""What a search is: it yields the codes it wants judged and receives trials."""


class Wish(list[Code]):
    """Codes that a search asks for, with what it tells about them; a plain list tells nothing.

    Args:
        predicted: by code and goal: what the search expects, `{"predicted": 0.93, "predicted_spread": 0.01}`; it ends
            up in the details of the trial, where a report holds it against the truth.
        notes: what is worth a line in the record of this step, such as the error of a predictor; JSON-able.
    """

    def __init__(
        self,
        codes: Iterable[Code] = (),
        *,
        predicted: Mapping[Code, Mapping[str, Mapping[str, float]]] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(codes)
        self.predicted, self.notes = dict(predicted or {}), dict(notes or {})


@dataclass(frozen=True)
class Reading:
    """A measured value with what is worth keeping beside it: spread, p95, number of repeats …"""

    value: float
    details: Mapping[str, Any] = field(default_factory=dict)


@contract("quality", "hardware")
class Metric(Protocol):
    """Judges a candidate with one number: the contract of `quality/` and `hardware/`. A plain function is one too.

    A metric raises for a candidate that it cannot judge and never returns NaN. It leaves the candidate, the weights
    and every global random state as it found them. It may offer more, as attributes or methods of these names:

    - `prepare(watch)`: called once before the search, to train or to build tables; constructors only store options.
    - `many(candidates)`: a batch at once, one float or Reading each, in order.
    - `cheap = True`: costs next to nothing, so limits on it are checked before anything else runs.
    - `exact = True`: structural: the value follows from the code alone, so that a search may compute it.
    - `of_codes(codes)`: with `exact`: the values of many codes, N x G, at once and without building a network; None
      where this family allows no such thing.
    - `exclusive = True`: needs a quiet machine: never runs while other work does.
    - `confirmed()`: the metric that judges the finalists, on data or with care that the search never used.
    - `estimate(candidate)`: seconds that one judgement will take, before `prepare` has run.
    - `unit`: "s", "bytes", "%" …, for display; values themselves are SI.
    """

    def __call__(self, candidate: Candidate, /) -> float | Reading:
        """The candidate's value; which direction is better is the goal's business."""
        ...


@dataclass(frozen=True)
class Goal:
    """One thing that counts: a metric, which way is better, and where the limit lies.

    Args:
        name: the user's own word for it, such as "latency".
        metric: the spec of the metric, or a plain function where everything runs in this process.
        direction: "min" or "max".
        limit: the worst value that is allowed, in the metric's own unit; None is no limit.
        objective: False makes it a constraint only; without a limit it is measured and recorded, and changes nothing.
        exact: the value from the code alone, where the metric needs no measurement.
        exact_many: the same for N x G codes at once, where it need not build them.
        unit: for display.
    """

    name: str
    metric: Any
    direction: Literal["min", "max"]
    limit: float | None = None
    objective: bool = True
    exact: Callable[[Code], float] | None = None
    exact_many: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise ConfigError(f"goal {self.name!r} goes 'min' or 'max', not {self.direction!r}")
        if self.limit is not None and not math.isfinite(self.limit):
            raise ConfigError(f"the limit of goal {self.name!r} must be a finite number, not {self.limit!r}")

    def loss(self, value: float) -> float:
        """The value with its sign turned so that smaller is better; only searches and fronts see losses."""
        return value if self.direction == "min" else -value

    def excess(self, value: float) -> float:
        """How far a value lies beyond the limit, relative to the limit; 0.0 within it."""
        if self.limit is None:
            return 0.0
        return max(0.0, (self.loss(value) - self.loss(self.limit)) / (abs(self.limit) or 1.0))

    def within(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        return self.limit is None or self.loss(value) <= self.loss(self.limit)


@dataclass(frozen=True)
class Trial:
    """What came out for one code.

    Args:
        number: in the order of asking, from 0.
        values: what was measured, by goal; a trial over the limit of a cheap goal lacks the dear ones.
        state: "running", "done", "failed" (see `error`) or "over_limit".
        seconds: the time that its measurements took.
        attempts: how often it was begun; a killed worker costs one.
        details: by goal: spread, p95 and whatever else the metric told.
    """

    number: int
    code: Code
    values: Mapping[str, float] = field(default_factory=dict)
    state: State = "running"
    seconds: float = 0.0
    attempts: int = 1
    error: str = ""
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state != "running"


@contract("algorithms")
class Search(Protocol):
    """Decides which network to try next: the contract of `algorithms/`.

    A search reads like its pseudo-code and owns no files, processes or logs. It accepts trials that it did not ask
    for (a warm start), trials that failed or lie over a limit, and may get back none, some or all of what it asked
    for; yielding an empty list means "I wait". It takes randomness from `rng` alone: the same seed and the same
    deliveries give the same codes again, which is how a run is resumed.
    """

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """The search itself, as a generator that ends when it has nothing more to ask."""
        ...

    def objectives(self) -> tuple[int, int | None]:
        """The least and the greatest number of objectives that it can pursue; None is any number."""
        return (1, None)


def misfit(search: Search, goals: Sequence[Goal]) -> str:
    """Why a search cannot pursue these goals, in a sentence without its name; empty if it can."""
    count = sum(goal.objective for goal in goals)
    least, most = search.objectives() if hasattr(search, "objectives") else (1, None)
    if least <= count and (most is None or count <= most):
        return ""
    span = f"{least} or more" if most is None else f"{least}" if least == most else f"{least} to {most}"
    plural = "" if span == "1" else "s"
    return f"takes {span} objective{plural}, and there {'is' if count == 1 else 'are'} {count}"


def evaluated(codes: Sequence[Code]) -> Generator[list[Code], list[Trial], list[Trial]]:
    """Asks for a generation and waits for all of it: `trials = yield from evaluated(codes)`.

    Returns:
        Everything that arrived meanwhile, unasked trials included, in order of arrival. If the study stops answering
        (two empty deliveries in a row after asking), what is there is returned.
    """
    waiting = set(codes)
    arrived: list[Trial] = []
    asking, silence = list(codes), 0
    while waiting and silence < 2:
        trials = yield asking
        silence = 0 if trials or asking else silence + 1
        asking = []
        arrived += trials
        waiting -= {trial.code for trial in trials}
    return arrived


def losses(trials: Sequence[Trial], goals: Sequence[Goal]) -> NDArray[np.float64]:
    """The objectives of trials as losses: smaller is better; +inf where a value is missing.

    Returns:
        T x M, M the number of objectives.
    """
    objectives = [goal for goal in goals if goal.objective]
    rows = [
        [
            goal.loss(trial.values.get(goal.name, math.inf if goal.direction == "min" else -math.inf))
            for goal in objectives
        ]
        for trial in trials
    ]
    return np.array(rows, dtype=float).reshape(len(trials), len(objectives))


def excess(trial: Trial, goals: Sequence[Goal]) -> float:
    """How far a trial lies beyond all limits together; +inf for a failed one, 0.0 for one that keeps them all."""
    if trial.state == "failed":
        return math.inf
    return sum(goal.excess(trial.values[goal.name]) for goal in goals if goal.name in trial.values)


__all__ = [
    "Goal",
    "Metric",
    "Reading",
    "Search",
    "State",
    "Steps",
    "Trial",
    "Watch",
    "Wish",
    "evaluated",
    "excess",
    "losses",
    "misfit",
]
