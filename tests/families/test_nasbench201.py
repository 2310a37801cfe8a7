import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, DataError, MetricError, SpaceError
from hwnas.families.nasbench201 import EDGES, OPERATIONS, Cell, NasBench201, parse, spell

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench201.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")

SMALL = NasBench201(channels=4, cells=1, resolution=8)
NONE, SKIP, POOL, CONV1, CONV3 = range(5)


@pytest.fixture(scope="module")
def table():
    return np.load(TABLE, allow_pickle=False)


@pytest.fixture(scope="module")
def tabulated():
    return NasBench201(table=str(TABLE))


def cell(*code):
    ops = {edge: (OPERATIONS[op],) for edge, op in zip(EDGES, code, strict=True)}
    return Cell(3, ops).eval()


def build(family, code):
    return family.build(family.space.decode(code))


def trained(model, generator):
    """Values that no fresh network has: normalisation with a history and an offset."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.data.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
    return model.eval()


# --- the space and its strings --------------------------------------------------------------------------------------


def test_space():
    space = NasBench201().space
    assert space.size == 15625
    assert {choice.axis for choice in space.choices} == {"op"}
    assert space.decode(space.smallest) == dict.fromkeys((choice.name for choice in space.choices), "none")
    assert set(space.decode(space.largest).values()) == {"nor_conv_3x3"}


def test_strings_go_both_ways():
    text = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert parse(text) == (POOL, CONV1, SKIP, CONV1, SKIP, SKIP)
    assert all(parse(spell(code)) == code for code in NasBench201().space.codes())


@pytest.mark.parametrize("text", ["", "|none~0|", "|none~0|+|none~0|none~1|+|none~0|none~1|none~1|", "|conv~0|" * 6])
def test_other_strings_are_refused(text):
    with pytest.raises(SpaceError, match="no cell"):
        parse(text)


# --- the network ----------------------------------------------------------------------------------------------------


@needs_table
@pytest.mark.parametrize(
    ("index", "flops", "params"),
    [
        (0, 15_647_370, 129_306),
        (1, 113_951_370, 802_426),
        (284, 11_715_210, 101_306),
        (3558, 121_815_690, 858_426),
        (13714, 153_272_970, 1_073_466),
    ],
)
def test_published_flops_and_parameters(table, index, flops, params):
    assert counts(NasBench201(), parse(str(table["arch_str"][index]))) == (flops, params)


@needs_table
def test_published_flops_of_other_data_sets(table):
    code = parse(str(table["arch_str"][3558]))
    assert counts(NasBench201(classes=100), code)[0] == 121_821_540
    assert counts(NasBench201(classes=120, resolution=16), code)[0] == 30_461_560


@needs_table
def test_flops_and_parameters_of_the_table(table):
    for index in np.random.default_rng(0).integers(15625, size=12):
        code = parse(str(table["arch_str"][index]))
        assert counts(NasBench201(), code) == (table["flops"][index], table["params"][index])


@needs_table
def test_layers_count_the_same_but_for_the_bias(table):
    candidate = Candidate(NasBench201(), parse(str(table["arch_str"][284])))
    assert sum(layer.macs for layer in candidate.layers) == table["flops"][284] - 10
    assert sum(layer.params for layer in candidate.layers) == table["params"][284]


def counts(family, code):
    """FLOPs by the benchmark's convention, from PyTorch's own counter (2 per MAC, no biases), and parameters."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = build(family, code)
        model(*family.inputs(family.space.decode(code), 1))
    return counter.get_total_flops() // 2 + family.classes, sum(p.numel() for p in model.parameters())


def test_cells_with_known_functions():
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(cell(*[SKIP] * 6)(x), 4 * x)
    torch.testing.assert_close(cell(NONE, NONE, NONE, SKIP, NONE, NONE)(x), x)
    assert not cell(*[NONE] * 6)(x).any()
    assert not cell(CONV3, CONV3, CONV3, NONE, NONE, NONE)(x).any()
    ones = torch.ones(1, 3, 4, 4)
    torch.testing.assert_close(cell(POOL, NONE, NONE, NONE, POOL, NONE)(ones), ones)  # the border counts no padding


def test_a_node_is_the_sum_of_its_edges():
    network = cell(CONV3, CONV1, POOL, SKIP, CONV3, CONV1)
    x = torch.randn(2, 3, 6, 6)
    edge = {(node, source): network.get_submodule(f"node{node}.from{source}") for node, source in EDGES}
    one = edge[1, 0](x)
    two = edge[2, 0](x) + edge[2, 1](one)
    torch.testing.assert_close(network(x), edge[3, 0](x) + edge[3, 1](one) + edge[3, 2](two))


def test_every_cell_borrows_from_the_supernet_by_name():
    generator = torch.Generator().manual_seed(0)
    supernet = trained(SMALL.supernet(), generator)
    tensors = {**dict(supernet.named_parameters()), **dict(supernet.named_buffers())}
    (x,) = SMALL.inputs({}, 2)
    assert supernet(x).shape == (2, 10)
    used = set()
    for code in [*itertools.islice(SMALL.space.codes(), 0, None, 1500), *((op,) * 6 for op in range(5))]:
        model = build(SMALL, code).eval()
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        assert {name: tensor.shape for name, tensor in own.items()}.items() <= {
            name: tensor.shape for name, tensor in tensors.items()
        }.items()
        assert functional_call(model, {name: tensors[name] for name in own}, (x,)).isfinite().all()
        used |= set(own)
    assert used == set(tensors)


def test_supernet_averages_its_operations():
    ops = ("skip_connect", "avg_pool_3x3")
    x = torch.ones(1, 3, 4, 4)
    torch.testing.assert_close(Cell(3, dict.fromkeys(EDGES, ops)).eval()(x), 4 * x)


# --- equal networks -------------------------------------------------------------------------------------------------


def test_canonical_code_builds_the_same_trained_network():
    generator = torch.Generator().manual_seed(1)
    (x,) = SMALL.inputs({}, 2)
    moved = 0
    for code in map(SMALL.space.at, np.random.default_rng(1).integers(15625, size=60).tolist()):
        key = SMALL.canonical(code)
        assert SMALL.canonical(key) == key <= code
        if key == code:
            continue
        moved += 1
        model, small = trained(build(SMALL, code), generator), build(SMALL, key).eval()
        exchange = str.maketrans("12", "21")
        exchanged = {
            ".".join(
                part.translate(exchange) if part[:4] in ("node", "from") else part for part in name.split(".")
            ): value
            for name, value in model.state_dict().items()
        }
        outputs = []
        for tensors in (model.state_dict(), exchanged):
            if not small.load_state_dict(tensors, strict=False).missing_keys:
                outputs.append(small(x))
        assert any(torch.allclose(output, model(x), rtol=1e-4, atol=1e-4) for output in outputs)
    assert moved > 10


def test_what_cannot_matter_is_left_out():
    dead = (CONV3, CONV3, CONV3, SKIP, NONE, NONE)
    assert SMALL.canonical(dead) == (NONE, NONE, NONE, SKIP, NONE, NONE)
    assert SMALL.canonical((NONE, NONE, SKIP, CONV1, POOL, SKIP)) == (NONE, NONE, NONE, CONV1, NONE, NONE)
    assert SMALL.canonical((CONV3, SKIP, NONE, NONE, POOL, CONV1)) == (SKIP, CONV3, NONE, NONE, CONV1, POOL)
    constant = (NONE, NONE, NONE, SKIP, CONV1, NONE)  # normalisation learns an offset, even for a convolution of zeros
    assert SMALL.canonical(constant) == (NONE, NONE, NONE, SKIP, NONE, CONV1)


@needs_table
def test_equal_keys_are_equal_cells_of_the_benchmark(table):
    classes = {}
    for text, first in zip(table["arch_str"], table["canon_first"], strict=True):
        classes.setdefault(SMALL.canonical(parse(str(text))), set()).add(int(first))
    assert all(len(firsts) == 1 for firsts in classes.values())
    assert len(classes) > len(np.unique(table["canon_first"])) == 4930


@needs_table
def test_benchmark_classes_hold_different_networks(table):
    """Why its classes are no keys: x + 2a(x) with one convolution a is not x + a(x) + b(x) with two."""
    one, two = 354, 39
    assert table["iso_first"][one] == table["iso_first"][two]
    assert parse(str(table["arch_str"][one])) == (CONV1, SKIP, SKIP, NONE, SKIP, SKIP)
    assert parse(str(table["arch_str"][two])) == (SKIP, CONV1, NONE, SKIP, CONV1, SKIP)
    assert table["params"][one] < table["params"][two]
    assert len(np.unique(table["iso_first"])) == 6466


def test_with_a_table_every_code_is_a_key():
    code = (CONV3, CONV3, CONV3, SKIP, NONE, NONE)
    assert NasBench201(table="any.npz").canonical(code) == code


# --- the table ------------------------------------------------------------------------------------------------------

HEAD = "arch_str,accuracy,note\n"
FIRST, SECOND, THIRD = (spell((op,) * 6) for op in (0, 1, 2))


def written(path, text):
    path.write_text(HEAD + text, encoding="utf-8")
    return NasBench201(table=str(path))


def test_csv(tmp_path):
    family = written(tmp_path / "some.csv", f"{FIRST},10,low\n\n{SECOND},,unknown\n")
    assert family.value("accuracy", (0,) * 6) == 10.0
    with pytest.raises(MetricError, match="no 'accuracy' for"):
        family.value("accuracy", (1,) * 6)
    with pytest.raises(MetricError, match=r"no row for \|avg_pool_3x3~0\|"):
        family.value("accuracy", (2,) * 6)
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        family.value("acuracy", (0,) * 6)
    with pytest.raises(ConfigError, match="named 'note'"):
        family.column("note")


def test_npz(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, arch_str=np.array([FIRST, THIRD]), seconds=np.array([1, 2]), seeds=np.ones((2, 3)))
    family = NasBench201(table=str(path))
    assert family.value("seconds", (2,) * 6) == 2.0
    with pytest.raises(ConfigError, match=r"known: seconds$"):
        family.column("seeds")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{FIRST},1,a\n{FIRST},2,b\n", "2 rows are about 1 different"),
        ("|what~0|,1,a\n", "no cell"),
        (f"{FIRST},1\n", "cannot be used"),
    ],
)
def test_tables_that_make_no_sense(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        written(tmp_path / "some.csv", text).column("accuracy")


def test_files_that_are_no_tables(tmp_path):
    pickled, broken, empty, bare = (tmp_path / name for name in ("pickled.npz", "broken.npz", "empty.npz", "bare.csv"))
    np.savez(pickled, arch_str=np.array([{}], dtype=object), allow_pickle=True)
    broken.write_bytes(b"PK\x03\x04 nothing")
    empty.touch()
    bare.write_text("accuracy\n1\n", encoding="utf-8")
    for path in (pickled, broken, empty, bare):
        with pytest.raises(DataError, match=path.name):
            NasBench201(table=str(path)).column("accuracy")
    for path, reason in [("missing.npz", "does not exist"), ("some.pkl", "must be a .npz or .csv")]:
        with pytest.raises(ConfigError, match=reason):
            NasBench201(table=path).column("accuracy")
    with pytest.raises(ConfigError, match="set its option `table`"):
        NasBench201().column("accuracy")


@needs_table
def test_known_rows_of_the_table(tabulated, table):
    best = parse(str(table["arch_str"][13714]))
    assert tabulated.value("cifar10_test200", best) == pytest.approx(94.3733, abs=1e-4)
    assert tabulated.value("flops", best) == 153_272_970
    assert tabulated.column("cifar100_test200").max() == pytest.approx(73.5133, abs=1e-4)


def exact_front(losses_PM):
    """The rows of all non-dominated points of two losses, by one sweep: each must beat all that are cheaper."""
    order = np.lexsort((losses_PM[:, 1], losses_PM[:, 0]))
    best = np.minimum.accumulate(losses_PM[order, 1])
    new = np.r_[True, best[1:] < best[:-1]]
    keys = {tuple(row) for row in losses_PM[order[new]]}
    return np.array([row for row, point in enumerate(losses_PM) if tuple(point) in keys])


@needs_table
def test_exact_pareto_front_of_accuracy_and_flops(tabulated, table):
    codes = [parse(str(text)) for text in table["arch_str"]]
    losses_PM = np.array([[tabulated.value("flops", c), -tabulated.value("cifar10_test200", c)] for c in codes])
    front = exact_front(losses_PM)
    no_worse_KP = (losses_PM[None, :, :] <= losses_PM[front][:, None, :]).all(-1)
    better_KP = (losses_PM[None, :, :] < losses_PM[front][:, None, :]).any(-1)
    assert not (no_worse_KP & better_KP).any(), "a point of the front is dominated"
    beaten_P = ((losses_PM[front][:, None, :] <= losses_PM[None, :, :]).all(-1)).any(0)
    assert beaten_P.all(), "a point outside is dominated by none"
    assert len(np.unique(losses_PM[:, 0])) == 28 >= len(np.unique(losses_PM[front, 0]))
    assert {6111, 13714} & set(front.tolist())
    assert losses_PM[front, 0].min() == losses_PM[:, 0].min()


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"cells": 0}, {"channels": -1}, {"classes": 0}, {"resolution": 30}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        NasBench201(**options)


def test_is_a_part():
    family = parts.make("families", {"nasbench201": {"cells": 2}})
    assert parts.spec_of(family) == {"families.nasbench201": {"cells": 2}}
    assert build(family, family.space.smallest)(*family.inputs({}, 2)).shape == (2, 10)
