"""The BERT family: published sizes, the original network's outputs, padding that does not matter, and exact counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError
from hwnas.families.bert import Bert
from hwnas.formats._parity import parity
from hwnas.formats.onnx import Onnx
from hwnas.layers import macs, params
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.seeds import seeded
from hwnas.testing import some_codes
from hwnas.weights.share import borrow, call, skeleton, tensors_of

PUBLISHED = {
    (11, 11, 704, 736, 1824): 75_810_816,
    (11, 10, 640, 720, 2464): 82_267_184,
    (6, 12, 768, 752, 2816): 63_237_072,
    (8, 8, 512, 640, 1824): 49_495_680,
    (12, 12, 768, 768, 3072): 109_482_240,
}
"""DE-NAS's codes (layers, heads, width of all heads, width, feed-forward width) and sizes without a classifier."""
TINY = {
    name: tuple(value) if isinstance(value, list) else value for name, value in {**Bert.tiny, "dropout": 0.0}.items()
}


def tiny(**options):
    return Bert(**{**TINY, **options})


def model_of(family):
    return Candidate(family, family.space.largest).model


@pytest.mark.parametrize(("published", "size"), PUBLISHED.items())
def test_published_networks_have_their_published_size(published, size):
    layers, heads, inner, width, hidden = published
    family = Bert()
    assert heads * family.head_width == inner
    code = family.space.encode({"layers": layers, "heads": heads, "width": width, "hidden": hidden})
    model = Candidate(family, code).skeleton
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert head == 2 * width + 2
    assert sum(parameter.numel() for parameter in model.parameters()) - head == size
    assert family.counts(np.array([code]))[1].tolist() == [size + head]


def test_the_space_is_denas_s():
    space = Bert().space
    assert space.size == 171_585
    sizes = Bert(classes=1).counts(np.array([space.smallest, space.largest]))[1] - [129, 769]
    assert sizes.round(-4).tolist() == [5_180_000, 109_480_000]


def test_layers_may_differ():
    family = tiny(per_layer=True)
    assert family.space.size == 2 * (4 + 4**2)
    arch = family.space.decode(family.space.largest) | {"layer1.heads": 1, "layer2.hidden": 16}
    model = family.build(arch)
    assert [model.layer1.attention.attention.heads, model.layer2.attention.attention.heads] == [1, 2]
    assert [part.feedforward.feedforward.widen.out_features for part in (model.layer1, model.layer2)] == [32, 16]


@pytest.mark.parametrize(
    "options", [{}, {"per_layer": True}, {"fused": True}, {"pool": "mean"}, {"pad": None}, {"classes": 5}], ids=str
)
def test_counts_are_those_of_the_networks(options):
    family = tiny(**options)
    codes = some_codes(family, 12)
    found = [(macs(layers), params(layers)) for layers in (Candidate(family, code).layers for code in codes)]
    assert np.transpose(family.counts(np.array(codes))).tolist() == [list(pair) for pair in found]


LAYER = {
    "attention.attention.q": "attention.self.query",
    "attention.attention.k": "attention.self.key",
    "attention.attention.v": "attention.self.value",
    "attention.attention.out": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "feedforward.feedforward.widen": "intermediate.dense",
    "feedforward.feedforward.narrow": "output.dense",
    "feedforward.norm": "output.LayerNorm",
}
"""Our modules of a layer, and what the transformers library calls them."""


def test_it_is_the_original_network():
    transformers = pytest.importorskip("transformers")
    family = tiny(layers=(2,), widths=(16,), heads=(2,), hiddens=(32,), head_width=8)
    ours = model_of(family)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with seeded(0):
        config = transformers.BertConfig(**sizes, vocab_size=50, max_position_embeddings=12)
        theirs = transformers.BertForSequenceClassification(config).eval()
        ids = torch.randint(1, 50, (3, 8))
    modules = {"embedding.norm": "bert.embeddings.LayerNorm", "pooler": "bert.pooler.dense", "head": "classifier"}
    modules |= {
        f"layer{n}.{own}": f"bert.encoder.layer.{n - 1}.{other}" for n in (1, 2) for own, other in LAYER.items()
    }
    names = {f"{own}.{last}": f"{other}.{last}" for own, other in modules.items() for last in ("weight", "bias")}
    tables = {"words": "word", "positions": "position", "types": "token_type"}
    names |= {f"embedding.{own}.weight": f"bert.embeddings.{other}_embeddings.weight" for own, other in tables.items()}
    tensors = dict(theirs.named_parameters())
    ours.load_state_dict({own: tensors[other] for own, other in names.items()})
    ids[1, 5:] = 0
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids, attention_mask=(ids != 0).long()).logits)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_padding_does_not_matter(pool):
    family = tiny(pool=pool)
    model = model_of(family)
    (ids,) = Candidate(family, family.space.largest).batch(2)
    padded = torch.cat([ids[:, :5], torch.zeros_like(ids[:, :3])], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(padded), model(ids[:, :5]))
        unmasked = model(padded, torch.ones_like(padded, dtype=torch.bool))
        assert (unmasked - model(padded)).abs().max() > 1e-5
        assert model(torch.zeros_like(ids)).isfinite().all()


def test_without_padding_every_token_counts():
    one, other = (model_of(tiny(pad=pad, pool="mean")) for pad in (None, 7))
    other.load_state_dict(one.state_dict())
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert not torch.allclose(one(ids), other(ids))
        torch.testing.assert_close(one(ids), other(ids, torch.ones(1, 8, dtype=torch.bool)))


@pytest.mark.parametrize("pad", [0, 3, None])
def test_inputs_are_distinct_tokens_and_no_padding(pad):
    family = tiny(pad=pad, vocabulary=9)
    with seeded(0):
        (ids,) = family.inputs({}, 64)
    allowed = set(range(9)) - {pad}
    assert ids.dtype == torch.int64 and ids.shape == (64, 8)
    assert all(len(set(row)) == 8 and set(row) <= allowed for row in ids.tolist())
    assert set(ids.flatten().tolist()) == allowed


def test_few_tokens_are_used_again_in_a_long_sentence():
    with seeded(0):
        (ids,) = tiny(vocabulary=4, length=8).inputs({}, 5)
    assert all(sorted(row[:3]) == sorted(row[3:6]) == [1, 2, 3] for row in ids.tolist())


@pytest.mark.parametrize("fused", [False, True])
def test_fewer_heads_are_the_first_heads(fused):
    """A network of one head is the network of two whose second head gives nothing."""
    family = tiny(fused=fused)
    model = model_of(family)
    one = family.space.decode(family.space.largest) | {"heads": 1}
    small = skeleton(family, one)
    (ids,) = Candidate(family, family.space.largest).batch(2)
    with torch.no_grad():
        found = call(small, borrow(family, one, small, tensors_of(model)), ids)
        for layer in (model.layer1, model.layer2):
            layer.attention.attention.out.weight[:, 8:] = 0
        torch.testing.assert_close(found, model(ids))


def test_blocks_and_roles():
    family = tiny()
    model = Candidate(family, family.space.largest).skeleton
    parts = [f"layer{layer}.{part}" for layer in (1, 2) for part in ("attention", "feedforward")]
    assert family.blocks(model) == ("embedding", *parts)
    roles = family.roles(model)
    assert (roles["head.weight"], roles["pooler.weight"]) == ("head", "")
    assert sorted(set(roles.values())) == ["", "attention", "head", "mlp"]


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_networks_are_exported_with_integers_for_inputs(pool, tmp_path):
    family = tiny(pool=pool)
    candidate = Candidate(family, family.space.largest)
    path = tmp_path / "bert.onnx"
    Onnx().write(candidate.model, candidate.inputs, path, {})
    padded = candidate.batch(3)[0].clone()
    padded[0, 3:] = 0
    assert parity(Onnx(), path, candidate.model, [candidate.inputs, candidate.batch(3), (padded,)]) < 1e-5
    OnnxRuntime().open(path, candidate.inputs, 1)()
    OnnxRuntime().load(candidate.model, candidate.inputs, 1)()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 600}, "length can be at most the number of positions, 512, not 600"),
        ({"pad": 30522}, "pad takes a token from 0 to 30521, or None"),
        ({"vocabulary": 1}, "vocabulary takes 2 tokens or more"),
        ({"layers": (0, 1)}, "layers takes whole numbers from 1 on"),
        ({"pool": "max"}, "pool takes 'class' or 'mean', not 'max'"),
        ({"dropout": -0.1}, "dropout takes a number from 0 to below 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Bert(**options)
