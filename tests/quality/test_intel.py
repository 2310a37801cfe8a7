import copy
import functools

import pytest
import torch

from hwnas.candidate import Candidate
from hwnas.errors import MetricError
from hwnas.families.plainnet import PlainNet
from hwnas.families.vit import Vit
from hwnas.quality import _intel
from hwnas.quality._intel import Terms, terms

A = (
    "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK3K3(16,32,2,16,1)"
    "SuperResK3K3(32,64,2,32,1)SuperResK3K3(64,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)"
)
B = (
    "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK3K3(16,32,2,16,1)"
    "SuperResK3K3(32,64,2,32,1)SuperResK5K5(64,64,2,48,2)SuperConvK1BNRELU(64,128,1,1)"
)
C = (
    "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK1K3K1(16,40,2,16,1)"
    "SuperResK5K5(40,96,2,40,2)SuperResK3K3(96,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)"
)
Z05 = (
    "SuperConvK3BNRELU(3,64,1,1)SuperResK1K5K1(64,168,1,16,3)SuperResK1K3K1(168,80,2,32,4)"
    "SuperResK1K5K1(80,112,2,16,3)SuperResK1K5K1(112,144,1,24,3)SuperResK1K3K1(144,32,2,40,1)"
    "SuperConvK1BNRELU(32,512,1,1)"
)
Z1 = (
    "SuperConvK3BNRELU(3,88,1,1)SuperResK1K7K1(88,120,1,16,1)SuperResK1K7K1(120,192,2,16,3)"
    "SuperResK1K5K1(192,224,1,24,4)SuperResK1K5K1(224,96,2,24,2)SuperResK1K3K1(96,168,2,40,3)"
    "SuperResK1K3K1(168,112,1,48,3)SuperConvK1BNRELU(112,512,1,1)"
)
"""A, B and C are in the log of the released search; Z05 and Z1 are Zen-NAS's with 0.5 and 1 million weights."""


def plainnet(structure, seed=0):
    family = PlainNet(classes=100, structure=structure)
    return Candidate(family, family.space.encode(family.arch_of(structure)), seed)


@functools.cache
def found(structure):
    return terms(plainnet(structure), 64)


@pytest.mark.parametrize(
    ("structure", "expressivity", "condition", "saliency", "logged"),
    [
        (A, 3.610312, 13.824450, 162.651943, -13.802251815795898),
        pytest.param(B, 3.848451, 7.488354, 56.486442, -7.420200824737549, marks=pytest.mark.slow),
        pytest.param(C, 4.561696, 6.002403, 115.856877, -5.963028430938721, marks=pytest.mark.slow),
    ],
    ids=["A", "B", "C"],
)
def test_scores_of_the_released_code(structure, expressivity, condition, saliency, logged):
    """Eigenvalues in float32 differ between libraries in the fourth digit."""
    own = found(structure)
    assert own.expressivity == pytest.approx(expressivity, rel=1e-4)
    assert own.condition == pytest.approx(condition, abs=5e-3)
    assert own.saliency == pytest.approx(saliency, rel=1e-4)
    assert own.score(1, 1, 1) == pytest.approx(logged, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("structure", "expressivity", "saliency"),
    [(Z05, 8.246518, 22444.549), (Z1, 8.003726, 199.096822)],
    ids=["Z05", "Z1"],
)
def test_terms_of_deep_networks(structure, expressivity, saliency, monkeypatch):
    """Without their kernel: 64 backward passes of a large batch take minutes."""
    monkeypatch.setattr(_intel, "_condition", lambda *_: 1.0)
    own = terms(plainnet(structure), 64)
    assert own.expressivity == pytest.approx(expressivity, rel=1e-4)
    assert own.saliency == pytest.approx(saliency, rel=1e-4)


def test_weights():
    own = Terms(expressivity=6.0, condition=10.0, saliency=3.0)
    assert own.score(2, 0.5, 4) == pytest.approx(6 * 2 / (3 * 4) - 10 * 0.5)
    assert own.score(0, 1, 0) == -10.0
    assert own.score(1, 0, 0) == 6.0  # no division by zero


def test_the_draw_is_fixed_and_nothing_else_changes():
    on_trial = plainnet(A, seed=1)
    before, state = copy.deepcopy(on_trial.plain.state_dict()), torch.get_rng_state()
    assert terms(on_trial, 4) == terms(plainnet(A, seed=2), 4)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in on_trial.plain.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in on_trial.plain.modules())


def test_networks_that_it_is_not_made_for():
    family = Vit(**Vit.tiny)
    with pytest.raises(MetricError, match="CNNs with BatchNorm"):
        terms(Candidate(family, family.space.smallest), 4)
