"""ImageNet's layout: what is read, in what proportions, and how images are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas import testing
from hwnas.compat.dynast.imagenet import MEAN, STD, Imagenet, centre
from hwnas.errors import ConfigError, DataError


def write(place, counts, kinds=("cat", "dog"), size=(40, 30)):
    """A folder of noise: so many images of every class in every part."""
    rng = np.random.default_rng(0)
    for part, count in counts.items():
        for kind in kinds:
            for number in range(count):
                file = place / part / kind / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)).save(file)
    return Imagenet(str(place / "train"), str(place / "val"), resolution=8)


CHECKS = [check for check in testing.checks_of(Imagenet) if check is not testing.moments_are_those_of_train]


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_contract(check, tmp_path):
    check(Imagenet.example(tmp_path))


def test_images_are_normalised_as_published_networks_expect(tmp_path):
    data = Imagenet.example(tmp_path)
    assert (data.mean, data.std) == (MEAN, STD)


def test_splits_are_drawn_class_by_class(tmp_path):
    data = write(tmp_path, {"train": 10, "val": 20})
    data = replace(data, fraction=0.25, calibration=6)
    counts = {part: torch.bincount(data.split(part).labels).tolist() for part in ("train", "val", "test")}
    assert counts == {"train": [3, 3], "val": [5, 5], "test": [3, 3]}


def test_all_validation_images_are_used_unless_told_otherwise(tmp_path):
    assert len(write(tmp_path, {"train": 4, "val": 7}).split("val")) == 14


def test_a_tiny_share_still_gives_a_number(tmp_path):
    data = replace(write(tmp_path, {"train": 4, "val": 7}), fraction=0.001)
    assert len(data.split("val")) == 2


def test_draws_follow_the_seed(tmp_path):
    data = replace(write(tmp_path, {"train": 9, "val": 9}), fraction=0.5, calibration=4)
    again, other = replace(data), replace(data, draw=1)
    assert torch.equal(data.split("val").inputs, again.split("val").inputs)
    assert data.fingerprint == again.fingerprint != other.fingerprint


def test_the_centre_of_the_shorter_side_is_kept(tmp_path):
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[16:240, 144:368] = 255  # exactly the centre 224 x 224
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert centre(tmp_path / "x.png", 224).min() == 255
    pixels[16, 144] = 0
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert centre(tmp_path / "x.png", 224)[0, 0].max() == 0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda place: (place / "val" / "cow").mkdir(), "different classes, such as cow"),
        (lambda place: [file.unlink() for file in (place / "val" / "cat").iterdir()], "holds no images"),
        (lambda place: (place / "val" / "cat" / "0.png").write_text("no"), "0.png cannot be read"),
    ],
)
def test_damaged_folders_are_told(spoil, told, tmp_path):
    data = write(tmp_path, {"train": 2, "val": 2})
    spoil(tmp_path)
    with pytest.raises(DataError, match=told):
        data.split("val")


@pytest.mark.parametrize("options", [{"fraction": 0.0}, {"calibration": 0}, {"resolution": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigError):
        Imagenet("train", "val", **options)
