"""hwnas: find the neural networks that are best for your task on your machine.

    >>> import hwnas
    >>> study = hwnas.search("examples/quickstart.yaml", run="runs/first")     # doctest: +SKIP
    >>> best = study.front().under(latency=0.001).best("accuracy")             # doctest: +SKIP
    >>> hwnas.export(study, best, "model.onnx")                                # doctest: +SKIP

Everything is imported at its first use, so that `import hwnas` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.candidate import Candidate, Family
    from hwnas.deploy import export
    from hwnas.errors import HwnasError
    from hwnas.experiment import load, resume, search
    from hwnas.layers import Layer
    from hwnas.space import Choice, Space
    from hwnas.study import Study
    from hwnas.training import train
    from hwnas.trial import Goal, Metric, Reading, Search, Trial
    from hwnas.trials import Trials

__version__ = "0.3.0"

_HOMES = {
    "Candidate": "candidate",
    "Choice": "space",
    "Family": "candidate",
    "Goal": "trial",
    "HwnasError": "errors",
    "Layer": "layers",
    "Metric": "trial",
    "Reading": "trial",
    "Search": "trial",
    "Space": "space",
    "Study": "study",
    "Trial": "trial",
    "Trials": "trials",
    "export": "deploy",
    "load": "experiment",
    "resume": "experiment",
    "search": "experiment",
    "train": "training",
}

__all__ = [
    "Candidate",
    "Choice",
    "Family",
    "Goal",
    "HwnasError",
    "Layer",
    "Metric",
    "Reading",
    "Search",
    "Space",
    "Study",
    "Trial",
    "Trials",
    "__version__",
    "export",
    "load",
    "resume",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hwnas.{_HOMES[name]}"), name)
