from __future__ import annotations

import pytest

from hwnas.report.compare import Comparison, write

from ._study import SEARCHED, chance, study


@pytest.fixture
def comparison_page(tmp_path):
    """The text of a page on two runs, one of which has a random search beside it."""
    made = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made[name] = study(tmp_path / name, SEARCHED[: 8 if name == "one" else 4], config={"budget": 8})
    chance(made["one"], SEARCHED[2:5])
    return write(Comparison(made), tmp_path / "page.html").read_text(encoding="utf-8")
