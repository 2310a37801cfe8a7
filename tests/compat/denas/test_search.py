"""The command: the four commands of DE-NAS's page, every engine, what is printed and written, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwnas import cli, experiment
from hwnas.compat.denas import main as verbs
from hwnas.compat.denas.codecs import read
from hwnas.compat.denas.conf import ENGINES
from hwnas.compat.denas.search import BEST, main, parser
from hwnas.compat.denas.task import Options, task
from hwnas.progress import Progress

from ._files import EXAMPLES, conf, model

STAND_IN = ["--score", "naswot"]
"""A score that takes milliseconds and no pool."""


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """Everything is written into a fresh folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(capsys):
    def run(*words):
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def trials(folder):
    return experiment.load(Path(folder)).trials()


# --- the commands of the page -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("domain", ["cnn", "vit", "bert", "asr"])
def test_the_commands_of_the_page(domain, ran):
    """DE-NAS's own files as they are, with fewer networks and a smaller pool to rank them against."""
    words = ("--domain", domain, "--conf", EXAMPLES / f"e2eaiok_denas_{domain}.conf", "--budget", 4, "--pool", 4)
    code, out, err = ran(*words)
    assert code == 0, err
    checked = task(Options(domain, str(EXAMPLES / f"e2eaiok_denas_{domain}.conf")))
    arch = read(Path(BEST), checked.domain.codec, checked.family)
    study = experiment.load(f"runs/denas-{domain}")
    assert len(study.trials()) == 4 and not [trial for trial in study.trials() if trial.state == "failed"]
    assert study.trials().feasible().best("score").code == checked.family.space.encode(arch)
    assert f"DE-NAS completed, best structure is {Path(BEST).read_text().strip()}" in out


# --- small files of every domain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["cnn", "vit", "bert", "asr"])
def test_every_domain(domain, place, ran):
    code, out, err = ran("--domain", domain, "--conf", conf(place, domain), "--score", "synflow")
    assert code == 0, err
    found = trials(f"runs/denas-{domain}")
    assert len(found) == 12 and all(trial.state == "done" for trial in found)
    line = (place / BEST).read_text()
    assert line.count("\n") == 1
    best, took, completed = out.splitlines()[:3]
    pattern = rf"best structure {re.escape(line.strip())} nas_score [-\d.e+]+ params [\d.e-]+"
    assert re.fullmatch(pattern, best)
    assert re.fullmatch(r"DE-NAS search best structure took \d+\.\d\d sec", took)
    assert completed == f"DE-NAS completed, best structure is {line.strip()}"


def test_hugging_face(place, ran):
    found = model(place, "bertlet")
    path = conf(place, "hf", pretrained_model_path=str(place), supernet="another")
    code, _, err = ran("--domain", "hf", "--conf", path, "--model_name", found["supernet"], "--score", "synflow")
    assert code == 0, err
    assert set(json.loads((place / BEST).read_text())) == {"num_hidden_layers", "num_attention_heads", "hidden_size"}
    params = {trial.values["params_least"] for trial in trials("runs/denas-hf").feasible()}
    assert params and max(params) <= 2 * min(params)  # from half of the original to all of it


@pytest.mark.parametrize(
    "engine",
    [*ENGINES[:3], pytest.param(ENGINES[3], marks=pytest.mark.slow)],  # the last one measures latencies
)
def test_every_engine(engine, place, ran):
    path = conf(place, "vit", search_engine=engine)
    code, _, err = ran("--conf", path, "--budget", 5, *STAND_IN)
    assert code == 0, err
    found = trials("runs/denas-vit")
    assert len(found) == 5
    assert ("latency" in found[0].values) == (engine == "MOSigoptSearchEngine")


def test_the_score_of_denas_done_soundly(place, ran):
    code, _, err = ran("--conf", conf(place, "cnn"), "--budget", 4, "--pool", 6)
    assert code == 0, err
    details = trials("runs/denas-cnn")[0].details["score"]
    assert {"expressivity", "saliency"} <= set(details)
    assert "diversity" not in details  # its weight is 0; complexity may be noise in a pool of six
    assert "the score's terms are ranks in a pool" in err


def test_the_released_score(place, ran):
    code, _, err = ran("--conf", conf(place, "cnn"), "--budget", 2, "--formula", "intel")
    assert code == 0, err
    assert "the score is that of the released code" in err


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_are_kept_before_anything_is_scored(place, ran):
    budgets = {"budget_num_layers": 4, "budget_model_size": 6000, "max_epochs": 6}
    code, _, err = ran("--conf", conf(place, "cnn", **budgets), *STAND_IN)
    assert code == 0, err
    found = trials("runs/denas-cnn")
    assert len(found) == 36
    scored = [trial for trial in found if "score" in trial.values]
    assert scored and all(trial.values["layers"] <= 4 and trial.values["size"] <= 6000 for trial in scored)
    assert len(scored) >= 30  # the evolution does not even ask for what a formula rules out


@pytest.mark.slow
def test_a_limit_on_latency(place, ran):
    code, _, err = ran("--conf", conf(place, "cnn", budget_latency_max=10.0), "--budget", 3, *STAND_IN)
    assert code == 0, err
    assert all(trial.values["latency"] < 40 for trial in trials("runs/denas-cnn"))


def test_limits_that_nothing_keeps(place, ran):
    code, _, err = ran("--conf", conf(place, "cnn", budget_model_size=10), *STAND_IN)
    assert code == 3 and "no network meets size <= 10" in err and "smallest" in err
    code, _, err = ran("--conf", conf(place, "vit", min_param_limits=1000), *STAND_IN)
    assert code == 3 and "no network has params of 1,000,000,000 or more" in err
    assert not Path("runs").exists() and not Path(BEST).exists()


# --- a run that is gone on with ---------------------------------------------------------------------------------------


def test_the_same_command_goes_on(place, ran, monkeypatch):
    whole = ("--conf", conf(place, "cnn"), *STAND_IN)
    ran(*whole, "--run", "whole")
    expected = [trial.code for trial in trials("whole")]

    def stopped(self, progress: Progress, /) -> None:
        if progress.phase == "search" and progress.done >= 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hwnas.display.Display.__call__", stopped)
        code, _, err = ran(*whole, "--run", "halves")
    assert code == 130 and "the same command goes on" in err
    assert 5 <= len([trial for trial in trials("halves") if trial.finished]) < len(expected)
    code, out, _ = ran(*whole, "--run", "halves")
    assert code == 0 and [trial.code for trial in trials("halves")] == expected
    assert ran(*whole, "--run", "halves")[1].splitlines()[0] == out.splitlines()[0]


def test_another_search_in_the_same_folder_is_refused(place, ran):
    ran("--conf", conf(place, "cnn"), "--budget", 2, *STAND_IN)
    code, _, err = ran("--conf", conf(place, "cnn", num_classes=7), "--budget", 2, *STAND_IN)
    assert code == 1 and "another experiment" in err and "--run DIR" in err


def test_seeds(place, ran):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        ran("--conf", conf(place, "vit"), "--run", name, "--seed", seed, "--budget", 4, *STAND_IN)
    one, same, other = ([trial.code for trial in trials(name)] for name in ("one", "same", "other"))
    assert one == same != other


# --- the command itself -----------------------------------------------------------------------------------------------


def test_as_a_module(place):
    words = ["--domain", "cnn", "--conf", conf(place, "cnn"), "--budget", "2", *STAND_IN]
    command = [sys.executable, "-m", "hwnas.compat.denas.search", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DE-NAS completed" in done.stdout and (place / BEST).exists()


def test_verbs(place, capsys):
    assert verbs(["search", "--conf", conf(place, "cnn"), "--budget", "2", *STAND_IN]) == 0
    assert verbs([]) == 2 and verbs(["--help"]) == 0
    assert verbs(["train"]) == 2
    assert "trained by hwnas train" in capsys.readouterr().err


def test_hwnas_denas(place):
    words = ["search", "--conf", conf(place, "cnn"), "--budget", "2", *STAND_IN]
    done = CliRunner().invoke(cli.app, ["denas", *words])
    assert done.exit_code == 0 and "DE-NAS completed" in done.stdout


WRONG = {
    "no conf": (["--domain", "cnn"], "--conf"),
    "an unknown flag": (["--doman", "cnn", "--conf", "x"], "did you mean '--domain'"),
    "no such file": (["--domain", "cnn", "--conf", "nowhere.conf"], "there is no file 'nowhere.conf'"),
    "another domain": (["--domain", "vit", "--conf", EXAMPLES / "e2eaiok_denas_cnn.conf"], "--domain cnn"),
    "an unknown domain": (["--domain", "rnn", "--conf", EXAMPLES / "e2eaiok_denas_cnn.conf"], "'rnn'"),
    "no number": (["--conf", "x", "--budget", "many"], "--budget"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_usage(words, message, ran):
    code, out, err = ran(*words)
    assert code == 2 and message in err and not out
    assert not Path("runs").exists()


def test_help(ran):
    code, out, _ = ran("--help")
    assert code == 0 and all(word in out for word in parser().words)
