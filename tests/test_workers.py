"""Workers: every code comes back exactly once, with a value or with a reason, whatever a metric does to its process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

import toys
from hwnas.candidate import Candidate
from hwnas.errors import ConfigError, Interrupted, MetricError, SearchError
from hwnas.trial import Reading
from hwnas.workers import TOGETHER, Bench, Here, Job, Pool, Setup

CODES = tuple(toys.SPACE.at(index) for index in range(0, 1800, 150))
WORDS = [toys.word(code) for code in CODES]
FIRST, SECOND, THIRD, *_ = CODES


def setup(**options):
    return Setup(**{"family": "toy_parts.toy", "threads": 1, **options})


@pytest.fixture(scope="module")
def shared_pool(toy_parts):
    """Starting processes is the slow part of these tests, so most of them share one pool."""
    pool = Pool(setup(), 3)
    yield pool
    pool.close()


@pytest.fixture(params=["here", "pool"])
def workers(request, toy_parts):
    return Here(Bench(setup())) if request.param == "here" else request.getfixturevalue("shared_pool")


@pytest.fixture
def pool(toy_parts):
    """Makes pools of its own kind, and closes them."""
    made = []

    def make(count=2, timeout=None, **options):
        made.append(Pool(setup(**options), count, timeout))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def acting(name="acting", codes=CODES, confirm=False, **options):
    return Job(f"goal {name}", {f"toy_parts.{name}": options}, codes, confirm)


def collect(workers, *jobs):
    """All outcomes by code (of one job) or by goal and code; each came exactly once."""
    for job in jobs:
        workers.submit(job)
    outcomes = list(iter(workers.next_done, None))
    assert Counter((o.goal, o.code) for o in outcomes) == Counter(
        (job.goal, code) for job in jobs for code in job.codes
    )
    assert workers.next_done() is None
    if len(jobs) == 1:
        return {outcome.code: outcome for outcome in outcomes}
    return {(outcome.goal, outcome.code): outcome for outcome in outcomes}


def values(outcomes):
    return {code: outcome.value for code, outcome in outcomes.items() if outcome.value is not None}


def alive(pid):
    """Whether a process runs; one that waits to be mourned does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def soon(question):
    """Waits for a yes, at most half a minute."""
    return any(question() or time.sleep(0.05) for _ in range(600))


# --- every code exactly once -----------------------------------------------------------------------------------------


def test_every_code_of_every_job_comes_back_once(workers, log):
    jobs = [acting(log=log), acting("quiet", log=log), acting("batch", log=log), acting("size", CODES[:1], log=log)]
    outcomes = collect(workers, *jobs)
    assert all(outcome.attempts == 1 and not outcome.error for outcome in outcomes.values())
    assert outcomes["goal acting", THIRD].value == THIRD[0]
    assert outcomes["goal size", FIRST].value == toys.size(Candidate(toys.Toy(), FIRST))
    assert set(toys.begun(log).values()) == {1}


def test_nothing_to_do(workers):
    assert workers.next_done() is None
    assert collect(workers, acting(codes=())) == {}


def test_readings_arrive_as_the_record_will_give_them_back(workers):
    outcome = collect(workers, acting("error"))[FIRST]
    assert outcome.value == toys.error(Candidate(toys.Toy(), FIRST))
    assert outcome.details == {"spread": [0.5, 0.25]}
    assert outcome.seconds >= 0


def test_finalists_are_judged_by_the_confirmed_version(workers):
    outcomes = collect(workers, acting("error"), Job("again", {"toy_parts.error": {}}, CODES, confirm=True))
    for code in CODES:
        assert outcomes["again", code].value == outcomes["goal error", code].value + 0.25
    assert values(collect(workers, acting("acting", confirm=True))) == {code: code[0] for code in CODES}  # has none


# --- failures --------------------------------------------------------------------------------------------------------

REASONS = {
    "raise": r"RuntimeError: no luck with this one \(toys.py:\d+\)",
    "nan": "the metric gave nan",
    "inf": "the metric gave -inf",
    "word": "the metric gave 'many', which is no number",
    "nothing": "the metric gave None, which is no number",
    "huge": "the metric gave 1000.*, which is no number",
    "details": "the metric gave details that cannot be recorded: Out of range .*",
    "objects": "the metric gave details that cannot be recorded: .*'object'",
}


@pytest.mark.parametrize("name", ["acting", "quiet", "batch"])
def test_a_failure_stays_with_its_code(workers, name):
    acts = dict(zip(WORDS, REASONS, strict=False))
    outcomes = collect(workers, acting(name, acts=acts))
    assert values(outcomes) == {code: code[0] for code in CODES[len(REASONS) :]}
    for code, reason in zip(CODES, REASONS.values(), strict=False):
        outcome = outcomes[code]
        assert outcome.attempts == 1
        assert re.fullmatch(reason, outcome.error), outcome.error


def test_a_batch_of_the_wrong_length_is_judged_one_by_one(workers, log):
    outcomes = collect(workers, acting("batch", log=log, lose=1, acts={WORDS[-1]: "nan"}))
    assert values(outcomes) == {code: code[0] for code in CODES[:-1]}
    assert outcomes[CODES[-1]].error == "the metric gave nan"
    assert toys.begun(log)["Batch", WORDS[0]] == 2


@pytest.mark.parametrize(("confirm", "sizes"), [(False, [TOGETHER, len(CODES) - TOGETHER]), (True, [len(CODES)])])
def test_batches_are_small_during_a_search_and_whole_for_finalists(confirm, sizes):
    seen = []

    class Together:
        def many(self, candidates):
            seen.append(len(candidates))
            return [1.0 for _ in candidates]

    collect(Here(Bench(Setup(toys.Toy()))), Job("x", Together(), CODES, confirm))
    assert seen == sizes


def test_a_metric_that_kills_its_process_costs_its_code_and_no_other(shared_pool, log):
    pids = shared_pool.pids()
    outcomes = collect(shared_pool, acting(log=log, acts={WORDS[0]: "kill", WORDS[4]: "exit"}))
    assert values(outcomes) == {code: code[0] for code in CODES if code not in (CODES[0], CODES[4])}
    assert outcomes[CODES[0]].error.startswith("its process was killed by SIGKILL, perhaps for want of memory, 2 times")
    assert outcomes[CODES[4]].error == "its process ended with status 3: no message"
    for code, each in zip(CODES, WORDS, strict=True):
        attempts = 2 if outcomes[code].error else 1
        assert outcomes[code].attempts == toys.begun(log)["Acting", each] == attempts
    assert len(shared_pool.pids()) == len(pids) and set(shared_pool.pids()) != set(pids)


def test_a_killer_in_a_batch_is_found_out(shared_pool, log):
    outcomes = collect(shared_pool, acting("batch", log=log, acts={WORDS[1]: "kill"}))
    assert values(outcomes) == {code: code[0] for code in CODES if code != SECOND}
    assert "SIGKILL" in outcomes[SECOND].error
    assert toys.begun(log)["Batch", WORDS[1]] == 2


def test_prints_and_reads_do_not_disturb_the_protocol(shared_pool):
    acts = dict.fromkeys(WORDS[:4], "talk")
    outcomes = collect(shared_pool, acting(acts=acts))
    assert values(outcomes) == {code: 1.0 if toys.word(code) in acts else code[0] for code in CODES}


def test_what_takes_too_long_is_ended(pool, log):
    outcomes = collect(
        pool(timeout=1.0),
        acting(codes=CODES[:4], log=log, acts={WORDS[1]: "sleep"}),
        acting("quiet", codes=CODES[:2], acts={WORDS[0]: "sleep"}),
    )
    slow = {("goal acting", SECOND), ("goal quiet", FIRST)}
    assert {key for key, outcome in outcomes.items() if outcome.error} == slow
    assert {outcomes[key].error for key in slow} == {"timeout: took more than 1 s"}
    assert toys.begun(log)["Acting", WORDS[1]] == 1


def test_the_clock_starts_when_the_process_has_started(pool, log):
    late = pool(count=1, timeout=1.0, family={"toy_parts.late": {"log": log, "pause": 1.5}})
    assert values(collect(late, acting(codes=CODES[:2]))) == {code: code[0] for code in CODES[:2]}


def test_what_dies_after_its_time_was_up_is_mourned_once(pool):
    outcome = collect(pool(timeout=0.1), acting(codes=CODES[:1], acts={WORDS[0]: "kill"}, pause=0.4))[FIRST]
    assert "SIGKILL" in outcome.error or "timeout" in outcome.error


# --- exclusive metrics -----------------------------------------------------------------------------------------------


def test_exclusive_metrics_run_alone(shared_pool, log):
    loud = acting(log=log, codes=CODES[:10], pause=0.05)  # the tenth leaves two of three processes idle
    collect(shared_pool, loud, acting("quiet", CODES[:4], log=log, pause=0.01))
    shared_pool.submit(acting("quiet", CODES[4:8], log=log, pause=0.01))
    shared_pool.submit(loud)
    assert len(list(iter(shared_pool.next_done, None))) == 4 + 10
    assert toys.alone(toys.heard(log), "Quiet")
    assert not toys.alone(toys.heard(log), "Acting")  # else this test would show nothing


def test_exclusive_metrics_wait_until_all_processes_have_started(pool, log):
    late = pool(family={"toy_parts.late": {"log": log, "more": 0.3}})
    collect(late, acting("quiet", CODES[:3], log=log, pause=0.1))
    assert [event[0] for event in toys.heard(log)].count("Late") >= 2 * 2  # both have begun and ended to start
    assert toys.alone(toys.heard(log), "Quiet")


# --- processes -------------------------------------------------------------------------------------------------------


def test_workers_killed_from_outside_lose_nothing(pool, log):
    several = pool()
    several.submit(acting(log=log, pause=0.05))
    outcomes = [several.next_done()]
    before = several.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    outcomes += iter(several.next_done, None)
    assert {outcome.code: outcome.value for outcome in outcomes} == {code: code[0] for code in CODES}
    assert len(outcomes) == len(CODES) and not set(before) & set(several.pids())


def test_workers_killed_while_starting_are_not_the_codes_fault(pool):
    several = pool()
    for pid in several.pids():
        os.kill(pid, signal.SIGKILL)
    outcomes = collect(several, acting(), acting("quiet", CODES[:2]))
    assert all(outcome.attempts == 1 and outcome.value is not None for outcome in outcomes.values())


def test_workers_that_cannot_start_say_why_and_judge_nothing(pool):
    helpless = pool(family="toy_parts.nowhere")
    helpless.submit(acting())
    message = (
        r"no worker process can be started: .* status 1: .*ConfigError: family: module 'toy_parts' has no 'nowhere'"
    )
    with pytest.raises(SearchError, match=message):
        helpless.next_done()


def test_close_leaves_no_processes(pool):
    several = pool()
    children = values(collect(several, acting(codes=CODES[:3], acts=dict.fromkeys(WORDS[:3], "leave a child"))))
    pids = [*several.pids(), *map(int, children.values())]
    assert all(map(alive, pids))
    several.submit(acting(pause=60))
    several.close()
    assert soon(lambda: not any(map(alive, pids)))
    assert several.pids() == [] and several.next_done() is None


def test_workers_end_with_their_parent(toy_parts):
    script = """
        import time
        from hwnas.workers import Job, Pool, Setup
        pool = Pool(Setup("toy_parts.toy", threads=1), 2)
        pool.submit(Job("x", {"toy_parts.acting": {}}, ((0,) * 7, (1,) * 7)))
        assert pool.next_done() and pool.next_done()
        print(*pool.pids(), flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(alive, pids))
    parent.kill()
    parent.communicate()
    assert soon(lambda: not any(map(alive, pids)))


def test_patience_is_limited_by_a_timeout(shared_pool):
    shared_pool.submit(acting(codes=CODES[:1], pause=0.3))
    assert shared_pool.next_done(0.01) is None
    assert shared_pool.next_done(60).code == FIRST


def test_worker_processes_keep_to_their_threads(shared_pool):
    assert collect(shared_pool, acting(codes=CODES[:1], acts={WORDS[0]: "threads"}))[FIRST].value == 1.0


@pytest.mark.parametrize("metric", [toys.size, lambda candidate: 1.0, toys.Size()])
def test_functions_and_objects_cannot_travel(shared_pool, metric):
    with pytest.raises(ConfigError, match=r"goal 'size' is a function of this process.*\n.*put the metric into"):
        shared_pool.submit(Job("size", metric, CODES))
    assert shared_pool.next_done() is None


@pytest.mark.parametrize("options", [{"family": toys.Toy()}, {"data": toys.Late}, {"weights": toys.Size("log")}])
def test_experiments_of_objects_cannot_travel(options):
    with pytest.raises(ConfigError, match=r"need parts by name, and this experiment was given .*\n.*workers: 1"):
        Pool(setup(**options), 2)


def test_a_pool_of_nobody():
    with pytest.raises(ConfigError, match="at least one worker, got 0"):
        Pool(setup(), 0)


# --- in this process -------------------------------------------------------------------------------------------------


def test_functions_and_objects_do_for_this_process():
    here = Here(Bench(Setup(toys.Toy())))
    outcomes = collect(here, Job("f", lambda candidate: Reading(candidate.code[0], {"n": 1}), CODES))
    assert values(outcomes) == {code: code[0] for code in CODES} and outcomes[FIRST].details == {"n": 1}
    assert values(collect(here, Job("o", toys.Size(), CODES[:1]))) == {FIRST: toys.size(Candidate(toys.Toy(), FIRST))}


@pytest.mark.parametrize("stop", [Interrupted("stopped"), KeyboardInterrupt()])
@pytest.mark.parametrize("batch", [False, True])
def test_whoever_wants_to_stop_is_no_failed_trial(stop, batch):
    class Metric:
        def __call__(self, candidate):
            raise stop

    if batch:
        Metric.many = lambda self, candidates: self(candidates[0])
    here = Here(Bench(Setup(toys.Toy())))
    here.submit(Job("x", Metric(), CODES))
    with pytest.raises(type(stop)):
        here.next_done()


def test_tensors_that_are_no_number():
    import torch

    here = Here(Bench(Setup(toys.Toy())))
    for tensor in (torch.zeros(2), torch.empty((), device="meta")):
        assert "which is no number" in collect(here, Job("x", lambda _, t=tensor: t, (FIRST,)))[FIRST].error
    assert collect(here, Job("y", lambda _: torch.tensor(2.5), (FIRST,)))[FIRST].value == 2.5


def test_closing_drops_what_waits():
    here = Here(Bench(Setup(toys.Toy())))
    here.submit(Job("x", toys.size, CODES))
    assert here.next_done().code == FIRST
    here.close()
    assert here.next_done() is None


def test_deliberate_errors_give_their_words_alone():
    def judge(candidate):
        raise MetricError("the table has no such row", hint="use another table")

    outcome = collect(Here(Bench(Setup(toys.Toy()))), Job("x", judge, (FIRST,)))[FIRST]
    assert outcome.error == "the table has no such row\nuse another table"


# --- the bench -------------------------------------------------------------------------------------------------------


def test_what_one_metric_built_is_there_for_the_next():
    seen = []
    here = Here(Bench(Setup(toys.Toy(), seed=3)))
    metrics = [lambda candidate, n=n: seen.append(candidate) or n for n in range(2)]
    collect(here, *(Job(f"goal {n}", metric, CODES[:3]) for n, metric in enumerate(metrics)))
    assert [candidate.code for candidate in seen] == [*CODES[:3]] * 2
    assert all(one is other for one, other in zip(seen[:3], seen[3:], strict=True))
    assert seen[0].seed == 3


def test_large_candidates_are_let_go_earlier(toy_parts, monkeypatch):
    monkeypatch.setattr("hwnas.workers.HELD", 500)
    bench = Bench(setup())
    first, second, third = (bench.candidate(code) for code in CODES[-3:])
    assert [bench.candidate(code) for code in CODES[-3:]] == [first, second, third]
    for candidate in (first, second, third):
        assert sum(parameter.nbytes for parameter in candidate.model.parameters()) > 200
    assert bench.candidate(CODES[-1]) is third
    assert bench.candidate(CODES[-3]) is not first


def test_old_candidates_are_let_go():
    bench = Bench(Setup(toys.Toy()))
    codes = list(islice(toys.SPACE.codes(), 100))
    first, *_, last = [bench.candidate(code) for code in codes]
    assert bench.candidate(codes[-1]) is last
    assert bench.candidate(codes[0]) is not first


def test_parts_are_built_once_per_spec_and_given_the_experiments_own(toy_parts, tmp_path):
    @dataclass(frozen=True)
    class Source:
        name: str

    data, weights = Source("data"), Source("weights")
    bench = Bench(setup(data=data, weights=weights, folder=str(tmp_path), seed=4, device="phone", torch_device="cpu"))
    assert bench.given["data"] is data and bench.given["weights"] is weights
    assert bench.given["family"] is bench.family == toys.Toy()
    assert (bench.given["folder"], bench.given["seed"], bench.given["device"]) == (Path(tmp_path), 4, "phone")
    spec = {"toy_parts.error": {"pause": 0.5}}
    assert bench.metric(spec) is bench.metric({"toy_parts.error": {"pause": 0.5}})
    assert bench.metric(spec) is not bench.metric({"toy_parts.error": {"pause": 0.25}})
    assert bench.metric(spec, confirm=True) == toys.Error(pause=0.5, worse=0.25) and bench.metric(spec).worse == 0
    with pytest.raises(ConfigError, match=r"^goals.x.toy_parts.error.puase: unknown option"):
        bench.metric({"toy_parts.error": {"puase": 1}}, "goals.x")
