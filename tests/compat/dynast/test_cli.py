"""The command: the examples of DyNAS-T's page with small budgets, exit codes, and what is printed."""

from __future__ import annotations

import ast
import csv
import shlex
import subprocess
import sys

import pytest
import torch

from hwnas.compat.dynast.cli import main, parser
from hwnas.compat.dynast.options import SURROGATE
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.seeds import seeded
from hwnas.weights.share import tensors_of

from ._files import W10, W12, surrogate
from .test_imagenet import write

THREE = "--measurements accuracy_top1 macs params"


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """Results go to a fresh folder; accuracy of W10 comes from a small surrogate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SURROGATE, surrogate(tmp_path / "surrogate"))
    return tmp_path


@pytest.fixture
def unexported(monkeypatch):
    """Writing an ONNX file takes seconds; one test shows that it is done."""
    monkeypatch.setattr("hwnas.experiment._export", lambda *_: None)


def ran(command, capsys):
    """Exit code, the last line printed as the list of dicts that it is, and everything said."""
    code = main(shlex.split(command))
    said = capsys.readouterr()
    last = said.out.strip().rpartition("\n")[2]
    return code, ast.literal_eval(last) if code == 0 else None, said.out, said.err


def rows(file):
    with open(file, newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


# --- the six commands of the page -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unexported")
def test_example_1a(capsys):
    command = f"--supernet {W10} --optimization_metrics accuracy_top1 {THREE} --results_path mbnv3w10_ga_acc.csv "
    code, found, *_ = ran(command + "--search_tactic evolutionary --num_evals 30 --search_algo ga", capsys)
    assert code == 0 and len(found) == 30
    assert len(rows("mbnv3w10_ga_acc.csv")) == 30


@pytest.mark.slow  # two networks of 224 pixels on one core
def test_example_1b_with_images_and_weights(capsys, place):
    command = f"--supernet {W12} --optimization_metrics accuracy_top1 {THREE} --results_path mbnv3w12_linasga_acc.csv "
    command += "--search_tactic linas --search_algo ga --num_evals "
    code, _, _, err = ran(command + "20", capsys)
    assert code == 2 and "--dataset_path and --supernet_ckpt_path" in err
    write(place / "images", {"train": 4, "val": 4})
    with seeded(0):
        torch.save(tensors_of(MobileNetV3(classes=2, width=1.2).supernet()), place / "w12.pt")
    code, found, *_ = ran(f"{command} 4 --dataset_path images --supernet_ckpt_path w12.pt --batch_size 8", capsys)
    assert code == 0 and len(found) == 4
    assert {float(row["Top-1 Acc (%)"]) for row in rows("mbnv3w12_linasga_acc.csv")} <= {
        0,
        12.5,
        25,
        37.5,
        50,
        62.5,
        75,
        87.5,
        100,
    }


def test_example_2a(capsys, place):
    name = "mbnv3w10_linasnsga2_acc_macs"
    command = f"--supernet {W10} --optimization_metrics accuracy_top1 macs {THREE} --results_path {name}.csv "
    code, found, out, _ = ran(command + "--search_tactic evolutionary --num_evals 30 --search_algo nsga2", capsys)
    assert code == 0 and f"results: {name}.csv" in out
    assert len(found) == 30 and list(found[0]) == ["ks", "e", "d"]
    assert all(row["Top-1 Acc (%)"] and row["MACs"] and not row["Latency (ms)"] for row in rows(f"{name}.csv"))
    assert not (place / f"{name}.hwnas" / "models").exists()  # nothing was trained


@pytest.mark.parametrize(
    ("objectives", "counts", "algorithm", "file"),
    [
        ("accuracy_top1 params", "params macs", "age", "resnet50_age_acc_params"),
        ("accuracy_top1 macs params", "macs params", "unsga3", "resnet50_linasunsga3_acc_macs_params"),
    ],
    ids=["2b", "3a"],
)
def test_examples_2b_and_3a(objectives, counts, algorithm, file, capsys):
    command = (
        f"--supernet ofa_resnet50 --results_path {file}.csv --search_tactic evolutionary --search_algo {algorithm} "
    )
    code, _, _, err = ran(f"{command} --num_evals 500 --optimization_metrics {objectives} {THREE}", capsys)
    assert code == 2 and "accuracy_top1 of ofa_resnet50 cannot be measured" in err
    assert "--optimization_metrics macs params" in err
    code, found, *_ = ran(f"{command} --num_evals 30 --optimization_metrics {counts} --measurements {counts}", capsys)
    assert code == 0 and list(found[0]) == ["d", "e", "w"]
    assert len(rows(f"{file}.csv")) == 30


@pytest.mark.usefixtures("unexported")
def test_example_3b(capsys):
    command = f"--supernet {W10} --optimization_metrics accuracy_top1 macs params {THREE} --results_path three.csv "
    code, found, *_ = ran(command + "--search_tactic linas --num_evals 30 --search_algo unsga3", capsys)
    assert code == 0 and len(found) == 30
    assert len(rows("three.csv")) == 30


@pytest.mark.usefixtures("unexported")
def test_example_4(capsys, monkeypatch):
    command = f"--supernet {W10} --optimization_metrics accuracy_top1 macs --results_path results.csv "
    command += "--search_tactic linas --distributed --population 50 --num_evals 24 --measurements accuracy_top1 macs"
    code, _, _, err = ran(command, capsys)
    assert code == 2 and "needs a launcher" in err
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert main(shlex.split(command)) == 0
    assert "rank 1 has nothing to do" in capsys.readouterr().err
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    code, found, _, err = ran(command, capsys)
    assert code == 0 and len(found) == 24 and "2 worker processes" in err
    assert len(rows("results.csv")) == 24


# --- all else ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # the noise of the machine is measured first
@pytest.mark.usefixtures("unexported")
def test_latency_is_measured_in_milliseconds(capsys):
    command = f"--supernet {W10} --optimization_metrics macs --measurements latency --results_path slow.csv "
    code, *_ = ran(command + "--search_tactic random --num_evals 1 --batch_size 1", capsys)
    assert code == 0
    (row,) = rows("slow.csv")
    assert 1 < float(row["Latency (ms)"]) < 10_000 and not row["Top-1 Acc (%)"]


def test_what_goes_wrong_while_working_has_another_code(capsys, place):
    (place / "bad.csv").write_text("Sub-network,Date\nrubbish,1\n")
    code, _, _, err = ran(
        "--supernet ofa_resnet50 --optimization_metrics macs params --measurements macs --results_path bad.csv", capsys
    )
    assert code == 1 and "bad.csv, line 2, column 'Sub-network'" in err
    assert (place / "bad.csv").read_text() == "Sub-network,Date\nrubbish,1\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "--results_path"),
        ("--results_path x.csv --search_tactic lina", "did you mean 'linas'?"),
        ("--result_path x.csv", "did you mean '--results_path'?"),
        ("--seed 1", "arguments are required: --results_path"),
        ("--results_path x.csv --num_evals many", "--num_evals: invalid int value"),
        ("--results_path x.csv --limit macs", "write METRIC=VALUE"),
        ("--results_path x.csv --limit macs=1 --limit macs=2", "once per metric"),
        ("--results_path x.csv --num_evals 0", "--num_evals"),
    ],
)
def test_wrong_usage_ends_with_2(words, told, capsys):
    code, _, _, err = ran(words, capsys)
    assert code == 2 and told in err


def test_help_names_everything(capsys):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(
        flag in told for flag in ("--supernet", "--mp_calibration_samples", "--limit", "ofa_resnet50", SURROGATE)
    )


def test_defaults_are_those_of_dynast():
    known = vars(parser().parse_args(["--results_path", "x"]))
    upstream = {
        "supernet": W10,
        "seed": 42,
        "optimization_metrics": ["accuracy_top1", "macs"],
        "measurements": ["accuracy_top1", "macs", "params", "latency"],
        "device": "cpu",
        "num_evals": 250,
        "batch_size": 128,
        "eval_batch_size": None,
        "test_fraction": 1.0,
        "population": 50,
        "dataset_path": None,
        "supernet_ckpt_path": None,
        "search_tactic": "linas",
        "search_algo": "nsga2",
        "verbose": False,
        "distributed": False,
        "local_rank": None,
        "dist_timeout": 3600,
        "backend": "gloo",
    }
    assert {name: known[name] for name in upstream} == upstream


def test_hwnas_passes_everything_on():
    script = (
        "import sys; from hwnas import cli; sys.argv = ['hwnas', 'dynast', '--supernet', 'ofa', '--results_path', 'x']"
    )
    done = subprocess.run([sys.executable, "-c", f"{script}; cli.main()"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "unknown super-network 'ofa'" in done.stderr


def test_verbose_shows_the_configuration(capsys):
    command = (
        "--supernet bert_base_sst2 --optimization_metrics macs params --measurements macs --results_path b.csv -v "
    )
    code, found, _, err = ran(command + "--search_tactic random --num_evals 3", capsys)
    assert code == 0 and list(found[0]) == ["num_layers", "num_attention_heads", "intermediate_size"]
    assert "hwnas.compat.dynast.elastic" in err and "budget: 3" in err
