"""What a predictor expects of a network, learnt from networks that were judged before: no training, no measurement."""

# Shape letters: N labelled networks, M networks asked about, G choices of the space.

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.codes import array
from hwnas.errors import ConfigError, DataError
from hwnas.predictors import LEAST, Fitted, Floats, Predictor, mape, tau
from hwnas.predictors.gp import Gp
from hwnas.progress import Progress, Watch, silent
from hwnas.quality._labelled import from_file, from_run
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.trial import Metric, Reading

GP = Gp()


@dataclass(frozen=True)
class Reliability:
    """How far a predictor is off, on networks that it had not seen.

    Args:
        networks: so many it learnt from.
        mape: mean absolute error relative to the true values, as a share.
        tau: Kendall's rank correlation with the true values.
    """

    networks: int
    mape: float
    tau: float


@dataclass(frozen=True)
class Predicted(Metric):
    """The value that a predictor expects, with its uncertainty, a standard deviation in the same unit, in the details.

    It learns from a file or from an earlier run, whichever is given. Several values of one network are averaged. What
    it expects is as good as what it learnt from: far from there, trust the uncertainty more than the value.

    Args:
        predictor: the regressor.
        path: a .csv or .npz file with one column for each choice of the family, of the same name, holding values of
            the choice; columns of choices that are not active in a row, and of those that cannot vary, do not matter.
        column: of the values in that file.
        run: the folder of a run in the same space.
        goal: of the values in that run.
        unit: for display: "s", "bytes", "percent" …
    """

    family: Family
    predictor: Predictor = GP
    path: str | None = None
    column: str | None = None
    run: str | None = None
    goal: str | None = None
    unit: str = ""
    seed: int = 0
    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = False  # it stands for a measurement, and a search must pay for it as for one

    def __post_init__(self) -> None:
        file, run = (self.path, self.column), (self.run, self.goal)
        if not (all(file) and not any(run)) and not (all(run) and not any(file)):
            message = "needs something to learn from: `path` and `column` of a file, or `run` and `goal` of a run"
            raise ConfigError(message, hint="for example: {predicted: {path: judged.csv, column: accuracy}}")

    @classmethod
    def example(cls, place: Path) -> Self:
        """Twelve labelled networks in a file, for the contract tests."""
        small = {"classes": 10, "resolution": 16, "width": 0.1, "depths": [1, 2]}
        family: Family = parts.make("families", {"mobilenetv3": small})
        rng = np.random.default_rng(0)
        some = {family.space.sample(rng): None for _ in range(12)}
        lines = [",".join([*(choice.name for choice in family.space.choices), "accuracy"])]
        for code in some:
            words = [str(choice.values[index]) for choice, index in zip(family.space.choices, code, strict=True)]
            lines.append(",".join([*words, str(50 + sum(code))]))
        (place / "judged.csv").write_text("\n".join(lines), encoding="utf-8")
        return cls(family, path=str(place / "judged.csv"), column="accuracy")

    def prepare(self, watch: Watch = silent, /) -> None:
        """Reads and learns, and tells how far off the predictor was on networks that it had not seen."""
        own, name = self.error(), type(self.predictor).__name__.lower()
        told = f"error {100 * own.mape:.2f}%, rank correlation (Kendall) {own.tau:.2f} on networks held out"
        watch(Progress("learning to predict", message=f"{name} learnt from {own.networks} networks: {told}"))

    def error(self) -> Reliability:
        """How far off the predictor is on networks that it had not seen, by cross-validation.

        Raises:
            ConfigError, DataError: there is nothing to learn from.
        """
        values_N, fitted = self._learnt
        return Reliability(len(values_N), mape(values_N, fitted.held_out), tau(values_N, fitted.held_out))

    def __call__(self, candidate: Candidate, /) -> Reading:
        return self.many([candidate])[0]

    def many(self, candidates: Sequence[Candidate], /) -> list[Reading]:
        """The values of a batch, in order."""
        fitted = self._learnt[1]
        codes_MG = array(self.family.space, (self.family.canonical(candidate.code) for candidate in candidates))
        # One by one, since the last digits of a matrix product depend on the company.
        values = [float(fitted.mean(code_G[None])[0]) for code_G in codes_MG]
        spread_M = fitted.spread(codes_MG) if len(codes_MG) else np.empty(0)
        return [
            Reading(value, {"uncertainty": float(f"{spread:.6g}")})
            for value, spread in zip(values, spread_M, strict=True)
        ]

    def _known(self) -> Iterator[tuple[Code, float]]:
        if self.path is not None:
            return from_file(self.family, self.path, str(self.column))
        return from_run(self.family, str(self.run), str(self.goal))

    @functools.cached_property
    def _learnt(self) -> tuple[Floats, Fitted]:
        """The values that were known, N, and what a predictor made of them."""
        known: dict[Code, list[float]] = {}
        for code, value in self._known():
            known.setdefault(self.family.canonical(code), []).append(value)
        if len(known) < LEAST:
            raise DataError(
                f"{self.path or self.run} knows {len(known)} networks, and {LEAST} at least teach something"
            )
        codes_NG, values_N = array(self.family.space, known), np.array([np.mean(own) for own in known.values()])
        rng = np.random.default_rng(derive(self.seed, "predicted"))
        return values_N, self.predictor.fit(self.family.space, codes_NG, values_N, rng)


__all__ = ["Predicted", "Reliability"]
