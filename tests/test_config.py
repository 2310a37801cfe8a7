"""A configuration is read as it was meant, or refused with the place, what stands there and what is allowed."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hwnas.config import Config, GoalSpec, read
from hwnas.errors import ConfigError
from hwnas.families.nasbench201 import NasBench201
from hwnas.hardware.macs import Macs

FULL = {
    "family": {"mobilenetv3": {"classes": 10, "resolution": 32}},
    "data": "digits",
    "weights": {"shrink": {"epochs": 12}},
    "goals": {
        "accuracy": {"max": "quality.shared"},
        "latency": {"min": {"hardware.measured": {"threads": 1}}, "limit": "60%"},
        "size": {"min": "params", "limit": 1_000_000, "objective": False},
    },
    "search": {"nsga2": {"population": 20}},
    "budget": 100,
}
SMALL: dict[str, Any] = {"family": "nasbench201", "goals": {"macs": {"min": "hardware.macs"}}}


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(base), **changes}


def goal(**entry: Any) -> dict[str, Any]:
    return changed(SMALL, goals={"macs": entry})


def told(source: Any, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(source, overrides)
    return caught.value


# --- what is read ---------------------------------------------------------------------------------------------------


def test_parts_are_known_by_one_name() -> None:
    config = read(FULL)
    assert config.family == {"families.mobilenetv3": {"classes": 10, "resolution": 32}}
    assert (config.data, config.weights) == ({"data.digits": {}}, {"weights.shrink": {"epochs": 12}})
    assert config.search == {"algorithms.nsga2": {"population": 20}}
    assert config.goals == (
        GoalSpec("accuracy", {"quality.shared": {}}, "max"),
        GoalSpec("latency", {"hardware.measured": {"threads": 1}}, "min", "60%"),
        GoalSpec("size", {"hardware.params": {}}, "min", 1e6, objective=False),
    )
    assert [spec.share for spec in config.goals] == [None, 0.6, None]
    assert config == read(changed(FULL, family={"families.mobilenetv3": FULL["family"]["mobilenetv3"]}))


def test_everything_else_has_a_default() -> None:
    config = read(SMALL)
    assert config == Config({"families.nasbench201": {}}, (GoalSpec("macs", {"hardware.macs": {}}, "min"),))
    assert (config.data, config.weights, config.search) == (None, None, {"algorithms.nsga2": {}})
    assert (config.budget, config.seed, config.workers, config.confirm, config.export) == (100, 0, 1, 8, True)
    assert read(changed(SMALL, export=False)).to_dict()["export"] is False
    assert read(changed(SMALL, data=None, threads=None, timeout=None)) == config


@pytest.mark.parametrize("base", [FULL, SMALL])
def test_what_is_written_is_read_again(base: dict[str, Any], tmp_path: Path) -> None:
    config = read(base, ["seed=3", "timeout=1.5"])
    again = read(config.to_dict())
    assert again == config and again.to_dict() == config.to_dict()
    assert set(again.to_dict()) >= {"family", "goals", "search", "budget", "torch_device"}
    assert next(iter(again.to_dict())) == "family"
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    assert read(path) == config and read(str(path)) == config
    assert read(json.loads(json.dumps(config.to_dict()))) == config


def test_the_source_is_left_alone() -> None:
    source = copy.deepcopy(FULL)
    read(source, ["goals.latency.limit=50%", "search.nsga2.population=30", "family.mobilenetv3.width=0.5", "budget=3"])
    assert source == FULL


@pytest.mark.parametrize(
    ("limit", "value", "share"),
    [
        ("60%", "60%", 0.6),
        (" 62.5 % ", "62.5 %", 0.625),
        ("150%", "150%", 1.5),
        (0.002, 0.002, None),
        ("2e-3", 0.002, None),
        ("1e6", 1e6, None),
        (5, 5.0, None),
        (0, 0.0, None),
        (-1.5, -1.5, None),
        (None, None, None),
    ],
)
def test_limits(limit: Any, value: Any, share: float | None) -> None:
    (spec,) = read(goal(min="hardware.macs", limit=limit)).goals
    assert spec.limit == value and type(spec.limit) is type(value) and spec.share == share


@pytest.mark.parametrize("limit", ["-5%", "0%", "half", "", "%", "60 percent", True, [1], "nan", float("inf"), "inf"])
def test_limits_that_are_none(limit: Any) -> None:
    error = told(goal(min="hardware.macs", limit=limit))
    assert error.path == "goals.macs.limit"
    assert "must be a number in the metric's own unit" in str(error) and f"not {limit!r}" in str(error)


# --- data by path ---------------------------------------------------------------------------------------------------


def test_data_may_be_a_name_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "birds.npz", x=np.zeros(1), y=np.zeros(1))
    (tmp_path / "photos").mkdir()
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)

    def data(value: Any) -> Any:
        return read(changed(SMALL, data=value)).data

    assert data("birds.npz") == {"data.arrays": {"path": "birds.npz"}}
    assert data(str(tmp_path / "birds.npz")) == {"data.arrays": {"path": str(tmp_path / "birds.npz")}}
    assert data(tmp_path / "birds.npz") == {"data.arrays": {"path": str(tmp_path / "birds.npz")}}
    assert data("photos") == {"data.images": {"path": "photos"}}
    assert data("./digits") == {"data.images": {"path": "./digits"}}
    assert data("digits") == {"data.digits": {}}, "a name comes before a folder"
    assert data("data.digits") == {"data.digits": {}}
    assert data("~/there/is/none") == {"data.images": {"path": "~/there/is/none"}}
    assert data({"images": {"path": "photos", "resolution": 32}}) == {
        "data.images": {"path": "photos", "resolution": 32}
    }
    assert "did you mean 'digits'" in str(told(changed(SMALL, data="digit")))


@pytest.mark.parametrize(
    ("files", "path", "kind"),
    [
        (["reviews.tsv"], "reviews.tsv", "text"),
        (["reviews.CSV"], "reviews.CSV", "text"),
        (["set/train.tsv", "set/dev.tsv"], "set", "text"),
        (["set/cat/1.png", "set/labels.csv"], "set", "images"),
        (["set/yes/1.wav", "set/no/1.wav"], "set", "speech"),
        (["set/train/yes/1.WAV"], "set", "speech"),
        (["set/yes_1.wav"], "set", "speech"),
        (["set/cat/1.png"], "set", "images"),
        (["odd.bin"], "odd.bin", "arrays"),
    ],
)
def test_what_lies_at_a_path_is_seen_by_the_names_of_files(
    files: list[str], path: str, kind: str, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    place = str(tmp_path / path)
    assert read(changed(SMALL, data=place)).data == {f"data.{kind}": {"path": place}}


def test_an_npz_file_of_recordings_is_speech(tmp_path: Path) -> None:
    np.savez(tmp_path / "words.npz", audio=np.zeros(3), offsets=np.zeros(2), labels=np.zeros(1), sample_rate=8000)
    place = str(tmp_path / "words.npz")
    assert read(changed(SMALL, data=place)).data == {"data.speech": {"path": place}}


# --- overrides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [False, True])
def test_overrides(saved: bool) -> None:
    """The same from what a user wrote and from what a run has saved, where names are spelt out."""

    def overridden(*overrides: str) -> Config:
        return read(read(FULL).to_dict() if saved else FULL, overrides)

    latency = {"hardware.measured": {"threads": 2}}
    assert overridden("goals.latency.min.hardware.measured.threads=2").goals[1].metric == latency
    assert overridden("goals.latency.min.measured.threads=2").goals[1].metric == latency
    assert overridden("goals.latency.limit=50%").goals[1] == GoalSpec(
        "latency", {"hardware.measured": {"threads": 1}}, "min", "50%"
    )
    assert overridden("goals.latency.limit=2e-3").goals[1].limit == 0.002
    assert overridden("goals.latency.limit=").goals[1].limit is None
    assert overridden("search.nsga2.population=30").search == {"algorithms.nsga2": {"population": 30}}
    assert overridden("search=evolution").search == {"algorithms.evolution": {}}
    assert overridden("search={evolution: {batch: 4}}").search == {"algorithms.evolution": {"batch": 4}}
    several = overridden("search=evolution", "search.evolution.sample=3", "search.evolution.batch=2", "budget=7")
    assert (several.search, several.budget) == ({"algorithms.evolution": {"sample": 3, "batch": 2}}, 7)
    assert overridden("family.mobilenetv3.resolution=[32, 48]").family["families.mobilenetv3"]["resolution"] == [32, 48]
    assert overridden("data.digits.resolution=16").data == {"data.digits": {"resolution": 16}}
    assert overridden("goals.accuracy.max.quality.shared.batch=64").goals[0].metric == {"quality.shared": {"batch": 64}}
    assert overridden("goals.energy={min: hardware.macs}").goals[3].name == "energy"
    assert overridden("timeout=60").timeout == 60 and overridden("asynchronous=true").asynchronous is True


def test_a_bare_name_gets_options() -> None:
    source = changed(FULL, search="nsga2", weights="shrink", family="nasbench201")
    source["goals"]["latency"]["min"] = "hardware.measured"
    assert read(source, ["search.nsga2.population=30"]).search == {"algorithms.nsga2": {"population": 30}}
    assert read(source, ["weights.shrink.epochs=8"]).weights == {"weights.shrink": {"epochs": 8}}
    assert read(source, ["family.nasbench201.cells=1"]).family == {"families.nasbench201": {"cells": 1}}
    set_ = read(
        source, ["goals.latency.min.hardware.measured.threads=2", "goals.latency.min.hardware.measured.batch=4"]
    )
    assert set_.goals[1].metric == {"hardware.measured": {"threads": 2, "batch": 4}}
    assert read(SMALL, ["search.nsga2.population=30"]).search == {"algorithms.nsga2": {"population": 30}}
    nothing = changed(SMALL, search={"nsga2": None})
    assert read(nothing, ["search.nsga2.population=30"]).search == {"algorithms.nsga2": {"population": 30}}


@pytest.mark.parametrize("text", ["budget", "=3", "", "goals.latency"])
def test_overrides_need_a_key_and_a_value(text: str) -> None:
    assert f"{text!r} is no override; write key=value, such as budget=200" in str(told(FULL, text))


def test_overrides_are_checked_like_the_file() -> None:
    assert told(FULL, "bugdet=3").path == "bugdet" and "did you mean 'budget'" in str(told(FULL, "bugdet=3"))
    assert told(FULL, "goals.latency.limt=3").path == "goals.latency.limt"
    assert told(FULL, "budget=many").path == "budget"
    assert told(FULL, "budget.of=3").path == "budget"
    assert "not valid YAML" in str(told(FULL, "search={nsga2"))
    assert "with one name" in str(told(FULL, "search.evolution.batch=3"))
    assert told(changed(SMALL, goals={1: {"min": "hardware.macs"}}), "goals.2.limit=3").path == "goals.1"


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").touch()
    assert f"did you mean {str(tmp_path / 'quickstart.yaml')!r}?" in str(told(tmp_path / "quikstart.yaml"))
    assert str(told(tmp_path / "nowhere" / "a.yaml")) == f"there is no file {str(tmp_path / 'nowhere' / 'a.yaml')!r}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("family: x\n  goals: y\n", "line 2, column 8"),
        ("family: [a, b\n", "line 2, column 1"),
        ("a: 1\nb: {c: 2\nd: 3", "line 3, column 2"),
        ("a: !!python/object:os.system x", "line 1, column 4"),
        ("a: *nothing", "line 1, column 4"),
    ],
)
def test_broken_yaml_is_told_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert str(told(path)).startswith(f"{path}, {place}: not valid YAML: ")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "3"])
def test_a_file_without_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    assert str(told(path)) == f"{path} must hold `key: value` lines, such as `family: …` and `goals: …`"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read" in str(told(tmp_path))
    (tmp_path / "latin.yaml").write_bytes("family: Bär".encode("latin-1"))
    assert "latin.yaml cannot be read: 'utf-8' codec" in str(told(tmp_path / "latin.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"a: \x00\x01")
    assert "binary.yaml: not valid YAML" in str(told(tmp_path / "binary.yaml"))


def test_the_examples_are_read() -> None:
    examples = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
    assert examples
    for path in examples:
        assert read(path).goals


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        (changed(SMALL, famly="x"), "famly", "unknown key; did you mean 'family'? known: family, goals, data"),
        (changed(SMALL, **{"7": 1}), "7", "unknown key"),
        ({"goals": SMALL["goals"]}, "family", "is missing, and a search needs it"),
        ({"family": "nasbench201"}, "goals", "is missing, and a search needs it"),
        (changed(SMALL, goals={}), "goals", "must name one goal or more, got {}"),
        (changed(SMALL, goals=["macs"]), "goals", "must name one goal or more, got ['macs']"),
        (changed(SMALL, goals={"my goal": {"min": "macs"}}), "goals.my goal", "is a word of letters, digits and _"),
        (changed(SMALL, goals={"macs": "hardware.macs"}), "goals.macs", "must say min or max and a metric"),
        (goal(min="macs", maximum=3), "goals.macs.maximum", "unknown key; did you mean 'max'?"),
        (goal(min="macs", max="params"), "goals.macs", "exactly one of min and max, it has min and max"),
        (goal(limit=3), "goals.macs", "exactly one of min and max, it has neither"),
        (goal(min=3), "goals.macs.min", "expected the name of a metric, got 3"),
        (goal(min=["macs"]), "goals.macs.min", "expected the name of a metric, got ['macs']"),
        (goal(min=None), "goals.macs.min", "expected the name of a metric, got None"),
        (
            goal(min="hardware.mac"),
            "goals.macs.min",
            "unknown part 'hardware.mac' of quality or hardware; did you mean",
        ),
        (goal(min={"macs": {}, "params": {}}), "goals.macs.min", "with one name"),
        (goal(min={"macs": 3}), "goals.macs.min", "the options of 'macs' must be a mapping, not 3"),
        (goal(min="macs", objective="no"), "goals.macs.objective", "'no' is not allowed"),
        (goal(min="macs", objective=False), "goals", "every goal says `objective: false`"),
        (goal(min="macs", objective=False, limit=3), "goals", "every goal says `objective: false`"),
        (
            changed(SMALL, family="mobilnetv3"),
            "family",
            "unknown part 'mobilnetv3' of families; did you mean 'mobilenetv3'?",
        ),
        (changed(SMALL, family="nowhere.to_be_found"), "family", "no module 'nowhere' can be imported"),
        (changed(SMALL, search="evolutoin"), "search", "did you mean 'evolution'? known: "),
        (changed(SMALL, search={"nsga2": [1]}), "search", "the options of 'nsga2' must be a mapping, not [1]"),
        (changed(SMALL, weights="shrunk"), "weights", "did you mean 'shrink'?"),
        (changed(SMALL, budget=0), "budget", "must be 1 or more, not 0"),
        (changed(SMALL, budget=-3), "budget", "must be 1 or more, not -3"),
        (changed(SMALL, budget=1.5), "budget", "1.5 is not allowed"),
        (changed(SMALL, budget="100"), "budget", "'100' is not allowed"),
        (changed(SMALL, budget=True), "budget", "True is not allowed"),
        (changed(SMALL, budget=None), "budget", "None is not allowed"),
        (changed(SMALL, workers=0), "workers", "must be 1 or more, not 0"),
        (changed(SMALL, confirm=-1), "confirm", "must be 0 or more, not -1"),
        (changed(SMALL, export="no file"), "export", "'no file' is not allowed"),
        (changed(SMALL, seed=-1), "seed", "must be 0 or more, not -1"),
        (changed(SMALL, threads=0), "threads", "must be 1 or more, not 0"),
        (changed(SMALL, timeout=0), "timeout", "must be a positive number of seconds, not 0"),
        (changed(SMALL, timeout=float("nan")), "timeout", "must be a positive number of seconds, not nan"),
        (changed(SMALL, asynchronous="yes please"), "asynchronous", "'yes please' is not allowed"),
        (changed(SMALL, device=3), "device", "3 is not allowed"),
    ],
)
def test_what_is_not_allowed_is_told_with_its_place(source: dict[str, Any], path: str, message: str) -> None:
    error = told(source)
    assert error.path == path and message in str(error)
    assert str(error).startswith(f"{path}: ")


def test_missing_keys_come_with_an_example() -> None:
    assert "family: {mobilenetv3: {classes: 10, resolution: 32}}" in told({}).hint
    assert "accuracy: {max: quality.shared}" in told({"family": "nasbench201"}).hint


# --- Python objects -------------------------------------------------------------------------------------------------


def test_objects_and_functions_may_stand_for_parts() -> None:
    family, metric = NasBench201(cells=1), Macs()

    def count(candidate: Any) -> float:
        return 1.0

    source = {
        "family": family,
        "goals": {"macs": {"min": metric}, "count": {"max": count}, "one": {"min": lambda c: 1.0}},
    }
    config = read(source, ["budget=7", "goals.macs.limit=3"])
    assert config.family is family and config.goals[0].metric is metric and config.goals[1].metric is count
    assert (config.budget, config.goals[0].limit) == (7, 3.0)
    assert read(config.to_dict()) == config
    assert set(source["goals"]["macs"]) == {"min"}


def test_an_object_that_a_file_could_not_hold_is_told_so() -> None:
    """As a run's saved configuration names it."""
    for source in (changed(SMALL, family="<__main__.Mine>"), goal(min="<__main__.<lambda>>")):
        error = told(source)
        assert "was an object or a function of a Python program, which a file cannot hold" in str(error)
        assert re.match(r"family: |goals\.macs\.min: ", str(error))
