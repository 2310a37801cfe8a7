"""Arrays: files written here, in every layout that is allowed and with every fault that is met."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas import parts
from hwnas.data import Data
from hwnas.data._splits import PARTS
from hwnas.data.arrays import Arrays
from hwnas.errors import ConfigError, DataError

CIFAR = Path(__file__).parents[2] / ".." / "shared" / "data" / "datasets" / "cifar10_small.npz"

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
"""N x H x W x 3, ten of each class, each image with a first pixel of its own."""
PICTURES[:, 0, 0, 0] = np.arange(20) * 10
LABELS = np.repeat([0, 1], 10)


@pytest.fixture
def saved(tmp_path):
    """Saves arrays and gives the data set of the file."""

    def save(resolution: int | None = None, **arrays: object) -> Arrays:
        np.savez(tmp_path / "birds.npz", **arrays)
        return Arrays(str(tmp_path / "birds.npz"), resolution=resolution)

    return save


def everything(data: Data) -> dict[int, tuple[np.ndarray, str]]:
    """All images and class names of a data set by the position that their first pixel tells."""
    found = {}
    for part in PARTS:
        split = data.split(part)
        for image, label in zip(split.inputs.numpy(), split.labels.tolist(), strict=True):
            found[int(image[0, 0, 0]) // 10] = (image, data.classes[label])
    return found


def test_what_is_promised_holds(saved):
    data: Data = saved(x=PICTURES, y=LABELS)
    train = data.split("train")
    assert (data.name, data.shape, data.classes) == ("birds", (3, 6, 5), ("0", "1"))
    assert [len(data.split(part)) for part in PARTS] == [14, 3, 3]
    assert train is data.split("train")
    assert (train.inputs.dtype, train.labels.dtype) == (torch.uint8, torch.int64)
    assert data.mean == pytest.approx(train.inputs.numpy().mean((0, 2, 3)) / 255)
    assert data.std == pytest.approx(train.inputs.numpy().std((0, 2, 3)) / 255)


@pytest.mark.parametrize(
    "images",
    [PICTURES, PICTURES.transpose(0, 3, 1, 2), PICTURES / 255, (PICTURES / 255).astype(np.float16)],
    ids=["channels last", "channels first", "float64", "float16"],
)
def test_every_layout_gives_the_same_pixels(saved, images):
    found = everything(saved(images=images, labels=LABELS))
    assert sorted(found) == list(range(20))
    for position, (image, name) in found.items():
        assert (image == PICTURES[position].transpose(2, 0, 1)).all()
        assert name == str(LABELS[position])


@pytest.mark.parametrize("axis", [None, 1, 3])
def test_greys_are_repeated(saved, axis):
    greys = PICTURES[..., 0]
    found = everything(saved(x=greys if axis is None else np.expand_dims(greys, axis), y=LABELS))
    for position, (image, _) in found.items():
        assert (image == greys[position]).all()
        assert image.shape == (3, 6, 5)


def test_channels_are_last_where_both_would_do(saved):
    x = RNG.integers(0, 256, (20, 3, 5, 3), dtype=np.uint8)
    assert saved(x=x, y=LABELS).shape == (3, 3, 5)


def test_a_resolution_gives_centre_squares(saved):
    data = saved(resolution=5, x=PICTURES, y=LABELS)
    assert data.shape == (3, 5, 5)
    wide = np.zeros((20, 4, 12, 3), np.uint8)
    wide[:, :, 4:8] = 77
    assert (saved(resolution=4, x=wide, y=LABELS).split("val").inputs == 77).all()


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (LABELS.astype(np.uint8), None, ("0", "1")),
        (LABELS[:, None], None, ("0", "1")),
        (LABELS * 12 - 5, None, ("-5", "7")),
        (LABELS.astype(bool), None, ("0", "1")),
        (np.array(["cat", "dog"])[LABELS], None, ("cat", "dog")),
        (np.array([b"cat", b"dog"])[LABELS], None, ("cat", "dog")),
        (LABELS, ["wren", "crow"], ("wren", "crow")),
        (LABELS, np.array([b"wren", b"crow"]), ("wren", "crow")),
        (LABELS + 1, ["wren", "crow"], ("wren", "crow")),
        (np.array(["wren", "crow"])[LABELS], ["wren", "crow"], ("wren", "crow")),
    ],
)
@pytest.mark.parametrize("key", ["label_names", "classes"])
def test_labels_of_every_kind(saved, labels, names, classes, key):
    data = saved(x=PICTURES, y=labels, **({} if names is None else {key: names}))
    assert data.classes == classes
    for position, (_, name) in everything(data).items():
        assert name == classes[LABELS[position]]


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
        ("images_train", "labels_train", "images_valid", "labels_valid", "images_test", "labels_test"),
        ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
        ("x", "y", "x_validation", "y_validation", "x_test", "y_test"),
    ],
)
def test_splits_of_the_file_are_honoured(saved, keys):
    slices = [slice(0, 20, 2), slice(1, 20, 4), slice(3, 20, 4)]
    arrays = [array[some] for some in slices for array in (PICTURES, LABELS)]
    data = saved(**dict(zip(keys, arrays, strict=True)))
    for part, some in zip(PARTS, slices, strict=True):
        assert sorted(data.split(part).inputs[:, 0, 0, 0].tolist()) == list(PICTURES[some, 0, 0, 0])


def test_missing_splits_are_cut_out_of_train(saved):
    data = saved(x_train=PICTURES[::2], y_train=LABELS[::2], x_test=PICTURES[1::2], y_test=LABELS[1::2])
    assert [len(data.split(part)) for part in PARTS] == [8, 2, 10]
    assert sorted(everything(data)) == list(range(20))
    assert all(value % 20 == 10 for value in data.split("test").inputs[:, 0, 0, 0].tolist())


def test_classes_need_no_images(saved):
    assert saved(x=np.zeros(3), y=["a", "b"]).classes == ("a", "b")


def test_the_fingerprint_follows_from_file_and_options(saved):
    data = saved(x=PICTURES, y=LABELS)
    again = Arrays(data.path, split_seed=1)
    assert len({data.fingerprint, again.fingerprint, Arrays(data.path, resolution=5).fingerprint}) == 3
    assert Arrays(data.path).fingerprint == data.fingerprint
    assert saved(x=255 - PICTURES, y=LABELS).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": PICTURES, "y": LABELS[:-1]}, "20 images, but there are 19 labels"),
        ({"x": PICTURES}, "'x' without 'y'"),
        ({"pixels": PICTURES, "y": LABELS}, "no array 'x'.*pixels, y"),
        ({}, "its arrays: none"),
        ({"x_train": PICTURES, "y_train": LABELS, "x_test": PICTURES}, "'x_test' without 'y_test'"),
        ({"x": PICTURES, "y": LABELS.astype(object)}, "cannot be read: Object arrays"),
        ({"x": PICTURES, "y": LABELS / 2}, "'y' of .* holds float64"),
        ({"x": PICTURES, "y": np.eye(2)[LABELS]}, r"shape \(20, 2\)\none-hot"),
        ({"x": PICTURES, "y": 3}, r"shape \(\)"),
        ({"x": PICTURES, "y": LABELS * 0}, "only the class '0'"),
        ({"x": PICTURES, "y": np.arange(20) // 19}, "class '1' of .* has 1 image, but needs 3"),
        ({"x": PICTURES[:0], "y": LABELS[:0]}, "is empty"),
        ({"x": PICTURES.astype(int), "y": LABELS}, "holds int64"),
        ({"x": PICTURES.astype(float), "y": LABELS}, "from 0 to 255"),
        ({"x": PICTURES / 255 - 0.5, "y": LABELS}, "from -0.5"),
        ({"x": np.where(PICTURES == 0, np.nan, 0.5), "y": LABELS}, "nan"),
        ({"x": np.full((20, 4, 4), np.inf), "y": LABELS}, "inf"),
        ({"x": PICTURES[..., 0, 0], "y": LABELS}, r"shape \(20, 6\)"),
        ({"x": PICTURES[..., [0, 1, 2, 0]], "y": LABELS}, r"a fourth channel"),
        ({"x": PICTURES, "y": LABELS + 7, "classes": ["a", "b", "c"]}, "from 7 to 8, but names 3 classes"),
        ({"x": PICTURES, "y": np.array(["a", "z"])[LABELS], "classes": ["a", "b"]}, "lack: .'z'."),
        ({"x": PICTURES, "y": LABELS, "classes": ["a", "b", "c"]}, "class 'c' of .* has 0 images"),
        (
            {"x_train": PICTURES, "y_train": LABELS, "x_test": PICTURES[:, 1:], "y_test": LABELS},
            r"'x_train' .* \(6, 5, 3\), one of 'x_test' has \(5, 5, 3\)",
        ),
        (
            {"x_train": PICTURES, "y_train": LABELS, "x_test": PICTURES, "y_test": LABELS + 1},
            "train and test .* only train has '0'; only test has '2'",
        ),
    ],
)
def test_files_that_make_no_sense_are_refused(saved, arrays, words):
    with pytest.raises(DataError, match=f"(?s){words}") as error:
        saved(**arrays).split("train")
    assert error.value.hint
    assert "birds.npz" in str(error.value)


def test_files_that_are_none_are_refused(tmp_path, saved):
    whole = Path(saved(x=PICTURES, y=LABELS).path).read_bytes()
    damaged = bytearray(whole)
    damaged[500] ^= 255
    for name, content in {"text.npz": b"hello", "empty.npz": b"", "cut.npz": whole[:-30]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"is no \.npz file, or is cut off"):
            Arrays(str(tmp_path / name)).split("train")
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(DataError, match="CRC"):
        Arrays(str(tmp_path / "damaged.npz")).split("train")
    np.save(tmp_path / "one.npy", PICTURES)
    with pytest.raises(DataError, match=r"is no \.npz file"):
        Arrays(str(tmp_path / "one.npy")).split("train")
    for path, reason in {"missing.npz": "No such file", ".": "Is a directory"}.items():
        for look in (lambda data: data.classes, lambda data: data.fingerprint):
            with pytest.raises(DataError, match=f"{reason}.*\n.*np.savez"):
                look(Arrays(str(tmp_path / path)))


def test_it_is_a_part():
    made = parts.make("data", {"arrays": {"path": "birds.npz", "resolution": 32, "splits": [0.8, 0.1, 0.1]}})
    assert made == Arrays("birds.npz", resolution=32, splits=(0.8, 0.1, 0.1))
    with pytest.raises(ConfigError, match="path"):
        parts.make("data", "arrays")
    with pytest.raises(ConfigError, match="splits"):
        Arrays("birds.npz", splits=(1.0, 0.0, 0.0))


@pytest.mark.skipif(not CIFAR.exists(), reason="needs shared/data/datasets/cifar10_small.npz beside the repository")
def test_cifar():
    data = Arrays(str(CIFAR))
    assert " ".join(data.classes) == "airplane automobile bird cat deer dog frog horse ship truck"
    assert data.shape == (3, 32, 32)
    assert data.fingerprint == Arrays(str(CIFAR)).fingerprint
    assert [len(data.split(part)) for part in PARTS] == [8235, 1765, 2000]  # 0.7 and 0.15 of 0.85 of 10,000
    assert all(np.ptp(np.bincount(data.split(part).labels)) <= 1 for part in PARTS)
    # Mean and deviation of all training images, as the README of the file gives them.
    assert data.mean == pytest.approx((0.493, 0.483, 0.447), abs=0.003)
    assert data.std == pytest.approx((0.246, 0.244, 0.262), abs=0.003)
    with np.load(CIFAR) as file:
        known = {hashlib.sha256(image.transpose(2, 0, 1).tobytes()).digest() for image in file["x_test"]}
    assert {hashlib.sha256(image.tobytes()).digest() for image in data.split("test").inputs.numpy()} == known
