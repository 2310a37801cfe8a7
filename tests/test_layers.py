"""The layer table against PyTorch's own FLOP counter, closed forms and the promise to leave models alone."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.layers import Layer, macs, params, table


class Residual(nn.Module):
    """Grouped and dilated convolutions with a shortcut, then back up by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, stride=2, padding=3)
        self.norm = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=4, bias=False)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1, output_padding=1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.norm(self.stem(x)).relu_(), 3, stride=2, padding=1)
        x = self.up(x + self.grouped(x))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """Self-attention over fewer key heads than query heads, then a softmax written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, 4, 8).transpose(1, 2)
        k, v = self.kv(x).view(batch, length, 2, 2, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        scores = torch.softmax(y @ y.transpose(-2, -1) / 8**0.5, dim=-1)
        return (scores @ y).transpose(1, 2).reshape(batch, length, 32)


class Functional(nn.Module):
    """No module below it: plain parameters, bmm, einsum and functional layers."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 12))
        self.bias = nn.Parameter(torch.randn(12))
        self.experts = nn.Parameter(torch.randn(3, 12, 4))
        self.unused = nn.Parameter(torch.randn(99))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(F.linear(x, self.w.t(), self.bias))
        x = x.view(3, -1, 12)
        y = torch.bmm(x, self.experts) + torch.einsum("eni,eio->eno", x, self.experts)
        y = torch.baddbmm(y, x, self.experts)
        y = y.flatten(0, 1)
        return torch.addmm(y, y @ y.t(), y).sigmoid()


class Recurrent(nn.Module):
    """Token embeddings and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(1000, 4)
        self.lstm = nn.LSTM(4, 6, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        return self.lstm(self.tokens(ids))[0][:, -1]


def mobilenet() -> nn.Module:
    family = MobileNetV3(classes=10, resolution=48, width=0.5)
    return family.build(family.space.decode(family.space.sample(np.random.default_rng(3))))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, dim_feedforward=24, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mobilenetv3": (mobilenet, (2, 3, 48, 48)),
    "residual": (Residual, (2, 3, 33, 33)),
    "encoder": (encoder, (2, 5, 16)),
    "attention": (Attention, (2, 7, 32)),
    "functional": (Functional, (9, 6)),
}


def flop_counter_macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """An independent count: PyTorch's, on the meta device, where attention is taken apart into products."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(model).eval().to("meta")(*(x.to("meta") for x in inputs))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", NETS)
def test_macs_equal_the_flop_counter(name: str) -> None:
    make, shape = NETS[name]
    model, inputs = make(), (torch.randn(shape),)
    rows = table(model, inputs)
    assert macs(rows) == flop_counter_macs(model, inputs) > 0
    assert {row.op for row in rows if row.macs} <= {"conv", "linear", "matmul", "attention"}


def test_macs_of_an_lstm() -> None:
    rows = table(Recurrent(), (torch.zeros(2, 3, dtype=torch.int64),))
    assert macs(rows) == 2 * 3 * (4 + 6) * 4 * 6  # batch x steps x (inputs + state) x gates
    assert params(rows) == 1000 * 4 + 4 * 6 * (4 + 6 + 2)


@pytest.mark.parametrize("seed", range(20))
def test_convolutions_of_every_kind(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides, groups, transposed = int(rng.integers(1, 4)), int(rng.integers(1, 4)), bool(rng.integers(2))
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, 4, sides)) for _ in range(3))
    kind = f"Conv{'Transpose' if transposed else ''}{sides}d"
    conv = getattr(nn, kind)(2 * groups, 3 * groups, kernel, stride, 2, groups=groups, dilation=dilation)
    batch = () if seed % 5 == 0 else (2,)
    inputs = (torch.randn(*batch, 2 * groups, *(int(v) for v in rng.integers(7, 12, sides))),)
    (row,) = table(conv, inputs)
    output = conv(*inputs)
    if batch:  # the counter takes the channels of an unbatched input for its batch
        assert row.macs == flop_counter_macs(conv, inputs)
    pixels = math.prod((inputs[0] if transposed else output).shape[-sides:])
    assert row.macs == pixels * math.prod(kernel) * 2 * 3 * groups * (batch or (1,))[0]
    assert (row.inputs, row.output) == ((tuple(inputs[0].shape),), tuple(output.shape))
    assert row.params == sum(p.numel() for p in conv.parameters())
    assert row.bytes == 4 * (inputs[0].numel() + row.params + output.numel())
    expected = {"kernel": kernel, "stride": stride, "padding": (2,) * sides, "dilation": dilation, "groups": groups}
    assert expected.items() <= row.options.items() and row.options["transposed"] is transposed


def test_attention_counts_both_products() -> None:
    class Cross(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v)

    (row,) = table(Cross(), (torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 4)))
    assert row.op == "attention"
    assert row.macs == 2 * 3 * 5 * 7 * (8 + 4)
    assert row.output == (2, 3, 5, 4)


def test_rows_of_a_small_network() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same", bias=False),
        nn.BatchNorm2d(4),
        nn.Hardswish(),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
        nn.Softmax(-1),
    )
    rows = table(net, (torch.randn(1, 3, 8, 8),))
    image, wide, half = 3 * 64, 4 * 64, 4 * 16
    window = {"stride": (1, 1), "dilation": (1, 1)}
    assert rows == (
        Layer(
            *("0", "conv", ((1, 3, 8, 8),), (1, 4, 8, 8), 4 * 27 * 64, 108, 4 * (image + 108 + wide)),
            window | {"function": "conv2d", "kernel": (3, 3), "padding": (1, 1), "groups": 1, "transposed": False},
        ),
        Layer(*("1", "norm", ((1, 4, 8, 8),), (1, 4, 8, 8), 0, 8, 4 * (2 * wide + 16)), {"function": "batch_norm"}),
        Layer("2", "activation", ((1, 4, 8, 8),), (1, 4, 8, 8), 0, 0, 4 * 2 * wide, {"function": "hardswish"}),
        Layer(
            *("3", "pool", ((1, 4, 8, 8),), (1, 4, 4, 4), 0, 0, 4 * (wide + half)),
            window | {"function": "max_pool2d", "kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)},
        ),
        Layer("5", "pool", ((1, 4, 4, 4),), (1, 4, 1, 1), 0, 0, 4 * (half + 4), {"function": "adaptive_avg_pool2d"}),
        Layer("7", "linear", ((1, 4),), (1, 2), 8, 10, 4 * (4 + 10 + 2), {"function": "linear"}),
        Layer("8", "softmax", ((1, 2),), (1, 2), 0, 0, 4 * 4, {"function": "softmax"}),
    )


def test_names_are_those_of_the_executing_modules() -> None:
    model = Residual()
    names = [row.name for row in table(model, (torch.randn(1, 3, 33, 33),))]
    assert names == ["stem", "norm", "", "", "grouped", "", "up", "", "head"]
    encoder_rows = table(encoder(), (torch.randn(1, 5, 16),))
    assert {row.name for row in encoder_rows if row.op == "attention"} == {"layers.0.self_attn", "layers.1.self_attn"}


def test_parameters_count_once_at_their_first_use() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(10, 4)
            self.block = nn.Linear(4, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.tokens.weight
            self.unused = nn.Linear(3, 3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.block(self.block(self.tokens(ids))))

    rows = table(Tied(), (torch.arange(3),))
    assert [(row.name, row.params) for row in rows] == [("tokens", 40), ("block", 20), ("block", 0), ("head", 0)]
    assert rows[0].bytes == 3 * 8 + 2 * 3 * 4 * 4  # ids, and only the rows that are looked up
    assert params(table(Functional(), (torch.randn(9, 6),))) == 6 * 12 + 12 + 3 * 12 * 4


def test_views_make_no_row_and_copies_do() -> None:
    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.view(2, 3, 4).transpose(1, 2)[:, :2].unsqueeze(0).squeeze(0).expand(2, 2, 3)
            y = torch.empty_like(y.contiguous()).copy_(y)
            return F.dropout(y, training=self.training).reshape(-1).relu_()

    rows = table(Shuffle(), (torch.randn(2, 12),))
    assert [(row.op, row.bytes) for row in rows] == [("copy", 96), ("copy", 144), ("activation", 96)]


def test_bytes_follow_the_type_and_skip_repeats() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + x) * x[:, :1].expand(4, 8)

    rows = table(Twice(), (torch.randn(4, 8, dtype=torch.float16),))
    assert [(row.op, row.bytes) for row in rows] == [("add", 2 * 64), ("mul", 2 * (32 + 4 + 32))]


@pytest.mark.parametrize("name", NETS)
def test_a_model_without_storage_gives_the_same_table(name: str) -> None:
    make, shape = NETS[name]
    model = make()
    assert table(copy.deepcopy(model).to("meta"), (torch.empty(shape, device="meta"),)) == table(
        model, (torch.randn(shape),)
    )


class Restless(nn.Module):
    """Writes buffers, keeps a cache and, if told to, looks at values or fails."""

    def __init__(self, looks: bool = False, fails: bool = False) -> None:
        super().__init__()
        self.norm, self.noisy = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.cache: Tensor | None = None
        self.looks, self.fails = looks, fails

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.cache = torch.arange(4) * torch.rand(4)
        x = self.noisy(self.norm(x)).clamp_(min=0)
        if self.looks and x.sum() > 1e6:
            x = x * 2
        if self.fails:
            raise ValueError("broken on purpose")
        return self.linear(x) + self.cache


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(looks: bool, fails: bool) -> None:
    model = Restless(looks, fails).train()
    model.norm.eval()
    seen: list[int] = []
    model.register_forward_hook(lambda *_: seen.append(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kept = {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()}
    x = torch.randn(3, 4)
    given, generator = x.clone(), torch.get_rng_state()
    if fails:
        with pytest.raises(ValueError, match="on purpose"):
            table(model, (x,))
    else:
        assert macs(table(model, (x,))) == 3 * 4 * 4
    assert [m.training for m in model.modules()] == [True, False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert kept == {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    assert hooks == {n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in model.named_modules()}
    assert model.cache is None and torch.equal(x, given) and torch.equal(torch.get_rng_state(), generator)
    assert torch.get_default_device().type == "cpu" and not torch.is_inference_mode_enabled()


def test_looking_at_values_runs_for_real_or_says_why_not() -> None:
    rows = table(Restless(looks=True), (torch.randn(3, 4),))
    plain = table(Restless(), (torch.randn(3, 4),))
    assert [row for row in rows if row.macs] == [row for row in plain if row.macs]
    with pytest.raises(RuntimeError, match="meta"):
        table(Restless(looks=True).to("meta"), (torch.randn(3, 4, device="meta"),))


def test_fused_attention_is_taken_apart_when_run_for_real() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder()

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x) if x.sum() < 1e6 else x

    model, inputs = Picky(), (torch.randn(2, 5, 16),)
    counted = [row for row in table(model, inputs) if row.macs]
    assert sum(row.macs for row in counted) == macs(table(model.encoder, inputs))
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_constant_outside_the_state_needs_no_care() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.table = torch.arange(4.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x + self.table)

    rows = table(Positions(), (torch.randn(3, 4),))
    assert [(row.op, row.inputs) for row in rows] == [("add", ((3, 4), (4,))), ("linear", ((3, 4),))]


def test_layers_imports_no_torch() -> None:
    code = "import sys, hwnas.layers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
