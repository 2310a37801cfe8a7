"""From a run to a trained network: which one, on what data, with what teacher, and what is written."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch

import hwnas
from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.data import Part, Split
from hwnas.data._splits import InMemory
from hwnas.data.digits import Digits
from hwnas.errors import ConfigError, ExportError, HwnasError, Interrupted, RecordError, RunExistsError, WeightsError
from hwnas.families.asr import Asr
from hwnas.families.bert import Bert
from hwnas.families.nasbench201 import NasBench201
from hwnas.formats.onnx import Onnx
from hwnas.progress import Progress
from hwnas.seeds import seeded
from hwnas.study import Study
from hwnas.training import Result
from hwnas.weights.train import Recipe
from tiny import Corners, Tiny, same
from toys import Stop

FAMILY = {"nasbench201": {"resolution": 32, "channels": 4, "cells": 1}}
DATA = {"digits": {"resolution": 8, "splits": [0.1, 0.1, 0.8]}}
SMALL: dict[str, Any] = {"data": DATA, "epochs": 2, "batch": 32}


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train-free search: no data, no weights, and a family for images of 32 pixels."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("runs") / "free"
    source = {
        "family": FAMILY,
        "goals": {"params": {"max": "params"}, "macs": {"min": "macs"}},
        "search": "random",
        "budget": 8,
        "confirm": 0,
        "export": False,
        "threads": 1,
    }
    hwnas.search(source, run=run)
    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A search with a supernet, whose family and data are objects of a script."""
    torch.set_num_threads(1)
    source = {
        "family": Tiny(dropout=0.2),
        "data": Corners(),
        "weights": {"shrink": {"epochs": 8, "batch": 32, "reuse": False}},
        "goals": {"accuracy": {"max": "shared"}, "macs": {"min": "macs"}},
        "search": "random",
        "budget": 6,
        "confirm": 3,
        "export": False,
    }
    return hwnas.search(source, run=tmp_path_factory.mktemp("runs") / "shared")


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def weights(result: Result) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(result.model, weights_only=True)
    return state


def messages(heard: list[Progress]) -> list[str]:
    return [progress.message for progress in heard if progress.message]


# --- what comes out -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(free: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return hwnas.train(free, 3, out=tmp_path_factory.mktemp("trained") / "three", **{**SMALL, "epochs": 4})


def test_a_found_network_is_trained_tested_and_written(free: Path, trained: Result) -> None:
    trial = hwnas.load(free).trials()[3]
    assert files(Path(trained.folder)) == ["checkpoint.pt", "log.json", "model.onnx", "model.pt", "result.json"]
    assert trained.code == trial.code and trained.network == "trial 3"
    assert trained.classes == tuple("0123456789") and trained.data == "digits"
    data = Digits(resolution=8, splits=(0.1, 0.1, 0.8))
    family = NasBench201(resolution=8, channels=4, cells=1)
    model = trained.load()
    assert same(dict(model.state_dict()), weights(trained)) and not model.training
    assert trained.params == sum(p.numel() for p in family.build(family.space.decode(trial.code)).parameters())
    for part, told in (("val", trained.val), ("test", trained.test)):
        split = data.split(part)  # type: ignore[arg-type]
        x = data.ready(split.inputs, torch.empty(1, 3, 8, 8, device="meta"))
        with torch.no_grad():
            assert (model(x).argmax(1) == split.labels).float().mean().item() == pytest.approx(told)
        (logits,) = onnxruntime.InferenceSession(Path(trained.folder) / "model.onnx").run(
            None, {"input": x.contiguous().numpy()}
        )
        assert (logits.argmax(1) == split.labels.numpy()).mean() == pytest.approx(told, abs=2 / len(split))
    assert trained.examples == len(data.split("test")) and trained.test_low < trained.test < trained.test_high
    log = json.loads((Path(trained.folder) / "log.json").read_text())
    assert [row["epoch"] for row in log] == [1, 2, 3, 4] and trained.epochs == 4
    assert log[trained.epoch - 1]["val"] == trained.val == max(row["val"] for row in log)
    assert trained.settings["epochs"] == 4 and trained.settings["lr"] == 0.001 and trained.settings["seed"] == 0
    assert Result.read(trained.folder) == trained


def test_the_file_to_deploy_says_what_it_is(free: Path, trained: Result) -> None:
    told = Onnx().metadata(Path(trained.folder) / "model.onnx")
    goals = json.loads(told["goals"])
    assert goals["test_accuracy"] == trained.test and goals["val_accuracy"] == trained.val
    assert goals["macs"] == hwnas.load(free).trials()[3].values["macs"]
    assert json.loads(told["classes"]) == list("0123456789") and told["data"] == "digits"


def test_the_verdict_is_a_sentence_and_a_table(trained: Result) -> None:
    share = f"{100 * trained.test:.1f} %"
    count = f"{trained.examples:,} test examples of 'digits'"
    assert trained.sentence().startswith(f"Trial 3, trained for 4 epochs, gets {share} of {count} right (95 %: ")
    rows = dict(trained.rows())
    assert rows["test"].startswith(share) and rows["start"] == "fresh weights" and "teacher" not in rows
    assert rows["epochs"] == f"4, best {trained.epoch}"


def test_the_same_again_is_read_and_another_is_refused(free: Path, trained: Result) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(trained.folder).iterdir()}
    heard: list[Progress] = []
    again = hwnas.train(free, 3, out=trained.folder, watch=heard.append, **{**SMALL, "epochs": 4})
    assert again == trained and f"trial 3 is trained already, in {trained.folder}" in messages(heard)
    for change, told in (
        ({"epochs": 5}, "epochs was 4 and is now 5"),
        ({"lr": 0.5}, "lr was 0.001 and is now 0.5"),
        ({"pick": 2}, r"code was \["),
        ({"data": Digits(resolution=8)}, "data was '"),
    ):
        options = {"pick": 3, **SMALL, "epochs": 4, **change}
        with pytest.raises(RunExistsError, match=f"holds another training: .*{told}") as caught:
            hwnas.train(free, out=trained.folder, **options)
        assert "--out" in caught.value.hint
    assert {path: path.stat().st_mtime_ns for path in Path(trained.folder).iterdir()} == before


def test_files_of_another_origin_are_not_overwritten(free: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(RunExistsError, match=r"holds a model.onnx of another origin"):
        hwnas.train(free, out=tmp_path, **SMALL)
    assert files(tmp_path) == ["model.onnx"] and (tmp_path / "model.onnx").read_text() == "mine"


# --- which network --------------------------------------------------------------------------------------------------


def test_picks_have_names_and_folders(shared: Study) -> None:
    from hwnas import deploy
    from hwnas.training import _picked

    chosen = deploy.pick(shared)
    number = next(trial.number for trial in shared.trials() if trial.code == chosen.code)
    assert _picked(shared, None, None) == (chosen, "chosen", f"the chosen network (trial {number})")
    assert _picked(shared, "knee", None)[:2] == (deploy.pick(shared, "knee"), "knee")
    best = deploy.pick(shared, "accuracy")
    for pick, by in (("best", None), ("best", "accuracy"), (None, "accuracy"), ("accuracy", None)):
        assert _picked(shared, pick, by)[:2] == (best, "best-accuracy")
    assert _picked(shared, "best", "macs")[:2] == (deploy.pick(shared, "macs"), "best-macs")
    for pick in (2, "2", "#2"):
        assert _picked(shared, pick, None)[1:] == ("trial-2", "trial 2")
    assert _picked(shared, "largest", None)[0].code == shared.space.largest


def test_a_structure_is_read_from_a_file(free: Path, tmp_path: Path) -> None:
    from hwnas.training import _picked

    study = hwnas.load(free)
    code = (4, 3, 2, 1, 0, 4)
    arch = dict(study.space.decode(code))
    for name, content in (
        ("a.json", json.dumps(arch)),
        ("b.json", json.dumps({"number": 7, "architecture": arch})),
        ("c.yaml", "\n".join(f"{key}: {value}" for key, value in arch.items())),
        ("d.json", json.dumps(list(code))),
    ):
        (tmp_path / name).write_text(content)
        trial, folder, words = _picked(study, str(tmp_path / name), None)
        assert trial.code == study.family.canonical(code), name
        assert (folder, words) == (name[0], f"the network of {name}")
    for content, told in (
        ("{}", "gives no value for"),
        ('{"depth": 3}', "has no choice 'depth'"),
        ("[1, 2]", "has 6 entries, this one has 2"),
        ("SuperConv", "describes no network of 'nasbench201'"),
        ("{", "cannot be read"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ConfigError, match=told):
            hwnas.train(free, tmp_path / "bad.json", **SMALL)


def test_a_structure_may_be_the_familys_own_text(free: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.training import _picked

    study = hwnas.load(free)
    arch = study.space.decode((4, 3, 2, 1, 0, 4))
    monkeypatch.setattr(NasBench201, "arch_of", lambda self, text: arch if text == "My Cell" else {}, raising=False)
    (tmp_path / "best.txt").write_text("My Cell\n")
    assert _picked(study, tmp_path / "best.txt", None)[0].code == study.space.encode(arch)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"pick": 99}, ExportError, r"there is no trial 99; the run has 0 to 7"),
        ({"pick": "kneee"}, ExportError, r"nothing is named 'kneee' here; did you mean 'knee'"),
        ({"by": "accuracy"}, ConfigError, r"by: no goal is named 'accuracy'; known: params, macs"),
        ({"pick": "knee", "by": "macs"}, ConfigError, r"by: says what `best` means, and the pick is 'knee'"),
        ({"data": None}, ConfigError, r"data: is missing: this run was searched without any\nname it: --data digits"),
        ({"data": "digtis"}, ConfigError, r"data: there is neither a data set nor .* named 'digtis'.*'digits'"),
        ({"data": {"digits": {"side": 8}}}, ConfigError, r"data\.digits\.side: unknown option"),
        ({"start": "shared"}, ConfigError, r"from: this run has no shared weights"),
        ({"start": "here"}, ConfigError, r"from: unknown start 'here'; did you mean 'shared'"),
        ({"teacher": "nowhere"}, ConfigError, r"teacher: there is no finished training in nowhere"),
        ({"pick": "largest", "teacher": "largest"}, ConfigError, r"teacher: the picked network is the largest one"),
        ({"distill": 2.0}, ConfigError, r"distill: has no meaning without a teacher"),
        ({"epoch": 3}, ConfigError, r"epoch: unknown option; did you mean 'epochs'"),
        ({"epochs": "many"}, ConfigError, r"epochs: 'many' is not allowed"),
        ({"optimizer": "adam"}, ConfigError, r"optimizer: 'adam' is not allowed"),
        ({"batch": 10_000}, ConfigError, r"batch: 'digits' has \d+ training examples, fewer than one batch of 10000"),
        ({"torch_device": "toaster"}, ConfigError, r"torch_device: 'toaster' cannot be used"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    free: Path, tmp_path: Path, options: dict[str, Any], kind: type[HwnasError], told: str
) -> None:
    before = files(free)
    with pytest.raises(kind, match=told):
        hwnas.train(free, **{"out": tmp_path / "out", **SMALL, **options})
    assert not (tmp_path / "out").exists() and files(free) == before


def test_there_must_be_a_run_and_a_folder_that_can_be_made(free: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no run in"):
        hwnas.train(tmp_path, **SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot be made: .*file is no folder"):
        hwnas.train(free, out=tmp_path / "file" / "deeper", **SMALL)


def test_a_failed_trial_is_not_trained(tmp_path: Path) -> None:
    def moody(candidate: Candidate) -> float:
        if candidate.arch["depth"] == 1:
            raise ValueError("too shallow")
        return 1.0

    source = {"family": Tiny(), "goals": {"mood": {"min": moody}}, "search": "random", "budget": 8, "confirm": 0}
    study = hwnas.search({**source, "export": False}, run=tmp_path / "run")
    failed = next(trial for trial in study.trials() if trial.state == "failed")
    with pytest.raises(ExportError, match=rf"trial {failed.number} failed: mood: ValueError: too shallow"):
        hwnas.train(study, failed.number, data=Corners())
    assert not (tmp_path / "run" / "trained").exists()


def test_a_table_has_no_networks_to_train(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("width,accuracy\n1,0.5\n2,0.6\n")
    source = {
        "family": {"table": {"path": str(tmp_path / "table.csv"), "choices": ["width"]}},
        "goals": {"accuracy": {"max": {"tabular": {"column": "accuracy"}}}},
        "search": "random",
        "budget": 2,
        "confirm": 0,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    with pytest.raises(ExportError, match="holds values, and no networks"):
        hwnas.train(study, data=Corners())


# --- the family and the data ----------------------------------------------------------------------------------------


def test_a_family_is_made_anew_for_other_classes_and_sizes(free: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    data = Corners()
    done = hwnas.train(free, 3, data=data, epochs=1, batch=16, out=tmp_path / "out", watch=heard.append)
    told = "nasbench201 is made anew for 'corners': classes 10 → 4, resolution 32 → 8"
    assert messages(heard) == [told]
    assert done.classes == data.classes and done.load()(torch.zeros(1, 3, 8, 8)).shape == (1, 4)
    assert done.family == {"families.nasbench201": {"classes": 4, "resolution": 8, "channels": 4, "cells": 1}}


def test_data_that_the_family_cannot_take_as_it_is_are_fitted_to_it(free: Path, tmp_path: Path) -> None:
    """Its images must have a side that is a multiple of four, so it keeps its own."""
    heard: list[Progress] = []
    done = hwnas.train(free, 3, data=Corners(side=10), epochs=1, batch=16, out=tmp_path / "out", watch=heard.append)
    assert messages(heard) == ["nasbench201 is made anew for 'corners': classes 10 → 4"]
    assert done.family is not None and parts.make("families", done.family).resolution == 32


def test_a_family_that_cannot_have_so_many_classes(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Four(Tiny):
        def __post_init__(self) -> None:
            if self.classes != 4:
                raise ConfigError("these networks have four classes")

    source = {"family": Four(), "goals": {"macs": {"min": "macs"}}, "search": "random", "budget": 3, "confirm": 0}
    study = hwnas.search({**source, "export": False}, run=tmp_path / "run")
    told = r"data: 'tiny' has 4 classes, and 'digits' has 10; it cannot be made anew: these networks have four classes"
    with pytest.raises(ConfigError, match=told):
        hwnas.train(study, **SMALL)


def test_a_choice_that_is_gone_from_the_new_space(free: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.space import Choice, Space

    class Shrinking(Tiny):
        @property
        def space(self) -> Space:
            return Space("shrinking", (*super().space.choices, Choice("extra", tuple(range(self.classes)))))

    source = {"family": Shrinking(classes=12), "goals": {"macs": {"min": "macs"}}, "search": "random"}
    study = hwnas.search({**source, "budget": 3, "confirm": 0, "export": False}, run=free.parent / "shrinking")
    with pytest.raises(ConfigError, match=r"data: the picked network does not exist in 'tiny' made anew"):
        hwnas.train(study, "largest", **SMALL)


@dataclass(frozen=True)
class Words(InMemory):
    """Sentences of a few words, one of which tells the class."""

    name: ClassVar[str] = "words"
    classes: ClassVar[tuple[str, ...]] = ("good", "bad", "neither")
    fingerprint: ClassVar[str] = "0123456789abcdef"
    facts: ClassVar[dict[str, int]] = {"classes": 3, "vocabulary": 20, "length": 6}

    def ready(self, inputs: torch.Tensor, like: torch.Tensor, /) -> torch.Tensor:
        return inputs[:, : like.shape[1]]

    def varied(self, inputs: torch.Tensor, rng: np.random.Generator, strength: int, /) -> torch.Tensor:
        return inputs

    def _read(self, part: Part) -> Split:
        with seeded(len(part)):
            inputs = torch.randint(5, 20, (96, 6))
        labels = torch.arange(96) % 3
        inputs[torch.arange(96), 1 + torch.arange(96) % 5] = 2 + labels
        return Split(inputs, labels)


def test_text_is_learnt_by_the_same_loop(tmp_path: Path) -> None:
    """A family that was searched without data becomes one for three classes, twenty words and six tokens."""
    family = Bert(**parts_of(Bert.tiny))
    source = {"family": family, "goals": {"macs": {"min": "macs"}}, "search": "random", "budget": 3, "confirm": 0}
    study = hwnas.search({**source, "export": False}, run=tmp_path / "run")
    heard: list[Progress] = []
    options = {"epochs": 15, "batch": 16, "lr": 0.005, "patience": 5, "watch": heard.append}
    done = hwnas.train(study, "largest", data=Words(), **options)
    assert messages(heard) == [
        f"{family.name} is made anew for 'words': classes 2 → 3, vocabulary 50 → 20, length 8 → 6"
    ]
    assert done.test > 0.9 and done.onnx
    with pytest.raises(ConfigError, match=r"data: the network cannot take the examples of 'corners'"):
        hwnas.train(study, "knee", data=Corners(), batch=16)


@dataclass(frozen=True)
class Sounds(Words):
    """Noise in which one of eight bands is loud all the time; the class is whether it is a low one."""

    name: ClassVar[str] = "sounds"
    classes: ClassVar[tuple[str, ...]] = ("high", "low")
    facts: ClassVar[dict[str, int]] = {"classes": 2, "frames": 12, "mels": 8}

    def ready(self, inputs: torch.Tensor, like: torch.Tensor, /) -> torch.Tensor:
        return inputs

    def _read(self, part: Part) -> Split:
        with seeded(len(part)):
            inputs = torch.randn(96, 12, 8)
        inputs[torch.arange(96), :, torch.arange(96) % 8] += 3
        return Split(inputs, (torch.arange(96) % 8 < 4).long())


def test_speech_is_learnt_by_the_same_loop(tmp_path: Path) -> None:
    """A family that was never told of any classes or bands is told now."""
    options = {name: value for name, value in parts_of(Asr.tiny).items() if name not in ("classes", "mels", "frames")}
    source = {"family": Asr(frames=20, dropout=0.0, **options), "goals": {"size": {"min": "params"}}}
    study = hwnas.search(
        {**source, "search": "random", "budget": 3, "confirm": 0, "export": False}, run=tmp_path / "run"
    )
    heard: list[Progress] = []
    done = hwnas.train(study, "largest", data=Sounds(), epochs=15, batch=16, lr=0.003, watch=heard.append)
    assert messages(heard) == ["asr is made anew for 'sounds': classes → 2, frames 20 → 12, mels → 8"]
    assert done.test > 0.9 and done.onnx


def parts_of(options: Any) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


# --- where weights come from ----------------------------------------------------------------------------------------


def test_shared_weights_are_where_a_training_starts(shared: Study, tmp_path: Path) -> None:
    """With a rate of next to nothing the network stays what the run judged."""
    options = {"epochs": 1, "batch": 32, "lr": 1e-12, "weight_decay": 0.0, "augment": 0}
    done = hwnas.train(shared, "largest", out=tmp_path / "shared", **options)
    metric: Any = shared.bench.metric({"quality.shared": {}})
    judged = metric.extract(shared.bench.candidate(done.code))
    assert done.start == "shared" and dict(done.rows())["start"] == "the run's shared weights"
    state = weights(done)
    for name, parameter in judged.named_parameters():
        torch.testing.assert_close(state[name], parameter.detach(), rtol=1e-5, atol=1e-6)
    fresh = hwnas.train(shared, "largest", start="scratch", out=tmp_path / "fresh", **options)
    drawn = Candidate(shared.family, done.code, 0).model
    for name, parameter in drawn.named_parameters():
        torch.testing.assert_close(weights(fresh)[name], parameter.detach(), rtol=1e-5, atol=1e-6)
    assert fresh.start == "scratch" and done.settings["weights"] and not fresh.settings["weights"]


def test_shared_weights_of_other_shapes_are_fresh_and_named(shared: Study, tmp_path: Path) -> None:
    heard: list[Progress] = []
    data = Digits(resolution=8, splits=(0.1, 0.1, 0.8))
    options = {"epochs": 1, "batch": 32, "lr": 1e-12, "weight_decay": 0.0, "augment": 0}
    done = hwnas.train(shared, "largest", data=data, out=tmp_path / "out", watch=heard.append, **options)
    assert "shared weights do not fit this data in head.weight, head.bias: these are fresh" in messages(heard)
    metric: Any = shared.bench.metric({"quality.shared": {}})
    judged = metric.extract(shared.bench.candidate(done.code))
    torch.testing.assert_close(weights(done)["stem.weight"], judged.stem.weight.detach(), rtol=1e-5, atol=1e-6)
    assert done.family is None, "a family of a script has no spec"
    with pytest.raises(RecordError, match="built by a family of a script"):
        done.load()
    family = replace(shared.family, classes=10)  # type: ignore[type-var]
    assert same(dict(done.load(family).state_dict()), weights(done))


def test_a_run_whose_supernet_is_not_trained_yet_says_so(tmp_path: Path) -> None:
    source = {
        "family": Tiny(),
        "data": Corners(),
        "weights": {"shrink": {"epochs": 8, "batch": 32, "reuse": False}},
        "goals": {"macs": {"min": "macs"}, "accuracy": {"max": "shared"}},
        "search": "random",
        "budget": 2,
    }
    study = hwnas.search(source, run=tmp_path / "run")
    (tmp_path / "run" / "weights" / "supernet.pt").unlink()
    fresh = Study(type(study.bench)(study.bench.setup), study.goals, study.run)
    with pytest.raises(WeightsError, match="there is no trained supernet"):
        hwnas.train(fresh, 0, epochs=1, batch=32)
    assert not (tmp_path / "run" / "trained").exists()


# --- the teacher ----------------------------------------------------------------------------------------------------


def test_the_largest_network_is_trained_first_and_kept(free: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"data": Corners(), "epochs": 2, "batch": 32}
    options = {**plain, "teacher": "largest"}
    heard: list[Progress] = []
    done = hwnas.train(free, 3, out=tmp_path / "a", watch=heard.append, **options)
    phases = list(dict.fromkeys(progress.phase for progress in heard if progress.total))
    assert phases == ["train teacher", "train"]
    (kept,) = (free / "trained").glob("teacher-*")
    teacher = Result.read(kept)
    assert teacher.code == NasBench201().canonical(NasBench201().space.largest) and teacher.epochs == 2
    assert done.teacher == "the largest network" and dict(done.rows())["teacher"] == done.teacher
    heard.clear()
    other = hwnas.train(free, 3, out=tmp_path / "b", distill=3.0, watch=heard.append, **options)
    assert "train teacher" not in {progress.phase for progress in heard if progress.total}, "it is not trained twice"
    assert f"the largest network is trained already, in {kept}" in messages(heard)
    alone = hwnas.train(free, 3, out=tmp_path / "c", **plain)
    states = [weights(result) for result in (done, other, alone)]
    assert not any(same(states[i], states[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    by_folder = hwnas.train(free, 3, out=tmp_path / "d", **{**plain, "teacher": kept})
    assert same(weights(by_folder), states[0]) and by_folder.teacher == f"the largest network, in {kept}"
    assert by_folder.settings["teacher"] == done.settings["teacher"]


def test_a_teacher_of_other_classes_is_refused(free: Path, trained: Result, tmp_path: Path) -> None:
    told = r"teacher: .* was trained on 'digits' with the classes 0, 1, 2, 3, 4, … \(10 in all\); 'corners' has north"
    with pytest.raises(ConfigError, match=told):
        hwnas.train(free, 2, data=Corners(), teacher=trained.folder, batch=16, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["result.json", "model.pt"])
def test_a_damaged_teacher_is_refused(free: Path, trained: Result, tmp_path: Path, name: str) -> None:
    for file in ("result.json", "model.pt"):
        (tmp_path / file).write_bytes((Path(trained.folder) / file).read_bytes())
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=rf"teacher: .*{name} cannot be read"):
        hwnas.train(free, 2, teacher=tmp_path, out=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


# --- stopped, and gone on with --------------------------------------------------------------------------------------


def test_a_stopped_training_ends_like_an_uninterrupted_one(free: Path, tmp_path: Path) -> None:
    """Stopped while its teacher learns, while it learns, and when all but the last file was written."""
    options: dict[str, Any] = {"data": Corners(), "batch": 32, "epochs": 3, "teacher": "largest", "seed": 5}
    whole = hwnas.train(free, 3, out=tmp_path / "whole", **options)
    (kept,) = (free / "trained").glob(f"teacher-{whole.settings['teacher'][:8]}")
    for file in kept.iterdir():
        file.unlink()
    # The first report says that the family is made anew; then there are two steps to an epoch, and six to a training.
    for after in (4, 4, 9, 4):
        with pytest.raises(Interrupted):
            hwnas.train(free, 3, out=tmp_path / "parts", watch=Stop(after), **options)
        assert not (tmp_path / "parts" / "result.json").exists()

    def at_the_end(progress: Progress) -> None:
        if progress.phase == "test":
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        hwnas.train(free, 3, out=tmp_path / "parts", watch=at_the_end, **options)
    done = hwnas.train(free, 3, out=tmp_path / "parts", **options)
    assert same(weights(done), weights(whole))
    assert replace(done, folder=whole.folder, seconds=whole.seconds) == whole
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_network_that_no_file_can_hold_is_trained_all_the_same(
    free: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ExportError("the operator 'aten::odd' has no counterpart there")

    monkeypatch.setattr(Onnx, "write", fails)
    heard: list[Progress] = []
    done = hwnas.train(free, 3, out=tmp_path / "out", watch=heard.append, **{**SMALL, "epochs": 1})
    assert done.onnx is False and files(tmp_path / "out") == ["checkpoint.pt", "log.json", "model.pt", "result.json"]
    assert any("there is no model.onnx: the operator 'aten::odd'" in told for told in messages(heard))


def test_by_default_everything_lies_in_the_run(shared: Study) -> None:
    done = hwnas.train(shared, "knee", epochs=1, batch=32)
    assert Path(done.folder) == Path(shared.bench.setup.folder) / "trained" / "knee"
    assert math.isfinite(done.seconds) and done.data == "corners"


def test_a_training_leaves_the_study_as_it_was(free: Path, trained: Result) -> None:
    """Nothing in the record changes, and nobody's randomness."""
    study, random, numbers = hwnas.load(free), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    before = study.run.facts()
    hwnas.train(study, 1, out=Path(trained.folder).parent / "one", **{**SMALL, "epochs": 1})
    assert hwnas.load(free).run.facts() == before and torch.equal(torch.get_rng_state(), random)
    assert (np.random.get_state()[1] == numbers).all()  # noqa: NPY002


@pytest.mark.slow
def test_a_network_learns_real_data(free: Path, tmp_path: Path) -> None:
    """Every third of the handwritten digits is enough for nine of ten; by chance it would be one."""
    (tmp_path / "cell.json").write_text(json.dumps([4, 3, 1, 1, 0, 4]))
    data = Digits(resolution=8, splits=(0.33, 0.17, 0.5))
    options = {"epochs": 15, "batch": 32, "lr": 0.01, "augment": 0, "out": tmp_path / "out"}
    done = hwnas.train(free, tmp_path / "cell.json", data=data, **options)
    assert done.test > 0.9


def test_defaults_of_the_recipe_are_those_that_help_names() -> None:
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch, recipe.optimizer, recipe.label_smoothing) == (30, 64, "adamw", 0.1)
    assert (recipe.warmup, recipe.clip, recipe.augment, recipe.distill) == (0.05, 5.0, 2, 1.0)
    assert (recipe.temperature, recipe.patience, recipe.stop_at, recipe.seed) == (2.0, None, None, 0)
