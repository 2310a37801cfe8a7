"""`NAS(...)`: the agent of the approach that a configuration names."""

from __future__ import annotations

import pytest

from hwnas.compat.neural_compressor import NAS, BasicNAS, Config, NASBase, NASConfig, NASMethods, nas_registry
from hwnas.errors import ConfigError

SPACE = {"channels": [16, 32], "dimensions": [32]}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    methods = dict(NASMethods)
    yield
    NASMethods.clear()
    NASMethods.update(methods)


def test_without_an_approach_it_is_basic(tmp_path):
    path = tmp_path / "nas.yaml"
    path.write_text("nas: {search: {search_algorithm: grid, search_space: {channels: [16, 32]}}}")
    for source in (str(path), path, NASConfig(search_space=SPACE), Config(nas=NASConfig("BASIC", SPACE))):
        agent = NAS(source)
        assert isinstance(agent, BasicNAS) and not isinstance(agent, NAS)


def test_further_arguments_are_passed_on(caplog):
    def builder(arch):
        return None

    agent = NAS(NASConfig(search_space=SPACE), search_space={"a": [1]}, model_builder=builder)
    assert (agent.search_space, agent.model_builder) == ({"a": [1]}, builder)
    assert "replaces the one of the configuration" in caplog.text
    assert NAS(NASConfig(), {"a": [1]}).search_space_keys == ["a"]
    assert len(caplog.records) == 1  # nothing to say where the configuration has none


def test_an_unknown_approach_is_an_error_that_lists_the_known(tmp_path):
    path = tmp_path / "nas.yaml"
    path.write_text("nas: {approach: dinas}")
    with pytest.raises(
        ConfigError, match=r"unknown approach .dinas.; did you mean .dynas.. known: basic, dynas"
    ) as caught:
        NAS(str(path))
    assert "nas_registry" in caught.value.hint


def test_a_wrong_path_is_an_error_even_after_a_right_one(tmp_path):
    path = tmp_path / "nas.yaml"
    path.write_text("nas: {search: {search_space: {channels: [16, 32]}}}")
    NAS(str(path))
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="no file"):
            NAS("elsewhere.yaml")


def test_agents_do_not_share_a_configuration():
    first, second = NAS(NASConfig(search_space=SPACE, seed=1)), NAS(NASConfig(search_space={"a": [1]}, seed=2))
    assert (first.seed, first.config.search_space) == (1, SPACE)
    assert (second.seed, second.config.search_space) == (2, {"a": [1]})


def test_a_custom_approach_needs_no_more_than_estimate(tmp_path):
    @nas_registry("MyApproach")
    class MyApproach(NASBase):
        def estimate(self, model):
            return {"acc": model["channels"]}

    config = NASConfig(approach="myapproach", search_space=SPACE, search_algorithm="grid")
    agent = NAS(config)
    assert type(agent) is MyApproach
    agent.model_builder = lambda arch: arch
    assert agent.search(tmp_path) == [{"channels": 32, "dimensions": 32}]
    assert type(NAS(NASConfig("MYAPPROACH"), SPACE)) is MyApproach


def test_a_custom_approach_with_a_constructor_is_given_the_configuration(tmp_path):
    @nas_registry("Mine")
    class Mine(NASBase):
        def __init__(self, conf_fname_or_obj, search_space=None, model_builder=None):
            super().__init__(search_space, model_builder)
            self.conf = conf_fname_or_obj
            self.init_search_cfg(self.conf.usr_cfg.nas)

        def estimate(self, model):
            return -model["channels"] * self.conf.mine.factor

    path = tmp_path / "nas.yaml"
    path.write_text(
        "nas: {approach: Mine, search: {max_trials: 2, search_space: {channels: [16, 32]}}, mine: {factor: 2}}"
    )
    agent = NAS(path, model_builder=lambda arch: arch)
    agent.search_algorithm = Last()
    assert agent.search(tmp_path) == [{"channels": 16}]
    assert set(agent.search_results.values()) == {-32, -64}


class Last:
    """A searcher of a user's own: the networks from the last to the first."""

    def __init__(self):
        self.left = [16, 32]

    def suggest(self):
        return {"channels": self.left.pop()}

    def get_feedback(self, value):
        pass
