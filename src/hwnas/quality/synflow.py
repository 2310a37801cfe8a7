"""SynFlow (Tanaka et al., 2020; Abdelfattah et al., 2021): how much signal flows through all positive weights.

Letters: W the weights of one layer, R the sum of the outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.quality._flow import flow
from hwnas.quality._untrained import Init
from hwnas.trial import Metric


@dataclass(frozen=True)
class Synflow(Metric):
    """The synaptic flow through a network that was made linear and positive; more is better.

    score = log sum |W dR/dW| over all convolution and linear weights, on one input of ones, in float64, with the
    absolute value of every parameter and all biases 0. With `log` it is log-SynFlow (Cavagnero et al., 2023),
    sum |W| log(1 + |dR/dW|), which grows less wildly with depth and ranks better.

    The flow is conserved, that is, equal in all layers of a chain, only if the network is linear. So normalisation
    is bypassed; activations (ReLU and its kin, with ReLU6, Hardswish and tanh), whose arguments can't be negative here,
    return them as they are; and sigmoid and hard sigmoid, which are the gates of squeeze-and-excitation, return 1: the
    gate is open and the weights that drive it count 0 (as an identity the gate would square the signal in every block).
    Attention looks everywhere alike: its weights add up to 1 and keep the flow, and queries and keys count 0. Functions
    are recognised, not modules, so that an activation written as a call is treated alike; one written out in arithmetic
    is not recognised. Of Transformers the score is a heuristic.

    The score says how large a network is more than how good. The signs of the weights do not matter, their size does.

    Args:
        log: log-SynFlow instead.
        init: how weights are drawn: "kaiming" (normal, fan-in) or "default" (the family's own).
    """

    log: bool = False
    init: Init = "kaiming"

    def __call__(self, candidate: Candidate, /) -> float:
        """The score of one candidate.

        Raises:
            MetricError: no path leads from the input to the output, or the flow exceeds float64.
        """
        pairs, exponent = flow(candidate, self.init)
        total = sum(float((weight * slope).sum()) for weight, slope in pairs.values())
        if total == 0.0:
            raise MetricError("no signal flows: no path leads from the input to the output")
        beyond = exponent * math.log(2)
        if self.log:  # log(1 + s 2^e) from log s, as s 2^e may be out of range
            return sum(
                float((weight * (slope.log1p() if not exponent else F.softplus(slope.log() + beyond))).sum())
                for weight, slope in pairs.values()
            )
        return math.log(total) + beyond


__all__ = ["Synflow"]
