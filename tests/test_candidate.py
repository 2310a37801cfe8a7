"""Candidates: made lazily and once, with weights and inputs that depend on the seed and nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass, field

import pytest
import torch

import toys
from hwnas.candidate import Candidate

SMALL, LARGE = toys.SPACE.smallest, toys.SPACE.largest


@dataclass(frozen=True)
class Counted(toys.Toy):
    """Keeps a list of what was asked of it."""

    asked: list[str] = field(default_factory=list, compare=False)

    def build(self, arch, /):
        self.asked.append("meta" if torch.empty(0).is_meta else "cpu")
        return torch.nn.Sequential(super().build(arch), torch.nn.Dropout())

    def inputs(self, arch, batch, /):
        self.asked.append("inputs")
        return super().inputs(arch, batch)


def weights(candidate):
    return torch.cat([tensor.flatten() for tensor in candidate.model.parameters()])


def test_nothing_is_built_before_somebody_looks_and_nothing_twice():
    family = Counted()
    candidate = Candidate(family, SMALL)
    assert candidate.arch == family.space.decode(SMALL) and family.asked == []
    assert candidate.model is candidate.model and family.asked == ["cpu"]
    assert candidate.skeleton is candidate.skeleton and family.asked == ["cpu", "meta"]
    assert candidate.inputs is candidate.inputs and family.asked == ["cpu", "meta", "inputs"]
    assert candidate.layers is candidate.layers and family.asked == ["cpu", "meta", "inputs", "inputs"]


def test_networks_come_ready_for_judgement():
    candidate = Candidate(Counted(), SMALL)
    assert not any(module.training for module in (*candidate.model.modules(), *candidate.skeleton.modules()))
    assert all(tensor.is_meta for tensor in candidate.skeleton.parameters())
    assert {n: p.shape for n, p in candidate.model.named_parameters()} == {
        n: p.shape for n, p in candidate.skeleton.named_parameters()
    }
    (row,) = candidate.layers
    assert (row.macs, row.params) == (8 * 3, 8 * 3 + 3)


def test_weights_follow_from_seed_and_code_whatever_was_built_before():
    family = toys.Toy()
    torch.rand(3)
    one = weights(Candidate(family, SMALL, seed=1))
    weights(Candidate(family, LARGE, seed=1))
    assert torch.equal(weights(Candidate(family, SMALL, seed=1)), one)
    assert not torch.equal(weights(Candidate(family, SMALL, seed=2)), one)
    deeper = toys.SPACE.encode({**toys.SPACE.decode(SMALL), "depth": 2, "b.width": 8, "b.kernel": 3})
    assert not torch.equal(weights(Candidate(family, deeper, seed=1)), one)


def test_inputs_are_the_same_for_every_candidate_of_a_run():
    family = toys.Toy()
    (one,) = Candidate(family, SMALL, seed=1).inputs
    deeper = toys.SPACE.encode({**toys.SPACE.decode(SMALL), "depth": 2, "b.width": 8, "b.kernel": 3})
    (other,) = Candidate(family, deeper, seed=1).inputs
    assert one.shape == (1, 8) and torch.equal(one, other)
    assert not torch.equal(one, Candidate(family, SMALL, seed=2).inputs[0])
    (many,) = Candidate(family, SMALL, seed=1).batch(3)
    assert many.shape == (3, 8) and not torch.equal(many[:1], one)


@pytest.mark.parametrize("look", ["model", "skeleton", "inputs", "layers"])
def test_the_global_random_state_is_left_alone(look):
    state = torch.get_rng_state()
    getattr(Candidate(toys.Toy(), SMALL), look)
    assert torch.equal(torch.get_rng_state(), state)


def test_candidates_are_values():
    assert Candidate(toys.Toy(), SMALL) == Candidate(toys.Toy(), SMALL) != Candidate(toys.Toy(), LARGE)
    assert len({Candidate(toys.Toy(), SMALL), Candidate(toys.Toy(), SMALL), Candidate(toys.Toy(), SMALL, 1)}) == 2


def test_what_a_family_need_not_say():
    family = toys.Toy()
    assert [tuple(p.shape) for p in family.supernet().parameters()] == [(7, 32), (7,)]
    assert family.canonical((0, 1, 1, 3, 2, 0, 0)) == (0, 1, 1, 0, 0, 0, 0)
    assert family.crop("weight", torch.empty(1), {}, {}) is None


def test_the_core_imports_no_torch():
    ask = """
        import sys
        import hwnas
        from hwnas import candidate, errors, parts, pareto, records, seeds, space, study, trial, workers
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(ask)], check=True)
