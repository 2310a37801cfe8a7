"""DE-Score: expressivity, trainability, diversity, saliency and latency of an untrained network in one number.

What DE-NAS (Intel, 2022) set out to compute, for networks of every domain.
"""

# Shape letters: N networks of the pool, K networks asked about, M terms.

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.stats import rankdata
from torch import Tensor, nn

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, MetricError
from hwnas.predictors import Floats
from hwnas.progress import Progress, Watch, silent
from hwnas.quality import _intel
from hwnas.quality._pool import Pool, Reference, number, raw_scores
from hwnas.quality._probe import Proxy, Setting, Watcher, seconds
from hwnas.seeds import derive
from hwnas.trial import Metric, Reading

__all__ = ["DeScore"]

TERMS = ("expressivity", "complexity", "diversity", "saliency")
"""The terms that are scores of their own; latency is the fifth."""
NOISE = 0.3
"""A term is noise if its rank correlation with itself under another draw is below this."""
AGAIN = 16
"""Networks of the pool that are scored under another draw."""


@dataclass(frozen=True)
class DeScore(Metric):
    """A weighted sum of terms, each a rank in a fixed pool of random networks turned into a normal score.

    - expressivity: how strongly features answer to a small change and in how many directions they vary, both as
      logarithms: Gaussian complexity without BatchNorm (`quality.zen` with `bypass`), of networks with BatchNorm, plus
      the entropies of features at the boundaries between blocks (`quality.az`), of all networks. A weight s times as
      large adds log s, as in Zen-NAS.
    - complexity: minus the log condition number of the neural tangent kernel, `quality.ntk`.
    - diversity: the nuclear norms of weights and their slopes, `quality.diversity`.
    - saliency: log-SynFlow, `quality.synflow`, with normalisation bypassed.
    - latency: minus the log of the seconds that the option `latency` tells.

    The definitions are the ones of DE-NAS's sources where these do not fail outside of their own spaces. With shortcuts
    and dead ends, BatchNorm's scales put back misjudge what reaches the output; SynFlow and sums of nuclear norms are
    ruled by the largest layer. On 161 cells of NAS-Bench-201, from which they were chosen, Spearman's correlation with
    the accuracy on CIFAR-10 is 0.87, and 0.80 with the definitions of the papers.

    More of every term is better. A term that no network of the pool has is absent, never the constant 0, and so is one
    that is noise there, whose ranks hardly agree between two draws; `prepare` says which. (The condition number is, for
    Transformers and few repeats: their kernels are conditioned alike.) Raw terms are averaged over `repeats` draws of
    weights and inputs; the standard error of the mean is in the details.

    Nothing is timed while scoring: a latency that must be measured is measured for the pool, before the search, and
    interpolated for other networks from their MACs, parameters and layers.

    With `formula: intel` the score is that of the released code, for CNNs: E w_e / (S w_s) - condition w_c, with its
    fixed seed; it needs no pool. That formula is minus the condition number in practice and ranks networks badly.

    Args:
        formula: "sound", or "intel" for comparison.
        expressivity: weight of the term; 0 leaves it out, and its cost.
        complexity: weight of the term.
        diversity: weight of the term.
        saliency: weight of the term.
        latency_weight: of the latency, where one is given.
        latency: a metric in seconds, such as `hardware.measured`; None is no such term.
        batch: inputs; for the kernel too.
        repeats: draws to average over.
        pool: random networks to rank against.
    """

    family: Family
    folder: Path | None = None
    seed: int = 0
    formula: Literal["sound", "intel"] = "sound"
    expressivity: float = 1.0
    complexity: float = 1.0
    diversity: float = 1.0
    saliency: float = 1.0
    latency_weight: float = 1.0
    latency: Metric | None = None
    batch: int = 16
    repeats: int = 1
    pool: int = 64

    tiny: ClassVar[Mapping[str, Any]] = {"pool": 8, "batch": 4}

    def __post_init__(self) -> None:
        for name in (*TERMS, "latency_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is a weight, 0 or more, not {value!r}")
        for name, least in (("batch", 2), ("repeats", 1), ("pool", 4)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        used = [getattr(self, name) for name in TERMS]
        if self.latency is not None:
            used.append(self.latency_weight)
        if not any(used):
            raise ConfigError("all weights are 0, so there is no score", hint="give at least one term a weight")

    def prepare(self, watch: Watch = silent, /) -> None:
        """Scores the pool, or reads it back, and says which terms count and how far they are from noise."""
        if self.formula == "intel":
            return
        self.__dict__["_everyone"] = np.array(list(self._reference.made(watch).values()))
        absent = [name for name, there in zip(self._names, self._there, strict=True) if not there]
        noise = [
            f"{name} (rank correlation {rho:.2f} between two draws)"
            for name, rho, there, used in zip(self._names, self._agreement, self._there, self._present, strict=True)
            if there and not used
        ]
        told = f"{len(self._everyone)} networks; terms: {', '.join(self._used)}"
        if absent:
            told += f"; absent, since these networks have none: {', '.join(absent)}"
        if noise:
            told += f"; left out as noise among these networks: {', '.join(noise)}; more repeats may bring it back"
        if self.repeats > 1:
            shown = [f"{name} {ratio:.1f}" for name, ratio in self.spreads().items()]
            told += f"; deviation over networks in standard errors over draws: {', '.join(shown)}"
        watch(Progress("reference pool", message=told))

    def estimate(self, candidate: Candidate, /) -> float:
        """Seconds for one network, from its size, once the pool is scored."""
        return self.repeats * seconds(candidate, self.batch, 12)

    def __call__(self, candidate: Candidate, /) -> Reading:
        """The score, with every raw term, its place in the pool and its standard error in the details.

        Raises:
            MetricError: a term that the other networks have can't be computed.
        """
        if self.formula == "intel":
            found = _intel.terms(candidate, self.batch)
            score = found.score(self.expressivity, self.complexity, self.saliency)
            if not math.isfinite(score):
                raise MetricError(f"the score is {score}: the kernel has an eigenvalue of 0")
            return Reading(score, vars(found))
        raw_M, error_M = self.raw(candidate)
        lacking = [name for name, x, use in zip(self._names, raw_M, self._present, strict=True) if use and np.isnan(x)]
        if lacking:
            raise MetricError(f"no {' and no '.join(lacking)} can be computed for this network")
        normal_M = self._pool.normal(raw_M[None, self._present])[0]
        details: dict[str, float] = {}
        for name, value, normal, error in zip(
            self._used, raw_M[self._present], normal_M, error_M[self._present], strict=True
        ):
            details |= {name: _short(value), f"{name} in the pool": _short(normal)}
            if math.isfinite(error):
                details[f"{name} standard error"] = _short(error)
        return Reading(float(normal_M @ self._weights), details)

    def spreads(self, networks: int = 4) -> dict[str, float]:
        """How far every term is from noise: its deviation over the pool by its standard error over `repeats` draws.

        Args:
            networks: of the pool, over which squared errors are averaged; they are scored once more.

        Returns:
            By term; without the latency and what else is not drawn. Nothing with one repeat.
        """
        codes = list(self._reference.made())[:networks]
        squares_KM = np.array([self.raw(Candidate(self.family, code, self.seed))[1] ** 2 for code in codes])
        known_M = np.isfinite(squares_KM).all(axis=0) & self._present
        return {
            name: float(np.nanstd(self._everyone[:, place]) / math.sqrt(squares_KM[:, place].mean() or 1e-300))
            for place, name in enumerate(self._names)
            if known_M[place]
        }

    # --- the terms --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _metrics(self) -> dict[str, Metric]:
        """The scores behind the terms, without those of weight 0."""
        batch = self.batch
        specs: dict[str, parts.Spec] = {
            "complexity": {"ntk": {"batch": batch, "objective": "probe"}},  # that of diversity, whose pass it shares
            "diversity": {"diversity": {"batch": batch}},
            "saliency": {"synflow": {"log": True}},
        }
        own = {name: parts.make(("quality",), specs[name]) for name in TERMS if name in specs}
        own = {"expressivity": _Expressivity.of(self.family, batch), **own}
        return {name: metric for name, metric in own.items() if getattr(self, name) > 0}

    @property
    def _timed(self) -> bool:
        return self.latency is not None and self.latency_weight > 0

    @functools.cached_property
    def _names(self) -> list[str]:
        return [*self._metrics, *(["latency"] if self._timed else [])]

    def raw(self, candidate: Candidate) -> tuple[Floats, Floats]:
        """Every term of one network, more is better, and its standard error: M each; NaN where there is none."""
        mean_M, error_M = raw_scores(candidate, list(self._metrics.values()), self.repeats)
        if self._timed:
            mean_M = np.append(mean_M, -math.log(self._seconds(candidate)))
            error_M = np.append(error_M, np.nan)
        return mean_M, error_M

    # --- latency ----------------------------------------------------------------------------------------------------

    def _seconds(self, candidate: Candidate) -> float:
        """The latency, told by the metric or, if it has to be measured, by what the pool's latencies teach."""
        if not getattr(self.latency, "exclusive", False):
            return self._told(candidate)
        return float(math.exp(_features(candidate) @ self._law))

    def _told(self, candidate: Candidate) -> float:
        assert self.latency is not None
        seconds = number(self.latency(candidate))
        if not (math.isfinite(seconds) and seconds > 0):
            raise MetricError(f"the latency of this network is {seconds}")
        return seconds

    @functools.cached_property
    def _law(self) -> Floats:
        """log seconds = law · features, by least squares over the pool's measured networks."""
        rows = self._timings.made()
        features = np.array([_features(Candidate(self.family, code, self.seed)) for code in rows])
        seconds = np.array([raw[0] for raw in rows.values()])
        scale = 1e-3 * np.eye(features.shape[1])
        law: Floats = np.linalg.solve(features.T @ features + scale, features.T @ np.log(seconds))
        return law

    @functools.cached_property
    def _timings(self) -> Reference:
        identity = parts.spec_of(self.latency)
        count = min(self.pool, 32)

        def timed(candidate: Candidate) -> Floats:
            return np.array([self._told(candidate)])

        return Reference(self.family, self.folder, self.seed, count, timed, identity)

    # --- the pool ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _reference(self) -> Reference:
        return Reference(self.family, self.folder, self.seed, self.pool, lambda c: self.raw(c)[0], self._identity)

    @property
    def _identity(self) -> list[Any] | None:
        """What raw terms depend on beside the family; None if nobody can tell."""
        specs = {name: metric.spec for name, metric in self._metrics.items() if isinstance(metric, _Expressivity)}
        specs |= {name: [parts.spec_of(metric)] for name, metric in self._metrics.items() if name not in specs}
        latency = parts.spec_of(self.latency) if self._timed else {}
        return None if latency is None else [specs, latency, self.repeats]

    @functools.cached_property
    def _everyone(self) -> Floats:
        return np.array(list(self._reference.made().values()))

    @functools.cached_property
    def _there(self) -> Any:
        """Which terms most networks of the pool have: M."""
        return np.isfinite(self._everyone).mean(axis=0) > 0.5

    @functools.cached_property
    def _present(self) -> Any:
        """Which terms count: those that are there and more than noise; if all are noise, all that are there."""
        useful_M = self._there & (self._agreement >= NOISE)
        return useful_M if useful_M.any() else self._there

    @functools.cached_property
    def _agreement(self) -> Floats:
        """Rank correlation of every term with itself under another draw, over some networks of the pool: M.

        1 for a latency, which is not drawn; 0 where a term is constant.
        """
        identity = None if self._identity is None else [*self._identity, "again"]
        seed = derive(self.seed, "again")

        def again(candidate: Candidate) -> Floats:
            return self.raw(replace(candidate, seed=seed))[0]

        some = Reference(self.family, self.folder, self.seed, min(self.pool, AGAIN), again, identity).made()
        first = self._reference.made()
        pairs = np.array([[first[code], raw_M] for code, raw_M in some.items() if code in first])
        agreement_M = np.ones(len(self._names))
        for place in range(len(self._metrics)):
            both = pairs[:, :, place][np.isfinite(pairs[:, :, place]).all(axis=1)]
            ranks = rankdata(both, axis=0)
            varies = len(both) > 1 and ranks.std(axis=0).all()
            agreement_M[place] = np.corrcoef(ranks.T)[0, 1] if varies else 0.0
        return agreement_M

    @functools.cached_property
    def _used(self) -> list[str]:
        return [name for name, there in zip(self._names, self._present, strict=True) if there]

    @functools.cached_property
    def _pool(self) -> Pool:
        return Pool(self._everyone[:, self._present], oriented=False)

    @functools.cached_property
    def _weights(self) -> Floats:
        words = ["latency_weight" if name == "latency" else name for name in self._used]
        return np.array([float(getattr(self, word)) for word in words])


@dataclass(frozen=True)
class _Expressivity(Proxy):
    """Entropies, read from the pass that other terms share, plus Gaussian complexity where it is defined."""

    entropy: Proxy
    change: Metric | None

    @classmethod
    def of(cls, family: Family, batch: int) -> _Expressivity:
        """That of a family: Gaussian complexity needs BatchNorm."""
        entropy = parts.make(("quality",), {"az": {"part": "expressivity", "batch": batch}})
        skeleton = Candidate(family, family.space.smallest).skeleton
        normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in skeleton.modules())
        change = parts.make(("quality",), {"zen": {"batch": batch, "bypass": True}}) if normalised else None
        return cls(entropy, change)

    @property
    def spec(self) -> list[parts.Spec | None]:
        """What the value depends on."""
        return [parts.spec_of(each) for each in (self.entropy, self.change) if each is not None]

    def settings(self) -> tuple[Setting, ...]:
        return tuple(replace(setting, norm="frozen") for setting in self.entropy.settings())  # the same values

    def watcher(self, candidate: Candidate, /) -> Watcher:
        return _Sum(candidate, self.entropy.watcher(candidate), self.change)


class _Sum(Watcher):
    """Passes on the boundaries between blocks, and adds up."""

    def __init__(self, candidate: Candidate, entropy: Watcher, change: Metric | None) -> None:
        self.candidate, self.entropy, self.change = candidate, entropy, change

    def block(self, place: int, features: Tensor) -> None:
        self.entropy.block(place, features)

    def score(self) -> float:
        change = 0.0 if self.change is None else number(self.change(self.candidate))
        return change + number(self.entropy.score())


def _features(candidate: Candidate) -> Floats:
    """What latency is interpolated from."""
    layers = candidate.layers
    macs, params = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
    return np.array([1.0, math.log(macs + 1), math.log(params + 1), math.log(len(layers) + 1)])


def _short(value: float) -> float:
    return float(f"{value:.6g}")
