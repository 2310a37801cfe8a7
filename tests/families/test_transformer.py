"""Transformer blocks against PyTorch's own, masks and causality by what may not matter, and cropping by heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.errors import ConfigError
from hwnas.families._transformer import (
    Attention,
    Classifier,
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    check_whole,
    crop_fused,
    initialise,
    on_default_device,
    stream,
)
from hwnas.seeds import seeded


def copied(layer, other):
    """PyTorch's encoder or decoder layer with the weights of ours."""

    def attention(ours, theirs):
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.k.bias, ours.v.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())

    feedforward = layer.feedforward.feedforward
    with torch.no_grad():
        if isinstance(layer, EncoderLayer):
            parts = [layer.attention]
            attention(layer.attention.attention, other.self_attn)
        else:
            parts = [layer.self_attention, layer.cross_attention]
            attention(layer.self_attention.attention, other.self_attn)
            attention(layer.cross_attention.attention, other.multihead_attn)
        other.linear1.load_state_dict(feedforward.widen.state_dict())
        other.linear2.load_state_dict(feedforward.narrow.state_dict())
        for number, part in enumerate([*parts, layer.feedforward], start=1):
            getattr(other, f"norm{number}").load_state_dict(part.norm.state_dict())
    return other.double().eval()


def randomised(module):
    """Every parameter drawn, those of norms included, in float64 and evaluation mode."""
    with seeded(1), torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    return module.eval()


def drawn(*shape, seed=0):
    with seeded(seed):
        return torch.randn(shape, dtype=torch.float64)


MASK = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("mask", [None, MASK])
def test_an_encoder_layer_is_pytorchs(norm_first, mask):
    layer = randomised(EncoderLayer(12, 3, 20, norm_first=norm_first, eps=1e-5))
    other = nn.TransformerEncoderLayer(12, 3, 20, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    x = drawn(2, 7, 12).requires_grad_()  # so that PyTorch takes its plain path, in which masked tokens are not zeroed
    wanted = copied(layer, other)(x, src_key_padding_mask=None if mask is None else ~mask)
    torch.testing.assert_close(layer(x, mask), wanted)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_decoder_layer_is_pytorchs(norm_first):
    layer = randomised(DecoderLayer(12, 3, 20, norm_first=norm_first, eps=1e-5, activation=nn.ReLU))
    other = copied(layer, nn.TransformerDecoderLayer(12, 3, 20, 0.0, "relu", batch_first=True, norm_first=norm_first))
    x, source = drawn(2, 5, 12).requires_grad_(), drawn(2, 7, 12, seed=1)
    later = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    wanted = other(x, source, tgt_mask=later, memory_key_padding_mask=~MASK, tgt_is_causal=True)
    torch.testing.assert_close(layer(x, source, source_mask=MASK), wanted)


def test_a_causal_decoder_with_a_mask_sees_neither_later_nor_masked_tokens():
    layer = randomised(DecoderLayer(8, 2, 8, source_width=6))
    x, source = drawn(2, 7, 8), drawn(2, 3, 6, seed=1)
    before = layer(x, source, MASK)
    changed = x.clone()
    changed[0, 5:] += 1
    changed[1, 4:] += 1  # masked
    after = layer(changed, source, MASK)
    same = (before == after).all(-1)
    assert same.tolist() == [[True] * 5 + [False] * 2, [True] * 4 + [False] * 3]


def test_heads_need_not_fill_the_width():
    attention = randomised(Attention(10, 3, 4, bias=False))
    x = drawn(2, 5, 10)
    heads = []
    for head in range(3):
        rows = slice(4 * head, 4 * head + 4)
        q, k, v = (x @ part.weight[rows].T for part in (attention.q, attention.k, attention.v))
        heads.append((q @ k.transpose(1, 2) / 2).softmax(-1) @ v)
    torch.testing.assert_close(attention(x), torch.cat(heads, -1) @ attention.out.weight.T)


def test_a_fused_projection_computes_the_same():
    separate, fused = randomised(Attention(10, 3, 4)), randomised(Attention(10, 3, 4, fused=True))
    with torch.no_grad():
        fused.out.load_state_dict(separate.out.state_dict())
        parts = [separate.q, separate.k, separate.v]
        fused.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
        fused.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
    x = drawn(2, 5, 10)
    torch.testing.assert_close(separate(x), fused(x))


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("width", [6, 10])
def test_a_fused_projection_is_cropped_like_separate_ones(heads, width):
    big = torch.arange(3 * 3 * 4 * 10.0).reshape(3, 12, 10)
    like = torch.empty(3 * heads * 4, width, device="meta")
    assert torch.equal(crop_fused(like, big.reshape(36, 10)), big[:, : heads * 4, :width].reshape(-1, width))
    bias = torch.arange(36.0)
    cut = crop_fused(torch.empty(3 * heads * 4, device="meta"), bias)
    assert torch.equal(cut, bias.reshape(3, 12)[:, : heads * 4].flatten())


def test_dropout_is_for_training():
    layer = EncoderLayer(8, 2, 8, dropout=0.5)
    x = torch.ones(1, 3, 8)
    assert torch.equal(layer.eval()(x), layer(x))
    with seeded(0):
        assert not torch.equal(layer.train()(x), layer(x))


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="relative positions"):
        Attention(8, 2, 4, causal=True, relative=nn.Identity())
    with pytest.raises(ValueError, match="one projection"):
        Attention(8, 2, 4, fused=True, source_width=8)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        EncoderLayer(8, 3, 8)


def test_the_stream_is_seen_after_every_part():
    model = nn.Sequential(EncoderLayer(4, 1, 4), DecoderLayer(4, 1, 4))
    assert list(stream(model)) == [
        "0.attention",
        "0.feedforward",
        "1.self_attention",
        "1.cross_attention",
        "1.feedforward",
    ]


def test_initialising_draws_matrices_and_clears_biases():
    parts = [nn.Conv2d(3, 200, 5), FeedForward(300, 500), nn.LayerNorm(300), nn.Embedding(600, 300)]
    net = nn.Sequential(*parts, Classifier(300, 200))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    with seeded(0):
        initialise(net)
    deviations = {"0": (2 / 275) ** 0.5, "1.widen": 0.05, "1.narrow": 0.05, "3": 0.02, "4": 0.2 / 10**0.5}
    for name, parameter in net.named_parameters():
        path, _, last = name.rpartition(".")
        if path in deviations and last == "weight":
            assert parameter.std().item() == pytest.approx(deviations[path], rel=0.02)
            assert parameter.mean().item() == pytest.approx(0, abs=0.002)
        else:
            assert (parameter == (name == "2.weight")).all()


def test_networks_are_built_where_torch_builds_and_drawn_there():
    def make():
        return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))

    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in on_default_device(make).parameters())
    with seeded(0):
        one = on_default_device(make)
    other = make()
    with seeded(0):  # drawing the layers themselves took nothing from the generator
        initialise(other)
    assert all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.parametrize("given", [0, -1, (), (1, 1), (2, 0), 1.5, (1.5,)])
def test_what_is_no_whole_number_is_refused(given):
    check_whole("heads", 3)
    check_whole("heads", [3, 1])
    with pytest.raises(ConfigError, match="heads takes whole numbers from 1 on, none twice"):
        check_whole("heads", given)
