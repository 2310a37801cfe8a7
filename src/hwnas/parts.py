"""Find a part by name: the folder is the registry, the file name is the key, the constructor is the schema.

A part is written in a configuration as a spec: `nsga2`, or `{nsga2: {population: 50}}`, or, where several folders are
possible, `{hardware.measured: {threads: 1}}`. A dotted name that starts with no folder of ours loads somebody else's
part: `my_pkg.my_module.MyMetric`, a class or a plain function, or `my_pkg.my_module`, whose first name in `__all__` is
the part, as in our own files. Nested parts resolve the same way: a
constructor parameter whose type is a `contract` takes a spec.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from hwnas.errors import ConfigError, HwnasError, nearest

FOLDERS = ("families", "quality", "hardware", "algorithms", "predictors", "weights", "data", "runtimes", "formats")
GIVEN = ("family", "data", "weights", "device", "folder", "seed", "torch_device")
"""What a constructor may ask for and is given by the experiment, unless the user sets it."""

Spec = dict[str, dict[str, Any]]
"""One name and its options, JSON-able: what travels to another process."""

ROOT = Path(__file__).parent

Class = TypeVar("Class", bound=type)


def contract(*folders: str) -> Callable[[Class], Class]:
    """Marks a protocol as the contract of one or more folders, so that constructors typed with it take specs."""

    def mark(cls: Class) -> Class:
        cls.__parts__ = folders  # type: ignore[attr-defined]  # set after creation: it is no member of the protocol
        return cls

    return mark


@functools.cache
def names(folder: str) -> tuple[str, ...]:
    """The parts of one folder, sorted: every file that lists one in `__all__` and has no leading underscore."""
    files = sorted((ROOT / folder).glob("[!_]*.py"))
    return tuple(file.stem for file in files if "\n__all__ = " in file.read_text(encoding="utf-8"))


@functools.cache
def describe(folder: str, name: str) -> str:
    """The first docstring line of a part, read without importing it (and so without torch)."""
    tree = ast.parse((ROOT / folder / f"{name}.py").read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    return text.splitlines()[0] if text else ""


def locate(name: str, folders: Sequence[str], path: str = "") -> str:
    """The module that a part's name stands for, such as `hwnas.quality.shared`.

    Raises:
        ConfigError: no such part; says which there are.
    """
    for folder in folders:
        bare = name.removeprefix(f"{folder}.")
        if bare in names(folder):
            return f"hwnas.{folder}.{bare}"
    head = name.partition(".")[0]
    if "." in name and head not in FOLDERS and all(word.isidentifier() for word in name.split(".")):
        parent, _, attribute = name.rpartition(".")
        if _is_module(name) or (_is_module(parent) and hasattr(importlib.import_module(parent), attribute)):
            return name
        if _is_module(parent):
            raise ConfigError(f"module {parent!r} has no {attribute!r}", path=path)
        raise ConfigError(f"no module {parent!r} can be imported; is it installed and on PYTHONPATH?", path=path)
    known = [known for folder in folders for known in (names(folder) if len(folders) == 1 else qualified(folder))]
    raise ConfigError(f"unknown part {name!r} of {' or '.join(folders)}; {nearest(name, known)}", path=path)


def _is_module(name: str) -> bool:
    """Whether a module of this name can be found; an import that fails on the way is shown as it is."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            return False
        raise  # the package is there, and something that it imports is not


def qualified(folder: str) -> list[str]:
    """The parts of a folder with the folder's name in front, as goals write them."""
    return [f"{folder}.{name}" for name in names(folder)]


def find(name: str, folders: Sequence[str], path: str = "") -> Any:
    """The class of a part, or the plain function that is one.

    An import error inside the part's file is shown as it is, not as "unknown".
    """
    place = locate(name, folders, path)
    parent, _, attribute = place.rpartition(".")
    if not _is_module(place):
        return getattr(importlib.import_module(parent), attribute)
    module = importlib.import_module(place)
    public = getattr(module, "__all__", None)
    if not public:
        hint = f'name the class or function too, as {place}.NAME, or add `__all__ = ["NAME"]` to the module'
        raise ConfigError(f"module {place!r} lists no part: its `__all__` is missing or empty", path=path, hint=hint)
    return getattr(module, public[0])


def split(spec: Any, path: str = "") -> tuple[str, dict[str, Any]]:
    """A spec as (name, options). Accepts `name`, `{name: options}` and `{name: null}`."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((name, options),) = spec.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, dict(options or {})
        raise ConfigError(f"the options of {name!r} must be a mapping, not {options!r}", path=path)
    raise ConfigError(f"expected a name or {{name: options}} with one name, got {spec!r}", path=path)


def make(folder: str | Sequence[str], spec: Any, given: Mapping[str, Any] | None = None, path: str = "") -> Any:
    """Build a part from its spec, checking every option against the constructor's signature.

    Args:
        folder: where to look; several folders for a goal's metric (`("quality", "hardware")`).
        spec: a name, `{name: options}`, or an object that is a part already.
        given: the experiment's own family, data, weights, …, for constructors that ask for them.
        path: where the spec stands in the configuration, for messages.

    Raises:
        ConfigError: unknown part or option, or an option of the wrong type.
    """
    if not isinstance(spec, _WRITTEN):
        return spec
    folders = (folder,) if isinstance(folder, str) else tuple(folder)
    name, options = split(spec, path)
    cls = find(name, folders, path)
    bare = name.removeprefix(f"{folders[0]}.") if len(folders) == 1 else name
    here = f"{path}.{bare}" if path else bare
    if not isinstance(cls, type):
        if options:
            raise ConfigError(f"{name!r} is a function and takes no options, got {', '.join(options)}", path=here)
        return cls
    parameters = schema(cls)
    ready: dict[str, Any] = {}
    for option, value in options.items():
        if option not in parameters:
            own = [known for known in parameters if known not in GIVEN or parameters[known].default is not _EMPTY]
            raise ConfigError(f"unknown option {option!r} of {name!r}; {nearest(option, own)}", path=f"{here}.{option}")
        ready[option] = convert(value, parameters[option].annotation, given, f"{here}.{option}")
    for option, parameter in parameters.items():
        if option in ready:
            continue
        if option in GIVEN and given is not None and option in given:
            ready[option] = given[option]
        elif parameter.default is _EMPTY:
            need = "the experiment names none" if option in GIVEN else "it has no default"
            raise ConfigError(f"{name!r} needs {option!r}, and {need}", path=here)
    try:
        return cls(**ready)
    except ConfigError as error:
        raise (error if error.path else ConfigError(error.args[0], path=here, hint=error.hint)) from None
    except (TypeError, ValueError) as error:
        if isinstance(error, HwnasError):
            raise
        raise ConfigError(str(error), path=here) from error


_EMPTY = inspect.Parameter.empty
_WRITTEN = (str, int, float, list, tuple, Mapping, type(None))
"""What can stand in a configuration; anything else is a part already."""


@functools.cache
def schema(cls: type) -> dict[str, inspect.Parameter]:
    """The options of a part: its constructor's named parameters, with type hints resolved."""
    hints = typing.get_type_hints(cls if is_dataclass(cls) else cls.__init__)  # type: ignore[misc]  # of this very class
    named = {
        name: value
        for name, value in inspect.signature(cls).parameters.items()
        if value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)  # what a protocol's own constructor has
    }
    return {name: value.replace(annotation=hints.get(name, Any)) for name, value in named.items()}


def convert(value: Any, hint: Any, given: Mapping[str, Any] | None, path: str) -> Any:
    """One option's value as its constructor wants it: nested specs become parts, the rest is checked by type."""
    folders = _folders_of(hint)
    if folders and value is None and type(None) in typing.get_args(hint):
        return None
    if folders:
        return make(folders, value, given, path)
    each = _folders_of(typing.get_args(hint)[0]) if typing.get_origin(hint) is tuple else ()
    if each:  # a list of parts
        specs = value if isinstance(value, list | tuple) else [value]
        return tuple(make(each, spec, given, f"{path}[{place}]") for place, spec in enumerate(specs))
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    except PydanticUserError:
        adapter = TypeAdapter(hint)
    try:
        return adapter.validate_python(_listed(value, hint))
    except ValidationError as error:
        wanted = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint).replace("typing.", "")
        reason = error.errors()[0]["msg"]
        raise ConfigError(f"{value!r} is not allowed: {reason} (wanted: {wanted})", path=path) from None


def _folders_of(hint: Any) -> tuple[str, ...]:
    """The folders whose parts a type hint stands for, if any; looks through `X | None`."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    options = typing.get_args(hint) if union else (hint,)
    found = (getattr(option, "__parts__", ()) for option in options if isinstance(option, type))
    return next((tuple(folders) for folders in found if folders), ())


def _listed(value: Any, hint: Any) -> Any:
    """YAML has lists where constructors want tuples."""
    if isinstance(value, list) and "tuple" in str(hint):
        return tuple(_listed(item, hint) for item in value)
    return value


def spec_of(part: Any) -> Spec | None:
    """The spec that would build this part again, or None if it has none (a lambda, or a class of a script).

    Works for dataclass parts; options equal to their default are left out.
    """
    if not is_dataclass(part) or isinstance(part, type):
        return None
    module = type(part).__module__
    public = getattr(sys.modules.get(module), "__all__", None)
    if "." not in module or not public or public[0] != type(part).__name__:
        return None
    name = _short(module)
    options = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if not field.init or field.name in GIVEN or value == field.default:
            continue
        options[field.name] = _written(value)
    return {name: options}


def _written(value: Any) -> Any:
    """An option as a configuration has it: parts as their specs, alone or in a list."""
    nested = spec_of(value)
    if nested is not None:
        return nested
    if isinstance(value, tuple | list) and value and all(spec_of(item) is not None for item in value):
        return [spec_of(item) for item in value]
    return value


def normal(spec: Any, folders: Sequence[str], path: str = "") -> Spec:
    """A spec in its one canonical form, `{"folder.name": {options}}`, so that equal parts compare equal."""
    name, options = split(spec, path)
    module = locate(name, folders, path)
    return {_short(module): options}


def _short(module: str) -> str:
    """A part of our own folders without `hwnas.` in front; other modules, ours included, by their whole name."""
    bare = module.removeprefix("hwnas.")
    return bare if bare.partition(".")[0] in FOLDERS else module
