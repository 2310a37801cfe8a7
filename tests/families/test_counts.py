"""Counts by formula against networks, recorded runs and published numbers."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from hwnas import codes
from hwnas.candidate import Candidate, Countable
from hwnas.families._counts import Elastic, Fixed, Tally, inverted_residuals, rounded
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.hardware.macs import Macs
from hwnas.hardware.params import Params

DATA = (Path(__file__).parents[2] / ".." / "shared" / "data" / "ofa_search").resolve()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded searches are not here")

OPTIONS = [
    {},
    {"width": 1.2, "resolution": 160},
    {"classes": 10, "resolution": 32, "width": 0.5},
    {"resolution": (17, 24, 33), "width": 0.1, "kernels": (3, 5), "expands": (1, 2.5, 1.3), "depths": (1, 3)},
    {"resolution": (96, 131), "stem": "small", "width": 0.35, "kernels": (7, 1), "expands": (2, 1), "depths": (4, 1)},
    {"classes": 7, "resolution": 40, "stem": "imagenet", "kernels": (5,), "expands": (3,), "depths": (2,)},
]


def of_dicts(family, dicts):
    """Codes of Once-for-All's own dictionaries; entries of blocks that do not exist are kept."""
    rows = []
    for arch in dicts:
        own = {f"stage{stage + 1}.depth": depth for stage, depth in enumerate(arch["d"])}
        for slot, (kernel, expand) in enumerate(zip(arch["ks"], arch["e"], strict=True)):
            block = f"stage{slot // 4 + 1}.block{slot % 4 + 1}"
            own |= {f"{block}.kernel": kernel, f"{block}.expand": expand}
        rows.append([choice.values.index(own[choice.name]) for choice in family.space.choices])
    return np.array(rows)


def recorded(file, column):
    with (DATA / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, skipinitialspace=True))
    return [ast.literal_eval(row["Sub-network"]) for row in rows], [int(row[column]) for row in rows]


@pytest.mark.parametrize("options", OPTIONS)
def test_counts_are_those_of_the_networks(options):
    family = MobileNetV3(**options)
    assert isinstance(family, Countable)
    ends = codes.array(family.space, [family.space.smallest, family.space.largest])
    some = np.concatenate([ends, codes.sample(family.space, 6, np.random.default_rng(0))])
    macs, params = family.counts(some)
    candidates = [Candidate(family, code) for code in codes.tuples(some)]
    assert macs.tolist() == [Macs()(candidate) for candidate in candidates]
    assert params.tolist() == [Params()(candidate) for candidate in candidates]
    assert macs.dtype == params.dtype == np.int64


def test_blocks_that_do_not_exist_do_not_count():
    family = MobileNetV3(resolution=(192, 224))
    sizes = [len(choice.values) for choice in family.space.choices]
    raw = np.random.default_rng(0).integers(sizes, size=(200, len(sizes)))
    plain = codes.canonical(family.space, raw)
    assert (raw != plain).any()
    assert np.array_equal(family.counts(raw), family.counts(plain))


def test_no_codes_have_no_counts():
    macs, params = MobileNetV3().counts(np.empty((0, 45), dtype=np.int64))
    assert macs.shape == params.shape == (0,)


def test_a_network_that_can_be_counted_by_hand():
    """4 x 4 pixels, one block of expansion 1 and stride 2 after a stem of stride 1, and one closing block."""
    fixed = Fixed((8, 8, 16), (1, 2), last=24, classes=3, excited=[0], closing=[(5, 2, 8)], mixed=32)
    one = Elastic(np.array([[[3]]]), np.array([[[1]]]), np.array([[1]]))
    macs, params = inverted_residuals(fixed, one, 4)
    stem = 16 * (27 * 8 + 9 * 8 + 8 * 8)
    block = 4 * (9 * 8 + 8 * 16) + 2 * 8 * 8
    closing = 4 * (16 * 32 + 25 * 32 + 32 * 8)
    head = 4 * 8 * 24 + 24 * 32 + 32 * 3
    assert macs.tolist() == [stem + block + closing + head]
    weights = (27 + 9 + 8) * 8 + 9 * 8 + 8 * 16 + 2 * 8 * 8 + 16 * 32 + 25 * 32 + 32 * 8 + 8 * 24 + 24 * 32 + 32 * 3
    norms = 2 * (8 + 8 + 8 + 8 + 16 + 32 + 32 + 8 + 24)
    assert params.tolist() == [weights + norms + 2 * 8 + 3]


def test_layers_that_are_not_there_do_not_count():
    tally = Tally(2)
    tally.conv(4, 8, 3, np.array([2, 6]), groups=2, on=np.array([1, 0]))
    tally.linear(8, 3, on=np.array([0, 1]))
    assert tally.macs.tolist() == [2 * 2 * 9 * 2 * 8, 24] and tally.params.tolist() == [9 * 2 * 8 + 16, 27]


def test_widths_are_rounded_to_multiples_of_eight():
    """The nearest one, unless that takes away more than a tenth: 36 would become 32, which is 11 % less."""
    assert rounded([1, 3, 8, 19.2, 36, 48, 129.6]).tolist() == [8, 8, 8, 24, 40, 48, 128]


@needs_data
def test_counts_are_the_recorded_ones_at_width_1():
    family, rows = MobileNetV3(), 0
    files = sorted(file.name for file in DATA.glob("mbnv3w10_*.csv"))
    for file in files:
        for place, column in enumerate(("MACs", "Model Parameters")):
            archs, values = recorded(file, column)
            assert family.counts(of_dicts(family, archs))[place].tolist() == values, (file, column)
        rows += len(values)
    assert (len(files), rows) == (5, 2373)


@needs_data
def test_counts_are_the_recorded_ones_at_width_12():
    family = MobileNetV3(width=1.2)
    archs, values = recorded("results_mbnv3w1p2_macs.csv", "MACs")
    assert family.counts(of_dicts(family, archs))[0].tolist() == values


@needs_data
@pytest.mark.parametrize("width", [1.0, 1.2])
def test_counts_are_those_of_once_for_all_itself(width):
    family = MobileNetV3(width=width)
    vectors = json.loads((DATA / "test_vectors.json").read_text(encoding="utf-8"))
    networks = vectors[f"ofa_mbv3_d234_e346_k357_w{width}"]
    macs, params = family.counts(of_dicts(family, networks))
    assert macs.tolist() == [network["macs"] for network in networks]
    assert params.tolist() == [network["params"] for network in networks]
