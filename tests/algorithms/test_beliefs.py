"""What a search believes: exact goals are computed, others learnt by whoever predicts best; values keep their order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import pytest

from hwnas import codes
from hwnas.algorithms._beliefs import Beliefs, Plain, Scores
from hwnas.predictors import LEAST, Predictor, mape, tau
from hwnas.predictors.boosting import Boosting
from hwnas.predictors.gp import Gp
from hwnas.predictors.ridge import Ridge
from hwnas.trial import Goal, Trial

from ._toy import cube

RNG = np.random.default_rng
SPACE = cube(4, 4, 4, 4)
UP, DOWN = Goal("gain", None, "max"), Goal("cost", None, "min")


def trials_of(goals, count, truth, seed=0, state="done"):
    """Different networks and what came out."""
    codes_NG = np.unique(codes.sample(SPACE, count, RNG(seed)), axis=0)
    rows = [{goal.name: float(truth(goal, code)) for goal in goals} for code in codes.tuples(codes_NG)]
    return [Trial(i, code, row, state) for i, (code, row) in enumerate(zip(codes.tuples(codes_NG), rows, strict=True))]


def total(goal, code):
    return 3 + sum(code)


def arrays(trials, name):
    return codes.array(SPACE, (trial.code for trial in trials)), np.array([trial.values[name] for trial in trials])


@dataclass
class Counter:
    """An exact goal that counts how it is asked."""

    singly: list = field(default_factory=list)
    many: list = field(default_factory=list)

    def goal(self, together, **options):
        return Goal("macs", None, "min", exact=self.one, exact_many=self.all if together else None, **options)

    def one(self, code):
        self.singly.append(code)
        return 10.0 + sum(code)

    def all(self, codes_NG):
        assert codes_NG.ndim == 2
        self.many.append(len(codes_NG))
        return 10.0 + codes_NG.sum(axis=1)


# --- warps -----------------------------------------------------------------------------------------------------------

VALUES = {
    "plain": np.array([3.0, 1.0, 2.0, 2.5, 0.5, 1.7, 3.1, 1.9, 2.2, 0.9, 2.9, 1.2]),
    "magnitudes": 10.0 ** np.linspace(-4, 6, 15),
    "negative": np.linspace(-7, 9, 13) ** 3,
    "with ties": np.array([1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 7.0, 7.0]),
    "a disaster": np.array([*np.linspace(0.90, 0.94, 20), 0.1]),
    "constant": np.full(6, 4.0),
    "zeros": np.zeros(5),
    "two": np.array([1.0, 2.0, 1.0, 2.0]),
}
every_value = pytest.mark.parametrize("values_N", VALUES.values(), ids=VALUES)
every_warp = pytest.mark.parametrize("warp", [Plain, Scores])
both_ways = pytest.mark.parametrize("goal", [UP, DOWN], ids=["max", "min"])


@every_value
@every_warp
@both_ways
def test_what_goes_forth_comes_back(goal, warp, values_N):
    own = warp.of(goal, values_N)
    assert own.back(own.forth(values_N)) == pytest.approx(values_N)
    ends = own.forth(values_N).min() - 3.0, own.forth(values_N).max() + 3.0
    warped = np.linspace(*ends, 50)
    assert own.forth(own.back(warped)) == pytest.approx(warped)  # beyond both ends, too


@every_value
@every_warp
@both_ways
def test_the_order_never_changes_and_small_is_good(goal, warp, values_N):
    own = warp.of(goal, values_N)
    wide = np.linspace(values_N.min() * 0.5, values_N.max() * 2 + 1, 80)
    rising = own.forth(wide) if goal.direction == "min" else -own.forth(wide)
    assert np.isfinite(rising).all() and (np.diff(rising) > 0).all()
    inside = np.linspace(-6, 6, 200)
    falling = own.back(inside) if goal.direction == "min" else -own.back(inside)
    assert (np.diff(falling) > 0).all()


def test_values_that_span_magnitudes_are_learnt_as_logarithms():
    assert Plain.of(DOWN, VALUES["magnitudes"]).log and not Plain.of(DOWN, VALUES["plain"] + 1).log
    assert not Plain.of(DOWN, VALUES["negative"]).log and not Plain.of(DOWN, VALUES["zeros"]).log
    assert Plain.of(UP, VALUES["magnitudes"]).forth(np.array([math.e])) == pytest.approx([-1.0])


def test_scores_are_those_of_a_normal_distribution():
    scores = Scores.of(DOWN, np.array([5.0, 9.0, 7.0, 700.0]))
    expected = [NormalDist().inv_cdf((rank - 0.5) / 4) for rank in (1, 3, 2, 4)]
    assert scores.forth(np.array([5.0, 9.0, 7.0, 700.0])) == pytest.approx(expected)
    tied = Scores.of(DOWN, np.array([1.0, 1.0, 2.0]))
    shared, last = NormalDist().inv_cdf((1.5 - 0.5) / 3), NormalDist().inv_cdf((3 - 0.5) / 3)
    assert tied.forth(np.array([1.0, 2.0])) == pytest.approx([shared, last])


def test_a_disaster_does_not_set_the_scale():
    values_N = VALUES["a disaster"]
    good_N = np.sort(values_N)[1:]
    plain, scores = (np.abs(np.diff(warp.of(UP, values_N).forth(good_N))) for warp in (Plain, Scores))
    spread = [np.ptp(warp.of(UP, values_N).forth(values_N)) for warp in (Plain, Scores)]
    assert plain.sum() / spread[0] < 0.06 and scores.sum() / spread[1] > 0.7


# --- exact goals -----------------------------------------------------------------------------------------------------


def test_what_is_computed_for_many_is_neither_learnt_nor_asked_one_by_one():
    counter = Counter()
    goals = (UP, counter.goal(together=True))
    beliefs = Beliefs(SPACE, goals, [Ridge()])
    assert beliefs.learn(trials_of(goals, 20, total), RNG(0))
    codes_NG = codes.sample(SPACE, 30, RNG(1))
    exact_N = 10.0 + codes_NG.sum(axis=1)
    assert beliefs.values(codes_NG)["macs"].tolist() == exact_N.tolist()
    assert (beliefs.draws(codes_NG, 5, RNG(0))["macs"] == exact_N[:, None]).all()
    assert beliefs.first_computed(codes_NG).tolist() == exact_N.tolist()
    assert counter.many == [30, 30, 30] and not counter.singly
    assert set(beliefs.notes()) == {"gain"} and not beliefs.counts_slowly
    assert all(set(told) == {"gain"} for told in beliefs.expected(codes_NG).values())


def test_what_is_computed_slowly_has_a_stand_in_until_it_matters():
    counter = Counter()
    goals = (UP, counter.goal(together=False))
    beliefs = Beliefs(SPACE, goals, [Ridge()])
    trials = trials_of(goals, 30, lambda goal, code: (10 if goal.name == "macs" else 3) + sum(code))
    assert beliefs.learn(trials, RNG(0)) and beliefs.counts_slowly and beliefs.first_computed(np.zeros((1, 4))) is None
    codes_NG = np.unique(codes.sample(SPACE, 40, RNG(1)), axis=0)
    guessed_N = beliefs.values(codes_NG)["macs"]
    assert guessed_N == pytest.approx(10.0 + codes_NG.sum(axis=1), abs=0.1) and not counter.singly
    drawn_ND = beliefs.draws(codes_NG, 3, RNG(0))["macs"]
    assert (drawn_ND == 10.0 + codes_NG.sum(axis=1)[:, None]).all()
    measured = {trial.code for trial in trials}
    assert set(counter.singly) == set(codes.tuples(codes_NG)) - measured  # what was measured is known
    beliefs.values(codes_NG, careful=True), beliefs.draws(codes_NG, 3, RNG(0))
    assert len(counter.singly) == len(set(counter.singly))  # once each
    assert set(beliefs.notes()) == {"gain"}


@pytest.mark.parametrize("together", [True, False])
def test_limits_that_can_be_computed(together):
    counter = Counter()
    goals = (UP, counter.goal(together, limit=14.0))
    beliefs = Beliefs(SPACE, goals, [Ridge()])
    codes_NG = codes.array(SPACE, [(0, 0, 0, 0), (1, 1, 1, 1), (2, 1, 1, 1), (3, 3, 3, 3)])
    kept = beliefs.within_exact_limits(codes_NG, careful=True).tolist()
    assert kept == [True, True, False, False]
    counter.singly.clear()
    assert beliefs.within_exact_limits(codes_NG).tolist() == (kept if together else [True] * 4)
    assert not counter.singly
    assert beliefs.within_exact_limits(codes_NG[:0], careful=True).shape == (0,)


def test_losses_and_excess_of_several_goals():
    goals = (
        Goal("gain", None, "max", limit=0.5),
        Goal("cost", None, "min", limit=10.0),
        Goal("size", None, "min", limit=4.0, objective=False),
    )
    beliefs = Beliefs(SPACE, goals, [Ridge()])
    values = {"gain": np.array([0.6, 0.4]), "cost": np.array([12.0, 9.0]), "size": np.array([4.0, 6.0])}
    losses_NM, excess_N = beliefs.losses(values)
    assert losses_NM.tolist() == [[-0.6, 12.0], [-0.4, 9.0]]
    assert excess_N == pytest.approx([0.2, 0.2 + 0.5])
    judged = [sum(goal.excess(values[goal.name][place]) for goal in goals) for place in range(2)]  # as a study does
    assert excess_N == pytest.approx(judged)
    drawn_NMD, over_ND = beliefs.losses({name: np.stack([row] * 3, axis=1) for name, row in values.items()})
    assert drawn_NMD.shape == (2, 2, 3) and np.allclose(over_ND, excess_N[:, None])


# --- what is learnt --------------------------------------------------------------------------------------------------


class Recorder(Predictor):
    """Ridge regression that notes what it is taught."""

    def __init__(self):
        self.taught = []

    def fit(self, space, codes_NG, values_N, rng, /):
        self.taught.append((codes.tuples(codes_NG), values_N))
        return Ridge().fit(space, codes_NG, values_N, rng)


def test_a_trial_teaches_the_goals_that_it_has_values_of():
    done = trials_of((UP, DOWN), 12, total)
    over = trials_of((DOWN,), 9, total, seed=5, state="over_limit")
    over = [trial for trial in over if trial.code not in {each.code for each in done}]
    failed = [Trial(99, (3, 3, 3, 3), state="failed")]
    recorder = Recorder()
    beliefs = Beliefs(SPACE, (UP, DOWN), [recorder])
    assert beliefs.learn([*done, *over, *failed], RNG(0))
    gain_codes, cost_codes = recorder.taught[0][0], recorder.taught[2][0]  # each on plain values and on scores
    assert len(recorder.taught) == 4 and over
    assert gain_codes == [trial.code for trial in done]
    assert cost_codes == [trial.code for trial in [*done, *over]]


def test_what_is_only_recorded_is_learnt_by_nobody_and_stops_nothing():
    counter, noted = Counter(), Goal("noted", None, "min", objective=False)
    goals = (UP, noted, counter.goal(True, objective=False))
    beliefs = Beliefs(SPACE, goals, (Ridge(),))
    assert [goal.name for goal in beliefs.goals] == ["gain"]
    assert beliefs.learn(trials_of([UP], 30, total), RNG(0)), "no trial has a value of what is only recorded"
    codes_NG = codes.sample(SPACE, 5, RNG(1))
    assert set(beliefs.notes()) == set(beliefs.values(codes_NG)) == {"gain"} and not counter.many
    ruled = beliefs.first_computed(codes_NG)  # what can be computed is still a ruler for the first networks
    assert np.array_equal(ruled, 10.0 + codes_NG.sum(axis=1)) and not counter.singly


def test_nothing_new_is_nothing_to_learn():
    recorder = Recorder()
    beliefs, trials = Beliefs(SPACE, (UP,), [recorder]), trials_of((UP,), 12, total)
    for known, times in ((trials[:-1], 2), (trials[:-1], 2), (trials, 4)):
        assert beliefs.learn(known, RNG(0)) and len(recorder.taught) == times


def test_too_little_teaches_nothing():
    trials = trials_of((UP,), 60, total)
    few = [Trial(trial.number, trial.code, {"cost": 1.0}, "over_limit") for trial in trials[LEAST:]]
    beliefs = Beliefs(SPACE, (UP, DOWN), [Ridge()])
    assert few and not beliefs.learn([], RNG(0))
    assert not beliefs.learn([*trials[: LEAST - 1], *few], RNG(0))
    enough = [Trial(trial.number, trial.code, {**trial.values, "cost": 2.0}, "done") for trial in trials[:LEAST]]
    assert beliefs.learn([*enough, *few], RNG(0))


CHEAP = (Ridge(), Boosting(trees=30))


@pytest.mark.parametrize(
    ("truth", "chosen"),
    [
        (total, "ridge"),
        (lambda goal, code: 1.0 + ((code[0] < 2) != (code[1] < 2)) + 0.01 * code[3], "boosting"),
    ],
    ids=["sums", "parity"],
)
def test_whoever_errs_least_on_what_is_held_out_predicts(truth, chosen):
    trials = trials_of((UP,), 120, truth)
    beliefs = Beliefs(SPACE, (UP,), CHEAP)
    beliefs.learn(trials, RNG(0))
    note = beliefs.notes()["gain"]
    assert note["predictor"] == chosen and note["tau"] > 0.4
    swapped = Beliefs(SPACE, (UP,), CHEAP[::-1])
    swapped.learn(trials, RNG(0))
    assert swapped.notes()["gain"]["predictor"] == chosen


def test_a_process_is_taken_where_places_do_not_matter():
    trials = trials_of((UP,), 60, lambda goal, code: abs(sum(code) - 6.0))
    beliefs = Beliefs(SPACE, (UP,), (Ridge(), Gp()))
    beliefs.learn(trials, RNG(0))
    assert beliefs.notes()["gain"]["predictor"] == "gp"


def test_notes_tell_the_error_on_networks_held_out():
    trials = trials_of((DOWN,), 30, lambda goal, code: math.exp(sum(code)) * (1 + 0.3 * code[0] * code[1]))
    beliefs = Beliefs(SPACE, (DOWN,), [Ridge()])
    beliefs.learn(trials, RNG(0))
    codes_NG, values_N = arrays(trials, "cost")
    tried = []
    for warp in (Plain.of(DOWN, values_N), Scores.of(DOWN, values_N)):
        held_out_N = warp.back(Ridge().fit(SPACE, codes_NG, warp.forth(values_N), RNG(0)).held_out)
        tried.append({"predictor": "ridge", "mape": mape(values_N, held_out_N), "tau": tau(values_N, held_out_N)})
    assert beliefs.notes()["cost"] in tried


@both_ways
def test_what_is_expected_is_told_in_the_goals_own_unit(goal):
    trials = trials_of((goal,), 60, lambda goal, code: 1000.0 + 50 * sum(code) + RNG([9, *code]).normal() * 30)
    beliefs = Beliefs(SPACE, (goal,), [Ridge()])
    beliefs.learn(trials, RNG(0))
    codes_NG = np.unique(codes.sample(SPACE, 40, RNG(1)), axis=0)
    told = beliefs.expected(codes_NG)
    assert list(told) == codes.tuples(codes_NG)
    truth_N = 1000.0 + 50 * codes_NG.sum(axis=1)
    found_N, spread_N = (
        np.array([row[goal.name][key] for row in told.values()]) for key in ("predicted", "predicted_spread")
    )
    assert found_N == pytest.approx(truth_N, abs=60) and ((spread_N > 1) & (spread_N < 60)).all()
    assert found_N == pytest.approx(beliefs.values(codes_NG)[goal.name])
    drawn_ND = beliefs.draws(codes_NG, 4000, RNG(2))[goal.name]
    assert drawn_ND.mean(axis=1) == pytest.approx(found_N, abs=5)
    assert drawn_ND.std(axis=1) == pytest.approx(spread_N, rel=0.2)


@pytest.mark.parametrize("value", [7.0, 0.0])
def test_values_that_are_all_equal(value):
    beliefs = Beliefs(SPACE, (UP,), (Ridge(), Gp()))
    trials = trials_of((UP,), 10, lambda goal, code: value)
    assert beliefs.learn(trials, RNG(0))
    codes_NG = codes.sample(SPACE, 5, RNG(1))
    assert beliefs.values(codes_NG)["gain"] == pytest.approx([value] * 5)
    note = beliefs.notes()["gain"]
    assert note["mape"] == pytest.approx(0) and note["tau"] == 0.0
