"""The path of `neural_compressor.experimental.nas.nas`."""

from hwnas.compat.neural_compressor.base import NASBase
from hwnas.compat.neural_compressor.factory import NAS

__all__ = ["NAS", "NASBase"]
