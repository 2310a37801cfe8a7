"""A network as a table of Layer rows: what every executed operation computes, moves and owns.

The network runs once on torch's meta device, where tensors have shapes but no storage, while every operation passes
through a recorder. Functional calls, products of plain parameters and attention are therefore rows like everything
else, whatever module they stand in.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[int, ...]

OPS = {
    "conv": r"_?conv(_transpose)?[123]d|_?convolution",
    "linear": r"linear|addmm|mm|addmv|mv",
    "matmul": r"bmm|baddbmm|dot|vdot",
    "attention": r"_?scaled_dot_product_.*attention.*",
    "norm": r".*(batch|layer|group|instance|rms)_norm.*",
    "activation": r"r?relu6?|leaky_relu|_?prelu.*|[csg]?elu|silu|mish|hard(tanh|swish|sigmoid|shrink)|sigmoid|tanh|glu"
    r"|softplus|softshrink|log_sigmoid.*|threshold",
    "softmax": r"_?(log_|safe_)?softmax",
    "pool": r".*(max|avg)_pool[123]d.*",
    "add": r"add|sub|rsub",
    "mul": r"mul|div",
    "reduce": r"mean|sum|prod|a?(max|min)|arg(max|min)|(var|std)(_mean)?|logsumexp|cumsum|any|all|.*vector_norm",
    "embedding": r"_?embedding.*",
    "gather": r"gather|index|index_select|take|take_along_dim",
    "resize": r"_?upsample.*|grid_sampler.*",
    "elementwise": r".*dropout",
    "concat": r"cat|stack",
    "copy": r"clone|copy|_to_copy|repeat|roll|flip|.*_pad(_?[123]?n?d)?|pixel_(un)?shuffle|channel_shuffle|im2col",
    "create": r"(new_)?(zeros|ones|full)(_like)?|arange|fill|zero|scalar_tensor|(rand|normal|bernoulli).*",
    "nothing": r"(new_)?empty(_like|_strided|_permuted)?|lift_fresh",
}
"""The vocabulary of `Layer.op` and which ATen operations each word stands for; the first match counts. What matches
none is "elementwise" if PyTorch tags it as pointwise, else "other"; "nothing" moves no data and makes no row."""


@dataclass(frozen=True)
class Layer:
    """One executed operation.

    Args:
        name: the module that executed it, so that `model.get_submodule(name)` finds it; "" is the network itself.
        op: a word of `OPS`, "elementwise" or "other".
        inputs: shapes of what flows in, without parameters and buffers.
        output: shape of the (first) result.
        macs: multiply-accumulates of conv, linear, matmul and attention, biases free; 0 for everything else.
        params: elements of the parameters that are used here for the first time.
        bytes: what is read and written: inputs, parameters, buffers and results.
        options: `function`, the ATen name; for conv and pool also kernel, stride, padding, dilation and groups.
    """

    name: str
    op: str
    inputs: tuple[Shape, ...]
    output: Shape
    macs: int = 0
    params: int = 0
    bytes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


def macs(rows: Iterable[Layer]) -> int:
    """The multiply-accumulates of all rows; one is two FLOP."""
    return sum(row.macs for row in rows)


def params(rows: Iterable[Layer]) -> int:
    """The number of elements of all parameters that the forward pass uses, each counted once."""
    return sum(row.params for row in rows)


def table(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[Layer, ...]:
    """Every operation of one forward pass in evaluation mode, in the order of execution.

    No weight is copied or computed with, and the model is left as it was found. A forward pass that looks at values
    (`if x.sum() > 0`) cannot do without storage and is run for real. Views and reshapes make no row.

    Args:
        model: on any device; one on the meta device suffices.
        inputs: the arguments of `model`; all counts are for their batch size.
    """
    import torch

    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    weightless = {name: tensor.to("meta") for name, tensor in {**parameters, **buffers}.items()}
    try:
        with nullcontext() if torch.get_default_device().type == "meta" else torch.device("meta"):
            return _record(model, weightless, parameters, [x.to("meta") for x in inputs])
    except (RuntimeError, TypeError):
        if any(tensor.is_meta for tensor in (*parameters.values(), *buffers.values(), *inputs)):
            raise
    own = {**parameters, **{name: tensor.clone() for name, tensor in buffers.items()}}
    return _record(model, own, parameters, [x.clone() for x in inputs])


def _record(
    model: nn.Module, tensors: Mapping[str, Tensor], parameters: Iterable[str], inputs: Sequence[Tensor]
) -> tuple[Layer, ...]:
    """Runs the model on the given tensors in place of its own and writes down what passes.

    Inference mode is essential: it alone lets `linear`, `batch_norm`, attention and their like pass whole, before
    PyTorch takes them apart.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    rows: list[Layer] = []
    unseen = dict.fromkeys(map(_storage, tensors.values()), 0)
    for name in parameters:
        unseen[_storage(tensors[name])] += tensors[name].numel()

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch has no types here
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kind, kwargs = _kind(func), kwargs or {}
            if not kind.known:
                with self:
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            if kind.keeps and args[0].is_meta and args[0].is_contiguous():
                result = args[0] if kind.mutable else args[0].new_empty(args[0].shape)
            else:
                result = func(*args, **kwargs)
            reads, writes = list(_tensors((args, kwargs))), list(_tensors(result))
            homes = [_storage(tensor) for tensor in reads]
            moved = kind.mutable or any(_storage(tensor) not in homes for tensor in writes)
            if kind.op == "nothing" or not moved:
                return result
            new = 0
            for home in unseen.keys() & homes:
                new, unseen[home] = new + unseen[home], 0
            options = {"function": kind.function, **_window(kind, args, kwargs)}
            rows.append(
                Layer(
                    name=running[-1],
                    op=kind.op,
                    inputs=tuple(tuple(x.shape) for x, home in zip(reads, homes, strict=True) if home not in unseen),
                    output=tuple(writes[0].shape),
                    macs=_macs(kind, options, args, writes[0]),
                    params=new,
                    bytes=_bytes(kind, reads, writes),
                    options=options,
                )
            )
            return result

    recorder = Recorder()  # type: ignore[no-untyped-call]
    with _followed(model) as running, torch.random.fork_rng(devices=[]), torch.inference_mode(), recorder:
        torch.func.functional_call(model, dict(tensors), tuple(inputs))
    return tuple(rows)


@contextmanager
def _followed(model: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that are running, outermost first; meanwhile the model is in evaluation mode.

    Afterwards every attribute of every module is what it was: hooks, the training flag, and what a forward pass may
    have kept, such as a table of positions.
    """
    from torch.backends import mha

    names = {module: name for name, module in model.named_modules()}
    attributes = [(vars(module), vars(module).copy()) for module in names]
    running, fused = [""], mha.get_fastpath_enabled()

    def enter(module: nn.Module, _: Any) -> None:
        running.append(names[module])

    def leave(*_: Any) -> None:
        running.pop()

    hooks = [module.register_forward_pre_hook(enter) for module in names]
    hooks += [module.register_forward_hook(leave, always_call=True) for module in names]
    try:
        mha.set_fastpath_enabled(False)  # one opaque operation for a whole attention layer, and not on every device
        if any(module.training for module in names):
            model.eval()
        yield running
    finally:
        mha.set_fastpath_enabled(fused)
        for hook in hooks:
            hook.remove()
        for now, before in attributes:
            now.clear()
            now.update(before)


@dataclass(frozen=True)
class _Kind:
    """What the recorder needs to know about an ATen operation."""

    op: str
    function: str
    arguments: Mapping[str, Any]
    """Names and defaults, in order."""
    mutable: bool
    known: bool
    """Unknown operations are taken apart first, if they are made of others."""
    keeps: bool
    """The result is like the first argument; PyTorch takes up to 1 ms to find that out on the meta device."""


@functools.cache
def _kind(func: Any) -> _Kind:
    import torch

    schema = func._schema
    space, _, name = schema.name.partition("::")
    function = name.rstrip("_")
    known = next((op for op, pattern in OPS.items() if space == "aten" and re.fullmatch(pattern, function)), "")
    return _Kind(
        op=known or ("elementwise" if torch.Tag.pointwise in func.tags else "other"),
        function=function,
        arguments={argument.name: argument.default_value for argument in schema.arguments},
        mutable=schema.is_mutable and torch.Tag.inplace_view not in func.tags,
        known=bool(known),
        keeps=known in ("norm", "activation") and function != "glu" and len(schema.returns) == 1,
    )


def _macs(kind: _Kind, options: Mapping[str, Any], args: Sequence[Any], output: Tensor) -> int:
    if kind.op == "conv":
        # every output pixel gathers, or every input pixel of a transposed one scatters, one kernel per channel pair
        pixels: Tensor = args[0] if options["transposed"] else output
        weight: Tensor = args[1]
        return pixels.numel() * math.prod(weight.shape[1:])
    if kind.op in ("linear", "matmul"):
        left: Tensor = args[1] if "add" in kind.function else args[0]
        return output.numel() * left.shape[-1]
    if kind.op == "attention":
        query, key, value = args[:3]
        scores: int = query.numel() // query.shape[-1] * key.shape[-2]
        return scores * int(query.shape[-1] + value.shape[-1])
    return 0


def _bytes(kind: _Kind, reads: Sequence[Tensor], writes: Sequence[Tensor]) -> int:
    if kind.op in ("embedding", "gather"):
        # of a table only the rows that are looked up are read
        table, *reads = reads
        rows = reads[0].numel() * table.shape[-1] if kind.op == "embedding" else writes[0].numel()
        looked_up = rows * table.element_size()
    else:
        looked_up = 0
    distinct = {id(tensor): tensor for tensor in reads}.values()
    return looked_up + sum(map(_size, distinct)) + sum(map(_size, writes))


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor's elements, those of an expanded dimension once."""
    sides = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * math.prod(side for side, stride in sides if stride)


def _window(kind: _Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """How the kernel of a convolution or a pooling moves, one number per spatial dimension."""
    given = {**kind.arguments, **dict(zip(kind.arguments, args, strict=False)), **kwargs}
    if kind.op == "conv":
        kernel = tuple(given["weight"].shape[2:])
        groups = {"groups": given["groups"], "transposed": given.get("transposed", "transpose" in kind.function)}
    elif kind.op == "pool" and "kernel_size" in given:  # an adaptive pool has none: it follows from the shapes
        kernel = _sides(given["kernel_size"], int(kind.function.partition("pool")[2][0]))
        groups = {}
    else:
        return {}
    dilation, padding = _sides(given.get("dilation", 1), len(kernel)), given["padding"]
    if padding == "same":
        padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    return {
        "kernel": kernel,
        "stride": _sides(given["stride"] or kernel, len(kernel)),
        "padding": _sides(0 if padding == "valid" else padding, len(kernel)),
        "dilation": dilation,
        **groups,
    }


def _sides(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) == 1 else values


def _storage(tensor: Tensor) -> int:
    """What a tensor shares with its views and with nothing else."""
    return int(tensor.untyped_storage()._cdata)


def _tensors(value: Any) -> Iterator[Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
