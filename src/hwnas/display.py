"""What a terminal shows while work goes on: a live bar on a terminal, plain lines elsewhere, and Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

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
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._phase = ""
        self._began = self._said = 0.0
        self._facts: dict[str, Any] = {}

    def __call__(self, progress: Progress, /) -> None:
        """Takes one report.

        Raises:
            Interrupted: the user has pressed Ctrl-C, and this is a safe point to stop.
        """
        if not self.quiet:
            if progress.message:
                self.console.print(f"  {escape(progress.message)}", highlight=False)
            if progress.phase != self._phase:
                self._enter(progress.phase)
            self._facts |= progress.facts
            if self.console.is_terminal:
                self._draw(progress)
            else:
                self._say(progress)
        if self.stopping:
            raise Interrupted("stopped as asked")

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Inside this block bars are drawn, and the first Ctrl-C asks for a clean stop; the second stops at once."""
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)
            if self._bars is not None:
                self._bars.stop()
                self._bars = None

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        self.console.print("[yellow]stopping after the measurement in hand; Ctrl-C again to stop at once[/]")

    def _enter(self, phase: str) -> None:
        if self._bars is not None and self._task is not None:
            task = self._bars.tasks[self._task]
            self._bars.update(self._task, completed=task.total or task.completed)
        self._phase, self._facts = phase, {}
        self._task, self._said, self._began = None, 0.0, time.monotonic()

    def _draw(self, progress: Progress) -> None:
        if self._bars is None:
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}"),
                console=self.console,
            )
            self._bars.start()
        if self._task is None:
            self._task = self._bars.add_task(escape(progress.phase), total=progress.total or None, facts="")
        facts = escape(describe(self._facts, self.unit_of))
        self._bars.update(self._task, completed=progress.done, total=progress.total or None, facts=facts)

    def _say(self, progress: Progress) -> None:
        now, finished = time.monotonic(), progress.total > 0 and progress.done >= progress.total
        if not finished and self._said and now - self._said < EVERY:
            return
        self._said = now
        share = f" {progress.done}/{progress.total}" if progress.total else ""
        spent, left = now - self._began, ""
        if progress.done and progress.total > progress.done and spent > 1:
            left = f", about {units.duration(spent / progress.done * (progress.total - progress.done))} left"
        facts = describe(self._facts, self.unit_of)
        line = f"{progress.phase}{share} ({units.duration(spent)}{left}){': ' + facts if facts else ''}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def describe(facts: Mapping[str, Any], unit_of: Mapping[str, str]) -> str:
    """The facts of a report as one short line; counts of zero are left out."""
    words = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{goal} {units.show(number, unit_of.get(goal, ''))}" for goal, number in value.items())
            words.append(f"{name}: {inner}")
        elif isinstance(value, float):
            words.append(f"{name.replace('_', ' ')} {value:.3f}")
        elif value not in (0, "", None):
            words.append(str(value) if name == "now" else f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)
