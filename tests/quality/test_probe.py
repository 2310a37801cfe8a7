import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.candidate import Candidate, Family
from hwnas.errors import MetricError
from hwnas.families.nasbench201 import NasBench201
from hwnas.quality import _probe
from hwnas.quality._probe import Proxy, Setting, Watcher, scores
from hwnas.quality._untrained import untrained, weighted
from hwnas.quality.naswot import Naswot
from hwnas.space import Choice, Space

SMALL = NasBench201(channels=4, cells=1, resolution=8)
FULL = Candidate(SMALL, (4, 4, 4, 4, 4, 4))


@dataclasses.dataclass(frozen=True)
class Watched(Proxy):
    """A proxy that keeps whatever it is shown."""

    seen: Watcher
    own: tuple[Setting, ...] = (Setting(batch=3),)

    def settings(self):
        return self.own

    def watcher(self, candidate, /):
        return self.seen


class Everything(Watcher):
    def __init__(self):
        self.kept = {"activation": [], "module": [], "block": [], "finished": [], "transport": []}
        self.kept["weights"], self.kept["calls"], self.kept["inputs"] = {}, (), ()

    def activation(self, z):
        self.kept["activation"].append(z)

    def module(self, name, module, output):
        self.kept["module"].append((name, output))

    def block(self, place, features):
        self.kept["block"].append((place, features))

    def finished(self, setting, output):
        self.kept["finished"].append((setting, output))

    def weights(self, pairs):
        self.kept["weights"] = pairs

    def calls(self, calls):
        self.kept["calls"] = calls

    def inputs(self, slopes):
        self.kept["inputs"] = slopes

    def transport(self, place, sent, received):
        self.kept["transport"].append((place, sent, received))

    def score(self):
        return 1.0


class Logits(Watcher):
    def finished(self, setting, output):
        self.output = output

    def score(self):
        return float(self.output.sum())


def watch(setting=None, candidate=FULL):
    seen = Everything()
    (result,) = scores(candidate, [Watched(seen, (setting or Setting(batch=3),))])
    if isinstance(result, MetricError):
        raise result
    return seen.kept


def reference(setting, norm=None):
    """The same pass by plain means: the module itself with the drawn weights, in training mode."""
    model = SMALL.build(FULL.arch).train()
    model.load_state_dict(untrained(FULL, setting.init))
    return model, _probe.noise(FULL, setting)[0]


# --- the pass is the network's own ----------------------------------------------------------------------------------


def test_gradients_are_those_of_autograd():
    setting = Setting(batch=3)
    kept = watch(setting)
    model, x = reference(setting)
    output = model(x)
    F.cross_entropy(output, _probe.labels(FULL, output)).backward()
    own = dict(model.named_parameters())
    assert list(kept["weights"]) == weighted(model)
    for name, (weight, slope) in kept["weights"].items():
        assert torch.equal(weight, own[name].detach())
        assert torch.allclose(slope, own[name].grad, rtol=1e-4, atol=1e-7)


def test_input_gradients_are_those_of_autograd():
    setting = Setting(batch=3, objective="sum")
    (slope,) = watch(setting)["inputs"]
    model, x = reference(setting)
    (expected,) = torch.autograd.grad(model(x.requires_grad_()).sum(), x)
    assert torch.allclose(slope, expected, rtol=1e-3, atol=1e-5)


def test_samples_do_not_meet_under_instance_norm():
    together = watch(Setting(batch=3, norm="instance"))["finished"][0][1]
    model, x = reference(Setting(batch=3))
    assert torch.allclose(together, torch.cat([model(x[i : i + 1]) for i in range(3)]), rtol=1e-4, atol=1e-5)


def test_frozen_statistics_change_gradients_and_not_values():
    frozen, trained = watch(Setting(batch=3, norm="frozen")), watch(Setting(batch=3))
    assert torch.allclose(frozen["finished"][0][1], trained["finished"][0][1], rtol=1e-4, atol=1e-5)
    name = next(iter(frozen["weights"]))
    assert not torch.allclose(frozen["weights"][name][1], trained["weights"][name][1], rtol=1e-2)


def test_a_weight_gradient_is_the_sum_of_its_calls():
    kept = watch(Setting(batch=3, norm="instance", objective="sum", double=True))
    linear = next(call for call in kept["calls"] if isinstance(call.module, nn.Linear))
    assert torch.allclose(linear.slope.T @ linear.input, kept["weights"][f"{linear.name}.weight"][1])


def test_blocks_are_stem_cells_and_reductions():
    benchmark = Candidate(NasBench201(resolution=8, channels=4), (1, 1, 1, 1, 1, 1))
    names = benchmark.family.blocks(benchmark.model)
    assert len(names) == 18 and names[0] == "stem" and names[1] == "stage1.0" and names[6] == "reduction1"
    kept = watch()
    assert [place for place, _ in kept["block"]] == list(range(6))
    assert [place for place, *_ in kept["transport"]] == [5, 4, 3, 2, 1]


def test_transport_is_the_vector_jacobian_product_of_one_block():
    setting = Setting(batch=3, double=True)
    kept = watch(setting)
    model, _ = reference(setting)
    model.double()
    before = kept["block"][0][1].requires_grad_()
    place, sent, received = kept["transport"][-1]
    (expected,) = torch.autograd.grad(model.stage1[0](before), before, sent)
    assert place == 1 and set(sent.unique().tolist()) == {-1.0, 1.0}
    assert torch.allclose(received, expected, rtol=1e-8)


def test_zoom_enlarges_images_where_networks_take_them():
    assert _probe.noise(FULL, Setting(batch=1, zoom=2))[0].shape == (1, 3, 16, 16)


def test_other_parts_are_other_inputs():
    one, two = (_probe.noise(FULL, Setting(batch=3, part=part))[0] for part in (0, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, FULL.batch(3)[0])


# --- sharing --------------------------------------------------------------------------------------------------------


def test_scores_that_agree_share_one_pass(monkeypatch):
    passes = []
    real = _probe.functional_call
    monkeypatch.setattr(_probe, "functional_call", lambda *args: passes.append(1) or real(*args))
    alone = Naswot(batch=3)(FULL)
    assert len(passes) == 1
    both = scores(
        FULL, [Naswot(batch=3), Watched(Logits()), Watched(Everything(), (Setting(batch=3, objective="sum"),))]
    )
    assert len(passes) == 2 and both[0] == pytest.approx(alone, rel=1e-6)


def test_a_score_that_fails_leaves_the_others():
    class Failing(Watcher):
        def activation(self, z):
            raise MetricError("not this one")

    failed, fine = scores(FULL, [Watched(Failing()), Watched(Logits())])
    assert isinstance(failed, MetricError) and isinstance(fine, float)


def test_what_two_networks_have_in_common_is_drawn_alike():
    other = Candidate(SMALL, (4, 4, 4, 4, 4, 0))
    one, two = untrained(FULL, "kaiming"), untrained(other, "kaiming")
    common = set(weighted(FULL.model)) & set(weighted(other.model))
    assert common and all(torch.equal(one[name], two[name]) for name in common)
    again = dataclasses.replace(FULL, seed=1)
    assert not any(torch.equal(one[name], untrained(again, "kaiming")[name]) for name in common)


# --- what has no score ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
def test_a_network_without_a_path_has_no_score(batch):
    with pytest.raises(MetricError, match="no path leads"):
        watch(Setting(batch=batch), Candidate(SMALL, (4, 0, 0, 0, 0, 0)))


def test_an_infinite_score_is_an_error():
    class Infinite(Watcher):
        def score(self):
            return float("inf")

    (result,) = scores(FULL, [Watched(Infinite())])
    assert isinstance(result, MetricError)


@dataclasses.dataclass(frozen=True)
class One(Family):
    """A family of one network."""

    made: type
    name = "one"
    space = Space("one", (Choice("depth", (1,)),))

    def build(self, arch, /):
        return self.made()

    def inputs(self, arch, batch, /):
        return (torch.randn(batch, 4),)


def test_activations_in_place_leave_what_was_seen():
    def made():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))

    kept = watch(candidate=Candidate(One(made), (0,)))
    assert (kept["activation"][0] < 0).any()
    assert torch.equal(kept["calls"][0].output, kept["activation"][0])


def test_layers_called_by_name_and_normalisations_before_the_first_weight_are_seen():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.layer = nn.LayerNorm(4), nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(input=self.norm(x))

    kept = watch(Setting(batch=3, objective="sum"), Candidate(One(Named), (0,)))
    norm, layer = kept["calls"]
    assert torch.equal(layer.input, norm.output)
    assert torch.allclose(norm.slope, layer.module.weight.new_ones(3, 2) @ kept["weights"]["layer.weight"][0])


def test_networks_without_weights_have_no_gradients():
    kept = watch(candidate=Candidate(One(nn.Identity), (0,)))
    assert kept["weights"] == {} and kept["calls"] == [] and kept["inputs"][0].shape == (3, 4)


def test_a_judgement_is_estimated_from_the_size_without_building(monkeypatch):
    small, large = Candidate(SMALL, SMALL.space.smallest), Candidate(SMALL, SMALL.space.largest)
    monkeypatch.setattr(_probe, "_seconds_per_mac", lambda: 1e-9)
    macs = sum(layer.macs for layer in large.layers)
    assert Naswot(batch=8).estimate(large) == pytest.approx(macs * 8 * 4 * 1e-9)
    assert 0 < Naswot(batch=8).estimate(small) < Naswot(batch=8).estimate(large)
    assert "model" not in vars(large)
