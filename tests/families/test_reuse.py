"""Copies of blocks behave as blocks that were built anew, and share nothing that matters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hwnas.families._reuse import duplicate, reused
from hwnas.families.mobilenetv3 import Block


def described(module: nn.Module) -> list[tuple[str, str]]:
    return [(name, type(part).__name__ + part.extra_repr()) for name, part in module.named_modules()]


@pytest.fixture
def block():
    with torch.device("meta"):
        return Block(16, 16, kernel=5, stride=1, expand=4, act=nn.Hardswish, excite=True)


def test_a_duplicate_is_a_deepcopy_without_storage(block):
    twin, deep = duplicate(block), copy.deepcopy(block)
    assert described(twin) == described(deep)
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = dict(getattr(twin, kind)()), dict(getattr(deep, kind)())
        assert list(ours) == list(theirs)
        assert all(ours[name].shape == theirs[name].shape and ours[name].is_meta for name in ours)
    assert twin.shortcut == block.shortcut
    assert all(parameter.requires_grad for parameter in twin.parameters())


def test_duplicates_share_no_tensor_no_mode_and_no_hook(block):
    twin = duplicate(block)
    assert not {id(p) for p in block.parameters()} & {id(p) for p in twin.parameters()}
    assert not {id(b) for b in block.buffers()} & {id(b) for b in twin.buffers()}
    twin.eval()
    heard: list[str] = []
    twin[0].register_forward_hook(lambda *_: heard.append("twin"))
    assert block.training and all(part.training for part in block.modules())
    block(torch.zeros(2, 16, 4, 4, device="meta"))
    assert not heard
    twin(torch.zeros(2, 16, 4, 4, device="meta"))
    assert heard == ["twin"]


def test_equal_blocks_of_one_network_keep_parameters_of_their_own():
    make = reused(Block)
    with torch.device("meta"):
        net = nn.Sequential(*(make(8, 8, kernel=3, stride=1, expand=3, act=nn.ReLU, excite=False) for _ in range(3)))
    names = [name for name, _ in net.named_parameters()]
    assert len(names) == len(set(names)) == 3 * len(list(net[0].parameters()))


def test_a_factory_is_called_once_on_the_meta_device_and_always_elsewhere():
    calls = []

    @reused
    def make(width: int, *, bias: bool = True) -> nn.Module:
        calls.append((width, bias))
        return nn.Linear(width, width, bias=bias)

    with torch.device("meta"):
        assert [make(2).weight.shape, make(2).weight.shape, make(3).weight.shape] == [(2, 2), (2, 2), (3, 3)]
        assert make(2, bias=False).bias is None
    assert calls == [(2, True), (3, True), (2, False)]
    assert not make(2).weight.is_meta and not make(2).weight.is_meta
    assert len(calls) == 5
