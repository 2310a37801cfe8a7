"""What a family promises."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hwnas.candidate import Candidate, Family
from hwnas.errors import HwnasError
from hwnas.seeds import derive, seeded
from hwnas.space import Arch, Code
from hwnas.testing._networks import made, some_codes
from hwnas.testing._shared import Check, hold, require, unchanged
from hwnas.testing.toys import Untrained

if TYPE_CHECKING:
    from torch import Tensor, nn


def _of_networks(check: Callable[[Family], None]) -> Callable[[Family], None]:
    """A check that looks at networks, for families that have some; `builds_or_says_so` is for all."""

    @functools.wraps(check)
    def checked(family: Family) -> None:
        if family.buildable:
            check(family)

    return checked


def _output(model: Callable[..., Any], inputs: Sequence[Tensor]) -> Tensor:
    """Everything that a network returns, as one row of numbers per input."""
    import torch

    from hwnas.formats._parity import flat

    return torch.cat([tensor.reshape(len(inputs[0]), -1) for tensor in flat(model(*inputs))], dim=1)


def _loss(output: Tensor) -> Tensor:
    """A number that depends on every output in a way of its own."""
    import torch

    return (output * torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).reshape(output.shape)).sum()


def codes_round_trip(family: Family) -> None:
    """Decoding and encoding a code gives the code again; an architecture is plain data."""
    for code in some_codes(family, 20):
        arch = family.space.decode(code)
        require(family.space.encode(arch) == code, f"{code} comes back as {family.space.encode(arch)}")
        require(json.loads(json.dumps(arch)) == arch, f"{arch} does not survive JSON")


def canonical_codes_build_the_same(family: Family) -> None:
    """A canonical code is its own, lies inside the space, and builds a network of the same function.

    For that, weights are drawn anew from nothing but their shape, so that it does not matter which tensor bears which
    name.
    """
    import torch

    for code in some_codes(family, 20):
        own = family.canonical(code)
        require(family.canonical(own) == own == family.space.canonical(own), f"{own}, canonical for {code}, is not")
        if own == code or not family.buildable:
            continue
        with torch.no_grad():
            one, other = (_output(*_by_shape(*made(family, each))) for each in (code, own))
        same = torch.allclose(one, other, rtol=1e-6, atol=1e-9 * float(one.abs().max()))
        require(same, f"{own} is called canonical for {code}, but computes something else")


def _by_shape(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, list[Tensor]]:
    """The network and its inputs in float64, equal shapes with equal weights."""
    import torch

    with torch.no_grad():
        for parameter in model.double().parameters():
            with seeded(derive(0, "shape", tuple(parameter.shape))):
                parameter.copy_(torch.randn(parameter.shape) / math.prod(parameter.shape[1:]) ** 0.5)
    return model, [x.double() if x.is_floating_point() else x for x in inputs]


@_of_networks
def networks_run(family: Family) -> None:
    """The smallest, the largest and twenty random networks compute finite outputs, one row per input."""
    import torch

    for code in some_codes(family, 20):
        model, inputs = made(family, code)
        require(isinstance(inputs, tuple) and inputs, "inputs() gives no tuple of tensors")
        require(all(len(x) == 2 for x in inputs), f"inputs(arch, 2) have the shapes {[tuple(x.shape) for x in inputs]}")
        with torch.no_grad():
            require(
                _output(model, inputs).isfinite().all(), f"the network {code} computes something that is not finite"
            )


@_of_networks
def parameters_learn(family: Family) -> None:
    """In training, every parameter of a canonical network has a finite gradient."""
    for code in some_codes(family, 6):
        model, inputs = made(family, family.canonical(code))
        with seeded(0):
            _loss(_output(model.train(), inputs)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            require(gradient is not None, f"{name} of the network {code} is not used, so it cannot learn")
            finite = gradient is not None and gradient.isfinite().all()
            require(finite, f"{name} of the network {code} has a gradient that is not finite")


@_of_networks
def builds_repeatably(family: Family) -> None:
    """A build depends on torch's generator alone, shares nothing with another, and has the same tensors on meta."""
    import torch

    from hwnas.weights.share import skeleton, tensors_of

    for code in some_codes(family, 4):
        arch = family.space.decode(code)
        with unchanged("building and feeding a network"):
            (one, inputs), (two, again) = made(family, code), made(family, code)
            ghost = tensors_of(skeleton(family, arch))
        first, second = tensors_of(one), tensors_of(two)
        for name, tensor in first.items():
            require(torch.equal(tensor, second[name]), f"{name} of the network {code} differs from build to build")
            require(tensor.data_ptr() != second[name].data_ptr() or not tensor.numel(), f"two networks share {name}")
        require(all(map(torch.equal, inputs, again)), "the same seed gives other inputs")
        shapes = [{name: (tuple(x.shape), x.dtype) for name, x in own.items()} for own in (first, ghost)]
        require(shapes[0] == shapes[1], f"the network {code} has other tensors on the meta device than on the CPU")
        with torch.device("meta"):
            require(all(x.is_meta for x in family.inputs(arch, 1)), "inputs() ignores torch's default device")


@_of_networks
def layers_add_up(family: Family) -> None:
    """The table of layers knows all parameters that are used, and the multiply-accumulates that torch itself counts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hwnas.layers import macs, params

    for code in some_codes(family, 6):
        candidate = Candidate(family, family.canonical(code))
        _loss(_output(candidate.model, candidate.batch(2))).backward()  # type: ignore[no-untyped-call]
        used = sum(parameter.numel() for parameter in candidate.model.parameters() if parameter.grad is not None)
        counted = params(candidate.layers)
        require(counted == used, f"the layers of {code} have {counted} parameters, its network uses {used}")
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            candidate.skeleton(*family.inputs(candidate.arch, 1))
        found, known = macs(candidate.layers), counter.get_total_flops() / 2
        require(found == known > 0, f"the layers of {code} have {found} MACs, torch counts {known:g}")


@_of_networks
def shared_weights_are_the_networks_own(family: Family) -> None:
    """With weights borrowed from the supernet a network computes, bit for bit, what it does when it is taken out."""
    import torch

    from hwnas.weights.share import borrow, calibrate, call, extract, skeleton

    big = Untrained(family).tensors()
    for code in some_codes(family, 6):
        arch, inputs = family.space.decode(code), Candidate(family, code).batch(4)
        small = skeleton(family, arch)
        tensors = borrow(family, arch, small, big)
        with torch.no_grad():
            for ready in [tensors] + [calibrate(small, tensors, inputs)] * (len(inputs) == 1):
                shared = _output(functools.partial(call, small, ready), inputs)
                own = _output(extract(family, arch, ready), inputs)
                require(shared.isfinite().all(), f"with shared weights {code} computes something that is not finite")
                require(torch.equal(shared, own), f"the network {code} computes something else when it is taken out")


@_of_networks
def gradients_stay_in_their_slices(family: Family) -> None:
    """Training a network inside the big one moves what it has borrowed as if it stood alone, and nothing else."""
    import torch

    from hwnas.weights.share import borrow, call, extract, skeleton, tensors_of

    with seeded(0):
        model = family.supernet()
    big, shares = tensors_of(model), dict(model.named_parameters())
    for code in some_codes(family, 6):
        arch, inputs = family.space.decode(family.canonical(code)), Candidate(family, code).batch(4)
        small = skeleton(family, arch).train()
        tensors = borrow(family, arch, small, big)
        borrowed = {name: tensors[name] for name, _ in small.named_parameters()}
        severed = [name for name, tensor in borrowed.items() if not tensor.requires_grad]
        require(not severed, f"{code} borrows {', '.join(severed[:3])} in a way that lets no gradient come back")
        alone = extract(family, arch, tensors).train()
        model.zero_grad()
        for tensor in borrowed.values():
            tensor.retain_grad()
        for network in (functools.partial(call, small, tensors), alone):
            with seeded(0):
                _loss(_output(network, inputs)).backward()  # type: ignore[no-untyped-call]
        for name, own in alone.named_parameters():
            gradient = borrowed[name].grad
            alike = gradient is not None and own.grad is not None and torch.equal(gradient, own.grad)
            require(alike, f"{name} of {code} has another gradient inside the big network than alone")
        for name, parameter in shares.items():
            if parameter.grad is not None:
                used = _used(parameter, borrowed.values())
                inside = used is None or not parameter.grad[~used].any()
                require(inside, f"training {code} moves parts of {name} that it has not borrowed")


def _used(parameter: Tensor, borrowed: Iterable[Tensor]) -> Tensor | None:
    """Which entries of a big tensor the borrowed ones are views of; None if some are computed from it."""
    import torch

    used: Tensor = torch.zeros_like(parameter, dtype=torch.bool)
    home = parameter.untyped_storage().data_ptr()
    for tensor in borrowed:
        if tensor.untyped_storage().data_ptr() == home:
            start = tensor.storage_offset() - parameter.storage_offset()
            used.as_strided(tensor.shape, tensor.stride(), start).fill_(True)
        elif parameter in _origins(tensor):
            return None
    return used


def _origins(tensor: Tensor) -> set[Tensor]:
    """The leaves that a computed tensor depends on."""
    waiting, leaves = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None:
            leaves |= {node.variable} if hasattr(node, "variable") else set()
            waiting += [before for before, _ in node.next_functions]
    return leaves


@_of_networks
def nothing_is_secretly_active(family: Family) -> None:
    """Two networks that share weights and run in turns compute what each does alone; the big one stays as it was."""
    import torch

    from hwnas.weights.share import borrow, call, skeleton, tensors_of

    with seeded(0):
        big = tensors_of(family.supernet())
    before = {name: tensor.detach().clone() for name, tensor in big.items()}

    def network(code: Code) -> Callable[[], Tensor]:
        arch, inputs = family.space.decode(code), Candidate(family, code).batch(4)
        small = skeleton(family, arch).train()
        tensors = borrow(family, arch, small, big)

        def run() -> Tensor:
            with seeded(0), torch.no_grad():
                return _output(functools.partial(call, small, tensors), inputs)

        return run

    one, *_, other = some_codes(family, 4)
    alone = [network(code)() for code in (one, other)]
    first, second = network(one), network(other)
    turns = [first(), second(), first()]
    require(all(map(torch.equal, turns, [*alone, alone[0]])), f"{one} and {other} disturb one another")
    touched = [name for name, tensor in big.items() if not torch.equal(tensor, before[name])]
    require(not touched, f"running small networks changes the big one: {', '.join(touched[:3])}")


def builds_or_says_so(family: Family) -> None:
    """`buildable` tells whether there are networks without building one; where there are none, asking is refused."""
    require(isinstance(type(family).buildable, bool), "`buildable` of the class is not True or False")
    arch = family.space.decode(family.space.smallest)
    asks: dict[str, Callable[[Arch], Any]] = {"build": family.build, "inputs": lambda arch: family.inputs(arch, 1)}
    for what, ask in asks.items():
        try:
            with seeded(0):
                ask(arch)
        except HwnasError as error:
            require(not family.buildable, f"{what}() refuses the smallest network: {error}")
        else:
            require(family.buildable, f"{what}() answers, although the family says that it builds no networks")


def has_a_name(family: Family) -> None:
    """It has a name, and its space holds two networks or more."""
    require(isinstance(family.name, str) and family.name, "a family needs a name")
    require(family.space.size > 1, f"the space of {family.name!r} holds one network, so there is nothing to search")


FAMILY: tuple[Check, ...] = (
    has_a_name,
    builds_or_says_so,
    codes_round_trip,
    canonical_codes_build_the_same,
    networks_run,
    parameters_learn,
    builds_repeatably,
    layers_add_up,
    shared_weights_are_the_networks_own,
    gradients_stay_in_their_slices,
    nothing_is_secretly_active,
)


def check_family(family: Family) -> None:
    """Holds a family to its protocol; a small one, since every network is built and run several times."""
    hold(FAMILY, family)
