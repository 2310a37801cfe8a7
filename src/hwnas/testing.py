"""What every part promises, as plain functions: for our own tests, and for whoever writes a part.

    >>> from hwnas import testing
    >>> from hwnas.algorithms.random import Random
    >>> testing.check(Random(batch=8))                 # everything that a search promises     # doctest: +SKIP
    >>> testing.asks_canonical_codes_once(Random())    # one promise                           # doctest: +SKIP

A check takes a part and returns nothing, or raises AssertionError with a sentence about what is broken. Nothing here
needs pytest; to see every promise as a test of its own, parametrise over `checks_of(MyPart)`.

`example(MyPart, place)` builds a part as the checks want it: small. The class may say how: `tiny`, a mapping of
options as in a configuration, or `example(place)`, a class method, where files are needed. What an experiment would
give to its constructor comes from the toys: `Toy`, a family with a space that is wide enough for searches and networks
that run in a millisecond, `Untrained` weights for it, and handwritten digits of 8 x 8 pixels.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import math
import os
import random
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto, parts
from hwnas.candidate import Candidate, Family
from hwnas.data import Data, Part
from hwnas.errors import ConfigError, ExportError, Interrupted, WeightsError, nearest
from hwnas.formats import Format
from hwnas.progress import Progress, Watch, silent
from hwnas.runtimes import Runtime
from hwnas.seeds import derive, seeded
from hwnas.space import Arch, Choice, Code, Space
from hwnas.trial import Goal, Metric, Reading, Search, Trial, excess, losses
from hwnas.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hwnas.study import Study

Check: TypeAlias = Callable[..., None]
Values: TypeAlias = Mapping[str, float]

REPEATS = 100
"""So many steps without a new network end a search that does not end itself, as in a study."""


def require(condition: object, sentence: str) -> None:
    """Raises AssertionError with this sentence unless the condition holds; also under `python -O`."""
    if not condition:
        raise AssertionError(sentence)


# --- the toys --------------------------------------------------------------------------------------------------------

SIDE = 8
"""Of the toy family's images, in pixels."""
_KERNELS, _EXPANDS, _BRANCHES, _ACTS = (3, 5, 7), (2, 4, 6), ("none", "skip", "pool", "conv"), ("relu", "silu", "gelu")


def _blocks() -> Iterator[Choice]:
    for block in range(5):
        when = ("depth", tuple(range(block + 1, 6))) if block > 0 else None
        yield Choice(f"block{block}.kernel", _KERNELS, when)
        yield Choice(f"block{block}.expand", _EXPANDS, when)
        yield Choice(f"block{block}.branch", _BRANCHES, when)


SPACE = Space("toy", (Choice("depth", (1, 2, 3, 4, 5)), Choice("act", _ACTS), *_blocks()))
"""Seventeen choices, numbers and words, most of them only active at some depth."""


def judge(code: Code) -> dict[str, float]:
    """Accuracy grows with size, but less and less, and depends on which words go together; latency adds up."""
    arch: Mapping[str, Any] = SPACE.decode(code)
    score, latency = 0.0, 1.0
    for block in range(arch["depth"]):
        kernel, expand, branch = (arch[f"block{block}.{axis}"] for axis in ("kernel", "expand", "branch"))
        latency += expand * kernel * (0.2 + 0.1 * block) + {"conv": 6, "pool": 2, "skip": 0.5, "none": 0}[branch]
        score += expand * kernel**0.5 * (1.0 if block % 2 else 0.6)
        score += {"conv": 6, "pool": 1, "skip": 4 if expand == 2 else 1, "none": 0}[branch]
    score *= {"relu": 0.8, "silu": 1.0, "gelu": 0.9}[arch["act"]]
    return {"accuracy": 1 - math.exp(-score / 30), "latency": latency}


def accuracy(candidate: Candidate) -> float:
    """The made-up accuracy of a toy network, which is not built for it."""
    return judge(candidate.code)["accuracy"]


def latency(candidate: Candidate) -> float:
    """The made-up latency of a toy network."""
    return judge(candidate.code)["latency"]


GOALS = (Goal("accuracy", accuracy, "max"), Goal("latency", latency, "min"))
"""Two goals that conflict and cost nothing."""
LIMITED = (GOALS[0], Goal("latency", latency, "min", limit=15.0))
"""The same with a limit that few random networks keep."""
REFERENCE = (0.0, 80.0)
"""For the hypervolume of toy trials: no accuracy at all, and a latency that hardly any network has."""


def volume(trials: Iterable[Trial]) -> float:
    """The hypervolume of some trials of the toy problem."""
    return pareto.hypervolume(losses(list(trials), GOALS), REFERENCE)


@dataclass(frozen=True)
class Toy(Family):
    """Networks of up to five blocks that run in a millisecond; with a table, which is computed as it is read.

    Args:
        dropout: before the classifier, so that training draws random numbers.
    """

    classes: int = 10
    dropout: float = 0.1

    space: ClassVar[Space] = SPACE

    @property
    def name(self) -> str:
        return "toy"

    def build(self, arch: Arch, /) -> nn.Module:
        from torch import nn

        acts: dict[Any, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
        branches: dict[Any, Callable[[], nn.Module]] = {
            "skip": nn.Identity,
            "pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
            "conv": lambda: nn.Conv2d(8, 8, 3, padding=1),
        }

        def conv(channels: int, out: int, kernel: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out)]

        def block(kernel: Any, expand: Any, branch: Any) -> nn.Module:
            main = nn.Sequential(*conv(8, 2 * expand, kernel), acts[arch["act"]](), *conv(2 * expand, 8, 1))
            return _sum()({"main": main, **({branch: branches[branch]()} if branch in branches else {})})

        net = OrderedDict[str, nn.Module](stem=nn.Sequential(*conv(3, 8, 3), acts[arch["act"]]()))
        for number in range(int(arch["depth"])):
            net[f"block{number}"] = block(*(arch[f"block{number}.{axis}"] for axis in ("kernel", "expand", "branch")))
        net |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": nn.Dropout(self.dropout)}
        net["classifier"] = nn.Linear(8, self.classes)
        return nn.Sequential(net)

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        import torch

        return (torch.randn(batch, 3, SIDE, SIDE),)

    def column(self, name: str, /) -> NDArray[np.float64]:
        """A column of the table at the two ends of the space."""
        ends = [judge(SPACE.smallest), judge(SPACE.largest)]
        if name not in ends[0]:
            raise ConfigError(f"the toy table has no column {name!r}; {nearest(name, ends[0])}")
        return np.array([row[name] for row in ends])

    def value(self, column: str, code: Code, /) -> float:
        """What the table says about a network."""
        return judge(code)[column]


@functools.cache
def _sum() -> type[nn.Module]:
    """A module that adds up what its branches make of one input; here, so that importing this file needs no torch."""
    from torch import nn

    class Sum(nn.ModuleDict):
        def forward(self, x: Tensor) -> Tensor:
            terms = [branch(x) for branch in self.values()]
            total: Tensor = sum(terms[1:], terms[0])
            return total

    return Sum


@dataclass(frozen=True)
class Untrained(Weights):
    """A supernet with fresh weights: the double of a trained one."""

    family: Family
    seed: int = 0

    def prepare(self, watch: Watch = silent, /) -> None:
        """There is nothing to do."""

    def tensors(self) -> Mapping[str, Tensor]:
        return self._tensors

    @functools.cached_property
    def _tensors(self) -> dict[str, Tensor]:
        from hwnas.weights.share import tensors_of

        with seeded(self.seed):
            return {name: tensor.detach() for name, tensor in tensors_of(self.family.supernet()).items()}

    def estimate(self) -> float:
        return 0.0

    @property
    def fingerprint(self) -> str:
        return f"{self.seed:016x}"


def given(place: Path) -> dict[str, Any]:
    """What an experiment would give to a constructor that asks for it: toys, and real data that is always there."""
    from hwnas.data.digits import Digits

    family = Toy()
    return {
        "family": family,
        "data": Digits(resolution=SIDE, splits=(0.2, 0.1, 0.7)),
        "weights": Untrained(family),
        "device": "local",
        "folder": place,
        "seed": 0,
        "torch_device": "cpu",
    }


def example(cls: type, place: Path) -> Any:
    """A part as the checks want it: by its own `example(place)` if it has that, else with its `tiny` options.

    Args:
        place: an empty folder, for the part's files.
    """
    if hasattr(cls, "example"):
        return cls.example(place)
    toys, schema = given(place), parts.schema(cls)
    options = {name: toys[name] for name in schema if name in toys}
    for name, value in getattr(cls, "tiny", {}).items():
        options[name] = parts.convert(value, schema[name].annotation, toys, name)
    return cls(**options)


# --- what all parts promise ------------------------------------------------------------------------------------------


def check_file(folder: str, name: str) -> None:
    """A file of a folder offers one part: first in `__all__`, of the folder's protocol, described in a sentence."""
    cls = parts.find(name, (folder,))
    require(isinstance(cls, type), f"the first name in `__all__` of {folder}/{name}.py is no class")
    require(cls.__module__ == f"hwnas.{folder}.{name}", f"{cls.__name__} of {folder}/{name}.py is defined elsewhere")
    require(folder in _folders(cls), f"{cls.__name__} does not inherit from the protocol of {folder}/")
    _require_sentence(parts.describe(folder, name), f"{folder}/{name}.py")


def _folders(cls: type) -> tuple[str, ...]:
    return getattr(cls, "__parts__", ())


def _require_sentence(line: str, where: str) -> None:
    good = not line[:1].islower() and line.endswith(".") and " " in line and len(line) <= 120
    require(good, f"the docstring of {where} begins with no sentence of at most 120 characters: {line!r}")


def is_described(part: Any) -> None:
    """The docstring of the class begins with a sentence for people."""
    _require_sentence((type(part).__doc__ or "").partition("\n")[0], type(part).__name__)


def names_its_options(part: Any) -> None:
    """The constructor takes options by name alone, and all of them are typed: it is what configurations are read by."""
    cls: type = type(part)
    for name, parameter in inspect.signature(cls).parameters.items():
        star = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        require(not star, f"the constructor of {cls.__name__} takes any {name}, so misspelt options would pass")
        typed = parts.schema(cls)[name].annotation is not Any
        require(typed, f"option {name!r} of {cls.__name__} has no type, so it cannot be checked")


def is_frozen(part: Any) -> None:
    """A part is a frozen dataclass, equal to its copy; its repr names every option."""
    frozen = getattr(getattr(part, "__dataclass_params__", None), "frozen", False)
    require(frozen, f"{type(part).__name__} is no frozen dataclass")
    require(replace(part) == part == copy.copy(part), f"{part!r} differs from its copy")
    for option in fields(part):
        require(not option.repr or f"{option.name}=" in repr(part), f"repr does not name {option.name!r}: {part!r}")


def travels_as_a_spec(part: Any) -> None:
    """Its spec, through JSON, makes an equal part; that is how it reaches other processes and the record of a run."""
    spec = _spec(part)
    toys = {option.name: getattr(part, option.name) for option in fields(part) if option.name in parts.GIVEN}
    again = parts.make(_folders(type(part)), json.loads(json.dumps(spec)), toys)
    require(again == part, f"{spec!r} makes {again!r} instead of {part!r}")


def _spec(part: Any) -> parts.Spec:
    spec = parts.spec_of(part)
    if spec is None:
        kind = type(part).__name__
        raise AssertionError(f"{kind} has no spec: it must be first in `__all__` of a module in a package")
    return spec


def rejects_unknown_options(part: Any) -> None:
    """A misspelt option is a ConfigError that names the nearest one."""
    cls: type = type(part)
    (name,) = _spec(part)
    own = [option for option in parts.schema(cls) if option not in parts.GIVEN]
    for option in own or ["anything"]:
        try:
            parts.make(_folders(cls), {name: {f"{option}_": 0}})
        except ConfigError as error:
            told = not own or f"did you mean {option!r}" in str(error)
            require(told, f"for the unknown option '{option}_' nobody points to {option!r}, but: {error}")
        else:
            raise AssertionError(f"{name!r} takes the unknown option '{option}_'")


def does_no_work_when_built(part: Any) -> None:
    """Building a part draws no random numbers, changes no global state and touches no file."""
    with TemporaryDirectory() as place, unchanged("building it"):
        replace(part, **_keeping(part, Path(place) / "run"))
        require(not os.listdir(place), f"building {type(part).__name__} leaves files")


def _keeping(part: Any, place: Path) -> dict[str, Path]:
    """The option that makes a part keep its files in another place, if it keeps any."""
    return {"folder": place} if any(option.name == "folder" for option in fields(part)) else {}


def _ambient() -> dict[str, Any]:
    """Everything global that a part could disturb, by name; of torch only where it is loaded."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  # to see that nobody draws from it
    state: dict[str, Any] = {
        "the random state of Python": random.getstate(),
        "the random state of NumPy": (kind, np.asarray(keys).tobytes(), *rest),
        "the working directory": os.getcwd(),
        "the environment": dict(os.environ),
    }
    if "torch" in sys.modules:
        import torch

        state |= {
            "the random state of torch": torch.random.get_rng_state().numpy().tobytes(),
            "torch's default type": torch.get_default_dtype(),
            "torch's default device": torch.get_default_device(),
            "torch's number of threads": torch.get_num_threads(),
            "whether torch keeps gradients": torch.is_grad_enabled(),
            "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        }
    return state


@contextmanager
def unchanged(what: str) -> Iterator[None]:
    """Inside this block no global state may change; `what` is who would be to blame."""
    before = _ambient()
    yield
    after = _ambient()
    changed = [name for name in before if before[name] != after[name]]
    require(not changed, f"{what} changes {' and '.join(changed)}")


# --- families --------------------------------------------------------------------------------------------------------


def some_codes(family: Family, count: int, seed: int = 0) -> list[Code]:
    """The smallest network, the largest, and up to so many random ones."""
    space, rng = family.space, np.random.default_rng(seed)
    return list(dict.fromkeys([space.smallest, space.largest, *(space.sample(rng) for _ in range(count))]))


def _made(family: Family, code: Code) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network with fresh weights in evaluation mode, and two inputs."""
    candidate = Candidate(family, code)
    return candidate.model, candidate.batch(2)


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
        if own == code:
            continue
        with torch.no_grad():
            one, other = (_output(*_by_shape(*_made(family, each))) for each in (code, own))
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


def networks_run(family: Family) -> None:
    """The smallest, the largest and twenty random networks compute finite outputs, one row per input."""
    import torch

    for code in some_codes(family, 20):
        model, inputs = _made(family, code)
        require(isinstance(inputs, tuple) and inputs, "inputs() gives no tuple of tensors")
        require(all(len(x) == 2 for x in inputs), f"inputs(arch, 2) have the shapes {[tuple(x.shape) for x in inputs]}")
        with torch.no_grad():
            require(
                _output(model, inputs).isfinite().all(), f"the network {code} computes something that is not finite"
            )


def parameters_learn(family: Family) -> None:
    """In training, every parameter of a canonical network has a finite gradient."""
    for code in some_codes(family, 6):
        model, inputs = _made(family, family.canonical(code))
        with seeded(0):
            _loss(_output(model.train(), inputs)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            require(gradient is not None, f"{name} of the network {code} is not used, so it cannot learn")
            finite = gradient is not None and gradient.isfinite().all()
            require(finite, f"{name} of the network {code} has a gradient that is not finite")


def builds_repeatably(family: Family) -> None:
    """A build depends on torch's generator alone, shares nothing with another, and has the same tensors on meta."""
    import torch

    from hwnas.weights.share import skeleton, tensors_of

    for code in some_codes(family, 4):
        arch = family.space.decode(code)
        with unchanged("building and feeding a network"):
            (one, inputs), (two, again) = _made(family, code), _made(family, code)
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


def has_a_name(family: Family) -> None:
    """It has a name, and its space holds two networks or more."""
    require(isinstance(family.name, str) and family.name, "a family needs a name")
    require(family.space.size > 1, f"the space of {family.name!r} holds one network, so there is nothing to search")


# --- metrics ---------------------------------------------------------------------------------------------------------


def candidates_for(metric: Metric) -> list[Candidate]:
    """The smallest, the largest and two random networks: of the metric's own family if it has one, else toys."""
    family: Family = getattr(metric, "family", None) or Toy()
    return [Candidate(family, code) for code in some_codes(family, 2)]


def _fresh(part: Any) -> Any:
    """A copy that has computed nothing yet."""
    return replace(part) if hasattr(part, "__dataclass_fields__") else part


def _ready(metric: Metric, candidates: Sequence[Candidate] | None) -> tuple[Any, list[Candidate]]:
    """A metric that was prepared, as a fresh copy; and fresh candidates, of which nothing is built yet."""
    fresh = _fresh(metric)
    if hasattr(fresh, "prepare"):
        fresh.prepare(silent)
    return fresh, [replace(candidate) for candidate in candidates or candidates_for(metric)]


def _reading(result: Any) -> Reading:
    """A metric's answer with its details."""
    return result if isinstance(result, Reading) else Reading(result)


def judges(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """Every value is a plain, finite float; details can be recorded."""
    own, candidates = _ready(metric, candidates)
    for result in map(own, candidates):
        reading = _reading(result)
        require(type(reading.value) is float, f"{reading.value!r} is a {type(reading.value).__name__}, no float")
        require(math.isfinite(reading.value), f"the metric gives {reading.value}")
        try:
            json.dumps(dict(reading.details), allow_nan=False, default=float)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"the details {reading.details!r} cannot be recorded: {error}") from error


def describes_itself(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """`cheap`, `exact`, `exclusive` are true or false and `unit` is text, all of them known without building a part."""
    for flag in ("cheap", "exact", "exclusive"):
        require(isinstance(getattr(type(metric), flag, False), bool), f"`{flag}` of the class is not True or False")
    require(isinstance(getattr(type(metric), "unit", ""), str), "`unit` of the class is no text")
    require(not (_flag(metric, "exact") and _flag(metric, "exclusive")), "what is measured cannot be exact")
    require(not (_flag(metric, "cheap") and _flag(metric, "exclusive")), "what needs a quiet machine is not cheap")


def _flag(metric: Metric, name: str) -> bool:
    return bool(getattr(metric, name, False))


def repeats_itself(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """The same candidates get the same values again, in any order; one that is `exclusive` measures, and is exempt."""
    first, candidates = _ready(metric, candidates)
    if _flag(metric, "exclusive"):
        return
    values = [_reading(first(candidate)) for candidate in candidates]
    second, again = _ready(metric, candidates)
    backwards = [_reading(second(candidate)) for candidate in reversed(again)]
    require(values == backwards[::-1], f"in another order {values} become {backwards[::-1]}")
    require([_reading(second(candidate)) for candidate in again] == values, "asked again, it gives other values")


def judges_many_as_one_by_one(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """`many`, if there is one, answers in order and bit for bit like single calls, since groups differ between runs."""
    own, candidates = _ready(metric, candidates)
    if not hasattr(own, "many"):
        return
    together = own.many([replace(candidate) for candidate in candidates])
    failed = [result for result in together if isinstance(result, BaseException)]
    require(not failed, f"`many` fails where single calls do not: {failed}")
    require(len(together) == len(candidates), f"`many` gives {len(together)} results for {len(candidates)} candidates")
    require(len(own.many([])) == 0, "`many` of nothing is something")
    values = [_reading(result).value for result in together]
    require(all(map(math.isfinite, values)), f"`many` gives {values}")
    if not _flag(own, "exclusive"):
        alone = [_reading(own(candidate)).value for candidate in candidates]
        require(values == alone, f"`many` gives {values}, single calls give {alone}")


def leaves_things_as_found(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """Weights, buffers, gradients, modes, hooks, the supernet and every global state are as they were before."""
    own, candidates = _ready(metric, candidates)
    for candidate in candidates:
        list(candidate.model.children())[-1].train()  # a mixture of modes tells more
        candidate.skeleton, candidate.inputs  # noqa: B018  # built now, to be looked at

    def look() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, candidate in enumerate(candidates):
            for what in ("model", "skeleton"):
                found |= {f"{name} of {what} {number}": x for name, x in _inside(getattr(candidate, what)).items()}
            found |= {f"input {place} of {number}": x.clone() for place, x in enumerate(candidate.inputs)}
        shared = own.weights.tensors() if hasattr(own, "weights") else {}
        return found | {f"{name} of the supernet": tensor.clone() for name, tensor in shared.items()}

    before = look()
    with unchanged("judging"):
        for candidate in candidates:
            own(candidate)
        if hasattr(own, "many"):
            own.many(candidates)
    after = look()
    changed = [name for name in {**before, **after} if not _same(before.get(name), after.get(name))]
    require(not changed, f"judging changes {', '.join(changed[:5])}")


def _inside(model: nn.Module) -> dict[str, Any]:
    """All that a network is, copied: tensors, whether they learn, gradients, modes, hooks and other attributes."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers"):
                for last, tensor in value.items():
                    if tensor is not None:
                        found[f"{name}.{last}"] = tensor.detach().clone()
                        found[f"{name}.{last}.requires_grad"] = tensor.requires_grad
                        found[f"{name}.{last}.grad"] = tensor.grad if tensor.grad is None else tensor.grad.clone()
            else:
                found[f"{name}.{key}"] = tuple(value) if isinstance(value, dict) else value
    return found


def _same(one: Any, other: Any) -> bool:
    import torch

    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return bool(one == other)
    alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    return alike and (one.is_meta or torch.equal(one, other))


def is_exact_if_it_says_so(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """An exact metric depends on the code alone, and a search is given it as `goal.exact`; no other one is."""
    from hwnas import config, experiment

    own, candidates = _ready(metric, candidates)
    written = config.check({"family": candidates[0].family, "goals": {"it": {"min": own}}})
    (goal,) = experiment.prepare(written, Path("nowhere"), estimate=False).goals
    require((goal.exact is not None) == _flag(own, "exact"), "the goal and the metric disagree about `exact`")
    if goal.exact is None:
        return
    for candidate in candidates:
        values = {_reading(own(replace(candidate, seed=seed))).value for seed in (0, 1)} | {goal.exact(candidate.code)}
        require(len(values) == 1, f"{candidate.code} has several exact values: {sorted(values)}")


def never_gives_nan(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """For a network whose weights are NaN it raises, or judges what does not depend on them; NaN is no judgement."""
    import torch

    own, candidates = _ready(metric, candidates)
    candidate = candidates[0]
    with torch.no_grad():
        for parameter in candidate.model.parameters():
            parameter.fill_(math.nan)
    try:
        value = _reading(own(candidate)).value
    except Exception:  # noqa: BLE001  # to raise is right, whatever it is
        return
    require(math.isfinite(value), f"a network of NaN is judged {value}")


def offers_what_it_offers(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """`estimate` gives seconds before anything is prepared, and `confirmed` another metric that works."""
    fresh = _fresh(metric)
    candidate = replace((candidates or candidates_for(metric))[0])
    if hasattr(fresh, "estimate"):
        with unchanged("estimating"):
            seconds = fresh.estimate(candidate)
        require(math.isfinite(seconds) and seconds >= 0, f"a judgement is estimated to take {seconds} s")
    if hasattr(fresh, "confirmed"):
        judges(fresh.confirmed(), [candidate])


# --- searches --------------------------------------------------------------------------------------------------------


@dataclass
class Course:
    """What went over the border between a study and a search, in order."""

    asked: list[Code] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    deliveries: list[list[Trial]] = field(default_factory=list)
    ended: bool = False


def drive(
    search: Search,
    goals: Sequence[Goal] = GOALS,
    space: Space = SPACE,
    judge: Callable[[Code], Values] = judge,
    seed: int = 0,
    budget: int = 100,
    lose: float = 0.0,
    shuffle: bool = False,
    fail: float = 0.0,
    earlier: Sequence[Trial] = (),
    unasked: Sequence[Code] = (),
) -> Course:
    """Plays the study until so many networks were asked for, the search ends, or nothing new comes for a long time.

    What is known is answered again, from memory. A trial over a limit has the values of limited goals only, since the
    others were never measured.

    Args:
        judge: the values of a code by goal.
        budget: distinct codes.
        lose: the share of answers that never come.
        shuffle: answers come in any order, and some of them late.
        fail: the share of trials that fail.
        earlier: a warm start, delivered with the first answer.
        unasked: codes of which one more is delivered with every answer.
    """
    chance = np.random.default_rng([seed, 1])
    steps = search.steps(space, goals, np.random.default_rng(seed))
    course, others = Course(), list(unasked)
    known = {trial.code: trial for trial in earlier}
    limited = [goal.name for goal in goals if goal.limit is not None]

    def tried(code: Code) -> Trial:
        if code not in known:
            trial = Trial(len(known), code, judge(code), "done")
            if chance.random() < fail:
                trial = Trial(trial.number, code, state="failed", error="as planned")
            elif excess(trial, goals) > 0:
                trial = Trial(trial.number, code, {name: trial.values[name] for name in limited}, "over_limit")
            known[code] = trial
        return known[code]

    waiting: list[Trial] = list(earlier)
    seen: set[Code] = set()
    codes, stale = next(steps), 0
    while len(seen) < budget and stale < REPEATS:
        stale = stale + 1 if seen.issuperset(codes) and not waiting else 0
        seen.update(codes)
        course.asked += codes
        waiting += [tried(code) for code in codes if chance.random() >= lose]
        if others:
            waiting.append(tried(others.pop()))
        share = len(waiting)
        if shuffle and waiting:
            waiting = [waiting[i] for i in chance.permutation(len(waiting))]
            share = int(chance.integers(1, len(waiting) + 1))
        delivery, waiting = waiting[:share], waiting[share:]
        course.trials += delivery
        course.deliveries.append(delivery)
        try:
            codes = steps.send(delivery)
        except StopIteration:
            course.ended = True
            break
    return course


def cube(*sizes: int) -> Space:
    """A space of independent choices."""
    return Space("cube", tuple(Choice(f"c{i}", tuple(range(size))) for i, size in enumerate(sizes)))


def rough(code: Code) -> dict[str, float]:
    """Two conflicting goals on any space."""
    return {"accuracy": float(sum(code)) + 0.3 * (code[0] % 2), "latency": float(sum(i * i for i in code))}


_WORDS = tuple("abcdefghijklmnop")
SKEWED = Space(
    "skewed",
    (
        Choice("door", _WORDS),
        Choice("hall", _WORDS, ("door", ("p",))),
        Choice("room", _WORDS, ("hall", ("p",))),
        *(Choice(f"thing{i}", (0, 1, 2, 3), ("room", ("p",))) for i in range(3)),
    ),
)
"""15 of 16 samples are of 15 networks; 64 hide behind three unlikely words and come once in 4096."""

_COURSES: tuple[dict[str, Any], ...] = (
    {},
    {"lose": 0.5},
    {"shuffle": True},
    {"fail": 0.5},
    {"goals": LIMITED},
    {"goals": LIMITED, "lose": 0.3, "shuffle": True, "fail": 0.2},
)


def asks_canonical_codes_once(search: Search) -> None:
    """Every code lies inside the space, is canonical, of plain ints, and asked for once, however answers come."""
    for options in _COURSES:
        asked = drive(search, budget=150, **options).asked
        require(len(set(asked)) >= 150, f"with {options} it stops after {len(set(asked))} of 150 networks")
        require(len(set(asked)) == len(asked), f"with {options} it asks for a network twice")
        for code in asked:
            require(type(code) is tuple and all(type(index) is int for index in code), f"{code!r} is no tuple of ints")
            require(SPACE.canonical(code) == code, f"{code} is not canonical: {SPACE.canonical(code)}")


def replays(search: Search) -> None:
    """The same seed and the same deliveries give the same codes again, which is how a run is resumed."""
    for options in _COURSES:
        course = drive(search, seed=3, budget=120, **options)
        steps = search.steps(SPACE, options.get("goals", GOALS), np.random.default_rng(3))
        asked = list(next(steps))
        for delivery in course.deliveries:
            asked += steps.send(list(delivery))
        require(asked[: len(course.asked)] == course.asked, f"with {options} a replay asks for other networks")
    require(drive(search, seed=4).asked != drive(search, seed=3).asked, "another seed gives the same search")


def more_budget_goes_on(search: Search) -> None:
    """A small budget cuts a search short and changes nothing of what came before."""
    short, long = drive(search, budget=40).asked, drive(search, budget=120).asked
    require(long[: len(short)] == short, "with a larger budget it begins otherwise")


def ignores_the_hash_seed(search: Search) -> None:
    """In a fresh process, with other hashes of strings, it asks for the same networks."""
    script = f"""
import json, sys
from hwnas import parts, testing
search = parts.make("algorithms", json.loads(sys.argv[1]))
print(json.dumps(testing.drive(search, **{_HASHED}).asked))"""
    known = os.environ.get("PYTHONHASHSEED")
    home = os.pathsep.join(sys.path)  # noqa: TID251  # it shall find what is found here
    env = {**os.environ, "PYTHONHASHSEED": "2" if known == "1" else "1", "PYTHONPATH": home}
    command = [sys.executable, "-c", script, json.dumps(_spec(search))]
    told = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    here = json.loads(json.dumps(drive(search, **_HASHED).asked))
    require(json.loads(told) == here, "another process asks for other networks: does the order of a set matter?")


_HASHED: dict[str, Any] = {"budget": 100, "lose": 0.2, "shuffle": True}


def survives_lost_answers(search: Search) -> None:
    """It goes on if half of the answers never come, or all of them, in order or late."""
    for lose in (0.5, 1.0):
        for shuffle in (False, True):
            found = len(set(drive(search, budget=200, lose=lose, shuffle=shuffle).asked))
            require(found >= 200, f"without {lose:.0%} of the answers it stops after {found} networks")


def survives_failures(search: Search) -> None:
    """It goes on if everything fails."""
    found = len(set(drive(search, budget=200, fail=1.0).asked))
    require(found >= 200, f"if everything fails it stops after {found} networks")


def uses_up_small_spaces(search: Search) -> None:
    """It asks for every network of a small space once, and then ends, or asks for nothing new."""
    for sizes in ((1,), (1, 1, 1), (2, 2), (4, 4), (2, 3, 4), (7, 1, 9)):
        for lose in (0.0, 0.5, 1.0):
            space = cube(*sizes)
            asked = drive(search, space=space, judge=rough, budget=1000, lose=lose).asked
            missing = space.size - len(set(asked))
            require(not missing, f"of {space.size} networks it leaves out {missing}, without {lose:.0%} of the answers")
            early = asked[: space.size]
            require(len(set(early)) == len(early), f"it asks twice before all {space.size} networks are known")


def finds_what_is_hardly_ever_sampled(search: Search) -> None:
    """It comes to the end of a space of which most samples are alike."""
    asked = drive(search, space=SKEWED, judge=rough, budget=10_000).asked
    require(set(asked) == set(SKEWED.codes()), f"it finds {len(set(asked))} of {SKEWED.size} networks")


def knows_what_it_is_told(search: Search) -> None:
    """It takes trials that it did not ask for, before and meanwhile, and does not ask for them again."""
    space = cube(3, 3, 3)
    earlier = drive(search, space=space, judge=rough, budget=9, seed=1).trials
    unasked = [code for code in space.codes() if code[0] == 2]
    asked = drive(search, space=space, judge=rough, earlier=earlier, unasked=unasked).asked
    told = {trial.code for trial in earlier}
    require(not told & set(asked), "it asks for networks of the warm start")
    require(told | set(asked) | set(unasked) == set(space.codes()), "it leaves out what nobody has judged")


def needs_nothing_where_all_is_known(search: Search) -> None:
    """A space that a warm start knows whole, judged or failed, is asked for nothing."""
    space = cube(2, 2)
    for state in ("done", "failed"):
        values = rough if state == "done" else lambda code: {}
        earlier = [Trial(i, code, values(code), state) for i, code in enumerate(space.codes())]
        asked = drive(search, space=space, judge=rough, earlier=earlier).asked
        require(not asked, f"all is known, {state}, and it asks for {asked}")


def takes_any_goals(search: Search) -> None:
    """One goal will do, or three, and a goal may be nothing but a limit."""
    third = Goal("spread", lambda candidate: float(np.ptp(candidate.code)), "min")
    bound = Goal("latency", latency, "min", limit=20.0, objective=False)
    for goals in (GOALS[:1], (*GOALS, third), (bound, GOALS[0])):
        asked = drive(search, goals, judge=lambda code: {**judge(code), "spread": float(np.ptp(code))}).asked
        require(
            len(asked) >= 100, f"with the goals {[goal.name for goal in goals]} it stops after {len(asked)} networks"
        )


def leaves_randomness_alone(search: Search) -> None:
    """It draws from its own generator only, and changes nothing global."""
    drive(search, budget=10)  # what it imports may set something up
    with unchanged("searching"):
        drive(search, budget=60)


@contextmanager
def _study(goals: Sequence[Goal]) -> Iterator[Callable[[], Study]]:
    """A record in a folder that goes away, and the study of it, opened as often as one likes."""
    from hwnas.records import Records, sqlite_url
    from hwnas.study import Study
    from hwnas.workers import Bench, Setup

    with TemporaryDirectory() as place:
        records = Records(sqlite_url(Path(place) / "study.db"))
        records.create("main", {})
        try:
            yield lambda: Study(Bench(Setup(Toy())), goals, records.open("main"))
        finally:
            records.close()


def keeps_to_the_budget(search: Search) -> None:
    """In a real study it spends the budget exactly; stopped and resumed with more, it finds what one go would find."""
    from hwnas.workers import Here

    def run(opened: Study, budget: int, asynchronous: bool) -> list[Code]:
        workers = Here(opened.bench)
        trials = opened.search(search, budget, workers, asynchronous=asynchronous, identity="one")
        require(len(trials) == budget, f"with a budget of {budget} it judges {len(trials)} networks")
        require(all(trial.finished for trial in trials), "it leaves trials unfinished")
        return [trial.code for trial in trials]

    for goals in (GOALS, LIMITED):
        with _study(goals) as whole, _study(goals) as halves, _study(goals) as free:
            run(halves(), 31, asynchronous=False)
            resumed = run(halves(), 60, asynchronous=False)
            require(len(halves().run.facts()["epochs"]) == 1, "the resumed search does not repeat itself")
            require(resumed == run(whole(), 60, asynchronous=False), "a search that was stopped finds something else")
            run(free(), 60, asynchronous=True)


def beats_random(search: Search) -> None:
    """On the toy problem it finds at least what random search finds: the mean hypervolume over six seeds."""
    blind: Search = parts.make("algorithms", "random")
    ours, theirs = (
        np.mean([volume(drive(each, seed=seed, budget=200).trials[:200]) for seed in range(6)])
        for each in (search, blind)
    )
    require(ours >= theirs, f"it finds a hypervolume of {ours:.4g}, random search finds {theirs:.4g}")


# --- data ------------------------------------------------------------------------------------------------------------


@contextmanager
def _elsewhere(part: Any, **changes: Any) -> Iterator[Any]:
    """A fresh copy with some options changed; one that keeps files keeps them in a folder that goes away."""
    with TemporaryDirectory() as place:
        yield replace(part, **_keeping(part, Path(place)), **changes)


_SPLITS: tuple[Part, ...] = ("train", "val", "test")


def _contents(data: Data) -> list[bytes]:
    """The three splits as bytes: images and labels."""
    splits = [data.split(part) for part in _SPLITS]
    return [tensor.numpy().tobytes() for split in splits for tensor in (split.images, split.labels)]


def splits_hold_images(data: Data) -> None:
    """All three splits hold uint8 images of one shape with labels of every class."""
    import torch

    require(isinstance(data.name, str) and data.name, "a data set needs a name")
    require(len(set(data.classes)) == len(data.classes) >= 2, f"two classes or more, none twice, not {data.classes!r}")
    for part in _SPLITS:
        split = data.split(part)
        require(split.images.dtype == torch.uint8, f"images of {part} are {split.images.dtype}")
        require(tuple(split.images.shape[1:]) == tuple(data.shape), f"images of {part} have not the shape {data.shape}")
        require(split.labels.dtype == torch.int64, f"labels of {part} are {split.labels.dtype}")
        require(len(split) == len(split.images) == len(split.labels) > 0, f"{part} has not one label per image")
        found = sorted(set(split.labels.tolist()))
        require(found == list(range(len(data.classes))), f"{part} has the labels {found}, not one of every class")


def splits_are_disjoint(data: Data) -> None:
    """No image is in two splits."""
    kept: dict[bytes, str] = {}
    for part in _SPLITS:
        for image in data.split(part).images:
            other = kept.setdefault(image.numpy().tobytes(), part)
            require(other == part, f"an image is in {other} and in {part}")


def splits_are_stable(data: Data) -> None:
    """A fresh copy of the data set has the same images in the same order, and the same fingerprint."""
    with _elsewhere(data) as again, unchanged("reading the data"):
        require(_contents(again) == _contents(data), "read again, the splits differ")
        require(again.fingerprint == data.fingerprint, "read again, the fingerprint differs")
        require(data.split("val") is data.split("val"), "every call of split() reads anew")


def keeps_its_splits_when_asked(data: Data) -> None:
    """Reading leaves no files; `keep` may, and whoever comes later to the same folder finds the same splits."""
    with TemporaryDirectory() as place:
        own = replace(data, **_keeping(data, Path(place)))  # type: ignore[type-var]  # a dataclass, as all parts
        contents = _contents(own)
        require(not os.listdir(place), "reading the data leaves files")
        own.keep()
        own.keep()
        again = replace(own)  # type: ignore[type-var]
        same = _contents(again) == contents and again.fingerprint == own.fingerprint
        require(same, "what `keep` has kept is not what is found again")


def the_fingerprint_tells(data: Data) -> None:
    """The fingerprint is sixteen hex digits, and another one wherever an option changes an image or a split."""
    _require_fingerprint(data.fingerprint)
    contents = _contents(data)
    for option in fields(data):  # type: ignore[arg-type]  # a dataclass, as all parts
        value = getattr(data, option.name)
        if option.name in parts.GIVEN or type(value) is not int:
            continue
        with _elsewhere(data, **{option.name: value + 1}) as other:
            same = other.fingerprint == data.fingerprint
            require(
                not same or _contents(other) == contents, f"another {option.name!r} leaves the fingerprint as it is"
            )


def _require_fingerprint(text: str) -> None:
    good = len(text) == 16 and set(text) <= set("0123456789abcdef")
    require(good, f"a fingerprint is sixteen hex digits, not {text!r}")


def moments_are_those_of_train(data: Data) -> None:
    """Mean and deviation are those of the training images by channel, on the scale 0 ... 1."""
    import torch

    images = data.split("train").images.double() / 255
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3), correction=0).clamp(min=1 / 255)
    for what, found, known in (("mean", data.mean, mean), ("deviation", data.std, std)):
        close = torch.allclose(torch.tensor(found, dtype=torch.float64), known, rtol=1e-6, atol=1e-9)
        require(close, f"the {what} is {found}, that of the training images {tuple(known.tolist())}")


# --- weights ---------------------------------------------------------------------------------------------------------


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
    with _elsewhere(weights) as own:
        with unchanged("preparing"):
            own.prepare(silent)
        found = own.tensors()
        require({name: tuple(x.shape) for name, x in found.items()} == wanted, "the tensors are not the supernet's")
        wild = [name for name, tensor in found.items() if not tensor.isfinite().all()]
        require(not wild, f"{', '.join(wild[:3])} hold values that are not finite")


def weights_are_kept(weights: Weights) -> None:
    """Before `prepare` there are none; afterwards any process finds them, and preparing again changes nothing."""
    with _elsewhere(weights) as own:
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
    _require_fingerprint(weights.fingerprint)
    with _elsewhere(weights) as own:
        require(own.fingerprint == weights.fingerprint, "the fingerprint depends on the folder")
    if hasattr(weights, "seed"):
        with _elsewhere(weights, seed=weights.seed + 1) as other:
            require(other.fingerprint != weights.fingerprint, "another seed leaves the fingerprint as it is")


def interrupted_weights_go_on(weights: Weights) -> None:
    """Interrupted at any report and resumed, `prepare` ends with the very tensors of an uninterrupted one."""
    with _elsewhere(weights) as own:
        reports: list[Progress] = []
        own.prepare(reports.append)
        whole = _tensors(own)
    for stop in sorted({1, len(reports) // 2, len(reports)} if reports else ()):
        with _elsewhere(weights) as own:
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


# --- runtimes and formats --------------------------------------------------------------------------------------------


def _network() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A toy network with every kind of branch, and two inputs."""
    return _made(Toy(), SPACE.largest)


def loads_and_runs(runtime: Runtime) -> None:
    """A loaded network runs again and again, knows its size in bytes, and leaves network and process as they were."""
    model, inputs = _network()
    model.train()
    before = _inside(model)
    with unchanged("loading and running"):
        session = runtime.load(model, inputs, 1)
        for _ in range(3):
            session()
    after = _inside(model)
    changed = [name for name in {**before, **after} if not _same(before.get(name), after.get(name))]
    require(not changed, f"loading and running changes {', '.join(changed[:5])}")
    require(type(session.size) is int and session.size > 0, f"a network has a size in bytes, not {session.size!r}")


def names_its_version(runtime: Runtime) -> None:
    """The version is a name and a number."""
    name, _, number = runtime.version.partition(" ")
    require(name and number[:1].isdigit(), f"a version is a name and a number, not {runtime.version!r}")


def opens_files_or_says_why_not(runtime: Runtime) -> None:
    """Every file is opened and runs, or is an ExportError: one of ours, one that is damaged, one that is not there."""
    model, inputs = _network()
    with TemporaryDirectory() as place:
        damaged = Path(place) / "damaged.onnx"
        damaged.write_bytes(b"nothing of the kind")
        paths = [damaged, Path(place) / "missing.onnx"]
        for name in parts.names("formats"):
            format: Format = parts.make("formats", name)
            paths.append(Path(place) / f"network{format.suffix}")
            format.write(model, inputs, paths[-1], {})
        for path in paths:
            try:
                session = runtime.open(path, inputs, 1)
            except ExportError:
                continue
            require(path not in paths[:2], f"{path.name} is opened as if it were a network")
            session()
            require(session.size == path.stat().st_size, f"{path.name} has a size of {session.size}")


def computes_the_same(format: Format) -> None:
    """What the file computes is what the network computes, for one input and for several."""
    from hwnas.formats._parity import parity

    candidate = Candidate(Toy(), SPACE.largest)
    with TemporaryDirectory() as place:
        path = Path(place) / f"network{format.suffix}"
        with unchanged("writing"):
            format.write(candidate.model, candidate.batch(2), path, {})
        try:
            parity(format, path, candidate.model, [candidate.batch(2), candidate.batch(1), candidate.batch(5)])
        except ExportError as error:
            raise AssertionError(str(error)) from error


def keeps_metadata(format: Format) -> None:
    """What is stored beside the weights comes back as it was."""
    model, inputs = _network()
    notes = {"code": "[0, 1]", "unit": "µs", "empty": "", "accuracy": repr(0.1 + 0.2)}
    with TemporaryDirectory() as place:
        path = Path(place) / f"network{format.suffix}"
        format.write(model, inputs, path, notes)
        found = dict(format.metadata(path))
    require(found == notes, f"{notes} come back as {found}")


def writes_whole_files_or_none(format: Format) -> None:
    """A network that cannot be written leaves no file, and an old one as it was; one that can replaces it."""
    from torch import nn

    require(format.suffix.startswith(".") and len(format.suffix) > 1, f"{format.suffix!r} is no end of a file's name")
    model, inputs = _network()
    misfit = nn.Linear(1, 1)
    with TemporaryDirectory() as place:
        path = Path(place) / f"network{format.suffix}"
        for old in (None, b"old"):
            if old is not None:
                path.write_bytes(old)
            try:
                format.write(misfit, inputs, path, {})
            except ExportError:
                pass
            else:
                raise AssertionError("a network that cannot run is written all the same")
            left = [file.read_bytes() for file in Path(place).iterdir()]
            require(left == ([] if old is None else [old]), "a failed attempt leaves something behind")
        training = [part.training for part in model.train().modules()]
        format.write(model, inputs, path, {})
        require([part.training for part in model.modules()] == training, "writing changes the mode of the network")
        require(os.listdir(place) == [path.name] and path.read_bytes() != b"old", "the old file is not replaced")
        folder = Path(place) / f"taken{format.suffix}"
        folder.mkdir()
        try:
            format.write(model, inputs, folder, {})
        except (OSError, ExportError):
            require(
                sorted(os.listdir(place)) == sorted([path.name, folder.name]), "a broken write leaves a draft behind"
            )
        else:
            raise AssertionError("a folder is overwritten by a file")


# --- all of it -------------------------------------------------------------------------------------------------------

PART: tuple[Check, ...] = (
    is_described,
    names_its_options,
    is_frozen,
    travels_as_a_spec,
    rejects_unknown_options,
    does_no_work_when_built,
)
"""What every part promises."""
FAMILY: tuple[Check, ...] = (
    has_a_name,
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
METRIC: tuple[Check, ...] = (
    judges,
    describes_itself,
    repeats_itself,
    judges_many_as_one_by_one,
    leaves_things_as_found,
    is_exact_if_it_says_so,
    never_gives_nan,
    offers_what_it_offers,
)
SEARCH: tuple[Check, ...] = (
    asks_canonical_codes_once,
    replays,
    more_budget_goes_on,
    ignores_the_hash_seed,
    survives_lost_answers,
    survives_failures,
    uses_up_small_spaces,
    finds_what_is_hardly_ever_sampled,
    knows_what_it_is_told,
    needs_nothing_where_all_is_known,
    takes_any_goals,
    leaves_randomness_alone,
    keeps_to_the_budget,
    beats_random,
)
DATA: tuple[Check, ...] = (
    splits_hold_images,
    splits_are_disjoint,
    splits_are_stable,
    keeps_its_splits_when_asked,
    the_fingerprint_tells,
    moments_are_those_of_train,
)
WEIGHTS: tuple[Check, ...] = (
    weights_fit_the_family,
    weights_are_kept,
    the_fingerprint_tells_of_weights,
    interrupted_weights_go_on,
)
RUNTIME: tuple[Check, ...] = (loads_and_runs, names_its_version, opens_files_or_says_why_not)
FORMAT: tuple[Check, ...] = (computes_the_same, keeps_metadata, writes_whole_files_or_none)

_PROMISES: Mapping[str, tuple[Check, ...]] = {
    "families": FAMILY,
    "quality": METRIC,
    "hardware": METRIC,
    "algorithms": SEARCH,
    "data": DATA,
    "weights": WEIGHTS,
    "runtimes": RUNTIME,
    "formats": FORMAT,
}


def checks_of(cls: type) -> tuple[Check, ...]:
    """All checks for the parts of a class, in order: those of every part, then those of its protocol."""
    folders = _folders(cls)
    require(folders, f"{cls.__name__} inherits from no protocol of hwnas, such as Family, Metric or Search")
    return (*PART, *_PROMISES[folders[0]])


def check(part: Any) -> None:
    """Holds a part to all that it promises.

    Raises:
        AssertionError: the first promise that is broken.
    """
    for promise in checks_of(type(part)):
        promise(part)


def check_part(part: Any) -> None:
    """Holds any part to what every part promises."""
    _hold(PART, part)


def check_family(family: Family) -> None:
    """Holds a family to its protocol; a small one, since every network is built and run several times."""
    _hold(FAMILY, family)


def check_metric(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """Holds a metric to its protocol, by candidates of one's own choice or by toys."""
    for promise in METRIC:
        promise(metric, candidates)


def check_search(search: Search) -> None:
    """Holds a search to its protocol."""
    _hold(SEARCH, search)


def check_data(data: Data) -> None:
    """Holds a data set to its protocol."""
    _hold(DATA, data)


def check_weights(weights: Weights) -> None:
    """Holds a source of weights to its protocol; they are made several times, each in a folder that goes away."""
    _hold(WEIGHTS, weights)


def check_runtime(runtime: Runtime) -> None:
    """Holds a runtime to its protocol."""
    _hold(RUNTIME, runtime)


def check_format(format: Format) -> None:
    """Holds a format to its protocol."""
    _hold(FORMAT, format)


def _hold(promises: Iterable[Check], part: Any) -> None:
    for promise in promises:
        promise(part)
