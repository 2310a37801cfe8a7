"""Parameters without the head: one by one and many at once, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import codes, testing
from hwnas.candidate import Candidate
from hwnas.compat.denas.body import Body
from hwnas.families.asr import Asr
from hwnas.families.bert import Bert
from hwnas.families.huggingface import HuggingFace
from hwnas.families.vit import Vit
from hwnas.hardware.params import Params

from ._files import BERTLET


@pytest.mark.parametrize("kind", [Asr, Bert, Vit])
def test_many_at_once(kind, tmp_path):
    family = testing.example(kind, tmp_path)
    body = Body(family)
    some = testing.some_codes(family, 12)
    each = [body(Candidate(family, code)) for code in some]
    assert body.of_codes(codes.array(family.space, some)).tolist() == each
    width = np.array([family.space.decode(code)["width"] for code in some])
    whole = np.array([Params()(Candidate(family, code)) for code in some])
    assert (whole - each == (width + 1) * family.classes).all()


def test_a_family_that_does_not_count_builds():
    family = HuggingFace(config=BERTLET, length=8, classes=3)
    body = Body(family)
    candidate = Candidate(family, family.space.largest)
    assert body.of_codes is None
    assert body(candidate) == Params()(candidate) - 3 * (32 + 1)
