import dataclasses

import pytest

from hwnas import parts
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
