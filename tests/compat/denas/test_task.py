"""Conf files and flags as configurations of hwnas: engines, budgets, limits in their units, the score's weights."""

from __future__ import annotations

import pytest

from hwnas.compat.denas.task import Options, task
from hwnas.config import check
from hwnas.errors import ConfigError

from ._files import EXAMPLES, SMALL, conf


def made(domain, place, flags=None, **changes):
    return task(Options(domain, conf(place, domain, **changes), **(flags or {})))


def of_denas(domain, **flags):
    return task(Options(domain, str(EXAMPLES / f"e2eaiok_denas_{domain}.conf"), **flags))


@pytest.mark.parametrize("domain", ["cnn", "vit", "bert", "asr", "hf"])
def test_the_files_of_denas_are_configurations(domain):
    config = check(of_denas(domain).raw)
    assert config.budget == 1000 and config.seed == 0
    assert config.goals[0].name == "score" and config.goals[0].objective
    assert [goal.name for goal in config.goals if goal.objective] == ["score"]


def test_evolution():
    assert of_denas("vit").raw["search"] == {
        "denas": {
            "population": 50,
            "mutation": 25,
            "crossover": 25,
            "select": 50,
            "sample": 1,
            "scale_factor": 10,
            "m_prob": 0.2,
            "s_prob": 0.4,
        }
    }


def test_evolution_of_cnns_begins_with_the_structure_of_the_file():
    cnn = of_denas("cnn")
    (options,) = cnn.raw["search"].values()
    assert options["population"] == 0 and options["mutation"] == 4 and options["m_prob"] is None
    assert [cnn.family.structure_of(arch) for arch in options["start"]] == [cnn.family.structure]
    assert any("4 at a time" in note for note in cnn.notes)


def test_without_children_everything_is_random(tmp_path):
    raw = made("vit", tmp_path, mutation_num=0, crossover_num=0, population_num=3, max_epochs=4).raw
    assert raw["search"]["denas"]["random"] == 3 and raw["budget"] == 12
    with pytest.raises(ConfigError, match="are all 0"):
        made("vit", tmp_path, mutation_num=0, crossover_num=0, population_num=0)


@pytest.mark.parametrize(
    ("engine", "search", "budget"),
    [
        ("RandomSearchEngine", "random", 3),
        ("SigoptSearchEngine", "bayesian", 7),
        ("MOSigoptSearchEngine", "bayesian", 7),
    ],
)
def test_other_engines(engine, search, budget, tmp_path):
    raw = made("vit", tmp_path, search_engine=engine, sigopt_max_epochs=7).raw
    assert list(raw["search"]) == [search] and raw["budget"] == budget


def test_two_goals_of_the_multi_objective_engine(tmp_path):
    found = made("vit", tmp_path, search_engine="MOSigoptSearchEngine", latency_weight=3, budget_latency_max=0.5)
    goals = check(found.raw).goals
    assert [(goal.name, goal.direction) for goal in goals if goal.objective] == [("score", "max"), ("latency", "min")]
    assert goals[-1].limit == 0.5 * 4
    assert "latency" not in found.raw["goals"]["score"]["max"]["quality.de_score"]
    assert any("left out of the score" in note for note in found.notes)


def test_limits_on_parameters_are_millions(tmp_path):
    goals = made("bert", tmp_path, max_param_limits=2, min_param_limits=1).raw["goals"]
    body = {"hwnas.compat.denas.body": {}}
    assert goals["params"] == {"min": body, "limit": 2e6, "objective": False}
    assert goals["params_least"] == {"max": body, "limit": 1e6, "objective": False}
    assert "params_least" not in made("bert", tmp_path, min_param_limits=0).raw["goals"]
    assert "limit" not in made("bert", tmp_path).raw["goals"]["params"]
    with pytest.raises(ConfigError, match="no network has params of 2e\\+06 and more and of 1e\\+06 and less"):
        made("bert", tmp_path, max_param_limits=1, min_param_limits=2)


def test_hf_keeps_to_the_upper_half_unless_told_otherwise():
    assert of_denas("hf").raw["goals"]["params_least"]["limit"] == "50%"


def test_limits_on_latency_keep_the_units_of_their_domains(tmp_path):
    limits = {"batch_size": 8, "budget_latency_max": 0.5, "budget_latency_min": 0.25}
    for domain, most, least in (("cnn", 4.0, 2.0), ("vit", 4.0, 2.0), ("bert", 5e-4, 2.5e-4), ("asr", 5e-4, 2.5e-4)):
        goals = made(domain, tmp_path, **limits).raw["goals"]
        clock = {"hardware.measured": {"batch": 8}}
        assert goals["latency"] == {"min": clock, "limit": most, "objective": False}
        assert goals["latency_least"] == {"max": clock, "limit": least, "objective": False}


def test_budgets_of_cnns(tmp_path):
    budgets = {"budget_num_layers": 9, "budget_model_size": 5000, "budget_flops": 1e6}
    goals = made("cnn", tmp_path, **budgets).raw["goals"]
    limits = {name: goal.get("limit") for name, goal in goals.items() if not goal.get("objective", True)}
    assert limits == {"params": None, "layers": 9, "size": 5000, "flops": 1e6}


def test_weights_are_on_or_off():
    score = of_denas("bert").raw["goals"]["score"]["max"]["quality.de_score"]
    terms = {"expressivity": 0.0, "complexity": 0.0, "diversity": 1.0, "saliency": 1.0}
    assert score == {**terms, "latency": {"hardware.measured": {"batch": 1}}, "batch": 2}
    assert of_denas("cnn", pool=9).raw["goals"]["score"]["max"]["quality.de_score"] == {
        "expressivity": 1.0,
        "complexity": 1.0,
        "diversity": 0.0,
        "saliency": 1.0,
        "batch": 64,
        "pool": 9,
    }


def test_the_released_formula_takes_weights_as_they_are(tmp_path):
    found = made("cnn", tmp_path, {"formula": "intel"}, complexity_weight=0.5)
    score = found.raw["goals"]["score"]["max"]["quality.de_score"]
    assert score["formula"] == "intel" and score["complexity"] == 0.5 and score["saliency"] == 1.0
    with pytest.raises(ConfigError, match="--formula intel is for the domain cnn"):
        made("vit", tmp_path, {"formula": "intel"})


def test_another_score(tmp_path):
    found = made("cnn", tmp_path, {"score": "naswot"}, saliency_weight=0, complexity_weight=0, expressivity_weight=0)
    assert found.raw["goals"]["score"] == {"max": {"quality.naswot": {}}}
    with pytest.raises(ConfigError, match="did you mean 'naswot'"):
        made("cnn", tmp_path, {"score": "nasswot"})


def test_flags_come_before_the_file(tmp_path):
    found = made("cnn", tmp_path, {"seed": 7, "budget": 5, "workers": 2, "run": "here"}, seed=3)
    assert (found.raw["seed"], found.raw["budget"], found.raw["workers"]) == (7, 5, 2)
    assert str(found.folder) == "here"
    assert str(made("cnn", tmp_path).folder) == "runs/denas-cnn" and made("cnn", tmp_path, seed=3).raw["seed"] == 3
    assert any("--model_name is for the domain hf" in note for note in made("cnn", tmp_path, {"model_name": "x"}).notes)


WRONG = {
    "all weights are 0": (
        "cnn",
        {"expressivity_weight": 0, "complexity_weight": 0, "saliency_weight": 0},
        {},
        "are 0, so there is no score",
    ),
    "a broken structure": ("cnn", {"plainnet_struct": SMALL[:-3]}, {}, "conf: .*structure is no structure"),
    "patches that do not fit": ("vit", {"img_size": 30}, {}, "resolution must be a multiple of patch"),
    "no budget": ("cnn", {}, {"budget": 0}, "--budget must be a whole number from 1"),
    "a negative seed": ("cnn", {}, {"seed": -1}, "--seed must be"),
    "no workers": ("cnn", {}, {"workers": 0}, "--workers must be"),
    "a pool too small": ("cnn", {}, {"pool": 1}, "--pool must be a whole number from 4"),
    "an unknown formula": ("cnn", {}, {"formula": "intels"}, "did you mean 'intel'"),
}


@pytest.mark.parametrize(("domain", "changes", "flags", "message"), WRONG.values(), ids=WRONG)
def test_wrong(domain, changes, flags, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        made(domain, tmp_path, flags, **changes)
