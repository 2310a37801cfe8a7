"""What a runtime promises."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas import parts
from hwnas.errors import ExportError
from hwnas.formats import Format
from hwnas.runtimes import Runtime
from hwnas.testing._networks import inside, same, toy_network
from hwnas.testing._shared import Check, hold, require, unchanged


def loads_and_runs(runtime: Runtime) -> None:
    """A loaded network runs again and again, knows its size in bytes, and leaves network and process as they were."""
    model, inputs = toy_network()
    model.train()
    before = inside(model)
    with unchanged("loading and running"):
        session = runtime.load(model, inputs, 1)
        for _ in range(3):
            session()
    after = inside(model)
    changed = [name for name in {**before, **after} if not same(before.get(name), after.get(name))]
    require(not changed, f"loading and running changes {', '.join(changed[:5])}")
    require(type(session.size) is int and session.size > 0, f"a network has a size in bytes, not {session.size!r}")


def names_its_version(runtime: Runtime) -> None:
    """The version is a name and a number."""
    name, _, number = runtime.version.partition(" ")
    require(name and number[:1].isdigit(), f"a version is a name and a number, not {runtime.version!r}")


def opens_files_or_says_why_not(runtime: Runtime) -> None:
    """Every file is opened and runs, or is an ExportError: one of ours, one that is damaged, one that is not there."""
    model, inputs = toy_network()
    with TemporaryDirectory() as place:
        damaged = Path(place) / "damaged.onnx"
        damaged.write_bytes(b"nothing of the kind")
        paths = [damaged, Path(place) / "missing.onnx"]
        for name in parts.names("formats"):
            format: Format = parts.make("formats", name)
            paths.append(Path(place) / f"network{format.suffix}")
            format.write(model, inputs, paths[-1], {})
        for path in paths:
            try:
                session = runtime.open(path, inputs, 1)
            except ExportError:
                continue
            require(path not in paths[:2], f"{path.name} is opened as if it were a network")
            session()
            require(session.size == path.stat().st_size, f"{path.name} has a size of {session.size}")


RUNTIME: tuple[Check, ...] = (loads_and_runs, names_its_version, opens_files_or_says_why_not)


def check_runtime(runtime: Runtime) -> None:
    """Holds a runtime to its protocol."""
    hold(RUNTIME, runtime)
