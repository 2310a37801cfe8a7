"""Top-1 of Once-for-All's MobileNetV3 on ImageNet, foretold by trees that were fitted to real evaluations.

It stands in for a super-network, a data set and an accelerator, so that searches can be tried and compared in seconds.
What it says is good for comparing searches with one another, and no accuracy of a real network: where a search pushes
to the end of what was ever evaluated, it is optimistic.
"""

# Shape letters: N networks, G choices, S stages, B blocks of a stage, K kernels, E expansion ratios, F features,
# T trees, M nodes of a tree.

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hwnas import parts
from hwnas.candidate import Candidate, Countable, Family
from hwnas.codes import Codes, array
from hwnas.errors import ConfigError, DataError
from hwnas.progress import Watch, silent
from hwnas.space import Choice
from hwnas.trial import Metric

KERNELS, EXPANDS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
STAGES, BLOCKS = 5, 4
FEATURES = 138
"""Three per kernel and three per expansion ratio of 20 blocks, 15 of depths, log10 of MACs and parameters, blocks."""
_CHUNK = 1024
"""Networks that walk the trees together: as many as keep the nodes in the processor's cache."""


@dataclass(frozen=True)
class OfaSurrogate(Metric):
    """Top-1 in per cent of the network that Once-for-All calls `ofa_mbv3_d234_e346_k357_w1.0`, from a file of trees.

    The value is that of a ridge regression plus gradient-boosted trees on one-hot kernels, expansion ratios and depths
    and on the exact MACs and parameters.

    Args:
        family: `mobilenetv3` at its defaults: width 1.0, 224 pixels, 1000 classes.
        path: the JSON file of trees and coefficients, packed with gzip or not.
    """

    family: Family
    path: str
    cheap: ClassVar[bool] = True
    exact: ClassVar[bool] = False  # it stands for a measurement, and a search must pay for it as for one
    unit: ClassVar[str] = "percent"

    def __post_init__(self) -> None:
        wanted = {"width": 1.0, "resolutions": (224,), "classes": 1000, "small": False}
        found = {option: getattr(self.family, option, None) for option in wanted}
        if self.family.space.choices != choices() or found != wanted or not isinstance(self.family, Countable):
            raise ConfigError(
                f"the surrogate knows one network, family `mobilenetv3` at its defaults (width 1.0, resolution 224, "
                f"classes 1000, kernels {list(KERNELS)}, expands {list(EXPANDS)}, depths {list(DEPTHS)}), and not "
                f"family {self.family.name!r} as it is given",
                hint="write `family: mobilenetv3`, without `data`, from which it would take other classes",
            )

    @classmethod
    def example(cls, place: Path) -> Self:
        """One tree and a few coefficients, written into a file for the contract tests."""
        tree = {"f": [135, -2, -2], "t": [8.4, -2, -2], "l": [1, -1, -1], "r": [2, -1, -1], "v": [0, -0.5, 0.5]}
        coefficients = np.linspace(0, 0.1, FEATURES).tolist()
        model = {"intercept": 70, "coef": coefficients, "init": 0.0, "lr": 0.1, "max_depth": 1, "trees": [tree]}
        (place / "trees.json").write_text(json.dumps(model), encoding="utf-8")
        return cls(parts.make("families", "mobilenetv3"), str(place / "trees.json"))

    def prepare(self, watch: Watch = silent, /) -> None:
        """Reads the file, so that a wrong one is told before the search."""
        self._model  # noqa: B018  # read once, kept

    def __call__(self, candidate: Candidate, /) -> float:
        return self.many([candidate])[0]

    def many(self, candidates: Sequence[Candidate], /) -> list[float]:
        """The values of a batch, in order."""
        codes_NG = array(self.family.space, (candidate.code for candidate in candidates))
        top1: list[float] = self.top1(codes_NG).tolist()
        return top1

    def top1(self, codes_NG: Codes) -> NDArray[np.float64]:
        """Top-1 in per cent of codes of the family's space; inactive choices make no difference.

        Returns:
            N.

        Raises:
            DataError: the file cannot be used.
        """
        assert isinstance(self.family, Countable)  # as the constructor saw to
        x_NF = features(codes_NG, *self.family.counts(codes_NG))
        chunks = [self._model(x_NF[start : start + _CHUNK]) for start in range(0, len(x_NF), _CHUNK)]
        return np.concatenate([np.empty(0), *chunks])

    @functools.cached_property
    def _model(self) -> Model:
        return read(self.path)


def choices() -> tuple[Choice, ...]:
    """The choices of the one network that is known, in the order in which `features` reads them."""
    found: list[Choice] = []
    for stage in range(1, STAGES + 1):
        depth = f"stage{stage}.depth"
        found.append(Choice(depth, DEPTHS))
        for block in range(1, BLOCKS + 1):
            deep = tuple(value for value in DEPTHS if value >= block)
            when = None if len(deep) == len(DEPTHS) else (depth, deep)
            found.append(Choice(f"stage{stage}.block{block}.kernel", KERNELS, when))
            found.append(Choice(f"stage{stage}.block{block}.expand", EXPANDS, when))
    return tuple(found)


def features(codes_NG: Codes, macs_N: Codes, params_N: Codes) -> NDArray[np.float64]:
    """What the trees look at: N x F."""
    code_NSC = np.asarray(codes_NG, dtype=np.int64).reshape(-1, STAGES, 1 + 2 * BLOCKS)
    depth_NS = np.array(DEPTHS)[code_NSC[:, :, 0]]
    exists_NSB = np.arange(BLOCKS) < depth_NS[:, :, None]
    kernel_NSBK = np.eye(len(KERNELS))[code_NSC[:, :, 1::2]] * exists_NSB[..., None]
    expand_NSBE = np.eye(len(EXPANDS))[code_NSC[:, :, 2::2]] * exists_NSB[..., None]
    count, slots = len(depth_NS), STAGES * BLOCKS
    return np.column_stack(
        [
            np.concatenate([kernel_NSBK, expand_NSBE], axis=3).reshape(count, 6 * slots),
            np.eye(len(DEPTHS))[code_NSC[:, :, 0]].reshape(count, 3 * STAGES),
            np.log10(macs_N),
            np.log10(params_N),
            depth_NS.sum(axis=1),
        ]
    )


# --- the file -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A ridge regression and boosted trees on its residual.

    Args:
        coef: F.
        feature: T x M, what a node looks at.
        threshold: T x M; a feature up to it goes left.
        left, right: T x M, where a node leads; leaves lead to themselves.
        value: T x M, of the leaves.
    """

    intercept: float
    coef: NDArray[np.float64]
    rate: float
    depth: int
    feature: NDArray[np.intp]
    threshold: NDArray[np.float64]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    value: NDArray[np.float64]

    def __call__(self, x_NF: NDArray[np.float64]) -> NDArray[np.float64]:
        """One value per row; sums run within a row, so that a row's value does not depend on the others."""
        trees, nodes = self.feature.shape
        row_N1, start_T = np.arange(len(x_NF))[:, None], np.arange(trees) * nodes
        seen_NF = x_NF.astype(np.float32)  # the trees were grown on float32
        node_NT = np.zeros((len(x_NF), trees), dtype=np.intp)
        for _ in range(self.depth):
            place_NT = start_T + node_NT
            x_NT = seen_NF[row_N1, self.feature.ravel()[place_NT]]
            goes_left_NT = x_NT.astype(np.float64) <= self.threshold.ravel()[place_NT]
            node_NT = np.where(goes_left_NT, self.left.ravel()[place_NT], self.right.ravel()[place_NT])
        leaf_NT = np.ascontiguousarray(self.value.ravel()[start_T + node_NT])
        value_N: NDArray[np.float64] = self.intercept + (x_NF * self.coef).sum(axis=1) + self.rate * leaf_NT.sum(axis=1)
        return value_N


def read(path: str | Path) -> Model:
    """Trees and coefficients from a JSON file.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    file = Path(path).expanduser()
    try:
        raw = file.read_bytes()
        packed = raw[:2] == b"\x1f\x8b"
        return _model(json.loads(gzip.decompress(raw) if packed else raw))
    except OSError as error:
        raise DataError(f"the surrogate {str(file)!r} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, EOFError, OverflowError, RecursionError, zlib.error) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{str(file)!r} is no surrogate of ridge regression and trees: {reason}") from error


def _model(raw: Mapping[str, Any]) -> Model:
    trees, depth = raw["trees"], int(raw["max_depth"])
    if not trees or not 0 < depth <= 64:
        raise ValueError(f"it has {len(trees)} trees of a depth of {depth}")
    most = max(len(tree["f"]) for tree in trees)
    own = np.tile(np.arange(most), (len(trees), 1))
    feature, left, right = (np.array(list(_padded(trees, key, most, -2)), dtype=np.intp) for key in "flr")
    threshold, value = (np.array(list(_padded(trees, key, most, 0.0)), dtype=np.float64) for key in "tv")
    leaf = feature < 0
    left, right = np.where(leaf, own, left), np.where(leaf, own, right)
    coef = np.array(raw["coef"], dtype=np.float64)
    if coef.shape != (FEATURES,) or feature.max() >= FEATURES:
        raise ValueError(f"it is about {max(coef.size, feature.max() + 1)} features, not {FEATURES}")
    if min(left.min(), right.min()) < 0 or max(left.max(), right.max()) >= most:
        raise ValueError("a node of a tree leads to none")
    reached = np.zeros(feature.shape, dtype=bool)
    reached[:, 0] = True
    for _ in range(depth):
        tree, node = np.nonzero(reached)
        reached = np.zeros_like(reached)
        reached[tree, left[tree, node]] = reached[tree, right[tree, node]] = True
    if not leaf[reached].all():
        raise ValueError(f"a tree is deeper than {depth}")
    intercept = float(raw["intercept"]) + float(raw["init"])
    return Model(intercept, coef, float(raw["lr"]), depth, np.where(leaf, 0, feature), threshold, left, right, value)


def _padded(trees: Sequence[Mapping[str, list[float]]], key: str, length: int, filler: float) -> Iterator[list[float]]:
    """One list per tree, made as long as the longest; what is added is never reached."""
    for number, tree in enumerate(trees):
        if len(tree[key]) != len(tree["f"]):
            raise ValueError(f"tree {number} has {len(tree['f'])} nodes and {len(tree[key])} entries of {key!r}")
        yield [*tree[key], *[filler] * (length - len(tree[key]))]


__all__ = ["OfaSurrogate", "features", "read"]
