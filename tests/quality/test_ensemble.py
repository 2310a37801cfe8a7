import csv
import dataclasses

import numpy as np
import pytest

import hwnas
from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, DataError, MetricError
from hwnas.families.nasbench201 import NasBench201
from hwnas.quality.ensemble import PROXIES, Ensemble
from hwnas.quality.naswot import Naswot
from hwnas.quality.synflow import Synflow
from hwnas.trial import Metric

SMALL = NasBench201(channels=4, cells=1, resolution=8)
SOME = (Synflow(log=True), Naswot(batch=4))
DEAD = (4, 0, 0, 0, 0, 0)


def told(metric):
    """What `prepare` says."""
    said = []
    metric.prepare(said.append)
    return " ".join(progress.message for progress in said if progress.message)


@dataclasses.dataclass(frozen=True)
class Sum(Metric):
    """The sum of a code, times a factor; none where the first edge has the largest operation."""

    factor: float = 1.0
    partly: bool = False

    def __call__(self, candidate, /):
        if self.partly and candidate.code[0] == 4:
            raise MetricError("not this one")
        return self.factor * float(sum(candidate.code)) + 100.0


# --- the score ------------------------------------------------------------------------------------------------------


def test_score_is_the_mean_log_rank_in_the_pool():
    ensemble = Ensemble(SMALL, proxies=SOME, pool=12)
    members = list(ensemble._reference.made())
    raw = np.array([[metric(Candidate(SMALL, code)) for metric in SOME] for code in members])
    ranks = (raw[:, None, :] >= raw[None]).sum(axis=1) / 13
    for code, rank in zip(members, ranks, strict=True):
        reading = ensemble(Candidate(SMALL, code))
        assert reading.value == pytest.approx(np.log(rank).mean())
        assert reading.details["rank of naswot"] == pytest.approx(rank[1], rel=1e-3)
        assert reading.details["synflow log"] == pytest.approx(Synflow(log=True)(Candidate(SMALL, code)), rel=1e-5)


def test_default_scores_are_parts_and_share_a_pass():
    metrics = Ensemble(SMALL).metrics
    assert len(metrics) == len(PROXIES)
    reading = Ensemble(SMALL, pool=6)(Candidate(SMALL, (4, 4, 4, 4, 4, 4)))
    assert len(reading.details) == 2 * len(PROXIES)


def test_a_contrary_score_is_turned_around_and_said():
    straight, contrary = (
        Ensemble(SMALL, proxies=(Sum(),), pool=20),
        Ensemble(SMALL, proxies=(Sum(), Sum(-1.0)), pool=20),
    )
    assert "Sum is turned around, since it contradicts the others" in told(contrary)
    some = [Candidate(SMALL, code) for code in ((1, 1, 1, 1, 1, 1), (4, 2, 3, 1, 0, 4), (3, 3, 3, 3, 3, 3))]
    assert [contrary(c).value for c in some] == pytest.approx([straight(c).value for c in some])


def test_a_missing_score_counts_as_the_worst():
    ensemble = Ensemble(SMALL, proxies=(Sum(), Sum(partly=True)), pool=20)
    assert ensemble(Candidate(SMALL, (4, 4, 4, 4, 4, 4))).value < ensemble(Candidate(SMALL, (3, 4, 4, 4, 4, 4))).value


def test_a_score_that_nobody_has_is_left_out():
    @dataclasses.dataclass(frozen=True)
    class Nothing(Metric):
        def __call__(self, candidate, /):
            raise MetricError("never")

    ensemble = Ensemble(SMALL, proxies=(Sum(), Nothing()), pool=20)
    assert "Nothing is left out: no network has it" in told(ensemble)
    alone = Ensemble(SMALL, proxies=(Sum(),), pool=20)
    on_trial = Candidate(SMALL, (4, 2, 3, 1, 0, 4))
    assert ensemble(on_trial).value == alone(on_trial).value


def test_a_network_without_any_score_fails():
    with pytest.raises(MetricError, match="none of the scores"):
        Ensemble(SMALL, proxies=SOME, pool=6)(Candidate(SMALL, DEAD))


def test_repeats_average_over_draws():
    on_trial = Candidate(SMALL, (4, 3, 4, 1, 4, 2))
    one, four = (Ensemble(SMALL, proxies=SOME, pool=6, repeats=count)(on_trial).details for count in (1, 4))
    assert one["naswot"] != four["naswot"] and one["naswot"] == pytest.approx(four["naswot"], rel=0.3)


# --- labels ---------------------------------------------------------------------------------------------------------


def table(place, codes, value):
    """A file of labelled cells."""
    with (place / "judged.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(choice.name for choice in SMALL.space.choices), "accuracy"])
        for code in codes:
            words = [choice.values[index] for choice, index in zip(SMALL.space.choices, code, strict=True)]
            writer.writerow([*words, value(code)])
    return str(place / "judged.csv")


def sampled(count, seed=0):
    rng = np.random.default_rng(seed)
    return list({SMALL.canonical(SMALL.space.sample(rng)): None for _ in range(count)})


def test_labels_change_the_score_where_they_teach_something(tmp_path):
    path = table(tmp_path, sampled(60), lambda code: -sum(code))  # small networks are the good ones here
    taught = Ensemble(SMALL, proxies=(Sum(),), pool=20, path=path, column="accuracy")
    assert "labels teach what the" in told(taught)
    assert taught(Candidate(SMALL, (1, 0, 0, 1, 0, 0))).value > taught(Candidate(SMALL, (4, 4, 4, 4, 4, 3))).value
    path = table(tmp_path, sampled(60), sum)
    plain = Ensemble(SMALL, proxies=(Sum(),), pool=20, path=path, column="accuracy")
    assert "labels teach nothing that holds" in told(plain)
    assert (
        plain(Candidate(SMALL, (4, 4, 4, 4, 4, 3))).value
        == Ensemble(SMALL, proxies=(Sum(),), pool=20)(Candidate(SMALL, (4, 4, 4, 4, 4, 3))).value
    )


def test_too_few_labels_are_refused(tmp_path):
    path = table(tmp_path, sampled(8), sum)
    with pytest.raises(DataError, match="a calibration needs 16"):
        Ensemble(SMALL, proxies=(Sum(),), pool=6, path=path, column="accuracy").prepare()


# --- in a run -------------------------------------------------------------------------------------------------------


def test_a_run_keeps_its_pool(tmp_path):
    source = {
        "family": {"nasbench201": {"channels": 4, "cells": 1, "resolution": 8}},
        "goals": {
            "score": {"max": {"ensemble": {"proxies": [{"synflow": {"log": True}}], "pool": 6}}},
            "params": {"min": "params"},
        },
        "search": "random",
        "budget": 4,
        "export": False,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    (file,) = (tmp_path / "run" / "pools").iterdir()
    before = file.stat().st_mtime_ns
    more = hwnas.resume(tmp_path / "run", overrides=["budget=6"])
    assert file.stat().st_mtime_ns == before and len(list(more.trials())) == 6
    first = {trial.code: trial.values for trial in study.trials()}
    assert all(trial.values == first[trial.code] for trial in more.trials() if trial.code in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": 3}, "pool must be at least 4"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"proxies": ["naswat"]}, "naswot"),
        ({"path": "judged.csv"}, "measured values come from"),
        (
            {"path": "judged.csv", "column": "accuracy", "run": "runs/a", "goal": "accuracy"},
            "measured values come from",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        parts.make("quality", {"ensemble": options}, {"family": SMALL})
