"""Networks whose values are known already: read from a file, or from an earlier run in the same space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hwnas.candidate import Family
from hwnas.errors import ConfigError, DataError, nearest
from hwnas.records import Records, sqlite_url
from hwnas.space import Choice, Code, Space, Value
from hwnas.tables import Sheet, read


def from_file(family: Family, path: str, column: str) -> Iterator[tuple[Code, float]]:
    """What a table says in one column, row by row; it has a column for every choice of the family.

    Raises:
        ConfigError: a column is missing.
        DataError: a cell holds nothing, or what the choice cannot be; names the line.
    """
    sheet = read(path)
    if column not in sheet.columns:
        message = f"table {path!r} has no column {column!r}; {nearest(column, sheet.columns)}"
        raise ConfigError(message)
    codes = _codes(sheet, family.space, path)
    for code, cell, where in zip(codes, sheet.columns[column], sheet.places, strict=True):
        if isinstance(cell, str):
            raise DataError(f"table {path!r}, {where}, column {column!r}: {cell!r} is no number")
        if cell is not None and math.isfinite(cell):
            yield code, float(cell)


def from_run(family: Family, run: str, goal: str) -> Iterator[tuple[Code, float]]:
    """The values of one goal in the folder of a run.

    Raises:
        ConfigError, DataError: there is no such run, it searched another space, or it has no such goal.
    """
    file = Path(run) / "study.db"
    if not file.exists():
        raise ConfigError(f"there is no run in {run!r}", hint="give the folder that a search made")
    records = Records(sqlite_url(file))
    try:
        names = records.names()
        if not names:
            raise DataError(f"the run in {run!r} was never begun")
        record = records.open(names[0])  # the run itself; a baseline beside it comes later
        if record.identity.get("space") != family.space.fingerprint:
            theirs = record.identity.get("family")
            message = f"the run in {run!r} searched another space, that of family {theirs}"
            raise ConfigError(message, hint=f"this family is {family.name!r}; its choices must be the same")
        trials = record.trials("search")
    finally:
        records.close()
    known = list(dict.fromkeys(name for trial in trials for name in trial.values))
    if goal not in known:
        raise ConfigError(f"the run in {run!r} has no values of goal {goal!r}; {nearest(goal, known)}")
    for trial in trials:
        if trial.finished and goal in trial.values:
            yield trial.code, float(trial.values[goal])


def _codes(sheet: Sheet, space: Space, path: str) -> Iterator[Code]:
    """The networks of a table, row by row.

    Raises:
        ConfigError: a choice has no column.
        DataError: a cell holds nothing, or what the choice cannot be; names the line.
    """
    for choice in space.choices:
        if choice.name not in sheet.columns and len(choice.values) > 1:
            message = f"table {path!r} has no column {choice.name!r}, a choice of family {space.name!r}"
            raise ConfigError(f"{message}; {nearest(choice.name, sheet.columns)}")
    for row, where in enumerate(sheet.places):
        arch: dict[str, Value] = {}
        for choice in space.choices:
            if choice.when is not None and arch.get(choice.when[0]) not in choice.when[1]:
                continue
            arch[choice.name] = _value(sheet, choice, row, f"table {path!r}, {where}, column {choice.name!r}")
        yield space.encode(arch)


def _value(sheet: Sheet, choice: Choice, row: int, where: str) -> Value:
    """One choice as a row has it; a number may be written as a word in a column where others are words."""
    if choice.name not in sheet.columns:
        return choice.values[0]
    cell = sheet.columns[choice.name][row]
    for value in choice.values:
        if cell == value or (cell is not None and str(cell) == str(value)):
            return value
    raise DataError(f"{where}: {cell!r} is no value of this choice; it can be {list(choice.values)!r}")
