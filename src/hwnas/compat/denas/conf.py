"""DE-NAS's conf files: every key of its search and training files is known, every value is checked, none is executed.

They are YAML 1.1 with habits: `None` and numbers such as `1e-5` or "74443" are text, and are read as what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hwnas.config import read_yaml
from hwnas.errors import ConfigError, nearest

ENGINES = ("RandomSearchEngine", "EvolutionarySearchEngine", "SigoptSearchEngine", "MOSigoptSearchEngine")
CNN, VIT, BERT, ASR, HF = "cnn", "vit", "bert", "asr", "hf"
DOMAINS = (CNN, VIT, BERT, ASR, HF)
MODEL_TYPES = {CNN: "cnn", VIT: "transformer", BERT: "bert", ASR: "asr", HF: "hf"}
"""What the key `model_type` says in each domain."""

Check: TypeAlias = Callable[[Any], Any]
"""The value that was meant; raises ValueError with what is allowed."""


# --- kinds of values -------------------------------------------------------------------------------------------------


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = float(value)  # YAML 1.1 reads 1e-5 as text
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def whole(least: int) -> Check:
    """A whole number from `least` on."""

    def check(value: Any) -> int:
        try:
            number = _number(value)
        except (ValueError, TypeError):
            number = math.nan
        if not number >= least or number != int(number):
            raise ValueError(f"a whole number from {least} on")
        return int(number)

    return check


def number(least: float = 0.0, most: float = math.inf, above: bool = False) -> Check:
    """A finite number between two others; `above` leaves the lower end out."""
    span = f"a number {'above' if above else 'from'} {least:g}" + (f" to {most:g}" if math.isfinite(most) else " on")

    def check(value: Any) -> float:
        try:
            found = _number(value)
        except (ValueError, TypeError):
            found = math.nan
        if not (least < found if above else least <= found) or not found <= most:
            raise ValueError(span.removesuffix(" on") if above else span)
        return found

    return check


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def text(value: Any) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("text")
    return value


def word(known: Sequence[str]) -> Check:
    """One of some words."""

    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return str(value)

    return check


def list_of(each: Check) -> Check:
    """A list of values, at least one and none twice; they are sorted."""

    def check(value: Any) -> tuple[Any, ...]:
        try:
            found = tuple(each(item) for item in value) if isinstance(value, list) else ()
        except ValueError as error:
            raise ValueError(f"a list, each entry {error}") from None
        if not found or len(set(found)) < len(found):
            raise ValueError("a list of at least one value, and none twice")
        return tuple(sorted(found))

    return check


def bounds(value: Any) -> tuple[int, ...]:
    """`{bounds: {min, max, step}}` as all values that it stands for, both ends included."""
    wanted = "{bounds: {min: …, max: …, step: …}} of whole numbers, min <= max, step 1 if left out"
    inner = value.get("bounds") if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping) or not {"min", "max"} <= set(inner) <= {"min", "max", "step"}:
        raise ValueError(wanted)
    try:
        least, most, step = (whole(1)(inner.get(name, 1)) for name in ("min", "max", "step"))
    except ValueError:
        raise ValueError(wanted) from None
    if least > most:
        raise ValueError(wanted)
    return tuple(range(least, most + 1, step))  # the original would go above `max` where `step` does not divide


def section(keys: Mapping[str, Check], what: str) -> Check:
    """A mapping with some of these keys."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"a mapping of {', '.join(keys)}")
        strange = [key for key in value if key not in keys]
        if strange:
            raise ValueError(f"a mapping of {what}: {strange[0]!r} is none; {nearest(strange[0], keys)}")
        found = {}
        for key, inner in value.items():
            try:
                found[str(key)] = keys[key](inner)
            except ValueError as error:
                raise ValueError(f"a mapping in which {key} is {error}, not {inner!r}") from None
        return found

    return check


def mapping(value: Any) -> dict[str, Any]:
    """Any mapping."""
    if not isinstance(value, Mapping):
        raise ValueError("a mapping")
    return dict(value)


# --- the keys of search files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """What a key of a conf file means.

    Args:
        check: of its value.
        domains: where it is used.
        idle: whether it changes nothing here, whatever it says.
    """

    check: Check
    domains: tuple[str, ...] = DOMAINS
    idle: bool = False


_LISTS = {
    "MLP_RATIO": list_of(number(above=True)),
    "NUM_HEADS": list_of(whole(1)),
    "EMBED_DIM": list_of(whole(1)),
    "DEPTH": list_of(whole(1)),
}
_RANGES: dict[str, Check] = dict.fromkeys(
    ("LAYER_NUM", "HEAD_NUM", "HIDDEN_SIZE", "INTERMEDIATE_SIZE", "QKV_SIZE"), bounds
)
SPACES: Mapping[str, Check] = {
    VIT: section(_LISTS, "lists"),
    ASR: section(_LISTS, "lists"),
    BERT: section(_RANGES, "ranges"),
}
"""What SEARCH_SPACE holds in a domain."""
LIMITED = (VIT, BERT, ASR, HF)
WEIGHTS = ("expressivity_weight", "complexity_weight", "diversity_weight", "saliency_weight", "latency_weight")

KEYS: Mapping[str, Key] = {
    "domain": Key(word(DOMAINS)),
    "model_type": Key(word(tuple(MODEL_TYPES.values()))),
    "search_engine": Key(word(ENGINES)),
    "batch_size": Key(whole(1)),
    "random_max_epochs": Key(whole(1)),
    "max_epochs": Key(whole(1)),
    "sigopt_max_epochs": Key(whole(1)),
    "scale_factor": Key(whole(1)),
    "select_num": Key(whole(1)),
    "population_num": Key(whole(0)),
    "mutation_num": Key(whole(0)),
    "crossover_num": Key(whole(0)),
    "m_prob": Key(number(0, 1), LIMITED),
    "s_prob": Key(number(0, 1), LIMITED),
    "max_param_limits": Key(number(above=True), LIMITED),
    "min_param_limits": Key(number(), LIMITED),
    "budget_latency_max": Key(number(above=True)),
    "budget_latency_min": Key(number()),
    "img_size": Key(whole(1), (CNN, VIT, BERT, HF)),
    "seed": Key(whole(0)),
    **{name: Key(number()) for name in WEIGHTS},
    "budget_num_layers": Key(whole(1), (CNN,)),
    "budget_model_size": Key(number(above=True), (CNN,)),
    "budget_flops": Key(number(above=True), (CNN,)),
    "num_classes": Key(whole(1), (CNN, VIT)),
    "plainnet_struct": Key(text, (CNN,)),
    "no_reslink": Key(flag, (CNN,), idle=True),
    "no_BN": Key(flag, (CNN,), idle=True),
    "use_se": Key(flag, (CNN,), idle=True),
    "patch_size": Key(whole(1), (VIT,)),
    "drop_rate": Key(number(0, 1), (VIT,)),
    "drop_path_rate": Key(number(0, 1), (VIT,), idle=True),
    "max_relative_position": Key(whole(1), (VIT,)),
    "gp": Key(flag, (VIT,)),
    "relative_position": Key(flag, (VIT,)),
    "change_qkv": Key(flag, (VIT,)),
    "abs_pos": Key(flag, (VIT,)),
    "SUPERNET": Key(mapping, (VIT, BERT, ASR), idle=True),
    "SEARCH_SPACE": Key(mapping, (VIT, BERT, ASR)),
    "supernet_cfg": Key(text, (VIT, BERT, ASR)),
    "pretrained_bert": Key(text, (BERT,)),
    "pretrained_bert_config": Key(text, (BERT,)),
    "pretrained_model_path": Key(text, (HF,)),
    "supernet": Key(text, (HF,)),
    "search_space": Key(mapping, (HF,)),
}
"""Every key of a search file; None as a value leaves its default."""

_OF_TRAINING = """
train_epochs eval_epochs input_size best_model_structure dist_backend train_batch_size eval_batch_size data_set
data_path train_data_path val_data_path output_dir num_workers pin_mem print_freq mode optimizer learning_rate
momentum weight_decay criterion lr_scheduler eval_metric metric_threshold no_abs_pos drop_path drop color_jitter aa
smoothing train_interpolation reprob remode recount task_name num_train_examples model model_dir data_dir
gradient_accumulation_steps warmup_proportion max_seq_length doc_stride eval_step n_best_size max_answer_length
max_query_length version_2_with_negative null_score_diff_threshold num_labels verbose_logging no_cuda do_lower_case
profile_flops is_saving_logits logits_dir teacher_model teacher_model_structure task_type tokenizer input_id
hidden_size initializer_range device output_folder save_folder data_folder train_csv valid_csv test_csv
tokenizer_ckpt skip_prep ckpt_interval_minutes ctc_weight grad_accumulation_factor max_grad_norm loss_reduction
sorting lr_adam n_warmup_steps sample_rate n_fft n_mels input_shape num_blocks num_layers_per_block out_channels
kernel_sizes strides residuals d_model encoder_heads nhead num_encoder_layers num_decoder_layers mlp_ratio d_ffn
transformer_dropout output_neurons blank_index label_smoothing pad_index bos_index eos_index min_decode_ratio
max_decode_ratio valid_search_interval valid_beam_size test_beam_size lm_weight ctc_weight_decode augmentation
speed_perturb compute_features time_warp time_warp_window time_warp_mode freq_mask freq_mask_width n_freq_mask
time_mask time_mask_width n_time_mask replace_with_zero
"""
TRAINING = frozenset(_OF_TRAINING.split())
"""Keys of the files for training, which a search has no use for."""


@dataclass(frozen=True)
class Conf:
    """A conf file that was checked.

    Args:
        values: by key, without those that were None.
        notes: what is worth telling, in sentences.
    """

    path: Path
    domain: str
    values: Mapping[str, Any]
    notes: tuple[str, ...]


def read(path: Path, domain: str | None = None) -> Conf:
    """A conf file for a search in a domain.

    Args:
        domain: comes before the file's own word; None takes it from the keys `domain` or `model_type`.

    Raises:
        ConfigError: there is no such file, it belongs to another domain, or a value is not allowed; names the key.
    """
    raw = read_yaml(path, "`model_type: cnn` and `search_engine: EvolutionarySearchEngine`")
    training = [str(key) for key in raw if key in TRAINING]
    if training and "search_engine" not in raw:
        message = f"{path} is a file for training ({', '.join(training[:3])} …): it names no search_engine"
        raise ConfigError(message, hint="give a search file; `hwnas train` trains what a search has found")
    values: dict[str, Any] = {}
    strange: list[str] = []
    notes: list[str] = []
    for key, value in raw.items():
        if key in KEYS:
            if value is not None and value != "None":
                values[key] = _checked(path, key, value, KEYS[key].check)
        elif key not in TRAINING:
            strange.append(f"{key!r} ({nearest(key, KEYS).partition(' known:')[0]})" if _close(key) else f"{key!r}")
    chosen = _domain(path, values, domain, notes)
    values = _merged(path, values, chosen, notes)
    if "SEARCH_SPACE" in values:
        values["SEARCH_SPACE"] = _checked(path, "SEARCH_SPACE", values["SEARCH_SPACE"], SPACES.get(chosen, mapping))
    if strange:
        notes.append(f"unknown keys are passed over: {', '.join(strange)}")
    idle = [str(key) for key in raw if key in KEYS and (KEYS[key].idle or chosen not in KEYS[key].domains)]
    if idle := idle + training:
        notes.append(f"keys without effect on this search: {', '.join(idle)}")
    return Conf(path, chosen, values, tuple(notes))


def _checked(path: Path, key: str, value: Any, check: Check) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError(f"{path}: {key} must be {error}, not {_short(value)}") from None


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:77]}..."


def _close(key: Any) -> bool:
    return nearest(key, KEYS).startswith("did you mean")


def _domain(path: Path, values: Mapping[str, Any], asked: str | None, notes: list[str]) -> str:
    """The domain that is meant; `model_type` must agree with it."""
    kind = values.get("model_type")
    by_kind = next((name for name, own in MODEL_TYPES.items() if own == kind), None)
    chosen = asked or values.get("domain") or by_kind
    if chosen is None:
        raise ConfigError(f"{path} says no model_type", hint=f"give --domain, one of {', '.join(DOMAINS)}")
    if chosen not in DOMAINS:
        raise ConfigError(f"--domain cannot be {chosen!r}; {nearest(chosen, DOMAINS)}")
    if by_kind not in (None, chosen):
        message = f"{path} has model_type {kind!r}, which is of --domain {by_kind}, and not of {chosen}"
        raise ConfigError(message, hint=f"give --domain {by_kind}, or the conf file of {chosen}")
    if values.get("domain") not in (None, chosen):
        notes.append(f"the command line's domain {chosen} comes before the file's {values['domain']}")
    return str(chosen)


def _merged(path: Path, values: dict[str, Any], domain: str, notes: list[str]) -> dict[str, Any]:
    """The keys of the file that `supernet_cfg` names, where there is one; the conf file's own come first."""
    named = values.get("supernet_cfg")
    if named is None or domain not in KEYS["supernet_cfg"].domains:
        return values
    file = Path(named).expanduser()
    if not file.exists():
        notes.append(f"supernet_cfg: there is no file {named}, so it is passed over")
        return values
    more = {key: value for key, value in read_yaml(file, "`SEARCH_SPACE: …`").items() if key in KEYS}
    return {**{key: _checked(file, key, value, KEYS[key].check) for key, value in more.items()}, **values}


__all__ = ["ASR", "BERT", "CNN", "DOMAINS", "ENGINES", "HF", "KEYS", "TRAINING", "VIT", "WEIGHTS", "Conf", "read"]
