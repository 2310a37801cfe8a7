"""Values for people: SI in the record; milliseconds, MiB, percent and millions on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
STEPS: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "J": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"), (1e-12, "pJ")),
    "bytes": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "%": ((0.01, "%"),),
    "percent": ((1.0, "%"),),
    "": COUNTS,
    "MACs": COUNTS,
}
"""By unit: what one shown unit is worth, and its symbol, largest first.

Shares are recorded from 0 to 1, as "%"; "percent" is for tables that hold per cent already.
"""


@dataclass(frozen=True)
class Scale:
    """A unit to show values in, `factor` of the recorded unit each."""

    factor: float
    symbol: str

    def number(self, value: float) -> str:
        """The value without its symbol: three digits that count, percentages with one decimal."""
        shown = value / self.factor
        if self.factor == 1.0 and shown == int(shown) and self.symbol in ("", "B"):
            return _sign(f"{shown:.0f}" if abs(shown) < 1e6 else f"{shown:.2e}")
        return _sign(f"{shown:.1f}" if self.symbol == "%" else _digits(shown))

    def __call__(self, value: float) -> str:
        """The value with its symbol.

        Example:
            >>> scale("s", [0.00132])(0.00132), scale("%", [])(0.981)
            ('1.32 ms', '98.1 %')
        """
        return f"{self.number(value)} {self.symbol}".rstrip()


def scale(unit: str, values: Iterable[float]) -> Scale:
    """The scale that suits all of these values together: that of the largest one."""
    steps = STEPS.get(unit, ((1.0, unit),))
    most = max((abs(value) for value in values), default=0.0)
    if most >= 1e15:  # scores without a scale, such as products of all weights
        return Scale(*steps[-1])
    return Scale(*next((step for step in steps if step[0] <= most), steps[-1]))


def show(value: float, unit: str) -> str:
    """One value by itself."""
    return scale(unit, [value])(value)


def change(now: float, then: float, unit: str) -> str:
    """What became of a value: percentage points for shares, else percent; empty where percent mean nothing.

    Example:
        >>> change(1.32, 2.31, "s"), change(0.981, 0.984, "%")
        ('−43 %', '−0.3 points')
    """
    if unit in ("%", "percent"):
        return _signed((now - then) / STEPS[unit][0][0], 1) + " points"
    return _signed(100 * (now / then - 1), 0) + " %" if now > 0 and then > 0 else ""


def plural(count: int, noun: str) -> str:
    """A number of things: `1 network`, `1,200 networks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """A stretch of time as people say it: `42 s`, `18 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def tied(text: str) -> str:
    """The text with every number kept on one line with its unit."""
    return re.sub(r"(?<=\d) (?=(?:%|[mµn]?s|[KMG]iB|[kMGT])\b|%)", "\u00a0", text)


def _digits(value: float) -> str:
    value = float(f"{value:.3g}")
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def _signed(value: float, places: int) -> str:
    text = f"{value:+.{places}f}"
    return _sign(text) if float(text) else f"±{abs(value):.{places}f}"


def _sign(text: str) -> str:
    """With a true minus sign, which is as wide as a plus."""
    return text.replace("-", "−", 1) if text.startswith("-") else text


__all__ = ["Scale", "change", "duration", "plural", "scale", "show", "tied"]
