"""Devices: the machines that networks shall run on, each described by a small YAML file."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hwnas import parts
from hwnas.errors import ConfigError, nearest

FOLDER = Path(__file__).parent / "devices"


@dataclass(frozen=True)
class Device:
    """A target machine.

    Args:
        name: by which a configuration calls it; the name of its file unless the file says otherwise.
        description: for reports.
        runtimes: the parts of `runtimes/` that run there.
        threads: how many a network is given there by habit.
    """

    name: str
    description: str = ""
    runtimes: tuple[str, ...] = ()
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError(f"device {self.name!r} needs threads of 1 or more, not {self.threads!r}")
        for runtime in self.runtimes:
            parts.locate(runtime, ("runtimes",), f"device {self.name!r}")


def known() -> list[str]:
    """The devices that come with hwnas."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load(name: str | Path) -> Device:
    """A device by name, or from a YAML file of one's own.

    Raises:
        ConfigError: no such device or file, or an entry that is not allowed.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in known():
            raise ConfigError(f"unknown device {str(name)!r}; {nearest(name, known())}; or a path to a .yaml file")
        path = FOLDER / f"{name}.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"device file {str(path)!r} cannot be read: {error}") from error
    if not isinstance(entries, Mapping):
        raise ConfigError(f"device file {str(path)!r} must hold `key: value` lines")
    keys = parts.schema(Device)
    for key in entries:
        if key not in keys:
            raise ConfigError(f"unknown key {key!r}; {nearest(key, keys)}", path=path.name)
    values = {key: parts.convert(entries[key], keys[key].annotation, None, f"{path.name}.{key}") for key in entries}
    return Device(**{"name": path.stem, **values})


def detect() -> dict[str, Any]:
    """What this machine is, for the record of a run: processor, cores, memory in bytes, system, runtimes."""
    runtimes = {}
    for name in parts.names("runtimes"):
        try:
            runtimes[name] = parts.make("runtimes", name).version
        except ImportError:
            continue  # an optional package that is not installed
    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "runtimes": runtimes,
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")  # platform.processor() is empty on most Linux systems
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


__all__ = ["Device", "detect", "known", "load"]
