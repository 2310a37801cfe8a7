"""The front as a picture, for a README or a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hwnas.errors import ConfigError
from hwnas.report.findings import Findings
from hwnas.report.plots import oriented, title
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.units import Scale, scale, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT = "#1c1d20", "#6b7078"
LOOKS: dict[str, dict[str, Any]] = {
    "failed": {"marker": "x", "color": "#D55E00", "s": 26, "linewidths": 1.2, "label": "failed"},
    "over_limit": {"marker": "^", "facecolors": "none", "edgecolors": "#9aa0a8", "s": 24, "label": "over a limit"},
    "done": {"marker": "o", "color": "#56B4E9", "s": 24, "alpha": 0.8, "linewidths": 0, "label": "within the limits"},
    "largest": {"marker": "s", "color": "#E69F00", "s": 90, "edgecolors": "white", "label": "largest network"},
    "knee": {"marker": "D", "color": "#CC79A7", "s": 80, "edgecolors": "white", "label": "knee"},
    "chosen": {"marker": "*", "color": "#009E73", "s": 330, "edgecolors": "white", "label": "chosen"},
}
"""Colours of Okabe and Ito (2008), which people with any kind of colour vision can tell apart."""


def picture(study: Study, path: Path) -> Path:
    """Draws the front as a PNG or SVG file, without touching matplotlib's global state.

    The first two goals against one another; for a single goal its values in the order of asking.

    Raises:
        ConfigError: matplotlib knows no picture format of this name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path, found = Path(path), Findings(study)
    figure = Figure(figsize=(7.6, 4.8), dpi=160, layout="constrained", facecolor="white")
    formats = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix.removeprefix(".") not in formats:
        raise ConfigError(f"a picture cannot be written as {path.name!r}; its name must end in .png, .svg or .pdf")
    axes = figure.add_subplot()
    if len(found.axes) > 1:
        _pair(axes, found, *oriented(*found.axes[:2]))
    else:
        _alone(axes, found, found.axes[0])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(True, color="#e8e9e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, labelcolor=INK)
    axes.set_title(f"{study.family.name}: {found.count:,} networks judged", loc="left", color=INK, fontsize=12)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _pair(axes: Axes, found: Findings, x: Goal, y: Goal) -> None:
    trials = [
        trial for trial in (*found.searched, *found.confirmed) if x.name in trial.values and y.name in trial.values
    ]
    across, up = (scale(goal.unit, [trial.values[goal.name] for trial in trials]) for goal in (x, y))

    def place(points: list[Trial]) -> tuple[list[float], list[float]]:
        return (
            [point.values[x.name] / across.factor for point in points],
            [point.values[y.name] / up.factor for point in points],
        )

    for state in ("over_limit", "failed", "done"):
        own = [trial for trial in found.searched if trial.state == state and {x.name, y.name} <= set(trial.values)]
        if own:
            axes.scatter(*place(own), **LOOKS[state])
    if found.front and len(found.objectives) == 2:
        ends = sorted(zip(*place(list(found.front)), strict=True))
        where: Literal["post", "pre"] = "post" if x.direction == "min" else "pre"
        axes.step(
            *zip(*ends, strict=True),
            where=where,
            color="#0072B2",
            linewidth=1.8,
            marker="o",
            markersize=5,
            label="front, measured again" if found.confirmed.feasible() else "front",
        )
    special = (("largest", found.baseline), ("knee", found.knee), ("chosen", found.chosen))
    named = {trial.code: (name, trial) for name, trial in special if trial is not None}
    for name, trial in named.values():
        label = found.role if name == "chosen" else LOOKS[name]["label"]
        if {x.name, y.name} <= set(trial.values):
            axes.scatter(*place([trial]), zorder=5, **LOOKS[name] | {"label": label})
    for goal, own_scale, line in ((x, across, axes.axvline), (y, up, axes.axhline)):
        if goal.limit is not None:
            line(
                goal.limit / own_scale.factor,
                color="#D55E00",
                linestyle="--",
                linewidth=1.2,
                label=f"limit {show(goal.limit, goal.unit)}",
            )
    axes.set_xlabel(_label(x, across), color=INK)
    axes.set_ylabel(_label(y, up), color=INK)


def _alone(axes: Axes, found: Findings, goal: Goal) -> None:
    trials = [trial for trial in found.searched if goal.name in trial.values]
    own = scale(goal.unit, [trial.values[goal.name] for trial in trials])
    for state in ("over_limit", "failed", "done"):
        points = [(t.number + 1, t.values[goal.name] / own.factor) for t in trials if t.state == state]
        if points:
            axes.scatter(*zip(*points, strict=True), **LOOKS[state])
    axes.set_xlabel("networks asked for", color=INK)
    axes.set_ylabel(_label(goal, own), color=INK)


def _label(goal: Goal, own: Scale) -> str:
    return title(goal, own).replace("$", r"\$")  # a dollar would begin a formula


__all__ = ["picture"]
