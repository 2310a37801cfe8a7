import json

import numpy as np
import pytest
from scipy.stats import norm, rankdata, spearmanr

from hwnas.candidate import Candidate
from hwnas.errors import DataError
from hwnas.families.nasbench201 import NasBench201
from hwnas.quality._pool import Calibration, Pool, Reference, normal_scores, raw_scores
from hwnas.quality.naswot import Naswot
from hwnas.quality.synflow import Synflow

SMALL = NasBench201(channels=4, cells=1, resolution=8)
RNG = np.random.default_rng(0)
RISING = np.arange(1.0, 10.0)[:, None]
"""A pool of nine networks with one score: 1 ... 9."""


# --- ranks ----------------------------------------------------------------------------------------------------------


def test_members_have_their_ranks():
    values = RNG.integers(5, size=(40, 3)).astype(float)
    expected = rankdata(values, axis=0) / 41
    assert Pool(values, oriented=False).ranks(values) == pytest.approx(expected)


def test_between_members_the_rank_is_interpolated():
    assert Pool(RISING).ranks(np.array([[4.0], [4.5], [5.0]])).ravel() == pytest.approx([0.4, 0.45, 0.5])


def test_ranks_go_on_beyond_the_pool_and_stay_above_missing_ones():
    some = np.array([[np.nan], [-1e9], [0.0], [1.0], [9.0], [20.0], [1e9]])
    ranks = Pool(RISING).ranks(some).ravel()
    assert (np.diff(ranks) > 0).all() and ranks[0] > 0
    assert ranks[3] == pytest.approx(0.1) and ranks[4] == pytest.approx(0.9) and ranks[5] > 0.9


def test_a_score_does_not_depend_on_the_company():
    pool, asked = Pool(RNG.normal(size=(30, 4))), RNG.normal(size=(10, 4))
    together = pool.log_rank(asked)
    assert [pool.log_rank(row[None])[0] for row in asked] == pytest.approx(together, rel=1e-12)


def test_log_ranks_are_those_of_the_population_where_it_is_the_pool():
    values = RNG.normal(size=(50, 3)) + RNG.normal(size=(50, 1))
    expected = np.log(rankdata(values, axis=0) / 51).mean(axis=1)
    assert Pool(values).log_rank(values) == pytest.approx(expected)


def test_normal_scores_have_deviation_one_in_the_pool():
    normal = Pool(RNG.exponential(size=(200, 2))).normal(RNG.exponential(size=(0, 2)))
    assert normal.shape == (0, 2)
    own = RNG.exponential(size=(400, 1))
    assert Pool(own).normal(own).std() == pytest.approx(1.0, abs=0.03)
    assert Pool(RISING).normal(np.array([[5.0]]))[0, 0] == pytest.approx(norm.ppf(0.5))


def test_labels_become_normal_scores():
    assert normal_scores(np.array([3.0, 1.0, 2.0])) == pytest.approx(norm.ppf([5 / 6, 1 / 6, 1 / 2]))


# --- orientation ----------------------------------------------------------------------------------------------------


def test_a_contrary_score_is_turned_around():
    size, noise = RNG.normal(size=200), RNG.normal(size=(200, 3))
    values = np.stack([size, -size + noise[:, 0], size + noise[:, 1], noise[:, 2]], axis=1)
    pool = Pool(values)
    assert pool.signs[:3].tolist() == [1, -1, 1] and pool.agreement.min() > -0.1
    assert pool.ranks(values)[:, 1] == pytest.approx(1 - rankdata(values[:, 1]) / 201)
    assert Pool(values, oriented=False).signs.tolist() == [1, 1, 1, 1]


def test_of_two_that_contradict_each_other_the_first_one_stays():
    values = np.stack([np.arange(20.0), -np.arange(20.0)], axis=1)
    assert Pool(values).signs.tolist() == [1, -1] and Pool(values[:, ::-1]).signs.tolist() == [1, -1]


def test_agreement_is_with_the_mean_of_the_other_members():
    values = RNG.normal(size=(100, 3)) + RNG.normal(size=(100, 1))
    normal = normal_scores(values)
    expected = [spearmanr(normal[:, k], np.delete(normal, k, 1).mean(axis=1))[0] for k in range(3)]
    assert Pool(values).agreement == pytest.approx(expected, abs=2e-3)  # sums round, so that ties may differ
    two = Pool(values, members=2)
    assert two.agreement[2] == pytest.approx(spearmanr(normal[:, 2], normal[:, :2].mean(axis=1))[0], abs=2e-3)
    assert two.log_rank(values) == pytest.approx(Pool(values[:, :2]).log_rank(values[:, :2]))


def test_a_constant_score_changes_no_order():
    values = np.stack([np.arange(20.0), np.full(20, 7.0)], axis=1)
    assert (np.diff(Pool(values).log_rank(values)) > 0).all()


# --- calibration ----------------------------------------------------------------------------------------------------


def made(count, seed=0):
    """Scores of which the third says all, but backwards and in steps, and the combination of all says little."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=count)
    return np.stack([rng.normal(size=count), rng.normal(size=count), -np.round(3 * truth)], axis=1), truth


def test_labels_teach_what_the_scores_mean():
    pool_values, _ = made(100)
    values, truth = made(64, 1)
    fresh, hidden = made(300, 2)
    pool = Pool(pool_values)
    own = Calibration(pool, values, truth, np.arange(64), seed=0)
    assert own.way == "ranks" and own.taus["ranks"] > own.taus["nothing"]
    assert spearmanr(own.score(fresh), hidden)[0] > 0.9 > abs(spearmanr(pool.log_rank(fresh), hidden)[0])


def test_labels_teach_what_choices_are_worth():
    rng = np.random.default_rng(3)
    choices = rng.integers(2, size=(364, 12)).astype(float)
    truth, noise = choices @ np.linspace(-1, 1, 12), rng.normal(size=(464, 2))
    own = Calibration(Pool(noise[364:]), noise[:64], truth[:64], np.arange(64), 0, choices[:64])
    assert own.way == "choices"
    assert spearmanr(own.score(noise[64:364], choices[64:]), truth[64:])[0] > 0.97


def test_labels_that_teach_nothing_are_not_used():
    values = RNG.normal(size=(64, 2)).cumsum(axis=1)
    pool = Pool(values)
    own = Calibration(pool, values, pool.log_rank(values), np.arange(64), seed=0)
    assert own.way == "nothing"
    assert own.score(values).tolist() == pool.log_rank(values).tolist()


def test_equal_networks_do_not_inflate_the_held_out_error():
    values, truth = RNG.normal(size=(16, 2)), RNG.normal(size=16)  # nothing to learn but who is who
    four = np.repeat(np.arange(16), 4)
    pool = Pool(RNG.normal(size=(50, 2)))
    grouped = Calibration(pool, values[four], truth[four], four, seed=0)
    split = Calibration(pool, values[four], truth[four], np.arange(64), seed=0)
    assert split.taus["ranks"] > 0.6 > grouped.taus["ranks"]


# --- the pool in the run's folder -----------------------------------------------------------------------------------


def reference(folder, calls, **changes):
    def score(candidate):
        calls.append(candidate.code)
        return np.array([float(sum(candidate.code)), np.nan if candidate.code[0] else 1.0])

    return Reference(SMALL, folder, **{"seed": 0, "size": 12, "score": score, "identity": ["sum"], **changes})


def test_a_pool_is_made_once_for_a_run(tmp_path):
    calls = []
    first = reference(tmp_path, calls).made()
    assert len(first) == 12 == len(calls) and all(SMALL.canonical(code) == code for code in first)
    again = reference(tmp_path, calls).made()
    assert len(calls) == 12 and list(again) == list(first)
    assert all(np.array_equal(again[code], first[code], equal_nan=True) for code in first)
    other = reference(tmp_path, calls, identity=["another"]).made()
    assert len(calls) == 24 and list(other) == list(first)
    reference(tmp_path, calls, seed=1).made()
    assert len(calls) == 36


def test_without_a_folder_nothing_is_kept(tmp_path):
    reference(None, []).made()
    reference(tmp_path, [], identity=None).made()
    reference(tmp_path / "later", []).made()
    assert not list(tmp_path.iterdir())


def test_a_damaged_pool_is_named(tmp_path):
    reference(tmp_path, []).made()
    (file,) = (tmp_path / "pools").iterdir()
    assert len(json.loads(file.read_text())) == 12
    file.write_text("[[1, 2]")
    with pytest.raises(DataError, match="cannot be read"):
        reference(tmp_path, []).made()


def test_networks_without_any_score_are_no_members():
    def score(candidate):
        return np.array([np.nan if candidate.code[0] else 1.0])

    some = Reference(SMALL, None, 0, 12, score, ["first"]).made()
    assert len(some) == 12 and not any(code[0] for code in some)
    with pytest.raises(DataError, match="only 0 random networks"):
        Reference(SMALL, None, 0, 12, lambda candidate: np.array([np.nan]), []).made()


# --- draws ----------------------------------------------------------------------------------------------------------


def test_raw_scores_are_means_over_draws():
    on_trial, metrics = Candidate(SMALL, (4, 3, 4, 1, 4, 2)), [Naswot(batch=4), Synflow(log=True)]
    once, unknown = raw_scores(on_trial, metrics, 1)
    assert once.tolist() == [metric(on_trial) for metric in metrics] and np.isnan(unknown).all()
    few, error = raw_scores(on_trial, metrics, 4)
    many, smaller = raw_scores(on_trial, metrics, 64)
    assert (error > 0).all() and (smaller < error).all()
    assert np.abs(few - many) == pytest.approx(0, abs=float(4 * error.max()))


def test_what_cannot_be_judged_has_no_score():
    assert np.isnan(raw_scores(Candidate(SMALL, (4, 0, 0, 0, 0, 0)), [Naswot(batch=4)], 2)[0]).all()
