"""Shared weights: what is cut out of the big network, where gradients go, and BatchNorm made anew."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from families.test_mobilenetv3 import SHAPES, candidate, fixtures, hashed, ofa_tensor
from hwnas.candidate import Candidate, Family
from hwnas.errors import WeightsError
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.families.nasbench201 import NasBench201
from hwnas.seeds import seeded
from hwnas.space import Arch, Choice, Space
from hwnas.weights.share import borrow, calibrate, call, crop, extract, skeleton, tensors_of
from tiny import Tiny, same, state


def big_net(family: Family, seed: int = 0) -> nn.Module:
    """A supernet in which no two numbers are alike, statistics included."""
    with seeded(seed):
        model = family.supernet().eval()
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) - 0.4 if tensor.dim() > 1 else 0.5 + torch.rand_like(tensor))
    return model


def subnets(family: Family, count: int = 6) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    codes = [family.space.smallest, family.space.largest, *(family.space.sample(rng) for _ in range(count - 2))]
    return [family.space.decode(code) for code in codes]


def images(*shape: int, seed: int = 0) -> Tensor:
    with seeded(seed):
        return torch.randn(*shape)


# --- one tensor -----------------------------------------------------------------------------------------------------


def test_a_crop_is_a_view_of_the_leading_entries() -> None:
    big = torch.arange(60.0).view(5, 4, 3)
    small = crop(torch.empty(2, 4, 1, device="meta"), big)
    assert torch.equal(small, big[:2, :, :1])
    assert small.untyped_storage().data_ptr() == big.untyped_storage().data_ptr()
    small.fill_(-1)
    assert (big < 0).sum() == 8
    assert crop(torch.empty(5, 4, 3), big) is big
    scalar = torch.tensor(3)
    assert crop(torch.tensor(0), scalar) is scalar


@pytest.mark.parametrize(
    ("large", "small", "start"),
    [(7, 5, 1), (7, 3, 2), (5, 3, 1), (5, 1, 2), (4, 2, 1), (6, 2, 2), (4, 3, 1), (5, 2, 1)],
)
def test_kernels_are_cut_from_the_centre(large: int, small: int, start: int) -> None:
    big = torch.arange(3.0 * 2 * large * large).view(3, 2, large, large)
    middle = slice(start, start + small)
    assert torch.equal(crop(torch.empty(2, 1, small, small), big), big[:2, :1, middle, middle])
    assert torch.equal(crop(torch.empty(3, 2, small, large), big), big[:, :, middle])


@pytest.mark.parametrize("shape", [(3, 9, 9), (3, 2, 9, 9, 9)])
def test_only_two_dimensional_kernels_are_centred(shape: tuple[int, ...]) -> None:
    big = torch.rand(shape)
    like = torch.empty(*shape[:2], *(5 for _ in shape[2:]))
    assert torch.equal(crop(like, big), big[(..., *(slice(5) for _ in shape[2:]))])


@pytest.mark.parametrize("shape", [(6, 4), (5, 5), (5,), (5, 4, 1)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WeightsError, match=r"\(5, 4\)"):
        crop(torch.empty(shape), torch.empty(5, 4))


# --- a whole network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Tiny(), MobileNetV3(classes=5, resolution=16, width=0.25), NasBench201(cells=1)])
def test_extract_equals_call_to_the_last_bit(family: Family) -> None:
    big = big_net(family)
    before, random = state(tensors_of(big)), torch.get_rng_state()
    for arch in subnets(family):
        small = skeleton(family, arch)
        assert all(tensor.is_meta for tensor in small.state_dict().values()) and not small.training
        borrowed = borrow(family, arch, small, tensors_of(big))
        plain = extract(family, arch, borrowed)
        x = images(3, 3, 16, 16)
        with torch.no_grad():
            assert torch.equal(plain(x), call(small, borrowed, x))
        own = {tensor.untyped_storage().data_ptr() for tensor in plain.state_dict().values()}
        assert own.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in big.state_dict().values())
        assert not plain.training and all(parameter.requires_grad for parameter in plain.parameters())
    assert same(tensors_of(big), before) and torch.equal(torch.get_rng_state(), random)


def test_parameters_are_views_and_statistics_are_copies() -> None:
    family = Tiny()
    big = tensors_of(big_net(family))
    arch = family.space.decode(family.space.smallest)
    borrowed = borrow(family, arch, skeleton(family, arch), big)
    parameters = {name for name, _ in skeleton(family, arch).named_parameters()}
    for name, tensor in borrowed.items():
        shared = tensor.untyped_storage().data_ptr() == big[name].untyped_storage().data_ptr()
        assert shared == (name in parameters), name
        assert tensor.requires_grad == (name in parameters), name


def test_subnets_do_not_disturb_one_another() -> None:
    family = Tiny()
    big, x = big_net(family), images(4, 3, 8, 8)
    before = state(tensors_of(big))

    def output(arch: Arch) -> Tensor:
        small = skeleton(family, arch).train()
        return call(small, borrow(family, arch, small, tensors_of(big)), x)

    alone = {index: output(arch) for index, arch in enumerate(subnets(family))}
    held = [(small := skeleton(family, arch), borrow(family, arch, small, tensors_of(big))) for arch in subnets(family)]
    for index in (3, 0, 5, 1, 3, 2, 4, 0, 1):
        assert torch.equal(output(subnets(family)[index]), alone[index])
        small, borrowed = held[index]
        call(small.train(), borrowed, x)
    assert same(tensors_of(big), before)


def test_gradients_are_those_of_a_plain_copy_and_stay_in_the_crop() -> None:
    family = Tiny()
    for number, arch in enumerate(subnets(family)):
        big = big_net(family)
        x, labels = images(8, 3, 8, 8, seed=number), torch.arange(8) % 4
        small = skeleton(family, arch).train()
        borrowed = borrow(family, arch, small, tensors_of(big))
        plain = extract(family, arch, borrowed).train()
        F.cross_entropy(call(small, borrowed, x), labels).backward()
        F.cross_entropy(plain(x), labels).backward()
        expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
        for name, parameter in big.named_parameters():
            if name not in expected:
                assert parameter.grad is None, name
                continue
            inside = crop(expected[name], parameter.grad)
            torch.testing.assert_close(inside, expected[name], rtol=1e-4, atol=1e-6)
            inside.zero_()
            assert not parameter.grad.any(), name


def test_a_step_through_views_is_the_step_of_a_plain_copy() -> None:
    """With momentum and decay, the cropped region moves as the copy does and the rest stays."""
    family = Tiny()
    arch = family.space.decode(family.space.smallest)
    big = big_net(family)
    before = state(tensors_of(big))
    small = skeleton(family, arch).train()
    plain = extract(family, arch, borrow(family, arch, small, tensors_of(big))).train()
    used = dict(plain.named_parameters())
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9) for net in (big, plain)]
    for step in range(3):
        x, labels = images(8, 3, 8, 8, seed=step), torch.arange(8) % 4
        outputs = call(small, borrow(family, arch, small, tensors_of(big)), x), plain(x)
        for optimizer, output in zip(optimizers, outputs, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(output, labels).backward()
            optimizer.step()
    moved = dict(big.named_parameters())
    for name, parameter in moved.items():
        if name in used:
            torch.testing.assert_close(crop(used[name], parameter), used[name], rtol=1e-4, atol=1e-6)
            with torch.no_grad():
                crop(used[name], parameter).copy_(crop(used[name], before[name]))
        assert torch.equal(parameter, before[name]), name


def test_what_is_missing_is_named() -> None:
    family = Tiny()
    arch = family.space.decode(family.space.smallest)
    small, big = skeleton(family, arch), tensors_of(big_net(family))
    with pytest.raises(WeightsError, match=r"'tiny' has no tensor for block1\.depthwise\.weight\n.* another family"):
        borrow(family, arch, small, {name: big[name] for name in big if name != "block1.depthwise.weight"})
    with pytest.raises(WeightsError, match=r"no tensor for norm\.running_mean"):
        borrow(family, arch, small, {name: big[name] for name in big if name != "norm.running_mean"})
    with pytest.raises(WeightsError, match=r"no tensor for stem\.weight, norm\.weight, norm\.bias, …"):
        borrow(family, arch, small, tensors_of(big_net(NasBench201(cells=1))))
    with pytest.raises(
        WeightsError, match=r"head\.weight: a tensor of shape \(4, 32\) cannot be cut out of .*\(3, 32\)"
    ):
        borrow(family, arch, small, tensors_of(big_net(Tiny(classes=3))))
    narrow = tensors_of(big_net(Tiny(widths=(2, 3))))
    with pytest.raises(WeightsError, match=r"block1\.expand\.weight"):
        borrow(family, arch, small, narrow)


def test_extract_refuses_the_tensors_of_another_architecture() -> None:
    family = Tiny()
    smallest, largest = (family.space.decode(code) for code in (family.space.smallest, family.space.largest))
    big = tensors_of(big_net(family))
    with pytest.raises(WeightsError, match=r"do not belong to this architecture.*block2"):
        extract(family, smallest, borrow(family, largest, skeleton(family, largest), big))


class Tied(nn.Module):
    """One matrix that reads and writes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inward = nn.Linear(6, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.outward = nn.Linear(width, 6, bias=False)
        self.outward.weight = nn.Parameter(self.inward.weight.data.T.contiguous())
        self.again = self.inward

    def forward(self, x: Tensor) -> Tensor:
        return self.outward(self.norm(self.inward(x)) + self.again(x))


@dataclass(frozen=True)
class TiedFamily(Family):
    """Its `outward` weights are cut from the other end."""

    name = "tied"
    space = Space("tied", (Choice("width", (2, 4)),))

    def build(self, arch: Arch, /) -> nn.Module:
        return Tied(arch["width"])

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 6),)

    def crop(self, name: str, like: Tensor, big: Mapping[str, Tensor], arch: Arch, /) -> Tensor | None:
        return big[name][:, -like.shape[1] :] * 2 if name == "outward.weight" else None


def test_tied_tensors_are_one_and_a_family_may_cut_its_own_way() -> None:
    family = TiedFamily()
    big, x = big_net(family), images(5, 6)
    arch = {"width": 2}
    small = skeleton(family, arch)
    borrowed = borrow(family, arch, small, tensors_of(big))
    assert "again.weight" not in borrowed
    plain = extract(family, arch, borrowed)
    assert plain.again.weight is plain.inward.weight
    assert torch.equal(plain.outward.weight, big.outward.weight[:, 2:] * 2)
    with torch.no_grad():
        assert torch.equal(call(small, borrowed, x), plain(x))
    call(small, borrowed, x).sum().backward()
    plain(x).sum().backward()
    torch.testing.assert_close(big.inward.weight.grad[:2], plain.inward.weight.grad)
    torch.testing.assert_close(big.outward.weight.grad[:, 2:], 2 * plain.outward.weight.grad)


# --- BatchNorm ------------------------------------------------------------------------------------------------------


def by_hand(model: nn.Module, batches: list[Tensor]) -> dict[str, Tensor]:
    """The averages over the batches of mean and biased variance, every layer fed by layers that do likewise."""
    found: dict[str, list[Tensor]] = {}

    def normalise(name: str, norm: Any) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> Tensor:
            x = inputs[0]
            axes = [axis for axis in range(x.dim()) if axis != 1]
            mean, variance = x.mean(axes), x.var(axes, correction=0)
            found.setdefault(f"{name}.running_mean", []).append(mean)
            found.setdefault(f"{name}.running_var", []).append(variance)
            shape = [1, -1] + [1] * (x.dim() - 2)
            y = (x - mean.view(shape)) / (variance.view(shape) + norm.eps).sqrt()
            return y if norm.weight is None else y * norm.weight.view(shape) + norm.bias.view(shape)

        return hook

    copied = copy.deepcopy(model).eval()
    for name, module in copied.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.register_forward_hook(normalise(name, module))
    with torch.no_grad():
        for batch in batches:
            copied(batch)
    return {name: torch.stack(values).mean(0) for name, values in found.items()}


class Vector(nn.Sequential):
    """Layers for vectors and sequences, one that keeps no statistics, one without scale, and dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.Dropout(0.5),
            nn.BatchNorm1d(8, track_running_stats=False),
            nn.Unflatten(1, (2, 4)),
            nn.BatchNorm1d(2, affine=False, momentum=0.3, eps=1e-2),
            nn.Flatten(),
            nn.Linear(8, 3),
        )


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: big_net(Tiny()), (4, 3, 8, 8)),
        (lambda: big_net(MobileNetV3(classes=5, width=0.25, depths=(1,))), (3, 3, 16, 16)),
        (Vector, (2, 6)),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_statistics_are_the_average_of_the_batches(make: Any, shape: tuple[int, ...], count: int) -> None:
    with seeded(3):
        model = make().eval()
    batches = [images(*shape, seed=seed) * (1 + seed) for seed in range(count)]
    given = tensors_of(model)
    before = state(given)
    ready = calibrate(model, given, batches)
    expected = by_hand(model, batches)
    assert expected and ready.keys() == given.keys()
    for name, tensor in ready.items():
        if name in expected:
            torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
        elif not name.endswith("num_batches_tracked"):
            assert tensor is given[name]
    assert same(tensors_of(model), before)


def test_without_batchnorm_nothing_is_done() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False))

    def untouched() -> Any:
        raise AssertionError("no batch is needed")
        yield

    given = tensors_of(model)
    ready = calibrate(model, given, untouched())
    assert ready == given and ready is not given


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_a_module_is_left_as_it_was_found(training: bool, fails: bool) -> None:
    model = Vector().train(training)
    model[1].eval()
    before, random = state(tensors_of(model)), torch.get_rng_state()
    modes, momenta = [part.training for part in model.modules()], [getattr(part, "momentum", "") for part in model]
    batches = [images(4, 6), images(4, 5) if fails else images(4, 6)]
    if fails:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            calibrate(model, tensors_of(model), batches)
    else:
        ready = calibrate(model, tensors_of(model), batches)
        expected = by_hand(model, batches)
        for name, tensor in expected.items():
            torch.testing.assert_close(ready[name], tensor)
    assert [part.training for part in model.modules()] == modes
    assert [getattr(part, "momentum", "") for part in model] == momenta
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in model.modules())
    assert same(tensors_of(model), before) and torch.equal(torch.get_rng_state(), random)


def test_a_skeleton_is_calibrated_for_its_own_network() -> None:
    family = Tiny()
    big = tensors_of(big_net(family))
    batches = [images(4, 3, 8, 8, seed=seed) for seed in range(2)]
    for arch in subnets(family):
        small = skeleton(family, arch)
        ready = calibrate(small, borrow(family, arch, small, big), batches)
        plain = extract(family, arch, ready)
        for name, tensor in by_hand(plain, batches).items():
            torch.testing.assert_close(ready[name], tensor, rtol=1e-4, atol=1e-6)
        assert all(tensor.is_meta for tensor in small.state_dict().values())
        with torch.no_grad():
            assert torch.equal(plain(batches[0]), call(small, ready, batches[0]))


def test_calibrating_again_changes_nothing() -> None:
    """The statistics that were there before do not enter."""
    model = big_net(Tiny())
    batches = [images(4, 3, 8, 8)]
    once = calibrate(model, tensors_of(model), batches)
    assert same(calibrate(model, once, batches), once)


# --- Once-for-All ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["min", "rand0", "rand2", "max"])
def test_calibrated_outputs_are_those_of_ofa(name: str) -> None:
    subnet, shapes = fixtures()[name], json.loads(SHAPES.read_text())
    judged: Candidate = candidate(MobileNetV3(), **subnet["config"])
    parameters = tensors_of(judged.model)
    filled = {key: ofa_tensor(key, tensor.shape, shapes) for key, tensor in parameters.items()}

    def inputs(key: str, *shape: int) -> Tensor:
        return torch.from_numpy(hashed(key, math.prod(shape)).astype(np.float32)).view(shape)

    calibrated = calibrate(judged.skeleton, filled, [inputs(f"calib{i}", 8, 3, 96, 96) for i in range(2)])
    with torch.no_grad():
        logits = call(judged.skeleton, calibrated, inputs("input", 2, 3, 224, 224))
    expected, tolerance = subnet["logits224_after_bn_calib"], 3e-4 if name == "max" else 1e-4
    assert logits[0, :8].tolist() == pytest.approx(expected["first8"], abs=tolerance * expected["absmax"])
    assert logits.norm().item() == pytest.approx(expected["l2"], rel=tolerance)
    assert logits.abs().max().item() == pytest.approx(expected["absmax"], rel=tolerance)
    assert logits.argmax(1).tolist() == expected["argmax"]
