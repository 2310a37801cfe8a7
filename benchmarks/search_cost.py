"""What the search itself costs: seconds per proposed batch of ten, evaluations not counted, as the record grows.

The space is Once-for-All's (2 x 10^19 networks); accuracy is made up and predicted, MACs are counted. A record of so
many networks is what LINAS itself found, so that predictors learn from what a search really measures. LINAS runs with
its default options, then with NSGA-II on the predictions and 20,000 of them per batch, as DyNAS-T has it; each
generation is one call of the predictors. NSGA-II, random and TPE stand beside it.

    python benchmarks/search_cost.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _play import Floats, Problem, play

from hwnas import codes
from hwnas.algorithms import _beliefs
from hwnas.algorithms.bayesian import Bayesian
from hwnas.algorithms.linas import Linas
from hwnas.algorithms.nsga2 import Nsga2
from hwnas.algorithms.random import Random
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.trial import Goal, Search, Trial

BATCH = 10
SPACE = MobileNetV3().space
RNG = np.random.default_rng(0)
WEIGHTS = RNG.gamma(1.0, size=codes.one_hot(SPACE, codes.array(SPACE, [SPACE.largest])).shape[1])
SIZES = np.concatenate([np.arange(1, len(choice.values) + 1.0) for choice in SPACE.choices])


def cost(codes_NG: Any) -> Floats:
    """Grows with every larger choice, as multiply-accumulates do."""
    return np.asarray(codes.one_hot(SPACE, codes_NG) @ SIZES)


def accuracy(codes_NG: Any) -> Floats:
    """What larger choices bring, less and less."""
    return np.asarray(1 - np.exp(-(codes.one_hot(SPACE, codes_NG) * SIZES) @ WEIGHTS / 60))


PROBLEM = Problem(
    SPACE,
    (
        Goal("accuracy", None, "max"),
        Goal("macs", None, "min", exact=lambda code: float(cost(np.array([code]))[0]), exact_many=cost),
    ),
    lambda rows: {"accuracy": accuracy(rows), "macs": cost(rows)},
)


def seconds(search: Search, known: list[Trial], repeats: int) -> tuple[float, int, int]:
    """Median seconds per batch of ten once so much is known; and how many predictions in how many calls one took."""
    calls = [0, 0]
    believed = _beliefs.Beliefs.values

    def counted(self: Any, codes_NG: Any, careful: bool = False) -> dict[str, Floats]:
        calls[0] += len(codes_NG)
        calls[1] += 1
        return believed(self, codes_NG, careful)

    steps = search.steps(SPACE, PROBLEM.goals, np.random.default_rng(0))
    next(steps)
    news, took, number = list(known), [], len(known)
    _beliefs.Beliefs.values = counted  # type: ignore[method-assign]
    try:
        for _ in range(repeats):
            calls[:] = [0, 0]
            began, asked = time.perf_counter(), []
            while len(asked) < BATCH:
                asked += steps.send(news)
                news = []
            took.append((time.perf_counter() - began) * BATCH / len(asked))
            news = PROBLEM.trials(asked, number)
            number += len(asked)
    finally:
        _beliefs.Beliefs.values = believed  # type: ignore[method-assign]
    return statistics.median(took), calls[0], calls[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and sizes; under a minute")
    quick = parser.parse_args().quick
    sizes, repeats = ((100, 500), 2) if quick else ((100, 200, 500, 1000), 5)
    searches: dict[str, Callable[[], Search]] = {
        "linas": Linas,
        "linas, nsga2 inside": lambda: Linas(inner=Nsga2(population=200), evaluations=20_000),
        "nsga2": lambda: Nsga2(population=BATCH),
        "random": lambda: Random(batch=BATCH),
        "bayesian (tpe)": lambda: Bayesian(batch=BATCH),
    }
    if quick:
        del searches["bayesian (tpe)"]
    grown = play(Linas(evaluations=2000, batch=50), PROBLEM, max(sizes), 1).trials
    print("seconds per batch of 10, median")
    print(f"{'networks known':>20}" + "".join(f"{size:>10}" for size in sizes) + f"{'predictions':>14}{'calls':>8}")
    figures: dict[str, float] = {}
    for name, make in searches.items():
        row = [seconds(make(), grown[:size], repeats) for size in sizes]
        asked, calls = row[-1][1:]
        shown = f"{asked or '–':>14}{calls or '–':>8}"
        print(f"{name:>20}" + "".join(f"{took:>10.3f}" for took, _, _ in row) + shown)
        if name == "linas":
            figures |= {
                f"seconds_per_batch_at_{size}": round(took, 3) for size, (took, _, _) in zip(sizes, row, strict=True)
            }
        if name == "linas, nsga2 inside":
            figures["seconds_per_batch_at_500_nsga2_inside"] = round(row[sizes.index(500)][0], 3)
    print(json.dumps({"benchmark": "search_cost", "figures": figures}))


if __name__ == "__main__":
    main()
