"""The path of `neural_compressor.experimental.nas.search_algorithms`."""

from hwnas.compat.neural_compressor.searchers import (
    BayesianOptimizationSearcher,
    GridSearcher,
    RandomSearcher,
    Searcher,
)

__all__ = ["BayesianOptimizationSearcher", "GridSearcher", "RandomSearcher", "Searcher"]
