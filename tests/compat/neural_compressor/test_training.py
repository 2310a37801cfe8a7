"""Training and evaluation as a YAML file describes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.compat.neural_compressor import training
from hwnas.compat.neural_compressor.config import AccuracySettings as Accuracy
from hwnas.compat.neural_compressor.config import (
    AdamSettings,
    DataloaderSettings,
    DatasetSettings,
    DummySettings,
    EvaluationSettings,
    OptimizerSettings,
    SgdSettings,
    TrainSettings,
)
from hwnas.compat.neural_compressor.config import MetricSettings as Metric
from hwnas.errors import ConfigError, MetricError
from hwnas.seeds import seeded


def data(samples=10, batch_size=4, **options):
    dummy = DatasetSettings(DummySettings((samples, 6)))
    return DataloaderSettings(dummy, batch_size=batch_size, **options)


def linear(classes=3):
    with seeded(0):
        return nn.Linear(6, classes)


def test_dummy_data_are_uniform_all_of_class_0_and_the_same_everywhere():
    dummy = training.dummy(DummySettings((400, 3, 5), low=-2.0, high=4.0))
    inputs, labels = dummy.tensors
    assert inputs.shape == (400, 3, 5) and inputs.dtype == torch.float32
    assert -2 <= inputs.min() < -1.9 and 3.9 < inputs.max() <= 4
    assert abs(inputs.mean() - 1) < 0.1
    assert labels.unique().tolist() == [0]
    assert torch.equal(inputs, training.dummy(DummySettings((400, 3, 5), low=-2.0, high=4.0)).tensors[0])


@pytest.mark.parametrize(("last", "sizes"), [("rollover", [4, 4, 2]), ("discard", [4, 4])])
def test_the_last_batch(last, sizes):
    assert [len(labels) for _, labels in training.loader(data(last_batch=last), 0)] == sizes


def test_shuffling_follows_the_seed_alone():
    def order(seed):
        return torch.cat([inputs for inputs, _ in training.loader(data(shuffle=True), seed)])

    before = torch.get_rng_state()
    assert torch.equal(order(1), order(1))
    assert not torch.equal(order(1), order(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "kind", "wanted"),
    [
        (OptimizerSettings(SGD=SgdSettings(0.1, 0.9, True, 1e-4)), "SGD", {"momentum": 0.9, "nesterov": True}),
        (OptimizerSettings(Adam=AdamSettings(0.1, beta_1=0.8)), "Adam", {"betas": (0.8, 0.999), "amsgrad": False}),
        (OptimizerSettings(AdamW=AdamSettings(0.1, weight_decay=0.2)), "AdamW", {"weight_decay": 0.2, "eps": 1e-7}),
    ],
)
def test_optimisers(settings, kind, wanted):
    optimizer = training.optimizer_of(settings, linear())
    assert type(optimizer).__name__ == kind
    assert {"lr": 0.1, **wanted}.items() <= optimizer.param_groups[0].items()


def steps_of(settings):
    """How many batches the network sees in training."""
    network, seen = linear(), []
    network.register_forward_hook(lambda *_: seen.append(1))
    training.trainer(settings, None, 0, "cpu")(network)
    return len(seen)


def test_epochs_and_iterations():
    assert steps_of(TrainSettings(dataloader=data())) == 3
    assert steps_of(TrainSettings(1, 4, dataloader=data())) == 9
    assert steps_of(TrainSettings(0, 2, 2, dataloader=data())) == 4


def test_one_step_is_a_step_of_gradient_descent():
    network, twin = linear(), linear()
    settings = TrainSettings(0, 1, 1, OptimizerSettings(SGD=SgdSettings(0.5)), dataloader=data())
    training.trainer(settings, None, 0, "cpu")(network)
    inputs, labels = next(iter(training.loader(data(), 0)))
    nn.functional.cross_entropy(twin(inputs), labels).backward()
    assert torch.allclose(network.weight, twin.weight - 0.5 * twin.weight.grad)
    assert network.training


def test_training_leaves_the_global_randomness_as_it_was():
    before = torch.get_rng_state()
    network = nn.Sequential(nn.Dropout(0.5), linear())
    training.trainer(TrainSettings(dataloader=data(shuffle=True)), None, 0, "cpu")(network)
    assert torch.equal(torch.get_rng_state(), before)


class Fixed(nn.Module):
    """Says for every sample that class 2 is likeliest, then 1, then 0."""

    def forward(self, inputs):
        return torch.arange(3.0).expand(len(inputs), 3)


@pytest.mark.parametrize(("topk", "share"), [(1, 0.25), (2, 0.75), (3, 1.0), (5, 1.0)])
def test_top_k(topk, share):
    batches = [(torch.zeros(3, 1), torch.tensor([2, 1, 1])), (torch.zeros(1, 1), torch.tensor([0]))]
    network = Fixed().train()
    evaluate = training.evaluator(EvaluationSettings(Accuracy(Metric(topk))), batches, "cpu")
    assert evaluate(network) == share
    assert network.training


def test_wrappers_are_looked_into_and_anything_else_is_refused():
    class Wrapper:
        model = Fixed()

    evaluate = training.evaluator(EvaluationSettings(), [(torch.zeros(1, 1), torch.tensor([2]))], "cpu")
    assert evaluate(Wrapper()) == 1.0
    with pytest.raises(ConfigError, match="torch modules, not str"):
        evaluate("model")
    with pytest.raises(MetricError, match="no sample"):
        training.evaluator(EvaluationSettings(), [], "cpu")(Fixed())


WRONG = {
    r"train\.dataloader: is missing": TrainSettings(),
    r"train\.end_epoch: must be more than start_epoch \(1\), not 1": TrainSettings(1, 1, dataloader=data()),
    r"train\.iteration: must be 1 or more": TrainSettings(iteration=0, dataloader=data()),
    r"train\.dataloader\.batch_size: must be 1 or more": TrainSettings(dataloader=data(batch_size=0)),
    r"dummy\.shape: is the number of samples": TrainSettings(dataloader=data(samples=0)),
    r"dummy\.label: data without labels": TrainSettings(
        dataloader=DataloaderSettings(DatasetSettings(DummySettings((4, 2), label=False)))
    ),
}


@pytest.mark.parametrize("told", WRONG)
def test_what_is_wrong_is_told_before_training(told):
    with pytest.raises(ConfigError, match=told):
        training.trainer(WRONG[told], None, 0, "cpu")


def test_evaluation_is_checked_too():
    with pytest.raises(ConfigError, match=r"evaluation\.accuracy\.dataloader: is missing"):
        training.evaluator(EvaluationSettings(), None, "cpu")
    with pytest.raises(ConfigError, match=r"topk: must be 1 or more"):
        training.evaluator(EvaluationSettings(Accuracy(Metric(0))), [], "cpu")


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device: is 'gpu'"):
        training.evaluator(EvaluationSettings(), [], "gpu")
