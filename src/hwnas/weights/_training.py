"""One training of a supernet by progressive shrinking: steps, the teacher, checkpoints."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.data import batches, like_of
from hwnas.errors import WeightsError
from hwnas.progress import Progress, Watch
from hwnas.seeds import derive, seeded
from hwnas.space import Arch, Code
from hwnas.weights._phases import Phase, draw, smallest
from hwnas.weights.share import borrow, calibrate, call, skeleton, tensors_of

if TYPE_CHECKING:
    from hwnas.weights.shrink import Shrink

PHASE = "train supernet"
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adamw": torch.optim.AdamW,
}


class Training:
    """From the first step or from a checkpoint; everything random follows from (seed, epoch, step)."""

    def __init__(self, options: Shrink) -> None:
        self.o, self.family, self.data = options, options.family, options.data
        self.device = torch.device(options.torch_device)
        split = options.data.split("train")
        options.check()
        self.inputs, self.labels = split.inputs, split.labels
        self.steps = len(split) // options.batch
        with seeded(derive(options.seed, "supernet")):
            self.model = self.family.supernet().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.big = tensors_of(self.model)
        self.largest = self.family.space.decode(self.family.space.largest)
        self.whole = skeleton(self.family, self.largest)
        self.teacher: dict[str, Tensor] | None = None
        self.log: list[dict[str, Any]] = []

    def run(self, watch: Watch) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        """Trains to the end; a checkpoint after every epoch holds all that the next one depends on."""
        done, saved = self._resume()
        total, epoch = self.o.epochs * self.steps, 0
        for phase in self.o.plan:
            optimizer = self._optimizer(phase)
            for inner in range(phase.epochs):
                epoch += 1
                if epoch <= done:
                    continue
                if saved is not None and inner > 0:
                    optimizer.load_state_dict(saved)
                saved = None
                if phase.teaches and self.teacher is None:
                    self.teacher = self._freeze()
                losses = []
                for i, (inputs, labels) in enumerate(self._batches(epoch)):
                    _set_rate(
                        optimizer, self.o.peak * phase.rate, (inner * self.steps + i) / (phase.epochs * self.steps)
                    )
                    losses.append(self._step(phase, optimizer, inputs, labels, epoch, i))
                    step = (epoch - 1) * self.steps + i + 1
                    watch(Progress(PHASE, step, total, {"now": phase.name, "epoch": epoch, "loss": losses[-1]}))
                row: dict[str, Any] = {"epoch": epoch, "phase": phase.name, "loss": sum(losses) / len(losses)}
                if inner + 1 == phase.epochs:
                    row["largest"] = self._accuracy(self.family.space.largest)
                    row["smallest"] = self._accuracy(smallest(self.family.space, phase.allowed))
                self.log.append(row)
                self._save(epoch, optimizer)
        return {name: tensor.detach().cpu().clone() for name, tensor in self.big.items()}, self.log

    def time_step(self, phase: Phase) -> float:
        """Seconds of one step of a phase, the mean of a few after a warm-up; spoils the weights."""
        optimizer = self._optimizer(phase)
        self.teacher = self._freeze() if phase.teaches else None
        inputs, labels = next(self._batches(1))
        self._step(phase, optimizer, inputs, labels, 0, 0)
        began = time.perf_counter()
        for i in range(1, 4):
            self._step(phase, optimizer, inputs, labels, 0, i)
        return (time.perf_counter() - began) / 3

    # --- one step ---------------------------------------------------------------------------------------------------

    def _step(
        self, phase: Phase, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, epoch: int, index: int
    ) -> float:
        """One update: of the full network alone, or of some subnets that it teaches."""
        rng = np.random.default_rng(derive(self.o.seed, "subnets", epoch, index))
        count = self.o.nets if phase.teaches else 1
        optimizer.zero_grad(set_to_none=True)
        answers: dict[torch.Size, Tensor] = {}
        total = 0.0
        for number in range(count):
            arch = self.family.space.decode(draw(self.family.space, phase.allowed, rng))
            x = self.data.ready(inputs, like_of(self.family, arch))
            small = skeleton(self.family, arch, training=True)
            with seeded(derive(self.o.seed, "dropout", epoch, index, number)):
                output = call(small, borrow(self.family, arch, small, self.big), x)
            if output.shape != (len(x), len(self.data.classes)):
                wanted = f"{len(self.data.classes)} outputs, one per class of {self.data.name!r}"
                message = f"the networks of {self.family.name!r} must have {wanted}; for {len(x)} examples they give"
                raise WeightsError(f"{message} {[*output.shape]}")
            loss = F.cross_entropy(output, labels, label_smoothing=self.o.label_smoothing)
            if self.teacher is not None and self.o.distill > 0:
                if x.shape not in answers:
                    with torch.no_grad():
                        answers[x.shape] = call(self.whole, self.teacher, x).softmax(1)
                loss = loss + self.o.distill * F.cross_entropy(output, answers[x.shape])
            if not math.isfinite(value := float(loss.detach())):
                message = f"the loss became {value} in epoch {epoch}, step {index + 1}, for the subnet {dict(arch)}"
                raise WeightsError(message, hint="the last good checkpoint is kept; try a smaller `lr` in another run")
            (loss / count).backward()  # type: ignore[no-untyped-call]
            total += value / count
        optimizer.step()
        return total

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The shuffled, whole batches of one epoch, every example varied a little."""
        rng = np.random.default_rng(derive(self.o.seed, "batches", epoch))
        order = torch.from_numpy(rng.permutation(len(self.labels)))
        for i in range(self.steps):
            rows = order[i * self.o.batch : (i + 1) * self.o.batch]
            inputs = self.data.varied(self.inputs[rows], rng, self.o.augment)
            yield inputs.to(self.device), self.labels[rows].to(self.device)

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        """One without weight decay on norms and biases (vectors), as in Once-for-All; new for every phase.

        A parameter that no subnet of a step used has no gradient and is left alone, decay and momentum included.
        """
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": self.o.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return OPTIMIZERS[self.o.optimizer](groups, lr=self.o.peak * phase.rate)

    def _freeze(self) -> dict[str, Tensor]:
        """The full network as it is now, copied and calibrated: the teacher of all later phases."""
        borrowed = borrow(self.family, self.largest, self.whole, self.big)
        copies = {name: tensor.detach().clone() for name, tensor in borrowed.items()}
        return calibrate(self.whole, copies, self._calibration(self.largest))

    def _calibration(self, arch: Arch) -> list[Tensor]:
        """The first few batches of training examples, unvaried and always the same."""
        like, size = like_of(self.family, arch), self.o.batch
        return [
            self.data.ready(self.inputs[i * size : (i + 1) * size].to(self.device), like)
            for i in range(min(8, self.steps))
        ]

    def _accuracy(self, code: Code) -> float:
        """Accuracy on `val` of one subnet, calibrated."""
        arch = self.family.space.decode(code)
        small, like = skeleton(self.family, arch), like_of(self.family, arch)
        tensors = calibrate(small, borrow(self.family, arch, small, self.big), self._calibration(arch))
        split = self.data.split("val")
        with torch.no_grad():
            right = sum(
                int((call(small, tensors, x).argmax(1) == labels).sum())
                for x, labels in batches(split, self.data, 256, like, self.o.torch_device)
            )
        return right / len(split)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _save(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        self.o.save_checkpoint(
            {
                "epoch": epoch,
                "model": self.big,
                "teacher": self.teacher,
                "optimizer": optimizer.state_dict(),
                "log": self.log,
            }
        )

    def _resume(self) -> tuple[int, dict[str, Any] | None]:
        state = self.o.load_checkpoint()
        if state is None:
            return 0, None
        with torch.no_grad():
            for name, tensor in self.big.items():
                tensor.copy_(state["model"][name])
        if state["teacher"] is not None:
            self.teacher = {name: tensor.to(self.device) for name, tensor in state["teacher"].items()}
        self.log = state["log"]
        return int(state["epoch"]), state["optimizer"]


def _set_rate(optimizer: torch.optim.Optimizer, peak: float, progress: float) -> None:
    """Cosine to zero after a linear warm-up over the first twentieth of the phase."""
    warm = min(1.0, (progress + 0.01) / 0.05)
    for group in optimizer.param_groups:
        group["lr"] = peak * warm * 0.5 * (1 + math.cos(math.pi * progress))


__all__ = ["PHASE", "Training"]
