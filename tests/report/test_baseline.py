"""A search against a random one, by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.report.baseline import BASELINE, TERMS, against, baseline_of, both, first_at_least, terms
from hwnas.study import Study
from hwnas.trial import Goal, Trial
from hwnas.trials import Trials, hypervolume

from ._study import ACCURACY, LATENCY, SEARCHED, chance, study, trial

GOALS = (Goal("a", None, "min"), Goal("b", None, "min"))


def trials(*values: tuple[float, float]) -> Trials:
    return Trials([Trial(i, (i,), {"a": a, "b": b}, "done") for i, (a, b) in enumerate(values)], GOALS)


def test_a_search_and_a_random_one_in_one_box_by_hand():
    own, random = trials((4, 4), (1, 2), (2, 1)), trials((4, 0), (3, 2), (0, 4), (2, 2))
    told = against(own, random)  # the box is [0, 4] x [0, 4]
    assert (told.count, told.random_count) == (3, 4)
    assert told.share == pytest.approx((3 * 2 + 2 * 3 - 2 * 2) / 16)
    assert told.random_share == pytest.approx(2 / 16)  # (3, 2) alone; the ends have no room in the box
    assert told.passed == 2  # the random search ends at 4 / 16, and (1, 2) alone dominates 6 / 16
    assert told.sentence() == (
        "After 3 networks the search dominates 50.0 % of the box, a random search 12.5 %; "
        "the search was as far as 4 random networks after 2."
    )


def test_a_search_that_is_worse_than_chance_is_told_so():
    told = against(trials((4, 4), (3, 3)), trials((1, 1), (0, 4)))
    assert told.passed is None
    assert told.sentence().endswith("; the search has not come as far as 2 random networks.")


def test_one_objective_is_told_by_its_best_value():
    goal = Goal("latency", None, "min", limit=0.003, unit="s")
    own = Trials([trial(0, {"latency": 0.002}), trial(1, {"latency": 0.001})], [goal])
    random = Trials([trial(0, {"latency": 0.004}, "over_limit"), trial(1, {"latency": 0.0025})], [goal])
    assert against(own, random).sentence() == (
        "After 2 networks the best latency is 1.00 ms, that of a random search 2.50 ms; "
        "the search was as far as 2 random networks after 1."
    )
    assert "that of a random search nothing within the limits" in against(own[:1], random).sentence()


def test_nothing_to_compare_is_no_comparison():
    failed = Trials([trial(0, {}, "failed", error="x"), trial(1, {}, "running")], GOALS)
    assert against(failed, failed) is None
    assert against(trials((1, 1)), Trials([trial(0, {}, "running")], GOALS)) is None


def test_the_first_count_is_that_of_a_scan():
    rng = np.random.default_rng(3)
    own = trials(*((a, b) for a, b in rng.random((40, 2))))
    frame = both(own, trials((0, 0), (1, 1)))
    shares = [hypervolume(own[: count + 1], frame) for count in range(40)]
    for share in (0.0, 0.2, shares[7], shares[-1]):
        assert first_at_least(own, frame, share) == next(n + 1 for n, seen in enumerate(shares) if seen >= share)
    assert first_at_least(own, frame, shares[-1] + 1e-6) is None


def test_the_baseline_lies_beside_the_run(tmp_path):
    done = study(tmp_path, SEARCHED)
    assert baseline_of(done) is None
    chance(done, [trial(0, {}, "running")])
    assert baseline_of(done) is None  # it has only begun
    beside = done.run.records.open(BASELINE)
    beside.save("search", SEARCHED[:3])
    assert [t.number for t in baseline_of(done).trials()] == [0, 1, 2]
    assert baseline_of(baseline_of(done)) is None  # it is none of its own


def test_a_baseline_under_other_limits_does_not_count(tmp_path):
    done = study(tmp_path, SEARCHED)
    chance(done, SEARCHED[:3])
    assert done.run.records.open(BASELINE).facts()[TERMS] == terms((ACCURACY, LATENCY))
    loose = Study(done.bench, (ACCURACY, Goal("latency", None, "min", limit=0.5, unit="s")), done.run)
    assert baseline_of(done) is not None and baseline_of(loose) is None
