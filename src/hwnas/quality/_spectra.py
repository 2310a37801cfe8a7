"""Numbers read from spectra of features and matrices: entropies, smallest correlations, gains, nuclear norms.

Shape letters: B inputs, C channels, H height, W width, T tokens, N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 512
"""Up to so many channels, everything is computed in float64."""


def samples(features: Tensor) -> Tensor:
    """Features as N x C: positions of images, B x C x H x W, and tokens, B x T x C, are samples; B x C stays."""
    if features.dim() == 4:
        features = features.movedim(1, -1)
    return features.reshape(-1, features.shape[-1])


def entropy(features: Tensor) -> float:
    """The entropy of the shares that the principal directions of features have in their variance, at most log C.

    H = -sum p log(p + 1e-8), p the eigenvalues of the covariance over samples, clamped at 0 and normalised; 0 where
    nothing varies.
    """
    x_NC = _exact(samples(features))
    x_NC = x_NC - x_NC.mean(0)
    spectrum_C = torch.linalg.eigvalsh(x_NC.T @ x_NC).clamp(min=0)
    total = spectrum_C.sum()
    if not total > 0:
        return 0.0
    share_C = spectrum_C / total
    return float(-(share_C * (share_C + 1e-8).log()).sum())


def least_correlation(features: Tensor) -> float:
    """The smallest eigenvalue of the correlation between channels over samples.

    0 where a channel is constant, and where there are no more samples than channels, which makes the matrix singular.
    """
    x_NC = samples(features)
    if len(x_NC) <= x_NC.shape[1]:
        return 0.0
    x_NC = _exact(x_NC)
    x_NC = x_NC - x_NC.mean(0)
    size_C = x_NC.norm(dim=0)
    if not size_C.all():
        return 0.0
    x_NC = x_NC / size_C
    return float(torch.linalg.eigvalsh(x_NC.T @ x_NC)[0].clamp(min=0))


def gain(sent: Tensor, received: Tensor) -> float | None:
    """How strongly a block carries random signs back: the largest singular value of received^T sent / N.

    Where the block lowers the resolution, the positions that it merges count as channels of one.

    Args:
        sent: a sign per feature after the block.
        received: its product with the block's Jacobian, of the shape of the features before the block.

    Returns:
        None where positions before and after can't be matched.
    """
    if sent.dim() == received.dim() == 4:
        received = _merged(received, sent.shape[2:])
    before_NC, after_NC = samples(received), samples(sent)
    if len(before_NC) % len(after_NC):
        return None
    before_NC = before_NC.reshape(len(after_NC), -1)
    product = before_NC.T @ after_NC / len(after_NC)
    if product.shape[0] < product.shape[1]:
        product = product.T
    product = _exact(product)
    # The root of an eigenvalue is as good as a singular value for the largest one, and many times faster.
    return float(torch.linalg.eigvalsh(product.T @ product)[-1].clamp(min=0).sqrt())


def _merged(image: Tensor, sides: torch.Size) -> Tensor:
    """B x C x H x W with the sides of a smaller image: patches become channels, zeros fill up what is missing."""
    steps = [-(-old // new) for old, new in zip(image.shape[2:], sides, strict=True)]
    (step_H, step_W), (height, width) = steps, sides
    if step_H * step_W == 1:
        return image
    image = F.pad(image, (0, step_W * width - image.shape[3], 0, step_H * height - image.shape[2]))
    patches = image.reshape(*image.shape[:2], height, step_H, width, step_W)
    return patches.movedim((3, 5), (2, 3)).flatten(1, 3)


def nuclear(matrix: Tensor) -> float:
    """The sum of all singular values of a weight, which is read as outputs x everything else."""
    return float(torch.linalg.svdvals(matrix.reshape(len(matrix), -1)).sum())


def _exact(x_NC: Tensor) -> Tensor:
    return x_NC.double() if x_NC.shape[1] <= SMALL else x_NC
