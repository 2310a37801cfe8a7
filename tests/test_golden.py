"""Every search finds the front that it found before: a change that was not meant shows, one that was is reviewed.

After a deliberate change, `HWNAS_BLESS=1 pytest tests/test_golden.py` writes the fronts anew, and the difference is
read before it is committed.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from hwnas import pareto, parts, testing
from hwnas.trials import Trials

FILE = Path(__file__).parent / "golden" / "fronts.json"
BUDGET = 160
VERSIONS = {package: version(package) for package in ("numpy", "pymoo", "numba", "cma", "optuna", "scipy")}
"""None of them promises equal random numbers, or equal choices, from version to version."""
SENSITIVE = ("linas",)
"""Searches that choose by what was fitted in floating point: on another processor sums are added up in another order,
the last bit differs, and other networks are found that are as good."""
PROCESSOR = sorted({own["architecture"] for own in threadpool_info() if own["internal_api"] == "openblas"})


def example(name):
    """A search with the options of its checks."""
    return testing.example(parts.find(name, ("algorithms",)), Path("nowhere"))


def front(name, goals):
    """The codes of the front that a search finds on the toy problem with seed 0, in the order of accuracy."""
    search = example(name)
    trials = testing.drive(search, goals, budget=BUDGET).trials
    return [list(trial.code) for trial in Trials(trials, goals).front()]


def fronts(name):
    """The fronts without a limit and with one, for goals that the search takes."""
    free, limited = testing.fitting(example(name))
    return {"free": front(name, free), "limited": front(name, limited)}


def volume(codes):
    """What a front of the toy problem is worth."""
    values = [testing.judge(tuple(code)) for code in codes]
    return pareto.hypervolume([[-row["accuracy"], row["latency"]] for row in values], testing.REFERENCE)


@pytest.fixture(scope="module")
def golden():
    if os.environ.get("HWNAS_BLESS"):
        found = {name: {kind: [*map(json.dumps, codes)] for kind, codes in fronts(name).items()} for name in ALL}
        text = json.dumps({"versions": VERSIONS, "processor": PROCESSOR, "fronts": found}, indent=1)
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text.replace('"[', "[").replace(']"', "]") + "\n", encoding="utf-8")
    return json.loads(FILE.read_text(encoding="utf-8"))


ALL = parts.names("algorithms")


def test_every_search_owns_a_baseline_and_no_baseline_is_orphaned(golden):
    assert sorted(golden["fronts"]) == sorted(ALL), "bless with HWNAS_BLESS=1 and review the difference"


@pytest.mark.parametrize("name", ALL)
def test_the_front_is_the_one_that_was_found_before(name, golden):
    found = fronts(name)
    assert found == fronts(name)
    if golden["versions"] != VERSIONS:
        pytest.skip(f"the fronts were found with {golden['versions']}, and this is {VERSIONS}")
    if name in SENSITIVE and golden["processor"] != PROCESSOR:
        for kind, codes in golden["fronts"][name].items():
            assert volume(found[kind]) == pytest.approx(volume(codes), rel=0.1)
        return
    assert golden["fronts"].get(name) == found, "if this was meant, bless with HWNAS_BLESS=1 and review the difference"
