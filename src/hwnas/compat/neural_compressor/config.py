"""The configuration: the YAML file's sections, both generations of `NASConfig`, and the check that all go through.

One class takes the calls of both generations. A configuration is read and completed when an agent is made from it, and
the agent keeps a copy: what is changed afterwards belongs to the next agent. Files are read, never written.

One default differs from the original: `num_evals` is 250, not 100,000.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from hwnas import parts
from hwnas.compat.neural_compressor.registry import NASMethods
from hwnas.config import read_yaml
from hwnas.errors import ConfigError, nearest


class MissingFileError(ConfigError, FileNotFoundError):
    """There is no such configuration file."""


class Section(dict[str, Any]):
    """A mapping whose keys are attributes too; a key that is not there reads as None, as in the original.

    Mappings inside become sections as well, and so does a list that holds nothing but one mapping. Only a search space
    stays what the user made it, since its names are the user's.
    """

    def __init__(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        super().__init__()
        self.update(values or {}, **more)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value if key == "search_space" else _nested(value))

    def update(self, *args: Any, **more: Any) -> None:
        """As of any dict."""
        for key, value in dict(*args, **more).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """As of any dict."""
        if key not in self:
            self[key] = default
        return self[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle ask for
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self.pop(name, None)

    def copy(self) -> Section:
        """Sections and lists are new, everything else is the same."""
        return Section({key: _copied(value) for key, value in self.items()})


def _nested(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]
    return Section(value) if isinstance(value, Mapping) and not isinstance(value, Section) else value


def _copied(value: Any) -> Any:
    if isinstance(value, Section):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


# --- the sections and their keys -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SearchSettings:
    """`nas.search`: what may vary, which searcher, what counts and how many networks are tried."""

    search_space: dict[str, list[Any] | tuple[Any, ...]] | None = None
    search_algorithm: str | None = None
    metrics: tuple[str, ...] | None = None
    higher_is_better: tuple[bool, ...] | None = None
    max_trials: int = 3
    seed: int = 42


@dataclass(frozen=True)
class DynasSettings:
    """`nas.dynas`: a super-network, and how it is searched; units and meaning as in `hwnas.compat.dynast`."""

    supernet: str | None = None
    metrics: tuple[str, ...] | None = None
    population: int = 50
    num_evals: int = 250
    results_csv_path: str | None = None
    dataset_path: str | None = None
    supernet_ckpt_path: str | None = None
    batch_size: int = 64
    eval_batch_size: int = 64
    num_workers: int | None = None
    distributed: bool = False
    test_fraction: float = 1.0


@dataclass(frozen=True)
class NasSettings:
    """`nas`: which approach, and its sections."""

    approach: str | None = None
    search: SearchSettings = field(default_factory=SearchSettings)
    dynas: DynasSettings | None = None


@dataclass(frozen=True)
class ModelSettings:
    """`model`: asked for by the original; nothing depends on it."""

    name: str = "nas"
    framework: str = "NA"


@dataclass(frozen=True)
class TuningSettings:
    """`tuning`: the seed of a training that the file describes."""

    random_seed: int = 1978


@dataclass(frozen=True)
class SgdSettings:
    """Stochastic gradient descent."""

    learning_rate: float = 0.001
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class AdamSettings:
    """Adam, and its decoupled form."""

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class OptimizerSettings:
    """`optimizer`: exactly one of these."""

    SGD: SgdSettings | None = None
    Adam: AdamSettings | None = None
    AdamW: AdamSettings | None = None


@dataclass(frozen=True)
class CrossEntropySettings:
    """The cross-entropy of logits and class numbers."""

    reduction: Literal["mean", "sum"] = "mean"


@dataclass(frozen=True)
class CriterionSettings:
    """`criterion`: the loss."""

    CrossEntropyLoss: CrossEntropySettings | None = None


@dataclass(frozen=True)
class DummySettings:
    """`dummy`: random inputs of a shape that includes the number of samples; with `label`, all of class 0."""

    shape: tuple[int, ...]
    low: float = -128.0
    high: float = 127.0
    label: bool = True


@dataclass(frozen=True)
class DatasetSettings:
    """`dataset`: where samples come from; data of your own are set as `agent.train_dataloader`."""

    dummy: DummySettings | None = None


@dataclass(frozen=True)
class DataloaderSettings:
    """`dataloader`: how samples become batches; `last_batch: discard` leaves an incomplete one out."""

    dataset: DatasetSettings
    batch_size: int = 1
    shuffle: bool = False
    last_batch: Literal["rollover", "discard"] = "rollover"


@dataclass(frozen=True)
class TrainSettings:
    """`train`: a plain training loop, for so many epochs of at most so many batches (None is all of them)."""

    start_epoch: int = 0
    end_epoch: int = 1
    iteration: int | None = None
    optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(SGD=SgdSettings()))
    criterion: CriterionSettings = field(default_factory=lambda: CriterionSettings(CrossEntropySettings()))
    dataloader: DataloaderSettings | None = None


@dataclass(frozen=True)
class MetricSettings:
    """`metric`: the share of samples whose class is among the k likeliest."""

    topk: int = 1


@dataclass(frozen=True)
class AccuracySettings:
    """`accuracy`: what is measured, on which data."""

    metric: MetricSettings = field(default_factory=MetricSettings)
    dataloader: DataloaderSettings | None = None


@dataclass(frozen=True)
class EvaluationSettings:
    """`evaluation`: how good a trained network is."""

    accuracy: AccuracySettings = field(default_factory=AccuracySettings)


@dataclass(frozen=True)
class Settings:
    """A whole configuration, checked and completed."""

    nas: NasSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    device: Literal["cpu", "gpu"] = "cpu"
    version: float | str | None = None
    train: TrainSettings | None = None
    evaluation: EvaluationSettings | None = None


ONE_OF = (OptimizerSettings, CriterionSettings, DatasetSettings)
"""Sections that hold exactly one of their keys."""


def _checked(schema: type[Any], raw: Any, path: str, more: Mapping[str, Iterable[str]]) -> Any:
    """A section as its dataclass; what is left out is filled in, in the section too.

    Args:
        more: by path: further keys that are allowed, and left alone.
    """
    hints = typing.get_type_hints(schema)
    if not isinstance(raw, Mapping):
        raise ConfigError(f"must be a mapping of {', '.join(hints)}, not {raw!r}", path=path)
    for key in raw:
        if key not in hints and key not in more.get(path, ()):
            raise ConfigError(f"unknown key; {nearest(key, hints)}", path=f"{path}.{key}".lstrip("."))
    if schema in ONE_OF and len(raw) != 1:
        raise ConfigError(f"must hold one of {', '.join(hints)}, not {len(raw)} of them", path=path)
    values = {}
    for item in fields(schema):
        here = f"{path}.{item.name}".lstrip(".")
        given, inner = raw.get(item.name), _section(hints[item.name])
        if inner is not None and (item.name in raw and (given is not None or schema in ONE_OF)):
            values[item.name] = _checked(inner, {} if given is None else given, here, more)
        elif given is not None:
            values[item.name] = parts.convert(given, hints[item.name], None, here)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError("is missing", path=here)
        elif isinstance(raw, Section) and item.default is not MISSING and schema not in ONE_OF:
            raw[item.name] = item.default
    return schema(**values)


def _section(hint: Any) -> type[Any] | None:
    """The dataclass that a type hint stands for, if any; looks through `X | None`."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if is_dataclass(option) and isinstance(option, type)), None)


# --- what users write in Python --------------------------------------------------------------------------------------

_SEARCH = tuple(item.name for item in fields(SearchSettings))


class NASConfig:
    """What to search and how; takes the calls of both generations of the original.

    `config.nas.search.seed`, `config.search.seed` and `config.seed` are the same thing, and so with every field of the
    search. The section of an approach is an attribute: `config.dynas.population = 50`.

    Args:
        approach: the name of a registered approach, in any case; None is "basic".
        search_space: name -> list of values.
        search_algorithm: "grid", "random", "bo" (the default) or an algorithm of hwnas; for DyNAS one of DyNAS-T's.
        metrics: the names of what the evaluation returns, if that is to be checked.
        higher_is_better: for each of them; by default their names tell.
        max_trials: distinct networks to try.
        seed: of the search.
        dynas: the settings of DyNAS.
    """

    usr_cfg: Section

    def __init__(
        self,
        approach: str | None = None,
        search_space: Mapping[str, Sequence[Any]] | None = None,
        search_algorithm: str | None = None,
        metrics: Sequence[str] | None = None,
        higher_is_better: Sequence[bool] | None = None,
        max_trials: int = 3,
        seed: int = 42,
        dynas: DyNASConfig | Mapping[str, Any] | None = None,
    ) -> None:
        search = Section(search_space=search_space, search_algorithm=search_algorithm)
        search.update(metrics=metrics or None, higher_is_better=higher_is_better or None)
        search.update(max_trials=max_trials, seed=seed)
        nas = Section(approach=approach, search=search)
        if dynas is not None:
            nas["dynas"] = dynas.config if isinstance(dynas, DyNASConfig) else dynas
        self._keep(Section(model={"name": "nas", "framework": "NA"}, nas=nas))
        _approach(approach)

    @classmethod
    def read(cls, path: str | Path) -> NASConfig:
        """The configuration in a YAML file, which is left as it is.

        Raises:
            MissingFileError: there is no such file; it is a FileNotFoundError too.
            ConfigError: it is no YAML, or has no `nas` section.
        """
        raw = _load(Path(path))
        if not isinstance(raw.get("nas"), Mapping):
            raise ConfigError(f"{path} has no section `nas`", hint="it begins with:\nnas:\n  approach: basic")
        config = cls()
        config._keep(Section(raw))
        return config

    def _keep(self, usr_cfg: Section) -> None:
        object.__setattr__(self, "usr_cfg", usr_cfg)

    @property
    def nas(self) -> Any:
        """The section `nas`."""
        return self.usr_cfg.nas

    @property
    def search(self) -> Any:
        """The section `nas.search`."""
        self._complete()
        return self.nas.search

    def _complete(self) -> None:
        """Sections that the user may fill are there: the search's, and that of the approach, in small letters."""
        approach = _approach(self.nas.approach)
        for key in [key for key in self.nas if key.lower() == approach != key]:
            self.nas[approach] = self.nas.pop(key)
        for name in {"search", approach} - {"basic"}:
            if self.nas.get(name) is None:
                self.nas[name] = Section()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "usr_cfg":
            raise AttributeError(name)
        if name == "approach":
            return self.nas.approach
        if name in _SEARCH:
            return self.search.get(name)
        self._complete()
        section = name.lower()
        if section in self.nas or section == "dynas":
            return self.nas.get(section)
        known = ["approach", "nas", "search", *_SEARCH, _approach(self.nas.approach)]
        raise AttributeError(f"a NASConfig has no {name!r}; {nearest(name, known)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Settings.__dataclass_fields__:
            self.usr_cfg[name] = value
        elif name == "approach":
            self.nas.approach = value
        elif name == "search":
            self.nas.search = value
        elif name in _SEARCH:
            self.search[name] = value
        elif name == "usr_cfg":
            self._keep(value if isinstance(value, Section) else Section(value))
        elif name.lower() in (_approach(self.nas.approach), "dynas"):
            self.nas[name.lower()] = value.config if isinstance(value, DyNASConfig) else value
        else:
            known = ["approach", "nas", "search", *_SEARCH, _approach(self.nas.approach), "dynas", "usr_cfg"]
            raise ConfigError(f"a NASConfig has no {name!r}; {nearest(name, known)}")

    def validate(self) -> Settings:
        """Checks everything and fills in what is left out, in the very sections that the user holds.

        Raises:
            ConfigError: an unknown key, a wrong type or a value that is not allowed.
        """
        if not isinstance(self.nas, Section):
            raise ConfigError(f"must be a mapping, not {self.nas!r}", path="nas")
        self._complete()
        custom = {_approach(self.nas.approach), *NASMethods} - {"dynas"}
        settings: Settings = _checked(Settings, self.usr_cfg, "", {"nas": custom})
        nas = settings.nas
        if nas.search.max_trials < 1:
            raise ConfigError(f"must be 1 or more, not {nas.search.max_trials}", path="nas.search.max_trials")
        if nas.search.seed < 0:
            raise ConfigError(f"must be 0 or more, not {nas.search.seed}", path="nas.search.seed")
        return settings

    def copy(self) -> NASConfig:
        """A configuration of its own, equal to this one."""
        twin = NASConfig()
        twin._keep(self.usr_cfg.copy())
        return twin


class DyNASConfig:
    """The settings of DyNAS, for `NASConfig(approach="dynas", dynas=DyNASConfig(...))`; see `DynasSettings`."""

    def __init__(
        self,
        supernet: str | None = None,
        metrics: Sequence[str] | None = None,
        population: int = 50,
        num_evals: int = 250,
        results_csv_path: str | None = None,
        dataset_path: str | None = None,
        batch_size: int = 64,
        supernet_ckpt_path: str | None = None,
        eval_batch_size: int = 64,
        num_workers: int | None = None,
        distributed: bool = False,
        test_fraction: float = 1.0,
    ) -> None:
        self.config = Section(supernet=supernet, metrics=metrics, population=population, num_evals=num_evals)
        self.config.update(results_csv_path=results_csv_path, dataset_path=dataset_path, batch_size=batch_size)
        self.config.update(supernet_ckpt_path=supernet_ckpt_path, eval_batch_size=eval_batch_size)
        self.config.update(num_workers=num_workers, distributed=distributed, test_fraction=test_fraction)


@dataclass
class Config:
    """The second generation's wrapper: `NAS(Config(nas=NASConfig(...)))`; `NAS(NASConfig(...))` does the same."""

    nas: NASConfig


def resolve(conf_fname_or_obj: str | Path | NASConfig | Config) -> NASConfig:
    """A configuration of its own from whatever users give: a YAML file's path, a `NASConfig` or a `Config`.

    Raises:
        ConfigError: something else, or anything in it that is not allowed.
    """
    given = conf_fname_or_obj.nas if isinstance(conf_fname_or_obj, Config) else conf_fname_or_obj
    if isinstance(given, str | Path):
        config = NASConfig.read(given)
    elif isinstance(given, NASConfig):
        given.validate()
        config = given.copy()
    else:
        raise ConfigError(f"takes the path of a YAML file, a NASConfig or a Config(nas=NASConfig(...)), not {given!r}")
    config.validate()
    return config


def _approach(name: Any) -> str:
    if name is None:
        return "basic"
    if not isinstance(name, str) or not name:
        raise ConfigError(f"must be a name or None, not {name!r}", path="nas.approach")
    return name.lower()


def _load(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path, "`nas: …`")
    except ConfigError as error:
        if path.exists():
            raise
        raise MissingFileError(error.args[0]) from None


__all__ = [
    "Config",
    "DyNASConfig",
    "MissingFileError",
    "NASConfig",
    "Section",
    "Settings",
    "resolve",
]
