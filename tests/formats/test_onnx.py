from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from hwnas.errors import ConfigError, ExportError
from hwnas.formats._parity import flat, parity
from hwnas.formats.onnx import Onnx
from hwnas.seeds import seeded


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 4, 1)
        self.expand = nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(torch.relu(self.reduce(nn.functional.adaptive_avg_pool2d(x, 1))))
        return x * nn.functional.hardsigmoid(gate)


def network() -> nn.Module:
    """Convolutions, BatchNorm with statistics of its own, hard swish, squeeze and excite, dropout."""
    with seeded(0):
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.Hardswish(),
            nn.Conv2d(16, 16, 5, padding=2, groups=16, bias=False),
            nn.BatchNorm2d(16),
            SqueezeExcite(16),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(16, 10),
        )
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean)
                nn.init.uniform_(part.running_var, 0.5, 2.0)
    return model


def images(count: int) -> tuple[Tensor, ...]:
    with seeded(count):
        return (torch.randn(count, 3, 32, 32),)


class Fourier(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
        return {"sum": x + y, "rest": (x - y, x * y)}


def test_the_file_computes_what_the_network_computes_at_any_batch_size(tmp_path: Path) -> None:
    path, model = tmp_path / "net.onnx", network()
    Onnx().write(model, images(1), path, {})
    difference = parity(Onnx(), path, model, [images(count) for count in (1, 2, 7)])
    assert 0.0 <= difference < 1e-5
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    fixed = Onnx(dynamic_batch=False)
    fixed.write(network(), images(2), path, {})
    assert fixed.outputs(path, images(2))[0].shape == (2, 10)
    (entry,) = onnx.load(path).graph.input
    assert [size.dim_value for size in entry.type.tensor_type.shape.dim] == [2, 3, 32, 32]


def test_metadata_comes_back_in_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "net.onnx"
    notes = {"arch": '{"depth": 2}', "unit": "µs", "empty": ""}
    Onnx().write(network(), images(1), path, notes)
    assert Onnx().metadata(path) == notes
    assert {entry.key: entry.value for entry in onnx.load(path).metadata_props} == notes
    assert path.read_bytes() == Onnx().to_bytes(network(), images(1), notes)


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_the_opset_is_the_one_asked_for(opset: int, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    Onnx(opset=opset).write(network(), images(1), path, {})
    assert [entry.version for entry in onnx.load(path).opset_import if entry.domain == ""] == [opset]
    parity(Onnx(), path, network(), [images(2)])


def test_an_opset_that_nobody_writes_is_refused() -> None:
    with pytest.raises(ConfigError, match="21"):
        Onnx(opset=21)


def test_several_inputs_and_outputs_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "pair.onnx"
    both = torch.arange(3.0)[None], torch.ones(1, 3)
    Onnx().write(Pair(), both, path, {})
    graph = onnx.load(path).graph
    assert [entry.name for entry in graph.input] == ["input1", "input2"]
    assert [entry.name for entry in graph.output] == ["output1", "output2", "output3"]
    assert parity(Onnx(), path, Pair(), [both]) == 0.0
    with pytest.raises(ExportError, match="input1, input2, but 1"):
        Onnx().outputs(path, both[:1])


def test_the_network_is_left_as_it_was() -> None:
    model = network().train()
    model[1].eval()
    flags = [part.training for part in model.modules()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Onnx().to_bytes(model, images(1), {})
    assert [part.training for part in model.modules()] == flags
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_an_operator_without_counterpart_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="aten::fft_fft"):
        Onnx().write(Fourier(), (torch.ones(1, 8),), tmp_path / "net.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_run_is_an_export_error_with_its_reason() -> None:
    with pytest.raises(ExportError, match="shapes cannot be multiplied"):
        Onnx().to_bytes(nn.Linear(3, 2), (torch.ones(1, 4),), {})


def test_a_broken_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("hwnas.formats.onnx.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        Onnx().write(network(), images(1), path, {})
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("net.onnx", b"old")]


@pytest.mark.parametrize("content", [None, b"no protocol buffer"])
def test_a_missing_or_broken_file_is_an_export_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=r"net\.onnx"):
        Onnx().outputs(path, images(1))


def test_parity_notices_other_weights_other_shapes_and_nan(tmp_path: Path) -> None:
    path, model = tmp_path / "net.onnx", network()
    Onnx().write(model, images(1), path, {})
    with torch.no_grad():
        model[-1].bias[3] += 1e-3
    with pytest.raises(ExportError, match=r"output 0 differs by 0\.001"):
        parity(Onnx(), path, model, [images(1)])
    assert parity(Onnx(), path, model, [images(1)], absolute=1e-2) == pytest.approx(1e-3, rel=1e-2)
    with pytest.raises(ExportError, match="shapes"):
        parity(Onnx(), path, model[:-1], [images(1)])
    with pytest.raises(ExportError, match="nan"):
        parity(Onnx(), path, model, [(images(1)[0] * np.nan,)])
    with pytest.raises(ValueError, match="at least one"):
        parity(Onnx(), path, model, [])


def test_tiny_outputs_are_compared_by_their_own_measure(tmp_path: Path) -> None:
    path, model, ones = tmp_path / "net.onnx", nn.Linear(4, 2, bias=False), (torch.ones(1, 4),)
    nn.init.constant_(model.weight, 1e-9)
    Onnx().write(model, ones, path, {})
    parity(Onnx(), path, model, [ones])
    nn.init.constant_(model.weight, 2e-9)
    with pytest.raises(ExportError, match="computes something else"):
        parity(Onnx(), path, model, [ones])


def test_outputs_are_flattened_in_order() -> None:
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    assert [len(tensor) for tensor in flat({"a": one, "b": [two, (three,)]})] == [1, 2, 3]
    with pytest.raises(ExportError, match="str"):
        flat("logits")
