"""Ranks, crowding, hypervolume and the knee: what it means to be good in several ways at once.

Everything here works on losses (smaller is better). A row with a value that is not finite stands for something that
could not be judged in full: it comes after every finite row and adds no volume.
"""

# Shape letters: P points, M losses.

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def ranks(losses: ArrayLike) -> Indices:
    """How many fronts must be peeled off before a point lies on one: 0 is the Pareto front.

    Non-dominated sorting (Deb et al., 2002): a point dominates another if it is nowhere worse and somewhere better.
    Equal points share a rank. O(P log P) for two losses.

    Args:
        losses: P x M.

    Returns:
        P.

    Example:
        >>> ranks([[1, 4], [2, 2], [3, 3], [4, 1]]).tolist()
        [0, 0, 1, 0]
    """
    losses_PM = np.asarray(losses, dtype=float)
    finite_P = np.isfinite(losses_PM).all(axis=1)
    rank_P = np.zeros(len(losses_PM), dtype=np.int64)
    rank_P[finite_P] = _sorted(losses_PM[finite_P])
    rest_PM = np.nan_to_num(losses_PM[~finite_P], nan=np.inf, posinf=np.inf, neginf=np.inf)
    rank_P[~finite_P] = _sorted(rest_PM) + rank_P[finite_P].max(initial=-1) + 1
    return rank_P


def front(losses: ArrayLike) -> Indices:
    """The indices of the points that nothing dominates, in their own order."""
    return np.flatnonzero(ranks(losses) == 0)


def crowding(losses: ArrayLike) -> Floats:
    """How much room each point of one front has: the larger, the lonelier (Deb et al., 2002).

    The sum over the losses of the distance between the two neighbours, relative to the range of that loss. The ends
    of every loss have infinite room. The points should be of one front, and finite; others have no room at all.

    Args:
        losses: P x M.

    Returns:
        P.

    Example:
        >>> crowding([[0, 4], [1, 2], [4, 0]]).tolist()
        [inf, 2.0, inf]
    """
    losses_PM = np.asarray(losses, dtype=float)
    room_P = np.zeros(len(losses_PM))
    finite = np.flatnonzero(np.isfinite(losses_PM).all(axis=1))
    if not len(finite):
        return room_P
    for loss_P in losses_PM[finite].T:
        order = np.argsort(loss_P, kind="stable")
        sorted_P = loss_P[order]
        width = sorted_P[-1] - sorted_P[0]
        if width > 0:
            room_P[finite[order[1:-1]]] += (sorted_P[2:] - sorted_P[:-2]) / width
        room_P[finite[order[[0, -1]]]] = np.inf
    return room_P


def hypervolume(losses: ArrayLike, reference: ArrayLike) -> float:
    """The volume between the points and a reference: what all of them dominate together. Exact in any dimension.

    Args:
        losses: P x M; points that are not better than the reference in every loss add nothing.
        reference: M, finite.

    Returns:
        In the product of the losses' units; 0.0 without points.

    Example:
        >>> hypervolume([[1, 2], [2, 1]], reference=[3, 3])
        3.0
    """
    worst_M = np.asarray(reference, dtype=float)
    losses_PM = np.asarray(losses, dtype=float)
    inside_PM = losses_PM[np.isfinite(losses_PM).all(axis=1) & (losses_PM < worst_M).all(axis=1)]
    if not inside_PM.size:
        return 0.0
    import moocore

    return float(moocore.hypervolume(inside_PM, ref=worst_M))


def reference_point(losses: ArrayLike, margin: float = 0.1) -> Floats:
    """A point a little worse than the worst of these in every loss, for `hypervolume`.

    A reference is only good for comparisons if it stays the same: take it once, from all points to be compared.

    Args:
        losses: P x M.
        margin: how far beyond the worst, relative to the range of each loss (to its size where all are equal).

    Returns:
        M; zero where no point is finite.
    """
    losses_PM = np.asarray(losses, dtype=float)
    finite_PM = losses_PM[np.isfinite(losses_PM).all(axis=1)]
    if not len(finite_PM):
        return np.zeros(losses_PM.shape[1])
    worst_M = finite_PM.max(axis=0)
    range_M = worst_M - finite_PM.min(axis=0)
    size_M = np.where(worst_M != 0, np.abs(worst_M), 1.0)
    return np.asarray(worst_M + margin * np.where(range_M > 0, range_M, size_M))


def knee(losses: ArrayLike) -> int:
    """The point of the front that is worth most in every direction: furthest below the plane through the ends.

    Losses are first scaled to 0 ... 1 over the front, so that this is the plane "sum of losses = 1" (after Das, 1999).
    Where several lie equally deep, as on a straight front, the most balanced of them is taken, then the first.

    Args:
        losses: P x M, at least one row.

    Returns:
        An index into `losses`.

    Example:
        >>> knee([[0, 10], [1, 2], [5, 1], [10, 0], [10, 10]])
        1
    """
    losses_PM = np.asarray(losses, dtype=float)
    best = front(losses_PM)
    front_PM = losses_PM[best]
    if not np.isfinite(front_PM).all():
        return int(best[0])
    range_M = np.ptp(front_PM, axis=0)
    scaled_PM = (front_PM - front_PM.min(axis=0)) / np.where(range_M > 0, range_M, 1.0)
    depth_P = scaled_PM.sum(axis=1).round(9)  # else the last bit would decide between equals
    return int(best[np.lexsort((scaled_PM.max(axis=1), depth_P))[0]])


def _sorted(losses_PM: Floats) -> Indices:
    if not losses_PM.size:
        return np.zeros(len(losses_PM), dtype=np.int64)
    import moocore

    return np.asarray(moocore.pareto_rank(losses_PM), dtype=np.int64)


__all__ = ["crowding", "front", "hypervolume", "knee", "ranks", "reference_point"]
