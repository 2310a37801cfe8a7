"""Accuracy of the subnet with the supernet's weights, BatchNorm re-calibrated for it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.candidate import Candidate, Family
from hwnas.data import Data, Part, Split, batches, like_of
from hwnas.errors import ConfigError, MetricError
from hwnas.seeds import derive
from hwnas.trial import Metric, Reading
from hwnas.weights import Weights
from hwnas.weights.share import borrow, calibrate, call, extract, tensors_of

__all__ = ["Shared"]

KEPT = 1 << 30
"""Bytes of inputs that are kept ready for networks; larger splits are made ready anew for every subnet."""


@dataclass(frozen=True)
class Shared(Metric):
    """The share of images that a subnet gets right with weights cut out of the supernet (Cai et al., 2020).

    BatchNorm statistics are made anew for every subnet on training examples, drawn once by seed: without that the
    statistics belong to another network and the accuracy says little. The search sees the `val` split; finalists are
    judged on `test`.

    Args:
        calibration: training examples for BatchNorm.
        batch: examples in a forward pass.
    """

    family: Family
    data: Data
    weights: Weights
    seed: int = 0
    torch_device: str = "cpu"
    calibration: int = 512
    batch: int = 128
    split: Literal["val", "test"] = "val"

    unit: ClassVar[str] = "%"
    tiny: ClassVar[Mapping[str, Any]] = {"calibration": 64, "batch": 64}

    def __post_init__(self) -> None:
        for name in ("calibration", "batch"):
            if getattr(self, name) < 2:
                raise ConfigError(f"{name} must be at least 2 examples, not {getattr(self, name)!r}")

    def __call__(self, candidate: Candidate, /) -> Reading:
        """Accuracy, 0 ... 1, with its 95 % interval (Wilson) in the details.

        Raises:
            MetricError: the outputs are not one per class, or not finite.
        """
        tensors, right = self.tensors(candidate), 0
        with torch.no_grad():
            for x, labels in self._batches(self.split, candidate):
                logits = call(candidate.skeleton, tensors, x)
                if logits.shape != (len(x), len(self.data.classes)):
                    wanted = f"{len(self.data.classes)} outputs, one per class of {self.data.name!r}"
                    raise MetricError(
                        f"the network must have {wanted}; for {len(x)} examples it gives {[*logits.shape]}"
                    )
                if not logits.isfinite().all():
                    raise MetricError("the network's outputs are not finite: the shared weights are spoilt")
                right += int((logits.argmax(1) == labels).sum())
        count = len(self._split(self.split))
        low, high = wilson(right, count)
        return Reading(right / count, {"low": low, "high": high, "examples": count, "split": self.split})

    def tensors(self, candidate: Candidate) -> dict[str, Tensor]:
        """The subnet's tensors: borrowed, with statistics of its own."""
        with torch.no_grad():
            borrowed = borrow(self.family, candidate.arch, candidate.skeleton, self.weights.tensors())
        return calibrate(candidate.skeleton, borrowed, (x for x, _ in self._batches("train", candidate)))

    def extract(self, candidate: Candidate) -> nn.Module:
        """The subnet as a plain network of its own: what is deployed."""
        return extract(self.family, candidate.arch, self.tensors(candidate))

    def confirmed(self) -> Shared:
        """The judge of the finalists: the `test` split, which no search has seen."""
        return dataclasses.replace(self, split="test")

    def estimate(self, candidate: Candidate) -> float:
        """Seconds for one subnet, from one batch with untrained weights."""
        x, _ = next(iter(self._batches("train", candidate)))
        tensors = {name: tensor.to(self.torch_device) for name, tensor in tensors_of(candidate.model).items()}
        with torch.no_grad():
            call(candidate.skeleton, tensors, x)
            began = time.perf_counter()
            call(candidate.skeleton, tensors, x)
        count = min(self.calibration, len(self._split("train"))) * 1.5 + len(self._split(self.split))
        return (time.perf_counter() - began) / len(x) * count

    # --- inputs, made ready once per size ---------------------------------------------------------------------------

    def _batches(self, part: Part, candidate: Candidate) -> Iterable[tuple[Tensor, Tensor]]:
        like, split = like_of(candidate.family, candidate.arch), self._split(part)
        made = batches(split, self.data, self.batch, like, self.torch_device)
        if len(split) * like.nbytes > KEPT:
            return made
        if (part, like.shape) not in self._ready:
            self._ready[part, like.shape] = list(made)
        return self._ready[part, like.shape]

    def _split(self, part: Part) -> Split:
        return self._calibration if part == "train" else self.data.split(part)

    @functools.cached_property
    def _ready(self) -> dict[tuple[Part, torch.Size], list[tuple[Tensor, Tensor]]]:
        return {}

    @functools.cached_property
    def _calibration(self) -> Split:
        """Training examples drawn once by seed, in whole batches, since batches weigh the same."""
        split = self.data.split("train")
        rng = np.random.default_rng(derive(self.seed, "calibration"))
        size = min(self.batch, len(split))
        count = max(1, min(self.calibration, len(split)) // size) * size
        rows = torch.from_numpy(np.sort(rng.permutation(len(split))[:count]))
        return Split(split.inputs[rows], split.labels[rows])


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson, 1927), 95 % by default: honest near 0 and 1, where others leave the range.

    Example:
        >>> [round(end, 3) for end in wilson(95, 100)]
        [0.888, 0.978]
    """
    share, scale = right / count, 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    half = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5 / scale
    return max(0.0, centre - half), min(1.0, centre + half)  # rounding would leave the range
