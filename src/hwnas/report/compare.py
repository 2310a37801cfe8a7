"""Runs side by side: one box for all of them, one table, one page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, RunMismatchError
from hwnas.report.baseline import baseline_of, both
from hwnas.report.findings import Findings
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.trials import Trials, curve
from hwnas.units import duration, plural, scale, show

RANDOM = "random search"
PARTS_OF_SEARCH = (0.25, 0.5, 1.0)
"""The shares of its evaluations after which a search's hypervolume is told."""


@dataclass(frozen=True)
class Side:
    """One run of a comparison, or a random search that belongs to one or more of them.

    Args:
        name: as its user calls it.
        beside: for a random search: the runs that it was made for.
    """

    name: str
    found: Findings
    beside: tuple[str, ...] = ()

    @property
    def judged(self) -> Trials:
        """What the search has judged so far; all that is compared rests on these values."""
        return self.found.searched.where(lambda trial: trial.finished)

    @property
    def chosen(self) -> Trial | None:
        """What the run would deploy; a random search chooses nothing."""
        return None if self.beside else self.found.chosen

    @property
    def seconds(self) -> float | None:
        """What all of it took; None where nobody noted it."""
        known = self.found.facts.get("seconds")
        return float(sum(known.values())) if known else None


class Comparison:
    """Runs of one and the same question, and the random searches beside them.

    Args:
        studies: by the names that their user gives them.

    Raises:
        RunMismatchError: their families, spaces or goals differ, so their numbers mean different things.
        ConfigError: there is nothing to compare.
    """

    def __init__(self, studies: Mapping[str, Study]) -> None:
        _reject_differing(studies)
        runs = [Side(name, Findings(study)) for name, study in studies.items()]
        self.sides = (*runs, *_random_sides(studies))
        if len(self.sides) < 2:
            hint = "name another run, or make a random search beside this one: hwnas baseline DIR"
            raise ConfigError("a comparison needs two runs or more", hint=hint)
        self.goals = runs[0].found.goals
        self.space = runs[0].found.space
        self.frame = both(*(side.judged for side in self.sides))
        self.notes = _notes(studies)

    @property
    def runs(self) -> tuple[Side, ...]:
        """The sides that somebody asked for."""
        return tuple(side for side in self.sides if not side.beside)

    @property
    def common(self) -> int:
        """After so many networks all of them can be compared."""
        return min(len(side.judged) for side in self.sides)

    def volume(self, side: Side, count: int) -> float:
        """The share of the common box that a side's first networks dominate, 0 ... 1."""
        return curve(side.judged, self.frame, [count])[0]

    def rows(self) -> list[tuple[str, list[str]]]:
        """The table: what is compared, and a cell for every side."""
        sides = self.sides
        rows = [
            ("search", [side.found.search or "–" for side in sides]),
            ("budget", [_budget(side) for side in sides]),
            ("networks judged", [f"{len(side.judged):,}" for side in sides]),
            ("failed", [f"{side.found.states['failed']:,}" for side in sides]),
            ("networks on the front", [f"{len(side.found.found):,}" for side in sides]),
        ]
        for part in PARTS_OF_SEARCH:
            counts = [_part(side, part) for side in sides]
            label = f"box dominated at {100 * part:.0f} %" if part < 1 else "box dominated at the end"
            rows.append((label, [self._share(side, count) for side, count in zip(sides, counts, strict=True)]))
        if len({len(side.judged) for side in sides}) > 1:
            for count in sorted({max(1, self.common // 2), self.common}):
                label = f"box dominated after {plural(count, 'network')}"
                rows.append((label, [self._share(side, count) for side in sides]))
        objectives = [goal for goal in self.goals if goal.objective]
        rows += [(f"best {goal.name}", _values(goal, [_best(side, goal) for side in sides])) for goal in objectives]
        rows.append(("chosen", [side.found.name(side.chosen.code) if side.chosen else "–" for side in sides]))
        chosen = [side.chosen for side in sides]
        rows += [(f"chosen: {goal.name}", _values(goal, chosen)) for goal in self.goals]
        rows.append(("time", ["–" if side.seconds is None else duration(side.seconds) for side in sides]))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """For other programs: values in SI units, shares 0 ... 1, a curve for every side."""
        return {
            "goals": [goal.name for goal in self.goals],
            "notes": self.notes,
            "runs": [*map(self._plain, self.sides)],
        }

    def _plain(self, side: Side) -> dict[str, Any]:
        count = len(side.judged)
        counts = sorted({max(1, round(count * step / 100)) for step in range(1, 101)}) if count else []
        objectives = [goal for goal in self.goals if goal.objective]
        bests = [(goal, _best(side, goal)) for goal in objectives]
        return {
            "name": side.name,
            "beside": list(side.beside),
            "search": side.found.search,
            "budget": (side.found.facts.get("config") or {}).get("budget"),
            "finished": side.found.finished,
            "judged": count,
            "failed": side.found.states["failed"],
            "front": [{"number": t.number, "code": list(t.code), "values": dict(t.values)} for t in side.found.found],
            "hypervolume": {f"{100 * part:.0f}%": self.volume(side, _part(side, part)) for part in PARTS_OF_SEARCH},
            "hypervolume_at": {str(self.common): self.volume(side, self.common)},
            "curve": [list(pair) for pair in zip(counts, curve(side.judged, self.frame, counts), strict=True)],
            "best": {goal.name: best.values[goal.name] if best else None for goal, best in bests},
            "chosen": dict(side.chosen.values) if side.chosen else None,
            "seconds": side.seconds,
        }

    def _share(self, side: Side, count: int) -> str:
        return f"{100 * self.volume(side, count):.1f} %" if count else "–"


def write(comparison: Comparison, path: Path) -> Path:
    """Writes a comparison as one HTML file that opens offline; it appears whole or not at all.

    Returns:
        The path.
    """
    from hwnas.report import plots, sheet

    fronts, volumes = plots.overlaid_fronts(comparison), plots.overlaid_volumes(comparison)
    text = sheet.assembled(
        "compare.html.j2",
        [*fronts, *([volumes] if volumes else [])],
        _record(comparison),
        comparison=comparison,
        rows=comparison.rows(),
        fronts=fronts,
        volumes=volumes,
        limits=[(goal.name, show(goal.limit, goal.unit)) for goal in comparison.goals if goal.limit is not None],
    )
    return sheet.placed(text, path)


# --- what may be compared ---------------------------------------------------------------------------------------------


def _reject_differing(studies: Mapping[str, Study]) -> None:
    """Everything that gives a number its meaning must be the same in all runs; the first difference is told."""
    (first, *rest) = studies.items()
    meaning = _meaning(first[1])
    for name, study in rest:
        other = _meaning(study)
        for key in sorted({**meaning, **other}, key=lambda key: key == _ORDER):
            if meaning.get(key) != other.get(key):
                here, there = (known.get(key, "not there") for known in (meaning, other))
                told = f"{key} is {here} in {first[0]} and {there} in {name}"
                raise RunMismatchError(
                    f"these runs cannot be compared: {told}",
                    hint="compare runs of one family and of the same goals; searches, budgets and seeds may differ",
                )


_ORDER = "the order of the goals"
"""The last of all differences, since it follows from most others."""


def _meaning(study: Study) -> dict[str, str]:
    """By the name under which a difference is told: what its numbers are numbers of."""
    identity = study.run.identity
    meaning = {"family": str(identity.get("family", study.family.name))}
    for goal in study.goals:
        meaning[f"goal {goal.name}"] = " ".join(
            filter(None, (goal.direction, str(identity.get(f"goals.{goal.name}", ""))))
        )
        if not goal.objective:
            meaning[f"goal {goal.name}"] += ", a constraint only"
    meaning[_ORDER] = ", ".join(goal.name for goal in study.goals if goal.objective)
    meaning["the space"] = study.space.fingerprint
    return meaning


def _notes(studies: Mapping[str, Study]) -> list[str]:
    """Differences that leave the numbers comparable, or nearly so, and must be known."""
    notes = []
    for key, told in (("data", "data sets"), ("weights", "shared weights"), ("seed", "seeds")):
        if len({str(study.run.identity.get(key)) for study in studies.values()}) > 1:
            notes.append(f"The runs have different {told}.")
    (first, *_) = studies.values()
    for goal in first.goals:
        limits = {name: next(g for g in study.goals if g.name == goal.name) for name, study in studies.items()}
        if len({own.limit for own in limits.values()}) > 1:
            told = ", ".join(f"{_limit(own)} in {name}" for name, own in limits.items())
            notes.append(f"The limits on {goal.name} differ: {told}.")
    return notes


def _limit(goal: Goal) -> str:
    return "none" if goal.limit is None else show(goal.limit, goal.unit)


def _random_sides(studies: Mapping[str, Study]) -> list[Side]:
    """The random searches beside the runs, each once, whoever it was made for."""
    kinds: list[tuple[list[str], Study, list[Any]]] = []
    for name, study in studies.items():
        beside = baseline_of(study)
        if beside is None:
            continue
        content = [(trial.code, trial.values, trial.state) for trial in beside.trials() if trial.finished]
        for place, (names, _, known) in enumerate(kinds):
            short, long = sorted((known, content), key=len)
            if long[: len(short)] == short:  # of one seed: the same, or the same cut short by a smaller budget
                kinds[place] = ([*names, name], beside if content is long else kinds[place][1], long)
                break
        else:
            kinds.append(([name], beside, content))
    only = len(kinds) == 1
    return [
        Side(RANDOM if only else f"{RANDOM} of {', '.join(names)}", Findings(beside), tuple(names))
        for names, beside, _ in kinds
    ]


# --- cells ------------------------------------------------------------------------------------------------------------


def _part(side: Side, part: float) -> int:
    return round(part * len(side.judged))


def _budget(side: Side) -> str:
    budget = (side.found.facts.get("config") or {}).get("budget")
    if side.beside:
        return f"{len(side.judged):,}"
    return f"{budget:,}" if budget else "–"


def _best(side: Side, goal: Goal) -> Trial | None:
    feasible = side.judged.feasible()
    return feasible.best(goal.name) if feasible else None


def _values(goal: Goal, trials: Sequence[Trial | None]) -> list[str]:
    """One goal's values in a unit that suits all of them."""
    known = [trial.values.get(goal.name) if trial is not None else None for trial in trials]
    own = scale(goal.unit, [value for value in known if value is not None])
    return ["–" if value is None else own(value) for value in known]


def _record(comparison: Comparison) -> dict[str, Any]:
    """All that was judged, for whoever saves it from the page."""
    return {
        "run": "comparison",
        "goals": [{"name": g.name, "direction": g.direction, "unit": g.unit} for g in comparison.goals],
        "choices": [{"name": c.name, "values": c.values, "when": c.when} for c in comparison.space.choices],
        "trials": [
            {"stage": "search", "run": side.name, **vars(trial)} for side in comparison.sides for trial in side.judged
        ],
    }


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names for run folders: their last parts, as many as are needed to tell them apart.

    Example:
        >>> names_of([Path("runs/a"), Path("runs/b"), Path("old/b")])
        ['a', 'runs/b', 'old/b']
    """
    names = []
    for path in paths:
        parts = Path(os.path.normpath(path.absolute())).parts
        others = [Path(os.path.normpath(other.absolute())).parts for other in paths if other is not path]
        depth = next((n for n in range(1, len(parts)) if all(o[-n:] != parts[-n:] for o in others)), len(parts))
        names.append("/".join(parts[-depth:]).replace("//", "/"))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"the run {twice} is named twice", hint="name every run once")
    return names


__all__ = ["Comparison", "Side", "names_of", "write"]
