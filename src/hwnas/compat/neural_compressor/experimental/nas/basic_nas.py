"""The path of `neural_compressor.experimental.nas.basic_nas`."""

from hwnas.compat.neural_compressor.basic import BasicNAS

__all__ = ["BasicNAS"]
