"""A table of evaluated architectures: any CSV or .npz file, to search in without building or measuring anything.

Columns that say what an architecture is become the choices of the space, the others are values, which the metric
`quality.tabular` reads. Nothing can be built, so nothing is trained, measured or exported.
"""

# Shape letters: N codes, R listed networks, G choices, F one-hot columns.

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from hwnas.candidate import Family
from hwnas.codes import active
from hwnas.errors import ConfigError, DataError, MetricError, SpaceError, nearest
from hwnas.space import Arch, Choice, Code, Space, Value
from hwnas.tables import Cells, Sheet, read

if TYPE_CHECKING:
    from torch import Tensor, nn

FEW = 20
"""A column of whole numbers or words is taken as a choice if it has at most so many values, each in two rows or more
on average."""
_CHUNK = 2**22
"""Pairs of a code and a row that are compared at once in the search for the nearest row."""


@dataclass(frozen=True)
class Table(Family):
    """The networks that a file lists, with their values; a code that is not listed stands for the nearest row.

    A column of dictionaries or lists, as DyNAS-T writes them, is spread into one choice per entry: `{'ks': [3, 5]}` has
    the choices `ks0` and `ks1`; so is an array of two dimensions. Rows of one network are one: its values are their
    means. Empty entries and NaN are not known.

    Where fewer networks are listed than the choices allow, the row with the fewest differing choices answers for a
    code, the first of several; a choice that is active in only one of the two differs. So any search runs on any table;
    but where hardly any neighbour of a network is listed, one that moves in small steps stands still, and comparing
    searches with one another needs a full table.

    Args:
        path: a .csv file with a header line, packed as .csv.gz or not, or an .npz file with one array per column.
        choices: the columns that are choices. None takes those that hold dictionaries, lists or rows of whole numbers;
            where there are none, those of whole numbers or words with few values. What never varies is then left out.
        when: what a choice depends on: `{block3: {depth: [3, 4]}}` ignores the column block3 where depth is not 3 or 4.
    """

    path: str
    choices: tuple[str, ...] | None = None
    when: Mapping[str, Mapping[str, Any]] | None = field(default=None, hash=False)

    buildable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.choices is not None and (not self.choices or len(set(self.choices)) < len(self.choices)):
            raise ConfigError(f"choices takes names of columns, none twice, not {list(self.choices)!r}")
        for name, condition in (self.when or {}).items():
            if len(condition) != 1:
                message = f"choice {name!r} may depend on one other choice, not on {', '.join(condition) or 'none'}"
                raise ConfigError(message, hint=f"write `when: {{{name}: {{depth: [3, 4]}}}}`")

    @classmethod
    def example(cls, place: Path) -> Self:
        """Five rows of a space of twelve networks, written into a file for the contract tests."""
        rows = ("1,relu,,10,61.5", "2,relu,3,25,70.5", "2,gelu,5,40,74.0", "2,gelu,3,30,72.25", "1,gelu,7,12,64.0")
        text = "\n".join(("depth,act,second,cost,accuracy", *rows))
        (place / "table.csv").write_text(text, encoding="utf-8")
        return cls(str(place / "table.csv"), ("depth", "act", "second"), {"second": {"depth": [2]}})

    @property
    def name(self) -> str:
        return Path(self.path).name.partition(".")[0]

    @property
    def space(self) -> Space:
        return self._listed.space

    def build(self, arch: Arch, /) -> nn.Module:
        self._refuse()

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        self._refuse()

    def supernet(self) -> nn.Module:
        self._refuse()

    def _refuse(self) -> NoReturn:
        message = f"table {self.path!r} holds values and no networks, so nothing can be built, trained or measured"
        raise ConfigError(message, hint="let every goal read a column: {max: {quality.tabular: {column: accuracy}}}")

    def canonical(self, code: Code, /) -> Code:
        """The code of the row that answers for this one: its own, or the nearest."""
        return self._listed.codes[int(self._rows(np.array([self.space.check(code)], dtype=np.int64))[0])]

    def value(self, column: str, code: Code, /) -> float:
        """What the table says about a network, or about the row that answers for it, in the table's own unit.

        Raises:
            ConfigError: there is no such column of numbers.
            DataError: the column holds words.
            MetricError: the value is not known.
        """
        return float(self.values(column, np.array([self.space.check(code)], dtype=np.int64))[0])

    def values(self, column: str, codes_NG: NDArray[np.int64], /) -> NDArray[np.float64]:
        """The same for many codes at once: N.

        Raises:
            ConfigError: there is no such column of numbers.
            DataError: the column holds words.
            MetricError: the value is not known.
        """
        value_R, row_N = self.column(column), self._rows(codes_NG)
        value_N = value_R[row_N]
        unknown_N = np.flatnonzero(np.isnan(value_N))
        if len(unknown_N):
            arch = self.space.decode(self._listed.codes[row_N[unknown_N[0]]])
            raise MetricError(f"table {self.path!r} has no {column!r} for {arch}")
        return value_N

    def column(self, name: str, /) -> NDArray[np.float64]:
        """One column, a value per listed network in the order of their first rows; NaN where nothing is known.

        Raises:
            ConfigError: there is no such column of numbers.
            DataError: the column holds words.
        """
        listed = self._listed
        if name in listed.values:
            return listed.values[name]
        if name in listed.words:
            place, word = listed.words[name]
            raise DataError(f"table {self.path!r}, {place}, column {name!r}: {word!r} is no number")
        taken = [choice.name for choice in self.space.choices]
        if name in taken:
            message = f"column {name!r} of table {self.path!r} was taken as a choice, so it is no value"
            raise ConfigError(message, hint=f"name the choices in the option `choices`; taken: {_few(taken)}")
        message = f"table {self.path!r} has no column of numbers named {name!r}; {nearest(name, listed.values)}"
        raise ConfigError(message, hint=f"as choices were taken: {_few(taken)}")

    @property
    def summary(self) -> str:
        """What was read, in a line for people."""
        listed = self._listed
        known = f"{listed.rows:,} rows" + (f" about {len(listed.codes):,} networks" * (listed.rows > len(listed.codes)))
        kinds = {"choices": [choice.name for choice in self.space.choices], "values": list(listed.values)}
        return "; ".join(
            [f"{self.path}: {known}", *(f"{kind}: {_few(names) or 'none'}" for kind, names in kinds.items())]
        )

    def _rows(self, codes_NG: NDArray[np.int64]) -> NDArray[np.intp]:
        """The listed networks that answer for codes: N."""
        marked_NG, known = _marked(self.space, codes_NG), self._listed.row_of
        row_N = np.array([known.get(own.tobytes(), -1) for own in marked_NG], dtype=np.intp)
        far_N = np.flatnonzero(row_N < 0)
        step = max(1, _CHUNK // len(known))
        for some_N in np.split(far_N, range(step, len(far_N), step)):
            alike_NR = _one_hot(self.space, marked_NG[some_N]) @ self._listed.one_hot_RF.T
            row_N[some_N] = alike_NR.argmax(axis=1)
        return row_N

    @functools.cached_property
    def _listed(self) -> _Listed:
        sheet = read(self.path)
        try:
            return _listed(sheet, self._taken(sheet), self.when or {}, self.name)
        except _Wrong as error:
            raise DataError(f"table {self.path!r}{error.args[0]}", hint=error.args[1]) from None
        except SpaceError as error:
            raise ConfigError(f"table {self.path!r}: {error.args[0]}") from error

    def _taken(self, sheet: Sheet) -> list[str]:
        """The columns that are choices, those first on which others depend."""
        when = {name: next(iter(condition)) for name, condition in (self.when or {}).items()}
        if self.choices is None:
            taken = list(_inferred(sheet, {*when, *when.values()}))
            if not taken:
                message = f"no column of table {self.path!r} looks like a choice: whole numbers or words, few values"
                raise ConfigError(message, hint=f"name them in the option `choices`; columns: {_few(sheet.names)}")
        else:
            for name in self.choices:
                if name not in sheet.names and name not in sheet.columns:
                    raise ConfigError(f"table {self.path!r} has no column {name!r}; {nearest(name, sheet.names)}")
            taken = [own for name in self.choices for own in sheet.groups.get(name, (name,))]
        for name in (name for pair in when.items() for name in pair if name not in taken):
            raise ConfigError(f"`when` names {name!r}, which is no choice; {nearest(name, taken)}")
        return sorted(taken, key=lambda name: _generation(name, when))


@dataclass(frozen=True)
class _Listed:
    """A table's networks.

    Args:
        codes: R, in the order of their first rows.
        marked_RG: the same with -1 for choices that are not active.
        values: by column: R.
        words: by column that is none of numbers: where its first word stands, and that.
        rows: of the file.
    """

    space: Space
    codes: list[Code]
    marked_RG: NDArray[np.int16]
    values: dict[str, NDArray[np.float64]]
    words: dict[str, tuple[str, Value]]
    rows: int

    @functools.cached_property
    def row_of(self) -> dict[bytes, int]:
        """The row of a marked code, by its bytes."""
        return {own.tobytes(): row for row, own in enumerate(self.marked_RG)}

    @functools.cached_property
    def one_hot_RF(self) -> NDArray[np.float32]:
        """For the product with other codes, which counts the choices that agree."""
        return _one_hot(self.space, self.marked_RG)


class _Wrong(Exception):
    """Something in the file: where and what, and the remedy."""


def _listed(sheet: Sheet, taken: Sequence[str], when: Mapping[str, Mapping[str, Any]], name: str) -> _Listed:
    count = len(sheet.places)
    raw_NG = np.zeros((count, len(taken)), dtype=np.int64)
    awake: dict[str, NDArray[np.bool_]] = {}
    choices: list[Choice] = []
    for place, own in enumerate(taken):
        awake[own], condition = np.ones(count, dtype=bool), None
        if own in when:
            ((other, allowed),) = when[own].items()
            condition = (other, tuple(allowed) if isinstance(allowed, list | tuple) else (allowed,))
            holds = [cell in condition[1] for cell in sheet.columns[other]]
            awake[own] = awake[other] & np.array(holds, dtype=bool)
        rows = np.flatnonzero(awake[own]).tolist()
        values = _values(sheet, own, rows)
        choices.append(Choice(own, values, condition))
        position = {value: index for index, value in enumerate(values)}
        raw_NG[rows, place] = [position[sheet.columns[own][row]] for row in rows]  # type: ignore[index]  # none is None
    space = Space(name, tuple(choices))
    if space.size < 2:
        raise _Wrong(f": its {count} rows are about one and the same network", "")
    _, first, which_N = np.unique(raw_NG, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    row_N = np.argsort(order)[which_N.reshape(-1)]  # NumPy 2.0 gave the inverse another shape
    listed_RG = raw_NG[first[order]]
    values_of: dict[str, NDArray[np.float64]] = {}
    words: dict[str, tuple[str, Value]] = {}
    described = {*taken, *(own for group in sheet.groups.values() for own in group if not {*group}.isdisjoint(taken))}
    for column, cells in sheet.columns.items():
        if column in described:
            continue
        word = next(
            ((where, cell) for where, cell in zip(sheet.places, cells, strict=True) if isinstance(cell, str)), None
        )
        if word is not None:
            words[column] = word
        else:
            values_of[column] = _means(cells, row_N, len(listed_RG))
    codes = [tuple(code) for code in listed_RG.tolist()]
    return _Listed(space, codes, _marked(space, listed_RG), values_of, words, count)


def _values(sheet: Sheet, name: str, rows: Sequence[int]) -> tuple[Value, ...]:
    """What a choice can be in the rows where it is active: numbers from least to most, words by the alphabet."""
    cells, missing = sheet.columns[name], None
    found: set[Value] = set()
    for row in rows:
        cell = cells[row]
        if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
            missing = sheet.places[row]
            break
        found.add(cell)
    if missing is not None:
        hint = f"if it does not matter there, say when it does: `when: {{{name}: {{another choice: [its values]}}}}`"
        raise _Wrong(f", {missing}, column {name!r}: a choice without a value", hint)
    if not found:
        raise _Wrong(f": the condition of choice {name!r} holds in no row", "see the option `when`")
    return tuple(sorted(found, key=lambda value: (isinstance(value, str), value)))


def _means(cells: Cells, row_N: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """The mean of what is known about each network; NaN where that is nothing."""
    value_N = np.array([math.nan if cell is None else cell for cell in cells], dtype=np.float64)
    known_N = np.isfinite(value_N)
    sums = np.bincount(row_N[known_N], weights=value_N[known_N], minlength=count)
    times = np.bincount(row_N[known_N], minlength=count)
    return np.where(times > 0, sums / np.maximum(times, 1), np.nan)


def _marked(space: Space, codes_NG: NDArray[np.int64]) -> NDArray[np.int16]:
    """Codes with -1 where a choice is not active, so that it differs from all of its values."""
    return np.where(active(space, codes_NG), codes_NG, -1).astype(np.int16)


def _one_hot(space: Space, marked_NG: NDArray[np.int16]) -> NDArray[np.float32]:
    """One column per value of every choice, and one for its not being active: N x F."""
    widths_G = np.array([len(choice.values) + 1 for choice in space.choices])
    rows_NF = np.zeros((len(marked_NG), int(widths_G.sum())), dtype=np.float32)
    np.put_along_axis(rows_NF, np.cumsum(widths_G) - widths_G + 1 + marked_NG, 1.0, axis=1)
    return rows_NF


def _inferred(sheet: Sheet, wanted: set[str]) -> Iterator[str]:
    """The columns that look like choices; `wanted` are some that are, whatever they look like."""
    if sheet.archs:
        for name in (own for group in sheet.archs for own in sheet.groups[group]):
            if name in wanted or len({cell for cell in sheet.columns[name] if cell is not None}) > 1:
                yield name
        return
    for name, cells in sheet.columns.items():
        known = {cell for cell in cells if cell is not None}
        whole_or_words = all(isinstance(cell, int | str) for cell in known)
        if name in wanted or (whole_or_words and 2 <= len(known) <= min(FEW, len(cells) // 2)):
            yield name


def _generation(name: str, when: Mapping[str, str]) -> int:
    """How many choices stand above one; a ring of conditions is refused."""
    seen = [name]
    while seen[-1] in when:
        if when[seen[-1]] in seen:
            raise ConfigError(f"`when` goes round in a ring: {' depends on '.join([*seen, when[seen[-1]]])}")
        seen.append(when[seen[-1]])
    return len(seen) - 1


def _few(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


__all__ = ["Table"]
