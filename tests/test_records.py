"""The record: what goes in comes out, also after a kill, and a file that is not ours is never mistaken for one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwnas.errors import RecordError, RunExistsError, RunLockedError, SchemaError
from hwnas.records import SCHEMA, Records, sqlite_url
from hwnas.trial import Trial

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
TRIALS = st.lists(
    st.builds(
        Trial,
        number=st.integers(0, 10**9),
        code=st.lists(st.integers(0, 99), min_size=1, max_size=4).map(tuple),
        values=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        state=st.sampled_from(["running", "done", "failed", "over_limit"]),
        seconds=st.floats(0, 1e12),
        attempts=st.integers(1, 9),
        error=TEXT,
        details=st.dictionaries(TEXT, st.dictionaries(TEXT, JSON, max_size=2), max_size=2),
    ),
    max_size=5,
    unique_by=(lambda trial: trial.code, lambda trial: trial.number),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def connect(path):
    """Opens the database as often as a test likes, and closes it in the end."""
    opened = []

    def connect(at=path):
        opened.append(Records(sqlite_url(at)))
        return opened[-1]

    yield connect
    for records in opened:
        records.close()


@pytest.fixture
def run(connect):
    return connect().create("main", {"family": "toy"})


def in_process(text, *arguments):
    """Another process that runs some lines and tells by a line on stdout that it has come to its end."""
    before, after = "from hwnas.records import *\nimport sys, time", "print('ready', flush=True)\ntime.sleep(60)"
    script = f"{before}\n{textwrap.dedent(text)}\n{after}"
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


# --- what goes in comes out ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TRIALS)
def test_trials_come_back_as_they_were_in_the_order_of_asking(run, trials):
    run.clear("search")
    run.save("search", trials)
    assert run.trials("search") == sorted(trials, key=lambda trial: trial.number)


@pytest.mark.parametrize("value", [5e-324, 2.2250738585072014e-308, 1e308, -0.0, 0.1, 1 / 3, np.float64(0.7), 2.0**53])
def test_floats_are_exact(run, connect, value):
    run.save("search", [Trial(0, (1,), {"x": value}, seconds=abs(value), details={"x": {"spread": value}})])
    (trial,) = connect().open("main").trials("search")
    for back in (trial.values["x"], trial.details["x"]["spread"]):
        assert back.hex() == float(value).hex()
    assert trial.seconds.hex() == float(abs(value)).hex()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(run, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.save("search", [Trial(0, (1,)), Trial(1, (2,), {"x": value})])
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.note("limit", value)
    assert run.trials("search") == [] and run.facts() == {}


def test_a_trial_is_rewritten_in_its_place(run):
    trials = [Trial(number, (number,)) for number in range(3)]
    run.save("search", trials)
    changed = replace(trials[1], values={"x": 1.0}, state="failed", error="x: Größe ≤ 0 😀", attempts=2, seconds=1.5)
    run.save("search", [changed])
    run.save("confirm", [replace(changed, state="done")])
    assert run.trials("search") == [trials[0], changed, trials[2]]
    run.clear("search")
    assert run.trials("search") == [] and len(run.trials("confirm")) == 1
    run.save("search", [])
    assert run.trials("search") == []


def test_what_was_read_does_not_change_with_what_is_written(run):
    run.save("search", [Trial(0, (1,), {"x": 1.0})])
    before = run.trials("search")
    run.save("search", [Trial(0, (1,), {"x": 2.0})])
    assert before[0].values == {"x": 1.0}


def test_deliveries_facts_and_events(run, connect):
    run.deliver(0, 1, [3, 4])
    run.deliver(0, 0, [])
    run.deliver(1, 0, [5])
    run.note("limits", {"latency": [1, 2.5, None]})
    run.note("limits", {"latency": 3})
    run.note("später", "ja")
    run.event("note", text="begun")
    run.event("died", worker=3)
    again = connect().open("main")
    assert again.deliveries(0) == [[], [3, 4]] and again.deliveries(1) == [[5]] and again.deliveries(2) == []
    assert again.facts() == {"limits": {"latency": 3}, "später": "ja"}
    events = again.events()
    assert [event["kind"] for event in events] == ["note", "died"] and events[1]["worker"] == 3
    assert datetime.fromisoformat(events[0]["time"]).utcoffset() == timedelta(0)


# --- runs ------------------------------------------------------------------------------------------------------------


def test_runs_in_one_database_do_not_mix(connect):
    records = connect()
    runs = [records.create(name, {"n": name}) for name in ("b", "a", "ä ö")]
    for number, run in enumerate(runs):
        run.save("search", [Trial(number, (7,))])
        run.note("x", number)
        run.deliver(0, 0, [number])
    again = connect()
    assert again.names() == ["b", "a", "ä ö"]
    for number, name in enumerate(again.names()):
        run = again.open(name)
        assert [trial.number for trial in run.trials("search")] == [number]
        assert (run.facts(), run.deliveries(0), run.identity) == ({"x": number}, [[number]], {"n": name})
        assert (run.created, run.events()) == (runs[number].created, [])


def test_a_run_is_neither_made_twice_nor_out_of_nothing(run, connect):
    with pytest.raises(RunExistsError, match="already holds a run 'main'"):
        connect().create("main", {})
    with pytest.raises(RecordError, match="holds no run 'mian'; it has: main"):
        connect().open("mian")


# --- files that are not ours, or no longer --------------------------------------------------------------------------


def test_a_newer_schema_is_refused(run, connect, path):
    with sqlite3.connect(path) as link:
        link.execute("UPDATE hwnas SET schema = ?", [SCHEMA + 1])
    link.close()
    with pytest.raises(SchemaError, match=rf"newer hwnas \(schema {SCHEMA + 1}, this one knows {SCHEMA}\)\nupgrade"):
        connect()


def test_a_database_of_somebody_else_is_refused(connect, path):
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE trials (number INTEGER)")
    link.close()
    with pytest.raises(SchemaError, match=r"study\.db is a database, but not one of hwnas"):
        connect()


@pytest.mark.parametrize("content", [b"garbage", b"\x89PNG" * 999, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused(connect, path, content):
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"study\.db cannot be read: .*\nrestore the file from a copy"):
        connect()
    assert path.read_bytes() == content


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(connect, path, share):
    records = connect()
    run = records.create("main", {})
    run.save("search", [Trial(number, (number,), error="x" * 500) for number in range(200)])
    records.close()
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(SchemaError, match=r"study\.db (is damaged|cannot be read)"):
        connect()


@pytest.mark.parametrize("page", [0, 3, 9, 15])
def test_a_file_with_a_damaged_page_is_refused(connect, path, page):
    records = connect()
    run = records.create("main", {})
    run.save("search", [Trial(number, (number,), error="x" * 500) for number in range(200)])
    records.close()
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(bytes(4096))
    with pytest.raises(SchemaError, match=r"(?s)study\.db (is damaged|cannot be read): .*\nrestore the file from"):
        connect()


def test_a_database_is_made_whole_or_not_at_all(connect, path):
    seen = []

    def stumble(link, cursor, statement, *_):
        seen.append(statement)
        if statement.lstrip().startswith("CREATE TABLE") and "deliveries" in statement:
            raise KeyboardInterrupt

    sa.event.listen(sa.Engine, "before_cursor_execute", stumble)
    try:
        with pytest.raises(KeyboardInterrupt):
            connect()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", stumble)
    assert sum("CREATE TABLE" in statement for statement in seen) > 1
    assert connect().create("main", {}).trials("search") == []


def test_several_may_make_the_same_database_at_once(connect, path):
    with ThreadPoolExecutor(4) as threads:
        all_records = list(threads.map(lambda _: connect(), range(4)))
    for number, records in enumerate(all_records):
        records.create(f"run{number}", {})
    assert connect().names() == [f"run{number}" for number in range(4)]


# --- the disk --------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_missing_or_a_file(connect, tmp_path):
    (tmp_path / "file").touch()
    for folder in ("missing", "file"):
        with pytest.raises(RecordError, match=r"cannot use .*\ncheck that the folder exists") as caught:
            connect(tmp_path / folder / "study.db")
        assert not isinstance(caught.value, SchemaError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(connect, tmp_path):
    folder = tmp_path / "shut"
    folder.mkdir(0o500)
    with pytest.raises(RecordError, match=r"cannot use .*\ncheck that the folder"):
        connect(folder / "study.db")


def test_a_full_disk_loses_nothing_and_names_the_remedy(connect, path):
    records = connect()
    run = records.create("main", {})
    run.save("search", [Trial(0, (0,), {"x": 1.0})])
    with records._engine.connect() as link:
        pages = link.exec_driver_sql("PRAGMA page_count").scalar_one()
        link.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RecordError, match=rf"disk is full\n.*make room.*: hwnas resume {path.parent}$"):
        run.save("search", [Trial(number, (number,), error="x" * 999) for number in range(1, 99)])
    assert [trial.number for trial in run.trials("search")] == [0]
    with records._engine.connect() as link:
        link.exec_driver_sql(f"PRAGMA max_page_count = {pages + 999}")
    run.save("search", [Trial(1, (1,))])
    assert [trial.number for trial in connect().open("main").trials("search")] == [0, 1]


# --- several processes -----------------------------------------------------------------------------------------------


def test_one_driver_at_a_time(connect):
    one, other = connect(), connect()
    with (
        one.lock(),
        pytest.raises(RunLockedError, match=r"another process drives the run in .* right now\nwait"),
        other.lock(),
    ):
        pytest.fail("two drivers")
    with other.lock():
        pass


def test_one_driver_at_a_time_in_all_processes(connect, path):
    records = connect()
    holder = in_process("guard = Records(sys.argv[1]).lock()\nguard.__enter__()", sqlite_url(path))
    try:
        with pytest.raises(RunLockedError), records.lock():
            pytest.fail("two drivers")
        assert records.names() == []  # looking is always allowed
    finally:
        kill(holder)
    with records.lock():  # gone with its process, however that ended
        pass


def test_an_error_inside_gives_the_lock_back(connect):
    records = connect()
    with pytest.raises(ZeroDivisionError), records.lock():
        raise ZeroDivisionError
    with records.lock():
        pass


def test_a_killed_writer_leaves_what_it_committed(connect, path):
    lines = """
        run = Records(sys.argv[1]).create("main", {"family": "toy"})
        for number in range(50):
            run.save("search", [Trial(number, (number,), {"x": number / 3}, "done")])
            run.deliver(0, number, [number])
        link = run.records._engine.connect()
        link.begin()
        link.execute(sa.text("DELETE FROM evaluations"))
    """
    kill(in_process(lines, sqlite_url(path)))
    run = connect().open("main")
    assert [(trial.number, trial.values["x"]) for trial in run.trials("search")] == [(n, n / 3) for n in range(50)]
    assert run.deliveries(0) == [[number] for number in range(50)]
    run.save("search", [Trial(50, (50,))])
    assert len(run.trials("search")) == 51


def test_reading_while_another_process_writes(connect, path):
    run = connect().create("main", {})
    run.save("search", [Trial(0, (0,))])
    lines = """
        link = Records(sys.argv[1])._engine.connect()
        link.begin()
        link.execute(sa.text("DELETE FROM evaluations"))
    """
    writer = in_process(lines, sqlite_url(path))
    try:
        assert len(connect().open("main").trials("search")) == 1
    finally:
        kill(writer)


def test_a_reader_holds_up_no_writer(run, connect):
    run.save("search", [Trial(0, (0,))])
    with connect()._engine.connect() as link:
        link.exec_driver_sql("BEGIN")
        assert link.exec_driver_sql("SELECT count(*) FROM evaluations").scalar_one() == 1
        run.save("search", [Trial(1, (1,))])
        assert link.exec_driver_sql("SELECT count(*) FROM evaluations").scalar_one() == 1
    assert len(run.trials("search")) == 2
