"""One forward and one backward pass of an untrained network, watched by as many zero-cost scores as agree on it.

A score that lives on what happens during a pass is a `Proxy`: it names the `Setting` under which the network must run
and gives a `Watcher`, which is shown what it wants to see and is asked for the score at the end. `scores` runs every
setting once for all the scores that share it.

Shape letters: B inputs, C channels, H height, W width, T tokens, K classes.
"""

from __future__ import annotations

import functools
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, HwnasError, MetricError
from hwnas.quality._untrained import ACTIVATIONS, Exchanged, Init, untrained, weighted
from hwnas.seeds import derive, seeded
from hwnas.trial import Metric, Reading

Norm = Literal["batch", "instance", "frozen"]
"""What BatchNorm does: "batch" normalises by the batch, as in training; "instance" every sample by itself, which is
what a batch of one would see, so that samples do not meet; "frozen" by the batch, whose statistics count as constants
in the backward pass, so that gradients of samples do not mix."""

Objective = Literal["loss", "sum", "probe"]
"""The scalar R whose gradient is taken: "loss", the cross-entropy with random labels; "sum" of all outputs; "probe",
the product of the outputs with one fixed Gaussian vector, which is no constant where the last layer normalises."""


@dataclass(frozen=True)
class Setting:
    """How a network is run while it is watched; scores that agree share the pass.

    Args:
        init: how weights are drawn.
        batch: B, inputs at once.
        norm: what BatchNorm does. Dropout is always off.
        objective: R, of which gradients are taken where a score wants some.
        part: which of several independent batches of inputs and labels.
        zoom: images so many times larger, where the family's networks take them (`Family.scales`).
        plain: without shortcuts, where the family can build that.
        double: everything in float64.
    """

    init: Init = "kaiming"
    batch: int = 16
    norm: Norm = "batch"
    objective: Objective = "loss"
    part: int = 0
    zoom: int = 1
    plain: bool = False
    double: bool = False


@dataclass(frozen=True)
class Call:
    """One call of a layer with weights, or of a normalisation: what came in, what went out, and dR/d(output).

    A module that is called twice has two of them. `slope` is zero where the output does not matter.
    """

    name: str
    module: nn.Module
    input: Tensor
    output: Tensor
    slope: Tensor


class Watcher:
    """What one score sees of a pass: it overrides what it needs. Tensors are the pass's own: never write to them.

    The order: `activation`, `module` and `block` during the forward pass, `finished`, then `weights`, `calls`,
    `inputs` and `transport`, once for each setting of the score, and `score` at the very end.
    """

    def activation(self, z: Tensor) -> None:
        """What enters an activation, B x ...; once per call."""

    def module(self, name: str, module: nn.Module, output: Tensor) -> None:
        """What leaves any module, containers included; once per call."""

    def block(self, place: int, features: Tensor) -> None:
        """What leaves the block number `place` of `Family.blocks`: B x C x H x W, or B x T x C."""

    def finished(self, setting: Setting, output: Tensor) -> None:
        """The output of the network."""

    def weights(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Every convolution and linear weight with dR/dW, by name; zero where the weight does not matter."""

    def calls(self, calls: Sequence[Call]) -> None:
        """All calls of convolutions, linear layers and normalisations, in order, with their gradients."""

    def inputs(self, slopes: Sequence[Tensor]) -> None:
        """dR/d(input) for every input of real numbers, B x ...; for ids, that of the vectors looked up for them."""

    def transport(self, place: int, sent: Tensor, received: Tensor) -> None:
        """A random sign per feature of block `place`, and what its product with the block's Jacobian gives before it.

        Called for the last block first; `received` is zero where block `place` does not depend on the one before.
        """

    @abstractmethod
    def score(self) -> float | Reading:
        """The score.

        Raises:
            MetricError: the network can't be judged by it.
        """


class Proxy(Metric):
    """A zero-cost score that watches passes which it may share with others."""

    @abstractmethod
    def settings(self) -> tuple[Setting, ...]:
        """The passes that it wants to see, in order; usually one."""

    @abstractmethod
    def watcher(self, candidate: Candidate, /) -> Watcher:
        """Somebody to watch one candidate."""

    def estimate(self, candidate: Candidate, /) -> float:
        """Seconds for one network, from its size; it is not built for this."""
        return sum(seconds(candidate, setting.batch * setting.zoom**2, 4) for setting in self.settings())

    def __call__(self, candidate: Candidate, /) -> float | Reading:
        """The score of one candidate.

        Raises:
            MetricError: the network can't be judged by it.
        """
        (result,) = scores(candidate, [self])
        if isinstance(result, HwnasError):
            raise result
        return result


def seconds(candidate: Candidate, batch: int, passes: float) -> float:
    """About how long so many forward passes of a network take here, without building it."""
    return sum(layer.macs for layer in candidate.layers) * batch * passes * _seconds_per_mac()


@functools.cache
def _seconds_per_mac() -> float:
    """How fast this machine is, from a convolution of middling size."""
    images, kernels = torch.ones(8, 32, 16, 16), torch.ones(32, 32, 3, 3)
    best = math.inf
    with torch.no_grad():
        for _ in range(4):
            began = time.perf_counter()
            F.conv2d(images, kernels, padding=1)
            best = min(best, time.perf_counter() - began)
    return best / (8 * 16 * 16 * 32 * 32 * 9)


def scores(candidate: Candidate, metrics: Sequence[Metric]) -> list[float | Reading | HwnasError]:
    """Several scores of one candidate, with one pass for all that share a setting; other metrics are simply called.

    Returns:
        In order; the error in place of a score that can't judge this network.
    """
    seats = [_Seat(metric.watcher(candidate)) if isinstance(metric, Proxy) else None for metric in metrics]
    passes: dict[Setting, dict[Objective, list[_Seat]]] = {}
    for metric, seat in zip(metrics, seats, strict=True):
        if isinstance(metric, Proxy) and seat is not None:
            for setting in metric.settings():
                shared = passes.setdefault(replace(setting, objective="loss"), {})
                shared.setdefault(setting.objective, []).append(seat)
    for setting, audience in passes.items():
        _run(candidate, setting, audience)
    results: list[float | Reading | HwnasError] = []
    for metric, seat in zip(metrics, seats, strict=True):
        try:
            result = metric(candidate) if seat is None else seat.score()
            value = result.value if isinstance(result, Reading) else result
            if not math.isfinite(value):
                raise MetricError(f"the score of {type(metric).__name__} is {value}")
            results.append(result)
        except HwnasError as error:
            results.append(error)
    return results


class _Seat:
    """A watcher until it fails; what one can't judge does not disturb the others."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher, self.error = watcher, None

    error: HwnasError | None

    def wants(self, what: str) -> bool:
        """Whether the watcher looks at this at all."""
        return self.error is None and getattr(type(self.watcher), what) is not getattr(Watcher, what)

    def show(self, what: str, *shown: Any) -> None:
        if self.wants(what):
            try:
                getattr(self.watcher, what)(*shown)
            except HwnasError as error:
                self.error = error

    def score(self) -> float | Reading:
        if self.error is not None:
            raise self.error
        return self.watcher.score()


def _run(candidate: Candidate, setting: Setting, audience: Mapping[Objective, Sequence[_Seat]]) -> None:
    """One forward pass, and as many backward passes as the audience needs."""
    seats = [seat for some in audience.values() for seat in some]
    wanted = {what for what in _WANTED if _any(seats, what)}
    slopes = bool(wanted & {"weights", "calls", "inputs", "transport"})
    try:
        model = candidate.plain if setting.plain else candidate.model
        tensors, own, inputs = ingredients(candidate, setting, slopes=slopes)
        calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []
        blocks: list[Tensor] = []
        entries: list[Tensor] = []
        exchanged = _exchanged(setting.norm, seats if "activation" in wanted else ())
        if "inputs" in wanted:
            inputs = _entered(inputs, entries, exchanged)
        with (
            torch.set_grad_enabled(slopes),
            _watching(candidate, model, seats, wanted, calls, blocks),
            Exchanged(exchanged),
        ):
            output = functional_call(model, tensors, inputs)
        _reject_constant(candidate, output, setting)
        for seat in seats:
            seat.show("finished", setting, output.detach())
        for kind, some in audience.items():
            if any(_any(some, what) for what in ("weights", "calls", "inputs")):
                weights = {name: tensors[name] for name in own}
                _backward(candidate, setting, kind, output, weights, calls, entries, some)
        if "transport" in wanted:
            _transport(candidate, setting, blocks, seats)
    except HwnasError as error:
        for seat in seats:
            seat.error = seat.error or error


_WANTED = ("activation", "module", "block", "weights", "calls", "inputs", "transport")


def _any(seats: Sequence[_Seat], what: str) -> bool:
    return any(seat.wants(what) for seat in seats)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


# --- what goes in ---------------------------------------------------------------------------------------------------


def ingredients(
    candidate: Candidate, setting: Setting, *, slopes: bool = True
) -> tuple[dict[str, Tensor], list[str], tuple[Tensor, ...]]:
    """All tensors of a network by name, the names of its convolution and linear weights, and its inputs.

    Args:
        slopes: gradients of the weights will be taken; else no names are given.
    """
    tensors = untrained(candidate, setting.init, setting.plain)
    if setting.double:
        tensors = {name: _double(tensor) for name, tensor in tensors.items()}
    own = weighted(candidate.plain if setting.plain else candidate.model) if slopes else []
    for name in own:
        tensors[name] = tensors[name].detach().requires_grad_()
    return tensors, own, noise(candidate, setting)


def noise(candidate: Candidate, setting: Setting) -> tuple[Tensor, ...]:
    """The inputs of a pass, alike for all candidates of a run: what the family draws, normal noise for images."""
    with seeded(derive(candidate.seed, "inputs", setting.batch, *([setting.part] if setting.part else []))):
        inputs = candidate.family.inputs(candidate.arch, setting.batch)
        if setting.zoom > 1 and candidate.family.scales:
            inputs = tuple(
                torch.randn(*x.shape[:2], *(side * setting.zoom for side in x.shape[2:])) if x.dim() == 4 else x
                for x in inputs
            )
    return tuple(_double(x) for x in inputs) if setting.double else inputs


def labels(candidate: Candidate, output: Tensor, part: int = 0) -> Tensor:
    """A random class for every row of logits, B x K or B x T x K, the same for every candidate of a run."""
    with seeded(derive(candidate.seed, "labels", part, tuple(output.shape))):
        return torch.randint(output.shape[-1], output.shape[:-1])


def objective(candidate: Candidate, output: Tensor, kind: Objective, part: int = 0) -> Tensor:
    """R, the scalar of which gradients are taken."""
    if kind == "sum":
        return output.sum()
    if kind == "probe":
        with seeded(derive(candidate.seed, "probe", tuple(output.shape[1:]))):
            probe = torch.randn(output.shape[1:]).to(output.dtype)
        return (output * probe).sum()
    logits = output.reshape(-1, output.shape[-1])
    return F.cross_entropy(logits, labels(candidate, output, part).reshape(-1))


def twice_differentiable(candidate: Candidate, setting: Setting) -> tuple[list[Tensor], Tensor]:
    """The weights and R of a pass that nobody watches, with a graph through which one can go back twice.

    Fused attention and the hard sigmoid of torch have a first derivative alone, so others take their places.

    Raises:
        MetricError: the output does not depend on the input, or on no weight.
    """
    tensors, own, inputs = ingredients(candidate, setting)
    model = candidate.plain if setting.plain else candidate.model
    exchanged = {**_exchanged(setting.norm, ()), F.hardsigmoid: _clamped}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), Exchanged(exchanged):
        output = functional_call(model, tensors, inputs)
        _reject_constant(candidate, output.detach(), setting)
        if not output.requires_grad:
            raise MetricError("the output depends on no convolution or linear weight")
        return [tensors[name] for name in own], objective(candidate, output, setting.objective, setting.part)


def _clamped(input: Tensor, inplace: bool = False) -> Tensor:
    """The hard sigmoid out of functions that torch differentiates twice."""
    return (input / 6 + 0.5).clamp(0, 1)


def _reject_constant(candidate: Candidate, output: Tensor, setting: Setting) -> None:
    """A network whose output does not depend on its input has no score, whatever the formulas say."""
    if not isinstance(output, Tensor) or output.dim() < 2:
        raise MetricError("zero-cost scores need networks with one output tensor, a row for every input")
    if len(output) < 2:
        with torch.no_grad(), Exchanged(_exchanged("instance", ())):
            pair = noise(candidate, Setting(batch=2))
            output = functional_call(candidate.model, untrained(candidate, "kaiming"), pair)
    if torch.equal(output, output[:1].expand_as(output)):
        raise MetricError("the output is the same for all inputs: no path leads from the input to the output")


# --- what happens on the way ----------------------------------------------------------------------------------------


_LAYERS = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@contextmanager
def _watching(
    candidate: Candidate,
    model: nn.Module,
    seats: Sequence[_Seat],
    wanted: set[str],
    calls: list[tuple[str, nn.Module, Tensor, Tensor]],
    blocks: list[Tensor],
) -> Iterator[None]:
    """Hooks on the modules that the audience wants to see, gone afterwards whatever happens."""
    hooks = []

    def every(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                for seat in seats:
                    seat.show("module", name, module, output.detach())

        return hook

    def layer(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> Tensor:
            if not output.requires_grad:  # a normalisation before the first weight
                output.requires_grad_()
            calls.append((name, module, next(iter((*inputs, *named.values()))), output))
            return output.clone()  # `x += y` on it would change what was seen

        return hook

    def boundary(_: nn.Module, __: Any, output: Any) -> None:
        features = output if isinstance(output, Tensor) else output[0]
        for seat in seats:
            seat.show("block", len(blocks), features.detach())
        if torch.is_grad_enabled() and not features.requires_grad:  # ids that were looked up, before the first weight
            features.requires_grad_()
        blocks.append(features)

    try:
        for name, module in model.named_modules():
            if "module" in wanted:
                hooks.append(module.register_forward_hook(every(name)))
            if "calls" in wanted and isinstance(module, _LAYERS):
                hooks.append(module.register_forward_hook(layer(name), with_kwargs=True))
        if wanted & {"block", "transport"}:
            for name in candidate.family.blocks(model):
                hooks.append(model.get_submodule(name).register_forward_hook(boundary))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _exchanged(norm: Norm, seats: Sequence[_Seat]) -> dict[Callable[..., Any], Callable[..., Any]]:
    """BatchNorm as the setting wants it, and activations that are watched and never work in place."""

    def watched(activation: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(input: Tensor, *args: Any, **options: Any) -> Tensor:
            for seat in seats:
                seat.show("activation", input.detach())
            if "inplace" in options:
                options["inplace"] = False
            return _OUT_OF_PLACE.get(activation, activation)(input, *args, **options)

        return call

    return {**{activation: watched(activation) for activation in ACTIVATIONS}, F.batch_norm: _NORMS[norm]}


def _entered(
    inputs: tuple[Tensor, ...], entries: list[Tensor], exchanged: dict[Callable[..., Any], Callable[..., Any]]
) -> tuple[Tensor, ...]:
    """The inputs as leaves of the graph; of ids, what they look up becomes a leaf while the network runs."""
    leaves = [x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs]
    entries += [x for x in leaves if x.requires_grad]

    def looked_up(input: Tensor, *args: Any, **options: Any) -> Tensor:
        found = F.embedding(input, *args, **options)
        if not any(torch.equal(input, x) for x in inputs):
            return found  # positions, which are no inputs
        entries.append(found.detach().requires_grad_())
        return entries[-1].clone()

    if not entries:
        exchanged[F.embedding] = looked_up
    with torch.enable_grad():
        return tuple(x.clone() for x in leaves)  # a network may work on its input in place


_OUT_OF_PLACE: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    F.relu_: torch.relu,
    torch.relu_: torch.relu,
    Tensor.relu_: torch.relu,
}


def _by_batch(
    input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """BatchNorm as in training, without keeping statistics."""
    if input.numel() == input.shape[1]:  # one value per channel has no spread
        return _by_sample(input, mean, variance, weight, bias, training, momentum, eps)
    return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)


def _by_sample(
    input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """BatchNorm of a batch of one, for every sample by itself; one value per channel passes as it is."""
    if input.numel() == len(input) * input.shape[1]:
        shape = (1, -1, *(1 for _ in input.shape[2:]))
        scaled = input if weight is None else input * weight.view(shape)
        return scaled if bias is None else scaled + bias.view(shape)
    return F.instance_norm(input, None, None, weight, bias, True, momentum, eps)


def _by_constants(
    input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """BatchNorm with the batch's statistics as constants: the values of training, the gradients of deployment."""
    dims = [dim for dim in range(input.dim()) if dim != 1]
    found = input.detach()
    return F.batch_norm(input, found.mean(dims), found.var(dims, correction=0), weight, bias, False, momentum, eps)


_NORMS: dict[Norm, Callable[..., Tensor]] = {"batch": _by_batch, "instance": _by_sample, "frozen": _by_constants}


def normalised(norm: Norm) -> Exchanged:
    """BatchNorm as in a pass with this norm, for whoever runs a network, or a part of it, by himself."""
    return Exchanged({F.batch_norm: _NORMS[norm]})


# --- the way back ---------------------------------------------------------------------------------------------------


def _backward(
    candidate: Candidate,
    setting: Setting,
    kind: Objective,
    output: Tensor,
    weights: Mapping[str, Tensor],
    calls: Sequence[tuple[str, nn.Module, Tensor, Tensor]],
    entries: Sequence[Tensor],
    seats: Sequence[_Seat],
) -> None:
    own = weights if _any(seats, "weights") else {}
    outputs = [out for *_, out in calls] if _any(seats, "calls") else []
    leaves = list(entries) if _any(seats, "inputs") else []
    total = objective(candidate, output, kind, setting.part)
    wanted = [*own.values(), *outputs, *leaves]
    slopes: Sequence[Tensor] = [torch.zeros_like(tensor) for tensor in wanted]
    if wanted and total.requires_grad:
        slopes = torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
    pairs = {name: (weight.detach(), slope) for (name, weight), slope in zip(own.items(), slopes, strict=False)}
    made = [
        Call(name, module, x.detach(), out.detach(), slope)
        for (name, module, x, out), slope in zip(calls, slopes[len(own) :], strict=False)
    ]
    for seat in seats:
        seat.show("weights", pairs)
        seat.show("calls", made)
        seat.show("inputs", slopes[len(own) + len(outputs) :])


def _transport(candidate: Candidate, setting: Setting, blocks: Sequence[Tensor], seats: Sequence[_Seat]) -> None:
    """Signs sent back over one block at a time, so that all blocks together cost one ordinary backward pass."""
    for place in range(len(blocks) - 1, 0, -1):
        after, before = blocks[place], blocks[place - 1]
        with seeded(derive(candidate.seed, "signs", place, tuple(after.shape))):
            sent = torch.randint(2, after.shape).mul_(2).sub_(1).to(after.dtype)
        (received,) = torch.autograd.grad(
            after, before, sent, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for seat in seats:
            seat.show("transport", place, sent, received)


# --- options --------------------------------------------------------------------------------------------------------


def check_batch(batch: int, least: int) -> None:
    """Raises ConfigError where a score cannot do with so few inputs."""
    if batch < least:
        raise ConfigError(f"batch must be at least {least}, not {batch!r}")
