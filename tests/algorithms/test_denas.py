"""DE-NAS's evolution: the archive, three kinds of offspring, limits that are known before anything is asked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwnas.algorithms.denas import DeNas
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.space import Choice, Space
from hwnas.trial import Goal, Trial

from ._toy import GOALS, SPACE, apart, cube, drive, judge

WIDE = cube(*[9] * 12)
ONE = (Goal("latency", None, "min"),)
LAYERS = Space("layers", (Choice("width", (0, 1, 2)), *(Choice(f"layer{i}.heads", (0, 1, 2)) for i in range(20))))


def squares(code):
    return {"latency": float(sum((index - 4) ** 2 for index in code))}


def total(code):
    return float(sum(code))


def bounded(limit, exact=total, many=None):
    return (Goal("latency", None, "min"), Goal("size", None, "min", limit, False, exact, many))


def sized(code):
    return {**squares(code), "size": total(code)}


def told(codes, values=squares):
    """Trials of codes, as a warm start."""
    return [Trial(number, code, values(code), "done") for number, code in enumerate(codes)]


def asked_after(search, earlier, space=WIDE, goals=ONE, seed=0):
    """What a search asks for first when it is told so much."""
    steps = search.steps(space, goals, np.random.default_rng(seed))
    next(steps)
    return steps.send(list(earlier))


def test_one_goal_is_driven_to_its_best():
    run = drive(DeNas(m_prob=None, s_prob=None), goals=ONE, space=WIDE, judge=squares, budget=800)
    assert min(trial.values["latency"] for trial in run.trials) <= 4
    blind = drive(Random(), goals=ONE, space=WIDE, judge=squares, budget=800)
    assert min(trial.values["latency"] for trial in blind.trials) > 15


def test_it_gains_from_its_children_and_not_from_new_random_networks():
    """In the original, half of the budget is random search for ever."""

    def late(search):
        trials = drive(search, GOALS[:1], budget=300).trials
        return np.mean([trial.values["accuracy"] for trial in trials[-100:]])

    first = [trial.values["accuracy"] for trial in drive(DeNas(), GOALS[:1], budget=50).trials]
    assert late(DeNas()) > late(DeNas(random=50)) + 0.05 > np.mean(first) + 0.1


def test_generations_have_the_sizes_that_were_asked_for():
    search = DeNas(population=12, mutation=5, crossover=3, random=2)
    steps = search.steps(WIDE, ONE, np.random.default_rng(0))
    next(steps)
    sizes, delivery = [], []
    for _ in range(4):
        codes = steps.send(delivery)
        sizes.append(len(codes))
        delivery = told(codes)
    assert sizes == [12, 10, 10, 10]


def test_parents_are_the_best_of_all_that_is_known():
    good, bad = (4,) * 12, (0,) * 12
    children = asked_after(DeNas(population=2, select=1, mutation=6, m_prob=None, s_prob=None), told([bad, good]))
    assert np.mean([apart(child, good) for child in children]) < 3 < np.mean([apart(child, bad) for child in children])


def test_crossover_takes_every_gene_from_one_of_two_members():
    one, other = (1,) * 12, (7,) * 12
    children = asked_after(DeNas(population=2, mutation=0, crossover=20), told([one, other]))
    assert len(children) == 20
    assert all(set(child) == {1, 7} for child in children)


def test_layers_and_the_whole_network_change_with_probabilities_of_their_own():
    middle = (1,) * 21
    search = {"population": 1, "mutation": 200, "crossover": 0, "scale_factor": 50}
    rows = np.array(asked_after(DeNas(**search, m_prob=0.5, s_prob=0.0), told([middle]), LAYERS))
    assert (rows[:, 0] == 1).all()
    assert np.mean(rows[:, 1:] != 1) == pytest.approx(0.5, abs=0.03)
    assert len(asked_after(DeNas(**search, m_prob=0.0, s_prob=1.0), told([middle]), LAYERS)) == 2  # width is 0 or 2
    rows = np.array(asked_after(DeNas(**search, m_prob=0.1, s_prob=1.0), told([middle]), LAYERS))
    assert (rows[:, 0] != 1).all()


def test_what_lies_beyond_a_limit_is_not_asked_for():
    asked = drive(DeNas(), bounded(30.0), WIDE, sized, budget=300).asked
    assert len(asked) >= 300 and max(map(total, asked)) <= 30
    many = drive(DeNas(), bounded(30.0, many=lambda codes_NG: codes_NG.sum(axis=1)), WIDE, sized, budget=300).asked
    assert many == asked


def test_where_nothing_random_keeps_the_limits_the_way_there_is_found():
    """Of 10^11 networks about one in ten million keeps this limit."""
    trials = drive(DeNas(), bounded(10.0), WIDE, sized, budget=600).trials
    sizes = [trial.values["size"] for trial in trials]
    assert min(sizes[:50]) > 10 >= min(sizes)
    first = next(place for place, size in enumerate(sizes) if size <= 10)
    assert all(size <= 10 for size in sizes[first + 50 :])


def test_children_are_sought_for_longer_than_random_networks():
    """One child in ten keeps this limit, of random networks one in ten thousand."""
    search = DeNas(population=1, mutation=1, crossover=0, scale_factor=1, m_prob=1.0, s_prob=1.0)
    earlier = told([(0,) * 11 + (3,)], sized)
    assert total(*asked_after(search, earlier, goals=bounded(4.0))) <= 4


def test_a_measured_limit_decides_who_breeds():
    goals = (Goal("latency", None, "min"), Goal("time", None, "min", 10.0, False))
    fast, slow = (0,) * 12, (4,) * 12
    values = {fast: {"latency": 99.0, "time": 1.0}, slow: {"latency": 0.0, "time": 20.0}}
    children = asked_after(DeNas(population=2, m_prob=None, s_prob=None), told([slow, fast], values.get), goals=goals)
    assert np.mean([apart(child, fast) for child in children]) < 3


def test_what_cannot_be_counted_is_left_to_the_study():
    def fails(code):
        raise ConfigError("no such network")

    steps = DeNas().steps(WIDE, bounded(5.0, fails), np.random.default_rng(0))
    next(steps)
    assert len(steps.send([])) == 50


def test_it_begins_with_the_networks_that_it_is_given():
    start = SPACE.decode(SPACE.largest)
    steps = DeNas(population=4, start=(start,)).steps(SPACE, GOALS[:1], np.random.default_rng(0))
    next(steps)
    codes = steps.send([])
    assert codes[0] == SPACE.largest and len(codes) == 4
    steps = DeNas(population=0, start=(start,)).steps(SPACE, GOALS[:1], np.random.default_rng(0))
    next(steps)
    assert steps.send([]) == [SPACE.largest]
    children = steps.send([Trial(0, SPACE.largest, judge(SPACE.largest), "done")])
    assert len(children) == 50


def test_without_a_first_generation_it_begins_at_random():
    assert len(drive(DeNas(population=0, mutation=1, crossover=0), GOALS[:1], budget=50).asked) == 50


def test_a_greedier_choice_of_parents():
    codes = [(level,) * 12 for level in range(4, 9)]  # from best to worst
    search = DeNas(population=5, mutation=100, crossover=0, sample=50, m_prob=None, s_prob=None, scale_factor=50)
    children = asked_after(search, told(codes))
    assert all(apart(child, codes[0]) < apart(child, codes[-1]) for child in children)


@pytest.mark.parametrize(
    "options",
    [
        {"population": -1},
        {"select": 0},
        {"sample": 0},
        {"scale_factor": 0},
        {"mutation": 0, "crossover": 0},
        {"m_prob": 1.5},
        {"s_prob": -0.1},
        {"m_prob": None},
    ],
    ids=str,
)
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DeNas(**options)


def test_one_goal_only():
    assert DeNas().objectives() == (1, 1)
    with pytest.raises(ConfigError, match="1 objective, not 2"):
        drive(DeNas(), GOALS)


def test_the_same_network_is_never_asked_for_twice():
    asked = drive(DeNas(population=5, mutation=3, crossover=3), goals=ONE, space=cube(3, 3, 3), judge=squares).asked
    assert sorted(asked) == sorted(itertools.product(range(3), repeat=3))
