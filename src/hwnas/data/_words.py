"""What the data sets of text share: a vocabulary of words, tokenizers from a file, lengths, and words left out."""

# Shape letters: N texts, B of a batch, T tokens.

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from hwnas.data import Part, Split
from hwnas.data._splits import InMemory
from hwnas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

PADDING, UNKNOWN, START = range(3)
"""The first tokens of our own vocabulary: what fills up short texts, rare words, and what every text begins with."""
LONGEST = 512
"""Tokens of a text, at most, where the length follows from the texts."""
COVERED = 95
"""Per cent of the training texts that are kept whole where the length follows from them."""
LEFT_OUT = 0.05
"""The share of words that a variation of strength 1 makes unknown."""
HEADERS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "review", "content", "utterance", "question"),
    "label": ("label", "labels", "class", "category", "target", "sentiment", "intent"),
}
"""What columns are often called, by the option that names them."""
_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")

Texts: TypeAlias = "tuple[Sequence[str], NDArray[np.int64]]"
"""The texts of a split with their labels."""


class Tokenizer(Protocol):
    """What makes tokens of texts."""

    @property
    def size(self) -> int:
        """Token ids run from 0 to `size` - 1; 0 is padding."""
        ...

    @property
    def unknown(self) -> int | None:
        """What stands for what it does not know; None if it knows everything."""
        ...

    @property
    def special(self) -> Sequence[int]:
        """Tokens that are no part of a text."""
        ...

    @property
    def told(self) -> Mapping[str, Any]:
        """What an exported file says of it."""
        ...

    def encode(self, texts: Sequence[str], length: int | None = None, /) -> list[list[int]]:
        """The tokens of every text, cut at a length if there is one; not filled up."""
        ...


@dataclass(frozen=True)
class Lexicon:
    """Our own simple tokenizer: lower-case words and single punctuation marks; a token begins every text.

    Args:
        words: in the order of their tokens, the first of which is 3.
    """

    words: tuple[str, ...]

    unknown = UNKNOWN
    special = (PADDING, UNKNOWN, START)

    @classmethod
    def of(cls, texts: Iterable[str], most: int) -> Lexicon:
        """The most frequent words of some texts; of equally frequent ones, the first in the alphabet."""
        counts = Counter(word for text in texts for word in words_of(text))
        return cls(tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most]))

    @functools.cached_property
    def _tokens(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words, start=START + 1)}

    @property
    def size(self) -> int:
        return START + 1 + len(self.words)

    @property
    def told(self) -> Mapping[str, Any]:
        return {
            "input": f"int64, N x T: {START}, then the tokens of lower-case words and punctuation marks, {UNKNOWN} for "
            f"words that are not listed, filled up with {PADDING}",
            "vocabulary": ["", "?", "^", *self.words],
        }

    def encode(self, texts: Sequence[str], length: int | None = None, /) -> list[list[int]]:
        known = self._tokens
        return [[START, *(known.get(word, UNKNOWN) for word in words_of(text))][:length] for text in texts]


class FromFile:
    """A tokenizer as the `tokenizers` library writes it: `tokenizer.json`, which most published models come with.

    Raises:
        ConfigError: the library is missing, there is no such file, or its token 0 is not the padding.
    """

    def __init__(self, path: str) -> None:
        self.name = Path(path).name
        try:
            import tokenizers
        except ImportError as error:
            hint = "pip install tokenizers, or leave `tokenizer` out: words are then found by a rule"
            raise ConfigError("tokenizer needs the library tokenizers, which is not installed", hint=hint) from error
        file = Path(path).expanduser()
        if not file.is_file():
            raise ConfigError(f"there is no file {file}", hint="tokenizer takes the path of a tokenizer.json")
        try:
            self._made = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare exceptions
            raise ConfigError(f"{file} is no tokenizer of the tokenizers library: {error}") from error
        self._made.no_padding()
        self._added = self._made.get_added_tokens_decoder()
        if "pad" not in str(first := self._made.id_to_token(PADDING)).lower():
            message = f"token {PADDING} of {file} is {first!r}"
            raise ConfigError(message, hint=f"texts are filled up with {PADDING}, which must stand for padding: [PAD]")

    @property
    def size(self) -> int:
        return int(self._made.get_vocab_size())

    @property
    def unknown(self) -> int | None:
        word = getattr(self._made.model, "unk_token", None)
        token = None if word is None else self._made.token_to_id(word)
        return None if token is None else int(token)

    @property
    def special(self) -> Sequence[int]:
        return [PADDING, *(int(token) for token, added in self._added.items() if added.special)]

    @property
    def told(self) -> Mapping[str, Any]:
        return {"input": f"int64, N x T: tokens, filled up with {PADDING}", "tokenizer": self.name}

    def encode(self, texts: Sequence[str], length: int | None = None, /) -> list[list[int]]:
        if length is None:
            self._made.no_truncation()
        else:
            self._made.enable_truncation(length)
        return [list(found.ids) for found in self._made.encode_batch(list(texts))]


class Words(InMemory):
    """A data set of texts in memory: its splits hold tokens, int64, N x T.

    Args:
        length: tokens of a text; None keeps 95 % of the training texts whole, up to 512 tokens.
        vocabulary: so many of the most frequent words of the training texts are told apart.
        tokenizer: the path of a `tokenizer.json`, instead of words.
        folder: where `keep` records the words.
    """

    length: int | None
    vocabulary: int
    tokenizer: str | None
    folder: Path | None

    @abstractmethod
    def _texts(self) -> Mapping[Part, Texts]:
        """The three splits as they were written, every text with a letter or two."""

    @functools.cached_property
    def _split_texts(self) -> Mapping[Part, Texts]:
        return self._texts()

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is not None:
            return FromFile(self.tokenizer)
        record = self._record
        if record is None or not record.exists():
            return Lexicon.of(self._split_texts["train"][0], self.vocabulary)
        new = "start a new run, and the words are counted anew"
        try:
            kept = json.loads(record.read_text(encoding="utf-8"))
            owner, words = str(kept["fingerprint"]), tuple(map(str, kept["words"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"the record of the words, {record}, is damaged: {error!r}", hint=new) from error
        if owner != self.fingerprint:
            raise DataError(f"{record} holds the words of other texts, or of other options", hint=new)
        return Lexicon(words)

    @functools.cached_property
    def _length(self) -> int:
        if self.length is not None:
            return self.length
        lengths = [len(tokens) for tokens in self._tokenizer.encode(self._split_texts["train"][0])]
        return min(LONGEST, max(2, int(np.percentile(lengths, COVERED, method="higher"))))

    def _read(self, part: Part) -> Split:
        import torch

        texts, labels = self._split_texts[part]
        tokens_NT = np.full((len(texts), self._length), PADDING, np.int64)
        for row, tokens in zip(tokens_NT, self._tokenizer.encode(texts, self._length), strict=True):
            row[: len(tokens)] = tokens
        return Split(torch.from_numpy(tokens_NT), torch.from_numpy(labels))

    @property
    def facts(self) -> Mapping[str, int]:
        return {"classes": len(self.classes), "vocabulary": self._tokenizer.size, "length": self._length}

    def ready(self, inputs: Tensor, like: Tensor, /) -> Tensor:
        """Cut to the length that a network takes, or filled up to it."""
        from torch.nn import functional as F

        return F.pad(inputs, (0, int(like.shape[-1]) - inputs.shape[1]), value=PADDING)

    def varied(self, inputs: Tensor, rng: np.random.Generator, strength: int, /) -> Tensor:
        """A twentieth of the words for each unit of strength, half of them at most, becomes unknown."""
        import torch

        unknown, share = self._tokenizer.unknown, min(0.5, LEFT_OUT * strength)
        if unknown is None or share == 0:
            return inputs
        drawn = torch.from_numpy(rng.random(tuple(inputs.shape)) < share)
        return inputs.masked_fill(drawn & ~torch.isin(inputs, torch.tensor(list(self._tokenizer.special))), unknown)

    @property
    def preparation(self) -> Mapping[str, Any]:
        return self._tokenizer.told

    def keep(self) -> None:
        record, tokenizer = self._record, self._tokenizer
        if record is None or record.exists() or not isinstance(tokenizer, Lexicon):
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        draft = record.with_name(f".{record.name}.{os.getpid()}")
        told = {"fingerprint": self.fingerprint, "words": tokenizer.words}
        draft.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.replace(record)

    @property
    def _record(self) -> Path | None:
        return None if self.folder is None else self.folder / "vocabulary.json"

    def _says(self) -> list[Any]:
        """What the fingerprint must know of the options above."""
        digest = None
        if self.tokenizer is not None and (file := Path(self.tokenizer).expanduser()).is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return [self.length, self.vocabulary, digest]


def check_words(length: int | None, vocabulary: int) -> None:
    """Refuses options that no text can follow.

    Raises:
        ConfigError: says which and what is allowed.
    """
    if length is not None and length < 2:
        raise ConfigError(f"length must be 2 tokens or more, not {length!r}")
    if vocabulary < 1:
        raise ConfigError(f"vocabulary must be 1 word or more, not {vocabulary!r}")


def words_of(text: str) -> list[str]:
    """Lower-case words, with the apostrophes inside them, and every other sign by itself.

    Example:
        >>> words_of("It doesn't work: 2.5 stars!")
        ['it', "doesn't", 'work', ':', '2', '.', '5', 'stars', '!']
    """
    return _WORD.findall(text.lower())


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes: distinct labels, whole numbers by size, words by the alphabet.

    Example:
        >>> ordered(["10", "9", "9"]), ordered(["b", "a", "10"])
        (('9', '10'), ('10', 'a', 'b'))
    """
    found = set(labels)
    whole = all(re.fullmatch(r"[+-]?\d+", label) for label in found)
    return tuple(sorted(found, key=lambda label: (int(label) if whole else 0, label)))
