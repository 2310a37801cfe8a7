"""What a data set promises."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas import parts
from hwnas.data import Data, Part
from hwnas.data._pixels import Pixels
from hwnas.testing._shared import Check, elsewhere, hold, keeping, require, require_fingerprint, unchanged

_SPLITS: tuple[Part, ...] = ("train", "val", "test")


def _contents(data: Data) -> list[bytes]:
    """The three splits as bytes: inputs and labels."""
    splits = [data.split(part) for part in _SPLITS]
    return [tensor.numpy().tobytes() for split in splits for tensor in (split.inputs, split.labels)]


def splits_hold_labelled_inputs(data: Data) -> None:
    """All three splits hold inputs of one raw type and shape, with labels of every class."""
    import torch

    require(isinstance(data.name, str) and data.name, "a data set needs a name")
    require(len(set(data.classes)) == len(data.classes) >= 2, f"two classes or more, none twice, not {data.classes!r}")
    raw = {torch.uint8: 4, torch.int64: 2, torch.float32: 3}
    first = data.split("train").inputs
    require(first.ndim == raw.get(first.dtype), f"inputs are {first.dtype} with {first.ndim} axes: see `Split`")
    for part in _SPLITS:
        split = data.split(part)
        require(split.inputs.dtype == first.dtype, f"inputs of {part} are {split.inputs.dtype}, others {first.dtype}")
        require(split.inputs.shape[1:] == first.shape[1:], f"inputs of {part} have not the shape of those of train")
        require(split.labels.dtype == torch.int64, f"labels of {part} are {split.labels.dtype}")
        require(len(split) == len(split.inputs) == len(split.labels) > 0, f"{part} has not one label per input")
        found = sorted(set(split.labels.tolist()))
        require(found == list(range(len(data.classes))), f"{part} has the labels {found}, not one of every class")


def knows_facts_for_families(data: Data) -> None:
    """Facts are whole numbers above 0 by name, the number of classes and the sizes of the inputs among them."""
    facts = dict(data.facts)
    whole = all(isinstance(name, str) and type(value) is int and value > 0 for name, value in facts.items())
    require(whole, f"facts are whole numbers above 0 by name, not {facts}")
    require(facts.get("classes") == len(data.classes), f"the facts {facts} do not tell the number of classes")
    sizes = [*data.split("train").inputs.shape[1:]]
    told = [value for name, value in facts.items() if name != "classes" and value in sizes]
    require(told, f"the facts {facts} tell nothing of the inputs' sizes {sizes}")


def splits_are_disjoint(data: Data) -> None:
    """No input is in two splits."""
    kept: dict[bytes, str] = {}
    for part in _SPLITS:
        for row in data.split(part).inputs:
            other = kept.setdefault(row.numpy().tobytes(), part)
            require(other == part, f"an input is in {other} and in {part}")


def makes_inputs_ready(data: Data) -> None:
    """Raw inputs become what a network takes, in its own shape, each by itself; what is given stays as it is."""
    import torch

    raw = data.split("train").inputs[:4]
    before = raw.clone()
    sizes = (2, 3) if raw.ndim == 4 else (1,)  # the axes that networks differ in
    for scale in (1.0, 0.5, 2.0):
        shape = [round(scale * size) if axis in sizes else size for axis, size in enumerate(raw.shape)]
        like = torch.empty(1, *shape[1:], device="meta")
        ready = data.ready(raw, like)
        require([*ready.shape] == shape, f"where a network takes {shape[1:]}, an input becomes {[*ready.shape[1:]]}")
        require(ready.is_floating_point() == (raw.dtype != torch.int64), f"inputs of {raw.dtype} become {ready.dtype}")
        alone = torch.cat([data.ready(row, like) for row in raw[:, None]])
        require(torch.allclose(alone, ready), "made ready together, inputs come out otherwise than alone")
    require(torch.equal(raw, before), "making inputs ready changes the raw ones")


def varies_inputs_as_asked(data: Data) -> None:
    """Variations follow from their generator and keep shape and type; strength 0 varies nothing."""
    import numpy as np
    import torch

    raw = data.split("train").inputs[:8]
    before = raw.clone()
    with unchanged("varying inputs"):
        one, other = (data.varied(raw, np.random.default_rng(3), 2) for _ in range(2))
    require((one.shape, one.dtype) == (raw.shape, raw.dtype), f"varied inputs are {one.dtype}, {[*one.shape]}")
    require(torch.equal(one, other), "the same generator varies inputs otherwise")
    require(torch.equal(data.varied(raw, np.random.default_rng(3), 0), before), "strength 0 varies inputs")
    require(torch.equal(raw, before), "varying inputs changes the raw ones")


def splits_are_stable(data: Data) -> None:
    """A fresh copy of the data set has the same inputs in the same order, and the same fingerprint."""
    with elsewhere(data) as again, unchanged("reading the data"):
        require(_contents(again) == _contents(data), "read again, the splits differ")
        require(again.fingerprint == data.fingerprint, "read again, the fingerprint differs")
        require(data.split("val") is data.split("val"), "every call of split() reads anew")


def keeps_its_splits_when_asked(data: Data) -> None:
    """Reading leaves no files; `keep` may, and whoever comes later to the same folder finds the same splits."""
    with TemporaryDirectory() as place:
        own = replace(data, **keeping(data, Path(place)))  # type: ignore[type-var]  # a dataclass, as all parts
        contents = _contents(own)
        require(not os.listdir(place), "reading the data leaves files")
        own.keep()
        own.keep()
        again = replace(own)  # type: ignore[type-var]
        same = _contents(again) == contents and again.fingerprint == own.fingerprint
        require(same, "what `keep` has kept is not what is found again")


def the_fingerprint_tells(data: Data) -> None:
    """The fingerprint is sixteen hex digits, and another one wherever an option changes an input or a split."""
    require_fingerprint(data.fingerprint)
    contents = _contents(data)
    for option in fields(data):  # type: ignore[arg-type]  # a dataclass, as all parts
        value = getattr(data, option.name)
        if option.name in parts.GIVEN or type(value) is not int:
            continue
        with elsewhere(data, **{option.name: value + 1}) as other:
            same = other.fingerprint == data.fingerprint
            require(
                not same or _contents(other) == contents, f"another {option.name!r} leaves the fingerprint as it is"
            )


def moments_are_those_of_train(data: Data) -> None:
    """Mean and deviation of images are those of the training images by channel, on the scale 0 ... 1."""
    import torch

    if not isinstance(data, Pixels):
        return
    images = data.split("train").inputs.double() / 255
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3), correction=0).clamp(min=1 / 255)
    for what, found, known in (("mean", data.mean, mean), ("deviation", data.std, std)):
        close = torch.allclose(torch.tensor(found, dtype=torch.float64), known, rtol=1e-6, atol=1e-9)
        require(close, f"the {what} is {found}, that of the training images {tuple(known.tolist())}")


DATA: tuple[Check, ...] = (
    splits_hold_labelled_inputs,
    knows_facts_for_families,
    splits_are_disjoint,
    splits_are_stable,
    keeps_its_splits_when_asked,
    the_fingerprint_tells,
    makes_inputs_ready,
    varies_inputs_as_asked,
    moments_are_those_of_train,
)


def check_data(data: Data) -> None:
    """Holds a data set to its protocol."""
    hold(DATA, data)
