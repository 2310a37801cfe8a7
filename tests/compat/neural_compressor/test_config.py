"""Configurations of both generations and of YAML files: read, checked, completed, never written."""

from __future__ import annotations

import copy
import pickle

import pytest

from hwnas.compat.neural_compressor import Config, DyNASConfig, NASConfig, NASMethods
from hwnas.compat.neural_compressor.config import MissingFileError, Section, resolve
from hwnas.errors import ConfigError

SPACE = {"channels": [16, 32], "items": [1]}


# --- sections --------------------------------------------------------------------------------------------------------


def test_sections_are_read_and_written_by_attribute():
    section = Section({"a": {"b": 1}})
    section.a.c = {"d": 2}
    assert section.a.c.d == section["a"]["c"]["d"] == 2
    assert section.missing is None and section.a.c.nothing is None
    del section.a.b
    assert section == {"a": {"c": {"d": 2}}}


def test_a_list_of_one_mapping_is_that_mapping():
    assert Section(a=[{"b": 1}]).a.b == 1
    assert Section(a=[{"b": 1}, {"c": 2}]).a == [{"b": 1}, {"c": 2}]


def test_a_search_space_is_the_users_own():
    space = {"block": [{"kernel": 3}]}
    assert Section(search_space=space).search_space is space


def test_sections_can_be_copied():
    section = Section(a=Section(b=[1]))
    twin, deep = section.copy(), copy.deepcopy(section)
    twin.a.b.append(2)
    deep.a.x = 3
    assert section == {"a": {"b": [1]}}
    assert pickle.loads(pickle.dumps(section)) == section


# --- both generations ------------------------------------------------------------------------------------------------


def test_first_generation():
    config = NASConfig("dynas", search_algorithm="nsga2")
    assert config.nas is config.usr_cfg.nas
    assert config.usr_cfg.model == {"name": "nas", "framework": "NA"}
    assert config.nas.search.search_algorithm == "nsga2"
    config.dynas.supernet = "ofa_mbv3_d234_e346_k357_w1.2"
    assert config.usr_cfg.nas.dynas.supernet == "ofa_mbv3_d234_e346_k357_w1.2"
    assert NASConfig().dynas is None


def test_an_approach_is_written_in_any_case():
    config = NASConfig("DyNAS")
    config.dynas.supernet = "a"
    config.DyNAS.population = 7
    assert config.validate().nas.dynas.supernet == "a"
    assert config.validate().nas.dynas.population == 7


def test_all_seeds_are_one():
    config = NASConfig()
    assert config.validate().nas.search.seed == 42
    config.seed = 1
    assert config.nas.search.seed == config.search.seed == 1
    config.nas.search.seed = 71
    assert config.seed == 71
    assert config.validate().nas.search.seed == 71


def test_second_generation():
    dynas = DyNASConfig(supernet="ofa_resnet50", metrics=["params", "macs"], population=10)
    config = NASConfig(approach="dynas", dynas=dynas, max_trials=9, seed=3)
    assert config.dynas is dynas.config
    settings = resolve(Config(nas=config)).validate().nas
    assert settings.dynas.supernet == "ofa_resnet50"
    assert settings.dynas.metrics == ("params", "macs")
    assert (settings.search.max_trials, settings.search.seed) == (9, 3)
    config.search.search_space = SPACE
    assert config.search_space == SPACE
    assert NASConfig(metrics=["acc"], higher_is_better=[True]).validate().nas.search.higher_is_better == (True,)


def test_both_take_all_fields_of_dynas():
    fields = {
        "supernet": "a",
        "metrics": ["acc"],
        "population": 1,
        "num_evals": 2,
        "results_csv_path": "b.csv",
        "dataset_path": "c",
        "batch_size": 3,
        "supernet_ckpt_path": "d",
        "eval_batch_size": 4,
        "num_workers": 5,
        "distributed": True,
        "test_fraction": 1,
    }
    config = NASConfig("dynas")
    for name, value in fields.items():
        setattr(config.dynas, name, value)
    assert config.validate() == NASConfig("dynas", dynas=DyNASConfig(**fields)).validate()
    assert config.validate().nas.dynas.test_fraction == 1.0


def test_defaults_are_filled_into_the_users_own_sections():
    config = NASConfig("dynas")
    config.validate()
    assert (config.dynas.population, config.dynas.num_evals, config.dynas.batch_size) == (50, 250, 64)
    config.dynas.population = 11
    assert config.validate().nas.dynas.population == 11


def test_an_agents_configuration_is_its_own():
    config = NASConfig(search_space=SPACE)
    first = resolve(config)
    config.seed = 5
    assert (first.seed, resolve(config).seed) == (42, 5)


def test_names_in_python_are_checked():
    config = NASConfig("dynas")
    with pytest.raises(ConfigError, match="no 'sed'; did you mean 'seed'"):
        config.sed = 3
    with pytest.raises(AttributeError, match="no 'dynass'; did you mean 'dynas'"):
        _ = config.dynass
    assert not hasattr(config, "pruning")


@pytest.mark.parametrize("approach", ["", 3, ["dynas"]])
def test_an_approach_is_a_name(approach):
    with pytest.raises(ConfigError, match=r"nas\.approach"):
        NASConfig(approach)


# --- what is checked -------------------------------------------------------------------------------------------------

WRONG = {
    "nas: {aproach: basic}": r"nas\.aproach: unknown key; did you mean 'approach'",
    "nas: {search: {max_trails: 3}}": r"nas\.search\.max_trails: unknown key; did you mean 'max_trials'",
    "nas: {dynas: {supernt: a}}": r"nas\.dynas\.supernt: unknown key; did you mean 'supernet'",
    "nas: {}\nquantisation: {}": "quantisation: unknown key",
    "nas: {search: {seed: 1.5}}": r"nas\.search\.seed: 1\.5",
    "nas: {search: {seed: -1}}": r"nas\.search\.seed: must be 0 or more",
    "nas: {search: {max_trials: 0}}": r"nas\.search\.max_trials: must be 1 or more",
    "nas: {search: {metrics: acc}}": r"nas\.search\.metrics",
    "nas: {search: {search_space: [1]}}": r"nas\.search\.search_space",
    "nas: {search: fast}": r"nas\.search: must be a mapping",
    "nas: {dynas: {population: many}}": r"nas\.dynas\.population",
    "nas: {}\ndevice: tpu": "device",
    "nas: {}\ntrain: {optimizer: {SGD: {}, Adam: {}}}": r"train\.optimizer: must hold one of SGD, Adam, AdamW, not 2",
    "nas: {}\ntrain: {optimizer: {Lion: {}}}": r"train\.optimizer\.Lion: unknown key; known: SGD, Adam, AdamW",
    "nas: {}\ntrain: {optimizer: {SGD: {lr: 1}}}": r"train\.optimizer\.SGD\.lr: unknown key",
    "nas: {}\ntrain: {dataloader: {batch_size: 3}}": r"train\.dataloader\.dataset: is missing",
    "nas: {}\nevaluation: {accuracy: {metric: {topk: one}}}": r"evaluation\.accuracy\.metric\.topk",
    "nas: 3": "no section `nas`",
    "model: {name: a}": "no section `nas`",
    "- nas": "must hold",
    "nas: [": "not valid YAML",
}


@pytest.mark.parametrize("text", WRONG)
def test_files_that_are_wrong(text, tmp_path):
    path = tmp_path / "nas.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=WRONG[text]):
        resolve(path)


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "user.yaml").write_text("nas: {}")
    with pytest.raises(FileNotFoundError, match=r"no file .*usr\.yaml.*did you mean .*user\.yaml") as caught:
        resolve(str(tmp_path / "usr.yaml"))
    assert isinstance(caught.value, ConfigError) and isinstance(caught.value, MissingFileError)


def test_a_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "nas.yaml"
    path.write_text("nas: {approach: basic}  # mine\n")
    before = path.stat().st_mtime_ns
    assert resolve(str(path)).nas.approach == "basic"
    assert path.read_text() == "nas: {approach: basic}  # mine\n"
    assert path.stat().st_mtime_ns == before


def test_sections_of_registered_approaches_are_theirs(monkeypatch):
    monkeypatch.setitem(NASMethods, "mine", object)
    config = NASConfig("Mine")
    config.mine.anything = [1]
    assert resolve(config).mine.anything == [1]


@pytest.mark.parametrize("name", ["Mine", "dynas", "DyNAS"])
def test_sections_in_files_are_found_in_any_case(name, monkeypatch, tmp_path):
    monkeypatch.setitem(NASMethods, "mine", object)
    path = tmp_path / "nas.yaml"
    path.write_text(f"nas: {{approach: {name}, {name}: {{population: 7}}}}")
    config = resolve(path)
    assert getattr(config, name.lower()).population == getattr(config, name).population == 7


def test_other_sections_are_set_too():
    config = NASConfig()
    config.device = "gpu"
    config.train = {"end_epoch": 3}
    assert config.validate().device == "gpu"
    assert config.validate().train.end_epoch == config.usr_cfg.train.end_epoch == 3
    assert config.usr_cfg.train.start_epoch == 0


@pytest.mark.parametrize("source", [None, 3, {"nas": {}}])
def test_what_is_no_configuration(source):
    with pytest.raises(ConfigError, match="takes the path of a YAML file"):
        resolve(source)
