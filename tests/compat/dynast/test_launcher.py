"""What launchers say in the environment, and what becomes of it."""

from __future__ import annotations

import pytest

from hwnas.compat.dynast.launcher import launched
from hwnas.errors import ConfigError


def test_the_environment_is_ignored_unless_asked_for():
    assert launched(False, 3, {"RANK": "1", "WORLD_SIZE": "2"}).workers == 3
    assert launched(False, 1, {"RANK": "1", "WORLD_SIZE": "2"}).rank == 0


@pytest.mark.parametrize("names", [("RANK", "WORLD_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")])
def test_rank_and_workers_come_from_either_launcher(names):
    launch = launched(True, 1, dict(zip(names, ("1", "4"), strict=True)))
    assert (launch.rank, launch.workers) == (1, 4)


def test_ranks_on_other_machines_are_told():
    launch = launched(True, 1, {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"})
    assert launch.workers == 2 and "the other 2 ranks" in launch.notes[1]


def test_without_a_launcher_it_is_an_error_that_names_the_way():
    with pytest.raises(ConfigError, match="needs a launcher") as refused:
        launched(True, 1, {})
    assert "--workers" in refused.value.hint


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="RANK must be a whole number, not 'first'"):
        launched(True, 1, {"RANK": "first", "WORLD_SIZE": "2"})
