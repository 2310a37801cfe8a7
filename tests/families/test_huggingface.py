"""Encoders of the transformers library: ranges, published counts, padding, files, and who may be missing."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MissingExtraError
from hwnas.families.huggingface import Classifier, HuggingFace
from hwnas.formats._parity import parity
from hwnas.formats.onnx import Onnx
from hwnas.layers import params
from hwnas.seeds import seeded
from hwnas.testing.families import check_family
from hwnas.weights.share import borrow, skeleton, tensors_of

pytest.importorskip("transformers")

SIZES = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "vocab_size": 60}
BERT = {"model_type": "bert", **SIZES, "intermediate_size": 64, "max_position_embeddings": 40}


def family(**options: Any) -> HuggingFace:
    return HuggingFace(**{"config": BERT, "length": 8, **options})


# --- what may vary --------------------------------------------------------------------------------------------------


def test_the_space_reaches_from_the_half_to_the_original() -> None:
    base = HuggingFace(config={"model_type": "bert"})
    values = {choice.name: choice.values for choice in base.space.choices}
    assert values["num_hidden_layers"] == values["num_attention_heads"] == tuple(range(6, 13))
    assert values["hidden_size"] == tuple(range(384, 769, 16))
    assert values["intermediate_size"] == tuple(range(1536, 3073, 16))
    # DE-NAS's own space leaves out the upper ends: 6 * 6 * 24
    narrow = HuggingFace(config={"model_type": "bert"}, search={"intermediate_size": None})
    assert narrow.space.size == 7 * 7 * 25


def test_the_original_is_in_the_space_with_its_published_size() -> None:
    base = HuggingFace(config={"model_type": "bert"})
    original = base.space.decode(base.space.largest)
    assert base.settings(original) == {key: getattr(base.original, key) for key in original}
    net = skeleton(base, original)
    head = 768 * 2 + 2
    assert sum(parameter.numel() for parameter in net.parameters()) == 109_482_240 + head


def test_a_width_is_rounded_down_to_one_that_its_heads_divide() -> None:
    base = HuggingFace(config={"model_type": "bert"})
    arch = {"num_hidden_layers": 6, "num_attention_heads": 7, "hidden_size": 512, "intermediate_size": 1536}
    assert base.settings(arch)["hidden_size"] == 511
    net = skeleton(base, arch)
    assert net.get_parameter("net.bert.embeddings.word_embeddings.weight").shape == (30522, 511)


def test_widths_that_round_to_the_same_are_one_network() -> None:
    wide = family(search={"hidden_size": [40, 42, 44, 48], "num_attention_heads": [4, 20]})
    arch = dict(wide.space.decode(wide.space.largest))
    found = {width: wide.canonical(wide.space.encode({**arch, "hidden_size": width})) for width in (40, 42, 44, 48)}
    assert len(set(found.values())) == 1
    assert wide.space.decode(found[48])["hidden_size"] == 40
    fours = [wide.canonical(wide.space.encode({**arch, "num_attention_heads": 4, "hidden_size": w})) for w in (40, 42)]
    assert fours[0] == fours[1] != wide.canonical(wide.space.encode({**arch, "num_attention_heads": 4}))


def test_the_big_network_holds_every_width_that_may_be_chosen() -> None:
    odd = family(search={"hidden_size": {"max": 50}, "num_attention_heads": {"min": 2, "max": 3}})
    big = tensors_of(odd.supernet())
    for width in (25, 41, 50):
        for heads in (2, 3):
            arch = {**odd.space.decode(odd.space.largest), "hidden_size": width, "num_attention_heads": heads}
            assert borrow(odd, arch, skeleton(odd, arch), big)


def test_other_keys_vary_if_asked_for() -> None:
    some = family(search={"max_position_embeddings": {"min": 20, "step": 10}, "num_hidden_layers": [1, 3, 2]})
    values = {choice.name: choice.values for choice in some.space.choices}
    assert values["max_position_embeddings"] == (20, 30, 40)
    assert values["num_hidden_layers"] == (1, 2, 3)
    net = skeleton(some, {**some.space.decode(some.space.largest), "max_position_embeddings": 20})
    assert net.get_parameter("net.bert.embeddings.position_embeddings.weight").shape == (20, 32)


def test_a_range_ends_with_its_maximum() -> None:
    some = family(search={"hidden_size": {"min": 16, "step": 12}})
    assert next(choice.values for choice in some.space.choices if choice.name == "hidden_size") == (16, 28, 32)


def test_the_config_is_asked_for_the_names_of_its_settings() -> None:
    config = {"model_type": "distilbert", "n_layers": 2, "n_heads": 2, "dim": 16, "hidden_dim": 32, "vocab_size": 30}
    distil = HuggingFace(config=config, length=8, search={"hidden_dim": {}})
    assert [choice.name.split(".")[0] for choice in distil.space.choices] == [
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_size",
        "hidden_dim",
    ]
    same = HuggingFace(config={"model_type": "distilbert", **SIZES, "hidden_dim": 32}, length=8)
    assert same.original.dim == 32 and same.original.n_layers == 3


def test_what_follows_from_other_settings_follows() -> None:
    config = {"model_type": "electra", **SIZES, "embedding_size": 32, "intermediate_size": 64}
    electra = HuggingFace(config=config, length=8)
    small = skeleton(electra, {**electra.space.decode(electra.space.smallest)})
    assert not [name for name, _ in small.named_parameters() if "embeddings_project" in name]
    per_layer = ["full_attention", "sliding_attention", "sliding_attention"]
    modern = HuggingFace(config={**config, "model_type": "modernbert", "layer_types": per_layer}, length=8)
    assert modern._config({**modern.settings({}), "num_hidden_layers": 2}).layer_types == per_layer[:2]


# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["roberta", "electra", "albert", "mpnet", "modernbert", "nomic_bert", "deberta-v2", "distilbert"]
)
def test_other_encoders_keep_the_contract(kind: str) -> None:
    search = {"hidden_dim": {"max": 64}} if kind == "distilbert" else {}
    config = {**BERT, "model_type": kind}
    check_family(HuggingFace(config=config, length=8, pad=0, multiple=2, search=search))


def test_rotary_tables_are_computed_and_not_cut() -> None:
    rotary = HuggingFace(config={**BERT, "model_type": "modernbert", "max_position_embeddings": 40}, length=8, pad=0)
    arch = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    with seeded(0):
        big, own = tensors_of(rotary.supernet()), dict(rotary.build(arch).named_buffers())
    borrowed = borrow(rotary, arch, skeleton(rotary, arch), big)
    tables = [name for name in own if "inv_freq" in name]
    other = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16, "intermediate_size": 32}
    shorter = borrow(rotary, other, skeleton(rotary, other), big)
    assert tables
    for name in tables:
        assert torch.equal(borrowed[name], own[name])
        assert len(shorter[name]) == 2 and shorter[name][1] == pytest.approx(float(own[name][2]))


def test_padding_changes_nothing() -> None:
    judged = Candidate(family(), family().space.largest)
    (ids,) = judged.batch(3)
    padded = ids.clone()
    padded[:, 5:] = 0
    with torch.no_grad():
        short, long = judged.model(ids[:, :5]), judged.model(padded)
        assert torch.allclose(short, long, atol=1e-6)
        assert not torch.allclose(short, judged.model(ids), atol=1e-6)
        assert judged.model(torch.zeros_like(ids)).isfinite().all()


def test_inputs_are_distinct_tokens_without_padding() -> None:
    own = family(vocabulary=10, pad=4, length=9)
    arch = own.space.decode(own.space.smallest)
    with seeded(0):
        (ids,) = own.inputs(arch, 50)
    assert ids.dtype == torch.int64
    assert all(sorted(row) == [0, 1, 2, 3, 5, 6, 7, 8, 9] for row in ids.tolist())
    (many,) = family(vocabulary=5, length=30).inputs(arch, 4)
    assert set(many.flatten().tolist()) <= {1, 2, 3, 4}


def test_blocks_are_the_residual_stream() -> None:
    judged = Candidate(family(), family().space.smallest)
    names = judged.family.blocks(judged.skeleton)
    layer = "net.bert.encoder.layer.0"
    assert names == ("net.bert.embeddings", f"{layer}.attention.output", f"{layer}.output")
    seen: list[tuple[int, ...]] = []
    for name in names:
        judged.model.get_submodule(name).register_forward_hook(lambda *a: seen.append(tuple(a[2].shape)))
    judged.model(*judged.batch(2))
    assert seen == [(2, 8, 16)] * 3


def test_roles_follow_from_where_a_weight_stands() -> None:
    judged = Candidate(family(), family().space.largest)
    roles = judged.family.roles(judged.skeleton)
    layer = "net.bert.encoder.layer.2"
    for part in ("attention.self.query", "attention.self.value", "attention.output.dense"):
        assert roles[f"{layer}.{part}.weight"] == "attention"
    assert roles[f"{layer}.intermediate.dense.weight"] == roles[f"{layer}.output.dense.weight"] == "mlp"
    assert roles["net.classifier.weight"] == "head" and roles["net.bert.pooler.dense.weight"] == ""
    electra = HuggingFace(config={**BERT, "model_type": "electra", "embedding_size": 8}, length=8)
    roles = electra.roles(skeleton(electra, electra.space.decode(electra.space.largest)))
    assert roles["net.electra.embeddings_project.weight"] == "embedding"
    assert {name for name, role in roles.items() if role == "head"} == {
        "net.classifier.dense.weight",
        "net.classifier.out_proj.weight",
    }


def test_an_onnx_file_computes_the_same(tmp_path: Path) -> None:
    judged = Candidate(family(), family().space.largest)
    padded = judged.batch(2)
    padded[0][1, 3:] = 0
    file = tmp_path / "net.onnx"
    Onnx().write(judged.model, judged.inputs, file, {})
    assert parity(Onnx(), file, judged.model, [judged.inputs, padded, judged.batch(3)]) < 1e-5


def test_networks_have_as_many_outputs_as_classes() -> None:
    judged = Candidate(family(classes=7), family().space.smallest)
    assert judged.model(*judged.batch(2)).shape == (2, 7)
    assert params(judged.layers) == sum(parameter.numel() for parameter in judged.skeleton.parameters())


# --- where a configuration comes from -------------------------------------------------------------------------------


def test_a_folder_a_file_and_a_mapping_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    task = {"id2label": {"0": "a", "1": "b", "2": "c"}, "dtype": "float16", "auto_map": {"AutoConfig": "evil.Config"}}
    file.write_text(json.dumps({**BERT, **task}))
    for where in (tmp_path, file):
        read = parts.make("families", {"huggingface": {"model": str(where), "length": 8}})
        assert read.space == family().space
        net = read.build(read.space.decode(read.space.smallest))
        assert net.net.config.num_labels == 2 and {p.dtype for p in net.parameters()} == {torch.float32}


def test_weights_start_from_the_leading_slices_of_the_original(tmp_path: Path) -> None:
    whole = family().build(family().space.decode(family().space.largest))
    assert isinstance(whole, Classifier)
    whole.net.save_pretrained(tmp_path)  # type: ignore[operator]
    same = HuggingFace(model=str(tmp_path), length=8, pretrained=True)
    big = tensors_of(same.supernet())
    assert all(torch.equal(big[name], tensor) for name, tensor in tensors_of(whole).items())
    narrow = HuggingFace(model=str(tmp_path), length=8, pretrained=True, search={"hidden_size": [16, 20]})
    query = narrow.supernet().get_parameter("net.bert.encoder.layer.1.attention.self.query.weight")
    assert torch.equal(query, whole.get_parameter("net.bert.encoder.layer.1.attention.self.query.weight")[:20, :20])
    with pytest.raises(ConfigError, match="pretrained weights know 60 tokens, not 50"):
        HuggingFace(model=str(tmp_path), length=8, pretrained=True, vocabulary=50)
    with pytest.raises(ConfigError, match="pretrained weights reach to a hidden_size of 32, not to 48"):
        HuggingFace(model=str(tmp_path), length=8, pretrained=True, search={"hidden_size": {"max": 48}})


def test_other_files_of_weights_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ConfigError, match="no safetensors beside"):
        HuggingFace(model=str(tmp_path), length=8, pretrained=True)


def test_a_name_is_looked_for_in_the_cache_and_then_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    file, asked = tmp_path / "config.json", []
    file.write_text(json.dumps(BERT))

    def cached_file(name: str, what: str, *, local_files_only: bool) -> str:
        asked.append((name, what, local_files_only))
        if local_files_only or name == "nobody/nothing":
            raise OSError("no such model")
        return str(file)

    monkeypatch.setattr(transformers.utils, "cached_file", cached_file)
    assert HuggingFace(model="somebody/bert", length=8).space == family().space
    assert asked == [("somebody/bert", "config.json", True), ("somebody/bert", "config.json", False)]
    with pytest.raises(ConfigError, match=r"(?s)'nobody/nothing' is no local path.*no such model.*give a local folder"):
        HuggingFace(model="nobody/nothing", length=8)


def test_the_library_is_imported_when_it_is_needed() -> None:
    """It takes seconds, so nothing of ours may load it by being imported itself."""
    for file in parts.ROOT.rglob("*.py"):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in getattr(statement, "names", ())]
            names.append(getattr(statement, "module", None) or "")
            assert not any(name.split(".")[0] == "transformers" for name in names), file


def test_without_the_library_the_error_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r'(?s)transformers.*pip install "hwnas\[hf\]"'):
        family()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": None}, "takes either a model or a config"),
        ({"model": "bert-base-uncased"}, "takes either a model or a config"),
        ({"config": {**BERT, "model_type": "bertt"}}, "unknown model_type 'bertt'; did you mean 'bert'"),
        ({"config": SIZES}, "unknown model_type None"),
        ({"config": {**BERT, "hidden_size": 33}}, "33 is not made of 4 heads"),
        ({"config": {**BERT, "hidden_size": "wide"}}, "takes no such config of a 'bert'"),
        ({"config": {"model_type": "vit"}}, "reads no tokens"),
        ({"length": 41}, "takes up to 40 tokens, not 41"),
        ({"length": 0}, "length takes a whole number from 1 on, not 0"),
        ({"classes": 0}, "classes takes a whole number from 1 on, not 0"),
        ({"search": {"hiden_size": {}}}, "no setting 'hiden_size'; did you mean 'hidden_size'"),
        ({"search": {"hidden_size": {"maximum": 3}}}, r"search takes hidden_size: \{min"),
        ({"search": {"hidden_size": {"min": 64}}}, "the least hidden_size, 64, is above the largest, 32"),
        ({"search": {"hidden_size": {"step": 0}}}, r"search takes hidden_size: \{min"),
        ({"search": {"hidden_size": []}}, r"search takes hidden_size: \{min"),
        ({"search": {"hidden_act": {"min": 1}}}, "hidden_act is 'gelu' in this config, so it needs a `max`"),
        ({"search": {"num_attention_heads": [64]}}, "heads up to 64 do not fit into a hidden_size of 16"),
        ({"search": {**dict.fromkeys(SIZES), "intermediate_size": None}}, "leaves nothing that may vary"),
        ({"pretrained": True}, "no safetensors beside 'a config'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        family(**options).space  # noqa: B018


def test_files_that_are_no_configuration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        HuggingFace(model=str(tmp_path))
    for text, message in (("{", "cannot be read as JSON"), ("[1]", "holds no configuration")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match=message):
            HuggingFace(model=str(tmp_path))
