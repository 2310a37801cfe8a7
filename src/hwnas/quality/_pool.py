"""Scores of several kinds put on one scale: their ranks in a fixed reference pool of random networks, kept on disk.

Shape letters: N networks of the pool, K networks asked about, L labelled networks, M scores, F features.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, DataError, HwnasError
from hwnas.predictors import Floats, tau
from hwnas.progress import Progress, Watch, silent
from hwnas.quality._probe import scores
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.trial import Metric, Reading

CONTRARY = -0.1
"""A score whose rank correlation with the others is below this, in the pool, is turned around."""
TAIL = 1e-3
"""Keeps the logarithms of ranks away from minus infinity where a regression uses them."""
FOLDS = 5
LEAST = 16
"""So few labels are worth a calibration."""


@dataclass(frozen=True)
class Pool:
    """Raw scores of random networks, against which any other network is ranked.

    The rank of a network does not depend on who else is judged, so its score never changes during a search. A score
    that contradicts what the others agree on, in this pool, is turned around, the most contrary one first: what marks
    good networks in one space marks bad ones in another (jacob_cov in NAS-Bench-101). The first score, a measure of
    size, is never turned.

    Args:
        values_NM: NaN where a network could not be judged.
        oriented: whether contrary scores are turned around.
        members: so many of the scores, the first ones, are combined; None is all. The others only serve a calibration.
    """

    values_NM: Floats
    oriented: bool = True
    members: int | None = None

    @functools.cached_property
    def agreement(self) -> Floats:
        """Rank correlation (Spearman) of every score, as it is turned, with the mean of the other members: M."""
        return self._oriented[1]

    @functools.cached_property
    def signs(self) -> Floats:
        """-1 for scores that are turned around, else 1: M."""
        return self._oriented[0]

    @functools.cached_property
    def _oriented(self) -> tuple[Floats, Floats]:
        normal_NM = normal_scores(np.nan_to_num(self.values_NM, nan=-np.inf))
        signs_M = np.ones(normal_NM.shape[1])
        while True:
            turned_NM = normal_NM * signs_M
            total_N1 = turned_NM[:, : self.members].sum(axis=1, keepdims=True)
            others_NM = np.where(
                np.arange(len(signs_M)) < (self.members or len(signs_M)), total_N1 - turned_NM, total_N1
            )
            agreement_M = _correlations(turned_NM, others_NM)
            free_M = np.where((signs_M > 0) & (np.arange(len(signs_M)) > 0), agreement_M, 0.0)
            if not self.oriented or free_M.min() >= CONTRARY:
                return signs_M, agreement_M
            signs_M[free_M.argmin()] = -1.0

    @functools.cached_property
    def _sorted(self) -> list[Floats]:
        """The finite, signed values of every score in rising order."""
        columns = (self.values_NM * self.signs).T
        return [np.sort(column[np.isfinite(column)]) for column in columns]

    def ranks(self, values_KM: Floats) -> Floats:
        """Where scores lie in the pool: K x M, above 0; 1 is better than the pool's best.

        A value of the pool with lo others below and hi not above it has ((lo + hi) / 2 + 1/2) / (N + 1); between two of
        them the rank is interpolated. Beyond the best and the worst of the pool it goes on slowly, so that a search
        which left the pool still sees differences; a missing score is below everything.
        """
        rank_KM, beyond_KM = self._places(values_KM)
        total = len(self.values_NM) + 1
        ranks_KM: Floats = rank_KM + np.where(beyond_KM > 0, beyond_KM, 0.5 * beyond_KM / (1 - beyond_KM)) / total
        return ranks_KM

    def log_rank(self, values_KM: Floats) -> Floats:
        """The mean log rank over all scores (AZ-NAS, Lee and Ham, 2024, against a fixed pool): K.

        One bad score is decisive, and a network that is good everywhere wins.
        """
        total_K: Floats = np.log(self.ranks(values_KM)[:, : self.members]).mean(axis=1)
        return total_K

    def normal(self, values_KM: Floats) -> Floats:
        """Ranks as normal scores: K x M, mean 0 and deviation about 1 in the pool; beyond it they go on slowly."""
        rank_KM, beyond_KM = self._places(values_KM)
        normal_KM: Floats = ndtri(rank_KM) + 0.1 * beyond_KM
        return normal_KM

    def _places(self, values_KM: Floats) -> tuple[Floats, Floats]:
        """The rank inside the pool, and how far beyond its best (above 0) or its worst (below 0): K x M each."""
        signed_KM, total = values_KM * self.signs, len(self.values_NM) + 1
        rank_KM, beyond_KM = np.full(signed_KM.shape, 0.125 / total), np.zeros(signed_KM.shape)
        for place, known in enumerate(self._sorted):
            mine = np.isfinite(signed_KM[:, place])
            if not len(known) or not mine.any():
                continue
            values = signed_KM[mine, place]
            absent = len(self.values_NM) - len(known)  # those that could not be judged are below
            steps, counts = np.unique(known, return_counts=True)
            rank_KM[mine, place] = (absent + np.interp(values, steps, counts.cumsum() - counts / 2) + 0.5) / total
            middle, least, most = np.median(known), known[0], known[-1]
            above, below = np.maximum(values - most, 0.0), np.maximum(least - values, 0.0)
            beyond = np.log1p(above / ((most - middle) or 1.0)) - np.log1p(below / ((middle - least) or 1.0))
            beyond_KM[mine, place] = beyond
        return rank_KM, beyond_KM


@dataclass(frozen=True)
class Reference:
    """Random networks with their raw scores, drawn once for a run and kept in its folder.

    Args:
        score: the raw scores of one network, M; NaN where there is none.
        identity: what the scores depend on beside the family, JSON-able; None if nobody can tell, and nothing is kept.
        size: networks in the pool.
        least: networks without which there is no pool.
    """

    family: Family
    folder: Path | None
    seed: int
    size: int
    score: Callable[[Candidate], Floats]
    identity: Any
    least: int = 4

    def made(self, watch: Watch = silent) -> dict[Code, Floats]:
        """The pool by code: read where it lies in the run's folder, else scored now and kept there.

        Raises:
            ConfigError: the family builds no networks.
            DataError: the file is damaged, or hardly any random network has a score.
        """
        if not self.family.buildable:
            raise ConfigError(f"family {self.family.name!r} holds values, and no networks that could be scored")
        found = self._read()
        if found is None:
            found = {}
            for number, code in enumerate(self._drawn(), 1):
                raw_M = self.score(Candidate(self.family, code, self.seed))
                if np.isfinite(raw_M).any():
                    found[code] = raw_M
                watch(Progress("reference pool", len(found), self.size, {"networks tried": number}))
                if len(found) == self.size:
                    break
            if len(found) < self.least:
                raise DataError(f"only {len(found)} random networks of {self.family.name!r} have any of these scores")
            self._write(found)
        return found

    def _drawn(self) -> Iterator[Code]:
        """Different random networks, in a fixed order."""
        rng, seen = np.random.default_rng(derive(self.seed, "pool")), set[Code]()
        for _ in range(20 * self.size):
            code = self.family.canonical(self.family.space.sample(rng))
            if code not in seen:
                seen.add(code)
                yield code

    @property
    def _file(self) -> Path | None:
        """Where the run keeps the pool; None for families and scores of a script, which have no name to go by."""
        own = parts.spec_of(self.family)
        if self.folder is None or not self.folder.is_dir() or own is None or self.identity is None:
            return None
        import torch

        told = [own, self.family.space.fingerprint, self.identity, self.size, self.seed, torch.__version__]
        name = hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:16]
        return self.folder / "pools" / f"{name}.json"

    def _read(self) -> dict[Code, Floats] | None:
        file = self._file
        if file is None or not file.exists():
            return None
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            return {tuple(code): np.array([math.nan if x is None else x for x in raw], float) for code, raw in rows}
        except (ValueError, TypeError, OSError) as error:
            raise DataError(f"{file} cannot be read: {error}", hint=f"delete {file}, and it is made anew") from error

    def _write(self, pool: Mapping[Code, Floats]) -> None:
        """The file appears whole or not at all."""
        file = self._file
        if file is None:
            return
        rows = [[list(code), [float(x) if math.isfinite(x) else None for x in raw]] for code, raw in pool.items()]
        partial = file.with_suffix(f".{os.getpid()}.tmp")
        try:
            file.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps(rows), encoding="utf-8")
            os.replace(partial, file)
        except OSError as error:
            raise DataError(f"cannot write {file}: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def raw_scores(candidate: Candidate, metrics: Sequence[Metric], repeats: int) -> tuple[Floats, Floats]:
    """Raw scores of one network over several draws of weights and inputs.

    Returns:
        The mean and the standard error of the mean: M each; NaN where no draw has the score.
    """
    seeds = [candidate.seed, *(derive(candidate.seed, "repeat", turn) for turn in range(1, repeats))]
    draws_RM = np.array(
        [[number(result) for result in scores(replace(candidate, seed=seed), metrics)] for seed in seeds]
    )
    known_RM = np.isfinite(draws_RM)
    count_M = known_RM.sum(axis=0)
    mean_M = np.where(count_M > 0, np.where(known_RM, draws_RM, 0.0).sum(axis=0) / np.maximum(count_M, 1), np.nan)
    square_M = np.where(known_RM, (draws_RM - mean_M) ** 2, 0.0).sum(axis=0)
    error_M = np.where(count_M > 1, np.sqrt(square_M / np.maximum(count_M - 1, 1) / np.maximum(count_M, 1)), np.nan)
    return mean_M, error_M


def number(result: float | Reading | HwnasError) -> float:
    """A score as a number; NaN where there is none."""
    if isinstance(result, HwnasError):
        return math.nan
    return result.value if isinstance(result, Reading) else result


class Calibration:
    """What some measured labels teach: about ranks, or about the choices themselves, or nothing.

    Two ways are tried. "ranks": the mean of a ridge regression and of randomised trees on every score's rank and its
    logarithms at both ends. "choices": a ridge regression on what was chosen, as in a structural predictor. Both also
    know the rank of the combined score without labels. The target is the label's rank as a normal score, so its unit
    does not matter. Cross-validation decides which way ranks best, and whether it beats the score without labels.

    Args:
        labels_L: measured values, higher is better.
        groups_L: networks of one group are never on both sides of a fold; equal networks share one.
        choices_LF: what was chosen, one-hot; None leaves out that way.
    """

    def __init__(
        self,
        pool: Pool,
        values_LM: Floats,
        labels_L: Floats,
        groups_L: NDArray[Any],
        seed: int,
        choices_LF: Floats | None = None,
    ) -> None:
        self.pool, self.seed = pool, seed
        target_L = normal_scores(labels_L)
        names, group_L = np.unique(groups_L, return_inverse=True)
        fold_L = np.random.default_rng(seed).permutation(len(names))[group_L] % FOLDS
        self.taus = {"nothing": tau(labels_L, pool.log_rank(values_LM))}
        for way in ("ranks",) if choices_LF is None else ("ranks", "choices"):
            features_LF = self._features(way, values_LM, choices_LF)
            held_out_L = np.zeros(len(labels_L))
            for fold in range(FOLDS):
                own = fold_L != fold
                held_out_L[~own] = self._fit(way, features_LF[own], target_L[own])(features_LF[~own])
            self.taus[way] = tau(labels_L, held_out_L)
        self.way = max(self.taus, key=lambda way: self.taus[way])  # the first of equals: labels must teach something
        if self.way != "nothing":
            self._predict = self._fit(self.way, self._features(self.way, values_LM, choices_LF), target_L)

    def score(self, values_KM: Floats, choices_KF: Floats | None = None) -> Floats:
        """What to expect of networks: K; in standard deviations of the labels' normal scores if labels are used."""
        if self.way == "nothing":
            return self.pool.log_rank(values_KM)
        scores_K: Floats = self._predict(self._features(self.way, values_KM, choices_KF))
        return scores_K

    def _features(self, way: str, values_KM: Floats, choices_KF: Floats | None) -> Floats:
        combined_K1 = self._combined(values_KM)[:, None]
        if way == "choices":
            assert choices_KF is not None
            return np.hstack([choices_KF, combined_K1])
        ranks_KM = np.clip(self.pool.ranks(values_KM), 0.0, 1.0)
        return np.hstack([ranks_KM, np.log(ranks_KM + TAIL), np.log(1 - ranks_KM + TAIL), combined_K1])

    def _combined(self, values_KM: Floats) -> Floats:
        known_N = np.sort(self.pool.log_rank(self.pool.values_NM))
        rank_K: Floats = np.searchsorted(known_N, self.pool.log_rank(values_KM)) / len(known_N)
        return rank_K

    def _fit(self, way: str, features_LF: Floats, target_L: Floats) -> Callable[[Floats], Floats]:
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.linear_model import Ridge

        if way == "choices":
            linear = Ridge(alpha=1.0).fit(features_LF, target_L)
            return lambda features_KF: np.asarray(linear.predict(features_KF))
        trees = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=self.seed % 2**32)
        models = [Ridge(alpha=2.0).fit(features_LF, target_L), trees.fit(features_LF, target_L)]
        scales = [float(model.predict(features_LF).std()) or 1.0 for model in models]

        def predict(features_KF: Floats) -> Floats:
            parts = [model.predict(features_KF) / scale for model, scale in zip(models, scales, strict=True)]
            mean_K: Floats = np.mean(parts, axis=0)
            return mean_K

        return predict


def normal_scores(values: Floats) -> Floats:
    """Values as the normal quantiles of their ranks along the first axis: of the same shape, mean 0, ties alike."""
    scores: Floats = ndtri((rankdata(values, axis=0) - 0.5) / len(values))
    return scores


def _correlations(first_NM: Floats, second_NM: Floats) -> Floats:
    """Spearman's correlation column by column: M; 0 where one is constant."""
    one_NM, two_NM = (rankdata(each, axis=0) - (len(each) + 1) / 2 for each in (first_NM, second_NM))
    scale_M = np.linalg.norm(one_NM, axis=0) * np.linalg.norm(two_NM, axis=0)
    product_M = (one_NM * two_NM).sum(axis=0)
    found_M: Floats = np.divide(product_M, scale_M, out=np.zeros_like(product_M), where=scale_M > 0)
    return found_M
