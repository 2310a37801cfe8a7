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
from typing import Any, Literal

from hwnas import units
from hwnas.hardware._device import detect


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
    """Everything that is worth knowing before a search."""
    return [*_versions(), *_machine(), *_load(), *_extras(), *_torchvision(), *_places()]


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("ok" if good else "bad", f"Python {python}", "" if good else "hwnas needs Python 3.11 or newer")
    for package in ("hwnas", "torch", "numpy", "pymoo", "scikit-learn", "onnx", "onnxruntime"):
        version = _version(package)
        if version is None:
            yield Finding("bad", f"{package} is not installed", "pip install -c constraints.txt -e .")
        else:
            yield Finding("ok", f"{package} {version}")


def _machine() -> Iterator[Finding]:
    facts = detect()
    memory = units.show(facts["memory"], "bytes") if facts["memory"] else "unknown memory"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else facts["cores"]
    yield Finding("ok", f"{facts['cpu']}, {facts['cores']} cores ({usable} usable), {memory}, {facts['system']}")
    for name, version in facts["runtimes"].items():
        yield Finding("ok", f"runtime {name}: {version}")


def _load() -> Iterator[Finding]:
    """Latencies are only as good as the machine is quiet."""
    if not hasattr(os, "getloadavg"):
        return
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    if busy > 0.5 * cores:
        yield Finding(
            "note", f"other work runs here (load {busy:.1f} on {cores} cores)", "latencies will be noisy; wait"
        )
    else:
        yield Finding("ok", f"the machine is quiet (load {busy:.1f} on {cores} cores)")


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
        yield Finding("note", f"optional and not installed: {', '.join(missing)}", f'pip install "hwnas[{missing[0]}]"')


def _torchvision() -> Iterator[Finding]:
    """A torchvision built for another torch breaks every library that looks for it; none at all is fine."""
    if importlib.util.find_spec("torchvision") is None:
        return
    probe = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        yield Finding("ok", f"torchvision {_version('torchvision')}")
    else:
        reason = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("bad", f"torchvision does not import beside this torch: {reason}", "pip uninstall -y torchvision")


def _places() -> Iterator[Finding]:
    here = Path.cwd()
    if os.access(here, os.W_OK):
        yield Finding("ok", f"{here} can be written, {units.show(shutil.disk_usage(here).free, 'bytes')} free")
    else:
        yield Finding("note", f"{here} cannot be written", "give another folder: hwnas search CONFIG --run DIR")


def _version(package: str) -> Any:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
