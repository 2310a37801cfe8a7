"""Spoken words: a folder of .wav files, or an .npz file of recordings."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from hwnas.data import Part, Split
from hwnas.data._sounds import log_mel, read_wav, resampled, scaled
from hwnas.data._splits import Fractions, InMemory, check, cut, entries_of, fingerprint, parts_of
from hwnas.data._words import ordered
from hwnas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

LAYOUT = (
    "a data set is a folder that holds one folder of .wav files for each class, such as words/yes/1.wav, or .wav files "
    "whose names begin with the class, such as words/yes_1.wav"
)
ARRAYS = (
    "an .npz file has audio (all recordings in a row), offsets (where each begins, and the end), labels, sample_rate"
)
CAP = 10.0
"""Seconds of a recording, at most, where the length follows from the recordings."""


@dataclass(frozen=True)
class Speech(InMemory):
    """Recordings of a few seconds as people keep them: `path/yes/1.wav`, `path/no/7.wav`, or `path/yes_1.wav`.

    Sub-folders `train`, `val` (or `dev`, `valid`, `validation`) and `test` are honoured; what is missing of them
    is cut out of train, class by class. Files are .wav: PCM of 8 to 32 bits, or floats. Channels are averaged, other
    rates are brought to one. An .npz file holds `audio` with all recordings in a row, `offsets`, `labels` and
    `sample_rate`.

    Networks see log-mel features: the power in bands that lie evenly on the mel scale (HTK's formula), by frames;
    normalised band by band, with zeros behind short recordings. The fingerprint knows .wav files by name and size.

    Args:
        path: the folder, or the .npz file.
        label: where the class is: the name of the "folder", or the "prefix" of the file's own name up to the first `_`;
            None looks whether the .wav files lie in folders.
        rate: samples in a second; None is that of the first recording.
        mels: bands of the features.
        window, hop: the length of a frame, and from one to the next, in seconds.
        seconds: of a recording; longer ones are cut. None is the longest of the training split, up to 10.
        test: which recordings of an .npz file are the test split: the values of one of its arrays, such as
            `{speakers: [2]}`.
        splits: the shares of train, val and test, where the folder does not say.
        split_seed: another one deals the recordings out anew.
    """

    path: str
    label: Literal["folder", "prefix"] | None = None
    rate: int | None = None
    mels: int = 40
    window: float = 0.025
    hop: float = 0.010
    seconds: float | None = None
    test: dict[str, list[int]] | None = None
    splits: Fractions = (0.7, 0.15, 0.15)
    split_seed: int = 0

    def __post_init__(self) -> None:
        check(self.splits, self.split_seed)
        for option in ("rate", "mels", "window", "hop", "seconds"):
            value = getattr(self, option)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{option} must be a number above 0, not {value!r}")
        if self.test is not None and len(self.test) != 1:
            raise ConfigError(f"test names one array and its values, such as {{speakers: [2]}}, not {self.test!r}")

    @classmethod
    def example(cls, place: Path) -> Self:
        """Two classes of eight short tones each, written into a folder for the contract tests."""
        from scipy.io import wavfile

        rng = np.random.default_rng(0)
        for number in range(16):
            file = place / "tones" / ("low", "high")[number % 2] / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            tone = np.sin(np.arange(800 + 20 * number) * (0.2, 0.9)[number % 2]) + rng.normal(0, 0.1, 800 + 20 * number)
            wavfile.write(file, 8000, (8000 * tone).astype(np.int16))
        return cls(str(place / "tones"), mels=8)

    @functools.cached_property
    def _root(self) -> Path:
        return Path(self.path).expanduser().absolute()

    @property
    def name(self) -> str:
        return self._root.resolve().stem

    @functools.cached_property
    def _source(self) -> _Arrays | _Folder:
        if self._root.is_file():
            return _Arrays(self._root, self.test)
        if self.test is not None:
            hint = "in a folder, sub-folders named train, val and test are the splits"
            raise ConfigError(f"test chooses among the arrays of an .npz file, and {self._root} is none", hint=hint)
        return _Folder(self._root, self.label)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        return ordered(label for labels in self._source.labels.values() for label in labels)

    @functools.cached_property
    def fingerprint(self) -> str:
        own = [self.rate, self.mels, self.window, self.hop, self.seconds, self.splits, self.split_seed]
        return fingerprint(self._source.facts(), own)

    @functools.cached_property
    def _chosen(self) -> dict[Part, tuple[Part, NDArray[np.int64]]]:
        """For each split the part of the source that its recordings come from, and their positions there."""
        return cut(self._codes, self.classes, self.splits, self.split_seed, str(self._root), "recording")

    @functools.cached_property
    def _codes(self) -> dict[Part, NDArray[np.int64]]:
        position = {label: place for place, label in enumerate(self.classes)}
        return {
            part: np.array([position[label] for label in labels], np.int64)
            for part, labels in self._source.labels.items()
        }

    def _sounds(self, part: Part) -> Iterator[tuple[NDArray[np.float32], int]]:
        """The recordings of a split with their rates."""
        origin, order = self._chosen[part]
        return (self._source.sound(origin, int(place)) for place in order)

    @functools.cached_property
    def _rate(self) -> int:
        rate = self.rate or next(self._sounds("train"))[1]
        if round(self.hop * rate) < 1 or round(self.window * rate) < 2:
            raise ConfigError(f"window {self.window!r} and hop {self.hop!r} are too short for {rate} samples a second")
        return rate

    def _features(self, part: Part) -> list[NDArray[np.float32]]:
        """The features of every recording of a split, F x M; longer ones than `seconds` or the cap are cut."""
        rate, most = self._rate, round((self.seconds or CAP) * self._rate)
        window, hop = round(self.window * rate), round(self.hop * rate)
        return [
            log_mel(resampled(sound, own, rate)[:most], rate, self.mels, window, hop)
            for sound, own in self._sounds(part)
        ]

    @functools.cached_property
    def _training(self) -> list[NDArray[np.float32]]:
        return self._features("train")

    @functools.cached_property
    def _frames(self) -> int:
        if self.seconds is None:
            return max(len(features) for features in self._training)
        samples, window = round(self.seconds * self._rate), round(self.window * self._rate)
        return 1 + max(0, samples - window) // round(self.hop * self._rate)

    def _read(self, part: Part) -> Split:
        import torch

        found = self._training if part == "train" else self._features(part)
        features_NFM = np.zeros((len(found), self._frames, self.mels), np.float32)
        for row, features in zip(features_NFM, found, strict=True):
            row[: len(features)] = features[: self._frames]
        origin, order = self._chosen[part]
        return Split(torch.from_numpy(features_NFM), torch.from_numpy(self._codes[origin][order]))

    @functools.cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of every band over all frames of the training recordings."""
        frames = np.concatenate([features[: self._frames] for features in self._training]).astype(np.float64)
        return tuple(frames.mean(0).tolist()), tuple(frames.std(0).clip(min=1e-3).tolist())

    @property
    def facts(self) -> Mapping[str, int]:
        return {"classes": len(self.classes), "frames": self._frames, "mels": self.mels}

    def ready(self, inputs: Tensor, like: Tensor, /) -> Tensor:
        """Normalised band by band, and cut or filled up with zeros to the frames that a network takes."""
        import torch
        from torch.nn import functional as F

        mean, std = (torch.tensor(moment, device=inputs.device) for moment in self._moments)
        x = ((inputs - mean) / std).masked_fill(_behind(inputs), 0.0)
        return F.pad(x, (0, 0, 0, int(like.shape[-2]) - x.shape[1]))

    def varied(self, inputs: Tensor, rng: np.random.Generator, strength: int, /) -> Tensor:
        """Some frames and some bands become the mean (SpecAugment, Park et al., 2019), as many times as the strength.

        A mask takes a tenth of the frames or an eighth of the bands, at most.
        """
        import torch

        if strength == 0:
            return inputs
        count, frames, mels = inputs.shape
        masked = np.zeros((count, frames, mels), bool)
        for _ in range(strength):
            masked |= _stripes(rng, count, frames, frames // 10)[:, :, None]
            masked |= _stripes(rng, count, mels, mels // 8)[:, None, :]
        mean = torch.tensor(self._moments[0]).expand_as(inputs)
        return torch.where(torch.from_numpy(masked) & ~_behind(inputs), mean, inputs)

    @property
    def preparation(self) -> Mapping[str, Any]:
        mean, std = self._moments
        return {
            "input": "float32, N x frames x mels: the logarithm of the power by mel bands, minus mean, over std; zeros "
            "behind the end",
            "mean": list(mean),
            "std": list(std),
            "rate": self._rate,
            "window": self.window,
            "hop": self.hop,
        }


class _Folder:
    """Files as recordings, each of a class."""

    def __init__(self, root: Path, label: str | None) -> None:
        self.files: dict[Part, list[tuple[Path, str]]] = {}
        for part, folder in parts_of(root, LAYOUT).items():
            entries = entries_of(folder, LAYOUT)
            flat = [Path(entry.path) for entry in entries if _is_wav(Path(entry.path))]
            if label == "prefix" or (label is None and flat):
                found = [(file, file.stem.partition("_")[0]) for file in flat]
            else:
                kinds = [Path(entry.path) for entry in entries if entry.is_dir()]
                found = [
                    (Path(entry.path), kind.name)
                    for kind in kinds
                    for entry in entries_of(kind, LAYOUT)
                    if _is_wav(Path(entry.path))
                ]
                if empty := sorted({kind.name for kind in kinds} - {kind for _, kind in found}):
                    raise DataError(f"the class folder {folder / empty[0]} holds no .wav files", hint=LAYOUT)
            if not found:
                raise DataError(
                    f"{folder} holds no .wav files" + (" of its own" if label == "prefix" else ""), hint=LAYOUT
                )
            self.files[part] = found
        self.root = root

    @property
    def labels(self) -> dict[Part, list[str]]:
        return {part: [label for _, label in found] for part, found in self.files.items()}

    def facts(self) -> Any:
        """What the recordings are, by name and size."""
        return {
            part: [(file.relative_to(self.root).as_posix(), label, file.stat().st_size) for file, label in found]
            for part, found in self.files.items()
        }

    def sound(self, part: Part, place: int) -> tuple[NDArray[np.float32], int]:
        return read_wav(self.files[part][place][0])


class _Arrays:
    """An .npz file of recordings, one after the other."""

    def __init__(self, file: Path, test: Mapping[str, list[int]] | None) -> None:
        self.file = file
        try:
            with file.open("rb") as stream:
                if not zipfile.is_zipfile(stream):
                    raise DataError(f"{file} is no .npz file, or is cut off", hint=f"{LAYOUT}; {ARRAYS}")
                stream.seek(0)
                self.digest = hashlib.file_digest(stream, "sha256").hexdigest()
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as arrays:
                    known = list(arrays)
                    for name in ("audio", "offsets", "labels", "sample_rate", *(test or ())):
                        if name not in known:
                            raise DataError(f"{file} has no array {name!r}, but {', '.join(known)}", hint=ARRAYS)
                    self.audio, self.offsets = arrays["audio"], arrays["offsets"].astype(np.int64)
                    labels, self.rate = arrays["labels"].astype(str), int(arrays["sample_rate"])
                    chosen = {name: (arrays[name], values) for name, values in (test or {}).items()}
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"the file {file} cannot be read: {error.strerror or error}", hint=ARRAYS) from error
        except Exception as error:  # what zip, zlib and NumPy raise for damaged files has no common base
            raise DataError(f"the file {file} cannot be read: {error}", hint=ARRAYS) from error
        self._reject_misfit(labels)
        held = np.zeros(len(labels), bool)
        for name, (array, values) in chosen.items():
            if array.shape != labels.shape or not (held := np.isin(array, values)).any():
                raise DataError(f"no recording of {file} has one of {values} in {name!r}", hint="see `test`")
        self.rows: dict[Part, NDArray[np.int64]] = {"train": np.flatnonzero(~held)}
        if held.any():
            self.rows["test"] = np.flatnonzero(held)
        self.labels: dict[Part, list[str]] = {part: labels[rows].tolist() for part, rows in self.rows.items()}

    def _reject_misfit(self, labels: NDArray[Any]) -> None:
        ends = self.offsets
        if labels.ndim != 1 or ends.shape != (len(labels) + 1,) or self.audio.ndim != 1:
            shapes = f"audio {self.audio.shape}, offsets {ends.shape}, labels {labels.shape}"
            raise DataError(f"the arrays of {self.file} do not belong together: {shapes}", hint=ARRAYS)
        if ends[0] != 0 or ends[-1] != len(self.audio) or (np.diff(ends) < 1).any() or self.rate < 1:
            message = f"the offsets of {self.file} do not rise from 0 to the {len(self.audio)} samples of audio"
            raise DataError(message, hint=ARRAYS)

    def facts(self) -> Any:
        return [self.digest, {part: rows.tolist() for part, rows in self.rows.items()}]

    def sound(self, part: Part, place: int) -> tuple[NDArray[np.float32], int]:
        row = int(self.rows[part][place])
        samples = self.audio[self.offsets[row] : self.offsets[row + 1]]
        return scaled(samples, f"recording {row} of {self.file}"), self.rate


def _is_wav(path: Path) -> bool:
    return path.suffix.lower() == ".wav" and path.is_file()


def _behind(inputs: Tensor) -> Tensor:
    """Which frames lie behind the end of a recording: those of zeros, as no frame of a sound is; N x F x 1."""
    return (inputs == 0).all(dim=-1, keepdim=True)


def _stripes(rng: np.random.Generator, count: int, size: int, most: int) -> NDArray[np.bool_]:
    """For every example a stretch of up to `most` places, N x size."""
    widths = rng.integers(0, most + 1, count)
    starts = rng.integers(0, size - widths + 1)
    places = np.arange(size)
    return (places >= starts[:, None]) & (places < (starts + widths)[:, None])


__all__ = ["Speech"]
