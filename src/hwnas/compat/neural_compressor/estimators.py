"""What DyNAS predicts with: a metric learnt from results, and counts, which need no learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import DataError
from hwnas.seeds import derive
from hwnas.space import Code

if TYPE_CHECKING:
    from hwnas.compat.dynast.supernets import Supernet
    from hwnas.predictors import Fitted


@dataclass(frozen=True)
class Learnt:
    """A metric as it was learnt from evaluated sub-networks, in the unit of the result file."""

    supernet: Supernet
    metric: str
    fitted: Fitted

    def predict(self, individuals: ArrayLike) -> NDArray[np.float64]:
        """What to expect of sub-networks.

        Args:
            individuals: one vector of DyNAS-T, or N of them.

        Returns:
            N.
        """
        return self.fitted.mean(_codes(self.supernet, individuals))


@dataclass(frozen=True)
class Count:
    """MACs or parameters, by exact formulas."""

    supernet: Supernet
    metric: str

    def predict(self, individuals: ArrayLike) -> NDArray[np.float64]:
        """The counts of sub-networks.

        Args:
            individuals: one vector of DyNAS-T, or N of them.

        Returns:
            N.
        """
        macs, params = self.supernet.counts(_codes(self.supernet, individuals))
        return np.asarray({"macs": macs, "params": params}[self.metric], dtype=np.float64)


def learnt(supernet: Supernet, metric: str, values: Mapping[Code, float], seed: int) -> Learnt:
    """A Gaussian process on all results that have the metric.

    Raises:
        DataError: too few of them.
    """
    from hwnas.predictors import LEAST
    from hwnas.predictors.gp import Gp

    if len(values) < LEAST:
        message = f"{len(values)} results with {metric} are too few to learn from; {LEAST} are the least"
        raise DataError(message, hint="run agent.search() first")
    codes_NG = np.array(list(values), dtype=np.int64)
    rng = np.random.default_rng(derive(seed, "predictor", metric))
    return Learnt(supernet, metric, Gp().fit(supernet.space, codes_NG, np.array(list(values.values())), rng))


def _codes(supernet: Supernet, individuals: ArrayLike) -> NDArray[np.int64]:
    vectors: Sequence[Any] = np.atleast_2d(np.asarray(individuals, dtype=float)).tolist()
    return np.array([supernet.from_vector(vector) for vector in vectors], dtype=np.int64)


__all__ = ["Count", "Learnt", "learnt"]
