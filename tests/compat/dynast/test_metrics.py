"""Names of metrics: order kept, old names understood, repeated ones merged."""

from __future__ import annotations

import pytest

from hwnas.compat.dynast.metrics import InvalidMetricsException, chosen, from_file, to_file
from hwnas.compat.dynast.supernets import SUPERNETS
from hwnas.trial import Goal

from ._files import W10


def test_the_order_is_the_users():
    assert chosen(["macs", "accuracy_top1", "params"], SUPERNETS[W10], "")[0] == ["macs", "accuracy_top1", "params"]


@pytest.mark.parametrize(
    ("name", "word", "meant"),
    [
        (W10, "acc", "accuracy_top1"),
        (W10, "lat", "latency"),
        ("transformer_lt_wmt_en_de", "acc", "bleu"),
        ("transformer_lt_wmt_en_de", "accuracy_top1", "bleu"),
        ("bert_base_sst2", "acc", "accuracy_sst2"),
    ],
)
def test_old_names_are_understood_and_told(name, word, meant):
    names, notes = chosen([word], SUPERNETS[name], "--measurements")
    assert names == [meant] and word in notes[0] and meant in notes[0]


def test_repeated_names_count_once():
    names, notes = chosen(["macs", "acc", "macs", "accuracy_top1"], SUPERNETS[W10], "--measurements")
    assert names == ["macs", "accuracy_top1"]
    assert sum("twice" in note for note in notes) == 2


@pytest.mark.parametrize(("word", "near"), [("mac", "macs"), ("bleu", "known: params"), ("accuracy", "accuracy_top1")])
def test_unknown_ones_are_answered_with_the_nearest(word, near):
    with pytest.raises(InvalidMetricsException, match=f"no metric '{word}'.*{near}"):
        chosen([word], SUPERNETS[W10], "--measurements")


def test_units_of_files_are_milliseconds_and_per_cent():
    latency, accuracy, told = (Goal("x", None, "min", unit=unit) for unit in ("s", "%", "percent"))
    assert to_file(latency, 0.0125) == pytest.approx(12.5)
    assert to_file(accuracy, 0.75) == 75 and to_file(told, 75.0) == 75
    assert from_file(latency, to_file(latency, 0.3)) == pytest.approx(0.3)
