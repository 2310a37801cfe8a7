"""What all searches that breed share: generations of what arrives, lost answers, scales; and every search's optimum."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hwnas import codes, pareto, parts
from hwnas.algorithms._pymoo import FAILED, Genetic, directions
from hwnas.algorithms._selection import unknown, unseen
from hwnas.algorithms.age import Age
from hwnas.algorithms.ctaea import Ctaea
from hwnas.algorithms.ga import Ga
from hwnas.algorithms.moead import Moead
from hwnas.algorithms.nsga2 import Nsga2
from hwnas.algorithms.unsga3 import Unsga3
from hwnas.errors import ConfigError
from hwnas.records import Records, sqlite_url
from hwnas.space import Choice, Space
from hwnas.study import Study
from hwnas.testing import Toy, fitting
from hwnas.trial import Goal, Trial, losses
from hwnas.workers import Bench, Setup

from ._toy import GOALS, SPACE, Four, apart, cube, drive, judge, rough

BREEDERS = (Ga, Nsga2, Age, Unsga3, Ctaea, Moead)
FREE = tuple(cls for cls in BREEDERS if not cls.whole)
EVERYBODY = [name for name in parts.names("algorithms") if name not in ("random", "linas")]


def answered(asked, count=None):
    """Trials for so many of the codes."""
    return [Trial(number, code, judge(code), "done") for number, code in enumerate(asked[:count])]


def begun(cls, **options):
    """A search on the toy problem that has asked for its first generation."""
    search = cls(**options)
    steps = search.steps(SPACE, fitting(search)[0], np.random.default_rng(0))
    assert next(steps) == []
    return steps, steps.send([])


# --- generations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", FREE)
def test_a_generation_is_what_arrived(cls):
    steps, first = begun(cls, population=16)
    assert len(first) == 16
    assert steps.send(answered(first, 7)) == []  # not yet a decent share of the first one
    asked = steps.send(answered(first[7:], 3))
    assert len(asked) == 10
    more = steps.send(answered(first[10:], 4))
    assert len(more) == 4
    assert len(steps.send(answered([*asked, *more]))) == 14
    assert len({*first, *asked, *more}) == 30


def test_a_search_of_whole_generations_waits():
    steps, first = begun(Ctaea, population=16)
    assert steps.send(answered(first, 15)) == []
    assert len(steps.send(answered(first[15:]))) == 16


@pytest.mark.parametrize("cls", BREEDERS)
def test_after_a_silence_the_lost_are_replaced(cls):
    steps, first = begun(cls, population=12)
    asked = steps.send(answered(first, 8))
    lost = 0
    while not asked or len(asked) < 12:
        asked = steps.send([])
        lost += 1
    assert lost <= 4 and not set(asked) & set(first)


@pytest.mark.parametrize("cls", FREE)
def test_nothing_but_failures_leads_to_random_networks_and_the_first_success_breeds(cls):
    space, search = cube(*[9] * 12), cls(population=6, crossover=0.0, mutation=0.0)
    steps = search.steps(space, fitting(search)[0], np.random.default_rng(0))
    next(steps)
    asked = steps.send([])
    for _ in range(3):
        asked = steps.send([Trial(0, code, state="failed") for code in asked])
        assert len(asked) == 6
    good, *bad = asked
    first = Trial(0, good, rough(good), "done")
    children = steps.send([first, *(Trial(0, code, state="failed") for code in bad)])
    assert [apart(child, good) for child in children] == [1] * 6


@pytest.mark.parametrize("cls", BREEDERS)
def test_every_value_can_return(cls):
    space = cube(*[4] * 8)
    search = cls(population=10)
    goals = fitting(search)[0]

    def flat(code):
        return {"accuracy": float(sum(code) % 3), "latency": float(code[0])}

    earlier = [Trial(i, code, flat(code), "done") for i, code in enumerate(cube(*[2] * 8).codes()) if i < 40]
    asked = drive(search, goals, space=space, judge=flat, earlier=earlier, budget=200).asked
    seen = [{code[place] for code in asked} for place in range(8)]
    assert all({2, 3} <= values for values in seen)


def test_children_inherit_from_both_parents():
    space = cube(*[9] * 12)
    parents = [(0,) * 12, (8,) * 12]
    earlier = [Trial(i, code, {"accuracy": float(i), "latency": float(i)}, "done") for i, code in enumerate(parents)]
    search = Nsga2(population=2, crossover=1.0, mutation=0.0)
    steps = search.steps(space, GOALS, np.random.default_rng(0))
    next(steps)
    children = steps.send(earlier)
    for _ in range(5):
        children += steps.send([Trial(9, code, {"accuracy": -1.0, "latency": 9.0}, "done") for code in children[-2:]])
    mixed = [child for child in children if {0, 8} <= set(child)]
    assert mixed and all(sum(0 < value < 8 for value in child) <= 1 for child in mixed)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
@pytest.mark.parametrize("cls", BREEDERS)
def test_the_unit_of_a_goal_changes_nothing(cls, unit):
    search = cls(population=8)
    goals = fitting(search)[0]
    plain = drive(search, goals, budget=60)
    scaled = drive(search, goals, budget=60, judge=lambda code: {name: unit * v for name, v in judge(code).items()})
    assert scaled.asked == plain.asked


def test_goals_that_do_not_fit_are_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"ga takes 1 objective, and there are 2"):
        next(Ga().steps(SPACE, GOALS, np.random.default_rng(0)))
    with pytest.raises(ConfigError, match=r"moead takes 2 or more objectives, and there is 1"):
        next(Moead().steps(SPACE, GOALS[:1], np.random.default_rng(0)))


@pytest.mark.parametrize("cls", BREEDERS)
@pytest.mark.parametrize("options", [{"population": 1}, {"mutation": 1.5}, {"crossover": -0.1}])
def test_options(cls, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        cls(**options)


def test_who_breeds_has_to_say_who_lives():
    with pytest.raises(TypeError, match="abstract"):
        Genetic()


def test_failures_lie_far_beyond_what_the_first_generation_spans():
    class Heard:
        def admit(self, codes_NG, losses_NM, excess_N):
            self.losses_NM, self.excess_N = losses_NM, excess_N

        def couples(self, count):
            return (np.zeros((count, len(SPACE)), dtype=np.int64),) * 2

    heard = Heard()

    class Deaf(Genetic):
        whole = True

        def selection(self, objectives, size, rng):
            return heard

    steps = Deaf(population=4).steps(SPACE, GOALS, np.random.default_rng(0))
    next(steps)
    asked = steps.send([])
    steps.send([Trial(0, asked[0], state="failed"), *answered(asked[1:])])
    assert heard.losses_NM[0].tolist() == [FAILED] * 2 and heard.excess_N.tolist() == [FAILED, 0, 0, 0]
    assert heard.losses_NM[1:].min() == 0 and heard.losses_NM[1:].max() == 1


# --- children that nobody has asked for ------------------------------------------------------------------------------


def test_known_children_are_mutated_on_and_then_replaced():
    space, rng = cube(3, 3, 3), np.random.default_rng(0)
    known = {(0, 0, 0)}
    fresh = unseen(space, known, rng)
    found = []
    for _ in range(3):
        found += unknown(space, np.zeros((10, 3), dtype=np.int64), known, fresh, rng, None)
    assert len(found) == len(set(found)) == 26 and known == set(space.codes())
    assert unknown(space, np.zeros((10, 3), dtype=np.int64), known, fresh, rng, None) == []


def test_twenty_thousand_children_cost_seconds_at_most():
    space = Space("wide", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(45)))
    steps = Nsga2(population=200).steps(space, GOALS, np.random.default_rng(0))
    asked = [next(steps), steps.send([])][1]
    spent = time.process_time()
    for _ in range(100):
        rows = codes.array(space, asked)
        accuracies, latencies = rows.sum(axis=1).tolist(), (rows**2).sum(axis=1).tolist()
        asked = steps.send(
            [
                Trial(0, code, {"accuracy": accuracy, "latency": latency}, "done")
                for code, accuracy, latency in zip(asked, accuracies, latencies, strict=True)
            ]
        )
    assert time.process_time() - spent < 10  # about 1.5 s; machines that run tests are slow


# --- directions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_directions_are_as_many_as_asked_for_all_different_and_on_the_simplex(count, objectives):
    found = directions(count, objectives)
    assert found.shape == (count, objectives) and len(np.unique(found, axis=0)) == count
    assert (found >= 0).all() and np.allclose(found.sum(axis=1), 1)
    found[:] = 0  # whoever writes to them spoils nobody else's
    assert directions(count, objectives).any()


def test_directions_are_spread_evenly():
    found = directions(66, 3)
    gaps = np.linalg.norm(found[:, None] - found, axis=2) + 9 * np.eye(66)
    nearest = gaps.min(axis=1)
    assert nearest.max() < 2.1 * nearest.min()
    assert {tuple(row) for row in np.eye(3)} <= {tuple(row) for row in found.tolist()}


# --- every search ----------------------------------------------------------------------------------------------------

SMALL = Space(
    "small",
    (
        Choice("depth", (1, 2, 3)),
        Choice("a", (0, 1, 2, 3)),
        Choice("b", (0, 1, 2, 3)),
        Choice("c", (0, 1, 2, 3), ("depth", (2, 3))),
        Choice("d", ("x", "y", "z"), ("depth", (2, 3))),
        Choice("e", (0, 1, 2, 3), ("depth", (3,))),
    ),
)
"""976 networks, which can all be judged."""


def small(code):
    """Every step away from a hidden network costs accuracy, twice as much in the word; depth costs latency."""
    target = (2, 3, 1, 2, 1, 0)
    miss = sum((2.0 if place == 4 else 1.0) * abs(a - b) for place, (a, b) in enumerate(zip(code, target, strict=True)))
    return {"accuracy": -miss, "latency": float(4 * code[0] + sum(code[1:4]) + code[5])}


@pytest.mark.parametrize("name", EVERYBODY)
def test_the_true_optimum_is_found_by_judging_part_of_a_space(name):
    search = parts.make("algorithms", {"bayesian": {"startup": 20, "batch": 10}} if name == "bayesian" else name)
    goals = fitting(search)[0]
    everything = [Trial(i, code, small(code), "done") for i, code in enumerate(SMALL.codes())]
    assert len(everything) == 976
    if name == "grid":  # it looks at no result: it finds what it meets
        budget, share = 488, 0.5
    else:
        budget, share = (140 if name == "bayesian" else 240), 0.95
    found = drive(search, goals, space=SMALL, judge=small, seed=1, budget=budget).trials[:budget]
    best = losses(everything, goals).min(axis=0)
    if len(goals) == 1:
        assert losses(found, goals).min() == best[0]
    else:
        reference = (15.0, 25.0)
        whole = pareto.hypervolume(losses(everything, goals), reference)
        assert pareto.hypervolume(losses(found, goals), reference) >= share * whole


@pytest.mark.parametrize("name", ["random", *EVERYBODY])
def test_a_hundred_asked_are_a_hundred_judged_and_four_workers_are_busy(name, tmp_path):
    search = parts.make("algorithms", {"bayesian": {"startup": 80}} if name == "bayesian" else name)
    goals = fitting(search)[0]
    records = Records(sqlite_url(tmp_path / "study.db"))
    try:
        study = Study(Bench(Setup(Toy())), goals, records.create("main", {}))
        four = Four(study.bench)
        trials = study.search(search, 100, four, asynchronous=True)
        assert len(trials) == 100 and all(trial.state == "done" for trial in trials)
        # every trial takes one outcome per goal; near the end of the budget nothing more can be begun
        steady = four.heights[: -4 * len(study.goals)]
        if name in ("ctaea", "cmaes", "denas"):  # they wait for whole generations
            assert min(steady) >= 1
        else:
            assert min(steady) >= 4
    finally:
        records.close()


def test_objectives_name_the_searches_that_fit():
    by_name = {name: parts.make("algorithms", name).objectives() for name in EVERYBODY}
    assert by_name["ga"] == by_name["cmaes"] == (1, 1)
    assert {by_name[name] for name in ("age", "unsga3", "ctaea", "moead")} == {(2, None)}
    assert {by_name[name] for name in ("nsga2", "grid", "bayesian", "evolution")} == {(1, None)}
    goal = Goal("accuracy", None, "max")
    assert losses([], (goal,)).shape == (0, 1)
