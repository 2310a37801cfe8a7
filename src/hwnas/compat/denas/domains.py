"""The five domains of DE-NAS: which family a conf file stands for, and how its networks are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from hwnas.compat.denas.codecs import Alike, Codec, Layered, Settings, Structures
from hwnas.compat.denas.conf import ASR, BERT, CNN, HF, VIT
from hwnas.config import read_yaml
from hwnas.errors import ConfigError
from hwnas.parts import Spec

Values: TypeAlias = Mapping[str, Any]
PARAMS: Spec = {"hardware.params": {}}
BODY: Spec = {"hwnas.compat.denas.body": {}}
WIDTHS = ((50_000, 64, 16), (300_000, 128, 32), (2_000_000, 256, 64))
"""Budgets of parameters, and the widths and bottlenecks beyond which hardly a network keeps them."""
STANDARD = {"bert-base-uncased": {"model_type": "bert"}}
"""Models whose configuration is the transformers library's default for their type, so that no file is needed."""


@dataclass(frozen=True)
class Domain:
    """What is particular to a domain.

    Args:
        family: the spec of the family behind a conf's values; appends to a list what is worth telling.
        codec: how networks are written.
        params: the metric that counts parameters as DE-NAS does here.
        million: what the parameters of its messages are divided by.
        per_image: latency budgets are seconds per input; else milliseconds per batch.
        defaults: what keys mean that a conf leaves out.
        intel: whether the score of the released code can be computed.
        floor: the fewest parameters where a conf gives no limit, as a share of the largest network's.
    """

    family: Callable[[Values, list[str]], Spec]
    codec: Codec
    params: Spec
    million: float = 1e6
    per_image: bool = False
    defaults: Values = field(default_factory=dict)
    intel: bool = False
    floor: str | None = None


def _cnn(values: Values, notes: list[str]) -> Spec:
    options = {"classes": values.get("num_classes"), "resolution": values["img_size"]}
    options["structure"] = values.get("plainnet_struct")
    budget = values.get("budget_model_size", math.inf)
    for most, width, bottleneck in WIDTHS:
        if budget <= most:
            options |= {"max_width": width, "max_bottleneck": bottleneck}
            break
    return {"families.plainnet": _given(options)}


def _vit(values: Values, notes: list[str]) -> Spec:
    space = values.get("SEARCH_SPACE", {})
    if values.get("change_qkv") is False:
        notes.append("change_qkv: False is passed over: heads are 64 channels wide, whatever the network's width")
    options = {
        "classes": values.get("num_classes"),
        "resolution": values["img_size"],
        "patch": values.get("patch_size"),
        "depths": space.get("DEPTH"),
        "widths": space.get("EMBED_DIM"),
        "ratios": space.get("MLP_RATIO"),
        "heads": space.get("NUM_HEADS"),
        "relative": values.get("relative_position"),
        "max_relative": values.get("max_relative_position"),
        "absolute": values.get("abs_pos"),
        "pool": {True: "mean", False: "class", None: None}[values.get("gp")],
        "dropout": values.get("drop_rate"),
    }
    return {"families.vit": _given(options)}


def _bert(values: Values, notes: list[str]) -> Spec:
    space = values.get("SEARCH_SPACE", {})
    if "QKV_SIZE" in space:
        notes.append("SEARCH_SPACE.QKV_SIZE is passed over: queries, keys and values are 64 channels wide per head")
    length = values["img_size"]
    options = {
        "length": length,
        "positions": length if length > 512 else None,
        "vocabulary": _vocabulary(values, notes),
        "layers": space.get("LAYER_NUM"),
        "heads": space.get("HEAD_NUM"),
        "widths": space.get("HIDDEN_SIZE"),
        "hiddens": space.get("INTERMEDIATE_SIZE"),
    }
    return {"families.bert": _given(options)}


def _vocabulary(values: Values, notes: list[str]) -> int | None:
    """Of the pretrained model that the conf names, where it is there; its weights are of no use to a score."""
    folder, named = values.get("pretrained_bert"), values.get("pretrained_bert_config")
    file = Path(named or Path(folder or "") / "config.json").expanduser()
    if (named or folder) and file.is_file():
        size = read_yaml(file, "`vocab_size: 30522`").get("vocab_size")  # JSON is YAML
        if not isinstance(size, int) or size < 2:
            raise ConfigError(f"{file}: vocab_size must be a whole number from 2 on, not {size!r}")
        notes.append(f"{file}: its vocabulary of {size} is taken; weights are drawn anew for every network")
        return size
    if named or folder:
        notes.append(f"there is no {file}: networks like BERT-base, vocabulary 30522, with random weights are searched")
    return None


def _asr(values: Values, notes: list[str]) -> Spec:
    space = values.get("SEARCH_SPACE", {})
    options = {
        "depths": space.get("DEPTH"),
        "widths": space.get("EMBED_DIM"),
        "ratios": space.get("MLP_RATIO"),
        "heads": space.get("NUM_HEADS"),
    }
    return {"families.asr": {"decoder": "fixed", "front": "linear", **_given(options)}}


def _hf(values: Values, notes: list[str]) -> Spec:
    name = values.get("supernet", "bert-base-uncased")
    folder = Path(values.get("pretrained_model_path", "")).expanduser() / name
    options: dict[str, Any] = {"length": values["img_size"]}
    if folder.is_dir():
        options["model"] = str(folder.absolute())
    elif name in STANDARD:
        notes.append(
            f"there is no folder {folder}: the standard configuration of {name} with random weights is searched"
        )
        options["config"] = STANDARD[name]
    else:
        options["model"] = name
    extra = values.get("search_space", {})
    if strange := [key for key, entry in extra.items() if not isinstance(entry, Mapping)]:
        raise ConfigError(f"search_space: {strange[0]} must be {{max: …, min: …, step: …}}, not {extra[strange[0]]!r}")
    options["search"] = {"intermediate_size": None, **{key: {"step": 1, **entry} for key, entry in extra.items()}}
    return {"families.huggingface": options}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the conf does not say, as plain data."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in options.items() if value is not None
    }


_SIZES = {
    "scale_factor": 10,
    "select_num": 50,
    "population_num": 50,
    "mutation_num": 25,
    "crossover_num": 25,
    "max_epochs": 10,
    "random_max_epochs": 1000,
    "sigopt_max_epochs": 1000,
    "m_prob": 0.2,
    "s_prob": 0.4,
    "batch_size": 32,
    "img_size": 128,
    "seed": 0,
    "expressivity_weight": 0.0,
    "complexity_weight": 0.0,
    "diversity_weight": 1.0,
    "saliency_weight": 1.0,
    "latency_weight": 0.0,
}
_CNN = {
    "select_num": 512,
    "population_num": 0,
    "mutation_num": 1,
    "crossover_num": 0,
    "max_epochs": 1000,
    "random_max_epochs": 10000,
    "m_prob": None,
    "s_prob": None,
    "batch_size": 64,
    "img_size": 32,
    "expressivity_weight": 1.0,
    "complexity_weight": 1.0,
    "diversity_weight": 0.0,
}

DOMAIN: Mapping[str, Domain] = {
    CNN: Domain(_cnn, Structures(), PARAMS, million=1.0, per_image=True, defaults={**_SIZES, **_CNN}, intel=True),
    VIT: Domain(_vit, Layered(), PARAMS, per_image=True, defaults={**_SIZES, "batch_size": 64, "img_size": 224}),
    BERT: Domain(_bert, Alike(), BODY, defaults=_SIZES),
    ASR: Domain(_asr, Layered("depth", "encoder"), BODY, defaults=_SIZES),
    HF: Domain(_hf, Settings(), BODY, defaults=_SIZES, floor="50%"),
}
"""By DE-NAS's word for it."""

__all__ = ["DOMAIN", "Domain"]
