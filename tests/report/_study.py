"""Studies whose every number is set by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.records import Records, sqlite_url
from hwnas.report.baseline import BASELINE, TERMS, terms
from hwnas.space import Arch, Choice, Code, Space
from hwnas.study import Study
from hwnas.trial import Goal, State, Trial
from hwnas.workers import Bench, Setup

EVIL = "</script><script>alert('x')</script>"
ACCURACY = Goal("accuracy", None, "max", unit="%")
LATENCY = Goal("latency", None, "min", limit=0.00139, unit="s")
MACS = Goal("macs", None, "min", unit="MACs")
DEEP = ("stage1.depth", (2,))


@dataclass(frozen=True)
class Stack(Family):
    """One or two linear layers of elastic width, and an activation by name: 2 x 3 + 2 x 3 x 3 = 24 networks."""

    name: ClassVar[str] = "stack"
    space: ClassVar[Space] = Space(
        "stack",
        (
            Choice("act", ("none", EVIL)),
            Choice("stage1.depth", (1, 2)),
            Choice("stage1.block1.width", (4, 8, 16)),
            Choice("stage1.block2.width", (4, 8, 16), DEEP),
        ),
    )

    def build(self, arch: Arch, /) -> nn.Module:
        widths = [10, *(int(arch[f"stage1.block{i}.width"]) for i in range(1, int(arch["stage1.depth"]) + 1))]
        return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 10),)


FAMILY = Stack()
LARGEST = FAMILY.space.largest


def code(index: int) -> Code:
    return FAMILY.space.at(index)


def trial(number: int, values: Mapping[str, float], state: State = "done", **more: Any) -> Trial:
    """A trial of the network of that number, unless `code` says otherwise."""
    return Trial(**{"number": number, "code": code(number), "values": values, "state": state, "seconds": 1.5, **more})


def timed(value: float) -> dict[str, Any]:
    """What a timing tells beside its value."""
    ends = {"low": 0.99 * value, "high": 1.02 * value, "p50": value, "p95": 1.2 * value}
    return {**ends, "repeats": 240, "threads": 1, "runtime": "onnxruntime 1.2", "bytes": 2_202_009, "disturbed": False}


def study(
    folder: Path,
    searched: Sequence[Trial] = (),
    confirmed: Sequence[Trial] = (),
    goals: Sequence[Goal] = (ACCURACY, LATENCY),
    family: Family = FAMILY,
    identity: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Study:
    """A study of these trials and facts."""
    bench = Bench(Setup(family=family, folder=str(folder)))
    run = Records(sqlite_url(folder / "study.db")).create("main", identity or {})
    run.save("search", searched)
    run.save("confirm", confirmed)
    for name, value in facts.items():
        run.note(name, value)
    return Study(bench, goals, run)


def chance(beside: Study, searched: Sequence[Trial]) -> None:
    """Puts a random search of these trials beside a study."""
    run = beside.run.records.create(BASELINE, beside.run.identity)
    run.save("search", searched)
    run.note(TERMS, terms(beside.goals))
    run.note("config", {"search": {"algorithms.random": {}}, "budget": len(searched)})


SEARCHED = (
    trial(0, {"accuracy": 0.90, "latency": 0.0005}, details={"latency": timed(0.0005)}),
    trial(1, {"accuracy": 0.96, "latency": 0.0008}, details={"latency": timed(0.0008)}),
    trial(2, {"accuracy": 0.986, "latency": 0.0013}, details={"latency": timed(0.0013)}),
    trial(3, {"accuracy": 0.95, "latency": 0.0009}),
    trial(4, {"latency": 0.0021}, "over_limit"),
    trial(5, {"accuracy": 0.99, "latency": 0.0018}, "over_limit"),
    trial(6, {"latency": 0.0011}, "failed", error=f"accuracy: MetricError: 12 batches gave NaN {EVIL}"),
    trial(7, {}, "failed", error=f"accuracy: MetricError: 7 batches gave NaN {EVIL}"),
)
SHARE = {"low": 0.97, "high": 0.99, "images": 360, "split": "test"}
CONFIRMED = (
    trial(
        0, {"accuracy": 0.981, "latency": 0.00132}, code=code(2), details={"accuracy": SHARE, "latency": timed(0.00132)}
    ),
    trial(1, {"accuracy": 0.955, "latency": 0.00079}, code=code(1), details={"latency": timed(0.00079)}),
    trial(3, {"accuracy": 0.895, "latency": 0.00049}, code=code(0), details={"latency": timed(0.00049)}),
    trial(2, {"accuracy": 0.984, "latency": 0.00231}, "over_limit", code=LARGEST, details={"latency": timed(0.00231)}),
)
FACTS: dict[str, Any] = {
    "chosen": list(code(2)),
    "chosen_name": "best accuracy within the limits",
    "limits": {"latency": {"given": "60%", "value": 0.00139, "largest": 0.00231}},
    "noise": {"latency": 0.021},
    "finished": True,
    "config": {"family": {"stack": {}}, "budget": 8},
    "command": "hwnas search stack.yaml",
    "seed": 7,
    "seconds": {"search": 366.0},
    "environment": {"torch": "2.13", "memory": 2**33, "runtimes": {"onnxruntime": "1.2"}},
    "export": {"path": "models/a.onnx", "format": "onnx", "difference": 3.6e-6, "latency": 0.00131, "bytes": 2_202_009},
    "training": [
        {"epoch": 1, "phase": "full", "loss": 2.0},
        {"epoch": 2, "phase": "full", "loss": 1.0, "largest": 0.98, "smallest": 0.6},
        {"epoch": 1, "phase": EVIL, "loss": 1.2, "largest": 0.985, "smallest": 0.9},
    ],
}
"""One run in full: a search of eight networks, three finalists and the largest network confirmed."""

EXPECTED = (
    trial(0, {"accuracy": 0.80}, details={"accuracy": {"predicted": 0.84, "predicted_spread": 0.01}}),
    trial(1, {"accuracy": 0.90}, details={"accuracy": {"predicted": 0.90, "predicted_spread": 0.02, "images": 9}}),
    trial(2, {"accuracy": 0.95, "latency": 1e-3}, details={"accuracy": {"predicted": 0.88}}),
    trial(3, {"latency": 1e-3}, "over_limit", details={"accuracy": {"predicted": 0.5}, "latency": {"predicted": 2e-3}}),
    trial(4, {"accuracy": 0.99, "latency": 1e-3}),
)
"""Five networks, of which three had their accuracy predicted and then measured, and one its latency."""
STEPS = (
    {"kind": "note", "text": "nothing"},
    {"kind": "step", "networks": 20, "notes": {"accuracy": {"predictor": "ridge", "mape": 0.01, "tau": 0.7}}},
    {"kind": "step", "networks": 30, "notes": {"accuracy": {"predictor": "gp", "mape": 0.003, "tau": 0.91}}},
)
"""What a search told of its predictors on the way."""
