"""The page: complete, honest, self-contained and safe."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from hwnas.errors import MetricError
from hwnas.families.nasbench201 import NasBench201
from hwnas.layers import macs, params
from hwnas.report import verdict, write
from hwnas.study import Study
from hwnas.trial import Goal
from hwnas.units import show

from ._study import (
    ACCURACY,
    CONFIRMED,
    EVIL,
    EXPECTED,
    FACTS,
    FAMILY,
    LARGEST,
    LATENCY,
    MACS,
    SEARCHED,
    STEPS,
    Stack,
    chance,
    code,
    study,
    trial,
)

VOID = {"meta", "link", "br", "hr", "img", "input"}
LOADING = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href", "ping"}


class Page(HTMLParser):
    """A page taken apart: its tags, its tables, its scripts; tags that do not match are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.scripts, self.open = text, [], [], []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "table":
            self.rows = self.tables.setdefault(given["id"], [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append((given, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            given, text = self.scripts[-1]
            self.scripts[-1] = (given, text + data)
        elif "style" not in self.open:
            self.words.append(data)
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

    @property
    def prose(self) -> str:
        return " ".join(" ".join(self.words).split())

    def data(self, name: str):
        return next(json.loads(text) for given, text in self.scripts if given.get("id") == name)

    def element(self, name: str) -> str:
        return re.search(rf'id="{name}"[^>]*>(.*?)<', self.text, re.S)[1]


def page(done: Study) -> Page:
    path = write(done, Path(done.bench.setup.folder) / "report" / "report.html")
    assert path.suffix == ".html" and not list(path.parent.glob("*.tmp"))
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def full(tmp_path):
    return study(tmp_path, SEARCHED, CONFIRMED, **FACTS)


def studies(folder: Path) -> dict[str, Study]:
    """Every kind of study that a report may meet."""
    free = Goal("latency", None, "min", unit="s")
    kinds = {
        "empty": ((), (), (ACCURACY, LATENCY), {}),
        "running": ((trial(0, {}, "running"),), (), (ACCURACY, LATENCY), {"config": {"budget": 9}}),
        "failed only": (SEARCHED[6:], (), (ACCURACY, LATENCY), {}),
        "infeasible": (SEARCHED[4:], (), (ACCURACY, LATENCY), {}),
        "finalists lost": (SEARCHED, CONFIRMED[3:], (ACCURACY, LATENCY), {"chosen": None}),
        "one objective": (SEARCHED, (), (ACCURACY,), {}),
        "unconfirmed": (SEARCHED, (), (ACCURACY, LATENCY), {}),
        "half confirmed": (
            SEARCHED,
            [trial(0, {"latency": 1e-3}, "running", code=code(2))],
            (ACCURACY, LATENCY),
            FACTS,
        ),
        "failed again": (
            SEARCHED,
            [*CONFIRMED, trial(4, {}, "failed", code=code(3), error=EVIL)],
            (ACCURACY, LATENCY),
            FACTS,
        ),
        "three objectives": ([trial(0, {"accuracy": 0.9, "latency": 1e-3, "macs": 5})], (), (ACCURACY, free, MACS), {}),
        "proxies": ([trial(0, {"synflow": -4e24, "macs": 0})], (), (Goal("synflow", None, "max"), MACS), {}),
        "largest is best": ([trial(0, {"accuracy": 0.9}, code=LARGEST)], (), (ACCURACY,), {"chosen": list(LARGEST)}),
    }
    made = {}
    for name, (searched, confirmed, goals, facts) in kinds.items():
        (folder / name).mkdir()
        made[name] = study(folder / name, searched, confirmed, goals, **facts)
    return made


def test_every_kind_of_study_makes_a_sound_page(tmp_path, capsys):
    for name, done in studies(tmp_path).items():
        own = page(done)
        assert verdict(done) in own.prose.replace("\u00a0", " "), name
        assert len(own.data("record")["trials"]) == len(done.trials()) + len(done.trials("confirm")), name
        ids = [given["id"] for _, given in own.tags if "id" in given]
        assert len(ids) == len(set(ids)), name
        assert {figure["id"] for figure in own.data("figures")} <= set(ids), name
        assert "Undefined" not in own.prose and "None," not in own.prose, name
    assert capsys.readouterr() == ("", "")


def test_the_page_needs_no_network(full):
    own = page(full)
    for tag, given in own.tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base"), tag
        assert not LOADING & set(given), (tag, given)
        assert not any(name.startswith("on") for name in given), (tag, given)
    style = re.search(r"<style>(.*?)</style>", own.text, re.S)[1]
    assert "url(" not in style and "@import" not in style
    policy = next(given["content"] for _, given in own.tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and "unsafe-inline" not in policy.partition("script-src")[2]
    code_only = [text for given, text in own.scripts if "type" not in given]
    assert len(code_only) == 2 and sum("plotly.js v" in text[:200] for text in code_only) == 1  # inlined once
    for text in code_only:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "showSendToCloud" not in code_only[1] and "modeBarButtons: [[" in code_only[1]


def test_what_users_wrote_is_never_markup(tmp_path):
    class Named(Stack):
        name = EVIL

    goals = (Goal(f"accuracy {EVIL}", None, "max", unit=EVIL), Goal("latency", None, "min", limit=1.0, unit="s"))
    values = {goals[0].name: 0.9, "latency": 0.001}
    evil = {name: EVIL for name in ("chosen_name", "command", "seed")}
    evil |= {"chosen": list(LARGEST), "config": {EVIL: EVIL}, "environment": {EVIL: {EVIL: EVIL}}, "notes": [EVIL]}
    evil |= {"export": {"path": EVIL, "format": EVIL, "classes": [EVIL], "bytes": 9}, "seconds": {EVIL: 1.0}}
    evil |= {"training": FACTS["training"], "limits": {"latency": {"given": f"{EVIL}%"}}}
    trials = [trial(0, values), trial(1, values, code=LARGEST), trial(2, {}, "failed", error=EVIL)]
    done = study(tmp_path, trials, trials[:2], goals, Named(), **evil)
    done.run.event("note", text=EVIL)
    done.run.event(EVIL, text=EVIL)
    own = page(done)
    assert "alert" in own.text and EVIL not in own.text and "<script>alert" not in own.text
    assert len(own.scripts) == 4 and all("alert('x')" not in given for given, _ in own.scripts)
    assert not any("alert('x')" in name for _, given in own.tags for name in given)
    assert own.data("record")["trials"][2]["error"] == EVIL


def test_the_embedded_record_is_the_record(full):
    record = page(full).data("record")
    for stage in ("search", "confirm"):
        rows = [row for row in record["trials"] if row["stage"] == stage]
        for row, own in zip(rows, full.trials(stage), strict=True):
            expected = {name: json.loads(json.dumps(value)) for name, value in vars(own).items()}
            assert row == {"stage": stage, **expected}
    assert [choice["name"] for choice in record["choices"]] == [choice.name for choice in FAMILY.space.choices]
    assert [goal["limit"] for goal in record["goals"]] == [None, 0.00139]


def test_the_comparison_tells_the_confirmed_values(full):
    own = page(full)
    head, *rows = own.tables["comparison"]
    table = {row[0].split(" limit")[0]: row[1:] for row in rows}
    assert [role.split()[0] for role in head[1:]] == ["Largest", "Chosen", "Knee"]
    assert table["accuracy 360 test images"] == ["98.4 %", "98.1 % −0.3 points 97.0 … 99.0 %", "95.5 % −2.9 points"]
    assert table["latency"][0] == "2.31 ms over the limit 2.29 … 2.36 ms"
    assert table["latency"][1] == "1.32 ms −43 % 1.31 … 1.35 ms"
    assert table["latency, median / 95th percentile"][1] == "1.32 / 1.58 ms 240 passes"
    layers = full.bench.candidate(code(2)).layers
    assert table["MACs of one input"][1] == show(macs(layers), "")
    assert table["parameters"][1] == show(params(layers), "")
    assert table["file as timed"][1] == "2.10 MiB"
    assert "limit 1.39 ms (60 % of the largest)" in own.prose


def test_every_latency_stands_beside_the_noise(full):
    own = page(full)
    for name, cells in (
        ("comparison", [row[0] for row in own.tables["comparison"]]),
        ("front", own.tables["front"][0]),
    ):
        assert any(cell.startswith("latency") and "repeat error ±2.1 %" in cell for cell in cells), name
    assert any("repeat error ±2.1 %" in cell for cell in own.tables["again"][0])
    assert "1.31 ms (repeat error ±2.1 %)" in own.prose
    assert "Latency: repeat error ±2.1 %" in own.prose  # below the plot


def test_unknown_noise_is_admitted(tmp_path):
    assert "repeat error not measured" in page(study(tmp_path, SEARCHED)).prose


def test_search_and_second_measurement_are_compared_honestly(full):
    own = page(full)
    rows = {row[0].split()[0]: row[1:] for row in own.tables["again"][2:]}
    assert rows["#2"] == ["98.6 %", "98.1 %", "−0.5 points", "1.30 ms", "1.32 ms", "+2 %"]
    assert rows["#1"] == ["96.0 %", "95.5 %", "−0.5 points", "0.800 ms", "0.790 ms", "−1 %"]
    assert rows["largest"] == ["–", "98.4 %", "", "–", "2.31 ms", ""]
    assert "Accuracy: the finalists looked better in the search than they are, −0.5 points on average." in own.prose
    assert "Latency: ±0 % on average, no more than the repeat error." in own.prose


def test_a_chosen_network_that_fell_behind_is_told(tmp_path):
    again = (CONFIRMED[0], trial(1, {"accuracy": 0.985, "latency": 0.0007}, code=code(1)), CONFIRMED[3])
    assert "another finalist is better than the chosen network" in page(study(tmp_path, SEARCHED, again, **FACTS)).prose


def test_a_random_search_stands_beside_the_search(full):
    assert "random search" not in page(full).prose
    chance(full, SEARCHED[2:5])
    own = page(full)
    assert "After 3 networks the search dominates " in own.prose and "a random search " in own.prose
    assert [row["stage"] for row in own.data("record")["trials"]].count("baseline") == 3


def test_how_to_make_a_random_search_is_told_where_it_would_say_something(tmp_path):
    for name, search, told in (
        ("a", {"algorithms.linas": {"batch": 5}}, True),
        ("b", {"algorithms.random": {}}, False),
    ):
        (tmp_path / name).mkdir()
        done = study(tmp_path / name, SEARCHED, config={"search": search, "budget": 8}, finished=True)
        assert (f"hwnas baseline {tmp_path / name}" in page(done).prose) is told


def test_predictors_are_held_against_the_truth(tmp_path):
    done = study(tmp_path, EXPECTED)
    for step in STEPS:
        done.run.event(**step)
    own = page(done)
    assert own.tables["predictors"][2:] == [
        ["accuracy", "gp", "0.30 %", "0.91", "3", "4.1 %", "0.33"],
        ["latency", "–", "–", "–", "1", "100 %", "–"],
    ]
    assert {"expected0", "rounds0", "expected1"} <= {figure["id"] for figure in own.data("figures")}
    assert "Predictor against truth" not in page(study(made_in(tmp_path, "plain"), SEARCHED)).prose


def made_in(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_the_front_is_listed_with_its_architectures(full):
    rows = page(full).tables["front"][1:]
    values = [["#2", "98.1 %", "1.32 ms"], ["#1", "95.5 %", "0.790 ms"], ["#0", "89.5 %", "0.490 ms"]]
    assert [row[:3] for row in rows] == values
    assert rows[0][3] == "act none · depth 2 · width 4 4"


def test_the_layers_are_those_of_the_chosen_network(full):
    rows = page(full).tables["layers"][1:]
    layers = full.bench.candidate(code(2)).layers
    assert [row[0] for row in rows] == [layer.name for layer in layers]
    assert sum(float(row[5].split()[0]) for row in rows) == pytest.approx(100, abs=0.1 * len(rows))


def test_failures_are_counted_by_kind(full):
    own = page(full)
    assert own.tables["errors"][1:] == [["2", " ".join(SEARCHED[6].error.split()), "#6"]]  # numbers make no kind
    assert "accuracy was not measured for 1 network that broke a limit before." in own.prose


def test_an_unfinished_run_tells_how_to_go_on(tmp_path):
    own = page(study(tmp_path, SEARCHED, config={"budget": 20}))
    assert "not finished" in own.prose and "8 of 20 networks judged so far" in own.prose
    assert own.element("resume") == f"hwnas resume {tmp_path}"
    assert "So far: 1.30" not in own.prose and own.prose.count("So far: ") == 1


def test_how_to_get_it_again(full):
    own = page(full)
    assert own.element("command") == "hwnas search stack.yaml"
    assert yaml.safe_load(own.element("config")) == FACTS["config"]
    for text in ("seed 7", "search 6 min", "runtimes.onnxruntime 1.2", "memory 8.00 GiB", "torch 2.13"):
        assert text in own.prose


def test_a_family_that_cannot_build_costs_only_its_tables(tmp_path):
    class Broken(Stack):
        def build(self, arch, /):
            raise MetricError("not today")

    own = page(study(tmp_path, SEARCHED, CONFIRMED, family=Broken(), **FACTS))
    assert "layers" not in own.tables and "parameters" not in [row[0] for row in own.tables["comparison"]]


def test_a_family_of_words_is_drawn(tmp_path):
    cells = NasBench201(channels=4, cells=1)
    done = study(tmp_path, [trial(0, {"accuracy": 0.9}, code=cells.space.at(777))], goals=(ACCURACY,), family=cells)
    assert "node3" in page(done).prose


def test_the_page_is_replaced_as_a_whole(full, tmp_path):
    first = write(full, tmp_path / "report.html").read_text(encoding="utf-8")
    full.run.save("search", [trial(9, {"accuracy": 0.5, "latency": 0.001})])
    second = write(full, tmp_path / "report.html").read_text(encoding="utf-8")
    assert first != second and second.rstrip().endswith("</html>")
