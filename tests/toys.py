"""A family of networks that are nothing, metrics that need only a code, and searches of a few lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hwnas.candidate import Candidate, Family
from hwnas.errors import Interrupted
from hwnas.space import Choice, Code, Space
from hwnas.trial import Goal, Metric, Reading, Search, Trial

DEEP = ("depth", (2, 3))
DEEPEST = ("depth", (3,))
SPACE = Space(
    "toy",
    (
        Choice("depth", (1, 2, 3)),
        Choice("a.width", (8, 16, 24, 32)),
        Choice("a.kernel", (3, 5, 7)),
        Choice("b.width", (8, 16, 24, 32), DEEP),
        Choice("b.kernel", (3, 5, 7), DEEP),
        Choice("c.width", (8, 16, 24, 32), DEEPEST),
        Choice("c.kernel", (3, 5, 7), DEEPEST),
    ),
)


@dataclass(frozen=True)
class Toy(Family):
    """Networks that are nothing but their codes."""

    name: ClassVar[str] = "toy"
    space: ClassVar[Space] = SPACE

    def build(self, arch: Mapping[str, Any], /) -> Any:
        import torch

        return torch.nn.Linear(arch["a.width"], arch["a.kernel"])

    def inputs(self, arch: Mapping[str, Any], batch: int, /) -> Any:
        import torch

        return (torch.randn(batch, arch["a.width"]),)


@dataclass(frozen=True)
class Late(Toy):
    """The same, which takes its time to start.

    Args:
        pause: seconds for the first process.
        more: seconds more for every line that others have written before.
    """

    log: str = ""
    pause: float = 0.0
    more: float = 0.0

    def __post_init__(self) -> None:
        note(self.log, "Late", "boot")
        place = [pid for *_, pid in heard(self.log)].index(os.getpid())
        time.sleep(self.pause + self.more * place)
        note(self.log, "Late", "boot", "end")


def word(code: Code) -> str:
    """A code as a short text, for files and options."""
    return "".join(map(str, code))


def size(candidate: Candidate) -> float:
    """Something that grows with every choice."""
    arch = candidate.arch
    return float(sum(arch[f"{block}.width"] * arch[f"{block}.kernel"] ** 2 for block in "abc"[: arch["depth"]]))


def error(candidate: Candidate) -> float:
    """Something that shrinks with size, but not evenly: every code has a value of its own."""
    rough = int.from_bytes(word(candidate.code).encode(), "big") * 2654435761 % 1000
    return 1 / (1 + size(candidate) ** 0.5) + rough / 1e5


# --- parts that run in other processes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size(Metric):
    """The size, cheap."""

    cheap: ClassVar[bool] = True
    log: str = ""

    def __call__(self, candidate: Candidate, /) -> float:
        note(self.log, "size", word(candidate.code))
        value = size(candidate)
        note(self.log, "size", word(candidate.code), "end")
        return value


@dataclass(frozen=True)
class Error(Metric):
    """The error, dear."""

    log: str = ""
    pause: float = 0.0
    worse: float = 0.0

    def __call__(self, candidate: Candidate, /) -> Reading:
        note(self.log, "error", word(candidate.code))
        time.sleep(self.pause)
        note(self.log, "error", word(candidate.code), "end")
        return Reading(error(candidate) + self.worse, {"spread": (0.5, np.float32(0.25))})

    def confirmed(self) -> Error:
        return replace(self, worse=0.25)


def _raise() -> float:
    raise RuntimeError("no luck with this one")


def _kill() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def _talk() -> float:
    print('{"end": true}', flush=True)  # noqa: T201  # this is what a protocol must survive
    os.system("echo from a child; cat")
    return 1.0


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _leave_a_child() -> int:
    return subprocess.Popen(["sleep", "600"]).pid


ACTS = {
    "threads": _threads,
    "leave a child": _leave_a_child,
    "raise": _raise,
    "kill": _kill,
    "talk": _talk,
    "exit": lambda: os._exit(3),
    "sleep": lambda: time.sleep(600) or 0.0,
    "nan": lambda: float("nan"),
    "inf": lambda: float("-inf"),
    "word": lambda: "many",
    "nothing": lambda: None,
    "huge": lambda: 10**400,
    "details": lambda: Reading(1.0, {"spread": float("nan")}),
    "objects": lambda: Reading(1.0, {"what": object()}),
}


@dataclass(frozen=True)
class Acting(Metric):
    """The first digit of a code, unless it is told to do something else for that code.

    Args:
        acts: by code, as a word: one of `ACTS`.
        log: a file that hears of every judgement when it begins and when it ends.
        pause: seconds between the two.
    """

    acts: dict[str, str] = field(default_factory=dict)
    log: str = ""
    pause: float = 0.0

    def __call__(self, candidate: Candidate, /) -> Any:
        code = word(candidate.code)
        note(self.log, type(self).__name__, code)
        time.sleep(self.pause)
        act = self.acts.get(code)
        value = ACTS[act]() if act else float(candidate.code[0])
        note(self.log, type(self).__name__, code, "end")
        return value


@dataclass(frozen=True)
class Quiet(Acting):
    """The same, and nothing else may run meanwhile."""

    exclusive: ClassVar[bool] = True


@dataclass(frozen=True)
class Batch(Quiet):
    """The same, which can also judge a batch.

    Args:
        lose: so many results are missing at the end of a batch.
    """

    lose: int = 0

    def many(self, candidates: Sequence[Candidate]) -> list[Any]:
        results = [self(candidate) for candidate in candidates]
        return results[: len(results) - self.lose]


PARTS = ("Toy", "Late", "Size", "Error", "Acting", "Quiet", "Batch")


def note(log: str, who: str, code: str, what: str = "begin") -> None:
    """One line in a file that several processes write to."""
    if not log:
        return
    line = json.dumps([who, code, what, time.monotonic(), os.getpid()])
    file = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, line.encode() + b"\n")
    os.close(file)


def heard(log: str | Path) -> list[tuple[str, str, str, float, int]]:
    """What the metrics wrote, in order."""
    path = Path(log)
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(json.loads(line)) for line in lines]


def begun(log: str | Path) -> Counter[tuple[str, str]]:
    """How often each (metric, code) was begun."""
    return Counter((metric, code) for metric, code, what, *_ in heard(log) if what == "begin")


# --- searches --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Climb(Search):
    """Mutates the best it has heard of: what it asks depends on its seed and on all that it was told."""

    batch: int = 5

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Any:
        best: Trial | None = None
        codes: list[Code] = []
        while True:
            for trial in (yield codes):
                if trial.state == "done" and (best is None or self._loss(trial, goals) < self._loss(best, goals)):
                    best = trial
            codes = [space.mutate(best.code, rng, 0.5) if best else space.sample(rng) for _ in range(self.batch)]

    def _loss(self, trial: Trial, goals: Sequence[Goal]) -> float:
        return sum(goal.loss(trial.values[goal.name]) for goal in goals)


@dataclass(frozen=True)
class Recite(Search):
    """Asks what it was told to ask, step by step, and keeps what it hears."""

    script: Sequence[Sequence[Code]]
    last: bool = True
    heard: list[list[Trial]] = field(default_factory=list)

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Any:
        for codes in self.script:
            self.heard.append((yield list(codes)))
        while not self.last:  # the last line again and again
            self.heard.append((yield list(self.script[-1])))


class Stop:
    """A watch that interrupts at the n-th report."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, _: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted("stopped")


def alone(events: Sequence[tuple[str, str, str, float, int]], metric: str) -> bool:
    """Whether a metric's judgements overlap with nothing, neither with one another nor with another metric's."""
    going: list[tuple[str, str]] = []
    for name, code, what, *_ in sorted(events, key=lambda event: event[3]):
        if what == "end":
            going.remove((name, code))
            continue
        if going and metric in (name, *(other for other, _ in going)):
            return False
        going.append((name, code))
    return True
