"""What `hwnas doctor` looks at: versions, the machine, runtimes, and the traps that are known to cost people time."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hwnas import units
from hwnas.hardware._device import detect

NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "pymoo": "pymoo",
    "scikit-learn": "sklearn",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
}
"""By package: the module that is tried."""
REINSTALL = "pip install -c constraints.txt -e ."
ROOM = 2**30
"""Bytes of disk below which a run may not fit."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it if it is not as it should be."""

    state: Literal["ok", "note", "bad"]
    what: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """As plain data."""
        return asdict(self)


def examine() -> list[Finding]:
    """Everything that is worth knowing before a search; what cannot be looked at is a finding too."""
    findings: list[Finding] = []
    for check in (_versions, _machine, _load, _extras, _torchvision, _places):
        try:
            for finding in check():
                findings.append(finding)
        except Exception as error:  # noqa: BLE001  # a doctor must not die of the disease
            what = f"{check.__name__.strip('_')}: cannot be looked at: {type(error).__name__}: {error}"
            findings.append(Finding("bad", what, REINSTALL))
    return findings


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("ok" if good else "bad", f"Python {python}", "" if good else "hwnas needs Python 3.11 or newer")
    for package in ("hwnas", *NEEDED):
        version, module = _version(package), NEEDED.get(package)
        if version is None:
            yield Finding("bad", f"{package} is not installed", REINSTALL)
        elif module is not None and (reason := _broken(module)):
            yield Finding("bad", f"{package} {version} does not import: {reason}", f"{REINSTALL} --force-reinstall")
        else:
            yield Finding("ok", f"{package} {version}")


def _machine() -> Iterator[Finding]:
    facts = detect()
    memory = units.show(facts["memory"], "bytes") if facts["memory"] else "unknown memory"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else facts["cores"]
    yield Finding("ok", f"{facts['cpu']}, {facts['cores']} cores ({usable} usable), {memory}, {facts['system']}")
    for version in facts["runtimes"].values():
        yield Finding("ok", f"runtime: {version}")


def _load() -> Iterator[Finding]:
    """Latencies are only as good as the machine is quiet."""
    if not hasattr(os, "getloadavg"):
        return
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    load = f"load {busy:.1f} on {units.plural(cores, 'core')}"
    if busy > 0.5 * cores:
        yield Finding("note", f"other work runs here ({load})", "measured latencies will be noisy; wait or end it")
    else:
        yield Finding("ok", f"the machine is quiet ({load})")


def _extras() -> Iterator[Finding]:
    extras = {
        "openvino": "openvino",
        "executorch": "executorch",
        "lightgbm": "boosting",
        "ray": "ray",
        "psycopg": "postgres",
    }
    missing = [extra for module, extra in extras.items() if importlib.util.find_spec(module) is None]
    if missing:
        remedy = f'only if you want them: pip install "hwnas[{",".join(missing)}]"'
        yield Finding("note", f"optional and not installed: {', '.join(missing)}", remedy)


def _torchvision() -> Iterator[Finding]:
    """A torchvision built for another torch breaks every library that looks for it; none at all is fine."""
    if importlib.util.find_spec("torchvision") is None:
        return
    if reason := _broken("torchvision"):
        yield Finding("bad", f"torchvision does not import beside this torch: {reason}", "pip uninstall -y torchvision")
    else:
        yield Finding("ok", f"torchvision {_version('torchvision')}")


def _places() -> Iterator[Finding]:
    here = Path.cwd()
    if not os.access(here, os.W_OK):
        yield Finding("note", f"{here} cannot be written", "give another folder: hwnas search CONFIG --run DIR")
        return
    free = shutil.disk_usage(here).free
    told = f"{here} can be written, {units.show(free, 'bytes')} free"
    yield Finding("ok", told) if free >= ROOM else Finding("note", told, "make room, or give another folder by --run")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _broken(module: str) -> str:
    """Why a module does not import, tried in a process of its own, since it may take that down; empty if it does."""
    probe = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        return ""
    return (probe.stderr.strip().splitlines() or [f"its process ended with status {probe.returncode}"])[-1]
