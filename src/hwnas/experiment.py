"""One experiment: weights prepared, search run, front confirmed, file and report written; and all that resumed."""

from __future__ import annotations

import json
import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import deploy, parts, report
from hwnas.algorithms.random import Random
from hwnas.config import Config, read
from hwnas.errors import ConfigError, InfeasibleError, Interrupted, RecordError, RunMismatchError, SearchError
from hwnas.plan import Plan, absolute, goal_of, identity, pooled, prepare, probe, setup_of, spec_text
from hwnas.progress import Progress, Watch, silent
from hwnas.records import Records, Run, sqlite_url
from hwnas.report.baseline import BASELINE, TERMS, terms
from hwnas.report.predictions import without_expectation
from hwnas.rundir import (
    config_path,
    create,
    database,
    default_run,
    environment,
    keep_config,
    plain_config,
    reject_existing,
)
from hwnas.space import Code
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.trials import Trials
from hwnas.workers import Bench, Here, Job, Outcome, Pool, Workers

__all__ = ["Plan", "baseline", "default_run", "load", "prepare", "reject_existing", "resume", "search", "start"]

RUN = "main"
"""The name of a run in its own database."""
NOTHING = 3.0
"""So many seconds of judging cost nothing: a random search to compare with is made unasked."""
BESIDE = "random baseline"
"""What its phase is called."""
BOOKS = 0.002
"""Seconds that writing down a trial takes, whatever its judgement costs."""


def search(
    config: str | Path | Mapping[str, Any],
    run: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    watch: Watch = silent,
    command: str = "",
) -> Study:
    """Searches: the whole of it, from a configuration to a front, an exported network and a report.

    Args:
        config: a YAML file, or the same as a mapping; there, objects and functions may stand for parts.
        run: the folder of the run; it must not hold one yet. None makes one under `runs/`.
        overrides: `key=value`, as on the command line.
        watch: is told of progress, and may raise `Interrupted` to stop at a safe point.

    Returns:
        The study; `study.front()` holds the networks.

    Raises:
        ConfigError: the configuration, before any work starts.
        InfeasibleError: a limit that no network meets, with the smallest value possible.
        RunExistsError: the folder holds a run; `resume` goes on with it.
    """
    folder = Path(run) if run is not None else default_run(config)
    reject_existing(folder)
    plan = prepare(read(config, overrides), folder, watch)
    return start(plan, folder, watch=watch, command=command or f'hwnas.search({str(config)!r}, run="{folder}")')


def start(
    plan: Plan, run: str | Path, *, watch: Watch = silent, command: str = "", known: Sequence[Trial] = ()
) -> Study:
    """Runs a plan in a fresh folder; `command` is what the report gives as the way to do it again.

    Args:
        known: trials of an earlier search, a warm start; they count towards the budget.
    """
    folder = Path(run)
    reject_existing(folder)
    create(folder)
    if "data" in plan.bench.given:
        plan.bench.given["data"].keep()
    keep_config(folder, plan.config)
    records = Records(sqlite_url(folder / "study.db"))
    with records.lock():
        record = records.create(RUN, identity(plan))
        record.note("warm", len(known))
        record.save("search", known)
        _note_start(record, plan, folder, command)
        return _run(plan, record, folder, watch)


def resume(
    run: str | Path, *, overrides: Sequence[str] = (), retry_failed: bool = False, watch: Watch = silent
) -> Study:
    """Goes on with a run where it was left; nothing that is recorded is measured again.

    Another search, limit or budget may be given: what is known is then a warm start.

    Args:
        retry_failed: give networks that failed another chance, for example after a metric was mended.

    Raises:
        RunMismatchError: the family, the data, the weights or a metric differ: those numbers would not be comparable.
    """
    folder = Path(run)
    config = read(config_path(folder), overrides)
    records = Records(sqlite_url(database(folder)))
    with records.lock():
        plan = prepare(config, folder, watch, estimate=False)
        if RUN not in records.names():  # killed between making the file and entering the run
            _note_start(records.create(RUN, identity(plan)), plan, folder, f"hwnas resume {shlex.quote(str(folder))}")
        record = records.open(RUN)
        _reject_mismatch(record.identity, identity(plan), folder)
        if overrides:
            keep_config(folder, plan.config)
            record.note("config", plain_config(plan.config))
        record.event("resumed")
        record.note("finished", False)
        if retry_failed:
            Study(plan.bench, plan.goals, record).retry_failed()
        return _run(plan, record, folder, watch)


def baseline(run: str | Path, budget: int | None = None, *, watch: Watch = silent) -> Study:
    """Makes, or goes on with, a random search to hold a run against: its parts, goals, limits and seed, no thought.

    It lies in the run's own record. What the run has judged already is not judged again.

    Args:
        budget: networks; None is as many as the run's own budget.

    Returns:
        The study of the random search.

    Raises:
        RecordError: there is no run in this folder, or it has judged nothing yet.
        ConfigError: the run is a random search itself.
    """
    folder = Path(run)
    config = read(config_path(folder))
    if budget is not None and budget < 1:
        raise ConfigError(f"the budget of a baseline must be 1 or more, not {budget}")
    records = Records(sqlite_url(database(folder)))
    with records.lock():
        plan = prepare(config, folder, watch, estimate=False)
        record = records.open(RUN) if RUN in records.names() else None
        if record is None or not any(trial.finished for trial in record.trials("search")):
            hint = f"go on with it first: hwnas resume {shlex.quote(str(folder))}"
            raise RecordError(f"the run in {folder} has judged no network that could be compared", hint=hint)
        if isinstance(plan.search, Random):
            raise ConfigError(f"the run in {folder} is a random search: it is its own baseline")
        _reject_mismatch(record.identity, identity(plan), folder)
        _prepare_weights(plan, record, watch)
        study = Study(plan.bench, _resolved(plan, record, watch), record)
        workers = _workers(plan, folder)
        try:
            done = _baseline(study, config, budget or config.budget, workers, watch)
        finally:
            workers.close()
            report.write(study, folder / "report.html")
    return done


def load(run: str | Path) -> Study:
    """A run to look at: its trials, its front, its facts; nothing is measured.

    Raises:
        RecordError: there is no run in this folder.
    """
    folder = Path(run)
    config = read(config_path(folder))
    records = Records(sqlite_url(database(folder)))
    bench = Bench(setup_of(config, folder))
    record = records.open(RUN)
    limits = record.facts().get("limits", {})
    goals = []
    for spec in config.goals:
        known = limits.get(spec.name, {})
        limit = known["value"] if known.get("given") == spec.limit is not None else absolute(spec)
        goals.append(goal_of(spec, bench, limit))
    return Study(bench, goals, record)


def _run(plan: Plan, record: Run, folder: Path, watch: Watch) -> Study:
    """All phases, each of which finds what an earlier session has left of it."""
    config, bench = plan.config, plan.bench
    study = Study(bench, plan.goals, record)
    seconds: dict[str, float] = record.facts().get("seconds", {})

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
            record.note("seconds", seconds)

    try:
        with phase("train supernet"):
            _prepare_weights(plan, record, watch)
        study.goals = tuple(_resolved(plan, record, watch))
        with phase("noise"):
            _measure_noise(plan, record, watch)
        workers = _workers(plan, folder)
        try:
            with phase("search"):
                study.search(
                    plan.search,
                    config.budget,
                    workers,
                    asynchronous=config.asynchronous,
                    identity=_search_identity(study, config),
                    watch=watch,
                )
            _reject_nothing_feasible(study)
            with phase("confirm"):
                _confirm(study, config, workers, watch)
            if _baseline_costs_nothing(study, plan):
                with phase(BESIDE):
                    _try_baseline(study, config, workers, watch)
        finally:
            workers.close()
        if config.export:
            with phase("export"):
                _export(study, folder, watch)
        record.note("finished", True)
    except (Interrupted, KeyboardInterrupt):
        record.event("interrupted")
        raise
    finally:
        if study.trials():
            report.write(study, folder / "report.html")
    return study


def _prepare_weights(plan: Plan, record: Run, watch: Watch) -> None:
    weights = plan.bench.given.get("weights")
    if weights is not None:
        weights.prepare(watch)
        if hasattr(weights, "log"):
            record.note("training", weights.log())
    for goal in plan.goals:
        metric: Any = plan.bench.metric(goal.metric)
        if hasattr(metric, "prepare"):
            metric.prepare(watch)


def _resolved(plan: Plan, record: Run, watch: Watch) -> list[Goal]:
    """The goals with all limits as numbers, the same ones in every session of a run."""
    limits = record.facts().get("limits", {})
    goals = []
    for spec, goal in zip(plan.config.goals, plan.goals, strict=True):
        if spec.limit is None:
            goals.append(goal)
            continue
        known = limits.get(spec.name)
        if known is None or known["given"] != spec.limit:
            if spec.name not in plan.ranges:
                probe(plan, spec, watch)
            seen = plan.ranges.get(spec.name, {})
            limits[spec.name] = known = {"given": spec.limit, "value": seen.get("limit", absolute(spec)), **seen}
            record.note("limits", limits)
        goals.append(replace(goal, limit=known["value"]))
    return goals


def _beside(progress: Progress) -> Progress:
    """A random search's progress beside the run: without its hypervolume, which is a share of another box."""
    facts = {name: fact for name, fact in progress.facts.items() if name != "hypervolume"}
    return replace(progress, phase=BESIDE, facts=facts)


def _measure_noise(plan: Plan, record: Run, watch: Watch) -> None:
    """The noise floor of the machine, once per run, by every metric that has one."""
    noise = record.facts().get("noise", {})
    for goal in plan.goals:
        metric: Any = plan.bench.metric(goal.metric)
        if hasattr(metric, "noise") and goal.name not in noise:
            watch(Progress("noise floor"))
            noise[goal.name] = metric.noise(plan.bench.candidate(plan.bench.family.space.largest))
            record.note("noise", noise)


def _reject_nothing_feasible(study: Study) -> None:
    trials = study.trials()
    if trials.feasible():
        return
    seen = "; ".join(
        f"best {goal.name} seen: {min((t.values[goal.name] for t in trials if goal.name in t.values), key=goal.loss):g}"
        for goal in study.goals
        if goal.limit is not None and any(goal.name in trial.values for trial in trials)
    )
    failed = sum(trial.state == "failed" for trial in trials)
    raise InfeasibleError(
        f"none of {len(trials)} networks keeps every limit ({seen or 'none was measured'}; {failed} failed)",
        hint="loosen a limit or raise the budget, then go on with `hwnas resume`; what is known is kept",
    )


def _confirm(study: Study, config: Config, workers: Workers, watch: Watch) -> None:
    """Judges the front and the largest network again, and chooses.

    The choice rests on what the search saw, never on the confirming data: the best in the first goal among those whose
    limits held again; without any limit the knee.
    """
    front = study.trials().front()
    if config.confirm:
        codes = [trial.code for trial in _spread(front, config.confirm)]
        largest = study.family.canonical(study.space.largest)
        confirmed = study.confirm(list(dict.fromkeys([*codes, largest])), workers, watch)
        kept = {trial.code for trial in confirmed.feasible()} & set(codes)
        candidates = front.where(lambda trial: trial.code in kept)
    else:
        candidates = front
    if not candidates:
        study.run.note("chosen", None)
        return
    limited = any(goal.limit is not None for goal in study.goals)
    first = next(goal.name for goal in study.goals if goal.objective)
    chosen = candidates.best(first) if limited else candidates.knee()
    study.run.note("chosen", list(chosen.code))
    study.run.note("chosen_name", f"best {first} within the limits" if limited else "knee of the front")


def _baseline_costs_nothing(study: Study, plan: Plan) -> bool:
    """Whether a random search of the run's budget is a matter of seconds, and there is anything to compare."""
    metrics = [plan.bench.metric(goal.metric) for goal in study.goals]
    if isinstance(plan.search, Random) or not all(getattr(metric, "cheap", False) for metric in metrics):
        return False
    trials = study.trials()
    each = sum(trial.seconds for trial in trials) / max(1, len(trials)) + BOOKS
    return each * plan.config.budget <= NOTHING


def _try_baseline(study: Study, config: Config, workers: Workers, watch: Watch) -> None:
    """A random search that nobody asked for must not cost the run its end."""
    try:
        _baseline(study, config, config.budget, workers, watch)
    except SearchError as error:
        study.run.event("note", text=f"no random search to compare with: {error}")


def _baseline(study: Study, config: Config, budget: int, workers: Workers, watch: Watch) -> Study:
    """The random search beside a run, from wherever it was left, up to so many networks."""
    records = study.run.records
    if BASELINE not in records.names():
        records.create(BASELINE, study.run.identity)
    beside = Study(study.bench, study.goals, records.open(BASELINE))
    before: dict[str, float] = beside.run.facts().get("seconds", {})
    beside.run.note(TERMS, terms(study.goals))
    beside.run.note("config", {**study.run.facts().get("config", {}), "search": {"algorithms.random": {}}})
    beside.run.note("finished", False)
    began = time.perf_counter()
    try:
        beside.search(
            parts.make("algorithms", "random", study.bench.given),
            budget,
            _Knowing(workers, study.trials()),
            identity=_search_identity(study, replace(config, search={"algorithms.random": {}}, asynchronous=False)),
            watch=lambda progress: watch(_beside(progress)),
        )
    finally:
        beside.run.note("seconds", {"search": before.get("search", 0.0) + time.perf_counter() - began})
    beside.run.note("finished", True)
    return beside


class _Knowing(Workers):
    """Workers that need not do again what a run has judged: such codes are answered from its trials."""

    def __init__(self, workers: Workers, trials: Trials) -> None:
        self._workers, self._known = workers, {trial.code: trial for trial in trials if trial.finished}
        self.capacity = workers.capacity
        self._answers: deque[Outcome] = deque()

    def submit(self, job: Job, /) -> None:
        """Passes on what is not known."""
        unknown = []
        for code in job.codes:
            answer = self._recall(job.goal, code)
            if answer is None:
                unknown.append(code)
            else:
                self._answers.append(answer)
        if unknown:
            self._workers.submit(replace(job, codes=tuple(unknown)))

    def next_done(self, timeout: float | None = None, /) -> Outcome | None:
        """What is known first."""
        return self._answers.popleft() if self._answers else self._workers.next_done(timeout)

    def close(self) -> None:
        """Ends all work."""
        self._workers.close()

    def _recall(self, goal: str, code: Code) -> Outcome | None:
        trial = self._known.get(code)
        if trial is None:
            return None
        if goal in trial.values:
            details = without_expectation(trial.details.get(goal, {}))
            return Outcome(goal, code, trial.values[goal], details, trial.seconds / len(trial.values))
        blamed, _, reason = trial.error.partition(": ")
        return Outcome(goal, code, error=reason) if blamed == goal else None


def _spread(front: Trials, count: int) -> list[Trial]:
    """At most so many of a front, evenly along it, both ends included."""
    if len(front) <= count:
        return list(front)
    places = np.unique(np.linspace(0, len(front) - 1, count).round().astype(int))
    return [front[int(place)] for place in places]


def _export(study: Study, folder: Path, watch: Watch) -> None:
    if study.run.facts().get("chosen") is None:
        return
    if not getattr(study.family, "buildable", True):
        watch(Progress("export", message=f"nothing is exported: {deploy.unbuildable(study)}"))
        return
    watch(Progress("export"))
    done = deploy.export(study, deploy.pick(study), folder / "models" / "chosen.onnx")
    study.run.note("export", deploy.as_fact(done))


def _workers(plan: Plan, folder: Path) -> Workers:
    if not pooled(plan.config):
        return Here(plan.bench)
    return Pool(plan.bench.setup, plan.config.workers, plan.config.timeout)


def _reject_mismatch(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    differing = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if "family" in differing:  # its space and its weights follow from it
        differing = [name for name in differing if name not in ("space", "weights")]
    if differing:
        told = "; ".join(f"{name} was {then.get(name)!r} and is now {now.get(name)!r}" for name in differing)
        message = f"the run in {folder} was made by another experiment: {told}"
        raise RunMismatchError(message, hint="its numbers would not be comparable; start a new run in another folder")


def _search_identity(study: Study, config: Config) -> dict[str, Any]:
    limits = [[goal.name, goal.direction, goal.limit, goal.objective] for goal in study.goals]
    return {"search": spec_text(config.search), "goals": limits, "asynchronous": config.asynchronous}


def _note_start(record: Run, plan: Plan, folder: Path, command: str) -> None:
    facts = environment()
    (folder / "environment.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    record.note("environment", facts)
    record.note("command", command)
    record.note("config", plain_config(plan.config))
    record.note("seed", plan.config.seed)
    record.note("estimate", plan.seconds)
