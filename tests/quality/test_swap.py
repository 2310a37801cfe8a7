import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.families.nasbench201 import NasBench201, parse
from hwnas.quality.swap import Swap
from hwnas.space import Choice, Space

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench201.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, 6),)


def candidate(made):
    return Candidate(One(made), (0,))


@functools.cache
def table():
    return np.load(TABLE, allow_pickle=False)


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 63])
def test_patterns_counted_by_hand(count):
    """Over all layers together: the second one repeats some patterns of the first."""
    made = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 20), nn.GELU(), nn.Linear(20, 2))
    on_trial = candidate(lambda: made)
    (x,) = on_trial.batch(count)
    with torch.no_grad():
        first = made[0](x)
        second = made[2](F.relu(first))
    patterns = {tuple(unit) for unit in (torch.cat([first, second], 1) > 0).T.tolist()}
    assert Swap(samples=count, init="default")(on_trial) == len(patterns)


def test_no_more_patterns_than_inputs_allow():
    wide = nn.Sequential(nn.Linear(6, 4000), nn.ReLU(), nn.Linear(4000, 2))
    assert Swap(samples=3)(candidate(lambda: wide)) == 2**3


def test_equal_units_count_once():
    def made():
        model = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 2))
        with torch.no_grad():
            model[0].weight[10:] = 3 * model[0].weight[0]
            model[0].bias.zero_()
        return model

    assert Swap(init="default")(candidate(made)) == 10


def test_positive_scale_does_not_matter():
    def made(scale):
        model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
        for parameter in model.parameters():
            parameter.data.mul_(scale if parameter.dim() > 1 else 0)
        return model

    one, two = (Swap(samples=4, init="default")(candidate(lambda scale=scale: made(scale))) for scale in (1.0, 8.0))
    assert one == two


# --- what cannot be judged ------------------------------------------------------------------------------------------


def test_networks_without_activations():
    with pytest.raises(MetricError, match="no activation"):
        Swap()(candidate(lambda: nn.Linear(6, 2)))


@pytest.mark.parametrize("samples", [1, 64])
def test_a_pattern_fits_an_integer(samples):
    with pytest.raises(ConfigError, match="from 2 to 63"):
        Swap(samples=samples)


# --- NAS-Bench-201 --------------------------------------------------------------------------------------------------


@needs_table
@pytest.mark.parametrize(
    ("index", "score", "spread"),
    [
        pytest.param(13714, 65396, 10, marks=pytest.mark.slow),
        pytest.param(3558, 64793, 11, marks=pytest.mark.slow),
        (1, 64578, 81),
        (284, 61175, 36),
        (1835, 30063, 21),
    ],
)
def test_known_scores(index, score, spread):
    """Means and deviations of three seeds of another implementation."""
    on_trial = Candidate(NasBench201(), parse(str(table()["arch_str"][index])))
    assert Swap(samples=16, init="kaiming")(on_trial) == pytest.approx(score, abs=6 * spread)


def test_is_a_part():
    assert parts.spec_of(parts.make("quality", {"swap": {"samples": 16}})) == {"quality.swap": {"samples": 16}}
