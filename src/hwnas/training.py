"""Trains the network that a search has found: picked, given data, trained, tested once, written as a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hwnas import deploy, experiment, parts, units
from hwnas.candidate import Candidate, Family
from hwnas.config import data_spec
from hwnas.errors import ConfigError, ExportError, RecordError, RunExistsError, SpaceError, WeightsError, nearest
from hwnas.progress import Progress, Watch, silent
from hwnas.rundir import create
from hwnas.space import Code
from hwnas.study import Study
from hwnas.trial import Trial
from hwnas.workers import Bench

if TYPE_CHECKING:
    from torch import nn

    from hwnas.data import Data
    from hwnas.weights.train import Network, Recipe

STARTS = ("auto", "scratch", "shared")
"""Where the first weights may come from."""
PHASE = "train"
FILES = ("model.pt", "model.onnx", "log.json")
"""What is written beside the checkpoint and the result."""


@dataclass(frozen=True)
class Result:
    """A trained network: how good it is, and where it lies.

    Args:
        folder: holds `model.pt` (the state dict), `model.onnx`, `log.json`, `checkpoint.pt` and `result.json`.
        network: what was trained, in words: "trial 12".
        code: in the space of `family`.
        family: its spec; None for a family of a script, which only that script can build again.
        classes: names, in the order of the outputs.
        params: trainable parameters.
        val: accuracy on the validation split, 0 ... 1, of the epoch that was best there; its weights are the result.
        test: accuracy on the test split, which was looked at once, with its 95 % interval (Wilson).
        examples: in the test split.
        epochs: that were trained.
        epoch: the one whose weights these are, from 1.
        seconds: of training, all sessions together.
        start: where the first weights came from: "scratch" or "shared".
        teacher: in words; empty where only labels taught.
        onnx: whether `model.onnx` was written and computes what PyTorch computes.
        settings: everything that decided the weights.
    """

    folder: str
    network: str
    code: tuple[int, ...]
    architecture: dict[str, Any]
    family: dict[str, Any] | None
    data: str
    classes: tuple[str, ...]
    params: int
    val: float
    test: float
    test_low: float
    test_high: float
    examples: int
    epochs: int
    epoch: int
    seconds: float
    start: str
    teacher: str
    onnx: bool
    settings: dict[str, Any]

    @property
    def model(self) -> Path:
        """The file of the weights, a state dict."""
        return Path(self.folder) / "model.pt"

    @classmethod
    def read(cls, folder: str | Path) -> Result:
        """What an earlier training left in its folder.

        Raises:
            RecordError: there is none, or its file is damaged.
        """
        path = Path(folder) / "result.json"
        if not path.is_file():
            hint = "`hwnas train DIR --out FOLDER` makes one; a training that was stopped goes on by the same command"
            raise RecordError(f"there is no finished training in {folder}", hint=hint)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            result = cls(**{**kept, "folder": str(folder), "code": (*kept["code"],), "classes": (*kept["classes"],)})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RecordError(f"{path} cannot be read: {error}", hint=f"delete {folder} to train anew") from error
        return result

    def load(self, family: Family | None = None) -> nn.Module:
        """The network with its trained weights, on the CPU, in evaluation mode.

        Args:
            family: what can build it, where that is not to be found by name.

        Raises:
            RecordError: the family is unknown, or the weights are not this network's.
        """
        from hwnas.weights.train import read

        own = family if family is not None else self._family()
        model = Candidate(own, self.code).model
        try:
            model.load_state_dict(read(self.model))
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise RecordError(f"{self.model} does not hold the weights of this network: {reason}") from error
        return model

    def sentence(self) -> str:
        """The verdict, for people."""
        share, low, high = (units.show(value, "%") for value in (self.test, self.test_low, self.test_high))
        right = f"gets {share} of {units.plural(self.examples, 'test example')} of {self.data!r} right"
        told = f"{self.network}, trained for {units.plural(self.epochs, 'epoch')}, {right} (95 %: {low} to {high})"
        return told[0].upper() + told[1:]

    def rows(self) -> list[tuple[str, str]]:
        """The result as a small table, label and value."""
        taught = [("teacher", self.teacher)] if self.teacher else []
        return [
            ("network", self.network),
            ("parameters", units.show(self.params, "")),
            ("start", {"scratch": "fresh weights", "shared": "the run's shared weights"}[self.start]),
            *taught,
            ("epochs", f"{self.epochs}, best {self.epoch}"),
            ("validation", units.show(self.val, "%")),
            (
                "test",
                f"{units.show(self.test, '%')} ({units.show(self.test_low, '%')} … {units.show(self.test_high, '%')})",
            ),
            ("time", units.duration(self.seconds)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "code": list(self.code), "classes": list(self.classes)}

    def _family(self) -> Family:
        if self.family is None:
            message = f"the network in {self.folder} was built by a family of a script, which has no name"
            raise RecordError(message, hint="give the family: Result.load(family)")
        family: Family = parts.make("families", self.family)
        return family


def train(
    run: str | Path | Study,
    pick: str | int | None = None,
    *,
    by: str | None = None,
    data: Any = None,
    start: str = "auto",
    teacher: str | Path | None = None,
    out: str | Path | None = None,
    watch: Watch = silent,
    **options: Any,
) -> Result:
    """Trains a network of a run on labelled data: on `train`, the best epoch by `val`, tested once on `test`.

    A training that was stopped or killed goes on by the same call, and ends with the same weights. One that is
    finished is not done again.

    Args:
        run: the folder of a run, or its study.
        pick: `chosen` (the default, what the report recommends), `knee`, `largest`, `best` or a goal's name, a trial's
            number, or a file with a structure: JSON or YAML with the choices, or text that the family can read.
        by: the goal that `best` means; the first one unless said.
        data: as a configuration writes it, a name, a path or options, or an object; None is the data of the run. If
            it has other classes or sizes than the family that was searched, the family is made anew for it.
        start: `scratch`; `shared`, the weights that the run judged it with; `auto` takes those if there are any.
        teacher: whose answers are learnt from beside the labels: `largest`, the largest network of the space, trained
            first in the same way and kept for later; or the folder of a finished training. None for none.
        out: where everything is written; None is `RUN/trained/PICK`.
        watch: is told of progress, and may raise `Interrupted` to stop.
        **options: of `hwnas.weights.train.Recipe`: epochs, batch, lr, optimizer, patience …

    Raises:
        RecordError: no such run, or the folder holds another training.
        ExportError: no such trial.
        ConfigError, DataError: what does not fit, before anything is written.
        WeightsError: the training went wrong.
    """
    study = run if isinstance(run, Study) else experiment.load(run)
    home = Path(study.bench.setup.folder)
    recipe = _recipe(study, options, teacher)
    if start not in STARTS:
        raise ConfigError(f"unknown start {start!r}; {nearest(start, STARTS)}", path="from")
    if not getattr(study.family, "buildable", True):
        raise ExportError(deploy.unbuildable(study), hint="such a network cannot be trained")
    trial, label, words = _picked(study, pick, by)
    folder = Path(out) if out is not None else home / "trained" / label
    _reject_unwritable(folder)
    given = _data(study, data, folder)
    here = _fitted(study, given, recipe, watch)
    trial = replace(trial, code=_code(study, here, trial.code))
    _settle_threads(study)
    told = _Told(study, here, recipe, _start(study, start), watch)
    taught = _teacher(told, teacher, trial.code, home)
    return told.trained(trial, words, folder, taught)


@dataclass(frozen=True)
class _Teacher:
    """Whose answers are learnt from: a finished training, or one that is still to be done."""

    words: str
    digest: str
    network: Any = None
    trial: Trial | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class _Told:
    """What a training was told.

    Args:
        study: the run as it was searched.
        here: the same with the family and the data of the training.
    """

    study: Study
    here: Study
    recipe: Recipe
    start: str
    watch: Watch

    @property
    def data(self) -> Data:
        data: Data = self.here.bench.given["data"]
        return data

    def settings(self, code: Code, teacher: _Teacher | None) -> dict[str, Any]:
        """Everything that decides the weights, as plain data."""
        recipe = asdict(self.recipe) | {"lr": self.recipe.peak, "weight_decay": self.recipe.decay}
        del recipe["torch_device"]
        if teacher is None:
            del recipe["distill"], recipe["temperature"]
        family = self.here.family
        weights = self.study.bench.given.get("weights")
        settings = {
            "family": parts.spec_of(family) or family.name,
            "space": family.space.fingerprint,
            "code": list(code),
            "data": self.data.fingerprint,
            "start": self.start,
            "weights": weights.fingerprint if self.start == "shared" and weights is not None else "",
            "teacher": teacher.digest if teacher is not None else "",
            **recipe,
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        return plain

    def trained(self, trial: Trial, words: str, folder: Path, teacher: _Teacher | None, phase: str = PHASE) -> Result:
        """Trains, or goes on, or finds that all is done; everything is checked before anything is written."""
        from hwnas.weights.train import Trainer, judge, reject_misfit, write_json

        settings = self.settings(trial.code, teacher)
        if (done := _finished(folder, settings)) is not None:
            self.watch(Progress(phase, message=f"{done.network} is trained already, in {folder}"))
            return done
        network = self._network(trial.code, phase)
        reject_misfit(network, self.data, self.recipe)
        answers = self._answers(teacher)
        create(folder)
        self.data.keep()
        trainer = Trainer(network, self.data, self.recipe, folder, settings, answers, phase)
        came = trainer.run(self.watch)
        model = network.module.cpu()
        model.load_state_dict(came.state)
        self.watch(Progress("test"))
        right, count, _ = judge(network, self.data, "test")
        val = max(row["val"] for row in came.log)
        values = {"val_accuracy": val, "test_accuracy": right / count}
        _save_state(model, folder)
        onnx = self._exported(trial, model, folder, values)
        low, high = _interval(right, count)
        result = Result(
            folder=str(folder),
            network=words,
            code=trial.code,
            architecture=dict(self.here.space.decode(trial.code)),
            family=parts.spec_of(self.here.family),
            data=self.data.name,
            classes=tuple(self.data.classes),
            params=sum(parameter.numel() for parameter in model.parameters()),
            val=val,
            test=right / count,
            test_low=low,
            test_high=high,
            examples=count,
            epochs=len(came.log),
            epoch=came.epoch,
            seconds=came.seconds,
            start=self.start,
            teacher=teacher.words if teacher is not None else "",
            onnx=onnx,
            settings=settings,
        )
        write_json(folder / "result.json", result.to_dict())
        return result

    def _network(self, code: Code, phase: str) -> Network:
        """The network with its first weights."""
        from hwnas.weights.train import Network

        candidate = Candidate(self.here.family, code, self.recipe.seed)
        network = Network.of(self.here.family, candidate.arch, candidate.model)
        if self.start == "shared":
            _inherit(self.study, _code(self.here, self.study, code), candidate.model, phase, self.watch)
        return network

    def _answers(self, teacher: _Teacher | None) -> Network | None:
        """The teacher's network, trained first if it has to be."""
        from hwnas.weights.train import Network

        if teacher is None or teacher.trial is None or teacher.folder is None:
            return None if teacher is None else teacher.network
        done = self.trained(teacher.trial, teacher.words, teacher.folder, None, "train teacher")
        family = self.here.family
        return Network.of(family, family.space.decode(done.code), done.load(family))

    def _exported(self, trial: Trial, model: nn.Module, folder: Path, values: Mapping[str, float]) -> bool:
        """Writes the file to deploy; a network that no file can hold is trained all the same."""
        trial = replace(trial, values={**trial.values, **values})
        try:
            deploy.write(self.here, trial, model, folder / "model.onnx")
        except ExportError as error:
            self.watch(Progress("export", message=f"there is no model.onnx: {error.args[0]}"))
            return False
        return True


# --- what is to be trained --------------------------------------------------------------------------------------------


def _recipe(study: Study, options: Mapping[str, Any], teacher: object) -> Recipe:
    """The recipe behind keywords, each checked by name and type."""
    from hwnas.weights.train import Recipe

    known = parts.schema(Recipe)
    ready: dict[str, Any] = {"torch_device": study.bench.setup.torch_device}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"unknown option; {nearest(name, known)}", path=name)
        ready[name] = parts.convert(value, known[name].annotation, None, name)
    idle = [name for name in ("distill", "temperature") if name in options and teacher in (None, "none")]
    if idle:
        raise ConfigError("has no meaning without a teacher", path=idle[0], hint="name one: `largest`, or a folder")
    return Recipe(**ready)


def _picked(study: Study, pick: str | int | None, by: str | None) -> tuple[Trial, str, str]:
    """A trial, the name of its folder, and what it is called in a sentence."""
    which = str(pick).lstrip("#") if pick is not None else "best" if by is not None else "chosen"
    goals = [goal.name for goal in study.goals]
    if by is not None and which != "best":
        raise ConfigError(f"says what `best` means, and the pick is {which!r}", path="by")
    if by is not None and by not in goals:
        raise ConfigError(f"no goal is named {by!r}; {nearest(by, goals)}", path="by")
    if which == "best":
        which = by or next(goal.name for goal in study.goals if goal.objective)
    named = which in ("chosen", "knee", "largest", *goals)
    if not named and not which.isdigit() and Path(which).is_file():
        code = _structure(study, Path(which))
        known = next((trial for trial in study.trials() if trial.code == code), Trial(0, code))
        return known, Path(which).stem, f"the network of {Path(which).name}"
    trial = deploy.pick(study, which)
    if trial.state == "failed":
        hint = "`hwnas show DIR --all` lists the others, `hwnas resume DIR --retry-failed` gives it another chance"
        raise ExportError(f"trial {trial.number} failed: {trial.error}", hint=hint)
    number = next((known.number for known in study.trials() if known.code == trial.code), None)
    said = {"chosen": "the chosen network", "knee": "the knee of the front", "largest": "the largest network"}
    words = said.get(which, f"the best network in {which}") if named else f"trial {which}"
    folder = f"best-{which}" if which in goals else which if named else f"trial-{which}"
    return trial, folder, words + (f" (trial {number})" if named and number is not None else "")


def _structure(study: Study, path: Path) -> Code:
    """The code of a network that a file describes: choices by name, a code, or the family's own text.

    Raises:
        ConfigError: the file cannot be read, or describes no network of this space.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
        read: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}", path="pick") from error
    if isinstance(read, Mapping) and isinstance(read.get("architecture"), Mapping):
        read = read["architecture"]
    understands: Any = getattr(study.family, "arch_of", None)
    try:
        if isinstance(read, Mapping):
            return study.space.encode(read)
        if isinstance(read, Sequence) and not isinstance(read, str):
            return study.family.canonical(study.space.check(read))
        if understands is not None:
            return study.space.encode(understands(text))
    except (SpaceError, ConfigError) as error:
        raise ConfigError(
            f"{path} describes no network of {study.family.name!r}: {error.args[0]}", path="pick"
        ) from error
    raise ConfigError(
        f"{path} describes no network of {study.family.name!r}",
        path="pick",
        hint='a structure is written as JSON or YAML, {"choice": value, …}, as `hwnas show DIR --json` prints it',
    )


def _data(study: Study, spec: Any, folder: Path) -> Data:
    """The data to train on: the run's own, or what the user names instead."""
    own: Data | None = study.bench.given.get("data")
    if spec is None:
        if own is None:
            hint = "name it: --data digits, or the path of your own; see `hwnas list data`"
            raise ConfigError("is missing: this run was searched without any", path="data", hint=hint)
        return own
    spec = data_spec(spec)
    if own is not None and spec == study.bench.setup.data:
        return own
    data: Data = parts.make("data", spec, {"folder": folder, "seed": study.bench.setup.seed}, "data")
    return data


def _fitted(study: Study, data: Data, recipe: Recipe, watch: Watch) -> Study:
    """The study with the data of the training, and with the family made anew where that differs from what it is for.

    What a family does not take from the data, such as a side of images that it cannot have, stays as it is: the data is
    fitted to it then.

    Raises:
        ConfigError: the family cannot have so many classes.
    """
    family: Any = study.family
    for part in ("train", "val", "test"):
        data.split(part)
    told = []
    if data is not study.bench.given.get("data"):
        for name, value in data.facts.items():
            had = getattr(family, name, value)
            if had == value or not isinstance(had, int | None):  # several sizes to choose from stay the search's own
                continue
            try:
                family = dataclasses.replace(family, **{name: value})
            except (TypeError, ValueError) as error:
                if name != "classes":
                    continue
                message = f"{study.family.name!r} has {had} classes, and {data.name!r} has {value}"
                raise ConfigError(f"{message}; it cannot be made anew: {error}", path="data") from error
            told.append(f"{name} {'' if had is None else f'{had} '}→ {value}")
    if told:
        message = f"{study.family.name} is made anew for {data.name!r}: {', '.join(told)}"
        watch(Progress(PHASE, message=message))
    setup = replace(study.bench.setup, family=family, data=data, weights=None, seed=recipe.seed)
    return Study(Bench(setup), study.goals, study.run)


def _code(one: Study, other: Study, code: Code) -> Code:
    """A network's code in another study's space, in which its choices have the same values.

    Raises:
        ConfigError: there is no such network.
    """
    if one.space.fingerprint == other.space.fingerprint:
        return code
    try:
        return other.space.encode(one.space.decode(code))
    except SpaceError as error:
        message = f"the picked network does not exist in {other.family.name!r} made anew for this data"
        raise ConfigError(f"{message}: {error.args[0]}", path="data") from error


def _settle_threads(study: Study) -> None:
    """Gives torch the threads that the run was told to use."""
    import torch

    if study.bench.setup.threads is not None:
        torch.set_num_threads(study.bench.setup.threads)


def _start(study: Study, start: str) -> str:
    """Whether the first weights are fresh or shared."""
    if start == "scratch":
        return start
    if _extracting(study) is not None:
        return "shared"
    if start == "shared":
        message = "this run has no shared weights: no goal of it knows any"
        raise ConfigError(message, path="from", hint="start from `scratch`")
    return "scratch"


def _extracting(study: Study) -> Any:
    """The metric that knows the weights of the run's networks, if one does."""
    metrics = (study.bench.metric(goal.metric, goal.name) for goal in study.goals)
    return next((metric for metric in metrics if hasattr(metric, "extract")), None)


def _inherit(study: Study, code: Code, model: nn.Module, phase: str, watch: Watch) -> None:
    """Copies the shared weights into a network; what has another shape for this data stays fresh, and is named."""
    import torch

    known = _extracting(study).extract(study.bench.candidate(code)).cpu().state_dict()
    fresh = []
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in known and known[name].shape == tensor.shape:
                tensor.copy_(known[name])
            else:
                fresh.append(name)
    if fresh:
        watch(Progress(phase, message=f"shared weights do not fit this data in {', '.join(fresh)}: these are fresh"))


def _teacher(told: _Told, teacher: str | Path | None, code: Code, home: Path) -> _Teacher | None:
    """Whose answers are learnt from; nothing is trained yet."""
    if teacher is None or teacher == "none":
        return None
    family = told.here.family
    if teacher == "largest":
        largest = family.canonical(family.space.largest)
        if largest == family.canonical(code):
            message = "the picked network is the largest one itself, which has nobody larger to learn from"
            raise ConfigError(message, path="teacher", hint="leave the teacher out, or name the folder of a training")
        digest = _digest(told.settings(largest, None))
        folder = home / "trained" / f"teacher-{digest[:8]}"
        return _Teacher("the largest network", digest, trial=Trial(0, largest), folder=folder)
    return _earlier_teacher(told, Path(teacher))


def _earlier_teacher(told: _Told, place: Path) -> _Teacher:
    """The network of a finished training."""
    from hwnas.weights.train import Network

    try:
        done = Result.read(place)
        own = told.here.family
        known = done.settings.get("family") == (parts.spec_of(own) or own.name)
        family = own if known and done.family is None else done._family()
        network = Network.of(family, family.space.decode(done.code), done.load(family))
    except (RecordError, WeightsError) as error:
        hint = error.hint or "a teacher is `largest`, `none`, or the folder of a finished training"
        raise ConfigError(error.args[0], path="teacher", hint=hint) from error
    if done.classes != tuple(told.data.classes):
        message = f"{place} was trained on {done.data!r} with the classes {_some(done.classes)}"
        raise ConfigError(f"{message}; {told.data.name!r} has {_some(told.data.classes)}", path="teacher")
    return _Teacher(f"{done.network}, in {place}", _digest(done.settings), network)


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5])
    return f"{shown}, … ({len(classes)} in all)" if len(classes) > 5 else shown


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


# --- the folder -------------------------------------------------------------------------------------------------------


def _reject_unwritable(folder: Path) -> None:
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise RecordError(f"the folder {folder} cannot be made: {place} is no folder that can be written")


def _finished(folder: Path, settings: Mapping[str, Any]) -> Result | None:
    """The result of an equal training in this folder, if it has come to its end.

    Raises:
        RunExistsError: the folder holds another training; says in what it differs.
    """
    from hwnas.weights.train import checkpoint

    if (folder / "result.json").exists():
        done = Result.read(folder)
        _reject_another(folder, done.settings, settings)
        return done
    state = checkpoint(folder)
    if state is not None:
        _reject_another(folder, json.loads(state["settings"]), settings)
    elif strange := [name for name in FILES if (folder / name).exists()]:
        raise RunExistsError(f"{folder} holds a {strange[0]} of another origin", hint="name another folder with --out")
    return None


def _reject_another(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differing = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if "family" in differing:
        differing = [name for name in differing if name != "space"]
    if differing:
        told = "; ".join(f"{name} was {then.get(name)!r} and is now {now.get(name)!r}" for name in differing)
        hint = f"name another folder with --out, or delete {folder}"
        raise RunExistsError(f"{folder} holds another training: {told}", hint=hint)


def _save_state(model: nn.Module, folder: Path) -> None:
    from hwnas.weights.train import write

    write(folder / "model.pt", model.state_dict())


def _interval(right: int, count: int) -> tuple[float, float]:
    from hwnas.quality.shared import wilson

    return wilson(right, count)


__all__ = ["Result", "train"]
