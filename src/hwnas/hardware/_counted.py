"""What the metrics that count share: the values of many codes from a family that counts by formula."""

# Shape letters: N codes, G choices of the space.

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.candidate import Countable
from hwnas.codes import Codes

Many: TypeAlias = Callable[[Codes], NDArray[np.float64]]


def counted(family: object, which: Literal[0, 1]) -> Many | None:
    """The MACs (0) or the parameters (1) of N x G codes; None where the family has to build networks for them."""
    if not isinstance(family, Countable):
        return None

    def of_codes(codes_NG: Codes) -> NDArray[np.float64]:
        return family.counts(codes_NG)[which].astype(np.float64)

    return of_codes
