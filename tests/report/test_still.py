"""The picture for a README."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from hwnas.errors import ConfigError
from hwnas.report import picture
from hwnas.trial import Goal

from ._study import ACCURACY, CONFIRMED, FACTS, LATENCY, MACS, SEARCHED, study, trial


def test_writes_png_and_svg_and_leaves_pyplot_alone(tmp_path):
    from matplotlib._pylab_helpers import Gcf

    done = study(tmp_path, SEARCHED, CONFIRMED, **FACTS)
    assert picture(done, tmp_path / "deep" / "front.png").read_bytes().startswith(b"\x89PNG")
    drawn = ElementTree.parse(picture(done, tmp_path / "front.svg")).getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert not Gcf.figs


@pytest.mark.parametrize(
    ("searched", "goals"),
    [
        ((), (ACCURACY, LATENCY)),
        (SEARCHED[6:], (ACCURACY, LATENCY)),
        (SEARCHED, (ACCURACY,)),
        ([trial(0, {"accuracy": 0.9, "latency": 1e-3, "macs": 1e6})], (ACCURACY, LATENCY, MACS)),
        ([trial(0, {"$x": 0.9, "macs": 1e6})], (Goal("$x", None, "min"), MACS)),
    ],
)
def test_copes_with_every_study(tmp_path, searched, goals):
    assert picture(study(tmp_path, searched, goals=goals), tmp_path / "front.png").stat().st_size > 1000


def test_an_unknown_format_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"front\.docx.*\.png"):
        picture(study(tmp_path, SEARCHED), tmp_path / "front.docx")
