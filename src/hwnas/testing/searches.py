"""What a search promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas import pareto, parts
from hwnas.errors import ConfigError
from hwnas.space import Code
from hwnas.testing._shared import Check, hold, require, spec_for, unchanged
from hwnas.testing.courses import SKEWED, cube, drive, fitting, rough
from hwnas.testing.toys import GOALS, REFERENCE, SIDE, SPACE, SPREAD, Toy, latency
from hwnas.trial import Goal, Search, Trial, losses, misfit

if TYPE_CHECKING:
    from hwnas.study import Study


def _courses(search: Search) -> tuple[dict[str, Any], ...]:
    """How a study may go, with goals that the search takes."""
    free, limited = fitting(search)
    usual: tuple[dict[str, Any], ...] = ({}, {"lose": 0.5}, {"shuffle": True}, {"fail": 0.5})
    strict = {"lose": 0.3, "shuffle": True, "fail": 0.2}
    return (*({"goals": free, **way} for way in usual), {"goals": limited}, {"goals": limited, **strict})


def asks_canonical_codes_once(search: Search) -> None:
    """Every code lies inside the space, is canonical, of plain ints, and asked for once, however answers come."""
    for options in _courses(search):
        asked = drive(search, budget=150, **options).asked
        require(len(set(asked)) >= 150, f"with {options} it stops after {len(set(asked))} of 150 networks")
        require(len(set(asked)) == len(asked), f"with {options} it asks for a network twice")
        for code in asked:
            require(type(code) is tuple and all(type(index) is int for index in code), f"{code!r} is no tuple of ints")
            require(SPACE.canonical(code) == code, f"{code} is not canonical: {SPACE.canonical(code)}")


def replays(search: Search) -> None:
    """The same seed and the same deliveries give the same codes again, which is how a run is resumed."""
    for options in _courses(search):
        course = drive(search, seed=3, budget=120, **options)
        steps = search.steps(SPACE, options["goals"], np.random.default_rng(3))
        asked = list(next(steps))
        for delivery in course.deliveries:
            asked += steps.send(list(delivery))
        require(asked[: len(course.asked)] == course.asked, f"with {options} a replay asks for other networks")
    require(drive(search, seed=4).asked != drive(search, seed=3).asked, "another seed gives the same search")


def more_budget_goes_on(search: Search) -> None:
    """A small budget cuts a search short and changes nothing of what came before."""
    short, long = drive(search, budget=40).asked, drive(search, budget=120).asked
    require(long[: len(short)] == short, "with a larger budget it begins otherwise")


def ignores_the_hash_seed(search: Search) -> None:
    """In a fresh process, with other hashes of strings, it asks for the same networks."""
    script = f"""
import json, sys
from hwnas import parts, testing
search = parts.make("algorithms", json.loads(sys.argv[1]))
print(json.dumps(testing.drive(search, **{_HASHED}).asked))"""
    known = os.environ.get("PYTHONHASHSEED")
    home = os.pathsep.join(sys.path)  # noqa: TID251  # it shall find what is found here
    env = {**os.environ, "PYTHONHASHSEED": "2" if known == "1" else "1", "PYTHONPATH": home}
    command = [sys.executable, "-c", script, json.dumps(spec_for(search))]
    told = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    here = json.loads(json.dumps(drive(search, **_HASHED).asked))
    require(json.loads(told) == here, "another process asks for other networks: does the order of a set matter?")


_HASHED: dict[str, Any] = {"budget": 100, "lose": 0.2, "shuffle": True}


def survives_lost_answers(search: Search) -> None:
    """It goes on if half of the answers never come, or all of them, in order or late."""
    for lose in (0.5, 1.0):
        for shuffle in (False, True):
            found = len(set(drive(search, budget=200, lose=lose, shuffle=shuffle).asked))
            require(found >= 200, f"without {lose:.0%} of the answers it stops after {found} networks")


def survives_failures(search: Search) -> None:
    """It goes on if everything fails."""
    found = len(set(drive(search, budget=200, fail=1.0).asked))
    require(found >= 200, f"if everything fails it stops after {found} networks")


def uses_up_small_spaces(search: Search) -> None:
    """It asks for every network of a small space once, and then ends, or asks for nothing new."""
    for sizes in ((1,), (1, 1, 1), (2, 2), (4, 4), (2, 3, 4), (7, 1, 9)):
        for lose in (0.0, 0.5, 1.0):
            space = cube(*sizes)
            asked = drive(search, space=space, judge=rough, budget=1000, lose=lose).asked
            missing = space.size - len(set(asked))
            require(not missing, f"of {space.size} networks it leaves out {missing}, without {lose:.0%} of the answers")
            early = asked[: space.size]
            require(len(set(early)) == len(early), f"it asks twice before all {space.size} networks are known")


def finds_what_is_hardly_ever_sampled(search: Search) -> None:
    """It comes to the end of a space of which most samples are alike."""
    asked = drive(search, space=SKEWED, judge=rough, budget=10_000).asked
    require(set(asked) == set(SKEWED.codes()), f"it finds {len(set(asked))} of {SKEWED.size} networks")


def knows_what_it_is_told(search: Search) -> None:
    """It takes trials that it did not ask for, before and meanwhile, and does not ask for them again."""
    space = cube(3, 3, 3)
    earlier = drive(search, space=space, judge=rough, budget=9, seed=1).trials
    unasked = [code for code in space.codes() if code[0] == 2]
    asked = drive(search, space=space, judge=rough, earlier=earlier, unasked=unasked).asked
    told = {trial.code for trial in earlier}
    require(not told & set(asked), "it asks for networks of the warm start")
    require(told | set(asked) | set(unasked) == set(space.codes()), "it leaves out what nobody has judged")


def needs_nothing_where_all_is_known(search: Search) -> None:
    """A space that a warm start knows whole, judged or failed, is asked for nothing."""
    space = cube(2, 2)
    for state in ("done", "failed"):
        values = rough if state == "done" else lambda code: {}
        earlier = [Trial(i, code, values(code), state) for i, code in enumerate(space.codes())]
        asked = drive(search, space=space, judge=rough, earlier=earlier).asked
        require(not asked, f"all is known, {state}, and it asks for {asked}")


def takes_the_goals_that_fit(search: Search) -> None:
    """It takes as many objectives as it says, refuses others by name, and a goal may be nothing but a limit."""
    bound = Goal("latency", latency, "min", limit=20.0, objective=False)
    least, most = search.objectives()
    for goals in (GOALS[:1], GOALS, (*GOALS, SPREAD), (bound, GOALS[0])):
        names = [goal.name for goal in goals]
        if not misfit(search, goals):
            found = len(drive(search, goals).asked)
            require(found >= 100, f"with the goals {names} it stops after {found} networks")
            continue
        try:
            drive(search, goals)
        except ConfigError as error:
            require(str(least) in str(error), f"refusing {names} it does not say what it takes: {error}")
        else:
            raise AssertionError(f"it says that it takes {least} to {most} objectives, and searches with {names}")


def leaves_randomness_alone(search: Search) -> None:
    """It draws from its own generator only, and changes nothing global."""
    drive(search, budget=10)  # what it imports may set something up
    with unchanged("searching"):
        drive(search, budget=60)


@contextmanager
def _study(goals: Sequence[Goal]) -> Iterator[Callable[[], Study]]:
    """A record in a folder that goes away, and the study of it, opened as often as one likes."""
    from hwnas.records import Records, sqlite_url
    from hwnas.study import Study
    from hwnas.workers import Bench, Setup

    with TemporaryDirectory() as place:
        records = Records(sqlite_url(Path(place) / "study.db"))
        records.create("main", {})
        try:
            yield lambda: Study(Bench(Setup(Toy())), goals, records.open("main"))
        finally:
            records.close()


def keeps_to_the_budget(search: Search) -> None:
    """In a real study it spends the budget exactly; stopped and resumed with more, it finds what one go would find."""
    from hwnas.workers import Here

    def run(opened: Study, budget: int, asynchronous: bool) -> list[Code]:
        workers = Here(opened.bench)
        trials = opened.search(search, budget, workers, asynchronous=asynchronous, identity="one")
        require(len(trials) == budget, f"with a budget of {budget} it judges {len(trials)} networks")
        require(all(trial.finished for trial in trials), "it leaves trials unfinished")
        return [trial.code for trial in trials]

    for goals in fitting(search):
        with _study(goals) as whole, _study(goals) as halves, _study(goals) as free:
            run(halves(), 31, asynchronous=False)
            resumed = run(halves(), 60, asynchronous=False)
            require(len(halves().run.facts()["epochs"]) == 1, "the resumed search does not repeat itself")
            require(resumed == run(whole(), 60, asynchronous=False), "a search that was stopped finds something else")
            run(free(), 60, asynchronous=True)


def beats_random(search: Search) -> None:
    """On the toy problem it finds at least what random search finds: the mean over six seeds, give or take its error.

    With several objectives that is the hypervolume, with one how far the best network lies within the reference.
    """
    blind: Search = parts.make("algorithms", "random")
    goals, _ = fitting(search)
    ours, theirs = (
        np.array([_worth(drive(each, goals, seed=seed, budget=200).trials[:200], goals) for seed in range(6)])
        for each in (search, blind)
    )
    found, enough = ours.mean(), theirs.mean() - theirs.std() / len(theirs) ** 0.5
    require(found >= enough, f"it finds {found:.4g}, random search finds {theirs.mean():.4g}")


def _worth(trials: Sequence[Trial], goals: Sequence[Goal]) -> float:
    reference_M = (*REFERENCE, float(SIDE))[: len(goals)]
    if len(goals) == 1:
        return float(reference_M[0] - losses(trials, goals).min())
    return pareto.hypervolume(losses(trials, goals), reference_M)


SEARCH: tuple[Check, ...] = (
    asks_canonical_codes_once,
    replays,
    more_budget_goes_on,
    ignores_the_hash_seed,
    survives_lost_answers,
    survives_failures,
    uses_up_small_spaces,
    finds_what_is_hardly_ever_sampled,
    knows_what_it_is_told,
    needs_nothing_where_all_is_known,
    takes_the_goals_that_fit,
    leaves_randomness_alone,
    keeps_to_the_budget,
    beats_random,
)


def check_search(search: Search) -> None:
    """Holds a search to its protocol."""
    hold(SEARCH, search)
