"""Layers, parameters or operations of a CNN as DE-NAS's budgets count them, from its structure alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError
from hwnas.trial import Metric


@dataclass(frozen=True)
class Counted(Metric):
    """What the keys `budget_num_layers`, `budget_model_size` and `budget_flops` limit.

    - layers: all sub-layers; one of a bottleneck kind counts once, although it has six convolutions.
    - size: parameters, of which a BatchNorm counts one per channel, and the classifier's bias one in all.
    - flops: multiplications and BatchNorm's operations, projections at a stride divided twice.

    Args:
        family: one whose networks have structures.
        what: "layers", "size" or "flops".
    """

    family: Any
    what: Literal["layers", "size", "flops"]

    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not hasattr(self.family, "structure_of"):
            raise ConfigError(f"the networks of {self.family.name} have no structures whose {self.what} could count")

    def __call__(self, candidate: Candidate, /) -> float:
        from hwnas.families import _plainnet

        family = self.family
        structure = family.structure_of(candidate.arch)
        if self.what == "layers":
            return float(_plainnet.layers(structure))
        if self.what == "size":
            return float(_plainnet.size_estimate(structure, family.classes))
        return float(_plainnet.flops(structure, family.classes, family.resolution))


__all__ = ["Counted"]
