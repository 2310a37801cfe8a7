"""What a search leaves behind: a record that survives any kill, and the text files and the table that people read.

In the folder `NASResults`:

- `results.jsonl`: the record, one line of JSON per network, only ever appended to. What is read again is this.
- `Trial_<i>_results.txt`, `Final_results.txt`: all results and the best ones, in the layout of Neural Compressor; after
  the first hundred trials only every twentieth has its file.
- `results.csv`: the same as a table.

The NumPy pickle of Neural Compressor, `lastest_results.npy`, is not read: a pickle runs whatever code it holds.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from hwnas.compat.neural_compressor.choices import Choices
from hwnas.compat.neural_compressor.objectives import Metrics, names_of, values_of
from hwnas.errors import RecordError, RunLockedError, RunMismatchError, SchemaError

FOLDER = "NASResults"
RECORD = "results.jsonl"
TABLE = "results.csv"
PICKLE = "lastest_results.npy"


@dataclass(frozen=True)
class Result:
    """What came out for one network.

    Args:
        trial: in the order of trying, from 1.
        arch: name -> value.
        metrics: as evaluated; None where that failed.
        parameters: of the built network, where it could be counted.
        seconds: that building and judging took.
        state: "done" or "failed".
        error: why it failed.
    """

    trial: int
    arch: Mapping[str, Any]
    metrics: Metrics | None
    parameters: int | None = None
    seconds: float = 0.0
    state: Literal["done", "failed"] = "done"
    error: str = ""


def folder_of(path: str | Path | None) -> Path:
    """Where results lie that are saved under a path: in its `NASResults`, or in it if that is its name."""
    place = Path.cwd() if path is None else Path(path)
    return place if place.name == FOLDER else place / FOLDER


class Record:
    """The append-only record of a folder; while it is open, no other process may write there.

    Raises:
        RecordError: the folder cannot be written, or holds an old pickle and no record.
        RunLockedError: another process writes there.
    """

    def __init__(self, folder: Path) -> None:
        import filelock

        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(folder / f"{RECORD}.lock")
            self._lock.acquire(timeout=0)
        except OSError as error:
            if isinstance(error, filelock.Timeout):
                message = f"another process searches with its results in {folder} right now"
                raise RunLockedError(message, hint="wait for it, or give another res_save_path") from None
            raise RecordError(f"results cannot be written to {folder}: {error}") from error
        try:
            refuse_pickle(folder)
            _cut_half_line(folder / RECORD)
            self._file = (folder / RECORD).open("a", encoding="utf-8", newline="\n")
        except BaseException:
            self._lock.release()
            raise

    def append(self, result: Result) -> None:
        """Writes a result down for good."""
        self._file.write(_line(result))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.release()


def read(path: Path, choices: Choices) -> list[Result]:
    """The results of a record in the order of writing; half a last line, which a kill leaves, is ignored.

    Args:
        path: a folder, or the record itself; where nothing was written yet, there are no results.
        choices: the search space, whose own objects stand for the recorded values.

    Raises:
        RecordError: an old pickle.
        SchemaError: a line that is no result.
        RunMismatchError: the results are of a search space with other names.
    """
    refuse_pickle(path)
    file = path / RECORD if path.is_dir() else path
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")
    texts = {name: {_text(value): value for value in choices.values[name]} for name in choices.names}
    results = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            result = Result(**json.loads(line))
            names = sorted(result.arch)
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break
            hint = "correct or delete the line; every line is one result"
            raise SchemaError(f"{file}, line {number} is not a result: {error}", hint=hint) from None
        if names != choices.names:
            message = f"{file} holds results of a search space with {names}; this one has {choices.names}"
            raise RunMismatchError(message, hint="give another res_save_path, or move the folder away")
        arch = {name: texts[name].get(_text(value), value) for name, value in result.arch.items()}
        results.append(Result(**{**vars(result), "arch": {name: arch[name] for name in choices.names}}))
    return results


def write(path: Path, results: Sequence[Result]) -> None:
    """Writes a whole record, in place of one that is there."""
    put(path, "".join(_line(result) for result in results))


def refuse_pickle(path: Path) -> None:
    """Raises a RecordError for an .npy file, and for a folder that holds one and no record."""
    pickle = path / PICKLE if path.is_dir() else path
    if pickle.suffix != ".npy" or not pickle.exists() or (path.is_dir() and (path / RECORD).exists()):
        return
    raise RecordError(
        f"{pickle} is a NumPy pickle of Neural Compressor, and reading one runs whatever code is in it: it is not read",
        hint="to start afresh, move it away; if you trust the file, load it yourself, once:\n"
        f"agent.search_results = numpy.load({str(pickle)!r}, allow_pickle=True).item()\n"
        f"agent.dump_search_results({str(pickle.parent)!r})",
    )


def text(results: Sequence[Result], best: Sequence[Result]) -> str:
    """The page of a text file: all results, then the best ones."""
    lines = [_title(" All Search Results "), ""]
    lines += [_told(result) for result in results]
    lines += ["", "", "", _title(" Best Search Results "), ""]
    lines += [f"{number}. {_told(result)}" for number, result in enumerate(best, 1)]
    return "\n".join(lines) + "\n"


def table(results: Sequence[Result]) -> str:
    """The results as CSV: a column per name, per metric, and what is known beside them."""
    first = next((result for result in results if result.metrics is not None), None)
    names = list(results[0].arch) if results else []
    metrics: list[str] = []
    if first is not None and first.metrics is not None:
        count = len(values_of(first.metrics))
        metrics = names_of(first.metrics) or (["metric"] if count == 1 else [f"metric{i + 1}" for i in range(count)])
    page = io.StringIO()
    rows = csv.writer(page, lineterminator="\n")
    rows.writerow(["trial", *names, *metrics, "parameters", "seconds", "state", "error"])
    for result in results:
        values: list[Any] = [""] * len(metrics) if result.metrics is None else values_of(result.metrics)
        parameters = "" if result.parameters is None else result.parameters
        seconds = round(result.seconds, 3)
        rows.writerow([result.trial, *result.arch.values(), *values, parameters, seconds, result.state, result.error])
    return page.getvalue()


def put(path: Path, page: str) -> None:
    """Writes a text file, whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(page, encoding="utf-8", newline="\n")
    draft.replace(path)


def _title(words: str) -> str:
    return "=" * 30 + words + "=" * 30


def _told(result: Result) -> str:
    arch = ",".join(f"{name}_{value}" for name, value in result.arch.items())
    millions = "?" if result.parameters is None else f"{result.parameters / 1e6}M"
    return f"{arch}: {result.metrics} Paras: {millions}"


def _line(result: Result) -> str:
    return json.dumps(vars(result), default=repr) + "\n"


def _text(value: Any) -> str:
    """A value as the record holds it, so that what comes back can be told to be it."""
    return json.dumps(value, default=repr, sort_keys=True)


def _cut_half_line(path: Path) -> None:
    """Ends the record after its last whole line; a line that lacks only its end is completed."""
    if not path.exists():
        return
    content = path.read_bytes()
    rest = content.rpartition(b"\n")[2]
    if not rest:
        return
    try:
        Result(**json.loads(rest))
    except (ValueError, TypeError):
        os.truncate(path, len(content) - len(rest))
    else:
        with path.open("ab") as file:
            file.write(b"\n")


__all__ = [
    "FOLDER",
    "PICKLE",
    "RECORD",
    "TABLE",
    "Record",
    "Result",
    "folder_of",
    "put",
    "read",
    "table",
    "text",
    "write",
]
