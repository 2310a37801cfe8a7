"""Options are checked before work starts; what they stand for is a configuration of hwnas."""

from __future__ import annotations

import os

import pytest

from hwnas.compat.dynast.options import SURROGATE, Options, from_keywords, task
from hwnas.errors import ConfigError

from ._files import W10, W12, surrogate

COUNTS = {"optimization_metrics": ("macs", "params"), "measurements": ()}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Results go to a fresh folder, and the environment names no surrogate."""
    monkeypatch.delenv(SURROGATE, raising=False)
    monkeypatch.chdir(tmp_path)


def made(**options):
    return task(Options(**{"results_path": "results.csv", "supernet": "ofa_resnet50", **COUNTS, **options}))


def images(place, *folders):
    for name in folders:
        for kind in ("cat", "dog"):
            (place / name / kind).mkdir(parents=True)
    return str(place)


ACCURATE = {"supernet": W10, "optimization_metrics": ("accuracy_top1", "macs"), "measurements": ()}
WRONG = {
    "no evaluations": ({"num_evals": 0}, "--num_evals must be a whole number from 1"),
    "no population": ({"population": 0}, "--population must be"),
    "no objective": ({"optimization_metrics": ()}, "names no objective"),
    "four objectives": (
        {**ACCURATE, "optimization_metrics": ("params", "macs", "latency", "acc")},
        "1 to 3 objectives",
    ),
    "an algorithm that does not fit": ({"search_algo": "ga"}, "--search_algo ga takes"),
    "an unknown algorithm": ({"search_algo": "nsga3"}, "cannot be 'nsga3'; did you mean"),
    "an unknown tactic": ({"search_tactic": "lina"}, "did you mean 'linas'"),
    "an unknown metric": ({"measurements": ("mac",)}, "no metric 'mac'; did you mean 'macs'"),
    "a metric of another super-network": ({"measurements": ("bleu",)}, "has no metric 'bleu'"),
    "accuracy without a source": (ACCURATE, "needs --dataset_path and --supernet_ckpt_path"),
    "accuracy that no family can give": ({**ACCURATE, "supernet": "ofa_resnet50"}, "cannot be measured"),
    "latency that no family can give": ({"measurements": ("latency",)}, "latency of ofa_resnet50 cannot be measured"),
    "no such data set": ({**ACCURATE, "dataset_path": "nowhere"}, "there is no folder nowhere"),
    "a share of nothing": ({"test_fraction": 0.0}, "--test_fraction must be above 0"),
    "a share of more than all": ({"test_fraction": 1.5}, "--test_fraction must be above 0"),
    "a negative batch": ({"batch_size": -1}, "--batch_size must be"),
    "a negative batch of images": ({"eval_batch_size": -8}, "--eval_batch_size must be"),
    "negative workers": ({"workers": -2}, "--workers must be"),
    "negative loaders": ({"dataloader_workers": -2}, "--dataloader_workers must be"),
    "no results": ({"results_path": ""}, "--results_path is missing"),
    "results in a folder that is not there": ({"results_path": "no/where.csv"}, "there is no folder no"),
    "results that are a folder": ({"results_path": "."}, "is a folder"),
    "nothing to go on with": ({"resume": True}, "neither a run in"),
    "going on with what is set aside": ({"resume": True, "overwrite": True}, "give one of them"),
    "no launcher": ({"distributed": True}, "needs a launcher"),
    "a quantised super-network": ({"supernet": "bert_base_sst2_quantized"}, "not supported"),
    "a device that is not there": ({"device": "abacus"}, "--device 'abacus' cannot be used"),
    "a limit without a number": ({"limits": {"macs": "few"}}, "--limit macs=few: must be a number"),
    "a limit on what is not known": ({"limits": {"energy": 1}}, "no metric 'energy'"),
    "a surrogate of another network": (
        {**ACCURATE, "supernet": W12, "surrogate": "trees.json"},
        "foretells the accuracy of ofa_mbv3_d234_e346_k357_w1.0 only",
    ),
    "no such surrogate": ({**ACCURATE, "surrogate": "trees.json"}, "is no file"),
    "two sources of accuracy": ({**ACCURATE, "surrogate": "x", "dataset_path": "y"}, "give one of them"),
}


@pytest.mark.parametrize(("options", "told"), WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_is_told_before_work_starts(options, told):
    with pytest.raises(ConfigError, match=told):
        made(**options)
    assert not os.listdir()


@pytest.mark.parametrize(
    ("folders", "more", "told"),
    [
        (("train",), {}, "has no folder val/"),
        (("val",), {}, "has no folder train/"),
        (("train", "val"), {}, "needs --supernet_ckpt_path"),
        (("train", "val"), {"supernet_ckpt_path": "no.pt"}, "there is no file no.pt"),
    ],
)
def test_a_data_set_must_be_whole_and_come_with_weights(folders, more, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        made(**ACCURATE, dataset_path=images(tmp_path / "set", *folders), **more)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        made(results_path=str(tmp_path / "shut" / "results.csv"))


def test_a_misfit_names_the_algorithms_that_fit():
    with pytest.raises(ConfigError) as refused:
        made(search_algo="ga")
    fitting = refused.value.hint.removeprefix("these fit: ").split(", ")
    assert "nsga2" in fitting and "ga" not in fitting and "cmaes" not in fitting


def test_goals_keep_the_users_order_and_extras_come_behind(tmp_path):
    options = {
        "optimization_metrics": ("macs", "accuracy_top1"),
        "measurements": ("accuracy_top1", "params", "latency"),
    }
    done = made(supernet=W10, surrogate=surrogate(tmp_path / "s"), **options)
    assert list(done.raw["goals"]) == ["macs", "accuracy_top1", "params", "latency"]
    assert [goal.get("objective", True) for goal in done.raw["goals"].values()] == [True, True, False, False]
    assert "max" in done.raw["goals"]["accuracy_top1"] and "min" in done.raw["goals"]["macs"]


def test_tactics_are_searches():
    assert made(search_tactic="evolutionary", population=7).raw["search"] == {"nsga2": {"population": 7}}
    assert made(search_tactic="random").raw["search"] == {"random": {}}
    assert made(population=7).raw["search"] == {"linas": {"population": 7}}
    inner = {"inner": {"unsga3": {"population": 7}}}
    assert made(population=7, search_algo="unsga3").raw["search"] == {"linas": inner}


def test_limits_are_in_the_units_of_the_file(tmp_path):
    limits = {"latency": "20", "macs": "60%", "accuracy_top1": 70}
    goals = made(**{**ACCURATE, "surrogate": surrogate(tmp_path / "s"), "limits": limits}).raw["goals"]
    assert goals["latency"]["limit"] == pytest.approx(0.02) and goals["latency"]["objective"] is False
    assert goals["macs"]["limit"] == "60%" and goals["accuracy_top1"]["limit"] == 70


def test_a_data_set_brings_its_classes_and_its_batch(tmp_path):
    (tmp_path / "w.pt").touch()
    place = images(tmp_path / "set", "train", "validation")
    done = made(**ACCURATE, dataset_path=place, supernet_ckpt_path="w.pt", batch_size=32, test_fraction=0.5)
    assert done.raw["family"] == {"mobilenetv3": {"width": 1.0, "resolution": 224, "classes": 2}}
    assert done.raw["goals"]["accuracy_top1"]["max"] == {"quality.shared": {"batch": 32}}
    assert done.raw["data"]["hwnas.compat.dynast.imagenet"]["fraction"] == 0.5
    assert done.raw["goals"]["macs"]["min"]["hwnas.compat.dynast.counted"]["classes"] == 2
    assert done.raw["export"] is True


def test_only_trained_networks_are_exported(tmp_path):
    counted = made(optimization_metrics=["macs", "params"], measurements=["macs", "params"])
    foretold = made(**ACCURATE, surrogate=surrogate(tmp_path / "s"))
    assert counted.raw["export"] is foretold.raw["export"] is False


def test_the_environment_may_name_the_surrogate(tmp_path, monkeypatch):
    monkeypatch.setenv(SURROGATE, surrogate(tmp_path / "s"))
    assert "quality.ofa_surrogate" in made(**ACCURATE).raw["goals"]["accuracy_top1"]["max"]


def test_what_changes_nothing_is_told():
    done = made(dataloader_workers=4, mp_calibration_samples=10, population=500, dataset_path="nowhere")
    assert [note.split(" ")[0] for note in done.notes] == [
        "--dataloader_workers",
        "--mp_calibration_samples",
        "--population",
        "--dataset_path",
    ]


def test_unknown_keywords_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="no option 'num_eval'; did you mean 'num_evals'"):
        from_keywords({"num_eval": 3})


@pytest.mark.parametrize("name", ["bootstrapnas_supernetwork", "metric_eval_fns"])
def test_keywords_of_what_is_gone_say_what_to_use(name):
    with pytest.raises(ConfigError, match=f"{name} is not supported.*hwnas search"):
        from_keywords({name: None})


def test_the_callers_lists_stay_as_they_are():
    given = ["acc", "macs", "macs"]
    options = from_keywords({"optimization_metrics": given, "measurements": given})
    assert given == ["acc", "macs", "macs"] and options.optimization_metrics == ("acc", "macs", "macs")
