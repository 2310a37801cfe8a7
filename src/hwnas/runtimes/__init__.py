"""What runs a network on the target machine: what a runtime must offer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hwnas.parts import contract

if TYPE_CHECKING:
    from torch import Tensor, nn


class Session(Protocol):
    """A network that is loaded and ready; every call is one forward pass on the inputs that it was loaded with."""

    size: int
    """Bytes of the file that holds the network."""

    def __call__(self) -> None:
        """One forward pass."""
        ...


@contract("runtimes")
class Runtime(Protocol):
    """Loads networks for timing: the contract of `runtimes/`."""

    @property
    def version(self) -> str:
        """Name and version, for the record."""
        ...

    def load(self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        """A module made ready to run with so many threads."""
        ...

    def open(self, path: Path, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        """The same for a file that was written before.

        Raises:
            ExportError: this runtime cannot read the file.
        """
        ...


__all__ = ["Runtime", "Session"]
