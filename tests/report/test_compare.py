"""Runs side by side: one box, one table, one page, and no comparison of what cannot be compared."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.errors import ConfigError, RunMismatchError
from hwnas.families.nasbench201 import NasBench201
from hwnas.report import plots
from hwnas.report.compare import Comparison, names_of, write
from hwnas.trial import Goal
from hwnas.trials import Trials, hypervolume

from ._study import ACCURACY, CONFIRMED, EVIL, FACTS, LATENCY, MACS, SEARCHED, Stack, chance, study, trial

GOALS = (ACCURACY, LATENCY)


def made(folder: Path, name: str, *args, **more):
    (folder / name).mkdir()
    return study(folder / name, *args, **more)


@pytest.fixture
def pair(tmp_path):
    """A whole run of eight networks, and one of four with a random search of three."""
    one = made(tmp_path, "one", SEARCHED, CONFIRMED, **{**FACTS, "config": {"search": {"linas": {}}, "budget": 8}})
    two = made(tmp_path, "two", SEARCHED[:4], config={"search": {"algorithms.nsga2": {}}, "budget": 20})
    chance(two, (trial(0, {"accuracy": 0.8, "latency": 0.001}), SEARCHED[1], SEARCHED[5]))
    return {"one": one, "two": two}


def test_the_table_holds_what_the_records_hold(pair):
    comparison = Comparison(pair)
    assert [side.name for side in comparison.sides] == ["one", "two", "random search"]
    table = dict(comparison.rows())
    assert table["search"] == ["linas", "nsga2", "random"]
    assert table["budget"] == ["8", "20", "3"]
    assert table["networks judged"] == ["8", "4", "3"] and table["failed"] == ["2", "0", "0"]
    assert table["networks on the front"] == ["3", "3", "1"]
    assert table["best accuracy"] == ["98.6 %", "98.6 %", "96.0 %"]
    assert table["best latency"] == ["500 µs", "500 µs", "800 µs"]
    assert table["chosen: latency"] == ["1.32 ms", "0.800 ms", "–"]  # as measured again; and what would be chosen now
    assert table["time"] == ["6 min", "–", "–"]


def test_all_shares_are_of_one_box_at_equal_counts(pair):
    comparison = Comparison(pair)
    searches = [study.trials() for study in (pair["one"], pair["two"])]
    searches.append(comparison.sides[2].found.searched)
    frame = Trials([trial for trials in searches for trial in trials], GOALS)
    table = dict(comparison.rows())
    for label, counts in (
        ("box dominated at 25 %", (2, 1, 1)),
        ("box dominated at 50 %", (4, 2, 2)),
        ("box dominated at the end", (8, 4, 3)),
        ("box dominated after 1 network", (1, 1, 1)),
        ("box dominated after 3 networks", (3, 3, 3)),
    ):
        shares = [hypervolume(trials[:count], frame) for trials, count in zip(searches, counts, strict=True)]
        assert table[label] == [f"{100 * share:.1f} %" for share in shares], label
    plain = comparison.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    for run, trials in zip(plain["runs"], searches, strict=True):
        assert run["curve"][-1] == [len(trials), pytest.approx(hypervolume(trials, frame))]
        assert run["hypervolume_at"] == {"3": pytest.approx(hypervolume(trials[:3], frame))}


def test_fronts_and_curves_lie_over_one_another(pair):
    comparison = Comparison(pair)
    (front,) = plots.overlaid_fronts(comparison)
    clouds = {trace["name"]: trace for trace in front.data if trace["mode"] == "markers"}
    assert list(zip(clouds["two"]["x"], clouds["two"]["y"], strict=True)) == [(1.3, 98.6), (0.8, 96), (0.5, 90)]
    assert clouds["random search"]["x"] == [0.8]
    looks = {(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in clouds.values()}
    assert len(looks) == len({symbol for _, symbol in looks}) == 3  # never by colour alone
    curves = {trace["name"]: trace for trace in plots.overlaid_volumes(comparison).data}
    assert curves["one"]["x"] == list(range(1, 9)) and len({trace["line"]["dash"] for trace in curves.values()}) == 3


def test_equal_random_searches_are_drawn_once_even_where_one_is_shorter(tmp_path):
    studies = {name: made(tmp_path, name, SEARCHED) for name in ("a", "b", "c")}
    chance(studies["a"], SEARCHED[:3])
    chance(studies["b"], SEARCHED[:6])
    (side,) = Comparison(studies).sides[3:]
    assert (side.name, side.beside, len(side.judged)) == ("random search", ("a", "b"), 6)
    chance(studies["c"], SEARCHED[3:6])
    names = [side.name for side in Comparison(studies).sides[3:]]
    assert names == ["random search of a, b", "random search of c"]


def test_a_run_alone_is_compared_with_its_random_search(tmp_path):
    alone = made(tmp_path, "alone", SEARCHED)
    with pytest.raises(ConfigError, match=r"two runs or more\nname another run, .*: hwnas baseline DIR"):
        Comparison({"alone": alone})
    chance(alone, SEARCHED[:3])
    assert len(Comparison({"alone": alone}).sides) == 2


@pytest.mark.parametrize(
    ("goals", "told"),
    [
        ((ACCURACY, replace(LATENCY, name="delay")), "goal latency is min in a and not there in b"),
        ((replace(ACCURACY, direction="min"), LATENCY), "goal accuracy is max in a and min in b"),
        ((ACCURACY, replace(LATENCY, objective=False)), "goal latency is min in a and min, a constraint only in b"),
        ((LATENCY, ACCURACY), "the order of the goals is accuracy, latency in a and latency, accuracy in b"),
        ((ACCURACY, LATENCY, MACS), "goal macs is not there in a and min in b"),
    ],
)
def test_other_goals_cannot_be_compared(tmp_path, goals, told):
    studies = {"a": made(tmp_path, "a", SEARCHED), "b": made(tmp_path, "b", SEARCHED, goals=goals)}
    with pytest.raises(RunMismatchError, match=f"cannot be compared: {told}"):
        Comparison(studies)


def test_other_parts_cannot_be_compared(tmp_path):
    studies = {"a": made(tmp_path, "a"), "b": made(tmp_path, "b", family=NasBench201(channels=4, cells=1))}
    with pytest.raises(RunMismatchError, match="family is stack in a and nasbench201 in b"):
        Comparison(studies)
    studies["b"] = made(tmp_path, "c", identity={"goals.accuracy": "quality.other"})
    with pytest.raises(RunMismatchError, match=r"goal accuracy is max in a and max quality\.other in b"):
        Comparison(studies)


def test_what_may_differ_is_told(tmp_path):
    loose = (ACCURACY, replace(LATENCY, limit=0.002))
    studies = {
        "a": made(tmp_path, "a", SEARCHED, identity={"seed": 1, "data": "x"}),
        "b": made(tmp_path, "b", SEARCHED, goals=loose, identity={"seed": 2, "data": "x"}),
    }
    notes = ["The runs have different seeds.", "The limits on latency differ: 1.39 ms in a, 2.00 ms in b."]
    assert Comparison(studies).notes == notes


def test_runs_that_have_judged_nothing_can_be_compared(tmp_path):
    studies = {name: made(tmp_path, name, [trial(0, {}, "running")]) for name in ("a", "b")}
    comparison = Comparison(studies)
    assert dict(comparison.rows())["box dominated at the end"] == ["–", "–"]
    assert plots.overlaid_fronts(comparison) == [] and plots.overlaid_volumes(comparison) is None
    assert "side by side" in write(comparison, tmp_path / "page.html").read_text()
    assert comparison.to_dict()["runs"][0]["curve"] == []


def test_three_objectives_are_overlaid_in_pairs_and_one_by_its_curve(tmp_path):
    goals = (ACCURACY, Goal("latency", None, "min", unit="s"), MACS)
    values = {"accuracy": 0.9, "latency": 1e-3, "macs": 1e6}
    three = {name: made(tmp_path, name, [trial(0, values)], goals=goals) for name in ("a", "b")}
    assert [plot.id for plot in plots.overlaid_fronts(Comparison(three))] == ["front0", "front1", "front2"]
    one = {name: made(tmp_path, name, SEARCHED, goals=(ACCURACY,)) for name in ("c", "d")}
    assert plots.overlaid_fronts(Comparison(one)) == [] and plots.overlaid_volumes(Comparison(one)) is not None


def test_the_page_is_one_safe_file_with_every_trial(tmp_path):
    class Named(Stack):
        name = EVIL

    studies = {name: made(tmp_path, name, SEARCHED, family=Named()) for name in ("a", "b")}
    text = write(Comparison({EVIL: studies["a"], "b": studies["b"]}), tmp_path / "page.html").read_text()
    assert "alert" in text and EVIL not in text and "<script>alert" not in text
    assert not re.search(r"<(link|img|iframe)\b|\bsrc=", text.partition("<script>")[0])
    record = json.loads(re.search(r'id="record">(.*?)</script>', text, re.S)[1])
    assert [row["run"] for row in record["trials"]] == [EVIL] * len(SEARCHED) + ["b"] * len(SEARCHED)


def test_runs_are_named_as_shortly_as_can_be(tmp_path):
    assert names_of([Path("runs/a"), Path("runs/b/"), Path("old/b")]) == ["a", "runs/b", "old/b"]
    with pytest.raises(ConfigError, match="named twice"):
        names_of([Path("runs/a"), Path("runs/../runs/a")])
