"""Training a supernet: what a step does, that a killed training ends as an uninterrupted one, and what goes wrong."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import tiny
from hwnas.data._pixels import normalise
from hwnas.data.digits import Digits
from hwnas.errors import ConfigError, Interrupted, WeightsError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.progress import Progress
from hwnas.seeds import derive, seeded
from hwnas.weights._phases import draw
from hwnas.weights._training import PHASE, Training, _set_rate
from hwnas.weights.share import borrow, calibrate, crop, extract, skeleton, tensors_of
from hwnas.weights.shrink import Shrink
from tiny import Corners, Tiny, same, state
from toys import Stop


def shrink(folder: Path, **options: Any) -> Shrink:
    """Four phases of one epoch each, four steps an epoch."""
    given = {"family": Tiny(), "data": Corners(), "epochs": 4, "batch": 16, "reuse": False, **options}
    return Shrink(folder=folder, **given)


def finish(weights: Shrink, watch: Any = None) -> dict[str, Tensor]:
    """Trains to the end, each time with a fresh object, as another process would."""
    weights = replace(weights)
    weights.prepare(*([watch] if watch else []))
    return dict(weights.tensors())


def kept(weights: Shrink) -> list[dict[str, Any]]:
    """All checkpoints of a training, in order."""
    states: list[dict[str, Any]] = []
    keep = Shrink.save_checkpoint

    def save(self: Shrink, state: Any) -> None:
        keep(self, state)
        states.append(self.load_checkpoint() or {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shrink, "save_checkpoint", save)
        finish(weights)
    return states


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Shrink:
    """A training that nobody disturbed."""
    torch.set_num_threads(1)  # a fixture of a module runs before those of a test
    weights = shrink(tmp_path_factory.mktemp("whole"))
    weights.prepare()
    return weights


# --- one step -------------------------------------------------------------------------------------------------------


def test_the_full_network_learns_as_a_plain_one_would(tmp_path: Path) -> None:
    """The first phase is ordinary training: SGD on the big module itself gives the same weights."""
    weights = shrink(tmp_path, weight_decay=0.01)
    first = kept(weights)[0]["model"]
    training = Training(weights)
    with seeded(derive(0, "supernet")):
        plain = weights.family.supernet().train()
    groups = [
        {"params": [p for p in plain.parameters() if p.dim() > 1], "weight_decay": 0.01},
        {"params": [p for p in plain.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
    for step, (images, labels) in enumerate(training._batches(1)):
        warm = min(1.0, (step / 4 + 0.01) / 0.05)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * warm * 0.5 * (1 + math.cos(math.pi * step / 4))
        optimizer.zero_grad()
        F.cross_entropy(plain(normalise(images, weights.data)), labels, label_smoothing=0.1).backward()
        optimizer.step()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(first[name], parameter, rtol=1e-3, atol=1e-5)


def test_subnets_learn_from_labels_and_from_the_teacher(tmp_path: Path) -> None:
    weights = shrink(tmp_path, nets=3, distill=0.7, label_smoothing=0.2)
    training = Training(weights)
    phase = weights.plan[-1]
    training.teacher = training._freeze()
    teacher = extract(training.family, training.largest, training.teacher)
    images, labels = next(training._batches(1))
    x = normalise(images, weights.data)
    rng = np.random.default_rng(derive(weights.seed, "subnets", 7, 2))
    losses = []
    gradients = {name: torch.zeros_like(parameter) for name, parameter in training.model.named_parameters()}
    for _ in range(3):
        arch = training.family.space.decode(draw(training.family.space, phase.allowed, rng))
        small = skeleton(training.family, arch)
        plain = extract(training.family, arch, borrow(training.family, arch, small, training.big))
        output = plain.train()(x)
        soft = teacher(x).softmax(1).detach()
        loss = F.cross_entropy(output, labels, label_smoothing=0.2) - 0.7 * (soft * output.log_softmax(1)).sum(1).mean()
        loss.backward()
        losses.append(loss.item())
        for name, parameter in plain.named_parameters():
            crop(parameter, gradients[name]).add_(parameter.grad / 3)
    got = training._step(phase, training._optimizer(phase), images, labels, 7, 2)
    assert got == pytest.approx(sum(losses) / 3, rel=1e-5)
    for name, parameter in training.model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, gradients[name], rtol=1e-3, atol=1e-5)


def test_the_teacher_is_the_full_network_at_the_end_of_its_phase(tmp_path: Path) -> None:
    weights = shrink(tmp_path, epochs=8)
    alone = weights.plan[0].epochs
    states = kept(weights)
    assert len(states) == 8 and alone >= 2
    assert all(state["teacher"] is None for state in states[:alone])
    grown, teacher = states[alone - 1]["model"], states[alone]["teacher"]
    for name in dict(weights.family.supernet().named_parameters()):
        assert torch.equal(teacher[name], grown[name])
    assert all(same(state["teacher"], teacher) for state in states[alone:])
    assert not torch.equal(states[-1]["model"]["head.weight"], teacher["head.weight"])
    training = Training(weights)
    calibrated = calibrate(training.whole, grown, training._calibration(training.largest))
    assert same(teacher, {name: tensor.detach() for name, tensor in calibrated.items()})


def test_unused_parameters_are_left_alone(tmp_path: Path) -> None:
    """Decay and momentum do not move what no subnet of a step has used."""
    weights = shrink(tmp_path, weight_decay=0.5, nets=1, distill=0.0)
    training, phase = Training(weights), weights.plan[-1]
    optimizer = training._optimizer(phase)
    images, labels = next(training._batches(1))
    seen = set()
    for index in range(30):
        before = state(training.big)
        training._step(phase, optimizer, images, labels, 1, index)
        deep = training.big["block2.expand.weight"].grad is not None
        assert deep != torch.equal(training.big["block2.expand.weight"], before["block2.expand.weight"])
        assert not torch.equal(training.big["stem.weight"], before["stem.weight"])
        seen.add(deep)
    assert seen == {True, False}


def test_statistics_of_the_big_network_are_never_written(whole: Shrink) -> None:
    tensors = whole.tensors()
    for name, buffer in whole.family.supernet().named_buffers():
        assert torch.equal(tensors[name], buffer)


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    rates = []
    for step in range(1000):
        _set_rate(optimizer, 0.4, step / 1000)
        rates.append(optimizer.param_groups[0]["lr"])
    assert 0 < rates[0] < 0.1 and max(rates) == pytest.approx(0.4, rel=0.02) and 30 <= rates.index(max(rates)) <= 50
    assert rates[500] == pytest.approx(0.2) and rates[-1] < 1e-5
    assert rates[50:] == sorted(rates[50:], reverse=True)


def test_every_epoch_shows_every_image_once_in_a_new_order(tmp_path: Path) -> None:
    weights = shrink(tmp_path, augment=0, data=Corners(sizes=(70, 8, 8)))
    training = Training(weights)

    def rows(epoch: int) -> list[int]:
        keys = {image.numpy().tobytes(): i for i, image in enumerate(training.inputs)}
        return [keys[image.numpy().tobytes()] for images, _ in training._batches(epoch) for image in images]

    assert len(rows(1)) == len(set(rows(1))) == 64
    assert rows(1) == rows(1) != rows(2)


# --- the same seed, the same weights --------------------------------------------------------------------------------


def test_weights_follow_from_the_seed(whole: Shrink, tmp_path: Path) -> None:
    expected = dict(whole.tensors())
    assert same(finish(shrink(tmp_path / "again")), expected)
    assert not same(finish(shrink(tmp_path / "other", seed=1)), expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_stopped_training_ends_like_an_uninterrupted_one(whole: Shrink, tmp_path: Path, seed: int) -> None:
    weights = shrink(tmp_path)
    for after in np.random.default_rng(seed).integers(1, 17, size=3).tolist():
        try:
            finish(weights, Stop(after))
        except Interrupted:
            assert not (tmp_path / "weights" / "supernet.pt").exists()
    assert same(finish(weights), dict(whole.tensors()))
    assert weights.log() == whole.log()


def test_a_training_stopped_in_every_epoch_and_at_every_boundary(tmp_path: Path) -> None:
    """More epochs than phases, several sizes of images and dropout: all that a later step depends on is kept."""
    options = {"family": Tiny(resolution=(8, 12), dropout=0.3), "epochs": 7, "nets": 1}
    expected = finish(shrink(tmp_path / "whole", **options))
    weights = shrink(tmp_path / "parts", **options)
    for _ in range(6):
        with pytest.raises(Interrupted):
            finish(weights, Stop(5))
    assert same(finish(weights), expected)


def test_a_training_killed_when_all_was_done_but_the_last_file(
    whole: Shrink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shrink(tmp_path)
    write = Shrink._write

    def fails(self: Shrink, path: Path, state: Any) -> None:
        if path.name == "supernet.pt":
            raise KeyboardInterrupt
        write(self, path, state)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Shrink, "_write", fails)
        finish(weights)
    steps: list[Progress] = []
    assert same(finish(weights, steps.append), dict(whole.tensors()))
    assert steps == [] and weights.log() == whole.log()


@pytest.mark.slow
def test_a_killed_process_ends_like_an_uninterrupted_one(whole: Shrink, tmp_path: Path) -> None:
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from hwnas.weights.shrink import Shrink\n"
        "from tiny import Corners, Tiny\n"
        f"weights = Shrink(Tiny(), Corners(), Path({str(tmp_path)!r}), epochs=4, batch=16, reuse=False)\n"
        "weights.prepare(lambda progress: print(progress.done, flush=True))\n"
    )
    path = os.pathsep.join([str(Path(tiny.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script]
    last = 0
    for steps in (6, 3, 5):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        assert process.stdout is not None
        lines = [int(process.stdout.readline()) for _ in range(steps)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert lines[0] <= last + 1
        last = lines[-1]
    assert (tmp_path / "weights" / "checkpoint.pt").exists()
    assert same(finish(shrink(tmp_path)), dict(whole.tensors()))
    assert [file.name for file in (tmp_path / "weights").iterdir() if file.suffix == ".pt"] == ["supernet.pt"]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_nobody_elses_randomness_is_touched(tmp_path: Path, dropout: float) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    weights = shrink(tmp_path, family=Tiny(dropout=dropout))
    weights.estimate()
    finish(weights)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    torch.rand(3)
    assert same(finish(shrink(tmp_path / "again", family=Tiny(dropout=dropout))), dict(weights.tensors()))


# --- what is told ---------------------------------------------------------------------------------------------------


def test_progress_counts_steps_and_the_log_epochs(tmp_path: Path) -> None:
    heard: list[Progress] = []
    weights = shrink(tmp_path, epochs=7)
    finish(weights, heard.append)
    assert [progress.done for progress in heard] == list(range(1, 29))
    assert {(progress.phase, progress.total) for progress in heard} == {(PHASE, 28)}
    log = weights.log()
    names = [phase.name for phase in weights.plan for _ in range(phase.epochs)]
    assert [row["epoch"] for row in log] == list(range(1, 8)) and [row["phase"] for row in log] == names
    assert [progress.facts["now"] for progress in heard] == [name for name in names for _ in range(4)]
    ends = {sum(phase.epochs for phase in weights.plan[: i + 1]) for i in range(len(weights.plan))}
    for row in log:
        assert math.isfinite(row["loss"])
        assert ("largest" in row) == ("smallest" in row) == (row["epoch"] in ends)
    for i, row in enumerate(log):
        assert row["loss"] == pytest.approx(np.mean([progress.facts["loss"] for progress in heard[4 * i : 4 * i + 4]]))


def test_a_supernet_learns(tmp_path: Path) -> None:
    weights = shrink(tmp_path, epochs=10, data=Corners(sizes=(128, 80, 8)))
    finish(weights)
    end = weights.log()[-1]
    assert end["largest"] > 0.9 and end["smallest"] > 0.7  # by chance 0.25


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    weights = shrink(tmp_path, lr=1e9, batch=64)
    with pytest.raises(
        WeightsError, match=r"the loss became (nan|inf) in epoch [2-4], step 1, for the subnet"
    ) as caught:
        finish(weights)
    assert "'depth': 2" in str(caught.value) and "smaller `lr`" in str(caught.value)
    state = weights.load_checkpoint()
    told = re.search(r"epoch (\d)", str(caught.value))
    assert state is not None and told is not None and state["epoch"] == int(told[1]) - 1
    with pytest.raises(WeightsError, match=rf"in epoch {told[1]}, step 1"):
        finish(weights)


def test_too_few_images_for_a_batch(tmp_path: Path) -> None:
    few = shrink(tmp_path, data=Corners(sizes=(15, 8, 8)))
    for work in (few.prepare, few.estimate):
        with pytest.raises(
            ConfigError, match=r"weights.shrink.batch: 'corners' has 15 training examples, fewer than one batch of 16"
        ):
            work()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [3, 5])
def test_other_outputs_than_classes(tmp_path: Path, classes: int) -> None:
    told = rf"'tiny' must have 4 outputs, one per class of 'corners'; for 16 examples they give \[16, {classes}\]"
    with pytest.raises(WeightsError, match=told):
        finish(shrink(tmp_path, family=Tiny(classes=classes)))


# --- real data ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_digits_are_learnt_by_the_large_and_the_small(tmp_path: Path) -> None:
    family = MobileNetV3(classes=10, resolution=16, width=0.25, depths=(1, 2), kernels=(3, 5), expands=(3, 4))
    weights = Shrink(family, Digits(resolution=16), tmp_path, epochs=12, augment=1, reuse=False)
    weights.prepare()
    end = weights.log()[-1]
    assert end["largest"] > 0.9 and end["smallest"] > 0.8
    assert set(weights.tensors()) == set(tensors_of(family.supernet()))
