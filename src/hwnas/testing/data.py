"""What a data set promises."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas import parts
from hwnas.data import Data, Part
from hwnas.testing._shared import Check, elsewhere, hold, keeping, require, require_fingerprint, unchanged

_SPLITS: tuple[Part, ...] = ("train", "val", "test")


def _contents(data: Data) -> list[bytes]:
    """The three splits as bytes: images and labels."""
    splits = [data.split(part) for part in _SPLITS]
    return [tensor.numpy().tobytes() for split in splits for tensor in (split.images, split.labels)]


def splits_hold_images(data: Data) -> None:
    """All three splits hold uint8 images of one shape with labels of every class."""
    import torch

    require(isinstance(data.name, str) and data.name, "a data set needs a name")
    require(len(set(data.classes)) == len(data.classes) >= 2, f"two classes or more, none twice, not {data.classes!r}")
    for part in _SPLITS:
        split = data.split(part)
        require(split.images.dtype == torch.uint8, f"images of {part} are {split.images.dtype}")
        require(tuple(split.images.shape[1:]) == tuple(data.shape), f"images of {part} have not the shape {data.shape}")
        require(split.labels.dtype == torch.int64, f"labels of {part} are {split.labels.dtype}")
        require(len(split) == len(split.images) == len(split.labels) > 0, f"{part} has not one label per image")
        found = sorted(set(split.labels.tolist()))
        require(found == list(range(len(data.classes))), f"{part} has the labels {found}, not one of every class")


def splits_are_disjoint(data: Data) -> None:
    """No image is in two splits."""
    kept: dict[bytes, str] = {}
    for part in _SPLITS:
        for image in data.split(part).images:
            other = kept.setdefault(image.numpy().tobytes(), part)
            require(other == part, f"an image is in {other} and in {part}")


def splits_are_stable(data: Data) -> None:
    """A fresh copy of the data set has the same images in the same order, and the same fingerprint."""
    with elsewhere(data) as again, unchanged("reading the data"):
        require(_contents(again) == _contents(data), "read again, the splits differ")
        require(again.fingerprint == data.fingerprint, "read again, the fingerprint differs")
        require(data.split("val") is data.split("val"), "every call of split() reads anew")


def keeps_its_splits_when_asked(data: Data) -> None:
    """Reading leaves no files; `keep` may, and whoever comes later to the same folder finds the same splits."""
    with TemporaryDirectory() as place:
        own = replace(data, **keeping(data, Path(place)))  # type: ignore[type-var]  # a dataclass, as all parts
        contents = _contents(own)
        require(not os.listdir(place), "reading the data leaves files")
        own.keep()
        own.keep()
        again = replace(own)  # type: ignore[type-var]
        same = _contents(again) == contents and again.fingerprint == own.fingerprint
        require(same, "what `keep` has kept is not what is found again")


def the_fingerprint_tells(data: Data) -> None:
    """The fingerprint is sixteen hex digits, and another one wherever an option changes an image or a split."""
    require_fingerprint(data.fingerprint)
    contents = _contents(data)
    for option in fields(data):  # type: ignore[arg-type]  # a dataclass, as all parts
        value = getattr(data, option.name)
        if option.name in parts.GIVEN or type(value) is not int:
            continue
        with elsewhere(data, **{option.name: value + 1}) as other:
            same = other.fingerprint == data.fingerprint
            require(
                not same or _contents(other) == contents, f"another {option.name!r} leaves the fingerprint as it is"
            )


def moments_are_those_of_train(data: Data) -> None:
    """Mean and deviation are those of the training images by channel, on the scale 0 ... 1."""
    import torch

    images = data.split("train").images.double() / 255
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3), correction=0).clamp(min=1 / 255)
    for what, found, known in (("mean", data.mean, mean), ("deviation", data.std, std)):
        close = torch.allclose(torch.tensor(found, dtype=torch.float64), known, rtol=1e-6, atol=1e-9)
        require(close, f"the {what} is {found}, that of the training images {tuple(known.tolist())}")


DATA: tuple[Check, ...] = (
    splits_hold_images,
    splits_are_disjoint,
    splits_are_stable,
    keeps_its_splits_when_asked,
    the_fingerprint_tells,
    moments_are_those_of_train,
)


def check_data(data: Data) -> None:
    """Holds a data set to its protocol."""
    hold(DATA, data)
