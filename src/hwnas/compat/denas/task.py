"""A search of DE-NAS as an experiment of hwnas: goals, limits, engine and budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas import parts
from hwnas.candidate import Family
from hwnas.compat.denas import conf
from hwnas.compat.denas.domains import DOMAIN, Domain
from hwnas.errors import ConfigError, nearest
from hwnas.parts import Spec

FORMULAS = ("sound", "intel")
SCORE, PARAMS = "score", "params"
"""The goals that every search has, by name."""
SPEED = "latency"
FEW = 2
"""Inputs that are enough to score a Transformer without the kernel: the rows of a larger batch tell hardly more."""
TOGETHER = 4
"""Children of a generation, at least."""
MEMBERS = 50
"""An archive of so many members selects by itself; of a larger one, parents are the best of a few drawn."""


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Args:
        domain: cnn, vit, bert, asr or hf; None takes it from the conf file.
        conf: the conf file.
        model_name: of a Hugging Face model; comes before the file's `supernet`.
        run: the folder of the run's record; None is `runs/denas-DOMAIN`.
        budget: networks to score; None is what the file's epochs come to.
        seed: comes before the file's.
        workers: processes that score at once.
        formula: "sound", or "intel" for the released code's score of CNNs.
        score: another score of hwnas instead, such as `naswot`.
        pool: random networks that a score is ranked against; None is the score's own number.
    """

    domain: str | None
    conf: str
    model_name: str | None = None
    run: str | None = None
    budget: int | None = None
    seed: int | None = None
    workers: int = 1
    formula: str = "sound"
    score: str | None = None
    pool: int | None = None


@dataclass(frozen=True)
class Task:
    """A search that has been checked.

    Args:
        raw: the configuration, as `hwnas search` reads it.
        notes: what is worth telling before it starts, in sentences.
    """

    conf: conf.Conf
    domain: Domain
    family: Family
    raw: Mapping[str, Any]
    folder: Path
    notes: tuple[str, ...]


def task(options: Options) -> Task:
    """Checks everything and puts it into hwnas' own words; nothing is built or written.

    Raises:
        ConfigError: an option or a value of the file that is not allowed.
    """
    for name, least in (("budget", 1), ("seed", 0), ("workers", 1), ("pool", 4)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} must be a whole number from {least} on, not {value!r}")
    if options.formula not in FORMULAS:
        raise ConfigError(f"--formula cannot be {options.formula!r}; {nearest(options.formula, FORMULAS)}")
    read = conf.read(Path(options.conf).expanduser(), options.domain)
    domain, notes = DOMAIN[read.domain], list(read.notes)
    values = {**domain.defaults, **read.values}
    if options.model_name is not None and read.domain == conf.HF:
        values["supernet"] = options.model_name
    elif options.model_name is not None:
        notes.append(f"--model_name is for the domain hf, and this is {read.domain}")
    spec = domain.family(values, notes)
    family = _built(spec, read)
    search, budget = _engine(values, read, family, notes)
    several = values["search_engine"] == "MOSigoptSearchEngine"
    raw = {
        "family": spec,
        "goals": _goals(values, domain, options, several, notes),
        "search": search,
        "budget": options.budget or budget,
        "seed": values["seed"] if options.seed is None else options.seed,
        "workers": options.workers,
        "confirm": 0,
        "export": False,  # the original writes a structure and no network; `hwnas export` does at any later time
    }
    folder = Path(options.run).expanduser() if options.run else Path("runs") / f"denas-{read.domain}"
    return Task(read, domain, family, raw, folder, tuple(notes))


def _built(spec: Spec, read: conf.Conf) -> Family:
    """The family, so that whatever it refuses is told before work starts."""
    try:
        family: Family = parts.make("families", spec)
    except ConfigError as error:
        raise ConfigError(f"{read.path}: {error.args[0]}", hint=error.hint) from error
    return family


# --- the engine ------------------------------------------------------------------------------------------------------


def _engine(values: dict[str, Any], read: conf.Conf, family: Any, notes: list[str]) -> tuple[Spec, int]:
    """The search behind `search_engine`, and how many networks it looks at."""
    engine = values.setdefault("search_engine", "EvolutionarySearchEngine")
    if engine == "RandomSearchEngine":
        return {"random": {}}, values["random_max_epochs"]
    if engine != "EvolutionarySearchEngine":
        return {"bayesian": {}}, values["sigopt_max_epochs"]
    kinds = {kind: values[f"{kind}_num"] for kind in ("population", "mutation", "crossover")}
    if not any(kinds.values()):
        raise ConfigError(f"{read.path}: population_num, mutation_num and crossover_num are all 0")
    budget = values["max_epochs"] * sum(kinds.values())
    if 0 < kinds["mutation"] + kinds["crossover"] < TOGETHER:
        notes.append(f"children are made {TOGETHER} at a time, so that several can be scored at once; all are as many")
        kinds = {**kinds, "mutation": TOGETHER - kinds["crossover"]}
    options: dict[str, Any] = {
        **kinds,
        "select": values["select_num"],
        "sample": max(1, values["select_num"] // MEMBERS),
        "scale_factor": values["scale_factor"],
        "m_prob": values["m_prob"],
        "s_prob": values["s_prob"],
    }
    if not kinds["mutation"] + kinds["crossover"]:
        options["random"] = kinds["population"]  # no children: the original then draws at random for ever
    if values.get("plainnet_struct"):
        options["start"] = [family.arch_of(values["plainnet_struct"])]
    return {"denas": options}, budget


# --- goals and limits ------------------------------------------------------------------------------------------------


def _goals(
    values: Mapping[str, Any], domain: Domain, options: Options, several: bool, notes: list[str]
) -> dict[str, dict[str, Any]]:
    """The score, and everything that has a limit; the parameters are always there, to be told."""
    score = _score(values, domain, options, several, notes)
    goals: dict[str, dict[str, Any]] = {SCORE: {"max": score}}
    _limit(goals, PARAMS, domain.params, _params_limits(values, domain))
    if PARAMS not in goals:
        goals[PARAMS] = {"min": domain.params, "objective": False}
    for key, what in (("budget_num_layers", "layers"), ("budget_model_size", "size"), ("budget_flops", "flops")):
        if key in values:
            _limit(goals, what, {"hwnas.compat.denas.limits": {"what": what}}, (values[key], None))
    _limit(goals, SPEED, _clock(values["batch_size"]), _latency_limits(values, domain))
    if several:
        goals[SPEED] = {"min": _clock(values["batch_size"]), **goals.get(SPEED, {}), "objective": True}
    return goals


def _limit(
    goals: dict[str, dict[str, Any]], name: str, metric: Spec, span: tuple[float | str | None, float | str | None]
) -> None:
    """Adds what must be at most, and at least, so much."""
    most, least = span
    _check_span(name, most, least)
    if most is not None:
        goals[name] = {"min": metric, "limit": most, "objective": False}
    if least is not None:
        goals[f"{name}_least"] = {"max": metric, "limit": least, "objective": False}


def _check_span(name: str, most: float | str | None, least: float | str | None) -> None:
    if isinstance(most, float) and isinstance(least, float) and least > most:
        raise ConfigError(f"no network has {name} of {least:g} and more and of {most:g} and less at once")


def _params_limits(values: Mapping[str, Any], domain: Domain) -> tuple[float | None, float | str | None]:
    """In parameters, or as a share of the largest network's; conf files give millions."""
    most, least = values.get("max_param_limits"), values.get("min_param_limits")
    floor = domain.floor if least is None else 1e6 * least
    return (None if most is None else 1e6 * most, floor or None)


def _latency_limits(values: Mapping[str, Any], domain: Domain) -> tuple[float | None, float | None]:
    """In seconds per batch; conf files give seconds per input, or milliseconds per batch."""
    factor = values["batch_size"] if domain.per_image else 1e-3
    most, least = values.get("budget_latency_max"), values.get("budget_latency_min")
    return (None if most is None else factor * most, factor * least if least else None)


def _clock(batch: int) -> Spec:
    return {"hardware.measured": {"batch": batch}}


# --- the score -------------------------------------------------------------------------------------------------------


def _score(values: Mapping[str, Any], domain: Domain, options: Options, several: bool, notes: list[str]) -> Spec:
    """DE-Score with what the conf's weights mean to it, or the score that the user names instead."""
    if options.score is not None:
        notes.append(f"networks are scored by {options.score}: the weights of DE-Score are passed over")
        return parts.normal(options.score, ("quality",), "--score")
    weights = {name.removesuffix("_weight"): values[name] for name in conf.WEIGHTS}
    latency = weights.pop("latency")
    if several and latency:
        notes.append("latency is an objective of its own, so it is left out of the score")
        latency = 0.0
    if not any((*weights.values(), latency)):
        raise ConfigError(f"all of {', '.join(conf.WEIGHTS)} are 0, so there is no score")
    batch = max(2, values["batch_size"])
    if options.formula == "intel":
        if not domain.intel:
            raise ConfigError(
                "--formula intel is for the domain cnn: the released code's other scores are not repeatable"
            )
        notes.append("the score is that of the released code, with the weights of the conf file; latency is not in it")
        return {"quality.de_score": {"formula": "intel", "batch": batch, **weights}}
    if not domain.intel and not weights["complexity"]:
        batch = FEW
    score: dict[str, Any] = {name: float(weight > 0) for name, weight in weights.items()}
    if latency:
        score["latency"] = _clock(1)
    used = [name for name, weight in {**weights, "latency": latency}.items() if weight]
    notes.append(
        f"the score's terms are ranks in a pool and count alike ({', '.join(used)}): of weights, 0 or not matters"
    )
    return {"quality.de_score": {**score, "batch": batch, **({"pool": options.pool} if options.pool else {})}}


__all__ = ["PARAMS", "SCORE", "Options", "Task", "task"]
