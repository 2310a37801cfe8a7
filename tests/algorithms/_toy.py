"""A toy problem whose goals cost nothing, a driver that plays the study's part, and what every search keeps."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hwnas import pareto
from hwnas.space import Choice, Code, Space
from hwnas.trial import Goal, Search, Trial, excess, losses

KERNELS, EXPANDS, OPS = (3, 5, 7), (2, 4, 6), ("conv", "pool", "skip", "none")


def _blocks() -> list[Choice]:
    choices = []
    for block in range(5):
        when = ("depth", tuple(range(block + 1, 6))) if block > 0 else None
        choices += [Choice(f"block{block}.kernel", KERNELS, when), Choice(f"block{block}.expand", EXPANDS, when)]
        choices.append(Choice(f"block{block}.branch", OPS, when))
    return choices


SPACE = Space("toy", (Choice("depth", (1, 2, 3, 4, 5)), Choice("head", ("a", "b", "c")), *_blocks()))


def judge(code: Code) -> dict[str, float]:
    """Accuracy grows with size, but less and less, and depends on which words go together; latency adds up."""
    arch = SPACE.decode(code)
    score, latency = 0.0, 1.0
    for block in range(arch["depth"]):
        kernel, expand, branch = (arch[f"block{block}.{axis}"] for axis in ("kernel", "expand", "branch"))
        latency += expand * kernel * (0.2 + 0.1 * block) + {"conv": 6, "pool": 2, "skip": 0.5, "none": 0}[branch]
        score += expand * kernel**0.5 * (1.0 if block % 2 else 0.6)
        score += {"conv": 6, "pool": 1, "skip": 4 if expand == 2 else 1, "none": 0}[branch]
    score *= {"a": 0.8, "b": 1.0, "c": 0.9}[arch["head"]]
    return {"accuracy": 1 - float(np.exp(-score / 30)), "latency": latency}


GOALS = (Goal("accuracy", None, "max"), Goal("latency", None, "min"))
LIMITED = (Goal("accuracy", None, "max"), Goal("latency", None, "min", limit=15.0))
REFERENCE = (0.0, 80.0)


@dataclass
class Run:
    """What went over the border between a study and a search."""

    asked: list[Code] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    deliveries: list[list[Trial]] = field(default_factory=list)
    ended: bool = False


def drive(
    search: Search,
    goals: Sequence[Goal] = GOALS,
    space: Space = SPACE,
    judge: Callable[[Code], dict[str, float]] = judge,
    seed: int = 0,
    budget: int = 100,
    lose: float = 0.0,
    shuffle: bool = False,
    fail: float = 0.0,
    earlier: Sequence[Trial] = (),
    unasked: Sequence[Code] = (),
) -> Run:
    """Plays the study until the budget is spent or the search ends.

    Args:
        lose: the share of answers that never come.
        shuffle: answers come in any order, and some of them late.
        fail: the share of trials that fail.
        earlier: a warm start, delivered with the first answer.
        unasked: codes of which one more is delivered with every answer.
    """
    chance = np.random.default_rng([seed, 1])
    steps = search.steps(space, goals, np.random.default_rng(seed))
    run, others = Run(), list(unasked)

    def tried(code: Code) -> Trial:
        trial = Trial(len(run.asked), code, judge(code), "done")
        if chance.random() < fail:
            return Trial(len(run.asked), code, state="failed", error="as planned")
        if excess(trial, goals) > 0:  # over a cheap limit, so the dear goal was never measured
            return Trial(len(run.asked), code, {"latency": trial.values["latency"]}, "over_limit")
        return trial

    waiting: list[Trial] = list(earlier)
    codes, idle = next(steps), 0
    while len(run.asked) < budget:
        idle = 0 if codes or waiting else idle + 1
        assert idle < 5, "the search neither asks nor ends"
        for code in codes:
            run.asked.append(code)
            if chance.random() >= lose:
                waiting.append(tried(code))
        if others:
            waiting.append(tried(others.pop()))
        share = len(waiting)
        if shuffle and waiting:
            waiting = [waiting[i] for i in chance.permutation(len(waiting))]
            share = int(chance.integers(1, len(waiting) + 1))
        delivery, waiting = waiting[:share], waiting[share:]
        run.trials += delivery
        run.deliveries.append(delivery)
        try:
            codes = steps.send(delivery)
        except StopIteration:
            run.ended = True
            break
    return run


def volume(trials: Sequence[Trial]) -> float:
    """The hypervolume of some trials of the toy problem."""
    return pareto.hypervolume(losses(trials, GOALS), REFERENCE)


def volumes(search: Search, budget: int, seeds: int = 6) -> np.ndarray:
    """The hypervolume after a budget, by seed."""
    return np.array([volume(drive(search, seed=seed, budget=budget).trials[:budget]) for seed in range(seeds)])


def cube(*sizes: int) -> Space:
    """A space of independent choices."""
    return Space("cube", tuple(Choice(f"c{i}", tuple(range(size))) for i, size in enumerate(sizes)))


def apart(one: Code, other: Code) -> int:
    """How many choices differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def rough(code: Code) -> dict[str, float]:
    """Two conflicting goals on any space."""
    return {"accuracy": float(sum(code)) + 0.3 * (code[0] % 2), "latency": float(sum(i * i for i in code))}


# 15 of 16 samples are of 15 networks; 64 hide behind three unlikely words and come once in 4096
WORDS = tuple("abcdefghijklmnop")
SKEWED = Space(
    "skewed",
    (
        Choice("door", WORDS),
        Choice("hall", WORDS, ("door", ("p",))),
        Choice("room", WORDS, ("hall", ("p",))),
        *(Choice(f"thing{i}", (0, 1, 2, 3), ("room", ("p",))) for i in range(3)),
    ),
)


class Contract:
    """What every search keeps; a test class inherits it and names its search."""

    search: Search

    @pytest.mark.parametrize("options", [{}, {"lose": 0.5}, {"shuffle": True}, {"fail": 0.5}, {"goals": LIMITED}])
    def test_codes_are_canonical_and_never_asked_twice(self, options):
        run = drive(self.search, budget=150, **options)
        assert len(run.asked) >= 150
        assert len(set(run.asked)) == len(run.asked)
        for code in run.asked:
            assert SPACE.canonical(code) == code
            assert all(type(index) is int for index in code)

    @pytest.mark.parametrize("options", [{}, {"lose": 0.3, "shuffle": True, "fail": 0.2}, {"goals": LIMITED}])
    def test_same_seed_and_same_deliveries_give_the_same_codes(self, options):
        first = drive(self.search, seed=3, budget=120, **options)
        steps = self.search.steps(SPACE, options.get("goals", GOALS), np.random.default_rng(3))
        asked = next(steps)
        for delivery in first.deliveries:
            asked = asked + steps.send(delivery)
        assert asked[: len(first.asked)] == first.asked
        assert drive(self.search, seed=4, budget=120, **options).asked != first.asked

    def test_more_budget_goes_on_where_less_stopped(self):
        short, long = drive(self.search, budget=40).asked, drive(self.search, budget=120).asked
        assert long[: len(short)] == short

    def test_the_hash_seed_changes_nothing(self):
        script = f"from _toy import *; from {type(self.search).__module__} import *\n"
        script += f"print(drive({self.search!r}, budget=100, lose=0.2, shuffle=True).asked)"
        asked = []
        for hash_seed in ("1", "2"):
            env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent)}
            command = [sys.executable, "-W", "error", "-c", script]
            asked.append(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
        assert asked[0] == asked[1] == f"{drive(self.search, budget=100, lose=0.2, shuffle=True).asked}\n"

    @pytest.mark.parametrize("lose", [0.5, 1.0])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_lost_answers_do_no_harm(self, lose, shuffle):
        assert len(drive(self.search, budget=200, lose=lose, shuffle=shuffle).asked) >= 200

    def test_a_run_in_which_everything_fails_goes_on(self):
        assert len(set(drive(self.search, budget=200, fail=1.0).asked)) >= 200

    @pytest.mark.parametrize("sizes", [(1,), (1, 1, 1), (2, 2), (4, 4), (2, 3, 4), (7, 1, 9)])
    @pytest.mark.parametrize("lose", [0.0, 0.5, 1.0])
    def test_a_small_space_is_used_up_exactly_once(self, sizes, lose):
        space = cube(*sizes)
        run = drive(self.search, space=space, judge=rough, budget=1000, lose=lose)
        assert run.ended
        assert sorted(run.asked) == sorted(space.codes())

    def test_networks_that_are_hardly_ever_sampled_are_found_too(self):
        run = drive(self.search, space=SKEWED, judge=rough, budget=10_000)
        assert run.ended
        assert sorted(run.asked) == sorted(SKEWED.codes())

    def test_what_is_known_is_not_asked_again(self):
        space = cube(3, 3, 3)
        earlier = drive(self.search, space=space, judge=rough, budget=9, seed=1).trials
        unasked = [code for code in space.codes() if code[0] == 2]
        run = drive(self.search, space=space, judge=rough, budget=100, earlier=earlier, unasked=unasked)
        assert run.ended
        assert not {trial.code for trial in earlier} & set(run.asked)
        assert {trial.code for trial in earlier} | set(run.asked) | set(unasked) == set(space.codes())

    @pytest.mark.parametrize("state", ["done", "failed"])
    def test_a_space_that_is_known_already_needs_nothing(self, state):
        space = cube(2, 2)
        values = rough if state == "done" else lambda code: {}
        earlier = [Trial(i, code, values(code), state) for i, code in enumerate(space.codes())]
        run = drive(self.search, space=space, judge=rough, earlier=earlier)
        assert run.ended and not run.asked

    @pytest.mark.parametrize("count", [1, 3])
    def test_any_number_of_goals_will_do(self, count):
        goals = (*GOALS, Goal("spread", None, "min"))[:count]
        run = drive(self.search, goals=goals, judge=lambda code: {**judge(code), "spread": float(np.ptp(code))})
        assert len(run.asked) >= 100

    def test_a_goal_may_be_a_limit_only(self):
        goals = (Goal("latency", None, "min", limit=20.0, objective=False), GOALS[0])
        assert len(drive(self.search, goals=goals).asked) >= 100

    def test_global_randomness_is_left_alone(self):
        before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
        drive(self.search, budget=60)
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002
