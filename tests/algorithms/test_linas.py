"""LINAS: the design, what is found with few measurements, limits, the record, stragglers, and resuming."""

from __future__ import annotations

import importlib.util
from itertools import pairwise

import numpy as np
import pytest

from hwnas import pareto, parts
from hwnas.algorithms.linas import FEW, Linas, _size
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError, Interrupted
from hwnas.predictors.ridge import Ridge
from hwnas.records import Records, sqlite_url
from hwnas.study import Study
from hwnas.testing import SPREAD, Toy, fitting
from hwnas.trial import Goal, Trial, losses
from hwnas.workers import Bench, Here, Setup

from ._toy import GOALS, LIMITED, SPACE, Four, cube, drive, judge, rough, volumes

LIGHT = {"evaluations": 600, "population": 50, "predictors": (Ridge(),)}
DEAR = ("age", "bayesian")
OTHERS = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR))
    for name in parts.names("algorithms")
    if name != "linas"
]
ONE = (Goal("latency", None, "min"),)
WIDE = cube(*[6] * 10)


def light(**options):
    """The search with few predictions and the cheapest predictor."""
    return Linas(**{**LIGHT, **options})


def sizes(space):
    """A goal that can be computed for many codes at once, and a limit that few networks keep."""
    return Goal(
        "size",
        None,
        "min",
        limit=12.0,
        exact=lambda code: float(sum(code)),
        exact_many=lambda codes_NG: codes_NG.sum(axis=1).astype(float),
    )


def hills(code):
    """Adds up, with a few places that matter more than others."""
    return {"accuracy": float(sum((place % 4 + 1) * index**0.5 for place, index in enumerate(code)))}


def squares(code):
    """Least at 0, 1, 2 …"""
    return {"latency": float(sum((index - place % 6) ** 2 for place, index in enumerate(code)))}


# --- the design ------------------------------------------------------------------------------------------------------


def test_the_design_holds_both_ends_and_climbs_from_one_to_the_other():
    design = drive(light(initial=20), space=WIDE, judge=rough, budget=20).deliveries[1]
    design = [trial.code for trial in design]
    assert len(set(design)) == 20 and {WIDE.smallest, WIDE.largest} <= set(design)
    heights = sorted(_size(WIDE, np.array(design)))
    assert heights[0] == 0 and heights[-1] == 10 and max(b - a for a, b in pairwise(heights)) < 2


def test_the_design_is_even_in_what_can_be_computed():
    # values whose size says nothing: the first choice weighs as much as all others together
    goal = Goal("cost", None, "min", exact=lambda code: 0.0, exact_many=lambda own: own @ np.r_[20.0, np.ones(9)])
    run = drive(light(initial=20), (GOALS[0], goal), WIDE, lambda code: {**hills(code), "cost": 0.0}, budget=20)
    costs = np.sort([np.dot(code, [20, *[1] * 9]) for code in run.asked[:20]])
    assert costs[0] == 0 and costs[-1] == 145
    assert np.diff(costs).max() < 0.15 * 145


def test_a_warm_start_needs_no_design_and_a_small_one_less():
    earlier = drive(Random(), budget=12).trials[:12]
    assert [len(own) for own in drive(light(), earlier=earlier, budget=18).deliveries] == [12, 8, 10]
    run = drive(light(initial=4), earlier=earlier, budget=10)
    assert len(run.deliveries[1]) == 10  # at once what is predicted
    assert not {trial.code for trial in earlier} & set(run.asked)


# --- what it finds ---------------------------------------------------------------------------------------------------


def test_it_finds_far_more_than_random_search():
    ours, random = volumes(light(), 80, seeds=3), volumes(Random(), 80, seeds=3)
    assert ours.min() > random.max()


@pytest.mark.parametrize("seed", range(3))
def test_the_best_network_within_a_limit_of_a_small_space_is_found(seed):
    space, goals = cube(4, 4, 4, 4, 4, 4), (Goal("accuracy", None, "max"), sizes(None))
    goals = (goals[0], Goal("size", None, "min", 8.0, False, goals[1].exact, goals[1].exact_many))
    assert space.size < FEW
    best = max(hills(code)["accuracy"] for code in space.codes() if sum(code) <= 8)
    run = drive(light(), goals, space, hills, seed=seed, budget=60)
    assert max(trial.values["accuracy"] for trial in run.trials if trial.state == "done") == pytest.approx(best)


@pytest.mark.parametrize("options", [{}, {"inner": parts.make("algorithms", "nsga2")}], ids=["whole", "nsga2"])
def test_most_of_the_true_front_of_a_small_space_is_found(options):
    space, goals = cube(4, 4, 4, 4, 4), (Goal("accuracy", None, "max"), Goal("latency", None, "min"))

    def judge(code):
        return {**hills(code), "latency": float(sum((5 - place) * index for place, index in enumerate(code)))}

    whole = np.array([[-judge(code)["accuracy"], judge(code)["latency"]] for code in space.codes()])
    trials = drive(light(**options), goals, space, judge, budget=80).trials
    reference = pareto.reference_point(whole)
    found = pareto.hypervolume(losses(trials, goals), reference)
    assert found > 0.99 * pareto.hypervolume(whole, reference)
    blind = drive(Random(), goals, space, judge, budget=80).trials
    assert pareto.hypervolume(losses(blind, goals), reference) < 0.95 * pareto.hypervolume(whole, reference)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_sixty_million_is_found(seed):
    run = drive(light(), ONE, WIDE, squares, seed=seed, budget=150)
    assert min(trial.values["latency"] for trial in run.trials) == 0
    blind = drive(Random(), ONE, WIDE, squares, seed=seed, budget=150)
    assert min(trial.values["latency"] for trial in blind.trials) > 5


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False], ids=["at once", "one by one"])
@pytest.mark.parametrize("space", [cube(*[4] * 6), WIDE], ids=["small", "large"])
def test_a_limit_that_can_be_computed_is_never_broken(space, together):
    size = sizes(space)
    size = size if together else Goal("size", None, "min", size.limit, exact=size.exact)
    run = drive(light(initial=8), (GOALS[0], size), space, hills, budget=60)
    assert len(run.asked) >= 60 and max(sum(code) for code in run.asked) <= 12


def test_where_nothing_keeps_a_limit_that_can_be_computed_it_goes_on():
    size = Goal("size", None, "min", -1.0, exact=sizes(None).exact, exact_many=sizes(None).exact_many)
    run = drive(light(), (GOALS[0], size), WIDE, hills, budget=40)
    assert len(set(run.asked)) == len(run.asked) >= 40


def test_the_share_within_a_limit_that_is_measured_rises():
    asked = drive(light(), LIMITED, budget=120).asked
    within = [LIMITED[1].within(judge(code)["latency"]) for code in asked]
    assert np.mean(within[-50:]) > 0.7 and np.mean(within[:20]) < 0.5


# --- batches and budgets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_batches_are_as_large_as_they_are_wanted(batch):
    run = drive(light(batch=batch, initial=5), budget=5 + 2 * batch)
    assert [len(delivery) for delivery in run.deliveries] == [0, 5, batch, batch]
    assert len(set(run.asked)) == len(run.asked)


@pytest.mark.parametrize("evaluations", [1, 60])
def test_few_predictions_are_enough_to_go_on(evaluations):
    assert len(drive(light(evaluations=evaluations), budget=50).asked) >= 50


def test_answers_under_other_codes_are_got_through_quickly():
    """Where a family takes what is asked for what is known, nothing new comes, and the wish grows."""
    steps = light(initial=4, batch=3).steps(SPACE, GOALS, np.random.default_rng(0))
    next(steps)
    first = steps.send([])
    known = [Trial(i, code, judge(code), "done") for i, code in enumerate(first)]
    lengths = [len(steps.send(known)) for _ in range(8)]
    assert lengths == [3, 6, 12, 24, 48, 96, 96, 96]


# --- inner searches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_search_may_search_the_predictors(name):
    if name == "age" and importlib.util.find_spec("numba") is None:
        pytest.skip("AGE-MOEA needs the extra `age`")
    inner = {"bayesian": {"startup": 20}} if name == "bayesian" else name
    search = parts.make("algorithms", {"linas": {"inner": inner, "evaluations": 30, "predictors": ["ridge"]}})
    assert search.objectives() == search.inner.objectives()
    for goals in fitting(search):
        asked = drive(search, goals, budget=30).asked
        assert len(asked) == len(set(asked)) == 30 and all(SPACE.canonical(code) == code for code in asked)


@pytest.mark.parametrize(("name", "goals", "told"), [("ga", GOALS, "1 objective"), ("nsga2", None, "")])
def test_the_inner_search_decides_how_many_objectives_there_may_be(name, goals, told):
    search = parts.make("algorithms", {"linas": {"inner": name}})
    if not told:
        assert search.objectives() == (1, None)
        return
    with pytest.raises(ConfigError, match=f"^linas takes {told}, and there are 2\nchoose another inner search"):
        drive(search, goals)


def test_four_objectives():
    more = Goal("ends", None, "max")
    goals = (*GOALS, SPREAD, more)
    run = drive(light(), goals, judge=lambda code: {**judge(code), "ends": float(code[0] + code[1])}, budget=40)
    assert len(set(run.asked)) == 40


# --- in a study ------------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    """Opens the study of a name, anew with every call, as a process would."""
    opened = []

    def study(name):
        opened.append(records := Records(sqlite_url(tmp_path / f"{name}.db")))
        run = records.open("main") if records.names() else records.create("main", {})
        return Study(Bench(Setup(Toy())), GOALS, run)

    yield study
    for records in opened:
        records.close()


def searched(study, budget, watch=None, asynchronous=True):
    four = Four(study.bench)
    options = {} if watch is None else {"watch": watch}
    trials = study.search(light(), budget, four, asynchronous=asynchronous, identity="one", **options)
    return [trial.code for trial in trials], four.heights


def test_four_workers_are_always_busy_and_the_search_replays(study):
    codes, heights = searched(study("one"), 60)
    assert len(set(codes)) == 60 and max(heights) <= 20 + 10
    firsts = heights[: -2 * 4]  # two goals each; at the end there is nothing more to begin
    assert min(firsts) >= 4
    again, _ = searched(study("two"), 60)
    assert again == codes


@pytest.mark.parametrize("asynchronous", [True, False], ids=["asynchronous", "in order"])
def test_killed_and_resumed_it_is_the_same_search(study, asynchronous):
    def stop(progress):
        if progress.phase == "search" and progress.done >= 33:
            raise Interrupted("as planned")

    whole, _ = searched(study("whole"), 60, asynchronous=asynchronous)
    with pytest.raises(Interrupted):
        searched(study("halves"), 60, stop, asynchronous)
    resumed, _ = searched(study("halves"), 60, asynchronous=asynchronous)
    assert resumed == whole
    assert len(study("halves").run.facts()["epochs"]) == 1


def test_what_it_expected_and_who_expected_it_are_in_the_record(study):
    study = study("one")
    study.search(light(), 50, Here(study.bench), identity="one")
    steps = [event for event in study.run.events() if event["kind"] == "step"]
    assert [event["networks"] for event in steps] == [20, 30, 40]  # of the design nothing was expected
    for event in steps:
        assert set(event["notes"]) == {"accuracy", "latency"}
        for note in event["notes"].values():
            assert note["predictor"] == "ridge" and 0 <= note["mape"] < 1 and 0.2 < note["tau"] <= 1
    trials = study.trials()
    assert not any(trial.details for trial in trials[:20])
    later = trials[20:]
    for name in ("accuracy", "latency"):
        expected = [trial.details[name]["predicted"] for trial in later]
        truth = [trial.values[name] for trial in later]
        assert np.corrcoef(expected, truth)[0, 1] > 0.7
        assert all(trial.details[name]["predicted_spread"] > 0 for trial in later)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"initial": 3}, "initial must be at least 4, not 3"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"evaluations": 0}, "evaluations must be at least 1, not 0"),
        ({"population": 1}, "population must be at least 2, not 1"),
        ({"predictors": ()}, "predictors must name one or more"),
    ],
)
def test_options(options, told):
    with pytest.raises(ConfigError, match=told):
        Linas(**options)
