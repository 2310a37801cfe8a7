"""Where trials live: one small schema through SQLAlchemy Core, in a SQLite file by default, in PostgreSQL by URL.

The record is the truth of a run: searches are resumed from it, reports are made from it. A trial is one row per
(run, stage, code), rewritten as its values come in, so that a process killed at any moment loses the measurement in
progress and nothing else.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from hwnas.errors import RecordError, RunExistsError, RunLockedError, SchemaError
from hwnas.space import Code
from hwnas.trial import Trial

SCHEMA = 1
"""Raised by every change of the tables; older files are migrated in place, newer ones are refused."""

_meta = sa.MetaData()
_schema = sa.Table("hwnas", _meta, sa.Column("schema", sa.Integer, primary_key=True))
_runs = sa.Table(
    "runs",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
)
_evaluations = sa.Table(
    "evaluations",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("measured", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("changed", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "stage", "code"),
)
_deliveries = sa.Table(
    "deliveries",
    _meta,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("numbers", sa.Text, nullable=False),
)
_facts = sa.Table(
    "facts",
    _meta,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_events = sa.Table(
    "events",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


class Records:
    """A database of runs: open it, then `create` or `open` a run.

    Raises:
        SchemaError: the file is no database of ours, is damaged, or was written by a newer hwnas.
        RecordError: the database cannot be reached or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
        self._engine = sa.create_engine(url)
        if self.path is not None:
            sa.event.listen(self._engine, "connect", _sqlite_pragmas)
        self._upsert = sqlite.insert if self.path is not None else postgresql.insert
        try:
            self._check()
        except RecordError:
            self._engine.dispose()
            raise

    def _check(self) -> None:
        where = str(self.path or self.url)
        try:
            with self._engine.begin() as link:
                names = set(sa.inspect(link).get_table_names())
                if names and _schema.name not in names:
                    raise SchemaError(f"{where} is a database, but not one of hwnas")
                if not names:
                    if self.path is not None:  # else every table is a transaction, and a kill leaves half of them
                        link.exec_driver_sql("BEGIN IMMEDIATE")
                    _meta.create_all(link)
                    link.execute(self._upsert(_schema).values(schema=SCHEMA).on_conflict_do_nothing())
                version = link.execute(sa.select(sa.func.max(_schema.c.schema))).scalar_one()
                if self.path is not None and names:
                    problem = link.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                    if problem != "ok":
                        raise SchemaError(f"{where} is damaged: {problem}", hint=_DAMAGED)
        except sa.exc.DatabaseError as error:
            if isinstance(error, sa.exc.OperationalError) and not _is_damage(error):
                raise RecordError(f"cannot use {where}: {error.orig}", hint=_UNWRITABLE) from error
            raise SchemaError(f"{where} cannot be read: {error.orig}", hint=_DAMAGED) from error
        if version > SCHEMA:
            raise SchemaError(
                f"{where} was written by a newer hwnas (schema {version}, this one knows {SCHEMA})",
                hint="upgrade with: pip install --upgrade hwnas",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One driver at a time; the lock goes with the process, however it ends.

        Raises:
            RunLockedError: another process has it.
        """
        if self.path is None:
            with self._engine.connect() as link:
                if not link.execute(sa.text("SELECT pg_try_advisory_lock(73100)")).scalar_one():
                    raise RunLockedError("another process drives a run in this database right now")
                yield
            return
        lock = filelock.FileLock(f"{self.path}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            hint = "wait for it or stop it; `hwnas show` reads a run at any time"
            raise RunLockedError(f"another process drives the run in {self.path.parent} right now", hint=hint) from None
        try:
            yield
        finally:
            lock.release()

    def create(self, name: str, identity: Mapping[str, Any]) -> Run:
        """A new run.

        Args:
            identity: what a later resume must agree with, JSON-able.
        """
        row = {"name": name, "created": _now(), "identity": json.dumps(identity)}
        with self.writing() as link:
            if link.execute(sa.select(_runs.c.id).where(_runs.c.name == name)).first() is not None:
                raise RunExistsError(f"{self.path or self.url} already holds a run {name!r}")
            link.execute(_runs.insert().values(row))
        return self.open(name)

    def names(self) -> list[str]:
        """The runs, oldest first."""
        with self._engine.connect() as link:
            return list(link.execute(sa.select(_runs.c.name).order_by(_runs.c.id)).scalars())

    def open(self, name: str) -> Run:
        """An existing run.

        Raises:
            RecordError: there is none of that name.
        """
        with self._engine.connect() as link:
            row = link.execute(sa.select(_runs).where(_runs.c.name == name)).first()
        if row is None:
            raise RecordError(
                f"{self.path or self.url} holds no run {name!r}; it has: {', '.join(self.names()) or 'none'}"
            )
        return Run(self, row.id, row.name, row.created, json.loads(row.identity))

    @functools.cached_property
    def upsert_trial(self) -> Any:
        """Writes a trial's row, or over it; made once, since making it costs more than running it."""
        insert = self._upsert(_evaluations)
        keep = ("state", "measured", "details", "seconds", "attempts", "error", "changed")
        return insert.on_conflict_do_update(
            index_elements=["run", "stage", "code"], set_={name: insert.excluded[name] for name in keep}
        )

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction; a full disk and its like become a RecordError with the remedy."""
        try:
            with self._engine.begin() as link:
                yield link
        except sa.exc.OperationalError as error:
            hint = f"nothing recorded is lost; make room or give access, then go on with: hwnas resume {self._folder}"
            raise RecordError(f"cannot write to {self.path or self.url}: {error.orig}", hint=hint) from error

    @property
    def _folder(self) -> str:
        return str(self.path.parent) if self.path is not None else "RUN"

    def close(self) -> None:
        """Closes the connections; the write-ahead log is folded into the file."""
        self._engine.dispose()


class Run:
    """One run in the record: its trials, what was told to its search, facts and events."""

    def __init__(self, records: Records, id: int, name: str, created: str, identity: Mapping[str, Any]) -> None:
        self.records, self.id, self.name, self.created, self.identity = records, id, name, created, identity

    def save(self, stage: str, trials: Sequence[Trial]) -> None:
        """Writes trials, new or changed, in one transaction."""
        if not trials:
            return
        now = _now()
        rows = [
            {
                "run": self.id,
                "stage": stage,
                "code": _text(trial.code),
                "number": trial.number,
                "state": trial.state,
                "measured": _text(trial.values),
                "details": _text(trial.details),
                "seconds": trial.seconds,
                "attempts": trial.attempts,
                "error": trial.error,
                "changed": now,
            }
            for trial in trials
        ]
        with self.records.writing() as link:
            link.execute(self.records.upsert_trial, rows)

    def trials(self, stage: str) -> list[Trial]:
        """The trials of a stage in the order of asking."""
        own = (_evaluations.c.run == self.id) & (_evaluations.c.stage == stage)
        with self.records._engine.connect() as link:
            rows = link.execute(sa.select(_evaluations).where(own).order_by(_evaluations.c.number)).all()
        return [
            Trial(
                number=row.number,
                code=tuple(json.loads(row.code)),
                values=json.loads(row.measured),
                state=row.state,
                seconds=row.seconds,
                attempts=row.attempts,
                error=row.error,
                details=json.loads(row.details),
            )
            for row in rows
        ]

    def clear(self, stage: str) -> None:
        """Forgets the trials of a stage that is about to be measured anew."""
        own = (_evaluations.c.run == self.id) & (_evaluations.c.stage == stage)
        with self.records.writing() as link:
            link.execute(_evaluations.delete().where(own))

    def deliver(self, epoch: int, step: int, numbers: Sequence[int]) -> None:
        """Notes which trials the search is about to be told at this step; written before it is told."""
        with self.records.writing() as link:
            link.execute(_deliveries.insert().values(run=self.id, epoch=epoch, step=step, numbers=_text(list(numbers))))

    def deliveries(self, epoch: int) -> list[list[int]]:
        """What the search was told, step by step."""
        own = (_deliveries.c.run == self.id) & (_deliveries.c.epoch == epoch)
        with self.records._engine.connect() as link:
            rows = link.execute(sa.select(_deliveries.c.numbers).where(own).order_by(_deliveries.c.step)).scalars()
            return [json.loads(numbers) for numbers in rows]

    def note(self, name: str, value: Any) -> None:
        """Keeps a fact about the run, JSON-able: the noise floor, a resolved limit, the verdict."""
        insert = self.records._upsert(_facts).values(run=self.id, name=name, value=_text(value))
        statement = insert.on_conflict_do_update(
            index_elements=["run", "name"], set_={"value": insert.excluded["value"]}
        )
        with self.records.writing() as link:
            link.execute(statement)

    def facts(self) -> dict[str, Any]:
        """All facts by name."""
        with self.records._engine.connect() as link:
            rows = link.execute(sa.select(_facts.c.name, _facts.c.value).where(_facts.c.run == self.id)).all()
        return {row.name: json.loads(row.value) for row in rows}

    def event(self, kind: str, **payload: Any) -> None:
        """Adds a line to the run's diary: a phase began, a worker died, the run was resumed."""
        row = {"run": self.id, "time": _now(), "kind": kind, "payload": _text(payload)}
        with self.records.writing() as link:
            link.execute(_events.insert().values(row))

    def events(self) -> list[dict[str, Any]]:
        """The diary, oldest first; every entry has `time`, `kind` and its own fields."""
        with self.records._engine.connect() as link:
            rows = link.execute(sa.select(_events).where(_events.c.run == self.id).order_by(_events.c.id)).all()
        return [{"time": row.time, "kind": row.kind, **json.loads(row.payload)} for row in rows]


_DAMAGED = "restore the file from a copy, or start a new run in another folder"
_UNWRITABLE = "check that the folder exists and can be written, and that the disk has room"


def _sqlite_pragmas(link: Any, _: Any) -> None:
    cursor = link.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _is_damage(error: sa.exc.OperationalError) -> bool:
    return any(word in str(error.orig) for word in ("malformed", "corrupt", "not a database"))


def _text(value: Code | Mapping[str, Any] | Sequence[Any] | Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=float)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
