"""Architectures as drawings."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from hwnas.report.drawing import WIDTH, groups, svg
from hwnas.space import Choice, Space

from ._study import EVIL, FAMILY, LARGEST, code

SVG = "{http://www.w3.org/2000/svg}"
FLAT = Space("flat", tuple(Choice(f"edge{i}", ("none", "skip", "conv")) for i in range(6)))
SHARED = Space(
    "shared", tuple(Choice(f"encoder.layer{i}.{axis}", (1, 2)) for i in range(12) for axis in ("heads", "width"))
)
MANY = Space("many", (Choice("rate", tuple(range(20))),))


def words(picture: str) -> list[str]:
    return [
        text
        for text in ("".join(part.itertext()) for part in ElementTree.fromstring(picture).iter(f"{SVG}text"))
        if text
    ]


def test_groups_follow_the_dotted_names():
    drawn = groups(FAMILY.space, LARGEST, LARGEST)
    assert [(stage, [cell.title for cell in cells]) for stage, cells in drawn] == [
        ("", [""]),
        ("stage1", ["", "block1", "block2"]),
    ]
    assert [stage for stage, _ in groups(SHARED, SHARED.largest, SHARED.largest)] == [f"layer{i}" for i in range(12)]


def test_shows_every_value_and_what_differs_from_the_largest():
    small = FAMILY.space.encode({"act": "none", "stage1.depth": 1, "stage1.block1.width": 16})
    drawn = ElementTree.fromstring(svg(FAMILY.space, small, LARGEST))
    values = {text.text: text.get("class") for text in drawn.iter(f"{SVG}text") if "value" in text.get("class", "")}
    assert values == {"none": "differs value", "1": "differs value", "16": "same value"}
    assert drawn.get("aria-label") == "2 of 3 active choices differ from the largest network"
    assert "block2left out" in words(svg(FAMILY.space, small, LARGEST))
    assert f"act: none, largest: {EVIL}" in [tip.text for tip in drawn.iter(f"{SVG}title")]


def test_the_largest_network_differs_in_nothing():
    assert 'class="differs' not in svg(FAMILY.space, LARGEST, LARGEST)


@pytest.mark.parametrize("space", [FAMILY.space, FLAT, SHARED, MANY])
def test_any_space_is_drawn_within_the_page(space):
    rng = np.random.default_rng(0)
    for picked in (space.smallest, space.largest, space.sample(rng)):
        drawn = ElementTree.fromstring(svg(space, picked, space.largest))
        width, height = int(drawn.get("width")), int(drawn.get("height"))
        assert width <= max(WIDTH, 600)
        for box in drawn.iter(f"{SVG}rect"):
            assert float(box.get("x")) + float(box.get("width")) <= width
            assert float(box.get("y")) + float(box.get("height")) <= height


def test_pips_count_up_for_numbers_and_single_out_words():
    def pips(picked, reference):
        drawn = ElementTree.fromstring(svg(FAMILY.space, picked, reference))
        return [pip.get("class") for pip in drawn.iter(f"{SVG}circle")]

    first = code(0)
    assert pips(first, first)[:4] == ["same", "pip", "same", "pip"]  # act "none" of two, depth 1 of two
    assert pips(LARGEST, LARGEST)[:4] == ["pip", "same", "same", "same"]
