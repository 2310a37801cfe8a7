import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.families._plainnet import network, parse
from hwnas.quality import _probe
from hwnas.quality._probe import normalised
from hwnas.quality._untrained import untrained
from hwnas.quality.ntk import Ntk
from hwnas.seeds import seeded
from probes import FULL, SMALL, given, images, linear, one


def inputs(candidate, metric):
    (x,) = _probe.noise(candidate, metric.settings()[0])
    return x.double()


# --- closed forms ---------------------------------------------------------------------------------------------------


def test_of_a_linear_network_is_the_condition_of_its_inputs():
    metric = Ntk(batch=5)
    found = metric(linear())
    x = inputs(linear(), metric)
    condition = float(torch.linalg.cond(x @ x.T))
    assert found.value == pytest.approx(-math.log(condition), rel=1e-5)
    assert found.details["condition"] == pytest.approx(condition, rel=1e-4) and not found.details["floored"]


def test_orthonormal_inputs_are_learned_alike():
    candidate = one(lambda: nn.Linear(6, 3), lambda batch: torch.eye(6)[:batch])
    assert Ntk(batch=5)(candidate).value == pytest.approx(0, abs=1e-6)


def test_two_equal_inputs_are_told():
    candidate = one(lambda: nn.Linear(6, 3), lambda batch: torch.eye(6)[[0, 1, 2, 1]][:batch])
    found = Ntk(batch=4)(candidate)
    assert found.details["floored"] and found.value == pytest.approx(math.log(1e-12))


# --- a loop of backward passes --------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Convolutions of several kinds, tokens, a layer that is called twice, and three kinds of normalisation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.GroupNorm(2, 8), nn.ReLU())
        self.twice, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.last, self.head = nn.BatchNorm1d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.depthwise(self.stem(x)).flatten(2).transpose(1, 2)
        x = x + torch.tanh(self.twice(self.norm(x)))
        x = x + torch.tanh(self.twice(self.norm(x)))
        return self.head(self.last(x.mean(1)))


def loop(candidate, metric):
    """K by one backward pass for every sample, with frozen statistics, in float64."""
    tensors = {
        name: x.double() if x.is_floating_point() else x for name, x in untrained(candidate, metric.init).items()
    }
    names = [name for name, _ in candidate.model.named_parameters() if name.endswith("weight")]
    for name in names:
        tensors[name] = tensors[name].detach().requires_grad_()
    with normalised("frozen"):
        output = functional_call(candidate.model, tensors, (inputs(candidate, metric),))
    rows = [
        torch.autograd.grad(
            row.sum(), [tensors[name] for name in names], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for row in output
    ]
    jacobian = torch.stack([torch.cat([slope.flatten() for slope in row]) for row in rows])
    return jacobian @ jacobian.T


@pytest.mark.parametrize("candidate", [FULL, one(Mixed, images)], ids=["cells", "mixed"])
def test_hooks_agree_with_a_loop(candidate):
    metric = Ntk(batch=6)
    values = torch.linalg.eigvalsh(loop(candidate, metric))
    expected = -math.log(values[-1] / values[0])
    assert replace(metric, double=True)(candidate).value == pytest.approx(expected, rel=1e-9)
    assert metric(candidate).value == pytest.approx(expected, rel=1e-3)


def test_frozen_statistics_are_those_of_training():
    """The loop above relies on them, so they are held to torch's own: same values, other gradients."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    x = torch.randn(5, 3, 6, 6)
    with normalised("frozen"):
        assert torch.allclose(model(x), F.batch_norm(model[0](x), None, None, training=True), atol=1e-5)


# --- known values ---------------------------------------------------------------------------------------------------

HEAD, TAIL = "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)", "SuperConvK1BNRELU(64,128,1,1)"


@pytest.mark.parametrize(
    ("structure", "condition"),
    [
        (
            f"{HEAD}SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)SuperResK3K3(64,64,2,32,1){TAIL}",
            34.441154,
        ),
        (
            f"{HEAD}SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)SuperResK5K5(64,64,2,48,2){TAIL}",
            29.161641,
        ),
        (
            f"{HEAD}SuperResK1K3K1(16,40,2,16,1)SuperResK5K5(40,96,2,40,2)SuperResK3K3(96,64,2,32,1){TAIL}",
            28.837430,
        ),
    ],
    ids=["A", "B", "C"],
)
def test_known_condition_numbers(structure, condition):
    """Plain networks with unit normal weights, drawn as DE-NAS draws them: the loop in float64 of another program."""
    with seeded(12345):
        model = network(parse(structure), 100, shortcuts=False)
        torch.default_generator.manual_seed(12345)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        x = [torch.randn(64, 3, 32, 32) for _ in range(3)][2]
    candidate = one(lambda: model, lambda batch: x)
    exact = Ntk(batch=64, init="default", double=True)(candidate)
    assert exact.details["condition"] == pytest.approx(condition, rel=1e-7)
    assert Ntk(batch=64, init="default")(candidate).details["condition"] == pytest.approx(condition, rel=1e-3)


# --- invariances ----------------------------------------------------------------------------------------------------


def test_the_order_of_samples_does_not_matter():
    def mixed(order):
        return one(Mixed, lambda batch: images(batch)[list(order)])

    assert Ntk(batch=5)(mixed(range(5))).value == pytest.approx(Ntk(batch=5)(mixed([3, 1, 4, 0, 2])).value, rel=1e-4)


def test_the_scale_of_the_output_does_not_matter():
    weight, _, _ = given(linear(), Ntk(batch=5).settings()[0])

    class Scaled(nn.Linear):
        def forward(self, x):
            return 8 * super().forward(x)

    assert Ntk(batch=5)(one(lambda: Scaled(6, len(weight), bias=False))).value == pytest.approx(
        Ntk(batch=5)(linear()).value, rel=1e-5
    )


# --- what cannot be judged ------------------------------------------------------------------------------------------


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Ntk(batch=4)(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_a_network_without_weights():
    with pytest.raises(MetricError, match="no tangent kernel"):
        Ntk(batch=4)(one(lambda: nn.Identity()))


def test_one_sample_has_no_condition():
    with pytest.raises(ConfigError, match="batch must be at least 2, not 1"):
        Ntk(batch=1)


def test_the_sum_is_constant_behind_a_layer_norm_and_the_probe_is_not():
    """Rows of the kernel would be rounding noise: what is left of sums that cancel."""
    candidate = one(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.LayerNorm(5)),
        lambda batch: torch.randn(batch, 6),
    )
    single, double = (Ntk(batch=4, objective="probe", double=twice)(candidate).value for twice in (False, True))
    assert single == pytest.approx(double, rel=1e-3)
    with pytest.raises(ConfigError, match="objective takes 'sum' or 'probe'"):
        Ntk(objective="loss")
