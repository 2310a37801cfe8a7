"""Which next: one file per search algorithm, each held to `Search`."""

from hwnas.trial import Goal, Search, Steps, Trial, Wish, evaluated, excess, losses, misfit

__all__ = ["Goal", "Search", "Steps", "Trial", "Wish", "evaluated", "excess", "losses", "misfit"]
