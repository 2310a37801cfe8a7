"""One experiment as its user writes it, in YAML or as a Python mapping: read, checked, completed.

Every message names the path in the configuration, what stands there, what is allowed and the nearest known name.
"""

from __future__ import annotations

import copy
import difflib
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hwnas import parts
from hwnas.errors import ConfigError, nearest

METRICS = ("quality", "hardware")
DIRECTIONS = ("min", "max")


@dataclass(frozen=True)
class GoalSpec:
    """A goal as it was written: the limit may still be relative to the largest network ("60%")."""

    name: str
    metric: Any
    direction: str
    limit: float | str | None = None
    objective: bool = True

    @property
    def share(self) -> float | None:
        """A relative limit as a share of the largest network's value; None if the limit is absolute or absent."""
        return float(self.limit.rstrip("% ")) / 100 if isinstance(self.limit, str) else None


@dataclass(frozen=True)
class Config:
    """A checked configuration.

    Args:
        family: what can be built.
        goals: what counts, in order: the first one decides among the networks of the front.
        data, weights: by name and options; None where the metrics need none.
        search: the algorithm.
        budget: distinct networks to judge.
        seed: of everything random.
        workers: processes that judge at once.
        threads: of torch, in each process; None leaves torch's own choice.
        timeout: seconds that one judgement may take; None is no limit.
        asynchronous: tell the search of results as they come; faster with many workers, not repeatable.
        confirm: so many networks of the front are measured again at the end; 0 for none.
        export: whether the chosen network is written as a file at the end; `hwnas export` does it at any later time.
        device: the target machine.
        torch_device: where torch computes.
    """

    family: Any
    goals: tuple[GoalSpec, ...]
    data: Any = None
    weights: Any = None
    search: Any = field(default_factory=lambda: {"algorithms.nsga2": {}})
    budget: int = 100
    seed: int = 0
    workers: int = 1
    threads: int | None = None
    timeout: float | None = None
    asynchronous: bool = False
    confirm: int = 8
    export: bool = True
    device: str = "local"
    torch_device: str = "cpu"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as it would be written, with every default spelled out."""
        goals = {}
        for goal in self.goals:
            goals[goal.name] = {goal.direction: goal.metric}
            if goal.limit is not None:
                goals[goal.name]["limit"] = goal.limit
            if not goal.objective:
                goals[goal.name]["objective"] = False
        rest = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "goals"}
        order = ("family", "data", "weights")
        return {**{name: rest.pop(name) for name in order if rest[name] is not None}, "goals": goals, **rest}


def read(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """A configuration from a YAML file or a mapping, with `key=value` overrides applied, checked as a whole.

    Raises:
        ConfigError: anything that is not allowed.
    """
    raw = copy.deepcopy(read_yaml(Path(source))) if isinstance(source, str | Path) else dict(source)
    for text in overrides:
        _override(raw, text)
    return check(raw)


def check(raw: Mapping[str, Any]) -> Config:
    """The configuration behind a plain mapping; parts are looked up by name, but nothing is built."""
    keys = list(Config.__dataclass_fields__)
    for key in raw:
        if key not in keys:
            raise ConfigError(f"unknown key; {nearest(key, keys)}", path=str(key))
    for key in ("family", "goals"):
        if raw.get(key) is None:
            raise ConfigError("is missing, and a search needs it", path=key, hint=_EXAMPLE[key])
    values: dict[str, Any] = {"goals": _goals(raw["goals"])}
    for key in keys:
        if key not in raw or key == "goals":
            continue
        value = raw[key]
        if key in _FOLDERS:
            values[key] = _part(value, _FOLDERS[key], key) if value is not None else None
        else:
            values[key] = parts.convert(value, parts.schema(Config)[key].annotation, None, key)
    config = Config(**values)
    for key, least in (("budget", 1), ("workers", 1), ("confirm", 0), ("seed", 0)):
        if getattr(config, key) < least:
            raise ConfigError(f"must be {least} or more, not {getattr(config, key)}", path=key)
    if config.threads is not None and config.threads < 1:
        raise ConfigError(f"must be 1 or more, not {config.threads}", path="threads")
    if config.timeout is not None and not config.timeout > 0:
        raise ConfigError(f"must be a positive number of seconds, not {config.timeout}", path="timeout")
    if not any(goal.objective for goal in config.goals):
        raise ConfigError("every goal says `objective: false`, so nothing is better than anything", path="goals")
    return config


_FOLDERS = {"family": "families", "data": "data", "weights": "weights", "search": "algorithms"}
_EXAMPLE = {
    "family": "for example: family: {mobilenetv3: {classes: 10, resolution: 32}}; see `hwnas list families`",
    "goals": "for example: goals: {accuracy: {max: quality.shared}, latency: {min: hardware.measured, limit: 60%}}",
}


def read_yaml(path: Path, example: str = "`family: …` and `goals: …`") -> dict[str, Any]:
    """A YAML file of `key: value` lines as a mapping; nothing in it is executed.

    Args:
        example: what such a file holds, for the message.

    Raises:
        ConfigError: no such file (names one that is spelt alike), or where it is no valid YAML.
    """
    if not path.exists():
        around = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(str(path), around, n=1)
        raise ConfigError(f"there is no file {str(path)!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, such as {example}")
    return raw


def _override(raw: dict[str, Any], text: str) -> None:
    """Applies one `goals.latency.limit=50%`; a name on the way becomes a mapping: `search.nsga2.population=30`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"{text!r} is no override; write key=value, such as budget=200 or goals.latency.limit=50%")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{value!r} is not valid YAML", path=key) from error
    place, steps = raw, key.split(".")
    while True:
        name, steps = _step(place, steps)
        if not steps:
            place[name] = parsed
            return
        inner = place.get(name)
        if isinstance(inner, str):  # a bare name has no options yet
            inner = {inner: {}}
        place[name] = place = dict(inner) if isinstance(inner, dict) else {}


def _step(place: Mapping[str, Any], steps: list[str]) -> tuple[str, list[str]]:
    """The key that a dotted path means next, and what is left of it; keys may have dots: `hardware.measured`."""
    for end in range(len(steps), 0, -1):
        name = ".".join(steps[:end])
        matches = [key for key in place if key == name or str(key).endswith(f".{name}")]
        if matches:
            return matches[0], steps[end:]
    return steps[0], steps[1:]


def data_spec(spec: Any, path: str = "data") -> Any:
    """A data set as a configuration writes it, in its canonical form; objects pass.

    Raises:
        ConfigError: there is neither a data set nor a file or folder of this name.
    """
    return _part(spec, "data", path)


def _part(spec: Any, folder: str, path: str) -> Any:
    """A part's spec in its canonical form; objects pass, and a path stands for the data set that lies there."""
    spec = str(spec) if isinstance(spec, Path) else spec
    if folder == "data" and isinstance(spec, str) and spec not in parts.names("data"):
        place = Path(spec).expanduser()
        if place.exists() or "/" in spec or spec.startswith((".", "~")):
            spec = {_lying(place): {"path": spec}}
        elif "." not in spec:
            known = nearest(spec, parts.names("data"))
            message = f"there is neither a data set nor a file or folder named {spec!r}; {known}"
            raise ConfigError(message, path=path, hint="or give the path of a folder, or of a file")
    if not isinstance(spec, str | Mapping):
        return spec
    return _normal(spec, (folder,), path)


def _lying(place: Path) -> str:
    """The data set that lies at a path, by the names of files; images unless something else shows."""
    tables = (".tsv", ".csv", ".txt")
    if place.is_file():
        if place.suffix.lower() in tables:
            return "text"
        with place.open("rb") as file:
            spoken = zipfile.is_zipfile(file) and "audio.npy" in zipfile.ZipFile(file).namelist()
        return "speech" if spoken else "arrays"
    entries = [entry for entry in place.glob("*") if not entry.name.startswith(".")]
    if any(entry.suffix.lower() in tables for entry in entries) and not any(entry.is_dir() for entry in entries):
        return "text"
    recorded = (next(place.glob(f"{depth}*.[wW][aA][vV]"), None) for depth in ("", "*/", "*/*/"))
    return "speech" if any(recorded) else "images"


def _normal(spec: Any, folders: Sequence[str], path: str) -> parts.Spec:
    if isinstance(spec, str) and spec.startswith("<"):  # as a run saves what has no spec
        message = f"{spec} was an object or a function of a Python program, which a file cannot hold"
        raise ConfigError(message, path=path, hint="put it into a module and name that: my_package.my_module")
    return parts.normal(spec, folders, path)


def _goals(raw: Any) -> tuple[GoalSpec, ...]:
    if not isinstance(raw, Mapping) or not raw:
        raise ConfigError(f"must name one goal or more, got {raw!r}", path="goals", hint=_EXAMPLE["goals"])
    return tuple(_goal(str(name), entry, f"goals.{name}") for name, entry in raw.items())


def _goal(name: str, entry: Any, path: str) -> GoalSpec:
    if not name.isidentifier():
        raise ConfigError("the name of a goal is a word of letters, digits and _", path=path)
    if not isinstance(entry, Mapping):
        raise ConfigError(f"must say min or max and a metric, got {entry!r}", path=path, hint=_EXAMPLE["goals"])
    known = [*DIRECTIONS, "limit", "objective"]
    for key in entry:
        if key not in known:
            raise ConfigError(f"unknown key; {nearest(key, known)}", path=f"{path}.{key}")
    ways = [way for way in DIRECTIONS if way in entry]
    if len(ways) != 1:
        raise ConfigError(f"must have exactly one of min and max, it has {' and '.join(ways) or 'neither'}", path=path)
    metric = entry[ways[0]]
    if isinstance(metric, str | Mapping):
        metric = _normal(metric, METRICS, f"{path}.{ways[0]}")
    elif not callable(metric):
        raise ConfigError(f"expected the name of a metric, got {metric!r}", path=f"{path}.{ways[0]}")
    objective = parts.convert(entry.get("objective", True), bool, None, f"{path}.objective")
    limit = _limit(entry.get("limit"), f"{path}.limit")
    return GoalSpec(name, metric, ways[0], limit, objective)


def _limit(value: Any, path: str) -> float | str | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\s*\d+(\.\d+)?\s*%\s*", value) and float(value.strip("% ")) > 0:
        return value.strip()
    if isinstance(value, str):  # YAML reads 2e-3 as text
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise ConfigError(
        f"must be a number in the metric's own unit (seconds, bytes …) or a share of the largest network's value "
        f"such as 60%, not {value!r}",
        path=path,
    )
