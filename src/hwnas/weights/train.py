"""One network trained by itself, by labels and perhaps by a teacher's answers; stopped at any moment, it goes on."""

from __future__ import annotations

import functools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.candidate import Family
from hwnas.data import Data, Part
from hwnas.errors import ConfigError, WeightsError
from hwnas.progress import Progress, Watch
from hwnas.seeds import derive, seeded
from hwnas.space import Arch

FORMAT = 1
"""Of the checkpoints; raised when old ones would be misread."""
EXAMPLES = 256
"""In a forward pass without gradients."""
USUAL: Mapping[str, tuple[float, float]] = {"sgd": (0.1, 5e-4), "adamw": (1e-3, 0.05)}
"""Peak learning rate and weight decay by optimizer, where the user names none."""
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adamw": torch.optim.AdamW,
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: passes over the training split; the learning rate falls over all of them.
        batch: examples in a step; what is left over at the end of an epoch waits for another order.
        optimizer: AdamW, which convolutions and Transformers both learn with, or SGD with Nesterov's momentum.
        lr: the peak learning rate; None is the optimizer's usual one, 0.001 for AdamW and 0.1 for SGD.
        weight_decay: of matrices and kernels, never of biases and norms; None is 0.05 for AdamW and 0.0005 for SGD.
        label_smoothing: what the right class gives away to all.
        warmup: the share of all steps in which the rate rises; the first one never uses the full rate.
        clip: the largest norm of all gradients together; 0 lets them be.
        augment: how strongly training examples are varied, in the data's own measure: pixels of shift for images.
        distill: weight of the teacher's answers beside the labels.
        temperature: softens both answers before they are compared (Hinton et al., 2015).
        patience: epochs without a better validation accuracy that end the training; None never does.
        stop_at: the validation accuracy, 0 ... 1, that is good enough; None is never content.
        seed: of fresh weights, of the order of examples and of their variations.
    """

    epochs: int = 30
    batch: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float | None = None
    weight_decay: float | None = None
    label_smoothing: float = 0.1
    warmup: float = 0.05
    clip: float = 5.0
    augment: int = 2
    distill: float = 1.0
    temperature: float = 2.0
    patience: int | None = None
    stop_at: float | None = None
    seed: int = 0
    torch_device: str = "cpu"

    def __post_init__(self) -> None:
        if self.optimizer not in USUAL:
            raise ConfigError(f"must be {' or '.join(USUAL)}, not {self.optimizer!r}", path="optimizer")
        for name, least in (("epochs", 1), ("batch", 2), ("augment", 0), ("seed", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"must be at least {least}, not {value!r}", path=name)
        for name in ("lr", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"must be a number above 0, not {value!r}", path=name)
        for name in ("weight_decay", "clip", "distill"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"must be 0 or a number above it, not {value!r}", path=name)
        for name in ("label_smoothing", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"must be at least 0 and below 1, not {getattr(self, name)!r}", path=name)
        if self.stop_at is not None and not 0 < self.stop_at <= 1:
            hint = f"94 % is 0.94; this would be {self.stop_at / 100:g}" if 1 < self.stop_at <= 100 else ""
            raise ConfigError(f"must be a share above 0 and up to 1, not {self.stop_at!r}", path="stop_at", hint=hint)

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return USUAL[self.optimizer][0] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        """The weight decay."""
        return USUAL[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of one of all steps: a linear rise that begins low, then a cosine towards zero.

        Args:
            step: 0 ... steps - 1.
        """
        rise = max(1, math.ceil(self.warmup * steps))
        if step < rise:
            return self.peak * (step + 1) / (rise + 1)
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))

    def optimizer_of(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a network, without weight decay on vectors: biases and norms."""
        matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": self.decay}, {"params": vectors, "weight_decay": 0.0}]
        return OPTIMIZERS[self.optimizer]([group for group in groups if group["params"]], lr=self.peak)


@dataclass(frozen=True)
class Network:
    """A plain network and the shape of what it takes.

    Args:
        like: one input, on the meta device.
    """

    module: nn.Module
    like: Tensor

    @classmethod
    def of(cls, family: Family, arch: Arch, module: nn.Module) -> Network:
        """A module that a family has built.

        Raises:
            ConfigError: it takes more than one input, and a classifier takes one.
        """
        with torch.device("meta"):
            inputs = family.inputs(arch, 1)
        if len(inputs) != 1:
            message = f"the networks of {family.name!r} take {len(inputs)} inputs, and labelled data has one"
            raise ConfigError(message, path="family", hint="only classifiers can be trained here")
        return cls(module, inputs[0])

    def ready(self, data: Data, inputs: Tensor, device: torch.device | str) -> Tensor:
        """Raw examples as this network takes them."""
        return data.ready(inputs.to(device), self.like)


@dataclass(frozen=True)
class Trained:
    """What came out of a training: the state with the best validation accuracy, and how it went.

    Args:
        log: by epoch: epoch, loss, val, val_loss, rate.
        epoch: the one that `state` is of, from 1.
        seconds: of all sessions together.
    """

    state: dict[str, Tensor]
    log: list[dict[str, Any]]
    epoch: int
    seconds: float


class Trainer:
    """One training, from the first step or from its checkpoint; everything random follows from (seed, epoch, step).

    Args:
        network: its module is trained in place.
        folder: where the checkpoint and the log are kept.
        settings: what makes this training this training; kept in the checkpoint, for whoever wants to go on.
        teacher: answers for distillation; None leaves the labels alone.
    """

    def __init__(
        self,
        network: Network,
        data: Data,
        recipe: Recipe,
        folder: Path,
        settings: Mapping[str, Any],
        teacher: Network | None = None,
        phase: str = "train",
    ) -> None:
        self.network, self.data, self.r, self.folder = network, data, recipe, folder
        self.settings, self.teacher, self.phase = dict(settings), teacher, phase
        self.device = torch.device(recipe.torch_device)
        self.model = network.module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if teacher is not None:
            teacher.module.to(self.device).eval()
        self.train = data.split("train")
        self.steps = len(self.train) // recipe.batch
        self.optimizer = recipe.optimizer_of(self.model)
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.seconds = 0.0

    def run(self, watch: Watch) -> Trained:
        """Trains to the end; a checkpoint after every epoch holds all that the next one depends on.

        Raises:
            WeightsError: the loss is no number any more, or a file cannot be written.
        """
        self._resume()
        total = self.r.epochs * self.steps
        facts: dict[str, Any] = {}
        while len(self.log) < self.r.epochs and not self._content():
            began, epoch, losses = time.perf_counter(), len(self.log) + 1, []
            for i, (inputs, labels) in enumerate(self._batches(epoch)):
                step = (epoch - 1) * self.steps + i
                losses.append(self._step(inputs, labels, epoch, i, self.r.rate(step, total)))
                watch(Progress(self.phase, step + 1, total, {"epoch": epoch, "loss": losses[-1], **facts}))
            right, count, loss = judge(self.network, self.data, "val", self.device)
            row: dict[str, Any] = {"epoch": epoch, "loss": sum(losses) / len(losses), "val": right / count}
            row["val_loss"] = loss if math.isfinite(loss) else None  # JSON knows no infinity
            if not self.log or _worth(row) > max(map(_worth, self.log)):
                self.best = _copy(self.model)
            self.log.append({**row, "rate": self.r.rate(epoch * self.steps - 1, total)})
            self.seconds += time.perf_counter() - began
            self._save()
            facts = {"best val": _percent(max(entry["val"] for entry in self.log))}
        return Trained(self.best, self.log, max(self.log, key=_worth)["epoch"], self.seconds)

    # --- one step ---------------------------------------------------------------------------------------------------

    def _step(self, inputs: Tensor, labels: Tensor, epoch: int, index: int, rate: float) -> float:
        """One update; returns the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        x = self.network.ready(self.data, inputs, self.device)
        with seeded(derive(self.r.seed, "dropout", epoch, index)):
            output = self.model(x)
        loss = F.cross_entropy(output, labels, label_smoothing=self.r.label_smoothing)
        if self.teacher is not None and self.r.distill > 0:
            with torch.no_grad():
                answers = self.teacher.module(self.teacher.ready(self.data, inputs, self.device))
            loss = loss + self.r.distill * distance(output, answers, self.r.temperature)
        if not math.isfinite(value := float(loss.detach())):
            message = f"the loss became {value} in epoch {epoch}, step {index + 1}"
            raise WeightsError(message, hint="the last good checkpoint is kept; try a smaller `lr` in another folder")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.r.clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.r.clip)
        self.optimizer.step()
        return value

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The shuffled, whole batches of one epoch, every example varied a little."""
        rng = np.random.default_rng(derive(self.r.seed, "batches", epoch))
        order = torch.from_numpy(rng.permutation(len(self.train)))
        for i in range(self.steps):
            rows = order[i * self.r.batch : (i + 1) * self.r.batch]
            yield (
                self.data.varied(self.train.inputs[rows], rng, self.r.augment),
                self.train.labels[rows].to(self.device),
            )

    def _content(self) -> bool:
        """Whether further epochs are not worth their time."""
        if not self.log:
            return False
        seen = [row["val"] for row in self.log]
        enough = self.r.stop_at is not None and max(seen) >= self.r.stop_at
        return enough or (self.r.patience is not None and len(seen) - 1 - seen.index(max(seen)) >= self.r.patience)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        state = {
            "format": FORMAT,
            "settings": json.dumps(self.settings),
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "log": self.log,
            "seconds": self.seconds,
        }
        write(self.folder / "checkpoint.pt", state)
        write_json(self.folder / "log.json", self.log)

    def _resume(self) -> None:
        state = checkpoint(self.folder)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.best, self.log, self.seconds = state["best"], state["log"], state["seconds"]


def distance(output: Tensor, answers: Tensor, temperature: float) -> Tensor:
    """How far a network's answers are from its teacher's: T^2 times the KL divergence of both, softened by T.

    The factor keeps the gradients' size whatever the temperature (Hinton et al., 2015).

    Args:
        output, answers: logits, B x K.
    """
    mine, theirs = (F.log_softmax(logits / temperature, dim=1) for logits in (output, answers))
    return temperature**2 * F.kl_div(mine, theirs, reduction="batchmean", log_target=True)


def judge(network: Network, data: Data, part: Part, device: torch.device | str = "cpu") -> tuple[int, int, float]:
    """How many examples of a split a network gets right, of how many, and its mean cross-entropy."""
    split, right, loss = data.split(part), 0, 0.0
    network.module.eval()
    with torch.no_grad():
        for start in range(0, len(split), EXAMPLES):
            rows = slice(start, start + EXAMPLES)
            labels = split.labels[rows].to(device)
            output = network.module(network.ready(data, split.inputs[rows], device))
            right += int((output.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(output, labels, reduction="sum"))
    return right, len(split), loss / len(split)


def reject_misfit(network: Network, data: Data, recipe: Recipe) -> None:
    """Says before the first step what would go wrong in it: the device, the batch, the shapes of a network.

    Raises:
        ConfigError: names what does not fit.
    """
    try:
        torch.empty(0, device=recipe.torch_device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{recipe.torch_device!r} cannot be used: {reason}", path="torch_device") from error
    train = data.split("train")
    if len(train) < recipe.batch:
        message = f"{data.name!r} has {len(train)} training examples, fewer than one batch of {recipe.batch}"
        raise ConfigError(message, path="batch", hint=f"set it to {max(2, len(train) // 2)}, say")
    try:
        with torch.no_grad():
            output = network.module.eval()(network.ready(data, train.inputs[: recipe.batch], "cpu"))
        shape = [*output.shape]
    except Exception as error:  # whatever a network does with what it was not made for
        reason = str(error).partition("\n")[0]
        message = f"the network cannot take the examples of {data.name!r}: {type(error).__name__}: {reason}"
        raise ConfigError(message, path="data") from error
    if shape != [recipe.batch, len(data.classes)]:
        wanted = f"{len(data.classes)} outputs, one per class of {data.name!r}"
        raise ConfigError(f"the network must have {wanted}; for {recipe.batch} examples it gives {shape}", path="data")


def checkpoint(folder: Path) -> dict[str, Any] | None:
    """What the last session of a training kept in a folder, if it kept anything.

    Raises:
        WeightsError: there is a file that is no checkpoint.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    state = read(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        message = f"{path} was not written by this version of hwnas"
        raise WeightsError(message, hint=f"delete {path} to train anew, or name another folder")
    return state


def read(path: Path) -> Any:
    """A file of tensors and plain values, without running anything in it.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).partition("\n")[0]
        hint = f"delete {path.parent} to train anew, or name another folder"
        raise WeightsError(f"{path} cannot be read: {type(error).__name__}: {first}", hint=hint) from error


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors; the file appears whole or not at all."""
    _whole(path, lambda partial: torch.save(dict(state), partial))


def write_json(path: Path, value: Any) -> None:
    """Writes plain values; the file appears whole or not at all."""
    _whole(path, lambda partial: partial.write_text(json.dumps(value, indent=1), encoding="utf-8"))


def _whole(path: Path, fill: Callable[[Path], object]) -> None:
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # the latter is how torch tells of a full disk
        hint = "what was written before is kept; make room or give access, then run the same command again"
        raise WeightsError(f"cannot write {path}: {str(error).partition(chr(10))[0]}", hint=hint) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _worth(row: Mapping[str, Any]) -> tuple[float, float]:
    """Of two epochs with the same accuracy the one that is surer of it."""
    return row["val"], -math.inf if row["val_loss"] is None else -row["val_loss"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
