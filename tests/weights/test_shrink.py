"""A supernet's files: what is kept, what is taken again, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas import parts
from hwnas.errors import ConfigError, Interrupted, WeightsError
from hwnas.families.nasbench201 import NasBench201
from hwnas.progress import Progress
from hwnas.weights import _phases
from hwnas.weights._training import Training
from hwnas.weights.shrink import Shrink
from tiny import Corners, Tiny, same
from toys import Stop


def shrink(folder: Path, **options: Any) -> Shrink:
    given = {"family": Tiny(), "data": Corners(), "epochs": 4, "batch": 32, "reuse": False, **options}
    return Shrink(folder=folder, **given)


def cell(folder: Path, **options: Any) -> Shrink:
    """One that is kept for later runs: its family has a name by which it can be made again."""
    family = NasBench201(classes=4, resolution=8, channels=4, cells=1)
    given = {"family": family, "data": Corners(sizes=(32, 8, 8)), "epochs": 2, "batch": 32, **options}
    return Shrink(folder=folder, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Shrink:
    torch.set_num_threads(1)  # a fixture of a module runs before those of a test
    weights = shrink(tmp_path_factory.mktemp("trained"))
    weights.prepare()
    return weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def untrainable(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Training, watch: Any) -> Any:
        raise AssertionError("nothing was to be trained")

    monkeypatch.setattr(Training, "run", run)


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_a_finished_supernet_is_one_file_that_others_read(trained: Shrink, untrainable: None) -> None:
    assert files(trained.folder) == ["weights/supernet.pt"]
    other = replace(trained)
    assert same(dict(other.tensors()), dict(trained.tensors()))
    assert set(other.tensors()) == set(trained.family.supernet().state_dict())
    assert not any(tensor.requires_grad for tensor in other.tensors().values())
    other.prepare()
    assert other.estimate() == 0.0 and other.log() == trained.log() and len(other.log()) == 4
    assert files(trained.folder) == ["weights/supernet.pt"]


def test_before_training_there_are_no_weights(tmp_path: Path) -> None:
    weights = shrink(tmp_path)
    with pytest.raises(WeightsError, match=r"there is no trained supernet in .*weights yet"):
        weights.tensors()
    assert weights.log() == [] and files(tmp_path) == []


def test_a_stopped_training_leaves_a_checkpoint_and_nothing_half_written(tmp_path: Path) -> None:
    weights = shrink(tmp_path)
    with pytest.raises(Interrupted):
        weights.prepare(Stop(4))
    assert files(tmp_path) == ["weights/checkpoint.pt"]
    with pytest.raises(WeightsError, match="no trained supernet"):
        weights.tensors()
    weights.prepare()
    assert files(tmp_path) == ["weights/supernet.pt"]


def test_a_disk_that_runs_full_spoils_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = shrink(tmp_path)
    with pytest.raises(Interrupted):
        weights.prepare(Stop(4))
    before = (tmp_path / "weights" / "checkpoint.pt").read_bytes()

    def fails(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(WeightsError, match=r"cannot write .*pt: .*No space left.*\n.* kept"),
    ):
        patch.setattr(torch, "save", fails)
        weights.prepare()
    assert files(tmp_path) == ["weights/checkpoint.pt"]
    assert (tmp_path / "weights" / "checkpoint.pt").read_bytes() == before
    weights.prepare()


def test_time_is_estimated_from_a_step_of_the_first_and_of_the_last_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shrink(tmp_path, epochs=8)
    full = weights.plan[0].epochs
    assert weights.estimate() > 0 and files(tmp_path) == []
    monkeypatch.setattr(Training, "time_step", lambda self, phase: 100.0 if phase.teaches else 1.0)
    assert weights.estimate() == 2 * (full + 100 * (8 - full))
    for done in (1, full + 1):
        with pytest.raises(Interrupted):
            weights.prepare(Stop(2 * (done - int((weights.load_checkpoint() or {"epoch": 0})["epoch"])) + 1))
        assert weights.estimate() == 2 * (max(0, full - done) + 100 * (8 - max(full, done)))


def test_supernets_of_before_there_was_a_choice_of_optimizers_are_found(tmp_path: Path) -> None:
    """Their fingerprint is written down here, for the defaults and for a rate that was named."""
    made = Shrink(Tiny(), Corners(), tmp_path)
    assert made.fingerprint == replace(made, lr=0.1).fingerprint == "cb2e94910840ba1b"
    assert replace(made, lr=0.05).fingerprint == "c95e4fef91d48494"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"family": Tiny(widths=(4, 8, 12))},
        {"family": Tiny(kernels=(1, 3, 5))},
        {"family": NasBench201(classes=4, resolution=8, channels=4, cells=1)},
        {"data": Corners(seed=1)},
        {"lr": 0.05},
        {"optimizer": "adamw"},
        {"epochs": 5},
        {"seed": 1},
        {"distill": 0.5},
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_files_of_another_supernet_are_refused(tmp_path: Path, other: dict[str, Any], finished: bool) -> None:
    first = shrink(tmp_path, batch=64)
    if finished:
        first.prepare()
    else:
        with pytest.raises(Interrupted):
            first.prepare(Stop(2))
    name = "supernet.pt" if finished else "checkpoint.pt"
    second = replace(first, **other)
    assert second.fingerprint != first.fingerprint
    with pytest.raises(
        WeightsError, match=rf"{name} belongs to another family, other data or other options.*\ndelete .*{name}"
    ):
        second.prepare()
    with pytest.raises(WeightsError, match=r"belongs to another|no trained supernet"):
        second.tensors()
    first.prepare()


@dataclass
class Trap:
    """Writes a file when it is unpickled."""

    place: str

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.place),))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(os.urandom(1000)),
    "text": lambda path: path.write_text("not a checkpoint"),
    "a flipped middle": lambda path: path.write_bytes(path.read_bytes()[:300] + b"\0" * 900 + path.read_bytes()[1200:]),
    "a list": lambda path: torch.save([1, 2], path),
    "no format": lambda path: torch.save({"tensors": {}}, path),
    "a newer format": lambda path: torch.save({**torch.load(path, weights_only=True), "format": 99}, path),
    "no fingerprint": lambda path: torch.save({"format": 1, "tensors": {}}, path),
    "code": lambda path: torch.save({"format": 1, "tensors": Trap(str(path.parent / "sprung"))}, path),
    "pickled code": lambda path: path.write_bytes(pickle.dumps(Trap(str(path.parent / "sprung")))),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("finished", [True, False])
def test_damaged_files_are_refused_and_never_run(tmp_path: Path, damage: str, finished: bool) -> None:
    weights = shrink(tmp_path, batch=64)
    with pytest.raises(Interrupted):
        weights.prepare(Stop(3))
    path = tmp_path / "weights" / ("supernet.pt" if finished else "checkpoint.pt")
    if finished:
        weights.prepare()
    DAMAGES[damage](path)
    with pytest.raises(WeightsError, match=rf"{path.name} .*\ndelete .*{path.name} to train anew"):
        replace(weights).prepare()
    if finished:
        with pytest.raises(WeightsError, match=path.name):
            replace(weights).tensors()
    assert not (path.parent / "sprung").exists()
    path.unlink()
    replace(weights).prepare()


def test_an_optimizer_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="optimizer must be sgd or adamw, not 'adam'"):
        shrink(tmp_path, optimizer="adam")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch": 1}, "batch must be at least 2, not 1"),
        ({"nets": 0}, "nets must be at least 1, not 0"),
        ({"augment": -1}, "augment must be at least 0, not -1"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": 3}, "over kernel, depth, width needs at least 4 epochs, got 3"),
        ({"lr": 0.0}, "lr must be a positive number, not 0.0"),
        ({"lr": float("nan")}, "lr must be a positive number, not nan"),
        ({"distill": -1.0}, "distill must be a positive number, not -1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be below 1, not 1.0"),
        ({"weight_decay": float("inf")}, "weight_decay must be a positive number, not inf"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        shrink(tmp_path, **options)
    given = {"family": Tiny(), "data": Corners(), "folder": tmp_path, "seed": 0, "torch_device": "cpu"}
    with pytest.raises(ConfigError, match=rf"weights\.shrink: .*{told}"):
        parts.make("weights", {"shrink": options}, given, "weights")


# --- what is taken again --------------------------------------------------------------------------------------------


def test_an_equal_supernet_is_reused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cell(tmp_path / "first")
    first.prepare()
    assert files(cache) == [f"supernets/{first.fingerprint}.pt"]
    heard: list[Progress] = []
    second = cell(tmp_path / "second")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", None)
        assert second.estimate() == 0.0
        second.prepare(heard.append)
    (message,) = [progress.message for progress in heard]
    assert message == f"reused the supernet that was trained in {(tmp_path / 'first').resolve()}"
    assert same(dict(second.tensors()), dict(first.tensors())) and second.log() == first.log()
    third = cell(tmp_path / "third")
    heard.clear()
    third.prepare(heard.append)
    assert heard[0].message == message, "the origin is kept, not the last one to reuse it"


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"lr": 0.05},
        {"epochs": 3},
        {"augment": 1},
        {"data": Corners(sizes=(32, 8, 8), seed=1)},
        {"family": NasBench201(classes=4, resolution=8, channels=8, cells=1)},
        {"reuse": False},
    ],
)
def test_what_differs_is_trained_anew(tmp_path: Path, cache: Path, other: dict[str, Any]) -> None:
    cell(tmp_path / "first").prepare()
    heard: list[Progress] = []
    second = cell(tmp_path / "second", **other)
    assert second.estimate() > 0
    second.prepare(heard.append)
    assert heard[-1].done == heard[-1].total > 0 and not any(progress.message for progress in heard)
    assert len(files(cache)) == (1 if other == {"reuse": False} else 2)


def test_a_checkpoint_of_ones_own_comes_before_the_cache(tmp_path: Path, cache: Path) -> None:
    weights = cell(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        weights.prepare(Stop(2))
    cell(tmp_path / "other").prepare()
    heard: list[Progress] = []
    weights.prepare(heard.append)
    assert [progress.done for progress in heard] == [2]


def test_a_family_whose_code_may_change_is_not_kept(tmp_path: Path, cache: Path) -> None:
    shrink(tmp_path / "first", reuse=True).prepare()
    assert files(cache) == []


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "file"))
    heard: list[Progress] = []
    weights = cell(tmp_path / "run")
    weights.prepare(heard.append)
    assert "is not kept for later runs" in heard[-1].message and weights.tensors()


def test_without_a_place_of_ones_own_the_cache_lies_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWNAS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    weights = cell(tmp_path / "run")
    assert weights._kept == tmp_path / ".cache" / "hwnas" / "supernets" / f"{weights.fingerprint}.pt"


# --- the fingerprint ------------------------------------------------------------------------------------------------


def test_the_fingerprint_stands_for_what_decides_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = cell(tmp_path)
    assert len(base.fingerprint) == 16 and int(base.fingerprint, 16) >= 0
    indifferent = {"folder": tmp_path / "elsewhere", "reuse": False, "torch_device": "meta"}
    for name, value in indifferent.items():
        assert replace(base, **{name: value}).fingerprint == base.fingerprint
    changed = {
        **{"seed": 1, "epochs": 3, "batch": 16, "lr": 0.2, "weight_decay": 0.0, "label_smoothing": 0.0, "nets": 1},
        **{"distill": 0.0, "augment": 0, "data": Corners(seed=2), "family": NasBench201(classes=5)},
    }
    prints = {replace(base, **{name: value}).fingerprint for name, value in changed.items()}
    assert len(prints | {base.fingerprint}) == len(changed) + 1
    monkeypatch.setitem(_phases.RATES, "last", 0.123)
    assert replace(base).fingerprint != base.fingerprint, "another schedule of phases gives other weights"
