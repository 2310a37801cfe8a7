"""MOEA/D: many searches with one objective each, which help their neighbours."""

# Shape letters: N newcomers, D directions, K neighbours, G choices of the space, M losses.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.algorithms._pymoo import FAILED, Genetic, Selection, directions, undisturbed
from hwnas.codes import Codes, Floats
from hwnas.errors import ConfigError


@dataclass(frozen=True)
class Moead(Genetic):
    """MOEA/D (Zhang and Li, 2007): one network for each of many trade-offs; neighbouring trade-offs breed and share.

    The trade-offs are spread evenly, as many as the population is large, and judged by pymoo's penalty-based boundary
    intersection (with two objectives, by Tchebycheff distance). A newcomer is compared with the neighbours of the
    trade-off that it suits best, and replaces only a few (Wang et al., 2016), which keeps the population diverse and
    needs no whole generations. The method knows no limits: networks beyond one are judged worse than all within it,
    by their excess. It is made for three objectives and more, and works with two. No network is asked twice, and the
    search ends only when the space is used up. In an asynchronous study it breeds from what has arrived.

    Args:
        population: networks per generation, judged together; also the number of trade-offs.
        crossover: the probability that a child has two parents.
        mutation: the probability that a choice is redrawn; None moves one choice on average.
        neighbours: so many trade-offs, itself included, are near enough to breed with.
        replaced: so many of them a newcomer may replace.
        local: the probability that the parents are neighbours; else they are any two.
    """

    population: int = 20
    crossover: float = 0.9
    mutation: float | None = None
    neighbours: int = 8
    replaced: int = 2
    local: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("neighbours", "replaced"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not 0 <= self.local <= 1:
            raise ConfigError(f"local is a probability from 0 to 1, not {self.local!r}")

    def objectives(self) -> tuple[int, int | None]:
        """Two or more."""
        return (2, None)

    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        return _Tradeoffs(self, directions(size, objectives), rng)


class _Tradeoffs(Selection):
    """Whoever is best for each trade-off so far."""

    def __init__(self, options: Moead, directions_DM: Floats, rng: np.random.Generator) -> None:
        self.options, self.rng, self.directions_DM = options, rng, directions_DM
        distances_DD = np.linalg.norm(directions_DM[:, None] - directions_DM, axis=2)
        self.near_DK = distances_DD.argsort(axis=1, kind="stable")[:, : options.neighbours]
        self.decomposition = _decomposition(directions_DM.shape[1])
        self.ideal_M = np.full(directions_DM.shape[1], np.inf)
        self.losses_DM = np.empty((0, directions_DM.shape[1]))
        self.codes_DG = np.empty((0, 1), dtype=np.int64)

    def admit(self, codes_NG: Codes, losses_NM: Floats, excess_N: Floats, /) -> None:
        beyond_N1 = excess_N[:, None] > 0
        losses_NM = np.where(beyond_N1, np.sqrt(FAILED) * (1 + excess_N[:, None]), np.minimum(losses_NM, FAILED))
        self.ideal_M = np.minimum(self.ideal_M, losses_NM.min(axis=0))
        worth_ND = self._worth(losses_NM)
        if not len(self.codes_DG):
            best_D = worth_ND.argmin(axis=0)
            self.codes_DG, self.losses_DM = codes_NG[best_D].copy(), losses_NM[best_D].copy()
        living_D = np.diagonal(self._worth(self.losses_DM)).copy()
        near_NK = self.rng.permuted(self.near_DK[worth_ND.argmin(axis=1)], axis=1)
        for code_G, losses_M, worth_D, near_K in zip(codes_NG, losses_NM, worth_ND, near_NK, strict=True):
            won = near_K[worth_D[near_K] < living_D[near_K]][: self.options.replaced]
            self.codes_DG[won], self.losses_DM[won], living_D[won] = code_G, losses_M, worth_D[won]

    def couples(self, count: int, /) -> tuple[Codes, Codes]:
        """Each trade-off in its turn; both parents are of its neighbourhood, or anybody."""
        rounds = -(-count // len(self.codes_DG))
        turn_N = np.concatenate([self.rng.permutation(len(self.codes_DG)) for _ in range(rounds)])[:count]
        near_NK = self.near_DK[turn_N]
        place_N2 = self.rng.integers(near_NK.shape[1], size=(count, 2))
        neighbours_N2 = np.take_along_axis(near_NK, place_N2, axis=1)
        anybody_N2 = self.rng.integers(len(self.codes_DG), size=(count, 2))
        local_N1 = self.rng.random((count, 1)) < self.options.local
        parents_N2 = np.where(local_N1, neighbours_N2, anybody_N2)
        return self.codes_DG[parents_N2[:, 0]], self.codes_DG[parents_N2[:, 1]]

    def _worth(self, losses_NM: Floats) -> Floats:
        """How far each row is from the ideal of each trade-off: N x D, less is better."""
        with undisturbed():
            worth = self.decomposition.do(
                losses_NM, weights=self.directions_DM, ideal_point=self.ideal_M, _type="many_to_many"
            )
        return np.asarray(worth, dtype=float).reshape(len(losses_NM), len(self.directions_DM))


def _decomposition(objectives: int) -> Any:
    """How a trade-off judges, as pymoo has it."""
    if objectives <= 2:
        from pymoo.decomposition.tchebicheff import Tchebicheff

        return Tchebicheff()
    from pymoo.decomposition.pbi import PBI

    return PBI()


__all__ = ["Moead"]
