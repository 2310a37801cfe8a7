"""How a value is shown to people: SI inside, a fitting scale on screen and paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

_SCALES: dict[str, Sequence[tuple[float, str]]] = {
    "s": ((1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")),
    "bytes": ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B")),
    "J": ((1.0, " J"), (1e-3, " mJ"), (1e-6, " µJ")),
    "%": ((1e-2, " %"),),
    "": ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")),
}


def scale(value: float, unit: str = "") -> tuple[float, str]:
    """The divisor and the suffix with which values of this size read well.

    Args:
        unit: "s", "bytes", "J", "%" (of a share 0 ... 1), or anything else for plain numbers.
    """
    steps = _SCALES.get(unit, _SCALES[""])
    size = abs(value)
    for divisor, suffix in steps:
        if size >= divisor:
            return divisor, suffix
    return steps[-1]


def text(value: float, unit: str = "", digits: int = 3) -> str:
    """A value as people read it.

    Example:
        >>> text(0.00231, "s"), text(0.9812, "%"), text(566_170_656), text(4096, "bytes")
        ('2.31 ms', '98.1 %', '566 M', '4 KiB')
    """
    if not math.isfinite(value):
        return str(value)
    divisor, suffix = scale(value, unit)
    return f"{float(f'{value / divisor:.{digits}g}'):g}{suffix}"


def duration(seconds: float) -> str:
    """A span of time in words that fit its length.

    Example:
        >>> duration(8.2), duration(95), duration(5400)
        ('8 s', '1 min 35 s', '1 h 30 min')
    """
    whole = max(1, round(seconds)) if seconds > 0 else 0
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 and whole < 600 else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"
