import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.quality import _probe
from hwnas.quality.fisher import Fisher
from probes import FULL, SMALL, doubled, given, images, linear, one


@pytest.mark.parametrize(("weighted", "each"), [(False, 1), (True, 6)])
def test_of_a_linear_network_by_hand(weighted, each):
    weight, x, labels = given(linear(), Fisher().settings()[0])
    logits = x @ weight.T
    slope = (torch.softmax(logits, dim=1) - F.one_hot(labels, 3)) / 8
    expected = each * float((logits * slope).square().mean(0).sum()) / 2
    assert Fisher(weighted=weighted)(linear()) == pytest.approx(expected, rel=1e-5)


def test_formula_over_positions_and_tokens():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.tokens, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x):
            self.a = self.conv(x)
            self.b = self.tokens(F.relu(self.a).flatten(2).transpose(1, 2))
            self.c = self.head(F.relu(self.b).mean(1))
            return self.c

    candidate = one(Mixed, images)
    model = candidate.family.made()
    model.load_state_dict(candidate.model.state_dict())
    (setting,) = Fisher().settings()
    logits = model(*_probe.noise(candidate, setting))
    seen = [model.a, model.b, model.c]
    slopes = torch.autograd.grad(_probe.objective(candidate, logits, "loss"), seen)
    a, b, c = (out.detach() * slope for out, slope in zip(seen, slopes, strict=True))
    sums = [a.sum((2, 3)), b.sum(1), c]
    by_layer = [float(each.square().mean(0).sum()) / 2 for each in sums]
    assert Fisher()(candidate) == pytest.approx(sum(by_layer), rel=1e-4)
    expected = 27 * by_layer[0] + 4 * by_layer[1] + 5 * by_layer[2]
    assert Fisher(weighted=True)(candidate) == pytest.approx(expected, rel=1e-4)


def test_sums_in_place_do_not_change_what_was_seen():
    class Residual(nn.Module):
        def __init__(self, place):
            super().__init__()
            self.one, self.two, self.place = nn.Linear(6, 6), nn.Linear(6, 6), place

        def forward(self, x):
            y = self.one(x)
            if self.place:
                y += x
            else:
                y = y + x
            return self.two(y)

    made = Residual(False)
    state = made.state_dict()

    def again(place):
        model = Residual(place)
        model.load_state_dict(state)
        return one(lambda: model)

    assert Fisher()(again(True)) == pytest.approx(Fisher()(again(False)), rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_float64(weighted):
    assert Fisher(weighted=weighted)(FULL) == pytest.approx(doubled(Fisher(weighted=weighted))(FULL), rel=1e-2)


def test_a_cell_without_a_path():
    with pytest.raises(MetricError, match="no path"):
        Fisher()(Candidate(SMALL, (4, 4, 4, 0, 0, 0)))


def test_no_inputs():
    with pytest.raises(ConfigError, match="batch must be at least 1, not 0"):
        Fisher(batch=0)
