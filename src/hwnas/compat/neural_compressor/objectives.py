"""What a user's metrics mean: which way is better, what is best, and what a searcher hears of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas import pareto
from hwnas.errors import ConfigError, MetricError

Metrics = float | list[float] | dict[str, float]
"""What an evaluation gives: a number, several, or several by name."""

LOWER = """
latency lat time seconds ms runtime duration params param parameters paras macs mac flops gflops mflops size bytes
memory mem energy power joules cost perplexity ppl mse rmse mae wer cer fid
"""
HIGHER = """
acc accuracy top top1 top5 bleu rouge f1 map ap auc score precision recall throughput fps iou miou psnr ssim r2 mcc
kappa fitness reward quality
"""
INVERTING = "loss losses error err errors drop gap regret"
"""Words that turn any other: the accuracy_loss and the top1_error are to be low."""


def names_of(metrics: Metrics) -> list[str] | None:
    """The names of the metrics; None where they have none."""
    return list(metrics) if isinstance(metrics, dict) else None


def values_of(metrics: Metrics) -> list[float]:
    """The numbers themselves, in the order of the evaluation."""
    if isinstance(metrics, dict):
        return list(metrics.values())
    return list(metrics) if isinstance(metrics, list) else [metrics]


def plain(metrics: Any) -> Metrics:
    """What an evaluation returned, in Python's own numbers: NumPy's and torch's scalars are read as what they are.

    Raises:
        MetricError: nothing, no number, or one that is not finite.
    """
    if isinstance(metrics, Mapping):
        result: Metrics = {str(name): _number(value, str(name)) for name, value in metrics.items()}
    elif isinstance(metrics, list | tuple) or getattr(metrics, "ndim", 0) == 1:
        result = [_number(value, f"metric {index + 1}") for index, value in enumerate(metrics)]
    else:
        return _number(metrics, "the result")
    if not result:
        raise MetricError(f"the evaluation returned {metrics!r}: no metric at all")
    return result


def _number(value: Any, name: str) -> float:
    if hasattr(value, "item") and getattr(value, "size", 1) != 0:
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            raise MetricError(f"{name} is not one number: {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetricError(f"{name} is no number: {value!r}")
    if not math.isfinite(value):
        raise MetricError(f"{name} is {value}, which cannot be compared")
    return value


def higher_is_better(name: str) -> bool | None:
    """Which way is better, by the words of a metric's name; None if they do not tell.

    Example:
        >>> [higher_is_better(name) for name in ("acc", "MACs", "accuracyLoss", "zap")]
        [True, False, False, None]
    """
    words = set(re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*", name)) | set(re.split(r"[^A-Za-z0-9]+", name))
    words = {word.lower() for word in words}
    words |= {word.rstrip("0123456789") for word in words}
    if words.intersection(INVERTING.split()):
        return False
    lower, higher = bool(words.intersection(LOWER.split())), bool(words.intersection(HIGHER.split()))
    return None if lower == higher else higher


def directions(names: Sequence[str] | None, count: int, given: Sequence[bool] | None) -> list[bool]:
    """For every metric whether higher is better: as the user says, else by its name.

    A single number without a name counts as an accuracy.

    Args:
        names: of the metrics, if they have names.
        count: how many metrics there are.
        given: the user's `higher_is_better`.

    Raises:
        ConfigError: a name that does not tell, or another number of directions than of metrics.
    """
    shown = f" ({', '.join(names)})" if names else ""
    if given:
        if len(given) != count:
            message = f"higher_is_better has {len(given)} entries and there are {count} metrics{shown}"
            raise ConfigError(f"{message}; give one True or False for each, in their order")
        return [bool(value) for value in given]
    if names is None:
        if count == 1:
            return [True]
        raise ConfigError(
            f"the evaluation returns {count} numbers without names, so it cannot be known which way is better",
            hint='return a dict, such as {"acc": 0.9, "latency": 0.01}, or give higher_is_better: [true, false]',
        )
    known = [higher_is_better(name) for name in names]
    unclear = [name for name, way in zip(names, known, strict=True) if way is None]
    if unclear:
        raise ConfigError(
            f"it is not known which way is better for {', '.join(unclear)}",
            path="nas.search.higher_is_better",
            hint=f"give True or False for each of {list(names)}, in this order",
        )
    return [way is True for way in known]


def find_pareto_front(metrics: ArrayLike) -> list[int]:
    """The points that nothing dominates, where higher is better in every column; equal points count once.

    Args:
        metrics: points x metrics; a row with a NaN or an infinity is on no front.

    Returns:
        Row numbers in their own order.

    Example:
        >>> find_pareto_front([[1, 2], [2, 1], [1, 1], [1, 2]])
        [0, 1]
    """
    rows = np.asarray(metrics, dtype=float)
    if rows.ndim != 2:
        raise ConfigError(f"metrics are a table of points x metrics, not an array of shape {rows.shape}")
    finite = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if not len(finite):
        return []
    _, first = np.unique(rows[finite], axis=0, return_index=True)
    kept = finite[np.sort(first)]
    return [int(index) for index in kept[pareto.front(-rows[kept])]]


class Scale:
    """Makes one number of several metrics, for searchers that hear one.

    Every metric is divided by the size of its first value that is not zero, so that no unit outweighs another and the
    same metrics always give the same number. A single metric stays as it is.
    """

    def __init__(self) -> None:
        self._sizes: list[float] = []

    def __call__(self, metrics: Sequence[float]) -> float:
        """The sum of the scaled metrics; all are to be high."""
        if len(metrics) == 1:
            return float(metrics[0])
        values: NDArray[np.float64] = np.abs(np.asarray(metrics, dtype=float))
        self._sizes = [old or new for old, new in zip(self._sizes or [0.0] * len(values), values.tolist(), strict=True)]
        return float(sum(value / (size or 1.0) for value, size in zip(metrics, self._sizes, strict=True)))


__all__ = [
    "Metrics",
    "Scale",
    "directions",
    "find_pareto_front",
    "higher_is_better",
    "names_of",
    "plain",
    "values_of",
]
