"""Fisher (Theis et al., 2018; Turner et al., 2020): how much the loss would feel the loss of each channel.

Shape letters: B inputs, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from hwnas.candidate import Candidate
from hwnas.quality._probe import Call, Proxy, Setting, Watcher, check_batch
from hwnas.quality._samples import rows
from hwnas.quality._untrained import Init


@dataclass(frozen=True)
class Fisher(Proxy):
    """The sensitivity of the loss to all channels of an untrained network; more is better.

    score = sum over the channels of all convolutions and linear layers of mean_b (sum_p a dL/da)^2 / 2, where a is what
    the layer gives, p runs over positions (or tokens), b over the batch, and L is the mean cross-entropy of noise with
    random labels. Every channel counts once, as in the formula. The released code of zero-cost NAS counts it once for
    every weight that it has; `weighted` does so. BatchNorm uses the statistics of the batch.

    Args:
        batch: B, inputs at once.
        init: how weights are drawn: "default" (the family's own), "kaiming" or "normal".
        weighted: each channel as often as it has weights, as in the released code.
    """

    batch: int = 8
    init: Init = "default"
    weighted: bool = False

    def __post_init__(self) -> None:
        check_batch(self.batch, 1)

    def settings(self) -> tuple[Setting, ...]:
        return (Setting(init=self.init, batch=self.batch),)

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Channels(self)


class _Channels(Watcher):
    def __init__(self, metric: Fisher) -> None:
        self.metric = metric

    def calls(self, calls: Sequence[Call]) -> None:
        self.total = 0.0
        for call in calls:
            if isinstance(call.module, nn.modules.conv._ConvNd | nn.Linear):
                by_sample_BC = _by_sample(call, self.metric.batch)
                each = call.module.weight.numel() // by_sample_BC.shape[1] if self.metric.weighted else 1
                self.total += each * float(by_sample_BC.double().square().mean(0).sum()) / 2

    def score(self) -> float:
        return self.total


def _by_sample(call: Call, batch: int) -> Tensor:
    """a dL/da, summed over positions: B x C."""
    product, own = call.output * call.slope, rows(call, batch)
    if isinstance(call.module, nn.Linear):
        return product.reshape(batch, -1, product.shape[-1]).sum(1)
    return product.reshape(batch, own, product.shape[1], -1).sum((1, 3))


__all__ = ["Fisher"]
