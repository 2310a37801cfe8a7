"""What the data sets share: splitting by class, fingerprints, and splits that are made once."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hwnas.data import Data, Part, Split
from hwnas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Fractions: TypeAlias = tuple[float, float, float]
"""How much of the examples goes to train, val and test."""

PARTS: tuple[Part, ...] = ("train", "val", "test")
SPELLINGS: Mapping[str, Part] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
"""What folders, files and arrays call the splits."""


class InMemory(Data):
    """A data set whose splits are made at their first use, by `_read`, and kept."""

    @abstractmethod
    def _read(self, part: Part) -> Split:
        """One split; called once for each."""

    @functools.cached_property
    def _kept(self) -> dict[Part, Split]:
        return {}

    def split(self, part: Part, /) -> Split:
        if part not in self._kept:
            self._kept[part] = self._read(part)
        return self._kept[part]


def check(splits: Fractions, split_seed: int, resolution: int | None = None) -> None:
    """Refuses options that no data set can follow.

    Raises:
        ConfigError: says which and what is allowed.
    """
    if len(splits) != 3 or not all(share > 0 for share in splits) or abs(sum(splits) - 1) > 1e-6:
        raise ConfigError(
            f"splits are the shares of train, val and test, all above 0 and together 1, such as [0.7, 0.15, 0.15]; "
            f"got {splits!r}"
        )
    if split_seed < 0:
        raise ConfigError(f"split_seed must be 0 or more, not {split_seed!r}")
    if resolution is not None and resolution < 1:
        raise ConfigError(f"resolution must be a number of pixels above 0, not {resolution!r}")


def stratified(labels: NDArray[np.int64], shares: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    """Deals the examples of every class out to several parts, the same way on every machine.

    Every class gives every part its share, rounded so that the parts as a whole have the right size too, but at least
    one example. Within a part the classes take turns, so that the first ones of a split are a fair sample of it.

    Args:
        labels: 0 ... K-1; each class with at least as many images as there are parts.
        shares: relative sizes of the parts.

    Returns:
        For each part the positions of its examples; together every position once.
    """
    # Of NumPy's generator only the raw stream of doubles is the same in every version, so order is drawn from that.
    rng = np.random.default_rng(seed)
    weights = np.array(shares) / np.sum(shares)
    pieces: list[list[NDArray[np.int64]]] = [[] for _ in shares]
    places: list[list[NDArray[np.float64]]] = [[] for _ in shares]
    owed = np.zeros(len(weights))
    for members in np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1]):
        ideal = len(members) * weights + owed
        counts = np.floor(ideal).astype(np.int64)
        counts[np.argsort(counts - ideal, kind="stable")[: len(members) - counts.sum()]] += 1
        owed = ideal - counts  # what rounding withheld here, the next class gives
        while counts.min() < 1:
            counts[counts.argmin()] += 1
            counts[counts.argmax()] -= 1
        shuffled = members[np.argsort(rng.random(len(members)), kind="stable")]
        for part, piece in enumerate(np.split(shuffled, np.cumsum(counts)[:-1])):
            pieces[part].append(piece)
            places[part].append((np.arange(len(piece)) + rng.random(len(piece))) / len(piece))
    order = [np.argsort(np.concatenate(place), kind="stable") for place in places]
    return [np.concatenate(piece)[turn] for piece, turn in zip(pieces, order, strict=True)]


def cut(
    labels: Mapping[Part, NDArray[np.int64]],
    classes: Sequence[str],
    splits: Fractions,
    seed: int,
    source: str,
    thing: str = "image",
) -> dict[Part, tuple[Part, NDArray[np.int64]]]:
    """The three splits out of the parts that a source has: those that are missing are cut out of `train`.

    Args:
        labels: of each part that there is; `train` at least.
        source, thing: how messages call the data set, and one of its examples.

    Returns:
        For each split the part that its examples come from, and their positions in that part.

    Raises:
        DataError: a single class, parts with different classes, or a class with too few examples.
    """
    if len(classes) < 2:
        raise DataError(
            f"{source} has only the class {classes[0]!r}" if classes else f"{source} has no classes",
            hint="telling classes apart takes two or more",
        )
    counts = {part: np.bincount(some, minlength=len(classes)) for part, some in labels.items()}
    agree(
        {part: {classes[int(label)] for label in np.flatnonzero(count)} for part, count in counts.items()},
        source,
        thing,
    )
    dealt = [part for part in PARTS if part == "train" or part not in labels]
    scarce = int(counts["train"].argmin())
    if (there := int(counts["train"][scarce])) < len(dealt):
        raise DataError(
            f"class {classes[scarce]!r} of {source} has {there} {thing}{'s' * (there != 1)}, but needs {len(dealt)}: "
            f"one for each of {', '.join(dealt)}",
            hint=f"add {thing}s to this class or leave it out",
        )
    shares = [share for part, share in zip(PARTS, splits, strict=True) if part in dealt]
    found = dict(zip(dealt, stratified(labels["train"], shares, seed), strict=True))
    return {
        part: ("train", found[part]) if part in found else (part, stratified(labels[part], [1.0], seed)[0])
        for part in PARTS
    }


def agree(classes: Mapping[Part, Iterable[str]], source: str, thing: str = "image") -> None:
    """Checks that all parts have the classes of `train`.

    Raises:
        DataError: names the classes that only one part has.
    """
    train = set(classes["train"])
    for part, names in classes.items():
        alone = {"train": sorted(train.difference(names)), part: sorted(set(names) - train)}
        if any(alone.values()):
            told = "; ".join(f"only {owner} has {', '.join(map(repr, few[:5]))}" for owner, few in alone.items() if few)
            raise DataError(
                f"train and {part} of {source} have different classes: {told}",
                hint=f"every split needs {thing}s of every class, under the same name",
            )


def fingerprint(*facts: Any) -> str:
    """Sixteen hex digits that stand for JSON-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def entries_of(folder: Path, hint: str) -> list[os.DirEntry[str]]:
    """What a folder holds, by name, without hidden entries; `hint` says what it should."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except FileNotFoundError as error:
        raise DataError(f"there is no folder {folder}", hint=hint) from error
    except NotADirectoryError as error:
        raise DataError(f"{folder} is a file, not a folder", hint=hint) from error
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read: {error.strerror}", hint="check its permissions"
        ) from error


def parts_of(root: Path, hint: str) -> dict[Part, Path]:
    """The folders of the splits if the data set comes with them, else the whole as `train`."""
    folders = {entry.name: Path(entry.path) for entry in entries_of(root, hint) if entry.is_dir()}
    spelt = [name for name in folders if name.lower() in SPELLINGS]
    alone = len(spelt) == 1 < len(folders)  # among cars and bicycles, a train is a class
    if alone or "train" not in map(str.lower, spelt):
        return {"train": root}
    parts = {SPELLINGS[name.lower()]: folders[name] for name in spelt}
    if twice := [name for name in spelt if folders[name] not in parts.values()]:
        raise DataError(f"{root} holds a second folder for the same split: {twice[0]}", hint="keep one of them")
    return parts
