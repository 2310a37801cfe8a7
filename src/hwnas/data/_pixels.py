"""What the data sets of images share: normalising, shifting, moments, and squares."""

# Shape letters: N images, B of a batch, C channels, H height, W width, R side of a square, L grey levels.

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from hwnas.data._splits import InMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class Pixels(InMemory):
    """A data set of images in memory: its splits hold uint8, N x C x H x W, all of one size."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.split("train").inputs.shape[1:]
        return channels, height, width

    @functools.cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return moments(self.split("train").inputs)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training images by channel, on the scale 0 ... 1."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training images by channel, on the scale 0 ... 1."""
        return self._moments[1]

    @property
    def facts(self) -> Mapping[str, int]:
        return {"classes": len(self.classes), "resolution": self.shape[1]}

    def ready(self, inputs: Tensor, like: Tensor, /) -> Tensor:
        return normalise(inputs, self, (int(like.shape[-2]), int(like.shape[-1])))

    def varied(self, inputs: Tensor, rng: np.random.Generator, strength: int, /) -> Tensor:
        """Every image shifted by up to `strength` pixels."""
        return shifted(inputs, strength, rng)

    @property
    def preparation(self) -> Mapping[str, Any]:
        told = "float32, N x C x H x W, pixels / 255, minus mean, over std"
        return {"mean": list(self.mean), "std": list(self.std), "input": told}


def normalise(images: Tensor, data: Pixels, size: tuple[int, int] | None = None) -> Tensor:
    """Images as networks want them: float32, mean 0 and deviation 1 by channel, resized if a size is given.

    Args:
        images: uint8, B x C x H x W.
        size: height and width.

    Returns:
        float32, B x C x H x W, laid out channels last, which convolutions are fastest with.
    """
    import torch
    from torch.nn import functional as F

    x = images.float().div_(255.0)
    if size is not None and tuple(x.shape[-2:]) != size:
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    mean = torch.tensor(data.mean, device=x.device).view(1, -1, 1, 1)
    std = torch.tensor(data.std, device=x.device).view(1, -1, 1, 1)
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def shifted(images: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    """Every image moved by up to `most` pixels in each direction, its edge repeated."""
    import torch
    from torch.nn import functional as F

    if most == 0:
        return images
    padded = F.pad(images.float(), (most, most, most, most), mode="replicate").to(images.dtype)
    height, width = images.shape[-2:]
    shifts = rng.integers(0, 2 * most + 1, size=(len(images), 2)).tolist()
    return torch.stack([p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, shifts, strict=True)])


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of uint8 images by channel, on the scale 0 ... 1.

    They follow from the histogram of each channel and so are exact whatever the number of images. The deviation is
    never less than one grey level, so that a channel which is all but constant is not blown up by dividing.

    Args:
        images: uint8, N x C x H x W.
    """
    import torch

    histograms_CL = torch.stack(
        [
            torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in chunk.unbind(1)])
            for chunk in (images[start : start + 1024] for start in range(0, len(images), 1024))
        ]
    ).sum(0)
    weights_CL = histograms_CL.double() / histograms_CL.sum(1, keepdim=True)
    levels_L = torch.arange(256, dtype=torch.float64) / 255
    mean = weights_CL @ levels_L
    variance = (weights_CL * (levels_L - mean[:, None]) ** 2).sum(1)
    return tuple(mean.tolist()), tuple(variance.sqrt().clamp(min=1 / 255).tolist())


def square(image: Image.Image, resolution: int) -> Image.Image:
    """The largest centred square of an image, resized; in integers (Pillow), so alike on every machine."""
    return ImageOps.fit(image, (resolution, resolution), Image.Resampling.BILINEAR)


def squares(images: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Many images as squares: N x H x W or N x H x W x 3 becomes N x R x R or N x R x R x 3."""
    return np.stack([np.asarray(square(Image.fromarray(image), resolution)) for image in images])


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """N x H x W or N x H x W x 3 as a tensor N x 3 x H x W; greys are repeated."""
    import torch

    x = torch.from_numpy(images)
    return (x[:, None] if x.ndim == 3 else x.movedim(3, 1)).expand(-1, 3, -1, -1).contiguous()
