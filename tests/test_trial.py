"""Goals, losses and what a search is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import ConfigError
from hwnas.trial import Goal, Search, Trial, evaluated, excess, losses, misfit

NUMBERS = st.floats(-1e6, 1e6)
ACCURACY = Goal("accuracy", None, "max", limit=0.8)
LATENCY = Goal("latency", None, "min", limit=0.002)


def trial(number=0, state="done", **values):
    return Trial(number, (number,), values, state)


# --- goals -----------------------------------------------------------------------------------------------------------


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["min", "max"]))
def test_a_limit_is_the_worst_value_allowed(limit, one, other, direction):
    goal = Goal("x", None, direction, limit)
    assert goal.within(limit) and goal.excess(limit) == 0.0
    assert goal.within(one) == (one <= limit if direction == "min" else one >= limit)
    assert (goal.excess(one) == 0.0) >= goal.within(one)
    if goal.loss(one) <= goal.loss(other):
        assert goal.excess(one) <= goal.excess(other)


def test_excess_is_relative_to_the_limit():
    assert LATENCY.excess(0.003) == pytest.approx(0.5) and LATENCY.excess(0.001) == 0.0
    assert ACCURACY.excess(0.6) == pytest.approx(0.25) and ACCURACY.excess(0.9) == 0.0
    assert Goal("x", None, "min", limit=0.0).excess(3.0) == 3.0
    assert Goal("x", None, "min", limit=-2.0).excess(-1.0) == 0.5
    assert Goal("x", None, "max").excess(-1e9) == 0.0 and Goal("x", None, "max").within(-1e9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Goal("x", None, "least"), "goal 'x' goes 'min' or 'max', not 'least'"),
        (lambda: Goal("x", None, "min", limit=math.nan), "limit of goal 'x' must be a finite number, not nan"),
        (lambda: Goal("x", None, "min", limit=math.inf), "must be a finite number, not inf"),
    ],
)
def test_goals_that_make_no_sense(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_trials_know_whether_anything_more_will_happen():
    assert not Trial(0, (0,)).finished
    assert all(Trial(0, (0,), state=state).finished for state in ("done", "failed", "over_limit"))


# --- losses ----------------------------------------------------------------------------------------------------------


def test_losses_turn_the_sign_leave_out_constraints_and_mark_what_is_missing():
    goals = (ACCURACY, LATENCY, Goal("macs", None, "min", limit=5.0, objective=False))
    trials = [trial(accuracy=0.9, latency=0.001, macs=4.0), trial(latency=0.003, macs=9.0), trial(state="failed")]
    expected = [[-0.9, 0.001], [np.inf, 0.003], [np.inf, np.inf]]
    assert losses(trials, goals).tolist() == expected
    assert losses([], goals).shape == (0, 2)
    assert losses(trials, goals[2:]).shape == (3, 0)


def test_excess_of_a_trial_adds_up_what_was_measured():
    goals = (ACCURACY, LATENCY)
    assert excess(trial(accuracy=0.6, latency=0.003), goals) == pytest.approx(0.75)
    assert excess(trial(latency=0.003), goals) == pytest.approx(0.5)
    assert excess(trial(accuracy=0.9, latency=0.001), goals) == 0.0
    assert excess(trial(state="failed", accuracy=0.9), goals) == math.inf


# --- a whole generation ----------------------------------------------------------------------------------------------


def waits(codes, *answers):
    """What `evaluated` asks when it is told these answers, and what it returns (None if it still waits)."""
    steps = evaluated(codes)
    asked = []
    try:
        asked.append(next(steps))
        for answer in answers:
            asked.append(steps.send([trial(number) for number in answer]))
    except StopIteration as end:
        return asked, [t.number for t in end.value]
    return asked, None


@pytest.mark.parametrize(
    ("answers", "asked", "result"),
    [
        ([[0, 1, 2]], 1, [0, 1, 2]),
        ([[2], [0, 1]], 2, [2, 0, 1]),
        ([[7], [1, 0], [8, 2]], 3, [7, 1, 0, 8, 2]),  # others come along
        ([[0], [], [1], [], [2]], 5, [0, 1, 2]),  # a silence is no end
        ([[0], [], []], 3, [0]),  # two in a row are
        ([[], [], []], 3, []),
        ([[0, 1], []], 3, None),
    ],
)
def test_waiting_for_a_generation(answers, asked, result):
    codes = [(0,), (1,), (2,)]
    heard, returned = waits(codes, *answers)
    assert heard == [codes] + [[]] * (asked - 1)
    assert returned == result


def test_nothing_to_wait_for():
    assert waits([]) == ([], [])


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ((1, None), ""),
        ((2, 2), ""),
        ((1, 1), "takes 1 objective, and there are 2"),
        ((3, None), "takes 3 or more objectives, and there are 2"),
        ((3, 5), "takes 3 to 5 objectives, and there are 2"),
    ],
)
def test_whether_a_search_can_pursue_so_many_objectives(span, reason):
    class Narrow(Search):
        def objectives(self):
            return span

    bound = Goal("bound", None, "min", limit=1.0, objective=False)
    assert misfit(Narrow(), (Goal("a", None, "min"), Goal("b", None, "max"), bound)) == reason
