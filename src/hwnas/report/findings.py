"""What a run says: its record read once, and the few networks and sentences that a reader wants first."""

from __future__ import annotations

import functools
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hwnas.report.baseline import Against, against, baseline_of, both
from hwnas.report.predictions import Predictions, predictions
from hwnas.space import Code
from hwnas.study import Study
from hwnas.trial import Goal, Trial, excess
from hwnas.trials import Trials
from hwnas.units import change, plural, scale, show


class Findings:
    """A study as a report sees it at one moment; everything that may be missing is None or empty."""

    def __init__(self, study: Study) -> None:
        self.study, self.goals, self.space = study, study.goals, study.space
        self.facts: dict[str, Any] = study.run.facts()
        self.events = study.run.events()
        self.searched, self.confirmed = study.trials(), study.trials("confirm")
        self.states = Counter(trial.state for trial in self.searched)
        self.objectives = tuple(goal for goal in self.goals if goal.objective)
        self.axes = tuple(sorted(self.goals, key=lambda goal: not goal.objective))

    @functools.cached_property
    def judged(self) -> Trials:
        """The trials that count for the verdict: the confirmed ones if there are any, else those of the search."""
        return self.confirmed if self.confirmed.feasible() else self.searched

    @functools.cached_property
    def front(self) -> Trials:
        """The Pareto front, as `Study.front` has it."""
        return self.judged.front()

    @functools.cached_property
    def found(self) -> Trials:
        """The front as the search left it."""
        return self.searched.front()

    @functools.cached_property
    def largest(self) -> Code:
        """The network that all others are compared with."""
        return self.study.family.canonical(self.space.largest)

    @functools.cached_property
    def numbers(self) -> dict[Code, int]:
        """How the search calls each network."""
        return {trial.code: trial.number for trial in self.searched}

    @functools.cached_property
    def random(self) -> Trials | None:
        """The random search that was made beside this one, to compare with."""
        beside = baseline_of(self.study)
        return beside.trials() if beside is not None else None

    @functools.cached_property
    def against(self) -> Against | None:
        """What the search was worth against the random one."""
        return against(self.searched, self.random) if self.random is not None else None

    @functools.cached_property
    def frame(self) -> Trials:
        """The trials whose values make the box that all curves of hypervolume share."""
        return both(self.searched, self.random) if self.random is not None else self.searched

    @functools.cached_property
    def predictions(self) -> list[Predictions]:
        """What the search expected of its proposals, by goal."""
        return predictions(self.searched, self.events)

    def name(self, code: Code) -> str:
        """A network's short name."""
        if code in self.numbers:
            return f"#{self.numbers[code]}"
        return "largest" if code == self.largest else "unnumbered"

    # --- the networks a reader wants first --------------------------------------------------------------------------

    @functools.cached_property
    def chosen(self) -> Trial | None:
        """The network to deploy: the run's own choice; before there is one, the knee of the front."""
        if "chosen" in self.facts and self.facts["chosen"] is None:
            return None  # no finalist held its limits when it was measured again
        code = tuple(self.facts.get("chosen", ()))
        found = _find(code, self.confirmed.done()) or _find(code, self.searched.done())
        return found or (self.judged.knee() if self.front else None)

    @property
    def role(self) -> str:
        """What the chosen network is called: before the run has chosen one, it is only suggested."""
        return "chosen" if self.facts.get("chosen") else "suggested"

    @property
    def reason(self) -> str:
        """By what rule it was chosen."""
        given = self.facts.get("chosen_name") if self.facts.get("chosen") else None
        return str(given or ("knee of the front" if len(self.objectives) > 1 else f"best {self.goals[0].name}"))

    @functools.cached_property
    def is_confirmed(self) -> bool:
        """Whether the chosen network's values are those of the second, independent measurement."""
        return any(trial is self.chosen for trial in self.confirmed)

    @functools.cached_property
    def baseline(self) -> Trial | None:
        """The largest network, judged as the chosen one was; else as the search, or the check of the limits, saw it."""
        stages = (self.confirmed, self.searched) if self.is_confirmed else (self.searched,)
        for stage in stages:
            found = _find(self.largest, stage)
            if found is not None:
                return found
        limits = self.facts.get("limits", {})
        values = {name: float(known["largest"]) for name, known in limits.items() if known.get("largest") is not None}
        return Trial(-1, self.largest, values, "done") if values else None

    @functools.cached_property
    def alternative(self) -> Trial | None:
        """What one would take instead: the knee of the front without the chosen one, else the best of the others."""
        taken = {self.largest, self.chosen.code if self.chosen else ()}
        for trials in (self.front, self.judged.feasible()):
            others = trials.where(lambda trial: trial.code not in taken)
            if others:
                return others.knee()
        return None

    @functools.cached_property
    def knee(self) -> Trial | None:
        """Where more of one objective begins to cost much of the others."""
        return self.front.knee() if self.front and len(self.objectives) > 1 else None

    @functools.cached_property
    def closest(self) -> Trial | None:
        """Where nothing keeps the limits: what comes closest to it."""
        missed = [trial for trial in (*self.confirmed, *self.searched) if trial.state == "over_limit"]
        return min(missed, key=lambda trial: excess(trial, self.goals), default=None)

    # --- how far the run is -----------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the run came to its end: nothing is under way, and whoever drove it said so."""
        if any(not trial.finished for trial in (*self.searched, *self.confirmed)):
            return False
        interrupted = bool(self.events) and self.events[-1]["kind"] == "interrupted"
        return not interrupted and bool(self.facts.get("finished", "config" not in self.facts))

    @property
    def count(self) -> int:
        """How many networks are judged, whatever came out."""
        return len(self.searched) - self.states["running"]

    @property
    def resume(self) -> str:
        """The command that goes on with this run."""
        return f"hwnas resume {self._folder}"

    @property
    def search(self) -> str:
        """The name of the search; empty where the record does not tell."""
        config = self.facts.get("config")
        spec = config.get("search") if isinstance(config, Mapping) else None
        name = next(iter(spec), "") if isinstance(spec, Mapping) else spec
        return str(name or "").strip("<>").rpartition(".")[2]

    @property
    def baseline_command(self) -> str:
        """The command that makes the random search to compare with; empty where there is one, or no need of one."""
        wanted = self.random is None and self.search not in ("", "random")
        return f"hwnas baseline {self._folder}" if wanted else ""

    @property
    def _folder(self) -> str:
        path = self.study.run.records.path
        return shlex.quote(str(path.parent if path else self.study.bench.setup.folder))

    @property
    def progress(self) -> str:
        """What to know of a run that has not finished; empty for one that has."""
        if self.finished:
            return ""
        config = self.facts.get("config")
        budget = config.get("budget") if isinstance(config, Mapping) else None
        done = f"{self.count:,} of {plural(budget, 'network')}" if budget else plural(self.count, "network")
        return f"This run has not finished: {done} judged so far. Go on with:"

    # --- limits and noise in words ----------------------------------------------------------------------------------

    def limit(self, goal: Goal) -> str:
        """A goal's limit: `1.39 ms (60 % of the largest)`; empty without one."""
        if goal.limit is None:
            return ""
        given = self.facts.get("limits", {}).get(goal.name, {}).get("given")
        share = f" ({given.rstrip('% ')} % of the largest)" if isinstance(given, str) else ""
        return show(goal.limit, goal.unit) + share

    def noise(self, goal: Goal) -> str:
        """What a goal's values are worth: its repeat error; empty where values do not vary."""
        known = self.facts.get("noise", {}).get(goal.name)
        if known is not None:
            return f"repeat error ±{100 * known:.1f} %"
        return "repeat error not measured" if goal.unit == "s" else ""


def verdict(found: Study | Findings) -> str:
    """The answer of a run in one plain sentence.

    Example: "From 2.31 ms to 1.32 ms (−43 %) at 98.1 % accuracy, −0.3 points; limit 1.39 ms kept."
    """
    found = found if isinstance(found, Findings) else Findings(found)
    if found.chosen is None:
        return _nothing(found)
    base = found.baseline.values if found.baseline and found.chosen.code != found.largest else {}
    costs = [_cost(goal, found.chosen, base) for goal in found.objectives if goal.direction == "min"]
    gains = [_gain(goal, found.chosen, base) for goal in found.objectives if goal.direction == "max"]
    text = " at ".join(" and ".join(phrases) for phrases in (costs, gains) if phrases)
    known = text[0].upper() + text[1:] if base else f"Found: {text}"
    text = known if found.finished else f"So far: {text}"
    if found.chosen.code == found.largest:
        text += ", the largest network itself"
    limits = "; ".join(_kept(found, goal, found.chosen) for goal in found.goals if goal.limit is not None)
    return f"{text}; {limits}." if limits else f"{text}."


def _nothing(found: Findings) -> str:
    if not found.count:
        return "No network has been judged yet."
    failed = found.states["failed"]
    if failed == found.count:
        return f"Every network that was judged failed: {failed} of {failed}."
    text = f"None of {plural(found.count, 'network')} keeps every limit"
    if found.searched.feasible():
        text = "No finalist kept every limit when it was measured again"
    text += f" ({failed} failed)" if failed else ""
    if found.closest is None:
        return f"{text}."
    missed = [goal for goal in found.goals if goal.excess(found.closest.values.get(goal.name, goal.limit or 0.0)) > 0]
    if not missed:  # the limits were other ones then
        return f"{text}."
    near = " and ".join(
        f"{show(found.closest.values[goal.name], goal.unit)} {goal.name} against a limit of {found.limit(goal)}"
        for goal in missed
    )
    return f"{text}; the closest, {found.name(found.closest.code)}, has {near}."


def _cost(goal: Goal, trial: Trial, base: Mapping[str, float]) -> str:
    value = trial.values[goal.name]
    if goal.name not in base:
        return f"{show(value, goal.unit)} {goal.name}"
    what = f"{goal.name} " if goal.unit in ("", "MACs") else ""  # other units say themselves what is meant
    difference = change(value, base[goal.name], goal.unit)
    shown = scale(goal.unit, [value, base[goal.name]])
    ends = f"from {shown(base[goal.name])} to {shown(value)}"
    return f"{what}{ends} ({difference})" if difference else f"{what}{ends}"


def _gain(goal: Goal, trial: Trial, base: Mapping[str, float]) -> str:
    value = trial.values[goal.name]
    difference = change(value, base[goal.name], goal.unit) if goal.name in base else ""
    return f"{show(value, goal.unit)} {goal.name}" + (f", {difference}" if difference else "")


def _kept(found: Findings, goal: Goal, trial: Trial) -> str:
    only = sum(other.limit is not None for other in found.goals) == 1 and goal.objective
    value, limit = trial.values[goal.name], show(goal.limit or 0.0, goal.unit)
    outcome = "kept" if goal.within(value) else f"broken: {show(value, goal.unit)}"
    return f"{'' if only else goal.name + ' '}limit {limit} {outcome}"


def _find(code: Code, trials: Trials) -> Trial | None:
    return next((trial for trial in trials if trial.code == code and trial.values), None)


__all__ = ["Findings", "verdict"]
