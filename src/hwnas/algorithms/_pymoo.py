"""What the searches through pymoo share: one driver that breeds, and selections that say who lives and who breeds."""

# Shape letters: N codes, P alive, G choices of the space, M losses, D directions.

from __future__ import annotations

import functools
import itertools
import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from hwnas import codes
from hwnas.algorithms._selection import best_first, some, unknown, unseen
from hwnas.codes import Codes, Floats
from hwnas.errors import ConfigError
from hwnas.space import Code, Space
from hwnas.trial import Goal, Search, Steps, Trial, excess, losses, misfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAILED = 1e6
"""Loss and excess of what could not be judged, where the losses of the first generation span 0 to 1: pymoo needs
finite numbers."""


class Selection(Protocol):
    """Who lives and who breeds: what makes one of these searches different from another."""

    def admit(self, codes_NG: Codes, losses_NM: Floats, excess_N: Floats, /) -> None:
        """Takes in what was judged, and lets only the fittest live. Losses are finite."""
        ...

    def couples(self, count: int, /) -> tuple[Codes, Codes]:
        """Parents of so many children: the first ones, N x G, and the second ones. Something must be alive."""
        ...


@dataclass(frozen=True)
class Genetic(Search):
    """A search that breeds: the options and the loop of all searches of this kind.

    Children are made by uniform crossover and by redrawing choices, which know which choices matter and need no order
    among their values; so every value can return. A child that is known is mutated on, and after that replaced by a
    random one, so that no network is asked twice and the search ends only when the space is used up.

    A generation is what arrived: as many further children are asked for as answers came, so that an asynchronous study
    is never idle; where all answers come at once, it is the whole population. Answers that never come are not missed.
    """

    population: int = 20
    crossover: float = 0.9
    mutation: float | None = None

    whole: ClassVar[bool] = False
    """Whether a generation has to be complete; what is lost or failed then counts as the worst there is."""

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ConfigError(f"population must be at least 2, not {self.population!r}")
        for name in ("crossover", "mutation"):
            if not 0 <= (getattr(self, name) or 0.0) <= 1:
                raise ConfigError(f"{name} is a probability from 0 to 1, not {getattr(self, name)!r}")

    @abstractmethod
    def selection(self, objectives: int, size: int, rng: np.random.Generator) -> Selection:
        """Who lives and who breeds among `size` networks."""

    def steps(self, space: Space, goals: Sequence[Goal], rng: np.random.Generator, /) -> Steps:
        """Random codes first, or the best of what is known; then children of the fittest, until the space is used up.

        Raises:
            ConfigError: it cannot pursue so many objectives.
        """
        fits(self, goals)
        earlier = yield []  # asks for nothing, to hear what is known already
        judged = {trial.code: trial for trial in earlier}
        known = set(judged)
        fresh = unseen(space, known, rng, first=(space.smallest, space.largest))
        arrived = best_first(list(judged.values()), goals)[: self.population]
        asked = list(islice(fresh, self.population - len(arrived)))
        size = len(arrived) + len(asked)
        selection = self.selection(losses([], goals).shape[1], size, rng)
        intake, waiting = _Intake(space, goals, selection), set(asked)
        needed = len(asked) if self.whole else math.ceil(len(asked) / 2)
        while True:
            trials, answered = yield from some(asked, waiting, needed)
            known.update(trial.code for trial in trials)
            intake([*arrived, *trials], asked if self.whole else ())
            wanted = size if self.whole or not waiting else answered
            if intake.alive:
                ones_NG, others_NG = selection.couples(wanted)
                crossed_N = rng.random(len(ones_NG)) < self.crossover
                ones_NG[crossed_N] = codes.crossover(space, ones_NG[crossed_N], others_NG[crossed_N], rng)
                children_NG = codes.mutate(space, ones_NG, rng, self.mutation)
                asked = unknown(space, children_NG, known, fresh, rng, self.mutation)
            else:
                asked = list(islice(fresh, wanted))
            if not asked:
                return
            waiting.update(asked)
            arrived, needed = [], len(asked) if self.whole else 1


def fits(search: Search, goals: Sequence[Goal]) -> None:
    """Refuses goals that a search cannot pursue.

    Raises:
        ConfigError: how many objectives it takes, and how many there are.
    """
    reason = misfit(search, goals)
    if reason:
        hint = "a goal with a limit and `objective: false` is no objective; `hwnas list algorithms` shows the others"
        raise ConfigError(f"{type(search).__name__.lower()} {reason}", path="search", hint=hint)


class _Intake:
    """Hands trials to a selection: as numbers, every code once.

    Losses are shifted and scaled by what the first judged trials span, once and for all: pymoo compares distances with
    constants, and a latency in seconds would lie below them.
    """

    def __init__(self, space: Space, goals: Sequence[Goal], selection: Selection) -> None:
        self.space, self.goals, self.selection = space, goals, selection
        self.admitted: set[Code] = set()
        self.scale: tuple[Floats, Floats] | None = None
        self.alive = False

    def __call__(self, trials: Sequence[Trial], generation: Sequence[Code] = ()) -> None:
        """Takes in the trials that did not fail.

        Args:
            generation: codes that come last, in this order; those without a good trial count as failed.
        """
        judged = {trial.code: trial for trial in trials if trial.state != "failed" and trial.code not in self.admitted}
        padded = {code: judged.pop(code, Trial(-1, code, state="failed")) for code in generation}
        rows = [*judged.values(), *padded.values()]
        self.admitted |= {trial.code for trial in rows}
        if not rows:
            return
        losses_NM = losses(rows, self.goals)
        excess_N = np.array([excess(trial, self.goals) for trial in rows])
        codes_NG = codes.array(self.space, (trial.code for trial in rows))
        self.selection.admit(codes_NG, self._scaled(losses_NM), np.minimum(excess_N, FAILED))
        self.alive = True

    def _scaled(self, losses_NM: Floats) -> Floats:
        whole_NM = losses_NM[np.isfinite(losses_NM).all(axis=1)]
        if self.scale is None and len(whole_NM):
            low_M, span_M = whole_NM.min(axis=0), np.ptp(whole_NM, axis=0)
            self.scale = low_M, np.where(span_M > 0, span_M, np.maximum(np.abs(low_M), 1e-12))
        if self.scale is not None:
            losses_NM = (losses_NM - self.scale[0]) / self.scale[1]
        return np.where(np.isfinite(losses_NM), losses_NM, FAILED)


class Tournament(Selection):
    """Parents by binary tournament, survivors by one of pymoo's survivals.

    A tournament is won by the smaller excess over the limits, then by the first of the `keys` that differs, else by
    chance. Everybody takes part as often as everybody else.

    Args:
        survival: pymoo's object.
        keys: attributes that the survival leaves on individuals; one that begins with "-" is better where it is larger.
        objectives: the number of losses.
        size: so many stay alive.
    """

    def __init__(
        self, survival: Any, keys: Sequence[str], objectives: int, size: int, rng: np.random.Generator
    ) -> None:
        self.survival, self.keys, self.size, self.rng = survival, tuple(keys), size, rng
        self.problem = problem(objectives)
        self.alive = individuals(np.empty((0, 1), dtype=np.int64), np.empty((0, objectives)), np.empty(0))

    def admit(self, codes_NG: Codes, losses_NM: Floats, excess_N: Floats, /) -> None:
        with undisturbed():
            everybody = merged(self.alive, individuals(codes_NG, losses_NM, excess_N))
            self.alive = self.survival.do(self.problem, everybody, n_survive=self.size, random_state=self.rng)

    def couples(self, count: int, /) -> tuple[Codes, Codes]:
        """The codes of the winners; two tournaments per child."""
        rounds = math.ceil(4 * count / len(self.alive))
        drawn = np.concatenate([self.rng.permutation(len(self.alive)) for _ in range(rounds)])[: 4 * count]
        ones, others = drawn.reshape(-1, 2).T
        winners_N2 = self.winners(ones, others).reshape(-1, 2)
        codes_PG = np.array([individual.X for individual in self.alive])
        return codes_PG[winners_N2[:, 0]], codes_PG[winners_N2[:, 1]]

    def winners(self, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
        """Who wins, pair by pair; both are positions among the living."""
        keys_KP = [-self.noted(key[1:]) if key.startswith("-") else self.noted(key) for key in self.keys]
        luck_P = self.rng.random(len(self.alive))
        place_P = np.empty(len(self.alive), dtype=np.int64)
        place_P[np.lexsort((luck_P, *reversed(keys_KP), self.excess()))] = np.arange(len(self.alive))
        return np.where(place_P[ones] < place_P[others], ones, others)

    def excess(self) -> Floats:
        """By how much each of the living breaks the limits."""
        return np.array([individual.CV[0] for individual in self.alive])

    def noted(self, key: str) -> Floats:
        """What the survival noted about each of the living; 0 where it notes nothing, as beyond the limits."""
        noted_P: Floats = np.array([individual.data.get(key, 0.0) for individual in self.alive], dtype=float)
        return np.where(np.isnan(noted_P), 0.0, noted_P)


def problem(objectives: int) -> Any:
    """What pymoo wants to know of a problem: how many losses there are, and that there are limits."""
    from pymoo.core.problem import Problem

    return Problem(n_var=1, n_obj=objectives, n_ieq_constr=1)


def individuals(codes_NG: Codes, losses_NM: Floats, excess_N: Floats) -> Any:
    """Judged networks as pymoo's population."""
    from pymoo.core.population import Population

    population = Population.empty(len(codes_NG))
    for individual, code_G, losses_M, over in zip(population, codes_NG, losses_NM, excess_N, strict=True):
        individual.X, individual.F, individual.CV = code_G, losses_M.copy(), np.array([over])
    return population


def merged(one: Any, other: Any) -> Any:
    """Two of pymoo's populations as one."""
    from pymoo.core.population import Population

    return Population.merge(one, other)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Around calls of pymoo: it prints about its compilation, divides by zero where all are equal, and sets filters."""
    from pymoo.config import Config

    Config.warnings["not_compiled"] = False
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def directions(count: int, objectives: int) -> Floats:
    """Exactly so many directions in which losses are traded for one another, spread evenly: D x M, rows add up to 1.

    The corners come first, then always the point of a fine lattice (Das and Dennis, 1998) that is furthest from all
    points so far. With two objectives they are equidistant.
    """
    if objectives == 2:
        share_D = np.linspace(0.0, 1.0, count)
        return np.column_stack([share_D, 1 - share_D])
    return _spread(count, objectives).copy()  # pymoo wants to be able to write


@functools.lru_cache(maxsize=32)
def _spread(count: int, objectives: int) -> Floats:
    parts = 1
    while math.comb(parts + objectives - 1, parts) < 20 * count:
        parts += 1
    bars = np.array(list(itertools.combinations(range(parts + objectives - 1), objectives - 1)))
    ends = np.full((len(bars), 1), parts + objectives - 1)
    lattice_LM = (np.diff(np.hstack([-np.ones_like(ends), bars, ends]), axis=1) - 1) / parts
    chosen_DM = np.eye(objectives)[:count]
    distance_L = np.linalg.norm(lattice_LM[:, None] - chosen_DM, axis=2).min(axis=1)
    while len(chosen_DM) < count:
        furthest_M = lattice_LM[distance_L.argmax()]
        chosen_DM = np.vstack([chosen_DM, furthest_M])
        distance_L = np.minimum(distance_L, np.linalg.norm(lattice_LM - furthest_M, axis=1))
    return chosen_DM
