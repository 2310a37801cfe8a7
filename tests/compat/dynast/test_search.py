"""A search leaves a record and a file that follows it; nothing is evaluated twice, nothing lost."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas import experiment, pareto
from hwnas.compat.dynast import search
from hwnas.compat.dynast.options import Options, task
from hwnas.compat.dynast.supernets import SUPERNETS
from hwnas.compat.dynast.table import header, read
from hwnas.errors import Interrupted, RunLockedError, RunMismatchError
from hwnas.records import Records, sqlite_url
from hwnas.study import Study

SUPERNET = SUPERNETS["ofa_resnet50"]
OPTIONS = Options(
    supernet=SUPERNET.name,
    optimization_metrics=("macs", "params"),
    measurements=("macs", "params"),
    search_tactic="evolutionary",
    num_evals=24,
    population=8,
)


def made(place, **options):
    return task(replace(OPTIONS, results_path=str(place / "results.csv"), **options))


def lines(done):
    with done.table.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def codes(done):
    return [trial.code for trial in experiment.load(done.folder).trials()]


def test_every_evaluation_is_a_row_and_the_budget_is_exact(tmp_path):
    done = made(tmp_path, num_evals=21)  # no multiple of the population
    study = search.run(done)
    first, *rows = lines(done)
    assert tuple(first) == header(SUPERNET)
    assert len(rows) == len(study.trials()) == 21
    assert list(read(done.table, SUPERNET).values) == codes(done)
    assert all(row[3] == row[5] == "" for row in rows)  # neither latency nor accuracy was measured


def test_the_same_command_again_evaluates_nothing(tmp_path, monkeypatch):
    done = made(tmp_path)
    search.run(done)
    before = done.table.read_bytes()
    monkeypatch.setattr("hwnas.compat.dynast.counted.Counted.many", None)
    search.run(made(tmp_path, resume=True))
    assert done.table.read_bytes() == before


def test_more_evaluations_go_on_as_if_never_stopped(tmp_path):
    (tmp_path / "two").mkdir()
    search.run(made(tmp_path, num_evals=10))
    search.run(made(tmp_path, num_evals=24))
    whole = made(tmp_path / "two", num_evals=24)
    search.run(whole)
    assert codes(made(tmp_path)) == codes(whole)
    assert len(lines(made(tmp_path))) == 25


def test_a_stopped_search_leaves_whole_rows_and_goes_on(tmp_path):
    done = made(tmp_path)

    def stop(progress):
        if progress.phase == "search" and progress.done >= 13:
            raise Interrupted("as planned")

    with pytest.raises(Interrupted):
        search.run(done, stop)
    assert 14 <= len(lines(done)) < 25
    search.run(done)
    assert len(lines(done)) == 25 and list(read(done.table, SUPERNET).values) == codes(done)


def test_a_killed_search_loses_no_row(tmp_path):
    script = f"""
import os, sys
from hwnas.compat.dynast import search
from hwnas.compat.dynast.options import Options, task
given = Options(**{vars(OPTIONS) | {"results_path": str(tmp_path / "results.csv")}!r})
search.EVERY = 0
def die(progress):
    if progress.phase == "search" and progress.done >= 15:
        os.kill(os.getpid(), 9)
search.run(task(given), die)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    done = made(tmp_path)
    written = done.table.read_bytes()
    done.table.write_bytes(written[:-20])  # as if the last row had been cut short, too
    search.run(done)
    assert len(lines(done)) == 25 and set(read(done.table, SUPERNET).values) == set(codes(done))


def test_a_file_that_is_gone_is_written_again(tmp_path):
    done = made(tmp_path)
    search.run(done)
    done.table.unlink()
    search.run(done)
    assert len(lines(done)) == 25


def foreign(place, count=6):
    """A file as another program leaves it, of networks that are far apart."""
    size = SUPERNET.space.size
    known = [SUPERNET.space.at(number * (size // count)) for number in range(count)]
    rows = [f'"{SUPERNET.row(code)!r}",2022-11-01,0,0,0,{70 + number}' for number, code in enumerate(known)]
    place.joinpath("results.csv").write_bytes("\r\n".join([",".join(header(SUPERNET)), *rows, ""]).encode())
    return known


def test_the_file_of_another_program_is_a_warm_start(tmp_path):
    known = foreign(tmp_path)
    done, before = made(tmp_path), (tmp_path / "results.csv").read_bytes()
    told = []
    search.run(done, lambda progress: told.append(progress.message))
    assert done.table.read_bytes().startswith(before)
    assert codes(done)[:6] == known and len(codes(done)) == 6 + 24
    assert len(lines(done)) == 1 + 6 + 24
    assert any("6 networks are known already" in message for message in told)
    search.run(done)  # and again: nothing happens
    assert len(codes(done)) == 6 + 24 and len(lines(done)) == 1 + 6 + 24


def test_overwriting_sets_the_old_aside(tmp_path):
    done = made(tmp_path)
    search.run(done)
    before = done.table.read_bytes()
    for turn in ("", "1"):
        search.run(made(tmp_path, overwrite=True, seed=7))
        assert (tmp_path / f"results.csv.bak{turn}").exists() and (tmp_path / f"results.hwnas.bak{turn}").is_dir()
    assert (tmp_path / "results.csv.bak").read_bytes() == before != done.table.read_bytes()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_process_drives_is_left_alone(overwrite, tmp_path):
    done = made(tmp_path)
    search.run(done)
    done.table.write_bytes(before := done.table.read_bytes()[:-500])
    with Records(sqlite_url(done.folder / "study.db")).lock(), pytest.raises(RunLockedError):
        search.run(made(tmp_path, overwrite=overwrite))
    assert done.table.read_bytes() == before


@pytest.mark.parametrize("change", [{"supernet": "bert_base_sst2"}, {"seed": 1}, {"measurements": ("macs",)}])
def test_results_of_another_search_are_not_mixed(change, tmp_path):
    search.run(made(tmp_path))
    options = {"measurements": ("macs", "params"), **change}
    if "measurements" in change:
        options["optimization_metrics"] = ("macs",)
        options["search_tactic"] = "random"
    with pytest.raises(RunMismatchError) as refused:
        search.run(made(tmp_path, **options))
    assert "--overwrite" in refused.value.hint


def test_limits_are_kept_and_what_is_over_them_is_written_down(tmp_path):
    done = made(tmp_path, limits={"macs": "3e9"})
    study = search.run(done)
    assert all(trial.values["macs"] <= 3e9 for trial in search.best(study, 50))
    assert len(lines(done)) == 25


def test_the_answer_is_the_evaluated_front_first(tmp_path):
    study = search.run(made(tmp_path))
    best = search.best(study, 15)
    front = study.front()
    assert [trial.code for trial in best[: len(front)]] == [trial.code for trial in front]
    assert len(best) == max(15, len(front))
    ranks = pareto.ranks([[trial.values["macs"], trial.values["params"]] for trial in study.trials()])
    of = dict(zip([trial.code for trial in study.trials()], ranks, strict=True))
    assert [of[trial.code] for trial in best] == sorted(of[trial.code] for trial in best)


def test_workers_and_one_process_find_the_same(tmp_path):
    (tmp_path / "two").mkdir()
    search.run(made(tmp_path))
    search.run(made(tmp_path / "two", workers=2))
    assert codes(made(tmp_path)) == codes(made(tmp_path / "two"))


def test_the_run_is_one_of_hwnas(tmp_path):
    done = made(tmp_path)
    study = search.run(done, command="dynast …")
    assert isinstance(study, Study) and (done.folder / "report.html").exists()
    assert study.run.facts()["command"] == "dynast …"
    assert json.loads((Path(done.folder) / "environment.json").read_text())["hwnas"]
