"""Several zero-cost scores as one: log ranks against a reference pool, calibrated by measured labels if given."""

# Shape letters: N networks of the pool, K networks asked about, M scores.

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.codes import array, one_hot
from hwnas.errors import ConfigError, DataError, MetricError
from hwnas.predictors import Floats
from hwnas.progress import Progress, Watch, silent
from hwnas.quality._labelled import from_file, from_run
from hwnas.quality._pool import LEAST, Calibration, Pool, Reference, raw_scores
from hwnas.quality._probe import seconds
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.trial import Metric, Reading

PROXIES: tuple[parts.Spec, ...] = (
    {"quality.live_macs": {}},
    {"quality.synflow": {}},
    {"quality.az": {"part": "expressivity"}},
    {"quality.az": {"part": "trainability"}},
    {"quality.meco": {}},
    {"quality.meco": {"hooks": "activations"}},
    {"quality.jacob_cov": {"init": "kaiming"}},
    {"quality.naswot": {}},
)
"""What is combined where nothing else is said; the first one measures size."""
FEATURES: tuple[parts.Spec, ...] = (
    {"quality.live_params": {}},
    {"quality.synflow": {"log": True}},
    {"quality.az": {"part": "progressivity"}},
    {"quality.snip": {"init": "kaiming", "batch": 16}},
    {"quality.grad_norm": {"init": "kaiming", "batch": 16}},
    {"quality.fisher": {"init": "kaiming", "batch": 16}},
    {"quality.l2_norm": {}},
)
"""What labels are explained by, beside the scores that are combined; all but the sizes come out of the same pass."""


CONFLICT = 0.2
"""Below this rank correlation with the others, a score is worth a warning."""
CHOICES = 200
"""Of more values of choices a few dozen labels tell nothing."""
_WAYS = {"nothing": "without labels", "ranks": "from ranks", "choices": "from choices"}
_TAUGHT = {"nothing": "nothing that holds", "ranks": "what the ranks mean", "choices": "what the choices are worth"}


@dataclass(frozen=True)
class Ensemble(Metric):
    """The mean log rank of several zero-cost scores in a fixed pool of random networks; more is better.

    Ranks make scores of any scale comparable, their logarithm makes one bad score decisive (AZ-NAS, Lee and Ham, 2024),
    and a pool that is drawn once keeps a network's score the same for ever. A score that contradicts what the others
    agree on, in the pool, is turned around; `prepare` says so. The first score, a measure of size, never is. Scores
    that agree on a setting share one forward and one backward pass. A score that no network of the pool has is left
    out; one that a single network lacks counts as its worst rank; a network without any score fails.

    With at least 16 measured values of networks, from a file or from an earlier run, the score is calibrated: a ridge
    regression and randomised trees on ranks, or a ridge regression on the choices; cross-validation decides which, if
    any, is used.

    Args:
        proxies: the scores; none given takes the default ones.
        features: further scores, which count only where there are measured values; none given takes the default ones.
        pool: random networks to rank against.
        repeats: draws of weights and inputs, over which raw scores are averaged.
        path: a .csv or .npz file with one column for each choice, as for `quality.predicted`.
        column: of the measured values in that file; higher is better.
        run: the folder of a run in the same space.
        goal: of the values in that run; higher is better.
    """

    family: Family
    folder: Path | None = None
    seed: int = 0
    proxies: tuple[Metric, ...] = ()
    features: tuple[Metric, ...] = ()
    pool: int = 128
    repeats: int = 1
    path: str | None = None
    column: str | None = None
    run: str | None = None
    goal: str | None = None

    tiny: ClassVar[Mapping[str, Any]] = {"proxies": [{"synflow": {"log": True}}, {"naswot": {"batch": 4}}], "pool": 8}

    def __post_init__(self) -> None:
        if self.pool < 4:
            raise ConfigError(f"pool must be at least 4 networks, not {self.pool!r}")
        if self.repeats < 1:
            raise ConfigError(f"repeats must be at least 1, not {self.repeats!r}")
        file, run = (self.path, self.column), (self.run, self.goal)
        if (any(file) and any(run)) or any(file) != all(file) or any(run) != all(run):
            message = "measured values come from `path` and `column` of a file, or from `run` and `goal` of a run"
            raise ConfigError(message, hint="for example: {ensemble: {path: judged.csv, column: accuracy}}")

    def prepare(self, watch: Watch = silent, /) -> None:
        """Scores the pool, or reads it back, and says what it told about the scores."""
        self.__dict__["_everyone"] = Pool(np.array(list(self._reference.made(watch).values())))
        told = [f"{len(self._pool.values_NM)} networks"]
        told += [f"{name} is left out: no network has it" for name in self._names if name not in self._used]
        for name, sign, rho in zip(self._used, self._pool.signs, self._pool.agreement, strict=True):
            if sign < 0:
                told.append(f"{name} is turned around, since it contradicts the others")
            elif rho < CONFLICT and len(self._used) > 1:
                told.append(f"{name} hardly agrees with the others (rank correlation {rho:.2f})")
        if self._calibration is not None:
            own = self._calibration
            held_out = ", ".join(f"{_WAYS[way]} {value:.2f}" for way, value in own.taus.items())
            told.append(f"labels teach {_TAUGHT[own.way]} (Kendall held out: {held_out})")
        watch(Progress("reference pool", message="; ".join(told)))

    def estimate(self, candidate: Candidate, /) -> float:
        """Seconds for one network, from its size, once the pool is scored."""
        return self.repeats * seconds(candidate, 16, 2 * len(self.metrics))

    def __call__(self, candidate: Candidate, /) -> Reading:
        """The combined score, with raw scores and ranks in the details.

        Raises:
            MetricError: none of the scores can judge the network.
        """
        raw_M = self._raw(candidate)
        if not np.isfinite(raw_M).any():
            raise MetricError("none of the scores can judge this network: no path may lead through it")
        values_KM = raw_M[None, self._useful]
        if self._calibration is None:
            score = float(self._pool.log_rank(values_KM)[0])
        else:
            score = float(self._calibration.score(values_KM, self._choices([candidate.code]))[0])
        ranks_M = self._pool.ranks(values_KM)[0]
        details = {
            name: float(f"{value:.6g}") for name, value in zip(self._names, raw_M, strict=True) if math.isfinite(value)
        }
        return Reading(
            score, details | {f"rank of {name}": float(f"{r:.4g}") for name, r in zip(self._used, ranks_M, strict=True)}
        )

    # --- the pool ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The scores that are combined, and after them those that only serve a calibration."""
        given = {"family": self.family, "seed": self.seed}

        def made(specs: Sequence[parts.Spec]) -> tuple[Metric, ...]:
            return tuple(parts.make(("quality", "hardware"), spec, given) for spec in specs)

        own = self.proxies or made(PROXIES)
        if not self._labelled:
            return own
        return (*own, *(self.features or (() if self.proxies else made(FEATURES))))

    @property
    def _labelled(self) -> bool:
        return self.path is not None or self.run is not None

    @functools.cached_property
    def _names(self) -> list[str]:
        return [title(metric) for metric in self.metrics]

    def _raw(self, candidate: Candidate) -> Floats:
        """The raw scores of one network, averaged over the draws that have one: M; NaN where none has."""
        return raw_scores(candidate, self.metrics, self.repeats)[0]

    @functools.cached_property
    def _reference(self) -> Reference:
        specs = [parts.spec_of(metric) for metric in self.metrics]
        identity = None if None in specs else [specs, self.repeats]
        return Reference(self.family, self.folder, self.seed, self.pool, self._raw, identity)

    @functools.cached_property
    def _everyone(self) -> Pool:
        return Pool(np.array(list(self._reference.made().values())))

    @functools.cached_property
    def _useful(self) -> Any:
        """Which scores some network of the pool has: M."""
        return np.isfinite(self._everyone.values_NM).any(axis=0)

    @functools.cached_property
    def _pool(self) -> Pool:
        members = len(self.proxies or PROXIES)
        return Pool(self._everyone.values_NM[:, self._useful], members=int(self._useful[:members].sum()))

    @functools.cached_property
    def _used(self) -> list[str]:
        return [name for name, use in zip(self._names, self._useful, strict=True) if use]

    # --- labels -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _calibration(self) -> Calibration | None:
        if not self._labelled:
            return None
        known: dict[Code, list[float]] = {}
        pairs = (
            from_file(self.family, self.path, str(self.column))
            if self.path is not None
            else from_run(self.family, str(self.run), str(self.goal))
        )
        for code, value in pairs:
            known.setdefault(self.family.canonical(code), []).append(value)
        if len(known) < LEAST:
            raise DataError(f"{self.path or self.run} knows {len(known)} networks; a calibration needs {LEAST}")
        values_LM = np.array([self._raw(Candidate(self.family, code, self.seed)) for code in known])
        labels_L = np.array([np.mean(own) for own in known.values()])
        groups_L = np.arange(len(known))  # canonical codes are different networks
        seed = derive(self.seed, "calibration")
        return Calibration(self._pool, values_LM[:, self._useful], labels_L, groups_L, seed, self._choices(known))

    def _choices(self, some: Iterable[Code]) -> Floats | None:
        """What was chosen, one-hot; None where a space has more values than labels can tell apart."""
        space = self.family.space
        if sum(len(choice.values) for choice in space.choices) > CHOICES:
            return None
        return one_hot(space, array(space, (self.family.canonical(code) for code in some)))


def title(metric: Metric) -> str:
    """A score by a short name: `az trainability`."""
    spec = parts.spec_of(metric)
    ((name, options),) = (spec or {type(metric).__name__: {}}).items()
    words = [str(value) for key, value in options.items() if isinstance(value, str) and key != "init"]
    return " ".join([name.rpartition(".")[2], *words, *(key for key, value in options.items() if value is True)])


__all__ = ["Ensemble"]
