"""Training one network: the recipe, the loop against plain PyTorch, the teacher, and every way to be stopped."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tiny
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, Interrupted, WeightsError
from hwnas.progress import Progress, silent
from hwnas.seeds import derive, seeded
from hwnas.weights.train import (
    OPTIMIZERS,
    USUAL,
    Network,
    Recipe,
    Trained,
    Trainer,
    checkpoint,
    distance,
    judge,
    reject_misfit,
)
from tiny import Corners, Tiny, same
from toys import Stop

TINY = Tiny()
CODE = (1, 1, 1, 0, 1)


def network(family: Any = TINY, code: tuple[int, ...] = CODE, seed: int = 0) -> Network:
    candidate = Candidate(family, code, seed)
    return Network.of(family, candidate.arch, candidate.model)


def linear(classes: int = 4) -> Network:
    """Logistic regression on pixels."""
    with seeded(0):
        module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
    return Network(module, torch.empty(1, 3, 8, 8, device="meta"))


def trainer(folder: Path, own: Network | None = None, **options: Any) -> Trainer:
    data, teacher = options.pop("data", Corners()), options.pop("teacher", None)
    recipe = Recipe(**{"epochs": 3, "batch": 16, "augment": 1, **options})
    return Trainer(own or network(), data, recipe, folder, {"made": "here"}, teacher)


# --- the recipe -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
def test_the_rate_begins_low_rises_to_its_peak_and_falls(steps: int, warmup: float) -> None:
    recipe = Recipe(lr=0.4, warmup=warmup)
    rates = [recipe.rate(step, steps) for step in range(steps)]
    rise = max(1, math.ceil(warmup * steps))
    assert 0 < rates[0] <= 0.2, "the first update never uses the full rate"
    assert max(rates) <= 0.4 and min(rates) > 0
    assert rates[:rise] == sorted(rates[:rise]) and rates[rise:] == sorted(rates[rise:], reverse=True)
    if steps > rise:
        assert rates[rise] == 0.4
        middle = rise + (steps - rise) / 2
        if middle == int(middle):
            assert rates[int(middle)] == pytest.approx(0.2)


def test_a_recipe_takes_the_usual_values_of_its_optimizer() -> None:
    assert (Recipe().peak, Recipe().decay) == (0.001, 0.05)
    assert (Recipe(optimizer="sgd").peak, Recipe(optimizer="sgd").decay) == (0.1, 0.0005)
    assert (Recipe(lr=0.3, weight_decay=0.0).peak, Recipe(weight_decay=0.0).decay) == (0.3, 0.0)
    assert set(USUAL) == set(OPTIMIZERS)


def test_vectors_are_not_decayed() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    for name in ("sgd", "adamw"):
        matrices, vectors = Recipe(optimizer=name, weight_decay=0.3).optimizer_of(model).param_groups  # type: ignore[arg-type]
        assert [parameter.shape for parameter in matrices["params"]] == [(2, 3)] and matrices["weight_decay"] == 0.3
        assert len(vectors["params"]) == 3 and vectors["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "epochs: must be at least 1, not 0"),
        ({"batch": 1}, "batch: must be at least 2, not 1"),
        ({"patience": 0}, "patience: must be at least 1"),
        ({"augment": -1}, "augment: must be at least 0"),
        ({"lr": 0.0}, "lr: must be a number above 0"),
        ({"lr": math.nan}, "lr: must be a number above 0"),
        ({"temperature": math.inf}, "temperature: must be a number above 0"),
        ({"weight_decay": -0.1}, "weight_decay: must be 0 or a number above it"),
        ({"distill": -1.0}, "distill: must be 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: must be at least 0 and below 1"),
        ({"warmup": 1.5}, "warmup: must be at least 0 and below 1"),
        ({"optimizer": "adam"}, "optimizer: must be sgd or adamw, not 'adam'"),
        (
            {"stop_at": 94.0},
            r"stop_at: must be a share above 0 and up to 1, not 94.0\n94 % is 0.94; this would be 0.94",
        ),
    ],
)
def test_options_that_no_training_can_follow(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Recipe(**options)


# --- known answers --------------------------------------------------------------------------------------------------


def test_what_a_line_can_tell_apart_is_told_apart(tmp_path: Path) -> None:
    own = linear()
    came = trainer(tmp_path, own, epochs=20, lr=0.01, augment=0).run(silent)
    assert max(row["val"] for row in came.log) == 1.0
    own.module.load_state_dict(came.state)
    right, count, loss = judge(own, Corners(), "test")
    assert (right, count) == (48, 48) and 0 < loss < 1


def test_softened_answers_are_compared_as_the_formula_says() -> None:
    with seeded(3):
        output, answers = torch.randn(5, 3), torch.randn(5, 3)
    assert float(distance(answers, answers, 4.0)) == pytest.approx(0.0, abs=1e-6)
    q, p = (output / 4).softmax(1), (answers / 4).softmax(1)
    assert float(distance(output, answers, 4.0)) == pytest.approx(
        16 * float((p * (p / q).log()).sum(1).mean()), rel=1e-4
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_is_plain_pytorch(tmp_path: Path, optimizer: str) -> None:
    """The loop written out again: order, variation, smoothing, distillation, clipping, rate, decay."""
    data, teacher = Corners(), network(code=(1, 1, 0, 1, 1), seed=5)
    options = {"optimizer": optimizer, "epochs": 2, "clip": 0.1, "label_smoothing": 0.2, "distill": 0.7}
    made = trainer(tmp_path, teacher=teacher, temperature=3.0, **options)
    model, like = network().module, network().like
    came = made.run(silent)
    recipe, split = made.r, data.split("train")
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
    kind: Any = torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD
    steps = kind(groups, lr=1.0, **({} if optimizer == "adamw" else {"momentum": 0.9, "nesterov": True}))
    losses = []
    for epoch in (1, 2):
        rng = np.random.default_rng(derive(0, "batches", epoch))
        order = torch.from_numpy(rng.permutation(64))
        for i in range(4):
            rows = order[16 * i : 16 * i + 16]
            x = data.ready(data.varied(split.inputs[rows], rng, 1), like)
            output = model.train()(x)
            q = (output / 3).log_softmax(1)
            p = (teacher.module(x) / 3).softmax(1).detach()
            loss = F.cross_entropy(output, split.labels[rows], label_smoothing=0.2)
            loss = loss + 0.7 * 9 * (p * (p.log() - q)).sum(1).mean()
            for group in steps.param_groups:
                group["lr"] = recipe.rate(4 * (epoch - 1) + i, 8)
            steps.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            steps.step()
            losses.append(loss.item())
    for row in came.log:
        own = losses[4 * row["epoch"] - 4 : 4 * row["epoch"]]
        assert row["loss"] == pytest.approx(sum(own) / 4, rel=1e-4)
    for name, tensor in made.model.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_the_best_epoch_is_kept_and_of_equals_the_surer(tmp_path: Path) -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}
    made = trainer(tmp_path, epochs=6, lr=0.03, optimizer="sgd")
    save = made._save

    def keep() -> None:
        states[len(made.log)] = tiny.state(made.model.state_dict())
        save()

    made._save = keep  # type: ignore[method-assign]
    came = made.run(silent)
    best = max(came.log, key=lambda row: (row["val"], -row["val_loss"]))
    assert came.epoch == best["epoch"] and same(came.state, states[best["epoch"]])
    own = network()
    own.module.load_state_dict(came.state)
    right, count, loss = judge(own, Corners(), "val")
    assert right / count == best["val"] and loss == pytest.approx(best["val_loss"], rel=1e-4)


def test_judging_counts_right_answers_in_evaluation_mode() -> None:
    data, own = Corners(), network(Tiny(dropout=0.9))
    own.module.train()
    right, count, loss = judge(own, data, "val")
    split = data.split("val")
    with torch.no_grad():
        output = own.module.eval()(data.ready(split.inputs, own.like))
    assert (right, count) == (int((output.argmax(1) == split.labels).sum()), 40)
    assert loss == pytest.approx(float(F.cross_entropy(output, split.labels)), rel=1e-5)


# --- the teacher ----------------------------------------------------------------------------------------------------


def test_a_teacher_changes_what_is_learnt_and_stays_as_it_is(tmp_path: Path) -> None:
    teacher = network(code=(1, 1, 1, 1, 1), seed=7)
    before = tiny.state(teacher.module.state_dict())
    alone = trainer(tmp_path / "alone").run(silent)
    taught = trainer(tmp_path / "taught", teacher=teacher).run(silent)
    unheard = trainer(tmp_path / "unheard", teacher=teacher, distill=0.0).run(silent)
    assert not same(taught.state, alone.state) and same(unheard.state, alone.state)
    assert same(dict(teacher.module.state_dict()), before)


def test_a_strong_teacher_is_imitated_even_where_it_is_wrong(tmp_path: Path) -> None:
    """A teacher that takes every class for the next one, whose answers weigh a hundred times as much as the labels."""
    teacher, own, data = linear(), linear(), Corners()
    options = {"epochs": 20, "lr": 0.01, "augment": 0}
    teacher.module.load_state_dict(trainer(tmp_path / "teacher", teacher, **options).run(silent).state)
    with torch.no_grad():
        for parameter in teacher.module.parameters():
            parameter.copy_(parameter.roll(1, 0))
    trainer(tmp_path / "own", own, teacher=teacher, distill=100.0, **options).run(silent)
    split = data.split("test")
    with torch.no_grad():
        answers = own.module(data.ready(split.inputs, own.like)).argmax(1)
    assert (answers == (split.labels + 1) % 4).all()


# --- the same seed, the same weights --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.set_num_threads(1)
    return dropped(tmp_path_factory.mktemp("whole")).run(silent)


def dropped(folder: Path, **options: Any) -> Trainer:
    """A training with everything random in it."""
    own = network(Tiny(dropout=0.3))
    return trainer(folder, own, **{"teacher": network(code=(1, 1, 1, 1, 1), seed=7), "epochs": 4, **options})


def alike(one: Trained, other: Trained) -> bool:
    return same(one.state, other.state) and one.log == other.log and one.epoch == other.epoch


def test_weights_follow_from_the_seed(whole: Trained, tmp_path: Path) -> None:
    assert alike(dropped(tmp_path / "again").run(silent), whole)
    assert not same(dropped(tmp_path / "other", seed=1).run(silent).state, whole.state)


@pytest.mark.parametrize("after", [1, 4, 5, 8, 11, 16])
def test_a_stopped_training_ends_like_an_uninterrupted_one(whole: Trained, tmp_path: Path, after: int) -> None:
    with pytest.raises(Interrupted):
        dropped(tmp_path).run(Stop(after))
    steps: list[int] = []
    assert alike(dropped(tmp_path).run(lambda progress: steps.append(progress.done)), whole)
    assert steps == list(range(4 * ((after - 1) // 4) + 1, 17)), "whole epochs are not done again"
    assert json.loads((tmp_path / "log.json").read_text()) == whole.log


def test_a_training_stopped_in_every_epoch(whole: Trained, tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(Interrupted):
            dropped(tmp_path).run(Stop(6))
    assert alike(dropped(tmp_path).run(silent), whole)


def test_a_finished_training_is_only_read(whole: Trained, tmp_path: Path) -> None:
    dropped(tmp_path).run(silent)
    steps: list[Progress] = []
    assert alike(dropped(tmp_path).run(steps.append), whole) and steps == []


@pytest.mark.slow
def test_a_killed_process_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_train import trainer\n"
        "trainer(Path(sys.argv[2]), epochs=6).run(lambda progress: print(progress.done, flush=True))\n"
    )
    path = os.pathsep.join([str(Path(tiny.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "killed")]
    for steps in (6, 3, 7):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(steps)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert all(lines)
    assert checkpoint(tmp_path / "killed") is not None
    assert alike(trainer(tmp_path / "killed", epochs=6).run(silent), trainer(tmp_path / "whole", epochs=6).run(silent))


def test_nobody_elses_randomness_is_touched(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    dropped(tmp_path).run(silent)
    assert torch.equal(torch.get_rng_state(), before)


# --- when to stop ---------------------------------------------------------------------------------------------------


def test_a_training_ends_when_it_is_good_enough(tmp_path: Path) -> None:
    options = {"epochs": 30, "lr": 0.01, "augment": 0}
    came = trainer(tmp_path, linear(), stop_at=0.9, **options).run(silent)
    seen = [row["val"] for row in came.log]
    assert len(seen) < 30 and seen[-1] >= 0.9 and max(seen[:-1], default=0.0) < 0.9
    steps: list[Progress] = []
    assert alike(trainer(tmp_path, linear(), stop_at=0.9, **options).run(steps.append), came) and not steps


def test_a_training_ends_when_nothing_gets_better(tmp_path: Path) -> None:
    options = {"epochs": 60, "lr": 0.01, "augment": 0}
    came = trainer(tmp_path, linear(), patience=3, **options).run(silent)
    seen = [row["val"] for row in came.log]
    assert len(seen) == seen.index(max(seen)) + 1 + 3 < 60


# --- what is told, and what goes wrong ------------------------------------------------------------------------------


def test_progress_counts_steps_and_the_log_epochs(tmp_path: Path) -> None:
    heard: list[Progress] = []
    came = trainer(tmp_path).run(heard.append)
    assert [(progress.phase, progress.done, progress.total) for progress in heard] == [
        ("train", done, 12) for done in range(1, 13)
    ]
    assert "best val" not in heard[3].facts and heard[4].facts["best val"] == f"{100 * came.log[0]['val']:.1f} %"
    assert [row["epoch"] for row in came.log] == [1, 2, 3]
    for i, row in enumerate(came.log):
        losses = [progress.facts["loss"] for progress in heard[4 * i : 4 * i + 4]]
        assert row["loss"] == pytest.approx(np.mean(losses))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pt", "log.json"]


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the loss became (nan|inf) in epoch \d, step \d") as caught:
        trainer(tmp_path, lr=1e30, optimizer="sgd", clip=0.0, epochs=5).run(silent)
    assert "smaller `lr`" in caught.value.hint
    state = checkpoint(tmp_path)
    assert state is None or all(math.isfinite(row["loss"]) for row in state["log"])


def test_a_disk_that_runs_full_spoils_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        trainer(tmp_path).run(Stop(5))
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def fails(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(WeightsError, match=r"cannot write .*: .*No space left.*\n.*kept"),
    ):
        patch.setattr(torch, "save", fails)
        trainer(tmp_path).run(silent)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pt", "log.json"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 half"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint.pt cannot be read: .*\ndelete .* to train anew"):
        trainer(tmp_path).run(silent)


def test_a_checkpoint_of_something_else_is_named(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsError, match="was not written by this version of hwnas"):
        trainer(tmp_path).run(silent)


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "done",))

    torch.save(Evil(), tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint(tmp_path)
    assert not (tmp_path / "done").exists()


def test_what_does_not_fit_is_found_before_the_first_step() -> None:
    data, recipe = Corners(), Recipe(batch=16)
    own = network()
    before = tiny.state(own.module.state_dict())
    reject_misfit(own, data, recipe)
    assert same(dict(own.module.state_dict()), before)
    with pytest.raises(ConfigError, match=r"batch: 'corners' has 64 training examples, fewer than one batch of 65"):
        reject_misfit(own, data, replace(recipe, batch=65))
    with pytest.raises(ConfigError, match=r"data: the network must have 4 outputs.*16 examples it gives \[16, 3\]"):
        reject_misfit(linear(3), data, recipe)
    wider = Network(linear().module, torch.empty(1, 3, 9, 9, device="meta"))
    with pytest.raises(ConfigError, match=r"data: the network cannot take the examples of 'corners': RuntimeError"):
        reject_misfit(wider, data, recipe)
    with pytest.raises(ConfigError, match=r"torch_device: 'toaster' cannot be used"):
        reject_misfit(own, data, replace(recipe, torch_device="toaster"))


def test_a_network_of_two_inputs_is_no_classifier() -> None:
    class Two(Tiny):
        def inputs(self, arch: Any, batch: int, /) -> tuple[torch.Tensor, ...]:
            return super().inputs(arch, batch) * 2

    with pytest.raises(ConfigError, match="the networks of 'tiny' take 2 inputs, and labelled data has one"):
        network(Two())
