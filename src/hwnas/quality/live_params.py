"""Parameters of the layers that matter: those on a path from the input to the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwnas.candidate import Candidate
from hwnas.layers import params
from hwnas.quality._flow import live
from hwnas.trial import Metric


@dataclass(frozen=True)
class LiveParams(Metric):
    """How many parameters can change the output; of two networks of one size, the one with more is better.

    A layer counts if the output depends on its weights where all weights are positive, activations are linear and
    normalisation is bypassed, so that nothing cancels: operations on zeros and results that nobody uses count nothing.
    In spaces of cells it is a hard baseline for every other score (see also the graph features of GRAF, Kadlecová et
    al., 2024); where every layer is alive it equals `hardware.params`.
    """

    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __call__(self, candidate: Candidate, /) -> float:
        """The count of one candidate.

        Raises:
            MetricError: no path leads from the input to the output.
        """
        return float(params(live(candidate)))


__all__ = ["LiveParams"]
