import dataclasses
import functools
import re
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
from hwnas.quality import _probe
from hwnas.quality.meco import Meco
from hwnas.space import Choice, Space

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench201.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")
SMALL = NasBench201(channels=4, cells=1, resolution=8)


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    shape: tuple[int, ...]
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, *self.shape),)


def own(made, *shape, **options):
    return Meco(**options)(Candidate(One(made, shape), (0,)))


@functools.cache
def table():
    return np.load(TABLE, allow_pickle=False)


def least(features_CHW):
    """The formula of the paper with a correlation matrix made by numpy."""
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.corrcoef(features_CHW.flatten(1).numpy())
    return float(np.linalg.eigvalsh(np.nan_to_num(correlation)).min().clip(min=0))


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hooks", ["modules", "activations"])
@pytest.mark.parametrize("code", [(4, 4, 4, 4, 4, 4), (1, 2, 3, 4, 0, 3)])
def test_formula_with_hooks_and_training_statistics(hooks, code):
    on_trial = Candidate(SMALL, code)
    model = SMALL.build(on_trial.arch).train()
    model.load_state_dict(on_trial.model.state_dict())
    found = []

    def hook(module, _, output):
        if output.dim() == 4 and (hooks == "modules" or isinstance(module, nn.ReLU)):
            found.append(least(output[0].detach()) if output[0, 0].numel() > output.shape[1] else 0.0)

    for module in model.modules():
        module.register_forward_hook(hook)
    model(*_probe.noise(on_trial, Meco(hooks=hooks).settings()[0]))
    assert Meco(hooks=hooks)(on_trial) == pytest.approx(sum(found), rel=1e-3)


def test_tokens_are_positions():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.two(F.gelu(self.one(x))).mean(1)

    on_trial = Candidate(One(Tokens, (20, 3)), (0,))
    with torch.no_grad():
        one = on_trial.model.one(*on_trial.batch(1))
        two = on_trial.model.two(F.gelu(one))
    assert Meco()(on_trial) == pytest.approx(least(one[0].T) + least(two[0].T), rel=1e-3)
    assert Meco(hooks="activations")(on_trial) == pytest.approx(least(F.relu(one[0]).T), rel=1e-3)


def test_copied_channels_and_small_maps_count_nothing():
    def made(copies):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
        with torch.no_grad():
            model[0].weight[:copies] = model[0].weight[0]
        return model

    assert own(lambda: made(2), 3, 6, 6) == pytest.approx(0.0, abs=1e-6)
    assert own(lambda: nn.Sequential(nn.Conv2d(3, 16, 1), nn.Flatten(), nn.Linear(256, 2)), 3, 4, 4) == 0.0


def test_scale_does_not_matter():
    def made(scale):
        model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(48, 2))
        for parameter in model.parameters():
            parameter.data.mul_(scale if parameter.dim() > 1 else 0)
        return model

    assert own(lambda: made(8.0), 3, 8, 8) == pytest.approx(own(lambda: made(1.0), 3, 8, 8), rel=1e-5)


# --- what cannot be judged ------------------------------------------------------------------------------------------


def test_vectors_have_no_positions():
    with pytest.raises(MetricError, match="no feature maps"):
        own(lambda: nn.Linear(6, 2), 6)


def test_options():
    with pytest.raises(ConfigError, match="modules"):
        Meco(hooks="conv")
    with pytest.raises(ConfigError, match="zoom"):
        Meco(zoom=0)


# --- NAS-Bench-201 --------------------------------------------------------------------------------------------------

OTHER_CONTAINERS = ((r"|(.*\.)?(node\d|from\d|main|stage\d)", 0), (r"head\.1", 2))
"""How often the implementation behind the known values meets containers: it lacks some of ours, and has one more."""


class Elsewhere(Meco):
    """Counts maps as often as containers of that implementation give them out."""

    def watcher(self, candidate, /):
        seen = super().watcher(candidate)

        class Weighed(type(seen)):
            def module(self, name, module, output):
                times = next((n for pattern, n in OTHER_CONTAINERS if re.fullmatch(pattern, name)), 1)
                for _ in range(times):
                    super().module(name, module, output)

        return Weighed()


@needs_table
@pytest.mark.parametrize(
    ("index", "score", "spread"),
    [
        pytest.param(13714, 107.0, 1.1, marks=pytest.mark.slow),
        (3558, 85.7, 0.5),
        pytest.param(1, 81.2, 1.0, marks=pytest.mark.slow),
        (284, 8.2, 0.6),
        (1835, 6.6, 1.1),
    ],
)
def test_known_scores(index, score, spread):
    """Means and deviations of three seeds of another implementation."""
    found = Elsewhere()(Candidate(NasBench201(), parse(str(table()["arch_str"][index]))))
    assert found == pytest.approx(score, abs=3 * spread)


def test_is_a_part():
    spec = {"quality.meco": {"hooks": "activations"}}
    assert parts.spec_of(parts.make("quality", {"meco": {"hooks": "activations"}})) == spec
