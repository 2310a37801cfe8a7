"""Basic NAS, as Neural Compressor's own test of it goes, and from the YAML file alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.compat.neural_compressor import NAS, Model, NASConfig
from hwnas.errors import ConfigError

SPACE = {"channels": [16, 32, 64], "dimensions": [32, 64, 128]}

YAML = """
model: {name: tiny, framework: pytorch}
nas:
  approach: basic
  search:
    search_space: {channels: [16, 32, 64], dimensions: [32, 64, 128]}
    search_algorithm: grid
    max_trials: 3
train:
  start_epoch: 0
  end_epoch: 1
  iteration: 2
  optimizer: {SGD: {learning_rate: 0.01}}
  criterion: {CrossEntropyLoss: {reduction: mean}}
  dataloader: {batch_size: 4, dataset: {dummy: {shape: [8, 3, 8, 8], label: True}}}
evaluation:
  accuracy:
    metric: {topk: 1}
    dataloader: {batch_size: 4, dataset: {dummy: {shape: [8, 3, 8, 8], label: True}}}
"""


class Tiny(nn.Sequential):
    """A convolution, a pool and two linear layers."""

    def __init__(self, channels, dimensions):
        head = nn.Linear(channels, dimensions), nn.Linear(dimensions, 2)
        super().__init__(nn.Conv2d(3, channels, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)


def build(arch):
    return Tiny(**arch)


def width(model):
    return {"acc": float(model[3].out_features)}


def basic(**options):
    agent = NAS(NASConfig(search_space=SPACE, **options), model_builder=build)
    agent.train_func = lambda model: None
    agent.eval_func = width
    return agent


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("approach", "searcher"), [(None, None), ("basic", "grid"), ("basic", "random"), ("basic", "bo")]
)
def test_the_originals_own_test(approach, searcher):
    config = NASConfig(approach=approach, search_space=SPACE, search_algorithm=searcher)
    config.usr_cfg.model.framework = "pytorch"
    agent = NAS(config)
    agent.model_builder = lambda arch: Model(build(arch))
    agent.train_func = lambda model: None
    agent.eval_func = width
    best = agent()
    assert best and all(set(arch) == set(SPACE) for arch in best)


def test_the_original_test_with_functions_and_a_smaller_space():
    agent = NAS(NASConfig(search_space={"channels": [16, 32], "dimensions": [32]}, search_algorithm="grid"))
    agent.model_builder = build
    agent.train_func = lambda model: None
    agent.eval_func = lambda model: {"acc": model[0].out_channels}
    assert agent.search() == [{"channels": 32, "dimensions": 32}]


def test_yaml_alone_trains_and_evaluates(tmp_path):
    path = tmp_path / "nas.yaml"
    path.write_text(YAML)
    agent = NAS(str(path))
    agent.model_builder = build
    best = agent()
    assert best
    assert len(agent.search_results) == 3
    assert all(0 <= value <= 1 for value in agent.search_results.values())
    assert path.read_text() == YAML


def test_yaml_training_changes_the_model(tmp_path):
    path = tmp_path / "nas.yaml"
    longer = YAML.replace("iteration: 2", "iteration: 20").replace("0.01", "0.5")
    path.write_text(longer.replace("label: True", "low: -1, high: 1"))
    agent, models = NAS(str(path)), []

    def built(arch):
        model = build(arch)
        models.append((model, [tensor.detach().clone() for tensor in model.parameters()]))
        return model

    agent.model_builder = built
    agent()
    for model, before in models:
        assert all(not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert set(agent.search_results.values()) == {1.0}  # all labels are 0, which is soon learnt


def test_call_search_and_execute_do_the_same(tmp_path):
    runs = {}
    for verb in ("__call__", "search", "execute"):
        agent = basic(search_algorithm="random", max_trials=4)
        runs[verb] = getattr(agent, verb)(tmp_path / verb.strip("_")), agent.search_results
    assert runs["__call__"] == runs["search"] == runs["execute"]


def test_estimate_trains_then_evaluates():
    agent, calls = basic(), []
    agent.train_func = lambda model: calls.append("train")
    agent.eval_func = lambda model: calls.append("eval") or 0.5
    assert agent.estimate(build({"channels": 16, "dimensions": 32})) == 0.5
    assert calls == ["train", "eval"]


def test_functions_can_only_be_set():
    agent = basic()
    for name in ("train_func", "eval_func"):
        with pytest.raises(AttributeError, match="can only be set"):
            getattr(agent, name)
        with pytest.raises(ConfigError, match=f"{name} is a function"):
            setattr(agent, name, 3)


@pytest.mark.parametrize("missing", ["train", "evaluated"])
def test_what_is_missing_is_told_before_anything_is_built(missing):
    agent = NAS(NASConfig(search_space=SPACE), model_builder=lambda arch: pytest.fail("was built"))
    if missing == "evaluated":
        agent.train_func = lambda model: None
    with pytest.raises(ConfigError, match=f"how a model is {missing}"):
        agent()


def test_dataloaders_can_be_set(tmp_path):
    path = tmp_path / "nas.yaml"
    sections = "train: {end_epoch: 2}\nevaluation: {accuracy: {metric: {topk: 1}}}\n"
    path.write_text(f"nas: {{search: {{search_algorithm: grid, search_space: {SPACE}, max_trials: 1}}}}\n{sections}")
    batches = [(torch.ones(2, 3, 8, 8), torch.tensor([1, 1]))] * 3
    agent = NAS(path, model_builder=build)
    with pytest.raises(ConfigError, match=r"train\.dataloader: is missing(.|\n)*agent\.train_dataloader"):
        agent()
    agent.train_dataloader = agent.eval_dataloader = batches
    assert agent.train_dataloader is agent.eval_dataloader is batches
    agent()
    assert len(agent.search_results) == 1


@pytest.mark.parametrize("where", ["config", "nas"])
def test_the_seed_of_the_configuration_is_honoured(where):
    def tried(seed):
        config = NASConfig(search_space=SPACE, search_algorithm="random")
        if where == "config":
            config.seed = seed
        else:
            config.nas.search.seed = seed
        agent = NAS(config, model_builder=build)
        agent.train_func, agent.eval_func = (lambda model: None), width
        agent.search(f"seed{seed}")
        return list(agent.search_results)

    assert tried(1) == tried(1)
    assert tried(1) != tried(2)
