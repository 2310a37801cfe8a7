"""The paths of `neural_compressor.experimental`, so that only the beginning of an import line changes."""

from hwnas.compat.neural_compressor.experimental import common
from hwnas.compat.neural_compressor.factory import NAS

__all__ = ["NAS", "common"]
