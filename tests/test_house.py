"""The house is in order: public names, what a command loads, ladders of words, tests beside their files, versions."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import hwnas
from hwnas import parts

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hwnas"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
HEAVY = ("torch", "sklearn", "scipy", "pymoo")

LADDERS = ("cli.py", "config.py", "compat/")
"""Where words of users are told apart; everywhere else, the object is asked."""
TESTED_BY = {
    "algorithms/_selection.py": "algorithms/test_nsga2.py",
    "compat/neural_compressor/conf/config.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/conf/pythonic_config.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/experimental/common.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/experimental/nas/basic_nas.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/experimental/nas/dynas.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/experimental/nas/nas.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/experimental/nas/nas_utils.py": "compat/neural_compressor/test_paths.py",
    "compat/neural_compressor/experimental/nas/search_algorithms.py": "compat/neural_compressor/test_paths.py",
    "formats/_parity.py": "formats/test_onnx.py",
    "hardware/_device.py": "hardware/test_measured.py",
    "plan.py": "test_experiment.py",
    "progress.py": "test_study.py",
    "quality/_labelled.py": "quality/test_predicted.py",
    "quality/_untrained.py": "quality/test_synflow.py",
    "rundir.py": "test_experiment.py",
    "runtimes/onnxruntime.py": "runtimes/test_runtimes.py",
    "runtimes/torch.py": "runtimes/test_runtimes.py",
    "testing/_networks.py": "test_testing.py",
    "testing/_shared.py": "test_testing.py",
    "testing/courses.py": "test_testing.py",
    "testing/data.py": "test_testing.py",
    "testing/families.py": "test_testing.py",
    "testing/formats.py": "test_testing.py",
    "testing/metrics.py": "test_testing.py",
    "testing/parts.py": "test_testing.py",
    "testing/predictors.py": "test_testing.py",
    "testing/runtimes.py": "test_testing.py",
    "testing/searches.py": "test_testing.py",
    "testing/toys.py": "test_testing.py",
    "testing/weights.py": "test_testing.py",
    "trials.py": "test_study.py",
}
"""Files without a test file of their own, and the one that covers them."""


def module_of(file):
    """The name under which a file of the package is imported."""
    return ".".join(("hwnas", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


def tree_of(file):
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


# --- who may know whom; the layers are import-linter's ---------------------------------------------------------------


@pytest.mark.parametrize("folder", parts.FOLDERS)
def test_parts_of_a_folder_do_not_know_one_another(folder):
    own = {name: module_of(f"{folder}/{name}.py") for name in parts.names(folder)}
    for name in own:
        imported = {
            node.module for node in ast.walk(tree_of(f"{folder}/{name}.py")) if isinstance(node, ast.ImportFrom)
        }
        others = imported & (set(own.values()) - {own[name]})
        assert not others, f"{folder}/{name}.py imports {others}: what two parts share has a name with an underscore"


# --- public names ----------------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_has_one_home():
    assert set(hwnas.__all__) == {*hwnas._HOMES, "__version__"}
    assert all(getattr(hwnas, name) is not None for name in hwnas.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        hwnas.serach  # noqa: B018


def test_type_checkers_see_the_same_names():
    (block,) = (node for node in tree_of("__init__.py").body if isinstance(node, ast.If))
    homes = {name.name: node.module.removeprefix("hwnas.") for node in block.body for name in node.names}
    assert homes == hwnas._HOMES


def test_names_stay_what_they_are_when_parts_are_imported():
    for folder in parts.FOLDERS:
        for name in parts.names(folder):
            importlib.import_module(f"hwnas.{folder}.{name}")
    assert not [name for name in hwnas.__all__ if isinstance(getattr(hwnas, name), ModuleType)]
    assert all(callable(getattr(hwnas, verb)) for verb in ("search", "resume", "load", "export"))


# --- what is loaded --------------------------------------------------------------------------------------------------

ASK = """
import json, sys
from hwnas import cli
sys.argv = ["hwnas", *sys.argv[1:]]
try:
    cli.main()
    status = 0
except SystemExit as end:
    status = end.code
print(json.dumps([status, sorted(sys.modules)]))
"""


def loaded(script, *words):
    """What the last line of a script's output says, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["list"], ["list", "quality"], ["list", "--json"]])
def test_help_and_lists_load_nothing_heavy(words):
    status, modules = loaded(ASK, *words)
    assert status in (0, None)
    assert not set(HEAVY) & set(modules)


GOALS = "goals: {cost: {min: hardware.macs}}\n"
ERRORS = {
    "no file": None,
    "no YAML": "family: [",
    "an unknown key": f"famly: toy\n{GOALS}",
    "no goals": "family: mobilenetv3\n",
    "an unknown family": f"family: mobilnetv3\n{GOALS}",
    "an unknown search": f"family: mobilenetv3\nsearch: evolutoin\n{GOALS}",
    "an unknown metric": "family: mobilenetv3\ngoals: {cost: {min: hardware.mcas}}\n",
    "a wrong type": f"family: mobilenetv3\nbudget: many\n{GOALS}",
    "a wrong limit": "family: mobilenetv3\ngoals: {cost: {min: hardware.macs, limit: small}}\n",
}


@pytest.mark.parametrize("text", ERRORS.values(), ids=ERRORS)
def test_errors_in_a_configuration_are_told_before_anything_heavy_is_loaded(text, tmp_path):
    path = tmp_path / "experiment.yaml"
    if text is not None:
        path.write_text(text)
    status, modules = loaded(ASK, "search", str(path), "--run", str(tmp_path / "run"))
    assert status == 2
    assert not set(HEAVY) & set(modules)
    assert not (tmp_path / "run").exists()


def test_the_top_level_loads_no_torch():
    names = [module_of(file) for file in FILES if "/" not in file or file.endswith("/__init__.py")]
    script = f"import importlib, json, sys\nfor name in {names}: importlib.import_module(name)\n"
    assert "torch" not in loaded(script + "print(json.dumps(sorted(sys.modules)))")


# --- style -----------------------------------------------------------------------------------------------------------


def words_in(node):
    """Whether a comparison or a pattern mentions a string."""
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))


def rungs(node):
    """How many branches of an if/elif chain, or of a match, are chosen by comparing something with a string."""
    if isinstance(node, ast.Match):
        return sum(words_in(case.pattern) for case in node.cases)
    compared = [part for part in ast.walk(node.test) if isinstance(part, ast.Compare)]
    here = any(words_in(side) for part in compared for side in (part.left, *part.comparators))
    rest = node.orelse
    return here + (rungs(rest[0]) if len(rest) == 1 and isinstance(rest[0], ast.If) else 0)


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(LADDERS)])
def test_objects_are_asked_and_no_ladder_of_words_is_climbed(file):
    nodes = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.If | ast.Match)]
    ladders = [f"{file}:{node.lineno}" for node in nodes if rungs(node) >= 3]
    assert not ladders, "a protocol lacks a method, or a mapping is missing"


def test_a_ladder_is_recognised():
    chain = "if kind == 'a': x\nelif kind in ('b', 'c'): y\nelif 'd' == kind and z: y\nelse: z"
    cases = "match kind:\n case 'a': x\n case 'b' | 'c': y\n case 'd': y\n case _: z"
    harmless = "if kind == 'a': x\nelif size > 3: y\nelif size is None: z"
    assert [rungs(ast.parse(text).body[0]) for text in (chain, cases, harmless)] == [3, 3, 1]


# --- tests, docs, versions -------------------------------------------------------------------------------------------


def test_tests_mirror_the_source():
    own = {file: f"{Path(file).parent / 'test_'}{Path(file).stem.strip('_')}.py" for file in FILES}
    missing = {
        file
        for file, test in own.items()
        if not file.endswith("__init__.py") and not (ROOT / "tests" / test).exists() and file not in TESTED_BY
    }
    assert not missing
    assert not [test for test in TESTED_BY.values() if not (ROOT / "tests" / test).exists()]
    assert not set(TESTED_BY) - set(FILES)


@pytest.mark.parametrize("file", [file for file in FILES if ">>> " in (PACKAGE / file).read_text(encoding="utf-8")])
def test_examples_in_docstrings_run(file):
    failed, tried = doctest.testmod(importlib.import_module(module_of(file)))
    assert tried and not failed


def test_the_version_is_the_newest_of_the_changelog():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == hwnas.__version__
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("there is no CHANGELOG.md yet")
    newest = re.search(r"^## \[?v?(\d\S*?)\]?(?:\s|$)", changelog.read_text(encoding="utf-8"), flags=re.M)
    assert newest is not None and newest[1] == hwnas.__version__


def test_the_drawn_tree_is_the_real_one():
    page = ROOT / "docs" / "architecture.md"
    if not page.exists():
        pytest.skip("there is no docs/architecture.md yet")
    drawn = set(re.findall(r"^[├└]── (\S+)", page.read_text(encoding="utf-8"), flags=re.M))
    real = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir()} - {"__pycache__/", "py.typed"}
    assert drawn == real
