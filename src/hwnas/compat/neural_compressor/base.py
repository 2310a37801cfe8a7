"""The search that every approach shares: propose, build, judge, write down, tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.compat.neural_compressor import objectives, results
from hwnas.compat.neural_compressor.choices import Architecture, Choices, Key
from hwnas.compat.neural_compressor.config import Config, NASConfig, SearchSettings, Section
from hwnas.compat.neural_compressor.objectives import Metrics
from hwnas.compat.neural_compressor.results import Result
from hwnas.compat.neural_compressor.searchers import searcher_of
from hwnas.errors import ConfigError, Interrupted, RunMismatchError, SearchError

LOG = logging.getLogger(__name__)
REPEATS = 100
"""So many proposals in a row that were tried before end a search."""
HOPELESS = 10
"""So many failures before the first success end a search."""
OFTEN, RARELY = 100, 20
"""A text file follows each of the first 100 trials and then every 20th: each holds all results so far."""


class NASBase:
    """What an approach derives from: it adds `estimate(model)`, and `@nas_registry("its name")` above the class.

    A search tries `max_trials` distinct networks. A network that was tried before is known before anything is built;
    it costs no trial, and the searcher hears its value again. A network that cannot be built or judged is recorded
    with the reason, and the search goes on. Results of an earlier search in the same folder are used again, so that a
    search that was stopped goes on where it was: the same seed proposes the same networks, and they are known.

    Which way is better follows from the names of the metrics (accuracy is to be high; latency, params, macs, size, loss
    and energy are to be low), a single number without a name counts as an accuracy, and where a name does not tell,
    `higher_is_better` must.

    A searcher of the user's own hears one number: the metrics turned so that higher is better, each divided by the size
    of its first value, summed up.

    Args:
        search_space: name -> list of values.
        model_builder: makes a model of an architecture, which is a dict name -> value.

    Attributes:
        search_results: what this search found, by the values of the architecture in the order of the sorted names.
        best_model_archs: the Pareto front of the last search.
        failures: why networks failed, by the same keys.
    """

    def __init__(
        self,
        search_space: Mapping[str, Sequence[Any]] | None = None,
        model_builder: Callable[[Architecture], Any] | None = None,
    ) -> None:
        self.search_cfg = SearchSettings()
        self.seed = self.search_cfg.seed
        self.max_trials = self.search_cfg.max_trials
        self.metrics: list[str] | None = None
        self.higher_is_better: list[bool] | None = None
        self.search_results: dict[Key, Metrics] = {}
        self.model_paras_num: dict[Key, int | None] = {}
        self.failures: dict[Key, str] = {}
        self.best_model_archs: list[Architecture] | None = None
        self._loaded: dict[Key, Result] = {}
        self._known: dict[Key, Result] = {}
        self._choices: Choices | None = None
        self._own_searcher: Any = None
        self._named_searcher: Any = None
        self._configured = False
        self._search_space: Mapping[str, Sequence[Any]] | None = None
        self._model_builder: Callable[[Architecture], Any] | None = None
        if search_space is not None:
            self.search_space = search_space
        if model_builder is not None:
            self.model_builder = model_builder

    # --- what users set ---------------------------------------------------------------------------------------------

    @property
    def search_space(self) -> Mapping[str, Sequence[Any]] | None:
        """What may vary; setting it renews the names, and the searcher unless it is the user's own."""
        return self._search_space

    @search_space.setter
    def search_space(self, search_space: Mapping[str, Sequence[Any]]) -> None:
        self._choices = Choices(search_space)
        self._search_space = search_space
        if self._configured:
            self._renew_searcher()

    @property
    def search_space_keys(self) -> list[str]:
        """The names of the search space, sorted."""
        return self._space().names

    @property
    def search_algorithm(self) -> Any:
        """The searcher: the user's own, or the one that the configuration names; None before there is a space."""
        return self._named_searcher if self._own_searcher is None else self._own_searcher

    @search_algorithm.setter
    def search_algorithm(self, search_algorithm: Any) -> None:
        missing = [verb for verb in ("suggest", "get_feedback") if not callable(getattr(search_algorithm, verb, None))]
        if missing:
            raise ConfigError(
                f"a searcher is an object with suggest() and get_feedback(value); {search_algorithm!r} lacks "
                f"{' and '.join(missing)}",
                hint='a built-in one is named in the configuration: search_algorithm="grid"',
            )
        self._own_searcher = search_algorithm

    @property
    def model_builder(self) -> Callable[[Architecture], Any] | None:
        """Makes a model of an architecture."""
        return self._model_builder

    @model_builder.setter
    def model_builder(self, model_builder: Callable[[Architecture], Any]) -> None:
        if not callable(model_builder):
            raise ConfigError(f"model_builder is a function: architecture (a dict) -> model, not {model_builder!r}")
        self._model_builder = model_builder

    def init_search_cfg(self, cfg: NASConfig | Config | Mapping[str, Any]) -> None:
        """Takes what a configuration says about the search; a search space given to the constructor comes first.

        Args:
            cfg: a configuration, or its section `nas`.

        Raises:
            ConfigError: anything in it that is not allowed.
        """
        config = cfg.nas if isinstance(cfg, Config) else cfg
        if not isinstance(config, NASConfig):
            section, config = config, NASConfig()
            config.usr_cfg = Section(nas=section)
        self.search_cfg = config.validate().nas.search
        self.seed, self.max_trials = self.search_cfg.seed, self.search_cfg.max_trials
        self.metrics = list(self.search_cfg.metrics) if self.search_cfg.metrics else None
        self.higher_is_better = list(self.search_cfg.higher_is_better) if self.search_cfg.higher_is_better else None
        self._configured = True
        if self._search_space is not None:
            if self.search_cfg.search_space not in (None, self._search_space):
                LOG.warning("the search space that was given to the constructor replaces the one of the configuration")
            self._renew_searcher()
        elif self.search_cfg.search_space is not None:
            self.search_space = self.search_cfg.search_space

    # --- the search -------------------------------------------------------------------------------------------------

    def estimate(self, model: Any) -> Any:
        """Judges a model: a number, a list of numbers, or numbers by name. Every approach has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no estimate(model)")

    def select_model_arch(self) -> Architecture:
        """The network that the searcher proposes next, its names sorted.

        Raises:
            ConfigError: there is no searcher.
            SpaceError: the proposal does not have the names of the space.
        """
        if self.search_algorithm is None:
            raise ConfigError(
                "there is no searcher yet",
                hint="set agent.search_space, and agent.search_algorithm or search_algorithm in the configuration",
            )
        return self._space().checked(self.search_algorithm.suggest())

    def search(self, res_save_path: str | Path | None = None) -> list[Architecture]:
        """Tries networks until there are `max_trials`, or none is left, and returns the best.

        Args:
            res_save_path: where the folder `NASResults` lies or is to lie; None is the working directory.

        Returns:
            The Pareto front, earlier results of the same folder and space included.

        Raises:
            ConfigError: something is missing or contradicts itself; told before anything is built, as far as it can be.
            SearchError: no network can be judged.
            RecordError: the folder cannot be used.
        """
        self._check()
        if self.metrics is not None:
            objectives.directions(self.metrics, len(self.metrics), self.higher_is_better)
        if self._own_searcher is None:
            self._renew_searcher()  # so that a second search() is the same search, and its networks are known
        folder = results.folder_of(res_save_path)
        with results.Record(folder) as record:
            self.load_search_results(folder)
            self._run(record)
            self._merge_loaded()
            self.best_model_archs = self.find_best_model_archs()
            self.dump_search_results(folder / "Final_results.txt")
            self.dump_search_results(folder / results.TABLE)
        return self.best_model_archs

    def _check(self) -> None:
        """Raises a ConfigError for whatever a search needs and does not have."""
        name = type(self).__name__
        if type(self).estimate is NASBase.estimate:
            raise ConfigError(f"{name} cannot judge a model: it needs a method estimate(self, model)")
        if self._model_builder is None:
            raise ConfigError("there is no model_builder", hint="agent.model_builder = function: architecture -> model")
        self._space()
        if not isinstance(self.max_trials, int) or self.max_trials < 1:
            raise ConfigError(f"max_trials must be 1 or more, not {self.max_trials!r}")

    def _run(self, record: results.Record) -> None:
        """The loop; every trial is in the record before the searcher hears of it."""
        choices, scale = self._space(), objectives.Scale()
        self.search_results, self.model_paras_num, self.failures, self._known = {}, {}, {}, {}
        inside = repeats = 0
        while len(self.search_results) + len(self.failures) < self.max_trials:
            if inside >= choices.size:
                LOG.warning("all %d networks of the search space are tried; the search ends early", choices.size)
                break
            if repeats >= REPEATS:
                LOG.warning("the searcher proposed %d known networks in a row; the search ends early", repeats)
                break
            try:
                arch = self.select_model_arch()
            except (SearchError, StopIteration) as error:
                LOG.warning("the searcher has nothing more to propose; the search ends early (%s)", error)
                break
            key = choices.key(arch)
            if key in self.search_results or key in self.failures:
                repeats += 1
            else:
                repeats, inside = 0, inside + (arch in choices)
                self._try(len(self.search_results) + len(self.failures) + 1, arch, record)
            self._tell(key, scale)
            if not self.search_results and len(self.failures) >= HOPELESS:
                break
        if not self.search_results:
            first = next(iter(self.failures.values()), "the searcher proposed none")
            raise SearchError(
                f"none of {len(self.failures)} networks could be judged; the first failed with: {first}",
                hint="all reasons are in agent.failures; what fails is tried again by the next search",
            )

    def _try(self, trial: int, arch: Architecture, record: results.Record) -> None:
        """One network: known from the record, or built and judged."""
        key = self._space().key(arch)
        result = self._loaded.get(key)
        if result is None:
            result = self._judged(trial, arch)
            if result.metrics is not None:
                result = replace(result, metrics=self._agreed(result.metrics))
            record.append(result)
        self._enter(result)
        if result.metrics is None:
            LOG.warning("trial %d of %d: %s failed: %s", trial, self.max_trials, arch, result.error)
            return
        self.metrics_conversion(result.metrics)  # tells of an unknown direction before the next network is trained
        LOG.info("trial %d of %d: %s: %s", trial, self.max_trials, arch, result.metrics)
        if trial <= OFTEN or trial % RARELY == 0:
            self.dump_search_results(record.folder / f"Trial_{trial}_results.txt")

    def _judged(self, trial: int, arch: Architecture) -> Result:
        start = time.perf_counter()
        parameters = metrics = None
        error = ""
        try:
            assert self._model_builder is not None  # _check has seen to it
            model = self._model_builder(dict(arch))
            parameters = self.count_model_parameters(model)
            metrics = objectives.plain(self.estimate(model))
        except Interrupted:
            raise
        except Exception as reason:  # of the user's code: one network must not cost the search
            LOG.debug("trial %d failed", trial, exc_info=True)
            error = f"{type(reason).__name__}: {reason}"
        seconds = time.perf_counter() - start
        return Result(trial, arch, metrics, parameters, seconds, "failed" if error else "done", error)

    def _enter(self, result: Result) -> None:
        key = self._space().key(result.arch)
        self._known[key] = result
        self.model_paras_num[key] = result.parameters
        if result.metrics is None:
            self.failures[key] = result.error
        else:
            self.search_results[key] = result.metrics

    def _tell(self, key: Key, scale: objectives.Scale) -> None:
        """Lets the searcher hear what came out, in the way that it understands."""
        searcher = self.search_algorithm
        if key in self.failures:
            if callable(getattr(searcher, "get_failure", None)):
                searcher.get_failure()
            return
        values = self.metrics_conversion(self.search_results[key])
        searcher.get_feedback(values if getattr(searcher, "several", False) else scale(values))

    def _merge_loaded(self) -> None:
        """Adds the earlier results of this space that the search did not come by."""
        left = [result for key, result in self._loaded.items() if key not in self.search_results]
        for result in left:
            if result.arch in self._space():
                self._enter(result)

    # --- results ----------------------------------------------------------------------------------------------------

    def count_model_parameters(self, model: Any) -> int | None:
        """The parameters of a torch module, or of a wrapper that holds one as `model`; None for anything else."""
        inner: Any = model if hasattr(model, "parameters") else getattr(model, "model", None)
        try:
            return sum(int(parameter.numel()) for parameter in inner.parameters())
        except (AttributeError, TypeError):
            return None

    def metrics_conversion(self, metrics: Any) -> list[float]:
        """Metrics as a list in which higher is better everywhere.

        Raises:
            ConfigError: the names are not those of the earlier results, or it is not known which way is better.
        """
        values = objectives.values_of(self._agreed(objectives.plain(metrics)))
        higher = objectives.directions(self.metrics, len(values), self.higher_is_better)
        return [value if high else -value for value, high in zip(values, higher, strict=True)]

    def find_best_model_archs(self) -> list[Architecture]:
        """The Pareto front of all results; of networks with equal metrics the first one.

        Raises:
            SearchError: there are no results yet.
        """
        return [self._space().arch(key) for key in self._front()]

    def load_search_results(self, path: str | Path) -> dict[Key, Metrics]:
        """Reads earlier results, for the next search to use instead of building their networks again.

        Args:
            path: where `NASResults` lies, that folder, or a record (`results.jsonl`).

        Returns:
            By the values of the architecture; failed networks are left out, and will be tried again.

        Raises:
            RecordError: an .npy file, which is a pickle and could run any code.
            RunMismatchError: results of another search space, or with other metrics.
        """
        place = Path(path)
        place = place if place.suffix in (".jsonl", ".npy") else results.folder_of(place)
        self._loaded = {}
        found: dict[Key, Metrics] = {}
        for result in results.read(place, self._space()):
            if result.metrics is None:
                continue
            key = self._space().key(result.arch)
            try:
                found[key] = self._agreed(objectives.plain(result.metrics))
            except ConfigError as error:
                hint = "give another res_save_path, or move the folder away"
                raise RunMismatchError(f"{place} was made with other metrics: {error}", hint=hint) from None
            self._loaded[key] = replace(result, metrics=found[key])
        if found:
            LOG.warning("%d earlier results in %s are used again; move it away to start afresh", len(found), place)
        return found

    def dump_search_results(self, path: str | Path) -> None:
        """Writes the results: as text (.txt), as a table (.csv), as a record (.jsonl), or all three into a folder."""
        place = Path(path)
        everything = self._everything()
        if place.suffix == ".jsonl":
            results.write(place, everything)
        elif place.suffix == ".csv":
            results.put(place, results.table(everything))
        elif place.suffix == ".txt":
            best, space = set(self._front()), self._space()
            done = [result for result in everything if result.metrics is not None]
            results.put(place, results.text(done, [result for result in done if space.key(result.arch) in best]))
        elif place.suffix:
            raise ConfigError(f"results are written to .txt, .csv or .jsonl files or into a folder, not to {place}")
        else:
            folder = results.folder_of(place)
            folder.mkdir(parents=True, exist_ok=True)
            for name in (results.RECORD, results.TABLE, "Final_results.txt"):
                self.dump_search_results(folder / name)

    def params_vec2params_dict(self, paras_vec: Sequence[Any]) -> Architecture:
        """Values in the order of the sorted names as an architecture."""
        names = self.search_space_keys
        if len(paras_vec) != len(names):
            raise ConfigError(f"an architecture has {len(names)} values, for {names}, not {len(paras_vec)}")
        return dict(zip(names, paras_vec, strict=True))

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _space(self) -> Choices:
        if self._choices is None:
            raise ConfigError(
                "there is no search space",
                hint='agent.search_space = {"channels": [16, 32]}, or nas.search.search_space in the configuration',
            )
        return self._choices

    def _renew_searcher(self) -> None:
        assert self._search_space is not None
        self._named_searcher = searcher_of(self.search_cfg.search_algorithm, self._search_space, self.seed)

    def _front(self) -> list[Key]:
        """The keys of the Pareto front."""
        if not self.search_results:
            raise SearchError("there are no results yet; run search() first")
        keys = list(self.search_results)
        values = [self.metrics_conversion(self.search_results[key]) for key in keys]
        return [keys[index] for index in objectives.find_pareto_front(values)]

    def _everything(self) -> list[Result]:
        """All results and failures in the order of trying, numbered anew: earlier searches come last."""
        keys = list(dict.fromkeys([*self._known, *self.search_results]))
        found = []
        for trial, key in enumerate(keys, 1):
            known = self._known.get(key) or Result(trial, self._space().arch(key), None)
            metrics = objectives.plain(self.search_results[key]) if key in self.search_results else None
            found.append(replace(known, trial=trial, metrics=metrics))
        return found

    def _agreed(self, metrics: Metrics) -> Metrics:
        """Metrics in the order of `self.metrics`, which the first result decides if the user does not.

        Raises:
            ConfigError: other names, or another number of metrics.
        """
        names, count = objectives.names_of(metrics), len(objectives.values_of(metrics))
        if self.metrics is None and names is not None:
            self.metrics = names
        if self.metrics is None:
            first = next(iter(self.search_results.values()), metrics)
            wanted, fits = f"{len(objectives.values_of(first))} numbers", count == len(objectives.values_of(first))
        else:
            wanted, fits = (
                str(self.metrics),
                count == len(self.metrics) and set(names or self.metrics) == set(self.metrics),
            )
        if not fits:
            raise ConfigError(f"an evaluation returned {metrics!r}, where {wanted} is wanted as for all others")
        if isinstance(metrics, dict) and self.metrics is not None:
            return {name: metrics[name] for name in self.metrics}
        return metrics


__all__ = ["NASBase"]
