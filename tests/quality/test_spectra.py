import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hwnas.quality._spectra import entropy, gain, least_correlation, nuclear, samples


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def orthogonal(size):
    return torch.linalg.qr(drawn(size, size)).Q


def signs(*shape):
    return drawn(*shape).sign()


# --- samples --------------------------------------------------------------------------------------------------------


def test_positions_and_tokens_are_samples():
    image_BCHW, tokens_BTC = drawn(2, 3, 4, 5), drawn(2, 6, 3)
    assert torch.equal(samples(image_BCHW)[5 * 2 + 1], image_BCHW[0, :, 2, 1])
    assert torch.equal(samples(tokens_BTC)[6 + 4], tokens_BTC[1, 4])
    assert samples(drawn(7, 3)).shape == (7, 3)


# --- entropy --------------------------------------------------------------------------------------------------------


def test_entropy_of_equal_directions_is_log_c():
    both = torch.cat([torch.eye(5), -torch.eye(5)])
    assert entropy(both) == pytest.approx(math.log(5), abs=1e-6)


def test_entropy_of_known_shares():
    x_NC = torch.diag(torch.tensor([1.0, 2.0, 3.0])) @ orthogonal(3)
    shares = [1 / 14, 4 / 14, 9 / 14]
    assert entropy(torch.cat([x_NC, -x_NC])) == pytest.approx(-sum(p * math.log(p) for p in shares), abs=1e-6)


def test_entropy_of_one_direction_and_of_none_is_zero():
    assert entropy(drawn(50, 1) * drawn(1, 6)) == pytest.approx(0.0, abs=1e-5)
    assert entropy(torch.ones(50, 6)) == 0.0


def test_entropy_of_few_samples_is_finite():
    """A covariance of low rank has eigenvalues slightly below 0, whose logarithm is no number."""
    assert 0 < entropy(drawn(4, 600)) < math.log(4)


# --- correlation ----------------------------------------------------------------------------------------------------


def test_least_correlation_of_two_channels_is_one_minus_theirs():
    x, y = drawn(2, 100)
    correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    features_BCHW = torch.stack([3 * x + 7, -0.1 * y]).view(1, 2, 10, 10)
    assert least_correlation(features_BCHW) == pytest.approx(1 - abs(correlation), rel=1e-5)


def test_least_correlation_is_zero_without_rank():
    assert least_correlation(drawn(1, 16, 4, 4)) == 0.0
    assert least_correlation(drawn(1, 15, 4, 4)) > 0.0
    assert least_correlation(torch.cat([drawn(20, 2), torch.ones(20, 1)], 1)) == 0.0


# --- gain -----------------------------------------------------------------------------------------------------------


def test_gain_of_a_scale_and_of_nothing():
    """Many samples make the covariance of signs nearly the identity, so that a block's gain is its own."""
    sent = signs(64, 3, 16, 16)
    assert gain(sent, 3 * sent) == pytest.approx(3 * gain(sent, sent), rel=1e-6)
    assert gain(sent, sent) == pytest.approx(1.0, abs=0.02)
    assert gain(sent, torch.zeros_like(sent)) == 0.0


def test_gain_merges_positions_as_pixel_unshuffle_does():
    sent, received = signs(2, 6, 3, 2), drawn(2, 4, 6, 4)
    merged = samples(F.pixel_unshuffle(received, 2))
    assert gain(sent, received) == pytest.approx(
        float(torch.linalg.matrix_norm(merged.T @ samples(sent) / 12, 2)), rel=1e-5
    )


def test_gain_of_many_channels_next_to_few():
    sent, received = signs(4, 3, 2, 2), drawn(4, 600, 2, 2)
    expected = np.linalg.norm(samples(received).T.numpy() @ samples(sent).numpy() / 16, 2)
    assert gain(sent, received) == pytest.approx(expected, rel=1e-4)
    assert gain(signs(4, 600, 2, 2), drawn(4, 3, 2, 2)) > 0


def test_gain_of_odd_sides_and_of_merged_tokens():
    sent, received = signs(2, 6, 4, 4), drawn(2, 5, 7, 7)
    assert gain(sent, received) == pytest.approx(gain(sent, F.pad(received, (0, 1, 0, 1))), rel=1e-6)
    tokens = drawn(2, 12, 5)
    assert gain(signs(2, 4, 5), tokens) == pytest.approx(gain(signs(2, 4, 5), tokens.reshape(2, 4, 15)), rel=1e-6)
    assert gain(signs(2, 5, 5), tokens) is None


# --- nuclear norm ---------------------------------------------------------------------------------------------------


def test_nuclear_norm_of_identity_and_of_rank_one():
    """Of the identity it is n, not sqrt(n), which is the Frobenius norm."""
    u, v = drawn(5, 1), drawn(1, 12)
    assert nuclear(torch.eye(9)) == pytest.approx(9.0)
    assert nuclear((u @ v).view(5, 3, 2, 2)) == pytest.approx(float(u.norm() * v.norm()), rel=1e-5)
    assert nuclear(drawn(200, 200)) / float(drawn(200, 200).norm()) == pytest.approx(
        8 / (3 * math.pi) * 200**0.5, rel=0.02
    )
