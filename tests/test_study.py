"""The loop and its books: nothing is measured twice, nothing is lost, and a resumed search is the same search."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

import toys
from hwnas.algorithms.evolution import Evolution
from hwnas.algorithms.nsga2 import Nsga2
from hwnas.algorithms.random import Random
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, Interrupted, RecordError, SearchError, SpaceError
from hwnas.records import Records, sqlite_url
from hwnas.study import HOPELESS, REPEATS, Study
from hwnas.trial import Goal, Trial, Wish
from hwnas.trials import Trials, curve, hypervolume
from hwnas.workers import TOGETHER, Bench, Here, Pool, Setup

CODES = tuple(toys.SPACE.at(index) for index in range(0, 1880, 20))
SEARCHES = [toys.Climb(), Random(batch=7), Evolution(population=8, sample=3, batch=4), Nsga2(population=8)]
FIRST, SECOND = Goal("error", toys.error, "min"), Goal("size", toys.size, "min")

every_search = pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__.lower())
both_modes = pytest.mark.parametrize("asynchronous", [False, True], ids=["in order", "asynchronous"])


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.fixture
def goals(log):
    """Two goals that tell a file of every judgement."""
    return Goal("error", toys.Error(log=log), "min"), Goal("size", toys.Size(log=log), "min")


@pytest.fixture
def session(tmp_path):
    """A study on a database of its own, as a process finds it that starts afresh; the same name gives the same run."""
    opened = []

    def session(name="run", goals=(FIRST, SECOND), family=None, seed=0):
        opened.append(records := Records(sqlite_url(tmp_path / f"{name}.db")))
        run = records.open("main") if records.names() else records.create("main", {})
        return Study(Bench(Setup(family or toys.Toy(), seed=seed)), goals, run)

    yield session
    for records in opened:
        records.close()


def run(study, search, budget, **options):
    """A search in this process."""
    return study.search(search, budget, Here(study.bench), **options)


def gist(trials):
    """All of a trial that does not depend on the clock."""
    return [replace(trial, seconds=0.0, details={}) for trial in trials]


def deliveries(study):
    return [study.run.deliveries(epoch) for epoch in range(len(study.run.facts()["epochs"]))]


def notes(study):
    return [event["text"] for event in study.run.events() if event["kind"] == "note"]


def true(trial):
    """Whether a trial's values are those of its code."""
    candidate = Candidate(toys.Toy(), trial.code)
    return trial.values == {"error": toys.error(candidate), "size": toys.size(candidate)}


# --- the budget ------------------------------------------------------------------------------------------------------


@every_search
@both_modes
@pytest.mark.parametrize("budget", [1, 7, 40])
def test_the_budget_is_kept_exactly_and_nothing_is_judged_twice(session, goals, log, search, budget, asynchronous):
    trials = run(session(goals=goals), search, budget, asynchronous=asynchronous)
    assert [trial.number for trial in trials] == list(range(budget))
    assert len({trial.code for trial in trials}) == budget
    assert all(trial.state == "done" and true(trial) for trial in trials)
    assert all(toys.SPACE.canonical(trial.code) == trial.code for trial in trials)
    assert set(toys.begun(log).values()) == {1} and len(toys.begun(log)) == 2 * budget


def test_the_seed_decides(session):
    runs = {"one": 1, "same": 1, "other": 2}
    one, same, other = (gist(run(session(name, seed=seed), SEARCHES[0], 20)) for name, seed in runs.items())
    assert one == same != other


def test_what_is_asked_becomes_canonical_and_is_entered_once(session, goals, log):
    shallow = [(0, 1, 1, *rest) for rest in ((0, 0, 0, 0), (3, 2, 0, 0), (3, 2, 3, 2))]
    search = toys.Recite([[*shallow, CODES[50], CODES[50]], shallow])
    trials = run(session(goals=goals), search, 10)
    assert [trial.code for trial in trials] == [shallow[0], CODES[50]]
    assert [[trial.code for trial in heard] for heard in search.heard] == [[shallow[0], CODES[50]], [shallow[0]]]
    assert set(toys.begun(log).values()) == {1}


def test_a_family_may_know_that_codes_build_the_same_network(session):
    @dataclass(frozen=True)
    class Blind(toys.Toy):
        def canonical(self, code, /):
            return (*code[:2], 0, *code[3:])

    search = toys.Recite([[(0, 1, kernel, 0, 0, 0, 0) for kernel in range(3)]])
    assert [trial.code for trial in run(session(family=Blind()), search, 9)] == [(0, 1, 0, 0, 0, 0, 0)]


def test_codes_outside_the_space(session):
    with pytest.raises(SpaceError, match="'depth' takes an index from 0 to 2, got 3"):
        run(session(), toys.Recite([[(3, 0, 0, 0, 0, 0, 0)]]), 5)


# --- the same search on any workers ----------------------------------------------------------------------------------


def test_any_number_of_workers_gives_the_same_search(session, toy_parts, log):
    goals = (
        Goal("error", {"toy_parts.error": {"log": log}}, "min"),
        Goal("size", {"toy_parts.size": {"log": log}}, "min", limit=2000.0),
        Goal("latency", {"toy_parts.quiet": {"log": log, "acts": {toys.word(CODES[0]): "nan"}}}, "min"),
    )
    alone = session("alone", goals, "toy_parts.toy")
    several = session("several", goals, "toy_parts.toy")
    search = Evolution(population=8, sample=3, batch=4)
    run(alone, search, 40)
    once = toys.begun(log)
    pool = Pool(several.bench.setup, 3)
    try:
        several.search(search, 40, pool)
    finally:
        pool.close()
    assert gist(several.trials()) == gist(alone.trials())
    assert [trial.details for trial in several.trials()] == [trial.details for trial in alone.trials()]
    assert deliveries(several) == deliveries(alone)
    assert {trial.state for trial in alone.trials()} >= {"done", "over_limit"}
    assert toys.begun(log) == once + once and toys.alone(toys.heard(log), "Quiet")


# --- to go on ---------------------------------------------------------------------------------------------------------


@every_search
@both_modes
@pytest.mark.parametrize("seed", range(3))
def test_a_search_interrupted_again_and_again_is_the_same_search(session, goals, log, search, asynchronous, seed):
    whole = session("whole")
    run(whole, search, 40, asynchronous=asynchronous)
    rng, sessions = np.random.default_rng(seed), 0
    while True:
        sessions += 1
        study = session("parts", goals)
        try:
            run(study, search, 40, asynchronous=asynchronous, watch=toys.Stop(int(rng.integers(1, 40))))
            break
        except Interrupted:
            assert all(trial in gist(whole.trials()) for trial in gist(study.trials()) if trial.finished)
    assert sessions > 2
    assert gist(study.trials()) == gist(whole.trials())
    assert deliveries(study) == deliveries(whole) and notes(study) == []
    assert set(toys.begun(log).values()) == {1} and len(toys.begun(log)) == 80


@every_search
def test_forty_and_then_eighty_more_are_a_hundred_and_twenty(session, goals, log, search):
    whole, parts = session("whole"), session("parts", goals)
    run(whole, search, 120)
    for budget in (40, 40, 43, 120):
        assert len(run(parts, search, budget)) == budget
    assert gist(parts.trials()) == gist(whole.trials())
    assert deliveries(parts) == deliveries(whole)
    assert set(toys.begun(log).values()) == {1}


def test_a_smaller_budget_takes_nothing_back(session, goals, log):
    assert len(run(session(goals=goals), SEARCHES[0], 30)) == 30
    assert len(run(session(goals=goals), SEARCHES[0], 12)) == 30
    assert gist(run(session(goals=goals), SEARCHES[0], 40)) == gist(run(session("whole"), SEARCHES[0], 40))
    assert set(toys.begun(log).values()) == {1}


DRIVER = """
    import sys, toys
    from hwnas.records import Records, sqlite_url
    from hwnas.study import Study
    from hwnas.trial import Goal
    from hwnas.workers import Bench, Here, Setup

    path, log = sys.argv[1:]
    records = Records(sqlite_url(path))
    with records.lock():
        run = records.open("main") if records.names() else records.create("main", {})
        goals = Goal("error", toys.Error(log=log, pause=0.005), "min"), Goal("size", toys.Size(log=log), "min")
        study = Study(Bench(Setup(toys.Toy())), goals, run)
        study.search(toys.Climb(), 60, Here(study.bench))
"""


def test_a_driver_killed_at_any_moment_loses_the_judgement_in_hand_only(session, toy_parts, tmp_path, log):
    rng = np.random.default_rng()
    heard = 0
    for _ in range(3):
        heard += int(rng.integers(1, 70))
        arguments = [sys.executable, "-c", textwrap.dedent(DRIVER), str(tmp_path / "run.db"), log]
        driver = subprocess.Popen(arguments)
        while len(toys.heard(log)) < heard and driver.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.01)
        driver.kill()
        assert driver.wait() in (-signal.SIGKILL, 0)  # 0 where this test was kept waiting until all was done
    goals = Goal("error", toys.Error(log=log), "min"), Goal("size", toys.Size(log=log), "min")
    study, whole = session(goals=goals), session("whole")
    run(study, toys.Climb(), 60)
    run(whole, toys.Climb(), 60)
    assert gist(study.trials()) == gist(whole.trials())
    assert deliveries(study) == deliveries(whole) and notes(study) == []
    begun = toys.begun(log)
    assert len(begun) == 120 and sum(begun.values()) <= 120 + 3


# --- another search --------------------------------------------------------------------------------------------------


def test_another_search_starts_with_all_that_is_known(session, goals, log):
    first = run(session(goals=goals), Random(batch=7), 20, identity="random")
    asked = [[CODES[90]], [CODES[91], first[3].code]]
    search, said = toys.Recite(asked), []
    study = session(goals=goals)
    run(study, search, 30, identity="recite", watch=lambda progress: said.append(progress.message))
    assert gist(search.heard[0]) == gist([*first, study.trials()[20]])
    assert gist(search.heard[1]) == gist([study.trials()[21], first[3]])
    assert len(study.trials()) == 22 and set(toys.begun(log).values()) == {1}
    assert notes(study) == ["the search was changed: its 20 networks are a warm start for the new one"]
    assert set(notes(study)) < set(said)


def test_another_search_has_randomness_of_its_own(session):
    drawn = []

    class Dice(toys.Recite):
        def steps(self, space, goals, rng):
            drawn.append(rng.random())
            return super().steps(space, goals, rng)

    for identity in (1, 1, 2, 2, 1):
        run(session(), Dice([CODES[:3]]), 10, identity=identity)
    assert drawn[0] == drawn[1] and drawn[2] == drawn[3] and len(set(drawn)) == 3


@every_search
@both_modes
def test_a_warm_start_can_be_interrupted_like_anything_else(session, goals, log, search, asynchronous):
    options = {"asynchronous": asynchronous, "identity": 2}
    for name in ("whole", "parts"):
        with pytest.raises(Interrupted):  # leaves networks that are not judged yet
            run(session(name, goals), Random(batch=7), 20, identity=1, watch=toys.Stop(25))
    run(session("whole", goals), search, 40, **options)
    for after in (2, 9, 20):
        with pytest.raises(Interrupted):
            run(session("parts", goals), search, 40, watch=toys.Stop(after), **options)
    run(session("parts", goals), search, 40, **options)
    assert gist(session("parts").trials()) == gist(session("whole").trials())
    assert deliveries(session("parts")) == deliveries(session("whole"))
    assert all(trial.state == "done" for trial in session("parts").trials())
    assert set(toys.begun(log).values()) == {2}  # once in each of the two


def test_the_same_search_is_known_by_what_the_record_keeps_of_it(session):
    identity = {"search": ("climb", {"batch": 5}), "limits": [("size", 0.1)]}
    run(session(), toys.Climb(), 10, identity=identity)
    study = session()
    run(study, toys.Climb(), 20, identity=identity)
    assert notes(study) == [] and len(deliveries(study)) == 1


def test_a_search_that_does_not_repeat_itself_goes_on_with_what_is_known(session, goals, log):
    with pytest.raises(Interrupted):
        run(session(goals=goals), toys.Climb(), 40, watch=toys.Stop(45))
    before = gist(trial for trial in session().trials() if trial.finished)
    assert before
    with pytest.raises(Interrupted):
        run(session(goals=goals), toys.Climb(batch=3), 40, watch=toys.Stop(30))
    study = session(goals=goals)
    trials = run(study, toys.Climb(batch=3), 40)
    assert len(trials) == 40 and all(trial.state == "done" for trial in trials)
    assert all(trial in gist(trials) for trial in before)
    assert set(toys.begun(log).values()) == {1} and len(toys.begun(log)) == 80
    (note,) = notes(study)
    assert note.startswith("the search does not repeat itself")


# --- as things finish ------------------------------------------------------------------------------------------------


def test_asynchronous_searches_hear_of_trials_before_the_step_is_over(session, toy_parts):
    goals = (Goal("error", {"toy_parts.error": {"pause": 0.01}}, "min"),)
    study = session("run", goals, "toy_parts.toy")
    search = Evolution(population=8, sample=3, batch=8)
    for budget in (20, 50):  # the second one replays the first
        pool = Pool(study.bench.setup, 3)
        try:
            study.search(search, budget, pool, asynchronous=True)
        finally:
            pool.close()
        assert len(study.trials()) == budget and len(deliveries(study)) == 1
        assert all(trial.state == "done" for trial in study.trials())
    (told,) = deliveries(study)
    assert any(0 < len(step) < 8 for step in told)
    flat = [number for step in told for number in step]
    assert len(set(flat)) == len(flat) <= 50


@pytest.mark.parametrize(("capacity", "told"), [(1, [6, 0, 0, 0]), (3, [4, 1, 1, 0]), (9, [0, 1, 1, 1])])
def test_whoever_asks_is_told_while_there_is_room_and_whoever_waits_is_told_of_the_next(session, capacity, told):
    study = session(goals=(FIRST,))
    several = Here(study.bench)
    several.capacity = capacity
    search = toys.Recite([CODES[:6], [], [], []])
    study.search(search, 6 + 1, several, asynchronous=True)
    assert [len(trials) for trials in search.heard] == told
    assert all(trial.state == "done" for trial in study.trials())


# --- limits ----------------------------------------------------------------------------------------------------------


def limited(goals, limit, **options):
    return goals[0], replace(goals[1], limit=limit, **options)


@pytest.mark.parametrize("objective", [True, False])
def test_cheap_limits_come_first_and_spare_the_dear_metrics(session, goals, log, objective):
    trials = run(session(goals=limited(goals, 1000.0, objective=objective)), Random(batch=7), 40)
    over = [trial for trial in trials if trial.state == "over_limit"]
    done = [trial for trial in trials if trial.state == "done"]
    assert over and done and len(over) + len(done) == 40
    assert all(trial.values.keys() == {"size"} and trial.values["size"] > 1000 for trial in over)
    assert all(true(trial) and trial.values["size"] <= 1000 for trial in done)
    begun = toys.begun(log)
    assert {code for metric, code in begun if metric == "error"} == {toys.word(trial.code) for trial in done}
    order = [metric for metric, _, what, *_ in toys.heard(log) if what == "begin"]
    assert order[:7] == ["size"] * 7 and order[7] == "error"  # a whole step for one metric, then for the next
    assert (len(trials.done()), len(trials.feasible())) == (len(done), len(done))


def test_limits_that_are_not_cheap_come_before_what_has_none(session, log):
    goals = (
        Goal("free", toys.Acting(log=log), "min"),
        Goal("limited", toys.Error(log=log), "min", limit=0.04),
        Goal("cheap", toys.Size(log=log), "min"),
    )
    trials = run(session(goals=goals), toys.Recite([CODES]), 30)
    over = [trial for trial in trials if trial.state == "over_limit"]
    assert over and len(over) < 30
    assert all(trial.values.keys() == {"cheap", "limited"} for trial in over)


def test_a_limit_that_is_just_kept(session, goals):
    exact = toys.size(Candidate(toys.Toy(), CODES[5]))
    search = toys.Recite([CODES[5:6]])
    assert run(session("a", limited(goals, exact)), search, 1)[0].state == "done"
    assert run(session("b", limited(goals, math.nextafter(exact, 0))), search, 1)[0].state == "over_limit"


def test_another_limit_judges_anew_what_is_known_and_measures_what_lacks(session, goals, log):
    def states(limit):
        trials = run(session(goals=limited(goals, limit)), Random(batch=7), 40, identity=limit)
        assert len(trials) == 40
        assert all((trial.state == "done") == (trial.values["size"] <= limit) for trial in trials)
        assert all(true(trial) for trial in trials.feasible())
        return Counter(trial.state for trial in trials)

    strict, loose, stricter = states(1000.0), states(2000.0), states(500.0)
    assert 0 < stricter["done"] < strict["done"] < loose["done"] < 40
    assert set(toys.begun(log).values()) == {1}


def test_a_metric_that_judges_batches_gets_all_of_a_step(session, goals):
    seen = []

    class Together(toys.Error):
        def many(self, candidates):
            seen.append([candidate.code for candidate in candidates])
            return [float(len(seen))] * len(candidates)

    study = session(goals=(*limited(goals, 2000.0), Goal("x", Together(), "min")))
    trials = run(study, toys.Recite([CODES[:TOGETHER], CODES[4 : TOGETHER * 2]]), TOGETHER * 2)
    steps = [[t.code for t in some if t.state == "done"] for some in (trials[:TOGETHER], trials[TOGETHER:])]
    assert seen == steps and 1 < len(steps[0]) < TOGETHER


# --- failures --------------------------------------------------------------------------------------------------------


def test_failures_are_trials_too(session, goals, log):
    acts = {toys.word(CODES[1]): "raise", toys.word(CODES[2]): "nan"}
    goals = (*goals, Goal("x", toys.Acting(acts), "max"))
    search = toys.Recite([CODES[:4], [CODES[1]]])
    study = session(goals=goals)
    trials = run(study, search, 10)
    assert [trial.state for trial in trials] == ["done", "failed", "failed", "done"]
    assert trials[1].error.startswith("x: RuntimeError: no luck with this one (toys.py:")
    assert trials[2].error == "x: the metric gave nan"
    assert trials[1].values.keys() == {"error", "size"}
    assert [trial.state for trial in search.heard[0]] == [trial.state for trial in trials]
    assert search.heard[1] == [trials[1]]  # known to fail
    assert len(trials.done()) == len(trials.feasible()) == len(trials.front()) == 2


def test_a_run_in_which_everything_fails_ends_early_and_says_why(session):
    def broken(candidate):
        if candidate.code[1] == 0:
            raise KeyError("another one")
        raise OSError("no such device")

    study = session(goals=(Goal("x", broken, "min"),))
    with pytest.raises(SearchError, match=r"the first 10 .* all failed, \d+ of them with: x: OSError: no such device"):
        run(study, Random(), 100)
    assert sum(trial.state == "failed" for trial in study.trials()) == HOPELESS
    mended = session(goals=(Goal("x", toys.size, "min"),))
    assert len(run(mended, Random(), 30).feasible()) == 20


def test_a_small_budget_in_which_everything_fails(session):
    with pytest.raises(SearchError, match="the first 3 networks all failed"):
        run(session(goals=(Goal("x", lambda _: math.nan, "min"),)), Random(), 3)


def test_one_success_is_reason_to_go_on(session):
    goals = (Goal("x", lambda candidate: 1.0 if candidate.code == CODES[3] else math.nan, "min"),)
    trials = run(session(goals=goals), toys.Recite([CODES]), 40)
    assert Counter(trial.state for trial in trials) == {"done": 1, "failed": 39}


def test_workers_that_lose_codes(session):
    class Careless(Here):
        def submit(self, job):
            super().submit(replace(job, codes=job.codes[1:]))

    study = session()
    with pytest.raises(SearchError, match="networks were sent out to be measured and never came back"):
        study.search(toys.Recite([CODES[:3]]), 3, Careless(study.bench))


# --- how a search may end --------------------------------------------------------------------------------------------


@both_modes
@pytest.mark.parametrize(
    ("script", "last", "found"),
    [
        ([], True, 0),
        ([[]], True, 0),
        ([CODES[:3], CODES[3:4]], True, 4),  # ends early
        ([[]], False, 0),  # waits for ever
        ([CODES[:3], []], False, 3),
        ([CODES[:3]], False, 3),  # asks for what is known for ever
        ([CODES[:3], CODES[1:2]], False, 3),
    ],
)
def test_every_search_comes_to_an_end(session, goals, log, script, last, found, asynchronous):
    search = toys.Recite(script, last)
    study = session(goals=goals)
    assert len(run(study, search, 50, asynchronous=asynchronous)) == found
    assert all(trial.state == "done" for trial in study.trials())
    assert len(search.heard) <= len(script) + 3 + REPEATS
    assert len(toys.begun(log)) == 2 * found and set(toys.begun(log).values()) <= {1}


def test_a_space_that_is_used_up(session):
    shallow = [toys.SPACE.at(index) for index in range(12)]
    trials = run(session(), toys.Recite([shallow, shallow, shallow]), 50)
    assert len(trials) == 12


# --- questions -------------------------------------------------------------------------------------------------------

ACCURACY, LATENCY = Goal("accuracy", None, "max"), Goal("latency", None, "min", limit=8.0)


def some():
    table = [(0.9, 7.0), (0.8, 2.0), (0.7, 2.0), (0.6, 1.0), (0.95, 9.0), (0.9, 7.5), (0.8, 2.0)]
    done = [
        Trial(n, (n,), {"accuracy": a, "latency": t}, "done" if t <= 8 else "over_limit")
        for n, (a, t) in enumerate(table)
    ]
    others = [
        Trial(7, (7,), {"latency": 99.0}, "over_limit"),
        Trial(8, (8,), {"latency": 0.1}, "failed"),
        Trial(9, (9,)),
    ]
    return Trials([*done, *others], (ACCURACY, LATENCY))


def numbers(trials):
    return [trial.number for trial in trials]


def test_the_front_is_feasible_and_starts_with_the_best_in_the_first_goal():
    trials = some()
    assert numbers(trials.feasible()) == [0, 1, 2, 3, 5, 6]
    assert numbers(trials.done()) == [0, 1, 2, 3, 4, 5, 6]
    assert numbers(trials.front()) == [0, 1, 6, 3]
    assert numbers(trials.front().front()) == [0, 1, 6, 3]
    assert trials.feasible().losses().tolist()[0] == [-0.9, 7.0]


def test_under_further_limits():
    trials = some()
    assert numbers(trials.under(latency=2.0)) == [1, 2, 3, 6, 8]
    assert numbers(trials.under(latency=2.0, accuracy=0.7)) == [1, 2, 6]
    assert numbers(trials.front().under(accuracy=0.8)) == [0, 1, 6]
    with pytest.raises(ConfigError, match=r"no goal is named 'latenzy'; did you mean 'latency'\? known: accuracy"):
        trials.under(latenzy=1.0)


def test_the_best_and_the_knee():
    trials = some()
    assert trials.best("accuracy").number == 0  # before 5: as accurate and faster
    assert trials.best("latency").number == 3
    assert trials.under(latency=2.0).best("accuracy").number == 1  # before 6: the same, but earlier
    assert trials.knee().number == 1
    nothing = trials.where(lambda trial: trial.state == "failed")
    for ask in (lambda: nothing.best("accuracy"), nothing.knee):
        with pytest.raises(RecordError, match="none of these 1 trials is done and within the limits"):
            ask()
    assert len(nothing.front()) == 0


def test_trials_are_a_sequence():
    trials = some()
    assert len(trials) == 10 and trials[-1].number == 9 and trials[3] in trials
    assert isinstance(trials[2:4], Trials) and numbers(trials[2:4]) == [2, 3] and trials[2:4].goals == trials.goals
    assert repr(trials[:2]) == "Trials(2: #0, #1)" and repr(trials).endswith(" …)")


def test_hypervolume_is_a_share_of_the_box_of_what_was_seen():
    two = (ACCURACY, replace(LATENCY, limit=None))
    corners = Trials([Trial(0, (0,), {"accuracy": 1.0, "latency": 5.0}, "done")], two)
    frame = Trials([*corners, Trial(1, (1,), {"accuracy": 0.0, "latency": 1.0}, "done")], two)
    best = Trials([Trial(2, (2,), {"accuracy": 1.0, "latency": 1.0}, "done")], two)
    middle = Trials([Trial(3, (3,), {"accuracy": 0.5, "latency": 3.0}, "done")], two)
    assert hypervolume(best, frame) == pytest.approx(1.0)
    assert hypervolume(middle, frame) == pytest.approx(0.25)
    assert hypervolume(frame) == pytest.approx(0.0, abs=1e-6)
    assert hypervolume(Trials([], two)) == 0.0


def test_a_curve_is_the_hypervolume_of_every_prefix():
    rng = np.random.default_rng(4)
    two = (ACCURACY, LATENCY)
    trials = []
    for number in range(40):
        values = {"accuracy": rng.random(), "latency": LATENCY.limit * 2 * rng.random()}
        state = "failed" if number % 7 == 3 else "done" if LATENCY.within(values["latency"]) else "over_limit"
        trials.append(Trial(number, (number,), {} if state == "failed" else values, state))
    own, frame = Trials(trials[5:], two), Trials(trials, two)
    shares = curve(own, frame, range(len(own) + 1))
    assert shares == pytest.approx([hypervolume(own[:count], frame) for count in range(len(own) + 1)])
    assert shares[0] == 0 < shares[-1] < 1 and shares == sorted(shares)
    assert curve(own, frame, [3, 20]) == pytest.approx([shares[3], shares[20]])
    assert curve(own, None, [len(own)]) == [hypervolume(own)]
    assert curve(Trials([], two), None, [0, 1]) == [0.0, 0.0]


def test_whoever_watches_is_told(session):
    reports = []
    study = session(goals=limited((FIRST, SECOND), 1000.0))
    trials = run(study, Random(), 20, watch=reports.append)
    last = reports[-1]
    assert (last.phase, last.done, last.total) == ("search", 20, 20)
    assert last.facts["feasible"] == len(trials.feasible()) and last.facts["failed"] == 0
    assert last.facts["over_limit"] == 20 - len(trials.feasible())
    assert last.facts["best"] == {name: trials.best(name).values[name] for name in ("error", "size")}
    assert last.facts["hypervolume"] == hypervolume(trials)
    assert [report.done for report in reports] == sorted(report.done for report in reports)


# --- the finalists ---------------------------------------------------------------------------------------------------


def test_finalists_are_judged_in_full_by_the_confirmed_metrics(session, goals):
    study = session(goals=limited(goals, 1000.0))
    found = run(study, Random(), 30)
    codes = [*(trial.code for trial in found.front()), toys.SPACE.largest]
    confirmed = study.confirm(codes, Here(study.bench))
    assert [trial.code for trial in confirmed] == codes and numbers(confirmed) == list(range(len(codes)))
    for trial in confirmed:
        candidate = Candidate(toys.Toy(), trial.code)
        assert trial.values == {"error": toys.error(candidate) + 0.25, "size": toys.size(candidate)}
    assert confirmed[-1].state == "over_limit" and all(trial.state == "done" for trial in confirmed[:-1])
    assert numbers(study.trials()) == list(range(30))
    assert gist(study.front()) == gist(confirmed.front()) != gist(found.front())


def test_all_finalists_are_judged_together_where_that_is_possible(session):
    seen = []

    class Together:
        def many(self, candidates):
            seen.append([candidate.code for candidate in candidates])
            return [float(candidate.code[0]) for candidate in candidates]

        def __call__(self, candidate):
            raise AssertionError

    study = session(goals=(Goal("x", Together(), "min"), SECOND))
    study.confirm(CODES[: TOGETHER + 3], Here(study.bench))
    assert seen == [list(CODES[: TOGETHER + 3])]


def test_confirming_goes_on_where_it_was_left(session, goals, log):
    codes = CODES[10:16]
    for after in (4, 3, 6):
        study = session(goals=goals)
        with pytest.raises(Interrupted):
            study.confirm(codes, Here(study.bench), toys.Stop(after))
        assert len(study.front()) == 0  # half a confirmation is none
    reports = []
    confirmed = study.confirm(codes, Here(study.bench), reports.append)
    assert [trial.state for trial in confirmed] == ["done"] * 6
    assert set(toys.begun(log).values()) == {1} and len(toys.begun(log)) == 12
    assert (reports[-1].phase, reports[-1].done, reports[-1].total) == ("confirm", 12, 12)
    again = study.confirm(codes, Here(study.bench))
    assert gist(again) == gist(confirmed) and set(toys.begun(log).values()) == {1}


@pytest.mark.parametrize("codes", [CODES[11:14], CODES[9:14], CODES[10:15]])
def test_another_front_is_measured_in_a_round_of_its_own(session, goals, log, codes):
    study = session(goals=goals)
    study.confirm(CODES[10:14], Here(study.bench))
    confirmed = study.confirm(codes, Here(study.bench))
    assert [trial.code for trial in confirmed] == list(codes) and numbers(confirmed) == list(range(len(codes)))
    assert all(toys.begun(log)["error", toys.word(code)] == 1 + (code in CODES[10:14]) for code in codes)


def test_a_finalist_that_fails_leaves_the_others(session, goals):
    goals = (Goal("x", toys.Acting({toys.word(CODES[1]): "raise"}), "min"), *goals)
    study = session(goals=goals)
    confirmed = study.confirm(CODES[:3], Here(study.bench))
    assert [trial.state for trial in confirmed] == ["done", "failed", "done"]
    assert confirmed[1].values == {} and confirmed[1].error.startswith("x: RuntimeError")


def test_finalists_under_another_limit(session, goals):
    middle = sorted(toys.size(Candidate(toys.Toy(), code)) for code in CODES[:7])[3]
    for limit, kept in ((middle, 4), (math.nextafter(middle, 0), 3), (1e9, 7)):
        study = session(goals=limited(goals, limit))
        assert len(study.confirm(CODES[:7], Here(study.bench)).feasible()) == kept


def test_failed_networks_get_another_chance(session):
    broken = True

    def judge(candidate):
        if broken and sum(candidate.code) % 3 == 0:
            raise ValueError("not today")
        return float(sum(candidate.code))

    study = session(goals=(Goal("sum", judge, "max"),))
    first = study.search(Random(batch=4), 12, Here(study.bench), identity="same")
    failed = {trial.code for trial in first if trial.state == "failed"}
    assert 0 < len(failed) < 12
    broken = False
    assert study.retry_failed() == len(failed)
    again = study.search(Random(batch=4), 12, Here(study.bench), identity="same")
    assert [trial.code for trial in again] == [trial.code for trial in first]
    assert all(trial.state == "done" for trial in again)
    assert study.retry_failed() == 0


# --- what a search tells --------------------------------------------------------------------------------------------


class Telling(Random):
    """A search that says what it expects, and why."""

    def steps(self, space, goals, rng, /):
        for codes in (CODES[:3], CODES[3:6]):
            predicted = {code: {"error": {"predicted": 0.5, "predicted_spread": 0.1}} for code in codes[:2]}
            yield Wish(codes, predicted=predicted, notes={"tau": 0.9})


@both_modes
def test_what_a_search_expects_stands_beside_what_came_out_and_its_notes_are_written_once(session, asynchronous):
    shown = []
    run(session(), Telling(), 3, asynchronous=asynchronous, watch=lambda progress: shown.append(progress.facts))
    trials = run(session(), Telling(), 6, asynchronous=asynchronous)
    expected = {"predicted": 0.5, "predicted_spread": 0.1}
    assert [trial.details.get("error", {}) for trial in trials] == [expected, expected, {}] * 2
    told = [(event["networks"], event["notes"]) for event in session().run.events() if event["kind"] == "step"]
    assert told == [(0, {"tau": 0.9}), (3, {"tau": 0.9})]
    assert shown[-1]["notes"] == {"tau": 0.9}
