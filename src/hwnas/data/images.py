"""A local folder of images with one sub-folder per class."""

from __future__ import annotations

import functools
import json
import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from hwnas.data import Part, Split
from hwnas.data._pixels import Pixels, square
from hwnas.data._splits import PARTS, Fractions, agree, check, cut, entries_of, fingerprint, parts_of
from hwnas.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""
LAYOUT = "a data set is a folder that holds one folder of images for each class: photos/cat/1.jpg, photos/dog/7.jpg"

Files: TypeAlias = dict[Part, dict[str, str]]
"""For each split the class of every file, by its name relative to the data set; in the order of the images."""


@dataclass(frozen=True)
class Images(Pixels):
    """Pictures as people keep them: `path/cat/1.jpg`, `path/dog/7.jpg` or `path/train/cat/1.jpg`, `path/val/cat/2.jpg`.

    Sub-folders `train`, `val` (also `valid`, `validation`) and `test` are honoured; what is missing of val and test is
    cut out of train, class by class. Images are turned upright, converted to RGB and, of several frames, the first
    counts; hidden files and other types are skipped.

    The fingerprint knows files by name and size: it does not see a picture that was replaced by one of equal size.

    Args:
        path: the folder.
        resolution: the centre square of every image is resized to so many pixels; None keeps images as they are, which
            must then have one size.
        splits: the shares of train, val and test, where the folder does not say.
        split_seed: another one deals the images out anew.
        folder: where `keep` records in `splits.json` which file belongs to which split, so that images which are added
            later do not move from one to another; None records nothing.
    """

    path: str
    resolution: int | None = None
    splits: Fractions = (0.7, 0.15, 0.15)
    split_seed: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        check(self.splits, self.split_seed, self.resolution)

    @classmethod
    def example(cls, place: Path) -> Self:
        """Two classes of twelve small pictures each, written into a folder for the contract tests."""
        rng = np.random.default_rng(0)
        for number in range(24):
            file = place / "pictures" / ("cat", "dog")[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(256, size=(9, 12, 3), dtype=np.uint8)).save(file)
        return cls(str(place / "pictures"), resolution=8, folder=place)

    @functools.cached_property
    def _root(self) -> Path:
        return Path(self.path).expanduser().absolute()

    @property
    def name(self) -> str:
        return self._root.resolve().name

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set(self._files["train"].values())))

    @functools.cached_property
    def shape(self) -> tuple[int, int, int]:
        if self.resolution is not None:
            return 3, self.resolution, self.resolution
        # All files are looked at: an odd one in the test split would otherwise come out at the end of a long search.
        sizes = {name: _size(self._root / name) for part in PARTS for name in self._files[part]}
        first, (width, height) = next(iter(sizes.items()))
        for name, size in sizes.items():
            if size != (width, height):
                raise DataError(
                    f"the images of {self._root} differ in size: {first} has {width} x {height} pixels, "
                    f"{name} has {size[0]} x {size[1]}",
                    hint="set `resolution`, and the centre square of every image is resized to it",
                )
        return 3, height, width

    @functools.cached_property
    def fingerprint(self) -> str:
        files = [
            sorted((name, kind, (self._root / name).stat().st_size) for name, kind in self._files[part].items())
            for part in PARTS
        ]
        return fingerprint(files, self.resolution)

    def _read(self, part: Part) -> Split:
        import torch

        files = self._files[part]
        images_NCHW = np.empty((len(files), *self.shape), np.uint8)

        def decode(position: int, name: str) -> None:
            images_NCHW[position] = _pixels(self._root / name, self.resolution).transpose(2, 0, 1)

        with ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
            list(pool.map(decode, range(len(files)), files))
        label = {kind: position for position, kind in enumerate(self.classes)}
        return Split(torch.from_numpy(images_NCHW), torch.tensor([label[kind] for kind in files.values()]))

    def keep(self) -> None:
        record = self._record
        if record is None or record.exists():
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        draft = record.with_name(f".{record.name}.{os.getpid()}")
        options = {"splits": self.splits, "split_seed": self.split_seed}
        draft.write_text(json.dumps(options | self._files, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.replace(record)

    @property
    def _record(self) -> Path | None:
        return None if self.folder is None else self.folder / "splits.json"

    @functools.cached_property
    def _files(self) -> Files:
        return self._recorded(self._record) if self._record and self._record.exists() else self._found()

    def _found(self) -> Files:
        """The splits of what lies in the folder now."""
        parts = parts_of(self._root, LAYOUT)
        kinds = {part: _kinds(folder) for part, folder in parts.items()}
        classes = sorted(set().union(*kinds.values()))
        names = {
            part: [(file.relative_to(self._root).as_posix(), kind) for kind in classes for file in found.get(kind, ())]
            for part, found in kinds.items()
        }
        label = {kind: position for position, kind in enumerate(classes)}
        labels = {part: np.array([label[kind] for _, kind in some], np.int64) for part, some in names.items()}
        chosen = cut(labels, classes, self.splits, self.split_seed, str(self._root))
        return {part: dict(names[origin][position] for position in order) for part, (origin, order) in chosen.items()}

    def _recorded(self, record: Path) -> Files:
        """The splits as they were when they were recorded.

        Raises:
            DataError: the record is damaged, was made with other options, or names a file that is gone.
        """
        new = "start a new run, and the images are split anew"
        try:
            told = json.loads(record.read_text(encoding="utf-8"))
            files: Files = {part: dict(told[part]) for part in PARTS}
            cut_by = tuple(told["splits"]), told["split_seed"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"the record of the splits, {record}, is damaged: {error!r}", hint=new) from error
        if cut_by != (self.splits, self.split_seed):
            raise DataError(
                f"{record} was made with splits {list(cut_by[0])} and split_seed {cut_by[1]}, "
                f"not {list(self.splits)} and {self.split_seed}",
                hint=f"set these back, or {new}",
            )
        agree({part: set(files[part].values()) for part in PARTS}, str(record))
        names = [name for part in PARTS for name in files[part]]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{record} has {twice} in more than one split", hint=new)
        if gone := [name for name in names if not (self._root / name).is_file()]:
            raise DataError(
                f"{len(gone)} of the {len(names)} files that {record} lists are missing from {self._root}, "
                f"such as {gone[0]}",
                hint=f"put them back, or {new}",
            )
        return files


def _kinds(folder: Path) -> dict[str, list[Path]]:
    """The images of every class folder."""
    entries = entries_of(folder, LAYOUT)
    kinds = {entry.name: _images(entries_of(Path(entry.path), LAYOUT)) for entry in entries if entry.is_dir()}
    if not kinds:
        holds = "holds images, but no class folders" if _images(entries) else "holds no class folders"
        raise DataError(f"{folder} {holds}", hint=LAYOUT)
    for kind, images in kinds.items():
        if not images:
            raise DataError(f"the class folder {folder / kind} holds no images of type {' '.join(TYPES)}", hint=LAYOUT)
    return kinds


def _images(entries: list[os.DirEntry[str]]) -> list[Path]:
    return [Path(entry.path) for entry in entries if entry.name.lower().endswith(TYPES) and not entry.is_dir()]


@contextmanager
def _opened(path: Path, resolution: int | None = None) -> Iterator[Image.Image]:
    """An image, as it lies in its file. What goes wrong inside the block is told as a fault of this file."""
    try:
        with Image.open(path) as image:
            if resolution is not None:
                image.draft("RGB", (2 * resolution, 2 * resolution))  # a JPEG decodes faster at a fraction of its size
            yield image
    except DataError:
        raise
    except Exception as error:  # the decoders raise all sorts of things for damaged files
        reason = "the file is damaged or no image" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"the image {path} cannot be read: {reason}", hint="replace it or remove it") from error


def _orientation(image: Image.Image) -> int:
    """1 for an image that lies upright in its file, up to 8 for turned and mirrored ones (EXIF); 1 in doubt."""
    try:
        # Without "exif" in the head, asking would decode a PNG, and turn a TIFF twice: Pillow turns those by itself.
        return int(image.getexif().get(ExifTags.Base.Orientation, 1)) if "exif" in image.info else 1
    except (SyntaxError, TypeError, ValueError, struct.error):  # damaged, while the image itself may be fine
        return 1


def _size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of the upright image, from the head of its file."""
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if 5 <= _orientation(image) <= 8 else (width, height)


def _pixels(path: Path, resolution: int | None) -> NDArray[np.uint8]:
    """An image as RGB, uint8, H x W x 3, resized if a resolution is given."""
    with _opened(path, resolution) as image:
        if image.mode in ("I", "F"):
            raise DataError(f"the image {path} has 32 bits per pixel", hint="save it with 8 or 16 bits")
        picture: Image.Image = image
        if image.mode.startswith("I;16"):  # Pillow would clip these greys at 255
            picture = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if "transparency" in image.info:  # a palette with transparency converts without a warning only by way of RGBA
            picture = picture.convert("RGBA")
        picture = picture.convert("RGB")
        if (orientation := _orientation(image)) in TURNS:
            picture = picture.transpose(TURNS[orientation])
        return np.asarray(picture if resolution is None else square(picture, resolution))


__all__ = ["Images"]
