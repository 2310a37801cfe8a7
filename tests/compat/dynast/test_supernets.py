"""Dicts, vectors and codes are spellings of the same networks; spaces have their known sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas import parts
from hwnas.compat.dynast.supernets import REFUSED, SUPERNETS, InvalidSupernetException, find
from hwnas.errors import ConfigError, SpaceError
from hwnas.families.mobilenetv3 import MobileNetV3

from ._files import KNOWN, RECORDS, W10, W12, needs_records

SIZES = {
    W10: (7371**5, 45),
    W12: (7371**5, 45),
    "ofa_proxyless_d234_e346_k357_w1.3": (7371**5, 45),
    "ofa_resnet50": (2 * 3**6 * 117**3 * 1053, 29),
    "transformer_lt_wmt_en_de": (4 * 729 * 64 * sum(36**n for n in range(1, 7)), 39),
    "bert_base_sst2": (sum(12**n for n in range(6, 13)), 25),
    "vit_base_imagenet": (sum(12**n for n in range(10, 13)), 25),
}


def some(supernet, count=20):
    rng = np.random.default_rng(1)
    return [supernet.space.smallest, supernet.space.largest, *(supernet.space.sample(rng) for _ in range(count))]


def test_all_ten_are_known():
    assert set(SIZES) == set(SUPERNETS) and len(SUPERNETS) + len(REFUSED) == 10


@pytest.mark.parametrize("name", SIZES)
def test_spaces_have_their_known_sizes(name):
    supernet = SUPERNETS[name]
    assert (supernet.space.size, supernet.length) == SIZES[name]
    assert len(supernet.space) == supernet.length


@pytest.mark.parametrize("name", SIZES)
def test_dicts_and_vectors_come_back(name):
    supernet = SUPERNETS[name]
    for code in some(supernet):
        assert supernet.code(supernet.config(code)) == code
        assert supernet.code(supernet.row(code)) == code
        assert supernet.from_vector(supernet.vector(code)) == code


def test_the_check_vector_decodes():
    ks = [1, 2, 2, 2, 2, 2, 1, 2, 0, 2, 1, 1, 0, 0, 1, 1, 2, 2, 1, 0]
    e = [1, 1, 2, 1, 0, 1, 0, 2, 2, 2, 0, 0, 2, 2, 2, 2, 1, 1, 2, 1]
    supernet = SUPERNETS[W10]
    config = {
        "ks": [5, 7, 7, 7, 7, 7, 5, 7, 3, 7, 5, 5, 3, 3, 5, 5, 7, 7, 5, 3],
        "e": [4, 4, 6, 4, 3, 4, 3, 6, 6, 6, 3, 3, 6, 6, 6, 6, 4, 4, 6, 4],
        "d": [4, 2, 4, 2, 2],
    }
    assert supernet.from_vector([*ks, *e, 2, 0, 2, 0, 0]) == supernet.code(config)
    assert supernet.from_vector([entry + 0.4 for entry in [*ks, *e, 2, 0, 2, 0, 0]]) == supernet.code(config)


def test_rows_have_the_constants_in_their_places():
    supernet = SUPERNETS[W10]
    assert list(supernet.row(supernet.code(KNOWN))) == ["wid", "ks", "e", "d", "r"]
    assert list(SUPERNETS["ofa_resnet50"].row(SUPERNETS["ofa_resnet50"].space.smallest)) == ["d", "e", "w", "r"]


def test_spaces_of_buildable_ones_are_those_of_their_families():
    for supernet in SUPERNETS.values():
        family = parts.make("families", supernet.family(1000))
        assert family.space.fingerprint == supernet.space.fingerprint
        assert family.buildable == supernet.buildable
    assert parts.make("families", SUPERNETS[W12].family(1000)) == MobileNetV3(width=1.2)


def test_one_network_is_one_code():
    supernet = SUPERNETS["ofa_resnet50"]
    config = supernet.config(supernet.space.smallest)
    deeper = {**config, "d": [1, *config["d"][1:]]}  # 0 and 1 build the same stem
    hidden = {**config, "e": [*config["e"][:3], 0.35, *config["e"][4:]]}  # a block that is not there
    assert supernet.code(deeper) == supernet.code(hidden) == supernet.space.smallest
    assert supernet.code({**config, "d": [2, *config["d"][1:]]}) != supernet.space.smallest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ks": [7]}, "list of 20"),
        ({"ks": [9] * 20}, r"takes \(3, 5, 7\), not 9"),
        ({"kernel": [3]}, "no gene 'kernel'"),
        ({"r": [192]}, r"'r' = \[224\], not \[192\]"),
        ({"d": None}, "list of 5"),
    ],
)
def test_wrong_dicts_are_refused(change, told):
    with pytest.raises(SpaceError, match=told):
        SUPERNETS[W10].code({**KNOWN, **change})


@pytest.mark.parametrize("vector", [[0] * 44, [3] * 45, [-1] * 45])
def test_wrong_vectors_are_refused(vector):
    with pytest.raises(SpaceError):
        SUPERNETS[W10].from_vector(vector)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_gone_says_what_to_use(name):
    with pytest.raises(InvalidSupernetException, match=r"not supported.*use "):
        find(name)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'ofa_resnet50'"):
        find("ofa_resnet_50")


@needs_records
def test_recorded_dicts_are_written_as_they_were():
    supernet = SUPERNETS[W10]
    for row in json.loads((RECORDS / "test_vectors.json").read_text())[W10]:
        config = {name: row[name] for name in ("ks", "e", "d")}
        told = supernet.config(supernet.code(config))
        depth = [(4 * stage + block) for stage in range(5) for block in range(row["d"][stage])]
        assert told["d"] == row["d"]
        assert all(told[name][slot] == row[name][slot] for name in ("ks", "e") for slot in depth)
