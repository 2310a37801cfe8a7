import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.errors import MetricError
from hwnas.quality._probe import Call, normalised
from hwnas.quality._samples import by_weight, gram, product, rows, scale_slopes, summed, weight_slopes
from hwnas.seeds import seeded

BATCH = 3


def call_of(module, *shape, name="layer"):
    """A call in float64 with random input and a random gradient of what it gives."""
    with seeded(1):
        module = module.double()
        x = torch.randn(*shape, dtype=torch.float64)
        with normalised("frozen"):
            output = module(x).detach()
        return Call(name, module, x, output, torch.randn_like(output))


def one_by_one(call, batch=BATCH):
    """dR/dW of every sample, each by a backward pass of its own."""
    x, slope = (tensor.reshape(batch, -1, *tensor.shape[1:]) for tensor in (call.input, call.slope))
    return torch.stack([torch.autograd.grad(call.module(x[i]), call.module.weight, slope[i])[0] for i in range(batch)])


LAYERS = {
    "3x3": (nn.Conv2d(4, 6, 3, padding=1, bias=False), (3, 4, 7, 5)),
    "1x1": (nn.Conv2d(4, 6, 1), (3, 4, 5, 5)),
    "stride that leaves a rest": (nn.Conv2d(4, 6, 3, stride=2), (3, 4, 8, 7)),
    "groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (3, 4, 6, 6)),
    "depthwise": (nn.Conv2d(4, 8, 5, padding=2, stride=2, groups=4), (3, 4, 9, 9)),
    "dilated": (nn.Conv2d(2, 3, 3, dilation=2, stride=2), (3, 2, 9, 8)),
    "same": (nn.Conv2d(2, 3, (3, 5), padding="same"), (3, 2, 6, 5)),
    "reflected": (nn.Conv2d(2, 3, (3, 5), padding=(1, 2), padding_mode="reflect"), (3, 2, 6, 5)),
    "1-D": (nn.Conv1d(4, 6, 5, stride=2, padding=2, groups=2), (3, 4, 11)),
    "3-D": (nn.Conv3d(2, 3, 2, padding=1), (3, 2, 3, 4, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 5, 4)),
    "transposed with more": (nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), (3, 4, 5)),
    "vectors": (nn.Linear(5, 4), (3, 5)),
    "tokens": (nn.Linear(5, 4), (3, 6, 5)),
    "tokens on a grid": (nn.Linear(5, 4, bias=False), (3, 2, 6, 5)),
    "tokens folded into the batch": (nn.Linear(5, 4), (12, 5)),
    "windows folded into the batch": (nn.Conv2d(4, 6, 3, padding=1), (6, 4, 5, 5)),
}


@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS)
def test_weight_gradients_are_those_of_one_sample_after_the_other(module, shape):
    call = call_of(copy.deepcopy(module), *shape)
    slopes = weight_slopes(call, BATCH)
    assert slopes.shape == (BATCH, *module.weight.shape)
    assert torch.allclose(slopes, one_by_one(call), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS)
def test_gram_is_made_of_all_products_of_gradients(module, shape):
    call = call_of(copy.deepcopy(module), *shape)
    slopes = one_by_one(call).flatten(1)
    assert torch.allclose(gram([call], BATCH), slopes @ slopes.T, rtol=1e-10, atol=1e-12)


NORMS = {
    "group": (nn.GroupNorm(2, 4), (3, 4, 5, 5)),
    "instance": (nn.InstanceNorm2d(4, affine=True), (3, 4, 5, 5)),
    "layer": (nn.LayerNorm(4), (3, 5, 4)),
    "layer over two axes": (nn.LayerNorm((5, 4)), (3, 2, 5, 4)),
    "root mean square": (nn.RMSNorm(4), (3, 5, 4)),
}


@pytest.mark.parametrize(("module", "shape"), NORMS.values(), ids=NORMS)
def test_scale_gradients_are_those_of_one_sample_after_the_other(module, shape):
    module = copy.deepcopy(module)
    with torch.no_grad():
        module.weight.uniform_(0.5, 2)
    call = call_of(module, *shape)
    assert torch.allclose(scale_slopes(call, BATCH), one_by_one(call), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("module", "shape"), [(nn.BatchNorm1d(4), (6, 4)), (nn.BatchNorm2d(4), (3, 4, 5, 5))])
def test_scale_gradients_of_batch_norm_are_those_with_the_statistics_of_the_batch(module, shape):
    call = call_of(copy.deepcopy(module).eval(), *shape)
    dims = [dim for dim in range(len(shape)) if dim != 1]
    mean, variance = call.input.mean(dims, keepdim=True), call.input.var(dims, correction=0, keepdim=True)
    normal = (call.input - mean) / (variance + module.eps).sqrt() * call.slope
    expected = normal.reshape(BATCH, -1, 4, *shape[2:]).transpose(1, 2).flatten(2).sum(2)
    assert torch.allclose(scale_slopes(call, BATCH), expected, rtol=1e-10)


def test_what_has_no_scale_has_no_gradient_of_it():
    assert scale_slopes(call_of(nn.LayerNorm(4, elementwise_affine=False), 3, 4), BATCH) is None
    assert scale_slopes(call_of(nn.Linear(4, 2), 3, 4), BATCH) is None


# --- which calls belong together ------------------------------------------------------------------------------------


def pairs(**slopes):
    return {name.replace("_", "."): (torch.ones(1), torch.tensor([slope])) for name, slope in slopes.items()}


def test_a_weight_that_is_used_twice_has_one_gradient():
    module = nn.Linear(5, 5)
    first, second = call_of(module, 3, 5, name="a"), call_of(module, 3, 2, 5, name="a")
    other = call_of(nn.Linear(5, 4), 3, 5, name="b")
    groups = by_weight([first, other, call_of(nn.LayerNorm(5), 3, 5), second], pairs(a_weight=1.0, b_weight=1.0))
    assert [[id(call) for call in group] for group in groups] == [[id(first), id(second)], [id(other)]]
    slopes = one_by_one(first) + one_by_one(second)
    assert torch.allclose(summed(groups[0], BATCH), slopes)
    assert torch.allclose(gram(groups[0], BATCH), product(slopes))


def test_two_modules_that_share_a_weight_have_one_gradient():
    one, two = nn.Linear(5, 5), nn.Linear(5, 5)
    two.weight = one.weight
    calls = [call_of(one, 3, 5, name="a"), call_of(two, 3, 5, name="b")]
    assert len(by_weight(calls, pairs(a_weight=1.0))) == 1


def test_weights_that_are_not_asked_for_are_left_out():
    assert by_weight([call_of(nn.Linear(5, 5), 3, 5, name="a")], {}) == []


def test_a_weight_used_outside_of_its_module():
    with pytest.raises(MetricError, match=r"gradients of b\.weight cannot be told apart"):
        by_weight([], pairs(b_weight=1.0))
    assert by_weight([], pairs(b_weight=0.0)) == []


def test_layers_that_do_not_see_samples_as_rows():
    call = call_of(nn.Linear(5, 4), 4, 5, name="positions")
    with pytest.raises(MetricError, match="'positions' sees 4 rows for 3 inputs"):
        rows(call, BATCH)


def test_frozen_is_left_again():
    x = torch.randn(4, 3)
    norm = nn.BatchNorm1d(3).eval()
    with normalised("frozen"):
        inside = norm(x)
    assert torch.allclose(inside, F.batch_norm(x, None, None, training=True), atol=1e-6)
    assert torch.allclose(norm(x), x, atol=1e-4)
