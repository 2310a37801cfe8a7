"""DyNAS: the snippets of the documentation, both generations' interfaces, and what must be a clear error."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hwnas.compat.dynast.supernets import find
from hwnas.compat.neural_compressor import NAS, Config, DyNAS, DyNASConfig, NASConfig
from hwnas.errors import ConfigError, DataError, SpaceError

SURROGATE = Path(__file__).parents[4] / "shared" / "data" / "ofa_search" / "surrogate_mbv3w10_top1.json.gz"
MBV3 = "ofa_mbv3_d234_e346_k357_w1.2"
RESNET = "ofa_resnet50"
"""Its networks are counted and not built, which takes no time."""

YAML = """\
nas:
  approach: 'dynas'
  search:
    search_algorithm: 'nsga2'
    seed: 42
  dynas:
    supernet: 'ofa_mbv3_d234_e346_k357_w1.2'
    metrics: ['acc', 'macs']
    population: 50
    num_evals: 250
    results_csv_path: 'search_results.csv'
    batch_size: 64
    dataset_path: '/datasets/imagenet-ilsvrc2012' #example
"""
FROM_YAML = """
from hwnas.compat.neural_compressor.experimental import NAS
agent = NAS('/path/to/user/yaml')
results = agent.search()
"""
FROM_PYTHON = """
from hwnas.compat.neural_compressor.conf.config import NASConfig
from hwnas.compat.neural_compressor.experimental import NAS
config = NASConfig(approach='dynas', search_algorithm='nsga2')
config.dynas.supernet = 'ofa_mbv3_d234_e346_k357_w1.2'
config.dynas.metrics = ['acc', 'macs']
config.dynas.population = 50
config.dynas.num_evals = 250
config.dynas.results_csv_path = 'search_results.csv'
config.dynas.batch_size = 64
config.dynas.dataset_path = '/datasets/imagenet-ilsvrc2012' #example
agent = NAS(config)
results = agent.search()
"""
"""The documentation's own words, but for the import lines."""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HWNAS_SURROGATE", raising=False)


@pytest.fixture
def surrogate(monkeypatch):
    if not SURROGATE.exists():
        pytest.skip("the published evaluations in shared/ are not here")
    monkeypatch.setenv("HWNAS_SURROGATE", str(SURROGATE))


def run(snippet, *changes):
    """The variables that a snippet leaves; each change replaces a piece of its text."""
    for old, new in changes:
        assert old in snippet
        snippet = snippet.replace(old, new)
    names = {}
    exec(snippet, names)
    return names


def written(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def dynas(**options):
    search_algorithm = options.pop("search_algorithm", "nsga2")
    options = {"supernet": RESNET, "metrics": ["params", "macs"], "population": 10, "num_evals": 20, **options}
    return NAS(NASConfig("dynas", search_algorithm=search_algorithm, dynas=DyNASConfig(**options)))


# --- the documentation -----------------------------------------------------------------------------------------------

SMALL = ("population: 50", "population: 10"), ("num_evals: 250", "num_evals: 20")
SMALL_PYTHON = ("population = 50", "population = 10"), ("num_evals = 250", "num_evals = 20")


@pytest.mark.parametrize("supernet", [RESNET, pytest.param(MBV3, marks=pytest.mark.slow)])
def test_the_yaml_snippet(supernet, tmp_path):
    text = YAML.replace("'acc'", "'params'").replace(MBV3, supernet)
    for old, new in SMALL:
        text = text.replace(old, new)
    (tmp_path / "user.yaml").write_text(text)
    names = run(FROM_YAML, ("/path/to/user/yaml", str(tmp_path / "user.yaml")))
    assert type(names["agent"]) is DyNAS
    assert len(names["results"]) == 10
    assert all(set(network) == {gene.name for gene in find(supernet).genes} for network in names["results"])
    assert len(written("search_results.csv")) == 20
    assert (tmp_path / "user.yaml").read_text() == text


def test_the_python_snippet():
    names = run(FROM_PYTHON, *SMALL_PYTHON, ("'acc'", "'params'"), (MBV3, RESNET))
    assert len(names["results"]) == 10
    assert len(written("search_results.csv")) == 20


def test_the_snippets_as_they_stand_say_what_they_lack(tmp_path):
    (tmp_path / "user.yaml").write_text(YAML)
    for snippet in (FROM_YAML.replace("/path/to/user/yaml", str(tmp_path / "user.yaml")), FROM_PYTHON):
        with pytest.raises(ConfigError, match=r"nas\.dynas\.dataset_path: there is no folder /datasets/imagenet"):
            run(snippet)
    with pytest.raises(ConfigError, match=r"w1\.2 needs nas\.dynas\.dataset_path and nas\.dynas\.supernet_ckpt_path"):
        run(FROM_PYTHON, ("'/datasets/imagenet-ilsvrc2012'", "None"))
    assert not (tmp_path / "search_results.csv").exists()


def test_the_python_snippet_with_the_surrogate(surrogate):
    none = "'/datasets/imagenet-ilsvrc2012'", "None"
    names = run(FROM_PYTHON, *SMALL_PYTHON, ("w1.2", "w1.0"), none)
    agent, results = names["agent"], names["results"]
    assert len(results) == 10
    agent.create_acc_predictor()
    agent.create_macs_predictor()
    agent.create_latency_predictor()
    assert agent.latency_predictor is None
    rows = {row["Sub-network"]: row for row in written("search_results.csv")}
    for network in results:
        code = agent.supernet.code(network)
        row, vector = rows[str(agent.supernet.row(code))], agent.supernet.vector(code)
        values = agent.estimate(vector)
        assert list(values) == ["accuracy_top1", "macs"]
        assert values["accuracy_top1"] == pytest.approx(float(row["Top-1 Acc (%)"]))
        assert values["macs"] == float(row["MACs"]) == agent.macs_predictor.predict(vector)[0]
        assert agent.acc_predictor.predict(vector)[0] == pytest.approx(values["accuracy_top1"], abs=0.5)


# --- results ---------------------------------------------------------------------------------------------------------


def test_results_are_evaluated_and_as_many_as_the_population():
    agent = dynas(population=10, num_evals=10)
    results = agent.search()
    rows = [row["Sub-network"] for row in written("NASResults/search_results.csv")]
    assert len(results) == len(rows) == 10
    assert {str(agent.supernet.row(agent.supernet.code(network))) for network in results} == set(rows)
    assert agent.best_model_archs == results


def test_a_population_smaller_than_the_front_keeps_its_ends():
    small, whole = dynas(population=4), dynas(population=16)
    everything = whole.search()
    assert len(everything) >= 16
    results = small.search()
    assert len(results) == 4
    macs = [counts(small, network)[0] for network in results]
    assert min(macs) == min(counts(small, network)[0] for network in everything)


def counts(agent, network):
    agent.create_macs_predictor()
    return agent.macs_predictor.predict(agent.supernet.vector(agent.supernet.code(network)))


def test_a_second_search_continues_from_the_file():
    first = dynas().search()
    before = Path("NASResults/search_results.csv").read_text()
    assert dynas().search() == first
    assert Path("NASResults/search_results.csv").read_text() == before
    dynas(num_evals=26).search()
    after = Path("NASResults/search_results.csv").read_text()
    assert after.startswith(before) and len(after.splitlines()) == 27


def test_seeds_are_honoured(tmp_path):
    def found(seed, folder):
        config = NASConfig("dynas", dynas=DyNASConfig(RESNET, ["macs", "params"], 5, 8))
        config.seed = seed
        NAS(config).search(tmp_path / folder)
        return [row["Sub-network"] for row in written(tmp_path / folder / "NASResults" / "search_results.csv")]

    assert found(1, "a") == found(1, "b") != found(2, "c")


def test_other_supernets_by_their_exact_counts():
    config = NASConfig("dynas", dynas=DyNASConfig("ofa_resnet50", ["macs"], population=6, num_evals=12))
    agent = NAS(Config(nas=config))
    (best, *_) = agent.search()
    assert set(best) == {"d", "e", "w"}
    assert agent.estimate(agent.supernet.vector(agent.supernet.space.smallest)) == {"macs": 962_192_128}


# --- the older interface ---------------------------------------------------------------------------------------------


def test_vectors_are_checked():
    agent = dynas()
    with pytest.raises(SpaceError, match="has 29 entries, this one has 3"):
        agent.estimate([0, 1, 2])
    with pytest.raises(SpaceError, match="indices from 0 to 2"):
        agent.estimate(np.full(29, 3))


def test_predictors_are_made_for_the_metrics_that_count():
    agent = dynas(metrics=["params"])
    for name in ("acc", "macs", "latency"):
        getattr(agent, f"create_{name}_predictor")()
        assert getattr(agent, f"{name}_predictor") is None


def test_there_must_be_results_to_learn_from(surrogate):
    agent = dynas(supernet="ofa_mbv3_d234_e346_k357_w1.0", metrics=["acc", "macs"])
    with pytest.raises(DataError, match=r"no results in .*search_results\.csv(.|\n)*run agent\.search"):
        agent.create_acc_predictor()


def test_old_metric_names_are_understood():
    assert dynas(metrics=["acc", "lat", "macs"]).metrics == ["accuracy_top1", "latency", "macs"]
    assert dynas(supernet="transformer_lt_wmt_en_de", metrics=["acc"]).metrics == ["bleu"]
    assert dynas(supernet="bert_base_sst2", metrics=["acc"]).metrics == ["accuracy_sst2"]


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = {
    r"nas\.dynas\.supernet: is missing": {"supernet": None},
    r"nas\.dynas\.metrics: is missing": {"metrics": None},
    "unknown super-network 'ofa_resnet51'; did you mean 'ofa_resnet50'": {"supernet": "ofa_resnet51"},
    r"nas\.dynas\.metrics: .* no metric 'mac'; did you mean 'macs'": {"metrics": ["mac"]},
    r"nas\.dynas\.num_evals must be": {"num_evals": 0},
    r"nas\.dynas\.population must be": {"population": 0},
    r"nas\.dynas\.batch_size must be": {"batch_size": 0},
    r"nas\.dynas\.test_fraction must be": {"test_fraction": 1.5},
    r"nas\.dynas\.results_csv_path: there is no folder": {"results_csv_path": "nowhere/results.csv"},
    r"nas\.search\.search_algorithm ga ": {"search_algorithm": "ga"},
}


@pytest.mark.parametrize("told", WRONG)
def test_what_is_wrong_is_told_in_the_configurations_own_words(told, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=told):
        dynas(**{"results_csv_path": "results.csv", **WRONG[told]}).search()
    assert sorted(tmp_path.rglob("*")) == before


def test_options_without_effect_are_told(caplog):
    dynas(num_workers=8).init_for_search()
    assert "nas.dynas.num_workers has no effect" in caplog.text


def test_a_section_for_dynas_is_needed(tmp_path):
    (tmp_path / "nas.yaml").write_text("nas: {approach: dynas}")
    with pytest.raises(ConfigError, match=r"nas\.dynas\.supernet: is missing"):
        NAS(tmp_path / "nas.yaml")
