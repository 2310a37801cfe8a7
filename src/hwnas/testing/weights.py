"""What a source of weights promises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hwnas.candidate import Family
from hwnas.errors import Interrupted, WeightsError
from hwnas.progress import Progress, silent
from hwnas.testing._shared import Check, elsewhere, hold, require, require_fingerprint, unchanged
from hwnas.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor


def _tensors(weights: Weights) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in weights.tensors().items()}


def _require_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], sentence: str) -> None:
    import torch

    same = one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    require(same, sentence)


def weights_fit_the_family(weights: Weights) -> None:
    """Prepared, they are the finite tensors of the family's supernet, by its names and in its shapes."""
    import torch

    from hwnas.weights.share import tensors_of

    family: Family = weights.family  # type: ignore[attr-defined]  # given to every part that asks for it
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in tensors_of(family.supernet()).items()}
    with elsewhere(weights) as own:
        with unchanged("preparing"):
            own.prepare(silent)
        found = own.tensors()
        require({name: tuple(x.shape) for name, x in found.items()} == wanted, "the tensors are not the supernet's")
        wild = [name for name, tensor in found.items() if not tensor.isfinite().all()]
        require(not wild, f"{', '.join(wild[:3])} hold values that are not finite")


def weights_are_kept(weights: Weights) -> None:
    """Before `prepare` there are none; afterwards any process finds them, and preparing again changes nothing."""
    with elsewhere(weights) as own:
        with unchanged("estimating"):
            seconds = own.estimate()
        require(math.isfinite(seconds) and seconds >= 0, f"preparing is estimated to take {seconds} s")
        if seconds > 0:
            try:
                own.tensors()
            except WeightsError:
                pass
            else:
                raise AssertionError("there are tensors before anything was prepared")
        own.prepare(silent)
        first = _tensors(own)
        again = replace(own)
        _require_equal(_tensors(again), first, "a fresh object finds other tensors in the same folder")
        require(again.estimate() == 0.0, "what is there is estimated to take time")
        again.prepare(silent)
        _require_equal(_tensors(again), first, "preparing again changes the tensors")


def the_fingerprint_tells_of_weights(weights: Weights) -> None:
    """The fingerprint is sixteen hex digits, known before training, alike in every folder, another for another seed."""
    require_fingerprint(weights.fingerprint)
    with elsewhere(weights) as own:
        require(own.fingerprint == weights.fingerprint, "the fingerprint depends on the folder")
    if hasattr(weights, "seed"):
        with elsewhere(weights, seed=weights.seed + 1) as other:
            require(other.fingerprint != weights.fingerprint, "another seed leaves the fingerprint as it is")


def interrupted_weights_go_on(weights: Weights) -> None:
    """Interrupted at any report and resumed, `prepare` ends with the very tensors of an uninterrupted one."""
    with elsewhere(weights) as own:
        reports: list[Progress] = []
        own.prepare(reports.append)
        whole = _tensors(own)
    for stop in sorted({1, len(reports) // 2, len(reports)} if reports else ()):
        with elsewhere(weights) as own:
            left = iter(range(1, stop))

            def watch(_: Progress, left: Iterator[int] = left) -> None:
                if next(left, None) is None:
                    raise Interrupted("as planned")

            try:
                own.prepare(watch)
            except Interrupted:
                pass
            else:
                raise AssertionError(f"`prepare` goes on although report {stop} asks it to stop")
            again = replace(own)
            again.prepare(silent)
            _require_equal(_tensors(again), whole, f"stopped at report {stop} of {len(reports)}, it ends otherwise")


WEIGHTS: tuple[Check, ...] = (
    weights_fit_the_family,
    weights_are_kept,
    the_fingerprint_tells_of_weights,
    interrupted_weights_go_on,
)


def check_weights(weights: Weights) -> None:
    """Holds a source of weights to its protocol; they are made several times, each in a folder that goes away."""
    hold(WEIGHTS, weights)
