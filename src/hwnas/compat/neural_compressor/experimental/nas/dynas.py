"""The path of `neural_compressor.experimental.nas.dynas`."""

from hwnas.compat.neural_compressor.dynas import DyNAS

__all__ = ["DyNAS"]
