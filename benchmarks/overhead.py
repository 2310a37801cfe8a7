"""What one evaluation costs beside the measurement itself: ask + record per trial, as the record grows.

hwnas: a study on a SQLite file with n finished trials goes on with a random search for some more; every trial is
asked, entered, measured (by metrics that do nothing), saved and told. Optuna: ask, a suggestion per choice, tell, with
its random sampler, in memory and on a SQLite file, both filled with n trials in bulk beforehand. The space has 25
choices of four values.

    python benchmarks/overhead.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from hwnas.algorithms.random import Random
from hwnas.candidate import Candidate, Family
from hwnas.records import Records, sqlite_url
from hwnas.space import Choice, Space
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.workers import Bench, Here, Setup

GENES, VALUES = 25, (0, 1, 2, 3)


class Nothing(Family):
    """A family whose networks are never built."""

    name = "nothing"
    space = Space("nothing", tuple(Choice(f"gene{i}", VALUES) for i in range(GENES)))

    def build(self, arch: object, /) -> nn.Module:
        return nn.Identity()

    def inputs(self, arch: object, batch: int, /) -> tuple[()]:
        return ()


def first(candidate: Candidate) -> float:
    return float(sum(candidate.code))


def second(candidate: Candidate) -> float:
    return float(candidate.code[0])


def ours(trials: int, count: int, folder: Path) -> float:
    """Milliseconds per trial of a study that holds so many trials already."""
    goals = [Goal("first", first, "max"), Goal("second", second, "min")]
    records = Records(sqlite_url(folder / f"ours{trials}.db"))
    run = records.create("main", {})
    rng = np.random.default_rng(1)
    codes = list(dict.fromkeys(Nothing.space.sample(rng) for _ in range(trials + 100)))[:trials]
    known = [
        Trial(i, code, {"first": float(sum(code)), "second": float(code[0])}, "done") for i, code in enumerate(codes)
    ]
    run.save("search", known)
    study = Study(Bench(Setup(family=Nothing(), folder=str(folder))), goals, run)
    clock: list[float] = []  # loading the record is paid once a session, so it starts with the first new trial
    study.search(
        Random(),
        trials + 1 + count,
        Here(study.bench),
        identity="benchmark",
        watch=lambda progress: clock.append(time.perf_counter()) if progress.done > trials else None,
    )
    return 1000 * (clock[count] - clock[0]) / count


def optuna_in(trials: int, count: int, storage: str | None) -> float | None:
    """Milliseconds per trial of Optuna; None where it is not installed."""
    try:
        import optuna
    except ImportError:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    study = optuna.create_study(
        storage=storage, sampler=optuna.samplers.RandomSampler(seed=0), directions=["maximize", "minimize"]
    )
    categories = {f"gene{i}": optuna.distributions.CategoricalDistribution(VALUES) for i in range(GENES)}
    rng = np.random.default_rng(1)
    rows = [{name: int(rng.integers(4)) for name in categories} for _ in range(trials)]
    study.add_trials(
        [
            optuna.trial.create_trial(params=row, distributions=categories, values=[float(sum(row.values())), 0.0])
            for row in rows
        ]
    )
    took = []
    for _ in range(count):
        began = time.perf_counter()
        trial = study.ask()
        values = [trial.suggest_categorical(f"gene{i}", VALUES) for i in range(GENES)]
        study.tell(trial, [float(sum(values)), float(values[0])])
        took.append(time.perf_counter() - began)
    return 1000 * statistics.mean(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials; under a minute")
    quick = parser.parse_args().quick
    count = 300 if quick else 1000
    figures: dict[str, float] = {}
    print(f"milliseconds per trial, mean over {count} trials (Optuna on SQLite: {3 if quick else 10})")
    print(f"{'trials before':>14} {'hwnas, SQLite':>14} {'Optuna, memory':>15} {'Optuna, SQLite':>15}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for trials in (0, 1_000, 10_000):
            mine = ours(trials, count, folder)
            memory = optuna_in(trials, count, None)
            file: Callable[[], float | None] = lambda n=trials: optuna_in(  # noqa: E731
                n, 3 if quick else 10, f"sqlite:///{folder}/optuna{n}.db"
            )
            disk = None if quick and trials > 1_000 else file()
            shown = [f"{value:.3f}" if value is not None else "–" for value in (mine, memory, disk)]
            print(f"{trials:>14} {shown[0]:>14} {shown[1]:>15} {shown[2]:>15}")
            figures[f"ms_at_{trials}"] = round(mine, 4)
            if memory is not None:
                figures[f"optuna_memory_ms_at_{trials}"] = round(memory, 4)
            if disk is not None:
                figures[f"optuna_sqlite_ms_at_{trials}"] = round(disk, 4)
    if memory is None:
        print('Optuna is not installed and was left out: pip install "optuna>=5"')
    print(json.dumps({"benchmark": "overhead", "figures": figures}))


if __name__ == "__main__":
    main()
