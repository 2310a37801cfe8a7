"""CMA-ES: cells of a cube, rounds, what is known is never asked, and restarts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hwnas.algorithms.cmaes import MOST, Cmaes, _Cube, _places
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.trial import Goal, Trial

from ._toy import GOALS, SPACE, apart, cube, drive, judge

ONE = (Goal("latency", None, "min"),)
WIDE = cube(*[9] * 12)


def squares(code):
    return {"latency": float(sum((index - place % 9) ** 2 for place, index in enumerate(code)))}


def best(search, seed):
    run = drive(search, goals=ONE, space=WIDE, judge=squares, seed=seed, budget=600)
    return min(trial.values["latency"] for trial in run.trials)


def test_it_moves_to_the_optimum_wherever_it_lies():
    assert np.mean([best(Cmaes(), seed) for seed in range(3)]) < 12
    assert np.mean([best(Random(), seed) for seed in range(3)]) > 30


def test_a_round_is_as_large_as_the_population():
    run = drive(Cmaes(population=7), goals=ONE, space=WIDE, judge=squares, budget=70)
    assert [len(delivery) for delivery in run.deliveries[:6]] == [0, 7, 7, 7, 7, 7]


def test_every_network_of_a_small_space_comes_once_through_restarts():
    space = cube(5, 1, 4, 3)
    run = drive(Cmaes(population=4), goals=ONE, space=space, judge=squares, budget=1000)
    assert run.ended and len(run.asked) == len(set(run.asked)) == 60
    assert max(len(delivery) for delivery in run.deliveries) <= MOST * 4


def test_cells_are_equal_and_their_middles_come_back():
    space = cube(2, 1, 5)
    cells = _Cube(space)
    assert all(cells.code(cells.place(code)) == code for code in space.codes())
    drawn = [cells.code(point) for point in np.random.default_rng(0).random((5000, 2))]
    assert all(400 < drawn.count(code) < 600 for code in space.codes())
    assert cells.code(np.array([0.0, 0.0])) == (0, 0, 0) and cells.code(np.array([1.0, 1.0])) == (1, 0, 4)


def test_inactive_choices_make_no_second_network():
    cells = _Cube(SPACE)
    shallow = cells.place(SPACE.smallest)
    other = shallow.copy()
    other[-1] = 0.99  # a choice of the fifth block, which a network of depth 1 lacks
    assert cells.code(other) == cells.code(shallow) == SPACE.smallest


def test_only_places_count_those_beyond_a_limit_after_all_within():
    goals = (GOALS[0], Goal("latency", None, "min", limit=10.0, objective=False))
    values = [(0.5, 5.0), (0.9, 8.0), (0.5, 9.0), (0.99, 12.0), (0.1, 11.0)]
    trials = [
        Trial(i, (i,), {"accuracy": accuracy, "latency": latency}, "over_limit" if latency > 10 else "done")
        for i, (accuracy, latency) in enumerate(values)
    ]
    assert _places([*trials, None, Trial(9, (9,), state="failed")], goals) == [1, 0, 1, 3, 2, 4, 4]


def test_a_warm_start_begins_at_the_best():
    code = tuple(place % 9 for place in range(12))
    earlier = [Trial(0, code, squares(code), "done"), Trial(1, (0,) * 12, squares((0,) * 12), "done")]
    steps = Cmaes(width=0.03).steps(WIDE, ONE, np.random.default_rng(0))
    next(steps)
    assert max(apart(child, code) for child in steps.send(earlier)) <= 4


def test_it_neither_prints_nor_warns_nor_leaves_files(tmp_path):
    script = "import numpy as np; from hwnas.algorithms.cmaes import Cmaes; from hwnas.testing import cube\n"
    script += (
        "from hwnas.trial import Goal; steps = Cmaes(population=4).steps(cube(3, 3, 3), [Goal('x', None, 'min')], "
    )
    script += (
        "np.random.default_rng(0)); next(steps)\nwhile True:\n  try: steps.send([])\n  except StopIteration: break"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == done.stderr == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"population": 1}, {"width": 0.0}, {"width": 1.5}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Cmaes(**options)


def test_two_objectives_are_refused():
    with pytest.raises(ConfigError, match="cmaes takes 1 objective, and there are 2"):
        drive(Cmaes(), GOALS, judge=judge)
