"""Speech as numbers: files read, other rates brought to one, and log-mel features of frames."""

# Shape letters: S samples, F frames, W samples of a window, K frequencies, M mels.

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOOR = 1e-6
"""The power that silence is taken to have, on the scale of samples from -1 to 1."""


def mel_of(hertz: float) -> float:
    """A frequency on the mel scale: 2595 log10(1 + f / 700), the formula of the HTK toolkit (Young et al., 2006).

    Example:
        >>> round(mel_of(1000.0), 2)
        999.99
    """
    return 2595 * math.log10(1 + hertz / 700)


def hertz_of(mel: float) -> float:
    """The frequency at a place of the mel scale."""
    return 700 * (10 ** (mel / 2595) - 1)


def centres(mels: int, rate: int) -> NDArray[np.float64]:
    """The peaks of so many filters in hertz, evenly spread on the mel scale between 0 and half the rate; M."""
    top = mel_of(rate / 2)
    return np.array([hertz_of(top * place / (mels + 1)) for place in range(1, mels + 1)])


@functools.cache
def filters(mels: int, rate: int, size: int) -> NDArray[np.float64]:
    """Triangles that rise from the peak before to 1 at their own and fall to the peak after, M x K.

    They are linear in hertz, so that between the first and the last peak they add up to 1 at every frequency.

    Args:
        size: of the Fourier transform; K = size / 2 + 1 frequencies.
    """
    bounds = np.array([0.0, *centres(mels, rate), rate / 2])
    hertz_K = np.arange(size // 2 + 1) * rate / size
    low, peak, high = (bounds[start : start + mels, None] for start in range(3))
    rises_MK, falls_MK = (hertz_K - low) / (peak - low), (high - hertz_K) / (high - peak)
    weights_MK: NDArray[np.float64] = np.minimum(rises_MK, falls_MK).clip(min=0)
    return weights_MK


def log_mel(sound_S: NDArray[np.float32], rate: int, mels: int, window: int, hop: int) -> NDArray[np.float32]:
    """The logarithm of the power in each mel band of every frame, F x M.

    Frames lie wholly inside the sound, F = 1 + (S - W) // hop; one that is shorter than a window is filled up to it.
    They are weighted by a Hann window, and their Fourier transforms have the next power of two points.

    Args:
        sound_S: samples from -1 to 1.
        window, hop: in samples.
    """
    import torch

    sound = torch.from_numpy(np.pad(sound_S, (0, max(0, window - len(sound_S)))))
    size = 1 << (window - 1).bit_length()
    spectra_FK = torch.fft.rfft(sound.unfold(0, window, hop) * torch.hann_window(window), size).abs().square()
    bands_KM = torch.from_numpy(filters(mels, rate, size).T.astype(np.float32))
    logs: NDArray[np.float32] = (spectra_FK @ bands_KM).clamp(min=FLOOR).log().numpy()
    return logs


def read_wav(path: Path) -> tuple[NDArray[np.float32], int]:
    """The samples of a .wav file from -1 to 1, its channels averaged, and its rate in hertz.

    Raises:
        DataError: no such file, no sound in it, or a format other than PCM of 8 to 64 bits and floats.
    """
    from scipy.io import wavfile

    hint = "replace it, remove it, or convert it to 16-bit PCM: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)  # such as a file that ends too early
            warnings.filterwarnings("ignore", "Chunk .non-data. not understood", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except OSError as error:
        raise DataError(f"the file {path} cannot be read: {error.strerror or error}", hint=hint) from error
    except Exception as error:  # scipy raises all sorts of things for damaged files
        raise DataError(f"{path} is damaged, or no .wav file: {error}", hint=hint) from error
    return scaled(samples, str(path)), int(rate)


def scaled(samples: NDArray[np.generic], where: str) -> NDArray[np.float32]:
    """Samples of any type from -1 to 1, S; those of several channels, S x C, are averaged.

    Raises:
        DataError: none at all, silence, or floats that are no numbers.
    """
    if not samples.size:
        raise DataError(f"{where} holds no sound", hint="remove it")
    sound = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        sound = (sound - 128) / 128
    elif samples.dtype.kind == "i":
        sound /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    if sound.ndim == 2:
        sound = sound.mean(1)
    if not np.isfinite(sound).all():
        raise DataError(f"{where} holds values that are no numbers", hint="remove it")
    if not sound.any():
        raise DataError(f"{where} is silent: all its samples are zero", hint="remove it, or record it again")
    return sound.astype(np.float32)


def resampled(sound_S: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """The same sound at another rate, by a polyphase filter."""
    if rate == wanted:
        return sound_S
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(sound_S, wanted // common, rate // common), np.float32)
