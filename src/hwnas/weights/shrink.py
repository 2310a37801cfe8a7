"""A supernet trained by progressive shrinking: the full network first, then smaller and smaller ones inside it.

Once-for-All (Cai et al., 2020): the full network learns alone; then kernels, depths and widths become elastic one
after the other, from large to small, while the full network's answers teach the subnets. The phases are derived from
the space, so any family can be trained so.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hwnas import parts
from hwnas.candidate import Family
from hwnas.data import Data
from hwnas.errors import ConfigError, WeightsError
from hwnas.progress import Progress, Watch, silent
from hwnas.weights import Weights
from hwnas.weights._phases import Phase, phases
from hwnas.weights._training import PHASE, Training
from hwnas.weights.share import tensors_of

__all__ = ["Shrink"]

FORMAT = 1
"""Of the files; raised when old ones would be misread."""


USUAL: Mapping[str, float] = {"sgd": 0.1, "adamw": 0.003}
"""Peak learning rate by optimizer, where the user names none."""


@dataclass(frozen=True)
class Shrink(Weights):
    """A supernet by progressive shrinking (Cai et al., 2020), trained on the data's `train` split.

    Every epoch leaves a checkpoint; a resumed training ends with the same weights as an uninterrupted one. A finished
    supernet is kept for later runs with the same family, data and options.

    Args:
        epochs: over all phases together.
        batch: examples in a step.
        optimizer: SGD with Nesterov's momentum, as in Once-for-All; Transformers learn with AdamW, and hardly without.
        lr: the full network's peak learning rate (cosine within each phase, short warm-up); None is 0.1 for SGD and
            0.003 for AdamW.
        nets: subnets in a step of an elastic phase; their gradients are averaged.
        distill: weight of the full network's answers beside the labels.
        augment: how strongly training examples are varied, such as the largest shift of images in pixels; 0 for none.
        reuse: take an equal supernet that an earlier run has trained (kept under $HWNAS_CACHE or ~/.cache/hwnas).
    """

    family: Family
    data: Data
    folder: Path
    seed: int = 0
    torch_device: str = "cpu"
    epochs: int = 12
    batch: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float | None = None
    weight_decay: float = 3e-5
    label_smoothing: float = 0.1
    nets: int = 2
    distill: float = 1.0
    augment: int = 2
    reuse: bool = True

    tiny: ClassVar[Mapping[str, Any]] = {"epochs": 7, "batch": 64, "nets": 1, "reuse": False}

    def __post_init__(self) -> None:
        for name, least in (("batch", 2), ("nets", 1), ("augment", 0), ("epochs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        if self.optimizer not in USUAL:
            raise ConfigError(f"optimizer must be {' or '.join(USUAL)}, not {self.optimizer!r}")
        for name in ("lr", "weight_decay", "distill", "label_smoothing"):
            value = self.peak if name == "lr" else getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "lr" and value == 0):
                raise ConfigError(f"{name} must be a positive number, not {value!r}")
        if self.label_smoothing >= 1:
            raise ConfigError(f"label_smoothing must be below 1, not {self.label_smoothing!r}")
        phases(self.family.space, self.epochs)

    # --- the contract -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with the family, its space and its tensors, the data, the phases and every option."""
        with torch.device("meta"):
            shapes = {name: list(tensor.shape) for name, tensor in tensors_of(self.family.supernet()).items()}
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _NOT_IDENTITY}
        options |= {"lr": self.peak}
        if self.optimizer == "sgd":  # once there was no other, and what was trained then is the same
            del options["optimizer"]
        family = [parts.spec_of(self.family) or self.family.name, self.family.space.fingerprint, shapes]
        plan = [dataclasses.asdict(phase) for phase in self.plan]
        text = json.dumps([FORMAT, family, self.data.fingerprint, plan, options], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def peak(self) -> float:
        """The full network's peak learning rate."""
        return USUAL[self.optimizer] if self.lr is None else self.lr

    def check(self) -> None:
        """Refuses a batch that is larger than the training split."""
        count = len(self.data.split("train"))
        if count < self.batch:
            message = f"{self.data.name!r} has {count} training examples, fewer than one batch of {self.batch}"
            raise ConfigError(message, path="weights.shrink.batch", hint=f"set it to {max(2, count // 2)}, say")

    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors of the finished supernet."""
        return self._tensors

    @functools.cached_property
    def _tensors(self) -> dict[str, Tensor]:
        if not self._finished.exists():
            raise WeightsError(f"there is no trained supernet in {self._finished.parent} yet")
        kept: dict[str, Tensor] = self._read(self._finished)["tensors"]
        return {name: tensor.to(self.torch_device) for name, tensor in kept.items()}

    def estimate(self) -> float:
        """Seconds, from a few steps of the first and of the last phase on this machine."""
        if self._finished.exists() or self._reusable():
            return 0.0
        state = self.load_checkpoint()
        done, full = (int(state["epoch"]) if state else 0), self.plan[0].epochs
        trial = Training(self)
        alone, shared = (trial.time_step(phase) for phase in (self.plan[0], self.plan[-1]))
        return trial.steps * (alone * max(0, full - done) + shared * (self.epochs - max(full, done)))

    def prepare(self, watch: Watch = silent) -> None:
        """Trains, or goes on where a checkpoint was left, or takes an equal supernet of an earlier run."""
        if self._finished.exists():
            self._read(self._finished)
            return
        if not self._checkpoint.exists() and (kept := self._reusable()):
            state = self._read(kept)
            self._write(self._finished, state)
            watch(Progress(PHASE, message=f"reused the supernet that was trained in {state['trained_in']}"))
            return
        tensors, log = Training(self).run(watch)
        state = {"tensors": tensors, "log": log, "trained_in": str(self.folder.resolve())}
        self._write(self._finished, state)
        if self._kept is not None:
            try:
                self._write(self._kept, state)
            except WeightsError as error:
                watch(Progress(PHASE, message=f"the supernet is not kept for later runs: {error.args[0]}"))
        self._checkpoint.unlink(missing_ok=True)

    def log(self) -> list[dict[str, Any]]:
        """What was noted after every epoch: phase, loss, and accuracies on `val` at the end of a phase."""
        return list(self._read(self._finished)["log"]) if self._finished.exists() else []

    @functools.cached_property
    def plan(self) -> list[Phase]:
        """The phases, in order."""
        return phases(self.family.space, self.epochs)

    # --- files ------------------------------------------------------------------------------------------------------

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keeps what a training needs to go on."""
        self._write(self._checkpoint, state)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """What the last session of this training kept, if it kept anything."""
        return self._read(self._checkpoint) if self._checkpoint.exists() else None

    @property
    def _finished(self) -> Path:
        return self.folder / "weights" / "supernet.pt"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "weights" / "checkpoint.pt"

    @property
    def _kept(self) -> Path | None:
        """Where an equal supernet lies for later runs; None for a script's own family, whose code may change unseen."""
        if not self.reuse or parts.spec_of(self.family) is None:
            return None
        home = os.environ.get("HWNAS_CACHE") or Path.home() / ".cache" / "hwnas"
        return Path(home) / "supernets" / f"{self.fingerprint}.pt"

    def _reusable(self) -> Path | None:
        return self._kept if self._kept is not None and self._kept.exists() else None

    def _read(self, path: Path) -> dict[str, Any]:
        hint = f"delete {path} to train anew"
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            first = str(error).partition("\n")[0]
            raise WeightsError(f"{path} cannot be read: {type(error).__name__}: {first}", hint=hint) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise WeightsError(f"{path} was not written by this version of hwnas", hint=hint)
        if (found := state.get("fingerprint")) != self.fingerprint:
            message = f"{path} belongs to another family, other data or other options"
            raise WeightsError(f"{message} ({found}, not {self.fingerprint})", hint=hint)
        return state

    def _write(self, path: Path, state: Mapping[str, Any]) -> None:
        """The file appears whole or not at all, whatever happens meanwhile."""
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"format": FORMAT, "fingerprint": self.fingerprint, **state}, partial)
            os.replace(partial, path)
        except (OSError, RuntimeError) as error:  # the latter is how torch tells of a full disk
            hint = "what was written before is kept; make room or give access, then go on"
            raise WeightsError(f"cannot write {path}: {str(error).partition(chr(10))[0]}", hint=hint) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


_NOT_IDENTITY = ("family", "data", "folder", "torch_device", "reuse")
