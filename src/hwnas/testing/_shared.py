"""What all checks share: how a broken promise is told, and a part's spec, its files and the state around it."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from hwnas import parts

Check: TypeAlias = Callable[..., None]


def require(condition: object, sentence: str) -> None:
    """Raises AssertionError with this sentence unless the condition holds; also under `python -O`."""
    if not condition:
        raise AssertionError(sentence)


def hold(promises: Iterable[Check], part: Any) -> None:
    """Checks one promise after the other; the first that is broken is raised."""
    for promise in promises:
        promise(part)


def folders_of(cls: type) -> tuple[str, ...]:
    """The folders of the protocol that a class inherits from; none if it inherits from none."""
    return getattr(cls, "__parts__", ())


def spec_for(part: Any) -> parts.Spec:
    """The spec of a part, which has to have one."""
    spec = parts.spec_of(part)
    if spec is None:
        kind = type(part).__name__
        raise AssertionError(f"{kind} has no spec: it must be first in `__all__` of a module in a package")
    return spec


def keeping(part: Any, place: Path) -> dict[str, Path]:
    """The option that makes a part keep its files in another place, if it keeps any."""
    return {"folder": place} if any(option.name == "folder" for option in fields(part)) else {}


@contextmanager
def elsewhere(part: Any, **changes: Any) -> Iterator[Any]:
    """A fresh copy with some options changed; one that keeps files keeps them in a folder that goes away."""
    with TemporaryDirectory() as place:
        yield replace(part, **keeping(part, Path(place)), **changes)


def require_fingerprint(text: str) -> None:
    """A fingerprint is sixteen hex digits."""
    good = len(text) == 16 and set(text) <= set("0123456789abcdef")
    require(good, f"a fingerprint is sixteen hex digits, not {text!r}")


def _ambient() -> dict[str, Any]:
    """Everything global that a part could disturb, by name; of torch only where it is loaded."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  # to see that nobody draws from it
    state: dict[str, Any] = {
        "the random state of Python": random.getstate(),
        "the random state of NumPy": (kind, np.asarray(keys).tobytes(), *rest),
        "the working directory": os.getcwd(),
        "the environment": dict(os.environ),
    }
    if "torch" in sys.modules:
        import torch

        state |= {
            "the random state of torch": torch.random.get_rng_state().numpy().tobytes(),
            "torch's default type": torch.get_default_dtype(),
            "torch's default device": torch.get_default_device(),
            "torch's number of threads": torch.get_num_threads(),
            "whether torch keeps gradients": torch.is_grad_enabled(),
            "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        }
    return state


@contextmanager
def unchanged(what: str) -> Iterator[None]:
    """Inside this block no global state may change; `what` is who would be to blame."""
    before = _ambient()
    yield
    after = _ambient()
    known = before["the environment"]  # libraries may add to it when they are first imported
    after["the environment"] = {name: value for name, value in after["the environment"].items() if name in known}
    changed = [name for name in before if before[name] != after[name]]
    require(not changed, f"{what} changes {' and '.join(changed)}")
