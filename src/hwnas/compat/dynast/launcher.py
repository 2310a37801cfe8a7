"""Distributed search: what a launcher such as mpirun or torchrun says in the environment, and what is made of it.

DyNAS-T starts one process per rank, which exchange networks through torch.distributed. Here one process drives the
search, rank 0, with as many workers of its own as ranks were started on this machine; the other ranks end at once. A
worker that dies costs the network in hand, and every tactic can be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """The part of this process in a search.

    Args:
        rank: 0 drives; the others have nothing to do.
        workers: processes that evaluate networks at once.
    """

    rank: int = 0
    workers: int = 1
    notes: tuple[str, ...] = ()


LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)
"""Of torchrun and of Open MPI: the variables with the rank, the number of ranks, and how many are on this machine."""


def launched(distributed: bool, workers: int, environment: Mapping[str, str]) -> Launch:
    """What is asked of this process; the environment is only looked at where a distributed search is asked for.

    Raises:
        ConfigError: there is no launcher, or its variables make no sense.
    """
    if not distributed:
        return Launch(workers=workers)
    for rank, size, local in LAUNCHERS:
        if rank in environment and size in environment:
            number, total = _whole(rank, environment), _whole(size, environment)
            here = _whole(local, environment) if local in environment else total
            notes = [f"{here} worker processes on this machine evaluate networks; no process group is needed"]
            if here < total:
                notes.append(f"the other {total - here} ranks are on other machines, which are not used")
            return Launch(number, here, tuple(notes))
    raise ConfigError(
        "--distributed needs a launcher, and none has set its variables (RANK and WORLD_SIZE)",
        hint="start it with `mpirun -np 2 dynast …` or `torchrun`; or leave --distributed out and give --workers 2",
    )


def _whole(name: str, environment: Mapping[str, str]) -> int:
    text = environment[name].strip()
    if not text.isdigit():
        raise ConfigError(f"the launcher's variable {name} must be a whole number, not {text!r}")
    return int(text)


__all__ = ["Launch", "launched"]
