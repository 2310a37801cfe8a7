"""Parameters of a Transformer without its head: what DE-NAS counts, which adds heads only when it trains."""

# Shape letters: N codes, G choices of the space.

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwnas import codes
from hwnas.candidate import Candidate, Countable, Family
from hwnas.codes import Codes, Floats
from hwnas.hardware._counted import Many
from hwnas.trial import Metric


@dataclass(frozen=True)
class Body(Metric):
    """Trainable parameters outside the modules whose role is "head".

    Args:
        family: one that counts by formula lets a search know many networks at once; its heads depend on `width` alone.
    """

    family: Family

    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __call__(self, candidate: Candidate, /) -> float:
        whole = sum(parameter.numel() for parameter in candidate.skeleton.parameters())
        return float(whole - _head(candidate))

    @property
    def of_codes(self) -> Many | None:
        """The parameters of many codes, where the family counts by formula."""
        family = self.family
        if not isinstance(family, Countable):
            return None

        def values(codes_NG: Codes) -> Floats:
            heads = [self._head_of(code) for code in codes.tuples(codes_NG)]
            return family.counts(codes_NG)[1].astype(np.float64) - np.array(heads, dtype=np.float64)

        return values

    def _head_of(self, code: tuple[int, ...]) -> int:
        width = self.family.space.decode(code)["width"]
        if width not in self._heads:
            self._heads[width] = _head(Candidate(self.family, self.family.canonical(code)))
        return self._heads[width]

    @functools.cached_property
    def _heads(self) -> dict[object, int]:
        """Parameters of the head, by width; a network is built for each of them once."""
        return {}


def _head(candidate: Candidate) -> int:
    """Parameters of a network's head."""
    model = candidate.skeleton
    roles = candidate.family.roles(model)
    modules = [model.get_submodule(name.rpartition(".")[0]) for name, role in roles.items() if role == "head"]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


__all__ = ["Body"]
