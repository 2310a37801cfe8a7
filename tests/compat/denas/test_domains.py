"""Each domain's conf file as a family of ours."""

from __future__ import annotations

import json

import pytest

from hwnas import parts
from hwnas.compat.denas import conf
from hwnas.compat.denas.domains import DOMAIN
from hwnas.errors import ConfigError

from ._files import EXAMPLES, A, model


def family(domain, **changes):
    """A domain's family with the values of DE-NAS's own file, and what was told."""
    found = conf.read(EXAMPLES / f"e2eaiok_denas_{domain}.conf").values
    values = {key: value for key, value in {**DOMAIN[domain].defaults, **found, **changes}.items() if value is not None}
    notes = []
    spec = DOMAIN[domain].family(values, notes)
    return parts.make("families", spec), notes


def test_cnn():
    made, _ = family("cnn")
    assert made.classes == 100 and made.resolution == 32 and made.structure == A
    assert max(made.space.choices[0].values) == 256  # under a million parameters, networks are narrow
    for budget, width in ((1e4, 64), (1e5, 128), (5e6, 512), (None, 512)):
        assert max(family("cnn", budget_model_size=budget)[0].space.choices[0].values) == max(width, 128)  # its head's


def test_vit():
    made, notes = family("vit")
    assert (made.classes, made.resolution, made.patch, made.pool) == (10, 224, 16, "mean")
    assert made.relative and made.absolute and made.max_relative == 14 and not notes
    made, notes = family("vit", gp=False, relative_position=False, abs_pos=False, change_qkv=False, num_classes=1000)
    assert (made.classes, made.pool, made.relative, made.absolute) == (1000, "class", False, False)
    assert "change_qkv: False is passed over" in notes[0]


def test_bert_without_its_pretrained_folder():
    made, notes = family("bert")
    assert made.vocabulary == 30522 and made.length == 128
    assert "QKV_SIZE is passed over" in notes[0] and "with random weights" in notes[1]
    assert family("bert", img_size=600)[0].positions == 600


def test_bert_takes_the_vocabulary_of_a_folder_that_is_there(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 1000}), encoding="utf-8")
    made, notes = family("bert", pretrained_bert=str(tmp_path), pretrained_bert_config=None)
    assert made.vocabulary == 1000 and "its vocabulary of 1000" in notes[-1]
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": "many"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="vocab_size must be a whole number"):
        family("bert", pretrained_bert=str(tmp_path), pretrained_bert_config=None)


def test_asr_is_the_encoder_of_a_transformer_with_a_fixed_decoder():
    made, notes = family("asr")
    assert (made.decoder, made.front, made.bands, made.outputs) == ("fixed", "linear", 1280, 5000)
    assert made.depths == tuple(range(5, 13)) and not notes


def test_hf_without_its_folder_is_the_standard_model_and_it_is_in_the_space():
    made, notes = family("hf")
    assert "with random weights" in notes[0]
    assert made.settings(made.space.decode(made.space.largest)) == {
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_size": 768,
    }
    assert made.space.size == 7 * 7 * 25  # DE-NAS leaves the upper ends out: 6 x 6 x 24


def test_hf_takes_a_folder_and_further_ranges(tmp_path):
    extra = {"intermediate_size": {"max": 32, "step": 8}}
    made, notes = family("hf", img_size=8, search_space=extra, **model(tmp_path))
    assert not notes and made.original.vocab_size == 50
    assert [choice.values for choice in made.space.choices if choice.name == "intermediate_size"] == [(16, 24, 32)]
    with pytest.raises(ConfigError, match="intermediate_size must be"):
        family("hf", search_space={"intermediate_size": 32})
