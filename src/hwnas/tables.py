"""Files of evaluated architectures as named columns: CSV, packed or not, and NumPy's .npz; nothing in them is run."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, DataError
from hwnas.space import Value

UNKNOWN = frozenset({"", "nan", "none", "null", "na", "n/a"})
"""What stands for a number that is not known, in small letters."""

Cells: TypeAlias = list[Value | None]
"""One column; None where nothing is known."""
_Place: TypeAlias = tuple[str | int, ...]
"""Where an entry stands in nested dictionaries and lists: keys and positions."""


@dataclass(frozen=True)
class Sheet:
    """A file as columns.

    Args:
        columns: by name, all of the same length.
        groups: a name in the file that stands for several columns, and those: a list or dictionary in every row, or an
            array of two dimensions.
        archs: the groups that describe whole architectures.
        places: by row: where it stands in the file, as messages say it.
    """

    columns: Mapping[str, Cells]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    archs: tuple[str, ...] = ()
    places: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """What a user may call columns: groups by their own name only."""
        inside = {name for group in self.groups.values() for name in group}
        return [*self.groups, *(name for name in self.columns if name not in inside)]


def read(path: str) -> Sheet:
    """All columns of a file.

    Raises:
        ConfigError: the file does not exist, or its name ends in nothing that is known.
        DataError: it cannot be read; names the line where that is known.
    """
    file = Path(path).expanduser()
    readers = {".csv": _read_csv, ".csv.gz": _read_csv, ".npz": _read_npz}
    reader = next((readers[end] for end in readers if file.name.lower().endswith(end)), None)
    if reader is None:
        raise ConfigError(f"a table is a file named {', '.join(readers)}, not {path!r}")
    if not file.is_file():
        raise ConfigError(f"table {path!r} does not exist")
    try:
        sheet = reader(file.read_bytes())
    except (ValueError, OSError, EOFError, BadZipFile, zlib.error, csv.Error, NotImplementedError) as error:
        raise DataError(f"table {path!r} cannot be read: {error}") from error
    if not sheet.places:
        raise DataError(f"table {path!r} holds no rows")
    return sheet


# --- text -----------------------------------------------------------------------------------------------------------


def _read_csv(raw: bytes) -> Sheet:
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header = [name.strip() for name in next(reader, [])]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice or "" in header:
        raise ValueError(
            f"line 1: the column {twice[0]!r} is there twice" if any(twice) else "line 1: a nameless column"
        )
    rows, places = [], []
    try:
        for row in reader:
            if any(map(str.strip, row)):
                if len(row) != len(header):
                    raise ValueError(f"line {reader.line_num}: {len(row)} entries for {len(header)} columns")
                rows.append(row)
                places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    columns: dict[str, Cells] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for name, words in zip(header, zip(*rows, strict=True), strict=bool(rows)):
        first = next((word.strip() for word in words if word.strip()), "")
        if first[:1] in ("{", "["):
            spread = _spread(name, [_literal(word, name, place) for word, place in zip(words, places, strict=True)])
            _add(columns, spread, name)
            groups[name] = tuple(spread)
        else:
            _add(columns, {name: _numbers_or_words(words)}, name)
    return Sheet(columns, groups, tuple(groups), places)


def _add(columns: dict[str, Cells], more: Mapping[str, Cells], source: str) -> None:
    for name, cells in more.items():
        if name in columns:
            raise ValueError(f"{source!r} holds an entry {name!r}, and there is another column of that name")
        columns[name] = cells


def _numbers_or_words(words: Sequence[str]) -> Cells:
    """Whole numbers if all that is known is, else numbers, else words."""
    known = [word.strip() for word in words if word.strip().lower() not in UNKNOWN]
    for kind in (int, float):
        try:
            numbers = iter([kind(word) for word in known])
        except ValueError:
            continue
        return [None if word.strip().lower() in UNKNOWN else next(numbers) for word in words]
    return [word.strip() or None for word in words]


def _literal(word: str, name: str, place: str) -> Any:
    """A dictionary or list as Python or JSON writes it; None for an empty entry."""
    if not word.strip():
        return None
    try:
        return ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        short = word if len(word) <= 60 else f"{word[:60]}…"
        raise ValueError(f"{place}, column {name!r}: neither Python nor JSON: {short}") from None


def _spread(name: str, rows: Sequence[Any]) -> dict[str, Cells]:
    """One column per entry of the dictionaries or lists of all rows; what is None everywhere is left out."""
    flat = [dict(_entries(row, ())) for row in rows]
    found = dict.fromkeys(place for row in flat for place in row)
    lists = {place[:-1] for place in found if place and isinstance(place[-1], int) and place[-1] > 0}
    return {_name_of(name, place, lists): [row.get(place) for row in flat] for place in found}


def _entries(value: Any, place: _Place) -> Iterator[tuple[_Place, Value]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entries(inner, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _entries(inner, (*place, position))
    elif isinstance(value, bool):
        yield place, int(value)
    elif isinstance(value, int | float | str):
        yield place, value
    else:
        raise ValueError(f"an entry is {value!r}; it can be a number, a word, or a list or dictionary of those")


def _name_of(column: str, place: _Place, lists: set[_Place]) -> str:
    """`{'ks': [3, 5]}` has the entries ks0 and ks1; a list that never has a second entry goes by its bare name."""
    name = ""
    for depth, step in enumerate(place):
        if isinstance(step, str):
            name += f".{step}" if name else step
        elif depth + 1 < len(place) or place[:-1] in lists:
            name = f"{name or column}{'.' if name[-1:].isdigit() else ''}{step}"
    return name or column


# --- arrays ---------------------------------------------------------------------------------------------------------


def _read_npz(raw: bytes) -> Sheet:
    file = np.load(io.BytesIO(raw), allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise ValueError("it is one array; columns need names: np.savez(path, arch=…, accuracy=…)")
    with file:
        arrays = {name: file[name] for name in file.files}
    flat = {name: array for name, array in arrays.items() if array.ndim in (1, 2)}
    lengths = Counter(len(array) for array in flat.values())
    rows = max(lengths, key=lambda length: (lengths[length], length), default=0)  # others describe: names, devices
    columns: dict[str, Cells] = {}
    groups: dict[str, tuple[str, ...]] = {}
    archs = []
    for name, array in flat.items():
        if len(array) != rows or array.dtype.kind not in "biufU":
            continue
        if array.ndim == 1:
            _add(columns, {name: _cells(array)}, name)
            continue
        spread = {f"{name}{place}": _cells(column) for place, column in enumerate(array.T)}
        _add(columns, spread, name)
        groups[name] = tuple(spread)
        archs += [name] * (array.dtype.kind in "biuU")
    return Sheet(columns, groups, tuple(archs), [f"row {row}" for row in range(rows)])


def _cells(array: NDArray[Any]) -> Cells:
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind == "f":
        return [value if value == value else None for value in array.astype(np.float64).tolist()]
    return list(array.tolist()) if array.dtype.kind != "U" else [value or None for value in array.tolist()]


__all__ = ["Cells", "Sheet", "read"]
