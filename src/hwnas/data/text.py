"""Sentences with labels: a .tsv or .csv file, or a folder with one for each split."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from hwnas.data import Part
from hwnas.data._splits import SPELLINGS, Fractions, check, cut, fingerprint
from hwnas.data._words import HEADERS, Texts, Words, check_words, ordered
from hwnas.errors import ConfigError, DataError, nearest

TYPES = (".tsv", ".csv", ".txt")
LAYOUT = (
    "a data set is a file with a text and a label in every line, such as `a fine film<TAB>good`, or a folder with "
    "train.tsv, dev.tsv and test.tsv"
)


@dataclass(frozen=True)
class Text(Words):
    """Texts as tables hold them: `a fine film<TAB>good`, in one file or in `train.tsv`, `dev.tsv` and `test.tsv`.

    Files are UTF-8 and called .tsv, .csv or .txt; what is missing of val (or `dev`, `valid`, `validation`) and test is
    cut out of train, class by class. Texts become lower-case words, numbered by their frequency in the training texts.

    Args:
        path: the file or the folder.
        text, label: the columns, by the name in the first line or by position from 0. None looks for usual names such
            as `sentence` and `label`; without them the first column is the text and the second the label.
        delimiter: between columns; None is a tab, but in .csv files a comma, or a semicolon if that is more frequent.
        length: tokens of a text; longer ones are cut. None keeps 95 % of the training texts whole, up to 512 tokens.
        vocabulary: so many of the most frequent words of the training texts are told apart.
        tokenizer: the path of a `tokenizer.json`, as published models have it, instead of words.
        splits: the shares of train, val and test, where there is one file alone.
        split_seed: another one deals the texts out anew.
        folder: where `keep` records the words, for later sessions; None records nothing.
    """

    path: str
    text: str | int | None = None
    label: str | int | None = None
    delimiter: str | None = None
    length: int | None = None
    vocabulary: int = 10_000
    tokenizer: str | None = None
    splits: Fractions = (0.7, 0.15, 0.15)
    split_seed: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        check(self.splits, self.split_seed)
        check_words(self.length, self.vocabulary)
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ConfigError(f"delimiter is one character, such as ',' or a tab, not {self.delimiter!r}")
        for option in ("text", "label"):
            value = getattr(self, option)
            if isinstance(value, int) and value < 0:
                raise ConfigError(f"{option} must be a name, or a position from 0, not {value!r}")
        if self.text is not None and self.text == self.label:
            raise ConfigError(f"text and label are two columns, not both {self.text!r}")

    @classmethod
    def example(cls, place: Path) -> Self:
        """Two classes of twelve short sentences each, written into a file for the contract tests."""
        kinds = {"good": ("fine", "great", "lovely"), "bad": ("poor", "dull", "silly")}
        things = ("film", "book", "play", "song")
        lines = [f"a {word} {thing}\t{kind}" for kind, words in kinds.items() for word in words for thing in things]
        (place / "reviews.tsv").write_text("\n".join(lines), encoding="utf-8")
        return cls(str(place / "reviews.tsv"), length=6, vocabulary=30, folder=place)

    @functools.cached_property
    def _root(self) -> Path:
        return Path(self.path).expanduser().absolute()

    @property
    def name(self) -> str:
        return self._root.resolve().stem

    @functools.cached_property
    def _files(self) -> dict[Part, Path]:
        """The file of every split that has one."""
        if not self._root.is_dir():
            return {"train": self._root}
        try:
            files = sorted(
                path for path in self._root.iterdir() if path.suffix.lower() in TYPES and path.name[0] != "."
            )
        except OSError as error:
            raise DataError(f"the folder {self._root} cannot be read: {error.strerror}") from error
        if len(files) == 1 and files[0].stem.lower() not in SPELLINGS:
            return {"train": files[0]}
        parts: dict[Part, Path] = {}
        for file in files:
            part = SPELLINGS.get(file.stem.lower())
            if part in parts:
                raise DataError(f"{self._root} holds a second file for the same split: {file.name}", hint="keep one")
            if part is not None:
                parts[part] = file
        if "train" not in parts:
            holds = ", ".join(file.name for file in files[:5]) or f"no files of type {' '.join(TYPES)}"
            raise DataError(f"{self._root} has no file for training; it holds {holds}", hint=LAYOUT)
        return parts

    @functools.cached_property
    def _rows(self) -> dict[Part, list[tuple[str, str]]]:
        """Texts and labels of every file."""
        rows: dict[Part, list[tuple[str, str]]] = {}
        for part, file in self._files.items():
            lines = self._lines(file)
            rows[part] = [row for row, _ in lines]
            if part == "train":
                counts = Counter(label for (_, label), _ in lines)
                for (_, label), line in lines:
                    if counts[label] == 1:
                        message = f"the label {label!r} of line {line} occurs nowhere else in {file}"
                        hint = "look whether it is spelt right, and whether `text` and `label` name the right columns"
                        raise DataError(message, hint=hint)
        return rows

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        return ordered(label for rows in self._rows.values() for _, label in rows)

    @functools.cached_property
    def fingerprint(self) -> str:
        digests = {part: hashlib.sha256(_content(file)).hexdigest() for part, file in self._files.items()}
        own = [self.text, self.label, self.delimiter, self.splits, self.split_seed]
        return fingerprint(digests, own, self._says())

    def _texts(self) -> Mapping[Part, Texts]:
        position = {label: place for place, label in enumerate(self.classes)}
        labels = {part: np.array([position[label] for _, label in rows]) for part, rows in self._rows.items()}
        chosen = cut(labels, self.classes, self.splits, self.split_seed, str(self._root), "text")
        return {
            part: ([self._rows[origin][place][0] for place in order], labels[origin][order])
            for part, (origin, order) in chosen.items()
        }

    def _lines(self, file: Path) -> list[tuple[tuple[str, str], int]]:
        """Text and label of every line of a file, with its number.

        Raises:
            DataError: names the line that is wrong.
        """
        try:
            content = _content(file).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            message = f"line {line} of {file} is no UTF-8: byte {error.object[error.start]:#04x}"
            raise DataError(
                message, hint=f"write it anew, if it is Latin-1: iconv -f latin1 -t utf8 {file.name}"
            ) from error
        delimiter = self.delimiter or _delimiter(file, content)
        quoted = file.suffix.lower() == ".csv"  # in others, quotation marks are part of a text
        reader = csv.reader(
            io.StringIO(content, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        try:
            rows = [(row, reader.line_num) for row in reader if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise DataError(f"line {reader.line_num} of {file} cannot be read: {error}", hint=LAYOUT) from error
        if not rows:
            raise DataError(f"{file} is empty", hint=LAYOUT)
        columns, named = self._columns(rows[0][0], file)
        found = []
        for row, line in rows[named:]:
            if len(row) != len(rows[0][0]):
                message = f"line {line} of {file} has {len(row)} columns, the first line has {len(rows[0][0])}"
                raise DataError(message, hint=f"columns are separated by {delimiter!r}; `delimiter` names another")
            text, label = (row[column].strip() for column in columns)
            if not text or not label:
                raise DataError(f"line {line} of {file} has no {'label' if text else 'text'}", hint=LAYOUT)
            found.append(((text, label), line))
        if not found:
            raise DataError(f"{file} has a first line with the names of columns, and no texts", hint=LAYOUT)
        return found

    def _columns(self, first: list[str], file: Path) -> tuple[tuple[int, int], bool]:
        """The positions of text and label, and whether the first line holds names."""
        names = [cell.strip() for cell in first]
        lower = [name.lower() for name in names]
        given = {"text": self.text, "label": self.label}
        usual = {option: next((name for name in known if name in lower), None) for option, known in HEADERS.items()}
        named = any(isinstance(value, str) for value in given.values()) or None not in usual.values()
        places = []
        for option, value in given.items():
            if isinstance(value, str) and value not in names:
                message = f"{file} has no column {value!r}; {nearest(value, names)}"
                raise DataError(message, hint="where the first line holds no names, give positions: text: 0, label: 1")
            word = usual[option]
            found = names.index(value) if isinstance(value, str) else value
            if found is None:
                found = lower.index(word) if named and word is not None else list(HEADERS).index(option)
            if found >= len(names):
                hint = f"columns are separated by {self.delimiter or _delimiter(file, first[0])!r}; {LAYOUT}"
                raise DataError(
                    f"{file} has {len(names)} columns, and none at position {found} for {option}", hint=hint
                )
            places.append(found)
        if places[0] == places[1]:
            raise DataError(f"text and label of {file} are the same column, {names[places[0]]!r}", hint="name both")
        return (places[0], places[1]), named


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"the file {file} cannot be read: {error.strerror}", hint=LAYOUT) from error


def _delimiter(file: Path, content: str) -> str:
    """A tab, but in a .csv file what its first line has more of: commas or semicolons."""
    if file.suffix.lower() != ".csv":
        return "\t"
    first = content.partition("\n")[0]
    return max(",;\t", key=first.count)


__all__ = ["Text"]
