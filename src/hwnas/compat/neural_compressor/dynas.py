"""DyNAS: a super-network searched by LINAS, through `hwnas.compat.dynast`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas import pareto
from hwnas.compat.neural_compressor.base import NASBase
from hwnas.compat.neural_compressor.choices import Architecture
from hwnas.compat.neural_compressor.config import Config, DynasSettings, NASConfig, resolve
from hwnas.compat.neural_compressor.estimators import Count, Learnt, learnt
from hwnas.compat.neural_compressor.registry import nas_registry
from hwnas.compat.neural_compressor.results import folder_of
from hwnas.errors import ConfigError, DataError, HwnasError, MetricError

if TYPE_CHECKING:
    from hwnas.compat.dynast.api import Tactic
    from hwnas.compat.dynast.table import Content
    from hwnas.plan import Plan
    from hwnas.study import Study

LOG = logging.getLogger(__name__)

ALGORITHMS = {1: "ga", 2: "nsga2", 3: "unsga3"}
"""The inner search where the user names none, by the number of metrics."""
KEYS = {
    "optimization_metrics": "nas.dynas.metrics",
    "results_path": "nas.dynas.results_csv_path",
    "dataloader_workers": "nas.dynas.num_workers",
    "search_algo": "nas.search.search_algorithm",
    "seed": "nas.search.seed",
    **{item.name: f"nas.dynas.{item.name}" for item in fields(DynasSettings)},
}
"""What DyNAS-T's options are called in this configuration."""


@nas_registry("DyNAS")
class DyNAS(NASBase):
    """Finds the best sub-networks of a super-network with few evaluations.

    The search continues from the file of results that is there: networks in it are known, and count as a warm start.

    Args:
        conf_fname_or_obj: as of `NAS`; the section `nas.dynas` names the super-network and what counts.

    Attributes:
        acc_predictor, macs_predictor, latency_predictor: what the `create_…` methods made; they have
            `predict(individuals)`.

    Raises:
        ConfigError: no super-network or no metric is named, or one that is not known.
    """

    def __init__(self, conf_fname_or_obj: str | Path | NASConfig | Config) -> None:
        from hwnas.compat.dynast.metrics import chosen
        from hwnas.compat.dynast.supernets import find

        super().__init__()
        self.config = resolve(conf_fname_or_obj)
        settings = self.config.validate().nas
        self.search_cfg, self.seed = settings.search, settings.search.seed
        self.dynas = settings.dynas or DynasSettings()
        if self.dynas.supernet is None:
            hint = "for example: supernet: ofa_mbv3_d234_e346_k357_w1.0"
            raise ConfigError("is missing: which super-network to search", path="nas.dynas.supernet", hint=hint)
        if not self.dynas.metrics:
            raise ConfigError("is missing: what counts", path="nas.dynas.metrics", hint="for example: [acc, macs]")
        self.supernet = find(self.dynas.supernet)
        self.metrics, notes = chosen(self.dynas.metrics, self.supernet, "nas.dynas.metrics")
        for note in notes:
            LOG.info(note)
        self.acc_predictor: Learnt | None = None
        self.macs_predictor: Count | None = None
        self.latency_predictor: Learnt | None = None
        self._prepared: Plan | None = None

    def init_for_search(self, res_save_path: str | Path | None = None) -> Tactic:
        """Checks everything that a search needs; loads and writes nothing but the folder of the results.

        Returns:
            The search of `hwnas.compat.dynast`.

        Raises:
            ConfigError: whatever is missing or does not fit.
        """
        from hwnas.compat.dynast import DyNAS as make

        dynas, metrics = self.dynas, self.metrics or []
        path = dynas.results_csv_path
        if path is None:
            folder = folder_of(res_save_path)
            folder.mkdir(parents=True, exist_ok=True)
            path = str(folder / "search_results.csv")
        with _own_words():
            tactic = make(
                supernet=self.supernet.name,
                results_path=path,
                optimization_metrics=metrics,
                measurements=metrics,
                search_tactic="linas",
                search_algo=self.search_cfg.search_algorithm or ALGORITHMS.get(len(metrics), "unsga3"),
                population=dynas.population,
                num_evals=dynas.num_evals,
                seed=self.seed,
                dataset_path=dynas.dataset_path,
                supernet_ckpt_path=dynas.supernet_ckpt_path,
                batch_size=dynas.batch_size,
                eval_batch_size=dynas.eval_batch_size,
                test_fraction=dynas.test_fraction,
                dataloader_workers=dynas.num_workers,
                distributed=dynas.distributed,
            )
        for note in tactic.notes:
            LOG.warning(_translated(note))
        return tactic

    def search(self, res_save_path: str | Path | None = None) -> list[Architecture]:
        """Searches, or goes on with the search whose results are there.

        Args:
            res_save_path: where the results go if `results_csv_path` is not set; None is the working directory.

        Returns:
            Evaluated networks, gene -> list of values: the Pareto front, filled up with the next ranks to `population`
            networks; of a larger front the widest spread part. Of a distributed search only the first rank has them.
        """
        from hwnas.compat.dynast import search

        task = self.init_for_search(res_save_path).task
        if task.launch.rank:
            return []
        with _own_words():
            study = search.run(task, command="NAS(…).search()")
        self.best_model_archs = search.configs(task, _best(study, self.dynas.population))
        return self.best_model_archs

    def estimate(self, individual: Sequence[float]) -> dict[str, float]:
        """Evaluates one sub-network.

        Args:
            individual: DyNAS-T's vector: one index per entry of the genes, gene after gene.

        Returns:
            By metric, in the units of the result file: milliseconds, per cent.

        Raises:
            SpaceError: no such sub-network.
            MetricError: it cannot be judged.
        """
        from hwnas.compat.dynast.metrics import to_file
        from hwnas.workers import Job

        code = self.supernet.from_vector(individual)
        plan = self._plan()
        values = {}
        for goal in plan.goals:
            (outcome,) = plan.bench.work(Job(goal.name, goal.metric, (code,)))
            if outcome.value is None:
                raise MetricError(f"{goal.name} of {list(individual)} cannot be judged: {outcome.error}")
            values[goal.name] = to_file(goal, outcome.value)
        return values

    def create_acc_predictor(self) -> None:
        """Learns the accuracy metric from the file of results; None where it is not among the metrics.

        Raises:
            DataError: too few results to learn from.
        """
        from hwnas.compat.dynast.metrics import quality_of

        self.acc_predictor = self._learnt(quality_of(self.supernet))

    def create_macs_predictor(self) -> None:
        """MACs are counted, not learnt: this predictor is exact. None where they are not among the metrics."""
        self.macs_predictor = Count(self.supernet, "macs") if "macs" in (self.metrics or []) else None

    def create_latency_predictor(self) -> None:
        """Learns the latency from the file of results; None where it is not among the metrics.

        Raises:
            DataError: too few results to learn from.
        """
        self.latency_predictor = self._learnt("latency")

    def _learnt(self, metric: str) -> Learnt | None:
        if metric not in (self.metrics or []):
            return None
        values = {code: known[metric] for code, known in self._content().values.items() if metric in known}
        return learnt(self.supernet, metric, values, self.seed)

    def _content(self) -> Content:
        from hwnas.compat.dynast.table import read

        task = self.init_for_search().task
        if not task.table.exists():
            raise DataError(f"there are no results in {task.table} to learn from", hint="run agent.search() first")
        return read(task.table, task.supernet, task.classes)

    def _plan(self) -> Plan:
        """What a search would judge with, ready to judge."""
        if self._prepared is None:
            from hwnas import config, experiment
            from hwnas.progress import silent

            task = self.init_for_search().task
            self._prepared = experiment.prepare(config.read(task.raw), task.folder, estimate=False)
            parts: list[Any] = [self._prepared.bench.given.get("weights")]
            parts += [self._prepared.bench.metric(goal.metric) for goal in self._prepared.goals]
            for part in parts:
                if hasattr(part, "prepare"):
                    part.prepare(silent)
        return self._prepared


def _best(study: Study, count: int) -> list[tuple[int, ...]]:
    """The front and the next ranks, so many networks; a front that is larger is thinned where it is densest."""
    from hwnas.compat.dynast.search import best

    trials = best(study, count)
    if len(trials) > count:
        losses = np.array([[goal.loss(t.values[goal.name]) for goal in study.goals if goal.objective] for t in trials])
        kept = np.argsort(-pareto.crowding(losses), kind="stable")[:count]
        trials = [trials[index] for index in sorted(kept)]
    return [trial.code for trial in trials]


@contextmanager
def _own_words() -> Iterator[None]:
    """Errors that speak of DyNAS-T's options speak of this configuration's keys."""
    try:
        yield
    except HwnasError as error:
        error.args = tuple(_translated(str(part)) for part in error.args)
        error.hint = _translated(error.hint)
        raise


def _translated(message: str) -> str:
    keys: Mapping[str, str] = KEYS
    return re.sub(r"--(\w+)", lambda match: keys.get(match[1], match[0]), message)


__all__ = ["DyNAS"]
