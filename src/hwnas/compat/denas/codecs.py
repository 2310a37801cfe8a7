"""Networks as DE-NAS writes them into `best_model_structure.txt`: a structure, a tuple or a JSON object."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from hwnas.candidate import Family
from hwnas.errors import DataError, SpaceError
from hwnas.space import Arch, Value


class Codec(Protocol):
    """Translates between our architectures and DE-NAS's texts."""

    def text(self, family: Any, arch: Arch, /) -> str:
        """One line."""
        ...

    def arch(self, family: Any, text: str, /) -> dict[str, Value]:
        """The architecture behind a line.

        Raises:
            SpaceError: it is malformed, or the family's space lacks it.
        """
        ...


@dataclass(frozen=True)
class Structures(Codec):
    """CNNs: the family writes and reads Zen-NAS's structures itself."""

    def text(self, family: Any, arch: Arch, /) -> str:
        return str(family.structure_of(arch))

    def arch(self, family: Any, text: str, /) -> dict[str, Value]:
        found: dict[str, Value] = family.arch_of(text)
        return found


@dataclass(frozen=True)
class Layered(Codec):
    """ViT and ASR: `(depth, ratio of every layer, heads of every layer, width)`, so 2 depth + 2 entries.

    Args:
        depth: the choice that holds the number of layers.
        layer: what the names of a layer's choices begin with, before its number.
        width: the choice that holds the width.
    """

    depth: str = "depth"
    layer: str = "layer"
    width: str = "width"

    def tuple_of(self, arch: Arch) -> tuple[Value, ...]:
        """An architecture as DE-NAS's tuple."""
        layers = range(1, int(arch[self.depth]) + 1)
        ratios, heads = ([arch[f"{self.layer}{i}.{axis}"] for i in layers] for axis in ("ratio", "heads"))
        return (arch[self.depth], *ratios, *heads, arch[self.width])

    def arch_of(self, code: Sequence[Any]) -> dict[str, Value]:
        """DE-NAS's tuple as an architecture; whether a space has it is for `Space.encode` to say.

        Raises:
            SpaceError: its length does not follow from its first entry, or it holds something else than numbers.
        """
        _check_numbers(code)
        depth = code[0] if code else 0
        if not isinstance(depth, int) or depth < 1 or len(code) != 2 * depth + 2:
            message = f"a network of {depth} layers is written with {_entries(depth)} numbers, not {len(code)}"
            raise SpaceError(f"{message}: (layers, ratio of each, heads of each, width)")
        arch: dict[str, Value] = {self.depth: depth, self.width: code[-1]}
        for layer, ratio, heads in zip(range(1, depth + 1), code[1:], code[depth + 1 :], strict=False):
            arch |= {f"{self.layer}{layer}.ratio": ratio, f"{self.layer}{layer}.heads": heads}
        return arch

    def text(self, family: Any, arch: Arch, /) -> str:
        return str(self.tuple_of(arch))

    def arch(self, family: Any, text: str, /) -> dict[str, Value]:
        return _found(family, self.arch_of(_literal(text)))


@dataclass(frozen=True)
class Alike(Codec):
    """BERT, whose layers are all alike: `(layers, heads, 64 x heads, width, feed-forward width)`."""

    head_width: int = 64

    def tuple_of(self, arch: Arch) -> tuple[int, ...]:
        """An architecture as DE-NAS's tuple."""
        layers, heads, width, hidden = (int(arch[name]) for name in ("layers", "heads", "width", "hidden"))
        return (layers, heads, heads * self.head_width, width, hidden)

    def arch_of(self, code: Sequence[Any]) -> dict[str, Value]:
        """DE-NAS's tuple as an architecture.

        Raises:
            SpaceError: it has not five numbers, or the third does not follow from the second.
        """
        _check_numbers(code)
        if len(code) != 5:
            message = f"a network is written with 5 numbers, not {len(code)}"
            raise SpaceError(f"{message}: (layers, heads, {self.head_width} x heads, width, feed-forward width)")
        layers, heads, attended, width, hidden = code
        if attended != heads * self.head_width:
            raise SpaceError(f"{heads} heads are {heads * self.head_width} channels wide, not {attended}")
        return {"layers": layers, "heads": heads, "width": width, "hidden": hidden}

    def text(self, family: Any, arch: Arch, /) -> str:
        return str(self.tuple_of(arch))

    def arch(self, family: Any, text: str, /) -> dict[str, Value]:
        return _found(family, self.arch_of(_literal(text)))


@dataclass(frozen=True)
class Settings(Codec):
    """Hugging Face: a JSON object of the settings that vary, with the width that the heads allow."""

    def text(self, family: Any, arch: Arch, /) -> str:
        return json.dumps(family.settings(arch))

    def arch(self, family: Any, text: str, /) -> dict[str, Value]:
        try:
            given = json.loads(text)
        except ValueError as error:
            raise SpaceError(f"{_short(text)} is no JSON: {error}") from None
        if not isinstance(given, dict):
            raise SpaceError(f"{_short(text)} is no JSON object such as {{'hidden_size': 512}}")
        widths = next((choice.values for choice in family.space.choices if choice.name == _WIDTH), ())
        chosen = {name: value for name, value in given.items() if name != _WIDTH or widths}
        for width in widths:  # several may round down to the one that is written
            try:
                arch = _found(family, {**chosen, _WIDTH: width})
            except SpaceError:
                break  # something else is wrong, which the line below says
            if family.settings(arch).get(_WIDTH) == given.get(_WIDTH):
                return arch
        return _found(family, chosen)


_WIDTH = "hidden_size"


def drawn(
    rng: Random,
    depths: Sequence[Value],
    ratios: Sequence[Value],
    heads: Sequence[Value],
    widths: Sequence[Value],
) -> tuple[Value, ...]:
    """A random tuple of a ViT or ASR network in the order in which DE-NAS draws: depth, ratios, heads, width.

    With `random.Random(0)` and DE-NAS's lists these are the networks of its own first generation.
    """
    depth = int(rng.choice(depths))
    return (
        depth,
        *(rng.choice(ratios) for _ in range(depth)),
        *(rng.choice(heads) for _ in range(depth)),
        rng.choice(widths),
    )


def read(path: Path, codec: Codec, family: Family) -> dict[str, Value]:
    """The network of a `best_model_structure.txt`: its last line, as DE-NAS's training reads it.

    Raises:
        DataError: there is no such file, or it is empty.
        SpaceError: the line is no network of the family.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not lines:
        raise DataError(f"{path} is empty; a search writes one line into it")
    return codec.arch(family, lines[-1])


def _found(family: Any, arch: Arch) -> dict[str, Value]:
    """The architecture as the family's space has it."""
    found: dict[str, Value] = family.space.decode(family.space.encode(arch))
    return found


def _literal(text: str) -> tuple[Any, ...]:
    try:
        code = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise SpaceError(f"{_short(text)} is no tuple of numbers") from error
    if not isinstance(code, tuple | list):
        raise SpaceError(f"{_short(text)} is no tuple of numbers")
    return tuple(code)


def _check_numbers(code: Sequence[Any]) -> None:
    for entry in code:
        if isinstance(entry, bool) or not isinstance(entry, int | float) or not math.isfinite(entry):
            raise SpaceError(f"{entry!r} is no number: a network is written with numbers alone")


def _entries(depth: Any) -> Any:
    return 2 * depth + 2 if isinstance(depth, int) and depth > 0 else "4 or more"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


__all__ = ["Alike", "Codec", "Layered", "Settings", "Structures", "drawn", "read"]
