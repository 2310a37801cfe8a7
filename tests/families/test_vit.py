"""The ViT family: published sizes, the relative positions as they are defined, and heads that are shared as heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError
from hwnas.families.vit import RelativePositions, Vit
from hwnas.formats._parity import parity
from hwnas.formats.onnx import Onnx
from hwnas.layers import macs, params
from hwnas.seeds import seeded
from hwnas.testing import some_codes
from hwnas.weights.share import borrow, call, skeleton, tensors_of

PUBLISHED = [
    ("3.5 4 3.5 3 3 3.5 3 3 3.5 3 4 3 3.5", "6 9 6 3 6 10 5 9 5 3 5 3 3", 448, 26_440_362),
    ("3 3 3 3 3 3 3 3 3 3 3 3", "3 3 3 3 3 3 3 3 3 3 3 3", 192, 4_731_466),
    ("3 4 3 4 3.5 4 3 3 3.5 3.5 3.5 3", "9 3 10 4 7 4 3 4 6 6 5 7", 240, 9_268_426),
    ("3.5 3 3 4 3 4 3 3 3.5 4 3.5 3.5", "6 4 3 9 10 3 4 3 7 7 3 4", 216, 7_649_578),
    ("3.5 3 3.5 4 3.5 3.5 3.5 3.5 3.5 4 3 4 3 3.5 3", "10 3 7 10 5 7 9 10 7 4 5 3 9 3 10", 448, 33_208_394),
    ("4 3 3.5 3.5 3.5 4 4 3 4 3.5 3.5 4 3.5 3 4", "3 3 9 10 6 9 10 10 9 9 3 7 6 10 10", 448, 35_390_666),
    ("4 3.5 4 3 3 4 3 3 3 4 3.5 3 3", "5 7 6 3 5 7 5 9 3 7 5 10 7", 320, 15_950_218),
]
"""DE-NAS's codes, as ratios, heads and width, and what its logs and tests say about their sizes."""
TINY = {**Vit.tiny, "depths": (1, 2), "widths": (16, 24), "ratios": (1, 1.5), "heads": (1, 2)}


def code_of(family, ratios, heads, width):
    arch = {"depth": len(ratios.split()), "width": width}
    for layer, (ratio, count) in enumerate(zip(ratios.split(), heads.split(), strict=True), start=1):
        arch |= {f"layer{layer}.ratio": float(ratio), f"layer{layer}.heads": int(count)}
    return family.space.encode(arch)


def tiny(**options):
    return Vit(**{**TINY, "dropout": 0.0, **options})


@pytest.mark.parametrize(("ratios", "heads", "width", "size"), PUBLISHED)
def test_published_networks_have_their_published_size(ratios, heads, width, size):
    family = Vit()
    code = code_of(family, ratios, heads, width)
    assert sum(parameter.numel() for parameter in Candidate(family, code).skeleton.parameters()) == size
    assert family.counts(np.array([code]))[1].tolist() == [size]


def test_a_smaller_image_has_fewer_positions():
    family = Vit(resolution=32)
    layers = Candidate(family, code_of(family, *PUBLISHED[0][:3])).layers
    assert params(layers) == 26_354_346


def test_the_space_is_denas_s():
    space = Vit().space
    assert space.size == sum(21**depth * 9 for depth in range(12, 17)) == 13_518_870_812_664_381_228_645
    sizes = Vit().counts(np.array([space.smallest, space.largest]))[1]
    assert sizes.round(-4).tolist() == [4_730_000, 76_260_000]


@pytest.mark.parametrize(
    "options",
    [{}, {"fused": True}, {"relative": False}, {"absolute": False}, {"pool": "class"}, {"resolution": 12}],
    ids=str,
)
def test_counts_are_those_of_the_networks(options):
    family = tiny(**options)
    codes = some_codes(family, 12)
    found = [(macs(layers), params(layers)) for layers in (Candidate(family, code).layers for code in codes)]
    assert np.transpose(family.counts(np.array(codes))).tolist() == [list(pair) for pair in found]


@pytest.mark.parametrize("farthest", [1, 2, 5])
def test_relative_positions_are_what_their_definition_says(farthest):
    """Pair by pair, as in AutoFormer: offsets clipped and shifted, row 0 for the class token."""
    side, heads, width = 4, 2, 3
    positions = RelativePositions(side, width, farthest).double()
    with seeded(0), torch.no_grad():
        positions.reset_parameters()
        q, weights = torch.randn(2, heads, 17, width).double(), torch.rand(2, heads, 17, 17).double()
    pairs = {"key": torch.empty(17, 17, width).double(), "value": torch.empty(17, 17, width).double()}
    for one in range(17):
        for other in range(17):
            if one == 0 or other == 0:
                row = column = 0
            else:
                apart = [(other - 1) // side - (one - 1) // side, (other - 1) % side - (one - 1) % side]
                row, column = (max(-farthest, min(farthest, offset)) + farthest + 1 for offset in apart)
            for kind, table in pairs.items():
                rows, columns = getattr(positions, f"{kind}_tables")
                table[one, other] = (rows[row] + columns[column]).detach()
    torch.testing.assert_close(positions.keys(q), torch.einsum("bhtd,tsd->bhts", q, pairs["key"]))
    torch.testing.assert_close(positions.values(weights), torch.einsum("bhts,tsd->bhtd", weights, pairs["value"]))


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_what_is_classified(pool):
    family = tiny(pool=pool)
    model = Candidate(family, family.space.largest).model
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.pool(x), x[:, 1:].mean(1) if pool == "mean" else x[:, 0])


LAYER = {
    "attention.norm": "layernorm_before",
    "attention.attention.q": "attention.q_proj",
    "attention.attention.k": "attention.k_proj",
    "attention.attention.v": "attention.v_proj",
    "attention.attention.out": "attention.o_proj",
    "feedforward.norm": "layernorm_after",
    "feedforward.feedforward.widen": "mlp.fc1",
    "feedforward.feedforward.narrow": "mlp.fc2",
}
"""Our modules of a layer, and what the transformers library calls them."""


def test_without_relative_positions_it_is_the_original_network():
    transformers = pytest.importorskip("transformers", minversion="5")
    family = tiny(relative=False, pool="class", widths=(16,), ratios=(2,), heads=(2,), depths=(2,))
    ours, (images,) = Candidate(family, family.space.largest).model, Candidate(family, family.space.largest).batch(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with seeded(0):
        config = transformers.ViTConfig(**sizes, image_size=8, patch_size=4, layer_norm_eps=1e-6, num_labels=10)
        theirs = transformers.ViTForImageClassification(config).eval()
    modules = {"embedding.project": "vit.embeddings.patch_embeddings.projection", "norm": "vit.layernorm"}
    modules |= {f"layer{n}.{own}": f"vit.layers.{n - 1}.{other}" for n in (1, 2) for own, other in LAYER.items()}
    modules["head"] = "classifier"
    names = {f"{own}.{last}": f"{other}.{last}" for own, other in modules.items() for last in ("weight", "bias")}
    names |= {"embedding.token": "vit.embeddings.cls_token"}
    names |= {"embedding.positions": "vit.embeddings.position_embeddings"}
    tensors = dict(theirs.named_parameters())
    ours.load_state_dict({own: tensors[other] for own, other in names.items()})
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).logits)


@pytest.mark.parametrize("fused", [False, True])
def test_fewer_heads_are_the_first_heads(fused):
    """A network of one head is the network of two whose second head gives nothing."""
    family = tiny(fused=fused, depths=(1,), widths=(24,), ratios=(1.5,))
    (images,) = Candidate(family, family.space.largest).batch(2)
    arch = family.space.decode(family.space.largest)
    model = Candidate(family, family.space.largest).model
    with seeded(0), torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    one = {**arch, "layer1.heads": 1}
    small = skeleton(family, one)
    with torch.no_grad():
        found = call(small, borrow(family, one, small, tensors_of(model)), images)
        model.layer1.attention.attention.out.weight[:, 8:] = 0
        torch.testing.assert_close(found, model(images))


def test_blocks_and_roles():
    family = tiny()
    model = Candidate(family, family.space.largest).skeleton
    parts = [f"layer{layer}.{part}" for layer in (1, 2) for part in ("attention", "feedforward")]
    assert family.blocks(model) == ("embedding", *parts)
    roles = family.roles(model)
    assert {roles[f"layer2.attention.attention.{name}.weight"] for name in ("q", "k", "v", "out")} == {"attention"}
    assert {roles[f"layer1.feedforward.feedforward.{name}.weight"] for name in ("widen", "narrow")} == {"mlp"}
    assert (roles["embedding.project.weight"], roles["head.weight"], len(roles)) == ("embedding", "head", 14)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_networks_are_exported(relative, fused, tmp_path):
    family = tiny(relative=relative, fused=fused)
    candidate = Candidate(family, family.space.largest)
    Onnx().write(candidate.model, candidate.inputs, tmp_path / "vit.onnx", {})
    assert parity(Onnx(), tmp_path / "vit.onnx", candidate.model, [candidate.inputs, candidate.batch(3)]) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 30}, "resolution must be a multiple of patch, 16, not 30"),
        ({"depths": ()}, "depths takes whole numbers from 1 on"),
        ({"heads": (3, 3)}, "heads takes whole numbers from 1 on, none twice"),
        ({"max_relative": 0}, "max_relative takes whole numbers from 1 on"),
        ({"ratios": (0, 4)}, "ratios takes numbers above 0"),
        ({"pool": "max"}, "pool takes 'mean' or 'class', not 'max'"),
        ({"dropout": 1.0}, "dropout takes a number from 0 to below 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Vit(**options)
