"""The search that all approaches share: trials, duplicates, failures, kills, directions, the user's own searcher."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hwnas.compat.neural_compressor import Config, GridSearcher, NASBase, NASConfig, RandomSearcher, base
from hwnas.errors import (
    ConfigError,
    Interrupted,
    RecordError,
    RunLockedError,
    RunMismatchError,
    SearchError,
    SpaceError,
)

SPACE = {"dimensions": [32, 64, 128], "channels": [16, 32]}
HUGE = {f"gene{i:02}": [3, 5, 7] for i in range(45)}


class Agent(NASBase):
    """Judges an architecture by a function of it, and counts what is built."""

    def __init__(
        self, judge=lambda arch: {"acc": arch["channels"], "latency": arch["channels"] * arch["dimensions"]}, **options
    ):
        super().__init__(options.pop("space", SPACE), self.build)
        self.judge, self.built = judge, []
        self.init_search_cfg(NASConfig(**{"search_algorithm": "grid", "max_trials": 6, **options}))

    def build(self, arch):
        self.built.append(dict(arch))
        return arch

    def estimate(self, model):
        return self.judge(model)


class Listed:
    """A user's searcher, which proposes what it is given and keeps what it hears."""

    def __init__(self, *archs):
        self.archs, self.heard = iter(archs), []

    def suggest(self):
        return next(self.archs)

    def get_feedback(self, value):
        self.heard.append(value)


def arch(channels, dimensions=32):
    return {"channels": channels, "dimensions": dimensions}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- the front and the files -----------------------------------------------------------------------------------------


def test_the_front_of_all_trials_is_returned():
    agent = Agent()
    assert agent.search() == [arch(16, 32), arch(32, 32)] == agent.best_model_archs
    assert agent.search_results[16, 64] == {"acc": 16, "latency": 1024}
    assert agent.search_space_keys == ["channels", "dimensions"]
    assert len(agent.built) == 6


def test_the_files_that_people_read(tmp_path):
    Agent(max_trials=3).search(tmp_path / "new" / "place")
    folder = tmp_path / "new" / "place" / "NASResults"
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}
    texts = {f"{name}_results.txt" for name in ("Trial_1", "Trial_2", "Trial_3", "Final")}
    assert names == {"results.jsonl", "results.csv", *texts}
    first, last = (folder / "Trial_1_results.txt").read_text(), (folder / "Final_results.txt").read_text()
    assert first.count("channels_16,dimensions_32: {'acc': 16, 'latency': 512} Paras: ?") == 2
    assert (last.count("channels_"), last.count("\n1. ")) == (4, 1)
    assert (folder / "results.csv").read_text().startswith("trial,channels,dimensions,acc,latency,parameters,")


def test_long_searches_write_fewer_text_files(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "OFTEN", 3)
    monkeypatch.setattr(base, "RARELY", 5)
    Agent(lambda model: 1.0, space=HUGE, max_trials=11).search(tmp_path)
    names = {path.name for path in (tmp_path / "NASResults").glob("Trial_*")}
    assert names == {f"Trial_{trial}_results.txt" for trial in (1, 2, 3, 5, 10)}


def test_results_lie_in_the_working_directory_by_default(tmp_path):
    Agent().search()
    assert (tmp_path / "NASResults" / "results.jsonl").exists()


def test_parameters_are_counted():
    agent = Agent()
    layer = torch.nn.Linear(3, 5)
    assert agent.count_model_parameters(layer) == agent.count_model_parameters(SimpleNamespace(model=layer)) == 20
    assert agent.count_model_parameters("no module") is None
    assert agent.count_model_parameters(SimpleNamespace(parameters=lambda: [1])) is None


def test_equal_metrics_count_once():
    assert Agent(lambda model: 1.0).search() == [arch(16, 32)]


# --- duplicates and the end of a space -------------------------------------------------------------------------------


def test_a_repeat_is_not_built_and_costs_no_trial():
    agent = Agent(lambda model: model["channels"], max_trials=2)
    agent.search_algorithm = searcher = Listed(*[arch(16)] * 5, {"dimensions": 32, "channels": 32})
    agent.search()
    assert agent.built == [arch(16), arch(32)]
    assert searcher.heard == [16] * 5 + [32]


def test_a_space_that_is_used_up_ends_the_search(caplog):
    agent = Agent(max_trials=100)
    agent.search()
    assert len(agent.built) == 6
    assert "all 6 networks of the search space are tried" in caplog.text


def test_a_searcher_that_only_repeats_ends_the_search(caplog):
    agent = Agent(max_trials=3)
    agent.search_algorithm = Listed(*[arch(16)] * 1000)
    assert agent.search() == [arch(16)]
    assert f"{base.REPEATS} known networks in a row" in caplog.text


def test_a_searcher_that_ends_ends_the_search(caplog):
    agent = Agent(max_trials=3)
    agent.search_algorithm = Listed(arch(16), arch(32))
    agent.search()
    assert len(agent.built) == 2
    assert "nothing more to propose" in caplog.text


@pytest.mark.parametrize("name", ["grid", "random", "evolution"])
def test_forty_five_genes(name):
    agent = Agent(lambda model: sum(model.values()), space=HUGE, search_algorithm=name, max_trials=30)
    (best,) = agent.search()
    assert sum(best.values()) == max(agent.search_results.values())
    assert len(agent.search_results) == 30


# --- kills and resumption --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grid", "random", "evolution", "bo"])
def test_a_search_that_was_stopped_goes_on_where_it_was(name, tmp_path):
    whole = Agent(search_algorithm=name)
    whole.search(tmp_path / "whole")

    stopped = Agent(search_algorithm=name)

    def interrupted(model):
        if len(stopped.built) == 4:
            raise KeyboardInterrupt
        return Agent().judge(model)

    stopped.judge = interrupted
    with pytest.raises(KeyboardInterrupt):
        stopped.search(tmp_path / "parts")
    resumed = Agent(search_algorithm=name)
    resumed.search(tmp_path / "parts")
    assert stopped.built[:3] + resumed.built == whole.built
    assert resumed.search_results == whole.search_results
    assert resumed.best_model_archs == whole.best_model_archs


KILLED = """
import os, signal, sys
from hwnas.compat.neural_compressor import NAS, NASConfig
agent = NAS(NASConfig(search_space={"a": list(range(10))}, search_algorithm="random", max_trials=8))
agent.model_builder = lambda arch: arch
agent.train_func = lambda model: print("built", model["a"], flush=True)
def evaluate(model):
    if len(agent.search_results) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return model["a"]
agent.eval_func = evaluate
print(agent())
"""


def test_nothing_is_lost_by_a_kill():
    def run(deadline):
        return subprocess.run([sys.executable, "-c", KILLED, str(deadline)], capture_output=True, text=True)

    first, second = run(5), run(99)
    assert first.returncode == -9 and second.returncode == 0
    before, after = first.stdout.splitlines(), second.stdout.splitlines()
    assert len(before) == 6 and len(after) == 3 + 1
    assert len({*before, *after[:-1]}) == 8 and before[-1] == after[0]


def test_a_larger_number_of_trials_continues_the_search():
    first, second = Agent(max_trials=2), Agent(max_trials=5)
    first.search()
    second.search()
    assert len(second.built) == 3
    assert len(second.search_results) == 5


def test_a_second_search_builds_nothing():
    agent = Agent(search_algorithm="random", max_trials=4)
    first = agent.search()
    assert (agent.search(), len(agent.built)) == (first, 4)


def test_results_that_the_search_does_not_come_by_still_count(tmp_path):
    other = Agent(max_trials=1)
    other.search_algorithm = Listed(arch(32, 32))
    other.search()
    agent = Agent(max_trials=1)
    assert agent.search() == [arch(16, 32), arch(32, 32)]
    assert agent.built == [arch(16, 32)]
    assert "1. channels_16" in (tmp_path / "NASResults" / "Final_results.txt").read_text()


def test_results_outside_the_space_do_not_count():
    Agent().search()
    agent = Agent(space={"dimensions": [64, 128], "channels": [16]})
    assert agent.search() == [arch(16, 64)]
    assert agent.built == []


def test_results_of_another_space_or_with_other_metrics_are_refused():
    Agent().search()
    with pytest.raises(RunMismatchError, match="another res_save_path"):
        Agent(space={"depth": [1, 2]}).search()
    with pytest.raises(RunMismatchError, match=r"other metrics(.|\n)*\['acc', 'loss'\]"):
        Agent(metrics=["acc", "loss"]).search()


def test_only_one_search_writes_to_a_folder():
    agent = Agent(lambda model: Agent().search() and 1.0)
    with pytest.raises(SearchError, match="another process") as caught:
        agent.search()
    assert RunLockedError.__name__ in str(caught.value)


def test_old_pickles_are_refused_and_can_be_converted_by_who_trusts_them(tmp_path):
    pickled = {(16, 32): {"acc": np.float64(0.5), "latency": 2.0}, (32, 32): {"acc": 0.75, "latency": 3.0}}
    (tmp_path / "NASResults").mkdir()
    np.save(tmp_path / "NASResults" / "lastest_results.npy", pickled, allow_pickle=True)
    agent = Agent()
    with pytest.raises(RecordError, match="runs whatever code is in it") as caught:
        agent.search()
    assert agent.built == []
    load, dump = caught.value.hint.splitlines()[1:]
    exec(f"{load}\n{dump}", {"agent": agent, "numpy": np})
    again = Agent(max_trials=1)
    assert again.search() == [arch(16, 32), arch(32, 32)]
    assert again.built == []


def test_results_can_be_loaded_from_elsewhere(tmp_path):
    Agent().search(tmp_path / "old")
    agent = Agent()
    for path in (tmp_path / "old", tmp_path / "old" / "NASResults", tmp_path / "old" / "NASResults" / "results.jsonl"):
        assert agent.load_search_results(path)[16, 32] == {"acc": 16, "latency": 512}
    assert agent.load_search_results(tmp_path / "nowhere") == {}


def test_results_are_written_by_the_kind_of_file(tmp_path):
    agent = Agent()
    agent.search()
    for name in ("a.txt", "a.csv", "a.jsonl", "folder"):
        agent.dump_search_results(tmp_path / name)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 7
    assert {path.name for path in (tmp_path / "folder" / "NASResults").iterdir()} == {
        "Final_results.txt",
        "results.csv",
        "results.jsonl",
    }
    with pytest.raises(ConfigError, match=r"\.txt, \.csv or \.jsonl"):
        agent.dump_search_results(tmp_path / "a.npy")


# --- failures --------------------------------------------------------------------------------------------------------


def broken(model):
    if model["dimensions"] == 64:
        raise RuntimeError("out of memory")
    return float("nan") if model["dimensions"] == 128 else model["channels"]


def test_a_network_that_fails_is_recorded_and_the_search_goes_on(tmp_path):
    agent = Agent(broken)
    assert agent.search() == [arch(32, 32)]
    assert agent.failures[16, 64] == "RuntimeError: out of memory"
    assert "nan" in agent.failures[16, 128]
    lines = [json.loads(line) for line in (tmp_path / "NASResults" / "results.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["done", "failed", "failed"] * 2
    assert "RuntimeError: out of memory" in (tmp_path / "NASResults" / "results.csv").read_text()


def test_failed_networks_are_tried_again_by_the_next_search():
    Agent(broken).search()
    agent = Agent(lambda model: model["channels"])
    agent.search()
    assert [model["dimensions"] for model in agent.built] == [64, 128, 64, 128]
    assert agent.failures == {}


def test_a_builder_that_fails_is_a_failure_too():
    agent = Agent(lambda model: 1)
    agent.model_builder = lambda arch: 1 / (arch["channels"] - 16)
    agent.search()
    assert len(agent.failures) == 3


def test_a_search_in_which_everything_fails_says_why():
    agent = Agent(lambda model: model["depth"], space=HUGE, max_trials=1000)
    with pytest.raises(SearchError, match="none of 10 networks could be judged; the first failed with: KeyError"):
        agent.search()


def test_an_interruption_is_no_failure():
    def stop(model):
        raise Interrupted("enough")

    with pytest.raises(Interrupted):
        Agent(stop).search()


def test_algorithms_hear_of_failures():
    agent = Agent(broken, search_algorithm="evolution", max_trials=6)
    agent.search()
    assert len(agent.search_results) + len(agent.failures) == 6


# --- directions and feedback -----------------------------------------------------------------------------------------


def test_metrics_are_turned_by_their_names():
    agent = Agent()
    assert agent.metrics_conversion({"acc": 0.5, "latency": 3, "zip_loss": 2}) == [0.5, -3, -2]
    assert agent.metrics == ["acc", "latency", "zip_loss"]
    assert agent.metrics_conversion({"zip_loss": 2, "latency": 3, "acc": 0.5}) == [0.5, -3, -2]
    assert Agent().metrics_conversion(0.5) == [0.5]


def test_the_users_directions_come_first():
    agent = Agent(metrics=["acc", "zap"], higher_is_better=[False, True])
    assert agent.metrics_conversion({"acc": 1, "zap": 2}) == [-1, 2]
    assert Agent(metrics=["latency"]).metrics_conversion(2.0) == [-2.0]
    assert Agent(higher_is_better=[True, False]).metrics_conversion([1, 2]) == [1, -2]


def test_unknown_directions_are_asked_for_before_the_second_network():
    agent = Agent(lambda model: {"acc": 1, "zap": 2})
    with pytest.raises(ConfigError, match=r"higher_is_better: it is not known which way is better for zap"):
        agent.search()
    assert len(agent.built) == 1
    again = Agent(agent.judge, higher_is_better=[True, False])
    again.search()
    assert len(again.built) == 5  # what was judged is not lost


def test_unknown_directions_of_named_metrics_are_asked_for_before_anything_is_built():
    agent = Agent(metrics=["acc", "zap"])
    with pytest.raises(ConfigError, match="for zap"):
        agent.search()
    assert agent.built == []


@pytest.mark.parametrize("values", [[{"acc": 1}, {"accuracy": 1}], [1.0, [1.0, 2.0]]])
def test_metrics_must_stay_the_same(values):
    values = iter(values)
    with pytest.raises(ConfigError, match="is wanted as for all others"):
        Agent(lambda model: next(values), higher_is_better=None).search()


def test_a_users_searcher_hears_one_number_in_which_no_unit_outweighs():
    agent = Agent(lambda model: {"acc": model["channels"] / 32, "macs": 1e9 * model["dimensions"]}, max_trials=3)
    agent.search_algorithm = searcher = Listed(arch(16, 32), arch(32, 32), arch(16, 64))
    agent.search()
    assert searcher.heard == pytest.approx([0.0, 1.0, -1.0])


def test_algorithms_hear_every_metric(monkeypatch):
    agent, heard = Agent(max_trials=2), []
    agent.search_algorithm = searcher = RandomSearcher(SPACE)
    monkeypatch.setattr(searcher, "several", True, raising=False)
    monkeypatch.setattr(searcher, "get_feedback", heard.append)
    agent.search()
    assert heard == [[key[0], -key[0] * key[1]] for key in agent.search_results]


# --- setting things --------------------------------------------------------------------------------------------------


def test_a_search_space_that_is_set_later_renews_names_and_searcher():
    agent = Agent()
    before = agent.search_algorithm
    agent.search_space = {"depth": [1, 2], "blocks": [3]}
    assert agent.search_space_keys == ["blocks", "depth"]
    assert agent.search_algorithm is not before
    assert agent.select_model_arch() == {"blocks": 3, "depth": 1}
    agent.search_algorithm = own = Listed()
    agent.search_space = {"depth": [1]}
    assert agent.search_algorithm is own


def test_the_constructors_search_space_comes_first(caplog):
    agent = NASBase({"a": [1]})
    agent.init_search_cfg(Config(nas=NASConfig(search_space={"b": [1]}, search_algorithm="grid")))
    assert agent.search_space_keys == ["a"]
    assert isinstance(agent.search_algorithm, GridSearcher)
    assert "replaces the one of the configuration" in caplog.text
    other = NASBase()
    other.init_search_cfg({"search": {"search_space": {"b": [1, 2]}, "search_algorithm": "random", "seed": 3}})
    assert (other.search_space, other.seed, other.max_trials) == ({"b": [1, 2]}, 3, 3)


def test_vectors_become_architectures():
    agent = Agent()
    assert agent.params_vec2params_dict([16, 64]) == arch(16, 64)
    with pytest.raises(ConfigError, match="has 2 values"):
        agent.params_vec2params_dict([16])


def test_what_cannot_be_set():
    agent = Agent()
    with pytest.raises(ConfigError, match=r"lacks suggest and get_feedback(.|\n)*search_algorithm=\"grid\""):
        agent.search_algorithm = "grid"
    with pytest.raises(ConfigError, match="model_builder is a function"):
        agent.model_builder = 3
    with pytest.raises(ConfigError, match="dict of lists"):
        agent.search_space = {}
    with pytest.raises(ConfigError, match="unknown searcher 'gird'"):
        Agent(search_algorithm="gird")


class Incomplete(NASBase):
    """An approach that can judge, and lacks the rest."""

    def estimate(self, model):
        return 1.0


def test_what_is_missing_is_told():
    with pytest.raises(ConfigError, match=r"needs a method estimate"):
        NASBase(SPACE, dict).search()
    with pytest.raises(NotImplementedError):
        NASBase(SPACE, dict).estimate({})
    with pytest.raises(ConfigError, match="no model_builder"):
        Incomplete(SPACE).search()
    with pytest.raises(ConfigError, match="no search space"):
        Incomplete(model_builder=dict).search()
    with pytest.raises(ConfigError, match="no searcher"):
        Incomplete(SPACE).select_model_arch()
    with pytest.raises(SearchError, match="no results yet"):
        Incomplete(SPACE).find_best_model_archs()
    agent = Agent()
    agent.max_trials = 0
    with pytest.raises(ConfigError, match="max_trials must be 1 or more"):
        agent.search()


def test_a_proposal_must_have_the_names_of_the_space():
    agent = Agent()
    agent.search_algorithm = Listed({"channel": 16, "dimensions": 32})
    with pytest.raises(SpaceError, match="no 'channel'; did you mean 'channels'"):
        agent.search()
