"""Predictions as a metric: what is learnt from files and runs, known answers, and what is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas import codes, config, parts, plan
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, DataError
from hwnas.predictors import Fitted, Predictor
from hwnas.predictors.gp import Gp
from hwnas.predictors.ridge import Ridge
from hwnas.quality.predicted import Predicted
from hwnas.space import Choice, Space
from hwnas.testing.toys import Toy


class Line(Family):
    """A space of 24 networks whose values add up."""

    name = "line"
    buildable = False
    space = Space(
        "line",
        (
            Choice("depth", (1, 2)),
            Choice("width", (8, 16, 24)),
            Choice("act", ("relu", "gelu")),
            Choice("second.kernel", (3, 5, 7), when=("depth", (2,))),
            Choice("head", ("linear",)),
        ),
    )


SPACE = Line.space
ALL = list(SPACE.codes())


def truth(code):
    arch = SPACE.decode(code)
    return 60.0 + arch["width"] / 8 + 2 * (arch["act"] == "gelu") + arch.get("second.kernel", 0) / 2


def written(place, some=ALL, value=truth, **changes):
    """A file of labelled networks; `changes` gives other cells for a column."""
    names = [choice.name for choice in SPACE.choices if choice.name != "head"]
    rows = []
    for code in some:
        cells = {name: SPACE.decode(code).get(name, "") for name in names} | {"accuracy": value(code)}
        rows.append(cells | changes)
    header = [*names, "accuracy"]
    lines = [",".join(header), *(",".join(str(row[name]) for name in header) for row in rows)]
    (place / "judged.csv").write_text("\n".join(lines), encoding="utf-8")
    return str(place / "judged.csv")


def from_file(place, predictor=None, **options):
    return Predicted(Line(), predictor or Ridge(), path=written(place, **options), column="accuracy")


def candidates(some):
    return [Candidate(Line(), code) for code in some]


class Remembered(Predictor):
    """Keeps what it was given, and expects the mean of it everywhere."""

    def fit(self, space, codes_NG, values_N, rng, /):
        self.seen = dict(zip(codes.tuples(codes_NG), values_N.tolist(), strict=True))
        return Flat(values_N)


class Flat(Fitted):
    def __init__(self, values_N):
        self.held_out = (values_N.sum() - values_N) / (len(values_N) - 1)
        self.centre, self.width = values_N.mean(), values_N.std()

    def mean(self, codes_NG, /):
        return np.full(len(codes_NG), self.centre)

    def spread(self, codes_NG, /):
        return np.full(len(codes_NG), self.width)


# --- what is learnt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predictor", [Ridge(), Gp()])
def test_networks_that_were_never_seen_are_foretold(tmp_path, predictor):
    """Values add up, so that two thirds of the networks tell all about the others."""
    metric = from_file(tmp_path, predictor, some=[code for place, code in enumerate(ALL) if place % 3])
    readings = metric.many(candidates(ALL[::3]))
    assert [reading.value for reading in readings] == pytest.approx([truth(code) for code in ALL[::3]], abs=0.2)
    assert all(0 <= reading.details["uncertainty"] < 1 for reading in readings)


def test_a_file_is_read_as_it_stands(tmp_path):
    predictor = Remembered()
    from_file(tmp_path, predictor).error()
    assert predictor.seen == {code: truth(code) for code in ALL}


def test_arrays_hold_networks_too(tmp_path):
    arch = [SPACE.decode(code) for code in ALL]
    columns = {name: np.array([each[name] for each in arch]) for name in ("depth", "width", "act")}
    columns["second.kernel"] = np.array([each.get("second.kernel", -1) for each in arch])
    np.savez(tmp_path / "judged.npz", accuracy=np.array([truth(code) for code in ALL]), **columns)
    predictor = Remembered()
    Predicted(Line(), predictor, path=str(tmp_path / "judged.npz"), column="accuracy").error()
    assert predictor.seen == {code: truth(code) for code in ALL}


def test_values_of_one_network_are_averaged_and_unknown_ones_left_out(tmp_path):
    values = iter([1.0, 2.0, 3.0, 4.0, 5.0, "", "nan"])
    predictor = Remembered()
    some = [ALL[0], ALL[1], ALL[0], ALL[2], ALL[3], ALL[1], ALL[4]]
    from_file(tmp_path, predictor, some=some, value=lambda _: next(values)).error()
    assert predictor.seen == {ALL[0]: 2.0, ALL[1]: 2.0, ALL[2]: 4.0, ALL[3]: 5.0}


def test_the_error_is_that_on_networks_held_out(tmp_path):
    """Four values, each foretold as the mean of the others: the order is turned round."""
    values = iter([1.0, 2.0, 3.0, 6.0])
    own = from_file(tmp_path, Remembered(), some=ALL[:4], value=lambda _: next(values)).error()
    held_out = [11 / 3, 10 / 3, 3.0, 2.0]
    wanted = np.mean([abs(p - t) / t for p, t in zip(held_out, [1, 2, 3, 6], strict=True)])
    assert (own.networks, own.mape, own.tau) == (4, pytest.approx(wanted), -1.0)


def test_preparing_tells_the_error(tmp_path):
    told = []
    from_file(tmp_path).prepare(told.append)
    (progress,) = told
    wanted = (
        r"ridge learnt from 24 networks: error 0\.00%, rank correlation \(Kendall\) (0\.9\d|1\.00) on networks held out"
    )
    assert re.fullmatch(wanted, progress.message)  # below 1 where equal values are foretold in some order


def test_a_network_has_one_value_in_any_company_and_under_any_code(tmp_path):
    metric = from_file(tmp_path, Gp())
    together = metric.many(candidates(ALL))
    assert together == [metric(candidate) for candidate in candidates(ALL)]
    shallow = next(code for code in ALL if code[0] == 0)
    other = (*shallow[:3], 2, 0)
    assert metric(Candidate(Line(), other)).value == metric(Candidate(Line(), shallow)).value
    assert metric.many([]) == []


def test_a_search_has_to_ask(tmp_path):
    spec = {"predicted": {"predictor": {"ridge": {"restarts": 1}}, "path": written(tmp_path), "column": "accuracy"}}
    (goal,) = plan.prepare(
        config.check({"family": Line(), "goals": {"it": {"max": spec}}}), Path("nowhere"), estimate=False
    ).goals
    assert goal.exact is None and goal.exact_many is None
    metric = parts.make("quality", spec, {"family": Line(), "seed": 3})
    assert metric.predictor == Ridge(restarts=1) and metric.cheap and metric.seed == 3


# --- from a run -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "a"
    family = {"nasbench201": {"cells": 1, "channels": 4, "resolution": 8}}
    goals = {"params": {"min": "hardware.params"}}
    raw = {"family": family, "goals": goals, "search": "random", "budget": 40, "confirm": 0, "export": False}
    hwnas.search(raw, run=place)
    return place


def test_a_run_teaches_what_it_measured(run):
    family = parts.make("families", {"nasbench201": {"cells": 1, "channels": 4, "resolution": 8}})
    predictor = Remembered()
    metric = Predicted(family, predictor, run=str(run), goal="params")
    study = hwnas.load(run)
    assert metric.error().networks == 40
    assert predictor.seen == {trial.code: trial.values["params"] for trial in study.trials()}
    exact = Predicted(family, Ridge(), run=str(run), goal="params")
    assert exact.error().tau > 0.9


def test_runs_that_teach_nothing(run, tmp_path):
    family = parts.make("families", {"nasbench201": {}})
    with pytest.raises(ConfigError, match="no values of goal 'param'; did you mean 'params'"):
        Predicted(family, run=str(run), goal="param").prepare()
    with pytest.raises(ConfigError, match=r"searched another space, that of family .*nasbench201"):
        Predicted(Toy(), run=str(run), goal="params").prepare()
    with pytest.raises(ConfigError, match="there is no run in"):
        Predicted(family, run=str(tmp_path / "absent"), goal="params").prepare()
    assert not (tmp_path / "absent").exists()


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "a.csv"},
        {"column": "accuracy"},
        {"run": "runs/a"},
        {"path": "a.csv", "goal": "accuracy"},
        {"path": "a.csv", "column": "x", "run": "runs/a"},
        {"path": "a.csv", "column": "x", "run": "runs/a", "goal": "x"},
    ],
)
def test_exactly_one_source_is_given(options):
    with pytest.raises(ConfigError, match="`path` and `column` of a file, or `run` and `goal` of a run"):
        Predicted(Line(), **options)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"width": 12}, DataError, "line 2, column 'width': 12 is no value of this choice; it can be [8, 16, 24]"),
        ({"act": ""}, DataError, "line 2, column 'act': None is no value"),
        ({"accuracy": "good"}, DataError, "line 2, column 'accuracy': 'good' is no number"),
        ({"accuracy": ""}, DataError, "knows 0 networks, and 4 at least"),
    ],
)
def test_cells_that_make_no_sense(tmp_path, changes, error, reason):
    with pytest.raises(error) as caught:
        from_file(tmp_path, **changes).prepare()
    assert reason in str(caught.value)


def test_columns_that_are_not_there(tmp_path):
    path = written(tmp_path)
    with pytest.raises(ConfigError, match="no column 'acuracy'; did you mean 'accuracy'"):
        Predicted(Line(), path=path, column="acuracy").prepare()
    with pytest.raises(ConfigError, match=r"no column '.*', a choice of family"):
        Predicted(Toy(), path=path, column="accuracy").prepare()


def test_what_is_foretold_is_finite(tmp_path):
    metric = from_file(tmp_path, value=lambda _: 5.0)
    assert all(math.isclose(metric(candidate).value, 5.0) for candidate in candidates(ALL[:5]))
    assert metric.error().tau == 0.0
