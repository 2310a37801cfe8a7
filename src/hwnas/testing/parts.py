"""What every part promises."""

from __future__ import annotations

import copy
import inspect
import json
import os
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hwnas import parts
from hwnas.errors import ConfigError
from hwnas.testing._shared import Check, folders_of, hold, keeping, require, spec_for, unchanged


def check_file(folder: str, name: str) -> None:
    """A file of a folder offers one part: first in `__all__`, of the folder's protocol, described in a sentence."""
    cls = parts.find(name, (folder,))
    require(isinstance(cls, type), f"the first name in `__all__` of {folder}/{name}.py is no class")
    require(cls.__module__ == f"hwnas.{folder}.{name}", f"{cls.__name__} of {folder}/{name}.py is defined elsewhere")
    require(folder in folders_of(cls), f"{cls.__name__} does not inherit from the protocol of {folder}/")
    _require_sentence(parts.describe(folder, name), f"{folder}/{name}.py")


def _require_sentence(line: str, where: str) -> None:
    good = not line[:1].islower() and line.endswith(".") and " " in line and len(line) <= 120
    require(good, f"the docstring of {where} begins with no sentence of at most 120 characters: {line!r}")


def is_described(part: Any) -> None:
    """The docstring of the class begins with a sentence for people."""
    _require_sentence((type(part).__doc__ or "").partition("\n")[0], type(part).__name__)


def names_its_options(part: Any) -> None:
    """The constructor takes options by name alone, and all of them are typed: it is what configurations are read by."""
    cls: type = type(part)
    for name, parameter in inspect.signature(cls).parameters.items():
        star = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        require(not star, f"the constructor of {cls.__name__} takes any {name}, so misspelt options would pass")
        typed = parts.schema(cls)[name].annotation is not Any
        require(typed, f"option {name!r} of {cls.__name__} has no type, so it cannot be checked")


def is_frozen(part: Any) -> None:
    """A part is a frozen dataclass, equal to its copy; its repr names every option."""
    frozen = getattr(getattr(part, "__dataclass_params__", None), "frozen", False)
    require(frozen, f"{type(part).__name__} is no frozen dataclass")
    require(replace(part) == part == copy.copy(part), f"{part!r} differs from its copy")
    for option in fields(part):
        require(not option.repr or f"{option.name}=" in repr(part), f"repr does not name {option.name!r}: {part!r}")


def travels_as_a_spec(part: Any) -> None:
    """Its spec, through JSON, makes an equal part; that is how it reaches other processes and the record of a run."""
    spec = spec_for(part)
    toys = {option.name: getattr(part, option.name) for option in fields(part) if option.name in parts.GIVEN}
    again = parts.make(folders_of(type(part)), json.loads(json.dumps(spec)), toys)
    require(again == part, f"{spec!r} makes {again!r} instead of {part!r}")


def rejects_unknown_options(part: Any) -> None:
    """A misspelt option is a ConfigError that names the nearest one."""
    cls: type = type(part)
    (name,) = spec_for(part)
    own = [option for option in parts.schema(cls) if option not in parts.GIVEN]
    for option in own or ["anything"]:
        try:
            parts.make(folders_of(cls), {name: {f"{option}_": 0}})
        except ConfigError as error:
            told = not own or f"did you mean {option!r}" in str(error)
            require(told, f"for the unknown option '{option}_' nobody points to {option!r}, but: {error}")
        else:
            raise AssertionError(f"{name!r} takes the unknown option '{option}_'")


def does_no_work_when_built(part: Any) -> None:
    """Building a part draws no random numbers, changes no global state and touches no file."""
    with TemporaryDirectory() as place, unchanged("building it"):
        replace(part, **keeping(part, Path(place) / "run"))
        require(not os.listdir(place), f"building {type(part).__name__} leaves files")


PART: tuple[Check, ...] = (
    is_described,
    names_its_options,
    is_frozen,
    travels_as_a_spec,
    rejects_unknown_options,
    does_no_work_when_built,
)
"""What every part promises."""


def check_part(part: Any) -> None:
    """Holds any part to what every part promises."""
    hold(PART, part)
