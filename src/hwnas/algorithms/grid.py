"""Grid search: the networks of a space one after the other, as many as the budget allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from hwnas.algorithms import Goal, Search, Steps
from hwnas.algorithms._selection import PATIENCE
from hwnas.errors import ConfigError
from hwnas.space import Code, Space

GOLDEN = (math.isqrt(5 << 256) - (1 << 128)) >> 1
"""The golden ratio less one, times 2^128: strides of this share of a circle never come close to where they were."""


@dataclass(frozen=True)
class Grid(Search):
    """Grid search over a space of any size: nothing is enumerated beforehand, and no network comes twice.

    In the order "spread" the grid of all choices is walked in strides of about 0.618 of its length, beginning with the
    smallest and the largest network, so that whatever part of it the budget allows covers the whole; the seed says
    where the walk begins. In the order "counting" the first choice changes fastest, as in nested loops. It looks at no
    result, and ends when the space is used up.

    Args:
        order: "spread", or "counting" as in nested loops.
        batch: codes per step.
    """

    order: Literal["spread", "counting"] = "spread"
    batch: int = 16

    def __post_init__(self) -> None:
        if self.order not in ("spread", "counting"):
            raise ConfigError(f"order is 'spread' or 'counting', not {self.order!r}")
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch!r}")

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """Asks for the codes in order, without those that are known."""
        known: set[Code] = set()
        ordered = space.codes() if self.order == "counting" else _spread(space, rng)
        fresh = (code for code in ordered if code not in known)
        asked: list[Code] = []  # asks for nothing at first, to hear what is known already
        while True:
            known.update([trial.code for trial in (yield asked)])
            asked = list(islice(fresh, self.batch))
            if not asked:
                return


def _spread(space: Space, rng: np.random.Generator) -> Iterator[Code]:
    """Every code once, neighbours in time far apart in the space.

    The walk goes over the plain product of all choices, where every value of every choice is met equally often. When
    that brings hardly anything new, as where most choices are inactive, the networks themselves are walked over.
    """
    told = dict.fromkeys((space.smallest, space.largest))
    yield from told
    repeats = 0
    for number in _strides(space.raw_size, rng):
        raw = []
        for choice in space.choices:
            number, index = divmod(number, len(choice.values))
            raw.append(index)
        code = space.canonical(raw)
        repeats += 1
        if code not in told:
            repeats = 0
            told[code] = None
            yield code
        if repeats > PATIENCE:
            break
    yield from (code for number in _strides(space.size, rng) if (code := space.at(number)) not in told)


def _strides(size: int, rng: np.random.Generator) -> Iterator[int]:
    """Every number below the size once, from anywhere, in strides."""
    stride = _stride(size)
    number = int.from_bytes(rng.bytes(size.bit_length() // 8 + 9), "big") % size
    for _ in range(size):
        yield number
        number = (number + stride) % size


def _stride(size: int) -> int:
    """About 0.618 of the size, and without a common divisor, so that every number is met before one comes again."""
    stride = max(1, size * GOLDEN >> 128)
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride


__all__ = ["Grid"]
