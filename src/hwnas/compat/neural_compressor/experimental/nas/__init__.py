"""The paths of `neural_compressor.experimental.nas`."""

from hwnas.compat.neural_compressor.basic import BasicNAS
from hwnas.compat.neural_compressor.dynas import DyNAS
from hwnas.compat.neural_compressor.factory import NAS

__all__ = ["NAS", "BasicNAS", "DyNAS"]
