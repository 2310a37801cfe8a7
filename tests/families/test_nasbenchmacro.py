"""NAS-Bench-Macro against its table: counts of all networks, which codes are one, and what is read from files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from hwnas import codes, parts
from hwnas.candidate import Candidate, Countable, Plain
from hwnas.errors import ConfigError, DataError, MetricError, SpaceError
from hwnas.families.nasbenchmacro import LAYERS, OPERATIONS, Mixed, NasBenchMacro, parse, spell
from hwnas.hardware.macs import Macs
from hwnas.hardware.params import Params
from hwnas.quality.tabular import Tabular
from hwnas.seeds import seeded

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench_macro.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")

SMALL = NasBenchMacro(channels=2, resolution=8)
KNOWN = {
    "00000000": (7_713_280, 387_882),
    "00010201": (29_848_064, 1_179_562),
    "22222222": (105_660_928, 2_932_586),
}
"""Published FLOPs and parameters."""


@pytest.fixture(scope="module")
def table():
    return np.load(TABLE, allow_pickle=False)


@pytest.fixture(scope="module")
def tabulated():
    return NasBenchMacro(table=str(TABLE))


def build(family, text):
    return family.build(family.space.decode(parse(text)))


# --- the space and its strings --------------------------------------------------------------------------------------


def test_space():
    space = NasBenchMacro().space
    assert space.size == 6561
    assert {choice.axis for choice in space.choices} == {"op"} and len(space) == LAYERS
    assert set(space.decode(space.smallest).values()) == {"identity"}
    assert set(space.decode(space.largest).values()) == {"mbconv_e6_k5"}


def test_strings_go_both_ways():
    assert parse("22212202") == (2, 2, 2, 1, 2, 2, 0, 2)
    assert all(parse(spell(code)) == code for code in NasBenchMacro().space.codes())


@pytest.mark.parametrize("text", ["", "2221220", "222122022", "22212203", "2221220x", "٢2212202"])
def test_no_networks(text):
    with pytest.raises(SpaceError, match="8 digits, each 0, 1 or 2"):
        parse(text)


def test_identities_stand_at_the_end_of_their_stage():
    for text, own in [
        ("22212202", "22212220"),
        ("01101011", "01110011"),
        ("00001002", "00010020"),
        ("10200020", "10200020"),
    ]:
        assert spell(SMALL.canonical(parse(text))) == own
    assert len({SMALL.canonical(code) for code in SMALL.space.codes()}) == 3969


@needs_table
def test_codes_of_one_network_are_the_benchmarks_own(table):
    texts = [str(text) for text in table["arch_str"]]
    groups = {}
    for text, first in zip(texts, table["canon_first"].tolist(), strict=True):
        groups.setdefault(SMALL.canonical(parse(text)), set()).add(first)
    assert len(groups) == 3969 and all(len(firsts) == 1 for firsts in groups.values())
    assert (table["cifar10_test_acc"] == table["cifar10_test_acc"][table["canon_first"]]).all()
    assert sum(SMALL.canonical(parse(text)) == parse(text) for text in texts) == 3969


# --- counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", KNOWN)
def test_published_counts(text):
    family = NasBenchMacro()
    candidate = Candidate(family, parse(text))
    assert (Macs()(candidate), Params()(candidate)) == KNOWN[text]


@needs_table
def test_counts_by_formula_are_the_tables(table):
    family = NasBenchMacro()
    assert isinstance(family, Countable)
    macs, params = family.counts(codes.array(family.space, [parse(str(text)) for text in table["arch_str"]]))
    assert macs.tolist() == table["flops"].tolist()
    assert params.tolist() == table["params"].tolist()


@pytest.mark.parametrize("options", [NasBenchMacro.tiny, {"channels": 5, "resolution": 24, "classes": 3}])
def test_counts_by_formula_are_those_of_the_networks(options):
    family = NasBenchMacro(**options)
    some = codes.sample(family.space, 8, np.random.default_rng(0))
    macs, params = family.counts(some)
    candidates = [Candidate(family, code) for code in codes.tuples(some)]
    assert macs.tolist() == [Macs()(candidate) for candidate in candidates]
    assert params.tolist() == [Params()(candidate) for candidate in candidates]


# --- networks -------------------------------------------------------------------------------------------------------


def test_layers():
    model = build(NasBenchMacro(), "01200210")
    assert [name for name, _ in model.named_children()] == [
        "stem", *(f"layer{layer}" for layer in range(1, 9)), "head", "classifier",
    ]  # fmt: skip
    shapes, (x,) = [], NasBenchMacro().inputs({}, 1)
    with torch.no_grad():
        for part in model:
            x = part(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (32, 32, 32), (64, 16, 16), (64, 16, 16), (128, 8, 8), (128, 8, 8), (128, 8, 8),
        (256, 4, 4), (256, 4, 4), (256, 4, 4), (1280, 4, 4), (10,),
    ]  # fmt: skip
    assert isinstance(model.layer4.identity, nn.Identity)
    assert model.layer1.identity.conv.kernel_size == (1, 1)
    assert model.layer3.mbconv_e6_k5.depthwise.conv.kernel_size == (5, 5)
    assert model.layer3.mbconv_e6_k5.depthwise.conv.groups == 64 * 6


def test_blocks_add_their_input_where_the_shape_is_kept():
    assert isinstance(SMALL, Plain)
    arch = SMALL.space.decode(parse("11101010"))
    with seeded(0):
        model, plain, x = SMALL.build(arch).eval(), SMALL.without_shortcuts(arch).eval(), torch.randn(2, 4, 4, 4)
    plain.load_state_dict(model.state_dict())
    kept = model.layer2.mbconv_e3_k3, plain.layer2.mbconv_e3_k3
    torch.testing.assert_close(kept[0](x) - x, kept[1](x))
    halved = model.layer3.mbconv_e3_k3, plain.layer3.mbconv_e3_k3
    torch.testing.assert_close(halved[0](x), halved[1](x))


def test_every_network_borrows_from_the_supernet_by_name():
    with seeded(0):
        supernet = SMALL.supernet().eval()
        (x,) = SMALL.inputs({}, 2)
    tensors = supernet.state_dict()
    assert supernet(x).shape == (2, 10)
    used = set()
    for digit in "012":
        model = build(SMALL, digit * 8).eval()
        own = model.state_dict()
        assert {name: tensor.shape for name, tensor in own.items()}.items() <= {
            name: tensor.shape for name, tensor in tensors.items()
        }.items()
        assert functional_call(model, {name: tensors[name] for name in own}, (x,)).isfinite().all()
        used |= set(own)
    assert used == set(tensors)


def test_operations_are_averaged():
    x = torch.randn(2, 3)
    torch.testing.assert_close(Mixed({"one": nn.Identity(), "two": nn.ReLU()})(x), (x + x.relu()) / 2)


def test_blocks_and_roles():
    model = build(SMALL, "01000000")
    assert SMALL.blocks(model)[0] == "stem" and SMALL.blocks(model)[-1] == "head"
    assert [name for name, role in SMALL.roles(model).items() if role == "head"] == ["classifier.linear.weight"]


# --- the table ------------------------------------------------------------------------------------------------------


@needs_table
def test_known_rows_of_the_table(tabulated, table):
    assert round(tabulated.value("cifar10_test_acc", parse("22212202")), 2) == 93.13
    assert round(tabulated.value("cifar10_test_acc", parse("00000000")), 2) == 45.36
    best = tabulated.column("cifar10_test_acc")
    assert len(best) == 3969 and round(best.max(), 2) == 93.13 and round(best.min(), 2) == 45.36
    row = int(np.flatnonzero(table["arch_str"] == "22212202")[0])
    for run in range(3):
        value = tabulated.value(f"cifar10_test_acc{run}", parse("22212202"))
        assert value == pytest.approx(float(table["cifar10_test_acc"][row, run]))
    with pytest.raises(ConfigError, match=r"known: .*cifar10_test_acc"):
        tabulated.column("arch")


@needs_table
def test_the_metric_reads_it(tabulated, table):
    metric = Tabular(tabulated, "cifar10_test_acc", unit="percent")
    metric.prepare()
    every = codes.array(tabulated.space, [parse(str(text)) for text in table["arch_str"]])
    accuracy = table["cifar10_test_acc"].astype(np.float64).mean(axis=1)
    np.testing.assert_allclose(metric.of_codes(every), accuracy, rtol=1e-12)
    assert metric(Candidate(tabulated, parse("22212202"))) == pytest.approx(accuracy.max())
    flops = Tabular(tabulated, "flops").of_codes(every)
    assert flops.tolist() == tabulated.counts(every)[0].tolist()


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return NasBenchMacro(table=str(path))


def test_csv(tmp_path):
    text = "arch,accuracy,note\n00000001,10,low\n00000010,20,\n22222222,,unknown\n00102000,5,\n"
    family = written(tmp_path / "some.csv", text)
    assert family.value("accuracy", parse("00000010")) == 15.0  # a network of two rows
    np.testing.assert_array_equal(family.column("accuracy"), [15.0, np.nan, 5.0])
    assert family.values("accuracy", np.array([parse("00120000"), parse("00000001")])).tolist() == [5.0, 15.0]
    with pytest.raises(MetricError, match="no 'accuracy' for 22222222"):
        family.value("accuracy", parse("22222222"))
    with pytest.raises(MetricError, match="no row for 11111111"):
        family.value("accuracy", parse("11111111"))
    for column, reason in [("acuracy", "did you mean 'accuracy'"), ("note", "named 'note'"), ("arch", "named 'arch'")]:
        with pytest.raises(ConfigError, match=reason):
            family.column(column)


def test_npz_with_a_matrix_of_architectures_and_runs(tmp_path):
    path = tmp_path / "some.npz"
    runs = np.array([[1.0, 2.0, 6.0], [4.0, np.nan, 5.0]], dtype=np.float32)
    np.savez(path, arch=np.array([parse("00000000"), parse("22222222")], dtype=np.int8), runs=runs)
    family = NasBenchMacro(table=str(path))
    assert family.column("runs").tolist() == [3.0, 4.5]
    assert family.value("runs2", (2,) * 8) == 5.0
    with pytest.raises(ConfigError, match=r"known: runs0, runs1, runs2, runs$"):
        family.column("arch0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("arch,accuracy\n00000003,1\n", "'00000003' is no network"),
        ("arch,accuracy\n000000000001,1\n222222222,2\n", "'222222222' is no network"),
        ("cell,accuracy\n00000001,1\n", "no column `arch_str` or `arch`"),
        ("arch,accuracy\n", "no rows"),
    ],
)
def test_tables_that_make_no_sense(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        written(tmp_path / "some.csv", text).column("accuracy")


def test_files_that_are_no_tables(tmp_path):
    for path, reason in [("missing.npz", "does not exist"), ("some.pkl", "is a file named .csv")]:
        with pytest.raises(ConfigError, match=reason):
            NasBenchMacro(table=str(tmp_path / path)).column("accuracy")
    with pytest.raises(ConfigError, match="set its option `table`"):
        NasBenchMacro().column("accuracy")


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"channels": 0}, {"classes": 0}, {"resolution": -8}, {"resolution": 28}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        NasBenchMacro(**options)


def test_is_a_part():
    family = parts.make("families", {"nasbenchmacro": {"channels": 4}})
    assert parts.spec_of(family) == {"families.nasbenchmacro": {"channels": 4}}
    assert family.space.choices[0].values == OPERATIONS
