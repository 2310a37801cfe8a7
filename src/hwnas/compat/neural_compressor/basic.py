"""Basic NAS: every network is trained and evaluated, by functions of the user or as the YAML file describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hwnas.compat.neural_compressor import training
from hwnas.compat.neural_compressor.base import NASBase
from hwnas.compat.neural_compressor.choices import Architecture
from hwnas.compat.neural_compressor.config import Config, NASConfig, resolve
from hwnas.compat.neural_compressor.registry import nas_registry
from hwnas.errors import ConfigError


@nas_registry("Basic")
class BasicNAS(NASBase):
    """Tries networks of a search space by training and evaluating each.

    `agent()`, `agent.search()` and `agent.execute()` do the same. Set `agent.model_builder`, `agent.train_func` and
    `agent.eval_func`; what is missing of the two functions is made of the sections `train` and `evaluation` of the
    YAML file, for which `agent.train_dataloader` and `agent.eval_dataloader` may be set.

    Args:
        conf_fname_or_obj: as of `NAS`.
        search_space: comes before the one of the configuration.
        model_builder: architecture (a dict) -> model.
    """

    def __init__(
        self,
        conf_fname_or_obj: str | Path | NASConfig | Config,
        search_space: Mapping[str, Sequence[Any]] | None = None,
        model_builder: Callable[[Architecture], Any] | None = None,
    ) -> None:
        super().__init__(search_space, model_builder)
        self.config = resolve(conf_fname_or_obj)
        self._settings = self.config.validate()
        self.init_search_cfg(self.config)
        self._train_func: Callable[[Any], Any] | None = None
        self._eval_func: Callable[[Any], Any] | None = None
        self._train_dataloader: Iterable[Any] | None = None
        self._eval_dataloader: Iterable[Any] | None = None

    def _get_train_func(self) -> NoReturn:
        raise AttributeError("train_func can only be set: agent.train_func = function(model)")

    def _set_train_func(self, function: Callable[[Any], Any]) -> None:
        self._train_func = _callable(function, "train_func")

    def _get_eval_func(self) -> NoReturn:
        raise AttributeError("eval_func can only be set: agent.eval_func = function(model) that returns the metrics")

    def _set_eval_func(self, function: Callable[[Any], Any]) -> None:
        self._eval_func = _callable(function, "eval_func")

    train_func = property(_get_train_func, _set_train_func, doc="Trains a model; can only be set.")
    eval_func = property(_get_eval_func, _set_eval_func, doc="Gives a model's metrics; can only be set.")

    @property
    def train_dataloader(self) -> Iterable[Any] | None:
        """Batches of (inputs, labels) that the training of the YAML file uses instead of its own."""
        return self._train_dataloader

    @train_dataloader.setter
    def train_dataloader(self, dataloader: Iterable[Any]) -> None:
        self._train_dataloader = dataloader

    @property
    def eval_dataloader(self) -> Iterable[Any] | None:
        """Batches of (inputs, labels) that the evaluation of the YAML file uses instead of its own."""
        return self._eval_dataloader

    @eval_dataloader.setter
    def eval_dataloader(self, dataloader: Iterable[Any]) -> None:
        self._eval_dataloader = dataloader

    def estimate(self, model: Any) -> Any:
        """Trains a model and returns its metrics.

        Raises:
            ConfigError: it is not said how.
        """
        train, evaluate = self._functions()
        train(model)
        return evaluate(model)

    def execute(self, res_save_path: str | Path | None = None) -> list[Architecture]:
        """The search."""
        return self.search(res_save_path)

    def __call__(self, res_save_path: str | Path | None = None) -> list[Architecture]:
        """The search."""
        return self.search(res_save_path)

    def _check(self) -> None:
        super()._check()
        self._functions()

    def _functions(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """How a model is trained and evaluated: by the user's function if there is one."""
        settings = self._settings
        train, evaluate = self._train_func, self._eval_func
        if train is None:
            if settings.train is None:
                raise ConfigError(
                    "it is not said how a model is trained",
                    hint="agent.train_func = function(model), or a section `train` in the YAML file",
                )
            train = training.trainer(
                settings.train, self._train_dataloader, settings.tuning.random_seed, settings.device
            )
        if evaluate is None:
            if settings.evaluation is None:
                raise ConfigError(
                    "it is not said how a model is evaluated",
                    hint="agent.eval_func = function(model) that returns metrics, or a section `evaluation`",
                )
            evaluate = training.evaluator(settings.evaluation, self._eval_dataloader, settings.device)
        return train, evaluate


def _callable(function: Any, name: str) -> Any:
    if not callable(function):
        raise ConfigError(f"{name} is a function of a model, not {function!r}")
    return function


__all__ = ["BasicNAS"]
