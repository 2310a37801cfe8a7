"""Sound by known answers: the mel scale, triangles that add up, tones in their band, files of every format."""

from __future__ import annotations

import math
import struct
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from hwnas.data._sounds import FLOOR, centres, filters, hertz_of, log_mel, mel_of, read_wav, resampled, scaled
from hwnas.errors import DataError


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


# --- the mel scale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hertz", "mel"), [(0, 0), (700, 781.17), (1000, 999.99), (4000, 2146.06), (8000, 2840.02)])
def test_the_mel_scale_is_that_of_htk(hertz, mel):
    """2595 log10(2) = 781.17; 1000 Hz are 1000 mel by convention."""
    assert mel_of(hertz) == pytest.approx(mel, abs=0.01)
    assert hertz_of(mel_of(hertz)) == pytest.approx(hertz, abs=1e-9)


def test_centres_are_evenly_spread_in_mel():
    found = centres(3, 8000)
    assert found == pytest.approx(
        [700 * (10 ** (share * math.log10(1 + 4000 / 700)) - 1) for share in (0.25, 0.5, 0.75)]
    )
    assert found == pytest.approx([426.8, 1113.8, 2219.7], abs=0.1)


@pytest.mark.parametrize(("mels", "rate", "size"), [(40, 16000, 512), (8, 8000, 256), (80, 16000, 1024)])
def test_triangles_add_up_to_one_between_the_outer_peaks(mels, rate, size):
    weights, peaks = filters(mels, rate, size), centres(mels, rate)
    hertz = np.arange(size // 2 + 1) * rate / size
    inside = (hertz >= peaks[0]) & (hertz <= peaks[-1])
    np.testing.assert_allclose(weights.sum(0)[inside], 1.0, rtol=1e-12)
    assert weights.min() == 0 and weights.max() <= 1
    assert (weights[:, 0] == 0).all() and (np.abs(weights[:, -1]) < 1e-12).all()


def test_a_triangle_by_hand():
    peaks = centres(3, 8000)
    weights = filters(3, 8000, 8000)  # one frequency per hertz
    assert weights[1, round(peaks[1])] == pytest.approx(1.0, abs=0.001)
    middle = round((peaks[0] + peaks[1]) / 2)
    assert weights[:, middle] == pytest.approx([0.5, 0.5, 0.0], abs=0.001)


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (200, 1), (279, 1), (280, 2), (8000, 98)])
def test_frames_lie_wholly_inside_the_sound(samples, frames):
    found = log_mel(np.ones(samples, np.float32), 8000, 40, 200, 80)
    assert found.shape == (frames, 40) and found.dtype == np.float32


def test_features_agree_with_the_definition():
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, 1000).astype(np.float32)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    power = np.abs(np.fft.rfft(np.stack([sound[start : start + 200] * hann for start in range(0, 801, 80)]), 256)) ** 2
    np.testing.assert_allclose(
        log_mel(sound, 8000, 20, 200, 80), np.log(np.maximum(power @ filters(20, 8000, 256).T, FLOOR)), rtol=1e-4
    )


def test_a_tone_is_loudest_in_its_own_band():
    peaks = centres(20, 16000)
    for band in (3, 9, 15):
        assert (log_mel(tone(peaks[band], 16000), 16000, 20, 400, 160).argmax(1) == band).all()


def test_silence_is_the_floor():
    assert log_mel(np.zeros(400, np.float32), 8000, 5, 200, 80) == pytest.approx(math.log(FLOOR))


# --- files ----------------------------------------------------------------------------------------------------------


def write_pcm(path, sound, rate, width, channels=1):
    """By the standard library, which knows nothing of scipy."""
    levels = np.round(sound * (2 ** (8 * width - 1) - 1)).astype(np.int64) + (128 if width == 1 else 0)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(b"".join(struct.pack("<q", level)[:width] * channels for level in levels.tolist()))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_any_width_is_read(tmp_path, width):
    sound = tone(300, 8000, 0.05)
    write_pcm(tmp_path / "x.wav", sound, 8000, width)
    found, rate = read_wav(tmp_path / "x.wav")
    assert rate == 8000 and found.dtype == np.float32
    np.testing.assert_allclose(found, sound, atol=1.5 / 2 ** (8 * width - 1) + 1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_are_read(tmp_path, kind):
    sound = tone(300, 8000, 0.05)
    wavfile.write(tmp_path / "x.wav", 11025, sound.astype(kind))
    found, rate = read_wav(tmp_path / "x.wav")
    assert rate == 11025
    np.testing.assert_allclose(found, sound)


def test_channels_are_averaged(tmp_path):
    left, right = tone(300, 8000, 0.05), tone(700, 8000, 0.05)
    wavfile.write(tmp_path / "x.wav", 8000, np.stack([left, right], 1))
    np.testing.assert_allclose(read_wav(tmp_path / "x.wav")[0], (left + right) / 2, atol=1e-6)


def test_notes_in_a_file_are_passed_over(tmp_path):
    write_pcm(tmp_path / "x.wav", tone(300, 8000, 0.05), 8000, 2)
    content = (tmp_path / "x.wav").read_bytes() + b"note\x04\0\0\0abcd"
    (tmp_path / "x.wav").write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert len(read_wav(tmp_path / "x.wav")[0]) == 400


def test_damaged_files_are_told(tmp_path):
    write_pcm(tmp_path / "whole.wav", tone(300, 8000, 0.05), 8000, 2)
    content = (tmp_path / "whole.wav").read_bytes()
    cases = {
        "empty.wav": (b"", "no .wav file"),
        "text.wav": (b"hello, this is no sound at all" * 9, "no .wav file"),
        "cut.wav": (content[:-300], "damaged"),
        "head.wav": (content[:30], "damaged"),
        "law.wav": (content[:20] + b"\x07\0" + content[22:], "damaged"),
        "none.wav": (content[:4] + struct.pack("<I", 36) + content[8:40] + struct.pack("<I", 0), "holds no sound"),
        "silent.wav": (content[:44] + bytes(800), "is silent"),
    }
    for name, (damaged, told) in cases.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=told) as error:
            read_wav(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(DataError, match=r"absent\.wav cannot be read: No such file"):
        read_wav(tmp_path / "absent.wav")


def test_values_that_are_no_numbers_are_told():
    with pytest.raises(DataError, match="word 3 holds values that are no numbers"):
        scaled(np.array([0.1, np.nan]), "word 3")


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "wanted"), [(16000, 8000), (8000, 16000), (44100, 16000)])
def test_a_tone_stays_a_tone_at_another_rate(rate, wanted):
    found, ideal = resampled(tone(440, rate), rate, wanted), tone(440, wanted)
    assert found.dtype == np.float32 and abs(len(found) - len(ideal)) <= 1
    inner = slice(len(ideal) // 4, len(ideal) // 2)  # the filter has no past at the beginning
    np.testing.assert_allclose(found[inner], ideal[inner], atol=0.01)


def test_the_same_rate_changes_nothing():
    sound = tone(440, 8000)
    assert resampled(sound, 8000, 8000) is sound
