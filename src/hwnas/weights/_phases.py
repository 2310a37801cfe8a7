"""The phases of progressive shrinking, derived from a space: which values may be drawn when, for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.errors import ConfigError
from hwnas.space import Choice, Code, Space

SHARES = {"full": 180.0, "first": 25.0, "last": 125.0}
"""Once-for-All's epochs by kind of phase: the full network, a first and a last step of an axis."""
RATES = {"full": 1.0, "first": 1 / 4, "last": 1 / 2}
"""Learning rates relative to the full network's; Once-for-All, whose phases are long, takes 1/12 and 1/4."""


@dataclass(frozen=True)
class Phase:
    """Some epochs in which the largest `allowed` values of every axis may be drawn; other axes stay at their largest.

    Args:
        rate: of learning, relative to the full network's.
        teaches: whether subnets learn, from the full network's answers among others.
    """

    name: str
    epochs: int
    allowed: Mapping[str, int]
    rate: float = 1.0
    teaches: bool = False


def phases(space: Space, epochs: int, order: Sequence[str] = ("kernel", "depth")) -> list[Phase]:
    """The phases of progressive shrinking for a space: kernel, depth, then every other axis, from large to small.

    An axis with three or more values, except the first one, opens in two steps (all but the smallest, then all), as
    in Once-for-All; with few epochs in one. Image sizes are elastic from the start. Every phase has at least one epoch.

    Raises:
        ConfigError: fewer epochs than phases.
    """
    values: dict[str, int] = {}
    for choice in space.choices:
        values[choice.axis] = max(values.get(choice.axis, 0), len(choice.values))
    axes = [axis for axis in order if axis in values]
    axes += [axis for axis in values if axis not in axes and axis != "resolution"]
    axes = [axis for axis in axes if values[axis] > 1]
    if epochs < 1 + len(axes):
        raise ConfigError(
            f"progressive shrinking over {', '.join(axes)} needs at least {1 + len(axes)} epochs, got {epochs}"
        )
    always = {"resolution": values["resolution"]} if "resolution" in values else {}
    gentle = epochs >= 1 + 2 * len(axes)
    plan: list[tuple[str, str, dict[str, int]]] = [("full", "full network", {})]
    opened: dict[str, int] = {}
    for axis in axes:
        if gentle and values[axis] > 2 and axis != axes[0]:
            opened = {**opened, axis: values[axis] - 1}
            plan.append(("first", f"elastic {axis}, first step", dict(opened)))
        opened = {**opened, axis: values[axis]}
        plan.append(("last", f"elastic {axis}", dict(opened)))
    lengths = _apportion(epochs, [SHARES[kind] for kind, _, _ in plan])
    return [
        Phase(name, length, {**always, **allowed}, RATES[kind], teaches=kind != "full")
        for (kind, name, allowed), length in zip(plan, lengths, strict=True)
    ]


def _apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers, at least one each, that add up to the total and follow the shares (Sainte-Lague)."""
    numbers = [1] * len(shares)
    for _ in range(total - len(shares)):
        wanting = max(range(len(shares)), key=lambda i: shares[i] / (numbers[i] + 0.5))
        numbers[wanting] += 1
    return numbers


def draw(space: Space, allowed: Mapping[str, int], rng: np.random.Generator) -> Code:
    """A random code of a phase: every choice among the largest values that its axis allows."""
    drawn = []
    for choice in space.choices:
        ranked = _from_largest(choice)[: allowed.get(choice.axis, 1)]
        drawn.append(ranked[int(rng.integers(len(ranked)))])
    return space.canonical(drawn)


def smallest(space: Space, allowed: Mapping[str, int]) -> Code:
    """The smallest network that a phase can draw."""
    return space.canonical([_from_largest(choice)[: allowed.get(choice.axis, 1)][-1] for choice in space.choices])


def _from_largest(choice: Choice) -> list[int]:
    """The indices of a choice's values, the largest value first; of words, the last one first."""
    numbers = [value for value in choice.values if not isinstance(value, str)]
    places = range(len(choice.values))
    if len(numbers) < len(choice.values):
        return list(reversed(places))
    return sorted(places, key=lambda i: -numbers[i])
