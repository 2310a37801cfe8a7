"""What a run will do, found out before it starts: parts built, limits judged by a few networks, time estimated."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import parts, units
from hwnas.candidate import Family
from hwnas.config import Config, GoalSpec
from hwnas.data import Data, fits, like_of
from hwnas.errors import ConfigError, DataError, HwnasError, InfeasibleError, Interrupted
from hwnas.progress import Progress, Watch, silent
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.trial import Goal, misfit
from hwnas.workers import Bench, Job, Setup

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


def prepare(config: Config, folder: Path, watch: Watch = silent, *, estimate: bool = True) -> Plan:
    """Builds every part, resolves what can be resolved, and estimates the time; leaves no files.

    Raises:
        ConfigError, DataError: anything that does not fit.
        InfeasibleError: a limit that none of the networks tried meets.
    """
    _settle_torch(config)
    config = _completed(config, folder)
    bench = Bench(setup_of(config, folder))
    plan = Plan(config, bench, parts.make("algorithms", config.search, bench.given, "search"))
    _reject_unsendable(config)
    _reject_misfit(bench)
    for spec in config.goals:
        metric = bench.metric(spec.metric, f"goals.{spec.name}.{spec.direction}")
        if estimate and not _needs_weights(metric):
            if not hasattr(metric, "estimate"):
                _try(plan, spec, metric)
            if spec.limit is not None:
                probe(plan, spec, watch)
        plan.goals.append(goal_of(spec, bench, plan.ranges.get(spec.name, {}).get("limit", absolute(spec))))
    _reject_unfit_search(plan)
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
    """What the family needs to know of the data and the user did not say: the number of classes, the size of images.

    A family given as an object keeps its own, which are spelt out: a later session, that has only its spec, must not
    take them from the data.
    """
    spec = config.family if isinstance(config.family, Mapping) else parts.spec_of(config.family)
    if config.data is None or spec is None:
        return config
    ((name, options),) = spec.items()
    parameters = parts.schema(parts.find(name, ("families",), "family"))
    if not (open_ := set(parameters) - set(options)):
        return config
    data = parts.make("data", config.data, {"folder": folder, "seed": config.seed}, "data")
    facts = {key: data.facts[key] for key in sorted(open_ & set(data.facts))}
    if not isinstance(config.family, Mapping):
        facts = {key: getattr(config.family, key) for key in facts}
    return replace(config, family={name: {**options, **facts}}) if facts else config


def _reject_misfit(bench: Bench) -> None:
    """Reads the data whole, so that a damaged file shows now; family, data and weights must fit one another."""
    data, family = bench.given.get("data"), bench.family
    if data is not None:
        for part in ("train", "val", "test"):
            data.split(part)
        for key, most in (("classes", len(data.classes)), ("vocabulary", math.inf)):
            least, own = data.facts.get(key), getattr(family, key, None)
            if least is not None and isinstance(own, int) and not least <= own <= most:
                message = f"the family has {own} {NAMES[key]}, the data set {data.name!r} has {least}"
                hint = f"leave `{key}` out, and it is taken from the data, or set it to {least}"
                raise ConfigError(message, path="family", hint=hint)
        if getattr(family, "buildable", True):  # a family need not derive from ours
            _reject_other_kind(family, data)
    if "weights" in bench.given:
        bench.given["weights"].check()


NAMES = {"classes": "classes", "vocabulary": "words"}
"""What the numbers are of that a family and its data must agree on."""


def _reject_other_kind(family: Family, data: Data) -> None:
    """One example is made ready, and compared with what the networks take."""
    like = like_of(family, family.space.decode(family.space.smallest))
    if not fits(data, like):
        shown = f"{' x '.join(map(str, like.shape[1:]))} of {like.dtype}".replace("torch.", "")
        message = f"the networks of {family.name!r} take {shown}, which the examples of {data.name!r} cannot become"
        told = ", ".join(f"{name} {value}" for name, value in data.facts.items())
        raise ConfigError(message, path="data", hint=f"give data of the kind that the family is for; these have {told}")


def _reject_unfit_search(plan: Plan) -> None:
    """A search for another number of objectives is never replaced silently; the message names those that fit."""
    reason = misfit(plan.search, plan.goals)
    if not reason:
        return
    names = [goal.name for goal in plan.goals if goal.objective]
    fitting = [name for name in parts.names("algorithms") if _fits(name, plan)]
    message = f"{_spelt(plan.config.search)} {reason} ({', '.join(names)})"
    raise ConfigError(message, path="search", hint=f"these fit: {', '.join(fitting)}")


def _fits(name: str, plan: Plan) -> bool:
    """Whether an algorithm with its default options can pursue the plan's goals."""
    try:
        return not misfit(parts.make("algorithms", name, plan.bench.given), plan.goals)
    except HwnasError:  # it needs options, or an extra that is not installed
        return False


def _spelt(spec: Any) -> str:
    """A part as its user wrote it: the bare name, and the parts in its options, which may be what does not fit."""
    if not isinstance(spec, Mapping):
        return repr(spec)
    ((name, options),) = spec.items()
    inside = ", ".join(f"{option}: {value}" for option, value in options.items() if isinstance(value, str | Mapping))
    return f"{name.rpartition('.')[2]!r}" + (f" with {inside}" if inside else "")


def _reject_unsendable(config: Config) -> None:
    """Objects and functions cannot go to other processes; said before there is a run folder."""
    if not pooled(config):
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
    """Judges two networks: how long the second takes, and whether the metric was asked for something that is not.

    The first call of many metrics loads a library or reads a file. Whatever else goes wrong here, the search will find
    out, and say why.
    """
    space, began = plan.bench.family.space, time.perf_counter()
    try:
        for code in (space.smallest, space.largest):
            began = time.perf_counter()
            metric(plan.bench.candidate(code))
    except (ConfigError, DataError) as error:
        raise type(error)(f"goals.{spec.name}: {error.args[0]}", hint=error.hint) from error
    except Interrupted:
        raise
    except Exception:  # noqa: BLE001  # as it is for every candidate of a search
        return
    finally:
        plan.seconds[f"goal {spec.name}"] = time.perf_counter() - began


def probe(plan: Plan, spec: GoalSpec, watch: Watch) -> None:
    """Measures a limited goal on the smallest, the largest and a few random networks, and judges the limit by them."""
    space, bench = plan.bench.family.space, plan.bench
    rng = np.random.default_rng(derive(plan.config.seed, "probe"))
    codes = list(dict.fromkeys([space.largest, space.smallest, *(space.sample(rng) for _ in range(SAMPLES))]))
    took: list[float] = []
    values: dict[Code, float] = {}
    for done, code in enumerate(codes):
        watch(Progress(f"checking the limit on {spec.name}", done, len(codes)))
        (outcome,) = bench.work(Job(spec.name, spec.metric, (code,)))
        took.append(outcome.seconds)
        if outcome.value is not None:
            values[code] = outcome.value
        elif code == space.largest and spec.share is not None:
            message = f"the limit is relative to the largest network, which cannot be judged: {outcome.error}"
            raise InfeasibleError(f"goals.{spec.name}.limit: {message}", hint="give an absolute limit")
    watch(Progress(f"checking the limit on {spec.name}", len(codes), len(codes)))
    plan.seconds[f"goal {spec.name}"] = float(np.median(took))
    if not values:
        return  # the search will find out, and say why
    limit = absolute(spec) if spec.share is None else spec.share * values[space.largest]
    assert limit is not None
    goal = replace(goal_of(spec, bench, limit), limit=limit)
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
        _reject_or_warn(plan, spec, goal, values, watch)


def _reject_or_warn(plan: Plan, spec: GoalSpec, goal: Goal, values: Mapping[Code, float], watch: Watch) -> None:
    """None of a few networks keeps a limit: hopeless if the smallest is the cheapest of them, else only unlikely."""
    space, limit = plan.bench.family.space, units.show(plan.ranges[spec.name]["limit"], goal.unit)
    best = min(values.values(), key=goal.loss)
    reached = units.show(best, goal.unit)
    if spec.direction == "min" and values.get(space.smallest) == best:
        hint = f"the smallest value possible is about {reached}, that of the smallest network"
        if spec.share is not None and values.get(space.largest):
            hint += f", {100 * best / values[space.largest]:.0f}% of the largest network's"
        raise InfeasibleError(f"goals.{spec.name}.limit: no network meets {spec.name} <= {limit}", hint=hint)
    message = f"none of {len(values)} networks tried keeps the limit {limit} on {spec.name}; the best has {reached}"
    watch(Progress(f"checking the limit on {spec.name}", len(values), len(values), message=message))


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
        plan.seconds["confirm and export"] = 3 * each * (plan.config.confirm + 1) + 5 * plan.config.export


def setup_of(config: Config, folder: Path) -> Setup:
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


def goal_of(spec: GoalSpec, bench: Bench, limit: float | None) -> Goal:
    metric: Any = bench.metric(spec.metric, f"goals.{spec.name}.{spec.direction}")
    exact = None
    if getattr(metric, "exact", False):

        def exact(code: Code) -> float:
            result = metric(bench.candidate(code))
            return float(getattr(result, "value", result))

    unit = str(getattr(metric, "unit", ""))
    direction: Any = spec.direction
    many = getattr(metric, "of_codes", None) if exact is not None else None
    return Goal(spec.name, spec.metric, direction, limit, spec.objective, exact, many, unit)


def absolute(spec: GoalSpec) -> float | None:
    return float(spec.limit) if isinstance(spec.limit, int | float) else None


def _needs_weights(metric: Any) -> bool:
    return hasattr(metric, "weights")


def pooled(config: Config) -> bool:
    return config.workers > 1 or config.timeout is not None


def identity(plan: Plan) -> dict[str, Any]:
    """What must stay the same for a run's numbers to be comparable, by the name under which a difference is told."""
    given = plan.bench.given
    same: dict[str, Any] = {
        "seed": plan.config.seed,
        "family": spec_text(plan.config.family),
        "space": plan.bench.family.space.fingerprint,
    }
    if "data" in given:
        same["data"] = given["data"].fingerprint
    if "weights" in given:
        same["weights"] = given["weights"].fingerprint
    for spec in plan.config.goals:
        same[f"goals.{spec.name}"] = spec_text(spec.metric)
    return same


def spec_text(spec: Any) -> str:
    """A part as text: its spec, or the name of a function or class where it has none."""
    if not isinstance(spec, str | Mapping):
        spec = (
            parts.spec_of(spec) or f"{type(spec).__module__}.{getattr(spec, '__qualname__', type(spec).__qualname__)}"
        )
    return spec if isinstance(spec, str) else json.dumps(spec, sort_keys=True, default=str)
