import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hwnas import config, parts, plan
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.families.nasbench201 import NasBench201, spell
from hwnas.quality.tabular import Tabular
from hwnas.space import Choice, Space


@pytest.fixture
def family(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(f"arch,accuracy\n{spell((1,) * 6)},54.3\n{spell((2,) * 6)},\n", encoding="utf-8")
    return NasBench201(table=str(path))


@dataclasses.dataclass(frozen=True)
class Bare(Family):
    name = "bare"
    space = Space("bare", (Choice("depth", (1, 2)),))


def test_reads_the_table_and_builds_nothing(family, monkeypatch):
    monkeypatch.setattr(NasBench201, "build", lambda *_: pytest.fail("a network was built"))
    metric = parts.make("quality", {"tabular": {"column": "accuracy"}}, given={"family": family})
    metric.prepare()
    assert metric(Candidate(family, (1,) * 6)) == 54.3
    assert metric.exact and metric.cheap
    assert parts.spec_of(metric) == {"quality.tabular": {"column": "accuracy"}}


def test_what_the_table_does_not_know(family):
    metric = Tabular(family, "accuracy")
    with pytest.raises(MetricError, match="no 'accuracy' for"):
        metric(Candidate(family, (2,) * 6))
    with pytest.raises(MetricError, match="no row for"):
        metric(Candidate(family, (3,) * 6))


def test_wrong_columns_are_told_before_the_search(family):
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        Tabular(family, "acuracy").prepare()


def test_families_without_a_table():
    with pytest.raises(ConfigError, match="'bare' has no table"):
        Tabular(Bare(), "accuracy")
    with pytest.raises(ConfigError, match="was given no table"):
        Tabular(NasBench201(), "accuracy").prepare()


def test_values_may_be_scaled(family):
    metric = Tabular(family, "accuracy", scale=0.01, unit="%")
    assert metric(Candidate(family, (1,) * 6)) == 0.01 * 54.3
    assert metric.unit == "%"
    for scale in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="scale takes a number above 0"):
            Tabular(family, "accuracy", scale=scale)


def test_what_stands_for_a_measurement_cannot_be_computed(family):
    measured = Tabular(family, "accuracy", measured=True)
    assert not measured.exact and Tabular(family, "accuracy").exact and Tabular.exact
    assert parts.spec_of(measured) == {"quality.tabular": {"column": "accuracy", "measured": True}}
    for metric in (measured, Tabular(family, "accuracy")):
        written = config.check({"family": family, "goals": {"it": {"max": metric}}})
        (goal,) = plan.prepare(written, Path("nowhere"), estimate=False).goals
        assert (goal.exact is None) == (goal.exact_many is None) == metric.measured


def test_many_values_at_once(family):
    listed = Listed()
    metric = Tabular(listed, "accuracy", scale=2.0)
    assert metric.of_codes(np.array([[0], [1]])).tolist() == [2.0, 4.0]
    assert Tabular(family, "accuracy", scale=2.0).of_codes(np.array([(1,) * 6])).tolist() == [2 * 54.3]
    with pytest.raises(MetricError, match="no row for"):
        Tabular(family, "accuracy").of_codes(np.array([(1,) * 6, (3,) * 6]))


class Listed(Bare):
    """A table that looks up many networks at once, and no other way."""

    def column(self, name, /):
        return np.array([1.0, 2.0])

    def value(self, column, code, /):
        pytest.fail("looked up one by one")

    def values(self, column, codes_NG, /):
        return self.column(column)[codes_NG[:, 0]]
