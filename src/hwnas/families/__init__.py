"""What can be built: one file per family of networks, each held to `Family`."""

from hwnas.candidate import Candidate, Family

__all__ = ["Candidate", "Family"]
