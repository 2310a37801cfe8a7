"""DyNAS-T's command, Python interface and result files (Intel Labs), over the searches of hwnas.

>>> from hwnas.compat.dynast import DyNAS
>>> search = DyNAS(                                                         # doctest: +SKIP
...     supernet="ofa_mbv3_d234_e346_k357_w1.0",
...     results_path="results.csv",
...     optimization_metrics=["accuracy_top1", "macs"],
...     measurements=["accuracy_top1", "macs", "params"],
...     surrogate="surrogate_mbv3w10_top1.json.gz",
... )
>>> networks = search.search()                                              # doctest: +SKIP
"""

from __future__ import annotations

from hwnas.compat.dynast.api import DyNAS
from hwnas.compat.dynast.cli import main
from hwnas.compat.dynast.metrics import InvalidMetricsException
from hwnas.compat.dynast.supernets import InvalidSupernetException

__all__ = ["DyNAS", "InvalidMetricsException", "InvalidSupernetException", "main"]
