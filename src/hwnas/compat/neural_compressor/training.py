"""What the sections `train` and `evaluation` of a YAML file describe: a plain training loop and a top-k accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.compat.neural_compressor.config import (
    DataloaderSettings,
    DummySettings,
    EvaluationSettings,
    OptimizerSettings,
    TrainSettings,
)
from hwnas.errors import ConfigError, MetricError
from hwnas.seeds import derive, seeded

if TYPE_CHECKING:
    from torch import nn, optim
    from torch.utils.data import DataLoader, Dataset

DUMMY_SEED = 9527
"""Dummy data are the same everywhere, as in the original."""


def Model(root: Any, **options: Any) -> Any:  # the original's name
    """A model as it is: a wrapper of the original, which nothing here needs."""
    return root


def trainer(settings: TrainSettings, dataloader: Iterable[Any] | None, seed: int, device: str) -> Callable[[Any], None]:
    """The function that trains a model as the section says; the model ends in training mode, on the device.

    Args:
        dataloader: batches of (inputs, labels) in place of the section's own.
        seed: of everything random in the training: order of samples, dropout; what torch drew before is untouched.
        device: "cpu" or "gpu".

    Raises:
        ConfigError: no data, or no such device.
    """
    place, batches = _place(device), _batches(dataloader, settings.dataloader, seed, "train")
    if settings.end_epoch <= settings.start_epoch:
        message = f"must be more than start_epoch ({settings.start_epoch}), not {settings.end_epoch}"
        raise ConfigError(message, path="train.end_epoch")
    if settings.iteration is not None and settings.iteration < 1:
        raise ConfigError(f"must be 1 or more, not {settings.iteration}", path="train.iteration")

    def train(model: Any) -> None:
        from torch import nn

        network = _network(model).to(place).train()
        kind = settings.criterion.CrossEntropyLoss
        criterion = nn.CrossEntropyLoss(reduction="mean" if kind is None else kind.reduction)
        optimizer = optimizer_of(settings.optimizer, network)
        with seeded(derive(seed, "training")):
            samples = batches()
            for _ in range(settings.start_epoch, settings.end_epoch):
                for inputs, labels in islice(samples, settings.iteration):
                    optimizer.zero_grad()
                    criterion(network(inputs.to(place)), labels.to(place)).backward()
                    optimizer.step()

    return train


def evaluator(settings: EvaluationSettings, dataloader: Iterable[Any] | None, device: str) -> Callable[[Any], float]:
    """The function that measures a model as the section says: the share of samples that it gets right, 0 to 1.

    Args:
        dataloader: batches of (inputs, labels) in place of the section's own.
        device: "cpu" or "gpu".

    Raises:
        ConfigError: no data, or no such device.
    """
    place, accuracy = _place(device), settings.accuracy
    batches = _batches(dataloader, accuracy.dataloader, 0, "evaluation.accuracy")
    if accuracy.metric.topk < 1:
        raise ConfigError(f"must be 1 or more, not {accuracy.metric.topk}", path="evaluation.accuracy.metric.topk")

    def evaluate(model: Any) -> float:
        import torch

        network = _network(model).to(place)
        before = network.training
        right = total = 0
        network.eval()
        try:
            with torch.inference_mode():
                for inputs, labels in batches():
                    scores = network(inputs.to(place))
                    top = scores.topk(min(accuracy.metric.topk, scores.shape[1]), dim=1).indices
                    right += int((top == labels.to(place)[:, None]).any(dim=1).sum())
                    total += len(labels)
        finally:
            network.train(before)
        if not total:
            raise MetricError("there is no sample to evaluate on")
        return right / total

    return evaluate


def optimizer_of(settings: OptimizerSettings, network: nn.Module) -> optim.Optimizer:
    """The optimiser that a section names, over all parameters of a network."""
    from torch import optim

    if settings.SGD is not None:
        sgd = settings.SGD
        return optim.SGD(
            network.parameters(),
            lr=sgd.learning_rate,
            momentum=sgd.momentum,
            nesterov=sgd.nesterov,
            weight_decay=sgd.weight_decay,
        )
    kind, adam = (optim.Adam, settings.Adam) if settings.AdamW is None else (optim.AdamW, settings.AdamW)
    assert adam is not None  # a section names exactly one
    return kind(
        network.parameters(),
        lr=adam.learning_rate,
        betas=(adam.beta_1, adam.beta_2),
        eps=adam.epsilon,
        amsgrad=adam.amsgrad,
        weight_decay=adam.weight_decay,
    )


def _batches(
    given: Iterable[Any] | None, settings: DataloaderSettings | None, seed: int, path: str
) -> Callable[[], Iterable[Any]]:
    """Where batches come from, for every model anew; what is wrong with the section is told right away."""
    if given is not None:
        return lambda: given
    if settings is None:
        raise ConfigError(
            "is missing, so there are no data",
            path=f"{path}.dataloader",
            hint="give `dataset: {dummy: {shape: [32, 3, 64, 64]}}`, or set agent.train_dataloader and "
            "agent.eval_dataloader to batches of (inputs, labels)",
        )
    if settings.batch_size < 1:
        raise ConfigError(f"must be 1 or more, not {settings.batch_size}", path=f"{path}.dataloader.batch_size")
    assert settings.dataset.dummy is not None  # a section `dataset` names exactly one
    shape, here = settings.dataset.dummy.shape, f"{path}.dataloader.dataset.dummy"
    if len(shape) < 2 or min(shape) < 1:
        message = f"is the number of samples and the shape of one, such as [32, 3, 64, 64], not {list(shape)}"
        raise ConfigError(message, path=f"{here}.shape")
    if not settings.dataset.dummy.label:
        raise ConfigError("data without labels cannot be trained or evaluated on", path=f"{here}.label")
    return lambda: loader(settings, seed)


def loader(settings: DataloaderSettings, seed: int) -> DataLoader[Any]:
    """The batches that a section describes; `seed` decides their order if they are shuffled."""
    import torch
    from torch.utils.data import DataLoader

    assert settings.dataset.dummy is not None  # a section `dataset` names exactly one
    return DataLoader(
        dummy(settings.dataset.dummy),
        batch_size=settings.batch_size,
        shuffle=settings.shuffle,
        drop_last=settings.last_batch == "discard",
        generator=torch.Generator().manual_seed(derive(seed, "order")),
    )


def dummy(settings: DummySettings) -> Dataset[Any]:
    """Inputs drawn uniformly from [low, high], the same in every process, all of class 0."""
    import torch
    from torch.utils.data import TensorDataset

    inputs = np.random.default_rng(DUMMY_SEED).uniform(settings.low, settings.high, settings.shape)
    labels = torch.zeros(settings.shape[0], dtype=torch.int64)
    return TensorDataset(torch.from_numpy(inputs.astype(np.float32)), labels)


def _network(model: Any) -> nn.Module:
    from torch import nn

    inner = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    if not isinstance(inner, nn.Module):
        raise ConfigError(f"a YAML file can train and evaluate torch modules, not {type(model).__name__}")
    return inner


def _place(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("is 'gpu', and torch finds none here; say cpu", path="device")
    return "cuda"


__all__ = ["Model", "dummy", "evaluator", "loader", "optimizer_of", "trainer"]
