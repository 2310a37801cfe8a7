"""ONNX Runtime on the CPU of this machine, with all its graph optimisations."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.formats.onnx import Onnx, feed, session
from hwnas.runtimes import Runtime, Session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import Tensor, nn


class _Loaded(Session):
    """Inputs are bound once, so that a call copies nothing in and nothing out."""

    def __init__(self, loaded: InferenceSession, inputs: tuple[Tensor, ...], size: int) -> None:
        from onnxruntime import OrtValue

        self.size = size
        self._run = loaded.run_with_iobinding
        self._binding = loaded.io_binding()
        self._inputs = {name: OrtValue.ortvalue_from_numpy(array) for name, array in feed(loaded, inputs).items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for output in loaded.get_outputs():
            self._binding.bind_output(output.name)

    def __call__(self) -> None:
        self._run(self._binding)


@dataclass(frozen=True)
class OnnxRuntime(Runtime):
    """Times what `formats.onnx` writes.

    Args:
        spinning: lets threads that wait for work keep their cores busy, as ONNX Runtime does by itself. That saves a
            little time with several threads, but then CPU time tells nothing, and a busy machine suffers.
    """

    spinning: bool = False

    @property
    def version(self) -> str:
        return f"onnxruntime {version('onnxruntime')}"

    def load(self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        content = Onnx().to_bytes(model, inputs, {})
        return _Loaded(session(content, threads, self.spinning), inputs, len(content))

    def open(self, path: Path, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        return _Loaded(session(path, threads, self.spinning), inputs, path.stat().st_size)


__all__ = ["OnnxRuntime"]
