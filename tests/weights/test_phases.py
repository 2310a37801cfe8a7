"""The phases of progressive shrinking: which axis opens when, for how long, and what may be drawn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest

from hwnas.candidate import Family
from hwnas.errors import ConfigError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.families.nasbench201 import NasBench201
from hwnas.space import Choice, Space
from hwnas.weights._phases import Phase, draw, phases, smallest
from tiny import Tiny

OFA = MobileNetV3(resolution=(128, 160, 192, 224))


def lengths(plan: Sequence[Phase]) -> list[int]:
    return [phase.epochs for phase in plan]


def test_a_long_schedule_is_that_of_once_for_all() -> None:
    plan = phases(OFA.space, 605)
    assert lengths(plan) == [180, 125, 25, 125, 25, 125]
    assert [phase.name for phase in plan] == [
        *("full network", "elastic kernel", "elastic depth, first step", "elastic depth"),
        *("elastic expand, first step", "elastic expand"),
    ]
    opened = [{key: count for key, count in phase.allowed.items() if key != "resolution"} for phase in plan]
    assert opened == [
        {},
        {"kernel": 3},
        {"kernel": 3, "depth": 2},
        {"kernel": 3, "depth": 3},
        {"kernel": 3, "depth": 3, "expand": 2},
        {"kernel": 3, "depth": 3, "expand": 3},
    ]
    assert [phase.teaches for phase in plan] == [False, True, True, True, True, True]
    assert plan[0].rate == 1.0 and all(0 < phase.rate < 1 for phase in plan[1:])
    assert plan[2].rate < plan[3].rate and plan[4].rate < plan[5].rate
    assert lengths(phases(OFA.space, 2 * 605)) == [360, 250, 50, 250, 50, 250]


@pytest.mark.parametrize("family", [OFA, MobileNetV3(), Tiny(), Tiny(depths=(1, 2, 3), kernels=(3,)), NasBench201()])
def test_epochs_add_up_and_allowed_values_only_grow(family: Family) -> None:
    fewest = 1 + len({choice.axis for choice in family.space.choices if len(choice.values) > 1} - {"resolution"})
    for epochs in (*range(fewest, 40), 100, 999):
        plan = phases(family.space, epochs)
        assert sum(lengths(plan)) == epochs and min(lengths(plan)) >= 1
        for before, after in itertools.pairwise(plan):
            assert all(after.allowed[axis] >= count for axis, count in before.allowed.items())
        last = plan[-1].allowed
        assert all(last.get(choice.axis, 1) >= len(choice.values) for choice in family.space.choices)
        assert plan[0].epochs == max(lengths(plan))
    with pytest.raises(ConfigError, match=rf"needs at least {fewest} epochs, got {fewest - 1}"):
        phases(family.space, fewest - 1)


def test_few_epochs_open_every_axis_at_once() -> None:
    assert [phase.name for phase in phases(OFA.space, 4)] == [
        *("full network", "elastic kernel", "elastic depth", "elastic expand")
    ]
    with pytest.raises(ConfigError, match=re.escape("over kernel, depth, expand needs at least 4 epochs, got 3")):
        phases(OFA.space, 3)


def test_axes_with_one_value_have_no_phase() -> None:
    family = MobileNetV3(kernels=(5,), depths=(2,))
    assert [phase.name for phase in phases(family.space, 10)] == ["full network", "elastic expand"]
    fixed = Space("fixed", (Choice("kernel", (3,)),))
    assert [(phase.name, phase.epochs) for phase in phases(fixed, 5)] == [("full network", 5)]


def test_unknown_axes_come_last_in_the_order_of_the_space() -> None:
    space = Space("odd", (Choice("a.gate", ("off", "on")), Choice("b.depth", (1, 2)), Choice("c.width", (8, 16))))
    assert [phase.name for phase in phases(space, 8)][1:] == ["elastic depth", "elastic gate", "elastic width"]


def test_image_sizes_are_elastic_from_the_start() -> None:
    plan = phases(OFA.space, 20)
    assert all(phase.allowed["resolution"] == 4 for phase in plan)
    rng = np.random.default_rng(0)
    drawn = [OFA.space.decode(draw(OFA.space, plan[0].allowed, rng)) for _ in range(60)]
    assert {arch["resolution"] for arch in drawn} == {128, 160, 192, 224}
    largest = OFA.space.decode(OFA.space.largest)
    assert all({**arch, "resolution": 224} == largest for arch in drawn)
    assert all("resolution" not in phase.allowed for phase in phases(Tiny().space, 20))


SPACES = [
    Tiny().space,
    MobileNetV3(depths=(2, 3, 4)).space,
    MobileNetV3(depths=(4, 3, 2), kernels=(7, 3, 5), expands=(6, 3, 4), resolution=(48, 32)).space,
    Space("words", (Choice("op", ("none", "skip", "conv")), Choice("depth", (1, 2, 3)), Choice("x.depth", (1, 2)))),
]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("epochs", [6, 60])
def test_what_is_drawn_stays_inside_its_phase(space: Space, epochs: int) -> None:
    rng = np.random.default_rng(1)
    for phase in phases(space, epochs):
        least = space.decode(smallest(space, phase.allowed))
        codes = {draw(space, phase.allowed, rng) for _ in range(100)}
        for code in codes:
            assert code == space.canonical(code)
            for name, value in space.decode(code).items():
                choice = next(choice for choice in space.choices if choice.name == name)
                ranked = list(choice.values)[::-1] if isinstance(value, str) else sorted(choice.values, reverse=True)
                allowed = ranked[: phase.allowed.get(choice.axis, 1)]
                assert value in allowed, (phase.name, name)
                assert name not in least or least[name] == allowed[-1]
        if not phase.allowed:
            assert codes == {space.largest}
    assert smallest(space, phase.allowed) == space.smallest
    if space.size < 100:
        assert len(codes) > space.size / 2


def test_draws_follow_from_the_generator() -> None:
    def drawn(seed: int) -> list[tuple[int, ...]]:
        rng = np.random.default_rng(seed)
        return [draw(OFA.space, {"kernel": 3, "depth": 2}, rng) for _ in range(5)]

    assert drawn(1) == drawn(1) != drawn(2)
