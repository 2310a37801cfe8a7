import gc
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas import parts
from hwnas.candidate import Candidate, Family
from hwnas.errors import ConfigError, ExportError
from hwnas.hardware import Reading, _device
from hwnas.hardware.measured import Measured, _Times, interval
from hwnas.runtimes import Runtime, Session
from hwnas.runtimes.torch import TorchRuntime
from hwnas.space import Arch, Choice, Space


class Fourier(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real


@dataclass(frozen=True)
class Toys(Family):
    """Small perceptrons, one operator that no file can express, and one network that cannot be built."""

    name = "toys"
    space = Space("toys", (Choice("kind", ("small", "large", "fourier", "unbuildable")),))

    def build(self, arch: Arch, /) -> nn.Module:
        networks = {
            "small": lambda: nn.Linear(64, 8),
            "large": lambda: nn.Sequential(*(nn.Linear(width, 1024) for width in (64, 1024, 1024, 1024))),
            "fourier": Fourier,
        }
        return networks[str(arch["kind"])]()

    def inputs(self, arch: Arch, batch: int, /) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 64),)


SMALL, LARGE, FOURIER, UNBUILDABLE = (Candidate(Toys(), (kind,)) for kind in range(4))
QUICK = Measured(seconds=0.02, repeats=(8, 40))


def check(reading: Reading, metric: Measured) -> None:
    details = reading.details
    assert 0 < reading.value < math.inf
    assert 0 < details["low"] <= reading.value <= details["high"] < math.inf
    assert 0 < details["min"] <= details["p05"] <= details["p50"] <= details["p95"] < math.inf
    assert 0 <= details["spread"] < math.inf
    assert details["cpu"] >= 0
    assert metric.repeats[0] <= details["repeats"] <= metric.repeats[1]
    assert isinstance(details["disturbed"], bool)
    assert (details["threads"], details["batch"], details["rounds"]) == (metric.threads, metric.batch, metric.rounds)
    assert details["runtime"] == metric.runtime.version
    assert json.loads(json.dumps(details)) == details


@pytest.mark.parametrize(
    "metric",
    [
        QUICK,
        Measured(seconds=1e-6),
        Measured(seconds=60.0, repeats=(9, 10), runtime=TorchRuntime(), batch=3, threads=2),
    ],
    ids=["in between", "fewest", "most"],
)
def test_a_reading_is_complete_and_keeps_the_bounds(metric: Measured) -> None:
    threads = torch.get_num_threads()
    reading = metric(SMALL)
    check(reading, metric)
    expected = {QUICK.seconds: None, 1e-6: 8, 60.0: 10}[metric.seconds]
    assert expected in (None, reading.details["repeats"])
    assert torch.get_num_threads() == threads
    assert gc.isenabled()


def test_it_says_that_it_needs_a_quiet_machine_and_counts_seconds() -> None:
    assert Measured.exclusive is True
    assert Measured.unit == "s"


def test_three_million_weights_take_longer_than_five_hundred() -> None:
    small, large = QUICK.many([SMALL, LARGE])
    assert isinstance(small, Reading)
    assert isinstance(large, Reading)
    assert small.value < large.value
    assert small.details["bytes"] < large.details["bytes"]


def test_many_keeps_the_order_and_fails_alone() -> None:
    results = QUICK.many([UNBUILDABLE, LARGE, FOURIER, SMALL])
    assert [type(result) for result in results] == [KeyError, Reading, ExportError, Reading]
    for result in results[1::2]:
        assert isinstance(result, Reading)
        check(result, QUICK)
    assert results[1].details["bytes"] > results[3].details["bytes"]  # type: ignore[union-attr]
    assert QUICK.many([]) == []


def test_a_single_candidate_that_fails_raises() -> None:
    with pytest.raises(ExportError, match="fft"):
        QUICK(FOURIER)


@dataclass
class Scripted(Session):
    """A session that writes down every call and fails at one of them."""

    name: int
    calls: list[int]
    fails_at: int | None = None
    size: int = 2**28

    def __call__(self) -> None:
        self.calls.append(self.name)
        if self.calls.count(self.name) == self.fails_at:
            raise RuntimeError(f"out of memory in {self.name}")


class Script(Runtime):
    """A runtime that hands out scripted sessions, one for each candidate."""

    version = "script 1"

    def __init__(self, fails_at: tuple[int | None, ...]) -> None:
        self.calls: list[int] = []
        self.sessions = [Scripted(name, self.calls, fails) for name, fails in enumerate(fails_at)]

    def load(self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        return next(self._loading)

    def open(self, path: Path, inputs: tuple[Tensor, ...], threads: int, /) -> Session:
        raise ExportError("no files")

    def restart(self) -> "Script":
        self.calls.clear()
        self._loading = iter(self.sessions)
        return self


def test_networks_take_turns_in_random_order_that_is_the_same_next_time() -> None:
    script = Script((None, None))
    metric = Measured(seconds=1e-6, repeats=(8, 8), runtime=script, threads=2)
    orders = []
    for _ in range(2):
        script.restart()
        assert all(isinstance(result, Reading) for result in metric.many([SMALL, SMALL]))
        orders.append(tuple(script.calls))
    # 5 or more passes to warm up, then 8 rounds of one untimed and one timed pass: each round has both networks
    tail = orders[0][-32:]
    rounds = [tail[start : start + 4] for start in range(0, 32, 4)]
    assert {tuple(sorted(turn)) for turn in rounds} == {(0, 0, 1, 1)}
    assert {turn[0] for turn in rounds} == {0, 1}
    assert orders[0][-32:] == orders[1][-32:]


def test_a_network_that_breaks_between_rounds_fails_alone() -> None:
    metric = Measured(seconds=1e-6, runtime=Script((None, 12)).restart(), threads=2)
    fine, broken = metric.many([SMALL, SMALL])
    assert isinstance(fine, Reading)
    assert isinstance(broken, RuntimeError)
    assert "out of memory in 1" in str(broken)


def test_memory_bounds_how_many_take_turns() -> None:
    script = Script((None,) * 4).restart()
    Measured(seconds=1e-6, repeats=(8, 8), runtime=script, threads=2).many([SMALL] * 4)
    last = {name: len(script.calls) - script.calls[::-1].index(name) for name in range(4)}
    assert max(last[0], last[1], last[2]) <= script.calls.index(3)  # 3 * 256 MB are beyond the 512 MB held at once


def test_a_disturbed_network_is_measured_again_and_the_quietest_attempt_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, cpu, ratios = 0.0, 0.0, iter((3.0, 1.5, 2.0))
    ratio = next(ratios)

    class Slept(Scripted):
        def __call__(self) -> None:
            nonlocal wall, cpu
            self.calls.append(0)
            cpu += 1.0
            wall += ratio

    def rounds(metric: Measured, *arguments: object) -> object:
        nonlocal ratio
        taken = original(metric, *arguments)  # type: ignore[arg-type]
        ratio = next(ratios, 9.0)
        return taken

    original = Measured._rounds
    monkeypatch.setattr(Measured, "_rounds", rounds)
    monkeypatch.setattr("hwnas.hardware.measured.perf_counter", lambda: wall)
    monkeypatch.setattr("hwnas.hardware.measured.process_time", lambda: cpu)
    script = Script((None,))
    script.sessions = [Slept(0, script.calls)]
    reading = Measured(seconds=1e-6, runtime=script.restart())(SMALL)
    assert reading.value == 1.5
    assert reading.details["disturbed"] is True
    assert reading.details["cpu"] == 1.0
    assert ratio == 9.0  # one attempt and two more, no fourth


def test_with_several_threads_nothing_counts_as_disturbed() -> None:
    idle = _Times(walls=[[3.0]], cpus=[1.0])
    assert idle.busy == 3.0
    assert Measured()._disturbed(idle)
    assert not Measured(threads=2)._disturbed(idle)
    assert _Times(walls=[[3.0]], cpus=[0.0]).busy == 1.0  # a clock that is too coarse proves nothing


def test_confirming_takes_three_times_the_care() -> None:
    sure = Measured(threads=2).confirmed()
    assert sure == Measured(threads=2, seconds=0.3 * 3, rounds=24, repeats=(24, 1200))


def test_noise_is_a_share_that_is_finite() -> None:
    noise = Measured(seconds=0.005).noise(SMALL, passes=3)
    assert 0 <= noise < math.inf
    with pytest.raises(ValueError, match="2 passes"):
        Measured().noise(SMALL, passes=1)


def test_an_estimate_counts_at_least_the_timed_passes() -> None:
    assert 0.3 < Measured().estimate(SMALL) < math.inf


def test_the_interval_of_the_median_agrees_with_published_tables() -> None:
    # ranks for 95 % (Conover, Practical Nonparametric Statistics): n = 10: 2 and 9; n = 20: 6 and 15; n = 100: 40, 61
    for count, ranks in ((6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))):
        assert interval(np.random.default_rng(0).permutation(np.arange(1, count + 1)).tolist()) == ranks
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert interval([2.0]) == (2.0, 2.0)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = [low <= 0 <= high for low, high in (interval(rng.standard_normal(24).tolist()) for _ in range(2000))]
    assert 0.95 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"batch": 0},
        {"warmup": 0},
        {"rounds": 0},
        {"seconds": 0.0},
        {"seconds": math.inf},
        {"repeats": [9, 8]},
        {"repeats": [4, 100]},
        {"device": "pixel6"},
        {"runtime": "onnxruntimes"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(options)))):
        parts.make("hardware", {"measured": options})


def test_it_is_made_from_a_spec_and_gives_it_back() -> None:
    spec = {"hardware.measured": {"runtime": {"runtimes.torch": {}}, "threads": 2, "repeats": (8, 20)}}
    metric = parts.make(("quality", "hardware"), spec, given={"device": _device.load("local")})
    assert metric == Measured(device=_device.load("local"), runtime=TorchRuntime(), threads=2, repeats=(8, 20))
    assert parts.spec_of(metric) == spec
    assert parts.make("hardware", {"measured": {"device": "local"}}) == Measured()


def test_importing_it_loads_neither_torch_nor_a_runtime() -> None:
    lines = "import sys, hwnas.hardware.measured; assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", lines], check=True)


def test_every_device_that_comes_along_is_valid() -> None:
    assert "local" in _device.known()
    for name in _device.known():
        device = _device.load(name)
        assert device.name == name
        assert device.description
    assert set(_device.load("local").runtimes) == {"onnxruntime", "torch"}


def test_a_device_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text("description: on my desk\nruntimes: [onnxruntime]\nthreads: 4\n")
    assert _device.load(path) == _device.Device("board", "on my desk", ("onnxruntime",), 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread: 4", r"board\.yaml: unknown key 'thread'; did you mean 'threads'"),
        ("threads: four", r"board\.yaml\.threads: 'four'"),
        ("threads: 0", "threads of 1 or more"),
        ("runtimes: [onnxruntim]", "did you mean 'onnxruntime'"),
        ("- a", "`key: value`"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_device_file_is_answered_with_what_is_right(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        _device.load(path)


def test_unknown_devices_and_files() -> None:
    with pytest.raises(ConfigError, match="did you mean 'local'"):
        _device.load("locl")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        _device.load("nowhere.yaml")


def test_this_machine_is_described_for_the_record() -> None:
    facts = _device.detect()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert facts["memory"] is None or facts["memory"] > 2**20
    assert set(facts["runtimes"]) >= {"onnxruntime", "torch"}
    assert json.loads(json.dumps(facts)) == facts
