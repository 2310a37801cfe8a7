"""Searchers: objects with `suggest()` and `get_feedback(value)`, over the algorithms of hwnas.

All are seeded, leave every global random state alone and need no list of the space, so that it may have any size.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hwnas import parts
from hwnas.algorithms import Goal, Search, Steps
from hwnas.algorithms.random import Random
from hwnas.compat.neural_compressor.choices import Architecture, Choices
from hwnas.errors import ConfigError, SearchError, nearest
from hwnas.seeds import derive
from hwnas.space import Code
from hwnas.trial import Trial

SILENCE = 10
"""So many times in a row without a new network, and an algorithm has ended."""

Feedback = float | Sequence[float]
"""What came out for the network that was suggested last: higher is better, in every entry if there are several."""


class Searcher:
    """Proposes networks of a search space, and hears how good they are.

    Whoever writes a searcher of one's own needs only `suggest` and `get_feedback`, and no base class. A searcher with
    `several = True` is told all metrics at once, others a single number; one with `get_failure()` is told of networks
    that could not be judged.

    Args:
        search_space: name -> list of values.

    Raises:
        ConfigError: no such mapping.
    """

    several = False

    def __init__(self, search_space: Mapping[str, Sequence[Any]]) -> None:
        self.search_space = search_space
        self.choices = Choices(search_space)
        self.search_space_keys = self.choices.names

    def suggest(self) -> Architecture:
        """The network to try next: name -> value."""
        raise NotImplementedError(f"{type(self).__name__} has no suggest()")

    def get_feedback(self, value: Feedback) -> None:
        """Hears how good the network is that was suggested last; higher is better."""

    def params_vec2params_dict(self, vec: Sequence[Any]) -> Architecture:
        """Values in the order of the sorted names as an architecture."""
        return dict(zip(self.choices.names, vec, strict=True))


class GridSearcher(Searcher):
    """Every network in turn: names sorted, the last one changes fastest; begins anew at the end."""

    def __init__(self, search_space: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(search_space)
        self._turns: Iterator[tuple[Any, ...]] = iter(())

    def suggest(self) -> Architecture:
        """The next network."""
        vec = next(self._turns, None)
        if vec is None:
            self._turns = itertools.product(*self.choices.values.values())
            vec = next(self._turns)
        return self.params_vec2params_dict(vec)


class RandomSearcher(Searcher):
    """Random networks, none twice until all were there; then in another order."""

    def __init__(self, search_space: Mapping[str, Sequence[Any]], seed: int = 42) -> None:
        super().__init__(search_space)
        self._orders = (self._shuffled(derive(seed, "order", turn)) for turn in itertools.count())
        self._codes = next(self._orders)

    def suggest(self) -> Architecture:
        """The next network."""
        code = next(self._codes, None)
        if code is None:
            self._codes = next(self._orders)
            code = next(self._codes)
        return self.choices.decode(code)

    def _shuffled(self, seed: int) -> Iterator[Code]:
        steps = Random(batch=1).steps(self.choices.space, (), np.random.default_rng(seed))
        codes = next(steps)
        with suppress(StopIteration):  # all networks were there
            while True:
                yield from codes
                codes = steps.send([])


class AlgorithmSearcher(Searcher):
    """Any algorithm of hwnas as a searcher; it is told every metric for itself.

    The first network is a random one: the number of metrics, which the algorithm has to know, shows in what comes back.
    Networks that an algorithm proposes together are suggested one after the other.

    Args:
        search: the algorithm, or its name with options, such as `{"nsga2": {"population": 20}}`.
        seed: of the algorithm.
    """

    several = True

    def __init__(self, search_space: Mapping[str, Sequence[Any]], search: Search | Any, seed: int = 42) -> None:
        super().__init__(search_space)
        self._search: Search = parts.make("algorithms", search)
        self._rng = np.random.default_rng(derive(seed, "searcher"))
        self._steps: Steps | None = None
        self._waiting: deque[Code] = deque()
        self._news: list[Trial] = []
        self._last: Code | None = None
        self._count = 0
        self._goals: tuple[Goal, ...] = ()

    def suggest(self) -> Architecture:
        """The next network.

        Raises:
            SearchError: the algorithm has nothing more to propose.
        """
        self._last = self._next() if self._goals else self.choices.space.sample(self._rng)
        return self.choices.decode(self._last)

    def get_feedback(self, value: Feedback) -> None:
        """Hears how good the network is that was suggested last; higher is better, in every entry."""
        values = [float(one) for one in np.atleast_1d(np.asarray(value, dtype=float))]
        self._goals = self._goals or tuple(Goal(f"objective{i + 1}", None, "max") for i in range(len(values)))
        if len(values) != len(self._goals):
            raise ConfigError(f"feedback had {len(self._goals)} values so far, this one has {len(values)}")
        self._tell(values=dict(zip([goal.name for goal in self._goals], values, strict=True)), state="done")

    def get_failure(self) -> None:
        """Hears that the network that was suggested last could not be judged."""
        self._tell(state="failed", error="could not be judged")

    def _tell(self, **outcome: Any) -> None:
        if self._last is None:
            raise SearchError("there is no suggestion that this could be about; call suggest() first")
        self._news.append(Trial(self._count, self._last, **outcome))
        self._count += 1

    def _next(self) -> Code:
        for _ in range(SILENCE):
            if self._waiting:
                return self._waiting.popleft()
            try:
                if self._steps is None:
                    self._steps = self._search.steps(self.choices.space, self._goals, self._rng)
                    self._waiting.extend(next(self._steps))
                else:
                    news, self._news = self._news, []
                    self._waiting.extend(self._steps.send(news))
            except StopIteration:
                break
        raise SearchError(f"{type(self._search).__name__} has nothing more to propose: the space is used up")


class BayesianOptimizationSearcher(AlgorithmSearcher):
    """Bayesian optimisation with a Gaussian process, which proposes one network at a time and none twice.

    Values that rise or fall are taken as ordered, all others as words. The first few networks are random ones.
    """

    def __init__(self, search_space: Mapping[str, Sequence[Any]], seed: int = 42) -> None:
        super().__init__(search_space, {"bayesian": {"sampler": "gp", "startup": 5, "batch": 1}}, seed)


BUILT_IN: dict[str, Callable[[Mapping[str, Sequence[Any]], int], Searcher]] = {
    "grid": lambda search_space, seed: GridSearcher(search_space),
    "random": RandomSearcher,
    "bo": BayesianOptimizationSearcher,
}
"""The original's own names."""


def searcher_of(name: str | None, search_space: Mapping[str, Sequence[Any]], seed: int) -> Searcher:
    """The searcher of a name: "grid", "random", "bo", or any algorithm of hwnas; None is "bo".

    Raises:
        ConfigError: no such searcher.
    """
    word = (name or "bo").lower()
    if word in BUILT_IN:
        return BUILT_IN[word](search_space, seed)
    algorithms = parts.names("algorithms")
    if word in algorithms:
        return AlgorithmSearcher(search_space, word, seed)
    known = nearest(word, [*BUILT_IN, *(one for one in algorithms if one not in BUILT_IN)])
    hint = "a searcher of your own is set as agent.search_algorithm, an object with suggest() and get_feedback(value)"
    raise ConfigError(f"unknown searcher {name!r}; {known}", path="nas.search.search_algorithm", hint=hint)


__all__ = [
    "AlgorithmSearcher",
    "BayesianOptimizationSearcher",
    "GridSearcher",
    "RandomSearcher",
    "Searcher",
    "searcher_of",
]
