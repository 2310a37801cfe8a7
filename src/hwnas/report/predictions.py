"""What a search expected, held against what was measured: the honest error of its predictors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from hwnas.trial import Goal, Trial
from hwnas.trials import Trials


@dataclass(frozen=True)
class Round:
    """What a predictor said of itself at one step of the search.

    Args:
        networks: that had been asked for before.
        mape: its cross-validated relative error, as a share.
        tau: its cross-validated rank correlation (Kendall).
    """

    networks: int
    predictor: str
    mape: float | None
    tau: float | None


@dataclass(frozen=True)
class Predictions:
    """All that a search expected of one goal, and what came out."""

    goal: Goal
    trials: tuple[Trial, ...]
    rounds: tuple[Round, ...]

    @property
    def measured(self) -> list[float]:
        return [trial.values[self.goal.name] for trial in self.trials]

    @property
    def predicted(self) -> list[float]:
        return [float(trial.details[self.goal.name]["predicted"]) for trial in self.trials]

    @property
    def spread(self) -> list[float]:
        """A standard deviation for each, zero where none was told."""
        return [_doubt(trial.details[self.goal.name]) for trial in self.trials]

    @property
    def mape(self) -> float | None:
        """The mean relative error of what was predicted before it was measured; None without a pair."""
        from hwnas.predictors import mape

        return mape(np.array(self.measured), np.array(self.predicted)) if self.trials else None

    @property
    def tau(self) -> float | None:
        """Kendall's rank correlation between the same; None for fewer than two pairs."""
        from hwnas.predictors import tau

        return tau(np.array(self.measured), np.array(self.predicted)) if len(self.trials) > 1 else None

    def sentence(self) -> str:
        """One line: the last predictor's word on itself, and what became of the proposals."""
        last = self.rounds[-1] if self.rounds else Round(0, "", None, None)
        own = ", ".join(filter(None, (last.predictor, error_text(last.mape, last.tau, "cross-validated error "))))
        came = error_text(self.mape, self.tau, "", "")
        proposals = f"{len(self.trials):,} proposal{'' if len(self.trials) == 1 else 's'}"
        parts = [own, f"on {proposals} {came}" if came else ""]
        return f"predictor of {self.goal.name}: {'; '.join(filter(None, parts))}"

    def to_dict(self) -> dict[str, Any]:
        """For other programs."""
        rounds = [vars(own) for own in self.rounds]
        return {"proposals": len(self.trials), "mape": self.mape, "tau": self.tau, "rounds": rounds}


def error_text(
    error: float | None, rank: float | None, before: str = "error ", between: str = "rank correlation "
) -> str:
    """`error 0.3 %, rank correlation 0.91`, as far as it is known."""
    words = [
        f"{before}{percent(error)}" if error is not None else "",
        f"{between}{rank:.2f}" if rank is not None else "",
    ]
    return ", ".join(filter(None, words))


def percent(share: float) -> str:
    """A small share with a digit that counts: `0.31 %`, `2.4 %`, `18 %`."""
    value = 100 * share
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %" if value < 10 else f"{value:,.0f} %"


def predictions(trials: Trials, events: Iterable[Mapping[str, Any]]) -> list[Predictions]:
    """What a search expected, by goal, in the order of the goals; goals that nothing was said of are left out.

    Args:
        events: the diary, of which entries of the kind "step" hold what the search told of its predictors.
    """
    steps = [event for event in events if event.get("kind") == "step"]
    found = []
    for goal in trials.goals:
        own = tuple(trial for trial in trials if goal.name in trial.values and _is_number(_expected(trial, goal)))
        rounds = _rounds(steps, goal)
        if own or rounds:
            found.append(Predictions(goal, own, rounds))
    return found


def _rounds(steps: Sequence[Mapping[str, Any]], goal: Goal) -> tuple[Round, ...]:
    """What was told of one goal, step by step; a search may tell other things too."""
    rounds = []
    for step in steps:
        notes = step.get("notes")
        told = notes.get(goal.name) if isinstance(notes, Mapping) else None
        if isinstance(told, Mapping):
            error, rank = (float(told[key]) if _is_number(told.get(key)) else None for key in ("mape", "tau"))
            rounds.append(Round(int(step.get("networks", 0)), str(told.get("predictor", "")), error, rank))
    return tuple(rounds)


def without_expectation(details: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured, without what a search expected of it."""
    return {name: value for name, value in details.items() if name not in ("predicted", "predicted_spread")}


def _doubt(details: Mapping[str, Any]) -> float:
    spread = details.get("predicted_spread")
    return float(spread) if _is_number(spread) else 0.0


def _expected(trial: Trial, goal: Goal) -> Any:
    return trial.details.get(goal.name, {}).get("predicted")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


__all__ = ["Predictions", "Round", "error_text", "percent", "predictions", "without_expectation"]
