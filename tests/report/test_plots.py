"""The figures hold the record's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.report import plots
from hwnas.report.findings import Findings
from hwnas.trial import Goal
from hwnas.trials import Trials, hypervolume

from ._study import (
    ACCURACY,
    CONFIRMED,
    EVIL,
    EXPECTED,
    FACTS,
    FAMILY,
    LATENCY,
    MACS,
    SEARCHED,
    STEPS,
    chance,
    code,
    study,
    trial,
)


@pytest.fixture
def found(tmp_path):
    return Findings(study(tmp_path, SEARCHED, CONFIRMED, **FACTS))


def named(plot: plots.Plot) -> dict[str, list[dict]]:
    traces: dict[str, list[dict]] = {}
    for trace in plot.data:
        traces.setdefault(trace["name"], []).append(trace)
    return traces


def points(trace: dict) -> set[tuple[float, float]]:
    return set(zip(trace["x"], trace["y"], strict=True))


def test_every_trial_is_drawn_where_it_belongs(found):
    (plot,) = plots.fronts(found)
    traces = named(plot)
    assert points(traces["within the limits"][0]) == {(0.5, 90), (0.8, 96), (1.3, 98.6), (0.9, 95)}  # ms, percent
    assert points(traces["over a limit"][0]) == {(1.8, 99)}
    assert points(traces["front of the search"][0]) == {(0.5, 90), (0.8, 96), (1.3, 98.6)}
    assert points(traces["chosen"][0]) == {(1.32, 98.1)}
    assert points(traces["largest network"][0]) == {(2.31, 98.4)}
    assert points(traces["knee"][0]) == {(0.79, 95.5)}
    assert [trace["x"] for trace in traces["front"]] == [[0.49, 0.79, 1.32], [0.5, 0.8, 1.3]]  # confirmed, and as found


def test_trials_with_one_value_lie_at_the_edge(found):
    (plot,) = plots.fronts(found)
    rugs = [trace for trace in plot.data if trace.get("yaxis") == "y2"]
    assert [(rug["name"], rug["x"]) for rug in rugs] == [("over a limit", [2.1]), ("failed", [1.1])]
    assert [rug["showlegend"] for rug in rugs] == [False, True]
    assert "1 failed network without any value cannot be drawn" in plot.caption


def test_kinds_differ_in_symbol_as_well_as_in_colour(found):
    (plot,) = plots.fronts(found)
    traces = {name: own[0]["marker"] for name, own in named(plot).items() if "marker" in own[0]}
    looks = {name: (mark["color"], mark["symbol"]) for name, mark in traces.items()}
    assert len({symbol for _, symbol in looks.values()}) == len(set(looks.values())) == len(looks) == 8


def test_limit_and_intervals_are_drawn(found):
    (plot,) = plots.fronts(found)
    (line,) = plot.layout["shapes"]
    assert (line["xref"], line["x0"], line["x1"], line["yref"]) == ("x", 1.39, 1.39, "y domain")
    assert plot.layout["annotations"][0]["text"] == "limit 1.39 ms"
    chosen = named(plot)["chosen"][0]
    assert chosen["error_x"]["array"] == pytest.approx([0.02 * 1.32], rel=1e-3)
    assert chosen["error_y"]["arrayminus"] == pytest.approx([1.1])


def test_hovering_tells_the_architecture_and_escapes_it(found):
    (plot,) = plots.fronts(found)
    text = named(plot)["chosen"][0]["hovertext"][0]
    assert text.startswith(
        "<b>#2</b> done<br>accuracy <b>98.1 %</b><br>latency <b>1.32 ms</b><br>act none<br>depth 2<br>width 4 4"
    )
    assert all("<script" not in text for trace in plot.data for text in trace.get("hovertext", []))


def test_two_goals_of_one_direction_make_a_staircase(tmp_path):
    goals = (Goal("latency", None, "min", unit="s"), MACS)
    ends = [trial(i, {"latency": t, "macs": m}) for i, (t, m) in enumerate([(1e-3, 3e6), (2e-3, 2e6), (3e-3, 1e6)])]
    (plot,) = plots.fronts(Findings(study(tmp_path, ends, goals=goals)))
    (path,) = [trace for trace in plot.data if trace["mode"] == "lines"]
    assert (path["x"], path["y"], path["line"]["shape"]) == ([1, 2, 3], [3, 2, 1], "hv")


def test_three_objectives_are_drawn_in_pairs_without_a_false_front(tmp_path):
    trials = [trial(i, {"accuracy": 0.9, "latency": 1e-3 * (i + 1), "macs": 1e6}) for i in range(3)]
    drawn = plots.fronts(Findings(study(tmp_path, trials, goals=(ACCURACY, LATENCY, MACS))))
    assert [plot.label for plot in drawn] == [
        "Scatter plot of 3 networks: accuracy against latency",
        "Scatter plot of 3 networks: accuracy against macs",
        "Scatter plot of 3 networks: latency against macs",
    ]
    assert len({plot.id for plot in drawn}) == 3
    assert not [trace for plot in drawn for trace in plot.data if trace["mode"] == "lines"]


def test_a_constraint_is_an_axis_where_there_is_one_objective(tmp_path):
    size = Goal("macs", None, "min", limit=2e6, objective=False, unit="MACs")
    (plot,) = plots.fronts(
        Findings(study(tmp_path, [trial(0, {"accuracy": 0.9, "macs": 1e6})], goals=(ACCURACY, size)))
    )
    assert plot.layout["xaxis"]["title"]["text"] == "macs (M), less is better"


def test_one_goal_is_drawn_over_the_evaluations(tmp_path):
    found = Findings(study(tmp_path, SEARCHED, goals=(ACCURACY,)))
    assert plots.fronts(found) == []
    traces = named(plots.progress(found))
    assert points(traces["within the limits"][0]) == {(1, 90), (2, 96), (3, 98.6), (4, 95)}
    assert (traces["best so far"][0]["x"], traces["best so far"][0]["y"]) == ([1, 2, 3, 8], [90, 96, 98.6, 98.6])


def test_the_curve_of_progress_is_the_hypervolume_of_every_prefix(tmp_path):
    rng = np.random.default_rng(0)
    goals = (ACCURACY, LATENCY, MACS)
    trials = []
    for number in range(24):
        values = {"accuracy": rng.random(), "latency": rng.random() * 2e-3, "macs": rng.random() * 1e6}
        trials.append(trial(number, values, "done" if values["latency"] <= LATENCY.limit else "over_limit"))
    found = Findings(study(tmp_path, trials, goals=goals))
    everything = Trials(found.searched, goals)
    numbers, shares = plots.volumes(found.searched, found.frame)
    assert numbers == list(range(1, 25))
    assert shares == pytest.approx([hypervolume(everything[:number], everything) for number in numbers])
    few, again = plots.volumes(found.searched, found.frame, steps=5)
    assert (few[0], few[-1], len(few)) == (1, 24, 5)
    assert again == pytest.approx([shares[number - 1] for number in few])


def test_a_random_search_is_drawn_in_the_same_box(tmp_path):
    done = study(tmp_path, SEARCHED, config={"search": {"algorithms.linas": {}}})
    (alone,) = plots.progress(Findings(done)).data
    assert alone["fill"] == "tozeroy" and alone["y"][-1] > 0
    worse = trial(0, {"accuracy": 0.5, "latency": 0.0013})
    chance(done, (worse, *SEARCHED[2:4]))
    found = Findings(done)
    curves = {trace["name"]: trace for trace in plots.progress(found).data}
    frame = Trials([*SEARCHED, worse], found.goals)
    for name, trials in (("linas", SEARCHED), ("random search", (worse, *SEARCHED[2:4]))):
        own = Trials(trials, found.goals)
        shares = [100 * hypervolume(own[:count], frame) for count in range(1, len(own) + 1)]
        assert curves[name]["y"] == pytest.approx(shares, abs=1e-3), name
    assert curves["linas"]["y"][-1] > alone["y"][-1]  # the box has grown


def test_a_random_search_of_one_objective_is_a_staircase_too(tmp_path):
    done = study(tmp_path, SEARCHED, goals=(ACCURACY,))
    chance(
        done, (SEARCHED[0], trial(1, {}, "failed", error="x"), trial(2, {"accuracy": 0.93}), trial(3, {}, "running"))
    )
    (curve,) = named(plots.progress(Findings(done)))["random search"]
    assert (curve["x"], curve["y"], curve["line"]["dash"]) == ([1, 3, 4], [90, 93, 93], "dash")
    chance(other := study(made(tmp_path), SEARCHED, goals=(ACCURACY,)), SEARCHED[6:])
    assert named(plots.progress(Findings(other)))["random search"][0]["x"] == []  # it found nothing


def made(folder):
    (folder / "more").mkdir()
    return folder / "more"


def test_predictions_lie_on_the_diagonal_where_they_were_right(tmp_path):
    done = study(tmp_path, EXPECTED)
    for step in STEPS:
        done.run.event(**step)
    scatter, rounds, other = plots.predictors(Findings(done))
    diagonal, proposals = scatter.data
    assert points(proposals) == {(84, 80), (90, 90), (88, 95)} and points(diagonal) == {(80, 80), (95, 95)}
    assert proposals["error_x"]["array"] == [1, 2, 0]
    error, rank = rounds.data
    assert (error["x"], error["y"]) == ([20, 30], pytest.approx([1.0, 0.3])) and rank["y"] == [0.7, 0.91]
    assert error["marker"]["symbol"] != rank["marker"]["symbol"] and error["line"]["dash"] != rank["line"]["dash"]
    assert "error_x" not in other.data[1] and points(other.data[1]) == {(2, 1)}  # ms, without a spread


def test_many_trials_are_thinned_but_the_front_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "SHOWN", 5)
    goals = (ACCURACY, Goal("latency", None, "min", unit="s"))
    trials = [trial(i, {"accuracy": 0.9 + i / 1000, "latency": 1e-3 + i / 1e5}) for i in range(FAMILY.space.size)]
    (plot,) = plots.fronts(Findings(study(tmp_path, trials, goals=goals)))
    traces = named(plot)
    assert len(traces["within the limits"][0]["x"]) == 5
    assert len(traces["front"][1]["x"]) == FAMILY.space.size
    assert "at most 5 are drawn" in plot.caption


def test_training_is_drawn_by_phase(found):
    plot = plots.training(found)
    traces = named(plot)
    assert (traces["training loss"][0]["x"], traces["training loss"][0]["y"]) == ([1, 2, 3], [2.0, 1.0, 1.2])
    assert (traces["smallest network"][0]["x"], traces["smallest network"][0]["y"]) == ((2, 3), (60, 90))
    assert [note["x"] for note in plot.layout["annotations"]] == [0.5, 2.5]
    assert EVIL not in plot.layout["annotations"][1]["text"]


def test_nothing_to_draw_is_no_figure(tmp_path):
    found = Findings(study(tmp_path, [trial(0, {}, "failed", error="x")]))
    assert (plots.fronts(found), plots.progress(found), plots.training(found)) == ([], None, None)
    assert code(0)
