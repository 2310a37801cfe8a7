import random

import pytest

from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.families.nasbench201 import EDGES, OPERATIONS, NasBench201
from hwnas.hardware.macs import Macs
from hwnas.quality.live_macs import LiveMacs
from hwnas.testing.toys import SPACE, Toy

SMALL = NasBench201(channels=4, cells=1, resolution=8)


def paths(code):
    """The edges on each path of a cell from node 0 to node 3, found by walking."""

    def walk(node):
        if node == 3:
            yield ()
        for edge in EDGES:
            if edge[1] == node and code[EDGES.index(edge)] != OPERATIONS.index("none"):
                yield from ((edge, *rest) for rest in walk(edge[0]))

    return list(walk(0))


def expected(code):
    """The MACs of a small cell without its dead convolutions."""
    alive = {edge for path in paths(code) for edge in path}
    rows = Candidate(SMALL, code).layers
    dead = [f"node{node}.from{source}." for node, source in EDGES if (node, source) not in alive]
    return float(sum(row.macs for row in rows if not any(name in row.name for name in dead)))


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_cells_by_walking_all_paths(count):
    everything = [SMALL.space.smallest, SMALL.space.largest, (4, 4, 4, 0, 0, 0), (0, 0, 4, 0, 4, 4)]
    rng = random.Random(count)
    everything += [tuple(rng.randrange(5) for _ in EDGES) for _ in range(count)]
    for code in everything:
        if paths(code):
            assert LiveMacs()(Candidate(SMALL, code)) == expected(code)
        else:
            with pytest.raises(MetricError, match="no path"):
                LiveMacs()(Candidate(SMALL, code))


def test_equals_all_macs_where_everything_is_alive():
    candidate = Candidate(Toy(), SPACE.largest)
    assert LiveMacs()(candidate) == Macs()(candidate)


def test_is_a_part():
    assert parts.spec_of(parts.make("quality", {"live_macs": {}})) in ("quality.live_macs", {"quality.live_macs": {}})
