from pathlib import Path

import pytest
import torch
from torch import nn

from hwnas import parts
from hwnas.errors import ExportError
from hwnas.formats.onnx import Onnx
from hwnas.runtimes import Runtime
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.runtimes.torch import TorchRuntime
from hwnas.seeds import seeded

BOTH: list[Runtime] = [OnnxRuntime(), TorchRuntime()]
INPUTS = (torch.ones(2, 8),)


def network() -> nn.Module:
    with seeded(0):
        return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


class Counter(nn.Module):
    """Tells under which circumstances it ran."""

    seen: list[tuple[int, bool, bool]]

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def __deepcopy__(self, memo: object) -> "Counter":
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled(), self.training))
        return x


@pytest.mark.parametrize("runtime", BOTH, ids=lambda runtime: type(runtime).__name__)
def test_a_session_runs_again_and_again_and_changes_nothing(runtime: Runtime) -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    session = runtime.load(model, INPUTS, threads + 1)
    for _ in range(3):
        session()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_torch_runs_in_inference_and_evaluation_mode_with_its_own_threads() -> None:
    threads = torch.get_num_threads()
    model = Counter()
    TorchRuntime().load(model, INPUTS, threads + 1)()
    assert model.seen == [(threads + 1, True, False)]
    assert torch.get_num_threads() == threads


def test_torch_threads_are_restored_after_a_failure() -> None:
    threads = torch.get_num_threads()
    session = TorchRuntime().load(nn.Linear(3, 2), INPUTS, threads + 1)
    with pytest.raises(RuntimeError, match="shapes"):
        session()
    assert torch.get_num_threads() == threads


def test_torch_counts_the_bytes_of_parameters_and_buffers() -> None:
    # linear 8*4 + 4, BatchNorm 4 * 4 and one int64 counter
    assert TorchRuntime().load(network(), INPUTS, 1).size == (8 * 4 + 4 + 4 * 4) * 4 + 8


def test_torch_opens_no_files(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"net\.pt2"):
        TorchRuntime().open(tmp_path / "net.pt2", INPUTS, 1)


def test_onnxruntime_opens_what_the_format_writes(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    Onnx().write(network(), INPUTS, path, {"arch": "{}"})
    session = OnnxRuntime(spinning=True).open(path, INPUTS, 2)
    session()
    assert session.size == path.stat().st_size
    assert OnnxRuntime().load(network(), INPUTS, 1).size == len(Onnx().to_bytes(network(), INPUTS, {}))


def test_onnxruntime_refuses_missing_files_and_wrong_inputs(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(ExportError, match=r"net\.onnx"):
        OnnxRuntime().open(path, INPUTS, 1)
    Onnx().write(network(), INPUTS, path, {})
    with pytest.raises(ExportError, match="2 were given"):
        OnnxRuntime().open(path, INPUTS * 2, 1)


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_versions_name_the_runtime(name: str) -> None:
    word, number = parts.make("runtimes", name).version.split()
    assert word == name
    assert number[0].isdigit()
