"""What `quality.de_score` costs per network and draw, in passes forward and backward of that network.

One unit is one forward and backward pass of the same network on the same batch: cross-entropy with random labels,
BatchNorm as in training, everything else as in evaluation. The score is measured whole, from a code: the network is
built, its weights are drawn, and all terms of its domain are computed; nothing is timed inside it. Both take turns, in
one process on one core, and medians are compared.

The formula of the released DE-NAS code, at its batch of 64, stands beside it for CNNs. CNNs are the structures of its
log, Zen-NAS's (0.5 and 1 million weights) and random ones of 0.1 to 1 million, for images of 32 pixels; Transformers
have sizes of DE-NAS's spaces.

    python benchmarks/denas_speed.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.candidate import Candidate, Family
from hwnas.families.asr import Asr
from hwnas.families.bert import Bert
from hwnas.families.plainnet import PlainNet
from hwnas.families.vit import Vit
from hwnas.quality import _intel
from hwnas.quality.de_score import DeScore

TARGETS = {"cnn": 8.0, "vit": 4.0, "bert": 4.0, "asr": 4.0}
INTEL_BATCH = 64
STEM = "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)"
STRUCTURES = {
    "A": STEM + "SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)SuperResK3K3(64,64,2,32,1)"
    "SuperConvK1BNRELU(64,128,1,1)",
    "B": STEM + "SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)SuperResK5K5(64,64,2,48,2)"
    "SuperConvK1BNRELU(64,128,1,1)",
    "C": STEM + "SuperResK1K3K1(16,40,2,16,1)SuperResK5K5(40,96,2,40,2)SuperResK3K3(96,64,2,32,1)"
    "SuperConvK1BNRELU(64,128,1,1)",
    "Z05": "SuperConvK3BNRELU(3,64,1,1)SuperResK1K5K1(64,168,1,16,3)SuperResK1K3K1(168,80,2,32,4)"
    "SuperResK1K5K1(80,112,2,16,3)SuperResK1K5K1(112,144,1,24,3)SuperResK1K3K1(144,32,2,40,1)"
    "SuperConvK1BNRELU(32,512,1,1)",
    "Z1": "SuperConvK3BNRELU(3,88,1,1)SuperResK1K7K1(88,120,1,16,1)SuperResK1K7K1(120,192,2,16,3)"
    "SuperResK1K5K1(192,224,1,24,4)SuperResK1K5K1(224,96,2,24,2)SuperResK1K3K1(96,168,2,40,3)"
    "SuperResK1K3K1(168,112,1,48,3)SuperConvK1BNRELU(112,512,1,1)",
}


@dataclass(frozen=True)
class Case:
    """One network to be scored."""

    domain: str
    label: str
    family: Family
    code: tuple[int, ...]

    @property
    def fresh(self) -> Candidate:
        return Candidate(self.family, self.code)


def cases(quick: bool) -> list[Case]:
    """The networks of all domains; fewer and smaller ones for a quick look."""
    found = []
    for label in ("A", "C") if quick else STRUCTURES:
        cnn = PlainNet(classes=100, structure=STRUCTURES[label])
        found.append(Case("cnn", label, cnn, cnn.space.encode(cnn.arch_of(STRUCTURES[label]))))
    found += random_cnns(0 if quick else 3)
    side, words, frames = (128, 96, 240) if quick else (224, 128, 400)
    heads, ratios = (5, 3, 7, 4), (3.0, 4.0, 3.5, 3.0)
    vit = Vit(resolution=side)
    sizes = ((12, 192),) if quick else ((12, 192), (13, 320))
    found += [layered("vit", vit, depth, width, heads, ratios) for depth, width in sizes]
    bert = Bert(length=words)
    for layers, wide, hidden in ((4, 256, 1024),) if quick else ((4, 256, 1024), (6, 384, 1536)):
        arch = {"layers": layers, "width": wide, "heads": 8, "hidden": hidden}
        found.append(Case("bert", f"{layers} x {wide}", bert, bert.space.encode(arch)))
    asr = Asr(frames=frames)
    found += [layered("asr", asr, d, w, (2, 3, 4), ratios) for d, w in (((5, 192),) if quick else ((5, 192), (8, 240)))]
    return found


def random_cnns(count: int) -> list[Case]:
    """Random networks of 0.1 to 1 million parameters."""
    family, rng, found = PlainNet(classes=100, max_width=128, max_bottleneck=64), np.random.default_rng(0), []
    while len(found) < count:
        case = Case("cnn", f"random {len(found) + 1}", family, family.space.sample(rng))
        if 1e5 <= params(case.fresh) <= 1e6:
            found.append(case)
    return found


def layered(domain: str, family: Family, depth: int, width: int, heads: Sequence[int], ratios: Sequence[float]) -> Case:
    """A Transformer whose layers have these heads and ratios in turn."""
    arch: dict[str, Any] = {"depth": depth, "width": width}
    layer = {"vit": "layer", "asr": "encoder"}[domain]
    for place in range(1, depth + 1):
        arch |= {f"{layer}{place}.heads": heads[place % len(heads)], f"{layer}{place}.ratio": ratios[place % 4]}
    return Case(domain, f"{depth} x {width}", family, family.space.encode(arch))


def params(candidate: Candidate) -> int:
    return sum(parameter.numel() for parameter in candidate.skeleton.parameters())


# --- the clock ------------------------------------------------------------------------------------------------------


def trains(candidate: Candidate, batch: int) -> Callable[[], None]:
    """One forward and backward pass of a network, as training begins; it is built before."""
    model, inputs = candidate.model, candidate.batch(batch)
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def once() -> None:
        for norm in norms:
            norm.train()
        logits = model(*inputs).flatten(0, -2)
        F.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[-1]).backward()
        model.zero_grad()
        model.eval()

    return once


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(unit: Callable[[], object], work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians of both, in seconds, after one of each that does not count; units stand around every piece of work."""
    unit(), work()
    units, works = [seconds(unit)], []
    for _ in range(rounds):
        works.append(seconds(work))
        units += [seconds(unit) for _ in range(2)]
    return statistics.median(units), statistics.median(works)


def measured(case: Case, metric: DeScore, rounds: int) -> tuple[float, float]:
    """Seconds of a unit, and units that all terms of one network and one draw cost."""
    unit, work = in_turn(trains(case.fresh, metric.batch), lambda: metric.raw(case.fresh), rounds)
    return unit, work / unit


def intel(case: Case) -> float:
    """Units that the formula of the released code costs, once: it takes as long as 64 backward passes."""
    unit = trains(case.fresh, INTEL_BATCH)
    unit()
    return seconds(lambda: _intel.terms(case.fresh, INTEL_BATCH)) / statistics.median(seconds(unit) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller networks; under a minute")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rounds = 3 if quick else 5
    costs: dict[str, list[float]] = {}
    print(f"{'':18} {'params':>9} {'one unit':>9} {'de_score':>9} {'DE-NAS':>7}   (units of one forward and backward)")
    first, *_ = everyone = cases(quick)
    for _ in range(3):  # what is loaded at first use is paid once a search, not once a network
        DeScore(first.family).raw(first.fresh)
    for case in everyone:
        metric = DeScore(case.family)
        unit, cost = measured(case, metric, rounds)
        costs.setdefault(case.domain, []).append(cost)
        row = f"{case.domain:5} {case.label:12} {params(case.fresh) / 1e6:7.2f} M {1000 * unit:6.0f} ms {cost:9.2f}"
        if case.label in ("A",) if quick else case.label in ("A", "B", "C"):
            row += f" {intel(case):7.1f}"
        print(row, flush=True)
    figures: Mapping[str, float] = {domain: round(statistics.median(own), 3) for domain, own in costs.items()}
    print("\nmedian over networks, batch 16; at most: " + ", ".join(f"{d} {most:g}" for d, most in TARGETS.items()))
    print(json.dumps({"benchmark": "denas_speed", "figures": figures}))


if __name__ == "__main__":
    main()
