"""The loop: ask, measure, record, tell. And the study: the record of one run, as its user looks at it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwnas.errors import SearchError
from hwnas.progress import Progress, Watch, silent
from hwnas.records import Run
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.trial import Goal, Search, Steps, Trial, excess
from hwnas.trials import Best, Trials
from hwnas.workers import Bench, Job, Outcome, Workers

REPEATS = 100
"""So many steps in a row without a new network end a search."""
HOPELESS = 10
"""So many failures before the first success end a search."""


class Study:
    """One run: what is searched, what counts, and everything that was found out.

    Args:
        bench: the experiment's parts.
        goals: with resolved limits.
        run: the record.
    """

    def __init__(self, bench: Bench, goals: Sequence[Goal], run: Run) -> None:
        self.bench, self.goals, self.run = bench, tuple(goals), run
        self.family = bench.family
        self.space = bench.family.space

    def trials(self, stage: str = "search") -> Trials:
        """All trials of a stage ("search" or "confirm") in the order of asking."""
        return Trials(self.run.trials(stage), self.goals)

    def front(self) -> Trials:
        """The Pareto front: as confirmed if the finalists were measured again, else as found."""
        confirmed = self.trials("confirm")
        return (confirmed if confirmed.feasible() else self.trials()).front()

    def search(
        self,
        search: Search,
        budget: int,
        workers: Workers,
        *,
        asynchronous: bool = False,
        identity: Any = None,
        watch: Watch = silent,
    ) -> Trials:
        """Runs a search until so many networks are judged, or goes on with it where it was left.

        Args:
            budget: distinct networks, those of earlier sessions included.
            asynchronous: tell the search of every trial as it finishes; else in the order of asking, step by step,
                so that any number of workers gives the same search.
            identity: whatever makes this search the same search; if it differs from the recorded one, what is known
                becomes a warm start.
            watch: may raise `Interrupted` to stop at a safe point.

        Raises:
            SearchError: every trial fails.
        """
        return _Loop(self, search, budget, workers, asynchronous, identity, watch).run()

    def retry_failed(self) -> int:
        """Gives networks that failed another chance: the next search begins with them, as a warm start.

        Returns:
            How many there are.
        """
        known = self.run.trials("search")
        failed = [replace(trial, state="running", error="") for trial in known if trial.state == "failed"]
        epochs = self.run.facts().get("epochs", [])
        if failed and epochs:  # first the new start: the old one was told of these as failed, and is not to be replayed
            self.run.note("epochs", [*epochs, {**epochs[-1], "warm": len(known)}])
        self.run.save("search", failed)
        return len(failed)

    def confirm(self, codes: Sequence[Code], workers: Workers, watch: Watch = silent) -> Trials:
        """Judges finalists again, all goals for all of them, each with its metric's `confirmed()` version."""
        known = {trial.code: trial for trial in self.run.trials("confirm")}
        if set(known) != set(codes):  # another front than last time: latencies are only comparable within one round
            self.run.clear("confirm")
            known = {}
        trials = {code: known.get(code, Trial(number, code)) for number, code in enumerate(codes)}
        self.run.save("confirm", list(trials.values()))
        total, done = len(codes) * len(self.goals), 0
        for goal in self.goals:
            missing = [c for c, t in trials.items() if not t.finished and goal.name not in t.values]
            done += len(codes) - len(missing)
            watch(Progress("confirm", done, total))
            if not missing:
                continue
            workers.submit(Job(goal.name, goal.metric, tuple(missing), confirm=True))
            for outcome in _outcomes(workers):
                trials[outcome.code] = trial = _noted(trials[outcome.code], outcome)
                self.run.save("confirm", [trial])
                done += 1
                watch(Progress("confirm", done, total))
        self.run.save("confirm", [_judged_anew(trial, self.goals) for trial in trials.values()])
        return self.trials("confirm")


class _Loop:
    """One call of `Study.search`: the generator owns the ideas, the loop owns the books.

    `trials` is everything recorded; `seen` is what this search knows or has asked for, so that a resumed search meets
    the same books as the uninterrupted one did at the same step.
    """

    def __init__(
        self,
        study: Study,
        search: Search,
        budget: int,
        workers: Workers,
        asynchronous: bool,
        identity: Any,
        watch: Watch,
    ) -> None:
        self.study, self.search, self.budget, self.workers = study, search, budget, workers
        self.asynchronous, self.watch = asynchronous, watch
        self.goals, self.run_ = study.goals, study.run
        known = self.run_.trials("search")
        self.trials = {trial.code: _judged_anew(trial, self.goals) for trial in known}
        self.run_.save("search", [self.trials[old.code] for old in known if self.trials[old.code] != old])
        self.tally: Counter[str] = Counter(trial.state for trial in self.trials.values())
        self.plan = sorted(study.goals, key=lambda goal: (not _is_cheap(study.bench, goal), goal.limit is None))
        self.waiting: dict[str, list[Code]] = {goal.name: [] for goal in self.plan}
        self.flying: set[Code] = set()
        self.shown = 0.0
        self.notes: dict[str, Any] = {}
        self.best = Best(self.goals)
        for trial in self.trials.values():
            self.best.add(trial)
        identity = json.loads(json.dumps(identity))  # as it comes back from the record
        epochs = self.run_.facts().get("epochs", [])
        if not epochs or epochs[-1]["identity"] != identity:
            if epochs:
                self._say(f"the search was changed: its {len(self.trials)} networks are a warm start for the new one")
            epochs.append({"identity": identity, "warm": len(self.trials)})
            self.run_.note("epochs", epochs)
        self.epochs = epochs

    def run(self) -> Trials:
        while True:
            try:
                self._steps()
                self._report(force=True)
                return self.study.trials()
            except _Diverged:
                # A library of another version asks for other networks: what is known is kept, as a warm start.
                self._say("the search does not repeat itself (another version of a library?); going on as a warm start")
                self.epochs.append({"identity": self.epochs[-1]["identity"], "warm": len(self.trials)})
                self.run_.note("epochs", self.epochs)

    def _steps(self) -> None:
        epoch = len(self.epochs) - 1
        self.recorded = list(self.trials)
        warm = self.recorded[: self.epochs[-1]["warm"]]
        self.seen = dict.fromkeys(warm)
        self.outstanding: dict[Code, None] = dict.fromkeys(warm)  # told at the first step, unasked
        told = self.run_.deliveries(epoch)
        rng = np.random.default_rng(derive(self.study.bench.setup.seed, "search", epoch))
        steps = self.search.steps(self.study.space, self.goals, rng)
        step = stale = 0
        news: list[Trial] | None = None
        while (asked := _next(steps, news)) is not None:
            new, cut = self._enter(asked)
            if step < len(told):
                news = [self.trials[self.recorded[number]] for number in told[step]]
            else:
                stale = 0 if new or self.flying else stale + 1
                if cut or len(self.seen) >= self.budget or stale > REPEATS:
                    break
                news = self._collect(patient=not asked)
                self.run_.deliver(epoch, step, [trial.number for trial in news])
            for trial in news:
                self.outstanding.pop(trial.code, None)
            step += 1
        self._launch(self.seen)
        while self.flying:
            self._pump()

    def _enter(self, asked: Sequence[Code]) -> tuple[int, bool]:
        """Enters what was asked into the books; says how much of it is new, and whether the budget cut it short."""
        fresh, before, cut = [], len(self.seen), False
        expected: Mapping[Code, Mapping[str, Mapping[str, float]]] = getattr(asked, "predicted", {})
        for raw in asked:
            code = self.study.family.canonical(self.study.space.canonical(raw))
            number = len(self.seen)
            if code not in self.seen:
                if number >= self.budget:
                    cut = True
                    break
                if number < len(self.recorded):
                    if self.recorded[number] != code:
                        raise _Diverged
                else:
                    self.trials[code] = Trial(number, code, details=expected.get(tuple(raw), {}))
                    fresh.append(self.trials[code])
                self.seen[code] = None
            self.outstanding[code] = None
        self.run_.save("search", fresh)
        notes: Mapping[str, Any] = getattr(asked, "notes", {})
        if fresh and notes:  # a replay tells nothing anew
            self.notes = dict(notes)
            self.run_.event("step", networks=before, notes=self.notes)
        return len(self.seen) - before, cut

    def _collect(self, patient: bool) -> list[Trial]:
        """What to tell the search: everything outstanding, in the order of asking; or, asynchronously, what is done."""
        self._launch(self.outstanding)
        enough = self._room if self.asynchronous and not patient else self._some if self.asynchronous else self._all
        while self.flying and not enough():
            self._pump()
        return [self.trials[code] for code in self.outstanding if self.trials[code].finished]

    def _all(self) -> bool:
        return False

    def _some(self) -> bool:
        return any(self.trials[code].finished for code in self.outstanding)

    def _room(self) -> bool:
        return len(self.flying) < self.workers.capacity

    def _launch(self, codes: Iterable[Code]) -> None:
        for code in codes:
            if code not in self.flying and not self.trials[code].finished:
                self.flying.add(code)
                self._queue(self.trials[code])
        self._flush()

    def _queue(self, trial: Trial) -> None:
        goal = next(goal for goal in self.plan if goal.name not in trial.values)
        self.waiting[goal.name].append(trial.code)

    def _flush(self) -> None:
        """Submits what waits: at once in an asynchronous search, else a whole generation for one metric at a time."""
        idle = sum(len(codes) for codes in self.waiting.values()) == len(self.flying)
        for goal in self.plan:
            codes = self.waiting[goal.name]
            if codes and (idle or self.asynchronous):
                self.waiting[goal.name] = []
                self.workers.submit(Job(goal.name, goal.metric, tuple(codes)))
                idle = False

    def _pump(self) -> None:
        """Takes one outcome, writes it down, and sends its code on to the next metric."""
        outcome = self.workers.next_done()
        if outcome is None:
            raise SearchError(f"{len(self.flying)} networks were sent out to be measured and never came back")
        trial = _judged(_noted(self.trials[outcome.code], outcome), self.goals)
        self.trials[trial.code] = trial
        self.run_.save("search", [trial])
        if trial.finished:
            self.flying.discard(trial.code)
            self.tally[trial.state] += 1
            self.best.add(trial)
        else:
            self._queue(trial)
        self._flush()
        self._report()
        if trial.state == "failed":
            self._give_up_if_hopeless()

    def _give_up_if_hopeless(self) -> None:
        failed = self.tally["failed"]
        if failed < min(HOPELESS, self.budget) or self.tally["done"] or self.tally["over_limit"]:
            return
        reasons = Counter(trial.error for trial in self.trials.values() if trial.state == "failed")
        reason, count = reasons.most_common(1)[0]
        hint = "mend the metric or the family; the record is kept, and `hwnas resume` goes on"
        raise SearchError(f"the first {failed} networks all failed, {count} of them with: {reason}", hint=hint)

    def _say(self, message: str) -> None:
        self.run_.event("note", text=message)
        self.watch(Progress("search", message=message))

    def _report(self, force: bool = False) -> None:
        """Tells whoever watches; the figures that cost time are made a few times a second at most."""
        done = self.tally["done"] + self.tally["failed"] + self.tally["over_limit"]
        facts: dict[str, Any] = {}
        if force or time.monotonic() - self.shown > 0.25:
            facts = {"feasible": self.tally["done"], "over_limit": self.tally["over_limit"]}
            facts |= {"failed": self.tally["failed"], **self.best.facts()}
            facts |= {"notes": self.notes} if self.notes else {}
            self.shown = time.monotonic()
        self.watch(Progress("search", done, self.budget, facts))


class _Diverged(Exception):
    """The search asks for other networks than the record says it did."""


def _next(steps: Steps, news: list[Trial] | None) -> list[Code] | None:
    """The search's next wish; None when it has ended."""
    try:
        return next(steps) if news is None else steps.send(news)
    except StopIteration:
        return None


def _noted(trial: Trial, outcome: Outcome) -> Trial:
    """The trial with one more value, or with the reason why it failed."""
    trial = replace(trial, seconds=trial.seconds + outcome.seconds, attempts=max(trial.attempts, outcome.attempts))
    if outcome.value is None:
        return replace(trial, state="failed", error=f"{outcome.goal}: {outcome.error}")
    values = {**trial.values, outcome.goal: outcome.value}
    details = trial.details
    if outcome.details:  # beside what the search expected of it
        details = {**details, outcome.goal: {**details.get(outcome.goal, {}), **outcome.details}}
    return replace(trial, values=values, details=details)


def _judged(trial: Trial, goals: Sequence[Goal]) -> Trial:
    """The trial with its state: over a limit as soon as one is broken, done when nothing is missing."""
    if trial.finished:
        return trial
    if excess(trial, goals) > 0:
        return replace(trial, state="over_limit")
    return replace(trial, state="done") if all(goal.name in trial.values for goal in goals) else trial


def _judged_anew(trial: Trial, goals: Sequence[Goal]) -> Trial:
    """A recorded trial under the limits of today: over them, within them, or with values still to be measured."""
    return trial if trial.state == "failed" else _judged(replace(trial, state="running"), goals)


def _is_cheap(bench: Bench, goal: Goal) -> bool:
    return bool(getattr(bench.metric(goal.metric, goal.name), "cheap", False))


def _outcomes(workers: Workers) -> Iterator[Outcome]:
    while (outcome := workers.next_done()) is not None:
        yield outcome
