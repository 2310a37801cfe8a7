import itertools
import random

from hwnas.candidate import Candidate
from hwnas.families.nasbench201 import EDGES, NasBench201
from hwnas.hardware.params import Params
from hwnas.quality.live_params import LiveParams
from hwnas.testing.toys import SPACE, Toy

SMALL = NasBench201(channels=4, cells=1, resolution=8)


def live_edges(code):
    """The rule in closed form: reachable from the input, and the output reachable from it."""
    u = [op != 0 for op in code]
    r1 = u[0]
    r2 = u[1] or (u[2] and r1)
    o2 = u[5]
    o1 = u[4] or (u[2] and o2)
    return (u[0] and o1, u[1] and o2, u[2] and r1 and o2, u[3], u[4] and r1, u[5] and r2)


def test_cells_by_the_closed_rule():
    """A convolution of k x k at C channels has C C k k weights and 2 C of its BatchNorm."""
    rng = random.Random(1)
    fixed = Params()(Candidate(SMALL, (0, 0, 0, 1, 0, 0)))
    connected = 0
    for code in (tuple(rng.randrange(5) for _ in EDGES) for _ in range(40)):
        if any(live_edges(code)):
            connected += 1
            convs = [op for op, lives in zip(code, live_edges(code), strict=True) if lives and op >= 3]
            own = sum(c * c * {3: 1, 4: 9}[op] + 2 * c for op, c in itertools.product(convs, (4, 8, 16)))
            assert LiveParams()(Candidate(SMALL, code)) == fixed + own
    assert connected > 20


def test_equals_all_parameters_where_everything_is_alive():
    candidate = Candidate(Toy(), SPACE.largest)
    assert LiveParams()(candidate) == Params()(candidate)
