"""Whole experiments in seconds: from a configuration to a run folder, and on from whatever is left of one."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image

import hwnas
import toys
from hwnas import experiment
from hwnas.config import read
from hwnas.errors import (
    ConfigError,
    DataError,
    InfeasibleError,
    Interrupted,
    RecordError,
    RunExistsError,
    RunLockedError,
    RunMismatchError,
    SchemaError,
    SearchError,
)
from hwnas.families.nasbench201 import NasBench201, spell
from hwnas.hardware.measured import Measured
from hwnas.records import Records, sqlite_url
from hwnas.report.baseline import baseline_of
from hwnas.space import Choice, Space
from hwnas.study import Study
from hwnas.trial import Trial
from tiny import Corners, Tiny
from toys import Stop, word

PARTS = {
    "scaled": '''
@dataclass(frozen=True)
class Scaled(Metric):
    """The sum of the code, times what a file says: a machine that is not what it was."""

    file: str

    def __call__(self, candidate):
        return float(Path(self.file).read_text()) * (1 + sum(candidate.code))
''',
    "wobbly": '''
@dataclass(frozen=True)
class Wobbly(Metric):
    """One more than the sum of the code; when it is measured again, odd sums cost five more."""

    again: bool = False
    surcharge: float = 5.0

    def __call__(self, candidate):
        return 1.0 + sum(candidate.code) + (self.surcharge if self.again and sum(candidate.code) % 2 else 0.0)

    def confirmed(self):
        return replace(self, again=True)
''',
    "logged": '''
from hwnas.quality.synflow import Synflow


@dataclass(frozen=True)
class Logged(Metric):
    """SynFlow that notes whom it judges, before and after."""

    log: str

    def __call__(self, candidate):
        self.note("begin", candidate)
        value = Synflow()(candidate)
        self.note("end", candidate)
        return value

    def note(self, what, candidate):
        file = os.open(self.log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(file, f"{what} {candidate.code}\\n".encode())
        os.close(file)
''',
}
HEAD = """
import os
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.trial import Metric
"""


@pytest.fixture(scope="module", autouse=True)
def own_parts(tmp_path_factory):
    """Metrics outside hwnas, for this process and its children: `own_parts.scaled` …"""
    home = tmp_path_factory.mktemp("elsewhere")
    (home / "own_parts").mkdir()
    (home / "own_parts" / "__init__.py").touch()
    for name, text in PARTS.items():
        code = f"{HEAD}{text}\n__all__ = [{name.title()!r}]\n"
        (home / "own_parts" / f"{name}.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])]))
        importlib.invalidate_caches()
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Every cell of the benchmark, with an invented accuracy and a latency of 1 to 25 ms that grows with the code."""
    codes = list(itertools.product(range(5), repeat=6))
    latency = np.array([1e-3 * (1 + sum(code)) for code in codes])
    accuracy = 0.9 - 0.01 / latency + np.random.default_rng(0).random(len(codes)) / 20
    path = tmp_path_factory.mktemp("table") / "cells.npz"
    np.savez(path, arch=np.array([spell(code) for code in codes]), accuracy=accuracy, latency=latency)
    return str(path)


@pytest.fixture
def config(table):
    """No network is ever built before the chosen one is written."""
    return {
        "family": {"nasbench201": {"table": table, "cells": 1, "channels": 4, "resolution": 8}},
        "goals": {
            "accuracy": {"max": {"tabular": {"column": "accuracy"}}},
            "latency": {"min": {"tabular": {"column": "latency"}}, "limit": "60%"},
        },
        "search": {"nsga2": {"population": 8}},
        "budget": 24,
        "confirm": 3,
    }


def changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**config, **changes}


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder) if not name.startswith("study.db-")}


def rows(study: Study, stage: str = "search") -> list[tuple[Any, ...]]:
    return [(t.number, t.code, dict(t.values), t.state, t.error) for t in study.trials(stage)]


def kinds(study: Study) -> list[str]:
    return [event["kind"] for event in study.run.events()]


# --- a whole run ----------------------------------------------------------------------------------------------------


def test_a_run_leaves_everything_in_its_folder(config, tmp_path):
    path, run = tmp_path / "mine.yaml", tmp_path / "runs" / "first"
    path.write_text(yaml.safe_dump(config))
    study = hwnas.search(path, run=run, overrides=["budget=20", "seed=5"])
    assert files(run) - {"study.db-wal", "study.db-shm", "study.db.lock"} == {
        *("study.db", "config.yaml", "environment.json", "report.html", "models/chosen.onnx")
    }
    facts = study.run.facts()
    assert len(study.trials()) == 20 and {trial.state for trial in study.trials()} <= {"done", "over_limit"}
    assert facts["finished"] is True and facts["seed"] == 5 and str(run) in facts["command"]
    kept = read(run / "config.yaml")
    assert (kept.budget, kept.seed) == (20, 5) and facts["config"] == kept.to_dict()
    assert json.loads((run / "environment.json").read_text()) == facts["environment"]
    assert facts["environment"]["torch"] == torch.__version__ and facts["environment"]["cores"] >= 1
    assert (
        facts["limits"]["latency"]["value"] == pytest.approx(0.6 * 0.025)
        and facts["limits"]["latency"]["given"] == "60%"
    )
    assert {"search", "confirm", "export"} <= facts["seconds"].keys()
    page = (run / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "latency" in page
    onnx.checker.check_model(run / "models" / "chosen.onnx")
    assert Path(facts["export"]["path"]) == run / "models" / "chosen.onnx" and facts["export"]["trained"] is False

    front = [(trial.values["latency"], -trial.values["accuracy"]) for trial in study.trials().front()]
    feasible = [(t.values["latency"], -t.values["accuracy"]) for t in study.trials() if t.values["latency"] <= 0.015]
    best = {p for p in feasible if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in feasible)}
    assert set(front) == best and len(front) == len(best)
    confirmed = {trial.code for trial in study.trials("confirm")}
    assert study.space.largest in confirmed and len(confirmed) <= 4
    assert tuple(facts["chosen"]) in confirmed & {trial.code for trial in study.trials().front()}


def test_a_run_that_exports_nothing_lacks_the_file_alone(config, tmp_path):
    with_file = hwnas.search(changed(config, budget=6), run=tmp_path / "with")
    without = hwnas.search(changed(config, budget=6, export=False), run=tmp_path / "without")
    assert files(tmp_path / "with") - files(tmp_path / "without") == {"models/chosen.onnx"}
    assert files(tmp_path / "without") <= files(tmp_path / "with")
    facts = without.run.facts()
    assert facts["chosen"] == with_file.run.facts()["chosen"] and facts["finished"]
    assert "export" not in facts and "export" not in facts["seconds"]
    done = hwnas.export(without, without.front()[0], tmp_path / "later.onnx")
    onnx.checker.check_model(done.path)


def test_the_same_seed_gives_the_same_run(config, tmp_path):
    one, two, other = (
        hwnas.search(changed(config, seed=seed), run=tmp_path / name) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert rows(one) == rows(two) != rows(other)
    assert rows(one, "confirm") == rows(two, "confirm")
    assert one.run.facts()["chosen"] == two.run.facts()["chosen"]


def test_several_processes_find_the_same(config, tmp_path):
    """Whoever measures, and in whatever order it is done."""
    source = changed(config, goals={**config["goals"], "macs": {"min": "macs"}}, budget=20)
    alone, together = (
        hwnas.search(changed(source, workers=count, threads=1), run=tmp_path / str(count)) for count in (1, 2)
    )
    assert rows(alone) == rows(together) and rows(alone, "confirm") == rows(together, "confirm")
    assert alone.run.facts()["chosen"] == together.run.facts()["chosen"]


def test_a_run_without_a_folder_gets_a_fresh_one(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(changed(config, budget=3, confirm=0)))
    for _ in range(2):
        hwnas.search("mine.yaml")
    hwnas.search(changed(config, budget=3, confirm=0))
    assert sorted(str(path.parent) for path in Path().glob("runs/*/study.db")) == [
        *("runs/mine", "runs/mine-2", "runs/search")
    ]


def test_data_and_weights(tmp_path, monkeypatch):
    """The main job: a supernet on real images, judged by accuracy with its weights; then on from there."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    source = {
        "family": {"nasbench201": {"channels": 4, "cells": 1}},
        "data": {"digits": {"resolution": 8}},
        "weights": {"shrink": {"epochs": 4, "batch": 128, "augment": 0}},
        "goals": {
            "accuracy": {"max": {"quality.shared": {"calibration": 256}}, "limit": "30%"},
            "macs": {"min": "macs", "limit": "90%"},
        },
        "budget": 8,
        "search": "random",
        "confirm": 2,
        "threads": 1,
    }
    heard = []
    study = hwnas.search(source, run=tmp_path / "run", watch=heard.append)
    phases = [name for name, _ in itertools.groupby(progress.phase for progress in heard)]
    assert phases.index("train supernet") < phases.index("search") < phases.index("confirm") < phases.index("export")
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["family"] == {"families.nasbench201": {"channels": 4, "cells": 1, "classes": 10, "resolution": 8}}
    facts, first = study.run.facts(), rows(study)
    assert facts["limits"]["accuracy"]["value"] == 0.3 * facts["limits"]["accuracy"]["largest"]
    assert [row["epoch"] for row in facts["training"]] == [1, 2, 3, 4] and facts["export"]["trained"] is True
    assert {t.details["accuracy"]["split"] for t in study.trials() if "accuracy" in t.values} == {"val"}
    assert {t.details["accuracy"]["split"] for t in study.trials("confirm")} == {"test"}
    assert all(
        "accuracy" not in t.values for t in study.trials() if t.values["macs"] > facts["limits"]["macs"]["value"]
    )

    monkeypatch.setattr("hwnas.weights._training.Training.run", None)
    again = hwnas.resume(tmp_path / "run", overrides=["budget=10"])
    assert rows(again)[:8] == first and len(again.trials()) == 10
    assert again.run.facts()["limits"] == facts["limits"]
    other = hwnas.search(source, run=tmp_path / "other")  # the supernet comes from the cache
    assert rows(other) == first
    for change, name in [("data.digits.split_seed=1", "data"), ("weights.shrink.lr=0.2", "weights")]:
        with pytest.raises(RunMismatchError, match=rf": (.*; )?{name} was '\w+' and is now '\w+'"):
            hwnas.resume(tmp_path / "run", overrides=[change])


def test_latency_is_measured_and_its_noise_once(tmp_path, monkeypatch):
    quick = {"hardware.measured": {"seconds": 0.01, "repeats": [2, 4], "warmup": 1, "rounds": 2, "runtime": "torch"}}
    source = {
        "family": {"nasbench201": {"channels": 4, "cells": 1, "resolution": 8}},
        "goals": {"latency": {"min": quick, "limit": "200%"}, "params": {"max": "params"}},
        "budget": 4,
        "search": "random",
        "confirm": 1,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    facts = study.run.facts()
    assert facts["noise"]["latency"] > 0 and facts["export"]["latency"] > 0
    assert all(trial.values["latency"] > 0 for trial in study.trials("confirm"))
    assert study.trials("confirm")[0].details["latency"]["rounds"] == 6
    monkeypatch.setattr(Measured, "noise", None)
    assert hwnas.resume(tmp_path / "run").run.facts()["noise"] == facts["noise"]


# --- going on -------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_left_alone(config, tmp_path):
    hwnas.search(changed(config, budget=3), run=tmp_path / "run")
    before = content(tmp_path / "run")
    with pytest.raises(RunExistsError, match=r"run already holds a run\ngo on with it: hwnas resume "):
        hwnas.search(config, run=tmp_path / "run")
    assert content(tmp_path / "run") == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("mine")
    hwnas.search(changed(config, budget=3), run=tmp_path / "notes")
    assert (tmp_path / "notes" / "readme.txt").read_text() == "mine"


def test_a_finished_run_has_nothing_left_to_do(config, tmp_path, monkeypatch):
    study = hwnas.search(config, run=tmp_path / "run")
    before = rows(study), rows(study, "confirm"), study.run.facts()["chosen"]
    monkeypatch.setattr("hwnas.quality.tabular.Tabular.__call__", None)
    again = hwnas.resume(tmp_path / "run")
    assert (rows(again), rows(again, "confirm"), again.run.facts()["chosen"]) == before
    assert "resumed" in kinds(again)


def test_a_larger_budget_goes_on_as_if_it_had_been_so_from_the_start(config, tmp_path):
    whole = hwnas.search(config, run=tmp_path / "whole")
    hwnas.search(changed(config, budget=8), run=tmp_path / "run")
    more = hwnas.resume(tmp_path / "run", overrides=["budget=16"])
    assert rows(more) == rows(whole)[:16]
    more = hwnas.resume(tmp_path / "run", overrides=["budget=24"])
    assert rows(more) == rows(whole) and rows(more, "confirm") == rows(whole, "confirm")
    assert read(tmp_path / "run" / "config.yaml").budget == 24 and more.run.facts()["config"]["budget"] == 24
    assert len(more.run.facts()["epochs"]) == 1


def test_another_search_or_limit_begins_with_what_is_known(config, tmp_path):
    first = rows(hwnas.search(config, run=tmp_path / "run"))
    heard = []
    second = hwnas.resume(
        tmp_path / "run", overrides=["search={evolution: {batch: 4}}", "budget=40"], watch=heard.append
    )
    assert rows(second)[:24] == first and len(second.trials()) == 40
    assert [epoch["warm"] for epoch in second.run.facts()["epochs"]] == [0, 24]
    told = "the search was changed: its 24 networks are a warm start for the new one"
    assert told in [progress.message for progress in heard]
    third = hwnas.resume(tmp_path / "run", overrides=["goals.latency.limit=40%"])
    limit = third.run.facts()["limits"]["latency"]
    assert (limit["given"], limit["value"]) == ("40%", pytest.approx(0.010))
    assert third.goals[1].limit == limit["value"]
    values = [(trial.values["latency"], trial.state) for trial in third.trials()]
    assert len(values) == 40 and all((state == "done") == (value <= limit["value"]) for value, state in values)
    assert all(trial.values["latency"] <= limit["value"] for trial in third.front())


def test_a_limit_is_what_it_was_at_the_beginning(config, tmp_path):
    """Sixty per cent of a machine that has become slower meanwhile are still those of the first day."""
    scale = tmp_path / "scale"
    scale.write_text("1.0")
    source = changed(config, budget=6, confirm=0)
    source["goals"] = {
        "accuracy": config["goals"]["accuracy"],
        "cost": {"min": {"own_parts.scaled": {"file": str(scale)}}, "limit": "60%"},
    }
    study = hwnas.search(source, run=tmp_path / "run")
    first = rows(study)
    assert study.run.facts()["limits"]["cost"]["value"] == 15.0
    scale.write_text("1.25")
    again = hwnas.resume(tmp_path / "run", overrides=["budget=12"])
    assert again.goals[1].limit == 15.0 == hwnas.load(tmp_path / "run").goals[1].limit
    assert rows(again)[:6] == first
    changed_limit = hwnas.resume(tmp_path / "run", overrides=["goals.cost.limit=50%"])
    assert changed_limit.goals[1].limit == 0.5 * 1.25 * 25


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("seed=1", "seed was 0 and is now 1"),
        ("family.nasbench201.cells=2", r"family was '.*\"cells\": 1.*' and is now '.*\"cells\": 2.*'"),
        ("goals.accuracy.max.quality.tabular.column=latency", r"goals\.accuracy was .*accuracy.* and is now .*latency"),
        ("goals.macs={min: hardware.macs}", r"goals\.macs was None and is now"),
        ("goals={accuracy: {max: {quality.tabular: {column: accuracy}}}}", r"goals\.latency was .* and is now None"),
        ("family={mobilenetv3: {resolution: 32}}", "family was"),
    ],
)
def test_numbers_that_are_not_comparable_are_not_mixed(config, tmp_path, change, told):
    if "mobilenetv3" in change:  # which has no table
        config = changed(config, goals={"macs": {"min": "hardware.macs"}}, search="random")
    hwnas.search(changed(config, budget=3, confirm=0), run=tmp_path / "run")
    before = content(tmp_path / "run")
    with pytest.raises(RunMismatchError, match=rf"was made by another experiment: (.*; )?{told}") as caught:
        hwnas.resume(tmp_path / "run", overrides=[change])
    assert "start a new run in another folder" in caught.value.hint
    after = content(tmp_path / "run")
    assert {name for name in before if before[name] != after[name]} <= {"study.db"}
    hwnas.resume(tmp_path / "run")


def test_a_stopped_run_ends_like_an_uninterrupted_one(config, tmp_path):
    whole = hwnas.search(config, run=tmp_path / "whole")
    heard = []
    hwnas.search(config, run=tmp_path / "counted", watch=heard.append)
    rng = np.random.default_rng(0)
    begin = next(i for i, progress in enumerate(heard) if progress.phase == "search")
    for turn in range(2):
        run = tmp_path / f"run{turn}"
        with pytest.raises(Interrupted):
            hwnas.search(config, run=run, watch=Stop(int(rng.integers(begin + 1, len(heard)))))
        assert (run / "report.html").exists() or not Records(sqlite_url(run / "study.db")).open("main").trials("search")
        stopped = hwnas.load(run)
        assert kinds(stopped)[-1] == "interrupted" and not stopped.run.facts().get("finished")
        for _ in range(2):
            try:
                hwnas.resume(run, watch=Stop(int(rng.integers(1, 20))))
            except Interrupted:
                continue
        study = hwnas.resume(run)
        assert rows(study) == rows(whole) and rows(study, "confirm") == rows(whole, "confirm")
        assert study.run.facts()["chosen"] == whole.run.facts()["chosen"] and study.run.facts()["finished"]


@pytest.mark.slow
def test_a_killed_process_ends_like_an_uninterrupted_one(tmp_path):
    def source(log: Path) -> dict[str, Any]:
        return {
            "family": {"mobilenetv3": {"classes": 5, "resolution": 16, "width": 0.25, "depths": [1, 2]}},
            "goals": {
                "flow": {"max": {"own_parts.logged": {"log": str(log)}}},
                "macs": {"min": "macs", "limit": "90%"},
            },
            "search": {"nsga2": {"population": 8}},
            "budget": 40,
            "confirm": 2,
            "threads": 1,
        }

    run, log, path = tmp_path / "run", tmp_path / "log", tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(source(log)))
    script = (
        "import sys, hwnas\n"
        "from pathlib import Path\n"
        "config, run = map(Path, sys.argv[1:])\n"
        "hwnas.resume(run) if (run / 'study.db').exists() else hwnas.search(config, run=run)\n"
    )
    luck = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(path), str(run)])
        target = len(log.read_text().splitlines() if log.exists() else []) + luck.randint(5, 25)
        while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < target):
            time.sleep(0.001)
        assert process.poll() is None, "it has ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    searched = {trial.code for trial in hwnas.load(run).trials() if "flow" in trial.values}
    done = Counter(line for line in log.read_text().splitlines() if line.startswith("end"))
    assert len(searched) < 40 and sum(done.values()) - len(searched) <= 3 + 1  # the estimate judges the largest once
    study = hwnas.resume(run)
    whole = hwnas.search(source(tmp_path / "other"), run=tmp_path / "whole")
    assert rows(study) == rows(whole) and rows(study, "confirm") == rows(whole, "confirm")
    assert study.run.facts()["chosen"] == whole.run.facts()["chosen"]
    judged = Counter(line for line in log.read_text().splitlines() if line.startswith("begin"))
    other = Counter(line for line in (tmp_path / "other").read_text().splitlines() if line.startswith("begin"))
    assert judged.keys() == other.keys() and sum((judged - other).values()) <= 3, "one per kill: what was in hand"


def test_a_run_killed_before_it_was_entered_can_be_resumed(config, tmp_path):
    whole = hwnas.search(config, run=tmp_path / "whole")
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Records, "create", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        hwnas.search(config, run=run)
    with pytest.raises(RunExistsError):
        hwnas.search(config, run=run)
    assert rows(hwnas.resume(run)) == rows(whole)
    assert hwnas.load(run).run.facts()["seed"] == 0


# --- who may, and what is left of it --------------------------------------------------------------------------------


def test_a_run_has_one_driver_at_a_time(config, tmp_path):
    run = tmp_path / "run"
    hwnas.search(changed(config, budget=3), run=run)
    script = (
        "import sys, time\nfrom hwnas.records import *\n"
        "with Records(sys.argv[1]).lock():\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    url = sqlite_url(run / "study.db")
    process = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    with pytest.raises(RunLockedError, match="another process drives the run in"):
        hwnas.resume(run, overrides=["budget=4"])
    assert read(run / "config.yaml").budget == 3
    assert len(hwnas.load(run).trials()) == 3, "looking is always allowed"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(hwnas.resume(run, overrides=["budget=4"]).trials()) == 4


@pytest.mark.parametrize("work", [hwnas.resume, hwnas.load])
def test_what_is_no_run_is_told(config, tmp_path, work):
    with pytest.raises(RecordError, match=r"there is no run in .*nowhere\n.*starts one"):
        work(tmp_path / "nowhere")
    (tmp_path / "study.db").touch()
    with pytest.raises(RecordError, match=r"config\.yaml is missing"):
        work(tmp_path)
    run = tmp_path / "run"
    hwnas.search(changed(config, budget=3), run=run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text("family: [")
    with pytest.raises(ConfigError, match=r"config\.yaml, line 1"):
        work(run)
    (run / "config.yaml").write_text(text)
    with sqlite3.connect(run / "study.db") as link:
        link.execute("UPDATE hwnas SET schema = 99")
    link.close()
    with pytest.raises(SchemaError, match="was written by a newer hwnas"):
        work(run)
    for name in files(run):
        if name.startswith("study.db-"):  # else SQLite restores the file from its log
            (run / name).unlink()
    (run / "study.db").write_bytes(os.urandom(5000))
    with pytest.raises(SchemaError, match=r"study\.db cannot be read"):
        work(run)


@pytest.mark.parametrize("place", ["{tmp}/file", "{tmp}/file/run", "/proc/nowhere/run"])
def test_a_folder_that_cannot_be_made_is_told_before_any_work(config, tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"the run folder .* cannot be made"):
        hwnas.search(config, run=place.format(tmp=tmp_path))


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "limit", "told"),
    [
        (
            "latency",
            0.0009,
            r"goals\.latency\.limit: no network meets latency <= 9.00e-04\nthe smallest .* about 0\.00100",
        ),
        ("latency", "3%", r"latency <= 7.50e-04\n.*about 0\.00100.* smallest network, 4% of the largest"),
    ],
)
def test_limits_that_nothing_meets_are_told_before_anything_is_written(config, tmp_path, goal, limit, told):
    config["goals"][goal] = {**config["goals"][goal], "limit": limit}
    with pytest.raises(InfeasibleError, match=told):
        hwnas.search(config, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_limit_that_nothing_meets_keeps_the_record(config, tmp_path):
    first = rows(hwnas.search(changed(config, budget=8), run=tmp_path / "run"))
    with pytest.raises(InfeasibleError, match="about 0\\.001"):
        hwnas.resume(tmp_path / "run", overrides=["goals.latency.limit=0.0009"])
    assert [row[:3] for row in rows(hwnas.load(tmp_path / "run"))] == [row[:3] for row in first]
    assert rows(hwnas.resume(tmp_path / "run", overrides=["goals.latency.limit=60%"])) == first


def test_a_search_that_finds_nothing_within_the_limits_says_so(config, tmp_path):
    config["goals"]["latency"]["limit"] = 0.0015  # the smallest network alone keeps it, and random search misses it
    with pytest.raises(
        InfeasibleError, match=r"none of 5 networks keeps every limit \(best latency seen: 0\.\d+; 0 failed\)"
    ) as caught:
        hwnas.search(changed(config, budget=5, search="random"), run=tmp_path / "run")
    assert "loosen a limit or raise the budget" in caught.value.hint
    kept = rows(hwnas.load(tmp_path / "run"))
    assert {row[3] for row in kept} == {"over_limit"} and len(kept) == 5
    assert (tmp_path / "run" / "report.html").exists() and not (tmp_path / "run" / "models").exists()
    study = hwnas.resume(tmp_path / "run", overrides=["goals.latency.limit=0.02"])
    assert [row[1] for row in rows(study)] == [row[1] for row in kept] and study.front()


def test_a_relative_limit_needs_the_largest_network(tmp_path):
    def judge(candidate: Any) -> float:
        if candidate.arch["depth"] == 2:
            raise ValueError("too deep")
        return 1.0

    source = {"family": Tiny(), "goals": {"cost": {"min": judge, "limit": "50%"}}}
    with pytest.raises(
        InfeasibleError, match=r"largest network, which cannot be judged: ValueError: too deep.*\ngive an"
    ):
        hwnas.search(source, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_limit_on_what_needs_weights_is_known_after_training(tmp_path):
    source = {
        "family": Tiny(),
        "data": Corners(),
        "weights": {"shrink": {"epochs": 4, "batch": 32}},
        "goals": {"accuracy": {"max": "shared", "limit": 0.1}, "params": {"min": "params"}},
        "budget": 4,
        "confirm": 1,
    }
    plan = experiment.prepare(read(source), tmp_path / "none")
    assert plan.ranges == {} and plan.goals[0].limit == 0.1 and not (tmp_path / "none").exists()
    study = hwnas.search(source, run=tmp_path / "run")
    assert study.run.facts()["limits"]["accuracy"]["tried"] > 2 and len(study.trials()) == 4
    source["goals"]["accuracy"]["limit"] = 1.01
    messages: list[str] = []
    with pytest.raises(InfeasibleError, match="none of 4 networks keeps every limit"):
        hwnas.search(source, run=tmp_path / "other", watch=lambda progress: messages.append(progress.message))
    assert any(re.match(r"none of \d+ networks tried keeps the limit 101", message) for message in messages)
    assert (tmp_path / "other" / "weights" / "supernet.pt").exists()


def test_a_removed_limit_is_gone(config, tmp_path):
    hwnas.search(changed(config, budget=8), run=tmp_path / "run")
    assert hwnas.load(tmp_path / "run").goals[1].limit == pytest.approx(0.015)
    study = hwnas.resume(tmp_path / "run", overrides=["goals.latency.limit="])
    assert study.goals[1].limit is None and {trial.state for trial in study.trials()} == {"done"}
    assert hwnas.load(tmp_path / "run").goals[1].limit is None


# --- before the search ----------------------------------------------------------------------------------------------


def test_preparing_leaves_no_files(config, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(24):
        file = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(file)
    source = {
        "family": {"nasbench201": {"channels": 4, "cells": 1}},
        "data": str(tmp_path / "photos"),
        "weights": {"shrink": {"epochs": 3, "batch": 4}},
        "goals": {"accuracy": {"max": "shared"}, "latency": {"min": {"measured": {"seconds": 0.01}}, "limit": "200%"}},
    }
    before = files(tmp_path)
    plan = experiment.prepare(read(source), tmp_path / "run")
    assert files(tmp_path) == before and not (tmp_path / "run").exists()
    assert plan.config.family == {"families.nasbench201": {"channels": 4, "cells": 1, "classes": 2, "resolution": 8}}
    assert set(plan.seconds) == {"goal latency", "goal accuracy", "train supernet", "search", "confirm and export"}
    assert all(seconds > 0 for seconds in plan.seconds.values())
    seen = plan.ranges["latency"]
    assert seen["limit"] == 2 * seen["largest"] and seen["least"] <= seen["most"]
    assert 0 <= seen["met"] <= seen["tried"] and seen["tried"] >= 6  # a busy machine may time a network at over 200 %


def test_classes_and_sizes_come_from_the_data(tmp_path):
    source = {
        "family": {"nasbench201": {"channels": 4, "cells": 1}},
        "data": Corners(),
        "goals": {"macs": {"min": "macs"}},
    }
    family = experiment.prepare(read(source), tmp_path).bench.family
    assert (family.classes, family.resolution) == (4, 8)
    source["family"] = {"nasbench201": {"channels": 4, "cells": 1, "resolution": 12}}
    family = experiment.prepare(read(source), tmp_path).bench.family
    assert (family.classes, family.resolution) == (4, 12)
    source["family"] = {"nasbench201": {"classes": 7}}
    with pytest.raises(
        ConfigError, match=r"family: the family has 7 classes, the data set 'corners' has 4\nleave `classes`"
    ):
        hwnas.search(source, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_family_object_keeps_its_own(tmp_path):
    """Also in later sessions, which know it by its spec alone."""
    source = {
        "family": NasBench201(channels=4, cells=1),
        "data": {"digits": {"resolution": 8}},
        "goals": {"macs": {"min": "macs"}},
        "budget": 3,
        "search": "random",
        "confirm": 0,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    first = rows(study)
    again = hwnas.resume(tmp_path / "run", overrides=["budget=5"])
    assert again.family == study.family == NasBench201(channels=4, cells=1) and again.family.resolution == 32
    assert rows(again)[:3] == first


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"search": {"nsga2": {"popul": 3}}}, r"search\.nsga2\.popul: .*did you mean 'population'"),
        ({"search": {"nsga2": {"population": 1}}}, r"search\.nsga2: population must be at least 2"),
        ({"family": {"nasbench201": {"cell": 1}}}, r"family\.nasbench201\.cell: .*did you mean 'cells'"),
        ({"goals": {"acc": {"max": "shared"}}}, r"goals\.acc\.max\.quality\.shared: .* needs 'data'"),
        ({"goals": {"acc": {"max": {"tabular": {"column": "accurcy"}}}}}, r"goals\.acc: .*did you mean 'accuracy'"),
        ({"data": "nowhere/to/be/found"}, r"there is no folder .*nowhere"),
        ({"data": {"digits": {"splits": [0.5, 0.5]}}}, r"data\.digits"),
        ({"torch_device": "cuda:77"}, r"torch_device: 'cuda:77' cannot be used: "),
        ({"torch_device": "toaster"}, r"torch_device: 'toaster' cannot be used: "),
        (
            {"device": "phone", "goals": {"t": {"min": "measured"}}},
            r"goals\.t\.min\.hardware\.measured: device 'phone'",
        ),
        ({"workers": 2, "goals": {"one": {"min": lambda _: 1.0}}}, r"goals\.one\.min: is an object or a function"),
        ({"timeout": 5.0, "family": Tiny(), "goals": {"macs": {"min": "macs"}}}, r"family: is an object or a function"),
    ],
)
def test_what_does_not_fit_is_told_before_there_is_a_folder(config, tmp_path, changes, told):
    with pytest.raises((ConfigError, DataError), match=told):
        hwnas.search(changed(config, **changes), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_threads_are_set_in_this_process_too(config, tmp_path):
    assert torch.get_num_threads() == 1
    experiment.prepare(read(changed(config, threads=2)), tmp_path)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


# --- confirmation ---------------------------------------------------------------------------------------------------


def wobbly(config: dict[str, Any], **options: Any) -> dict[str, Any]:
    goals = {
        "accuracy": config["goals"]["accuracy"],
        "cost": {"min": {"own_parts.wobbly": options}, "limit": 12},
    }
    return changed(config, goals=goals, budget=60, confirm=20)


def test_the_chosen_one_keeps_its_limit_twice_and_is_the_best_of_the_search(config, tmp_path):
    study = hwnas.search(wobbly(config), run=tmp_path / "run")
    searched = {trial.code: trial for trial in study.trials()}
    confirmed = {trial.code: trial for trial in study.trials("confirm")}
    front = {trial.code for trial in study.trials().front()}
    assert front <= confirmed.keys() and confirmed.keys() - front == {study.space.largest}
    for code, trial in confirmed.items():
        assert trial.values["cost"] == 1 + sum(code) + 5 * (sum(code) % 2)
        assert trial.state == ("done" if trial.values["cost"] <= 12 else "over_limit")
    kept = [searched[code] for code in front if confirmed[code].state == "done"]
    assert len(kept) < len(front), "some must have broken the limit, or this shows nothing"
    chosen = tuple(study.run.facts()["chosen"])
    assert chosen == max(kept, key=lambda trial: trial.values["accuracy"]).code
    assert study.run.facts()["chosen_name"] == "best accuracy within the limits"


def test_without_a_limit_the_knee_is_chosen(config, tmp_path):
    del config["goals"]["latency"]["limit"]
    study = hwnas.search(config, run=tmp_path / "run")
    assert study.run.facts()["chosen_name"] == "knee of the front"
    assert tuple(study.run.facts()["chosen"]) in {trial.code for trial in study.trials().front()}


def test_without_confirmation_the_search_decides(config, tmp_path):
    study = hwnas.search(changed(config, confirm=0), run=tmp_path / "run")
    assert not study.trials("confirm")
    assert tuple(study.run.facts()["chosen"]) == study.trials().best("accuracy").code


def test_when_no_finalist_holds_nothing_is_chosen(config, tmp_path):
    source = changed(wobbly(config, surcharge=100.0), search=Ring(), budget=6)
    study = hwnas.search(source, run=tmp_path / "run")
    assert len(study.trials().feasible()) == 6 and not study.trials("confirm").feasible()
    facts = study.run.facts()
    assert facts["chosen"] is None and "export" not in facts and facts["finished"] is True
    assert not (tmp_path / "run" / "models").exists() and (tmp_path / "run" / "report.html").exists()


class Ring:
    """All networks that differ from the smallest one by one step in one place."""

    def steps(self, space: Space, goals: Any, rng: Any, /) -> Any:
        yield [tuple(int(i == place) for i in range(len(space))) for place in range(len(space))]


# --- from Python ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """Four networks, duck-typed: no class of hwnas stands behind it."""

    name = "line"
    space = Space("line", (Choice("width", (1, 2, 4, 8)),))

    def build(self, arch: Any, /) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(3, arch["width"]), torch.nn.ReLU(), torch.nn.Linear(arch["width"], 2)
        )

    def inputs(self, arch: Any, batch: int, /) -> tuple[torch.Tensor, ...]:
        return (torch.randn(batch, 3),)

    def canonical(self, code: Any, /) -> Any:
        return self.space.canonical(code)


def test_functions_and_objects_stand_for_parts(tmp_path):
    source = {
        "family": Line(),
        "goals": {
            "error": {"min": lambda candidate: 1 / candidate.arch["width"]},
            "size": {"min": lambda candidate: sum(p.numel() for p in candidate.model.parameters()), "limit": 40},
        },
        "search": "random",
        "budget": 100,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    assert len(study.trials()) == 4, "there are no more"
    sizes = {trial.code: trial.values["size"] for trial in study.trials()}
    assert sizes == {(0,): 8, (1,): 14, (2,): 26, (3,): 50}
    assert [trial.code for trial in study.front()] == [(2,), (1,), (0,)]
    assert study.run.facts()["chosen"] == [2] and (tmp_path / "run" / "models" / "chosen.onnx").exists()
    assert study.trials()[0] == Trial(**vars(study.trials()[0]))
    for work in (hwnas.resume, hwnas.load):
        with pytest.raises(ConfigError, match=r": <.*> was an object or a function of a Python program"):
            work(tmp_path / "run")


def test_a_metric_that_always_fails_ends_the_search(tmp_path):
    def fails(candidate: Any) -> float:
        raise ZeroDivisionError("no luck")

    with pytest.raises(
        SearchError, match=r"the first 10 networks all failed, 10 of them with: luck: ZeroDivisionError"
    ):
        hwnas.search({"family": Tiny(), "goals": {"luck": {"min": fails}}}, run=tmp_path / "run")
    trials = Records(sqlite_url(tmp_path / "run" / "study.db")).open("main").trials("search")
    assert {trial.state for trial in trials} == {"failed", "running"} or {t.state for t in trials} == {"failed"}
    assert re.search("no luck", trials[0].error)


# --- a random search to compare with ---------------------------------------------------------------------------------


@pytest.fixture
def dear(toy_parts, tmp_path):
    """A search by a metric that is not cheap and writes down whom it judges."""
    return {
        "family": "toy_parts.toy",
        "goals": {
            "error": {"min": {"toy_parts.error": {"log": str(tmp_path / "log")}}},
            "size": {"min": "toy_parts.size", "limit": "80%"},
        },
        "search": {"nsga2": {"population": 10}},
        "budget": 30,
        "confirm": 0,
    }


def beside(run: Path) -> Study | None:
    return baseline_of(hwnas.load(run))


def test_where_judging_costs_nothing_a_random_search_is_made_unasked(config, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "NOTHING", math.inf)  # on a busy machine, too
    study = hwnas.search(config, run=tmp_path / "run")
    random = hwnas.search(changed(config, search="random", confirm=0), run=tmp_path / "random")
    assert study.run.records.names() == ["main", "baseline"] and random.run.records.names() == ["main"]
    assert rows(beside(tmp_path / "run")) == rows(random)  # parts, limits, seed: the same search
    assert beside(tmp_path / "run").run.facts()["finished"] and "random baseline" in study.run.facts()["seconds"]
    assert "a random search" in (tmp_path / "run" / "report.html").read_text()
    further = hwnas.resume(tmp_path / "run", overrides=["budget=40"])
    assert len(further.trials()) == len(beside(tmp_path / "run").trials()) == 40


def test_a_random_search_that_takes_long_is_not_made_unasked(config, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "NOTHING", 0.0)
    assert hwnas.search(config, run=tmp_path / "run").run.records.names() == ["main"]


def test_a_random_search_that_fails_costs_the_run_nothing(config, tmp_path, monkeypatch):
    def fails(*_: Any) -> None:
        raise SearchError("every network failed")

    monkeypatch.setattr(experiment, "NOTHING", math.inf)
    monkeypatch.setattr(experiment, "_baseline", fails)
    study = hwnas.search(config, run=tmp_path / "run")
    assert study.run.facts()["finished"] and study.run.facts()["export"]
    assert any("no random search to compare with: every network failed" in str(event) for event in study.run.events())


def test_a_baseline_judges_nothing_that_the_run_has_judged_and_goes_on_where_it_was(dear, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run in (whole, parts):
        assert hwnas.search(dear, run=run).run.records.names() == ["main"]
    before = toys.begun(tmp_path / "log")
    done = experiment.baseline(whole)
    known = {trial.code: trial for trial in hwnas.load(whole).trials()}
    fresh = {word(trial.code) for trial in done.trials() if trial.code not in known and "error" in trial.values}
    judged = toys.begun(tmp_path / "log") - before
    assert judged == Counter({("error", code): 1 for code in fresh}) and fresh
    shared = [trial for trial in done.trials() if trial.code in known]
    assert shared and all(trial.values == known[trial.code].values for trial in shared)
    assert all(trial.details == known[trial.code].details for trial in shared)
    with pytest.raises(Interrupted):
        experiment.baseline(parts, watch=Stop(30))
    assert 0 < sum(trial.finished for trial in beside(parts).trials()) < 30
    assert rows(experiment.baseline(parts)) == rows(done)
    assert (toys.begun(tmp_path / "log") - before).keys() == judged.keys()
    assert len(experiment.baseline(parts, 34).trials()) == 34
    assert rows(hwnas.load(parts)) == rows(hwnas.load(whole))  # the run itself is untouched


def test_a_baseline_of_other_limits_does_not_count_until_it_is_made_anew(dear, tmp_path):
    hwnas.search(dear, run=tmp_path / "run")
    experiment.baseline(tmp_path / "run")
    hwnas.resume(tmp_path / "run", overrides=["goals.size.limit=50%"])
    assert beside(tmp_path / "run") is None
    experiment.baseline(tmp_path / "run")
    limit = hwnas.load(tmp_path / "run").goals[1].limit
    random = beside(tmp_path / "run").trials()
    assert {trial.state for trial in random if trial.values["size"] > limit} == {"over_limit"}
    assert all("error" in trial.values for trial in random if trial.values["size"] <= limit)


def test_a_failure_is_known_too(toy_parts, tmp_path):
    codes = list(toys.SPACE.codes())
    acts = {word(code): "raise" for code in codes if code[1] == 0}
    goal = {"min": {"toy_parts.acting": {"acts": acts, "log": str(tmp_path / "log")}}}
    source = {"family": "toy_parts.toy", "goals": {"digit": goal}, "search": "evolution", "budget": 40, "confirm": 0}
    hwnas.search(source, run=tmp_path / "run")
    done = experiment.baseline(tmp_path / "run")
    failed = [trial for trial in done.trials() if trial.state == "failed"]
    known = {trial.code: trial for trial in hwnas.load(tmp_path / "run").trials()}
    assert {trial.code for trial in failed} & set(known)
    assert all(trial.error == known[trial.code].error for trial in failed if trial.code in known)
    assert max(toys.begun(tmp_path / "log").values()) <= 2  # the estimate before the start tries two of them


def test_what_cannot_have_a_baseline_says_why(config, dear, tmp_path):
    with pytest.raises(RecordError, match="there is no run in"):
        experiment.baseline(tmp_path / "nothing")
    hwnas.search(changed(config, search="random", budget=10, confirm=0), run=tmp_path / "random")
    with pytest.raises(ConfigError, match="is a random search: it is its own baseline"):
        experiment.baseline(tmp_path / "random")
    with pytest.raises(ConfigError, match="budget of a baseline must be 1 or more, not 0"):
        experiment.baseline(tmp_path / "random", 0)
    with pytest.raises(Interrupted):
        hwnas.search(dear, run=tmp_path / "begun", watch=_stop_at("search"))
    with pytest.raises(RecordError, match="has judged no network that could be compared") as error:
        experiment.baseline(tmp_path / "begun")
    assert f"hwnas resume {tmp_path / 'begun'}" in error.value.hint


def _stop_at(phase: str) -> Any:
    def watch(progress: Any) -> None:
        if progress.phase == phase:
            raise Interrupted("stopped")

    return watch
