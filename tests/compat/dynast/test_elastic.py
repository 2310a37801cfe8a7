"""A family without networks keeps the contract of families."""

from __future__ import annotations

import pytest

from hwnas import testing
from hwnas.compat.dynast.elastic import Elastic
from hwnas.compat.dynast.supernets import SUPERNETS
from hwnas.errors import ConfigError, MetricError


@pytest.mark.parametrize("name", [name for name, supernet in SUPERNETS.items() if not supernet.buildable])
def test_it_keeps_the_contract(name):
    testing.check(Elastic(name))


def test_asking_for_a_network_says_what_works():
    with pytest.raises(MetricError, match="cannot be built") as refused:
        Elastic("ofa_resnet50").build({})
    assert "macs and params are exact" in refused.value.hint


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="did you mean"):
        Elastic("ofa_resnet5")
