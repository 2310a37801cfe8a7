"""Counts of many codes at once: a search is given them where the family knows them, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas import codes, config, parts, plan
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.hardware._counted import counted
from hwnas.hardware.macs import Macs
from hwnas.hardware.params import Params
from hwnas.testing.toys import Toy

FAMILY = MobileNetV3(classes=10, resolution=(24, 32), width=0.25, kernels=(3, 5), expands=(1, 3), depths=(1, 2))
SOME = codes.sample(FAMILY.space, 5, np.random.default_rng(0))


def goal_of(family, metric):
    written = config.check({"family": family, "goals": {"it": {"min": metric}}})
    (goal,) = plan.prepare(written, Path("nowhere"), estimate=False).goals
    return goal


@pytest.mark.parametrize("metric", ["hardware.macs", "hardware.params"])
def test_a_search_is_given_the_values_of_the_networks_themselves(metric):
    goal = goal_of(FAMILY, metric)
    values = goal.exact_many(SOME)
    assert values.dtype == np.float64
    assert values.tolist() == [goal.exact(code) for code in codes.tuples(SOME)]


@pytest.mark.parametrize("metric", ["hardware.macs", "hardware.params"])
def test_a_family_that_has_to_build_gives_none(metric):
    goal = goal_of(Toy(), metric)
    assert goal.exact is not None and goal.exact_many is None


def test_without_a_family_there_are_none():
    assert counted(None, 0) is None and Macs().of_codes is None and Params().of_codes is None


@pytest.mark.parametrize(("name", "cls"), [("hardware.macs", Macs), ("hardware.params", Params)])
def test_the_family_is_no_option_to_write_down(name, cls):
    metric = parts.make(("quality", "hardware"), name, {"family": FAMILY})
    assert metric == cls(FAMILY) == cls() and metric.family is FAMILY
    assert parts.spec_of(metric) == {name: {}}
