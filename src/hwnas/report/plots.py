"""The interactive plots: plain plotly figures, whose colours are the names of roles that the page's style defines."""

from __future__ import annotations

import html
import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hwnas.report.findings import Findings
from hwnas.report.predictions import Predictions, error_text
from hwnas.trial import Goal, Trial
from hwnas.trials import Trials, curve
from hwnas.units import Scale, plural, scale, show

if TYPE_CHECKING:
    from hwnas.report.compare import Comparison, Side

T = TypeVar("T")

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
PROPOSED = Mark("proposal", "feasible", "circle", 7, 0.85, 0.5)
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
        return _volumes(found)
    (goal,) = found.objectives
    scaled = _scale(goal, found.searched)
    data = [
        _points(found, trials, mark, lambda trial: trial.number + 1, lambda trial: scaled(trial.values[goal.name]))
        for mark, trials in _kinds(found, [goal])
    ]
    if found.random:
        data.append(_best_so_far(found.random, goal, scaled, _line([], [], "over", "random search"), "dash"))
    data.append(_best_so_far(found.searched, goal, scaled, _line([], [], "front", "best so far")))
    best = show(found.searched.best(goal.name).values[goal.name], goal.unit)
    layout = {"xaxis": _axis("networks asked for"), "yaxis": _axis(title(goal, scaled.scale)), "height": 440}
    if goal.limit is not None:
        layout["shapes"] = [_rule("y", scaled(goal.limit))]
    label = f"Scatter plot of {goal.name} by evaluation; the best is {best}"
    caption = " ".join([f"Every judged network, and the best so far: {best}.", *_beside(found)])
    return Plot("progress", label, caption, data, layout)


def _volumes(found: Findings) -> Plot:
    """The hypervolume over evaluations, above that of a random search where there is one."""
    numbers, shares = volumes(found.searched, found.frame)
    data = [_curve(numbers, shares, "front", found.search or "this search")]
    layout: dict[str, Any] = {"xaxis": _axis("networks asked for"), "yaxis": _axis("dominated share (%)")}
    if found.random:  # two curves are read by their distance, which a filled area down to zero would make small
        data.insert(0, _curve(*volumes(found.random, found.frame), "over", "random search", "dash"))
        layout |= {"height": 400, "showlegend": True}
    else:
        data[0] |= {"fill": "tozeroy", "fillcolor": "wash"}
        layout |= {"height": 300, "showlegend": False}
    caption = "The share of the box between the best and the worst values seen that the feasible networks dominate "
    caption += "together (hypervolume). A curve that is still rising says that a larger budget would have paid."
    label = f"Line plot: {shares[-1]:.1%} of the box dominated after {numbers[-1]} networks"
    if found.against is not None:
        label += f"; random search: {found.against.random_share:.1%} after {found.against.count}"
    return Plot("progress", label, " ".join([caption, *_beside(found)]), data, layout)


def _curve(x: Sequence[int], shares: Sequence[float], color: str, name: str, dash: str = "solid") -> dict[str, Any]:
    """A curve of hypervolume."""
    trace = _line(x, [round(100 * share, 3) for share in shares], color, _safe(name))
    trace["line"]["dash"] = dash
    return trace | {"hovertemplate": f"{_safe(name)}, after %{{x}}: %{{y:.1f}} %<extra></extra>"}


def _beside(found: Findings) -> list[str]:
    """What the random search says of this one, or how to have one made."""
    if found.against is not None:
        box = "Both are shares of one box, made of all that either has seen."
        return [found.against.sentence(), *([box] if len(found.objectives) > 1 else [])]
    command = found.baseline_command if found.finished else ""
    return [f"To see what as many random networks would have found: {command}"] if command else []


def _best_so_far(
    trials: Trials, goal: Goal, scaled: _Scaled, trace: dict[str, Any], dash: str = "solid"
) -> dict[str, Any]:
    """The best value of one goal over the networks of a search, as a staircase to its end."""
    feasible = sorted(trials.feasible(), key=lambda trial: trial.number)
    better = np.minimum.accumulate([goal.loss(trial.values[goal.name]) for trial in feasible])
    new = [trial for i, trial in enumerate(feasible) if i == 0 or better[i] < better[i - 1]]
    x, y = [trial.number + 1 for trial in new], [scaled(trial.values[goal.name]) for trial in new]
    line = {**trace["line"], "dash": dash}
    return {**trace, "x": [*x, len(trials)] if x else x, "y": [*y, y[-1]] if y else y, "line": line}


def predictors(found: Findings) -> list[Plot]:
    """By goal that was predicted: what was expected against what was measured, and the predictor's error by round."""
    plots = []
    for place, own in enumerate(found.predictions):
        if own.trials:
            plots.append(_expected(found, own, f"expected{place}"))
        if any(told.mape is not None or told.tau is not None for told in own.rounds):
            plots.append(_rounds(own, f"rounds{place}"))
    return plots


def _expected(found: Findings, own: Predictions, id: str) -> Plot:
    """Predicted against measured, with the predictor's own doubt; on the diagonal both are the same."""
    expected = list(zip(own.trials, own.predicted, own.spread, strict=True))
    scaled = _Scaled(scale(own.goal.unit, [*own.measured, *own.predicted]))
    predicted = {trial.code: (value, spread) for trial, value, spread in _thinned(expected)}
    trials = [trial for trial in own.trials if trial.code in predicted]
    trace = _points(
        found,
        trials,
        PROPOSED,
        lambda trial: scaled(predicted[trial.code][0]),
        lambda trial: scaled(trial.values[own.goal.name]),
    )
    bars = [scaled(spread) for _, spread in predicted.values()]
    if any(bars):
        trace["error_x"] = {"type": "data", "array": bars, "color": "feasible", "thickness": 1, "width": 0}
    ends = [scaled(end) for end in (min(own.measured), max(own.measured))]
    diagonal = _line(ends, ends, "over", "predicted = measured")
    diagonal["line"] |= {"shape": "linear", "dash": "dash", "width": 1.5}
    name, symbol = own.goal.name, f" ({scaled.scale.symbol})" if scaled.scale.symbol else ""
    layout = {
        "height": 420,
        "xaxis": _axis(f"{name} as predicted{symbol}"),
        "yaxis": _axis(f"{name} as measured{symbol}"),
    }
    told = error_text(own.mape, own.tau)
    label = f"Scatter plot of {plural(len(own.trials), 'proposal')}: {name} as predicted and as measured; {told}"
    return Plot(id, label, "", [{**diagonal, "hoverinfo": "skip"}, trace], layout)


def _rounds(own: Predictions, id: str) -> Plot:
    """The predictor's cross-validated error and rank correlation at every step."""
    data = []
    looks = (
        ("mape", 100.0, "error (%)", Mark("error", "failed", "square", 7), "y", "solid", "%{y:.2f} %"),
        ("tau", 1.0, "", Mark("rank correlation", "front", "circle", 7), "y2", "dot", "%{y:.3f}"),
    )
    for key, factor, _, mark, axis, dash, shown in looks:
        seen = [told for told in own.rounds if getattr(told, key) is not None]
        trace = _line([told.networks for told in seen], [factor * getattr(told, key) for told in seen], "", mark.name)
        trace |= {"mode": "lines+markers", "marker": mark.style(), "yaxis": axis}
        trace["line"] = {"color": mark.color, "dash": dash, "width": 2}
        trace["hovertext"] = [_safe(told.predictor) for told in seen]
        data.append(trace | {"hovertemplate": f"{mark.name} {shown}, %{{hovertext}}<extra></extra>"})
    layout = {
        "height": 420,
        "xaxis": _axis(f"networks asked for, {own.goal.name}"),
        "yaxis": _axis("cross-validated error (%)", rangemode="tozero"),
        "yaxis2": _axis(
            "rank correlation", overlaying="y", side="right", showgrid=False, tickmode="auto", range=[_least(own), 1.02]
        ),
    }
    last = own.rounds[-1]
    label = f"Line plot of the predictor of {own.goal.name} over {plural(len(own.rounds), 'round')}: "
    return Plot(
        id, label + f"at last {error_text(last.mape, last.tau)}", "", [trace for trace in data if trace["x"]], layout
    )


def _least(own: Predictions) -> float:
    """Where the axis of rank correlations begins: at 0, or at −1 where a predictor was worse than none."""
    return 0.0 if all((told.tau or 0.0) >= 0 for told in own.rounds) else -1.02


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


def volumes(trials: Trials, frame: Trials, steps: int = STEPS) -> tuple[list[int], list[float]]:
    """The hypervolume of the first networks, at so many points of a search; the box is that of `frame`.

    Returns:
        How many networks, and the share of the box, 0 ... 1.
    """
    count = len(trials)
    numbers = [int(n) for n in np.unique(np.linspace(1, count, min(count, steps)).round().astype(int))]
    return numbers, curve(trials, frame, numbers)


# --- several runs in one figure ---------------------------------------------------------------------------------------

SIDES = (
    ("front", "circle", "solid"),
    ("baseline", "square", "longdash"),
    ("chosen", "diamond", "dashdot"),
    ("knee", "triangle-up", "longdashdot"),
    ("failed", "pentagon", "solid"),
    ("feasible", "hexagon", "longdash"),
)
"""Colour, symbol and dash of the runs of a comparison, one after the other and then again."""


def overlaid_fronts(comparison: Comparison) -> list[Plot]:
    """The fronts of all runs, two goals against one another or the first three objectives in pairs."""
    goals = comparison.sides[0].found.axes
    goals = goals[: min(3, max(2, sum(goal.objective for goal in goals)))]
    objectives = sum(goal.objective for goal in goals)
    ends = [trial for side in comparison.sides for trial in side.found.found]
    if len(goals) < 2 or not ends:
        return []
    plots, pairs = [], [oriented(*pair) for pair in itertools.combinations(goals, 2)]
    scales = {goal.name: _scale(goal, ends) for goal in goals}
    for number, (x, y) in enumerate(pairs):
        own = scales[x.name], scales[y.name]
        data = [
            trace
            for side, look in zip(comparison.sides, _looks(comparison), strict=True)
            for trace in _overlaid(side, look, _Pair(side.found, x, y, *own), objectives)
        ]
        last = number + 1 == len(pairs)
        layout = {
            **_Pair(comparison.sides[0].found, x, y, *own).axes(),
            "showlegend": last,
            "height": 560 if last else 460,
        }
        label = f"Scatter plot of the fronts of {len(comparison.sides)} searches: {y.name} against {x.name}"
        caption = (
            "What each search found, as the search saw it. Hover over a point for its architecture, click to copy it."
        )
        plots.append(Plot(f"front{number}", label, caption, data[::-1], layout))
    return plots


def overlaid_volumes(comparison: Comparison) -> Plot | None:
    """The hypervolume of all runs over their evaluations, in one box; None while nothing is feasible."""
    if not comparison.frame.feasible():
        return None
    data = []
    for side, (color, _, dash) in zip(comparison.sides, _looks(comparison), strict=True):
        if side.judged:
            data.append(_curve(*volumes(side.judged, comparison.frame), color, side.name, dash))
    layout = {
        "xaxis": _axis("networks judged"),
        "yaxis": _axis("dominated share (%)"),
        "height": 420,
    }
    label = f"Line plot: the share of the box that {len(data)} searches dominate over their evaluations"
    caption = "The share of the box that the feasible networks so far dominate together (hypervolume)."
    return Plot("progress", label, caption, data[::-1], layout)


def _looks(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Colour, symbol and dash of every side: runs are told apart, random searches recede."""
    looks, runs = [], itertools.cycle(SIDES)
    for side in comparison.sides:
        looks.append(("over", "circle-open", "dot") if side.beside else next(runs))
    return looks


def _overlaid(side: Side, look: tuple[str, str, str], pair: _Pair, objectives: int) -> list[dict[str, Any]]:
    """One front: its points, and the staircase through them where there are two objectives."""
    color, symbol, dash = look
    points = pair.cloud(side.found.found, Mark(_safe(side.name), color, symbol, 9))
    points["hovertext"] = [f"{points['name']}, {text}" for text in points["hovertext"]]
    path = pair.path(side.found.found, dash, color)
    return [points, path | {"legendgroup": points["name"]}] if objectives == 2 else [points]


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
        traces = [self.cloud(trials, mark) for mark, trials in _kinds(found, (self.x_goal, self.y_goal))]
        traces += [rug for mark, state in ((OVER, "over_limit"), (FAILED, "failed")) for rug in self._rugs(state, mark)]
        if len(found.objectives) == 2:
            traces.append(self.path(found.front, "solid"))
            if again:
                traces.append(self.path(first, "dot"))
        traces.append(self.cloud(first, FOUND_BEFORE if again else FOUND))
        named = {
            trial.code: (mark, trial)
            for mark, trial in ((LARGEST, found.baseline), (KNEE, found.knee), (chosen, found.chosen))
            if trial is not None
        }
        traces.append(self.cloud([trial for trial in found.confirmed if trial.code not in named], AGAIN, bars=True))
        traces += [self.cloud([trial], mark, bars=True) for mark, trial in named.values()]
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

    def cloud(self, trials: Iterable[Trial], mark: Mark, bars: bool = False) -> dict[str, Any]:
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

    def path(self, trials: Iterable[Trial], dash: str, color: str = "front") -> dict[str, Any]:
        """The edge of what is dominated: a staircase through the points of a front."""
        ends = sorted((self.x(t.values[self.x_goal.name]), self.y(t.values[self.y_goal.name])) for t in trials)
        trace = _line([x for x, _ in ends], [y for _, y in ends], color, "front")
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


def _thinned(trials: list[T]) -> list[T]:
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


__all__ = [
    "Plot",
    "brief",
    "fronts",
    "oriented",
    "overlaid_fronts",
    "overlaid_volumes",
    "predictors",
    "progress",
    "title",
    "training",
    "volumes",
]
