"""Approaches by name."""

from __future__ import annotations

import pytest

from hwnas.compat.neural_compressor import BasicNAS, DyNAS, NASMethods, nas_registry
from hwnas.errors import ConfigError


def test_the_built_in_approaches():
    assert NASMethods["basic"] is BasicNAS
    assert NASMethods["dynas"] is DyNAS


def test_a_class_is_registered_in_small_letters_and_comes_back_as_it_is(monkeypatch):
    monkeypatch.setitem(NASMethods, "mine", None)

    class Mine:
        pass

    assert nas_registry("MINE")(Mine) is Mine
    assert NASMethods["mine"] is Mine


@pytest.mark.parametrize("name", ["", None, BasicNAS])
def test_a_name_is_a_string(name):
    with pytest.raises(ConfigError, match="under a name"):
        nas_registry(name)
