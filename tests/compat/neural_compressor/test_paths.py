"""Every import path of the original, with another beginning; and nothing heavy is loaded by them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from hwnas.compat import neural_compressor

PATHS = {
    "experimental": "NAS common",
    "experimental.nas": "NAS BasicNAS DyNAS",
    "experimental.nas.nas": "NAS NASBase",
    "experimental.nas.basic_nas": "BasicNAS",
    "experimental.nas.dynas": "DyNAS",
    "experimental.nas.nas_utils": "nas_registry NASMethods create_search_space_pool find_pareto_front",
    "experimental.nas.search_algorithms": "Searcher GridSearcher RandomSearcher BayesianOptimizationSearcher",
    "experimental.common": "Model",
    "conf.config": "NASConfig",
    "conf.pythonic_config": "NASConfig DyNASConfig Config",
    "config": "NASConfig",
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_lead_to_the_same_objects(path):
    module = importlib.import_module(f"hwnas.compat.neural_compressor.{path}")
    for name in PATHS[path].split():
        assert name in module.__all__ or name in vars(module)
        if name != "common":
            assert getattr(module, name) is getattr(neural_compressor, name)


def test_torch_is_loaded_where_it_is_used():
    script = "import sys, hwnas.compat.neural_compressor.experimental.nas\n"
    script += "print({'torch', 'sklearn', 'scipy', 'pymoo', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_models_need_no_wrapper():
    model = object()
    assert neural_compressor.Model(model) is model
