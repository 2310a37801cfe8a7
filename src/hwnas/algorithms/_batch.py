"""Which of many predicted networks to measure next: those that may enlarge the front most, and not all alike."""

# Shape letters: N candidates, M objectives, P points of a front, D draws (one per pick).

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.pareto import front, hypervolume
from hwnas.predictors import Floats

MARGIN = 0.1
"""The reference point lies this part of the range beyond the worst known value of every objective."""


def pick(front_PM: Floats, reference_M: Floats, losses_NMD: Floats, excess_ND: Floats) -> list[int]:
    """Picks one candidate per draw, each for the hypervolume that it would add to the front and to the earlier picks.

    Every pick believes another draw from the posterior (Thompson, 1933; for hypervolume Bradford et al., 2018), so
    that a batch is greedy where the predictor is sure and spreads out where it is not. A candidate that breaks a limit
    in a draw adds nothing there. Where nothing adds anything, the least excess and then the least scaled loss decides.

    Returns:
        Indices of different candidates, at most D.
    """
    picked: list[int] = []
    known_PM = front_PM
    for draw in range(losses_NMD.shape[2]):
        if len(picked) == len(losses_NMD):
            break
        losses_NM, excess_N = losses_NMD[:, :, draw], excess_ND[:, draw]
        gain_N = np.where(excess_N > 0, 0.0, gains(known_PM, reference_M, losses_NM))
        free_N = np.ones(len(gain_N), dtype=bool)
        free_N[picked] = False
        if (gain_N[free_N] > 0).any():
            best = int(np.where(free_N, gain_N, -1.0).argmax())
        else:
            rank_N = np.lexsort((_scaled(losses_NM).sum(axis=1), excess_N, ~free_N))
            best = int(rank_N[0])
        picked.append(best)
        if excess_N[best] <= 0:
            known_PM = np.concatenate([known_PM, losses_NM[best : best + 1]])
            known_PM = known_PM[front(known_PM)]
    return picked


def gains(front_PM: Floats, reference_M: Floats, losses_NM: Floats) -> Floats:
    """The hypervolume that each candidate alone would add to a front: N. Exact in any number of objectives."""
    objectives = len(reference_M)
    inside_PM = front_PM[(front_PM < reference_M).all(axis=1)]
    if objectives == 1:
        best = inside_PM.min(initial=reference_M[0])
        better_N: Floats = np.maximum(best - losses_NM[:, 0], 0.0)
        return better_N
    if objectives == 2:
        return _staircase(inside_PM, reference_M, losses_NM)
    before = hypervolume(inside_PM, reference_M)
    worth_N = (losses_NM < reference_M).all(axis=1)
    worth_N &= ~_dominated(losses_NM, inside_PM)
    gain_N = np.zeros(len(losses_NM))
    for place in np.flatnonzero(worth_N):
        gain_N[place] = hypervolume(np.concatenate([inside_PM, losses_NM[place : place + 1]]), reference_M) - before
    return gain_N


def reference(losses_TM: Floats) -> Floats:
    """A little worse than the worst of what is known: M."""
    worst_M, best_M = losses_TM.max(axis=0), losses_TM.min(axis=0)
    range_M = np.where(worst_M > best_M, worst_M - best_M, np.maximum(np.abs(worst_M), 1.0))
    reference_M: Floats = worst_M + MARGIN * range_M
    return reference_M


def _staircase(front_PM: Floats, reference_M: Floats, losses_NM: Floats) -> Floats:
    """In two objectives the added area is a sum over the steps below which a candidate lies."""
    steps_PM = front_PM[front(front_PM)] if len(front_PM) else front_PM
    steps_PM = steps_PM[np.argsort(steps_PM[:, 0], kind="stable")]
    left_S = np.concatenate([[-np.inf], steps_PM[:, 0]])
    right_S = np.concatenate([steps_PM[:, 0], [reference_M[0]]])
    height_S = np.concatenate([[reference_M[1]], steps_PM[:, 1]])
    width_NS = np.maximum(right_S - np.maximum(left_S, losses_NM[:, :1]), 0.0)
    drop_NS = np.maximum(height_S - losses_NM[:, 1:], 0.0)
    gain_N: Floats = (width_NS * drop_NS).sum(axis=1)
    return gain_N


def _dominated(losses_NM: Floats, front_PM: Floats) -> NDArray[np.bool_]:
    worse_NPM = losses_NM[:, None, :] >= front_PM[None, :, :]
    beaten_N: NDArray[np.bool_] = np.any(np.all(worse_NPM, axis=2), axis=1)
    return beaten_N


def _scaled(losses_NM: Floats) -> Floats:
    range_M = np.ptp(losses_NM, axis=0)
    scaled_NM: Floats = (losses_NM - losses_NM.min(axis=0)) / np.where(range_M > 0, range_M, 1.0)
    return scaled_NM
