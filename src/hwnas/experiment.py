"""One experiment: its parts bound together, weights prepared, search run, front confirmed, file and report written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hwnas import deploy, parts, report, units
from hwnas.config import Config, GoalSpec, read
from hwnas.errors import (
    ConfigError,
    DataError,
    InfeasibleError,
    Interrupted,
    RecordError,
    RunExistsError,
    RunMismatchError,
)
from hwnas.hardware._device import detect
from hwnas.progress import Progress, Watch, silent
from hwnas.records import Records, Run, sqlite_url
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.trials import Trials
from hwnas.workers import Bench, Here, Job, Outcome, Pool, Setup, Workers

RUN = "main"
"""The name of a run in its own database."""
SAMPLES = 6
"""Random networks that show, beside the smallest and the largest, what limits can be met."""


@dataclass
class Plan:
    """What a run will do and about how long it will take, known before it starts.

    Args:
        goals: with resolved limits where they can be known already.
        ranges: by goal: the smallest and the largest value seen among a few networks.
        seconds: by phase, estimated.
    """

    config: Config
    bench: Bench
    search: Any
    goals: list[Goal] = field(default_factory=list)
    ranges: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


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


def start(plan: Plan, run: str | Path, *, watch: Watch = silent, command: str = "") -> Study:
    """Runs a plan in a fresh folder; `command` is what the report gives as the way to do it again."""
    folder = Path(run)
    reject_existing(folder)
    _create_folder(folder)
    if "data" in plan.bench.given:
        plan.bench.given["data"].keep()
    _keep_config(folder, plan.config)
    records = Records(sqlite_url(folder / "study.db"))
    with records.lock():
        record = records.create(RUN, identity(plan))
        _note_start(record, plan, folder, command)
        return _run(plan, record, folder, watch)


def resume(run: str | Path, *, overrides: Sequence[str] = (), watch: Watch = silent) -> Study:
    """Goes on with a run where it was left; nothing that is recorded is measured again.

    Another search, limit or budget may be given: what is known is then a warm start.

    Raises:
        RunMismatchError: the family, the data, the weights or a metric differ: those numbers would not be comparable.
    """
    folder = Path(run)
    config = read(_config_path(folder), overrides)
    records = Records(sqlite_url(_database(folder)))
    with records.lock():
        plan = prepare(config, folder, watch, estimate=False)
        if RUN not in records.names():  # killed between making the file and entering the run
            _note_start(records.create(RUN, identity(plan)), plan, folder, f"hwnas resume {shlex.quote(str(folder))}")
        record = records.open(RUN)
        _reject_mismatch(record.identity, identity(plan), folder)
        if overrides:
            _keep_config(folder, plan.config)
            record.note("config", _plain(plan.config))
        record.event("resumed")
        record.note("finished", False)
        return _run(plan, record, folder, watch)


def load(run: str | Path) -> Study:
    """A run to look at: its trials, its front, its facts; nothing is measured.

    Raises:
        RecordError: there is no run in this folder.
    """
    folder = Path(run)
    config = read(_config_path(folder))
    records = Records(sqlite_url(_database(folder)))
    bench = Bench(_setup(config, folder))
    record = records.open(RUN)
    limits = record.facts().get("limits", {})
    goals = []
    for spec in config.goals:
        known = limits.get(spec.name, {})
        limit = known["value"] if known.get("given") == spec.limit is not None else _absolute(spec)
        goals.append(_goal(spec, bench, limit))
    return Study(bench, goals, record)


# --- before the search -----------------------------------------------------------------------------------------------


def prepare(config: Config, folder: Path, watch: Watch = silent, *, estimate: bool = True) -> Plan:
    """Builds every part, resolves what can be resolved, and estimates the time; leaves no files.

    Raises:
        ConfigError, DataError: anything that does not fit.
        InfeasibleError: a limit that none of the networks tried meets.
    """
    _settle_torch(config)
    config = _completed(config, folder)
    bench = Bench(_setup(config, folder))
    plan = Plan(config, bench, parts.make("algorithms", config.search, bench.given, "search"))
    _reject_unsendable(config)
    _reject_misfit(bench)
    for spec in config.goals:
        metric = bench.metric(spec.metric, f"goals.{spec.name}.{spec.direction}")
        if estimate and not _needs_weights(metric):
            if not hasattr(metric, "estimate"):
                _try(plan, spec, metric)
            if spec.limit is not None:
                _probe(plan, spec, watch)
        plan.goals.append(_goal(spec, bench, plan.ranges.get(spec.name, {}).get("limit", _absolute(spec))))
    if estimate:
        _estimate(plan, watch)
    return plan


def _settle_torch(config: Config) -> None:
    """Gives torch its threads in this process too, and looks whether the device is there."""
    import torch

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        torch.empty(0, device=config.torch_device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{config.torch_device!r} cannot be used: {reason}", path="torch_device") from error


def _completed(config: Config, folder: Path) -> Config:
    """What the family needs to know of the data and the user did not say: the number of classes, the image size.

    A family given as an object keeps its own, which are spelt out: a later session, that has only its spec, must not
    take them from the data.
    """
    spec = config.family if isinstance(config.family, Mapping) else parts.spec_of(config.family)
    if config.data is None or spec is None:
        return config
    ((name, options),) = spec.items()
    parameters = parts.schema(parts.find(name, ("families",), "family"))
    wanted = sorted({"classes", "resolution"} & (set(parameters) - set(options)))
    if not wanted:
        return config
    if isinstance(config.family, Mapping):
        data = parts.make("data", config.data, {"folder": folder, "seed": config.seed}, "data")
        known = {"classes": len(data.classes), "resolution": data.shape[1]}
    else:
        known = {key: getattr(config.family, key) for key in wanted}
    return replace(config, family={name: {**options, **{key: known[key] for key in wanted}}})


def _reject_misfit(bench: Bench) -> None:
    """Reads the data whole, so that a damaged file shows now; other classes than the family's would be nonsense."""
    data, classes = bench.given.get("data"), getattr(bench.family, "classes", None)
    if data is not None:
        for part in ("train", "val", "test"):
            data.split(part)
    if data is not None and classes is not None and classes != len(data.classes):
        message = f"the family has {classes} classes, the data set {data.name!r} has {len(data.classes)}"
        raise ConfigError(message, path="family", hint="leave `classes` out: it is taken from the data")


def _reject_unsendable(config: Config) -> None:
    """Objects and functions cannot go to other processes; said before there is a run folder."""
    if not _pooled(config):
        return
    places = {"family": config.family, "data": config.data, "weights": config.weights}
    places |= {f"goals.{spec.name}.{spec.direction}": spec.metric for spec in config.goals}
    for path, spec in places.items():
        try:
            json.dumps(spec)
        except TypeError:
            message = "is an object or a function of this process, which worker processes cannot run"
            hint = "use `workers: 1` without `timeout`, or put it into a module"
            raise ConfigError(message, path=path, hint=hint) from None


def _try(plan: Plan, spec: GoalSpec, metric: Any) -> None:
    """Judges the largest network once: how long it takes, and whether the metric was asked for something that is not.

    Whatever else goes wrong here, the search will find out, and say why.
    """
    began = time.perf_counter()
    try:
        metric(plan.bench.candidate(plan.bench.family.space.largest))
    except (ConfigError, DataError) as error:
        raise type(error)(f"goals.{spec.name}: {error.args[0]}", hint=error.hint) from error
    except Interrupted:
        raise
    except Exception:  # noqa: BLE001  # as it is for every candidate of a search
        return
    finally:
        plan.seconds[f"goal {spec.name}"] = time.perf_counter() - began


def _probe(plan: Plan, spec: GoalSpec, watch: Watch) -> None:
    """Measures a limited goal on the smallest, the largest and a few random networks, and judges the limit by them."""
    space, bench = plan.bench.family.space, plan.bench
    rng = np.random.default_rng(derive(plan.config.seed, "probe"))
    codes = list(dict.fromkeys([space.largest, space.smallest, *(space.sample(rng) for _ in range(SAMPLES))]))
    began = time.perf_counter()
    values: dict[Code, float] = {}
    for done, code in enumerate(codes):
        watch(Progress(f"checking the limit on {spec.name}", done, len(codes)))
        (outcome,) = bench.work(Job(spec.name, spec.metric, (code,)))
        if outcome.value is not None:
            values[code] = outcome.value
        elif code == space.largest and spec.share is not None:
            message = f"the limit is relative to the largest network, which cannot be judged: {outcome.error}"
            raise InfeasibleError(f"goals.{spec.name}.limit: {message}", hint="give an absolute limit")
    watch(Progress(f"checking the limit on {spec.name}", len(codes), len(codes)))
    plan.seconds[f"goal {spec.name}"] = (time.perf_counter() - began) / len(codes)
    if not values:
        return  # the search will find out, and say why
    limit = _absolute(spec) if spec.share is None else spec.share * values[space.largest]
    assert limit is not None
    goal = replace(_goal(spec, bench, limit), limit=limit)
    met = [code for code, value in values.items() if goal.within(value)]
    plan.ranges[spec.name] = {
        "limit": limit,
        "least": min(values.values()),
        "most": max(values.values()),
        "met": len(met),
        "tried": len(values),
    }
    if space.largest in values:
        plan.ranges[spec.name]["largest"] = values[space.largest]
    if not met:
        best = min(values.values(), key=goal.loss)
        way = "smallest" if spec.direction == "min" else "largest"
        sign = "<=" if spec.direction == "min" else ">="
        message = f"no network meets {spec.name} {sign} {units.show(limit, goal.unit)}"
        tried = f"{len(values)} networks tried, the smallest and the largest among them"
        hint = f"the {way} value possible is about {units.show(best, goal.unit)} ({tried})"
        if spec.share is not None and values.get(space.largest):
            hint += f", that is {100 * best / values[space.largest]:.0f}% of the largest network's"
        raise InfeasibleError(f"goals.{spec.name}.limit: {message}", hint=hint)


def _estimate(plan: Plan, watch: Watch) -> None:
    """Seconds by phase: from the parts' own estimates where they have them, else from the tries before."""
    space, bench = plan.bench.family.space, plan.bench
    watch(Progress("estimating the time"))
    weights = bench.given.get("weights")
    if weights is not None:
        plan.seconds["train supernet"] = weights.estimate()
    each = 0.0
    for spec in plan.config.goals:
        key = f"goal {spec.name}"
        metric: Any = bench.metric(spec.metric)
        if hasattr(metric, "estimate"):
            pair = [metric.estimate(bench.candidate(code)) for code in (space.smallest, space.largest)]
            plan.seconds[key] = sum(pair) / 2
        each += plan.seconds.get(key, 0.0)
    plan.seconds["search"] = each * min(plan.config.budget, space.size)
    if plan.config.confirm:
        plan.seconds["confirm and export"] = 3 * each * (plan.config.confirm + 1) + 5


# --- the run ---------------------------------------------------------------------------------------------------------


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
        finally:
            workers.close()
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
                _probe(plan, spec, watch)
            seen = plan.ranges.get(spec.name, {})
            limits[spec.name] = known = {"given": spec.limit, "value": seen.get("limit", _absolute(spec)), **seen}
            record.note("limits", limits)
        goals.append(replace(goal, limit=known["value"]))
    return goals


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


def _spread(front: Trials, count: int) -> list[Trial]:
    """At most so many of a front, evenly along it, both ends included."""
    if len(front) <= count:
        return list(front)
    places = np.unique(np.linspace(0, len(front) - 1, count).round().astype(int))
    return [front[int(place)] for place in places]


def _export(study: Study, folder: Path, watch: Watch) -> None:
    if study.run.facts().get("chosen") is None:
        return
    watch(Progress("export"))
    done = deploy.export(study, deploy.pick(study), folder / "models" / "chosen.onnx")
    study.run.note("export", deploy.as_fact(done))


def _workers(plan: Plan, folder: Path) -> Workers:
    if not _pooled(plan.config):
        return Here(plan.bench)
    return Pool(plan.bench.setup, plan.config.workers, plan.config.timeout)


def _pooled(config: Config) -> bool:
    return config.workers > 1 or config.timeout is not None


# --- identity --------------------------------------------------------------------------------------------------------


def identity(plan: Plan) -> dict[str, Any]:
    """What must stay the same for a run's numbers to be comparable, by the name under which a difference is told."""
    given = plan.bench.given
    same: dict[str, Any] = {
        "seed": plan.config.seed,
        "family": _spec_text(plan.config.family),
        "space": plan.bench.family.space.fingerprint,
    }
    if "data" in given:
        same["data"] = given["data"].fingerprint
    if "weights" in given:
        same["weights"] = given["weights"].fingerprint
    for spec in plan.config.goals:
        same[f"goals.{spec.name}"] = _spec_text(spec.metric)
    return same


def _reject_mismatch(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    differing = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if differing:
        told = "; ".join(f"{name} was {then.get(name)!r} and is now {now.get(name)!r}" for name in differing)
        message = f"the run in {folder} was made by another experiment: {told}"
        raise RunMismatchError(message, hint="its numbers would not be comparable; start a new run in another folder")


def _search_identity(study: Study, config: Config) -> dict[str, Any]:
    limits = [[goal.name, goal.direction, goal.limit, goal.objective] for goal in study.goals]
    return {"search": _spec_text(config.search), "goals": limits, "asynchronous": config.asynchronous}


def _spec_text(spec: Any) -> str:
    """A part as text: its spec, or the name of a function or class where it has none."""
    if not isinstance(spec, str | Mapping):
        spec = (
            parts.spec_of(spec) or f"{type(spec).__module__}.{getattr(spec, '__qualname__', type(spec).__qualname__)}"
        )
    return spec if isinstance(spec, str) else json.dumps(spec, sort_keys=True, default=str)


# --- the folder ------------------------------------------------------------------------------------------------------


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


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"the run folder {folder} cannot be made: {error}") from error


def _database(folder: Path) -> Path:
    path = folder / "study.db"
    if not path.exists():
        raise RecordError(f"there is no run in {folder}", hint="`hwnas search CONFIG --run DIR` starts one")
    return path


def _config_path(folder: Path) -> Path:
    _database(folder)
    path = folder / "config.yaml"
    if not path.exists():
        raise RecordError(f"{path} is missing, so the run cannot be understood")
    return path


def _keep_config(folder: Path, config: Config) -> None:
    partial = folder / "config.yaml.tmp"
    partial.write_text(yaml.safe_dump(_plain(config), sort_keys=False), encoding="utf-8")
    os.replace(partial, folder / "config.yaml")


def _plain(config: Config) -> dict[str, Any]:
    """The configuration as plain data; an object without a spec is named only, and a later `resume` says so."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if value is None or isinstance(value, str | int | float | bool):
            return value
        return plain(parts.spec_of(value)) if parts.spec_of(value) else f"<{_spec_text(value)}>"

    return {key: plain(value) for key, value in config.to_dict().items()}


def _note_start(record: Run, plan: Plan, folder: Path, command: str) -> None:
    facts = environment()
    (folder / "environment.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    record.note("environment", facts)
    record.note("command", command)
    record.note("config", _plain(plan.config))
    record.note("seed", plan.config.seed)
    record.note("estimate", plan.seconds)


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    versions = {}
    for package in ("hwnas", "torch", "numpy", "pymoo", "onnx", "onnxruntime", "scikit-learn", "sqlalchemy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**versions, **detect(), "host": platform.node()}


def _setup(config: Config, folder: Path) -> Setup:
    return Setup(
        family=config.family,
        data=config.data,
        weights=config.weights,
        device=config.device,
        folder=str(folder),
        seed=config.seed,
        torch_device=config.torch_device,
        threads=config.threads,
    )


def _goal(spec: GoalSpec, bench: Bench, limit: float | None) -> Goal:
    metric: Any = bench.metric(spec.metric, f"goals.{spec.name}.{spec.direction}")
    exact = None
    if getattr(metric, "exact", False):

        def exact(code: Code) -> float:
            result = metric(bench.candidate(code))
            return float(getattr(result, "value", result))

    unit = str(getattr(metric, "unit", ""))
    direction: Any = spec.direction
    return Goal(spec.name, spec.metric, direction, limit, spec.objective or limit is None, exact, unit)


def _absolute(spec: GoalSpec) -> float | None:
    return float(spec.limit) if isinstance(spec.limit, int | float) else None


def _needs_weights(metric: Any) -> bool:
    return hasattr(metric, "weights")


__all__ = ["Outcome", "Plan", "default_run", "load", "prepare", "resume", "search"]
