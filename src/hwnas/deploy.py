"""From a trial to a file to deploy: extracted, written, checked against PyTorch, and timed as it will run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas import parts
from hwnas.errors import ExportError, nearest
from hwnas.formats import Format
from hwnas.formats._parity import parity
from hwnas.hardware.measured import Measured
from hwnas.study import Study
from hwnas.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Export:
    """A written file and what was proven of it.

    Args:
        difference: the largest absolute difference between the file's outputs and PyTorch's.
        latency: median seconds of one forward pass of this very file, `low` to `high` its 95 % interval.
        trained: False where no goal knows of weights: the file holds the architecture with fresh ones.
    """

    path: str
    format: str
    difference: float
    latency: float
    latency_low: float
    latency_high: float
    bytes: int
    trained: bool
    classes: tuple[str, ...] = ()


def export(study: Study, trial: Trial, path: str | Path, format: Any = "onnx") -> Export:
    """Writes a trial's network to a file, checked against PyTorch on real and random inputs, and timed.

    The metadata holds the architecture, the goals' values, and, where the run has data, class names and normalisation.

    Raises:
        ExportError: the network cannot be built or written, the file computes something else, or the folder cannot be
            written.
    """
    if not getattr(study.family, "buildable", True):  # a family need not derive from ours
        raise ExportError(unbuildable(study), hint="its code and values are in `hwnas show DIR --json`")
    writer: Format = parts.make("formats", format, study.bench.given, "format")
    target = Path(path)
    _reject_unwritable(target)
    candidate = study.bench.candidate(trial.code)
    model, trained = _network(study, trial)
    difference = write(study, trial, model, target, writer)
    timer = next((m for m in _metrics(study) if isinstance(m, Measured)), Measured())
    inputs = candidate.batch(timer.batch)
    try:
        reading = timer.of_file(target, inputs)
    except ExportError:  # a runtime that times networks need not read files
        reading = replace(timer, runtime=Measured.runtime).of_file(target, inputs)
    return Export(
        path=str(target),
        format=writer.suffix.removeprefix("."),
        difference=difference,
        latency=reading.value,
        latency_low=float(reading.details["low"]),
        latency_high=float(reading.details["high"]),
        bytes=target.stat().st_size,
        trained=trained,
        classes=tuple(study.bench.given["data"].classes) if "data" in study.bench.given else (),
    )


def write(study: Study, trial: Trial, model: nn.Module, path: Path, format: Any = "onnx") -> float:
    """Writes a network that is a trial's architecture with whatever weights, and proves the file.

    Returns:
        The largest absolute difference between the file's outputs and PyTorch's.

    Raises:
        ExportError: as `export`; no file is left then.
    """
    writer: Format = parts.make("formats", format, study.bench.given, "format")
    _reject_unwritable(path)
    writer.write(model, study.bench.candidate(trial.code).inputs, path, metadata(study, trial))
    try:
        return parity(writer, path, model, _checks(study, trial))
    except ExportError:
        path.unlink(missing_ok=True)
        raise


def unbuildable(study: Study) -> str:
    """Why there is nothing to export, in a sentence."""
    return f"family {study.family.name!r} holds values, and no networks that could be written to a file"


def metadata(study: Study, trial: Trial) -> dict[str, str]:
    """What an exported file says of itself; every value is text, structured ones are JSON."""
    candidate = study.bench.candidate(trial.code)
    notes: dict[str, Any] = {
        "producer": "hwnas",
        "family": study.family.name,
        "code": list(trial.code),
        "architecture": dict(candidate.arch),
        "goals": dict(trial.values),
    }
    if (data := study.bench.given.get("data")) is not None:
        notes |= {"data": data.name, "classes": list(data.classes), **data.preparation}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()}


def pick(study: Study, which: str | int | None = None) -> Trial:
    """A trial by name or number: `chosen` (the default), `knee`, `largest`, the name of a goal, or a trial's number.

    A goal's name means the best in that goal, among the confirmed networks where there are any.

    Raises:
        ExportError: nothing of that name.
    """
    found = study.trials("confirm") if study.trials("confirm").feasible() else study.trials()
    if which is None or which == "chosen":
        chosen = study.run.facts().get("chosen")
        match = [trial for trial in found if list(trial.code) == chosen]
        return match[0] if match else found.knee()
    if str(which).lstrip("#").isdigit():
        number = int(str(which).lstrip("#"))
        searched = {trial.number: trial for trial in study.trials()}
        if number not in searched:
            raise ExportError(f"there is no trial {number}; the run has 0 to {len(searched) - 1}")
        code = searched[number].code
        return next((trial for trial in found if trial.code == code), searched[number])
    names = ["chosen", "knee", "largest", *(goal.name for goal in study.goals)]
    if which not in names:
        raise ExportError(f"nothing is named {which!r} here; {nearest(which, names)}; or the number of a trial")
    if which == "largest":
        largest = study.family.canonical(study.space.largest)
        return next((trial for trial in found if trial.code == largest), Trial(0, largest))
    return found.knee() if which == "knee" else found.best(str(which))


def _metrics(study: Study) -> list[Any]:
    return [study.bench.metric(goal.metric, goal.name) for goal in study.goals]


def _network(study: Study, trial: Trial) -> tuple[nn.Module, bool]:
    """The network with the weights that it was judged with, from the goal that knows them."""
    candidate = study.bench.candidate(trial.code)
    for metric in _metrics(study):
        if hasattr(metric, "extract"):
            return metric.extract(candidate).cpu(), True
    return candidate.model, False


def _checks(study: Study, trial: Trial) -> list[tuple[Tensor, ...]]:
    """Inputs of different batch sizes to compare on: random ones, and test examples where there are any."""
    candidate = study.bench.candidate(trial.code)
    inputs = [candidate.batch(1), candidate.batch(3)]
    if (data := study.bench.given.get("data")) is not None and len(inputs[0]) == 1:  # data know one input alone
        from hwnas.data import batches, like_of

        examples, _ = next(batches(data.split("test"), data, 32, like_of(study.family, candidate.arch)))
        inputs.append((examples,))
    return inputs


def _reject_unwritable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"cannot make the folder {path.parent}: {error}") from error
    if path.is_dir():
        raise ExportError(f"{path} is a folder", hint=f"name a file, such as {path / 'model.onnx'}")
    if not os.access(path.parent, os.W_OK):
        raise ExportError(f"the folder {path.parent} cannot be written")


def as_fact(export: Export) -> dict[str, Any]:
    """An export as the record keeps it."""
    return {**asdict(export), "classes": list(export.classes)}
