"""Who measures: this process, or a pool of supervised processes that survives a killed one.

Work travels as specs and codes, JSON both, never as pickled objects: a worker is started as `python -m hwnas.workers`
and builds its own parts. It answers one line per code, so that a crash costs the code in hand and no other.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, Protocol

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, HwnasError, Interrupted, SearchError
from hwnas.space import Code
from hwnas.trial import Metric, Reading

ATTEMPTS = 2
"""A code that killed its process so often is failed, not tried for ever."""
BIRTHS = 3
"""A process that died so often while it was starting is not started again."""
TOGETHER = 8
"""So many networks are judged in one call of `many` during a search: what a kill can cost, and a display waits for."""


@dataclass(frozen=True)
class Setup:
    """All that a process needs to rebuild an experiment's parts: specs, or objects where everything stays in here.

    Args:
        folder: of the run; parts keep their files there.
        threads: for torch in each process; None leaves torch's own choice.
    """

    family: Any
    data: Any = None
    weights: Any = None
    device: str = "local"
    folder: str = "."
    seed: int = 0
    torch_device: str = "cpu"
    threads: int | None = None


@dataclass(frozen=True)
class Job:
    """One metric for some codes.

    Args:
        goal: the name under which outcomes come back.
        metric: its spec, or a plain function where everything runs in this process.
        confirm: judge finalists: with the metric's own `confirmed()` version.
    """

    goal: str
    metric: Any
    codes: tuple[Code, ...]
    confirm: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one metric found out about one code: a value, or the reason why there is none."""

    goal: str
    code: Code
    value: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 1
    error: str = ""


class Workers(Protocol):
    """Measures codes somewhere. Every submitted code comes back exactly once; a failure never sinks its batch."""

    capacity: int
    """How many codes it works on at once."""

    def submit(self, job: Job, /) -> None:
        """Takes a job; returns at once."""
        ...

    def next_done(self, timeout: float | None = None, /) -> Outcome | None:
        """The next outcome; None when nothing is under way or nothing came in time."""
        ...

    def close(self) -> None:
        """Ends all work."""
        ...


HELD = 2**29
"""Bytes of networks that are kept for the next metric."""


class Bench:
    """An experiment's parts, built from their specs at the first use and kept: the same in every process."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.given: dict[str, Any] = {
            "device": setup.device,
            "folder": Path(setup.folder),
            "seed": setup.seed,
            "torch_device": setup.torch_device,
        }
        if setup.data is not None:
            self.given["data"] = parts.make("data", setup.data, self.given, "data")
        self.family: Family = parts.make("families", setup.family, self.given, "family")
        self.given["family"] = self.family
        if setup.weights is not None:
            self.given["weights"] = parts.make("weights", setup.weights, self.given, "weights")
        self._metrics: dict[str, Metric] = {}
        self._candidates: OrderedDict[Code, Candidate] = OrderedDict()

    def metric(self, spec: Any, path: str = "", confirm: bool = False) -> Metric:
        """The metric that a spec stands for, one object per spec."""
        key = json.dumps([spec, confirm], default=id)
        if key not in self._metrics:
            metric: Metric = parts.make(("quality", "hardware"), spec, self.given, path)
            if confirm and hasattr(metric, "confirmed"):
                metric = metric.confirmed()
            self._metrics[key] = metric
        return self._metrics[key]

    def candidate(self, code: Code) -> Candidate:
        """A candidate that keeps what one metric built for the next one; the oldest are let go."""
        candidate = self._candidates.pop(code, None) or Candidate(self.family, code, self.setup.seed)
        self._candidates[code] = candidate
        while len(self._candidates) > 32 or (len(self._candidates) > 1 and self._bytes > HELD):
            self._candidates.popitem(last=False)
        return candidate

    @property
    def _bytes(self) -> int:
        """Of the networks that the candidates have built and keep; those without storage do not count."""
        kept = [vars(candidate).get(name) for candidate in self._candidates.values() for name in ("model", "plain")]
        models: dict[int, Any] = {id(model): model for model in kept if hasattr(model, "parameters")}
        return sum(int(parameter.nbytes) for model in models.values() for parameter in model.parameters())

    def work(self, job: Job) -> Iterator[Outcome]:
        """The outcomes of a job, in order; a batch goes through `many` where the metric has it."""
        metric = self.metric(job.metric, job.goal, job.confirm)
        if len(job.codes) > 1 and hasattr(metric, "many"):
            size = len(job.codes) if job.confirm else TOGETHER
            for start in range(0, len(job.codes), size):
                group = [self.candidate(code) for code in job.codes[start : start + size]]
                yield from self._together(metric, job, group)
            return
        for candidate in map(self.candidate, job.codes):
            started = time.perf_counter()
            try:
                result: Any = metric(candidate)
            except Interrupted:
                raise
            except Exception as error:  # noqa: BLE001  # the one place where a crash becomes a failed trial
                result = error
            yield _outcome(job.goal, candidate.code, result, time.perf_counter() - started)

    def _together(self, metric: Any, job: Job, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        started = time.perf_counter()
        try:
            results = list(metric.many(candidates))
            if len(results) != len(candidates):
                raise ValueError(f"many() gave {len(results)} results for {len(candidates)} candidates")
        except Interrupted:
            raise
        except Exception:  # noqa: BLE001  # one of them sinks the batch: find out which, one by one
            for candidate in candidates:
                yield from self.work(replace(job, codes=(candidate.code,)))
            return
        seconds = (time.perf_counter() - started) / len(candidates)
        for candidate, result in zip(candidates, results, strict=True):
            yield _outcome(job.goal, candidate.code, result, seconds)


def _outcome(goal: str, code: Code, result: Any, seconds: float) -> Outcome:
    if isinstance(result, BaseException):
        return Outcome(goal, code, seconds=seconds, error=_reason(result))
    reading = result if isinstance(result, Reading) else Reading(result)
    try:
        value = float(reading.value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's, for a tensor without storage
        return Outcome(goal, code, seconds=seconds, error=f"the metric gave {reading.value!r}, which is no number")
    if not math.isfinite(value):
        return Outcome(goal, code, seconds=seconds, error=f"the metric gave {value}")
    try:
        details = json.loads(json.dumps(dict(reading.details), allow_nan=False, default=float))
    except (TypeError, ValueError) as error:
        return Outcome(goal, code, seconds=seconds, error=f"the metric gave details that cannot be recorded: {error}")
    return Outcome(goal, code, value, details, seconds)


def _reason(error: BaseException) -> str:
    """One line for people: the message of a deliberate error, else the kind, the message and the place."""
    if isinstance(error, HwnasError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


class Here:
    """This process measures, one code after the other."""

    capacity = 1

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._jobs: deque[Job] = deque()
        self._running: Iterator[Outcome] | None = None

    def submit(self, job: Job) -> None:
        """Takes a job; the work is done in `next_done`."""
        self._jobs.append(job)

    def next_done(self, timeout: float | None = None) -> Outcome | None:
        """Measures the next code."""
        while True:
            if self._running is not None:
                outcome = next(self._running, None)
                if outcome is not None:
                    return outcome
                self._running = None
            if not self._jobs:
                return None
            self._running = self._bench.work(self._jobs.popleft())

    def close(self) -> None:
        """Drops what is left."""
        self._jobs.clear()
        self._running = None


@dataclass
class _Task:
    job: Job
    exclusive: bool
    attempts: int = 1
    left: list[Code] = field(default_factory=list)
    began: float = 0.0


class Pool:
    """Several processes, each supervised on its own; a killed one is replaced and its code tried once more.

    Exclusive metrics (latency) run alone: the pool finishes what is under way, measures all that wait, and goes on.

    Args:
        count: how many processes.
        timeout: seconds that one judgement may take; then its process is killed and the trial fails. None is no limit.
    """

    def __init__(self, setup: Setup, count: int, timeout: float | None = None) -> None:
        if count < 1:
            raise ConfigError(f"a pool needs at least one worker, got {count}")
        self.capacity, self._timeout = count, timeout
        self._threads = setup.threads or max(1, (os.cpu_count() or 1) // count)
        try:
            self._setup = json.dumps(vars(setup))
        except TypeError as error:
            message = "worker processes need parts by name, and this experiment was given objects or functions"
            raise ConfigError(f"{message} ({error})", hint="use `workers: 1`, or put them into a module") from error
        self._waiting: deque[_Task] = deque()
        self._exclusives: deque[_Task] = deque()
        self._done: deque[Outcome] = deque()
        self._selector = selectors.DefaultSelector()
        self._processes = [self._start() for _ in range(count)]

    def submit(self, job: Job) -> None:
        """Takes a job; idle processes begin at once."""
        try:
            json.dumps(job.metric)
        except TypeError:
            message = f"goal {job.goal!r} is a function of this process, which workers cannot run"
            raise ConfigError(message, hint="use `workers: 1`, or put the metric into a module") from None
        if _is_exclusive(job):
            self._exclusives.append(_Task(job, True, left=list(job.codes)))
        else:
            self._waiting += [_Task(replace(job, codes=(code,)), False, left=[code]) for code in job.codes]
        self._assign()

    def next_done(self, timeout: float | None = None) -> Outcome | None:
        """Waits for the next outcome and meanwhile looks after the processes."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._done:
            self._assign()
            busy = [process for process in self._processes if process.task is not None]
            if not busy and not self._exclusives:  # these may wait until all processes have started
                return None
            patience = 1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic()))
            for key, _ in self._selector.select(patience):
                self._listen(key.data)
            for process in busy:
                self._watch_clock(process)
            if not self._done and deadline is not None and time.monotonic() >= deadline:
                return None
        return self._done.popleft()

    def close(self) -> None:
        """Kills the processes; nothing is lost, since every outcome was already handed over."""
        for process in self._processes:
            process.end()
        self._processes = []
        self._waiting.clear()
        self._exclusives.clear()
        self._selector.close()

    def pids(self) -> list[int]:
        """The processes, for whoever wants to look at them."""
        return [process.popen.pid for process in self._processes]

    def _start(self, tries: int = 1) -> _Process:
        process = _Process(self._setup, self._threads, tries)
        self._selector.register(process.out, selectors.EVENT_READ, process)
        return process

    def _assign(self) -> None:
        for process in self._processes:
            if process.task is not None:
                continue
            alone = any(other.task is not None and other.task.exclusive for other in self._processes)
            quiet = all(other.ready and other.task is None for other in self._processes)
            if self._waiting and not alone:
                process.take(self._waiting.popleft())
            elif self._exclusives and quiet:
                process.take(self._exclusives.popleft())

    def _listen(self, process: _Process) -> None:
        for line in process.read():
            task = process.task
            if "ready" in line:
                process.ready = True
            elif "end" in line:
                process.task = None
            elif task is not None:
                code = tuple(line.pop("code"))
                task.left.remove(code)
                self._done.append(Outcome(code=code, attempts=task.attempts, **line))
            if task is not None:
                task.began = time.monotonic()
        if process.gone:
            self._bury(process, process.last_words())

    def _watch_clock(self, process: _Process) -> None:
        task = process.task
        if task is None or self._timeout is None or not process.ready:
            return
        allowed = self._timeout * max(1, len(task.left))  # `many` answers all at the end
        if time.monotonic() - task.began > allowed:
            self._bury(process, f"timeout: took more than {self._timeout:g} s", again=len(task.left) > 1)

    def _bury(self, process: _Process, reason: str, again: bool = True) -> None:
        self._selector.unregister(process.out)
        process.end()
        if not process.ready and process.tries >= BIRTHS:
            hint = "the record is kept; mend it and go on with `hwnas resume`"
            raise SearchError(f"no worker process can be started: {reason}", hint=hint)
        task, process.task = process.task, None
        self._processes[self._processes.index(process)] = self._start(1 if process.ready else process.tries + 1)
        if task is None:
            return
        if not process.ready:  # it never came to its task, which is therefore not to blame
            (self._exclusives if task.exclusive else self._waiting).appendleft(task)
            return
        queue = self._exclusives if task.exclusive else self._waiting
        for code in reversed(task.left):  # each on its own from now on, so that the guilty one is found
            if not again or task.attempts >= ATTEMPTS:
                seconds = time.monotonic() - task.began
                outcome = Outcome(task.job.goal, code, seconds=seconds, attempts=task.attempts, error=reason)
                self._done.append(outcome)
            else:
                job = replace(task.job, codes=(code,))
                queue.appendleft(_Task(job, task.exclusive, task.attempts + 1, [code]))


def _is_exclusive(job: Job) -> bool:
    """Whether a job's metric is exclusive, asked of the metric's class: no part has to be built for it."""
    name, _ = parts.split(job.metric, job.goal)
    return bool(getattr(parts.find(name, ("quality", "hardware"), job.goal), "exclusive", False))


class _Process:
    """One worker process as its parent sees it."""

    def __init__(self, setup: str, threads: int, tries: int) -> None:
        self.task: _Task | None = None
        self.tries = tries
        self.ready = self.gone = False
        self._rest = b""
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "hwnas.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},  # torch reads both
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.inn, self.out = self.popen.stdin, self.popen.stdout
        os.set_blocking(self.out.fileno(), False)
        self._send(setup)

    def take(self, task: _Task) -> None:
        self.task, task.began = task, time.monotonic()
        job = task.job
        self._send(json.dumps({"goal": job.goal, "metric": job.metric, "codes": task.left, "confirm": job.confirm}))

    def _send(self, line: str) -> None:
        try:
            self.inn.write(line.encode() + b"\n")
            self.inn.flush()
        except BrokenPipeError:
            self.gone = True  # found out again, with its reason, by whoever listens

    def read(self) -> list[dict[str, Any]]:
        while True:
            try:
                chunk = os.read(self.out.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not chunk:
                self.gone = True
                break
            self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def last_words(self) -> str:
        status = self.popen.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        if status >= 0:
            message = list(takewhile(lambda line: not line.startswith(" "), reversed(lines)))[:3]  # below the traceback
            return f"its process ended with status {status}: {' '.join(reversed(message)) or 'no message'}"
        name = signal.Signals(-status).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}, {ATTEMPTS} times in a row"

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)  # with whatever it has started
        self.popen.wait()
        for stream in (self.inn, self.out, self._log):
            with suppress(BrokenPipeError):
                stream.close()


def _serve() -> None:
    """A worker's life: read the setup, then jobs, one JSON line each; answer one line per code."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # whatever a part reads is not an order
    os.dup2(2, 1)  # whatever a part prints goes to the log, not between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = Setup(**json.loads(orders.readline()))
    bench = Bench(setup)
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in orders:
        order = json.loads(line)
        order["codes"] = tuple(tuple(code) for code in order["codes"])
        for outcome in bench.work(Job(**order)):
            row = {name: value for name, value in asdict(outcome).items() if name != "attempts"}
            answers.write(json.dumps(row, default=float) + "\n")
            answers.flush()
        answers.write('{"end": true}\n')
        answers.flush()


if __name__ == "__main__":
    _serve()
