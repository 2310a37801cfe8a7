"""NSGA-II: generations, limits, and nothing asked twice."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hwnas import pareto
from hwnas.algorithms._selection import best_first
from hwnas.algorithms.nsga2 import Nsga2
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.trial import Goal, Trial

from ._toy import GOALS, LIMITED, SPACE, apart, cube, drive, judge, rough, volumes


def test_it_beats_random_search():
    ours, random = volumes(Nsga2(), 200), volumes(Random(), 200)
    assert ours.mean() > random.mean() + 2 * random.std()


def test_generations_are_whole_and_the_first_spans_the_space():
    run = drive(Nsga2(population=30), budget=120)
    assert [len(delivery) for delivery in run.deliveries] == [0, 30, 30, 30, 30]
    assert run.asked[:2] == [SPACE.smallest, SPACE.largest]


def test_a_known_front_is_found():
    # sum of the entries up, sum of their squares down: best are the codes whose entries differ by one at most
    def judge(code):
        return {"accuracy": float(sum(code)), "latency": float(sum(index**2 for index in code))}

    best = [judge([total // 6 + (place < total % 6) for place in range(6)]) for total in range(25)]
    run = drive(Nsga2(), space=cube(*[5] * 6), judge=judge, budget=600)
    found, whole = (
        pareto.hypervolume([[-row["accuracy"], row["latency"]] for row in rows], (1, 100))
        for rows in ([trial.values for trial in run.trials], best)
    )
    assert 0.96 * whole < found <= whole


def test_the_share_within_the_limit_rises():
    asked = drive(Nsga2(), goals=LIMITED, budget=300).asked
    within = [LIMITED[1].within(judge(code)["latency"]) for code in asked]
    assert np.mean(within[-100:]) > 0.5 > np.mean(within[:20])


def test_one_goal_is_driven_to_its_best():
    goal = (Goal("latency", None, "min"),)
    space = cube(*[9] * 12)
    run = drive(
        Nsga2(), goals=goal, space=space, judge=lambda c: {"latency": sum((i - 4.0) ** 2 for i in c)}, budget=800
    )
    assert min(trial.values["latency"] for trial in run.trials) <= 2


def test_the_best_of_a_warm_start_are_the_first_generation():
    space = cube(*[9] * 12)
    earlier = drive(Random(), space=space, judge=rough, budget=100).trials
    parents = [trial.code for trial in best_first(earlier, GOALS)[:8]]
    steps = Nsga2(population=8, crossover=0.0, mutation=0.0).steps(space, GOALS, np.random.default_rng(0))
    next(steps)
    children = steps.send(earlier)
    assert [min(apart(child, parent) for parent in parents) for child in children] == [1] * 8


def test_a_small_warm_start_is_filled_up():
    code = SPACE.sample(np.random.default_rng(9))
    steps = Nsga2(population=8).steps(SPACE, GOALS, np.random.default_rng(0))
    next(steps)
    asked = steps.send([Trial(0, code, judge(code), "done")])
    assert len(asked) == 7 and code not in asked


def test_pymoo_neither_prints_nor_warns():
    script = "import numpy as np; from hwnas.algorithms.nsga2 import Nsga2; from hwnas.space import Choice, Space\n"
    script += "from hwnas.trial import Goal; steps = Nsga2().steps(Space('s', (Choice('a', tuple(range(99))),)), "
    script += "[Goal('x', None, 'min')], np.random.default_rng(0)); next(steps)\n"
    script += "while True:\n  try: steps.send([])\n  except StopIteration: break"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


@pytest.mark.parametrize("options", [{"population": 1}, {"mutation": 1.5}, {"crossover": -0.1}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Nsga2(**options)
