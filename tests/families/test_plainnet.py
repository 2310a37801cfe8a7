"""Zen-NAS's networks against published sizes, and the laws of structures, of the space and of shared weights.

`_plainnet.py`, which holds the structures, is tested here too.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hwnas import codes, parts
from hwnas.candidate import Candidate, Countable, Plain
from hwnas.errors import ConfigError, SpaceError
from hwnas.families import _plainnet
from hwnas.families._plainnet import (
    KINDS,
    SEARCHED,
    Mixed,
    SuperBlock,
    block_names,
    edit,
    edited,
    edits,
    flops,
    layers,
    network,
    params,
    parse,
    rounded,
    size_estimate,
    spell,
    split,
    units,
    widths,
)
from hwnas.families.plainnet import START, PlainNet
from hwnas.hardware.macs import Macs
from hwnas.hardware.params import Params
from hwnas.seeds import seeded
from hwnas.weights.share import borrow, skeleton, tensors_of

STRUCTURES = {
    "A": START,
    "B": "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)"
    "SuperResK5K5(64,64,2,48,2)SuperConvK1BNRELU(64,128,1,1)",
    "C": "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK1K3K1(16,40,2,16,1)SuperResK5K5(40,96,2,40,2)"
    "SuperResK3K3(96,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)",
    "Z05": "SuperConvK3BNRELU(3,64,1,1)SuperResK1K5K1(64,168,1,16,3)SuperResK1K3K1(168,80,2,32,4)"
    "SuperResK1K5K1(80,112,2,16,3)SuperResK1K5K1(112,144,1,24,3)SuperResK1K3K1(144,32,2,40,1)"
    "SuperConvK1BNRELU(32,512,1,1)",
    "Z1": "SuperConvK3BNRELU(3,88,1,1)SuperResK1K7K1(88,120,1,16,1)SuperResK1K7K1(120,192,2,16,3)"
    "SuperResK1K5K1(192,224,1,24,4)SuperResK1K5K1(224,96,2,24,2)SuperResK1K3K1(96,168,2,40,3)"
    "SuperResK1K3K1(168,112,1,48,3)SuperConvK1BNRELU(112,512,1,1)",
    "Z2": "SuperConvK3BNRELU(3,32,1,1)SuperResK1K5K1(32,120,1,40,1)SuperResK1K5K1(120,176,2,32,3)"
    "SuperResK1K7K1(176,272,1,24,3)SuperResK1K3K1(272,176,1,56,3)SuperResK1K3K1(176,176,1,64,4)"
    "SuperResK1K5K1(176,216,2,40,2)SuperResK1K3K1(216,72,2,56,2)SuperConvK1BNRELU(72,512,1,1)",
}
"""Published by DE-NAS (A to C, of which A is the start) and by Zen-NAS."""
SIZES = {
    "A": (6, 102_572, 95_260, 101_721, 6_550_784, 6_806_528, 90_962),
    "B": (7, 373_164, 365_852, 372_185, 10_878_208, 11_133_952, 361_554),
    "C": (7, 416_644, 405_244, 415_441, 26_178_816, 26_572_800, 405_034),
    "Z05": (16, 546_636, 491_140, 540_297, 135_024_896, 138_111_872, 500_466),
    "Z1": (18, 1_040_844, 905_052, 1_031_185, 155_216_928, 160_909_824, 994_674),
    "Z2": (20, 2_027_980, 1_819_108, 2_015_081, 478_208_032, 484_319_488, 1_981_810),
}
"""Sub-layers; parameters with shortcuts, without, and as Zen-NAS counts them; FLOPs as Zen-NAS counts them and with
projections as they are; parameters for 10 classes instead of 100."""

TINY = PlainNet(**PlainNet.tiny)


def owned(model):
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(*args, **options):
    with torch.device("meta"):
        return network(*args, **options)


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", STRUCTURES.values(), ids=STRUCTURES)
def test_structures_go_both_ways(text):
    assert spell(parse(text)) == text


def test_a_structure_is_read():
    text = "SuperConvK3BNRELU(first|3,8,1,1)SuperResIDWE6K7(|8,16,2,24,3)"
    assert parse(text) == [
        SuperBlock("SuperConvK3BNRELU", 3, 8, 1, None, 1, "first"),
        SuperBlock("SuperResIDWE6K7", 8, 16, 2, 24, 3, ""),
    ]
    assert spell(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("", 1, "a super-block such as"),
        ("hello", 1, "a super-block such as"),
        ("SuperResK3K3(8,16,1,8,1) ", 25, "a super-block such as"),
        ("SuperResK3K3(8,16,1,8,1)Super", 25, "a super-block such as"),
        ("SuperResK3K(8,16,1,8,1)", 1, "did you mean 'SuperResK3K3'"),
        ("SuperResK3K3(8,16,1,8,1", 14, "a closing bracket"),
        ("SuperResK3K3(8,16,1,8)", 14, r"5 numbers \(in, out, stride, bottleneck, sub-layers\), not 4"),
        ("SuperConvK3BNRELU(3,8,1,8,1)", 19, r"4 numbers \(in, out, stride, sub-layers\), not 5"),
        ("SuperResK3K3(8,16,0,8,1)", 19, r"from 1 to 999999 \(stride\), not '0'"),
        ("SuperResK3K3(a|8,016,1,8,1)", 18, r"\(out\), not '016'"),
        ("SuperResK3K3(8,16,1,8,-1)", 23, r"\(sub-layers\), not '-1'"),
        ("SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(16,8,1,8,1)", 40, "8 channels, which the block before gives, not 16"),
    ],
)
def test_what_is_no_structure_is_told_with_its_place(text, place, wanted):
    with pytest.raises(SpaceError, match=f"at character {place} .*expected .*{wanted}"):
        parse(text)


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRUCTURES)
def test_published_sizes(name):
    text = STRUCTURES[name]
    found = (
        layers(text),
        params(text, 100),
        params(text, 100, shortcuts=False),
        size_estimate(text, 100),
        flops(text, 100, 32),
        flops(text, 100, 32, corrected=True),
        params(text, 10),
    )
    assert found == SIZES[name]
    assert owned(on_meta(text, 100)) == found[1]
    assert owned(on_meta(text, 100, shortcuts=False)) == found[2]


@pytest.mark.parametrize("kind", KINDS)
def test_every_super_block_can_be_built(kind):
    middle = (24,) * KINDS[kind].residual
    text = f"SuperConvK3BNRELU(3,8,1,1){kind}({','.join(map(str, (8, 16, 2, *middle, 2)))})"
    with seeded(0):
        x = torch.randn(2, 3, 9, 9)
        for excite in (False, True):
            model = network(text, 4, excite=excite)
            assert model(x).shape == (2, 4)
            assert model[:-1](x).shape == (2, 16, 5, 5)
            assert (owned(model) > params(text, 4)) == (excite and KINDS[kind].residual)
            without = network(text, 4, shortcuts=False, excite=excite)
            left_out = {name for name in model.state_dict() if ".shortcut." in name}
            assert list(without.state_dict()) == [name for name in model.state_dict() if name not in left_out]
            assert bool(left_out) == KINDS[kind].residual
            if not excite:
                assert owned(model) == params(text, 4) and owned(without) == params(text, 4, shortcuts=False)


def test_the_six_kinds_that_are_searched():
    assert set(SEARCHED) == {f"SuperRes{body}" for k in (3, 5, 7) for body in (f"K{k}K{k}", f"K1K{k}K1")}
    assert len(KINDS) == 4 + 6 + 12


def test_units_of_an_inverted_super_block():
    first, second, third, _ = units(SuperBlock("SuperResIDWE4K5", 8, 16, 2, 12, 2))
    shapes = [(conv.inner, conv.out, conv.kernel, conv.stride, conv.groups) for conv in first.convs]
    assert shapes == [(8, 48, 1, 1, 1), (48, 48, 5, 2, 48), (48, 12, 1, 1, 1)]
    assert (first.projection.stride, second.projection.stride, third.projection.stride) == (2, 1, 1)
    assert [conv.out for conv in second.convs] == [64, 64, 16]
    assert all(unit.projection is None for unit in units(SuperBlock("SuperResIDWE4K5", 8, 16, 2, 16, 3))[1:])


def test_a_unit_is_convolutions_plus_its_shortcut():
    with seeded(0):
        model, x = network("SuperResK3K3(4,8,2,4,2)", 2).eval(), torch.randn(2, 4, 6, 6)
        first, second = model.block1.pair
    main, act = first.main, torch.relu
    y = main.norm2(main.conv2(act(main.norm1(main.conv1(x)))))
    one = act(y + first.shortcut.norm(first.shortcut.conv(x)))
    torch.testing.assert_close(first(x), one)
    torch.testing.assert_close(model(x), model.classifier.linear(act(second.main(one) + one).mean((2, 3))))
    assert [
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and module.bias is not None
    ] == ["block1.pair.unit1.shortcut.conv"]
    assert {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize(("name", "value"), [("A", 3.610312), ("B", 3.848451), ("C", 4.561696)])
def test_published_response_to_noise(name, value):
    """DE-NAS's expressivity, in which every convolution, normalisation and activation has its part.

    Its published scores of A, B and C rest on it. Weights and inputs are normal numbers in the order of the layers.
    """
    model = network(STRUCTURES[name], 100, shortcuts=False).train()
    with seeded(12345), torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight)
        x, noise = torch.randn(64, 3, 32, 32), torch.randn(64, 3, 32, 32)
        moved = model[:-1](x) - model[:-1](x + 0.01 * noise)
    assert float(moved.abs().sum((1, 2, 3)).mean().log()) == pytest.approx(value, abs=5e-3)


def test_excitation_scales_channels():
    with seeded(0):
        excite, x = _plainnet.Excite(8).eval(), torch.randn(2, 8, 3, 3)
    assert excite.reduce.out_channels == 2
    scale = excite(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand(scale.shape))
    assert ((scale > 0) & (scale < 1)).all()


def test_names_of_super_blocks():
    assert block_names(parse(START)) == ["stem", "block1", "block2", "block3", "block4", "head"]
    assert block_names(parse("SuperConvK3BNRELU(3,8,1,1)")) == ["stem"]
    assert block_names(parse("SuperResK3K3(3,8,1,8,1)")) == ["block1"]


# --- edits ----------------------------------------------------------------------------------------------------------


def test_widths_of_edits():
    assert [rounded(channels) for channels in (12, 20, 28, 36)] == [16, 16, 32, 32]
    assert widths(8) == (8, 16)
    assert widths(16) == (8, 16, 24, 32, 40)
    assert widths(32) == (16, 24, 32, 40, 48, 64, 80)
    assert widths(64) == (24, 32, 40, 48, 64, 80, 96, 128, 160)
    assert widths(128) == (48, 64, 88, 104, 128, 160, 192, 256, 320)
    assert widths(2048)[-1] == 2048


def test_edits_of_one_block():
    start = parse(START)
    every = [list(edits(block)) for block in start]
    assert [len(some) for some in every] == [2, 180, 630, 1134, 1134, 9]
    assert [len(set(some)) for some in every] == [len(some) for some in every]
    assert all(block in some for block, some in zip(start, every, strict=True))
    assert {block.layers for block in edits(parse("SuperResK3K3(8,16,2,8,4)")[0])} == {2, 3, 4, 5, 6}
    assert {block.layers for block in edits(parse("SuperConvK3BNRELU(8,16,2,3)")[0])} == {1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SuperResK3K3(8,16,2,8,7)", "SuperResK3K3(8,16,2,8,3)SuperResK3K3(16,16,1,8,4)"),
        ("SuperResK1K5K1(8,16,2,8,6)", "SuperResK1K5K1(8,16,2,8,3)SuperResK1K5K1(16,16,1,8,3)"),
        ("SuperResK3K3(8,16,2,8,5)", "SuperResK3K3(8,16,2,8,5)"),
        ("SuperConvK3BNRELU(8,16,2,7)", "SuperConvK3BNRELU(8,16,2,7)"),
    ],
)
def test_deep_blocks_are_split(before, after):
    assert spell(split(parse(before))) == after


def test_an_edit_splits_twice_and_fits_the_next_input():
    start = parse("SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,2,8,8)SuperConvK1BNRELU(16,64,1,1)")
    block = SuperBlock("SuperResK5K5", 8, 24, 2, 16, 10)
    assert spell(edited(start, 1, block)) == (
        "SuperConvK3BNRELU(3,8,1,1)SuperResK5K5(8,24,2,16,3)SuperResK5K5(24,24,1,16,3)SuperResK5K5(24,24,1,16,4)"
        "SuperConvK1BNRELU(24,64,1,1)"
    )


def test_random_edits_touch_every_block_and_keep_strides():
    start, rng = parse(START), np.random.default_rng(0)
    changed = set()
    for _ in range(200):
        child = edit(start, rng)
        assert parse(spell(child)) == child
        assert [block.stride for block in child] == [block.stride for block in start]
        changed |= {
            place
            for place, (one, two) in enumerate(zip(start, child, strict=True))
            if (one.kind, one.out, one.bottleneck, one.layers) != (two.kind, two.out, two.bottleneck, two.layers)
        }
    assert changed == set(range(6))


# --- the space ------------------------------------------------------------------------------------------------------


def test_choices():
    space = PlainNet().space
    names = [choice.name for choice in space.choices]
    block = ["type", "width", "bottleneck", "layers"]
    assert names[:6] == ["stem.width", *(f"block1.{axis}" for axis in block), "block1.more"]
    assert names[6:10] == [f"block1.1.{axis}" for axis in block]
    assert names[-1] == "head.width" and len(names) == 2 + 4 * 9
    values = {choice.name: choice.values for choice in space.choices}
    assert values["block1.layers"] == (1, 2, 3, 4, 5, 6) and values["block1.more"] == (0, 1)
    widest = values["block1.width"]
    assert widest[:16] == tuple(range(8, 129, 8)) and widest[-1] == 512
    assert {block.out for text in STRUCTURES.values() for block in parse(text)} <= set(widest)
    assert {block.bottleneck for text in STRUCTURES.values() for block in parse(text)} <= {
        None,
        *values["block1.bottleneck"],
    }
    assert not [choice for choice in PlainNet(extra=0).space.choices if "more" in choice.name or choice.when]


@pytest.mark.parametrize("name", STRUCTURES)
def test_published_structures_are_in_their_spaces(name):
    text = STRUCTURES[name]
    family = PlainNet(structure=text, classes=100)
    arch = family.arch_of(text)
    assert family.structure_of(arch) == text
    assert family.space.decode(family.space.encode(arch)) == arch
    candidate = Candidate(family, family.space.encode(arch))
    assert candidate.skeleton.state_dict().keys() == on_meta(text, 100).state_dict().keys()
    assert owned(candidate.skeleton) == SIZES[name][1]


def test_a_structure_may_have_more_blocks_than_the_first_one():
    family, one = PlainNet(extra=2), "SuperResK3K3(16,16,1,8,1)"
    text = START.replace("SuperResK3K3(16,32", f"{one}{one}SuperResK3K3(16,32")
    arch = family.arch_of(text)
    assert (arch["block1.more"], arch["block2.more"]) == (2, 0) and "block1.2.type" in arch
    assert family.structure_of(arch) == text
    with pytest.raises(SpaceError, match="up to 1 of stride 1"):
        PlainNet().arch_of(text)


def test_structures_that_are_not_in_the_space():
    family = PlainNet()
    for old, new, reason in [
        ("SuperConvK3BNRELU(3,8,1,1)", "SuperConvK5BNRELU(3,8,1,1)", "the first super-block"),
        ("SuperConvK1BNRELU(64,128,1,1)", "SuperConvK1BNRELU(64,128,1,2)", "the last super-block"),
        ("SuperResK3K3(8,16,1,8,1)", "SuperResK3K3(8,16,2,8,1)", "lacks"),
        ("SuperResK3K3(8,16,1,8,1)", "SuperResIDWE1K3(8,16,1,8,1)", "block1.type"),
        ("SuperResK3K3(8,16,1,8,1)", "SuperResK3K3(8,16,1,8,7)", "block1.layers"),
        ("SuperResK3K3(8,16,1,8,1)", "SuperResK3K3(8,16,1,12,1)", "block1.bottleneck"),
    ]:
        with pytest.raises(SpaceError, match=reason):
            family.arch_of(START.replace(old, new))
    with pytest.raises(SpaceError, match="the last super-block"):
        family.arch_of("SuperConvK3BNRELU(3,8,1,1)")


def test_codes_of_one_structure_are_one():
    """In the tiny space the second super-block has stride 1, so it may come as an extra one of the first."""
    archs = [
        {"block1.more": 1, "block2.more": 0, "first": "block1.1", "second": "block2"},
        {"block1.more": 0, "block2.more": 1, "first": "block2", "second": "block2.1"},
    ]
    found = []
    for arch in archs:
        full = {
            "stem.width": 8,
            "head.width": 16,
            "block1.more": arch["block1.more"],
            "block2.more": arch["block2.more"],
        }
        for name, depth in (("block1", 1), (arch["first"], 2), (arch["second"], 3)):
            full |= {
                f"{name}.type": "SuperResK3K3",
                f"{name}.width": 8,
                f"{name}.bottleneck": 8,
                f"{name}.layers": depth,
            }
        found.append(TINY.space.encode(full))
    one, other = found
    assert one != other
    assert TINY.canonical(one) == TINY.canonical(other) == other
    for code in codes.tuples(codes.sample(TINY.space, 50, np.random.default_rng(0))):
        text = TINY.structure_of(TINY.space.decode(code))
        assert TINY.structure_of(TINY.space.decode(TINY.canonical(code))) == text


@pytest.mark.parametrize(
    "options",
    [
        {},
        PlainNet.tiny,
        {**PlainNet.tiny, "excite": True, "classes": 3},
        {"structure": STRUCTURES["Z05"].replace("(3,64,1,1)", "(3,64,2,3)"), "extra": 2, "resolution": 33},
        {"structure": STRUCTURES["C"], "extra": 0, "max_width": 64, "max_bottleneck": 16},
    ],
)
def test_counts_are_those_of_the_networks(options):
    family = PlainNet(**options)
    assert isinstance(family, Countable)
    ends = codes.array(family.space, [family.space.smallest, family.space.largest])
    some = np.concatenate([ends, codes.sample(family.space, 6, np.random.default_rng(0))])
    macs, owned = family.counts(some)
    candidates = [Candidate(family, code) for code in codes.tuples(some)]
    assert macs.tolist() == [Macs()(candidate) for candidate in candidates]
    assert owned.tolist() == [Params()(candidate) for candidate in candidates]
    if not family.excite:
        texts = [family.structure_of(candidate.arch) for candidate in candidates]
        assert owned.tolist() == [params(text, family.classes) for text in texts]


def test_what_is_not_active_does_not_count():
    space = TINY.space
    raw = np.random.default_rng(0).integers([len(choice.values) for choice in space.choices], size=(40, len(space)))
    for one, two in zip(TINY.counts(raw), TINY.counts(codes.canonical(space, raw)), strict=True):
        assert one.tolist() == two.tolist()


# --- weights --------------------------------------------------------------------------------------------------------


def test_kinds_of_one_form_share_weights_and_the_supernet_holds_both_forms():
    with seeded(0):
        supernet = TINY.supernet()
        output = supernet(*TINY.inputs({}, 2))
    assert output.shape == (2, 10) and output.isfinite().all()
    big, used = tensors_of(supernet), set()
    arch = dict(TINY.space.decode(TINY.space.largest))
    for kind in SEARCHED:
        own = arch | {name: kind for name in arch if name.endswith(".type")}
        small = skeleton(TINY, own)
        used |= set(borrow(TINY, own, small, big))
        name, kernel = f"block1.{KINDS[kind].form}.unit1.main.conv2.weight", KINDS[kind].kernel
        centre, edge = borrow(TINY, own, small, big)[name], (7 - kernel) // 2
        assert torch.equal(centre, big[name][..., edge : 7 - edge, edge : 7 - edge])
    assert used == set(big)


def test_forms_are_averaged():
    runs = {"one": nn.Identity(), "two": nn.Flatten(2), "three": nn.Flatten(2)}
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(Mixed(runs)(x), x)


def test_shortcuts_can_be_left_out():
    assert isinstance(TINY, Plain)
    arch = TINY.space.decode(TINY.space.sample(np.random.default_rng(1)))
    with seeded(0):
        model, plain = TINY.build(arch).eval(), TINY.without_shortcuts(arch).eval()
        (x,) = TINY.inputs(arch, 2)
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    y = x
    for run in itertools.chain.from_iterable(part[0] for part in model[:-1]):
        y = run.act(run.main(y))
    torch.testing.assert_close(plain[:-1](x), y)
    assert [type(module) for module in plain.modules()].count(nn.ReLU) == [
        type(module) for module in model.modules()
    ].count(nn.ReLU)


def test_blocks_and_roles():
    candidate = Candidate(TINY, TINY.space.smallest)
    assert TINY.blocks(candidate.skeleton) == (
        "stem.conv.unit1",
        "block1.bottleneck.unit1",
        "block1.bottleneck.unit2",
        "block2.bottleneck.unit1",
        "block2.bottleneck.unit2",
        "head.conv.unit1",
    )
    roles = TINY.roles(candidate.skeleton)
    assert [name for name, role in roles.items() if role == "head"] == ["classifier.linear.weight"]


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 0},
        {"resolution": 0},
        {"extra": -1},
        {"max_width": 7},
        {"max_bottleneck": 0},
        {"structure": ""},
        {"structure": "SuperConvK3BNRELU(3,8,1,1)"},
        {"structure": "SuperConvK3BNRELU(3,8,1,1)SuperConvK1BNRELU(8,8,1,1)"},
        {"structure": "SuperConvK3BNRELU(1,8,1,1)SuperResK3K3(8,8,1,8,1)SuperConvK1BNRELU(8,8,1,1)"},
        {"structure": "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,8,1,8,1)"},
        {"structure": "SuperConvK3BNRELU(3,8,1,1)SuperResIDWE1K3(8,8,1,8,1)SuperConvK1BNRELU(8,8,1,1)"},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        PlainNet(**options)


def test_is_a_part():
    family = parts.make("families", {"plainnet": {"structure": STRUCTURES["Z05"], "extra": 0}})
    assert parts.spec_of(family) == {"families.plainnet": {"structure": STRUCTURES["Z05"], "extra": 0}}
