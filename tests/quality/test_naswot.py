import copy
import dataclasses
import functools
import math
import random
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
from hwnas.quality.naswot import Naswot
from hwnas.space import Choice, Space

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench201.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")
SMALL = NasBench201(channels=4, cells=1, resolution=8)


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: Callable[[], nn.Module]
    width: int = 6
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, self.width),)


def own(made, batch=4):
    return Naswot(batch=batch, init="default")(Candidate(One(made), (0,)))


@functools.cache
def table():
    return np.load(TABLE, allow_pickle=False)


def cell(index):
    return Candidate(NasBench201(), parse(str(table()["arch_str"][index])))


# --- the definition -------------------------------------------------------------------------------------------------


def test_agreements_counted_by_hand():
    on_trial = Candidate(One(lambda: nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 2))), (0,))
    (x,) = on_trial.batch(4)
    codes = (on_trial.model[0](x) > 0).tolist()
    agreement = [[sum(a == b for a, b in zip(one, other, strict=True)) for other in codes] for one in codes]
    assert Naswot(batch=4, init="default")(on_trial) == pytest.approx(math.log(np.linalg.det(agreement)), rel=1e-9)


@pytest.mark.parametrize("code", [(4, 4, 4, 4, 4, 4), (1, 4, 3, 2, 0, 3), (1, 1, 1, 1, 1, 1)])
def test_formula_with_hooks_and_training_statistics(code):
    on_trial = Candidate(SMALL, code)
    model = copy.deepcopy(on_trial.model).train()
    kernel = torch.zeros(16, 16, dtype=torch.float64)

    def hook(_module, inputs, _output):
        on_BU = (inputs[0].flatten(1) > 0).double()
        off_BU = 1 - on_BU
        kernel.add_((on_BU @ on_BU.T + off_BU @ off_BU.T).detach())

    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(hook)
    model(*on_trial.batch(16))
    assert Naswot(init="default")(on_trial) == pytest.approx(float(torch.linalg.slogdet(kernel).logabsdet), rel=1e-9)


class Block(nn.Module):
    """What a MobileNet block fires through; `calls` writes the activations as plain calls."""

    def __init__(self, calls=False):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 20), nn.Linear(20, 20), nn.Linear(20, 2)
        self.gate = nn.Sequential(nn.Linear(20, 20), nn.Hardsigmoid())
        self.act, self.last = nn.Hardswish(), nn.ReLU(inplace=True)
        self.calls = calls

    def forward(self, x):
        x = self.one(x)
        x = F.hardswish(x) if self.calls else self.act(x)
        x = self.two(x * self.gate(x))
        x = torch.relu(x) if self.calls else self.last(x)
        return self.three(x)


def test_calls_and_modules_in_place_or_not_count_alike():
    assert own(Block) == own(lambda: Block(calls=True))


def test_every_call_of_an_activation_counts():
    relu = nn.ReLU()
    once = own(lambda: nn.Sequential(nn.Linear(6, 20), relu))
    # the same units fire in the second call, so every entry of K doubles
    assert own(lambda: nn.Sequential(nn.Linear(6, 20), relu, relu)) == pytest.approx(once + 4 * math.log(2), rel=1e-9)


# --- invariances ----------------------------------------------------------------------------------------------------


def test_positive_scale_does_not_matter():
    def made(scale=1.0):
        model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
        for parameter in model.parameters():
            parameter.data.mul_(scale if parameter.dim() > 1 else 0)
        return model

    assert own(made) == own(lambda: made(8.0))


def test_leaves_everything_as_it_was():
    on_trial = Candidate(SMALL, (4, 3, 2, 1, 4, 3))
    before = copy.deepcopy(on_trial.model.state_dict())
    state = torch.get_rng_state()
    first = Naswot()(on_trial)
    Naswot()(Candidate(SMALL, SMALL.space.largest))
    assert Naswot()(on_trial) == first == Naswot()(Candidate(SMALL, on_trial.code))
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in on_trial.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not any(module.training or module._forward_hooks for module in on_trial.model.modules())


def test_seed_draws_inputs_and_weights():
    assert Naswot()(Candidate(SMALL, SMALL.space.largest, 1)) != Naswot()(Candidate(SMALL, SMALL.space.largest, 2))


# --- what cannot be judged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [(0, 0, 0, 0, 0, 0), (4, 4, 4, 0, 0, 0), (0, 0, 4, 0, 4, 4)])
def test_cells_without_a_path(code):
    with pytest.raises(MetricError, match="no path"):
        Naswot()(Candidate(SMALL, code))


def test_too_few_units():
    with pytest.raises(MetricError, match="dependent"):
        own(lambda: nn.Sequential(nn.Linear(6, 2), nn.ReLU()), batch=16)


def test_networks_without_activations():
    with pytest.raises(MetricError, match="no activation"):
        own(lambda: nn.Linear(6, 2))


def test_one_input_cannot_be_compared():
    with pytest.raises(ConfigError, match="at least 2"):
        Naswot(batch=1)


# --- NAS-Bench-201 --------------------------------------------------------------------------------------------------


@needs_table
@pytest.mark.parametrize(
    ("index", "score"), [(13714, 207.75), (3558, 207.75), (1, 200.13), (284, 185.49), (1835, 161.54)]
)
def test_known_scores(index, score):
    """Means of three seeds of another implementation; draws of one seed deviate by about 0.06."""
    assert Naswot()(cell(index)) == pytest.approx(score, abs=0.3)


def correlation(sample):
    """Spearman's, between scores and accuracies on CIFAR-10; a cell without a path is the worst."""
    from scipy.stats import spearmanr

    def judged(index):
        try:
            return Naswot()(cell(index))
        except MetricError:
            return -math.inf

    return spearmanr([judged(index) for index in sample], table()["cifar10_test200"][sample]).statistic


SAMPLE = random.Random(0).sample(range(15625), 300)


@needs_table
def test_rank_correlation_of_a_few():
    assert correlation(SAMPLE[:24]) > 0.4


@pytest.mark.slow
@needs_table
def test_known_rank_correlation():
    assert correlation(SAMPLE) == pytest.approx(0.663, abs=0.01)


def test_is_a_part():
    assert parts.spec_of(parts.make("quality", {"naswot": {"batch": 8}})) == {"quality.naswot": {"batch": 8}}
