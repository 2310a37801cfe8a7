"""A user's search space: any values, any size, sorted names."""

from __future__ import annotations

import pytest

from hwnas.compat.neural_compressor.choices import Choices, create_search_space_pool
from hwnas.errors import ConfigError, SpaceError


def test_the_pool_has_the_original_order():
    pool = create_search_space_pool({"dimensions": [32, 64], "channels": (16, 8)})
    assert pool == [
        {"channels": 16, "dimensions": 32},
        {"channels": 16, "dimensions": 64},
        {"channels": 8, "dimensions": 32},
        {"channels": 8, "dimensions": 64},
    ]
    assert [list(arch) for arch in pool] == [["channels", "dimensions"]] * 4


def test_a_pool_of_a_huge_space_is_refused():
    with pytest.raises(SpaceError, match=r"2\.95e\+21 networks.*GridSearcher"):
        create_search_space_pool({f"gene{i}": [0, 1, 2] for i in range(45)})


def test_equal_values_count_once():
    assert Choices({"a": [1, 1, 2], "b": [[1], (1,), [2]]}).size == 4


def test_values_may_be_anything():
    blocks = [[3, 5], {"kernel": 3}, None, "none", True]
    choices = Choices({"block": blocks})
    assert [choices.decode((index,))["block"] for index in range(5)] == blocks
    assert choices.key({"block": [3, 5]}) == ((3, 5),)
    assert choices.arch(((3, 5),))["block"] is blocks[0]
    assert len(choices.space.choices[0].values) == 5


def test_numbers_keep_their_order_for_algorithms():
    space = Choices({"width": [0.5, 1, 2], "act": ["relu", "gelu"]}).space
    assert [choice.values for choice in space.choices] == [("relu", "gelu"), (0.5, 1, 2)]


def test_whether_an_architecture_is_inside():
    choices = Choices({"a": [1, 2], "b": [[1, 2]]})
    assert {"a": 1, "b": (1, 2)} in choices
    assert {"a": 3, "b": [1, 2]} not in choices


@pytest.mark.parametrize("space", [None, {}, [1, 2], {"a": []}, {"a": 3}, {"a": "relu"}, {1: [2]}])
def test_what_is_no_space(space):
    with pytest.raises(ConfigError, match="a dict of lists"):
        Choices(space)


def test_an_architecture_has_the_names_of_the_space():
    choices = Choices({"b": [1], "a": [2]})
    assert list(choices.checked({"b": 1, "a": 2})) == ["a", "b"]
    with pytest.raises(SpaceError, match="no 'bb'; did you mean 'b'"):
        choices.checked({"a": 2, "bb": 1})
    with pytest.raises(SpaceError, match="no value for b"):
        choices.checked({"a": 2})
    with pytest.raises(SpaceError, match="is a dict"):
        choices.checked([2, 1])
