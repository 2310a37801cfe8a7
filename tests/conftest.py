"""What all tests share: one thread, a cache of their own, and the toys as parts that other processes can load."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded: tests run side by side, and threads only fight for cores

import toys


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test touches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Tests that run side by side must not fight for cores; a test that needs no torch does not import it for this."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)  # first of all: who patches PYTHONPATH later puts back what has it
def toy_parts(tmp_path_factory):
    """A package outside hwnas, known to this process and to its children, with one file per toy: `toy_parts.size` …"""
    home = tmp_path_factory.mktemp("elsewhere")
    package = home / "toy_parts"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in toys.PARTS:
        (package / f"{name.lower()}.py").write_text(f"from toys import {name}\n\n__all__ = [{name!r}]\n")
    paths = [str(home), str(Path(toys.__file__).parent), os.environ.get("PYTHONPATH")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        importlib.invalidate_caches()
        yield package
