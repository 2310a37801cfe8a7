"""The super-networks of DyNAS-T: their genes, the same as a space of hwnas, and what can be measured of them.

DyNAS-T writes an architecture as a dict of lists (`{'ks': [3, 5, …], 'e': …, 'd': …}`) and searches over a vector with
one index per entry of those lists, gene after gene. Here both are other spellings of a code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwnas.codes import Codes
from hwnas.compat.dynast import counts
from hwnas.compat.dynast.counts import Genes
from hwnas.errors import ConfigError, SpaceError, nearest
from hwnas.families._counts import Ints
from hwnas.space import Choice, Code, Space, Value


class InvalidSupernetException(ConfigError):
    """A super-network that is not known, or no longer supported."""


@dataclass(frozen=True)
class Gene:
    """A list of choices in DyNAS-T's dict.

    Args:
        values: what each entry may be, in the order of the vector's indices.
        choices: the name, in the space, of the choice that each entry is.
    """

    name: str
    values: tuple[Value, ...]
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Supernet:
    """One super-network.

    Args:
        genes: in the order of the vector.
        metrics: what can be measured, in the order of the columns of its CSV files.
        count: MACs and params of many architectures, given the values of their genes and the number of classes.
        recipe: the family that builds its networks; None where hwnas has none yet.
        head, tail: what stands before and behind the genes in the dicts of CSV files.
        alike: by choice: values of DyNAS-T that build the same network as another one.
        surrogate: whether published evaluations allow its accuracy to be predicted.
    """

    name: str
    space: Space
    genes: tuple[Gene, ...]
    metrics: tuple[str, ...]
    count: Callable[[Genes, int], tuple[Any, Any]]
    recipe: Mapping[str, Mapping[str, Any]] | None = None
    head: Mapping[str, Any] = field(default_factory=dict)
    tail: Mapping[str, Any] = field(default_factory=dict)
    alike: Mapping[str, Mapping[Value, Value]] = field(default_factory=dict)
    surrogate: bool = False

    @property
    def buildable(self) -> bool:
        """Whether its networks can be built, and so timed and judged."""
        return self.recipe is not None

    def family(self, classes: int) -> dict[str, dict[str, Any]]:
        """The spec of its family."""
        if self.recipe is None:
            return {"hwnas.compat.dynast.elastic": {"of": self.name}}
        ((name, options),) = self.recipe.items()
        return {name: {**options, "classes": classes}}

    # --- dicts ------------------------------------------------------------------------------------------------------

    def config(self, code: Code) -> dict[str, list[Value]]:
        """DyNAS-T's dict of an architecture; entries without effect hold their first value."""
        plain = self.space.canonical(code)
        return {gene.name: [self._value(plain, choice) for choice in gene.choices] for gene in self.genes}

    def row(self, code: Code) -> dict[str, Any]:
        """The dict as it stands in CSV files, with the constants around the genes."""
        return {**self.head, **self.config(code), **self.tail}

    def code(self, config: Mapping[str, Any]) -> Code:
        """The canonical code of a dict; constants may be there or not.

        Raises:
            SpaceError: a gene that is missing or unknown, a list of another length, or a value that is not allowed.
        """
        constants = {**self.head, **self.tail}
        names = [gene.name for gene in self.genes]
        for name, given in config.items():
            if name in constants and given not in (constants[name], "null"):
                raise SpaceError(f"{self.name} has {name!r} = {constants[name]!r}, not {given!r}")
            if name not in (*names, *constants):
                raise SpaceError(f"{self.name} has no gene {name!r}; {nearest(name, names)}")
        arch: dict[str, Value] = {}
        for gene in self.genes:
            entries = config.get(gene.name)
            if not isinstance(entries, list | tuple) or len(entries) != len(gene.choices):
                raise SpaceError(f"gene {gene.name!r} of {self.name} is a list of {len(gene.choices)}, not {entries!r}")
            for choice, value in zip(gene.choices, entries, strict=True):
                if value not in gene.values:
                    raise SpaceError(f"gene {gene.name!r} of {self.name} takes {gene.values!r}, not {value!r}")
                arch[choice] = self.alike.get(choice, {}).get(value, value)
        return self.space.encode(arch)

    # --- vectors ----------------------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """Entries of a vector."""
        return sum(len(gene.choices) for gene in self.genes)

    def vector(self, code: Code) -> list[int]:
        """DyNAS-T's index vector of an architecture."""
        config = self.config(code)
        return [gene.values.index(value) for gene in self.genes for value in config[gene.name]]

    def from_vector(self, vector: Sequence[float]) -> Code:
        """The canonical code of an index vector; its entries are rounded first, as continuous optimisers need it.

        Raises:
            SpaceError: a wrong length, or an index that no value has.
        """
        if len(vector) != self.length:
            raise SpaceError(f"a vector of {self.name} has {self.length} entries, this one has {len(vector)}")
        rest = [round(float(entry)) for entry in vector]
        config: dict[str, list[Value]] = {}
        for gene in self.genes:
            indices, rest = rest[: len(gene.choices)], rest[len(gene.choices) :]
            if strange := [index for index in indices if not 0 <= index < len(gene.values)]:
                raise SpaceError(f"gene {gene.name!r} takes indices from 0 to {len(gene.values) - 1}, not {strange[0]}")
            config[gene.name] = [gene.values[index] for index in indices]
        return self.code(config)

    # --- what follows from the code alone ---------------------------------------------------------------------------

    def counts(self, codes_NG: Codes, classes: int = 1000) -> tuple[Ints, Ints]:
        """MACs and params of many codes, N each; codes need not be canonical."""
        codes_NG = np.asarray(codes_NG, dtype=np.int64)
        genes = {
            gene.name: np.stack([self._values[place][codes_NG[:, place]] for place in places], axis=1)
            for gene, places in zip(self.genes, self._places, strict=True)
        }
        return self.count(genes, classes)

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {choice.name: position for position, choice in enumerate(self.space.choices)}

    @functools.cached_property
    def _places(self) -> list[list[int]]:
        return [[self._positions[choice] for choice in gene.choices] for gene in self.genes]

    @functools.cached_property
    def _values(self) -> list[Any]:
        return [np.array(choice.values) for choice in self.space.choices]

    def _value(self, code: Code, choice: str) -> Value:
        position = self._positions[choice]
        return self.space.choices[position].values[code[position]]


# --- the table --------------------------------------------------------------------------------------------------------

IMAGES = ("params", "latency", "macs", "accuracy_top1")
TEXTS = ("params", "latency", "macs", "accuracy_sst2")
SENTENCES = ("params", "latency", "macs", "bleu")


def _mobile(name: str, space: str, count: Callable[..., tuple[Any, Any]], **options: Any) -> Supernet:
    """Five stages of two to four blocks with a kernel and an expansion each."""
    kernels, expands, depths = (3, 5, 7), (3, 4, 6), (2, 3, 4)
    choices: list[Choice] = []
    for stage in range(1, 6):
        depth = f"stage{stage}.depth"
        choices.append(Choice(depth, depths))
        for block in range(1, 5):
            when = None if block <= 2 else (depth, tuple(value for value in depths if value >= block))
            choices.append(Choice(f"stage{stage}.block{block}.kernel", kernels, when))
            choices.append(Choice(f"stage{stage}.block{block}.expand", expands, when))
    blocks = [f"stage{stage}.block{block}" for stage in range(1, 6) for block in range(1, 5)]
    genes = (
        Gene("ks", kernels, tuple(f"{block}.kernel" for block in blocks)),
        Gene("e", expands, tuple(f"{block}.expand" for block in blocks)),
        Gene("d", depths, tuple(f"stage{stage}.depth" for stage in range(1, 6))),
    )
    tail = {"r": [224]}
    return Supernet(name, Space(space, tuple(choices)), genes, IMAGES, count, head={"wid": None}, tail=tail, **options)


def _mobilenetv3(width: float, widths: Sequence[int], **options: Any) -> Supernet:
    *most, last, mixed = widths
    count = functools.partial(
        counts.mobile, widths=most, strides=(2, 2, 2, 2, 1, 2), excited=(1, 3, 4), last=last, mixed=mixed
    )
    recipe = {"mobilenetv3": {"width": width, "resolution": 224}}
    return _mobile(f"ofa_mbv3_d234_e346_k357_w{width}", "mobilenetv3", count, recipe=recipe, **options)


def _proxyless() -> Supernet:
    """Block 21, the only one of a sixth stage, is no part of DyNAS-T's encoding: it stays at kernel 7, expansion 6."""
    widths, strides = (40, 24, 32, 56, 104, 128, 248), (2, 2, 2, 2, 1, 2)
    count = functools.partial(counts.mobile, widths=widths, strides=strides, closing=[(7, 6, 416)], last=1664)
    return _mobile("ofa_proxyless_d234_e346_k357_w1.3", "ofa_proxyless", count)


def _resnet50() -> Supernet:
    ratios, indices = (0.2, 0.25, 0.35), (0, 1, 2)
    choices = [Choice("stem.depth", (0, 2)), Choice("stem.middle", indices), Choice("stem.out", indices)]
    blocks: list[str] = []
    for stage, base in enumerate(counts.BASES, start=1):
        depth = f"stage{stage}.depth"
        choices += [Choice(depth, indices), Choice(f"stage{stage}.width", indices)]
        for block in range(1, base + 3):
            when = None if block <= base else (depth, tuple(more for more in indices if base + more >= block))
            choices.append(Choice(f"stage{stage}.block{block}.expand", ratios, when))
            blocks.append(f"stage{stage}.block{block}.expand")
    stages = range(1, 5)
    genes = (
        Gene("d", indices, ("stem.depth", *(f"stage{stage}.depth" for stage in stages))),
        Gene("e", ratios, tuple(blocks)),
        Gene("w", indices, ("stem.middle", "stem.out", *(f"stage{stage}.width" for stage in stages))),
    )
    alike: dict[str, dict[Value, Value]] = {"stem.depth": {1: 0}}
    space = Space("ofa_resnet50", tuple(choices))
    return Supernet(space.name, space, genes, IMAGES, counts.resnet50, tail={"r": [224]}, alike=alike)


def _translator() -> Supernet:
    embeds, widths, heads, reach = (640, 512), (3072, 2048, 1024), (8, 4), (-1, 1, 2)
    numbers = (6, 5, 4, 3, 2, 1)
    choices = [Choice("encoder.embed", embeds), Choice("decoder.embed", embeds)]
    for layer in range(1, 7):
        choices += [Choice(f"encoder{layer}.ffn", widths), Choice(f"encoder{layer}.heads", heads)]
    choices.append(Choice("decoder.depth", numbers))
    for layer in range(1, 7):
        when = None if layer == 1 else ("decoder.depth", tuple(number for number in numbers if number >= layer))
        choices += [
            Choice(f"decoder{layer}.ffn", widths, when),
            Choice(f"decoder{layer}.heads", heads, when),
            Choice(f"decoder{layer}.cross_heads", heads, when),
            Choice(f"decoder{layer}.reach", reach, when),
        ]

    def each(pattern: str) -> tuple[str, ...]:
        return tuple(pattern.format(layer) for layer in range(1, 7))

    genes = (
        Gene("encoder_embed_dim", embeds, ("encoder.embed",)),
        Gene("decoder_embed_dim", embeds, ("decoder.embed",)),
        Gene("encoder_ffn_embed_dim", widths, each("encoder{}.ffn")),
        Gene("decoder_ffn_embed_dim", widths, each("decoder{}.ffn")),
        Gene("decoder_layer_num", numbers, ("decoder.depth",)),
        Gene("encoder_self_attention_heads", heads, each("encoder{}.heads")),
        Gene("decoder_self_attention_heads", heads, each("decoder{}.heads")),
        Gene("decoder_ende_attention_heads", heads, each("decoder{}.cross_heads")),
        Gene("decoder_arbitrary_ende_attn", reach, each("decoder{}.reach")),
    )
    space = Space("transformer_lt_wmt_en_de", tuple(choices))
    return Supernet(space.name, space, genes, SENTENCES, counts.translator)


def _encoder(
    name: str,
    numbers: tuple[int, ...],
    inner: str,
    metrics: tuple[str, ...],
    count: Callable[[Genes, int], tuple[Any, Any]],
) -> Supernet:
    """Up to twelve transformer layers with an elastic number of heads and an elastic inner width each."""
    heads, widths = (6, 8, 10, 12), (1024, 2048, 3072)
    choices = [Choice("depth", numbers)]
    for layer in range(1, 13):
        when = None if layer <= min(numbers) else ("depth", tuple(number for number in numbers if number >= layer))
        choices += [Choice(f"layer{layer}.heads", heads, when), Choice(f"layer{layer}.inner", widths, when)]
    genes = (
        Gene("num_layers", numbers, ("depth",)),
        Gene("num_attention_heads", heads, tuple(f"layer{layer}.heads" for layer in range(1, 13))),
        Gene(inner, widths, tuple(f"layer{layer}.inner" for layer in range(1, 13))),
    )
    return Supernet(name, Space(name, tuple(choices)), genes, metrics, count)


SUPERNETS: Mapping[str, Supernet] = {
    supernet.name: supernet
    for supernet in (
        _mobilenetv3(1.0, (16, 16, 24, 40, 80, 112, 160, 960, 1280), surrogate=True),
        _mobilenetv3(1.2, (24, 24, 32, 48, 96, 136, 192, 1152, 1536)),
        _resnet50(),
        _proxyless(),
        _translator(),
        _encoder("bert_base_sst2", (6, 7, 8, 9, 10, 11, 12), "intermediate_size", TEXTS, counts.bert),
        _encoder("vit_base_imagenet", (10, 11, 12), "vit_intermediate_sizes", IMAGES, counts.vit),
    )
}
REFUSED: Mapping[str, str] = {
    "inc_quantization_ofa_resnet50": "it needs Neural Compressor's quantisation search, which was removed from that "
    "package; use ofa_resnet50, and quantise the networks that you choose",
    "bert_base_sst2_quantized": "it needs Neural Compressor's quantisation search, which was removed from that "
    "package; use bert_base_sst2, and quantise the networks that you choose",
    "bootstrapnas_image_classification": "it needs NNCF's BootstrapNAS, which was removed from that package; use "
    "`hwnas search` with `weights: shrink`, which trains a super-network of your own",
}
"""Super-networks whose foundations no longer exist, and what to do instead."""


def find(name: str) -> Supernet:
    """A super-network by its name.

    Raises:
        InvalidSupernetException: it is unknown, or no longer supported; says what to use.
    """
    if name in SUPERNETS:
        return SUPERNETS[name]
    if name in REFUSED:
        raise InvalidSupernetException(f"super-network {name!r} is not supported: {REFUSED[name]}")
    raise InvalidSupernetException(f"unknown super-network {name!r}; {nearest(name, SUPERNETS)}")


__all__ = ["REFUSED", "SUPERNETS", "Gene", "InvalidSupernetException", "Supernet", "find"]
