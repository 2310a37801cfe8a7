"""From a run to a file: which network, what is written, and what is proven of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import hwnas
from hwnas import deploy
from hwnas.candidate import Family
from hwnas.data._pixels import normalise
from hwnas.deploy import Export, pick
from hwnas.errors import ConfigError, ExportError, RecordError
from hwnas.formats.onnx import Onnx
from hwnas.hardware.measured import Measured
from hwnas.space import Choice, Space
from hwnas.study import Study
from tiny import Corners, Tiny

QUICK = {"seconds": 0.01, "repeats": [2, 4], "warmup": 1, "rounds": 2}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished run with data and weights."""
    torch.set_num_threads(1)
    source = {
        "family": Tiny(),
        "data": Corners(),
        "weights": {"shrink": {"epochs": 8, "batch": 32}},
        "goals": {"accuracy": {"max": "shared"}, "macs": {"min": "macs"}, "latency": {"min": {"measured": QUICK}}},
        "search": "random",
        "budget": 6,
        "confirm": 3,
    }
    return hwnas.search(source, run=tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished run that knows of neither, and confirms nothing; some of its networks are over a limit."""
    source = {
        "family": Tiny(),
        "goals": {"macs": {"min": "macs"}, "params": {"max": "params", "limit": "60%"}},
        "search": "random",
        "budget": 8,
        "confirm": 0,
    }
    return hwnas.search(source, run=tmp_path_factory.mktemp("runs") / "untrained")


def outputs(path: Path, x: torch.Tensor) -> np.ndarray:
    (logits,) = onnxruntime.InferenceSession(path).run(None, {"input": x.contiguous().numpy()})
    return logits


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_is_the_network_that_was_judged(study: Study, tmp_path: Path) -> None:
    """Its answers on the test images are right as often as the record says."""
    data = study.bench.given["data"]
    split = data.split("test")
    x = normalise(split.inputs, data)
    for trial in study.trials("confirm"):
        path = tmp_path / f"{trial.number}.onnx"
        done = hwnas.export(study, trial, path)
        logits = outputs(path, x)
        assert (logits.argmax(1) == split.labels.numpy()).mean() == pytest.approx(trial.values["accuracy"])
        plain = study.bench.metric({"quality.shared": {}}).extract(study.bench.candidate(trial.code))
        with torch.no_grad():
            expected = plain(x).numpy()
        assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
        assert done.difference <= 1e-5 + 1e-4 * np.abs(expected).max() and done.trained
        assert outputs(path, x[:1]).shape == (1, 4) and outputs(path, x[:7]).shape == (7, 4)


def test_what_is_proven_is_told(study: Study, tmp_path: Path) -> None:
    done = hwnas.export(study, pick(study), str(tmp_path / "a" / "b" / "model.onnx"))
    path = tmp_path / "a" / "b" / "model.onnx"
    assert (done.path, done.format, done.bytes) == (str(path), "onnx", path.stat().st_size)
    assert 0 < done.latency_low <= done.latency <= done.latency_high < 60
    assert done.classes == study.bench.given["data"].classes
    fact = deploy.as_fact(done)
    assert Export(**{**json.loads(json.dumps(fact)), "classes": tuple(fact["classes"])}) == done
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_the_file_says_what_it_is(study: Study, tmp_path: Path) -> None:
    trial, data = pick(study), study.bench.given["data"]
    hwnas.export(study, trial, tmp_path / "model.onnx")
    told = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert (told["producer"], told["family"], told["data"]) == ("hwnas", "tiny", "corners")
    assert tuple(json.loads(told["code"])) == trial.code
    assert json.loads(told["architecture"]) == study.space.decode(trial.code)
    assert json.loads(told["goals"]) == dict(trial.values)
    assert json.loads(told["classes"]) == list(data.classes)
    assert (json.loads(told["mean"]), json.loads(told["std"])) == (list(data.mean), list(data.std))
    pixels = data.split("test").inputs[:5].float() / 255  # by what the file says of its input, no more
    assert told["input"] == "float32, N x C x H x W, pixels / 255, minus mean, over std"
    mean, std = (torch.tensor(json.loads(told[name])).view(1, 3, 1, 1) for name in ("mean", "std"))
    expected = outputs(tmp_path / "model.onnx", normalise(data.split("test").inputs[:5], data))
    np.testing.assert_allclose(outputs(tmp_path / "model.onnx", (pixels - mean) / std), expected, rtol=1e-4, atol=1e-5)


def test_without_weights_the_architecture_is_written(untrained: Study, tmp_path: Path) -> None:
    trial = untrained.front()[0]
    done = hwnas.export(untrained, trial, tmp_path / "model.onnx")
    assert done.trained is False and done.classes == () and done.latency > 0
    told = Onnx().metadata(tmp_path / "model.onnx")
    assert "classes" not in told and json.loads(told["goals"]) == dict(trial.values)
    x = untrained.bench.candidate(trial.code).batch(3)[0]
    with torch.no_grad():
        expected = untrained.bench.candidate(trial.code).model(x).numpy()
    np.testing.assert_allclose(outputs(tmp_path / "model.onnx", x), expected, rtol=1e-4, atol=1e-6)


def test_nothing_in_the_study_changes(study: Study, tmp_path: Path) -> None:
    before, random = study.run.facts(), torch.get_rng_state()
    metric = study.bench.metric({"quality.shared": {}})
    candidate = study.bench.candidate(pick(study).code)
    value = metric(candidate)
    hwnas.export(study, pick(study), tmp_path / "model.onnx")
    assert study.run.facts() == before and torch.equal(torch.get_rng_state(), random)
    assert metric(candidate) == value


def test_a_runtime_that_reads_no_file_leaves_the_timing_to_another(study: Study, tmp_path: Path) -> None:
    by_torch = [
        replace(goal, metric={"hardware.measured": {**QUICK, "runtime": "torch"}}) if goal.name == "latency" else goal
        for goal in study.goals
    ]
    done = hwnas.export(Study(study.bench, by_torch, study.run), pick(study), tmp_path / "model.onnx")
    assert done.latency > 0


def test_an_earlier_file_is_replaced(study: Study, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("old")
    hwnas.export(study, pick(study), tmp_path / "model.onnx")
    assert Onnx().metadata(tmp_path / "model.onnx")["producer"] == "hwnas"


# --- which network --------------------------------------------------------------------------------------------------


def test_networks_have_names(study: Study) -> None:
    confirmed, chosen = study.trials("confirm"), tuple(study.run.facts()["chosen"])
    assert pick(study) == pick(study, None) == pick(study, "chosen")
    assert pick(study).code == chosen and pick(study) in list(confirmed)
    assert pick(study, "knee") == confirmed.knee()
    assert pick(study, "accuracy").values["accuracy"] == max(trial.values["accuracy"] for trial in confirmed)
    assert pick(study, "macs").values["macs"] == min(trial.values["macs"] for trial in confirmed)
    assert pick(study, "largest") == next(trial for trial in confirmed if trial.code == study.space.largest)


def test_networks_have_numbers(study: Study) -> None:
    confirmed = {trial.code: trial for trial in study.trials("confirm")}
    for trial in study.trials():
        expected = confirmed.get(trial.code, trial)
        assert (
            pick(study, trial.number) == pick(study, str(trial.number)) == pick(study, f"#{trial.number}") == expected
        )


def test_before_confirmation_the_search_decides(untrained: Study) -> None:
    trials = untrained.trials()
    assert not untrained.trials("confirm") and len(trials.feasible()) < len(trials)
    assert list(pick(untrained).code) == untrained.run.facts()["chosen"]
    assert pick(untrained, "knee") == trials.knee()
    assert pick(untrained, "macs") == trials.best("macs") and pick(untrained, "macs").state == "done"
    over = next(trial for trial in trials if trial.state == "over_limit")
    assert pick(untrained, over.number) == over
    largest = pick(untrained, "largest")
    assert largest.code == untrained.space.largest


@pytest.mark.parametrize(
    ("which", "told"),
    [
        (
            "acuracy",
            r"nothing is named 'acuracy' here; did you mean 'accuracy'\? known: chosen, knee, largest, accuracy",
        ),
        ("fastest", r"nothing is named 'fastest' here; .*; or the number of a trial"),
        (6, "there is no trial 6; the run has 0 to 5"),
        ("#99", "there is no trial 99; the run has 0 to 5"),
        (-1, "nothing is named -1 here"),
        ("", "nothing is named '' here"),
    ],
)
def test_other_names_are_told(study: Study, which: Any, told: str) -> None:
    with pytest.raises(ExportError, match=told):
        pick(study, which)


def test_where_nothing_keeps_the_limits_nothing_is_best(untrained: Study) -> None:
    run = untrained.run
    before = run.trials("search")
    try:
        run.save("search", [replace(trial, state="over_limit") for trial in before])
        for which in ("knee", "macs"):
            with pytest.raises(RecordError, match="none of these 8 trials is done and within the limits"):
                pick(untrained, which)
        assert pick(untrained, 0).number == 0
    finally:
        run.save("search", before)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_places_that_cannot_be_written(study: Study, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"cannot make the folder .*file"):
        hwnas.export(study, pick(study), tmp_path / "file" / "model.onnx")
    with pytest.raises(ExportError, match=rf"{tmp_path} is a folder\nname a file, such as {tmp_path}/model\.onnx"):
        hwnas.export(study, pick(study), tmp_path)
    with pytest.raises(ExportError, match="cannot make the folder /proc/nowhere"):
        hwnas.export(study, pick(study), "/proc/nowhere/model.onnx")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ExportError, match=rf"the folder {tmp_path} cannot be written"),
    ):
        patch.setattr("os.access", lambda *_: False)
        hwnas.export(study, pick(study), tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_unknown_format(study: Study, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="format: unknown part 'onx' of formats; did you mean 'onnx'"):
        hwnas.export(study, pick(study), tmp_path / "model.onnx", "onx")
    hwnas.export(study, pick(study), tmp_path / "model.onnx", {"onnx": {"opset": 18}})


def test_a_file_that_computes_something_else_is_not_left_there(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Onnx.outputs
    monkeypatch.setattr(Onnx, "outputs", lambda *given: [array + 0.1 for array in right(*given)])
    with pytest.raises(ExportError, match=r"model\.onnx computes something else than the network"):
        hwnas.export(study, pick(study), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


class Sorted(torch.nn.Module):
    """What ONNX has no word for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(x @ x.mT)


@dataclass(frozen=True)
class Strange(Family):
    name = "strange"
    space = Space("strange", (Choice("nothing", (0, 1)),))

    def build(self, arch: Any, /) -> torch.nn.Module:
        return Sorted()

    def inputs(self, arch: Any, batch: int, /) -> tuple[torch.Tensor, ...]:
        return (torch.randn(batch, 3, 3),)


def test_a_network_that_cannot_be_written(tmp_path: Path) -> None:
    source = {
        "family": Strange(),
        "goals": {"nothing": {"min": lambda candidate: 1.0}},
        "search": "random",
        "confirm": 0,
    }
    with pytest.raises(ExportError, match=r"Sorted cannot be written as ONNX opset 17: the operator 'aten::\w+'"):
        hwnas.search(source, run=tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists() and not list((tmp_path / "run").rglob("*.onnx*"))


def test_latency_is_that_of_the_goal(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed with the options of the goal that measures, on the file itself."""
    asked = []
    of_file = Measured.of_file

    def noted(self: Measured, path: Path, inputs: Any) -> Any:
        asked.append((self, path, tuple(inputs[0].shape)))
        return of_file(self, path, inputs)

    monkeypatch.setattr(Measured, "of_file", noted)
    hwnas.export(study, pick(study), tmp_path / "model.onnx")
    ((timer, path, shape),) = asked
    assert (timer.seconds, timer.rounds, path, shape) == (0.01, 2, tmp_path / "model.onnx", (1, 3, 8, 8))
