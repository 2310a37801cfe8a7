"""Latency of one forward pass, measured on this machine."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError
from hwnas.hardware import Metric, Reading
from hwnas.hardware._device import Device
from hwnas.runtimes import Runtime, Session
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

HELD = 2**29
"""Bytes of networks that are held in memory at once in order to be measured in turns."""
BUSY = 1.2
"""Wall time over CPU time from which a measurement with one thread counts as disturbed by other work."""
RETRIES = 2
DEFAULT = OnnxRuntime()


@dataclass(frozen=True)
class Measured(Metric):
    """Median wall time of one forward pass (of a whole batch, not of one image), in seconds.

    A network is warmed up until it gets no faster and then timed in rounds; `many` takes turns in a random order, so
    that a drift of the machine hits all networks alike. With one thread, the CPU time tells whether other work got in
    the way; such networks are measured again, and the quietest attempt counts. Weights and inputs are random.

    The reading's details: `low` and `high` (95 % interval of the median, from the medians of the rounds; too narrow
    where the machine drifts more slowly than the rounds), `p05`, `p50`, `p95` and `min` of all passes, `spread` (half
    of the interquartile range over the median), `cpu` (median CPU seconds of a pass), `repeats`, `rounds`,
    `disturbed`, `threads`, `batch`, `bytes` (of the file) and `runtime`.

    Args:
        device: where to measure; only `local` so far.
        runtime: what runs the networks.
        threads: within one operator.
        batch: inputs in one forward pass.
        seconds: time for the timed passes of one network.
        repeats: the fewest and the most timed passes of one network, whatever `seconds` says.
        warmup: the fewest passes before timing starts.
        rounds: turns that each network takes.
    """

    device: Device | str = "local"
    runtime: Runtime = DEFAULT
    threads: int = 1
    batch: int = 1
    seconds: float = 0.3
    repeats: tuple[int, int] = (8, 400)
    warmup: int = 5
    rounds: int = 8

    exclusive: ClassVar[bool] = True
    unit: ClassVar[str] = "s"
    tiny: ClassVar[Mapping[str, Any]] = {"seconds": 0.01, "repeats": [2, 4], "warmup": 1, "rounds": 2}

    def __post_init__(self) -> None:
        name = self.device if isinstance(self.device, str) else self.device.name
        if name != "local":
            raise ConfigError(f"device {name!r} cannot be measured: only 'local', this machine, can be so far")
        for option in ("threads", "batch", "warmup", "rounds"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option} must be 1 or more, not {getattr(self, option)!r}")
        if not 0 < self.seconds < math.inf:
            raise ConfigError(f"seconds must be positive and finite, not {self.seconds!r}")
        if not self.rounds <= self.repeats[0] <= self.repeats[1]:
            raise ConfigError(
                f"repeats must be [fewest, most], one or more for each of {self.rounds} rounds, not {self.repeats!r}"
            )

    def __call__(self, candidate: Candidate, /) -> Reading:
        (reading,) = self.many([candidate])
        if isinstance(reading, Exception):
            raise reading
        return reading

    def many(self, candidates: Sequence[Candidate], /) -> list[Reading | Exception]:
        """One reading each, in order, measured in turns.

        A candidate that cannot be built, exported or run has its exception in its place and does not disturb the
        others. Networks of more than 512 MB in all are measured in several groups, one after the other.
        """
        results: dict[int, Reading | Exception] = {}
        held: dict[int, Session] = {}
        for index, candidate in enumerate(candidates):
            try:
                held[index] = self._load(candidate)
            except Exception as error:  # noqa: BLE001  # handed back in its place
                results[index] = error
            if sum(session.size for session in held.values()) > HELD or index + 1 == len(candidates):
                rng = np.random.default_rng(derive(candidate.seed, "turns", index))
                results |= self._judge(held, rng)
                held = {}
        return [results[index] for index in range(len(candidates))]

    def confirmed(self) -> Measured:
        """The same with three times the rounds: three times the time, and an interval that is narrower."""
        fewest, most = self.repeats
        return replace(self, seconds=3 * self.seconds, rounds=3 * self.rounds, repeats=(3 * fewest, 3 * most))

    def of_file(self, path: Path, inputs: tuple[Tensor, ...], /) -> Reading:
        """The latency of a file that was written before: of what is deployed."""
        session = self.runtime.open(path, inputs, self.threads)
        (reading,) = self._judge({0: session}, np.random.default_rng(0)).values()
        if isinstance(reading, Exception):
            raise reading
        return reading

    def noise(self, candidate: Candidate, passes: int = 5) -> float:
        """Relative repeat error of this machine: no difference between networks below it means anything.

        The standard deviation of the values over their mean, of one network that is loaded and measured anew in
        every pass.
        """
        if passes < 2:
            raise ValueError(f"noise needs 2 passes or more, not {passes}")
        values = [self(candidate).value for _ in range(passes)]
        return float(np.std(values, ddof=1) / np.mean(values))

    def estimate(self, candidate: Candidate, /) -> float:
        """Seconds that one judgement takes on a quiet machine: loads the network and runs it twice."""
        start = perf_counter()
        session = self._load(candidate)
        session()
        loaded = perf_counter()
        session()
        once = perf_counter() - loaded
        return loaded - start + self.warmup * once + max(self.seconds, self.repeats[0] * once)

    def _load(self, candidate: Candidate) -> Session:
        return self.runtime.load(candidate.model, candidate.batch(self.batch), self.threads)

    def _judge(self, sessions: Mapping[int, Session], rng: np.random.Generator) -> dict[int, Reading | Exception]:
        """Rounds over all networks, then again over those that were disturbed."""
        best: dict[int, _Times] = {}
        waiting = list(sessions)
        for _ in range(1 + RETRIES):
            for index, times in self._rounds({index: sessions[index] for index in waiting}, rng).items():
                best[index] = min(best.get(index, times), times, key=lambda attempt: attempt.busy)
            waiting = [index for index in waiting if self._disturbed(best[index])]
        return {index: times.error or self._reading(times, sessions[index]) for index, times in best.items()}

    def _rounds(self, sessions: Mapping[int, Session], rng: np.random.Generator) -> dict[int, _Times]:
        taken = {index: _Times() for index in sessions}
        for turn in range(-1, self.rounds):  # the turn before the first one warms up
            for index in rng.permutation(list(taken)).tolist():
                times = taken[index]
                if times.error is not None:
                    continue
                try:
                    with _still():
                        self._turn(sessions[index], times, turn)
                except Exception as error:  # noqa: BLE001  # handed back in its place
                    times.error = error
        return taken

    def _turn(self, session: Session, times: _Times, turn: int) -> None:
        """One round of one network: one pass that refills the caches, then as many timed ones as are its due."""
        if turn < 0:
            self._warm(session)
            return
        session()
        fewest, most = (bound * (turn + 1) // self.rounds for bound in self.repeats)
        walls: list[float] = []
        end = perf_counter() + self.seconds / self.rounds
        while (done := len(times.cpus)) < fewest or (done < most and perf_counter() < end):
            cpu = process_time()
            wall = perf_counter()
            session()
            walls.append(perf_counter() - wall)
            times.cpus.append(process_time() - cpu)
        times.walls.append(walls)

    def _warm(self, session: Session) -> None:
        """Runs until the fastest of `warmup` passes is no longer 5 % faster than all before, or `seconds` are over."""
        fastest, end = math.inf, perf_counter() + self.seconds
        while True:
            block = []
            for _ in range(self.warmup):
                start = perf_counter()
                session()
                block.append(perf_counter() - start)
            if min(block) > 0.95 * fastest or perf_counter() > end:
                return
            fastest = min(block)

    def _disturbed(self, times: _Times) -> bool:
        return times.error is None and self.threads == 1 and times.busy > BUSY

    def _reading(self, times: _Times, session: Session) -> Reading:
        walls = [wall for walls in times.walls for wall in walls]
        p05, p25, p50, p75, p95 = (float(value) for value in np.percentile(walls, (5, 25, 50, 75, 95)))
        medians = [median(walls) for walls in times.walls]
        low, high = interval(medians)
        details: dict[str, Any] = {
            "low": low,
            "high": high,
            "p05": p05,
            "p50": p50,
            "p95": p95,
            "min": min(walls),
            "spread": (p75 - p25) / 2 / p50,
            "cpu": median(times.cpus),
            "repeats": len(walls),
            "rounds": self.rounds,
            "disturbed": self._disturbed(times),
            "threads": self.threads,
            "batch": self.batch,
            "bytes": session.size,
            "runtime": self.runtime.version,
        }
        return Reading(median(medians), details)


@dataclass
class _Times:
    """One attempt at one network: wall seconds by round and pass, CPU seconds by pass, or why it failed."""

    walls: list[list[float]] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def busy(self) -> float:
        """Wall over CPU time of all passes: 1.0 with one thread on a quiet machine; inf for a failure.

        Sums, not medians: where two programs share a core in slices longer than a pass, most passes run alone, yet
        in caches that the other one keeps emptying.
        """
        if self.error is not None:
            return math.inf
        cpu = sum(self.cpus)
        return sum(map(sum, self.walls)) / cpu if cpu > 0 else 1.0  # 0.0: the clock is too coarse to tell


@contextmanager
def _still() -> Iterator[None]:
    """Keeps Python's garbage collector from running in the middle of a pass."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Interval of the median from order statistics; the extremes where the values are too few for the level.

    The k-th value from below lies above the median with the probability that fewer than k of n coins show heads.

    Example:
        >>> interval(range(1, 11))
        (2, 9)
    """
    ordered, count = sorted(values), len(values)
    tails = accumulate(math.comb(count, heads) / 2**count for heads in range(count))
    cut = max(sum(tail <= (1 - level) / 2 for tail in tails) - 1, 0)
    return ordered[cut], ordered[count - 1 - cut]


__all__ = ["Measured", "interval"]
