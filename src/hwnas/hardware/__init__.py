"""How dear: one file per cost, each held to `Metric`."""

from hwnas.trial import Metric, Reading

__all__ = ["Metric", "Reading"]
