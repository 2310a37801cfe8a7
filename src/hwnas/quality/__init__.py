"""How good: one file per score, each held to `Metric`."""

from hwnas.trial import Metric, Reading

__all__ = ["Metric", "Reading"]
