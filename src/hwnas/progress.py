"""What a long piece of work tells whoever watches it: the library reports, the command line draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One report: `done` of `total` units of a phase, with facts worth showing (loss, best, failures …)."""

    phase: str
    done: int = 0
    total: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    """A sentence that deserves a line of its own, such as "reused the supernet of runs/a"."""


Watch = Callable[[Progress], None]


def silent(_: Progress, /) -> None:
    """Nobody watches."""
