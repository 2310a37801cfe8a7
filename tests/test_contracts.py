"""Every part of every folder keeps what its protocol promises: a new file is tested without writing a test."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from hwnas import parts, testing
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.progress import silent
from hwnas.quality.tabular import Tabular

FILES = [(folder, name) for folder in parts.FOLDERS for name in parts.names(folder)]
TOOLS = {
    ("weights", "share"): "how weights are shared, which sources of weights, metrics and families use",
    ("weights", "train"): "how one network is trained, which is no source of weights for others",
}
"""Files without a part, and why they stand among the parts."""
GAPS: dict[tuple[str, str, str], str] = {}
"""Known gaps: (folder, name, check) and why. One that is closed makes its test fail, and is to be removed here."""
CHECKS = [(folder, name, check) for folder, name in FILES for check in testing.checks_of(parts.find(name, (folder,)))]


def marked(folder, name, check, *rest):
    """A test case that is expected to fail where a gap is known."""
    gap = GAPS.get((folder, name, check.__name__))
    marks = [pytest.mark.xfail(strict=True, reason=gap)] if gap else []
    return pytest.param(
        folder, name, *rest, marks=marks, id="-".join([folder, name, *(each.__name__ for each in rest)])
    )


@pytest.mark.parametrize(("folder", "name"), [marked(*file, testing.check_file) for file in FILES])
def test_file(folder, name):
    testing.check_file(folder, name)


@pytest.mark.parametrize(("folder", "name", "check"), [marked(*case, case[2]) for case in CHECKS])
def test_part(folder, name, check, tmp_path):
    cls = parts.find(name, (folder,))
    if hasattr(cls, "needs"):
        pytest.importorskip(cls.needs)
    check(testing.example(cls, tmp_path))


@pytest.mark.parametrize("family_name", parts.names("families"))
@pytest.mark.parametrize(("folder", "name"), [file for file in FILES if file[0] in ("quality", "hardware")])
def test_metrics_judge_all_families(folder, name, family_name, tmp_path):
    family = testing.example(parts.find(family_name, ("families",)), tmp_path)
    metric = testing.example(parts.find(name, (folder,)), tmp_path)
    if family.buildable and "data" in {field.name for field in fields(metric)}:
        data = testing.data_for(family, tmp_path)
        if data is None:
            pytest.skip(f"no data set is at hand that the networks of {family_name} can take")
        if len(data.classes) != getattr(family, "classes", len(data.classes)):
            family = replace(family, classes=len(data.classes))
        metric = replace(metric, data=data)
    given = {"family": family, "weights": testing.Untrained(family)}
    try:
        metric = replace(metric, **{field.name: given[field.name] for field in fields(metric) if field.name in given})
        if hasattr(metric, "prepare"):
            metric.prepare(silent)
    except ConfigError as error:
        pytest.skip(f"{name} does not go with {family_name}: {error}")
    if not family.buildable and not isinstance(metric, Tabular):
        pytest.skip(f"{family_name} builds no networks")
    refused = []
    for code in testing.some_codes(family, 2):
        try:
            testing.judges(metric, [Candidate(family, code)])
        except MetricError as error:
            refused.append(str(error))
    assert len(refused) <= 1, "it refuses more than one network of a few"


def test_no_file_is_overlooked():
    files = [path for folder in parts.FOLDERS for path in (parts.ROOT / folder).glob("[!_]*.py")]
    assert {(path.parent.name, path.stem) for path in files} == {*FILES, *TOOLS}


def test_every_gap_is_about_something():
    known = {(folder, name, check.__name__) for folder, name, check in CHECKS}
    assert set(GAPS) <= known | {(folder, name, "check_file") for folder, name in FILES}
