import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.families.nasbench201 import NasBench201, parse
from hwnas.families.vit import Vit
from hwnas.hardware.macs import Macs
from hwnas.quality import _probe
from hwnas.quality._probe import Setting, scores
from hwnas.quality._untrained import untrained
from hwnas.quality.az import Az
from hwnas.space import Choice, Space

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench201.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")
SMALL = NasBench201(channels=4, cells=1, resolution=8)
PARTS = ("expressivity", "progressivity", "trainability", "complexity")


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network, whose blocks are all children but the last."""

    made: Callable[[], nn.Module]
    shape: tuple[int, ...]
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, *self.shape),)


def candidate(made, *shape):
    return Candidate(One(made, shape), (0,))


@functools.cache
def table():
    return np.load(TABLE, allow_pickle=False)


def entropy(features_BCHW):
    """The formula of the paper, by numpy."""
    x_NC = features_BCHW.movedim(1, -1).flatten(0, 2).double().numpy()
    spectrum = np.linalg.eigvalsh(np.cov(x_NC.T)).clip(min=0)
    share = spectrum / spectrum.sum()
    return float(-(share * np.log(share + 1e-8)).sum())


# --- features -------------------------------------------------------------------------------------------------------


def test_entropies_of_all_boundaries():
    on_trial = Candidate(SMALL, (4, 3, 2, 1, 4, 3))
    model = SMALL.build(on_trial.arch).train()
    model.load_state_dict(untrained(on_trial, "kaiming"))
    (x,) = _probe.noise(on_trial, Setting(batch=16))
    found = []
    with torch.no_grad():
        for block in (model.stem, model.stage1, model.reduction1, model.stage2, model.reduction2, model.stage3):
            x = block(x)
            found.append(entropy(x))
    assert Az("expressivity")(on_trial) == pytest.approx(sum(found), rel=1e-4)
    assert Az("progressivity")(on_trial) == pytest.approx(min(np.diff(found)), rel=1e-3)
    assert sum(found) <= math.log(4) * 2 + math.log(8) * 2 + math.log(16) * 2


def test_expressivity_of_tokens():
    on_trial = candidate(lambda: nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)), 7, 3)
    (x,) = _probe.noise(on_trial, Setting(batch=16))
    first = x @ untrained(on_trial, "kaiming")["0.weight"].T
    second = first @ untrained(on_trial, "kaiming")["1.weight"].T
    expected = [entropy(y.movedim(-1, 1).unsqueeze(-1)) for y in (first, second)]
    assert Az("expressivity")(on_trial) == pytest.approx(sum(expected), rel=1e-4)
    assert Az("progressivity")(on_trial) == pytest.approx(expected[1] - expected[0], abs=1e-4)


# --- gradients ------------------------------------------------------------------------------------------------------


def scaled(*weights, shape=(1, 4, 4)):
    """Blocks that multiply by one number each: the signs of one channel have a covariance of 1."""

    def made():
        model = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in weights), nn.Flatten())
        for layer, weight in zip(model, weights, strict=False):
            nn.init.constant_(layer.weight, weight)
        return model

    return candidate(made, *shape)


def trainability(on_trial):
    return Az("trainability", init="default")(on_trial)


@pytest.mark.parametrize(("weight", "score"), [(-1.0, 0.0), (2.0, -0.5), (0.5, -0.5), (-10.0, -8.1)])
def test_trainability_of_a_scale(weight, score):
    assert trainability(scaled(7.0, weight)) == pytest.approx(score, abs=1e-5)


def test_trainability_is_a_mean_over_blocks():
    assert trainability(scaled(7.0, -1.0, 2.0, -1.0, 0.5)) == pytest.approx(-0.25, abs=1e-5)


def test_trainability_of_an_orthogonal_block_is_that_of_its_signs():
    """Nearly 0: signs of a finite sample are not quite independent."""

    def made():
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Flatten())
        nn.init.orthogonal_(model[1].weight)
        return model

    assert -0.02 < trainability(candidate(made, 3, 32, 32)) <= 0


def test_identity_and_what_hands_back_nothing_are_the_worst():
    class Cut(nn.Module):
        def forward(self, x):
            return x * 0 + 1

    assert trainability(scaled(7.0, 1.0)) == pytest.approx(2 - 1e6)

    class Beside(nn.Module):
        """Its second block does not see the first, whose output goes on beside it."""

        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Conv2d(1, 1, 1), Cut(), nn.Flatten()

        def forward(self, x):
            x = self.first(x)
            return self.head(x + self.second(x))

    assert trainability(candidate(Beside, 1, 4, 4)) == pytest.approx(2 - 1e6)


def test_identities_among_tokens_are_left_out():
    class Scaled(nn.Module):
        def forward(self, x):
            return 2 * x

    def made(*blocks):
        return lambda: nn.Sequential(nn.Linear(3, 1), *blocks, nn.Flatten())

    assert trainability(candidate(made(nn.Identity(), Scaled()), 5, 3)) == pytest.approx(-0.5, abs=1e-5)
    with pytest.raises(MetricError, match="no two blocks"):
        trainability(candidate(made(nn.Identity()), 5, 3))


def test_lower_resolution_merges_positions():
    """A mean over 2 x 2 pixels hands a quarter back to each of the four: s = |(1, 1, 1, 1) / 4| = 1/2."""
    on_trial = candidate(lambda: nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2), nn.Flatten()), 1, 8, 8)
    assert trainability(on_trial) == pytest.approx(2 - 0.5 - 2, abs=1e-5)


# --- the parts together ---------------------------------------------------------------------------------------------


def test_all_parts_share_a_pass(monkeypatch):
    on_trial = Candidate(SMALL, (4, 3, 2, 1, 4, 3))
    alone = [Az(part)(on_trial) for part in PARTS]
    passes = []
    real = _probe.functional_call
    monkeypatch.setattr(_probe, "functional_call", lambda *args: passes.append(1) or real(*args))
    assert scores(on_trial, [Az(part) for part in PARTS]) == pytest.approx(alone, rel=1e-6)
    assert len(passes) == 1


@pytest.mark.parametrize("part", PARTS)
def test_vision_transformers_are_judged(part):
    family = Vit(classes=4, resolution=8, patch=4, depths=(2,), widths=(16,), ratios=(2,), heads=(2,), head_width=8)
    on_trial = Candidate(family, family.space.largest)
    assert math.isfinite(Az(part)(on_trial))
    assert part != "complexity" or Az(part)(on_trial) == Macs()(on_trial)


def test_one_block_has_no_next_one():
    on_trial = candidate(lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten()), 1, 4, 4)
    assert math.isfinite(Az("expressivity")(on_trial))
    for part in ("progressivity", "trainability"):
        with pytest.raises(MetricError):
            Az(part)(on_trial)


@pytest.mark.parametrize("part", PARTS)
def test_cells_without_a_path(part):
    with pytest.raises(MetricError, match="no path"):
        Az(part)(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_options():
    with pytest.raises(ConfigError, match="expressivity, progressivity"):
        Az(part="all")
    with pytest.raises(ConfigError, match="at least 2"):
        Az(batch=1)


# --- NAS-Bench-201 --------------------------------------------------------------------------------------------------


@needs_table
@pytest.mark.parametrize(
    ("index", "expressive", "progressive", "trainable"),
    [
        pytest.param(13714, (55.3, 0.4), (-0.169, 0.026), (-0.134, 0.006), marks=pytest.mark.slow),
        pytest.param(3558, (58.6, 0.2), (-0.019, 0.009), (-0.088, 0.009), marks=pytest.mark.slow),
        pytest.param(1, (54.8, 0.7), (-0.142, 0.092), (-0.136, 0.007), marks=pytest.mark.slow),
        (284, (50.2, 0.2), (-0.376, 0.047), (-0.348, 0.030)),
        (1835, None, None, (-2.848, 0.016)),
    ],
)
def test_known_scores(index, expressive, progressive, trainable):
    """Means and deviations of three seeds of another implementation, which clamps no eigenvalues: one cell has none."""
    on_trial = Candidate(NasBench201(), parse(str(table()["arch_str"][index])))
    found = scores(on_trial, [Az(part) for part in PARTS[:3]])
    for score, known in zip(found, (expressive, progressive, trainable), strict=True):
        if known is not None:
            mean, spread = known
            assert score == pytest.approx(mean, abs=4 * spread)
    assert all(map(math.isfinite, found))


def test_is_a_part():
    assert parts.spec_of(parts.make("quality", {"az": {"part": "trainability"}})) == {
        "quality.az": {"part": "trainability"}
    }


def test_all_parts_judge_networks_that_look_ids_up():
    family = parts.make("families", {"bert": dict(parts.find("bert", ("families",)).tiny)})
    on_trial = Candidate(family, family.space.largest)
    assert all(math.isfinite(value) for value in scores(on_trial, [Az(part) for part in PARTS]))
