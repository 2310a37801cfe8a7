"""The path of `neural_compressor.conf.pythonic_config`, the second generation of configurations."""

from hwnas.compat.neural_compressor.config import Config, DyNASConfig, NASConfig

__all__ = ["Config", "DyNASConfig", "NASConfig"]
