"""Which next: one file per search algorithm, each held to `Search`."""

from hwnas.trial import Goal, Search, Steps, Trial, evaluated, excess, losses

__all__ = ["Goal", "Search", "Steps", "Trial", "evaluated", "excess", "losses"]
