"""What data sets of images share: moments and squares by hand, shifts, and what networks are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data import Data, Part, Split, batches
from hwnas.data._pixels import Pixels, moments, normalise, shifted, square, squares, tensor
from hwnas.seeds import seeded


def test_moments_agree_with_numpy():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1100, 3, 4, 5), dtype=np.uint8))
    mean, std = moments(images)
    scaled = images.numpy() / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-12)
    assert all(type(value) is float for value in mean + std)


def test_a_constant_channel_has_a_deviation_of_one_level():
    images = torch.zeros(4, 2, 3, 3, dtype=torch.uint8)
    images[:, 1] = 255
    assert moments(images) == ((0.0, 1.0), (1 / 255, 1 / 255))


def test_a_square_is_the_centre():
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = 200
    assert (np.asarray(square(Image.fromarray(wide), 4)) == 200).all()
    assert (np.asarray(square(Image.fromarray(wide.T.copy()), 4)) == 200).all()


def test_squares_keep_channels_and_what_is_square_already():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    assert (squares(images, 6) == images).all()
    assert squares(images, 9).shape == (2, 9, 9, 3)
    assert squares(images[..., 0], 9).shape == (2, 9, 9)


def test_tensors_have_channels_first_and_three_of_them():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    assert (tensor(images)[1, 2].numpy() == images[1, :, :, 2]).all()
    greys = tensor(images[..., 0])
    assert greys.shape == (2, 3, 4, 5)
    assert greys.is_contiguous()
    assert (greys[:, 2].numpy() == images[..., 0]).all()


class Greys(Pixels):
    """Two grey images, 3 x 4."""

    name, classes, fingerprint = "greys", ("a", "b"), "0" * 16

    def _read(self, part: Part) -> Split:
        return Split(torch.full((2, 1, 3, 4), 51, dtype=torch.uint8), torch.tensor([0, 1]))


def test_what_is_known_of_images():
    data: Data = Greys()
    assert data.facts == {"classes": 2, "resolution": 3}
    assert data.shape == (1, 3, 4)
    assert data.mean == (0.2,)
    assert data.std == (1 / 255,)
    assert normalise(data.split("train").inputs, data).abs().max() < 1e-4
    assert data.preparation["mean"] == [0.2]


def test_networks_get_images_of_their_own_side():
    data, like = Greys(), torch.empty(1, 1, 8, 8, device="meta")
    raw = data.split("val").inputs
    x = data.ready(raw, like)
    assert x.shape == (2, 1, 8, 8) and x.dtype == torch.float32
    assert torch.equal(x, normalise(raw, data, (8, 8)))
    assert (raw == 51).all()
    found = list(batches(data.split("val"), data, 1, like))
    assert torch.equal(torch.cat([x for x, _ in found]), x)
    assert [labels.tolist() for _, labels in found] == [[0], [1]]


def test_variation_is_a_shift():
    data, raw = Greys(), torch.arange(60, dtype=torch.uint8).view(1, 3, 4, 5)
    one, other = (data.varied(raw, np.random.default_rng(5), 2) for _ in range(2))
    assert torch.equal(one, other) and torch.equal(one, shifted(raw, 2, np.random.default_rng(5)))
    assert data.varied(raw, np.random.default_rng(5), 0) is raw


def test_images_are_shifted_and_their_edges_repeated() -> None:
    with seeded(0):
        images = torch.randint(0, 256, (40, 3, 6, 5), dtype=torch.uint8)
    moved = shifted(images, 2, np.random.default_rng(0))
    assert moved.dtype == torch.uint8 and moved.shape == images.shape
    found = set()
    for old, new in zip(images, moved, strict=True):
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows = (torch.arange(6) - down).clamp(0, 5)
                columns = (torch.arange(5) - right).clamp(0, 4)
                if torch.equal(new, old[:, rows][:, :, columns]):
                    found.add((down, right))
                    break
            else:
                continue
            break
        else:
            pytest.fail("an image was not shifted but changed")
    assert len(found) > 15
    assert shifted(images, 0, np.random.default_rng(0)) is images
