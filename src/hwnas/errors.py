"""Every error that hwnas raises on purpose, drawn as a tree.

HwnasError
├── ConfigError        a name, option or type in YAML or Python that is not allowed; carries the YAML path
├── SpaceError         a code or an architecture that does not belong to the space
├── DataError          a data set that cannot be read or makes no sense
├── WeightsError       weights that do not fit the family, or training that went wrong
├── MetricError        a candidate that cannot be judged; the trial fails with this reason, the search goes on
├── SearchError        a search that cannot go on: everything fails, or the space is used up
├── InfeasibleError    a limit that no network of the space meets
├── RecordError        the record of a run cannot be used
│   ├── RunExistsError     the run folder already holds a run
│   ├── RunLockedError     another process drives this run right now
│   ├── RunMismatchError   the run was made by another experiment, so its numbers are not comparable
│   └── SchemaError        the file is corrupt or was written by a newer hwnas
├── ExportError        a network that cannot be written, or whose file computes something else
├── MissingExtraError  an optional package is not installed; the message holds the pip line
└── Interrupted        the user asked to stop; everything so far is on disk

A message says what was given, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HwnasError(Exception):
    """Base of all deliberate errors; `hint` is the remedy, shown on a line of its own."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n{self.hint}" if self.hint else message


class ConfigError(HwnasError, ValueError):
    """A name, an option or a value that is not allowed; `path` is where it stands in the configuration."""

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint=hint)
        self.path = path


class SpaceError(HwnasError, ValueError):
    """A code or an architecture that does not belong to the space."""


class DataError(HwnasError, ValueError):
    """A data set that cannot be read or makes no sense."""


class WeightsError(HwnasError, RuntimeError):
    """Weights that do not fit the family, or training that went wrong."""


class MetricError(HwnasError, RuntimeError):
    """A candidate that cannot be judged."""


class SearchError(HwnasError, RuntimeError):
    """A search that cannot go on."""


class InfeasibleError(HwnasError, ValueError):
    """A limit that no network of the space meets."""


class RecordError(HwnasError, RuntimeError):
    """The record of a run cannot be used."""


class RunExistsError(RecordError):
    """The run folder already holds a run."""


class RunLockedError(RecordError):
    """Another process drives this run right now."""


class RunMismatchError(RecordError):
    """The run was made by another experiment, so its numbers are not comparable."""


class SchemaError(RecordError):
    """The file is corrupt or was written by a newer hwnas."""


class ExportError(HwnasError, RuntimeError):
    """A network that cannot be written, or whose file computes something else."""


class MissingExtraError(HwnasError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package {package!r}", hint=f'pip install "hwnas[{extra}]"')


class Interrupted(HwnasError):
    """The user asked to stop; everything so far is on disk."""


def nearest(given: object, known: Iterable[object]) -> str:
    """A short "did you mean …? known: …" for an unknown name, nearest first.

    Example:
        >>> nearest("evolutoin", ["evolution", "random"])
        "did you mean 'evolution'? known: evolution, random"
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.6)
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {shown or 'none'}"
