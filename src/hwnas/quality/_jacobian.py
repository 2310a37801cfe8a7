"""How the gradients of the outputs with respect to the inputs, one row for each input, are correlated.

Shape letters: B inputs, D numbers in one input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hwnas.errors import MetricError


def jacobian(slopes: Sequence[Tensor]) -> Tensor:
    """The gradients of all inputs of a network side by side: B x D, in float64.

    Raises:
        MetricError: there are none, since the network takes neither real numbers nor ids that it looks up.
    """
    if not slopes:
        raise MetricError(
            "the network takes no real numbers, and looks up no vectors for them: it has no input gradient"
        )
    return torch.cat([slope.double().flatten(1) for slope in slopes], dim=1)


def correlation(rows_BD: Tensor) -> Tensor:
    """The correlation between rows: B x B.

    Raises:
        MetricError: a row is constant or not finite, so that it is correlated with nothing.
    """
    centred_BD = rows_BD - rows_BD.mean(1, keepdim=True)
    lengths_B1 = centred_BD.norm(dim=1, keepdim=True)
    if not (lengths_B1.isfinite().all() and (lengths_B1 > 1e-12 * rows_BD.norm(dim=1, keepdim=True)).all()):
        raise MetricError("the gradient with respect to an input is constant or not finite: it correlates with nothing")
    unit_BD: Tensor = centred_BD / lengths_B1
    return (unit_BD @ unit_BD.T).clamp(-1, 1)
