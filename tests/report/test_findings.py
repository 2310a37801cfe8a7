"""The verdict and the networks behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.report import verdict
from hwnas.report.findings import Findings

from ._study import ACCURACY, CONFIRMED, FACTS, LARGEST, LATENCY, MACS, SEARCHED, code, study, trial

OPEN = {name: value for name, value in FACTS.items() if name not in ("chosen", "chosen_name", "finished")}
SYNFLOW = replace(ACCURACY, name="synflow", unit="")
SMALL = replace(MACS, limit=5e6, objective=False)


def test_the_verdict_of_a_finished_run(tmp_path):
    done = study(tmp_path, SEARCHED, CONFIRMED, **FACTS)
    assert verdict(done) == "From 2.31 ms to 1.32 ms (−43 %) at 98.1 % accuracy, −0.3 points; limit 1.39 ms kept."


@pytest.mark.parametrize(
    ("searched", "goals", "facts", "sentence"),
    [
        ((), (ACCURACY,), {}, "No network has been judged yet."),
        ((trial(0, {}, "running"),), (ACCURACY,), {}, "No network has been judged yet."),
        (SEARCHED[6:], (ACCURACY, LATENCY), {}, "Every network that was judged failed: 2 of 2."),
        (
            SEARCHED[4:],
            (ACCURACY, LATENCY),
            {"limits": FACTS["limits"]},
            "None of 4 networks keeps every limit (2 failed); the closest, #5, has 1.80 ms latency against a limit of "
            "1.39 ms (60 % of the largest).",
        ),
        (SEARCHED, (ACCURACY,), {}, "Found: 98.6 % accuracy."),
        (
            (trial(0, {"macs": 12.3e6, "synflow": 80.0}), trial(1, {"macs": 41e6, "synflow": 100.0}, code=LARGEST)),
            (MACS, SYNFLOW),
            {"chosen": list(code(0))},
            "Macs from 41.0 M to 12.3 M (−70 %) at 80 synflow, −20 %.",
        ),
        (
            (trial(0, {"latency": 0.001, "macs": 4e6}),),
            (replace(LATENCY, limit=None), SMALL),
            {},
            "Found: 1.00 ms latency; macs limit 5.00 M kept.",
        ),
        (
            (trial(0, {"accuracy": 0.9, "latency": 0.001}, code=LARGEST),),
            (ACCURACY, LATENCY),
            {},
            "Found: 1.00 ms latency at 90.0 % accuracy, the largest network itself; limit 1.39 ms kept.",
        ),
        (
            SEARCHED,
            (ACCURACY, LATENCY),
            OPEN,
            "So far: from 2.31 ms to 0.80 ms (−65 %) at 96.0 % accuracy; limit 1.39 ms kept.".replace("0.80", "0.800"),
        ),
    ],
)
def test_the_verdict_copes_with_everything(tmp_path, searched, goals, facts, sentence):
    assert verdict(study(tmp_path, searched, goals=goals, **facts)) == sentence


def test_a_limit_that_did_not_hold_is_told(tmp_path):
    again = (trial(0, {"accuracy": 0.97, "latency": 0.0015}, "over_limit", code=code(2)), *CONFIRMED[1:])
    assert verdict(study(tmp_path, SEARCHED, again, **FACTS)).endswith("; limit 1.39 ms broken: 1.50 ms.")


def test_no_finalist_may_hold(tmp_path):
    again = (trial(0, {"accuracy": 0.97, "latency": 0.0015}, "over_limit", code=code(2)),)
    told = verdict(study(tmp_path, SEARCHED, again, **{**FACTS, "chosen": None}))
    assert told.startswith("No finalist kept every limit when it was measured again (2 failed); the closest, #2, has")


def test_chosen_and_largest_are_compared_as_judged_in_one_stage(tmp_path):
    found = Findings(
        study(tmp_path, (*SEARCHED, trial(8, {"latency": 0.0024}, "over_limit", code=LARGEST)), CONFIRMED, **FACTS)
    )
    assert found.is_confirmed and found.baseline.values["latency"] == 0.00231
    assert (found.name(found.chosen.code), found.name(LARGEST), found.role) == ("#2", "#8", "chosen")


def test_before_a_choice_the_knee_is_suggested_and_compared_with_what_the_search_saw(tmp_path):
    half = study(tmp_path, SEARCHED, **OPEN)
    found = Findings(half)
    assert (found.chosen.number, found.role, found.reason) == (
        half.trials().knee().number,
        "suggested",
        "knee of the front",
    )
    assert found.baseline.values == {"latency": 0.00231}  # from the check of the limits


def test_the_front_is_that_of_the_study(tmp_path):
    done = study(tmp_path, SEARCHED, CONFIRMED, **FACTS)
    assert list(Findings(done).front) == list(done.front())


def test_the_alternative_is_another_network_of_the_front(tmp_path):
    found = Findings(study(tmp_path, SEARCHED, CONFIRMED, **FACTS))
    assert found.alternative.code == code(1)


def test_a_network_alone_has_no_alternative(tmp_path):
    assert Findings(study(tmp_path, SEARCHED[:1], goals=(ACCURACY,))).alternative is None


@pytest.mark.parametrize(
    ("searched", "facts", "event", "finished"),
    [
        (SEARCHED, FACTS, None, True),
        (SEARCHED, FACTS, "interrupted", False),
        (SEARCHED, OPEN, None, False),
        (SEARCHED, {}, None, True),  # a study without an experiment around it
        ((*SEARCHED, trial(8, {}, "running")), FACTS, None, False),
    ],
)
def test_knows_whether_the_run_has_finished(tmp_path, searched, facts, event, finished):
    half = study(tmp_path, searched, **facts)
    if event is not None:
        half.run.event(event)
    found = Findings(half)
    assert found.finished is finished
    assert bool(found.progress) is not finished
    assert found.resume == f"hwnas resume {tmp_path}"
