"""The folder of a run: where it lies, what it may not overwrite, and the files beside the record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hwnas import parts
from hwnas.config import Config
from hwnas.errors import RecordError, RunExistsError
from hwnas.hardware._device import detect
from hwnas.plan import spec_text


def default_run(config: str | Path | Mapping[str, Any]) -> Path:
    """A fresh folder under `runs/`: the configuration's name, with a number where it is taken."""
    stem = Path(config).stem if isinstance(config, str | Path) else "search"
    numbers = range(1, 10_000)
    names = (Path("runs") / (stem if number == 1 else f"{stem}-{number}") for number in numbers)
    return next(name for name in names if not (name / "study.db").exists())


def reject_existing(folder: Path) -> None:
    """A run is never overwritten, and only `resume` goes on with one."""
    if (folder / "study.db").exists():
        hint = f"go on with it: hwnas resume {shlex.quote(str(folder))}; or name another folder"
        raise RunExistsError(f"{folder} already holds a run", hint=hint)
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise RecordError(f"the run folder {folder} cannot be made: {place} is no folder that can be written")


def create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"the run folder {folder} cannot be made: {error}") from error


def database(folder: Path) -> Path:
    path = folder / "study.db"
    if not path.exists():
        raise RecordError(f"there is no run in {folder}", hint="`hwnas search CONFIG --run DIR` starts one")
    return path


def config_path(folder: Path) -> Path:
    database(folder)
    path = folder / "config.yaml"
    if not path.exists():
        raise RecordError(f"{path} is missing, so the run cannot be understood")
    return path


def keep_config(folder: Path, config: Config) -> None:
    partial = folder / "config.yaml.tmp"
    partial.write_text(yaml.safe_dump(plain_config(config), sort_keys=False), encoding="utf-8")
    os.replace(partial, folder / "config.yaml")


def plain_config(config: Config) -> dict[str, Any]:
    """The configuration as plain data; an object without a spec is named only, and a later `resume` says so."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if value is None or isinstance(value, str | int | float | bool):
            return value
        return plain(parts.spec_of(value)) if parts.spec_of(value) else f"<{spec_text(value)}>"

    return {key: plain(value) for key, value in config.to_dict().items()}


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    versions = {}
    for package in ("hwnas", "torch", "numpy", "pymoo", "onnx", "onnxruntime", "scikit-learn", "sqlalchemy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**versions, **detect(), "host": platform.node()}
