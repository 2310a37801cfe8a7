"""The NAS interface of Intel Neural Compressor, up to its version 2.6, over hwnas.

Programs run unchanged but for the beginning of their import lines: `neural_compressor.` becomes
`hwnas.compat.neural_compressor.`, for every path that the original had; all names are here as well:

    from hwnas.compat.neural_compressor import NAS
    agent = NAS("nas.yaml")
    results = agent.search()

What differs from the original: configurations are read, never written, and unknown keys and approaches are errors;
networks that were tried before cost no trial; which way is better follows from the names of the metrics; a network that
fails does not end the search; results are JSON lines that survive a kill; spaces may have any size; the seed decides.
"""

from hwnas.compat.neural_compressor.base import NASBase
from hwnas.compat.neural_compressor.basic import BasicNAS
from hwnas.compat.neural_compressor.choices import create_search_space_pool
from hwnas.compat.neural_compressor.config import Config, DyNASConfig, NASConfig
from hwnas.compat.neural_compressor.dynas import DyNAS
from hwnas.compat.neural_compressor.factory import NAS
from hwnas.compat.neural_compressor.objectives import find_pareto_front
from hwnas.compat.neural_compressor.registry import NASMethods, nas_registry
from hwnas.compat.neural_compressor.searchers import (
    BayesianOptimizationSearcher,
    GridSearcher,
    RandomSearcher,
    Searcher,
)
from hwnas.compat.neural_compressor.training import Model

__all__ = [
    "NAS",
    "BasicNAS",
    "BayesianOptimizationSearcher",
    "Config",
    "DyNAS",
    "DyNASConfig",
    "GridSearcher",
    "Model",
    "NASBase",
    "NASConfig",
    "NASMethods",
    "RandomSearcher",
    "Searcher",
    "create_search_space_pool",
    "find_pareto_front",
    "nas_registry",
]
