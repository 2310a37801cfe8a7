"""Super-networks whose networks hwnas cannot build yet: spaces to search by what follows from the code alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from hwnas.candidate import Family
from hwnas.compat.dynast.supernets import find
from hwnas.errors import MetricError
from hwnas.space import Arch, Space

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Elastic(Family):
    """The space of one of DyNAS-T's super-networks; its MACs and parameters are known, its networks cannot be built.

    Args:
        of: DyNAS-T's name of it, such as `ofa_resnet50`.
    """

    of: str

    buildable: ClassVar[bool] = False
    tiny: ClassVar[Mapping[str, Any]] = {"of": "ofa_resnet50"}

    def __post_init__(self) -> None:
        find(self.of)

    @property
    def name(self) -> str:
        return self.of

    @property
    def space(self) -> Space:
        return find(self.of).space

    def build(self, arch: Arch, /) -> nn.Module:
        self._refuse()

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        hint = "its macs and params are exact, and a search can use those; nothing else can be measured"
        raise MetricError(f"the networks of {self.of} cannot be built: hwnas has no family for them yet", hint=hint)


__all__ = ["Elastic"]
