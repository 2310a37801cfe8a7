"""The Python interface: evaluated networks come back, and the caller's things stay as they are."""

from __future__ import annotations

import importlib.util
import logging
import random

import numpy as np
import pytest

from hwnas.compat.dynast import DyNAS, InvalidMetricsException, InvalidSupernetException
from hwnas.compat.dynast.supernets import SUPERNETS
from hwnas.compat.dynast.table import read
from hwnas.errors import ConfigError

NAME = "ofa_resnet50"


def made(place, **more):
    options = {"search_tactic": "evolutionary", "num_evals": 24, "population": 8, **more}
    return DyNAS(NAME, place / "results.csv", ["macs", "params"], ["macs", "params"], **options)


def table(found):
    """Rows as dicts, whether pandas is there or not."""
    return found if isinstance(found, list) else found.to_dict("records")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("dynas")
    return made(place), made(place).search()


def test_it_returns_evaluated_networks_the_front_first(finished):
    tactic, found = finished
    known = read(tactic.task.table, SUPERNETS[NAME]).values
    values = [known[SUPERNETS[NAME].code(config)] for config in found]
    assert len(found) >= 8 and set(found[0]) == {"d", "e", "w"}
    first = (values[0]["macs"], values[0]["params"])
    assert first[0] == min(entry["macs"] for entry in known.values())


def test_the_best_are_the_best_and_not_the_last(finished):
    tactic, _ = finished
    rows = table(tactic.get_best_configs(sort_by="macs", ascending=True, limit=3))
    known = sorted(entry["macs"] for entry in read(tactic.task.table, SUPERNETS[NAME]).values.values())
    assert [row["MACs"] for row in rows] == known[:3]
    largest = table(tactic.get_best_configs(sort_by="Model Parameters", limit=1))
    assert largest[0]["Model Parameters"] == max(
        row["Model Parameters"] for row in table(tactic.get_best_configs(limit=99))
    )


def test_by_default_the_best_are_the_front(finished):
    tactic, found = finished
    assert [row["Sub-network"]["d"] for row in table(tactic.get_best_configs())] == [
        config["d"] for config in found[:8]
    ]


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
def test_with_pandas_it_is_a_frame(finished):
    assert "Sub-network" in finished[0].get_best_configs(limit=2).columns


def test_best_before_any_search_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"run search\(\) first"):
        made(tmp_path).get_best_configs()


def test_unknown_keywords_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="no option 'populaton'; did you mean 'population'"):
        made(tmp_path, populaton=5)


def test_errors_bear_their_old_names(tmp_path):
    with pytest.raises(InvalidSupernetException):
        DyNAS("resnet", tmp_path / "x.csv", ["macs"], [])
    with pytest.raises(InvalidMetricsException):
        DyNAS(NAME, tmp_path / "x.csv", ["bleu"], [])


def test_nothing_of_the_callers_is_touched(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")  # of a launcher that nobody asked for
    objectives, extra, handlers = ["macs", "params", "macs"], ["macs"], list(logging.getLogger().handlers)
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002  # to see that nobody draws from it
    tactic = DyNAS(NAME, tmp_path / "x.csv", objectives, extra, "random", 4)
    assert len(tactic.search()) == 4
    assert (objectives, extra) == (["macs", "params", "macs"], ["macs"])
    assert logging.getLogger().handlers == handlers
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert any("twice" in note for note in tactic.notes)


def test_only_rank_0_works(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert made(tmp_path, distributed=True).search() == []
    assert not (tmp_path / "results.csv").exists()
