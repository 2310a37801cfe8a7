"""DE-NAS's budgets of CNNs, by the sheet of its own counts."""

from __future__ import annotations

import pytest

from hwnas.candidate import Candidate
from hwnas.compat.denas.limits import Counted
from hwnas.errors import ConfigError
from hwnas.families.plainnet import PlainNet
from hwnas.families.vit import Vit

from ._files import A

B = A.replace("SuperResK3K3(64,64,2,32,1)", "SuperResK5K5(64,64,2,48,2)")


@pytest.mark.parametrize(
    ("structure", "counts"),
    [
        (A, {"layers": 6, "size": 101_721, "flops": 6_550_784}),
        (B, {"layers": 7, "size": 372_185, "flops": 10_878_208}),
    ],
    ids="AB",
)
def test_counts(structure, counts):
    family = PlainNet(classes=100)
    candidate = Candidate(family, family.space.encode(family.arch_of(structure)))
    assert {what: Counted(family, what)(candidate) for what in counts} == counts


def test_only_structures_are_counted():
    with pytest.raises(ConfigError, match="have no structures whose layers could count"):
        Counted(Vit(), "layers")
