"""The tree of errors as drawn, and the words that lead back from a typing mistake."""

from __future__ import annotations

import doctest
import inspect
import re

import pytest

from hwnas import errors
from hwnas.errors import ConfigError, HwnasError, MissingExtraError, nearest

CLASSES = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, Exception)}


def drawn():
    """The tree in the docstring as {name: parent}."""
    parents, path = {}, []
    for bars, name in re.findall(r"^([│├└─ ]*)([A-Z]\w+)(?= {2}|$)", errors.__doc__, re.MULTILINE):
        path[len(bars) // 4 :] = [name]
        parents[name] = path[-2] if len(path) > 1 else "Exception"
    return parents


def test_the_docstring_draws_every_class_under_its_parent():
    assert drawn() == {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}


def test_callers_can_catch_what_they_would_expect():
    for name, cls in CLASSES.items():
        builtin = next(base for base in cls.__mro__ if base.__module__ == "builtins")
        assert builtin in (ValueError, RuntimeError, ImportError) or name in ("HwnasError", "Interrupted")


def test_every_class_says_what_it_means():
    assert all(cls.__doc__ and cls.__doc__.endswith(".") for cls in CLASSES.values())


def test_a_hint_has_a_line_of_its_own():
    assert str(HwnasError("no room", hint="make some")) == "no room\nmake some"
    assert str(HwnasError("no room")) == "no room"
    error = ConfigError("3 is too much", path="goals.x.limit", hint="try 2")
    assert (str(error), error.path, error.hint) == ("goals.x.limit: 3 is too much\ntry 2", "goals.x.limit", "try 2")


def test_a_missing_package_comes_with_the_line_that_installs_it():
    with pytest.raises(ImportError, match=r"'ray'\npip install \"hwnas\[ray\]\""):
        raise MissingExtraError("ray", "ray")


@pytest.mark.parametrize(
    ("given", "known", "answer"),
    [
        ("evolutoin", ["random", "evolution"], "did you mean 'evolution'? known: random, evolution"),
        ("zen", ["random", "evolution"], "known: random, evolution"),
        ("zen", [], "known: none"),
        (3, [3, 5], "did you mean '3'? known: 3, 5"),
        ("x", range(25), f"known: {', '.join(map(str, range(20)))}, … (25 in all)"),
    ],
)
def test_nearest(given, known, answer):
    assert nearest(given, known) == answer


def test_examples_in_docstrings():
    assert doctest.testmod(errors).failed == 0
