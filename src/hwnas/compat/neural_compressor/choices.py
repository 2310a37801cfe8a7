"""A user's search space, `{"channels": [16, 32], "depth": [1, 2]}`, and what hwnas makes of it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hwnas.errors import ConfigError, SpaceError, nearest
from hwnas.space import Choice, Code, Space

Architecture = dict[str, Any]
"""One network as users of this interface see it: name -> value, names sorted."""
Key = tuple[Any, ...]
"""One network as a key: the values in the order of the sorted names, lists turned into tuples."""

LIST_MOST = 10_000_000
"""So many networks are the most that anybody would want as a list."""


class Choices:
    """The values of every name, sorted by name. Values may be anything, lists and dicts included.

    Args:
        search_space: name -> list or tuple of values; equal values of one name count once.

    Raises:
        ConfigError: not such a mapping.
    """

    def __init__(self, search_space: Mapping[str, Sequence[Any]]) -> None:
        wanted = 'a search space is a dict of lists, such as {"channels": [16, 32], "depth": [1, 2]}'
        if not isinstance(search_space, Mapping) or not search_space:
            raise ConfigError(f"{wanted}, not {search_space!r}")
        for name, values in search_space.items():
            if not isinstance(name, str):
                raise ConfigError(f"{wanted}; the name {name!r} is no string")
            if not isinstance(values, list | tuple) or not values:
                raise ConfigError(f"{wanted}; {name!r} has {values!r}")
        self.names = sorted(search_space)
        self.values = {name: list({frozen(v): v for v in search_space[name]}.values()) for name in self.names}

    @functools.cached_property
    def space(self) -> Space:
        """The same as a space of hwnas, which algorithms search; what is no number or word stands as text."""
        return Space("user", tuple(Choice(name, _readable(self.values[name])) for name in self.names))

    @property
    def size(self) -> int:
        """How many networks there are, of any magnitude."""
        return math.prod(len(values) for values in self.values.values())

    def decode(self, code: Code) -> Architecture:
        """The user's own values behind a code."""
        return {name: self.values[name][index] for name, index in zip(self.names, code, strict=True)}

    def checked(self, arch: Mapping[str, Any]) -> Architecture:
        """The architecture with its names sorted; its values are not looked at.

        Raises:
            SpaceError: it does not have exactly the names of the space.
        """
        if not isinstance(arch, Mapping):
            raise SpaceError(f"an architecture is a dict with a value for each of {self.names}, not {arch!r}")
        for name in arch:
            if name not in self.values:
                raise SpaceError(f"the search space has no {name!r}; {nearest(name, self.names)}")
        missing = [name for name in self.names if name not in arch]
        if missing:
            raise SpaceError(f"the architecture {dict(arch)!r} has no value for {', '.join(missing)}")
        return {name: arch[name] for name in self.names}

    def key(self, arch: Mapping[str, Any]) -> Key:
        """The architecture as a key of a dict."""
        return tuple(frozen(arch[name]) for name in self.names)

    def arch(self, key: Key) -> Architecture:
        """The architecture behind a key, with the user's own values; what is not of the space stays as it is."""
        pairs = zip(self.names, key, strict=True)
        return {name: self._values[name].get(frozen(value), value) for name, value in pairs}

    def __contains__(self, arch: Mapping[str, Any]) -> bool:
        """Whether all values of an architecture are in the space."""
        return all(frozen(arch[name]) in self._values[name] for name in self.names)

    @functools.cached_property
    def _values(self) -> dict[str, dict[Any, Any]]:
        return {name: {frozen(value): value for value in values} for name, values in self.values.items()}


def create_search_space_pool(search_space: Mapping[str, Sequence[Any]]) -> list[Architecture]:
    """All networks of a space as a list: names sorted, the last name changes fastest.

    The searchers do without this list, so that a space may have any size.

    Raises:
        SpaceError: more networks than a list should hold.

    Example:
        >>> create_search_space_pool({"b": [1, 2], "a": [3]})
        [{'a': 3, 'b': 1}, {'a': 3, 'b': 2}]
    """
    choices = Choices(search_space)
    if choices.size > LIST_MOST:
        message = f"this space has {choices.size:.3g} networks, too many for a list (at most {LIST_MOST:,})"
        raise SpaceError(f"{message}; GridSearcher and RandomSearcher go through it without one")
    return [dict(zip(choices.names, values, strict=True)) for values in itertools.product(*choices.values.values())]


def frozen(value: Any) -> Any:
    """A value as something that can be a key: lists and dicts become tuples."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    if isinstance(value, Mapping):
        return tuple((str(name), frozen(item)) for name, item in sorted(value.items(), key=lambda pair: str(pair[0])))
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _readable(values: Sequence[Any]) -> tuple[int | float | str, ...]:
    """Values as a choice of hwnas wants them: numbers keep their order, words are words, anything else is a label."""
    plain = all(isinstance(value, int | float | str) and not isinstance(value, bool) for value in values)
    return tuple(values) if plain else tuple(f"{index}: {value!r}" for index, value in enumerate(values))


__all__ = ["Architecture", "Choices", "Key", "create_search_space_pool", "frozen"]
