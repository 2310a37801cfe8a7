"""How well zero-cost scores rank networks: correlation with trained accuracy, and what they cost.

NAS-Bench-201: random cells of the benchmark's own network, CIFAR-10 and CIFAR-100 test accuracy after 200 epochs.
Spearman with a 95 % interval (bootstrap over cells) and Kendall's tau-b on all cells, tau on the cells without dangling
edges and on the first of every class of equal ones, tau in the better half, accuracy lost by the ten best picks, and
the spread over three draws. NAS-Bench-101: from the published scores of 500 cells. NAS-Bench-Macro: networks built
after its definition. The ensemble is the default one of `quality.ensemble` everywhere: ranks in a pool of 128 other
networks, without labels and with some. FLOPs, parameters, AZ-NAS and DE-NAS's own formula stand beside it.

Costs are multiples of one forward and backward pass of 16 images, in the same process, every score by itself.

    python benchmarks/zero_cost.py [--quick] [--keep FOLDER]

Scores are kept as they are computed; a run that was killed goes on where it stopped. The full run takes more than an
hour on two cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one network per process and core

import numpy as np
from _play import SHARED, Floats
from rich.progress import track
from scipy.stats import kendalltau, spearmanr

from hwnas import codes, parts
from hwnas.candidate import Candidate, Family
from hwnas.families.nasbench201 import NasBench201, parse
from hwnas.families.nasbenchmacro import NasBenchMacro
from hwnas.quality import _intel
from hwnas.quality._pool import Calibration, Pool, number
from hwnas.quality._probe import scores
from hwnas.quality.de_score import TERMS, DeScore
from hwnas.quality.ensemble import FEATURES, PROXIES, title
from hwnas.trial import Metric

DATA = SHARED / "zero_cost"
MEMBERS, FURTHER = len(PROXIES), len(FEATURES)
SIZES: tuple[parts.Spec, ...] = ({"hardware.macs": {}}, {"hardware.params": {}})
OTHERS: tuple[parts.Spec, ...] = (
    {"quality.gradsign": {}},
    {"quality.zico": {}},
    {"quality.grasp": {}},
    {"quality.ntk": {"batch": 16}},
    {"quality.zen": {}},
    {"quality.zen": {"bypass": True}},
    {"quality.swap": {}},
    {"quality.linear_regions": {}},
    {"quality.epe": {}},
    {"quality.diversity": {}},
)
"""Scores that are no part of the ensemble, on fewer cells, since most of them cost more than all that are."""
CORE = MEMBERS + FURTHER + len(SIZES)
POOL = 128
DE_TERMS = (("zen bypass", "az"), ("ntk",), ("diversity",), ("synflow log",))
"""The terms of `quality.de_score`, each a sum of scores."""
DE_NAS_SAMPLES = 4
"""Images for DE-NAS's formula; its own 64 cost 125 units a network."""


@functools.cache
def metrics() -> tuple[Metric, ...]:
    """All scores: members of the ensemble, what its calibration uses beside them, sizes, and others."""
    return tuple(parts.make(("quality", "hardware"), spec) for spec in (*PROXIES, *FEATURES, *SIZES, *OTHERS))


@functools.cache
def names() -> tuple[str, ...]:
    return tuple(title(metric) for metric in metrics())


# --- raw scores -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """One network to be scored: a benchmark, a row of its table, a seed, and whether other scores are meant."""

    bench: str
    row: int
    seed: int
    others: bool = False


@functools.cache
def table(name: str) -> Mapping[str, Any]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@functools.cache
def family(bench: str) -> Family:
    """The network of a benchmark; "small" ones, for --quick, are narrow, shallow and see small images."""
    made: dict[str, Callable[[], Family]] = {
        "nasbench201": NasBench201,
        "nasbench201 small": lambda: NasBench201(channels=8, cells=1, resolution=8),
        "nasbench_macro": NasBenchMacro,
        "nasbench_macro small": lambda: NasBenchMacro(resolution=8),
    }
    return made[bench]()


def candidate(bench: str, row: int, seed: int) -> Candidate:
    own, name = family(bench), bench.partition(" ")[0]
    if isinstance(own, NasBench201):
        code = parse(str(table(name)["arch_str"][row]))
    else:
        code = own.canonical(tuple(int(op) for op in table(name)["arch"][row]))
    return Candidate(own, code, seed)


def chosen(bench: str, rows: Any) -> Floats:
    """The choices of networks, one-hot."""
    own = family(bench)
    some = (own.canonical(candidate(bench, int(row), 0).code) for row in rows)
    return codes.one_hot(own.space, codes.array(own.space, some))


def judge(work: Work) -> list[float]:
    """Raw scores of one network, NaN where there is none; among the others also `de_score` and DE-NAS's own."""
    import torch

    torch.set_num_threads(1)
    on_trial = candidate(work.bench, work.row, work.seed)
    if not work.others:
        return [number(result) for result in scores(on_trial, metrics()[:CORE])]
    values = [number(result) for result in scores(on_trial, metrics()[CORE:])]
    values += DeScore(on_trial.family).raw(on_trial)[0].tolist()
    try:
        return [*values, _intel.terms(on_trial, DE_NAS_SAMPLES).score(1, 1, 1)]
    except (ArithmeticError, ValueError, RuntimeError):
        return [*values, float("nan")]  # its kernel is singular, or its distance 0: no path leads through the cell


def all_scores(works: Sequence[Work], keep: Path) -> dict[Work, list[float]]:
    """Everything that is asked for, from the folder where it is known already."""
    keep.mkdir(parents=True, exist_ok=True)
    file = keep / "scores.jsonl"
    known: dict[Work, list[float]] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            *fields, values = json.loads(line)
            known[Work(*fields)] = [float("nan") if value is None else value for value in values]
    missing = [work for work in works if work not in known]
    workers = os.cpu_count() or 1
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        file.open("a", encoding="utf-8") as out,
    ):
        results = pool.map(judge, missing, chunksize=1)
        for work, values in track(zip(missing, results, strict=True), "scoring networks", total=len(missing)):
            known[work] = values
            plain = [value if np.isfinite(value) else None for value in values]
            out.write(json.dumps([work.bench, work.row, work.seed, work.others, plain]) + "\n")
            out.flush()
    return {work: known[work] for work in works}


# --- what a ranking is worth ----------------------------------------------------------------------------------------


def ranked(values_N: Floats) -> Floats:
    """Missing scores are the lowest."""
    return np.where(np.isfinite(values_N), values_N, -np.inf)


def rho(values_N: Floats, truth_N: Floats) -> float:
    values_N = ranked(values_N)
    return 0.0 if np.all(values_N == values_N[0]) else float(spearmanr(values_N, truth_N).statistic)


def tau(values_N: Floats, truth_N: Floats) -> float:
    values_N = ranked(values_N)
    return 0.0 if np.all(values_N == values_N[0]) else float(kendalltau(values_N, truth_N).statistic)


def interval(values_N: Floats, truth_N: Floats, draws: int = 1000) -> tuple[float, float]:
    """95 % of the Spearman correlations of samples of the networks, drawn with replacement."""
    rng = np.random.default_rng(0)
    found = [rho(values_N[rows], truth_N[rows]) for rows in rng.integers(len(truth_N), size=(draws, len(truth_N)))]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def regret(values_N: Floats, truth_N: Floats, picks: int = 10) -> float:
    """The best accuracy of all minus the best among the highest scores."""
    best = np.argsort(-ranked(values_N), kind="stable")[:picks]
    return float(truth_N.max() - truth_N[best].max())


# --- the benchmarks -------------------------------------------------------------------------------------------------


def live(ops: Any) -> list[bool]:
    """Which edges of a cell lie on a path from its input to its output and are not `none`."""
    used = [bool(op) for op in ops]
    reached = used[1] or (used[0] and used[2])
    leads = used[4] or (used[2] and used[5])
    return [
        used[0] and leads,
        used[1] and used[5],
        used[2] and used[0] and used[5],
        used[3],
        used[4] and used[0],
        used[5] and reached,
    ]


@dataclass(frozen=True)
class Cells:
    """Some cells of NAS-Bench-201: scores by name, higher is better, and the truth."""

    rows: Any
    columns: dict[str, Floats]

    @functools.cached_property
    def truth(self) -> dict[str, Floats]:
        return {name: table("nasbench201")[f"{name}_test200"][self.rows] for name in ("cifar10", "cifar100")}

    @functools.cached_property
    def subsets(self) -> dict[str, Any]:
        data = table("nasbench201")
        ops, edges = data["arch"][self.rows], [live(ops) for ops in data["arch"][self.rows]]
        tidy = np.array([any(own) and own == [bool(op) for op in each] for own, each in zip(edges, ops, strict=True)])
        unique = data["iso_first"][self.rows]
        first = np.zeros(len(self.rows), dtype=bool)
        first[np.unique(unique, return_index=True)[1]] = True
        return {"all": np.ones(len(self.rows), dtype=bool), "no dangling": tidy, "unique": first}


def core_columns(raw_NM: Floats, pool_NM: Floats) -> dict[str, Floats]:
    """The scores of the ensemble by name, with what is made of them."""
    found = {name: raw_NM[:, place] for place, name in enumerate(names()[:CORE])}
    az = [names().index(name) for name in ("az", "az progressivity", "az trainability", "macs")]
    ranks_NM = np.stack([_population_rank(raw_NM[:, place]) for place in az], axis=1)
    combined = Pool(pool_NM[:, :MEMBERS]).log_rank(raw_NM[:, :MEMBERS])
    return {"ensemble": combined, "AZ-NAS": np.log(ranks_NM).sum(axis=1), **found}


def other_columns(raw_NM: Floats) -> dict[str, Floats]:
    """The other scores by name, DE-NAS's formula, and `quality.de_score` without latency, ranked among these cells."""
    own = len(names()) - CORE
    found = {name: raw_NM[:, place] for place, name in enumerate(names()[CORE:])}
    terms_NM = raw_NM[:, own:-1]
    found |= {f"de_score {name}": terms_NM[:, place] for place, name in enumerate(TERMS)}
    found["de_score"] = Pool(terms_NM, oriented=False).normal(terms_NM).sum(axis=1)
    return {**found, f"DE-NAS, {DE_NAS_SAMPLES} images": raw_NM[:, -1]}


def _population_rank(values_N: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(ranked(values_N)) / len(values_N))


def calibrated(
    pool: Pool, values_NM: Floats, truth_N: Floats, groups_N: Any, choices_NF: Floats, count: int, draws: int
) -> tuple[float, float]:
    """Spearman and Kendall of the ensemble with so many labels, on networks that equal none of the labelled ones."""
    found = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        known = rng.choice(len(truth_N), count, replace=False)
        fresh = ~np.isin(groups_N, groups_N[known])
        own = Calibration(pool, values_NM[known], truth_N[known], groups_N[known], draw, choices_NF[known])
        guess = own.score(values_NM[fresh], choices_NF[fresh])
        found.append((rho(guess, truth_N[fresh]), tau(guess, truth_N[fresh])))
    first, second = np.mean(found, axis=0)
    return float(first), float(second)


def nasbench101(draws: int) -> tuple[float, float]:
    """Spearman of the ensemble without and with 64 labels, from the scores published for 500 cells."""
    data = table("suite_zero_nb101")
    published = [str(name) for name in data["proxies"]]
    own = {"live_macs": "flops", "jacob_cov": "jacov", "live_params": "params", "synflow log": ""}
    wanted = [own.get(name, name.partition(" ")[0]) for name in names()[: MEMBERS + FURTHER]]
    here = [name for name in wanted if name in published]
    members = sum(name in published for name in wanted[:MEMBERS])
    values_NM = data["score"][:, [published.index(name) for name in here]]
    truth_N, plain, taught = data["val_accuracy"].astype(float), [], []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(truth_N))
        pool = Pool(values_NM[order[:POOL]], members=members)
        rest = order[POOL:]
        plain.append(rho(pool.log_rank(values_NM[rest]), truth_N[rest]))
        whole = Calibration(pool, values_NM[rest[:64]], truth_N[rest[:64]], rest[:64], draw)
        taught.append(rho(whole.score(values_NM[rest[64:]]), truth_N[rest[64:]]))
    print(
        f"\nNAS-Bench-101, 500 cells, published scores: {', '.join(here[:members])}; with labels also {here[members:]}"
    )
    for name in ("flops", "params", "synflow", "jacov"):
        print(f"  {name:24} {rho(data['score'][:, published.index(name)], truth_N):6.3f}")
    print(f"  {'ensemble':24} {np.mean(plain):6.3f}\n  {'ensemble, 64 labels':24} {np.mean(taught):6.3f}")
    return float(np.mean(plain)), float(np.mean(taught))


def macro(rows: Any, raw_NM: Floats, pool_NM: Floats, draws: int) -> tuple[float, float]:
    """Spearman of the ensemble without and with 64 labels on NAS-Bench-Macro."""
    data = table("nasbench_macro")
    truth_N = data["cifar10_test_acc"].mean(axis=1)[rows]
    own = MEMBERS + FURTHER
    pool = Pool(pool_NM[:, :own], members=MEMBERS)
    plain = rho(pool.log_rank(raw_NM[:, :own]), truth_N)
    labels = min(64, len(rows) // 2)
    choices_NF = chosen("nasbench_macro", rows)
    taught, _ = calibrated(pool, raw_NM[:, :own], truth_N, np.asarray(rows), choices_NF, labels, draws)
    print(f"\nNAS-Bench-Macro, {len(rows)} distinct networks, turned around: {_turned(pool)}")
    for name, values_N in (("FLOPs", data["flops"][rows]), ("params", data["params"][rows])):
        print(f"  {name:24} {rho(values_N.astype(float), truth_N):6.3f}")
    for place, name in enumerate(names()[:own]):
        print(f"  {name:24} {rho(raw_NM[:, place], truth_N):6.3f}")
    print(f"  {'ensemble':24} {plain:6.3f}\n  {f'ensemble, {labels} labels':24} {taught:6.3f}")
    return plain, taught


def _turned(pool: Pool) -> str:
    return ", ".join(name for name, sign in zip(names(), pool.signs, strict=False) if sign < 0) or "none"


def report(cells: Cells, spread: Mapping[str, float], costs: Mapping[str, float]) -> dict[str, float]:
    """One table of NAS-Bench-201, best score first; the correlations on CIFAR-10 by name."""
    sizes = {name: int(rows.sum()) for name, rows in cells.subsets.items()}
    print(f"\nNAS-Bench-201, cells: {sizes}")
    head = f"  {'score':20} {'rho c10':>7} {'95 %':>14} {'c100':>6} | {'tau all':>7} {'no dang.':>8} {'unique':>6}"
    print(f"{head} {'top half':>8} | {'regret':>6} {'draws':>6} {'cost':>6}")
    c10, c100 = cells.truth["cifar10"], cells.truth["cifar100"]
    better = c10 >= np.median(c10)
    found = {name: rho(values_N, c10) for name, values_N in cells.columns.items()}
    for name in sorted(found, key=lambda name: -found[name]):
        values_N = cells.columns[name]
        low, high = interval(values_N, c10)
        taus = [tau(values_N[rows], c10[rows]) for rows in cells.subsets.values()]
        print(
            f"  {name:20} {found[name]:7.3f} [{low:6.3f}, {high:5.3f}] {rho(values_N, c100):6.3f} |"
            f" {taus[0]:7.3f} {taus[1]:8.3f} {taus[2]:6.3f} {tau(values_N[better], c10[better]):8.3f} |"
            f" {regret(values_N, c10):6.2f} {spread.get(name, float('nan')):6.3f} {costs.get(name, float('nan')):6.2f}"
        )
    return found


def with_labels(cells: Cells, raw_NM: Floats, pool_NM: Floats, draws: int) -> float:
    """Kendall's tau of the ensemble with 100 labels, on cells that equal none of those with a label."""
    c10, labels = cells.truth["cifar10"], min(100, len(cells.rows) // 2)
    own = MEMBERS + FURTHER
    pool = Pool(pool_NM[:, :own], members=MEMBERS)
    groups = table("nasbench201")["canon_first"][cells.rows]
    choices_NF = chosen("nasbench201", cells.rows)
    taught_rho, taught_tau = calibrated(pool, raw_NM[:, :own], c10, groups, choices_NF, labels, draws)
    print(f"  ensemble with {labels} labels, equal cells removed: rho {taught_rho:.3f}, tau {taught_tau:.3f}")
    print(f"  scores turned around: {_turned(pool)}")
    return taught_tau


def within_budgets(cells: Cells) -> None:
    """Where a search works, size is given: the rank correlation among cells of nearly the same FLOPs."""
    flops, truth_N, columns = table("nasbench201")["flops"][cells.rows], cells.truth["cifar10"], cells.columns
    print("  among cells of the same FLOPs within 10 %, Spearman:", end="")
    for low in (30e6, 60e6, 100e6):
        rows = (flops >= low) & (flops <= 1.1 * low / 0.9)
        if rows.sum() >= 10:
            found = ", ".join(
                f"{name} {rho(columns[name][rows], truth_N[rows]):.2f}" for name in ("ensemble", "AZ-NAS")
            )
            print(f"  {low / 1e6:.0f} M, {int(rows.sum())} cells: {found};", end="")
    print()


def costs_of(bench: str, rows: Sequence[int]) -> dict[str, float]:
    """Seconds of every score, in multiples of a forward and backward pass of 16 images: medians over a few networks."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    own = {title(metric): [metric] for metric in metrics()} | {"ensemble": list(metrics()[:MEMBERS])}
    found: dict[str, list[float]] = {name: [] for name in own}
    for row in track(rows, "timing scores"):
        on_trial = candidate(bench, row, 0)
        (x,), labels = on_trial.batch(16), torch.arange(16) % 10
        model = family(bench).build(on_trial.arch).train()

        def once(x: Any = x, labels: Any = labels, model: Any = model) -> None:
            F.cross_entropy(model(x), labels).backward()

        unit = min(_seconds(once) for _ in range(3))
        for name, some in own.items():
            fresh = candidate(bench, row, 0)
            fresh.model, fresh.layers  # noqa: B018  # building the network is nobody's cost
            found[name].append(min(_seconds(lambda c=fresh, s=some: scores(c, s)) for _ in range(2)) / unit)
    return {name: float(np.median(each)) for name, each in found.items()}


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks and few of them, for a look: a minute")
    parser.add_argument("--keep", type=Path, default=Path("runs/zero_cost"), help="folder for the scores")
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"the benchmarks' tables are not in {DATA}; their README says where they come from")
    quick = options.quick
    cell, net = ("nasbench201 small", "nasbench_macro small") if quick else ("nasbench201", "nasbench_macro")
    count, several, nets, pool, draws = (32, 8, 16, 8, 2) if quick else (1000, 300, 300, POOL, 20)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(table("nasbench201")["arch"]))
    rows, pool_rows = order[:count].tolist(), order[count : count + pool].tolist()
    distinct = rng.permutation(np.unique(table("nasbench_macro")["canon_first"]))
    nets_rows, nets_pool = distinct[:nets].tolist(), distinct[nets : nets + pool].tolist()
    works = {
        "cells": [Work(cell, row, 0) for row in rows],
        "first": [Work(cell, row, 1) for row in rows[:several]],
        "second": [Work(cell, row, 2) for row in rows[:several]],
        "others": [Work(cell, row, 0, True) for row in rows[:several]],
        "pool": [Work(cell, row, 0) for row in pool_rows],
        "nets": [Work(net, row, 0) for row in nets_rows],
        "nets pool": [Work(net, row, 0) for row in nets_pool],
    }
    known = all_scores([work for some in works.values() for work in some], options.keep)
    raw = {name: np.array([known[work] for work in some]) for name, some in works.items()}
    costs = costs_of(cell, rows[:2] if quick else rows[:10])
    cells = Cells(np.array(rows), core_columns(raw["cells"], raw["pool"]))
    fewer = [core_columns(some, raw["pool"]) for some in (raw["cells"][:several], raw["first"], raw["second"])]
    truth_N = cells.truth["cifar10"][:several]
    spread = {name: float(np.std([rho(own[name], truth_N) for own in fewer], ddof=1)) for name in fewer[0]}
    found = report(cells, spread, costs)
    figures = {
        "rho_c10": found["ensemble"],
        "rho_c100": rho(cells.columns["ensemble"], cells.truth["cifar100"]),
        "tau_no_dangling": tau(
            *(each[cells.subsets["no dangling"]] for each in (cells.columns["ensemble"], cells.truth["cifar10"]))
        ),
        "tau_100_labels": with_labels(cells, raw["cells"], raw["pool"], draws),
    }
    within_budgets(cells)
    others = report(Cells(np.array(rows[:several]), other_columns(raw["others"])), {}, costs)
    figures["de_score_rho_c10"] = others.pop("de_score")
    figures |= {name: value for name, value in (*found.items(), *others.items()) if name != "ensemble"}
    figures["nb101_rho"], figures["nb101_rho_64_labels"] = nasbench101(2 if quick else 20)
    figures["macro_rho"], figures["macro_rho_64_labels"] = macro(nets_rows, raw["nets"], raw["nets pool"], draws)
    if quick:
        print("\nquick: networks are narrow and few; these figures are no claim")
    print(json.dumps({"benchmark": "zero_cost", "figures": {name: round(value, 4) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
