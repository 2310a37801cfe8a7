"""What sharing weights costs: a training step through views of a big network against the same net trained plainly.

Both do a forward pass, cross-entropy, a backward pass and one SGD step with momentum on the same images. Through views,
the small network is built without storage (every time), borrows its tensors from the big network, and the step updates
the big network. Random architectures, a new one for every repeat, the two in turn.

    python benchmarks/shared_weights.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.candidate import Family
from hwnas.families.mobilenetv3 import MobileNetV3
from hwnas.seeds import seeded
from hwnas.space import Arch
from hwnas.weights.share import borrow, call, extract, skeleton, tensors_of

SETTINGS = {
    "step_ratio": (
        "96 px, width 1.0, batch 64",
        MobileNetV3(classes=10, resolution=96, width=1.0, stem="imagenet"),
        64,
    ),
    "step_ratio_demo": (
        "32 px, width 0.35, batch 64 (the demo's)",
        MobileNetV3(classes=10, resolution=32, width=0.35),
        64,
    ),
}


def through_views(
    family: Family, arch: Arch, big: dict[str, Tensor], step: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> None:
    step.zero_grad(set_to_none=True)
    small = skeleton(family, arch, training=True)
    F.cross_entropy(call(small, borrow(family, arch, small, big), x), y).backward()
    step.step()


def plainly(model: torch.nn.Module, step: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    step.zero_grad(set_to_none=True)
    F.cross_entropy(model(x), y).backward()
    step.step()


def seconds(work: object, *inputs: object) -> float:
    began = time.perf_counter()
    work(*inputs)  # type: ignore[operator]
    return time.perf_counter() - began


def measure(family: Family, batch: int, repeats: int) -> tuple[float, float, float]:
    """Median seconds through views, of the plain net, and the median ratio of the pairs."""
    rng = np.random.default_rng(0)
    with seeded(0):
        supernet = family.supernet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        (x,) = family.inputs(family.space.decode(family.space.largest), batch)
        y = torch.randint(0, 10, (batch,))
    x = x.contiguous(memory_format=torch.channels_last)
    big = tensors_of(supernet)
    shared_step = torch.optim.SGD(supernet.parameters(), lr=1e-3, momentum=0.9)
    shared, plain = [], []
    for repeat in range(-1, repeats):
        arch = family.space.decode(family.space.sample(rng))
        model = extract(family, arch, borrow(family, arch, skeleton(family, arch), big)).train()
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        step = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        plainly(model, step, x, y)  # the first step of a net allocates its momentum and chooses its kernels
        through_views(family, arch, big, shared_step, x, y)
        pair = [
            lambda a=arch: shared.append(seconds(through_views, family, a, big, shared_step, x, y)),
            lambda m=model, s=step: plain.append(seconds(plainly, m, s, x, y)),
        ]
        for work in pair if repeat % 2 else reversed(pair):
            work()
    ratios = [one / other for one, other in zip(shared[1:], plain[1:], strict=True)]
    return statistics.median(shared[1:]), statistics.median(plain[1:]), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats; under a minute")
    quick = parser.parse_args().quick
    repeats = 5 if quick else 30
    figures = {}
    print(f"one training step, seconds, median of {repeats} architectures, {torch.get_num_threads()} threads")
    print(f"{'setting':<42} {'views':>9} {'plain':>9} {'ratio':>7}")
    for key, (title, family, batch) in SETTINGS.items():
        shared, plain, ratio = measure(family, batch if not (quick and key == "step_ratio") else 32, repeats)
        print(f"{title:<42} {shared:>9.4f} {plain:>9.4f} {ratio:>7.3f}")
        figures[key] = round(ratio, 4)
    print(json.dumps({"benchmark": "shared_weights", "figures": figures}))


if __name__ == "__main__":
    main()
