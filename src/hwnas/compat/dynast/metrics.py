"""What DyNAS-T can measure: its names, the columns of its CSV files, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwnas.compat.dynast.supernets import Supernet
from hwnas.errors import ConfigError, nearest
from hwnas.trial import Goal


class InvalidMetricsException(ConfigError):
    """A metric that is unknown, or that the super-network does not have."""


@dataclass(frozen=True)
class Measure:
    """One metric of DyNAS-T.

    Args:
        column: its header in the CSV files that are written.
        aliases: other headers under which files have it, in lower case.
        direction: "min" or "max".
        unit: of the numbers in files and flags.
        costly: 0 means "not measured" in the files of older programs; nothing real costs nothing.
    """

    name: str
    column: str
    aliases: tuple[str, ...]
    direction: str = "min"
    unit: str = ""
    costly: bool = True


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("params", "Model Parameters", ("params", "model parameters")),
        Measure("latency", "Latency (ms)", ("latency", "lat", "latency (ms)"), unit="ms"),
        Measure("macs", "MACs", ("macs", "flops")),
        Measure("model_size", "Model Size", ("model size", "model_size"), unit="MB"),
        Measure("accuracy_top1", "Top-1 Acc (%)", ("top-1 acc (%)", "acc", "accuracy_top1"), "max", "%", False),
        Measure("accuracy_sst2", "SST-2 Acc", ("sst-2 acc", "accuracy_sst2"), "max", "", False),
        Measure("bleu", "BLEU Score", ("bleu", "bleu score"), "max", "", False),
    )
}
EXACT = ("macs", "params")
"""What follows from the architecture alone."""
MOST = 3
"""So many objectives a search takes; front and table would say little about more."""


def quality_of(supernet: Supernet) -> str:
    """The accuracy-like metric of a super-network."""
    return next(name for name in supernet.metrics if MEASURES[name].direction == "max")


def chosen(given: Sequence[str], supernet: Supernet, flag: str) -> tuple[list[str], list[str]]:
    """Metrics as a user names them, in that order: old names replaced, repeated ones merged.

    Returns:
        The names, and what is worth telling about them.

    Raises:
        InvalidMetricsException: the super-network does not have one of them.
    """
    names: list[str] = []
    notes: list[str] = []
    for word in given:
        name = {"acc": quality_of(supernet), "lat": "latency"}.get(word, word)
        if word == "accuracy_top1" and word not in supernet.metrics and quality_of(supernet) == "bleu":
            name = "bleu"  # as DyNAS-T reads it for the translator
        if name != word:
            notes.append(f"{flag}: {word} is called {name} here")
        if name not in supernet.metrics:
            known = nearest(name, supernet.metrics)
            raise InvalidMetricsException(f"{flag}: {supernet.name} has no metric {word!r}; {known}")
        if name in names:
            notes.append(f"{flag}: {name} is named twice and counts once")
        else:
            names.append(name)
    return names, notes


def to_file(goal: Goal, value: float) -> float:
    """A recorded value in the unit of the files: milliseconds, per cent."""
    return value * _FACTORS.get(goal.unit, 1.0)


def from_file(goal: Goal, value: float) -> float:
    """A value of a file or a flag in the unit of the record."""
    return value / _FACTORS.get(goal.unit, 1.0)


_FACTORS = {"s": 1000.0, "%": 100.0}

__all__ = ["EXACT", "MEASURES", "MOST", "InvalidMetricsException", "Measure", "chosen", "from_file", "to_file"]
