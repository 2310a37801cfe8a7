"""An architecture as a drawing: its choices stage by stage and block by block, with what differs from another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from hwnas.space import Choice, Code, Space

WIDTH = 1030
"""Pixels that a drawing may be wide; more stages than fit go on below."""
WIDEST, ROW, HEAD, PAD, GAP, LETTER, PIP = 200, 19, 24, 9, 12, 6.7, 7


@dataclass(frozen=True)
class Row:
    """One choice as drawn: its axis, its value, and the other network's value if that is another one."""

    choice: Choice
    active: bool
    index: int
    other: str

    @property
    def value(self) -> str:
        return str(self.choice.values[self.index]) if self.active else "–"

    @property
    def differs(self) -> bool:
        return self.active and self.value != self.other


@dataclass
class Cell:
    """A block, or what a stage says of itself."""

    title: str
    rows: list[Row] = field(default_factory=list)


def groups(space: Space, code: Code, reference: Code) -> list[tuple[str, list[Cell]]]:
    """The choices by the parts of their dotted names: stages, each with its own choices first and then its blocks.

    What all names begin with is dropped; choices without a prefix belong to the network as a whole, named "".
    """
    active, others = space.active(code), space.decode(reference)
    paths = [choice.name.split(".")[:-1] for choice in space.choices]
    shared = _shared([path for path in paths if path])
    stages: dict[str, dict[str, Cell]] = {}
    for choice, path, index, on in zip(space.choices, paths, code, active, strict=True):
        stage, *blocks = path[shared:] or [""]
        block = ".".join(blocks)
        cell = stages.setdefault(stage, {}).setdefault(block, Cell(block))
        cell.rows.append(Row(choice, on, index, str(others.get(choice.name, "–"))))
    return [(stage, sorted(cells.values(), key=lambda cell: cell.title != "")) for stage, cells in stages.items()]


def svg(space: Space, code: Code, reference: Code) -> str:
    """The drawing as SVG, whose colours come from the page's style; every text is escaped.

    Args:
        reference: the network to compare with, usually the largest one.
    """
    columns = groups(space, code, reference)
    rows = [row for _, cells in columns for cell in cells for row in cell.rows]
    least = int(max(_width(row) for row in rows)) + 2 * PAD
    across = max(1, min(len(columns), (WIDTH + GAP) // (least + GAP)))
    width = max(least, min(WIDEST, (WIDTH + GAP) // across - GAP))
    parts, y = [], 0
    for start in range(0, len(columns), across):
        line = columns[start : start + across]
        depth = max(len(cells) for _, cells in line)
        heights = [max((_height(cells[i]) for _, cells in line if i < len(cells)), default=0) for i in range(depth)]
        for place, (stage, cells) in enumerate(line):
            x = place * (width + GAP)
            parts.append(f'<text class="stage" x="{x + 2}" y="{y + 16}">{escape(stage or "network")}</text>')
            top = y + HEAD
            for cell, height in zip(cells, heights, strict=False):
                parts.append(_cell(cell, x, top, width, height))
                top += height + GAP // 2
        y += HEAD + sum(heights) + depth * GAP // 2 + GAP
    changed = sum(row.differs for row in rows)
    label = f"{changed} of {sum(row.active for row in rows)} active choices differ from the largest network"
    whole = across * (width + GAP) - GAP + 1
    return (
        f'<svg class="drawing" role="img" aria-label="{escape(label)}" viewBox="0 0 {whole} {y}" width="{whole}" '
        f'height="{y}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _cell(cell: Cell, x: int, y: int, width: int, height: int) -> str:
    off = not any(row.active for row in cell.rows)
    box = f'x="{x + 0.5}" y="{y + 0.5}" width="{width}" height="{height - 1}" rx="7"'
    parts = [f'<rect class="{"off" if off else "cell"}" {box}/>']
    top = y + 5
    if cell.title:
        note = f'<tspan class="soft" x="{x + width - PAD}" text-anchor="end">left out</tspan>' if off else ""
        parts.append(f'<text class="block" x="{x + PAD}" y="{top + 13}">{escape(cell.title)}{note}</text>')
        top += ROW
    for row in () if off else cell.rows:
        parts.append(_row(row, x, top, width))
        top += ROW
    return "".join(parts)


def _row(row: Row, x: int, y: int, width: int) -> str:
    values = row.choice.values
    look = "differs" if row.differs else "same"
    tip = f"{row.choice.name}: {row.value}" + (f", largest: {row.other}" if row.differs else "")
    ordered = not any(isinstance(value, str) for value in values)
    ranks = sorted(range(len(values)), key=lambda i: values[i]) if ordered else list(range(len(values)))
    rank = ranks.index(row.index)
    start = x + width - PAD - len(values) * PIP + 3
    pips = "".join(
        f'<circle class="{look if row.active and (i == rank or (ordered and i < rank)) else "pip"}" '
        f'cx="{start + i * PIP}" cy="{y + 9}" r="2.3"/>'
        for i in range(len(values) if len(values) <= 8 else 0)
    )
    text_end = start - 8 if pips else x + width - PAD
    return (
        f'<g><title>{escape(tip)}</title><text class="axis" x="{x + PAD}" y="{y + 13}">{escape(row.choice.axis)}</text>'
        f'<text class="{look} value" x="{text_end}" y="{y + 13}" text-anchor="end">{escape(row.value)}</text>{pips}</g>'
    )


def _width(row: Row) -> float:
    longest = max(len(str(value)) for value in row.choice.values)
    pips = len(row.choice.values) * PIP + 8 if len(row.choice.values) <= 8 else 0
    return max(14.0, len(row.choice.axis) + longest + 3.0) * LETTER + pips


def _height(cell: Cell) -> int:
    return ROW * (len(cell.rows) + bool(cell.title)) + 10


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """How many leading parts all paths have in common, as long as something is left to tell them apart."""
    shared = 0
    while paths and all(len(path) > shared + 1 for path in paths) and len({path[shared] for path in paths}) == 1:
        shared += 1
    return shared


__all__ = ["groups", "svg"]
