"""Counts of Once-for-All's MobileNetV3 against networks, recorded runs and published numbers."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from hwnas import codes
from hwnas.candidate import Candidate
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.hardware.macs import Macs
from hwnas.hardware.params import Params
from hwnas.quality import _ofa

DATA = (Path(__file__).parents[2] / ".." / "shared" / "data" / "ofa_search").resolve()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded searches are not here")


def archs_of(dicts):
    """Architectures from Once-for-All's own dictionaries."""
    ks, e, d = (np.array([arch[key] for arch in dicts]) for key in ("ks", "e", "d"))
    place = [np.searchsorted(known, own) for known, own in zip((_ofa.KERNELS, _ofa.EXPANDS), (ks, e), strict=True)]
    blocks = (-1, _ofa.STAGES, _ofa.BLOCKS)
    return _ofa.Archs(place[0].reshape(blocks), place[1].reshape(blocks), np.searchsorted(_ofa.DEPTHS, d))


def recorded(file, column):
    with (DATA / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, skipinitialspace=True))
    return archs_of([ast.literal_eval(row["Sub-network"]) for row in rows]), [int(row[column]) for row in rows]


def test_choices_are_those_of_the_family():
    assert _ofa.choices() == MobileNetV3().space.choices


@pytest.mark.parametrize(("width", "resolution"), [(1.0, 224), (1.2, 160)])
def test_counts_are_those_of_the_networks(width, resolution):
    family = MobileNetV3(width=width, resolution=resolution)
    some = [family.space.smallest, family.space.largest, family.space.sample(np.random.default_rng(0))]
    archs = _ofa.of_codes(codes.array(family.space, some))
    candidates = [Candidate(family, code) for code in some]
    assert _ofa.macs(archs, width, resolution).tolist() == [Macs()(candidate) for candidate in candidates]
    assert _ofa.params(archs, width).tolist() == [Params()(candidate) for candidate in candidates]


def test_blocks_that_do_not_exist_do_not_count():
    space = MobileNetV3().space
    rng = np.random.default_rng(0)
    raw = rng.integers([len(choice.values) for choice in space.choices], size=(200, len(space)))
    plain = codes.canonical(space, raw)
    assert (raw != plain).any()
    for count in (_ofa.macs, _ofa.params):
        assert (count(_ofa.of_codes(raw)) == count(_ofa.of_codes(plain))).all()


def test_no_architectures_have_no_counts():
    assert _ofa.macs(_ofa.of_codes(np.empty((0, 45), dtype=np.int64))).shape == (0,)


@needs_data
def test_counts_are_the_recorded_ones_at_width_1():
    files = sorted(file.name for file in DATA.glob("mbnv3w10_*.csv"))
    rows = 0
    for file in files:
        for column, count in (("MACs", _ofa.macs), ("Model Parameters", _ofa.params)):
            archs, values = recorded(file, column)
            assert count(archs).tolist() == values, (file, column)
        rows += len(values)
    assert (len(files), rows) == (5, 2373)


@needs_data
def test_counts_are_the_recorded_ones_at_width_12():
    archs, values = recorded("results_mbnv3w1p2_macs.csv", "MACs")
    assert _ofa.macs(archs, 1.2).tolist() == values


@needs_data
@pytest.mark.parametrize("width", [1.0, 1.2])
def test_counts_are_those_of_once_for_all_itself(width):
    vectors = json.loads((DATA / "test_vectors.json").read_text(encoding="utf-8"))
    networks = vectors[f"ofa_mbv3_d234_e346_k357_w{width}"]
    archs = archs_of(networks)
    assert _ofa.macs(archs, width).tolist() == [network["macs"] for network in networks]
    assert _ofa.params(archs, width).tolist() == [network["params"] for network in networks]
