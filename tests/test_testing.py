"""The checks notice: for every promise, a part that breaks it; and the toys keep theirs."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from hwnas import parts, testing
from hwnas.algorithms.random import Random
from hwnas.candidate import Candidate
from hwnas.data import Split
from hwnas.data._pixels import Pixels
from hwnas.data._splits import fingerprint
from hwnas.errors import MetricError
from hwnas.formats.onnx import Onnx
from hwnas.hardware.macs import Macs
from hwnas.predictors import LEAST, Predictor
from hwnas.predictors.ridge import Ridge
from hwnas.runtimes.torch import TorchRuntime
from hwnas.space import Choice, Space
from hwnas.testing import SPACE, Toy, Untrained
from hwnas.trial import Metric, Reading, Search
from hwnas.weights import Weights

# --- any part --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undescribed(Random):
    """does something"""


class AnyOption(Random):
    """A part that takes whatever it is given."""

    def __init__(self, **options):
        pass


@dataclass
class Thawed(Metric):
    """A part whose options may change."""

    size: int = 1

    def __call__(self, candidate):
        return float(self.size)


@dataclass(frozen=True)
class Gambler(Random):
    """A part that draws when it is built."""

    def __post_init__(self):
        random.random()


# --- families --------------------------------------------------------------------------------------------------------


class Nameless(Toy):
    name = ""


class Modest(Toy):
    buildable = False


class Boastful(Toy):
    def inputs(self, arch, batch, /):
        raise MetricError("there are none")


class Forgetful(Space):
    def encode(self, arch):
        return self.smallest


class Forgotten(Toy):
    space = Forgetful("forgetful", SPACE.choices)


class Lumped(Toy):
    def canonical(self, code):
        return SPACE.smallest


class Scaled(nn.Module):
    """A network whose output is multiplied by whatever `factor` gives at that moment."""

    def __init__(self, body, factor):
        super().__init__()
        self.body, self.factor = body, factor

    def forward(self, x):
        return self.body(x) * self.factor()


class Infinite(Toy):
    def build(self, arch):
        return Scaled(super().build(arch), lambda: math.inf)


class Idle(Toy):
    def build(self, arch):
        net = super().build(arch)
        net.idle = nn.Parameter(torch.zeros(2))
        net.forward = net[:-1].forward
        return net


class Drawn(Toy):
    draws = itertools.count()

    def build(self, arch):
        net = super().build(arch)
        if not net.classifier.bias.is_meta:
            nn.init.constant_(net.classifier.bias, next(self.draws))
        return net


class Shy(Toy):
    """Runs only its stem where no gradients can be asked for, as in the table of layers."""

    def build(self, arch):
        net = super().build(arch)
        whole, part = net.forward, nn.Sequential(*list(net)[:1])
        net.forward = lambda x: part(x) if torch.is_inference_mode_enabled() else whole(x)
        return net


class Numbered(Toy):
    """Every build multiplies by another number, which is no tensor and so is never shared."""

    numbers = itertools.count(1)

    def build(self, arch):
        number = next(self.numbers)
        return Scaled(super().build(arch), lambda: number)

    def supernet(self):
        return self.build(SPACE.decode(SPACE.largest))


class Severed(Toy):
    def crop(self, name, like, big, arch):
        return big[name].detach().clone() if name == "classifier.weight" else None


class Active(Toy):
    """Networks scale by the depth of the one that was built last."""

    depth: ClassVar[list[int]] = [1]

    def build(self, arch):
        self.depth[0] = arch["depth"]
        return Scaled(super().build(arch), lambda: self.depth[0])


# --- metrics ---------------------------------------------------------------------------------------------------------


def judged(candidate):
    return testing.latency(candidate)


class Judge(Metric):
    """A metric that a test turns into a broken one."""

    def __call__(self, candidate):
        return judged(candidate)


class TensorJudge(Judge):
    def __call__(self, candidate):
        return torch.tensor(1.0)


class WordyJudge(Judge):
    def __call__(self, candidate):
        return Reading(1.0, {"what": object()})


class CheapJudge(Judge):
    cheap = "yes"


class Counting(Judge):
    def __init__(self):
        self.count = itertools.count()

    def __call__(self, candidate):
        return float(next(self.count))


class Backwards(Judge):
    def many(self, candidates):
        return [judged(candidate) for candidate in reversed(candidates)]


class Training(Judge):
    def __call__(self, candidate):
        candidate.model.train()
        return judged(candidate)


class Hooking(Judge):
    def __call__(self, candidate):
        candidate.model.register_forward_hook(print)
        return judged(candidate)


class Drawing(Judge):
    def __call__(self, candidate):
        return judged(candidate) + 0 * float(torch.rand(()))


class Writing(Judge):
    def __call__(self, candidate):
        with torch.no_grad():
            candidate.model.classifier.bias.add_(1)
        return judged(candidate)


class Learning(Judge):
    def __call__(self, candidate):
        candidate.model(*candidate.inputs).sum().backward()
        return judged(candidate)


class Seeded(Judge):
    exact = True

    def __call__(self, candidate):
        return judged(candidate) + candidate.seed


class Sum(Judge):
    def __call__(self, candidate):
        return float(sum(parameter.detach().sum() for parameter in candidate.model.parameters()))


class Timeless(Judge):
    def estimate(self, candidate):
        return math.nan


class Unsure(Judge):
    def confirmed(self):
        return TensorJudge()


# --- searches --------------------------------------------------------------------------------------------------------


class Repeating(Random):
    def steps(self, space, goals, rng):
        while True:
            yield [space.sample(rng), space.smallest]


class Raw(Random):
    def steps(self, space, goals, rng):
        seen = set()
        while True:
            code = tuple(int(rng.integers(len(choice.values))) for choice in space.choices)
            if code not in seen:
                seen.add(code)
                yield [code]


class Unseeded(Random):
    def steps(self, space, goals, rng):
        return super().steps(space, goals, np.random.default_rng())


class Waiting(Random):
    """Goes on only after an answer."""

    def steps(self, space, goals, rng):
        search = super().steps(space, goals, rng)
        codes = next(search)
        while True:
            trials = yield codes
            while codes and not trials:
                trials = yield []
            codes = search.send(trials)


class Discouraged(Random):
    """Ends as soon as all of a step fails."""

    def steps(self, space, goals, rng):
        search = super().steps(space, goals, rng)
        codes = next(search)
        while True:
            trials = yield codes
            if trials and all(trial.state == "failed" for trial in trials):
                return
            codes = search.send(trials)


class Impatient(Random):
    """Ends at the first sample that is known."""

    def steps(self, space, goals, rng):
        known = {trial.code for trial in (yield [])}
        while (code := space.sample(rng)) not in known:
            known.add(code)
            yield [code]


class Deaf(Random):
    """Never hears of anything."""

    def steps(self, space, goals, rng):
        known = set()
        while len(known) < space.size:
            code = space.sample(rng)
            if code not in known:
                known.add(code)
                yield [code]


class Choosy(Random):
    """Ends unless there are two goals."""

    def steps(self, space, goals, rng):
        if len(goals) == 2:
            yield from super().steps(space, goals, rng)
        else:
            yield []


class Boundless(Random):
    """Takes whatever it is given, and says that it does not."""

    def objectives(self):
        return (2, 3)


class Global(Random):
    def steps(self, space, goals, rng):
        random.random()
        return super().steps(space, goals, rng)


class Ordered(Random):
    """Counts up, beginning with the smallest networks."""

    def steps(self, space, goals, rng):
        yield from ([code] for code in space.codes())


# --- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures(Pixels):
    """Noise with labels, kept as it should be."""

    seed_of_noise: int = 0

    name: ClassVar[str] = "pictures"
    classes: ClassVar[Sequence[str]] = ("cat", "dog")

    @property
    def fingerprint(self):
        return fingerprint(self.seed_of_noise)

    def _read(self, part):
        rng = np.random.default_rng([self.seed_of_noise, len(part), ord(part[-1])])
        images = torch.from_numpy(rng.integers(256, size=(8, 3, 4, 4), dtype=np.uint8))
        return Split(images, torch.arange(8) % 2)


class Floating(Pictures):
    def _read(self, part):
        split = super()._read(part)
        return Split(split.inputs.float(), split.labels)


class Sizeless(Pictures):
    """Says only how many classes there are."""

    @property
    def facts(self):
        return {"classes": 2}


class Stubborn(Pictures):
    """Gives all networks the same images."""

    def ready(self, inputs, like):
        return super().ready(inputs, inputs)


class Restive(Pictures):
    """Varies what should stay as it is."""

    def varied(self, inputs, rng, strength):
        return super().varied(inputs, rng, strength + 1)


class Leaking(Pictures):
    def _read(self, part):
        return super()._read("train")


class Restless(Pictures):
    def _read(self, part):
        return Pictures(random.SystemRandom().randrange(2**32)).split(part)


@dataclass(frozen=True)
class Scribbling(Pictures):
    """Writes as soon as it is read."""

    folder: Path = Path()

    def _read(self, part):
        (self.folder / part).touch()
        return super()._read(part)


@dataclass(frozen=True)
class Confused(Pictures):
    """Finds other splits once some were kept."""

    folder: Path = Path()

    def keep(self):
        (self.folder / "kept").touch()

    def _read(self, part):
        return super()._read(part[::-1] if (self.folder / "kept").exists() else part)


class Constant(Pictures):
    fingerprint = "0" * 16


class Centred(Pictures):
    mean = (0.5, 0.5, 0.5)


# --- weights ---------------------------------------------------------------------------------------------------------


class Lacking(Untrained):
    def tensors(self):
        return dict(list(super().tensors().items())[1:])


class Dear(Untrained):
    def estimate(self):
        return 1.0


class SeedlessWeights(Untrained):
    fingerprint = "0" * 16


@dataclass(frozen=True)
class Stepped(Weights):
    """Four steps, each of which is kept. What was kept is taken for finished, however far it went."""

    folder: Path
    family: Toy = dataclasses.field(default_factory=Toy)

    fingerprint: ClassVar[str] = "0" * 16

    @property
    def _file(self):
        return self.folder / "tensors.pt"

    def tensors(self):
        return torch.load(self._file)

    def estimate(self):
        return 0.0

    def prepare(self, watch=testing.silent, /):
        if self._file.exists():
            return
        tensors = dict(Untrained(self.family).tensors())
        for step in range(4):
            tensors["classifier.bias"] = torch.full((10,), float(step))
            torch.save(tensors, self._file)
            watch(testing.Progress("steps", step, 4))


# --- runtimes and formats --------------------------------------------------------------------------------------------


class Loud(TorchRuntime):
    def load(self, model, inputs, threads):
        torch.rand(())
        return super().load(model, inputs, threads)


class Unversioned(TorchRuntime):
    version = "latest"


class Trusting(TorchRuntime):
    def open(self, path, inputs, threads):
        return self.load(nn.Identity(), inputs, threads)


class Wrong(Onnx):
    def outputs(self, path, inputs):
        return [output + 0.1 for output in super().outputs(path, inputs)]


class Mute(Onnx):
    def metadata(self, path):
        return {}


class Sloppy(Onnx):
    def write(self, model, inputs, path, metadata):
        path.write_bytes(b"draft")
        super().write(model, inputs, path, metadata)


# --- predictors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guess(Predictor):
    """Ridge regression whose fit a subclass spoils."""

    def fit(self, space, codes_NG, values_N, rng, /):
        return self.spoilt(Ridge().fit(space, codes_NG, values_N, rng), rng)


class Reversed(Guess):
    """Predicts the opposite of what it knows."""

    def spoilt(self, fitted, rng):
        mean = fitted.mean
        fitted.mean = lambda codes_NG: -mean(codes_NG)
        return fitted


class Confident(Guess):
    """Tells of values held out what it knew of them."""

    def spoilt(self, fitted, rng):
        fitted.held_out = fitted.held_out * 0 + 1e6
        return fitted


class Attentive(Guess):
    """Looks at choices that do not matter."""

    def spoilt(self, fitted, rng):
        mean = fitted.mean
        fitted.mean = lambda codes_NG: mean(codes_NG) + codes_NG.sum(axis=1)
        return fitted


class Moody(Guess):
    """Draws from the generator of all."""

    def spoilt(self, fitted, rng):
        np.random.random()  # noqa: NPY002  # that is what is wrong with it
        return fitted


class Fickle(Guess):
    """Predicts something else with every fit."""

    fits: ClassVar[itertools.count] = itertools.count()

    def spoilt(self, fitted, rng):
        mean, shift = fitted.mean, 1e-6 * next(self.fits)
        fitted.mean = lambda codes_NG: mean(codes_NG) + shift
        return fitted


class Timid(Guess):
    """Draws hardly scatter, whatever the spread says."""

    def spoilt(self, fitted, rng):
        spread = fitted.spread
        fitted.spread = lambda codes_NG: 10 * spread(codes_NG)
        return fitted


class Needy(Guess):
    """Wants more than the least number of values."""

    def spoilt(self, fitted, rng):
        fitted.held_out = fitted.held_out[:-1] if len(fitted.held_out) == LEAST else fitted.held_out
        return fitted


class Zero(Guess):
    """Draws equal values towards zero."""

    def spoilt(self, fitted, rng):
        mean, share = fitted.mean, 1.0 if np.ptp(fitted.held_out) else 0.5
        fitted.mean = lambda codes_NG: share * mean(codes_NG)
        return fitted


BROKEN = [
    (testing.is_described, Undescribed(), "begins with no sentence"),
    (testing.names_its_options, AnyOption(), "misspelt options would pass"),
    (testing.is_frozen, Thawed(), "no frozen dataclass"),
    (testing.travels_as_a_spec, Undescribed(), "no spec"),
    (testing.does_no_work_when_built, Gambler(), "the random state of Python"),
    (testing.has_a_name, Nameless(), "needs a name"),
    (testing.builds_or_says_so, Modest(), "says that it builds no networks"),
    (testing.builds_or_says_so, Boastful(), "refuses the smallest network: there are none"),
    (testing.codes_round_trip, Forgotten(), "comes back as"),
    (testing.canonical_codes_build_the_same, Lumped(), "computes something else"),
    (testing.networks_run, Infinite(), "not finite"),
    (testing.parameters_learn, Idle(), "is not used"),
    (testing.builds_repeatably, Drawn(), "differs from build to build"),
    (testing.layers_add_up, Shy(), "its network uses"),
    (testing.shared_weights_are_the_networks_own, Numbered(), "computes something else when it is taken out"),
    (testing.gradients_stay_in_their_slices, Severed(), "lets no gradient come back"),
    (testing.gradients_stay_in_their_slices, Numbered(), "another gradient"),
    (testing.nothing_is_secretly_active, Active(), "disturb one another"),
    (testing.judges, TensorJudge(), "no float"),
    (testing.judges, WordyJudge(), "cannot be recorded"),
    (testing.describes_itself, CheapJudge(), "`cheap`"),
    (testing.repeats_itself, Counting(), "in another order"),
    (testing.judges_many_as_one_by_one, Backwards(), "single calls give"),
    (testing.leaves_things_as_found, Training(), "training of model"),
    (testing.leaves_things_as_found, Hooking(), "_forward_hooks of model"),
    (testing.leaves_things_as_found, Drawing(), "the random state of torch"),
    (testing.leaves_things_as_found, Writing(), "classifier.bias of model"),
    (testing.leaves_things_as_found, Learning(), "weight.grad of model"),
    (testing.is_exact_if_it_says_so, Seeded(), "several exact values"),
    (testing.never_gives_nan, Sum(), "judged nan"),
    (testing.offers_what_it_offers, Timeless(), "take nan s"),
    (testing.offers_what_it_offers, Unsure(), "no float"),
    (testing.asks_canonical_codes_once, Repeating(), "twice"),
    (testing.asks_canonical_codes_once, Raw(), "not canonical"),
    (testing.replays, Unseeded(), "a replay asks for other networks"),
    (testing.more_budget_goes_on, Unseeded(), "it begins otherwise"),
    (testing.survives_lost_answers, Waiting(), "of the answers it stops"),
    (testing.survives_failures, Discouraged(), "if everything fails it stops"),
    (testing.uses_up_small_spaces, Impatient(), "it leaves out"),
    (testing.finds_what_is_hardly_ever_sampled, Impatient(), "it finds"),
    (testing.knows_what_it_is_told, Deaf(), "warm start"),
    (testing.needs_nothing_where_all_is_known, Deaf(), "all is known"),
    (testing.takes_the_goals_that_fit, Choosy(), "with the goals"),
    (testing.takes_the_goals_that_fit, Boundless(), "it takes 2 to 3 objectives"),
    (testing.leaves_randomness_alone, Global(), "the random state of Python"),
    (testing.keeps_to_the_budget, Unseeded(), "does not repeat itself"),
    (testing.beats_random, Ordered(), "random search finds"),
    (testing.splits_hold_labelled_inputs, Floating(), "float32 with 4 axes"),
    (testing.knows_facts_for_families, Sizeless(), "tell nothing of the inputs' sizes"),
    (testing.splits_are_disjoint, Leaking(), "in train and in val"),
    (testing.splits_are_stable, Restless(), "the splits differ"),
    (testing.keeps_its_splits_when_asked, Scribbling(), "leaves files"),
    (testing.keeps_its_splits_when_asked, Confused(), "not what is found again"),
    (testing.the_fingerprint_tells, Constant(), "'seed_of_noise' leaves the fingerprint"),
    (testing.makes_inputs_ready, Stubborn(), "an input becomes"),
    (testing.varies_inputs_as_asked, Restive(), "strength 0 varies"),
    (testing.moments_are_those_of_train, Centred(), "the mean is"),
    (testing.weights_fit_the_family, Lacking(Toy()), "not the supernet's"),
    (testing.weights_are_kept, Dear(Toy()), "before anything was prepared"),
    (testing.the_fingerprint_tells_of_weights, SeedlessWeights(Toy()), "another seed"),
    (testing.interrupted_weights_go_on, Stepped(Path()), "it ends otherwise"),
    (testing.ranks_what_it_has_not_seen, Reversed(), "a Kendall tau of -"),
    (testing.ranks_what_it_has_not_seen, Confident(), "its held-out predictions by"),
    (testing.sees_active_choices_only, Attentive(), "inactive choices change"),
    (testing.predicts_repeatably, Moody(), "the random state of NumPy"),
    (testing.predicts_repeatably, Fickle(), "the same seed gives other predictions"),
    (testing.draws_scatter_around_the_mean, Timid(), "times as widely as the spread says"),
    (testing.takes_little_and_equal_values, Needy(), "holds out another number"),
    (testing.takes_little_and_equal_values, Zero(), "all values are 7"),
    (testing.loads_and_runs, Loud(), "the random state of torch"),
    (testing.names_its_version, Unversioned(), "a name and a number"),
    (testing.opens_files_or_says_why_not, Trusting(), "as if it were a network"),
    (testing.computes_the_same, Wrong(), "computes something else"),
    (testing.keeps_metadata, Mute(), "come back as"),
    (testing.writes_whole_files_or_none, Sloppy(), "leaves something behind"),
]
ELSEWHERE = {"rejects_unknown_options", "ignores_the_hash_seed"}
"""Checks that take more than a part to fail; see below."""


@pytest.mark.parametrize(
    ("check", "part", "told"),
    [pytest.param(*case, id=f"{case[0].__name__}-{type(case[1]).__name__}") for case in BROKEN],
)
def test_a_broken_promise_is_noticed(check, part, told):
    with pytest.raises(AssertionError, match=told):
        check(part)


def test_every_check_is_seen_to_fail():
    checks = {check.__name__ for folder in testing._PROMISES.values() for check in (*testing.PART, *folder)}
    assert {check.__name__ for check, *_ in BROKEN} | ELSEWHERE == checks


def test_options_that_nobody_checks_are_noticed(monkeypatch):
    monkeypatch.setattr(parts, "make", lambda *_: None)
    with pytest.raises(AssertionError, match="takes the unknown option 'batch_'"):
        testing.rejects_unknown_options(Random())


HASHED = '''
from dataclasses import dataclass
from hwnas.algorithms import Search

__all__ = ["Hashed"]

@dataclass(frozen=True)
class Hashed(Search):
    """Asks in the order of a set of words."""

    def steps(self, space, goals, rng):
        codes = {str(space.at(number)): space.at(number) for number in range(500)}
        for word in set(codes):
            yield [codes[word]]
'''


def test_the_order_of_a_set_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "hashed.py").write_text(HASHED)
    monkeypatch.syspath_prepend(tmp_path)
    search = parts.make("algorithms", "elsewhere.hashed")
    testing.check_part(search)
    with pytest.raises(AssertionError, match="the order of a set"):
        testing.ignores_the_hash_seed(search)


# --- what keeps its promises -----------------------------------------------------------------------------------------


def test_the_toys_keep_theirs():
    testing.check_family(Toy())
    testing.check_weights(Untrained(Toy()))
    testing.check_data(Pictures())
    for metric in (testing.accuracy, Judge()):
        testing.check_metric(metric)
    testing.check_metric(Macs(), [Candidate(Toy(classes=3), SPACE.largest, seed=5)])


def test_all_promises_of_a_part_at_once():
    testing.check(Random(batch=5))
    testing.check_search(Random(batch=5))
    testing.check(TorchRuntime())
    testing.check_runtime(TorchRuntime())
    testing.check_format(Onnx())
    testing.check_predictor(Ridge())
    with pytest.raises(AssertionError, match="no frozen dataclass"):
        testing.check(Thawed())
    with pytest.raises(AssertionError, match="inherits from no protocol"):
        testing.check(object())


def test_a_family_may_compute_what_it_lends():
    class Mixing(Toy):
        """Small kernels are the centre of large ones times a matrix of their own."""

        def supernet(self):
            net = super().supernet()
            net.mix = nn.Parameter(torch.eye(9))
            return net

        def crop(self, name, like, big, arch):
            if like.shape[2:] != (3, 3) or big[name].shape[2:] != (7, 7):
                return None
            small = big[name][: like.shape[0], : like.shape[1], 2:5, 2:5]
            return (small.reshape(-1, 9) @ big["mix"]).reshape(like.shape)

    testing.gradients_stay_in_their_slices(Mixing())
    testing.shared_weights_are_the_networks_own(Mixing())


def test_an_example_says_how_it_is_built(tmp_path):
    @dataclass(frozen=True)
    class Small(Search):
        """A search with an option that needs a nested part."""

        family: Toy
        metric: Metric
        size: tuple[int, ...] = (1,)

        tiny: ClassVar[dict[str, object]] = {"metric": "macs", "size": [2, 3]}

    assert testing.example(Small, tmp_path) == Small(Toy(), Macs(), (2, 3))
    space = Space("one", (Choice("only", (1,)),))
    with pytest.raises(AssertionError, match="holds one network"):
        testing.has_a_name(type("One", (Toy,), {"space": space})())
