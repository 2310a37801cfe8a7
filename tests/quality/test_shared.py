"""Accuracy with shared weights: counted right, on the right images, with statistics of the subnet's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.data import Part, Split
from hwnas.data._pixels import Pixels, normalise
from hwnas.errors import ConfigError, MetricError
from hwnas.progress import Watch, silent
from hwnas.quality import shared
from hwnas.quality.shared import Shared, wilson
from hwnas.seeds import seeded
from hwnas.space import Arch, Choice, Space
from hwnas.weights import Weights
from hwnas.weights.share import borrow, calibrate, tensors_of
from tiny import Corners, Tiny, same, state

# --- doubles --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed(Weights):
    """The tensors of an untrained supernet."""

    family: Family
    seed: int = 0

    def prepare(self, watch: Watch = silent, /) -> None:
        """They are there."""

    def tensors(self) -> Mapping[str, Tensor]:
        with seeded(self.seed):
            return state(tensors_of(self.family.supernet()))

    def estimate(self) -> float:
        return 0.0

    @property
    def fingerprint(self) -> str:
        return "0" * 16


@dataclass(frozen=True)
class Levels(Pixels):
    """Grey images, ten levels apart by class, of which some bear the next label: a reader errs exactly there."""

    wrong: tuple[int, int] = (7, 12)
    sizes: tuple[int, int, int] = (30, 40, 50)
    forbidden: tuple[Part, ...] = ()
    asked: list[Part] = field(default_factory=list, compare=False)
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    classes = ("a", "b", "c", "d", "e")
    fingerprint = "0" * 16

    @property
    def name(self) -> str:
        return "levels"

    def _read(self, part: Part) -> Split:
        assert part not in self.forbidden, f"nobody may look at {part}"
        self.asked.append(part)
        count = dict(zip(("train", "val", "test"), self.sizes, strict=True))[part]
        labels = torch.arange(count) % 5
        images = (10 * labels).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
        wrong = dict(zip(("train", "val", "test"), (0, *self.wrong), strict=True))[part]
        labels[:wrong] = (labels[:wrong] + 1) % 5
        return Split(images, labels)


class Read(nn.Module):
    """Says which level an image has, from a table among its weights."""

    def __init__(self, outputs: int, spoilt: bool) -> None:
        super().__init__()
        self.levels = nn.Parameter(10 * torch.arange(float(outputs)) / 255)
        self.spoilt = spoilt

    def forward(self, x: Tensor) -> Tensor:
        logits = -((x.mean((1, 2, 3))[:, None] - self.levels) ** 2)
        return logits * float("nan") if self.spoilt else logits


@dataclass(frozen=True)
class Reader(Family):
    outputs: int = 5
    spoilt: bool = False
    name = "reader"
    space = Space("reader", (Choice("nothing", (0, 1)),))

    def build(self, arch: Arch, /) -> nn.Module:
        return Read(self.outputs, self.spoilt)

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.rand(batch, 3, 4, 4),)


def judge(family: Family, data: Any, **options: Any) -> Shared:
    return Shared(family, data, Fixed(family), **options)


def subnets(family: Family, count: int = 4) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [Candidate(family, family.space.sample(rng)) for _ in range(count)]


# --- counting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 7, 40, 500])
def test_accuracy_is_the_share_of_right_answers(batch: int) -> None:
    family, data = Reader(), Levels()
    metric = judge(family, data, batch=batch)
    val, test = (one(Candidate(family, (0,))) for one in (metric, metric.confirmed()))
    assert val.value == (40 - 7) / 40 and test.value == (50 - 12) / 50
    assert (val.details["low"], val.details["high"]) == wilson(33, 40)
    assert (val.details["examples"], val.details["split"]) == (40, "val")
    assert (test.details["examples"], test.details["split"]) == (50, "test")


def test_the_search_never_sees_the_test_images() -> None:
    family, data = Reader(), Levels(forbidden=("test",))
    metric = judge(family, data)
    assert metric(Candidate(family, (0,))).value == 33 / 40
    assert metric.estimate(Candidate(family, (0,))) > 0
    with pytest.raises(AssertionError, match="nobody may look at test"):
        metric.confirmed()(Candidate(family, (0,)))
    assert judge(family, Levels(forbidden=("val",))).confirmed()(Candidate(family, (0,))).value == 38 / 50


def test_wilson() -> None:
    assert wilson(95, 100) == pytest.approx((0.88825, 0.97846), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.27754), abs=1e-5)
    assert wilson(10, 10) == pytest.approx((0.72246, 1.0), abs=1e-5)
    for right, count in [(0, 1), (1, 1), (0, 3), (3, 3), (1, 7), (500, 1000), (0, 10_000), (9_999, 10_000)]:
        low, high = wilson(right, count)
        assert 0 <= low <= right / count <= high <= 1 and low < high
        for end in (low, high):  # both ends are as far from the share as 1.96 of their own deviations
            assert abs(right / count - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / count), abs=1e-9)
    assert wilson(5, 10, z=1.0)[0] > wilson(5, 10)[0]


@pytest.mark.parametrize("outputs", [4, 6])
def test_other_outputs_than_classes_are_refused(outputs: int) -> None:
    family = Reader(outputs=outputs)
    told = rf"must have 5 outputs, one per class of 'levels'; for 40 examples it gives \[40, {outputs}\]"
    with pytest.raises(MetricError, match=told):
        judge(family, Levels())(Candidate(family, (0,)))


def test_outputs_that_are_no_numbers_are_refused() -> None:
    family = Reader(spoilt=True)
    with pytest.raises(MetricError, match="not finite"):
        judge(family, Levels())(Candidate(family, (0,)))


# --- statistics -----------------------------------------------------------------------------------------------------


def test_accuracy_is_that_of_the_extracted_network_calibrated_by_hand() -> None:
    family, data = Tiny(), Corners()
    metric = judge(family, data, calibration=48, batch=16)
    for candidate in subnets(family):
        reading = metric(candidate)
        rows = metric._calibration
        chosen = [normalise(rows.inputs[start : start + 16], data) for start in (0, 16, 32)]
        borrowed = borrow(family, candidate.arch, candidate.skeleton, metric.weights.tensors())
        expected = calibrate(candidate.skeleton, borrowed, chosen)
        plain = metric.extract(candidate)
        assert same(state(tensors_of(plain)), state(expected))
        split = data.split("val")
        with torch.no_grad():
            right = (plain(normalise(split.inputs, data)).argmax(1) == split.labels).float().mean().item()
        assert reading.value == pytest.approx(right)
        assert type(plain) is type(candidate.skeleton) and not plain.training


@pytest.mark.parametrize(
    ("images", "calibration", "batch", "drawn"),
    [(64, 512, 16, 64), (64, 40, 16, 32), (64, 8, 16, 16), (10, 512, 16, 10), (70, 70, 16, 64), (64, 64, 64, 64)],
)
def test_calibration_images_are_drawn_in_whole_batches(images: int, calibration: int, batch: int, drawn: int) -> None:
    data = Corners(sizes=(images, 8, 8))
    chosen = judge(Tiny(), data, calibration=calibration, batch=batch)._calibration
    assert len(chosen) == len(chosen.inputs) == drawn
    known = {image.numpy().tobytes(): label for image, label in zip(*vars(data.split("train")).values(), strict=True)}
    keys = [image.numpy().tobytes() for image in chosen.inputs]
    assert len(set(keys)) == drawn
    assert [known[key] for key in keys] == chosen.labels.tolist()


def test_calibration_images_follow_from_the_seed() -> None:
    data = Corners()

    def drawn(seed: int, **options: Any) -> Tensor:
        return judge(Tiny(), data, seed=seed, calibration=32, batch=16, **options)._calibration.inputs

    assert torch.equal(drawn(0), drawn(0)) and torch.equal(drawn(0), drawn(0, split="test"))
    assert not torch.equal(drawn(0), drawn(1))


# --- nothing is left behind -----------------------------------------------------------------------------------------


def test_values_do_not_depend_on_what_was_judged_before() -> None:
    family, data = Tiny(resolution=(8, 12)), Corners()
    candidates = [*subnets(family, 5), Candidate(family, family.space.largest)]
    assert {candidate.arch["resolution"] for candidate in candidates} == {8, 12}
    alone = [judge(family, data)(candidate) for candidate in candidates]
    together = judge(family, data)
    for index in (3, 0, 5, 1, 3, 2, 4, 0, 5):
        assert together(candidates[index]) == alone[index]


def test_nothing_is_touched() -> None:
    family = Tiny()
    held = Fixed(family).tensors()

    @dataclass(frozen=True)
    class Held(Fixed):
        def tensors(self) -> Mapping[str, Tensor]:
            return held

    metric = Shared(family, Corners(), Held(family))
    before, random = state(dict(held)), torch.get_rng_state()
    candidate = subnets(family)[0]
    first = metric(candidate)
    metric.extract(candidate)
    metric.estimate(candidate)
    assert same(dict(held), before) and torch.equal(torch.get_rng_state(), random)
    assert all(tensor.is_meta for tensor in candidate.skeleton.state_dict().values())
    assert not any(module.training for module in candidate.skeleton.modules())
    assert metric(candidate) == first


def test_many_images_are_made_ready_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    family = Tiny(resolution=(8, 12))
    kept, anew = judge(family, Corners(), batch=16), judge(family, Corners(), batch=16)
    expected = [kept(candidate) for candidate in subnets(family)]
    assert kept._ready
    monkeypatch.setattr(shared, "KEPT", 100)
    assert [anew(candidate) for candidate in subnets(family)] == expected
    assert not anew._ready


def test_time_is_estimated_before_there_are_weights() -> None:
    class Nothing(Fixed):
        def tensors(self) -> Mapping[str, Tensor]:
            raise AssertionError("there are none yet")

    family = Tiny()
    metric = Shared(family, Corners(), Nothing(family))
    candidate = subnets(family)[0]
    before = state(tensors_of(candidate.model))
    assert 0 < metric.estimate(candidate) < 60
    assert same(state(tensors_of(candidate.model)), before)


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["calibration", "batch"])
def test_one_image_has_no_statistics(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be at least 2 examples, not 1"):
        judge(Tiny(), Corners(), **{option: 1})


def test_the_experiment_gives_it_family_data_and_weights() -> None:
    family = Tiny()
    given = {"family": family, "data": Corners(), "weights": Fixed(family), "seed": 3, "torch_device": "cpu"}
    metric = parts.make(("quality", "hardware"), {"quality.shared": {"batch": 16}}, given)
    assert metric == replace(judge(family, Corners(), batch=16), seed=3) and metric.unit == "%"
    with pytest.raises(ConfigError, match="'shared' needs 'weights', and the experiment names none"):
        parts.make("quality", "shared", {name: given[name] for name in ("family", "data")})
    with pytest.raises(ConfigError, match=r"'train' is not allowed.*'val' or 'test'"):
        parts.make("quality", {"shared": {"split": "train"}}, given)
