"""Where weights come from: what a source of weights must offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from hwnas.parts import contract
from hwnas.progress import Watch, silent

if TYPE_CHECKING:
    from torch import Tensor


@contract("weights")
class Weights(Protocol):
    """The big network's tensors, from which every candidate's are cut: the contract of `weights/`."""

    def prepare(self, watch: Watch = silent, /) -> None:
        """Makes the weights exist: trains, resumes or loads them. Called once, before the search."""
        ...

    def check(self) -> None:
        """Says at once what `prepare` would find wrong later, such as too few images for a batch.

        Raises:
            ConfigError: options that do not fit the data or the family.
        """
        return None

    def tensors(self) -> Mapping[str, Tensor]:
        """All parameters and buffers of the big network by name; `prepare` must have finished, in this process or not.

        Raises:
            WeightsError: there are none yet.
        """
        ...

    def estimate(self) -> float:
        """Seconds that `prepare` will take; 0.0 if the weights are there."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change whenever the weights would; judgements with others are not comparable."""
        ...


__all__ = ["Weights"]
