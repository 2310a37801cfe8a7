"""The interactive plots: plain plotly figures, whose colours are the names of roles that the page's style defines."""

from __future__ import annotations

import html
import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hwnas import pareto
from hwnas.report.findings import Findings
from hwnas.trial import Goal, Trial
from hwnas.units import Scale, plural, scale, show

SHOWN = 2500
"""So many trials of one kind are drawn at most; the front is always drawn whole."""
STEPS = 200
"""So many points make the curve of progress."""


@dataclass(frozen=True)
class Plot:
    """One figure of the page.

    Args:
        label: what it shows, for those who do not see it.
        caption: how to read it.
    """

    id: str
    label: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> dict[str, Any]:
        """What plotly draws."""
        return {"id": self.id, "data": self.data, "layout": self.layout}


@dataclass(frozen=True)
class Mark:
    """How one kind of point looks: never by colour alone."""

    name: str
    color: str
    symbol: str
    size: float = 8
    opacity: float = 1.0
    line: float = 1.0

    def style(self) -> dict[str, Any]:
        """The marker as plotly writes it."""
        edge = {"width": self.line, "color": self.color if "open" in self.symbol or self.symbol == "x-thin" else "card"}
        own = {"color": self.color, "symbol": self.symbol, "size": self.size}
        return {**own, "opacity": self.opacity, "line": edge}


FEASIBLE = Mark("within the limits", "feasible", "circle", 7, 0.75, 0.5)
OVER = Mark("over a limit", "over", "triangle-up-open", 7, 0.8)
FAILED = Mark("failed", "failed", "x-thin", 7, 0.9, 1.6)
FOUND = Mark("front", "front", "circle", 10)
FOUND_BEFORE = Mark("front of the search", "front", "circle-open", 9)
AGAIN = Mark("measured again", "front", "hexagon", 12)
LARGEST = Mark("largest network", "baseline", "square", 12)
KNEE = Mark("knee", "knee", "diamond", 13)
CHOSEN = Mark("chosen", "chosen", "star", 19)


def fronts(found: Findings) -> list[Plot]:
    """What was judged, by its values: two goals against one another, or the first three objectives in pairs.

    Empty where there are fewer than two goals or nothing to draw.
    """
    goals = found.axes[: min(3, max(2, len(found.objectives)))]
    drawn = [trial for trial in (*found.searched, *found.confirmed) if any(goal.name in trial.values for goal in goals)]
    if len(goals) < 2 or not drawn:
        return []
    scales = {goal.name: _scale(goal, drawn) for goal in goals}
    pairs = [oriented(*pair) for pair in itertools.combinations(goals, 2)]
    plots = []
    for number, (x, y) in enumerate(pairs):
        pair = _Pair(found, x, y, scales[x.name], scales[y.name])
        label = f"Scatter plot of {plural(found.count, 'network')}: {y.name} against {x.name}"
        layout = {**pair.axes(), "shapes": pair.shapes(), "annotations": pair.annotations()}
        layout["showlegend"] = number + 1 == len(pairs)
        layout["height"] = 540 if layout["showlegend"] else 460
        plots.append(Plot(f"front{number}", label, _front_caption(found, goals), pair.traces(), layout))
    return plots


def progress(found: Findings) -> Plot | None:
    """How the search went: the share of the box of objectives that was dominated after so many networks.

    For one objective: all its values, and the best one so far. None while nothing is feasible.
    """
    if not found.searched.feasible():
        return None
    if len(found.objectives) > 1:
        numbers, shares = volumes(found)
        trace = _line(numbers, [round(100 * share, 3) for share in shares], "front", "hypervolume")
        trace |= {"fill": "tozeroy", "fillcolor": "wash", "hovertemplate": "after %{x}: %{y:.1f} %<extra></extra>"}
        layout: dict[str, Any] = {"height": 300, "showlegend": False, "xaxis": _axis("networks asked for")}
        layout["yaxis"] = _axis("dominated share (%)", rangemode="tozero")
        caption = "The share of the box between the best and the worst values seen that the feasible networks dominate "
        caption += "together (hypervolume). A curve that is still rising says that a larger budget would have paid."
        label = f"Line plot: {shares[-1]:.1%} of the box dominated after {numbers[-1]} networks"
        return Plot("progress", label, caption, [trace], layout)
    (goal,) = found.objectives
    scaled = _scale(goal, found.searched)
    data = [
        _points(found, trials, mark, lambda trial: trial.number + 1, lambda trial: scaled(trial.values[goal.name]))
        for mark, trials in _kinds(found, [goal])
    ]
    feasible = sorted(found.searched.feasible(), key=lambda trial: trial.number)
    better = np.minimum.accumulate([goal.loss(trial.values[goal.name]) for trial in feasible])
    new = [trial for i, trial in enumerate(feasible) if i == 0 or better[i] < better[i - 1]]
    numbers = [*(trial.number + 1 for trial in new), len(found.searched)]
    values = [scaled(trial.values[goal.name]) for trial in (*new, new[-1])]
    data.append(_line(numbers, values, "front", "best so far"))
    best = show(new[-1].values[goal.name], goal.unit)
    layout = {"xaxis": _axis("networks asked for"), "yaxis": _axis(title(goal, scaled.scale)), "height": 440}
    if goal.limit is not None:
        layout["shapes"] = [_rule("y", scaled(goal.limit))]
    label = f"Scatter plot of {goal.name} by evaluation; the best is {best}"
    return Plot("progress", label, f"Every judged network, and the best so far: {best}.", data, layout)


def training(found: Findings) -> Plot | None:
    """How the supernet was trained: its loss by epoch, and the accuracies noted on the way."""
    rows = found.facts.get("training") or []
    if not rows:
        return None
    epochs = list(range(1, len(rows) + 1))  # an epoch's own number starts anew in every phase
    data = [_line(epochs, [row.get("loss") for row in rows], "front", "training loss") | {"line": {"color": "front"}}]
    layout: dict[str, Any] = {"xaxis": _axis("epoch"), "yaxis": _axis("loss"), "height": 320, "shapes": []}
    looks = (("largest", "baseline", "square", "largest network"), ("smallest", "knee", "diamond", "smallest network"))
    for key, color, symbol, name in looks:
        seen = [(epoch, 100 * row[key]) for epoch, row in zip(epochs, rows, strict=True) if row.get(key) is not None]
        if seen:
            x, y = zip(*seen, strict=True)
            curve = _line(x, y, color, name) | {
                "mode": "lines+markers",
                "yaxis": "y2",
                "line": {"color": color, "dash": "dot"},
            }
            curve |= {"marker": Mark(name, color, symbol, 9).style(), "hovertemplate": "%{y:.1f} %"}
            data.append(curve)
            layout["yaxis2"] = _axis("accuracy (%)", overlaying="y", side="right", showgrid=False, tickmode="auto")
    layout["annotations"] = []
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.1, "yanchor": "bottom"}  # above the names of the phases
    for phase, group in itertools.groupby(enumerate(rows, 1), key=lambda pair: str(pair[1].get("phase", ""))):
        (start, _), *rest = group
        text = {"x": start - 0.5, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "left", "showarrow": False}
        if 1 + len(rest) > len(rows) / 10:  # a short phase has no room for its name
            layout["annotations"].append({**text, "text": _safe(phase), "font": {"size": 11, "color": "soft"}})
        layout["shapes"].append(_rule("x", start - 0.5, color="line", dash="solid"))
    label = f"Line plot of the supernet's loss over {len(rows)} epochs"
    caption = "The shared weights from which every candidate is cut; a phase lets more of the network vary."
    return Plot("training", label, caption, data, layout)


def oriented(one: Goal, other: Goal) -> tuple[Goal, Goal]:
    """(x, y): what is to be small lies along the bottom, as the field draws it; else the first goal goes up."""
    return (one, other) if one.direction == "min" and other.direction == "max" else (other, one)


def title(goal: Goal, own: Scale) -> str:
    """What stands beside an axis."""
    unit = f" ({own.symbol})" if own.symbol else ""
    return f"{goal.name}{unit}, {'less' if goal.direction == 'min' else 'more'} is better"


def volumes(found: Findings, steps: int = STEPS) -> tuple[list[int], list[float]]:
    """The hypervolume of the first networks, at so many points of the search; the box is that of all of them.

    Only the front so far is carried from point to point, so that ten thousand trials take no time. The last value is
    that of `hwnas.trials.hypervolume`.

    Returns:
        How many networks, and the share of the box, 0 ... 1.
    """
    frame = found.searched.done().losses()
    feasible = found.searched.feasible()
    low, high = frame.min(axis=0), frame.max(axis=0)
    scaled_TM = (feasible.losses() - low) / np.where(high > low, high - low, 1.0)
    places = np.array([trial.number for trial in feasible])
    count = len(found.searched)
    numbers = np.unique(np.linspace(1, count, min(count, steps)).round().astype(int))
    best_PM, shares, before = scaled_TM[:0], [], 0
    for number in numbers:
        until = int(np.searchsorted(places, number))
        if until > before:
            both = np.concatenate([best_PM, scaled_TM[before:until]])
            best_PM, before = both[pareto.front(both)], until
        shares.append(pareto.hypervolume(best_PM, np.full(frame.shape[1], 1.0 + 1e-9)))
    return [int(number) for number in numbers], shares


# --- one pair of goals ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scaled:
    """Turns recorded values into plotted ones; short, since thousands of them are written."""

    scale: Scale

    def __call__(self, value: float) -> float:
        return float(f"{value / self.scale.factor:.6g}")


@dataclass(frozen=True)
class _Pair:
    """Two goals against one another; axes of their own carry the rugs of what has one of the two values only."""

    found: Findings
    x_goal: Goal
    y_goal: Goal
    x: _Scaled
    y: _Scaled

    def traces(self) -> list[dict[str, Any]]:
        found = self.found
        first, again = found.found, bool(found.confirmed.feasible())
        chosen = replace(CHOSEN, name=found.role)
        traces = [self._cloud(trials, mark) for mark, trials in _kinds(found, (self.x_goal, self.y_goal))]
        traces += [rug for mark, state in ((OVER, "over_limit"), (FAILED, "failed")) for rug in self._rugs(state, mark)]
        if len(found.objectives) == 2:
            traces.append(self._path(found.front, "solid"))
            if again:
                traces.append(self._path(first, "dot"))
        traces.append(self._cloud(first, FOUND_BEFORE if again else FOUND))
        named = {
            trial.code: (mark, trial)
            for mark, trial in ((LARGEST, found.baseline), (KNEE, found.knee), (chosen, found.chosen))
            if trial is not None
        }
        traces.append(self._cloud([trial for trial in found.confirmed if trial.code not in named], AGAIN, bars=True))
        traces += [self._cloud([trial], mark, bars=True) for mark, trial in named.values()]
        return [trace for trace in traces if trace["x"]]

    def axes(self) -> dict[str, Any]:
        edge = {"range": [0, 1], "visible": False, "fixedrange": True}
        return {
            "xaxis": _axis(title(self.x_goal, self.x.scale)),
            "yaxis": _axis(title(self.y_goal, self.y.scale)),
            "xaxis2": {**edge, "overlaying": "x"},
            "yaxis2": {**edge, "overlaying": "y"},
        }

    def shapes(self) -> list[dict[str, Any]]:
        sides = (("x", self.x_goal, self.x), ("y", self.y_goal, self.y))
        return [_rule(side, own(goal.limit)) for side, goal, own in sides if goal.limit is not None]

    def annotations(self) -> list[dict[str, Any]]:
        common = {"showarrow": False, "font": {"size": 12, "color": "failed"}}
        beside = {"yref": "y domain", "y": 1, "yanchor": "top", "xanchor": "left", "xshift": 3}
        above = {"xref": "x domain", "x": 1, "xanchor": "right", "yanchor": "bottom"}
        return [
            {**common, **place, side: own(goal.limit), "text": _safe(f"limit {show(goal.limit, goal.unit)}")}
            for side, goal, own, place in (("x", self.x_goal, self.x, beside), ("y", self.y_goal, self.y, above))
            if goal.limit is not None
        ]

    def _cloud(self, trials: Iterable[Trial], mark: Mark, bars: bool = False) -> dict[str, Any]:
        x, y = self.x_goal.name, self.y_goal.name
        full = [trial for trial in trials if x in trial.values and y in trial.values]
        trace = _points(
            self.found, full, mark, lambda trial: self.x(trial.values[x]), lambda trial: self.y(trial.values[y])
        )
        for side, name, own in (("x", x, self.x), ("y", y, self.y)):
            if bars and any("low" in trial.details.get(name, {}) for trial in full):
                trace[f"error_{side}"] = _bars(full, name, own, mark.color)
        return trace

    def _rugs(self, state: str, mark: Mark) -> list[dict[str, Any]]:
        """Trials that lack one of the two values, at the edge of the other."""
        x, y = self.x_goal.name, self.y_goal.name
        trials = [trial for trial in self.found.searched if trial.state == state]
        lacking_y = _thinned([trial for trial in trials if x in trial.values and y not in trial.values])
        lacking_x = _thinned([trial for trial in trials if y in trial.values and x not in trial.values])
        below = _points(self.found, lacking_y, mark, lambda trial: self.x(trial.values[x]), lambda _: 0.018)
        beside = _points(self.found, lacking_x, mark, lambda _: 0.012, lambda trial: self.y(trial.values[y]))
        for trace, tick in ((below, "line-ns-open"), (beside, "line-ew-open")):
            if mark is OVER:
                trace["marker"] |= {"symbol": tick, "size": 11}
            trace["showlegend"] = not any(x in trial.values and y in trial.values for trial in trials)
        return [{**below, "yaxis": "y2"}, {**beside, "xaxis": "x2"}]

    def _path(self, trials: Iterable[Trial], dash: str) -> dict[str, Any]:
        """The edge of what is dominated: a staircase through the points of a front."""
        ends = sorted((self.x(t.values[self.x_goal.name]), self.y(t.values[self.y_goal.name])) for t in trials)
        trace = _line([x for x, _ in ends], [y for _, y in ends], "front", "front")
        shape = "hv" if self.x_goal.direction == "min" else "vh"
        trace["line"] |= {"shape": shape, "dash": dash, "width": 1.2 if dash == "dot" else 2}
        return {**trace, "hoverinfo": "skip", "showlegend": False}


def _kinds(found: Findings, goals: Sequence[Goal]) -> list[tuple[Mark, list[Trial]]]:
    """The trials of the search that have all of these values, by what became of them."""
    kinds = []
    for mark, state in ((OVER, "over_limit"), (FAILED, "failed"), (FEASIBLE, "done")):
        own = [t for t in found.searched if t.state == state and all(goal.name in t.values for goal in goals)]
        kinds.append((mark, _thinned(own)))
    return kinds


def _points(
    found: Findings,
    trials: Sequence[Trial],
    mark: Mark,
    x: Callable[[Trial], float],
    y: Callable[[Trial], float],
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": mark.name,
        "legendgroup": mark.name,
        "x": [x(trial) for trial in trials],
        "y": [y(trial) for trial in trials],
        "hovertext": [_hover(found, trial) for trial in trials],
        "customdata": [list(trial.code) for trial in trials],
        "hoverinfo": "text",
        "marker": mark.style(),
    }


def _hover(found: Findings, trial: Trial) -> str:
    """A network in a few lines: its values, then its choices by axis."""
    lines = [f"<b>{found.name(trial.code)}</b> {trial.state.replace('_', ' ')}"]
    known = [goal for goal in found.goals if goal.name in trial.values]
    lines += [f"{_safe(goal.name)} <b>{_safe(show(trial.values[goal.name], goal.unit))}</b>" for goal in known]
    if trial.error:
        lines.append(_safe(textwrap.shorten(trial.error, 120)))
    return "<br>".join([*lines, *(_safe(line) for line in brief(found, trial))])


def brief(found: Findings, trial: Trial) -> list[str]:
    """A network's choices in short lines, one axis after the other."""
    axes: dict[str, list[str]] = {}
    for name, value in found.space.decode(trial.code).items():
        axes.setdefault(name.rpartition(".")[2], []).append(str(value))
    lines = [line for axis, values in axes.items() for line in textwrap.wrap(f"{axis} {' '.join(values)}", 64)]
    return [*lines[:8], "…"] if len(lines) > 9 else lines


def _bars(trials: Sequence[Trial], name: str, own: _Scaled, color: str) -> dict[str, Any]:
    """Error bars from the intervals in the details, as distances from the value."""
    rows = [(trial.values[name], trial.details.get(name, {})) for trial in trials]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, own(details.get("high", value)) - own(value)) for value, details in rows],
        "arrayminus": [max(0.0, own(value) - own(details.get("low", value))) for value, details in rows],
        "color": color,
        "thickness": 1.2,
        "width": 3,
    }


def _thinned(trials: list[Trial]) -> list[Trial]:
    if len(trials) <= SHOWN:
        return trials
    return [trials[i] for i in np.linspace(0, len(trials) - 1, SHOWN).round().astype(int)]


def _front_caption(found: Findings, goals: Sequence[Goal]) -> str:
    names, text = {goal.name for goal in goals}, []
    known = [len(names & set(t.values)) for t in found.searched if t.state in ("over_limit", "failed")]
    if any(0 < count < len(names) for count in known):
        text.append("At the edges: networks with one value only, which broke a limit on it or failed afterwards.")
    if missing := known.count(0):
        text.append(f"{plural(missing, 'failed network')} without any value cannot be drawn.")
    if max(found.states.values(), default=0) > SHOWN:
        text.append(f"Of each kind at most {SHOWN:,} are drawn, evenly over the search; the front is complete.")
    if found.confirmed.feasible():
        text.append("Error bars are 95 % intervals of the second measurement.")
    text += [f"{goal.name.capitalize()}: {found.noise(goal)}." for goal in goals if found.noise(goal)]
    return " ".join([*text, "Hover over a point for its architecture, click to copy it."])


# --- plotly's vocabulary ----------------------------------------------------------------------------------------------


def _scale(goal: Goal, trials: Iterable[Trial]) -> _Scaled:
    return _Scaled(scale(goal.unit, [trial.values[goal.name] for trial in trials if goal.name in trial.values]))


def _axis(text: str, **more: Any) -> dict[str, Any]:
    look = {"zeroline": False, "gridcolor": "line", "linecolor": "line", "automargin": True}
    return {"title": {"text": _safe(text), "standoff": 12}, **look, **more}


def _line(x: Sequence[Any], y: Sequence[Any], color: str, name: str) -> dict[str, Any]:
    shape = {"color": color, "width": 2, "shape": "hv"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": shape}


def _rule(side: str, at: float, color: str = "failed", dash: str = "dash") -> dict[str, Any]:
    """A line across a plot at one value of x or y."""
    other = "y" if side == "x" else "x"
    return {
        "type": "line",
        f"{side}ref": side,
        f"{other}ref": f"{other} domain",
        f"{side}0": at,
        f"{side}1": at,
        f"{other}0": 0,
        f"{other}1": 1,
        "layer": "below",
        "line": {"color": color, "dash": dash, "width": 1.5},
    }


def _safe(text: str) -> str:
    """Plotly reads a little HTML in its texts."""
    return html.escape(text, quote=False)


__all__ = ["Plot", "brief", "fronts", "oriented", "progress", "title", "training", "volumes"]
