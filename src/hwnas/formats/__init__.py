"""Files to deploy: what a format must offer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hwnas.parts import contract

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn


@contract("formats")
class Format(Protocol):
    """Turns a network into a file and says what that file computes: the contract of `formats/`."""

    @property
    def suffix(self) -> str:
        """The usual end of a file's name, with its dot."""
        ...

    def write(self, model: nn.Module, inputs: tuple[Tensor, ...], path: Path, metadata: Mapping[str, str], /) -> None:
        """Writes the network in evaluation mode; the file appears whole or not at all.

        Raises:
            ExportError: the network cannot be expressed in this format.
        """
        ...

    def outputs(self, path: Path, inputs: tuple[Tensor, ...], /) -> list[NDArray[np.float32]]:
        """What the written file computes for these inputs."""
        ...

    def metadata(self, path: Path, /) -> Mapping[str, Any]:
        """What was stored beside the weights."""
        ...


__all__ = ["Format"]
