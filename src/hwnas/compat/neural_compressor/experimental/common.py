"""The path of `neural_compressor.experimental.common`."""

from hwnas.compat.neural_compressor.training import Model

__all__ = ["Model"]
