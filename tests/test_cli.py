"""The command line as its user meets it: what it prints where, how it ends, and what survives an interruption."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from hwnas import __version__, cli, deploy, experiment, parts, report, training
from hwnas.checkup import Finding
from hwnas.display import Display
from hwnas.errors import Interrupted, RecordError
from hwnas.families.nasbench201 import OPERATIONS, spell

PROGRAM = [sys.executable, "-m", "hwnas.cli"]
GATED = """
import time
from dataclasses import dataclass
from pathlib import Path

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.trial import Metric
from toys import error, word


@dataclass(frozen=True)
class Gated(Metric):
    '''The toys' error, which lets only as many networks through as a file says, and writes down whom it has seen.'''

    log: str
    gate: str = ""
    faulty: str = ""

    def __call__(self, candidate: Candidate, /) -> float:
        with open(self.log, "a") as file:
            file.write(word(candidate.code) + "\\n")
        while Path(self.gate).is_file() and len(Path(self.log).read_text().split()) > int(Path(self.gate).read_text()):
            time.sleep(0.01)
        if self.faulty and candidate.code[0] == 0:
            raise MetricError(self.faulty)
        return error(candidate)


__all__ = ["Gated"]
"""


@dataclass
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def hwnas(*args: object) -> Ran:
    """Runs a command in this process as the console script does; nothing that it prints has a control code."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    out, err = streams
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["hwnas", *map(str, args)])
        patch.setattr(cli.err, "is_interactive", False)  # in case the tests run on a terminal
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            patch.delenv(name, raising=False)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        for stream in streams:
            stream.flush()
    ran = Ran(code, *(stream.buffer.getvalue().decode() for stream in streams))
    assert "\x1b" not in ran.out + ran.err and "\r" not in ran.out + ran.err
    return ran


def edit(path: Path, **changes: object) -> Path:
    """A configuration beside another one, with some keys changed."""
    new = path.with_name(f"{path.stem}-{'-'.join(changes)}.yaml")
    new.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return new


def files(folder: Path) -> set[Path]:
    """All files but those that SQLite keeps beside a database while somebody has it open."""
    return {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("study.db-")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a small configuration, and it is where one stands."""
    home = tmp_path_factory.mktemp("home")
    codes = itertools.product(range(len(OPERATIONS)), repeat=6)
    rows = (f"{spell(code)},{0.1 + 0.03 * sum(code) + 0.001 * code[0]:.4f}" for code in codes)
    (home / "table.csv").write_text("arch,accuracy\n" + "\n".join(rows) + "\n")
    config = {
        "family": {"nasbench201": {"resolution": 8, "channels": 4, "cells": 1, "table": str(home / "table.csv")}},
        "goals": {
            "accuracy": {"max": {"quality.tabular": {"column": "accuracy"}}},
            "macs": {"min": "hardware.macs", "limit": "90%"},
        },
        "search": {"evolution": {"population": 6, "sample": 3, "batch": 4}},
        "budget": 20,
        "confirm": 3,
        "threads": 1,
    }
    (home / "small.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(experiment, "NOTHING", math.inf)  # a busy machine must not do without the random search
        yield home


@pytest.fixture(scope="module")
def config(home):
    return home / "small.yaml"


@pytest.fixture(scope="module")
def first(home, config):
    """A search as it is usually started."""
    return hwnas("search", config)


@pytest.fixture(scope="module")
def run(home, first):
    """The folder that it has filled."""
    assert first.code == 0, first.err
    return Path("runs/small")


@pytest.fixture
def copied(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "my [red]run[/blue] :warning:"))


# --- search ----------------------------------------------------------------------------------------------------------


def test_a_search_ends_with_verdict_model_and_report(first, run):
    verdict, model, page = first.lines
    assert verdict == report.verdict(experiment.load(run))
    assert model == f"model:  {run}/models/chosen.onnx"
    assert page == f"report: {run}/report.html"
    assert all((run / name).is_file() for name in ("models/chosen.onnx", "report.html", "study.db", "config.yaml"))


def test_progress_is_told_on_stderr_in_plain_lines_each_once(first):
    lines = first.err.splitlines()
    assert len(lines) == len(set(lines)), first.err
    assert "nasbench201: 6 choices, 15,625 networks" in lines
    assert any(
        re.match(r"  macs: min, .* k to .* k on \d networks, limit .* k kept by \d of them", line) for line in lines
    )
    assert "  20 networks to judge, into runs/small" in lines
    (end,) = (line for line in lines if line.startswith("search 20/20"))
    assert re.search(r"feasible \d+ · .*best accuracy 0\.\d+, macs [\d.]+ k · hypervolume 0\.\d+$", end)


def test_the_command_that_is_recorded_is_the_one_to_repeat(run, config):
    command = shlex.split(experiment.load(run).run.facts()["command"])
    assert command == ["hwnas", "search", str(config), "--run", "runs/small"]


def test_a_run_is_never_overwritten(run, config):
    before = {path: path.stat().st_mtime_ns for path in files(run)}
    ran = hwnas("search", config, "--run", run)
    assert ran.code == 1 and "runs/small already holds a run" in ran.err and "hwnas resume runs/small" in ran.err
    assert ran.out == ""
    assert {path: path.stat().st_mtime_ns for path in files(run)} == before


def test_a_dry_run_estimates_and_leaves_nothing_behind(home, run, config):
    before = files(home)
    ran = hwnas("search", config, "--dry-run", "--quiet", "budget=7")
    assert ran.code == 0 and ran.err == ""
    assert "  7 networks to judge, into runs/small-2" in ran.lines  # the name that is free
    assert re.search(r"^  about .*: search .*, confirm and export ", ran.out, flags=re.M)
    assert files(home) == before and not (home / "runs" / "small-2").exists()


def test_quiet_prints_the_result_only_and_options_change_the_configuration(home, config, tmp_path):
    folder = tmp_path / "run"
    args = ("--quiet", "--budget", 6, "--seed", 3, "search=random", "goals.macs.limit=80%", "confirm=0")
    ran = hwnas("search", config, "--run", folder, *args)
    assert ran.code == 0 and ran.err == "" and len(ran.lines) == 3
    study = experiment.load(folder)
    facts = study.run.facts()
    assert len(study.trials()) == 6 and facts["seed"] == 3
    assert facts["config"]["search"] == {"algorithms.random": {}}
    assert facts["limits"]["macs"]["given"] == "80%"
    again = shlex.split(facts["command"])
    assert {"budget=6", "seed=3", "search=random", "goals.macs.limit=80%"} < set(again)


# --- show, export, report --------------------------------------------------------------------------------------------


def test_show_has_the_front_in_its_units(run):
    ran = hwnas("show", run)
    study = experiment.load(run)
    assert ran.code == 0 and ran.err == ""
    head, columns, *rows, chance = ran.lines
    assert re.fullmatch(r"runs/small: 20 of 20 networks judged \(\d+ done, \d+ over limit\)", head)
    assert re.fullmatch(r" *trial +accuracy +macs ≤ [\d.]+ k +state *", columns)
    assert len(rows) == len(study.front())
    assert sum("← chosen" in row for row in rows) == 1
    assert all(re.fullmatch(r" *(\d+|largest) +0\.\d+ +[\d.]+ k +done( ← chosen)? *", row) for row in rows)
    assert chance.startswith("After 20 networks the search dominates ")  # everything is cheap: it was made unasked


def test_a_run_in_which_nothing_is_judged_yet_can_be_shown(config, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "_prepare_weights", stopped)
    stopped = hwnas("search", config, "--run", tmp_path / "run")
    assert stopped.code == 130 and stopped.err.splitlines()[-1] == f"  → go on with: hwnas resume {tmp_path}/run"
    ran = hwnas("show", tmp_path / "run")
    assert ran.code == 0 and len(ran.lines) == 2
    assert ran.lines[0] == f"{tmp_path}/run: 0 of 20 networks judged"
    assert json.loads(hwnas("show", tmp_path / "run", "--json").out)["trials"] == []


def test_show_all_lists_every_trial(run):
    ran = hwnas("show", run, "--all")
    rows = ran.lines[2:-1]
    assert [int(row.split()[0]) for row in rows] == list(range(20))
    assert any(row.rstrip().endswith("over limit") for row in rows)


def test_json_of_a_run_names_what_export_picks(run):
    for args in ([], ["--all"]):
        ran = hwnas("show", run, "--json", *args)
        assert ran.code == 0 and ran.err == ""
        shown = json.loads(ran.out)
        study = experiment.load(run)
        for row in shown["trials"]:
            if row["number"] is None:
                assert row["code"] == list(study.space.largest)
                continue
            picked = deploy.pick(study, row["number"])
            assert list(picked.code) == row["code"]
            assert study.space.encode(row["architecture"]) == picked.code
    assert len(shown["trials"]) == 20 and shown["facts"]["chosen"]
    assert shown["baseline"]["count"] == shown["baseline"]["random_count"] == 20 and shown["predictors"] == {}


def test_show_says_what_became_of_predictions(copied):
    record = experiment.load(copied).run
    (first, *_) = record.trials("search")
    told = {**first.details, "accuracy": {"predicted": 2 * first.values["accuracy"]}}
    record.save("search", [replace(first, details=told)])
    record.event("step", networks=10, notes={"accuracy": {"predictor": "gp", "mape": 0.003, "tau": 0.91}})
    line = "predictor of accuracy: gp, cross-validated error 0.30 %, rank correlation 0.91; on 1 proposal 100 %"
    assert hwnas("show", copied).lines[-1] == line
    assert json.loads(hwnas("show", copied, "--json").out)["predictors"]["accuracy"]["mape"] == pytest.approx(1.0)


# --- train -----------------------------------------------------------------------------------------------------------

DIGITS = "{digits: {resolution: 8, splits: [0.1, 0.1, 0.8]}}"


def train(run, *args):
    return hwnas("train", run, "--data", DIGITS, "--epochs", 2, "--batch", 32, *args)


def test_a_network_is_trained_and_the_result_is_a_table_and_a_verdict(run, tmp_path):
    ran = train(run, "--pick", 3, "--out", tmp_path / "[bold]net[/]")
    assert ran.code == 0, ran.err
    result = training.Result.read(tmp_path / "[bold]net[/]")
    *table, verdict, model = ran.lines
    assert [re.split(" {2,}", line.strip(), maxsplit=1) for line in table] == [[*row] for row in result.rows()]
    assert verdict == result.sentence() and model == f"model: {tmp_path}/[bold]net[/]/model.onnx"
    assert any(
        line.startswith("train 10/10") and "epoch 2" in line and "best val" in line for line in ran.err.splitlines()
    )
    again = train(run, "--pick", "#3", "--out", tmp_path / "[bold]net[/]", "--json", "--quiet")
    assert again.err == "" and json.loads(again.out) == result.to_dict() | {"folder": f"{tmp_path}/[bold]net[/]"}


def test_options_reach_the_training(run, tmp_path):
    words = "--by accuracy --optimizer sgd --lr 0.02 --weight-decay 0 --label-smoothing 0 --warmup 0.3 --clip 1 "
    words += "--augment 0 --teacher largest --distill 0.5 --temperature 3 --patience 7 --stop-at 0.99 --seed 4 "
    words += "--from scratch"
    ran = train(run, *words.split(), "--torch-device", "cpu", "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    wanted = {"optimizer": "sgd", "lr": 0.02, "weight_decay": 0.0, "label_smoothing": 0.0, "warmup": 0.3, "clip": 1.0}
    wanted |= {"augment": 0, "distill": 0.5, "temperature": 3.0, "patience": 7, "stop_at": 0.99, "seed": 4}
    wanted |= {"epochs": 2, "batch": 32, "start": "scratch"}
    assert {name: told["settings"][name] for name in wanted} == wanted
    assert told["network"].startswith("the best network in accuracy") and told["teacher"] == "the largest network"


def test_a_stopped_training_goes_on_with_the_same_command(run, tmp_path, monkeypatch):
    class Impatient(Display):
        def __call__(self, progress, /):
            super().__call__(progress)
            if progress.done == 7:
                raise Interrupted("stopped as asked")

    whole = train(run, "--out", tmp_path / "whole", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(cli, "Display", Impatient)
        ran = train(run, "--out", tmp_path / "parts")
    assert ran.code == 130 and ran.out == ""
    assert ran.err.splitlines()[-2:] == ["stopped; the last whole epoch is kept", "  → go on with the same command"]
    done = train(run, "--out", tmp_path / "parts", "--json")
    ours, theirs = ({**json.loads(each.out), "seconds": 0, "folder": ""} for each in (done, whole))
    assert ours == theirs and done.code == 0
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("parts", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--epochs", "2"], 2, "data: is missing: this run was searched without any"),
        (["--data", "{digits: {"], 2, "data: '{digits: {' is not valid YAML"),
        (["--data", "digits", "--pick", "999"], 1, "there is no trial 999"),
        (["--data", "digits", "--epochs", "0"], 2, "epochs: must be at least 1, not 0"),
        (["--data", "digits", "--optimizer", "adam"], 2, "optimizer: 'adam' is not allowed"),
        (["--data", "digits", "--from", "nowhere"], 2, "from: unknown start 'nowhere'"),
        (["--data", "digits", "--stop-at", "94"], 2, "94 % is 0.94"),
        (["--data", "nowhere/at/all"], 1, "there is no folder"),
    ],
)
def test_a_training_that_cannot_be_says_why_and_leaves_nothing(run, tmp_path, words, code, told):
    before = files(run)
    ran = hwnas("train", run, "--out", tmp_path / "out", *words)
    assert ran.code == code and told in ran.err and ran.out == ""
    assert not (tmp_path / "out").exists() and files(run) == before


# --- compare, baseline -----------------------------------------------------------------------------------------------


def test_runs_stand_side_by_side(run, config, tmp_path):
    other, page = tmp_path / "other", tmp_path / "deep" / "page.html"
    assert hwnas("search", config, "--run", other, "-q", "search=nsga2", "budget=12", "seed=1", "confirm=0").code == 0
    ran = hwnas("compare", run, other, "--html", page)
    assert ran.code == 0 and ran.err == ""
    head, *rows, note, where = ran.lines
    assert re.split(r"\s{2,}", head.strip()) == ["small", "other", "random search of small", "random search of other"]
    table = {label: cells for label, *cells in (re.split(r"\s{2,}", row.strip()) for row in rows)}
    assert table["search"] == ["evolution", "nsga2", "random", "random"]
    assert table["networks judged"] == ["20", "12", "20", "12"] and table["chosen"][2:] == ["–", "–"]
    assert note == "The runs have different seeds." and where == str(page)
    assert page.read_text().startswith("<!doctype html>")
    plain = json.loads(hwnas("compare", run, other, "--json").out)
    assert [side["judged"] for side in plain["runs"]] == [20, 12, 20, 12]
    assert all(0 < side["hypervolume_at"]["12"] <= 1 for side in plain["runs"])


def test_runs_of_other_goals_are_not_compared(run, config, tmp_path):
    goals = yaml.safe_load(config.read_text())["goals"]
    other = edit(config, goals={**goals, "params": {"min": "hardware.params"}})
    assert hwnas("search", other, "--run", tmp_path / "run", "-q", "--budget", 6, "confirm=0").code == 0
    ran = hwnas("compare", run, tmp_path / "run")
    assert ran.code == 1 and ran.out == ""
    assert re.search(
        r"cannot be compared: goal params is not there in small and min .*hardware\.params.* in run", ran.err
    )
    assert hwnas("compare", run, run).code == 2 and hwnas("compare", run, tmp_path / "none").code == 1


def test_a_baseline_goes_further_when_it_is_asked_to(copied):
    ran = hwnas("baseline", copied, "--budget", 25)
    assert ran.code == 0 and "random baseline 25/25" in ran.err
    assert ran.lines[0].startswith("After 20 networks the search dominates ") and "25 random networks" in ran.lines[0]
    assert ran.lines[1] == f"report: {copied}/report.html"
    assert hwnas("show", copied).lines[-1] == ran.lines[0]
    assert hwnas("baseline", copied, "-q").err == ""


@pytest.mark.parametrize("pick", ["chosen", "knee", "largest", "accuracy", "macs", "3", "#3"])
def test_export_picks(run, pick, monkeypatch, tmp_path):
    calls = []

    def instead(study, trial, path, format):
        calls.append((trial.code, Path(path), format))
        return deploy.Export(str(path), "onnx", 1e-7, 2e-3, 1.9e-3, 2.1e-3, 2**21, True)

    monkeypatch.setattr(deploy, "export", instead)
    ran = hwnas("export", run, "--pick", pick)
    study = experiment.load(run)
    front = study.trials("confirm").front()
    wanted = {
        "chosen": tuple(study.run.facts()["chosen"]),
        "knee": front.knee().code,
        "largest": study.space.largest,
        "accuracy": front.best("accuracy").code,
        "macs": front.best("macs").code,
    }
    path = run / "models" / f"{pick.lstrip('#')}.onnx"
    assert calls == [(wanted.get(pick, study.trials()[3].code), path, "onnx")]
    assert ran.code == 0 and ran.err == ""
    assert ran.lines == [
        f"{path}: 2.00 MiB",
        "latency of this file here: 2.00 ms ± 100 µs",
        "largest difference to PyTorch: 1e-07",
    ]


def test_export_writes_a_file(run, tmp_path):
    target = tmp_path / "[bold]net[/]" / "mine.onnx"
    ran = hwnas("export", run, "--pick", "largest", "--to", target, "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["path"] == str(target) and target.stat().st_size == told["bytes"] and told["trained"] is False


def test_fresh_weights_are_told(run, tmp_path):
    ran = hwnas("export", run, "--to", tmp_path / "mine.onnx")
    assert "this run trains no weights" in ran.err and len(ran.lines) == 3


def test_report_is_written_anew(copied):
    (copied / "report.html").unlink()
    ran = hwnas("report", copied)
    assert ran.code == 0 and ran.lines == [str(copied / "report.html")]
    assert (copied / "report.html").stat().st_size > 1000


def test_names_with_markup_are_printed_as_they_are(copied):
    for args in (["show", copied], ["show", copied, "--all"], ["export", copied], ["report", copied]):
        assert hwnas(*args).out.startswith(str(copied))
    for args in (["show", copied / "[b]not[/i]"], ["search", copied / "[b]not[/i].yaml"]):
        assert str(args[1]) in hwnas(*args).err


# --- resume ----------------------------------------------------------------------------------------------------------


def test_resume_goes_further_in_the_same_units(copied):
    before = experiment.load(copied).trials()
    ran = hwnas("resume", copied, "--budget", 24, "confirm=0")
    assert ran.code == 0
    assert len(ran.lines) == 3 and ran.lines[-1] == f"report: {copied}/report.html"
    after = experiment.load(copied).trials()
    assert len(after) == 24 and list(after)[:20] == list(before)
    (end,) = (line for line in ran.err.splitlines() if line.startswith("search 24/24"))
    assert re.search(r"macs [\d.]+ k · ", end)


def test_a_changed_search_is_a_warm_start(copied):
    ran = hwnas("resume", copied, "search=random", "budget=22", "confirm=0")
    assert ran.code == 0
    assert "  the search was changed: its 20 networks are a warm start for the new one" in ran.err.splitlines()


def test_another_experiment_is_refused_by_name(copied):
    ran = hwnas("resume", copied, "family.nasbench201.channels=8")
    assert ran.code == 1 and ran.out == ""
    assert "was made by another experiment: family was" in ran.err
    assert "→ its numbers would not be comparable" in ran.err


# --- list, doctor, version, help -------------------------------------------------------------------------------------


def test_list_names_every_part_on_a_line():
    ran = hwnas("list")
    assert ran.code == 0 and ran.err == ""
    for folder in parts.FOLDERS:
        start = ran.lines.index(folder) + 1
        for line, name in zip(ran.lines[start:], parts.names(folder), strict=False):
            assert line.split(maxsplit=1)[0] == name and line.rstrip().endswith(parts.describe(folder, name))
    assert "local" in ran.out[ran.out.index("devices") :]


@pytest.mark.parametrize("kind", ["", *parts.FOLDERS, "devices"])
def test_list_as_json(kind):
    ran = hwnas("list", *filter(None, [kind]), "--json")
    found = json.loads(ran.out)
    assert list(found) == ([kind] if kind else [*parts.FOLDERS, "devices"])
    for name in set(found) - {"devices"}:
        assert tuple(found[name]) == parts.names(name) and all(found[name].values())


def test_doctor_finds_nothing_bad_here():
    ran = hwnas("doctor", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0, ran.out
    assert {"ok"} <= {entry["state"] for entry in found} <= {"ok", "note"}


def test_doctor_fails_with_the_patient(monkeypatch):
    found = [Finding("ok", "Python"), Finding("bad", "[red]torch[/blue] is ill", "pip install [better]")]
    monkeypatch.setattr("hwnas.checkup.examine", lambda: found)
    ran = hwnas("doctor")
    assert ran.code == 1 and ran.err == ""
    assert ran.lines == ["ok    Python", "bad   [red]torch[/blue] is ill", "      → pip install [better]"]
    assert hwnas("doctor", "--json").code == 1


def test_version():
    ran = hwnas("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"hwnas {__version__}\n", "")


@pytest.mark.parametrize("command", ["search", "resume", "show", "export", "train", "report", "list", "doctor"])
def test_help_shows_every_option_and_no_markup_is_lost(command):
    result = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    wanted = {
        "search": ["--run", "a new one under runs/", "--budget", "--seed", "--workers", "--dry-run", "--quiet", "50%"],
        "resume": ["--budget", "--workers", "--quiet"],
        "show": ["--json", "--all"],
        "export": ["--pick", "--to", "--format", "--json", "DIR/models/PICK.onnx"],
        "train": [
            "--pick",
            "--teacher",
            "--from",
            "--out",
            "DIR/trained/PICK",
            "30",
            "adamw",
            "the run's own",
            "digits",
        ],
        "list": ["KIND", "runtimes", "--json"],
    }
    for word in wanted.get(command, []):
        assert word in result.output, word


def test_help_and_list_answer_without_torch():
    script = """
import json, sys
from hwnas.cli import main
for line in json.load(sys.stdin):
    sys.argv = ["hwnas", *line]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    heavy = {"torch", "numpy", "sqlalchemy", "sklearn", "plotly", "onnxruntime"} & set(sys.modules)
    assert "torch" not in heavy, line
    assert line == ["list"] or not heavy, (line, heavy)
"""
    lines = [
        ["--help"],
        ["search", "--help"],
        ["--version"],
        ["list", "algorithms"],
        ["list", "data", "--json"],
        ["list"],
    ]
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nsga2" in done.stdout and done.stderr == ""


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "message", "remedy"),
    [
        (["search", "smal.yaml"], 2, "there is no file 'smal.yaml'", "did you mean 'small.yaml'"),
        (["search", "small.yaml", "budget=many"], 2, "budget: 'many' is not allowed", "wanted: int"),
        (["search", "small.yaml", "search=nsag2"], 2, "unknown part 'nsag2'", "did you mean 'nsga2'"),
        (["search", "small.yaml", "goals.macs.limit=[1]"], 2, "goals.macs.limit:", "such as 60%"),
        (["search", "small.yaml", "budget"], 2, "'budget' is no override", "such as budget=200"),
        (["search", "small.yaml", "goals.macs.limit=5"], 3, "no network meets macs <= 5", "  → the smallest value"),
        (["search", "small.yaml", "--run", "small.yaml"], 1, "the run folder small.yaml cannot be made", "no folder"),
        (["search"], 2, "Missing argument", "hwnas search --help"),
        (["search", "small.yaml", "--budget", "many"], 2, "Invalid value", "hwnas search --help"),
        (["serach", "small.yaml"], 2, "No such command 'serach'", "Did you mean 'search'?"),
        (["resume", "nowhere"], 1, "there is no run in nowhere", "  → `hwnas search CONFIG --run DIR` starts one"),
        (["show", "nowhere", "--json"], 1, "there is no run in nowhere", "  → `hwnas search CONFIG --run DIR`"),
        (["export", "nowhere"], 1, "there is no run in nowhere", "  → `hwnas search CONFIG --run DIR` starts one"),
        (["report", "nowhere"], 1, "there is no run in nowhere", "  → `hwnas search CONFIG --run DIR` starts one"),
        (
            ["export", "runs/small", "--pick", "fastest"],
            1,
            "nothing is named 'fastest'",
            "known: chosen, knee, largest",
        ),
        (["export", "runs/small", "--pick", "99"], 1, "there is no trial 99", "0 to 19"),
        (["export", "runs/small", "--to", "runs"], 1, "runs is a folder", "  → name a file, such as runs/model.onnx"),
        (["export", "runs/small", "--format", "onx"], 2, "unknown part 'onx' of formats", "did you mean 'onnx'"),
        (["list", "familes", "--json"], 2, "unknown kind 'familes'", "did you mean 'families'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_message_with_a_remedy(run, args, code, message, remedy):
    ran = hwnas(*args)
    assert ran.code == code, ran.err
    assert message in ran.err and remedy in ran.err
    assert "Traceback" not in ran.err and ran.out == ""
    assert not Path("runs/small-2").exists()


def test_debug_shows_where_an_error_comes_from():
    ran = hwnas("--debug", "search", "nowhere.yaml")
    assert ran.code == 2
    assert "Traceback" in ran.err and ran.err.splitlines()[-1] == "error: there is no file 'nowhere.yaml'"


def test_what_nobody_foresaw_is_one_message_too(run, monkeypatch):
    monkeypatch.setattr(experiment, "load", lambda _: {}["[red]key[/blue]"])
    ran = hwnas("show", run)
    message, hint = ran.err.splitlines()
    assert ran.code == 1 and ran.out == ""
    assert re.fullmatch(r"error: KeyError: '\[red\]key\[/blue\]' \(test_cli\.py:\d+\)", message)
    assert "`hwnas --debug …`" in hint
    assert "Traceback" in hwnas("--debug", "show", run).err


def test_an_error_shows_its_hint_on_a_line_of_its_own(run, monkeypatch):
    def fail(_):
        raise RecordError("two\nlines [b]", hint="do [this]")

    monkeypatch.setattr(experiment, "load", fail)
    assert hwnas("show", run).err == "error: two\nlines [b]\n  → do [this]\n"


@pytest.mark.parametrize("times", [1, 2])
def test_stopping_before_the_run_begins_leaves_nothing(config, monkeypatch, times):
    def stopped(checked, folder, watch):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(experiment, "prepare", stopped)
    ran = hwnas("search", config, "--run", "runs/never")
    assert ran.code == 130 and ran.out == ""
    assert ran.err.splitlines()[-1] == "stopped before the run began; nothing was written"
    assert not Path("runs/never").exists()


@pytest.mark.parametrize("args", [["list"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error_message(args):
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*PROGRAM, *args], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert done.returncode == 1 and done.stderr == ""


def test_forced_colours_make_no_terminal():
    script = "from hwnas.cli import err; print(err.is_terminal, err.is_interactive)"
    env = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_any_encoding_will_do(run):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*PROGRAM, "show", run], env=env, capture_output=True, check=True)
    assert b"macs \\u2264" in done.stdout and done.stderr == b""


# --- interrupted, killed, watched ------------------------------------------------------------------------------------


TRIED = 2
"""Networks that are judged before a run begins, to estimate the time."""


class Search:
    """A search in a process of its own, which after so many networks stops amid a measurement until `release`."""

    def __init__(self, folder: Path, through: int) -> None:
        self.home = folder
        self.run, self.log, self.gate = folder / "my [run] 1", folder / "log", folder / "gate"
        self.gate.write_text(str(TRIED + through))
        self.config = folder / "gated.yaml"
        self.config.write_text(yaml.safe_dump(gated(self.log, str(self.gate))))
        command = [*PROGRAM, "search", self.config, "--run", self.run]
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        self.until(lambda: len(self.seen()) == TRIED + through + 1)

    def seen(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def talk(self) -> str:
        return (self.home / "stderr").read_text()

    def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            assert self.process.poll() is None, self.talk()
            time.sleep(0.02)

    def release(self) -> None:
        self.gate.unlink()

    def end(self) -> Ran:
        return Ran(self.process.wait(), (self.home / "stdout").read_text(), self.talk())


def gated(log: Path, gate: str = "", **more: str) -> dict[str, object]:
    return {
        "family": "toy_parts.toy",
        "goals": {
            "size": {"min": "toy_parts.size", "limit": 6000},
            "error": {"min": {"toy_parts.gated": {"log": str(log), "gate": gate, **more}}},
        },
        "search": {"evolution": {"population": 4, "sample": 2, "batch": 2}},
        "budget": 12,
        "confirm": 0,
        "threads": 1,
    }


@pytest.fixture(scope="module")
def gated_parts(toy_parts):
    (toy_parts / "gated.py").write_text(GATED)
    return toy_parts


@pytest.fixture
def searching(gated_parts, tmp_path):
    """Starts searches, and leaves none behind."""
    started = []

    def start(through: int) -> Search:
        started.append(Search(tmp_path, through))
        return started[-1]

    yield start
    for search in started:
        search.process.kill()
        search.process.wait()


@pytest.fixture(scope="module")
def uninterrupted(gated_parts, tmp_path_factory):
    """The trials of the same search in one go, and how often its dear metric was asked."""
    home = tmp_path_factory.mktemp("uninterrupted")
    study = experiment.search(gated(home / "log"), home / "run")
    return outcome(study), len((home / "log").read_text().split())


def outcome(study) -> list[tuple[object, ...]]:
    return [(trial.number, trial.code, trial.values, trial.state, trial.attempts) for trial in study.trials()]


def test_an_interrupt_stops_after_the_measurement_in_hand(searching, uninterrupted):
    trials, judged = uninterrupted
    search = searching(3)
    search.process.send_signal(signal.SIGINT)
    search.until(lambda: "stopping after the measurement in hand" in search.talk())
    search.release()
    ended = search.end()
    assert ended.code == 130 and ended.out == ""
    stopped, hint = ended.err.splitlines()[-2:]
    assert stopped == "stopped; everything measured so far is kept"
    command = shlex.split(hint.removeprefix("  → go on with: "))
    assert command == ["hwnas", "resume", str(search.run)]
    states = [trial.state for trial in experiment.load(search.run).trials()]
    assert len(search.seen()) == TRIED + 4 and states.count("done") == 4  # the fourth was finished, no fifth begun
    shown = hwnas("show", search.run)
    assert shown.lines[-1] == f"not finished; if it does not run any more: hwnas resume {shlex.quote(str(search.run))}"

    done = subprocess.run([*PROGRAM, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    *_, verdict, model, page = done.stdout.splitlines()
    study = experiment.load(search.run)
    assert (verdict, model, page) == (
        report.verdict(study),
        f"model:  {search.run}/models/chosen.onnx",
        f"report: {search.run}/report.html",
    )
    assert outcome(study) == trials
    assert len(search.seen()) == judged  # nothing was measured twice


def test_a_second_interrupt_stops_at_once(searching, uninterrupted):
    trials, judged = uninterrupted
    search = searching(3)
    search.process.send_signal(signal.SIGINT)
    search.until(lambda: "stopping after the measurement in hand" in search.talk())
    search.process.send_signal(signal.SIGINT)
    ended = search.end()  # although the gate is shut
    assert ended.code == 130 and "hwnas resume" in ended.err.splitlines()[-1] and "Traceback" not in ended.err
    search.release()
    assert hwnas("resume", search.run).code == 0
    assert outcome(experiment.load(search.run)) == trials
    assert len(search.seen()) == judged + 1  # the measurement in hand was lost, and no other


def test_a_run_can_be_looked_at_and_not_driven_twice_and_a_kill_loses_nothing(searching, uninterrupted):
    trials, judged = uninterrupted
    search = searching(5)
    for _ in range(3):
        shown = json.loads(hwnas("show", search.run, "--json", "--all").out)
        states = [row["state"] for row in shown["trials"]]
        assert states.count("done") == 5 and states.count("running") >= 1
        shown = hwnas("show", search.run)
        assert shown.lines[0] == f"{search.run}: 5 of 12 networks judged (5 done)"
        assert shown.lines[-1].startswith("not finished")
    second = hwnas("resume", search.run)
    assert second.code == 1 and f"another process drives the run in {search.run} right now" in second.err
    assert "  → wait for it or stop it" in second.err
    assert hwnas("search", search.config, "--run", search.run).code == 1
    search.process.kill()
    assert search.end().code == -signal.SIGKILL
    search.release()
    assert hwnas("resume", search.run).code == 0
    assert outcome(experiment.load(search.run)) == trials
    assert len(search.seen()) == judged + 1


def test_reasons_with_markup_are_shown_as_they_are(gated_parts, tmp_path):
    config = tmp_path / "faulty.yaml"
    config.write_text(yaml.safe_dump(gated(tmp_path / "log", faulty="[red]odd[/blue] :warning:")))
    assert hwnas("search", config, "--run", tmp_path / "run", "--quiet").code == 0
    assert re.search(
        r" error: \[red\]odd\[/blue\] :warning:$", hwnas("show", tmp_path / "run", "--all").out, flags=re.M
    )


@pytest.mark.slow
def test_training_can_be_interrupted(tmp_path):
    config = tmp_path / "shrink.yaml"
    settings = {
        "family": {"mobilenetv3": {"width": 0.25, "depths": [1], "kernels": [3], "expands": [3, 4]}},
        "data": {"digits": {"resolution": 16}},
        "weights": {"shrink": {"epochs": 12, "batch": 256, "reuse": False}},
        "goals": {"accuracy": {"max": "quality.shared"}},
        "search": "random",
        "budget": 2,
        "confirm": 0,
        "threads": 1,
    }
    config.write_text(yaml.safe_dump(settings))
    run = tmp_path / "run"
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen([*PROGRAM, "search", config, "--run", run], stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            while not (run / "weights" / "checkpoint.pt").exists():
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
        finally:
            process.kill()
            process.wait()
    told = (tmp_path / "stderr").read_text()
    assert "train supernet" in told and f"hwnas resume {run}" in told.splitlines()[-1]
    assert not (run / "weights" / "supernet.pt").exists()
    assert hwnas("resume", run).code == 0
    assert hwnas("search", config, "--run", tmp_path / "whole", "--quiet").code == 0
    resumed, whole = (experiment.load(folder) for folder in (run, tmp_path / "whole"))
    assert outcome(resumed) == outcome(whole)
    ours, theirs = (study.bench.given["weights"].tensors() for study in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
