"""Text classifiers of the transformers library, from any encoder's configuration, with elastic depth and widths.

The modules are the library's own; only their sizes vary. A configuration is a mapping, a local file, or a name on the
Hugging Face Hub of which nothing but `config.json` is read. No code from outside the library is ever run.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hwnas.candidate import Family
from hwnas.errors import ConfigError, MissingExtraError, WeightsError, nearest
from hwnas.seeds import seeded
from hwnas.space import Arch, Choice, Code, Space
from hwnas.weights.share import crop

LAYERS, HEADS, WIDTH, HIDDEN = "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size"
STEPS = {WIDTH: 16, HIDDEN: 16}
"""Between the values of a key that may vary; of every other key 1."""
IGNORED = ("auto_map", "architectures", "dtype", "torch_dtype", "id2label", "label2id", "num_labels", "problem_type")
"""What a configuration says about code, number formats and tasks that are not ours: networks here are float32
classifiers made of the library's own code."""
LIMITS = {"min", "max", "step"}


@dataclass(frozen=True)
class HuggingFace(Family):
    """Any encoder of the transformers library as a text classifier, with elastic depth, heads and widths.

    What varies, from half of the original's value up to and including it: `num_hidden_layers`, `num_attention_heads`,
    `hidden_size`, and `intermediate_size` where the configuration has one; so the original itself is in the space. A
    width that its heads do not divide is rounded down to one that they do (`settings` tells), as in DE-NAS.

    Small networks take the leading entries of every tensor of the big one. Where the width of a head differs, such a
    slice does not begin and end with the big network's heads; after training together it means what it was trained to.

    BERT, DistilBERT, RoBERTa, ELECTRA, ALBERT, MPNet, DeBERTa, ModernBERT and their kin are held to the contract of
    families. A few of the library's encoders compute with the values of tensors on the way and cannot be counted on
    torch's meta device, or tie a width to another one that does not vary: their candidates fail.

    Args:
        model: a folder with a `config.json`, such a file, or a name on the Hub, which is looked for in the local cache
            first.
        config: instead of `model` the configuration itself, with its `model_type`.
        search: what else may vary, or in which range: `{key: {min: 1, max: 4, step: 1}}`, `{key: [1, 2, 4]}`, or
            `{key: null}` for a key that shall not vary. `max` is the original's value unless given, `min` the half of
            it, `step` 16 for the two widths and 1 otherwise; both ends are allowed values.
        classes: outputs of the classifier.
        length: tokens of one input.
        vocabulary: how many tokens there are; None is the configuration's `vocab_size`.
        pad: the token that fills up short inputs, which attention passes over; None is the configuration's.
        multiple: widths of one head are multiples of this; None is 2 for rotary positions, which turn pairs of
            features, and 1 for all others.
        pretrained: the big network starts from the weights beside a local `config.json`, read from safetensors alone.
    """

    model: str | None = None
    config: Mapping[str, Any] | None = field(default=None, hash=False)
    search: Mapping[str, Any] = field(default_factory=dict, hash=False)
    classes: int = 2
    length: int = 128
    vocabulary: int | None = None
    pad: int | None = None
    multiple: int | None = None
    pretrained: bool = False

    tiny: ClassVar[Mapping[str, Any]] = {
        "config": {
            "model_type": "bert",
            "vocab_size": 50,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "hidden_size": 32,
            "intermediate_size": 32,
            "max_position_embeddings": 16,
        },
        "length": 8,
    }

    def __post_init__(self) -> None:
        if (self.model is None) == (self.config is None):
            hint = "for instance `model: bert-base-uncased`, or `config: {model_type: bert, hidden_size: 256}`"
            raise ConfigError("huggingface takes either a model or a config", hint=hint)
        for option, least in (("classes", 1), ("length", 1), ("vocabulary", 3), ("pad", 0), ("multiple", 1)):
            given = getattr(self, option)
            if given is not None and given < least:
                raise ConfigError(f"{option} takes a whole number from {least} on, not {given!r}")
        self._check_original()
        narrowest, most_heads = min(self._values.get(WIDTH, (self.original.hidden_size,))), self._most(HEADS)
        if narrowest < most_heads * self._multiple:
            raise ConfigError(
                f"{HEADS} up to {most_heads} do not fit into a {WIDTH} of {narrowest}",
                hint=f"a head needs {self._multiple} of the width or more: raise the least {WIDTH} in `search`",
            )
        if self.pretrained:
            if self.model is None or not any(self._folder.glob("*.safetensors")):
                hint = "name a local folder with config.json and model.safetensors, or leave `pretrained` out"
                raise ConfigError(f"there are no safetensors beside {self.model or 'a config'!r}", hint=hint)
            self._check_pretrained()

    def _check_original(self) -> None:
        """That the configuration is one whose networks we can vary and use."""
        original = self.original
        for key in (LAYERS, HEADS, WIDTH):
            if not _whole(getattr(original, key, None)):
                raise ConfigError(f"a {original.model_type!r} has no single {key}, so this family cannot vary it")
        if original.hidden_size % (original.num_attention_heads * self._multiple):
            raise ConfigError(
                f"a {WIDTH} of {original.hidden_size} is not made of {original.num_attention_heads} heads "
                f"whose width is a multiple of {self._multiple}"
            )
        longest = getattr(original, "max_position_embeddings", None)
        if isinstance(longest, int) and self.length > longest > 0:
            raise ConfigError(
                f"a {original.model_type!r} of this config takes up to {longest} tokens, not {self.length}"
            )
        if not _whole(getattr(original, "vocab_size", None)) or original.vocab_size < 3:
            raise ConfigError(f"a {original.model_type!r} reads no tokens, and this family classifies text")

    def _check_pretrained(self) -> None:
        known = _read(self._file()).get("vocab_size")
        if self.vocabulary not in (None, known):
            hint = "read the texts with the model's own tokenizer, or leave `pretrained` out"
            raise ConfigError(f"pretrained weights know {known} tokens, not {self.vocabulary}", hint=hint)
        for key, values in self._values.items():
            own = getattr(self.original, key)
            if max(values) > own:
                raise ConfigError(f"pretrained weights reach to a {key} of {own}, not to {max(values)}")

    @property
    def name(self) -> str:
        return "huggingface"

    # --- the configuration ------------------------------------------------------------------------------------------

    @functools.cached_property
    def original(self) -> Any:
        """The library's object for the configuration that all others are made from."""
        return self._config({})

    def settings(self, arch: Arch) -> dict[str, int]:
        """What an architecture sets in the configuration: its choices, with the width that its heads allow."""
        chosen = {key: int(value) for key, value in arch.items()}
        heads = chosen.get(HEADS, self.original.num_attention_heads)
        width = chosen.get(WIDTH, self.original.hidden_size)
        return {**chosen, WIDTH: width - width % (heads * self._multiple)}

    @functools.cached_property
    def space(self) -> Space:
        return Space(self.name, tuple(Choice(key, values) for key, values in self._values.items()))

    def canonical(self, code: Code, /) -> Code:
        """The code with the least width among those that round down to the same one."""
        arch = dict(self.space.decode(code))
        if WIDTH in arch:
            width = self.settings(arch)[WIDTH]
            arch[WIDTH] = min(w for w in self._values[WIDTH] if self.settings({**arch, WIDTH: w})[WIDTH] == width)
        return self.space.encode(arch)

    @functools.cached_property
    def _values(self) -> dict[str, tuple[int, ...]]:
        """The values of every key that varies."""
        original = self.original
        keys = [key for key in (LAYERS, HEADS, WIDTH, HIDDEN) if _whole(getattr(original, key, None))]
        values: dict[str, tuple[int, ...]] = {}
        for key in dict.fromkeys([*keys, *self.search]):
            if key not in keys and not hasattr(original, key):
                known = [name for name, value in original.to_dict().items() if _whole(value)]
                raise ConfigError(f"a {original.model_type!r} has no setting {key!r}; {nearest(key, known)}")
            if self.search.get(key, {}) is not None:
                values[key] = _range(key, self.search.get(key, {}), getattr(original, key))
        if not values:
            raise ConfigError("`search` leaves nothing that may vary")
        return values

    def _most(self, key: str) -> int:
        return max(self._values.get(key, (int(getattr(self.original, key)),)))

    @functools.cached_property
    def _multiple(self) -> int:
        if self.multiple is not None:
            return self.multiple
        return 2 if getattr(self.original, "rope_parameters", None) else 1

    @functools.cached_property
    def _folder(self) -> Path:
        """Where a local `config.json` lies."""
        path = Path(str(self.model)).expanduser()
        return path.parent if path.suffix == ".json" else path

    @functools.cached_property
    def _given(self) -> dict[str, Any]:
        """The configuration as it was written, under the names that the model type itself uses."""
        given = dict(self.config) if self.config is not None else _read(self._file())
        kind = given.pop("model_type", None)
        types = _transformers().CONFIG_MAPPING
        if kind not in types:
            raise ConfigError(f"unknown model_type {kind!r}; {nearest(str(kind), list(types))}")
        names = types[kind].attribute_map
        given = {key: value for key, value in given.items() if key not in IGNORED}
        given |= {} if self.vocabulary is None else {"vocab_size": self.vocabulary}
        given |= {} if self.pad is None else {"pad_token_id": self.pad}
        return {"model_type": kind, **{names.get(key, key): value for key, value in given.items()}}

    def _file(self) -> Path:
        if self._folder.is_dir():
            path = Path(str(self.model)).expanduser()
            file = path if path.suffix == ".json" else path / "config.json"
            if not file.is_file():
                raise ConfigError(f"there is no file {str(file)!r}")
            return file
        return _from_hub(str(self.model))

    def _config(self, settings: Mapping[str, int]) -> Any:
        """The library's configuration with some settings changed, and what follows from them changed along."""
        given = dict(self._given)
        kind = given.pop("model_type")
        names = _transformers().CONFIG_MAPPING[kind].attribute_map
        if settings:
            old, changed = self.original, dict(settings)
            layers, heads, width = (changed.get(key, getattr(old, key)) for key in (LAYERS, HEADS, WIDTH))
            follow = {
                "head_dim": (old.hidden_size // old.num_attention_heads, width // heads),
                "embedding_size": (old.hidden_size, width),
                "num_key_value_heads": (old.num_attention_heads, heads),
            }
            for key, (before, after) in follow.items():
                if key not in changed and getattr(old, key, None) == before:
                    changed[key] = after
            for key, value in given.items():
                if isinstance(value, list) and len(value) == old.num_hidden_layers:  # something said of every layer
                    given[key] = [value[layer % len(value)] for layer in range(layers)]
            given |= {names.get(key, key): value for key, value in changed.items()}
        try:
            return _transformers().AutoConfig.for_model(kind, **given, num_labels=self.classes)
        except Exception as error:  # the library checks with a dozen kinds of errors of its own
            raise ConfigError(f"the transformers library takes no such config of a {kind!r}: {error}") from error

    # --- the networks -----------------------------------------------------------------------------------------------

    def build(self, arch: Arch, /) -> nn.Module:
        return self._build(self.settings(arch))

    def supernet(self) -> nn.Module:
        """The network that is the largest in every setting, with the original's weights if they are asked for."""
        settings = {key: max(values) for key, values in self._values.items()}
        unit = self._most(HEADS) * self._multiple
        settings[WIDTH] = math.ceil(self._most(WIDTH) / unit) * unit
        model = self._build(settings)
        if self.pretrained and torch.get_default_device().type != "meta":
            self._load(model)
        return model

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        """Random tokens, B x length; distinct within an input as far as there are enough, none of them padding."""
        vocabulary = int(arch.get("vocab_size", self.original.vocab_size))
        pad = _pad(self.original)
        count = vocabulary - (pad is not None and pad < vocabulary)
        if self.length > count:
            ids = torch.randint(count, (batch, self.length))
        else:
            ids = torch.rand(batch, count).topk(self.length).indices
        return (ids if pad is None else ids + (ids >= pad),)

    def crop(self, name: str, like: Tensor, big: Mapping[str, Tensor], arch: Arch, /) -> Tensor | None:
        """Tables that are computed from the width, such as rotary frequencies, are computed and not cut."""
        if isinstance(like, nn.Parameter) or name not in big or like.shape == big[name].shape:
            return None
        key = json.dumps(self.settings(arch), sort_keys=True)
        if key not in self._computed:
            with torch.device("cpu"), seeded(0):
                self._computed[key] = _computed(self.build(arch))
        return self._computed[key].get(name)

    @functools.cached_property
    def _computed(self) -> dict[str, dict[str, Tensor]]:
        """Buffers that are no weights, of the networks seen so far; a few numbers each."""
        return {}

    def blocks(self, model: nn.Module, /) -> tuple[str, ...]:
        """The embedding, then what leaves the residual parts of every layer, or the layer where it has no such parts.

        In BERT and its kin those parts are modules that take a tensor and the one that is added to it.
        """
        names = [name for name, module in model.named_modules() if _is(module, "Embeddings")][:1]
        for name, layer in _layers(model):
            parts = [f"{name}.{part}" for part, module in layer.named_modules() if part and _adds(module)]
            names += parts or [name]
        return tuple(names)

    def roles(self, model: nn.Module, /) -> Mapping[str, str]:
        """Within the layers "attention" by the class around a weight, else "mlp"; before them "embedding".

        What follows the encoder is the "head"; a pooler that belongs to it has no role.
        """
        layers, body, met = [name for name, _ in _layers(model)], _body(model), False
        found: dict[str, str] = {}
        for name, module in model.named_modules():
            met = met or name in layers
            if not isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
                continue
            around = [name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)]
            if any(path in layers for path in around):
                attends = any(_is(model.get_submodule(path), "Attention") for path in around)
                found[f"{name}.weight"] = "attention" if attends else "mlp"
            elif name.startswith(f"{body}."):
                found[f"{name}.weight"] = "" if met else "embedding"
            else:
                found[f"{name}.weight"] = "head"
        return found

    def _build(self, settings: Mapping[str, int]) -> Classifier:
        config = self._config(settings)
        kinds = _transformers().AutoModelForSequenceClassification
        try:
            return Classifier(kinds.from_config(config, trust_remote_code=False), _pad(self.original))
        except Exception as error:  # as above
            what = f"the transformers library builds no classifier from a {config.model_type!r} with {dict(settings)}"
            raise ConfigError(f"{what}: {str(error).partition(chr(10))[0]}") from error

    def _load(self, model: Classifier) -> None:
        """The leading slices of the original's weights, as far as the file has them; a new head stays as drawn."""
        with _quiet():
            whole = _transformers().AutoModelForSequenceClassification.from_pretrained(
                self._folder,
                config=self._config({}),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
        tensors = dict(whole.named_parameters())
        with torch.no_grad():
            for name, own in model.net.named_parameters():
                if name not in tensors:
                    raise WeightsError(f"the weights in {str(self._folder)!r} have no {name}")
                own.copy_(crop(own, tensors[name]))


class Classifier(nn.Module):
    """A classifier of the transformers library that takes tokens, B x T, and returns logits, B x classes.

    Args:
        net: the library's module.
        pad: the token that attention passes over; an input's first token is always seen, or nothing might be.
    """

    def __init__(self, net: nn.Module, pad: int | None) -> None:
        super().__init__()
        self.net, self.pad = net, pad
        for module in net.modules():
            if hasattr(module, "warn_if_padding_and_no_attention_mask"):
                # It looks into the tokens for padding, which there is a mask for, and on meta there is nothing to see.
                setattr(module, "warn_if_padding_and_no_attention_mask", _unwarned)  # noqa: B010  # mypy: no tensor

    def forward(self, ids: Tensor) -> Tensor:
        mask = None
        if self.pad is not None and not ids.is_meta:  # the library looks into masks, and there is nothing to see
            first = torch.arange(ids.shape[1], device=ids.device) == 0
            mask = ((ids != self.pad) | first).long()
        logits: Tensor = self.net(input_ids=ids, attention_mask=mask).logits
        return logits


def _unwarned(*_: Any) -> None:
    """In place of a warning."""


# --- modules of the library, by what they are ------------------------------------------------------------------------


def _is(module: nn.Module, word: str) -> bool:
    return word in type(module).__name__


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The encoder's layers: the entries of the first list of modules that attend, or are called layers."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            rows = [(f"{name}.{place}", layer) for place, layer in module.named_children()]
            parts = [type(part).__name__ for _, row in rows[:1] for part in row.modules()]
            if any("Attention" in part or part.endswith("Layer") for part in parts):
                return rows
    return []


def _body(model: nn.Module) -> str:
    """The encoder without the head, by name."""
    prefix = str(getattr(getattr(model, "net", None), "base_model_prefix", ""))
    return f"net.{prefix}"


def _adds(module: nn.Module) -> bool:
    """Whether a module adds its second input to what it makes of the first one, by its signature."""
    return list(inspect.signature(module.forward).parameters)[:2] == ["hidden_states", "input_tensor"]


def _computed(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are not saved with the weights, since they follow from the configuration."""
    return {
        f"{path}.{name}" if path else name: buffer.detach()
        for path, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name in module._non_persistent_buffers_set
    }


def _pad(config: Any) -> int | None:
    pad = getattr(config, "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else None


# --- reading --------------------------------------------------------------------------------------------------------


def _transformers() -> Any:
    """The library, imported when it is needed: that takes seconds, and it is an extra."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "hf") from None
    return transformers


def _from_hub(name: str) -> Path:
    """`config.json` of a model on the Hub: the cached one, or else downloaded."""
    find = _transformers().utils.cached_file
    for cached in (True, False):
        try:
            found = find(name, "config.json", local_files_only=cached)
        except (OSError, ValueError) as error:
            if not cached:
                hint = "check the name and the network, or give a local folder with its config.json"
                reason = str(error).partition("\n")[0]
                raise ConfigError(
                    f"{name!r} is no local path, and the Hub gives no config.json: {reason}", hint=hint
                ) from error
        else:
            return Path(found)
    raise AssertionError("unreachable")


def _read(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read as JSON: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{str(file)!r} holds no configuration: it is not a mapping")
    return given


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _range(key: str, asked: Any, own: Any) -> tuple[int, ...]:
    """The values of one key, from least to most.

    Args:
        asked: the entry in `search`.
        own: the original's value.
    """
    wants = f"search takes {key}: {{min: …, max: …, step: …}}, a list of whole numbers, or null, not {asked!r}"
    if isinstance(asked, Sequence) and not isinstance(asked, str):
        if not asked or not all(map(_whole, asked)):
            raise ConfigError(wants)
        return tuple(sorted(set(asked)))
    if not isinstance(asked, Mapping) or not set(asked) <= LIMITS or not all(map(_whole, asked.values())):
        raise ConfigError(wants)
    most = asked.get("max", own)
    if not _whole(most):
        raise ConfigError(f"{key} is {own!r} in this config, so it needs a `max` to vary")
    least, step = asked.get("min", max(1, most // 2)), asked.get("step", STEPS.get(key, 1))
    if least > most:
        raise ConfigError(f"the least {key}, {least}, is above the largest, {most}")
    return (*range(least, most, step), most)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library reports on a file with bars and tables of its own; not while we load one."""
    logging = _transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


__all__ = ["HuggingFace"]
