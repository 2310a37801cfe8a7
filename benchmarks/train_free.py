"""A whole search without training, and what it is worth: its pick against random networks of its size, all trained.

Zen-NAS's space (`plainnet`) under a million parameters, images of 32 pixels, scored by the default `quality.ensemble`,
searched by `denas` in two processes. Then the pick and random networks with nearly as many parameters, within the same
limits, are trained in the same way on CIFAR-10, and the percentile of the pick among them is told, by the mean over
seeds.

    python benchmarks/train_free.py [--quick] [--candidates 1000] [--epochs 10] [--seeds 3] [--random 10]

Training is the long part: hours on two cores with the defaults. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from _play import SHARED
from rich.progress import track

import hwnas
from hwnas.candidate import Candidate
from hwnas.data.arrays import Arrays
from hwnas.families.plainnet import PlainNet
from hwnas.progress import silent
from hwnas.seeds import derive, seeded
from hwnas.space import Code
from hwnas.weights.train import Network, Recipe, Trainer, judge

IMAGES = SHARED / "datasets" / "cifar10_small.npz"
FAMILY = {"plainnet": {"classes": 10, "resolution": 32, "max_width": 128, "max_bottleneck": 32}}
MOST = 1_000_000


def search(folder: Path, candidates: int, pool: int, workers: int) -> tuple[Code, float, float]:
    """The pick, its score and the seconds that the search took, resumed ones not counted."""
    source: dict[str, Any] = {
        "family": FAMILY,
        "goals": {
            "score": {"max": {"ensemble": {"pool": pool}}},
            "params": {"min": "params", "limit": MOST, "objective": False},
        },
        "search": "denas",
        "budget": candidates,
        "workers": workers,
        "export": False,
    }
    began, seconds = time.perf_counter(), folder / "seconds.json"
    if seconds.exists():
        study = hwnas.load(folder / "run")
    else:
        study = hwnas.search(source, run=folder / "run")
        seconds.write_text(json.dumps(time.perf_counter() - began), encoding="utf-8")
    best = study.front().best("score")
    return best.code, best.values["score"], float(json.loads(seconds.read_text(encoding="utf-8")))


def alike(family: PlainNet, size: int, count: int, seed: int) -> list[Code]:
    """Random networks with as many parameters, within 10 % and the limit."""
    rng, found = np.random.default_rng(seed), list[Code]()
    while len(found) < count:
        some = np.array([family.space.sample(rng) for _ in range(256)])
        params_N = family.counts(some)[1]
        fitting = np.flatnonzero((abs(params_N / size - 1) <= 0.1) & (params_N <= MOST))
        found += [tuple(int(index) for index in some[row]) for row in fitting]
    return found[:count]


def trained(family: PlainNet, code: Code, data: Arrays, recipe: Recipe, folder: Path) -> float:
    """Test accuracy after the last epoch of one training."""
    place = folder / f"{derive(recipe.seed, code, str(recipe), data.fingerprint):x}"
    file = place / "accuracy.json"
    if file.exists():
        return float(json.loads(file.read_text(encoding="utf-8")))
    with seeded(derive(recipe.seed, "weights", code)):
        module = family.build(family.space.decode(code))
    network = Network.of(family, family.space.decode(code), module)
    place.mkdir(parents=True, exist_ok=True)
    Trainer(network, data, recipe, place, {"code": list(code)}).run(silent)
    right, count, _ = judge(network, data, "test")
    file.write_text(json.dumps(right / count), encoding="utf-8")
    return right / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few candidates and hardly any training, for a look")
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=10)
    parser.add_argument("--images", type=int, default=10_000, help="of CIFAR-10's training images")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/train_free"))
    options = parser.parse_args()
    if options.quick:
        options.candidates, options.epochs, options.seeds, options.random, options.images = 24, 1, 1, 2, 300
        options.keep = options.keep.with_name(f"{options.keep.name}-quick")
    if not IMAGES.is_file():
        raise SystemExit(f"CIFAR-10's images are not in {IMAGES}; their README says where they come from")
    options.keep.mkdir(parents=True, exist_ok=True)
    pick, score, seconds = search(options.keep, options.candidates, 8 if options.quick else 128, options.workers)
    family = PlainNet(**FAMILY["plainnet"])
    size = int(family.counts(np.array([pick]))[1][0])
    print(f"{options.candidates} candidates in {seconds:.0f} s; the pick has {size:,} parameters, score {score:.3f}")
    print(family.structure_of(Candidate(family, pick).arch))
    data = subset(options.keep, options.images)
    rivals = alike(family, size, options.random, seed=1)
    accuracy: dict[Code, list[float]] = {code: [] for code in (pick, *rivals)}
    for code in track(accuracy, "training"):
        for seed in range(options.seeds):
            recipe = Recipe(epochs=options.epochs, seed=seed)
            accuracy[code].append(trained(family, code, data, recipe, options.keep))
    means = {code: float(np.mean(own)) for code, own in accuracy.items()}
    print(f"\n{'network':10} {'params':>9} {'MACs':>12} {'test accuracy':>14}")
    for place, code in enumerate(sorted(means, key=lambda code: -means[code])):
        macs, params = (int(column[0]) for column in family.counts(np.array([code])))
        name = "the pick" if code == pick else f"random {place}"
        print(f"{name:10} {params:9,} {macs:12,} {means[code]:14.2%}  {[round(own, 4) for own in accuracy[code]]}")
    percentile = float(np.mean([means[pick] > means[code] for code in rivals]))
    print(f"\nthe pick is better than {percentile:.0%} of the random networks")
    figures = {"search_seconds": round(seconds, 1), "percentile": percentile, "accuracy": round(means[pick], 4)}
    print(json.dumps({"benchmark": "train_free", "figures": figures}))


def subset(folder: Path, count: int) -> Arrays:
    """The first training images, which are balanced, and all test images, as a file of their own."""
    file = folder / f"cifar10-{count}.npz"
    if not file.exists():
        with np.load(IMAGES, allow_pickle=False) as images:
            np.savez(
                file,
                x_train=images["x_train"][:count],
                y_train=images["y_train"][:count],
                x_test=images["x_test"],
                y_test=images["y_test"],
            )
    return Arrays(str(file))


if __name__ == "__main__":
    main()
