"""Conf files: DE-NAS's own are taken as they are, and whatever is wrong is told with its key."""

from __future__ import annotations

import re

import pytest
import yaml

from hwnas.compat.denas import conf
from hwnas.errors import ConfigError

from ._files import EXAMPLES, A


@pytest.fixture
def read(tmp_path):
    def written(asked=None, /, **values):
        path = tmp_path / "some.conf"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return conf.read(path, asked)

    return written


@pytest.mark.parametrize("domain", conf.DOMAINS)
def test_the_files_of_denas(domain):
    found = conf.read(EXAMPLES / f"e2eaiok_denas_{domain}.conf", domain)
    assert found == conf.read(EXAMPLES / f"e2eaiok_denas_{domain}.conf")  # the file says what it is
    assert found.values["search_engine"] == "EvolutionarySearchEngine" and found.values["seed"] == 0
    assert not any("unknown" in note for note in found.notes)


def test_their_values():
    cnn, vit, bert, asr = (
        conf.read(EXAMPLES / f"e2eaiok_denas_{domain}.conf").values for domain in ("cnn", "vit", "bert", "asr")
    )
    assert cnn["plainnet_struct"] == A and cnn["budget_model_size"] == 1e6 and cnn["select_num"] == 512
    assert vit["latency_weight"] == 10000 and vit["max_param_limits"] == 100 and vit["gp"] is True
    assert len(bert["SEARCH_SPACE"]["HIDDEN_SIZE"]) == 41 and len(bert["SEARCH_SPACE"]["INTERMEDIATE_SIZE"]) == 93
    assert bert["diversity_weight"] == pytest.approx(1e-5) and bert["SEARCH_SPACE"]["LAYER_NUM"] == tuple(range(4, 13))
    assert asr["SEARCH_SPACE"]["MLP_RATIO"] == (3.0, 3.5, 4.0, 4.5, 5.0)


def test_what_has_no_effect_is_named_once():
    (note,) = conf.read(EXAMPLES / "e2eaiok_denas_cnn.conf").notes
    assert note == "keys without effect on this search: no_reslink, no_BN, use_se"
    missing, note = conf.read(EXAMPLES / "e2eaiok_denas_asr.conf").notes
    assert "no file ../../conf/denas/asr/supernet_large.conf" in missing
    assert note == "keys without effect on this search: img_size, SUPERNET"


def test_yaml_1_1_is_read_as_it_was_meant(read):
    found = read(model_type="bert", seed="74443", diversity_weight="1e-5", max_param_limits="None", m_prob=None)
    assert found.values == {"model_type": "bert", "seed": 74443, "diversity_weight": 1e-5}


def test_unknown_keys_are_passed_over_and_named_with_what_was_meant(read):
    (note,) = read(model_type="cnn", max_epoch=3, colour="red").notes
    assert note == "unknown keys are passed over: 'colour', 'max_epoch' (did you mean 'max_epochs'?)"


def test_the_command_line_comes_first(read):
    found = read("cnn", domain="vit", model_type="cnn")
    assert found.domain == "cnn" and "domain cnn comes before the file's vit" in found.notes[0]
    assert read(domain="asr").domain == "asr" == read("asr").domain


def test_keys_of_other_domains_are_without_effect(read):
    (note,) = read(model_type="cnn", patch_size=16, train_epochs=3, search_engine="RandomSearchEngine").notes
    assert note == "keys without effect on this search: patch_size, train_epochs"


def test_a_file_of_the_supernet_is_merged(tmp_path, read):
    space = {"MLP_RATIO": [1.0, 2.0], "DEPTH": [2, 3]}
    (tmp_path / "supernet.yaml").write_text(yaml.safe_dump({"SEARCH_SPACE": space, "other": 1}), encoding="utf-8")
    found = read(model_type="transformer", supernet_cfg=str(tmp_path / "supernet.yaml"))
    assert found.values["SEARCH_SPACE"] == {"MLP_RATIO": (1.0, 2.0), "DEPTH": (2, 3)}
    own = {"DEPTH": [4]}
    found = read(model_type="transformer", supernet_cfg=str(tmp_path / "supernet.yaml"), SEARCH_SPACE=own)
    assert found.values["SEARCH_SPACE"] == {"DEPTH": (4,)}


def test_a_range_never_leaves_its_ends():
    assert conf.bounds({"bounds": {"min": 4, "max": 10, "step": 4}}) == (4, 8)
    assert conf.bounds({"bounds": {"min": 4, "max": 6}, "type": "int"}) == (4, 5, 6)


WRONG = {
    "a number as a word": ({"batch_size": "many"}, "batch_size must be a whole number from 1 on, not 'many'"),
    "half a network": ({"max_epochs": 1.5}, "max_epochs must be a whole number"),
    "no batch": ({"batch_size": 0}, "batch_size must be"),
    "a flag as a number": ({"gp": 1}, "gp must be True or False, not 1"),
    "a truth as a number": ({"seed": True}, "seed must be a whole number from 0 on, not True"),
    "a list": ({"m_prob": [0.1]}, "m_prob must be a number from 0 to 1"),
    "no probability": ({"s_prob": 1.5}, "s_prob must be a number from 0 to 1, not 1.5"),
    "a negative weight": ({"latency_weight": -1}, "latency_weight must be a number from 0 on, not -1"),
    "infinity": ({"latency_weight": float("inf")}, "latency_weight must be"),
    "no limit at all": ({"max_param_limits": 0}, "max_param_limits must be a number above 0"),
    "an unknown engine": ({"search_engine": "EvolutionSearchEngine"}, "one of RandomSearchEngine, Evolutionary"),
    "an unknown kind": ({"model_type": "rnn"}, "model_type must be one of cnn, transformer"),
    "no mapping": ({"SEARCH_SPACE": [1, 2]}, "SEARCH_SPACE must be a mapping"),
    "an unknown list": ({"SEARCH_SPACE": {"DEPTHS": [1]}}, "'DEPTHS' is none; did you mean 'DEPTH'"),
    "no list": ({"SEARCH_SPACE": {"DEPTH": 12}}, "DEPTH is a list of at least one value"),
    "an empty list": ({"SEARCH_SPACE": {"DEPTH": []}}, "DEPTH is a list of at least one value"),
    "a value twice": ({"SEARCH_SPACE": {"DEPTH": [3, 3]}}, "none twice"),
    "a strange value": ({"SEARCH_SPACE": {"DEPTH": ["x"]}}, "DEPTH is a list, each entry a whole number"),
}


@pytest.mark.parametrize(("values", "message"), WRONG.values(), ids=WRONG)
def test_wrong_values(values, message, read):
    with pytest.raises(ConfigError, match=rf"some\.conf: .*{re.escape(message)}"):
        read(**{"model_type": "transformer", **values})


@pytest.mark.parametrize(
    "entry", [{"min": 1, "max": 2}, {"bounds": {"min": 3, "max": 2}}, {"bounds": {"min": 1}}, {"bounds": 3}, [1, 2]]
)
def test_wrong_ranges(entry, read):
    with pytest.raises(ConfigError, match=r"LAYER_NUM is \{bounds: \{min"):
        read(model_type="bert", SEARCH_SPACE={"LAYER_NUM": entry})


def test_domain_and_file_must_agree(read):
    with pytest.raises(ConfigError, match="model_type 'transformer', which is of --domain vit, and not of cnn"):
        read("cnn", model_type="transformer")
    with pytest.raises(ConfigError, match="--domain cannot be 'vitt'; did you mean 'vit'"):
        read("vitt")
    with pytest.raises(ConfigError, match="says no model_type"):
        read(seed=3)


def test_files_that_are_none(tmp_path, read):
    with pytest.raises(ConfigError, match="there is no file"):
        conf.read(tmp_path / "none.conf", "cnn")
    (tmp_path / "broken.conf").write_text("a: [1", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        conf.read(tmp_path / "broken.conf", "cnn")
    (tmp_path / "list.conf").write_text("- cnn", encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold `key: value` lines"):
        conf.read(tmp_path / "list.conf", "cnn")
    (tmp_path / "code.conf").write_text("seed: !!python/object/apply:os.getpid []", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        conf.read(tmp_path / "code.conf", "cnn")


def test_a_file_for_training_is_recognised(read):
    with pytest.raises(ConfigError, match="a file for training") as caught:
        read(domain="cnn", train_epochs=200, learning_rate=0.01, best_model_structure="x.txt")
    assert "hwnas train" in str(caught.value)
