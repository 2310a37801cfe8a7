"""The toys: a problem that costs nothing, a family, untrained weights, and parts as the checks want them."""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto, parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, nearest
from hwnas.progress import Watch, silent
from hwnas.seeds import seeded
from hwnas.space import Arch, Choice, Code, Space
from hwnas.trial import Goal, Trial, losses
from hwnas.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hwnas.data import Data


SIDE = 8
"""Of the toy family's images, in pixels."""
_KERNELS, _EXPANDS, _BRANCHES, _ACTS = (3, 5, 7), (2, 4, 6), ("none", "skip", "pool", "conv"), ("relu", "silu", "gelu")


def _blocks() -> Iterator[Choice]:
    for block in range(5):
        when = ("depth", tuple(range(block + 1, 6))) if block > 0 else None
        yield Choice(f"block{block}.kernel", _KERNELS, when)
        yield Choice(f"block{block}.expand", _EXPANDS, when)
        yield Choice(f"block{block}.branch", _BRANCHES, when)


SPACE = Space("toy", (Choice("depth", (1, 2, 3, 4, 5)), Choice("act", _ACTS), *_blocks()))
"""Seventeen choices, numbers and words, most of them only active at some depth."""


def judge(code: Code) -> dict[str, float]:
    """Accuracy grows with size, but less and less, and depends on which words go together; latency adds up."""
    arch: Mapping[str, Any] = SPACE.decode(code)
    score, latency = 0.0, 1.0
    for block in range(arch["depth"]):
        kernel, expand, branch = (arch[f"block{block}.{axis}"] for axis in ("kernel", "expand", "branch"))
        latency += expand * kernel * (0.2 + 0.1 * block) + {"conv": 6, "pool": 2, "skip": 0.5, "none": 0}[branch]
        score += expand * kernel**0.5 * (1.0 if block % 2 else 0.6)
        score += {"conv": 6, "pool": 1, "skip": 4 if expand == 2 else 1, "none": 0}[branch]
    score *= {"relu": 0.8, "silu": 1.0, "gelu": 0.9}[arch["act"]]
    return {"accuracy": 1 - math.exp(-score / 30), "latency": latency}


def accuracy(candidate: Candidate) -> float:
    """The made-up accuracy of a toy network, which is not built for it."""
    return judge(candidate.code)["accuracy"]


def latency(candidate: Candidate) -> float:
    """The made-up latency of a toy network."""
    return judge(candidate.code)["latency"]


def spread(candidate: Candidate) -> float:
    """How far apart the choices of a toy network are."""
    return _spread(candidate.code)


def _spread(code: Code) -> float:
    return float(max(code) - min(code))


GOALS = (Goal("accuracy", accuracy, "max"), Goal("latency", latency, "min"))
"""Two goals that conflict and cost nothing."""
LIMITED = (GOALS[0], Goal("latency", latency, "min", limit=15.0))
"""The same with a limit that few random networks keep."""
SPREAD = Goal("spread", spread, "min", exact=_spread)
"""A third goal, for searches that pursue many."""
REFERENCE = (0.0, 80.0)
"""For the hypervolume of toy trials: no accuracy at all, and a latency that hardly any network has."""


def volume(trials: Iterable[Trial]) -> float:
    """The hypervolume of some trials of the toy problem."""
    return pareto.hypervolume(losses(list(trials), GOALS), REFERENCE)


@dataclass(frozen=True)
class Toy(Family):
    """Networks of up to five blocks that run in a millisecond; with a table, which is computed as it is read.

    Args:
        dropout: before the classifier, so that training draws random numbers.
    """

    classes: int = 10
    dropout: float = 0.1

    space: ClassVar[Space] = SPACE

    @property
    def name(self) -> str:
        return "toy"

    def build(self, arch: Arch, /) -> nn.Module:
        from torch import nn

        acts: dict[Any, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
        branches: dict[Any, Callable[[], nn.Module]] = {
            "skip": nn.Identity,
            "pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
            "conv": lambda: nn.Conv2d(8, 8, 3, padding=1),
        }

        def conv(channels: int, out: int, kernel: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out)]

        def block(kernel: Any, expand: Any, branch: Any) -> nn.Module:
            main = nn.Sequential(*conv(8, 2 * expand, kernel), acts[arch["act"]](), *conv(2 * expand, 8, 1))
            return _sum()({"main": main, **({branch: branches[branch]()} if branch in branches else {})})

        net = OrderedDict[str, nn.Module](stem=nn.Sequential(*conv(3, 8, 3), acts[arch["act"]]()))
        for number in range(int(arch["depth"])):
            net[f"block{number}"] = block(*(arch[f"block{number}.{axis}"] for axis in ("kernel", "expand", "branch")))
        net |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": nn.Dropout(self.dropout)}
        net["classifier"] = nn.Linear(8, self.classes)
        return nn.Sequential(net)

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        import torch

        return (torch.randn(batch, 3, SIDE, SIDE),)

    def column(self, name: str, /) -> NDArray[np.float64]:
        """A column of the table at the two ends of the space."""
        ends = [judge(SPACE.smallest), judge(SPACE.largest)]
        if name not in ends[0]:
            raise ConfigError(f"the toy table has no column {name!r}; {nearest(name, ends[0])}")
        return np.array([row[name] for row in ends])

    def value(self, column: str, code: Code, /) -> float:
        """What the table says about a network."""
        return judge(code)[column]


@functools.cache
def _sum() -> type[nn.Module]:
    """A module that adds up what its branches make of one input; here, so that importing this file needs no torch."""
    from torch import nn

    class Sum(nn.ModuleDict):
        def forward(self, x: Tensor) -> Tensor:
            terms = [branch(x) for branch in self.values()]
            total: Tensor = sum(terms[1:], terms[0])
            return total

    return Sum


@dataclass(frozen=True)
class Untrained(Weights):
    """A supernet with fresh weights: the double of a trained one."""

    family: Family
    seed: int = 0

    def prepare(self, watch: Watch = silent, /) -> None:
        """There is nothing to do."""

    def tensors(self) -> Mapping[str, Tensor]:
        return self._tensors

    @functools.cached_property
    def _tensors(self) -> dict[str, Tensor]:
        from hwnas.weights.share import tensors_of

        with seeded(self.seed):
            return {name: tensor.detach() for name, tensor in tensors_of(self.family.supernet()).items()}

    def estimate(self) -> float:
        return 0.0

    @property
    def fingerprint(self) -> str:
        return f"{self.seed:016x}"


@functools.cache
def _digits() -> Any:
    """Read at once: the library that they come with sets variables of the environment when it is first imported."""
    from hwnas.data.digits import Digits

    digits = Digits(resolution=SIDE, splits=(0.2, 0.1, 0.7))
    digits.split("train")
    return digits


def given(place: Path) -> dict[str, Any]:
    """What an experiment would give to a constructor that asks for it: toys, and real data that is always there."""
    family = Toy()
    return {
        "family": family,
        "data": _digits(),
        "weights": Untrained(family),
        "device": "local",
        "folder": place,
        "seed": 0,
        "torch_device": "cpu",
    }


def data_for(family: Family, place: Path) -> Data | None:
    """A small data set that the networks of a family can take: the digits, else the example of another; None if none.

    Args:
        place: an empty folder, for the files of the data set.
    """
    from hwnas.data import fits, like_of

    like = like_of(family, family.space.decode(family.space.smallest))
    found = (_digits(), *(example(parts.find(name, ("data",)), place) for name in ("text", "speech")))
    return next((data for data in found if fits(data, like)), None)


def example(cls: type, place: Path) -> Any:
    """A part as the checks want it: by its own `example(place)` if it has that, else with its `tiny` options.

    Args:
        place: an empty folder, for the part's files.
    """
    if hasattr(cls, "example"):
        return cls.example(place)
    toys, schema = given(place), parts.schema(cls)
    options = {name: toys[name] for name in schema if name in toys}
    for name, value in getattr(cls, "tiny", {}).items():
        options[name] = parts.convert(value, schema[name].annotation, toys, name)
    return cls(**options)
