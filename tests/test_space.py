"""Spaces against brute force: a condition is a tree, a code is canonical, and nothing is counted wrongly."""

from __future__ import annotations

import doctest
from collections import Counter
from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas import space as module
from hwnas.errors import SpaceError
from hwnas.space import Choice, Space


@st.composite
def spaces(draw, most=6):
    """Small spaces with chains of conditions; values are numbers or words."""
    choices: list[Choice] = []
    for place in range(draw(st.integers(1, most))):
        values = draw(st.sampled_from([(7,), (1, 2), (5, 3, 4), ("conv", "pool"), (0.5, 1.0, 2.0), ("skip",)]))
        when = None
        if choices and draw(st.booleans()):
            parent = draw(st.sampled_from(choices))
            awake = draw(st.sets(st.sampled_from(parent.values), min_size=1))
            when = (parent.name, tuple(awake))
        choices.append(Choice(f"block.c{place}", values, when))
    return Space("random", tuple(choices))


@st.composite
def codes(draw, count=1):
    """A small space with some of its codes, canonical or not."""
    space = draw(spaces())
    code = st.tuples(*(st.integers(0, len(choice.values) - 1) for choice in space.choices))
    return space, *(draw(code) for _ in range(count))


def always(*strategies):
    return lambda test: settings(deadline=None, max_examples=80)(given(*strategies)(test))


def raw(space):
    return product(*(range(len(choice.values)) for choice in space.choices))


def read(space, code):
    """What a code means, by the words of the definition: an active choice has its condition met by an active choice."""
    values = {choice.name: choice.values[index] for choice, index in zip(space.choices, code, strict=True)}
    arch = {}
    for choice in space.choices:
        if choice.when is None or (choice.when[0] in arch and values[choice.when[0]] in choice.when[1]):
            arch[choice.name] = values[choice.name]
    return arch


CHAIN = Space(
    "chain",
    (
        Choice("top", ("a", "b")),
        Choice("middle", (1, 2), ("top", ("b",))),
        Choice("bottom", (3, 5, 7), ("middle", (1,))),  # the value whose index is 0, like that of an inactive middle
    ),
)


def wide(count):
    """A space of 10^count networks and some, the last choice of which waits for the first."""
    free = [Choice(f"free{i}", tuple(range(10))) for i in range(count)]
    return Space("wide", (*free, Choice("last", (1, 2, 3), ("free0", (9,)))))


# --- codes and architectures -----------------------------------------------------------------------------------------


@always(codes())
def test_decode_says_what_the_definition_says(drawn):
    space, code = drawn
    assert space.decode(code) == read(space, code)
    assert list(space.decode(code)) == [c.name for c, on in zip(space.choices, space.active(code), strict=True) if on]


@always(codes())
def test_encode_undoes_decode(drawn):
    space, code = drawn
    assert space.encode(space.decode(code)) == space.canonical(code)


@always(codes())
def test_encode_ignores_what_inactive_choices_say(drawn):
    space, code = drawn
    arch = {choice.name: choice.values[index] for choice, index in zip(space.choices, code, strict=True)}
    assert space.encode(arch) == space.canonical(code)


@always(codes(count=2))
def test_canonical_is_one_key_for_one_network(drawn):
    space, one, other = drawn
    key = space.canonical(one)
    assert space.canonical(key) == key
    assert space.decode(key) == space.decode(one)
    assert (key == space.canonical(other)) == (space.decode(one) == space.decode(other))
    assert all(on or index == 0 for on, index in zip(space.active(key), key, strict=True))


def test_a_condition_holds_only_if_its_choice_is_active_itself():
    assert CHAIN.active((0, 0, 2)) == (True, False, False)
    assert CHAIN.canonical((0, 0, 2)) == CHAIN.canonical((0, 1, 1)) == (0, 0, 0)
    assert CHAIN.active((1, 0, 2)) == (True, True, True)
    assert CHAIN.size == 1 + 3 + 1


def test_codes_from_numpy_become_plain_ints():
    code = CHAIN.canonical(np.array([1, 0, 2]))
    assert code == (1, 0, 2) and all(type(index) is int for index in code)


# --- how many, and which one -----------------------------------------------------------------------------------------


@always(spaces())
def test_size_is_exact_and_at_numbers_the_space(space):
    networks = {space.canonical(code) for code in raw(space)}
    assert space.size == len(networks)
    assert space.raw_size == sum(1 for _ in raw(space))
    numbered = [space.at(index) for index in range(space.size)]
    assert set(numbered) == networks and len(set(numbered)) == len(numbered)
    assert list(space.codes()) == numbered


@pytest.mark.parametrize("index", [-1, CHAIN.size, 10**30])
def test_numbers_outside_the_space(index):
    with pytest.raises(SpaceError, match=f"has 5 codes; there is no number {index}"):
        CHAIN.at(index)


def test_nothing_enumerates_a_large_space():
    space = wide(20)
    assert space.size == 10**20 + 2 * 10**19 and space.raw_size == 3 * 10**20
    rng = np.random.default_rng(0)
    ends = [space.at(0), space.at(space.size - 1), space.at(10**19)]
    for code in (*ends, space.sample(rng), space.largest, *islice(space.codes(), 3)):
        assert space.canonical(code) == code
        assert space.encode(space.decode(code)) == code
        assert space.mutate(code, rng) != code
        assert len(list(space.neighbours(code))) in (180, 182)
    assert len({*ends}) == 3
    assert space.at(np.int64(2**62)) == space.at(2**62)  # as rng.integers gives it
    assert wide(400).size > 10**400


# --- the ends, and moving about --------------------------------------------------------------------------------------


def test_the_ends_follow_the_values_not_their_order():
    space = Space(
        "ends", (Choice("depth", (3, 1, 2)), Choice("op", ("pool", "conv", "avg")), Choice("ratio", (0.5, 2)))
    )
    assert space.decode(space.smallest) == {"depth": 1, "op": "pool", "ratio": 0.5}
    assert space.decode(space.largest) == {"depth": 3, "op": "avg", "ratio": 2}
    assert Choice("stage2.block1.kernel", (3,)).axis == "kernel" and Choice("depth", (3,)).axis == "depth"


@always(spaces(), st.integers(0, 99))
def test_samples_are_canonical_and_follow_the_seed(space, seed):
    code = space.sample(np.random.default_rng(seed))
    assert code == space.canonical(code) == space.sample(np.random.default_rng(seed))


def test_every_active_choice_is_sampled_evenly():
    rng = np.random.default_rng(0)
    counts = Counter(CHAIN.sample(rng) for _ in range(6000))
    expected = {(0, 0, 0): 1 / 2, (1, 1, 0): 1 / 4, **{(1, 0, index): 1 / 12 for index in range(3)}}
    assert counts.keys() == expected.keys()
    for code, share in expected.items():
        assert counts[code] / 6000 == pytest.approx(share, abs=0.03)


@always(codes(), st.integers(0, 99), st.sampled_from([None, 0.0, 0.3, 1.0]))
def test_a_mutant_is_another_network_near_its_parent(drawn, seed, rate):
    space, parent = drawn
    rng = np.random.default_rng(seed)
    child = space.mutate(parent, rng, rate)
    assert child == space.canonical(child)
    assert (child != space.canonical(parent)) == (space.size > 1)
    before, after = space.decode(parent), space.decode(child)
    moved = sum(after[name] != before[name] for name in before.keys() & after.keys())
    movable = [c.name for c in space.choices if c.name in before and len(c.values) > 1]
    if rate == 0.0:
        assert moved == min(1, len(movable))
    if rate == 1.0:
        assert moved == sum(name in after for name in movable)


def test_mutants_reach_the_whole_space():
    rng = np.random.default_rng(0)
    code, seen = CHAIN.smallest, set()
    for _ in range(300):
        code = CHAIN.mutate(code, rng)
        seen.add(code)
    assert seen == set(CHAIN.codes())


@always(codes(count=2), st.integers(0, 99))
def test_a_child_takes_every_active_choice_from_a_parent(drawn, seed):
    space, one, other = drawn
    child = space.crossover(one, other, np.random.default_rng(seed))
    assert child == space.canonical(child)
    for place, on in enumerate(space.active(child)):
        assert not on or child[place] in (one[place], other[place])
    assert space.crossover(one, one, np.random.default_rng(seed)) == space.canonical(one)


@always(codes())
def test_neighbours_differ_in_one_active_choice(drawn):
    space, code = drawn
    key, on = space.canonical(code), space.active(code)
    around = list(space.neighbours(code))
    assert len(around) == sum(len(c.values) - 1 for c, active in zip(space.choices, on, strict=True) if active)
    assert len(set(around)) == len(around) and key not in around
    expected = {
        space.canonical((*key[:place], index, *key[place + 1 :]))
        for place, active in enumerate(on)
        if active
        for index in range(len(space.choices[place].values))
    }
    assert {*around, key} == expected | {key}
    here = space.decode(key)
    for neighbour in around:
        there = space.decode(neighbour)
        assert sum(there[name] != here[name] for name in here.keys() & there.keys()) == 1


# --- as numbers, as text ---------------------------------------------------------------------------------------------


@always(codes())
def test_one_hot_has_a_column_per_value_and_none_for_the_inactive(drawn):
    space, code = drawn
    row = space.one_hot(code)
    assert row.shape == (sum(len(choice.values) for choice in space.choices),)
    columns = [(choice.name, value) for choice in space.choices for value in choice.values]
    assert dict(columns[i] for i in np.flatnonzero(row)) == space.decode(code)
    assert set(row) <= {0.0, 1.0}


def test_the_fingerprint_tells_what_codes_mean():
    plain = Space("one", (Choice("depth", (1, 2)), Choice("kernel", (3, 5), ("depth", (2,)))))
    same = Space("renamed", plain.choices)
    others = [
        Space("one", (Choice("depth", (2, 1)), plain.choices[1])),
        Space("one", (plain.choices[0], Choice("kernel", (3, 5)))),
        Space("one", (plain.choices[0], Choice("kernel", (3, 7), ("depth", (2,))))),
        Space("one", (plain.choices[0],)),
        Space("one", (plain.choices[0], Choice("side", (3, 5), ("depth", (2,))))),
    ]
    assert plain.fingerprint == same.fingerprint and int(plain.fingerprint, 16) < 16**16
    assert len({plain.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


# --- what is refused, and in which words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ((0, 0), "has 3 entries, this one has 2"),
        ((2, 0, 0), "'top' takes an index from 0 to 1, got 2"),
        ((0, -1, 0), "'middle' takes an index from 0 to 1, got -1"),
        ((0, 0, 1.0), "'bottom' takes an index from 0 to 2, got 1.0"),
        ((True, 0, 0), "'top' takes an index from 0 to 1, got True"),
        (("a", 0, 0), "'top' takes an index from 0 to 1, got 'a'"),
    ],
)
@pytest.mark.parametrize("use", ["check", "canonical", "decode", "one_hot"])
def test_codes_that_do_not_belong(code, message, use):
    with pytest.raises(SpaceError, match=message):
        getattr(CHAIN, use)(code)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"tpo": "a"}, "no choice 'tpo'; did you mean 'top'\\? known: top, middle, bottom"),
        ({"top": "c"}, "'top' cannot be 'c'; allowed: \\('a', 'b'\\)"),
        ({"top": "b"}, "gives no value for 'middle'; allowed: \\(1, 2\\)"),
        ({"middle": 1}, "gives no value for 'top'; allowed: \\('a', 'b'\\)"),
        ({"top": "b", "middle": 1, "bottom": 9}, "'bottom' cannot be 9; allowed: \\(3, 5, 7\\)"),
    ],
)
def test_architectures_that_do_not_belong(arch, message):
    with pytest.raises(SpaceError, match=message):
        CHAIN.encode(arch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice("kernel", ()), "'kernel' needs at least one value"),
        (lambda: Choice("kernel", (3, 5, 3)), "no value twice, got \\(3, 5, 3\\)"),
        (lambda: Space("none", ()), "'none' has no choices"),
        (lambda: Space("twice", (Choice("a", (1,)), Choice("a", (2,)))), "two choices named 'a'"),
        (lambda: Space("early", (Choice("b", (1,), ("a", (1,))), Choice("a", (1,)))), "'b' depends on 'a', which must"),
        (
            lambda: Space("never", (Choice("a", (1,)), Choice("b", (1,), ("a", (2,))))),
            "to be \\(2,\\); it can be \\(1,",
        ),
        (lambda: Space("empty", (Choice("a", (1,)), Choice("b", (1,), ("a", ())))), "to be \\(\\); it can be"),
    ],
)
def test_spaces_that_make_no_sense(make, message):
    with pytest.raises(SpaceError, match=message):
        make()


def test_examples_in_docstrings():
    assert doctest.testmod(module).failed == 0
