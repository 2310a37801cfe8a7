"""Speech Transformers: published counts, formulas against networks, positions, and who sees what."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hwnas import parts
from hwnas.candidate import Candidate, Countable
from hwnas.errors import ConfigError
from hwnas.families.asr import Asr, sinusoids
from hwnas.formats._parity import parity
from hwnas.formats.onnx import Onnx
from hwnas.layers import macs, params
from hwnas.seeds import seeded
from hwnas.space import Value
from hwnas.testing.families import check_family
from hwnas.weights.share import borrow, call, skeleton, tensors_of

SEARCHED = {"decoder": "searched", "decoder_depths": [1, 2], "target": 6}
FIXED = {"decoder": "fixed", "decoder_depths": [2], "target": 6, "decoder_heads": 4, "decoder_hidden": 20}
LINEAR = {"front": "linear", "mels": 7}


def tiny(**options: Any) -> Asr:
    made: Asr = parts.make("families", {"asr": {**Asr.tiny, **options}})
    return made


def arch_of(*code: Value) -> dict[str, Value]:
    """DE-NAS's tuple: depth, all ratios, all heads, width."""
    depth = int(code[0])
    arch: dict[str, Value] = {"depth": depth, "width": code[-1]}
    for layer in range(1, depth + 1):
        arch |= {f"encoder{layer}.ratio": code[layer], f"encoder{layer}.heads": code[depth + layer]}
    return arch


# --- DE-NAS's space -------------------------------------------------------------------------------------------------


def test_the_space_is_that_of_denas() -> None:
    assert Asr(decoder="fixed", front="linear").space.size == sum(6 * 15**depth for depth in range(5, 13))
    assert Asr().space.size == 834_083_600_400_000


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ((5, 3.0, 5.0, 4.0, 5.0, 3.0, 3, 3, 3, 4, 2, 216), 11_750_592),
        ((5, 4.5, 4.5, 4.0, 4.5, 3.0, 3, 3, 3, 4, 2, 216), 11_797_356),
        ((5, *[3.0] * 5, *[2] * 5, 192), 9_579_072),
    ],
)
def test_networks_have_their_published_size(code: tuple[Value, ...], count: int) -> None:
    family = Asr(decoder="fixed", front="linear")
    net = skeleton(family, family.space.decode(family.space.encode(arch_of(*code))))
    assert isinstance(net.get_submodule("head"), nn.Linear)
    heads = sum(parameter.numel() for parameter in net.get_submodule("head").parameters())
    assert sum(parameter.numel() for parameter in net.parameters()) - heads == count


def test_the_convolutions_end_where_the_projection_alone_begins() -> None:
    conv, linear = Asr(), Asr(front="linear")
    arch = conv.space.decode(conv.space.smallest)
    project = [skeleton(family, arch).get_submodule("embedding.project") for family in (conv, linear)]
    assert [layer.in_features for layer in project] == [1280, 1280]
    with torch.device("meta"):
        assert [family.inputs(arch, 1)[0].shape for family in (conv, linear)] == [(1, 400, 80), (1, 400, 1280)]
        assert conv.build(arch).get_submodule("embedding")(*conv.inputs(arch, 3)).shape == (3, 100, 192)


def test_what_nobody_says_follows_from_the_task() -> None:
    assert (Asr().outputs, Asr(decoder="searched").outputs, Asr(classes=12).outputs) == (35, 5000, 12)


# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [SEARCHED, FIXED | LINEAR], ids=["searched", "fixed"])
def test_networks_with_a_decoder_keep_the_contract(options: dict[str, Any]) -> None:
    check_family(tiny(**options))


@pytest.mark.parametrize("options", [{}, {"frames": 13, "mels": 9}, LINEAR, SEARCHED, FIXED, SEARCHED | LINEAR])
def test_the_formulas_count_as_the_networks_do(options: dict[str, Any]) -> None:
    family, rng = tiny(**options), np.random.default_rng(0)
    assert isinstance(family, Countable)
    codes = [family.space.smallest, family.space.largest, *(family.space.sample(rng) for _ in range(6))]
    judged = [Candidate(family, code) for code in codes]
    macs_N, params_N = family.counts(np.array(codes))
    assert macs_N.tolist() == [macs(candidate.layers) for candidate in judged]
    assert params_N.tolist() == [params(candidate.layers) for candidate in judged]
    assert params_N.tolist() == [sum(p.numel() for p in candidate.skeleton.parameters()) for candidate in judged]


def test_the_formulas_count_the_defaults() -> None:
    for family in (Asr(), Asr(decoder="fixed", front="linear"), Asr(decoder="searched")):
        judged = Candidate(family, family.space.sample(np.random.default_rng(1)))
        macs_N, params_N = family.counts(np.array([judged.code]))
        assert (macs_N[0], params_N[0]) == (macs(judged.layers), params(judged.layers))


def test_a_decoder_varies_like_the_encoder_if_it_is_searched() -> None:
    family = tiny(**SEARCHED)
    encoder = sum(4**depth for depth in (1, 2))
    assert family.space.size == 2 * encoder * encoder
    arch = {**arch_of(1, 1.5, 2, 24), "decoder.depth": 2}
    arch |= {"decoder1.ratio": 1, "decoder1.heads": 2, "decoder2.ratio": 1.5, "decoder2.heads": 1}
    net = skeleton(family, arch)
    hidden = [net.get_parameter(f"decoder.{i}.feedforward.feedforward.widen.weight").shape[0] for i in (0, 1)]
    assert hidden == [24, 36]
    assert [net.get_submodule(f"decoder.{i}.cross_attention.attention").heads for i in (0, 1)] == [2, 1]


def test_logits_depend_on_earlier_tokens_and_on_all_frames() -> None:
    judged = Candidate(tiny(**SEARCHED), tiny(**SEARCHED).space.largest)
    features, tokens = judged.batch(2)
    assert tokens.dtype == torch.int64 and judged.model(features, tokens).shape == (2, 6, 10)
    with torch.no_grad():
        logits = judged.model(features, tokens)
        other = tokens.clone()
        other[:, 3] = (other[:, 3] + 1) % 10
        changed = judged.model(features, other)
        assert torch.allclose(changed[:, :3], logits[:, :3], atol=1e-6)
        assert all(not torch.allclose(changed[:, place], logits[:, place], atol=1e-4) for place in (3, 4, 5))
        assert torch.allclose(judged.model(features, tokens[:, :4]), logits[:, :4], atol=1e-6)
        for frame in (0, 11):
            louder = features.clone()
            louder[:, frame] += 1
            assert (judged.model(louder, tokens) - logits).abs().amax(dim=(0, 2)).min() > 1e-6


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(torch.Size((50, 6)), torch.empty(0))
    for place, wave in ((0, 0), (1, 0), (7, 1), (49, 2)):
        angle = place / 10000 ** (2 * wave / 6)
        assert table[place, 2 * wave] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[place, 2 * wave + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_narrow_network_has_the_waves_of_its_own_width() -> None:
    family = tiny(**SEARCHED)
    arch = family.space.decode(family.space.smallest)
    with seeded(0):
        big, own = tensors_of(family.supernet()), family.build(arch)
    borrowed = borrow(family, arch, skeleton(family, arch), big)
    for name, buffer in own.named_buffers():
        assert torch.equal(borrowed[name], buffer) and not torch.equal(buffer, big[name][:, : buffer.shape[1]])
    assert len(list(own.named_buffers())) == 2


def test_a_small_network_is_made_of_leading_slices() -> None:
    family = tiny()
    with seeded(0):
        big = tensors_of(family.supernet())
    arch = arch_of(1, 1.5, 2, 16)
    small = skeleton(family, arch)
    borrowed = borrow(family, arch, small, big)
    name = "encoder.0.feedforward.feedforward.widen.weight"
    assert torch.equal(borrowed[name], big[name][:24, :16])
    assert torch.equal(
        borrowed["encoder.0.attention.attention.q.weight"], big["encoder.0.attention.attention.q.weight"][:16, :16]
    )
    assert call(small, borrowed, *Candidate(family, family.space.encode(arch)).batch(2)).shape == (2, 10)


def test_matrices_are_drawn_as_xavier_and_glorot_do() -> None:
    family = tiny(widths=[192, 384], decoder="fixed", decoder_hidden=512, classes=500)
    with seeded(0):
        net = family.build(family.space.decode(family.space.largest))
    for name in ("encoder.0.attention.attention.q", "decoder.1.feedforward.feedforward.widen", "tokens.words", "head"):
        weight = net.get_parameter(f"{name}.weight").detach()
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / sum(weight.shape)), rel=0.02)
    assert not net.get_parameter("head.bias").any() and (net.get_parameter("norm.weight") == 1).all()


def test_blocks_are_the_residual_stream() -> None:
    judged = Candidate(tiny(**SEARCHED), tiny(**SEARCHED).space.smallest)
    names = judged.family.blocks(judged.skeleton)
    encoder = ("encoder.0.attention", "encoder.0.feedforward")
    decoder = ("decoder.0.self_attention", "decoder.0.cross_attention", "decoder.0.feedforward")
    assert names == ("embedding", *encoder, *decoder)
    seen: list[tuple[int, ...]] = []
    for name in names:
        judged.model.get_submodule(name).register_forward_hook(lambda *a: seen.append(tuple(a[2].shape)))
    judged.model(*judged.batch(2))
    assert seen == [(2, 3, 16)] * 3 + [(2, 6, 16)] * 3


def test_every_weight_has_a_role() -> None:
    family = tiny(**SEARCHED)
    roles = family.roles(skeleton(family, family.space.decode(family.space.smallest)))
    assert roles["embedding.front.0.conv.weight"] == roles["embedding.project.weight"] == "embedding"
    assert roles["decoder.0.cross_attention.attention.k.weight"] == "attention"
    assert roles["encoder.0.feedforward.feedforward.narrow.weight"] == "mlp"
    assert roles["head.weight"] == "head" and "" not in roles.values()


@pytest.mark.parametrize("options", [{}, SEARCHED], ids=["commands", "transcription"])
def test_an_onnx_file_computes_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    judged = Candidate(tiny(**options), tiny(**options).space.largest)
    file = tmp_path / "net.onnx"
    Onnx().write(judged.model, judged.inputs, file, {})
    assert parity(Onnx(), file, judged.model, [judged.inputs, judged.batch(3)]) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "some"}, "decoder takes 'none', 'fixed' or 'searched', not 'some'"),
        ({"front": "fft"}, "front takes 'conv' or 'linear', not 'fft'"),
        ({"frames": 0}, "frames takes whole numbers from 1 on"),
        ({"classes": 0}, "classes takes whole numbers from 1 on"),
        ({"mels": -1}, "mels takes whole numbers from 1 on"),
        ({"depths": ()}, "depths takes whole numbers from 1 on"),
        ({"widths": (16, 16)}, "widths takes whole numbers from 1 on, none twice"),
        ({"ratios": (0.001,)}, "ratios takes numbers, none twice, .* at least 1 of 192 channels"),
        ({"widths": (16, 30), "heads": (1, 4)}, "30 is not one of 4"),
        ({"widths": (18,), "heads": (1, 2), "decoder": "fixed"}, "18 is not one of 4"),
        ({"dropout": 1.0}, "dropout takes a number from 0 to below 1, not 1.0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Asr(**options)
