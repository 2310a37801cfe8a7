"""PyTorch itself, operator by operator, on the CPU of this machine."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from hwnas.errors import ExportError
from hwnas.runtimes import Runtime, Session


class _Loaded(Session):
    """A copy of the network in evaluation mode.

    The number of threads belongs to the whole process, so it is set and put back around every call; together that
    takes a quarter of a microsecond.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> None:
        self._model = copy.deepcopy(model).eval()
        self._inputs = inputs
        self._threads = threads
        tensors = itertools.chain(model.parameters(), model.buffers())
        self.size = sum(tensor.nbytes for tensor in tensors)

    def __call__(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                self._model(*self._inputs)
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class TorchRuntime(Runtime):
    """Times the plain module: no file, no fusion of operators."""

    @property
    def version(self) -> str:
        return f"torch {version('torch')}"

    def load(self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        return _Loaded(model, inputs, threads)

    def open(self, path: Path, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        raise ExportError(
            f"runtime 'torch' reads no file, so not {path.name} either: loading PyTorch's own would unpickle it",
            hint="Measure the network itself, or a .onnx file with runtime 'onnxruntime'.",
        )


__all__ = ["TorchRuntime"]
