"""Weights from a file: read without executing anything, compared name by name, and refused with reasons."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.candidate import Family
from hwnas.errors import WeightsError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.seeds import seeded
from hwnas.weights.checkpoint import Checkpoint, read
from hwnas.weights.share import tensors_of
from tiny import same

SHAPES = Path(__file__).parents[3] / "shared" / "data" / "ofa" / "ofa_mbv3_w10_state_dict_shapes.json"


@pytest.fixture(scope="module")
def family() -> Family:
    return MobileNetV3(classes=10, resolution=16, width=0.1)


@pytest.fixture(scope="module")
def tensors(family: Family) -> dict[str, Any]:
    with seeded(3):
        return {name: tensor.detach() for name, tensor in tensors_of(family.supernet()).items()}


def saved(place: Path, content: Any, name: str = "w.pt") -> str:
    torch.save(content, place / name)
    return str(place / name)


def safe(place: Path, tensors: dict[str, Any]) -> str:
    """The bytes that safetensors itself would write."""
    header, body = {"__metadata__": {"by": "hand"}}, b""
    kinds = {torch.float32: "F32", torch.int64: "I64"}
    for name, tensor in tensors.items():
        raw = tensor.numpy().tobytes()
        entry = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = {**entry, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    (place / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return str(place / "w.safetensors")


def test_a_state_dict_is_taken_as_it_is(family, tensors, tmp_path):
    weights = Checkpoint(family, saved(tmp_path, tensors))
    weights.prepare()
    assert same(weights.tensors(), tensors)


def test_safetensors_need_no_package(family, tensors, tmp_path):
    assert same(Checkpoint(family, safe(tmp_path, tensors)).tensors(), tensors)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_what_training_programs_wrap_is_unwrapped(key, family, tensors, tmp_path):
    path = saved(tmp_path, {"epoch": 3, key: {f"module.{name}": tensor for name, tensor in tensors.items()}})
    assert same(Checkpoint(family, path).tensors(), tensors)


def test_statistics_may_be_missing(family, tensors, tmp_path):
    path = saved(tmp_path, {name: tensor for name, tensor in tensors.items() if "running" not in name})
    found = Checkpoint(family, path).tensors()
    assert found.keys() == tensors.keys()
    assert (found["stem.norm.running_var"] == 1).all() and (found["stem.norm.running_mean"] == 0).all()


def test_half_precision_becomes_the_networks_own(family, tensors, tmp_path):
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    found = Checkpoint(family, saved(tmp_path, halved)).tensors()
    assert all(found[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_all_that_is_wrong_is_told_at_once(family, tensors, tmp_path):
    spoilt = {**tensors, "head.weight": torch.zeros(1), "classifier.weight": torch.zeros(3, 3)}
    del spoilt["stem.conv.weight"]
    with pytest.raises(WeightsError) as refused:
        Checkpoint(family, saved(tmp_path, spoilt)).check()
    told = str(refused.value)
    assert "1 are missing, such as stem.conv.weight" in told and "1 are unknown, such as head.weight" in told
    assert "classifier.weight is (3, 3) instead of (10, 128)" in told


def test_values_that_are_not_finite_are_refused(family, tensors, tmp_path):
    with pytest.raises(WeightsError, match=r"not finite, in classifier\.bias"):
        Checkpoint(family, saved(tmp_path, {**tensors, "classifier.bias": torch.full((10,), torch.nan)})).check()


@pytest.mark.skipif(not SHAPES.exists(), reason="shared/data/ofa is not there")
def test_published_files_of_once_for_all_are_recognised(family, tmp_path):
    known = json.loads(SHAPES.read_text())
    path = saved(tmp_path, {name: torch.zeros(shape) for name, shape in known.items() if len(shape) < 4})
    with pytest.raises(WeightsError, match="names of Once-for-All's own files") as refused:
        Checkpoint(MobileNetV3(), path).check()
    assert "trained matrices" in refused.value.hint


class Evil:
    """Would run a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return eval, ("__import__('os').mkdir('unpickled')",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (pickle.dumps({"a": Evil()}, protocol=2), "no PyTorch file of plain tensors"),
        (b"nothing of the kind", "no PyTorch file of plain tensors"),
        (b"", "no PyTorch file of plain tensors"),
    ],
)
def test_nothing_is_executed(content, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=told):
        read(tmp_path / "w.pt")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}])
def test_other_things_than_tensors_are_refused(content, tmp_path):
    with pytest.raises(WeightsError, match="no mapping of names to tensors"):
        read(Path(saved(tmp_path, content)))


@pytest.mark.parametrize("change", [lambda raw: raw[:-4], lambda raw: raw[:30], lambda raw: b"\xff" * 64])
def test_damaged_safetensors_are_refused(change, tensors, tmp_path):
    path = Path(safe(tmp_path, tensors))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(WeightsError, match=r"no \.safetensors file"):
        read(path)


def test_a_missing_file_is_told(family):
    with pytest.raises(WeightsError, match=r"no file of weights nowhere\.pt"):
        Checkpoint(family, "nowhere.pt").check()


def test_the_fingerprint_is_the_files(family, tensors, tmp_path):
    one, other = saved(tmp_path, tensors), saved(tmp_path, {**tensors, "classifier.bias": torch.ones(10)}, "other.pt")
    assert Checkpoint(family, one).fingerprint != Checkpoint(family, other).fingerprint
