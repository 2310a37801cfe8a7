"""Images: folders painted here, in every layout that is allowed and with every fault that is met."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from hwnas import parts
from hwnas.data import Data
from hwnas.data._splits import PARTS
from hwnas.data.images import Images
from hwnas.errors import ConfigError, DataError

COLOURS = {"cat": (250, 10, 20), "dog": (30, 240, 40)}


def paint(path: Path, colour: tuple[int, ...] = (9, 9, 9), size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Path:
    """A picture of one colour, `size` being width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(path)
    return path


def fill(root: Path, count: int = 10) -> Path:
    """Class folders with pictures whose blue is their number."""
    for kind, (red, green, _) in COLOURS.items():
        for number in range(count):
            paint(root / kind / f"{number}.png", (red, green, number))
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos")


def blues(data: Data, part: str) -> list[tuple[str, int]]:
    """Class and number of all images of a split, in order."""
    split = data.split(part)
    return [(data.classes[label], int(image[2, 0, 0])) for image, label in zip(split.inputs, split.labels, strict=True)]


def test_what_is_promised_holds(photos):
    data: Data = Images(str(photos))
    train = data.split("train")
    assert (data.name, data.shape, data.classes) == ("photos", (3, 4, 6), ("cat", "dog"))
    assert [len(data.split(part)) for part in PARTS] == [14, 3, 3]
    assert train is data.split("train")
    assert (train.inputs.dtype, train.labels.dtype) == (torch.uint8, torch.int64)
    assert train.inputs.shape[1:] == data.shape
    assert data.mean == pytest.approx(train.inputs.numpy().mean((0, 2, 3)) / 255)
    assert all(std >= 1 / 255 for std in data.std)


def test_every_file_is_in_one_split_under_its_class(photos):
    data = Images(str(photos))
    found = [some for part in PARTS for some in blues(data, part)]
    assert sorted(found) == [(kind, number) for kind in COLOURS for number in range(10)]
    for part in PARTS:
        split = data.split(part)
        for image, label in zip(split.inputs, split.labels, strict=True):
            assert tuple(image[:2, 0, 0].tolist()) == COLOURS[data.classes[label]][:2]


def test_the_seed_decides(photos):
    def order(**options: object) -> list[tuple[str, int]]:
        return blues(Images(str(photos), **options), "train")

    assert order() == order(split_seed=0) != order(split_seed=1)


def test_files_of_all_types_and_modes_become_rgb(tmp_path):
    for kind in "ab":
        for number, suffix in enumerate(("jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "tiff", "PNG")):
            paint(tmp_path / kind / f"{number}.{suffix}", (128, 128, 128))
        paint(tmp_path / kind / "grey.png", (128,), mode="L")
        paint(tmp_path / kind / "alpha.png", (128, 128, 128, 255), mode="RGBA")
        paint(tmp_path / kind / "cmyk.jpg", (0, 0, 0, 127), mode="CMYK")
        palette = Image.new("P", (6, 4), 1)
        palette.putpalette([0, 0, 0, 128, 128, 128])
        palette.save(tmp_path / kind / "palette.png", transparency=bytes([0, 255]))
        deep = np.full((4, 6), 128 << 8, np.uint16)
        Image.fromarray(deep).save(tmp_path / kind / "deep.png")
        Image.fromarray(deep).save(tmp_path / kind / "deep.tif")
    data = Images(str(tmp_path))
    images = torch.cat([data.split(part).inputs for part in PARTS])
    assert len(images) == 2 * 15
    assert (images.int() - 128).abs().max() <= 3  # WebP and CMYK round


def test_hidden_files_and_other_types_are_skipped(photos):
    known = Images(str(photos)).fingerprint
    (photos / ".hidden").mkdir()
    (photos / "readme.txt").write_text("pictures")
    (photos / "cat" / "notes.txt").write_text("cats")
    (photos / "cat" / "._0.png").write_bytes(b"\0")
    (photos / "cat" / "folder.png").mkdir()
    assert Images(str(photos)).fingerprint == known


def test_a_resolution_resizes_the_centre_square(tmp_path):
    for kind in "ab":
        for number, size in enumerate([(30, 10), (10, 30), (10, 10)]):
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            top, left = (size[1] - 10) // 2, (size[0] - 10) // 2
            picture[top : top + 10, left : left + 10] = 200
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / kind / f"{number}.png")
    data = Images(str(tmp_path), resolution=10)
    assert data.shape == (3, 10, 10)
    assert all((data.split(part).inputs == 200).all() for part in PARTS)
    assert Images(str(tmp_path), resolution=7).split("val").inputs.shape == (2, 3, 7, 7)


@pytest.mark.parametrize("orientation", range(1, 10))
def test_pictures_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:8, :16] = 255
    for kind, suffix in zip("abcd", ("jpg", "png", "webp", "tif"), strict=True):
        (tmp_path / kind).mkdir()
        for number in range(3):
            Image.fromarray(picture).save(tmp_path / kind / f"{number}.{suffix}", exif=exif, quality=95)
    known = ImageOps.exif_transpose(Image.open(tmp_path / "b" / "0.png"))
    data = Images(str(tmp_path))
    assert data.shape == (3, known.height, known.width)
    images = data.split("train").inputs.permute(0, 2, 3, 1).numpy()
    assert abs(images - np.asarray(known).astype(int)).max() < 30


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbagegarbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x01"])
def test_a_damaged_orientation_spoils_no_picture(photos, exif):
    for suffix in ("jpg", "png", "webp"):
        Image.new("RGB", (6, 4)).save(photos / "cat" / f"exif.{suffix}", exif=exif)
    assert sum(len(Images(str(photos)).split(part)) for part in PARTS) == 23


def test_large_pictures_shrink_faithfully(tmp_path):
    picture = np.tile(np.linspace(0, 255, 1600).astype(np.uint8)[None, :, None], (1600, 1, 3))
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for number in range(3):
            Image.fromarray(picture).save(tmp_path / kind / f"{number}.jpg", quality=95)
    shrunk = Images(str(tmp_path), resolution=16).split("test").inputs[0, 0, 8].float()
    torch.testing.assert_close(shrunk, torch.linspace(8, 247, 16), atol=2, rtol=0)


@pytest.mark.parametrize(("val", "test"), [("val", "test"), ("valid", "test"), ("validation", "Test")])
def test_splits_of_the_folder_are_honoured(tmp_path, val, test):
    for name, count in {"train": 5, val: 1, test: 2}.items():
        fill(tmp_path / name, count)
    data = Images(str(tmp_path))
    assert data.classes == ("cat", "dog")
    for part, count in zip(PARTS, (5, 1, 2), strict=True):
        assert sorted(blues(data, part)) == [(kind, number) for kind in COLOURS for number in range(count)]


@pytest.mark.parametrize(("given", "sizes"), [("val", [16, 2, 4]), ("test", [16, 4, 2]), ("", [14, 3, 3])])
def test_missing_splits_are_cut_out_of_train(tmp_path, given, sizes):
    fill(tmp_path / "train")
    if given:
        fill(tmp_path / given, 1)
    data = Images(str(tmp_path))
    assert [len(data.split(part)) for part in PARTS] == sizes
    cut = [some for part in PARTS if part != given for some in blues(data, part)]
    assert sorted(cut) == [(kind, number) for kind in COLOURS for number in range(10)]


def test_a_class_may_be_a_train(tmp_path):
    for kind in ("train", "car", "bus"):
        for number in range(3):
            paint(tmp_path / kind / f"{number}.png")
    assert Images(str(tmp_path)).classes == ("bus", "car", "train")


def test_classes_and_fingerprint_open_no_image(photos):
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no image")
    data = Images(str(photos))
    assert data.classes == ("cat", "dog")
    assert len(data.fingerprint) == 16


def test_the_fingerprint_knows_names_sizes_splits_and_resolution(photos):
    def look(**options: object) -> str:
        return Images(str(photos), **options).fingerprint

    known = look()
    assert look() == known
    assert len({known, look(resolution=4), look(split_seed=1), look(splits=(0.6, 0.2, 0.2))}) == 4
    (photos / "cat" / "0.png").rename(photos / "cat" / "zero.png")
    renamed = look()
    paint(photos / "cat" / "zero.png", size=(60, 40))
    assert len({known, renamed, look()}) == 3


def test_the_fingerprint_does_not_depend_on_the_place(photos, tmp_path):
    assert Images(str(fill(tmp_path / "elsewhere"))).fingerprint == Images(str(photos)).fingerprint


def test_images_added_later_move_nothing(photos, tmp_path):
    run = tmp_path / "runs" / "first"
    before = Images(str(photos), folder=run)
    assert before.classes and not run.exists()
    before.keep()
    known = {part: blues(before, part) for part in PARTS}
    written = (run / "splits.json").read_bytes()
    assert [file.name for file in run.iterdir()] == ["splits.json"]
    assert sum(len(json.loads(written)[part]) for part in PARTS) == 20

    for number in range(20, 40):
        paint(photos / "cat" / f"{number}.png")
        paint(photos / "emu" / f"{number}.png")
    after = Images(str(photos), folder=run)
    assert {part: blues(after, part) for part in PARTS} == known
    assert (after.classes, after.fingerprint) == (before.classes, before.fingerprint)
    assert (run / "splits.json").read_bytes() == written
    assert len(Images(str(photos)).classes) == 3


def test_names_beyond_ascii_are_recorded(tmp_path):
    for kind in ("Bär", "猫"):
        for number in range(3):
            paint(tmp_path / "photos" / kind / f"é{number}.png")
    known = Images(str(tmp_path / "photos"), folder=tmp_path)
    known.keep()
    assert known.classes == ("Bär", "猫") == Images(str(tmp_path / "photos"), folder=tmp_path).classes


def change(record: Path, **changes: object) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda photos, record: (photos / "cat" / "3.png").unlink(), "1 of the 20 files .* such as cat/3.png"),
        (lambda photos, record: photos.rename(photos.with_name("moved")), "20 of the 20 files .* missing"),
        (lambda photos, record: record.write_text("{"), "is damaged"),
        (lambda photos, record: record.write_text("[]"), "is damaged"),
        (lambda photos, record: record.write_text('{"train": {}}'), "is damaged"),
        (lambda photos, record: change(record, train=3), "is damaged"),
        (lambda photos, record: change(record, split_seed=4), "split_seed 4, not .* and 0"),
        (lambda photos, record: change(record, val={"cat/0.png": "cat"}), "splits.json have .* only train has 'dog'"),
        (lambda photos, record: change(record, val=json.loads(record.read_text())["train"]), "more than one split"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(photos, tmp_path, spoil, words):
    Images(str(photos), folder=tmp_path).keep()
    spoil(photos, tmp_path / "splits.json")
    with pytest.raises(DataError, match=f"(?s){words}") as error:
        Images(str(photos), folder=tmp_path).split("train")
    assert error.value.hint


def test_other_options_than_the_recorded_are_refused(photos, tmp_path):
    Images(str(photos), folder=tmp_path).keep()
    with pytest.raises(DataError, match=r"splits \[0.7, 0.15, 0.15\] .* not \[0.8, 0.1, 0.1\]"):
        Images(str(photos), splits=(0.8, 0.1, 0.1), folder=tmp_path).split("train")


def nothing(root: Path) -> None:
    """The folder of the test as it is."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root.rmdir(), "there is no folder .*photos"),
        (lambda root: (root.rmdir(), root.write_text("")), "photos is a file, not a folder"),
        (nothing, "photos holds no class folders"),
        (lambda root: paint(root / "1.png"), "photos holds images, but no class folders"),
        (lambda root: [paint(root / "cat" / f"{n}.png") for n in range(9)], "only the class 'cat'"),
        (lambda root: (fill(root), (root / "emu").mkdir()), "class folder .*emu holds no images of type .jpg"),
        (lambda root: fill(root / "inner"), "class folder .*inner holds no images"),
        (lambda root: (fill(root), paint(root / "emu" / "1.png")), "class 'emu' of .* has 1 image, but needs 3"),
        (lambda root: fill(root, 2), "class 'cat' of .* has 2 images, but needs 3"),
        (lambda root: (fill(root / "train", 1), fill(root / "val")), "has 1 image, but needs 2: .* train, test"),
        (
            lambda root: (fill(root / "train"), fill(root / "val"), fill(root / "valid")),
            "second folder for the same split: val",
        ),
        (lambda root: (fill(root / "train"), paint(root / "test" / "1.png")), "test holds images, but no class"),
        (
            lambda root: (
                fill(root / "train"),
                fill(root / "val"),
                (root / "val" / "dog").rename(root / "val" / "Dog"),
            ),
            "train and val .* different classes: only train has 'dog'; only val has 'Dog'",
        ),
        (
            lambda root: (fill(root), paint(root / "dog" / "odd.png", size=(3, 5))),
            r"differ in size: \w+/\w+.png has .* \w+/\w+.png has .*\nset `resolution`",
        ),
        (lambda root: (fill(root), (root / "dog" / "x.jpg").write_text("x")), "x.jpg cannot be read: .* no image"),
        (lambda root: (fill(root), (root / "dog" / "x.jpg").symlink_to("gone.jpg")), "x.jpg cannot be read"),
    ],
)
def test_folders_that_make_no_sense_are_refused(tmp_path, make, words):
    root = tmp_path / "photos"
    root.mkdir()
    make(root)
    data = Images(str(root))
    with pytest.raises(DataError, match=f"(?s){words}") as error:
        [data.split(part) for part in PARTS]
    assert error.value.hint


def test_differing_sizes_are_told_before_the_test_split_is_used(photos):
    test = next(iter(Images(str(photos))._files["test"]))
    paint(photos / test, size=(7, 7))
    with pytest.raises(DataError, match=f"has 6 x 4 pixels, {test} has 7 x 7"):
        Images(str(photos)).split("train")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
def test_truncated_images_are_named(photos, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = photos / "cat" / f"cut.{suffix}"
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"cut\.{suffix} cannot be read.*\nreplace it"):
        [Images(str(photos), resolution=8).split(part) for part in PARTS]


def test_pixels_without_a_range_are_refused(photos):
    Image.fromarray(np.zeros((4, 6), np.float32)).save(photos / "cat" / "float.tif")
    with pytest.raises(DataError, match=r"float\.tif has 32 bits"):
        [Images(str(photos)).split(part) for part in PARTS]


def test_a_forbidden_folder_is_told(photos, monkeypatch):
    allowed = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"dog cannot be read: Permission denied\ncheck"):
        Images(str(photos)).split("train")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the super-user")
def test_a_forbidden_image_is_told(photos):
    (photos / "cat" / "0.png").chmod(0)
    with pytest.raises(DataError, match=r"0\.png cannot be read: .*Permission denied"):
        Images(str(photos)).split("train")


def test_a_relative_path_has_a_name(photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert Images(".").name == "photos"


def test_it_is_a_part(tmp_path):
    made = parts.make("data", {"images": {"path": "photos", "splits": [0.8, 0.1, 0.1]}}, {"folder": tmp_path})
    assert made == Images("photos", splits=(0.8, 0.1, 0.1), folder=tmp_path)
    assert parts.spec_of(made) == {"data.images": {"path": "photos", "splits": (0.8, 0.1, 0.1)}}
    with pytest.raises(ConfigError, match="resolution"):
        Images("photos", resolution=0)
