"""DyNAS-T's Python interface: `DyNAS(...)` makes a search object with `search()` and `get_best_configs()`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from hwnas.compat.dynast.metrics import MEASURES, chosen
from hwnas.compat.dynast.options import Options, Task, from_keywords, task
from hwnas.errors import ConfigError
from hwnas.progress import Watch, silent


def DyNAS(
    supernet: str,
    results_path: str,
    optimization_metrics: Sequence[str],
    measurements: Sequence[str],
    search_tactic: str = "linas",
    num_evals: int = 250,
    dataset_path: str | None = None,
    *,
    watch: Watch = silent,
    **more: Any,
) -> Tactic:
    """A search, checked and ready; nothing is loaded, written or logged before `search()`.

    Args:
        watch: is told of progress and of what is worth knowing; see `hwnas.progress`.
        more: any other option of the command `dynast`, such as population, search_algo, seed, surrogate or limits.

    Raises:
        ConfigError: an option that is unknown or not allowed; InvalidSupernetException and InvalidMetricsException
            are such.
    """
    given = {
        "supernet": supernet,
        "results_path": str(results_path),
        "optimization_metrics": optimization_metrics,
        "measurements": measurements,
        "search_tactic": search_tactic,
        "num_evals": num_evals,
        "dataset_path": None if dataset_path is None else str(dataset_path),
        **more,
    }
    return Tactic(from_keywords(given), watch)


class Tactic:
    """One search: it runs once, goes on where it was left, and knows its results."""

    def __init__(self, options: Options, watch: Watch = silent) -> None:
        self.options, self.watch = options, watch
        self.task: Task = task(options)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about the options: old names, repeated metrics, options without effect."""
        return self.task.notes

    def search(self) -> list[dict[str, Any]]:
        """Searches; returns evaluated networks, each as a dict of lists.

        Returns:
            The Pareto set, all of it and best first in the first objective; where that is smaller than `population`, it
            is filled up with the next ranks. A rank of a distributed search other than 0 has none.
        """
        from hwnas.compat.dynast import search

        if self.task.launch.rank:
            return []
        study = search.run(self.task, self.watch, "DyNAS(...).search()")
        return search.configs(self.task, [trial.code for trial in search.best(study, self.options.population)])

    def get_best_configs(self, sort_by: str | None = None, ascending: bool = False, limit: int | None = None) -> Any:
        """Evaluated networks from the CSV file: a DataFrame where pandas is installed, else a list of dicts.

        Without `sort_by` they are the Pareto set, filled up with the next ranks; with it, the first ones by a metric.

        Args:
            sort_by: a metric or its column in the file.
            ascending: smallest first.
            limit: so many at most; by default `population`.

        Raises:
            ConfigError: nothing of that name, or no file yet.
        """
        from hwnas.compat.dynast import search

        if not self.task.table.exists():
            raise ConfigError(f"there is no file {self.task.table} yet: run search() first")
        count = self.options.population if limit is None else limit
        rows = search.table_rows(self.task, self._metric(sort_by), ascending, count)
        if importlib.util.find_spec("pandas") is None:
            return rows
        return importlib.import_module("pandas").DataFrame(rows)

    def _metric(self, name: str | None) -> str | None:
        if name is None:
            return None
        word = next((key for key, measure in MEASURES.items() if name.strip().lower() in measure.aliases), name)
        return chosen([word], self.task.supernet, "sort_by")[0][0]


__all__ = ["DyNAS", "Tactic"]
