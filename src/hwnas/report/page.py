"""The page: everything that a run found in one HTML file that needs no network."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.layers import Layer, macs, params
from hwnas.report import drawing, plots, sheet
from hwnas.report.findings import Findings, verdict
from hwnas.report.predictions import percent
from hwnas.space import Code
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.trials import Trials
from hwnas.units import Scale, change, duration, plural, scale, show, tied

LISTED = 200
"""So many rows of a long table are written out; the data at the end of the page are complete."""


@dataclass(frozen=True)
class Network:
    """One column of the comparison: a network, the role that it plays, and how it came to it."""

    role: str
    note: str
    trial: Trial
    layers: Sequence[Layer]


@dataclass(frozen=True)
class Cell:
    """A value, its change against the largest network, and what belongs right beside it."""

    text: str
    notes: tuple[str, ...] = ()
    change: str = ""
    broken: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    cells: Sequence[Cell]
    notes: tuple[str, ...] = ()


def write(study: Study, path: Path) -> Path:
    """Writes the report of a run, finished or not, as one HTML file that opens offline.

    The file appears whole or not at all, so that a browser may reload it while the run goes on.

    Returns:
        The path.
    """
    return sheet.placed(render(Findings(study)), path)


def render(found: Findings) -> str:
    """The page as text. Everything that the record holds is escaped, and no script but the page's own may run."""
    fronts, predictors = plots.fronts(found), plots.predictors(found)
    progress, training = plots.progress(found), plots.training(found)
    drawn = [plot for plot in (*fronts, progress, *predictors, training) if plot]
    networks = _networks(found)
    return sheet.assembled(
        "page.html.j2",
        drawn,
        _record(found),
        found=found,
        run=found.study.run,
        family=found.study.family,
        verdict=tied(verdict(found)),
        plural=plural,
        size=_magnitude(found.space.size),
        tiles=_tiles(found),
        networks=networks,
        comparison=_comparison(found, networks),
        reading=_reading(found, networks),
        fronts=fronts,
        progress=progress,
        predictors=predictors,
        training=training,
        listed=_listed(found),
        again=_again(found),
        predicted=_predicted(found),
        drawing=_drawing(found),
        layers=_layers(found, networks),
        export=_export(found),
        gaps=_gaps(found),
        notes=_notes(found),
        errors=_errors(found.searched),
        environment=_flat(found.facts.get("environment") or {}),
        seconds=[(phase, duration(seconds)) for phase, seconds in found.facts.get("seconds", {}).items()],
        config=_yaml(found.facts.get("config")),
    )


# --- the networks compared --------------------------------------------------------------------------------------------


def _networks(found: Findings) -> list[Network]:
    """Largest, chosen and alternative, as far as there are any; where nothing is feasible, what came closest."""
    if found.chosen is None and found.closest is None:
        return []
    roles: list[tuple[str, str, Trial | None]] = [("Largest", "", found.baseline)]
    if found.chosen is None:
        roles.append(("Closest", "to the limits", found.closest))
    elif found.chosen.code != found.largest:
        roles.append((found.role.capitalize(), found.reason, found.chosen))
    if found.chosen is not None and found.alternative is not None:
        is_knee = found.knee is not None and found.knee.code == found.alternative.code
        place = "of the front" if any(trial is found.alternative for trial in found.front) else ""
        roles.append(("Knee" if is_knee else "Runner-up", place, found.alternative))
    return [
        Network(
            role,
            ", ".join(filter(None, (found.name(trial.code) if trial.code in found.numbers else "", note))),
            trial,
            _table(found.study, trial.code),
        )
        for role, note, trial in roles
        if trial is not None
    ]


def _table(study: Study, code: Code) -> Sequence[Layer]:
    """A network's layers; none where the family cannot build it."""
    try:
        return study.bench.candidate(code).layers
    except Exception:  # noqa: BLE001  # a family's own error must not cost the report of a long run
        return ()


def _comparison(found: Findings, networks: Sequence[Network]) -> list[Row]:
    rows = []
    for goal in found.goals:
        own = scale(goal.unit, [n.trial.values[goal.name] for n in networks if goal.name in n.trial.values])
        cells = [_value(found, goal, network.trial, own) for network in networks]
        rows.append(Row(goal.name, cells, _remarks(found, goal)))
        spread = [network.trial.details.get(goal.name, {}) for network in networks]
        if any("p95" in details for details in spread):
            rows.append(Row(f"{goal.name}, median / 95th percentile", [_tail(details, own) for details in spread]))
    names = {goal.name.lower() for goal in found.goals}
    for name, count in (("MACs", macs), ("parameters", params)):
        if any(network.layers for network in networks) and name.lower() not in names:
            counts = [count(network.layers) for network in networks]
            cells = [Cell(show(number, "")) if number else Cell("–") for number in counts]
            rows.append(Row(name, cells, ("of one input",) if count is macs else ()))
    files = [_bytes(network.trial) for network in networks]
    if any(files):
        rows.append(Row("file", [Cell(show(size, "bytes")) if size else Cell("–") for size in files], ("as timed",)))
    return rows


def _reading(found: Findings, networks: Sequence[Network]) -> str:
    """How to read the comparison, as far as it has intervals and noise."""
    details = [details for network in networks for details in network.trial.details.values()]
    intervals = "Ranges are 95 % intervals." if any("low" in own for own in details) else ""
    noise = "A difference below the repeat error means nothing." if found.facts.get("noise") else ""
    return f"{intervals} {noise}".strip()


def _value(found: Findings, goal: Goal, trial: Trial, own: Scale) -> Cell:
    if goal.name not in trial.values:
        return Cell("–", ("not measured",))
    value = trial.values[goal.name]
    base = found.baseline.values if found.baseline and found.baseline.code != trial.code else {}
    difference = change(value, base[goal.name], goal.unit) if goal.name in base else ""
    interval = _interval(trial.details.get(goal.name, {}), own)
    return Cell(own(value), (interval,) if interval else (), difference, not goal.within(value))


def _interval(details: Mapping[str, Any], own: Scale) -> str:
    """`1.30 … 1.34 ms`: the 95 % interval; empty where none is known."""
    low, high = details.get("low"), details.get("high")
    return "" if low is None or high is None else f"{own.number(low)} … {own(high)}"


def _tail(details: Mapping[str, Any], own: Scale) -> Cell:
    if "p95" not in details:
        return Cell("–")
    passes = (f"{details['repeats']:,} passes",) if "repeats" in details else ()
    return Cell(f"{own.number(details.get('p50', details['p95']))} / {own(details['p95'])}", passes)


def _remarks(found: Findings, goal: Goal) -> tuple[str, ...]:
    """What belongs beside a goal's name: its limit, its noise, how it was measured."""
    remarks = [f"limit {found.limit(goal)}" if goal.limit is not None else "", found.noise(goal)]
    details = (found.chosen or found.closest or Trial(0, ())).details.get(goal.name, {})
    if "threads" in details:
        remarks.append(", ".join(filter(None, (details.get("runtime", ""), plural(details["threads"], "thread")))))
    thing = next((word for word in ("image", "example") if f"{word}s" in details), "")  # older runs told of images
    if thing:
        split = {"val": "validation"}.get(details.get("split", ""), details.get("split", ""))
        remarks.append(plural(details[f"{thing}s"], f"{split} {thing}".strip()))
    return tuple(remark for remark in remarks if remark)


def _bytes(trial: Trial) -> int:
    return max((int(details.get("bytes") or 0) for details in trial.details.values()), default=0)


def _tiles(found: Findings) -> list[dict[str, Any]]:
    """The chosen network's values, large."""
    if found.chosen is None:
        return []
    tiles = []
    for goal in found.goals:
        own = scale(goal.unit, [found.chosen.values[goal.name]])
        cell = _value(found, goal, found.chosen, own)
        tiles.append({"name": goal.name, "cell": cell, "remarks": _remarks(found, goal)[:2]})
    known = found.facts.get("export") or {}
    if known.get("bytes"):
        note = (str(known.get("format", "")).upper(),) if known.get("format") else ()
        tiles.append({"name": "file to deploy", "cell": Cell(show(known["bytes"], "bytes"), note), "remarks": ()})
    return tiles


def _drawing(found: Findings) -> str:
    shown = found.chosen or found.closest
    return drawing.svg(found.space, shown.code, found.largest) if shown else ""


def _layers(found: Findings, networks: Sequence[Network]) -> dict[str, Any] | None:
    """The table of the network that the page is about."""
    own = next((network for network in networks[::-1] if network.role not in ("Knee", "Runner-up")), None)
    if own is None or not own.layers:
        return None
    whole = macs(own.layers) or 1
    rows = [
        {
            "name": layer.name or "(network)",
            "op": layer.op,
            "output": " × ".join(map(str, layer.output)),
            "macs": show(layer.macs, "") if layer.macs else "–",
            "params": show(layer.params, "") if layer.params else "–",
            "share": layer.macs / whole,
        }
        for layer in own.layers
    ]
    return {
        "name": found.name(own.trial.code),
        "rows": rows,
        "macs": show(macs(own.layers), ""),
        "params": show(params(own.layers), ""),
    }


def _export(found: Findings) -> list[tuple[str, str]]:
    """What is known of the written file."""
    known = found.facts.get("export") or {}
    rows = [("file", f"{known.get('path', '')}")]
    if known.get("bytes"):
        rows.append(("size", show(known["bytes"], "bytes")))
    if known.get("latency"):
        own = scale("s", [known["latency"]])
        interval = _interval({end: known.get(f"latency_{end}") for end in ("low", "high")}, own)
        noise = next((found.noise(goal) for goal in found.goals if goal.unit == "s"), "")
        notes = "; ".join(filter(None, (interval, noise)))
        rows.append(("latency of this very file", own(known["latency"]) + (f" ({notes})" if notes else "")))
    if known.get("difference") is not None:
        rows.append(("largest difference to PyTorch", f"{known['difference']:.1e}"))
    if known.get("trained") is False:
        rows.append(("weights", "fresh: no goal of this run knows of trained ones"))
    if known.get("classes"):
        rows.append(("classes", ", ".join(map(str, known["classes"]))))
    return rows if known else []


# --- tables of trials -------------------------------------------------------------------------------------------------


def _listed(found: Findings) -> list[dict[str, Any]]:
    """The front, network by network."""
    scales = [(goal, scale(goal.unit, [trial.values[goal.name] for trial in found.front])) for goal in found.goals]
    return [
        {
            "name": found.name(trial.code),
            "values": [own(trial.values[goal.name]) for goal, own in scales],
            "arch": " · ".join(plots.brief(found, trial)),
        }
        for trial in found.front[:LISTED]
    ]


def _again(found: Findings) -> dict[str, Any] | None:
    """Finalists as the search saw them and as measured again, with the mean difference by goal."""
    if not found.confirmed:
        return None
    before = {trial.code: trial for trial in found.searched}
    scales = {
        g.name: scale(g.unit, [t.values[g.name] for t in found.confirmed if g.name in t.values]) for g in found.goals
    }
    rows, pairs = [], {goal.name: list[tuple[float, float]]() for goal in found.goals}
    for trial in found.confirmed:
        cells = []
        for goal in found.goals:
            then = before[trial.code].values.get(goal.name) if trial.code in before else None
            now = trial.values.get(goal.name)
            difference = ""
            if now is not None and then is not None:
                difference = change(now, then, goal.unit)
                if trial.code != found.largest:
                    pairs[goal.name].append((now, then))
            shown = ["–" if value is None else scales[goal.name](value) for value in (then, now)]
            cells.append((*shown, difference, now is not None and not goal.within(now)))
        is_chosen = found.chosen is not None and trial.code == found.chosen.code
        role = found.role if is_chosen else "largest network" if trial.code == found.largest else ""
        rows.append({"name": found.name(trial.code), "role": role, "cells": cells, "error": trial.error})
    sentences = [_optimism(found, goal, pairs[goal.name]) for goal in found.goals if pairs[goal.name]]
    return {"rows": rows, "sentences": sentences}


def _optimism(found: Findings, goal: Goal, pairs: Sequence[tuple[float, float]]) -> str:
    """How much better the finalists looked in the search, on average over pairs of (again, before)."""
    now, then = (statistics.fmean(values) for values in zip(*pairs, strict=True))
    told = change(now, then, goal.unit) or f"{show(then, goal.unit)} to {show(now, goal.unit)}"
    if abs(now - then) <= found.facts.get("noise", {}).get(goal.name, 0.0) * abs(then):
        return f"{goal.name}: {told} on average, no more than the repeat error."
    verb = "looked better in the search than they are" if goal.loss(now) > goal.loss(then) else "did even better"
    return f"{goal.name}: the finalists {verb}, {told} on average."


def _predicted(found: Findings) -> list[list[str]]:
    """By goal that was predicted: the predictor, its word on itself at the last step, and what became of it."""
    rows = []
    for own in found.predictions:
        last = own.rounds[-1] if own.rounds else None
        shares = (last.mape if last else None, own.mape)
        ranks = (last.tau if last else None, own.tau)
        errors = ["–" if share is None else percent(share) for share in shares]
        orders = ["–" if rank is None else f"{rank:.2f}" for rank in ranks]
        name = (last.predictor if last else "") or "–"
        rows.append([own.goal.name, name, errors[0], orders[0], f"{len(own.trials):,}", errors[1], orders[1]])
    return rows


def _gaps(found: Findings) -> list[str]:
    """What was not measured, or not well."""
    gaps = []
    for goal in found.goals:
        over = sum(trial.state == "over_limit" and goal.name not in trial.values for trial in found.searched)
        if over:
            gaps.append(f"{goal.name} was not measured for {plural(over, 'network')} that broke a limit before.")
        disturbed = sum(bool(trial.details.get(goal.name, {}).get("disturbed")) for trial in found.searched)
        if disturbed:
            gaps.append(f"{goal.name}: other work disturbed the measurement of {plural(disturbed, 'network')}.")
    if found.states["running"]:
        gaps.append(f"{plural(found.states['running'], 'network')} asked for, but not judged yet.")
    if found.chosen is not None and not found.is_confirmed:
        gaps.append("The chosen network was not measured again: its values are those that the search picked it for.")
    if found.is_confirmed and not any(trial is found.chosen for trial in found.front):
        gaps.append(
            "Measured again, another finalist is better than the chosen network in everything; the choice rests on "
            "what the search saw, since the second measurement must not choose."
        )
    if found.baseline is None:
        gaps.append("The largest network was not judged, so there is nothing to compare with.")
    elif missing := [goal.name for goal in found.goals if goal.name not in found.baseline.values]:
        gaps.append(f"{' and '.join(missing)} of the largest network {'is' if len(missing) == 1 else 'are'} not known.")
    return gaps


def _notes(found: Findings) -> list[str]:
    """What the run itself had to say."""
    said = [event["text"] for event in found.events if event["kind"] == "note" and "text" in event]
    return [str(note) for note in (*(found.facts.get("notes") or ()), *said)]


def _errors(trials: Trials) -> list[tuple[int, str, int]]:
    """How often each kind of error occurred, an example, and the number of its trial; numbers do not make a kind."""
    failed = [trial for trial in trials if trial.state == "failed"]
    kinds = Counter(_kind(trial.error) for trial in failed)
    first = {_kind(trial.error): trial for trial in reversed(failed)}
    return [(count, first[kind].error, first[kind].number) for kind, count in kinds.most_common(LISTED)]


def _kind(error: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "0", error.partition("\n")[0])


# --- the record in the page -------------------------------------------------------------------------------------------


def _record(found: Findings) -> dict[str, Any]:
    """All trials as they were recorded, with what is needed to read them."""
    run = found.study.run
    stages = (("search", found.searched), ("confirm", found.confirmed), ("baseline", found.random or ()))
    return {
        "run": run.name,
        "created": run.created,
        "family": found.study.family.name,
        "goals": [
            {"name": g.name, "direction": g.direction, "limit": g.limit, "unit": g.unit, "objective": g.objective}
            for g in found.goals
        ],
        "choices": [{"name": c.name, "values": c.values, "when": c.when} for c in found.space.choices],
        "trials": [{"stage": stage, **vars(trial)} for stage, trials in stages for trial in trials],
    }


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as lines, memory in people's units."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif name == "memory" and isinstance(value, int | float):
            rows.append((prefix + name, show(value, "bytes")))
        elif value is not None:
            rows.append((prefix + name, str(value)))
    return rows


def _yaml(config: Any) -> str:
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else ""


def _magnitude(size: int) -> str:
    """A size of any magnitude: `15,625`, or `2.1 × 10^19` with a raised exponent."""
    if size < 10**7:
        return f"{size:,}"
    digits = str(size)
    return f"{digits[0]}.{digits[1]} × 10{str(len(digits) - 1).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


__all__ = ["render", "write"]
