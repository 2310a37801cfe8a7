"""The requirements S1 to S15 of a sound DE-Score, one test each, on small networks of every domain, and its options."""

import copy
import dataclasses
import functools
import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from hwnas import parts
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, MetricError
from hwnas.families.asr import Asr
from hwnas.families.bert import Bert
from hwnas.families.nasbench201 import NasBench201, parse
from hwnas.families.plainnet import PlainNet
from hwnas.families.vit import Vit
from hwnas.quality import _intel, zen
from hwnas.quality._flow import flow
from hwnas.quality._pool import Pool
from hwnas.quality._probe import Proxy, Watcher, noise, normalised, objective, scores
from hwnas.quality._untrained import untrained
from hwnas.quality.de_score import TERMS, DeScore
from hwnas.quality.diversity import Diversity, nuclear
from hwnas.quality.ntk import Ntk
from hwnas.quality.zen import Zen
from hwnas.trial import Metric

TABLE = (Path(__file__).parents[2] / ".." / "shared" / "data" / "zero_cost" / "nasbench201.npz").resolve()
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the benchmark's table is not here")
FAMILIES = {
    "cnn": PlainNet(**PlainNet.tiny),
    "vit": Vit(**{**Vit.tiny, "depths": (1, 2, 3), "widths": (16, 24, 32)}),
    "bert": Bert(**{**Bert.tiny, "layers": (1, 2, 3), "widths": (16, 32, 48)}),
    "asr": Asr(**{**Asr.tiny, "depths": (1, 2, 3), "widths": (24, 48)}),
}
WIDER = {
    "cnn": {"max_width": 24},
    "vit": {"depths": (1, 2, 3, 4), "heads": (1, 2, 4)},
    "bert": {"layers": (1, 2, 3, 4), "hiddens": (8, 16, 32)},
    "asr": {"depths": (1, 2, 3, 4), "ratios": (0.5, *Asr.tiny["ratios"])},
}
"""Options that make a space larger."""
every_domain = pytest.mark.parametrize("domain", FAMILIES)


@functools.cache
def ready(domain):
    """The score with a pool of 16 networks."""
    return DeScore(FAMILIES[domain], pool=16, batch=4)


def some(domain, count=3, seed=0):
    family, rng = FAMILIES[domain], np.random.default_rng(seed)
    return [Candidate(family, family.canonical(family.space.sample(rng))) for _ in range(count)]


def told(metric):
    said = []
    metric.prepare(said.append)
    return " ".join(progress.message for progress in said if progress.message)


@dataclasses.dataclass(frozen=True)
class Seconds(Metric):
    """A latency: a microsecond per hundred parameters, times a factor."""

    factor: float = 1.0
    code: tuple[int, ...] | None = None
    exclusive = False

    def __call__(self, candidate, /):
        own = self.factor if self.code in (None, candidate.code) else 1.0
        return own * 1e-8 * sum(parameter.numel() for parameter in candidate.skeleton.parameters())


# --- S1, S2: one draw is repeatable, and several say more -----------------------------------------------------------


@every_domain
def test_s1_same_seed_same_score(domain):
    (on_trial, *_), state = some(domain), torch.get_rng_state()
    one, two = (DeScore(FAMILIES[domain], pool=4, batch=4) for _ in range(2))
    first, again = one(on_trial), two(Candidate(on_trial.family, on_trial.code))
    assert first.value == again.value and first.details == again.details
    assert torch.equal(state, torch.get_rng_state())
    assert ready(domain).raw(dataclasses.replace(on_trial, seed=1))[0] != pytest.approx(ready(domain).raw(on_trial)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("domain", "term", "repeats"),
    [("cnn", "complexity", 24), ("vit", "complexity", 64), ("bert", "complexity", 24)]
    + [(domain, term, 2) for domain in FAMILIES for term in ("expressivity", "diversity", "saliency")],
)
def test_s2_networks_differ_by_more_than_draws(domain, term, repeats):
    """The deviation over 20 random networks is above three standard errors over draws."""
    weights = {name: float(name == term) for name in TERMS}
    spreads = DeScore(FAMILIES[domain], pool=20, repeats=repeats, **weights).spreads()
    assert list(spreads) == [term] and spreads[term] > 3, spreads


@pytest.mark.parametrize("domain", ["vit", "asr"])
def test_s2_a_term_that_is_noise_is_left_out_and_said(domain):
    """Tangent kernels of small Transformers are conditioned alike: with one draw there is nothing to be seen."""
    metric = ready(domain)
    assert "left out as noise among these networks: complexity (rank correlation" in told(metric)
    assert not any("complexity" in name for name in metric(some(domain)[0]).details)
    assert metric._used == ["expressivity", "diversity", "saliency"]


def test_s2_errors_shrink_with_repeats():
    """Like one by the root of their number: here from 2 to 32 draws, averaged over networks."""
    errors = {}
    for repeats in (2, 32):
        metric = DeScore(FAMILIES["vit"], repeats=repeats, batch=4, expressivity=0, diversity=0, saliency=0)
        errors[repeats] = np.mean([metric.raw(on_trial)[1][0] ** 2 for on_trial in some("vit", 4)]) ** 0.5
    assert 1.5 < errors[2] / errors[32] < 10.0
    reading = dataclasses.replace(ready("vit"), repeats=2)(some("vit")[0])
    assert reading.details["diversity standard error"] > 0


# --- S3 to S6: the terms are what they are called -------------------------------------------------------------------


def test_s3_nuclear_norms():
    assert nuclear(torch.eye(9)) == pytest.approx(9)
    u, v = torch.randn(6), torch.randn(4)
    assert nuclear(torch.outer(u, v)) == pytest.approx(float(u.norm() * v.norm()), rel=1e-3)


def test_s4_scale_of_a_weight_counts(monkeypatch):
    """One convolution three times as large adds log 3 to the expressivity, whatever normalises after it."""
    metric = DeScore(FAMILIES["cnn"], batch=4, complexity=0, diversity=0, saliency=0)
    on_trial = some("cnn")[0]
    before = metric.raw(on_trial)[0][0]

    def scaled(*args, **options):
        tensors = untrained(*args, **options)
        name = next(name for name, tensor in tensors.items() if tensor.dim() == 4)
        return {**tensors, name: 3 * tensors[name]}

    monkeypatch.setattr(zen, "untrained", scaled)
    assert metric.raw(on_trial)[0][0] - before == pytest.approx(math.log(3), abs=1e-3)


STEM = "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)"
A = STEM + "SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)SuperResK3K3(64,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)"
C = (
    STEM + "SuperResK1K3K1(16,40,2,16,1)SuperResK5K5(40,96,2,40,2)SuperResK3K3(96,64,2,32,1)"
    "SuperConvK1BNRELU(64,128,1,1)"
)


def plainnet(structure):
    family = PlainNet(classes=100, structure=structure)
    return Candidate(family, family.space.encode(family.arch_of(structure)))


@pytest.mark.parametrize(("structure", "mean", "deviation"), [(A, 23.130, 0.276), (C, 35.192, 0.344)], ids="AC")
def test_s4_known_gaussian_complexity(structure, mean, deviation):
    """Means and deviations of eight draws of another implementation."""
    assert Zen(batch=64, norm="l1", bypass=True)(plainnet(structure)).value == pytest.approx(mean, abs=4 * deviation)


def test_s5_the_same_flow_in_every_layer_in_float64():
    """Normalisation is bypassed and layers are summed up, so every layer of a network without shortcuts carries R."""

    @dataclasses.dataclass(frozen=True)
    class Bare(PlainNet):
        def build(self, arch, /):
            return self.without_shortcuts(arch)

    family = Bare(**PlainNet.tiny)
    pairs, exponent = flow(Candidate(family, family.space.smallest), "kaiming")
    layers = [float((weight * slope).sum()) for weight, slope in pairs.values()]
    assert exponent == 0 and len(layers) > 4
    assert layers == pytest.approx([layers[0]] * len(layers), rel=1e-12)
    assert all(slope.dtype == torch.float64 for _, slope in pairs.values())


@every_domain
def test_s6_condition_is_that_of_a_loop(domain):
    """The kernel out of one backward pass against one pass for every sample."""
    on_trial = some(domain)[0]
    metric = Ntk(batch=3, objective="probe", double=True)
    tensors = {
        name: x.double().requires_grad_(name.endswith("weight"))
        for name, x in untrained(on_trial, "kaiming").items()
        if x.is_floating_point()
    }
    modules = dict(on_trial.model.named_modules())
    names = [
        name
        for name, tensor in tensors.items()
        if tensor.requires_grad and not isinstance(modules[name.rpartition(".")[0]], nn.Embedding)
    ]
    with normalised("frozen"):
        output = torch.func.functional_call(on_trial.model, tensors, noise(on_trial, metric.settings()[0]))
    rows = []
    for place in range(3):
        apart = torch.zeros_like(output)
        apart[place] = 1.0
        total = objective(on_trial, output * apart, "probe")
        slopes = torch.autograd.grad(
            total, [tensors[n] for n in names], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    jacobian = torch.stack(rows)
    values = torch.linalg.eigvalsh(jacobian @ jacobian.T)
    assert metric(on_trial).value == pytest.approx(-math.log(values[-1] / values[0]), rel=1e-6)


# --- S7, S8: nothing but the network counts -------------------------------------------------------------------------


@every_domain
def test_s7_the_space_around_a_network_does_not_matter(domain):
    small = FAMILIES[domain]
    large = dataclasses.replace(small, **WIDER[domain])
    assert large.space.size > small.space.size
    for on_trial in some(domain):
        other = Candidate(large, large.space.encode(on_trial.arch))
        assert ready(domain).raw(other)[0] == pytest.approx(ready(domain).raw(on_trial)[0], rel=1e-12)


@dataclasses.dataclass(frozen=True)
class Doubled(Proxy):
    """The same score in float64."""

    single: Proxy

    def settings(self):
        return tuple(dataclasses.replace(setting, double=True) for setting in self.single.settings())

    def watcher(self, candidate, /):
        return self.single.watcher(candidate)


@every_domain
def test_s8_no_rounding_noise(domain):
    metrics = [each for each in ready(domain)._metrics.values() if isinstance(each, Proxy)]
    assert len(metrics) == 3  # SynFlow is in float64

    for on_trial in some(domain):
        single, double = scores(on_trial, metrics), scores(on_trial, [Doubled(metric) for metric in metrics])
        for one, two in zip(single, double, strict=True):
            assert getattr(one, "value", one) == pytest.approx(getattr(two, "value", two), rel=1e-3, abs=1e-3)


# --- S9 to S12: how terms are put together --------------------------------------------------------------------------


@every_domain
def test_s9_twice_the_latency_is_worse(domain):
    on_trial = some(domain)[0]
    normal, slow = (
        DeScore(
            FAMILIES[domain], latency=Seconds(factor, on_trial.code), pool=16, complexity=0, diversity=0, expressivity=0
        )
        for factor in (1.0, 2.0)
    )
    normal._reference.made()
    slow.__dict__["_everyone"] = normal._everyone  # the other networks are as fast as before
    assert slow(on_trial).value < normal(on_trial).value
    assert normal(on_trial).details["latency"] == pytest.approx(-math.log(Seconds()(on_trial)), rel=1e-5)


@every_domain
def test_s10_every_term_has_a_say(domain):
    metric = ready(domain)
    normal_NM = metric._pool.normal(metric._everyone[:, metric._present])
    assert normal_NM.std(axis=0) == pytest.approx(np.ones(len(metric._used)), abs=0.2)  # 16 networks
    whole = normal_NM.sum(axis=1)
    for term in range(len(metric._used)):
        assert list(np.argsort(whole)) != list(np.argsort(whole - normal_NM[:, term]))


@every_domain
def test_s11_more_of_a_term_never_lowers_the_score(domain):
    metric = ready(domain)
    pool_NM = metric._everyone[:, metric._present]
    spread_M, terms = np.ptp(pool_NM, axis=0), pool_NM.shape[1]
    for values_M, term in itertools.product(pool_NM[:4], range(terms)):
        steps = np.linspace(-3.0, 3.0, 13)[:, None] * np.eye(terms)[term] * spread_M
        totals = metric._pool.normal(values_M + steps) @ metric._weights
        assert (np.diff(totals) > 0).all()


@every_domain
def test_s12_every_weight_may_be_zero(domain):
    on_trial = some(domain)[0]
    for term in TERMS:
        only = DeScore(FAMILIES[domain], pool=4, batch=4, **{name: float(name == term) for name in TERMS})
        reading = only(on_trial)
        assert list(reading.details) == [term, f"{term} in the pool"]
        assert reading.value == pytest.approx(reading.details[f"{term} in the pool"], abs=1e-4)
    for formula in ("sound", "intel"):
        with pytest.raises(ConfigError, match="all weights are 0"):
            DeScore(FAMILIES[domain], formula=formula, expressivity=0, complexity=0, diversity=0, saliency=0)


# --- S13 to S15: every layer once, and nothing is left behind -------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "attention", "others"),
    [("vit", 4 * 1, 1 + 2 * 1), ("bert", 4 * 1, 1 + 2 * 1), ("asr", 4 * 1, 4 + 2 * 1)],
)
def test_s13_every_layer_counts_once(domain, attention, others):
    """Of one layer: queries, keys, values and outputs; two of the feed-forward part; then what stands around."""
    family = FAMILIES[domain]
    on_trial = Candidate(family, family.space.smallest)
    assert Diversity(batch=4)(on_trial).details == {"layers": attention}
    roles = family.roles(on_trial.model)
    assert list(roles.values()).count("attention") == attention
    assert len([role for role in roles.values() if role not in ("attention", "head")]) == others
    pairs, _ = flow(on_trial, "kaiming")
    assert set(pairs) == set(roles)


def test_s13_every_convolution_counts_once():
    family = FAMILIES["cnn"]
    on_trial = Candidate(family, family.space.smallest)
    convolutions = [module for module in on_trial.model.modules() if isinstance(module, nn.Conv2d)]
    assert Diversity(batch=4)(on_trial).details == {"layers": len(convolutions)}


@pytest.mark.slow
@needs_table
def test_s14_correlation_with_trained_accuracy():
    """Without latency, of cells among themselves; `benchmarks/zero_cost.py` prints it beside that of sizes."""
    with np.load(TABLE, allow_pickle=False) as table:
        rows = random.Random(1).sample(range(15625), 40)
        cells, accuracy = [str(table["arch_str"][row]) for row in rows], table["cifar10_test200"][rows]
    family = NasBench201()
    metric = DeScore(family)
    raw_NM = np.array([metric.raw(Candidate(family, parse(cell)))[0] for cell in cells])
    total_N = Pool(raw_NM, oriented=False).normal(raw_NM).sum(axis=1)
    assert spearmanr(total_N, accuracy).statistic > 0.75


@every_domain
def test_s15_the_model_stays_as_it_was(domain):
    on_trial = some(domain)[0]
    before = copy.deepcopy((on_trial.model.state_dict(), on_trial.plain.state_dict()))
    ready(domain)(on_trial)
    for own, old in zip((on_trial.model, on_trial.plain), before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in own.state_dict().items())
        assert not any(module.training or module._forward_hooks for module in own.modules())
        assert all(parameter.grad is None for parameter in own.parameters())


# --- terms that are not there ---------------------------------------------------------------------------------------


def test_what_fails_for_one_network_is_no_zero():
    family = NasBench201(channels=4, cells=1, resolution=8)
    with pytest.raises(MetricError, match=r"no expressivity .* can be computed"):
        DeScore(family, pool=8, batch=4)(Candidate(family, (4, 0, 0, 0, 0, 0)))


def test_an_absent_term_is_said(monkeypatch):
    monkeypatch.setattr(Diversity, "watcher", lambda *_: Absent())
    metric = DeScore(FAMILIES["vit"], pool=4, batch=4)
    assert "absent, since these networks have none: diversity" in told(metric)
    assert not any("diversity" in name for name in metric(some("vit")[0]).details)


class Absent(Watcher):
    def score(self):
        raise MetricError("there is none")


def test_prepare_tells_noise_from_networks():
    assert "deviation over networks in standard errors over draws: expressivity" in told(
        DeScore(FAMILIES["vit"], pool=4, batch=4, repeats=2)
    )


# --- the released formula, latency that is measured -----------------------------------------------------------------


def test_the_released_formula():
    on_trial = some("cnn")[0]
    found = _intel.terms(on_trial, 4)
    reading = DeScore(FAMILIES["cnn"], formula="intel", batch=4, complexity=0.5)(on_trial)
    assert reading.value == found.score(1.0, 0.5, 1.0)
    assert reading.details == vars(found)
    with pytest.raises(MetricError, match="CNNs with BatchNorm"):
        DeScore(FAMILIES["vit"], formula="intel", batch=4)(some("vit")[0])


def test_a_measured_latency_is_measured_for_the_pool_alone():
    calls = []

    class Clock(Seconds):
        exclusive = True

        def __call__(self, candidate, /):
            calls.append(candidate.code)
            return super().__call__(candidate)

    metric = DeScore(FAMILIES["vit"], latency=Clock(), pool=8, expressivity=0, complexity=0, diversity=0)
    metric.prepare()
    measured = len(calls)
    on_trial = some("vit", seed=5)[0]
    reading = metric(on_trial)
    assert len(calls) == measured == 8
    assert reading.details["latency"] == pytest.approx(-math.log(Seconds()(on_trial)), abs=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diversity": -1.0}, "diversity is a weight"),
        ({"saliency": math.nan}, "saliency is a weight"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"pool": 2}, "pool must be at least 4"),
    ],
)
def test_options(options, message):
    with pytest.raises(ConfigError, match=message):
        DeScore(FAMILIES["vit"], **options)


def test_is_a_part(tmp_path):
    metric = parts.make(
        "quality", {"de_score": {"pool": 8}}, {"family": FAMILIES["vit"], "folder": tmp_path, "seed": 0}
    )
    assert parts.spec_of(metric) == {"quality.de_score": {"pool": 8}}
