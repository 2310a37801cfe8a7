"""ONNX files, which ONNX Runtime, OpenVINO, TensorRT and most others read."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import ConfigError, ExportError
from hwnas.formats import Format
from hwnas.formats._parity import evaluating, forward

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession
    from torch import Tensor, nn

OPSETS = range(13, 21)
"""Versions of the operator set that PyTorch's tracing exporter knows and that today's runtimes read."""


@dataclass(frozen=True)
class Onnx(Format):
    """Writes ONNX by tracing one forward pass, in a fraction of a second.

    Inputs are called `input`, or `input1`, `input2` … if there are several; outputs likewise. A trace follows one
    path: a network whose Python code branches on values is frozen on the branch that these inputs took.

    Args:
        opset: version of the operator set, 13 to 20; 17 is read by every runtime since 2022.
        dynamic_batch: leaves the first dimension of every input and output open.
    """

    opset: int = 17
    dynamic_batch: bool = True

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise ConfigError(f"opset {self.opset!r} is not allowed; known: {OPSETS.start} to {OPSETS.stop - 1}")

    @property
    def suffix(self) -> str:
        return ".onnx"

    def to_bytes(self, model: nn.Module, inputs: tuple[Tensor, ...], metadata: Mapping[str, str]) -> bytes:
        """The file's content in memory.

        Raises:
            ExportError: as `write`.
        """
        import onnx
        import torch

        file = io.BytesIO()
        with evaluating(model), warnings.catch_warnings():
            # The tracing exporter calls itself deprecated; its successor takes seconds a network instead of tenths.
            warnings.simplefilter("ignore")
            try:
                ins, outs = _names("input", len(inputs)), _names("output", len(forward(model, inputs)))
                torch.onnx.export(
                    model,
                    inputs,
                    file,  # type: ignore[arg-type]  # only the successor insists on a path
                    dynamo=False,
                    opset_version=self.opset,
                    input_names=ins,
                    output_names=outs,
                    dynamic_axes={name: {0: "batch"} for name in ins + outs} if self.dynamic_batch else None,
                )
            except (RuntimeError, TypeError, ValueError) as error:
                raise self._refusal(model, error) from error
        notes = [onnx.StringStringEntryProto(key=key, value=value) for key, value in metadata.items()]
        # Joined protocol buffers are a merged message: no need to parse the weights in order to add a few words.
        return file.getvalue() + bytes(onnx.ModelProto(metadata_props=notes).SerializeToString())

    def write(self, model: nn.Module, inputs: tuple[Tensor, ...], path: Path, metadata: Mapping[str, str], /) -> None:
        content = self.to_bytes(model, inputs, metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def outputs(self, path: Path, inputs: tuple[Tensor, ...], /) -> list[NDArray[np.float32]]:
        loaded = session(path)
        return list(loaded.run(None, feed(loaded, inputs)))

    def metadata(self, path: Path, /) -> Mapping[str, Any]:
        return dict(session(path).get_modelmeta().custom_metadata_map)

    def _refusal(self, model: nn.Module, error: Exception) -> ExportError:
        what = f"{type(model).__name__} cannot be written as ONNX opset {self.opset}"
        operator = re.search(r"aten::\w+", str(error))
        if operator is None:
            return ExportError(f"{what}: {str(error).partition(chr(10))[0]}")
        newer = f", or try a newer opset (up to {OPSETS.stop - 1})" if self.opset < OPSETS.stop - 1 else ""
        hint = f"Express {operator[0]!r} through other operators in the family{newer}."
        return ExportError(f"{what}: the operator {operator[0]!r} has no counterpart there", hint=hint)


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}{number}" for number in range(1, count + 1)]


def session(source: bytes | Path, threads: int = 1, spinning: bool = False) -> InferenceSession:
    """A network loaded into ONNX Runtime on the CPU, with all its graph optimisations.

    Args:
        source: the content of an ONNX file, or where it lies.
        threads: within one operator; operators run one after the other.
        spinning: whether threads that wait for work keep their core busy.

    Raises:
        ExportError: there is no such file, or ONNX Runtime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors alone: unused weights and the like are no news
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    try:
        content = source if isinstance(source, bytes) else str(source)
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base but this one
        what = "a network" if isinstance(source, bytes) else repr(str(source))
        raise ExportError(f"ONNX Runtime cannot load {what}: {error}") from error


def feed(loaded: InferenceSession, inputs: tuple[Tensor, ...]) -> dict[str, NDArray[Any]]:
    """Inputs under the names that a loaded network gives them.

    Raises:
        ExportError: too many inputs, or too few.
    """
    names = [item.name for item in loaded.get_inputs()]
    if len(names) != len(inputs):
        raise ExportError(f"the file has the inputs {', '.join(names)}, but {len(inputs)} were given")
    return {name: np.ascontiguousarray(tensor.numpy(force=True)) for name, tensor in zip(names, inputs, strict=True)}


__all__ = ["Onnx", "feed", "session"]
