"""MACs or parameters of DyNAS-T's super-networks by closed formulas: exact, and no network is built for them."""

# Shape letters: N codes, G choices of the space.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hwnas.candidate import Candidate, Family
from hwnas.codes import Codes
from hwnas.compat.dynast.supernets import find
from hwnas.errors import ConfigError
from hwnas.trial import Metric


@dataclass(frozen=True)
class Counted(Metric):
    """The multiplications of one forward pass on one input, or the trainable numbers of the extracted network.

    Args:
        family: one with the super-network's space.
        supernet: DyNAS-T's name of it.
        what: "macs" or "params".
        classes: outputs of the classifier, where the super-network has one.
    """

    family: Family
    supernet: str
    what: Literal["macs", "params"]
    classes: int = 1000

    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = ""
    tiny: ClassVar[Mapping[str, Any]] = {"supernet": "ofa_resnet50", "what": "macs"}

    def __post_init__(self) -> None:
        if self.family.space.choices != find(self.supernet).space.choices:
            raise ConfigError(f"family {self.family.name!r} has another space than super-network {self.supernet!r}")

    def __call__(self, candidate: Candidate, /) -> float:
        return self.many([candidate])[0]

    def many(self, candidates: Sequence[Candidate], /) -> list[float]:
        """The values of a batch, in order."""
        codes_NG = np.array([candidate.code for candidate in candidates], dtype=np.int64)
        values: list[float] = self.of_codes(codes_NG.reshape(-1, len(self.family.space))).tolist()
        return values

    def of_codes(self, codes_NG: Codes) -> NDArray[np.float64]:
        """The values of many codes, N."""
        macs, params = find(self.supernet).counts(codes_NG, self.classes)
        return np.asarray({"macs": macs, "params": params}[self.what], dtype=np.float64)


__all__ = ["Counted"]
