"""The path of `neural_compressor.experimental.nas.nas_utils`."""

from hwnas.compat.neural_compressor.choices import create_search_space_pool
from hwnas.compat.neural_compressor.objectives import find_pareto_front
from hwnas.compat.neural_compressor.registry import NASMethods, nas_registry

__all__ = ["NASMethods", "create_search_space_pool", "find_pareto_front", "nas_registry"]
