"""A data set of the Hugging Face Hub, of text or of images, through the `datasets` library."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import Image

from hwnas.data import Data, Part, Split
from hwnas.data._pixels import Pixels, square, tensor
from hwnas.data._splits import SPELLINGS, Fractions, check, cut, fingerprint
from hwnas.data._words import HEADERS, Texts, Words, check_words, ordered
from hwnas.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Hub(Data):
    """Texts or images by their name on the Hugging Face Hub: `stanfordnlp/sst2`; downloaded once, then kept there.

    It needs the extra `hf`: pip install "hwnas[hf]". Splits that the data set has are honoured where they have labels;
    what is missing of val and test is cut out of train, class by class. No code of the data set is run.

    Args:
        dataset: the name, `owner/name`, or a local folder of .parquet, .csv or .jsonl files that the library can read.
        config: which of several parts of the data set, such as `sst2` of `nyu-mll/glue`.
        revision: a commit or tag, so that the data never change; None is the newest.
        input, label: the columns; None looks for the first one with texts or images, and for `label` or the like.
        resolution: the centre square of every image is resized to so many pixels; None keeps them as they are.
        length: tokens of a text; longer ones are cut. None keeps 95 % of the training texts whole, up to 512 tokens.
        vocabulary: so many of the most frequent words of the training texts are told apart.
        tokenizer: the path of a `tokenizer.json`, instead of words.
        splits: the shares of train, val and test, where the data set does not say.
        split_seed: another one deals the examples out anew.
        folder: where `keep` records the words of texts, for later sessions; None records nothing.
    """

    dataset: str
    config: str | None = None
    revision: str | None = None
    input: str | None = None
    label: str | None = None
    resolution: int | None = None
    length: int | None = None
    vocabulary: int = 10_000
    tokenizer: str | None = None
    splits: Fractions = (0.7, 0.15, 0.15)
    split_seed: int = 0
    folder: Path | None = None

    needs: ClassVar[str] = "datasets"
    """The library without which its contract cannot be checked."""

    def __post_init__(self) -> None:
        check(self.splits, self.split_seed, self.resolution)
        check_words(self.length, self.vocabulary)

    @classmethod
    def example(cls, place: Path) -> Self:
        """Two classes of twelve short sentences each, written into a folder for the contract tests."""
        words = {"good": ("fine", "great", "lovely"), "bad": ("poor", "dull", "silly")}
        rows = [
            {"text": f"a {word} {thing}", "label": kind}
            for kind, some in words.items()
            for word in some
            for thing in ("film", "book", "play", "song")
        ]
        (place / "reviews").mkdir(exist_ok=True)
        lines = "\n".join(map(json.dumps, rows))
        (place / "reviews" / "train.jsonl").write_text(lines, encoding="utf-8")
        return cls(str(place / "reviews"), length=6, vocabulary=30, folder=place)

    @property
    def name(self) -> str:
        return Path(self.dataset).name if self.config is None else f"{Path(self.dataset).name}/{self.config}"

    @property
    def classes(self) -> tuple[str, ...]:
        return self._examples.classes

    @property
    def facts(self) -> Mapping[str, int]:
        return self._examples.facts

    @property
    def fingerprint(self) -> str:
        return self._examples.fingerprint

    def split(self, part: Part, /) -> Split:
        return self._examples.split(part)

    def ready(self, inputs: Tensor, like: Tensor, /) -> Tensor:
        return self._examples.ready(inputs, like)

    def varied(self, inputs: Tensor, rng: np.random.Generator, strength: int, /) -> Tensor:
        return self._examples.varied(inputs, rng, strength)

    @property
    def preparation(self) -> Mapping[str, Any]:
        return self._examples.preparation

    def keep(self) -> None:
        self._examples.keep()

    @functools.cached_property
    def _examples(self) -> Data:
        """The data set as what it turns out to be: texts or pictures."""
        tables = self._tables()
        columns = list(next(iter(tables.values())).features)
        label = self._column(columns, "label", next((name for name in HEADERS["label"] if name in columns), None))
        first = {name: tables["train"][0][name] for name in columns}
        fitting = [name for name, value in first.items() if name != label and isinstance(value, str | Image.Image)]
        column = self._column(columns, "input", next(iter(fitting), None))
        if not (made := next((made for kind, made in _KINDS.items() if isinstance(first[column], kind)), None)):
            message = f"column {column!r} of {self.dataset!r} holds {type(first[column]).__name__}, not text or images"
            raise DataError(message, hint=f"name another with `input`: {', '.join(columns)}")
        names = getattr(tables["train"].features[label], "names", None)
        labels = {part: [_named(value, names) for value in table[label]] for part, table in tables.items()}
        told = {part: some for part, some in labels.items() if part == "train" or None not in some}
        if None in told["train"]:
            message = f"an example of {self.dataset!r} has no label in column {label!r}"
            raise DataError(message, hint="name another column with `label`")
        inputs = {part: list(tables[part][column]) for part in told}
        examples: Data = made(self, inputs, {part: list(map(str, some)) for part, some in told.items()}, names)
        return examples

    def _column(self, columns: Sequence[str], option: str, usual: str | None) -> str:
        column = getattr(self, option) or usual
        if column is None:
            message = f"{self.dataset!r} has no column that is taken for the {option}"
            raise DataError(message, hint=f"name it with `{option}`: {', '.join(columns)}")
        if column not in columns:
            raise DataError(f"{self.dataset!r} has no column {column!r}; {nearest(column, columns)}")
        return str(column)

    def _tables(self) -> dict[Part, Any]:
        """The splits as the library has them.

        Raises:
            ConfigError: the library is missing.
            DataError: there is no such data set, or no way to get it.
        """
        try:
            datasets = importlib.import_module("datasets")
        except ImportError as error:
            hint = 'pip install "hwnas[hf]", or save the data and use `text`, `images` or `arrays`'
            raise ConfigError("data sets of the Hub need the library datasets, which is missing", hint=hint) from error
        known = f"the data set {self.dataset!r}" + (f", config {self.config!r}," if self.config else "")
        try:
            found = datasets.load_dataset(self.dataset, self.config, revision=self.revision)
        except FileNotFoundError as error:  # the library's own "not found" is one
            hint = "look for it on huggingface.co/datasets: its name is owner/name; private ones need `hf auth login`"
            raise DataError(f"{known} was not found: {_first(error)}", hint=hint) from error
        except (OSError, TimeoutError) as error:  # what the network does
            hint = "check the network; what was loaded before is also there without it: HF_HUB_OFFLINE=1"
            raise DataError(f"{known} cannot be loaded: {_first(error)}", hint=hint) from error
        except Exception as error:  # a config that is needed, a damaged file, code that would have to run
            hint = "name one of several parts with `config`; data sets that need code of their own cannot be used"
            raise DataError(f"{known} cannot be read: {type(error).__name__}: {_first(error)}", hint=hint) from error
        tables: dict[Part, Any] = {}
        for name, table in found.items():
            if (part := SPELLINGS.get(str(name))) and len(table):
                tables.setdefault(part, table)
        if "train" not in tables:
            raise DataError(f"{known} has no split to train on; it has {', '.join(map(str, found))}")
        return tables


class _Labelled:
    """Which examples are whose, and where they come from: what texts and pictures of the Hub share."""

    hub: Hub
    labels: Mapping[Part, Sequence[str]]
    names: Sequence[str] | None

    @property
    def name(self) -> str:
        return self.hub.name

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        if self.names is not None:
            return tuple(self.names)
        return ordered(label for some in self.labels.values() for label in some)

    @functools.cached_property
    def codes(self) -> dict[Part, NDArray[np.int64]]:
        position = {label: place for place, label in enumerate(self.classes)}
        return {part: np.array([position[label] for label in some], np.int64) for part, some in self.labels.items()}

    @functools.cached_property
    def chosen(self) -> dict[Part, tuple[Part, NDArray[np.int64]]]:
        return cut(self.codes, self.classes, self.hub.splits, self.hub.split_seed, repr(self.hub.dataset), "example")

    def digest(self, contents: Mapping[Part, Sequence[bytes]], *options: Any) -> str:
        made = hashlib.sha256()
        for part, some in contents.items():
            for content, label in zip(some, self.labels[part], strict=True):
                made.update(f"{part}/{label}/{len(content)}/".encode())
                made.update(content)
        return fingerprint(made.hexdigest(), self.classes, self.hub.splits, self.hub.split_seed, *options)


class _HubTexts(_Labelled, Words):
    """A column of texts."""

    def __init__(
        self, hub: Hub, inputs: Mapping[Part, Sequence[str]], labels: Mapping[Part, Sequence[str]], names: Any
    ) -> None:
        self.hub, self.texts, self.labels, self.names = hub, inputs, labels, names
        self.length, self.vocabulary, self.tokenizer, self.folder = (
            hub.length,
            hub.vocabulary,
            hub.tokenizer,
            hub.folder,
        )
        for part, some in inputs.items():
            for row, text in enumerate(some):
                if not isinstance(text, str) or not text.strip():
                    message = f"example {row} of {part} of {hub.dataset!r} has no text"
                    raise DataError(message, hint="name another column with `input`")

    def _texts(self) -> Mapping[Part, Texts]:
        return {
            part: ([self.texts[origin][place] for place in order], self.codes[origin][order])
            for part, (origin, order) in self.chosen.items()
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        contents = {part: [text.encode() for text in some] for part, some in self.texts.items()}
        return self.digest(contents, self._says())


class _HubPictures(_Labelled, Pixels):
    """A column of images."""

    def __init__(
        self, hub: Hub, inputs: Mapping[Part, Sequence[Any]], labels: Mapping[Part, Sequence[str]], names: Any
    ) -> None:
        self.hub, self.labels, self.names = hub, labels, names
        self.pixels = {part: [self._made(image) for image in some] for part, some in inputs.items()}
        sizes = sorted({pixels.shape[:2] for some in self.pixels.values() for pixels in some})
        if len(sizes) > 1:
            message = f"the images of {hub.dataset!r} differ in size: {sizes[0][::-1]} and {sizes[-1][::-1]}, say"
            raise DataError(message, hint="set `resolution`, and the centre square of every image is resized to it")

    def _made(self, image: Image.Image) -> NDArray[np.uint8]:
        picture = image.convert("RGB")
        return np.asarray(picture if self.hub.resolution is None else square(picture, self.hub.resolution))

    def _read(self, part: Part) -> Split:
        import torch

        origin, order = self.chosen[part]
        images = np.stack([self.pixels[origin][place] for place in order])
        return Split(tensor(images), torch.from_numpy(self.codes[origin][order]))

    @functools.cached_property
    def fingerprint(self) -> str:
        contents = {part: [pixels.tobytes() for pixels in some] for part, some in self.pixels.items()}
        return self.digest(contents, self.shape)


_KINDS: Mapping[type, Any] = {str: _HubTexts, Image.Image: _HubPictures}
"""What a data set is made into, by what its column holds."""


def _named(value: Any, names: Sequence[str] | None) -> str | None:
    """A label as text; None where there is none, which the Hub also writes as -1."""
    if value is None or (names is not None and not 0 <= value < len(names)):
        return None
    return str(value) if names is None else names[value]


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0]


__all__ = ["Hub"]
