"""ImageNet as it lies on disk: `train` and `val`, one folder per class; only the images that are needed are read."""

from __future__ import annotations

import functools
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hwnas.data import Part, Split
from hwnas.data._pixels import Pixels
from hwnas.errors import ConfigError, DataError
from hwnas.seeds import derive

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TYPES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
CROP = 0.875
"""Of the shorter side, the centre is kept: 224 of 256 pixels."""


@dataclass(frozen=True)
class Imagenet(Pixels):
    """Images as published networks expect them: the centre at 224 pixels, and the usual constants to normalise by.

    Of the training images only some are read, drawn evenly over the classes: they calibrate BatchNorm; as many more
    make up the test split. The validation images, or a share of them drawn class by class, are all in memory: about 150
    kB each.

    Args:
        train, val: the folders, with one folder of images per class each.
        fraction: the share of the validation images that is used, above 0 and at most 1.
        calibration: training images that are read.
        draw: the seed of all draws.
        resolution: side of the images in pixels.
    """

    train: str
    val: str
    fraction: float = 1.0
    calibration: int = 512
    draw: int = 0
    resolution: int = 224

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"fraction must be above 0 and at most 1, not {self.fraction!r}")
        for name in ("calibration", "resolution"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)!r}")

    @classmethod
    def example(cls, place: Path) -> Self:
        """Two classes of small pictures, written into a folder for the contract tests."""
        rng = np.random.default_rng(0)
        for part, count in (("train", 16), ("val", 8)):
            for number in range(count):
                file = place / "images" / part / ("cat", "dog")[number % 2] / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).save(file)
        return cls(str(place / "images/train"), str(place / "images/val"), calibration=8, resolution=8)

    @property
    def name(self) -> str:
        return Path(self.val).parent.name

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        found = {part: _folders(Path(place)) for part, place in (("train", self.train), ("val", self.val))}
        if found["train"] != found["val"]:
            odd = sorted(set(found["train"]) ^ set(found["val"]))
            raise DataError(f"{self.train} and {self.val} have different classes, such as {', '.join(odd[:3])}")
        if len(found["train"]) < 2:
            raise DataError(f"{self.train} needs two class folders or more, it has {len(found['train'])}")
        return found["train"]

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.resolution, self.resolution

    @property
    def mean(self) -> tuple[float, ...]:
        return MEAN

    @property
    def std(self) -> tuple[float, ...]:
        return STD

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with the files that are used, by name and size, and with how they are made ready."""
        files = {
            part: [(path.relative_to(path.parents[1]).as_posix(), label, path.stat().st_size) for path, label in chosen]
            for part, chosen in self._files.items()
        }
        text = json.dumps([files, self.classes, self.resolution], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @functools.cached_property
    def _files(self) -> dict[Part, list[tuple[Path, int]]]:
        """The images of every split with their labels."""
        drawn: dict[Part, list[tuple[Path, int]]] = {"train": [], "val": [], "test": []}
        each = -(-self.calibration // len(self.classes))
        for label, kind in enumerate(self.classes):
            rng = np.random.default_rng(derive(self.draw, "images", label))
            training = _shuffled(Path(self.train) / kind, rng)
            most = min(each, max(1, len(training) // 2))
            judged = _shuffled(Path(self.val) / kind, rng)
            drawn["train"] += [(path, label) for path in training[:most]]
            drawn["test"] += [(path, label) for path in training[most : 2 * most]]
            drawn["val"] += [(path, label) for path in judged[: max(1, round(self.fraction * len(judged)))]]
        rng = np.random.default_rng(derive(self.draw, "order"))
        keep = {"train": self.calibration, "test": self.calibration, "val": len(drawn["val"])}
        return {
            part: [files[place] for place in rng.permutation(len(files))[: keep[part]].tolist()]
            for part, files in drawn.items()
        }

    def _read(self, part: Part) -> Split:
        import torch

        files = self._files[part]
        images_NCHW = np.empty((len(files), *self.shape), np.uint8)

        def decode(place: int) -> None:
            images_NCHW[place] = centre(files[place][0], self.resolution).transpose(2, 0, 1)

        with ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
            list(pool.map(decode, range(len(files))))
        return Split(torch.from_numpy(images_NCHW), torch.tensor([label for _, label in files], dtype=torch.int64))


def centre(path: Path, resolution: int) -> NDArray[np.uint8]:
    """The centre of an image, seven eighths of its shorter side, as R x R x 3.

    Raises:
        DataError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * resolution, 2 * resolution))  # a JPEG decodes faster at a fraction of its size
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise DataError(f"the image {path} cannot be read: {error}", hint="replace it or remove it") from error
    side = CROP * min(picture.size)
    left, top = ((size - side) / 2 for size in picture.size)
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box))


def _folders(root: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."))
    except OSError as error:
        raise DataError(f"the folder {root} cannot be read: {error.strerror}") from error


def _shuffled(folder: Path, rng: np.random.Generator) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in TYPES and path.name[0] != ".")
    if not files:
        raise DataError(f"the class folder {folder} holds no images of type {' '.join(TYPES)}")
    return [files[place] for place in rng.permutation(len(files)).tolist()]


__all__ = ["Imagenet"]
