"""The surrogate of Once-for-All's top-1, against its own values and against trees walked by hand."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from hwnas import codes, parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, DataError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.quality.ofa_surrogate import FEATURES, OfaSurrogate, choices, read

DATA = (Path(__file__).parents[2] / ".." / "shared" / "data" / "ofa_search").resolve()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the surrogate's file is not here")
FILE = DATA / "surrogate_mbv3w10_top1.json.gz"
FAMILY = MobileNetV3()
SPACE = FAMILY.space


def encoded(arch):
    """The code of one of Once-for-All's own dictionaries."""
    own = {f"stage{stage + 1}.depth": depth for stage, depth in enumerate(arch["d"])}
    for slot, (kernel, expand) in enumerate(zip(arch["ks"], arch["e"], strict=True)):
        if slot % 4 < arch["d"][slot // 4]:
            block = f"stage{slot // 4 + 1}.block{slot % 4 + 1}"
            own |= {f"{block}.kernel": kernel, f"{block}.expand": expand}
    return SPACE.encode(own)


def model(*trees, **changes):
    """A file's content: trees without any linear part, unless changed."""
    plain = {"intercept": 0, "coef": [0] * FEATURES, "init": 0, "lr": 1, "max_depth": 2, "trees": list(trees)}
    return plain | changes


def leaf(value):
    return {"f": [-2], "t": [-2], "l": [-1], "r": [-1], "v": [value]}


def stump(feature, threshold, left, right):
    return {"f": [feature, -2, -2], "t": [threshold, 0, 0], "l": [1, -1, -1], "r": [2, -1, -1], "v": [0, left, right]}


def surrogate(place, content):
    (place / "trees.json").write_text(json.dumps(content), encoding="utf-8")
    return OfaSurrogate(FAMILY, str(place / "trees.json"))


# --- the published file ---------------------------------------------------------------------------------------------


@needs_data
def test_values_are_the_published_ones():
    vectors = json.loads((DATA / "test_vectors.json").read_text(encoding="utf-8"))["ofa_mbv3_d234_e346_k357_w1.0"]
    metric = OfaSurrogate(FAMILY, str(FILE))
    some = codes.array(SPACE, map(encoded, vectors))
    assert metric.top1(some) == pytest.approx([each["surrogate_top1"] for each in vectors], abs=1e-6)


@needs_data
def test_a_network_has_one_value_in_any_company():
    metric = OfaSurrogate(FAMILY, str(FILE))
    some = codes.sample(SPACE, 1500, np.random.default_rng(0))
    together = metric.top1(some)
    assert together[::100].tolist() == [metric(Candidate(FAMILY, code)) for code in codes.tuples(some[::100])]
    raw = np.where(codes.active(SPACE, some), some, 1)
    assert (raw != some).any() and (metric.top1(raw) == together).all()


# --- trees walked by hand -------------------------------------------------------------------------------------------


def test_features_and_linear_part(tmp_path):
    """Every feature by itself, through a coefficient of 1."""
    code = SPACE.encode(SPACE.decode(SPACE.smallest) | {"stage2.block1.kernel": 7, "stage5.block2.expand": 4})
    wanted = np.zeros(FEATURES)
    for slot in (4 * stage + block for stage in range(5) for block in range(2)):
        wanted[[6 * slot + (2 if slot == 4 else 0), 6 * slot + (4 if slot == 17 else 3)]] = 1
    wanted[120:135:3] = 1
    own = np.array([code])
    wanted[135:] = *(math.log10(count[0]) for count in FAMILY.counts(own)), 10
    found = [
        surrogate(tmp_path, model(leaf(0), coef=np.eye(FEATURES)[place].tolist())).top1(own)[0]
        for place in range(FEATURES)
    ]
    assert found == pytest.approx(wanted)


def test_trees_of_different_depths_add_up(tmp_path):
    deep = {"f": [137, 120, -2, -2, -2], "t": [15, 0.5, 0, 0, 0], "l": [1, 2, -1, -1, -1], "r": [4, 3, -1, -1, -1]}
    deep["v"] = [0, 0, 1, 2, 4]
    content = model(deep, stump(0, 0.5, 10, 20), leaf(100), lr=0.5, init=0.25, intercept=1000)
    metric = surrogate(tmp_path, content)
    ends = codes.array(SPACE, [SPACE.smallest, SPACE.largest])
    assert metric.top1(ends).tolist() == [1000.25 + 0.5 * (2 + 20 + 100), 1000.25 + 0.5 * (4 + 10 + 100)]


def test_features_are_compared_as_float32(tmp_path):
    exact = math.log10(FAMILY.counts(codes.array(SPACE, [SPACE.smallest]))[0][0])
    coarse = float(np.float32(exact))
    assert coarse != exact
    between = (coarse + exact) / 2
    value = surrogate(tmp_path, model(stump(135, between, 1, 2))).top1(codes.array(SPACE, [SPACE.smallest]))[0]
    assert value == (1 if coarse <= between else 2) != (1 if exact <= between else 2)


def test_nothing_is_judged_as_nothing(tmp_path):
    metric = surrogate(tmp_path, model(leaf(1)))
    assert metric.top1(np.empty((0, 45), dtype=np.int64)).shape == (0,)
    assert metric.many([]) == []


# --- what it does not know ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"width": 1.2},
        {"resolution": 192},
        {"resolution": (192, 224)},
        {"classes": 10},
        {"stem": "small"},
        {"kernels": (3, 5)},
        {"depths": (2, 3)},
    ],
)
def test_other_networks_are_refused(options):
    with pytest.raises(ConfigError, match=r"width 1\.0, resolution 224, classes 1000"):
        OfaSurrogate(MobileNetV3(**options), "trees.json")


def test_other_families_are_refused():
    with pytest.raises(ConfigError, match="and not family 'nasbench201'"):
        OfaSurrogate(parts.make("families", "nasbench201"), "trees.json")


def test_the_known_choices_are_those_of_the_family():
    assert choices() == SPACE.choices


def test_spelt_out_defaults_are_the_same_network():
    spelt = MobileNetV3(resolution=(224,), stem="imagenet", dropout=0.1)
    assert OfaSurrogate(spelt, "trees.json").family is spelt


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (model(), "0 trees"),
        (model(leaf(1), max_depth=0), "depth of 0"),
        (model(leaf(1), coef=[0] * 3), "3 features"),
        (model(stump(FEATURES, 0, 1, 2)), "139 features"),
        (model(stump(0, 0, 1, 2) | {"r": [3, -1, -1]}), "leads to none"),
        (model(stump(0, 0, 1, 2) | {"l": [-1, -1, -1]}), "leads to none"),
        (model(stump(0, 0, 1, 2) | {"v": [0, 1]}), "3 nodes and 2 entries of 'v'"),
        (model(stump(0, 0, 1, 2) | {"l": [0, -1, -1]}), "deeper than 2"),
        ({"trees": [leaf(1)]}, "'max_depth' is missing"),
        ([1, 2], "no surrogate"),
    ],
)
def test_files_that_hold_something_else(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason):
        surrogate(tmp_path, content).prepare()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "absent.json")
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(json.dumps(model(leaf(1))).encode())[:-20])
    (tmp_path / "text.json").write_text("top1 = 76.5", encoding="utf-8")
    for name in ("cut.json.gz", "text.json"):
        with pytest.raises(DataError, match=f"{name}' is no surrogate"):
            read(tmp_path / name)


def test_files_may_be_packed(tmp_path):
    (tmp_path / "trees.json.gz").write_bytes(gzip.compress(json.dumps(model(leaf(3))).encode()))
    assert OfaSurrogate(FAMILY, str(tmp_path / "trees.json.gz"))(Candidate(FAMILY, SPACE.smallest)) == 3.0
