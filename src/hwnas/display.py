"""What a terminal shows while work goes on: a live bar on a terminal, plain lines elsewhere, and Ctrl-C."""

from __future__ import annotations

import math
import numbers
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hwnas import units
from hwnas.errors import Interrupted
from hwnas.progress import Progress

EVERY = 5.0
"""Seconds between plain lines."""


class Display:
    """Draws what is reported to it; call it as a `Watch`. `unit_of` tells the units of goals."""

    def __init__(self, console: Console, unit_of: Mapping[str, str] | None = None, quiet: bool = False) -> None:
        self.console, self.unit_of, self.quiet = console, dict(unit_of or {}), quiet
        self.stopping = False
        self._phase: _Phase | None = None
        self._live: Live | None = None

    def __call__(self, progress: Progress, /) -> None:
        """Takes one report.

        Raises:
            Interrupted: the user has pressed Ctrl-C, and this is a safe point to stop.
        """
        with self._unbothered():
            self._take(progress)
        if self.stopping:
            raise Interrupted("stopped as asked")

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Draws inside this block, where the first Ctrl-C or SIGTERM asks for a clean stop and the second stops."""
        before, ended = {n: signal.signal(n, self._on_interrupt) for n in (signal.SIGINT, signal.SIGTERM)}, False
        try:
            yield self
            ended = True
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            with self._unbothered():
                self._leave(ended)

    @contextmanager
    def _unbothered(self) -> Iterator[None]:
        """Work goes on unseen where nobody can look any more: the terminal was closed, or the reader of a pipe."""
        try:
            yield
        except OSError:
            self.quiet = True

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        with self._unbothered():
            self._print("stopping after the measurement in hand; Ctrl-C again to stop at once", "yellow")

    def _take(self, progress: Progress) -> None:
        if self.quiet:
            return
        phase = self._phase
        if phase is None or phase.name != progress.phase:
            self._leave(ended=True)
            phase = self._phase = _Phase(progress.phase, time.monotonic())
        if progress.message:
            self._print(f"  {progress.message}")
        if progress.message and not progress.total:
            return
        phase.take(progress)
        if not self.console.is_interactive:
            due = phase.said is None or time.monotonic() - phase.said >= EVERY
            if due and not 0 < phase.total <= phase.done:  # the last line waits for the last facts
                self._say(phase)
        elif self._live is None:
            self._live = Live(console=self.console, get_renderable=lambda: self._drawn(phase))
            self._live.start(refresh=True)

    def _leave(self, ended: bool) -> None:
        """Lets the present phase stand as it is, and no more of it to come."""
        phase, self._phase = self._phase, None
        live, self._live = self._live, None
        if phase is not None:
            phase.ended = ended
        if live is not None:
            live.stop()
        elif phase is not None and phase.news:
            self._say(phase)

    def _drawn(self, phase: _Phase) -> RenderableType:
        """A bar, and the facts on a line of their own, so that neither takes the other's room."""
        spent = phase.spent
        clock = f"{spent:.0f} s" if spent < 10 else units.duration(spent)  # tenths would flicker
        full = max(1, phase.done if phase.ended else phase.total)  # a phase may end before its budget is used up
        bar = ProgressBar(
            total=full,
            completed=full if phase.ended else phase.done,
            width=max(6, min(24, self.console.width - 60)),
            pulse=not phase.ended and phase.total <= 0,
        )
        row = Table.grid(padding=(0, 2))
        row.add_column(min_width=16, no_wrap=True, overflow="ellipsis")
        row.add_column()
        row.add_column(no_wrap=True, min_width=len(phase.share))
        row.add_column(no_wrap=True)
        row.add_row(Text(phase.name), bar, Text(phase.share), Text(clock + phase.left, style="dim"))
        facts = describe(phase.facts, self.unit_of)
        return Group(row, Text(f"  {facts}", no_wrap=True, overflow="ellipsis")) if facts else row

    def _say(self, phase: _Phase) -> None:
        words = [phase.name, phase.share]
        if phase.said is not None:
            words.append(f"({units.duration(phase.spent)}{phase.left})")
        facts = describe(phase.facts, self.unit_of)
        self._print(" ".join(filter(None, words)) + (f": {facts}" if facts else ""))
        phase.said, phase.news = time.monotonic(), False

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


@dataclass
class _Phase:
    """One phase as far as it has come.

    Args:
        first: `done` of the first report: what an earlier session did says nothing about the speed of this one.
        said: when the last plain line was printed.
        news: something was reported since.
        ended: it came to its end, whatever its total was.
    """

    name: str
    began: float
    first: int | None = None
    done: int = 0
    total: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    said: float | None = None
    news: bool = False
    ended: bool = False

    def take(self, progress: Progress) -> None:
        self.first = progress.done if self.first is None else self.first
        self.done, self.total = progress.done, progress.total
        self.facts = {**self.facts, **progress.facts}  # a new one: another thread may be reading the old one
        self.news = True

    @property
    def spent(self) -> float:
        return time.monotonic() - self.began

    @property
    def share(self) -> str:
        return f"{self.done}/{self.total}" if self.total > 0 else ""

    @property
    def left(self) -> str:
        """The time that the rest takes at the speed so far; empty where nobody can know."""
        fresh, spent = self.done - (self.first or 0), self.spent
        if self.ended or fresh <= 0 or self.done >= self.total or spent < 1:
            return ""
        return f", about {units.duration(spent / fresh * (self.total - self.done))} left"


def describe(facts: Mapping[str, Any], unit_of: Mapping[str, str]) -> str:
    """The facts of a report as one short line; counts of zero are left out.

    Example:
        >>> describe({"feasible": 8, "failed": 0, "best": {"latency": 0.00132}}, {"latency": "s"})
        'feasible 8 · best latency 1.32 ms'
    """
    words = []
    for name, value in facts.items():
        if name == "notes" and isinstance(value, Mapping):
            words += [_told(about, told) for about, told in value.items()]
            continue
        if isinstance(value, Mapping):
            shown = ", ".join(f"{goal} {_shown(number, unit_of.get(goal, ''))}" for goal, number in value.items())
        else:
            shown = "" if isinstance(value, numbers.Integral) and not value else _shown(value)
        if shown:
            words.append(shown if name == "now" else f"{str(name).replace('_', ' ')} {shown}")
    return " · ".join(filter(None, words))


def _told(about: str, told: Any) -> str:
    """What a search tells of itself; of a predictor: `accuracy predicted to 0.3 % (gp, rank correlation 0.91)`."""
    if not isinstance(told, Mapping):
        return f"{about} {_shown(told)}".rstrip()
    rest = dict(told)
    error, name, rank = rest.pop("mape", None), rest.pop("predictor", None), rest.pop("tau", None)
    words = [_shown(name), f"rank correlation {rank:.2f}" if isinstance(rank, numbers.Real) else _shown(rank)]
    words += [f"{key} {_shown(value)}" for key, value in rest.items()]
    known = ", ".join(filter(None, words))
    text = f"{about} predicted to {100 * error:.2g} %" if isinstance(error, numbers.Real) else about
    return f"{text} ({known})" if known else text


def _shown(value: Any, unit: str = "") -> str:
    """A value in its unit; whatever is no number stays as it is, on one line."""
    if isinstance(value, numbers.Real) and (unit or not isinstance(value, numbers.Integral)):
        with suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return units.show(number, unit)
    return "" if value is None else " ".join(str(value).split())
