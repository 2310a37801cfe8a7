"""The big network's tensors out of a file: trained elsewhere, with hwnas or with any other program."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from hwnas import parts
from hwnas.candidate import Family
from hwnas.errors import WeightsError
from hwnas.progress import Watch, silent
from hwnas.seeds import seeded
from hwnas.weights import Weights
from hwnas.weights.share import tensors_of

__all__ = ["Checkpoint"]

SHOWN = 3
"""So many names a message lists."""
FOREIGN = ("inverted_bottleneck.", "mobile_inverted_conv.", "to3_matrix", "to5_matrix")
"""Parts of names that only Once-for-All's own files have."""
WRAPPINGS = ("state_dict", "model", "tensors")
"""Keys under which training programs keep the tensors, beside other things."""
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Of .safetensors files."""


@dataclass(frozen=True)
class Checkpoint(Weights):
    """A PyTorch state dict, read without unpickling objects, or a `.safetensors` file.

    Names and shapes must be those of the family's supernet; buffers that count batches may be missing, and other
    buffers too, since BatchNorm is calibrated for every network.

    Args:
        path: the file.
    """

    family: Family
    path: str
    torch_device: str = "cpu"

    @classmethod
    def example(cls, place: Path) -> Self:
        """An untrained supernet of a small family, written into a file for the contract tests."""
        family = parts.make("families", {"mobilenetv3": {"classes": 10, "resolution": 16, "width": 0.1}})
        with seeded(0):
            torch.save(tensors_of(family.supernet()), place / "supernet.pt")
        return cls(family, str(place / "supernet.pt"))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the file's content."""
        digest = hashlib.sha256()
        try:
            with self._file.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise WeightsError(f"the weights {self._file} cannot be read: {error.strerror}") from error
        return digest.hexdigest()[:16]

    def prepare(self, watch: Watch = silent, /) -> None:
        """Reads the file and compares it with the family."""
        self._tensors  # noqa: B018  # read once, kept

    def check(self) -> None:
        """The same: whatever is wrong with the file is told before anything else is done."""
        self.prepare()

    def tensors(self) -> Mapping[str, Tensor]:
        return self._tensors

    def estimate(self) -> float:
        """The weights are there."""
        return 0.0

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser()

    @functools.cached_property
    def _tensors(self) -> dict[str, Tensor]:
        found = read(self._file)
        _reject_foreign(found, self._file)
        with torch.device("meta"):
            model = self.family.supernet()
        wanted = tensors_of(model)
        _reject_misfits(found, dict(model.named_parameters()), wanted, self._file, self.family.name)
        fresh = {name: _neutral(name, like) for name, like in wanted.items() if name not in found}
        both = {**found, **fresh}
        return {name: both[name].to(self.torch_device, like.dtype) for name, like in wanted.items()}


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing in it is executed.

    Raises:
        WeightsError: it cannot be read, or holds something else.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file of weights {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        hint = "save the tensors alone: torch.save(model.state_dict(), path)"
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path} is no PyTorch file of plain tensors: {reason}", hint=hint) from error
    for key in WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(x, Tensor) for x in content.values()):
        raise WeightsError(f"{path} holds no mapping of names to tensors, but {type(content).__name__}")
    names = {str(name).removeprefix("module."): tensor for name, tensor in content.items()}  # as nn.DataParallel saves
    return {name: tensor.detach() for name, tensor in names.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """The format of safetensors 1.0: the length of a JSON header in 8 bytes, the header, and the tensors' bytes."""
    try:
        raw = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(raw[:8], "little")
        entries = json.loads(raw[8:start])
        entries.pop("__metadata__", None)
        return {name: _placed(raw, start, **entry) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path} is no .safetensors file: {error}") from error


def _placed(raw: bytearray, start: int, dtype: str, shape: list[int], data_offsets: tuple[int, int]) -> Tensor:
    """One tensor, as a copy: in a file it need not lie where its type may."""
    begin, end = data_offsets
    kind, place = DTYPES[dtype], slice(start + begin, start + end)
    if place.stop > len(raw) or begin > end or (end - begin) != kind.itemsize * math.prod(shape):
        raise ValueError(f"a tensor of shape {shape} does not lie at bytes {begin} to {end}")
    if begin == end:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(raw[place], dtype=kind).reshape(shape)


def _reject_foreign(found: Mapping[str, Tensor], path: Path) -> None:
    marks = [name for name in found if any(part in name for part in FOREIGN)]
    if marks:
        message = f"{path} has the names of Once-for-All's own files, such as {marks[0]}"
        hint = (
            "those networks turn large kernels into small ones by trained matrices, which hwnas does not do yet; "
            "give weights with the names of hwnas' own supernet"
        )
        raise WeightsError(message, hint=hint)


def _reject_misfits(
    found: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    path: Path,
    family: str,
) -> None:
    """Names and shapes, all at once, so that one look tells what the file is."""
    missing = [name for name in parameters if name not in found]
    strange = [name for name in found if name not in wanted]
    shapes = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(like.shape)}"
        for name, like in wanted.items()
        if name in found and found[name].shape != like.shape
    ]
    told = [
        f"{len(names)} {what}, such as {', '.join(names[:SHOWN])}"
        for names, what in ((missing, "are missing"), (strange, "are unknown"), (shapes, "have another shape"))
        if names
    ]
    if told:
        hint = "the options of the family (classes, width, kernels …) must be those that the weights were made for"
        raise WeightsError(f"the tensors of {path} are not those of family {family!r}: {'; '.join(told)}", hint=hint)
    wild = [name for name, tensor in found.items() if not tensor.isfinite().all()]
    if wild:
        raise WeightsError(f"{path} holds values that are not finite, in {', '.join(wild[:SHOWN])}")


def _neutral(name: str, like: Tensor) -> Tensor:
    """A buffer that a file left out, as a new BatchNorm has it: variances 1, all else 0."""
    fill = torch.ones if name.endswith("running_var") else torch.zeros
    return fill(like.shape, dtype=like.dtype)
