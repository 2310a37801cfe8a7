"""What DyNAS-T is asked for: every option of its command and of its Python interface, checked before work starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hwnas import parts
from hwnas.compat.dynast.launcher import Launch, launched
from hwnas.compat.dynast.metrics import EXACT, MEASURES, MOST, InvalidMetricsException, chosen
from hwnas.compat.dynast.supernets import REFUSED, SUPERNETS, Supernet, find
from hwnas.errors import ConfigError, HwnasError, nearest
from hwnas.trial import Goal, misfit

ALGORITHMS = ("ga", "cmaes", "nsga2", "age", "unsga3", "ctaea", "moead")
TACTICS = ("linas", "evolutionary", "random")
RUNTIMES = ("onnxruntime", "torch")
SURROGATE = "HWNAS_SURROGATE"
"""The environment variable that names a surrogate file, for commands that name no source of accuracy themselves."""
TRAIN, VAL = ("train",), ("val", "valid", "validation")


@dataclass(frozen=True)
class Options:
    """One search, as the user of DyNAS-T states it; the names are those of its flags.

    Args:
        results_path: the CSV file that receives one row per evaluated network.
        optimization_metrics: the objectives, one to three.
        measurements: what else is measured and written down; the objectives always are.
        num_evals: networks to evaluate; those of an existing file of another program come in addition.
        population: of the evolutionary algorithm, and how many networks `search()` returns.
        batch_size: images in one pass of the latency measurement.
        eval_batch_size: images in one pass of the accuracy measurement; None is `batch_size`.
        test_fraction: share of the validation images that accuracy is measured on, drawn class by class by seed.
        dataset_path: a folder with `train` and `val`, each with one folder per class.
        supernet_ckpt_path: the weights of the super-network.
        device: where torch computes accuracies.
        limits: the worst value allowed, by metric: a number in the units of the file, or a share of the largest
            network's value such as "60%".
        surrogate: a file that foretells accuracy_top1 of ofa_mbv3_d234_e346_k357_w1.0.
        run: the folder of the run's record; None is beside `results_path`.
        workers: processes that evaluate networks at once.
        threads: of the network whose latency is measured.
        runtime: what runs it: onnxruntime or torch.
        resume: insist that there is something to go on with.
        overwrite: set results of an earlier search aside, and begin anew.
        distributed: take the number of workers from a launcher such as mpirun or torchrun.
        dist_timeout: seconds that one evaluation of a distributed search may take.
    """

    results_path: str = ""
    supernet: str = "ofa_mbv3_d234_e346_k357_w1.0"
    optimization_metrics: Sequence[str] = ("accuracy_top1", "macs")
    measurements: Sequence[str] = ("accuracy_top1", "macs", "params", "latency")
    search_tactic: str = "linas"
    search_algo: str = "nsga2"
    num_evals: int = 250
    population: int = 50
    seed: int = 42
    batch_size: int = 128
    eval_batch_size: int | None = None
    test_fraction: float = 1.0
    dataset_path: str | None = None
    supernet_ckpt_path: str | None = None
    device: str = "cpu"
    limits: Mapping[str, float | str] = field(default_factory=dict)
    surrogate: str | None = None
    run: str | None = None
    workers: int = 1
    threads: int = 1
    runtime: str = "onnxruntime"
    resume: bool = False
    overwrite: bool = False
    verbose: bool = False
    distributed: bool = False
    dist_timeout: int = 3600
    dataloader_workers: int | None = None
    mp_calibration_samples: int | None = None
    backend: str = "gloo"
    local_rank: int | None = None


IDLE: Mapping[str, str] = {
    "dataloader_workers": "images are read once, by as many threads as there are cores",
    "mp_calibration_samples": "it belongs to the quantised super-networks, which are not supported",
}
"""Options of DyNAS-T that change nothing here, and why; whoever sets one is told."""


@dataclass(frozen=True)
class Task:
    """A search that has been checked: what hwnas is to run, and what is worth telling the user.

    Args:
        raw: the configuration, as `hwnas search` reads it; its budget lacks the networks of a warm start.
        measured: the metrics in the order of the goals, objectives first.
    """

    options: Options
    supernet: Supernet
    raw: Mapping[str, Any]
    measured: tuple[str, ...]
    classes: int
    launch: Launch
    notes: tuple[str, ...]

    @property
    def table(self) -> Path:
        """The CSV file."""
        return Path(self.options.results_path).expanduser()

    @property
    def folder(self) -> Path:
        """The folder of the run's record."""
        given = self.options.run
        return Path(given).expanduser() if given else self.table.with_name(f"{self.table.stem}.hwnas")


def task(options: Options) -> Task:
    """Checks all options and puts them into hwnas' own words; nothing is loaded or written.

    Raises:
        ConfigError: an option that is not allowed, with its flag; InvalidSupernetException and
            InvalidMetricsException are such.
    """
    supernet = find(options.supernet)
    _check_numbers(options)
    _check_words(options)
    notes = [f"--{name} has no effect: {why}" for name, why in IDLE.items() if getattr(options, name) is not None]
    objectives, told = chosen(options.optimization_metrics, supernet, "--optimization_metrics")
    extra, more = chosen(options.measurements, supernet, "--measurements")
    limited, most = chosen(list(options.limits), supernet, "--limit")
    notes += [*told, *more, *most]
    _check_objectives(objectives, options, supernet)
    measured = tuple(dict.fromkeys([*objectives, *extra, *limited]))
    _check_measurable(measured, supernet)
    sources, classes, idle = _accuracy(options, supernet, measured)
    launch = launched(options.distributed, options.workers, os.environ)
    if options.population > options.num_evals and options.search_tactic != "random":
        notes.append(f"--population {options.population} is more than all {options.num_evals} evaluations")
    if "latency" in measured and options.device != "cpu":
        notes.append(f"latency is measured on the CPU of this machine, whatever --device says ({options.device})")
    metrics = {
        "latency": {
            "hardware.measured": {
                "batch": options.batch_size,
                "threads": options.threads,
                "runtime": options.runtime,
            }
        },
        **{what: {"hwnas.compat.dynast.counted": _counted(supernet, what, classes)} for what in EXACT},
        **sources.pop("metrics"),
    }
    goals: dict[str, dict[str, Any]] = {}
    limits = dict(zip(limited, options.limits.values(), strict=True))
    for name in measured:
        goals[name] = {MEASURES[name].direction: metrics[name]}
        if name in limits:
            goals[name]["limit"] = _limit(name, limits[name], metrics[name])
        if name not in objectives:
            goals[name]["objective"] = False
    raw = {
        "family": supernet.family(classes),
        **sources,
        "goals": goals,
        "search": _search(options),
        "budget": options.num_evals,
        "seed": options.seed,
        "workers": launch.workers,
        "timeout": float(options.dist_timeout) if options.distributed else None,
        "confirm": 0,
        "export": "weights" in sources,  # a file of a network that nobody trained serves nobody
        "torch_device": options.device,
    }
    notes += [*idle, *launch.notes]
    done = Task(options, supernet, raw, measured, classes, launch, tuple(notes))
    _check_paths(done)
    _check_device(options.device)
    return done


def _search(options: Options) -> dict[str, Any]:
    """A tactic of DyNAS-T as a search of hwnas.

    LINAS with NSGA-II inside is what hwnas' own is by itself, on arrays: the same search in a fraction of the time.
    """
    size = {"population": options.population}
    alone: dict[str, Any] = {options.search_algo: size}
    searches: dict[str, dict[str, Any]] = {
        "linas": {"linas": size if options.search_algo == "nsga2" else {"inner": alone}},
        "evolutionary": alone,
        "random": {"random": {}},
    }
    return searches[options.search_tactic]


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_numbers(options: Options) -> None:
    for name, least in _LEAST.items():
        value = getattr(options, name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            continue
        raise ConfigError(f"--{name} must be a whole number from {least} on, not {value!r}")
    if not (isinstance(options.test_fraction, int | float) and 0 < options.test_fraction <= 1):
        raise ConfigError(f"--test_fraction must be above 0 and at most 1, not {options.test_fraction!r}")


_LEAST = {
    "num_evals": 1,
    "population": 1,
    "seed": 0,
    "batch_size": 1,
    "eval_batch_size": 0,
    "workers": 1,
    "threads": 1,
    "dist_timeout": 1,
    "dataloader_workers": 0,
    "mp_calibration_samples": 1,
}


def _check_words(options: Options) -> None:
    for name, known in _WORDS.items():
        if (word := getattr(options, name)) not in known:
            raise ConfigError(f"--{name} cannot be {word!r}; {nearest(word, known)}")
    if options.resume and options.overwrite:
        raise ConfigError("--resume goes on with what --overwrite sets aside: give one of them")


_WORDS = {"search_tactic": TACTICS, "search_algo": ALGORITHMS, "runtime": RUNTIMES, "backend": ("gloo",)}


def _check_objectives(objectives: Sequence[str], options: Options, supernet: Supernet) -> None:
    if not objectives:
        known = ", ".join(supernet.metrics)
        raise InvalidMetricsException(f"--optimization_metrics names no objective; {supernet.name} has {known}")
    if len(objectives) > MOST:
        named = ", ".join(objectives)
        raise InvalidMetricsException(
            f"--optimization_metrics takes 1 to {MOST} objectives, not {len(objectives)}: {named}"
        )
    if options.search_tactic == "random":
        return
    goals = [Goal(name, None, _direction(name)) for name in objectives]
    fitting = [name for name in ALGORITHMS if not _misfit(name, goals)]
    if reason := _misfit(options.search_algo, goals):
        message = f"--search_algo {options.search_algo} {reason} ({', '.join(objectives)})"
        raise ConfigError(message, hint=f"these fit: {', '.join(fitting) or 'none'}")


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        raise ConfigError(f"--device {name!r} cannot be used: {str(error).partition(chr(10))[0]}") from error


def _direction(name: str) -> Any:
    return MEASURES[name].direction


def _misfit(algorithm: str, goals: Sequence[Goal]) -> str:
    """Why an algorithm cannot pursue these goals; empty if it can."""
    try:
        return misfit(parts.make("algorithms", {algorithm: {}}), goals)
    except HwnasError as error:  # it needs a package that is not installed
        return f"cannot be used: {error.args[0]}"


def _check_measurable(measured: Sequence[str], supernet: Supernet) -> None:
    """Whatever needs a network to be built says so where there is no family that builds it."""
    missing = [name for name in measured if name not in EXACT]
    if missing and not supernet.buildable:
        buildable = ", ".join(name for name, other in SUPERNETS.items() if other.buildable)
        message = f"{' and '.join(missing)} of {supernet.name} cannot be measured: its networks cannot be built yet"
        hint = (
            "its macs and params are exact and work: --optimization_metrics macs params --measurements macs params; "
            f"all metrics work for {buildable}"
        )
        raise InvalidMetricsException(message, hint=hint)


def _accuracy(
    options: Options, supernet: Supernet, measured: Sequence[str]
) -> tuple[dict[str, Any], int, tuple[str, ...]]:
    """Where accuracies come from: data, weights and metrics of the configuration; the classes; what to tell."""
    if "accuracy_top1" not in measured:
        told = [f"--{name} is not needed: no accuracy is measured" for name in _SOURCES if getattr(options, name)]
        return {"metrics": {}}, 1000, tuple(told)
    if options.surrogate and options.dataset_path:
        raise ConfigError("accuracy comes from --surrogate or from --dataset_path: give one of them")
    if options.surrogate or not options.dataset_path:
        file = options.surrogate or (os.environ.get(SURROGATE) if supernet.surrogate else None)
        return {"metrics": {"accuracy_top1": _surrogate(file, supernet)}}, 1000, ()
    folders = _folders(Path(options.dataset_path).expanduser())
    if not options.supernet_ckpt_path:
        raise ConfigError(
            f"accuracy of {supernet.name} needs --supernet_ckpt_path, the weights of the super-network",
            hint="a PyTorch state dict or a .safetensors file with the tensors of hwnas' own network",
        )
    checkpoint = Path(options.supernet_ckpt_path).expanduser()
    if not checkpoint.is_file():
        raise ConfigError(f"--supernet_ckpt_path: there is no file {checkpoint}")
    classes = sum(entry.is_dir() and not entry.name.startswith(".") for entry in folders["train"].iterdir())
    images = {
        "train": str(folders["train"].absolute()),
        "val": str(folders["val"].absolute()),
        "fraction": float(options.test_fraction),
        "draw": options.seed,
    }
    batch = max(2, options.eval_batch_size or options.batch_size)
    sources = {
        "data": {"hwnas.compat.dynast.imagenet": images},
        "weights": {"checkpoint": {"path": str(checkpoint.absolute())}},
        "metrics": {"accuracy_top1": {"quality.shared": {"batch": batch}}},
    }
    return sources, classes, ()


_SOURCES = ("dataset_path", "supernet_ckpt_path", "surrogate")


def _surrogate(file: str | None, supernet: Supernet) -> dict[str, Any]:
    if file and supernet.surrogate:
        path = Path(file).expanduser()
        if not path.is_file():
            raise ConfigError(f"the surrogate {str(path)!r} is no file")
        return {"quality.ofa_surrogate": {"path": str(path.absolute())}}
    known = ", ".join(name for name, other in SUPERNETS.items() if other.surrogate)
    if file:
        message = f"a surrogate foretells the accuracy of {known} only, not of {supernet.name}"
    else:
        message = f"accuracy of {supernet.name} needs --dataset_path and --supernet_ckpt_path"
    hint = "--dataset_path DIR is a folder with train/ and val/, one folder of images per class"
    if not file and supernet.surrogate:
        hint += f"; or, to try searches without it, give --surrogate FILE (or set {SURROGATE})"
    raise ConfigError(message, hint=f"{hint}; macs and params need neither")


def _folders(root: Path) -> dict[str, Path]:
    """The folders of training and validation images."""
    if not root.is_dir():
        raise ConfigError(f"--dataset_path: there is no folder {root}")
    found = {}
    for names in (TRAIN, VAL):
        there = [root / name for name in names if (root / name).is_dir()]
        if not there:
            use = {"train": "on whose images BatchNorm is calibrated", "val": "on which accuracy is measured"}[names[0]]
            raise ConfigError(f"--dataset_path: {root} has no folder {names[0]}/, {use}")
        found[names[0]] = there[0]
    return found


def _counted(supernet: Supernet, what: str, classes: int) -> dict[str, Any]:
    return {"supernet": supernet.name, "what": what, "classes": classes}


def _limit(name: str, given: float | str, metric: Mapping[str, Any]) -> float | str:
    """A limit in the unit of the record: seconds; a share of 1 where accuracy is measured on images."""
    text = str(given).strip()
    if text.endswith("%") and MEASURES[name].direction == "min":
        return text
    try:
        number = float(text.rstrip("% "))
    except ValueError:
        wanted = f"a number ({MEASURES[name].unit})" if MEASURES[name].unit else "a number"
        raise ConfigError(f"--limit {name}={text}: must be {wanted}, or a share of the largest such as 60%") from None
    factor = {"latency": 1000.0, "accuracy_top1": 100.0 if "quality.shared" in metric else 1.0}.get(name, 1.0)
    return number / factor


def _check_paths(done: Task) -> None:
    """Where results go must be there and writable before anything else happens."""
    if not done.options.results_path:
        raise ConfigError("--results_path is missing: the CSV file that receives one row per evaluated network")
    table = done.table
    if table.is_dir():
        raise ConfigError(f"--results_path: {table} is a folder, not a CSV file")
    if not table.parent.is_dir():
        raise ConfigError(
            f"--results_path: there is no folder {table.parent}", hint=f"make it: mkdir -p {table.parent}"
        )
    place = table if table.exists() else table.parent
    if not os.access(place, os.W_OK):
        raise ConfigError(f"--results_path: {place} cannot be written")
    if done.options.resume and not (done.folder / "study.db").exists() and not table.exists():
        raise ConfigError(f"--resume: there is neither a run in {done.folder} nor a file {table}")


_GONE = {name: "bootstrapnas_image_classification" for name in ("bootstrapnas_supernetwork", "metric_eval_fns")}
"""Keywords that belong to a super-network which is no longer supported."""


def from_keywords(keywords: Mapping[str, Any]) -> Options:
    """Options from the keywords of the Python interface; lists are copied.

    Raises:
        ConfigError: an unknown keyword.
    """
    known = [option.name for option in fields(Options)]
    for name in keywords:
        if name in _GONE:
            raise ConfigError(f"DyNAS(): {name} is not supported: {REFUSED[_GONE[name]]}")
        if name not in known:
            raise ConfigError(f"DyNAS() has no option {name!r}; {nearest(name, known)}")
    lists = ("optimization_metrics", "measurements")
    given: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in keywords.items()}
    return Options(**given)


__all__ = ["ALGORITHMS", "RUNTIMES", "SURROGATE", "TACTICS", "Options", "Task", "from_keywords", "task"]
