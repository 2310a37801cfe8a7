"""The approaches of a search by name; `@nas_registry("MyApproach")` adds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hwnas.errors import ConfigError

NASMethods: dict[str, type[Any]] = {}
"""Every registered class under its name in small letters."""

Class = TypeVar("Class", bound=type)


def nas_registry(nas_method: str) -> Callable[[Class], Class]:
    """Registers a class as an approach, so that `NAS(config)` makes it where `approach` has this name, in any case.

    Raises:
        ConfigError: the name is no string.
    """
    if not isinstance(nas_method, str) or not nas_method:
        raise ConfigError(f'an approach is registered under a name: @nas_registry("MyApproach"), not {nas_method!r}')

    def register(cls: Class) -> Class:
        NASMethods[nas_method.lower()] = cls
        return cls

    return register


__all__ = ["NASMethods", "nas_registry"]
