"""The guides' Python blocks run, in order, as one program each; the examples load; what the README names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hwnas.config import read

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs").glob("[0-9]*.md"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guide_runs(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert blocks, f"{guide.name} shows no Python"
    names: dict[str, object] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(guide), "exec"), names)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_example_loads(example: Path) -> None:
    config = read(example)
    assert config.goals
    assert read(config.to_dict()) == config


def test_readme_names_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
