"""A search of DyNAS-T, run as an experiment of hwnas: the record is the truth, the CSV file follows it row by row."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hwnas import config, experiment, pareto
from hwnas.compat.dynast.metrics import MEASURES, from_file, to_file
from hwnas.compat.dynast.options import Task
from hwnas.compat.dynast.table import Results, read
from hwnas.errors import RecordError, RunLockedError, RunMismatchError
from hwnas.progress import Progress, Watch, silent
from hwnas.records import Records, sqlite_url
from hwnas.space import Code
from hwnas.study import Study
from hwnas.trial import Goal, Trial

EVERY = 0.5
"""Seconds between looks at the record; slower evaluations are written down one by one."""


def run(task: Task, watch: Watch = silent, command: str = "") -> Study:
    """Searches, or goes on with the search that is there; the CSV file grows as networks are evaluated.

    A CSV file without a record beside it was written by another program: what it knows is a warm start.

    Raises:
        ConfigError, DataError: what shows only when parts are built and files are read.
        RunMismatchError: the results that are there belong to another search.
    """
    if task.options.overwrite:
        _reject_busy(task.folder)
        for path in (task.table, task.folder):
            _set_aside(path)
    follower = _Follower(task, watch)
    if task.options.verbose:
        follower.say("as a configuration of hwnas:\n" + yaml.safe_dump(dict(task.raw), sort_keys=False))
    try:
        resumes = (task.folder / "study.db").exists()
        study = _resumed(task, follower) if resumes else _started(task, follower, command)
    except RunLockedError:  # whoever drives the run writes the file, too
        raise
    except BaseException:
        follower.follow()
        raise
    follower.follow()
    return study


def _started(task: Task, follower: _Follower, command: str) -> Study:
    checked = config.read(task.raw)
    plan = experiment.prepare(checked, task.folder, follower)
    known = _warm_start(task, plan.goals, follower) if task.table.exists() else ()
    raw = {**task.raw, "budget": task.options.num_evals + len(known)}
    plan.config = config.read(raw)
    return experiment.start(plan, task.folder, watch=follower, command=command, known=known)


def _resumed(task: Task, follower: _Follower) -> Study:
    """The same command again: every option of today against the record, which refuses what is not comparable."""
    record = Records(sqlite_url(task.folder / "study.db"))
    try:
        known = [record.open(name).facts().get("warm", 0) for name in record.names()]
    finally:
        record.close()
    raw = {**task.raw, "budget": task.options.num_evals + sum(known)}
    overrides = [f"{key}={json.dumps(value)}" for key, value in raw.items()]
    try:
        return experiment.resume(task.folder, overrides=overrides, watch=follower)
    except RunMismatchError as error:
        hint = "name another --results_path; or --overwrite, which sets the old results aside as .bak"
        raise RunMismatchError(str(error.args[0]), hint=hint) from None


def _warm_start(task: Task, goals: Sequence[Goal], follower: _Follower) -> tuple[Trial, ...]:
    """The networks of a file that another program wrote, as far as all that is measured today is known of them."""
    content = read(task.table, task.supernet, task.classes)
    for note in content.notes:
        follower.say(note)
    trials: list[Trial] = []
    lacking: dict[str, int] = {}
    for code, values in content.values.items():
        missing = [goal.name for goal in goals if goal.name not in values]
        for name in missing:
            lacking[name] = lacking.get(name, 0) + 1
        if not missing:
            own = {goal.name: from_file(goal, values[goal.name]) for goal in goals}
            trials.append(Trial(len(trials), code, own))
    for name, count in lacking.items():
        follower.say(f"{task.table}: {count} networks have no {name}, so they are evaluated anew if they come up")
    if trials:
        follower.say(
            f"{task.table}: {len(trials)} networks are known already, and {task.options.num_evals} more follow"
        )
    return tuple(trials)


def _reject_busy(folder: Path) -> None:
    """Results that another process is writing right now are not moved from under it."""
    if (folder / "study.db").exists():
        records = Records(sqlite_url(folder / "study.db"))
        try:
            with records.lock():
                return
        finally:
            records.close()


def _set_aside(path: Path) -> None:
    """Renames results of an earlier search to the first free name that ends in .bak."""
    if not path.exists():
        return
    names = (path.with_name(f"{path.name}.bak{number or ''}") for number in range(10_000))
    os.replace(path, next(name for name in names if not name.exists()))


class _Follower:
    """Watches a search, and adds to the CSV file what the record has and the file has not."""

    def __init__(self, task: Task, watch: Watch) -> None:
        self.task, self.watch = task, watch
        self.results: Results | None = None
        self.looked = 0.0

    def __call__(self, progress: Progress, /) -> None:
        self.watch(progress)
        if time.monotonic() - self.looked > EVERY:
            self.follow()

    def say(self, message: str) -> None:
        """Tells whoever watches."""
        self.watch(Progress("warm start", message=message))

    def follow(self) -> None:
        """Brings the file up to date; before there is a record there is nothing to do."""
        self.looked = time.monotonic()
        if not (self.task.folder / "study.db").exists():
            return
        try:
            study = experiment.load(self.task.folder)
        except RecordError:  # the run is not entered yet
            return
        if study.space != self.task.supernet.space:  # of another search, which will be refused
            return
        if self.results is None:
            self.results = Results.of(self.task.table, self.task.supernet, self.task.classes)
        finished = [trial for trial in study.trials() if trial.finished and trial.values]
        self.results.append((trial.code, in_file(trial, study.goals)) for trial in finished)
        study.run.records.close()


def in_file(trial: Trial, goals: Sequence[Goal]) -> dict[str, float]:
    """A trial's values in the units of the file, by metric."""
    return {goal.name: to_file(goal, trial.values[goal.name]) for goal in goals if goal.name in trial.values}


def best(study: Study, count: int) -> list[Trial]:
    """The evaluated Pareto set, all of it, filled up with the next ranks to so many networks."""
    feasible = study.trials().feasible()
    if not feasible:
        return []
    losses = feasible.losses()
    ranks = pareto.ranks(losses)
    order = sorted(range(len(feasible)), key=lambda i: (ranks[i], tuple(losses[i]), feasible[i].number))
    return [feasible[i] for i in order[: max(count, int((np.asarray(ranks) == 0).sum()))]]


def configs(task: Task, codes: Sequence[Code]) -> list[dict[str, Any]]:
    """Networks as DyNAS-T's lists of dicts: gene by gene, without constants."""
    return [dict[str, Any](task.supernet.config(code)) for code in codes]


def table_rows(task: Task, sort_by: str | None, ascending: bool, count: int) -> list[dict[str, Any]]:
    """Networks of the CSV file with the columns that DyNAS-T gives them; None is what was not measured.

    Args:
        sort_by: a metric; None is the Pareto set in the objectives of the task, filled up with the next ranks.
    """
    content = read(task.table, task.supernet, task.classes)
    known = list(content.values.items())
    if sort_by is None:
        names = [name for name, goal in task.raw["goals"].items() if goal.get("objective", True)]
        signs = {name: -1.0 if MEASURES[name].direction == "max" else 1.0 for name in names}
        whole = [entry for entry in known if all(name in entry[1] for name in names)]
        losses = np.array([[signs[name] * values[name] for name in names] for _, values in whole])
        ranks = pareto.ranks(losses.reshape(len(whole), len(names)))
        order = sorted(range(len(whole)), key=lambda i: (ranks[i], tuple(losses[i])))
        known = [whole[i] for i in order]
    else:
        known = [entry for entry in known if sort_by in entry[1]]
        known.sort(key=lambda entry: entry[1][sort_by], reverse=not ascending)
    columns = {name: MEASURES[name].column for name in task.supernet.metrics}
    return [
        {"Sub-network": task.supernet.row(code), **{column: values.get(name) for name, column in columns.items()}}
        for code, values in known[:count]
    ]


__all__ = ["best", "configs", "in_file", "run", "table_rows"]
