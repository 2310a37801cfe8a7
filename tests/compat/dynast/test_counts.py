"""MACs and parameters: published numbers, and every recorded row."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest

from hwnas.codes import sample
from hwnas.compat.dynast.supernets import SUPERNETS
from hwnas.compat.dynast.table import read
from hwnas.families.mobilenetv3 import MobileNetV3

from ._files import KNOWN, RECORDS, W10, W12, needs_records

ENDS = {
    W10: ((121278672, 3410792), (566170656, 7664760)),
    W12: ((193078200, 4602456), (843101040, 10701632)),
    "ofa_proxyless_d234_e346_k357_w1.3": ((292977624, 4282040), (1004908032, 7942056)),
    "ofa_resnet50": ((962192128, 6539280), (7491643904, 48105992)),
}
"""MACs and params of the smallest and the largest network, as instantiated upstream."""


def counts(name, *codes):
    macs, params = SUPERNETS[name].counts(np.array(codes))
    return list(zip(macs.tolist(), params.tolist(), strict=True))


@pytest.mark.parametrize("name", ENDS)
def test_the_ends_have_their_published_counts(name):
    space = SUPERNETS[name].space
    assert tuple(counts(name, space.smallest, space.largest)) == ENDS[name]


def test_a_published_row_is_met():
    assert counts(W10, SUPERNETS[W10].code(KNOWN)) == [(244945104, 4536768)]


def test_classes_change_the_last_layer_alone():
    supernet = SUPERNETS[W10]
    codes = np.array([supernet.space.smallest, supernet.space.largest])
    (macs, params), (fewer_macs, fewer_params) = supernet.counts(codes, 1000), supernet.counts(codes, 10)
    assert (macs - fewer_macs == 990 * 1280).all() and (params - fewer_params == 990 * 1281).all()


def test_the_whole_vision_transformer_is_the_known_one():
    (count,) = counts("vit_base_imagenet", SUPERNETS["vit_base_imagenet"].space.largest)
    assert count == (17_563_828_224, 86_567_656)  # vit_b_16 of torchvision: 17.56 GMACs and this number of parameters


def test_entries_without_effect_do_not_count():
    space = SUPERNETS["ofa_resnet50"].space
    raw = np.array([[2 if len(choice.values) == 3 else 0 for choice in space.choices]])
    raw[:, [place for place, choice in enumerate(space.choices) if choice.axis == "depth"]] = 0
    canonical = np.array([space.canonical(raw[0])])
    assert (raw != canonical).any()
    assert np.array_equal(SUPERNETS["ofa_resnet50"].counts(raw), SUPERNETS["ofa_resnet50"].counts(canonical))


@pytest.mark.parametrize(("name", "width"), [(W10, 1.0), (W12, 1.2)])
def test_they_are_the_counts_of_the_family(name, width):
    codes = sample(SUPERNETS[name].space, 200, np.random.default_rng(0))
    family = MobileNetV3(classes=10, width=width)
    assert np.array_equal(SUPERNETS[name].counts(codes, 10), family.counts(codes))


@needs_records
def test_all_check_vectors_are_met():
    vectors = json.loads((RECORDS / "test_vectors.json").read_text())
    for name, rows in vectors.items():
        for row in rows:
            code = SUPERNETS[name].code({key: value for key, value in row.items() if isinstance(value, list)})
            assert counts(name, code) == [(row["macs"], row.get("params", row.get("params_unverified")))], row["note"]


@needs_records
@pytest.mark.parametrize(
    ("file", "name"),
    [
        *((path.name, W10) for path in sorted(RECORDS.glob("mbnv3w10_*.csv"))),
        ("results_mbnv3w1p2_macs.csv", W12),
        ("results_bertbase_sst2_macs.csv.gz", "bert_base_sst2"),
        ("results_transformerlt_macs.csv.gz", "transformer_lt_wmt_en_de"),
    ],
)
def test_every_recorded_row_is_met(file, name, tmp_path):
    raw = (RECORDS / file).read_bytes()
    path = tmp_path / "records.csv"
    path.write_bytes(gzip.decompress(raw) if file.endswith(".gz") else raw)
    content = read(path, SUPERNETS[name])
    with path.open(newline="") as text:
        rows = sum(1 for _ in csv.reader(text)) - 1
    assert not [note for note in content.notes if "differs" in note]
    assert 0 < len(content.values) <= rows
