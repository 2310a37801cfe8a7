"""Digits: scikit-learn's own arrays are the known answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from hwnas import parts
from hwnas.data import Data
from hwnas.data._pixels import normalise
from hwnas.data._splits import PARTS
from hwnas.data.digits import Digits
from hwnas.errors import ConfigError


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits(resolution=8)


def test_at_resolution_8_all_images_are_scikit_learns(digits):
    known = load_digits()
    images = torch.cat([digits.split(part).inputs for part in PARTS]).numpy()
    labels = torch.cat([digits.split(part).labels for part in PARTS]).numpy()
    assert (images[:, 0] == images[:, 2]).all()
    ours = np.column_stack([labels, np.rint(images[:, 0] / 255 * 16).reshape(len(labels), 64)])
    assert sorted(ours.tolist()) == sorted(np.column_stack([known.target, known.data]).tolist())


def test_splits_have_their_shares_of_every_class(digits):
    assert [len(digits.split(part)) for part in PARTS] == [1078, 360, 359]
    known = np.bincount(load_digits().target)
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        assert (abs(np.bincount(digits.split(part).labels) - share * known) <= 2).all()


def test_what_is_promised_holds():
    data: Data = Digits()
    train = data.split("train")
    assert (data.name, data.shape, data.classes) == ("digits", (3, 32, 32), tuple("0123456789"))
    assert train is data.split("train")
    assert train.inputs.shape[1:] == data.shape
    assert (train.inputs.dtype, train.labels.dtype) == (torch.uint8, torch.int64)
    assert (train.inputs.min(), train.inputs.max()) == (0, 255)
    x = normalise(train.inputs, data)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_enlarging_keeps_the_brightness():
    small, large = Digits(resolution=8), Digits(resolution=32)
    assert large.mean == pytest.approx(small.mean, abs=0.01)


def test_the_fingerprint_knows_every_option():
    options = [{}, {"resolution": 16}, {"split_seed": 1}, {"splits": (0.5, 0.25, 0.25)}]
    assert len({Digits(**option).fingerprint for option in options}) == 4
    assert Digits().fingerprint == Digits().fingerprint
    assert len(Digits().fingerprint) == 16


def test_it_is_a_part():
    made = parts.make("data", {"digits": {"resolution": 16, "splits": [0.5, 0.25, 0.25]}})
    assert made == Digits(resolution=16, splits=(0.5, 0.25, 0.25))
    assert parts.describe("data", "digits").startswith("1,797 handwritten digits")
    with pytest.raises(ConfigError, match="resolution"):
        Digits(resolution=0)


def test_it_can_be_learnt(digits):
    # A ridge classifier on raw pixels of the standard 8 x 8 digits reaches about 93 %.
    from sklearn.linear_model import RidgeClassifier

    train, test = digits.split("train"), digits.split("test")
    flat = [split.inputs[:, 0].flatten(1).numpy() / 255 for split in (train, test)]
    assert RidgeClassifier().fit(flat[0], train.labels.numpy()).score(flat[1], test.labels.numpy()) > 0.9
