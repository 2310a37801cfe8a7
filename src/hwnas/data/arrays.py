"""An .npz file with images and labels."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hwnas.data import Part, Split
from hwnas.data._pixels import Pixels, squares, tensor
from hwnas.data._splits import SPELLINGS, Fractions, check, cut, fingerprint
from hwnas.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WRITE = "write it with np.savez(path, x=images, y=labels): uint8 images N x H x W x 3, and a whole number for each"


@dataclass(frozen=True)
class Arrays(Pixels):
    """Images and labels as NumPy writes them: `np.savez("birds.npz", x=images, y=labels)`.

    Arrays are called `x` and `y` or `images` and `labels`; with `_train`, `_val`, `_test` behind or `train_` … before,
    they are the splits, and what is missing of val and test is cut out of train, class by class.

    Images are uint8 or floats from 0 to 1, N x H x W, N x H x W x C or N x C x H x W with 1 or 3 channels; where both
    of the latter fit, channels are taken to be last. Labels are whole numbers or strings. An array `label_names` or
    `classes` names the classes: by position for labels 0 ... K-1, else in the order of the sorted labels.

    Args:
        path: the file.
        resolution: the centre square of every image is resized to so many pixels; None keeps images as they are.
        splits: the shares of train, val and test, where the file does not say.
        split_seed: another one deals the images out anew.
    """

    path: str
    resolution: int | None = None
    splits: Fractions = (0.7, 0.15, 0.15)
    split_seed: int = 0

    def __post_init__(self) -> None:
        check(self.splits, self.split_seed, self.resolution)

    @classmethod
    def example(cls, place: Path) -> Self:
        """Two classes of twelve small pictures each, written into a file for the contract tests."""
        rng = np.random.default_rng(0)
        images = rng.integers(256, size=(24, 9, 12, 3), dtype=np.uint8)
        np.savez(place / "arrays.npz", x=images, y=np.arange(24) % 2)
        return cls(str(place / "arrays.npz"), resolution=8)

    @functools.cached_property
    def _file(self) -> Path:
        return Path(self.path).expanduser().absolute()

    @property
    def name(self) -> str:
        return self._file.stem

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labels[0]

    @functools.cached_property
    def fingerprint(self) -> str:
        try:
            with self._file.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(self._file, error) from error
        return fingerprint(digest, self.resolution, self.splits, self.split_seed)

    def _where(self, key: str) -> str:
        return f"{key!r} of {self._file}"

    @functools.cached_property
    def _labels(self) -> tuple[tuple[str, ...], dict[Part, NDArray[np.int64]]]:
        """The class names, and the labels of each part of the file as positions among them."""
        with _arrays(self._file) as arrays:
            keys = {part: key for part, (_, key) in _pairs(arrays, self._file).items()}
            raw = {part: arrays[key] for part, key in keys.items()}
            names = next((arrays[key] for key in ("label_names", "classes") if key in arrays), None)
        flat = [_flat(raw[part], self._where(key)) for part, key in keys.items()]
        values, codes = np.unique(np.concatenate(flat), return_inverse=True)
        classes = tuple(str(name) for name in (values if names is None else _text(names).ravel()))
        if names is not None:
            codes = _positions(values, classes, self._file)[codes]
        ends = np.cumsum([len(labels) for labels in flat])[:-1]
        return classes, dict(zip(keys, np.split(codes, ends), strict=True))

    @functools.cached_property
    def _all(self) -> dict[Part, Split]:
        """All splits at once, because they may come out of one array."""
        import torch

        classes, labels = self._labels
        with _arrays(self._file) as arrays:
            keys = {part: key for part, (key, _) in _pairs(arrays, self._file).items()}
            raw = {part: arrays[key] for part, key in keys.items()}
        images = {
            part: _levels(_layout(raw.pop(part), self._where(key)), self._where(key)) for part, key in keys.items()
        }
        for part, key in keys.items():
            if len(images[part]) != len(labels[part]):
                raise DataError(
                    f"{self._where(key)} holds {len(images[part])} images, but there are {len(labels[part])} labels",
                    hint=WRITE,
                )
            if images[part].shape[1:] != images["train"].shape[1:]:
                raise DataError(
                    f"an image of {self._where(keys['train'])} has the shape {images['train'].shape[1:]}, "
                    f"one of {key!r} has {images[part].shape[1:]}",
                    hint="give all images the same height, width and channels",
                )
        found = {}
        for part, (origin, order) in cut(labels, classes, self.splits, self.split_seed, str(self._file)).items():
            chosen = images[origin][order]
            sized = chosen if self.resolution is None else squares(chosen, self.resolution)
            found[part] = Split(tensor(sized), torch.from_numpy(labels[origin][order]))
        return found

    def _read(self, part: Part) -> Split:
        return self._all[part]


def _unreadable(file: Path, error: OSError) -> DataError:
    return DataError(f"the file {file} cannot be read: {error.strerror or error}", hint=WRITE)


@contextmanager
def _arrays(file: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of a file, each read when it is asked for, inside the block."""
    try:
        with file.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise DataError(f"{file} is no .npz file, or is cut off", hint=WRITE)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                yield arrays
    except DataError:
        raise
    except OSError as error:
        raise _unreadable(file, error) from error
    except Exception as error:  # what zip, zlib and NumPy raise for damaged files has no common base
        raise DataError(
            f"the file {file} cannot be read: {error}",
            hint="it must be whole and hold numbers or plain strings, no Python objects: y.astype(str)",
        ) from error


def _pairs(arrays: Mapping[str, Any], file: Path) -> dict[Part, tuple[str, str]]:
    """The names of images and labels by part."""
    pairs: dict[Part, tuple[str, str]] = {}
    for (word, part), (x, y) in product([*SPELLINGS.items(), ("", "train")], [("x", "y"), ("images", "labels")]):
        for images, labels in ((f"{x}_{word}", f"{y}_{word}"), (f"{word}_{x}", f"{word}_{y}")):
            if images.strip("_") in arrays:
                pairs.setdefault(part, (images.strip("_"), labels.strip("_")))
    names = ", ".join(arrays) or "none"
    if "train" not in pairs:
        raise DataError(f"{file} has no array 'x', 'images' or 'x_train'; its arrays: {names}", hint=WRITE)
    for images, labels in pairs.values():
        if labels not in arrays:
            raise DataError(f"{file} has {images!r} without {labels!r}; its arrays: {names}", hint=WRITE)
    return pairs


def _text(array: NDArray[Any]) -> NDArray[Any]:
    """Byte strings as text, everything else as it is."""
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _flat(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Labels as int64 or text with one axis; a column will do."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"labels are one per image, but {where} has the shape {labels.shape}",
            hint="one-hot rows become numbers with y.argmax(1)",
        )
    if labels.dtype.kind not in "iubUS":
        raise DataError(
            f"labels are whole numbers or strings, but {where} holds {labels.dtype}", hint="convert it: y.astype(int)"
        )
    return _text(labels) if labels.dtype.kind in "US" else labels.astype(np.int64)


def _positions(values: NDArray[Any], classes: tuple[str, ...], file: Path) -> NDArray[np.int64]:
    """The position of each sorted, distinct label among the named classes."""
    hint = "name every class, in the order of the labels"
    if values.dtype.kind == "U":
        if unknown := set(values.tolist()).difference(classes):
            raise DataError(f"{file} has labels that its class names lack: {sorted(unknown)[:5]}", hint=hint)
        return np.array([classes.index(value) for value in values.tolist()], np.int64)
    if set(values.tolist()) <= set(range(len(classes))):
        return values
    if len(values) == len(classes):
        return np.arange(len(classes))
    raise DataError(
        f"{file} has labels from {values.min()} to {values.max()}, but names {len(classes)} classes", hint=hint
    )


def _layout(images: NDArray[Any], where: str) -> NDArray[Any]:
    """Images as N x H x W for greys or N x H x W x 3, whichever way they lie."""
    if not images.size:
        raise DataError(f"{where} is empty: it has the shape {images.shape}", hint=WRITE)
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim != 3 and (images.ndim != 4 or images.shape[3] != 3):
        raise DataError(
            f"{where} has the shape {images.shape}; images are N x H x W, or with 1 or 3 channels C "
            "N x H x W x C or N x C x H x W",
            hint="a fourth channel, transparency, is dropped by x[..., :3]",
        )
    return images


def _levels(images: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Pixels as uint8; floats lie between 0 and 1."""
    if images.dtype == np.uint8:
        return images
    hint = "store levels 0 ... 255 with x.astype(np.uint8), or scale floats to 0 ... 1 and leave out images with NaN"
    if images.dtype.kind != "f":
        raise DataError(f"images are uint8 or floats from 0 to 1, but {where} holds {images.dtype}", hint=hint)
    low, high = images.min(), images.max()  # both NaN if there is one
    if not (low >= 0 and high <= 1):
        raise DataError(f"floats run from 0 to 1, but {where} from {low:g} to {high:g}", hint=hint)
    return np.rint(images * np.float32(255)).astype(np.uint8)


__all__ = ["Arrays"]
