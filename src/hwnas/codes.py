"""Many codes at once, as arrays: what `Space` does to one code, for searches that make thousands of them.

Codes are rows of small integers, N x G. Functions that move codes expect canonical ones and return canonical ones.
"""

# Shape letters: N codes, G choices of the space, F one-hot columns.

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from hwnas.space import Code, Space

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Tables:
    """A space as arrays: the number of values, and per choice the one that it waits for and what wakes it."""

    counts_G: Codes
    starts_G: Codes
    parents: tuple[int, ...]
    wakes: tuple[NDArray[np.bool_], ...]


@functools.lru_cache(maxsize=32)
def _tables(space: Space) -> _Tables:
    places = {choice.name: place for place, choice in enumerate(space.choices)}
    parents, wakes = [], []
    for choice in space.choices:
        if choice.when is None:
            parents.append(-1)
            wakes.append(np.ones(1, dtype=bool))
        else:
            parent = places[choice.when[0]]
            parents.append(parent)
            wakes.append(np.array([value in choice.when[1] for value in space.choices[parent].values]))
    counts_G = np.array([len(choice.values) for choice in space.choices], dtype=np.int64)
    return _Tables(counts_G, np.cumsum(counts_G) - counts_G, tuple(parents), tuple(wakes))


def array(space: Space, codes: Iterable[Code]) -> Codes:
    """Codes as an array; N may be 0."""
    return np.array(list(codes), dtype=np.int64).reshape(-1, len(space))


def tuples(codes_NG: ArrayLike) -> list[Code]:
    """Rows as codes."""
    return [tuple(row) for row in np.asarray(codes_NG).tolist()]


def active(space: Space, codes_NG: Codes) -> NDArray[np.bool_]:
    """Which choices matter, as `Space.active` has it: N x G."""
    tables = _tables(space)
    on_NG = np.ones(codes_NG.shape, dtype=bool)
    for place, (parent, wakes) in enumerate(zip(tables.parents, tables.wakes, strict=True)):
        if parent >= 0:
            on_NG[:, place] = on_NG[:, parent] & wakes[codes_NG[:, parent]]
    return on_NG


def canonical(space: Space, codes_NG: Codes) -> Codes:
    """Inactive choices set to 0, as `Space.canonical` has it."""
    return np.where(active(space, codes_NG), codes_NG, 0)


def one_hot(space: Space, codes_NG: Codes) -> Floats:
    """One column per value of every choice, zero where a choice is inactive, as `Space.one_hot` has it: N x F."""
    tables = _tables(space)
    rows_NF = np.zeros((len(codes_NG), int(tables.counts_G.sum())))
    row, column = np.nonzero(active(space, codes_NG))
    rows_NF[row, tables.starts_G[column] + codes_NG[row, column]] = 1.0
    return rows_NF


def sample(space: Space, count: int, rng: Generator) -> Codes:
    """Random codes, every choice uniform, as `Space.sample` has it; repeats are possible."""
    counts_G = _tables(space).counts_G
    return canonical(space, rng.integers(counts_G, size=(count, len(space))))


def mutate(space: Space, codes_NG: Codes, rng: Generator, rate: float | None = None) -> Codes:
    """Different codes near these, as `Space.mutate` has it: active choices redrawn with probability `rate`.

    A row without any choice that can move comes back as it is.

    Args:
        rate: None is one over the number of active choices that can move, row by row.
    """
    counts_G = _tables(space).counts_G
    on_NG = active(space, codes_NG)
    movable_NG = on_NG & (counts_G > 1)
    number_N1 = movable_NG.sum(axis=1, keepdims=True)
    chance_N1 = 1 / np.maximum(number_N1, 1) if rate is None else np.full(number_N1.shape, rate)
    draw_NG = rng.random(codes_NG.shape)
    moved_NG = movable_NG & (draw_NG < chance_N1)
    lucky_N = np.where(movable_NG, rng.random(codes_NG.shape), -1.0).argmax(axis=1)  # moves where nothing else does
    still_N = np.flatnonzero(~moved_NG.any(axis=1) & (number_N1[:, 0] > 0))
    moved_NG[still_N, lucky_N[still_N]] = True
    steps_NG = rng.integers(1, np.maximum(counts_G, 2), size=codes_NG.shape)
    woken_NG = rng.integers(counts_G, size=codes_NG.shape)
    child_NG = np.where(on_NG, codes_NG, woken_NG)
    child_NG = np.where(moved_NG, (codes_NG + steps_NG) % counts_G, child_NG)
    return canonical(space, child_NG)


def crossover(space: Space, ones_NG: Codes, others_NG: Codes, rng: Generator) -> Codes:
    """Children that take every choice from one of their two parents (uniform crossover)."""
    return canonical(space, np.where(rng.random(ones_NG.shape) < 0.5, ones_NG, others_NG))


__all__ = ["Codes", "active", "array", "canonical", "crossover", "mutate", "one_hot", "sample", "tuples"]
