"""A table as a family: what is taken as a choice, which row answers, and whole runs over it."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas import codes, deploy, parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, DataError, ExportError, InfeasibleError, MetricError
from hwnas.families.table import Table
from hwnas.quality.ofa_surrogate import OfaSurrogate
from hwnas.quality.tabular import Tabular

SHARED = (Path(__file__).parents[2] / ".." / "shared" / "data").resolve()
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded tables are not here")


@pytest.fixture
def table(tmp_path):
    """Writes lines as a CSV file and gives the family."""

    def make(*lines, **options):
        (tmp_path / "nets.csv").write_text("\n".join(lines), encoding="utf-8")
        return Table(str(tmp_path / "nets.csv"), **options)

    return make


def choices_of(family):
    return {choice.name: choice.values for choice in family.space.choices}


GRID = ["depth,act,params,accuracy,note"]
GRID += [
    f"{depth},{act},{1000 * depth + len(act)},{60 + depth + len(act) / 10},{depth} {act}"
    for depth, act in itertools.product((4, 2, 10), ("silu", "relu6"))
]


# --- what is a choice -----------------------------------------------------------------------------------------------


def test_few_whole_numbers_and_words_are_choices(table):
    family = table(*GRID)
    assert choices_of(family) == {"depth": (2, 4, 10), "act": ("relu6", "silu")}
    assert family.column("params").tolist() == [4004, 4005, 2004, 2005, 10004, 10005]
    assert family.name == "nets"
    assert "6 rows; choices: depth, act; values: params, accuracy" in family.summary


def test_explicit_choices_win(table):
    family = table(*GRID, choices=("accuracy",))
    assert choices_of(family) == {"accuracy": tuple(sorted(float(line.split(",")[3]) for line in GRID[1:]))}
    assert family.column("depth").tolist() == [4, 4, 2, 2, 10, 10]


def test_where_rows_hold_architectures_nothing_else_is_a_choice(table):
    rows = [f"\"{{'k': [{k}, 3], 'r': [224]}}\",{k % 2},{k * 10}" for k in (3, 5, 7, 5)]
    family = table("arch,odd,macs", *rows)
    assert choices_of(family) == {"k0": (3, 5, 7)}, "what never varies is left out"
    assert family.column("odd").tolist() == [1, 1, 1]
    assert choices_of(table("arch,odd,macs", *rows, choices=("arch", "odd"))) == {
        "k0": (3, 5, 7),
        "k1": (3,),
        "r": (224,),
        "odd": (1,),
    }
    with pytest.raises(ConfigError, match="no column of numbers named 'r'"):
        family.column("r")


def test_arrays_may_be_named_as_choices(tmp_path):
    grid = np.array(list(itertools.product(range(3), range(2))))
    np.savez(tmp_path / "t.npz", ops=["a", "b", "c"], arch=grid, other=grid[::-1], acc=np.arange(6) / 7)
    family = Table(str(tmp_path / "t.npz"), choices=("arch",))
    assert choices_of(family) == {"arch0": (0, 1, 2), "arch1": (0, 1)}
    assert family.value("acc", (2, 1)) == 5 / 7
    assert family.value("other0", (2, 1)) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"choices": ("dept",)}, "has no column 'dept'; did you mean 'depth'"),
        ({"choices": ("depth",), "when": {"act": {"depth": 2}}}, "`when` names 'act', which is no choice"),
        ({"when": {"act": {"size": 2}}}, "`when` names 'size', which is no choice"),
        ({"when": {"act": {"depth": 3}}}, "the condition of choice 'act' holds in no row"),
        ({"when": {"act": {"depth": 2}, "depth": {"act": "silu"}}}, "goes round in a ring"),
    ],
)
def test_choices_that_are_not_there(table, options, told):
    with pytest.raises((ConfigError, DataError), match=told):
        table(*GRID, **options).space  # noqa: B018  # read at first use


def test_options_that_make_no_sense():
    for choices in ((), ("a", "a")):
        with pytest.raises(ConfigError, match="names of columns, none twice"):
            Table("t.csv", choices=choices)
    for condition in ({}, {"b": 1, "c": 2}):
        with pytest.raises(ConfigError, match="'a' may depend on one other choice"):
            Table("t.csv", when={"a": condition})


def test_tables_without_choices(table):
    with pytest.raises(ConfigError, match=r"no column .* looks like a choice.*\n.*columns: x, y"):
        table("x,y", "0.5,1.5", "0.6,1.7").space  # noqa: B018
    with pytest.raises(DataError, match="its 2 rows are about one and the same network"):
        table("k,y", "3,1.5", "3,1.7", choices=("k",)).space  # noqa: B018


# --- values ---------------------------------------------------------------------------------------------------------


def test_rows_of_one_network_count_as_their_mean(table):
    family = table("k,acc,lat", "3,70,1", "5,80,", "3,71,nan", "5,82,", "3,,4", choices=("k",))
    assert family.column("acc").tolist() == [70.5, 81]
    assert family.value("lat", (0,)) == 2.5
    with pytest.raises(MetricError, match=r"has no 'lat' for \{'k': 5\}"):
        family.value("lat", (1,))
    assert "5 rows about 2 networks" in family.summary


def test_columns_that_hold_no_values(table):
    family = table(*GRID, "2,silu,oops,1,x")
    with pytest.raises(DataError, match=r"nets\.csv', line 2, column 'note': '4 silu' is no number"):
        family.column("note")
    with pytest.raises(ConfigError, match=r"'depth' .* was taken as a choice"):
        family.column("depth")
    with pytest.raises(ConfigError, match=r"did you mean 'accuracy'.*\nas choices were taken: depth, act"):
        family.column("accurracy")


def test_a_choice_without_a_value(table):
    with pytest.raises(DataError, match=r"line 3, column 'act': a choice without a value\n.*`when: \{act"):
        table("depth,act,acc", "2,relu,1.5", "3,,1.6", choices=("depth", "act")).space  # noqa: B018


# --- conditions -----------------------------------------------------------------------------------------------------


def test_conditions_make_rows_one_network(table):
    lines = ["second,depth,third,acc", "3,2,,70", "5,2,9,72", "5,1,7,60", ",1,,62", "3,3,7,80", "3,3,9,82"]
    when = {"third": {"depth": 3}, "second": {"depth": [2, 3]}}
    family = table(*lines, choices=("second", "depth", "third"), when=when)
    assert [choice.name for choice in family.space.choices] == ["depth", "second", "third"]
    assert choices_of(family)["third"] == (7, 9), "what stands where it does not matter is no value"
    assert family.column("acc").tolist() == [70, 72, 61, 80, 82]
    assert family.space.decode(family.canonical((0, 1, 1))) == {"depth": 1}
    assert family.value("acc", (0, 1, 1)) == 61


def test_conditions_may_rest_on_conditions(table):
    lines = ["a,b,c,acc", "1,,,1.5", "2,3,,2.5", "2,4,5,3.5", "2,4,6,4.5"]
    family = table(*lines, choices=("c", "b", "a"), when={"b": {"a": 2}, "c": {"b": [4]}})
    assert [choice.name for choice in family.space.choices] == ["a", "b", "c"]
    assert family.space.size == 4 == len(family.column("acc"))
    assert [family.value("acc", code) for code in family.space.codes()] == [1.5, 2.5, 3.5, 4.5]


# --- sparse tables --------------------------------------------------------------------------------------------------


def brute_force(family, code):
    """The first row with the fewest differing choices, an inactive one being a value of its own."""
    space = family.space

    def marked(own):
        return [index if on else None for index, on in zip(own, space.active(own), strict=True)]

    listed = family._listed.codes
    far = [sum(map(lambda a, b: a != b, marked(own), marked(code))) for own in listed]
    return listed[far.index(min(far))]


def test_the_nearest_row_answers(tmp_path):
    rng = np.random.default_rng(0)
    names = ["depth", "k0", "k1", "k2", "k3"]
    rows = [[int(rng.integers(1, 4)), *rng.integers(3, 6, size=4).tolist(), rng.random()] for _ in range(25)]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*names, "acc"], *rows])
    family = Table(str(tmp_path / "t.csv"), tuple(names), {"k2": {"depth": [2, 3]}, "k3": {"depth": 3}})
    every = list(family.space.codes())
    assert len(family.column("acc")) < len(every)
    answers = [brute_force(family, code) for code in every]
    assert [family.canonical(code) for code in every] == answers
    value = dict(zip(family._listed.codes, family.column("acc").tolist(), strict=True))
    assert family.values("acc", codes.array(family.space, every)).tolist() == [value[code] for code in answers]
    assert family.values("acc", np.empty((0, 5), dtype=np.int64)).shape == (0,)


def test_listed_networks_stand_for_themselves(table):
    family = table(*GRID)
    for code in family.space.codes():
        assert family.canonical(code) == code
        arch = family.space.decode(code)
        assert family.value("params", code) == 1000 * arch["depth"] + len(arch["act"])


# --- whole runs -----------------------------------------------------------------------------------------------------


def experiment(family, **changes):
    (spec,) = parts.spec_of(family).items()
    return {
        "family": dict([spec]),
        "goals": {
            "accuracy": {"max": {"quality.tabular": {"column": "acc", "unit": "percent"}}},
            "latency": {"min": {"quality.tabular": {"column": "ms", "scale": 0.001, "unit": "s"}}, "limit": "60%"},
        },
        "search": "random",
        "budget": 40,
        "confirm": 4,
    } | changes


@pytest.fixture
def formula(table):
    """Every network of three choices: accuracy grows with size, less and less; latency with size."""
    lines = [
        f"{depth},{kernel},{expand},{100 - 100 / (depth * kernel * expand)},{depth * kernel * expand / 2}"
        for depth, kernel, expand in itertools.product((1, 2, 3), (3, 5, 7), (2, 4))
    ]
    return table("depth,kernel,expand,acc,ms", *lines)


def test_a_search_runs_from_start_to_end(formula, tmp_path):
    told = []
    run = tmp_path / "run"
    study = hwnas.search(experiment(formula), run=run, watch=lambda progress: told.append(progress.message))
    limit = 0.6 * 3 * 7 * 4 / 2000
    assert study.goals[1].limit == pytest.approx(limit)
    chosen = deploy.pick(study)
    assert chosen.values["latency"] == max(
        size / 2000
        for size in (d * k * e for d, k, e in itertools.product((1, 2, 3), (3, 5, 7), (2, 4)))
        if size / 2000 <= limit
    )
    assert len(study.trials()) == formula.space.size == 18
    assert any("nothing is exported: family 'nets' holds values, and no networks" in message for message in told)
    assert not (run / "models").exists() or not list((run / "models").iterdir())
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"{chosen.values['accuracy']:.1f} %" in page
    with pytest.raises(ExportError, match="holds values, and no networks"):
        hwnas.export(hwnas.load(run), chosen, tmp_path / "model.onnx")
    again = hwnas.resume(run, overrides=["budget=60"])
    assert len(again.trials()) == 18


def test_any_search_runs_on_a_sparse_table(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["arch,acc,ms"]
    for _ in range(60):
        ks = rng.choice([3, 5, 7], size=8)
        rows.append(f"\"{{'ks': {ks.tolist()}}}\",{ks.sum() + rng.random()},{ks.prod() / 1000}")
    (tmp_path / "sparse.csv").write_text("\n".join(rows), encoding="utf-8")
    family = Table(str(tmp_path / "sparse.csv"))
    for search in ("nsga2", "evolution", "random"):
        study = hwnas.search(experiment(family, search=search), run=tmp_path / search)
        listed = set(family._listed.codes)
        assert {trial.code for trial in study.trials()} <= listed
        assert len(study.trials()) > 10
        largest = family.value("ms", family.space.largest) / 1000
        assert study.goals[1].limit == pytest.approx(0.6 * largest)


def test_goals_that_need_a_network_are_refused_before_the_search(formula, tmp_path):
    for goal in ("hardware.macs", "hardware.params", "quality.synflow"):
        goals = {"accuracy": {"max": {"quality.tabular": {"column": "acc"}}}, "other": {"min": goal}}
        with pytest.raises(ConfigError, match="holds values and no networks"):
            hwnas.search(experiment(formula, goals=goals), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_limit_that_no_row_keeps_is_told_before_the_search(formula, tmp_path):
    goals = {"latency": {"min": {"quality.tabular": {"column": "ms"}}, "limit": 1.0}}
    with pytest.raises(InfeasibleError, match="no network meets latency <= 1"):
        hwnas.search(experiment(formula, goals=goals), run=tmp_path / "run")


# --- recorded tables ------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("device", ["cpu_raspberrypi", "cpu_xeon", "gpu_titanxp"])
def test_hat_latencies(device):
    path = SHARED / "latency" / "hat" / f"wmt14ende_{device}_all.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = tuple(name for name in rows[0] if not name.startswith("latency"))
    family = Table(str(path), choices=names)
    means: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        means.setdefault(tuple(row[name] for name in names), []).append(float(row["latency_mean_decoder"]))
    column = family.column("latency_mean_decoder")
    assert column == pytest.approx([math.fsum(own) / len(own) for own in means.values()])
    first = {name: float(rows[0][name]) for name in names}
    code = family.space.encode({c.name: next(v for v in c.values if v == first[c.name]) for c in family.space.choices})
    assert family.value("latency_mean_decoder", code) == column[0]
    assert choices_of(Table(str(path))) == {
        "encoder_embed_dim": (512, 640),
        "decoder_embed_dim": (512, 640),
        "decoder_layer_num": (1, 2, 3, 4, 5, 6),
    }


OFA = {
    f"{kind}{4 * stage + block}": {f"d{stage}": list(range(block + 1, 5))}
    for stage in range(5)
    for block in (2, 3)
    for kind in ("ks", "e")
}
"""Blocks that exist at some depths only, as DyNAS-T's records of Once-for-All have them."""


@needs_data
@pytest.mark.parametrize(
    ("file", "networks"),
    [
        ("mbnv3w10_evoga_acc", 362),
        ("mbnv3w10_evonsga2_acc_macs", 530),
        ("mbnv3w10_evounsga3_acc_macs_params", 544),
        ("mbnv3w10_linasga_acc", 361),
        ("mbnv3w10_linasnsga2_acc_macs", 515),
    ],
)
def test_once_for_all_records(file, networks):
    """The numbers of effective architectures are the published ones; MACs are exact for every one of them."""
    family = Table(str(SHARED / "ofa_search" / f"{file}.csv"), when=OFA)
    accuracy = family.column("Top-1 Acc (%)")
    assert len(accuracy) == networks and 70 < accuracy.min() < accuracy.max() < 78
    assert networks < family.space.size <= (9**2 + 9**3 + 9**4) ** 5
    surrogate = OfaSurrogate(parts.make("families", "mobilenetv3"), "unused.json.gz")
    archs = [family.space.decode(code) for code in family._listed.codes]
    space = surrogate.family.space
    own = [space.encode(_translated(arch)) for arch in archs]
    assert surrogate.family.counts(codes.array(space, own))[0].tolist() == family.column("MACs").tolist()


def _translated(arch):
    """A row as an architecture of the family `mobilenetv3`."""
    own = {}
    for name, value in arch.items():
        kind, number = name.rstrip("0123456789"), int(name.lstrip("kse d"))
        if kind == "d":
            own[f"stage{number + 1}.depth"] = value
        else:
            axis = {"ks": "kernel", "e": "expand"}[kind]
            own[f"stage{number // 4 + 1}.block{number % 4 + 1}.{axis}"] = value
    return own


@needs_data
@pytest.mark.parametrize(
    ("file", "rows", "choices", "column", "low", "high"),
    [
        ("results_mbnv3w1p2_macs.csv", 500, 45, "Top-1 Acc (%)", 74.372, 79.170),
        ("results_bertbase_sst2_macs.csv.gz", 1998, 25, "SST-2 Acc", 0.8612, 0.9312),
        ("results_transformerlt_macs.csv.gz", 500, 39, "BLEU", 21.645, 27.137),
        ("results_ofa_resnet50_quant.csv.gz", 500, 151, "Top-1 Acc (%)", 76.420, 79.836),
    ],
)
def test_other_recorded_searches(file, rows, choices, column, low, high):
    family = Table(str(SHARED / "ofa_search" / file))
    values = family.column(column)
    assert (len(values), len(family.space)) == (rows, choices)
    assert (values.min(), values.max()) == pytest.approx((low, high), abs=1e-3)


@needs_data
def test_full_benchmarks():
    for file, networks, choices, column in (
        ("nasbench_macro", 6561, 8, "flops"),
        ("nasbench201", 15625, 6, "cifar10_test200"),
    ):
        path = SHARED / "zero_cost" / f"{file}.npz"
        family = Table(str(path))
        assert family.space.size == networks and len(family.space) == choices
        arrays = np.load(path, allow_pickle=False)
        rows = arrays["arch"][::500]
        assert family.values(column, rows.astype(np.int64)).tolist() == arrays[column][::500].astype(float).tolist()
        assert [family.canonical(code) for code in codes.tuples(rows)] == codes.tuples(rows)


@needs_data
def test_a_benchmark_is_the_same_through_its_own_family():
    path = str(SHARED / "zero_cost" / "nasbench201.npz")
    own, plain = parts.make("families", {"nasbench201": {"table": path}}), Table(path)
    text = {
        word: index
        for index, word in enumerate(("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
    }
    for code in itertools.islice(own.space.codes(), 0, None, 999):
        ops = [text[op] for op in own.space.decode(code).values()]
        edges = dict(zip(((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)), ops, strict=True))
        same = plain.space.encode({f"arch{place}": op for place, op in enumerate(edges.values())})
        metrics = [Tabular(family, "cifar10_test200") for family in (own, plain)]
        assert metrics[0](Candidate(own, code)) == metrics[1](Candidate(plain, same))
