"""What was expected against what came, by hand."""

from __future__ import annotations

import pytest

from hwnas.report.predictions import percent, predictions, without_expectation
from hwnas.trials import Trials

from ._study import ACCURACY, EXPECTED, LATENCY, STEPS, timed, trial

GOALS = (ACCURACY, LATENCY)


def test_the_error_of_the_proposals_by_hand():
    accuracy, latency = predictions(Trials(EXPECTED, GOALS), STEPS)
    assert (accuracy.goal, latency.goal) == GOALS
    assert accuracy.measured == [0.80, 0.90, 0.95] and accuracy.predicted == [0.84, 0.90, 0.88]
    assert accuracy.mape == pytest.approx((0.04 / 0.80 + 0 + 0.07 / 0.95) / 3)
    assert accuracy.tau == pytest.approx(1 / 3)  # two of three pairs are in the right order
    assert accuracy.spread == [0.01, 0.02, 0.0]
    assert [(told.networks, told.predictor) for told in accuracy.rounds] == [(20, "ridge"), (30, "gp")]
    assert accuracy.sentence() == (
        "predictor of accuracy: gp, cross-validated error 0.30 %, rank correlation 0.91; on 3 proposals 4.1 %, 0.33"
    )
    assert latency.mape == pytest.approx(1.0) and latency.tau is None and latency.rounds == ()
    assert latency.sentence() == "predictor of latency: on 1 proposal 100 %"


def test_whatever_else_a_search_tells_is_no_prediction():
    odd = [
        {"kind": "step", "networks": 1, "notes": {"accuracy": 0.5, "temperature": 3}},
        {"kind": "step", "networks": 2, "notes": "words"},
        {"kind": "note", "text": "accuracy"},
    ]
    broken = [trial(0, {"accuracy": 0.9}, details={"accuracy": {"predicted": None}})]
    assert predictions(Trials(broken, GOALS), odd) == []
    (told,) = predictions(Trials([], GOALS), [{"kind": "step", "networks": 4, "notes": {"accuracy": {"mape": "?"}}}])
    assert (told.mape, told.tau, told.rounds[0].mape) == (None, None, None)


def test_what_was_expected_and_what_was_measured_each_have_a_spread_of_their_own():
    details = {"predicted": 0.002, "predicted_spread": 0.0003, **timed(0.001), "spread": 0.07}
    (told,) = predictions(Trials([trial(0, {"latency": 0.001}, details={"latency": details})], GOALS), [])
    assert told.spread == [0.0003]
    assert without_expectation(details) == {**timed(0.001), "spread": 0.07}


@pytest.mark.parametrize(("share", "text"), [(0.0031, "0.31 %"), (0.024, "2.4 %"), (0.183, "18 %"), (25.0, "2,500 %")])
def test_shares_have_a_digit_that_counts(share, text):
    assert percent(share) == text
