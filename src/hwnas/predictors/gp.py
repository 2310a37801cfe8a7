"""A Gaussian process on the active choices: networks that differ little behave alike, and it knows what it knows."""

# Shape letters: N codes, M codes of another set, F columns of features, A axes, P learnt numbers, D draws.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas import codes
from hwnas.codes import Codes
from hwnas.errors import ConfigError
from hwnas.predictors import Fitted, Floats, Predictor
from hwnas.predictors._learning import Scale, axis_columns, histogram
from hwnas.space import Space

REACH, HEIGHT, NOISE = (-3.0, 2.0), (0.0, 2.0), (-5.0, 2.5)
"""Mean and spread of the normal priors on the logarithms of what is learnt: they matter while there is little data."""
BOUNDS = ((-9.0, 3.0), (-9.0, 6.0), (-12.0, 1.0))
"""Of the same."""
JITTER = 1e-6
"""Of the prior's variance: keeps covariances of near twins positive definite."""


@dataclass(frozen=True)
class Gp(Predictor):
    """Gaussian process regression with squared-exponential kernels and one length scale per axis of the space.

    The distance of two networks is the number of choices in which they differ, weighed by axis: all kernel sizes share
    a weight, all depths, all widths … With `counts` a second kernel is added that only looks at how often each value
    is taken along an axis, wherever that is: what matters where a place in the network hardly does. The few weights are
    learnt by maximising the marginal likelihood with weak priors (Rasmussen and Williams, 2006, chapters 2 and 5),
    from at most `learn` networks. Leave-one-out predictions come from the inverse of the covariance (the same,
    equation 5.12).

    Args:
        counts: whether numbers of equal values count beside their places.
        learn: networks from which the weights are learnt; all are used to predict.
        most: networks to predict from; of more, the same number evenly spread over the values.
        iterations: of the likelihood's maximisation.
    """

    counts: bool = True
    learn: int = 200
    most: int = 2000
    iterations: int = 40

    def __post_init__(self) -> None:
        for name in ("learn", "most", "iterations"):
            if getattr(self, name) < 4:
                raise ConfigError(f"{name} must be at least 4, not {getattr(self, name)!r}")

    def fit(self, space: Space, codes_NG: Codes, values_N: Floats, rng: np.random.Generator, /) -> Fitted:
        """Costs the cube of the number of networks."""
        return _Process(self, space, codes_NG, values_N)


@dataclass(frozen=True)
class _Term:
    """One squared-exponential kernel, on some columns of the features, with a weight for each group of them."""

    groups: tuple[Codes, ...]
    weight_F: Floats
    height: float = 1.0

    def __call__(self, rows_NF: Floats, others_MF: Floats) -> Floats:
        one_NF, other_MF = rows_NF * self.weight_F, others_MF * self.weight_F
        kernel_NM: Floats = self.height * np.exp(-_squares(one_NF, other_MF))
        return kernel_NM


class _Process(Fitted):
    def __init__(self, own: Gp, space: Space, codes_NG: Codes, values_N: Floats) -> None:
        from scipy.linalg import cho_solve, cholesky

        self._space, self._scale, self._counts = space, Scale.of(values_N), own.counts
        rows_NF, target_N = self._rows(codes_NG), self._scale.forth(values_N)
        place_N = _spread(target_N, own.learn)
        self._terms, noise = _learnt(rows_NF[place_N], target_N[place_N], self._groups(), own.iterations)
        self._height = sum(term.height for term in self._terms)
        kept_N = _spread(target_N, own.most)
        self._rows_NF = rows_NF[kept_N]
        inner_NN = self._kernel(self._rows_NF, self._rows_NF)
        inner_NN[np.diag_indices(len(kept_N))] += noise
        self._lower_NN = cholesky(inner_NN, lower=True)
        self._pull_N = cho_solve((self._lower_NN, True), target_N[kept_N])
        inverse_N = np.diag(cho_solve((self._lower_NN, True), np.eye(len(kept_N))))
        held_out_N = self._mean(rows_NF)
        held_out_N[kept_N] = target_N[kept_N] - self._pull_N / inverse_N
        self.held_out = self._scale.back(held_out_N)

    def _rows(self, codes_NG: Codes) -> Floats:
        rows_NF = codes.one_hot(self._space, codes_NG)
        return np.concatenate([rows_NF, histogram(self._space, rows_NF)], axis=1) if self._counts else rows_NF

    def _groups(self) -> list[tuple[Codes, ...]]:
        """The columns of every axis, for each kernel."""
        places = axis_columns(self._space)
        if not self._counts:
            return [tuple(places)]
        start = sum(len(columns) for columns in places)
        values = histogram(self._space, np.zeros((0, start))).shape[1]
        return [tuple(places), (np.arange(start, start + values),)]

    def _kernel(self, rows_NF: Floats, others_MF: Floats) -> Floats:
        kernel_NM: Floats = np.sum([term(rows_NF, others_MF) for term in self._terms], axis=0)
        return kernel_NM

    def _mean(self, rows_MF: Floats) -> Floats:
        mean_M: Floats = self._kernel(rows_MF, self._rows_NF) @ self._pull_N
        return mean_M

    def mean(self, codes_NG: Codes, /) -> Floats:
        return self._scale.back(self._mean(self._rows(codes_NG)))

    def spread(self, codes_NG: Codes, /) -> Floats:
        from scipy.linalg import solve_triangular

        cross_MN = self._kernel(self._rows(codes_NG), self._rows_NF)
        known_NM = solve_triangular(self._lower_NN, cross_MN.T, lower=True)
        spread_M: Floats = np.sqrt(np.maximum(self._height - (known_NM**2).sum(axis=0), 0.0))
        return self._scale.spread * spread_M

    def draws(self, codes_NG: Codes, count: int, rng: np.random.Generator, /) -> Floats:
        """Joint draws from the posterior: neighbours move together."""
        from scipy.linalg import solve_triangular

        rows_MF = self._rows(codes_NG)
        cross_MN = self._kernel(rows_MF, self._rows_NF)
        known_NM = solve_triangular(self._lower_NN, cross_MN.T, lower=True)
        posterior_MM = self._kernel(rows_MF, rows_MF) - known_NM.T @ known_NM
        posterior_MM[np.diag_indices(len(rows_MF))] += JITTER * self._height
        noise_MD = rng.standard_normal((len(rows_MF), count))
        draws_MD: Floats = (cross_MN @ self._pull_N)[:, None] + _root(posterior_MM) @ noise_MD
        return self._scale.back(draws_MD)


def _squares(rows_NF: Floats, others_MF: Floats) -> Floats:
    """Squared distances, N x M."""
    squares_NM = (rows_NF**2).sum(axis=1)[:, None] + (others_MF**2).sum(axis=1) - 2 * rows_NF @ others_MF.T
    positive_NM: Floats = np.maximum(squares_NM, 0.0)
    return positive_NM


def _root(matrix_MM: Floats) -> Floats:
    """A square root of a covariance, which rounding may have left a little indefinite."""
    try:
        lower_MM: Floats = np.asarray(np.linalg.cholesky(matrix_MM), dtype=float)
        return lower_MM
    except np.linalg.LinAlgError:
        value_M, vector_MM = np.linalg.eigh(matrix_MM)
        root_MM: Floats = vector_MM * np.sqrt(np.maximum(value_M, 0.0))
        return root_MM


def _spread(target_N: Floats, most: int) -> Codes:
    """Places of at most so many values, evenly over their order, both ends included; in their own order."""
    if len(target_N) <= most:
        return np.arange(len(target_N))
    places = np.linspace(0, len(target_N) - 1, most).round().astype(int)
    return np.sort(np.argsort(target_N, kind="stable")[np.unique(places)])


def _learnt(
    rows_NF: Floats, target_N: Floats, groups: Sequence[tuple[Codes, ...]], iterations: int
) -> tuple[list[_Term], float]:
    """The kernels and the variance of the noise that explain the targets best.

    What is learnt are logarithms: for every kernel one weight per group of columns and its height, then the noise.
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.optimize import minimize

    own_squares = [[_squares(rows_NF[:, columns], rows_NF[:, columns]) for columns in own] for own in groups]
    kinds = [kind for own in groups for kind in [*[0] * len(own), 1]] + [2]
    believed_P2 = np.array([(REACH, HEIGHT, NOISE)[kind] for kind in kinds])
    eye_NN = np.eye(len(target_N))

    def surprise(point_P: Floats) -> tuple[float, Floats]:
        """The negative logarithm of the posterior, and its gradient."""
        shapes, start = [], 0
        for squares in own_squares:
            weight_A = np.exp(point_P[start : start + len(squares)])
            distance_NN = sum(weight * own_NN for weight, own_NN in zip(weight_A, squares, strict=True))
            shapes.append(np.exp(point_P[start + len(squares)] - distance_NN))
            start += len(squares) + 1
        noise = np.exp(point_P[-1])
        try:
            lower_NN = cholesky(np.sum(shapes, axis=0) + noise * eye_NN, lower=True)
        except np.linalg.LinAlgError:
            return 1e12, np.zeros_like(point_P)
        inverse_NN = cho_solve((lower_NN, True), eye_NN)
        pull_N = inverse_NN @ target_N
        away_P = (point_P - believed_P2[:, 0]) / believed_P2[:, 1]
        value = 0.5 * float(target_N @ pull_N) + float(np.log(np.diag(lower_NN)).sum()) + 0.5 * float(away_P @ away_P)
        pressure_NN = inverse_NN - np.outer(pull_N, pull_N)
        slope: list[float] = []
        for squares, shape_NN in zip(own_squares, shapes, strict=True):
            shaped_NN = pressure_NN * shape_NN
            weights = np.exp(point_P[len(slope) : len(slope) + len(squares)])
            slope += [-0.5 * w * float(np.vdot(shaped_NN, own_NN)) for w, own_NN in zip(weights, squares, strict=True)]
            slope.append(0.5 * float(shaped_NN.sum()))
        slope.append(0.5 * float(np.trace(pressure_NN)) * float(noise))
        return value, np.array(slope) + away_P / believed_P2[:, 1]

    start_P = np.array([believed_P2[place, 0] for place in range(len(kinds))])
    bounds = [BOUNDS[kind] for kind in kinds]
    options = {"maxiter": iterations}
    point_P: Floats = minimize(surprise, start_P, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    terms, place = [], 0
    for own in groups:
        weight_F = np.zeros(rows_NF.shape[1])
        for columns, reach in zip(own, point_P[place : place + len(own)], strict=True):
            weight_F[columns] = np.exp(reach / 2)
        terms.append(_Term(own, weight_F, float(np.exp(point_P[place + len(own)]))))
        place += len(own) + 1
    return terms, float(np.exp(point_P[-1]))


__all__ = ["Gp"]
