"""What can be built: one file per family of networks, each held to `Family`."""

from hwnas.candidate import Candidate, Countable, Family

__all__ = ["Candidate", "Countable", "Family"]
