"""What the tests of dynast share: where real records lie, and searches that need no super-network."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.quality.ofa_surrogate import OfaSurrogate

RECORDS = Path(__file__).parents[4] / "shared" / "data" / "ofa_search"
needs_records = pytest.mark.skipif(not RECORDS.is_dir(), reason="shared/data/ofa_search is not there")
W10, W12 = "ofa_mbv3_d234_e346_k357_w1.0", "ofa_mbv3_d234_e346_k357_w1.2"

KS = [7, 3, 3, 7, 5, 3, 3, 3, 7, 3, 7, 7, 7, 3, 7, 5, 3, 3, 3, 3]
E = [3, 6, 6, 3, 6, 3, 6, 6, 6, 6, 4, 3, 4, 6, 4, 3, 3, 6, 4, 4]
KNOWN = {"wid": None, "ks": KS, "e": E, "d": [3, 2, 2, 3, 2], "r": [224]}
"""The first network of a published run: 244,945,104 MACs, 4,536,768 parameters."""


def surrogate(place: Path) -> str:
    """A file of one small tree, in the surrogate's format."""
    place.mkdir(parents=True, exist_ok=True)
    return OfaSurrogate.example(place).path
