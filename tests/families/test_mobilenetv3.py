"""MobileNetV3 against Once-for-All: recorded counts, recorded outputs, and the laws of shared weights."""

from __future__ import annotations

import ast
import csv
import functools
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError
from hwnas.families.mobilenetv3 import MobileNetV3, rounded
from hwnas.layers import macs, params
from hwnas.seeds import seeded
from hwnas.space import Value

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
FIXTURES = SHARED / "ofa" / "ofa_mbv3_w10_fixtures.json"
SHAPES = SHARED / "ofa" / "ofa_mbv3_w10_state_dict_shapes.json"
WIDE = SHARED / "ofa_search" / "results_mbnv3w1p2_macs.csv"

# ks, e and d of one random sub-network, with its MACs at 224 pixels and its parameters
RANDOM = (
    [5, 5, 3, 5, 7, 5, 5, 5, 5, 5, 7, 3, 7, 3, 5, 3, 3, 7, 5, 7],
    [6, 6, 3, 4, 3, 6, 3, 6, 4, 4, 6, 3, 4, 4, 4, 6, 6, 3, 6, 4],
    [3, 4, 3, 2, 4],
)


def arch_of(ks: list[int], e: list[int], d: list[int]) -> dict[str, Value]:
    """OFA's lists, four blocks per stage, as an architecture."""
    arch: dict[str, Value] = {}
    for stage in range(5):
        arch[f"stage{stage + 1}.depth"] = d[stage]
        for block in range(4):
            arch[f"stage{stage + 1}.block{block + 1}.kernel"] = ks[4 * stage + block]
            arch[f"stage{stage + 1}.block{block + 1}.expand"] = e[4 * stage + block]
    return arch


def candidate(family: MobileNetV3, ks: list[int], e: list[int], d: list[int]) -> Candidate:
    return Candidate(family, family.space.encode(arch_of(ks, e, d)))


def counts(judged: Candidate) -> tuple[int, int]:
    owned = sum(parameter.numel() for parameter in judged.skeleton.parameters())
    assert params(judged.layers) == owned
    return macs(judged.layers), owned


@functools.cache
def fixtures() -> dict[str, Any]:
    if not FIXTURES.exists():
        pytest.skip("the OFA fixtures are not beside this repository")
    return {subnet["name"]: subnet for subnet in json.loads(FIXTURES.read_text())["subnets"]}


# --- counts ---------------------------------------------------------------------------------------------------------


def test_the_space_is_that_of_the_paper() -> None:
    family = MobileNetV3()
    assert family.space.size == 7371**5
    assert MobileNetV3(resolution=(128, 160, 192, 224)).space.size == 4 * 7371**5
    names = [choice.name for choice in family.space.choices]
    assert names[:3] == ["stage1.depth", "stage1.block1.kernel", "stage1.block1.expand"] and len(names) == 45
    assert MobileNetV3(resolution=(32, 48)).space.choices[0].name == "resolution"


def test_published_counts() -> None:
    family = MobileNetV3()
    assert counts(Candidate(family, family.space.largest)) == (566_170_656, 7_664_760)
    assert counts(Candidate(family, family.space.smallest)) == (121_278_672, 3_410_792)
    assert counts(candidate(family, *RANDOM)) == (293_339_712, 5_316_280)


@pytest.mark.parametrize("name", ["max", "min", "rand0", "rand1", "rand2", "rand3", "rand4"])
def test_counts_of_the_recorded_networks(name: str) -> None:
    subnet = fixtures()[name]
    assert counts(candidate(MobileNetV3(), **subnet["config"])) == (
        round(subnet["table_mflops224"] * 1e6),
        subnet["params"],
    )


def test_counts_of_the_wide_network() -> None:
    """At width 1.2 the sub-networks of a recorded search have the recorded MACs."""
    if not WIDE.exists():
        pytest.skip("the recorded OFA searches are not beside this repository")
    with WIDE.open(newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    family = MobileNetV3(width=1.2)
    for row in rows[::60]:
        config = ast.literal_eval(row["Sub-network"])
        assert config["r"] == [224]
        assert macs(candidate(family, config["ks"], config["e"], config["d"]).layers) == int(row["MACs"])


def test_widths_follow_the_paper() -> None:
    assert [rounded(width * 1.2) for width in (16, 24, 40, 80, 112, 160, 960, 1280)] == [
        *(24, 32, 48, 96, 136, 192, 1152, 1536)
    ]
    middles = {(16, 3): 48, (24, 4): 96, (40, 6): 240, (136, 3): 408, (136, 4): 544}
    assert all(rounded(round(width * expand)) == middle for (width, expand), middle in middles.items())
    assert [rounded(middle // 4) for middle in (48, 96, 160, 192, 336)] == [16, 24, 40, 48, 88]


# --- outputs --------------------------------------------------------------------------------------------------------


def hashed(key: str, size: int) -> NDArray[np.float64]:
    """The fill that the fixtures' README defines: `size` numbers in [-1, 1) from a key."""
    x = np.arange(1, size + 1, dtype=np.uint64) + np.uint64(7919 * (zlib.crc32(key.encode()) % 65521))
    x = (x % np.uint64(2**32)) * np.uint64(2654435761) % np.uint64(2**32)
    x ^= x >> np.uint64(15)
    x = x * np.uint64(2246822519) % np.uint64(2**32)
    x ^= x >> np.uint64(13)
    return x / 2**31 - 1


def filled(key: str, shape: tuple[int, ...]) -> Tensor:
    b = hashed(key, math.prod(shape)).reshape(shape)
    if key.endswith("num_batches_tracked"):
        b = np.zeros(shape)
    elif key.endswith("_matrix"):
        b = np.eye(*shape) + 0.05 * b
    elif key.endswith("running_var"):
        b = 1 + 0.2 * b
    elif len(shape) == 1:
        b = 1 + 0.1 * b if key.endswith("weight") and not key.endswith("running_mean") else 0.1 * b
    else:
        b = b * np.sqrt(6 / math.prod(shape[1:]))
    return torch.from_numpy(b.astype(np.float32))


ENDS = {"stem": "first_conv", "expand": "final_expand_layer", "mix": "feature_mix_layer.conv"}
ENDS |= {"classifier": "classifier.linear"}
PARTS = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "excite": "depth_conv.se.fc"}
PARTS |= {"project": "point_linear"}


def ofa_key(name: str) -> str:
    """What OFA calls a tensor of ours."""
    head, _, rest = name.replace("norm", "bn").partition(".")
    if head in ENDS:
        return f"{ENDS[head]}.{rest}"
    stage = 0 if head == "first" else int(head.removeprefix("stage"))
    block, part, rest = rest.split(".", 2) if stage else ("block4", *rest.split(".", 1))
    if stage and part != "excite":
        rest = f"{rest.partition('.')[0]}.{rest}"
    return f"blocks.{4 * stage - 4 + int(block.removeprefix('block'))}.conv.{PARTS[part]}.{rest}"


def ofa_tensor(name: str, shape: torch.Size, shapes: dict[str, list[int]]) -> Tensor:
    """OFA's tensor for one of ours: leading channels, and depthwise kernels through the transform matrices."""
    key = ofa_key(name)
    big = filled(key, tuple(shapes[key]))
    while len(shape) == 4 and big.shape[-1] > shape[-1]:
        side = big.shape[-1] - 2
        matrix_key = f"{key.removesuffix('conv.weight')}{side + 2}to{side}_matrix"
        matrix = filled(matrix_key, tuple(shapes[matrix_key]))
        big = (big[:, :, 1:-1, 1:-1].flatten(1) @ matrix.T).view(-1, 1, side, side)
    return big[tuple(slice(size) for size in shape)]


@pytest.mark.parametrize("name", ["min", "rand0", "rand3"])
@pytest.mark.parametrize("record", ["logits224", "logits160"])
def test_outputs_are_those_of_ofa(name: str, record: str) -> None:
    subnet, shapes = fixtures()[name], json.loads(SHAPES.read_text())
    model = candidate(MobileNetV3(), **subnet["config"]).model
    model.load_state_dict({key: ofa_tensor(key, value.shape, shapes) for key, value in model.state_dict().items()})
    expected, side = subnet[record], int(record.removeprefix("logits"))
    shape = (expected["shape"][0], 3, side, side)
    with torch.no_grad():
        logits = model(torch.from_numpy(hashed("input", math.prod(shape)).astype(np.float32)).view(shape))
    scale = expected["absmax"]
    assert logits[0, :8].tolist() == pytest.approx(expected["first8"], abs=5e-6 * scale)
    assert logits.norm().item() == pytest.approx(expected["l2"], rel=5e-6)
    assert logits.argmax(1).tolist() == expected["argmax"]


# --- every axis -----------------------------------------------------------------------------------------------------


def test_every_axis_changes_what_it_should() -> None:
    family = MobileNetV3(resolution=(192, 224))
    base = dict(family.space.decode(family.space.smallest)) | {"resolution": 224}

    def grown(**changes: Value) -> tuple[int, int]:
        arch = base | {name.replace("__", "."): value for name, value in changes.items()}
        more, fewer = (counts(Candidate(family, family.space.encode(a))) for a in (arch, base))
        return more[0] - fewer[0], more[1] - fewer[1]

    # stage 4, block 2: 112 channels at 14 x 14, 336 of them inside, squeezed to 88
    weights = 336 * (25 - 9)
    assert grown(stage4__block2__kernel=5) == (weights * 14 * 14, weights)
    wider = 2 * 112 * (448 - 336) + 9 * (448 - 336)
    excite = 2 * (448 * 112 - 336 * 88)
    norms, biases = 4 * (448 - 336), (448 - 336) + (112 - 88)
    assert grown(stage4__block2__expand=4) == (wider * 14 * 14 + excite, wider + excite + norms + biases)
    weights = 2 * 24 * 72 + 72 * 9
    third = {"stage1__block3__kernel": 3, "stage1__block3__expand": 3}
    assert grown(stage1__depth=3, **third) == (weights * 56 * 56, weights + 4 * 72 + 2 * 24)
    shrunk = grown(resolution=192)
    assert shrunk[0] < 0 and shrunk[1] == 0
    half = MobileNetV3(width=0.5)
    assert counts(Candidate(half, half.space.smallest)) < counts(Candidate(family, family.space.smallest))


def test_blocks_beyond_the_depth_are_no_choice() -> None:
    family = MobileNetV3()
    arch = family.space.decode(family.space.smallest)
    assert "stage1.block2.kernel" in arch and "stage1.block3.kernel" not in arch
    deepest = [choice.when for choice in family.space.choices if choice.name.startswith("stage3.block")]
    assert deepest[::2] == [None, None, ("stage3.depth", (3, 4)), ("stage3.depth", (4,))]


def test_resolution_decides_the_inputs() -> None:
    family = MobileNetV3(resolution=(32, 48))
    for code, side in ((family.space.smallest, 32), (family.space.largest, 48)):
        assert [tuple(x.shape) for x in Candidate(family, code).batch(2)] == [(2, 3, side, side)]
    assert MobileNetV3().inputs({}, 1)[0].shape == (1, 3, 224, 224)


# --- shared weights -------------------------------------------------------------------------------------------------


def test_small_tensors_are_crops_of_the_big_ones() -> None:
    family = MobileNetV3()
    with torch.device("meta"):
        big = family.supernet().state_dict()
    rng = np.random.default_rng(0)
    for code in [family.space.smallest, *(family.space.sample(rng) for _ in range(5))]:
        for name, tensor in Candidate(family, code).skeleton.state_dict().items():
            assert tensor.dim() == big[name].dim(), name
            assert all(small <= large for small, large in zip(tensor.shape, big[name].shape, strict=True)), name
            kernels = tensor.shape[2:], big[name].shape[2:]
            assert kernels[0] == kernels[1] or (".block" in name and "depthwise.conv" in name)
            assert all((large - small) % 2 == 0 for small, large in zip(*kernels, strict=True))


def test_a_wider_middle_with_dead_channels_computes_the_same() -> None:
    """Leading channels, centre of the kernel: a big block whose surplus is zero equals the small block."""
    family = MobileNetV3(classes=5, resolution=32, width=0.25)
    code = list(family.space.smallest)
    small = Candidate(family, tuple(code)).model
    arch = dict(family.space.decode(tuple(code)))
    arch |= {"stage1.block2.kernel": 7, "stage1.block2.expand": 6, "stage5.block1.kernel": 5}
    big = Candidate(family, family.space.encode(arch)).model
    state = {name: torch.zeros_like(tensor) for name, tensor in big.state_dict().items()}
    for name, tensor in small.state_dict().items():
        target = state[name]
        for axis, size in enumerate(tensor.shape):
            start = (target.shape[axis] - size) // 2 if axis >= 2 else 0
            target = target.narrow(axis, start, size)
        target.copy_(tensor)
    big.load_state_dict(state)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(big(x), small(x))


# --- building -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_small_images_train(end: str) -> None:
    family = MobileNetV3(classes=10, resolution=32, width=0.5, dropout=0.1)
    judged = Candidate(family, getattr(family.space, end))
    (pooled,) = [row for row in judged.layers if row.name == "pool"]
    assert family.small and pooled.inputs == ((1, 480, 4, 4),)
    model = judged.model.train()
    logits = model(*judged.batch(4))
    assert logits.shape == (4, 10) and logits.isfinite().all()
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("options", "small"),
    [
        ({}, False),
        ({"resolution": 95}, True),
        ({"resolution": (64, 96)}, False),
        ({"resolution": 32, "stem": "imagenet"}, False),
        ({"stem": "small"}, True),
    ],
)
def test_the_stem_suits_the_image(options: dict[str, Any], small: bool) -> None:
    assert MobileNetV3(**options).small is small


def test_weights_start_as_published() -> None:
    family = MobileNetV3(classes=10, resolution=32)
    arch = family.space.decode(family.space.largest)
    with seeded(1):
        model = family.build(arch)
    with seeded(1):
        again = family.build(arch)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 20_000:
            std = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
            assert module.weight.std().item() == pytest.approx(std, rel=0.03), name
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.running_var == 1).all()
            assert not module.bias.any() and not module.running_mean.any() and module.eps == 1e-5
    bound = 1 / math.sqrt(1280)
    assert 0.95 * bound < model.get_submodule("classifier").weight.abs().max().item() <= bound


def test_building_on_the_meta_device_draws_nothing() -> None:
    family = MobileNetV3()
    before = torch.get_rng_state()
    skeleton = Candidate(family, family.space.largest).skeleton
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)


# --- options --------------------------------------------------------------------------------------------------------


def test_other_axes_than_the_published_ones() -> None:
    family = MobileNetV3(classes=3, resolution=24, width=0.25, kernels=(1, 9), expands=(1, 2.5), depths=(1, 5))
    assert family.space.size == (2 * 2 + (2 * 2) ** 5) ** 5
    smallest = Candidate(family, family.space.smallest)
    assert "stage1.block1.expand.conv.weight" not in smallest.skeleton.state_dict()
    for code in (family.space.smallest, family.space.largest):
        assert Candidate(family, code).model(torch.randn(1, 3, 24, 24)).shape == (1, 3)


def test_from_a_configuration() -> None:
    spec = {"mobilenetv3": {"classes": 10, "resolution": [32, 48], "width": 0.5, "kernels": [3, 5]}}
    family = parts.make("families", spec)
    assert family == MobileNetV3(classes=10, resolution=(32, 48), width=0.5, kernels=(3, 5))
    assert family.name == family.space.name == "mobilenetv3"


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"classes": 0}, "classes takes whole numbers from 1 on"),
        ({"resolution": 0}, "resolution takes whole numbers from 1 on"),
        ({"resolution": ()}, "resolution takes whole numbers"),
        ({"resolution": (32, 32)}, "none twice, not (32, 32)"),
        ({"kernels": (3, 4)}, "kernels takes odd numbers from 1 on, none twice, not (3, 4)"),
        ({"expands": (0.5,)}, "expands takes numbers from 1 on"),
        ({"depths": (0, 2)}, "depths takes whole numbers from 1 on"),
        ({"width": 0.0}, "width takes a number above 0"),
        ({"width": math.nan}, "width takes a number above 0"),
        ({"stem": "tiny"}, "stem takes 'imagenet', 'small' or None, not 'tiny'"),
        ({"dropout": 1.0}, "dropout takes a number from 0 to below 1"),
    ],
)
def test_bad_options_are_answered_with_what_is_allowed(options: dict[str, Any], allowed: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(allowed)):
        MobileNetV3(**options)
    with pytest.raises(ConfigError, match="mobilenetv3"):
        parts.make("families", {"mobilenetv3": options})


def test_blocks_are_stem_blocks_and_what_follows():
    family = MobileNetV3(classes=10, resolution=32, width=0.25)
    model = family.build(family.space.decode(family.space.smallest))
    names = family.blocks(model)
    depth = sum(type(module).__name__ == "Block" for module in model.modules())
    assert depth > 5 and sum(type(model.get_submodule(name)).__name__ == "Block" for name in names) == depth
