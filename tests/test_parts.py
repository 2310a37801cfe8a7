"""Parts by name: what a spec may look like, what a constructor is given, and in which words a mistake is told."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import toys
from hwnas import parts
from hwnas.algorithms.linas import Linas
from hwnas.algorithms.random import Random
from hwnas.errors import ConfigError
from hwnas.hardware.macs import Macs
from hwnas.hardware.measured import Measured
from hwnas.predictors.gp import Gp
from hwnas.predictors.ridge import Ridge
from hwnas.predictors.svr import Svr
from hwnas.runtimes.torch import TorchRuntime

METRICS = ("quality", "hardware")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes files of a package `outside` that this process can import."""
    home = tmp_path / "outside"
    home.mkdir()
    (home / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name, text: (home / f"{name}.py").write_text(textwrap.dedent(text))
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside"]:
        del sys.modules[name]


OPTIONS = """
    '''A part with an option of every kind.'''

    from __future__ import annotations

    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import Literal

    from hwnas.candidate import Family
    from hwnas.errors import ConfigError
    from hwnas.runtimes import Runtime
    from hwnas.trial import Metric, Search

    @dataclass(frozen=True)
    class Options(Metric):
        family: Family | None = None
        seed: int = 0
        folder: Path = Path(".")
        device: str = "local"
        count: int = 1
        rate: float = 0.5
        name: str = ""
        on: bool = False
        kind: Literal["min", "max"] = "min"
        shape: tuple[int, ...] = ()
        pairs: tuple[tuple[str, float], ...] = ()
        table: dict[str, int] = field(default_factory=dict)
        maybe: int | None = None
        runtime: Runtime | None = None
        base: Metric | None = None
        search: Search | None = None

        def __post_init__(self) -> None:
            if self.count < 0:
                raise ConfigError(f"count must not be negative, got {self.count!r}", hint="leave it out")
            if self.count > 99:
                raise ValueError("count is too large")

        def __call__(self, candidate, /):
            return float(self.count)

    __all__ = ["Options"]
"""


@pytest.fixture
def make(package):
    package("options", OPTIONS)
    return lambda given=None, **options: parts.make(METRICS, {"outside.options": options}, given, "goals.x.min")


# --- names and descriptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", parts.FOLDERS)
def test_the_folder_is_the_registry(folder):
    public = [path.stem for path in sorted((parts.ROOT / folder).glob("*.py")) if not path.stem.startswith("_")]
    modules = {name: importlib.import_module(f"hwnas.{folder}.{name}") for name in public}
    names = parts.names(folder)
    assert list(names) == [name for name, module in modules.items() if hasattr(module, "__all__")]
    for name in names:
        assert parts.describe(folder, name).endswith(".") or parts.describe(folder, name).count(" ") > 2
        assert parts.find(name, (folder,)).__module__ == f"hwnas.{folder}.{name}"


def test_listing_and_describing_needs_no_torch():
    ask = """
        import sys
        from hwnas import parts
        for folder in parts.FOLDERS:
            for name in parts.names(folder):
                assert parts.describe(folder, name)
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(ask)], check=True)


@pytest.mark.parametrize("name", ["macs", "hardware.macs"])
def test_a_goal_finds_its_metric_in_either_folder(name):
    assert parts.make(METRICS, name) == Macs()
    assert parts.normal(name, METRICS) == {"hardware.macs": {}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("nsga2", ("nsga2", {})),
        ({"nsga2": None}, ("nsga2", {})),
        ({"nsga2": {"population": 5}}, ("nsga2", {"population": 5})),
    ],
)
def test_ways_to_write_a_spec(spec, expected):
    assert parts.split(spec) == expected


@pytest.mark.parametrize("spec", [{"a": {}, "b": {}}, {}, {1: {}}, {"a": 3}, {"a": [1]}])
def test_specs_that_are_none(spec):
    with pytest.raises(ConfigError, match=r"^search: "):
        parts.split(spec, "search")


@pytest.mark.parametrize("thing", [3, 0.5, True, None, ["nsga2"], ("nsga2",)])
def test_what_a_configuration_can_hold_is_never_taken_for_a_part(thing):
    with pytest.raises(ConfigError, match=r"^search: expected a name or {name: options} with one name, got"):
        parts.make("algorithms", thing, path="search")


def test_objects_and_functions_are_parts_already():
    assert parts.make(METRICS, toys.size) is toys.size
    part = Random(3)
    assert parts.make("algorithms", part) is part


# --- options ---------------------------------------------------------------------------------------------------------


def test_options_become_what_the_constructor_wants(make):
    part = make(
        count=3, rate=1, name="x", on=True, kind="max", shape=[1, 2], pairs=[["a", 0.5]], table={"a": 1}, maybe=None
    )
    assert (part.count, part.rate, part.name, part.on, part.kind, part.maybe) == (3, 1.0, "x", True, "max", None)
    assert type(part.rate) is float
    assert part.shape == (1, 2) and part.pairs == (("a", 0.5),) and part.table == {"a": 1}


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("count", "3", "int"),
        ("count", 3.5, "int"),
        ("count", True, "int"),
        ("count", None, "int"),
        ("rate", "half", "float"),
        ("rate", True, "float"),
        ("name", 3, "str"),
        ("on", 1, "bool"),
        ("on", "yes", "bool"),
        ("kind", "least", "Literal\\['min', 'max'\\]"),
        ("shape", ["a"], "tuple\\[int, ...\\]"),
        ("shape", 3, "tuple\\[int, ...\\]"),
        ("table", {"a": "b"}, "dict\\[str, int\\]"),
        ("maybe", "3", "int | None"),
    ],
)
def test_options_of_the_wrong_type(make, option, value, wanted):
    with pytest.raises(ConfigError, match=rf"is not allowed: .* \(wanted: {wanted}") as caught:
        make(**{option: value})
    assert caught.value.path == f"goals.x.min.outside.options.{option}"
    assert str(caught.value).startswith(f"{caught.value.path}: {value!r}")


def test_what_a_constructor_refuses_bears_the_path_of_the_part(make):
    with pytest.raises(ConfigError, match=r"got -1\nleave it out$") as caught:
        make(count=-1)
    assert caught.value.path == "goals.x.min.outside.options" and caught.value.hint == "leave it out"
    with pytest.raises(ConfigError, match=r"^goals.x.min.outside.options: count is too large$"):
        make(count=100)


def test_what_the_experiment_gives(make):
    family = toys.Toy()
    part = make(given={"family": family, "seed": 7, "folder": Path("x"), "count": 9})
    assert part.family is family and part.seed == 7 and part.folder == Path("x")
    assert part.device == "local"  # has a default, and nothing was given
    assert part.count == 1  # no option of the experiment's
    assert make(given={"seed": 7}, seed=8).seed == 8  # the user has the last word


def test_what_the_experiment_does_not_have():
    with pytest.raises(ConfigError, match=r"^tabular: 'tabular' needs 'column', and it has no default$"):
        parts.make("quality", "tabular", {"family": toys.Toy()})
    with pytest.raises(ConfigError, match=r"needs 'family', and the experiment names none"):
        parts.make("quality", {"tabular": {"column": "x"}}, {})


def test_nested_parts(make):
    part = make(
        runtime="torch", base={"hardware.measured": {"runtime": {"torch": None}, "threads": 2}}, search="random"
    )
    assert part.runtime == TorchRuntime() and part.search == Random()
    assert part.base.runtime == TorchRuntime() and part.base.threads == 2
    assert make(runtime=None).runtime is None
    already = Random(4)
    assert make(search=already).search is already


@pytest.mark.parametrize("name", ["ridge", "predictors.ridge"])
def test_a_list_of_parts(name):
    listed = [name, {"gp": {"counts": False}}, Svr(epsilon=0.5)]
    search = parts.make("algorithms", {"linas": {"predictors": listed}})
    assert search.predictors == (Ridge(), Gp(counts=False), Svr(epsilon=0.5))
    assert parts.make("algorithms", {"linas": {"predictors": tuple(listed)}}) == search
    alone = parts.make("algorithms", {"linas": {"predictors": name}})
    assert alone.predictors == (Ridge(),)
    assert parts.make("algorithms", {"linas": {"predictors": {"ridge": {"restarts": 3}}}}).predictors == (Ridge(3),)


def test_mistakes_in_a_list_of_parts_bear_their_place():
    def made(*predictors):
        parts.make("algorithms", {"linas": {"predictors": list(predictors)}}, path="search")

    here = r"^search.linas.predictors\[1\]"
    with pytest.raises(ConfigError, match=rf"{here}: unknown part 'rigde' of predictors; did you mean 'ridge'"):
        made("gp", "rigde")
    with pytest.raises(ConfigError, match=rf"{here}.ridge.restarts: 'x' is not allowed"):
        made("gp", {"ridge": {"restarts": "x"}})
    with pytest.raises(ConfigError, match=rf"{here}.ridge: restarts must be at least 1, not 0"):
        made("gp", {"ridge": {"restarts": 0}})
    with pytest.raises(ConfigError, match=rf"{here}: expected a name"):
        made("gp", 3)
    with pytest.raises(ConfigError, match=rf"{here}: expected a name"):
        made("gp", None)
    with pytest.raises(ConfigError, match=r"^search.linas: predictors must name one or more"):
        made()


def test_nested_parts_are_given_what_the_experiment_has(make):
    part = make(given={"seed": 5}, base={"outside.options": {"base": {"outside.options": {}}}})
    assert part.seed == part.base.seed == part.base.base.seed == 5


def test_mistakes_in_nested_parts_bear_the_whole_path(make):
    here = "goals.x.min.outside.options"
    with pytest.raises(ConfigError, match=rf"^{here}.runtime: unknown part 'torhc' of runtimes; did you mean 'torch'"):
        make(runtime="torhc")
    with pytest.raises(ConfigError, match=rf"^{here}.search.random.bacth: unknown option .*did you mean 'batch'"):
        make(search={"random": {"bacth": 3}})
    with pytest.raises(ConfigError, match=rf"^{here}.search.random.batch: 'x' is not allowed"):
        make(search={"random": {"batch": "x"}})
    with pytest.raises(ConfigError, match=rf"^{here}.search.random: batch must be at least 1"):
        make(search={"random": {"batch": 0}})
    with pytest.raises(ConfigError, match=rf"^{here}.search: expected a name"):
        make(search=["random"])


# --- unknown names ---------------------------------------------------------------------------------------------------


def test_unknown_parts_and_options():
    with pytest.raises(ConfigError, match=r"^search: unknown part 'evolutoin' of algorithms; did you mean 'evolution'"):
        parts.make("algorithms", "evolutoin", path="search")
    with pytest.raises(ConfigError, match=r"did you mean 'hardware.macs'\? known: quality"):
        parts.make(METRICS, "hardware.mac")
    with pytest.raises(ConfigError, match=r"^search.random.bacth: unknown option 'bacth' of 'random'; did you mean 'b"):
        parts.make("algorithms", {"random": {"bacth": 3}}, path="search")
    with pytest.raises(ConfigError, match=r"unknown part '_selection'"):
        parts.make("algorithms", "_selection")


def test_options_that_only_the_experiment_sets_are_not_offered():
    with pytest.raises(ConfigError, match=r"known: column, scale, unit, measured$"):
        parts.make("quality", {"tabular": {"colmun": "x"}}, {"family": toys.Toy()})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_package.part", "no module 'no_such_package' can be imported; is it installed"),
        ("no.such.package", "no module 'no.such' can be imported; is it installed"),
        ("outside.no_such_part", "module 'outside' has no 'no_such_part'"),
        ("outside.options.deeper", "module 'outside.options' has no 'deeper'"),
    ],
)
def test_unknown_modules(package, name, told):
    package("options", OPTIONS)
    with pytest.raises(ConfigError, match=f"^search: {told}"):
        parts.make("algorithms", name, path="search")


def test_a_class_or_a_function_of_a_module_is_a_part_by_its_own_name(package):
    package(
        "judges",
        """
        def wide(candidate):
            return 1.0

        class Deep:
            def __init__(self, by: int = 1):
                self.by = by
        """,
    )
    wide = parts.make(("quality", "hardware"), "outside.judges.wide")
    assert wide(None) == 1.0
    assert parts.make(("quality", "hardware"), {"outside.judges.Deep": {"by": 3}}).by == 3
    assert parts.normal("outside.judges.wide", ("quality",)) == {"outside.judges.wide": {}}
    with pytest.raises(ConfigError, match=r"'outside.judges.wide' is a function and takes no options, got by"):
        parts.make("quality", {"outside.judges.wide": {"by": 3}})


@pytest.mark.parametrize("name", [".random", "a..b", "runs/first/best.pt", "1.5", "algorithms."])
def test_names_that_are_no_modules(name):
    with pytest.raises(ConfigError, match=r"^search: unknown part"):
        parts.make("algorithms", name, path="search")


# --- other people's parts --------------------------------------------------------------------------------------------


def test_a_part_of_another_package(package):
    package(
        "plain",
        "from hwnas.trial import Metric\nclass Plain(Metric):\n    'No dataclass, no options.'\n__all__ = ['Plain']",
    )
    package("chosen", "class Chosen:\n    def __init__(self, size: int = 3): self.size = size\n__all__ = ['Chosen']")
    part = parts.make(METRICS, {"outside.chosen": {"size": 5}})
    assert part.size == 5
    assert type(parts.make(METRICS, "outside.plain")).__name__ == "Plain"
    assert parts.normal("outside.chosen", METRICS) == {"outside.chosen": {}}
    with pytest.raises(ConfigError, match=r"unknown option 'x' of 'outside.plain'; known: none"):
        parts.make(METRICS, {"outside.plain": {"x": 1}})


@pytest.mark.parametrize("text", ["class Shy: pass", "__all__ = []"])
def test_a_module_that_lists_no_part(package, text):
    package("shy", text)
    with pytest.raises(ConfigError, match=r"^data: module 'outside.shy' lists no part: its `__all__` is"):
        parts.make("data", "outside.shy", path="data")


def test_a_part_that_cannot_be_imported_says_so_itself(package):
    package("broken", "import no_such_dependency")
    package("wrong", "from hwnas.trial import NoSuchName")
    package("failing", "raise OSError('no licence')")
    with pytest.raises(ModuleNotFoundError, match=r"no_such_dependency"):
        parts.make("data", "outside.broken")
    with pytest.raises(ImportError, match=r"NoSuchName"):
        parts.make("data", "outside.wrong")
    with pytest.raises(OSError, match=r"no licence"):
        parts.make("data", "outside.failing")


def test_a_package_that_cannot_be_imported_says_so_itself(package):
    package("__init__", "import no_such_dependency")
    package("options", OPTIONS)
    with pytest.raises(ModuleNotFoundError, match=r"no_such_dependency"):
        parts.make("data", "outside.options")


# --- back to specs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        Random(),
        Random(batch=3),
        Macs(),
        Measured(threads=2),
        Measured(runtime=TorchRuntime(), threads=2),
        Linas(),
        Linas(inner=Random(batch=3), predictors=(Gp(counts=False), Ridge(restarts=3), Svr(strengths=(1.0, 5.0)))),
    ],
)
def test_the_spec_of_a_part_builds_it_again(part):
    spec = json.loads(json.dumps(parts.spec_of(part)))
    assert parts.make(("algorithms", *METRICS), spec) == part
    ((name, options),) = spec.items()
    assert parts.normal({name.rpartition(".")[2]: options}, ("algorithms", *METRICS)) == spec


def test_specs_leave_out_defaults_and_what_the_experiment_gives(make):
    assert parts.spec_of(Random()) == {"algorithms.random": {}}
    assert parts.spec_of(Linas(batch=3, predictors=(Gp(counts=False), Ridge()))) == {
        "algorithms.linas": {"batch": 3, "predictors": [{"predictors.gp": {"counts": False}}, {"predictors.ridge": {}}]}
    }
    assert parts.spec_of(make(given={"seed": 3}, count=2, runtime="torch")) == {
        "outside.options": {"count": 2, "table": {}, "runtime": {"runtimes.torch": {}}}
    }


def test_what_has_no_spec():
    @dataclass(frozen=True)
    class Local:
        size: int = 3

    assert parts.spec_of(toys.size) is None
    assert parts.spec_of(Local()) is None
    assert parts.spec_of(Random) is None
    assert parts.spec_of(toys.Size()) is None  # a class, but not the part, of a module
