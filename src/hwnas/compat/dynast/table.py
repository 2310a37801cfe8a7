"""Result files in DyNAS-T's format: read in all the forms that older programs wrote, and appended to, never truncated.

One row per evaluated network: its dict as a Python literal, the date, and one column per metric; an empty cell is a
value that was not measured.
"""

from __future__ import annotations

import ast
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from hwnas.compat.dynast.metrics import EXACT, MEASURES
from hwnas.compat.dynast.supernets import Supernet
from hwnas.errors import DataError, SpaceError
from hwnas.space import Code

NETWORK, DATE = "Sub-network", "Date"


@dataclass(frozen=True)
class Content:
    """What a result file holds.

    Args:
        columns: its header, as it is written there.
        values: by network: what is known of it, in the units of the file; repeated measurements are averaged, and
            what follows from the architecture is computed.
        notes: what is strange about the file, in sentences.
        newline: how its lines end.
    """

    columns: tuple[str, ...]
    values: Mapping[Code, Mapping[str, float]]
    notes: tuple[str, ...]
    newline: str


def header(supernet: Supernet) -> tuple[str, ...]:
    """The columns of a new file."""
    return (NETWORK, DATE, *(MEASURES[name].column for name in supernet.metrics))


def metric_of(column: str) -> str:
    """The metric that a column holds, by any of its names; empty for none."""
    word = column.strip().lower()
    return next((measure.name for measure in MEASURES.values() if word in measure.aliases), "")


def read(path: Path, supernet: Supernet, classes: int = 1000) -> Content:
    """A result file, written by this or by an older program.

    Columns are found by their names. 0 in a column of costs, or in a whole column, is "not measured". A blank first
    line, spaces in the header and blank lines at the end are tolerated.

    Raises:
        DataError: it cannot be read; names line and column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    columns: tuple[str, ...] = ()
    seen: list[tuple[int, Code, dict[str, float]]] = []
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not columns:
                columns = _checked_header(row, path)
                continue
            code, values = _row(row, columns, supernet, f"{path}, line {rows.line_num}")
            seen.append((rows.line_num, code, values))
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}") from error
    newline = "\r\n" if "\r\n" in text else "\n"
    return Content(columns, *_settled(seen, supernet, classes, path), newline)


def _checked_header(row: Sequence[str], path: Path) -> tuple[str, ...]:
    names = [cell.strip() for cell in row]
    if NETWORK.lower() not in (name.lower() for name in names):
        message = f"{path}, line 1: the header has no column {NETWORK!r}, it is {', '.join(names)}"
        raise DataError(message, hint="a result file begins with: " + ",".join((NETWORK, DATE, "MACs", "…")))
    found = [metric for metric in map(metric_of, names) if metric]
    if twice := [metric for metric in found if found.count(metric) > 1]:
        raise DataError(f"{path}, line 1: two columns hold {twice[0]}", hint="leave one of them out")
    return tuple(names)


def _row(row: Sequence[str], columns: Sequence[str], supernet: Supernet, place: str) -> tuple[Code, dict[str, float]]:
    if len(row) != len(columns):
        raise DataError(f"{place}: there are {len(row)} cells under {len(columns)} columns")
    values: dict[str, float] = {}
    code: Code = ()
    for column, raw in zip(columns, row, strict=True):
        cell, metric = raw.strip(), metric_of(column)
        if column.lower() == NETWORK.lower():
            code = _network(cell, supernet, f"{place}, column {column!r}")
        elif metric and cell:
            try:
                number = float(cell)
            except ValueError:
                raise DataError(f"{place}, column {column!r}: {cell!r} is no number") from None
            if not np.isfinite(number):
                raise DataError(f"{place}, column {column!r}: {cell!r} is not finite")
            if number or not MEASURES[metric].costly:
                values[metric] = number
    return code, values


def _network(cell: str, supernet: Supernet, place: str) -> Code:
    try:
        config = ast.literal_eval(cell.replace("null", "None"))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{place}: {cell[:60]!r} is no dict of lists") from error
    if not isinstance(config, dict):
        raise DataError(f"{place}: {cell[:60]!r} is no dict of lists")
    try:
        return supernet.code(config)
    except SpaceError as error:
        raise DataError(f"{place}: {error}", hint=f"is the file about {supernet.name}?") from error


def _settled(
    seen: Sequence[tuple[int, Code, dict[str, float]]], supernet: Supernet, classes: int, path: Path
) -> tuple[dict[Code, dict[str, float]], tuple[str, ...]]:
    """One entry per network, and what is strange about the rows."""
    if not seen:
        return {}, ()
    idle = {
        name for name in MEASURES if not MEASURES[name].costly and not any(values.get(name) for _, _, values in seen)
    }
    macs, params = supernet.counts(np.array([code for _, code, _ in seen]), classes)
    exact = {name: counts.tolist() for name, counts in zip(EXACT, (macs, params), strict=True)}
    notes = []
    for name, counts in exact.items():
        wrong = [
            line for (line, _, values), count in zip(seen, counts, strict=True) if values.get(name, count) != count
        ]
        if wrong:
            lines = f"line {wrong[0]}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
            what = f"the column of {name} differs from what the architecture has ({lines})"
            notes.append(f"{path}: {what}; the exact number is used. Are its columns shifted, or counted otherwise?")
    found: dict[Code, dict[str, list[float]]] = {}
    for number, (_, code, values) in enumerate(seen):
        entry = found.setdefault(code, {name: [float(counts[number])] for name, counts in exact.items()})
        for name, value in values.items():
            if name not in (*EXACT, *idle):
                entry.setdefault(name, []).append(value)
    if len(found) < len(seen):
        notes.append(
            f"{path}: {len(seen) - len(found)} rows repeat a network of an earlier row; its values are averaged"
        )
    averaged = {code: {name: float(np.mean(many)) for name, many in entry.items()} for code, entry in found.items()}
    return averaged, tuple(notes)


class Results:
    """A result file that grows: rows are only ever added, each in one piece.

    Args:
        columns: of the file that is there; None begins one with the header of the super-network.
        newline: how its lines end.
    """

    def __init__(
        self, path: Path, supernet: Supernet, columns: Sequence[str] | None = None, newline: str = "\n"
    ) -> None:
        self.path, self.supernet = path, supernet
        self.columns, self.newline = tuple(columns or header(supernet)), newline
        self.known: set[Code] = set()
        if not columns:
            self._write([list(self.columns)])

    @classmethod
    def of(cls, path: Path, supernet: Supernet, classes: int = 1000) -> Results:
        """The file of a run: what is there is gone on with; a row that a kill cut short is taken back first.

        The record of the run holds that row, so it is written again as a whole.
        """
        if not path.exists() or not path.stat().st_size:
            return cls(path, supernet)
        raw = path.read_bytes()
        if not raw.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(raw.rfind(b"\n") + 1)
            return cls.of(path, supernet, classes)
        content = read(path, supernet, classes)
        results = cls(path, supernet, content.columns, content.newline)
        results.known = set(content.values)
        return results

    def append(self, networks: Iterable[tuple[Code, Mapping[str, float]]]) -> None:
        """Adds networks that are not there yet, with their values in the units of the file."""
        rows = []
        for code, values in networks:
            if code in self.known:
                continue
            self.known.add(code)
            now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")
            told = {NETWORK.lower(): repr(self.supernet.row(code)), DATE.lower(): now}
            cells = {metric: _written(metric, value) for metric, value in values.items()}
            rows.append([told.get(column.lower(), cells.get(metric_of(column), "")) for column in self.columns])
        if rows:
            self._write(rows)

    def _write(self, rows: Iterable[Sequence[str]]) -> None:
        """All rows in one call to the system, so that whoever reads meanwhile sees whole ones."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=self.newline).writerows(rows)
        with self.path.open("ab") as file:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())


def _written(metric: str, value: float) -> str:
    """Counts as whole numbers, all else with the digits that a measurement may have."""
    return f"{value:.0f}" if metric in EXACT else f"{value:.9g}"


__all__ = ["Content", "Results", "header", "metric_of", "read"]
