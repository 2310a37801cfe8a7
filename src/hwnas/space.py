"""What can vary: choices that may depend on one another, and codes that name one network each.

A space holds up to 10^20 networks and more, so nothing here enumerates it: sizes are counted through the tree of
conditions, and `at(i)` unpacks the i-th network directly.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hwnas.errors import SpaceError, nearest

Value = int | float | str
Code = tuple[int, ...]
"""One network: an index into the values of every choice; inactive choices are 0."""
Arch = Mapping[str, Value]
"""One network to read: the values of its active choices."""


@dataclass(frozen=True)
class Choice:
    """One thing that may vary.

    Args:
        name: unique in its space; the last part after a dot is its `axis` (kernel, depth, expand, resolution …).
        values: what it may be, from least to most where that has a meaning.
        when: (name of an earlier choice, the values of it that make this one active); None is always active.
    """

    name: str
    values: tuple[Value, ...]
    when: tuple[str, tuple[Value, ...]] | None = None

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) != len(self.values):
            raise SpaceError(f"choice {self.name!r} needs at least one value and no value twice, got {self.values!r}")

    @property
    def axis(self) -> str:
        """The dimension of the space that this choice belongs to: `stage2.block1.kernel` varies the `kernel`."""
        return self.name.rpartition(".")[2]

    @property
    def least(self) -> int:
        """The index of the smallest value; of the first one where values are words."""
        return _extreme(self.values, min, 0)

    @property
    def most(self) -> int:
        """The index of the largest value; of the last one where values are words."""
        return _extreme(self.values, max, len(self.values) - 1)


def _extreme(values: Sequence[Value], best: Any, otherwise: int) -> int:
    if any(isinstance(value, str) for value in values):
        return otherwise
    return values.index(best(values))


@dataclass(frozen=True)
class Space:
    """A list of choices; choices that depend on another come after it.

    Example:
        >>> depth = Choice("depth", (1, 2))
        >>> second = Choice("second.kernel", (3, 5), when=("depth", (2,)))
        >>> space = Space("toy", (depth, Choice("first.kernel", (3, 5)), second))
        >>> space.size, space.raw_size
        (6, 8)
        >>> space.canonical((0, 1, 1))
        (0, 1, 0)
        >>> space.decode((0, 1, 0))
        {'depth': 1, 'first.kernel': 5}
    """

    name: str
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in seen:
                raise SpaceError(f"space {self.name!r} has two choices named {choice.name!r}")
            if choice.when is not None:
                other, values = choice.when
                if other not in seen:
                    message = f"choice {choice.name!r} depends on {other!r}, which must come before it"
                    raise SpaceError(f"{message}; {nearest(other, seen)}")
                strange = [value for value in values if value not in seen[other].values]
                if strange or not values:
                    raise SpaceError(
                        f"choice {choice.name!r} waits for {other!r} to be {values!r}; it can be {seen[other].values!r}"
                    )
            seen[choice.name] = choice
        if not self.choices:
            raise SpaceError(f"space {self.name!r} has no choices")

    def __len__(self) -> int:
        return len(self.choices)

    # --- how many, and which one ------------------------------------------------------------------------------------

    @functools.cached_property
    def size(self) -> int:
        """How many different codes there are once inactive choices are ignored: exact, of any magnitude."""
        return _product(self._count(root) for root in self._children[-1])

    @property
    def raw_size(self) -> int:
        """How many codes there would be if every choice always mattered."""
        return _product(len(choice.values) for choice in self.choices)

    def at(self, index: int) -> Code:
        """The index-th canonical code, 0 <= index < size: a numbering of the space that enumerates nothing."""
        index = operator.index(index)  # NumPy's integers cannot be divided by what exceeds 64 bits
        if not 0 <= index < self.size:
            raise SpaceError(f"space {self.name!r} has {self.size} codes; there is no number {index}")
        code = [0] * len(self)
        self._unpack(index, self._children[-1], code)
        return tuple(code)

    def codes(self) -> Iterator[Code]:
        """Every canonical code, lazily and in the order of `at`; the caller stops in time."""
        return (self.at(index) for index in range(self.size))

    # --- from and to readable architectures ------------------------------------------------------------------------

    def check(self, code: Sequence[int]) -> Code:
        """The code as a tuple of plain ints.

        Raises:
            SpaceError: wrong length, not integers, or an index outside a choice's values.
        """
        if len(code) != len(self):
            raise SpaceError(f"a code of space {self.name!r} has {len(self)} entries, this one has {len(code)}")
        plain = []
        for choice, index in zip(self.choices, code, strict=True):
            if (
                isinstance(index, bool)
                or not isinstance(index, int | np.integer)
                or not 0 <= index < len(choice.values)
            ):
                raise SpaceError(f"{choice.name!r} takes an index from 0 to {len(choice.values) - 1}, got {index!r}")
            plain.append(int(index))
        return tuple(plain)

    def active(self, code: Sequence[int]) -> tuple[bool, ...]:
        """Which choices matter in this code: those whose condition holds and rests on an active choice."""
        states: list[bool] = []
        for parent, allowed in self._conditions:
            states.append(parent < 0 or (states[parent] and code[parent] in allowed))
        return tuple(states)

    def canonical(self, code: Sequence[int]) -> Code:
        """The code with every inactive choice set to 0, so that one network is one key."""
        plain = self.check(code)
        return tuple(index if on else 0 for index, on in zip(plain, self.active(plain), strict=True))

    def decode(self, code: Sequence[int]) -> dict[str, Value]:
        """The values of the active choices."""
        plain = self.check(code)
        on = self.active(plain)
        return {c.name: c.values[i] for c, i, active in zip(self.choices, plain, on, strict=True) if active}

    def encode(self, arch: Arch) -> Code:
        """The canonical code of a readable architecture; values of inactive choices may be left out.

        Raises:
            SpaceError: an unknown name, a value that is not allowed, or an active choice without a value.
        """
        known = [choice.name for choice in self.choices]
        for name in arch:
            if name not in known:
                raise SpaceError(f"space {self.name!r} has no choice {name!r}; {nearest(name, known)}")
        code = [0] * len(self)
        for position, choice in enumerate(self.choices):
            parent, allowed = self._conditions[position]
            if parent >= 0 and not (self.choices[parent].name in arch and code[parent] in allowed):
                continue
            if choice.name not in arch:
                if self.active(code)[position]:
                    raise SpaceError(f"the architecture gives no value for {choice.name!r}; allowed: {choice.values!r}")
                continue
            if arch[choice.name] not in choice.values:
                raise SpaceError(f"{choice.name!r} cannot be {arch[choice.name]!r}; allowed: {choice.values!r}")
            code[position] = choice.values.index(arch[choice.name])
        return self.canonical(code)

    # --- the ends, and moving about ---------------------------------------------------------------------------------

    @property
    def smallest(self) -> Code:
        """Every choice at its least value."""
        return self.canonical([choice.least for choice in self.choices])

    @property
    def largest(self) -> Code:
        """Every choice at its largest value."""
        return self.canonical([choice.most for choice in self.choices])

    def sample(self, rng: Generator) -> Code:
        """A random code: every active choice uniform, the convention of the field.

        Networks are therefore not uniform where conditions exist; `at(rng.integers(size))` would be, and would draw
        nearly always the greatest depth.
        """
        return self.canonical([int(rng.integers(len(choice.values))) for choice in self.choices])

    def mutate(self, code: Sequence[int], rng: Generator, rate: float | None = None) -> Code:
        """A different code near this one: every active choice is redrawn with probability `rate`, at least one is.

        Choices that become active are drawn at random.

        Args:
            rate: None is one over the number of active choices that can move.
        """
        plain = self.canonical(code)
        movable = [i for i, on in enumerate(self.active(plain)) if on and len(self.choices[i].values) > 1]
        if not movable:
            return plain
        chance = 1 / len(movable) if rate is None else rate
        moved = [i for i in movable if rng.random() < chance] or [movable[int(rng.integers(len(movable)))]]
        child = [
            i if on else int(rng.integers(len(c.values)))
            for c, i, on in zip(self.choices, plain, self.active(plain), strict=True)
        ]
        for i in moved:
            step = 1 + int(rng.integers(len(self.choices[i].values) - 1))
            child[i] = (child[i] + step) % len(self.choices[i].values)
        return self.canonical(child)

    def crossover(self, one: Sequence[int], other: Sequence[int], rng: Generator) -> Code:
        """A child that takes every choice from one of its two parents (uniform crossover)."""
        pick = rng.random(len(self)) < 0.5
        return self.canonical([a if take else b for a, b, take in zip(one, other, pick, strict=True)])

    def neighbours(self, code: Sequence[int]) -> Iterator[Code]:
        """All codes that differ in one active choice; choices that become active start at their first value."""
        plain = self.canonical(code)
        for i, on in enumerate(self.active(plain)):
            if on:
                for index in range(len(self.choices[i].values)):
                    if index != plain[i]:
                        yield self.canonical((*plain[:i], index, *plain[i + 1 :]))

    # --- as numbers, as text ----------------------------------------------------------------------------------------

    def one_hot(self, code: Sequence[int]) -> NDArray[np.float64]:
        """One column per value of every choice; the columns of inactive choices are all zero.

        Returns:
            F, the sum of the numbers of values.
        """
        plain = self.canonical(code)
        row = np.zeros(sum(len(choice.values) for choice in self.choices))
        start = 0
        for choice, index, on in zip(self.choices, plain, self.active(plain), strict=True):
            if on:
                row[start + index] = 1.0
            start += len(choice.values)
        return row

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change whenever the meaning of a code does."""
        text = json.dumps([[c.name, c.values, c.when] for c in self.choices], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # --- the tree of conditions -------------------------------------------------------------------------------------

    @functools.cached_property
    def _conditions(self) -> tuple[tuple[int, frozenset[int]], ...]:
        """Per choice: (position of the choice it waits for or -1, the indices of that choice that activate it)."""
        places = {choice.name: place for place, choice in enumerate(self.choices)}
        rows: list[tuple[int, frozenset[int]]] = []
        for choice in self.choices:
            if choice.when is None:
                rows.append((-1, frozenset()))
            else:
                parent = places[choice.when[0]]
                rows.append((parent, frozenset(self.choices[parent].values.index(v) for v in choice.when[1])))
        return tuple(rows)

    @functools.cached_property
    def _children(self) -> dict[int, list[int]]:
        """The choices that wait for each choice; those that wait for nothing under -1."""
        children: dict[int, list[int]] = {place: [] for place in range(-1, len(self))}
        for place, (parent, _) in enumerate(self._conditions):
            children[parent].append(place)
        return children

    def _awake(self, place: int, index: int) -> list[int]:
        return [child for child in self._children[place] if index in self._conditions[child][1]]

    @functools.cached_property
    def _counts(self) -> tuple[tuple[int, ...], ...]:
        """Per choice and value: how many different codes the choices below it can form."""
        counts: list[tuple[int, ...]] = [()] * len(self)
        for place in reversed(range(len(self))):
            values = range(len(self.choices[place].values))
            counts[place] = tuple(
                _product(sum(counts[child]) for child in self._awake(place, index)) for index in values
            )
        return tuple(counts)

    def _count(self, place: int) -> int:
        return sum(self._counts[place])

    def _unpack(self, index: int, places: Sequence[int], code: list[int]) -> None:
        for place in places:
            index, rest = divmod(index, self._count(place))
            for value, count in enumerate(self._counts[place]):
                if rest < count:
                    code[place] = value
                    self._unpack(rest, self._awake(place, value), code)
                    break
                rest -= count


def _product(numbers: Any) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result
