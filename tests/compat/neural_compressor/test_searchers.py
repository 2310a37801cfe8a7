"""Searchers: order, no repeats, any size of space, algorithms of hwnas told every metric."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hwnas.algorithms.evolution import Evolution
from hwnas.algorithms.random import Random
from hwnas.compat.neural_compressor import (
    BayesianOptimizationSearcher,
    GridSearcher,
    RandomSearcher,
    Searcher,
    create_search_space_pool,
)
from hwnas.compat.neural_compressor.searchers import AlgorithmSearcher, searcher_of
from hwnas.errors import ConfigError, SearchError

SPACE = {"dimensions": [32, 64, 128], "channels": [16, 32]}
HUGE = {f"gene{i:02}": [3, 5, 7] for i in range(45)}


def suggestions(searcher, count):
    return [searcher.suggest() for _ in range(count)]


def different(archs):
    return {tuple(arch.values()) for arch in archs}


def test_a_grid_goes_in_the_order_of_the_pool_and_begins_anew():
    pool = create_search_space_pool(SPACE)
    assert suggestions(GridSearcher(SPACE), 13) == [*pool, *pool, pool[0]]


def test_random_shows_all_before_it_repeats():
    archs = suggestions(RandomSearcher(SPACE), 12)
    assert len(different(archs[:6])) == len(different(archs[6:])) == 6
    assert archs[:6] != archs[6:]


MAKERS = {
    "random": RandomSearcher,
    "bo": BayesianOptimizationSearcher,
    "evolution": lambda space, seed: AlgorithmSearcher(space, Evolution(), seed),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_seed_decides(make):
    def run(seed):
        searcher = make(SPACE, seed)
        archs = []
        for _ in range(6):
            archs.append(searcher.suggest())
            searcher.get_feedback(float(archs[-1]["channels"]))
        return archs

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_global_randomness_is_left_alone():
    random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002  # what must stay as it is
    suggestions(RandomSearcher(SPACE), 8)
    suggestions(AlgorithmSearcher(SPACE, Random()), 8)
    bayesian = BayesianOptimizationSearcher(SPACE)
    for value in range(6):
        bayesian.suggest()
        bayesian.get_feedback(value)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@pytest.mark.parametrize("name", ["grid", "random", "evolution"])
def test_forty_five_genes(name):
    searcher = searcher_of(name, HUGE, 0)
    archs = []
    for _ in range(200):
        archs.append(searcher.suggest())
        searcher.get_feedback(float(sum(archs[-1].values())))
    assert len(different(archs)) == 200
    assert all(list(arch) == list(HUGE) for arch in archs)


def test_bayesian_optimisation_goes_on_a_large_space_and_beats_chance():
    def values(name):
        searcher, found = searcher_of(name, {name: list(range(8)) for name in "abcd"}, 1), []
        for _ in range(20):
            found.append(-sum((value - 5) ** 2 for value in searcher.suggest().values()))
            searcher.get_feedback(float(found[-1]))
        return found

    assert max(values("bo")) > max(values("random"))
    searcher = searcher_of("bo", HUGE, 0)
    for _ in range(3):
        assert list(searcher.suggest()) == list(HUGE)
        searcher.get_feedback([1.0, 2.0])


def test_feedback_leads_evolution():
    def best(name):
        searcher, values = searcher_of(name, HUGE, 0), []
        for _ in range(300):
            values.append(float(sum(searcher.suggest().values())))
            searcher.get_feedback(values[-1])
        return max(values)

    assert best("evolution") > best("random") + 15


class Listener:
    """An algorithm that asks for two networks at a time and keeps what it is told."""

    def __init__(self):
        self.goals, self.told = (), []

    def steps(self, space, goals, rng):
        self.goals = goals
        for index in range(0, space.size, 2):
            self.told.append((yield [space.at(index), space.at(index + 1)]))
        self.told.append((yield []))


def test_an_algorithm_is_told_every_metric_of_every_network():
    listener = Listener()
    searcher = AlgorithmSearcher({"a": [1, 2], "b": [0]}, listener)
    first = searcher.suggest()
    searcher.get_feedback([0.5, -3])
    assert [searcher.suggest()["a"], listener.told] == [1, []]
    searcher.get_failure()
    assert searcher.suggest()["a"] == 2
    searcher.get_feedback(np.array([0.25, -1]))
    with pytest.raises(SearchError, match="Listener has nothing more to propose"):
        searcher.suggest()
    assert [goal.direction for goal in listener.goals] == ["max", "max"]
    (opening, failed, second), *_ = listener.told
    assert searcher.choices.decode(opening.code) == first
    assert list(opening.values.values()) == [0.5, -3.0]
    assert (failed.state, failed.code) == ("failed", (0, 0))
    assert list(second.values.values()) == [0.25, -1.0]


def test_feedback_that_makes_no_sense():
    searcher = AlgorithmSearcher(SPACE, "evolution")
    with pytest.raises(SearchError, match=r"call suggest\(\) first"):
        searcher.get_feedback(1.0)
    searcher.suggest()
    searcher.get_feedback(1.0)
    searcher.suggest()
    with pytest.raises(ConfigError, match="1 values so far, this one has 2"):
        searcher.get_feedback([1.0, 2.0])


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"unknown searcher 'gird'; did you mean 'grid'.*\n.*agent\.search_algorithm"):
        searcher_of("gird", SPACE, 0)
    assert isinstance(searcher_of("GRID", SPACE, 0), GridSearcher)
    assert isinstance(searcher_of("nsga2", SPACE, 0), AlgorithmSearcher)


def test_the_base_class_is_for_searchers_of_ones_own():
    searcher = Searcher(SPACE)
    assert searcher.search_space_keys == ["channels", "dimensions"]
    assert searcher.params_vec2params_dict([16, 32]) == {"channels": 16, "dimensions": 32}
    with pytest.raises(NotImplementedError):
        searcher.suggest()
    with pytest.raises(ConfigError, match="dict of lists"):
        Searcher({})
