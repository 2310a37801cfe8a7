"""The path of `neural_compressor.conf.config`, the first generation of configurations."""

from hwnas.compat.neural_compressor.config import NASConfig

__all__ = ["NASConfig"]
