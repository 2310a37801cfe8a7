"""Counts as a metric: the contract of metrics, and the numbers that the networks themselves have."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import testing
from hwnas.candidate import Candidate
from hwnas.compat.dynast.counted import Counted
from hwnas.compat.dynast.elastic import Elastic
from hwnas.errors import ConfigError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.hardware.macs import Macs
from hwnas.hardware.params import Params

from ._files import W10, W12


@pytest.mark.parametrize("what", ["macs", "params"])
def test_it_keeps_the_contract(what):
    testing.check(Counted(MobileNetV3(), W10, what))


@pytest.mark.parametrize(("width", "name"), [(1.0, W10), (1.2, W12)])
def test_it_agrees_with_the_networks_themselves(width, name):
    family = MobileNetV3(width=width, classes=10)
    candidate = Candidate(family, family.space.sample(np.random.default_rng(3)))
    assert Counted(family, name, "macs", classes=10)(candidate) == Macs()(candidate)
    assert Counted(family, name, "params", classes=10)(candidate) == Params()(candidate)


def test_another_family_is_refused():
    with pytest.raises(ConfigError, match="another space"):
        Counted(Elastic("bert_base_sst2"), "ofa_resnet50", "macs")
