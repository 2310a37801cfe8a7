"""What a format promises."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas.candidate import Candidate
from hwnas.errors import ExportError
from hwnas.formats import Format
from hwnas.testing._networks import toy_network
from hwnas.testing._shared import Check, hold, require, unchanged
from hwnas.testing.toys import SPACE, Toy


def computes_the_same(format: Format) -> None:
    """What the file computes is what the network computes, for one input and for several."""
    from hwnas.formats._parity import parity

    candidate = Candidate(Toy(), SPACE.largest)
    with TemporaryDirectory() as place:
        path = Path(place) / f"network{format.suffix}"
        with unchanged("writing"):
            format.write(candidate.model, candidate.batch(2), path, {})
        try:
            parity(format, path, candidate.model, [candidate.batch(2), candidate.batch(1), candidate.batch(5)])
        except ExportError as error:
            raise AssertionError(str(error)) from error


def keeps_metadata(format: Format) -> None:
    """What is stored beside the weights comes back as it was."""
    model, inputs = toy_network()
    notes = {"code": "[0, 1]", "unit": "µs", "empty": "", "accuracy": repr(0.1 + 0.2)}
    with TemporaryDirectory() as place:
        path = Path(place) / f"network{format.suffix}"
        format.write(model, inputs, path, notes)
        found = dict(format.metadata(path))
    require(found == notes, f"{notes} come back as {found}")


def writes_whole_files_or_none(format: Format) -> None:
    """A network that cannot be written leaves no file, and an old one as it was; one that can replaces it."""
    from torch import nn

    require(format.suffix.startswith(".") and len(format.suffix) > 1, f"{format.suffix!r} is no end of a file's name")
    model, inputs = toy_network()
    misfit = nn.Linear(1, 1)
    with TemporaryDirectory() as place:
        path = Path(place) / f"network{format.suffix}"
        for old in (None, b"old"):
            if old is not None:
                path.write_bytes(old)
            try:
                format.write(misfit, inputs, path, {})
            except ExportError:
                pass
            else:
                raise AssertionError("a network that cannot run is written all the same")
            left = [file.read_bytes() for file in Path(place).iterdir()]
            require(left == ([] if old is None else [old]), "a failed attempt leaves something behind")
        training = [part.training for part in model.train().modules()]
        format.write(model, inputs, path, {})
        require([part.training for part in model.modules()] == training, "writing changes the mode of the network")
        require(os.listdir(place) == [path.name] and path.read_bytes() != b"old", "the old file is not replaced")
        folder = Path(place) / f"taken{format.suffix}"
        folder.mkdir()
        try:
            format.write(model, inputs, folder, {})
        except (OSError, ExportError):
            require(
                sorted(os.listdir(place)) == sorted([path.name, folder.name]), "a broken write leaves a draft behind"
            )
        else:
            raise AssertionError("a folder is overwritten by a file")


FORMAT: tuple[Check, ...] = (computes_the_same, keeps_metadata, writes_whole_files_or_none)


def check_format(format: Format) -> None:
    """Holds a format to its protocol."""
    hold(FORMAT, format)
