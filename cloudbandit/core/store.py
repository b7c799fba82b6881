"""The trial store: every trial is kept before and after it is paid for.

One schema for SQLite (the default: WAL, full synchronous) and PostgreSQL (a team, by URL). A trial row is written
"started", with its quote, before anything is spent, and "finished", with its result, after. A study is resumed by telling
its history again, in the order in which it was first told.

Exactly one process runs a study at a time. The claim is a lock of the operating system (SQLite) or of the server
(PostgreSQL), so that a killed process lets go at once and a slow one never loses its study. A started trial without an
end therefore belongs to a dead run: it becomes LOST, and its hold is settled at the quote.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import exc

from cloudbandit.core import store_schema as schema
from cloudbandit.core.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
    StudyMismatchError,
    UnknownNameError,
    need,
)
from cloudbandit.core.trial import Candidate, Result, Status, Trial

_BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A finished trial as the store keeps it."""

    trial: Trial
    result: Result
    quote_usd: float
    spent_usd: float
    hosts_usd: float
    clock_s: float


class Store:
    """A database of studies.

    Args:
        url: a path (SQLite), ``sqlite:///PATH``, or ``postgresql://…`` (needs the extra ``postgres``).

    Attributes:
        id: of this store alone, whoever made it where: keys of leased hosts begin with it.

    Raises:
        StoreVersionError: written by a newer schema version.
        StoreCorruptError: not a database, or damaged.
        StoreBusyError: locked by another process for more than 10 s.
    """

    def __init__(self, url: str | Path) -> None:
        text = str(url)
        if "://" not in text:
            text = f"sqlite:///{Path(text).expanduser().resolve()}"
        try:
            parsed = sa.make_url(text)
        except exc.ArgumentError as error:
            raise StoreError(
                "the store's address is no path and no URL; write a path or postgresql://USER@HOST/DB"
            ) from error
        if parsed.get_backend_name() == "postgresql":
            need("psycopg", "postgres", "a PostgreSQL store")
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif parsed.get_backend_name() != "sqlite":
            raise StoreError(f"a store is SQLite or PostgreSQL, got {parsed.get_backend_name()!r}")
        self.url = parsed.render_as_string(hide_password=True)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self.path = Path(parsed.database or "") if self._sqlite else None
        if self.path is not None:
            if self.path.is_dir():
                raise StoreError(f"the store {self.path} is a folder; cure: name a file, e.g. {self.path / 'study.db'}")
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS} if self._sqlite else {})
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_pragmas)
            sa.event.listen(self._engine, "begin", _sqlite_begin)
        try:
            self._create()
        except BaseException:
            self._engine.dispose()
            raise

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """A transaction; what the database complains about comes out as one of our errors."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except exc.DBAPIError as error:
            cause = error.orig
            text = str(cause).strip().splitlines()[0] if str(cause) else type(cause).__name__
            if "locked" in text or "busy" in text:
                raise StoreBusyError(
                    f"the store {self.url} stayed locked for {_BUSY_SECONDS:g} s: another program is writing to it. "
                    "Cure: end that program, then resume; nothing recorded is lost"
                ) from error
            if isinstance(cause, sqlite3.DatabaseError) and any(
                word in text for word in ("not a database", "malformed", "corrupt", "disk image")
            ):
                raise StoreCorruptError(
                    f"{self.url} is not a usable store ({text}). Cure: restore it from a backup, or salvage it with "
                    f"sqlite3's .recover; it was left as it is"
                ) from error
            raise StoreError(f"the store {self.url} failed: {text}") from error

    def _create(self) -> None:
        with self._begin() as connection:
            if not self._sqlite:  # two clients may create or migrate the schema at once
                connection.execute(sa.text("select pg_advisory_xact_lock(737303)"))
            inspector = sa.inspect(connection)
            if not inspector.has_table(schema.meta.name):
                if self._sqlite and inspector.get_table_names():
                    raise StoreCorruptError(
                        f"{self.url} is a database of another program (tables: "
                        f"{', '.join(inspector.get_table_names()[:5])}). Cure: name a new file"
                    )
                schema.create(connection)
            found = schema.migrate(connection)
            if found != schema.VERSION:
                raise StoreVersionError(
                    f"the store {self.url} has schema version {found}, and this cloudbandit reads version "
                    f"{schema.VERSION}. Cure: use the cloudbandit that wrote it, or another store; it was left as it is"
                )
            self.id = schema.store_id(connection)

    def studies(self) -> list[str]:
        """Names of the stored studies, the oldest first."""
        with self._begin() as connection:
            return list(connection.execute(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)).scalars())

    def spec(self, name: str) -> dict[str, Any]:
        """What the study was opened with, so that it can be rebuilt."""
        row = self._study(name)
        found: dict[str, Any] = json.loads(row.spec)
        return found

    def trials(self, name: str) -> list[StoredTrial]:
        """The finished trials of a study, in the order in which they were told."""
        return self._finished(int(self._study(name).id))

    def in_flight(self, name: str) -> list[Trial]:
        """Trials that were started and have no end yet."""
        study = int(self._study(name).id)
        query = sa.select(schema.trials).where(schema.trials.c.study_id == study, schema.trials.c.told.is_(None))
        with self._begin() as connection:
            return [_trial(row) for row in connection.execute(query.order_by(schema.trials.c.number))]

    def _study(self, name: str) -> Any:
        with self._begin() as connection:
            row = connection.execute(sa.select(schema.studies).where(schema.studies.c.name == name)).one_or_none()
        if row is None:
            raise UnknownNameError("study", name, self.studies(), f"(in the store {self.url})")
        return row

    def _finished(self, study: int) -> list[StoredTrial]:
        query = sa.select(schema.trials).where(schema.trials.c.study_id == study, schema.trials.c.told.is_not(None))
        with self._begin() as connection:
            rows = connection.execute(query.order_by(schema.trials.c.told)).all()
        return [
            StoredTrial(
                _trial(row),
                Result.from_dict(json.loads(row.result)),
                row.quote_usd,
                row.spent_usd,
                row.hosts_usd,
                row.clock_s,
            )
            for row in rows
        ]

    def open(self, name: str, identity: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> StudyRecord:
        """Begin a study of this name, or go on with it.

        Args:
            identity: what must be the same when the study is resumed (domain, goal, optimizer, seed).
            spec: kept for `spec`.

        Raises:
            StoreBusyError: another process runs this study.
            StudyMismatchError: the stored study was about something else.
        """
        wanted = json.loads(json.dumps(dict(identity)))
        with self._begin() as connection:
            query = sa.select(schema.studies).where(schema.studies.c.name == name)
            row = connection.execute(query).one_or_none()
            if row is None:
                values = {
                    "name": name,
                    "identity": json.dumps(wanted),
                    "spec": json.dumps(dict(spec or {})),
                    "created_at": time.time(),
                }
                insert = _upsert(self._sqlite).values(values).on_conflict_do_nothing(index_elements=["name"])
                connection.execute(insert)
                row = connection.execute(query).one()
        stored = json.loads(row.identity)
        differing = [k for k in {**stored, **wanted} if stored.get(k) != wanted.get(k)]
        if differing:
            details = "; ".join(f"{k}: stored {stored.get(k)!r}, now {wanted.get(k)!r}" for k in differing)
            raise StudyMismatchError(
                f"the study {name!r} in {self.url} is another one ({details}). "
                "Cure: give this study another name, or run it as it was"
            )
        return StudyRecord(self, int(row.id), name)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StudyRecord:
    """The claim of one running study on its rows. Made by `Store.open`."""

    def __init__(self, store: Store, study: int, name: str) -> None:
        self._store, self._study, self.name = store, study, name
        self._lock: Any = None
        self._claim()
        with store._begin() as connection:
            told = sa.select(sa.func.max(schema.trials.c.told)).where(schema.trials.c.study_id == study)
            self._told = itertools.count(1 + (connection.execute(told).scalar() or 0))

    def _claim(self) -> None:
        busy = StoreBusyError(
            f"the study {self.name!r} in {self._store.url} is being run by another process. "
            "Cure: wait for it, or stop it; a killed process lets go at once"
        )
        if self._store.path is not None:
            lock = FileLock(f"{self._store.path}.study-{self._study}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise busy from None
            self._lock = lock
        else:
            connection = self._store._engine.connect()
            query = sa.text("select pg_try_advisory_lock(737304, :study)")
            claimed = connection.execute(query, {"study": self._study}).scalar()
            connection.commit()
            if not claimed:
                connection.close()
                raise busy
            self._lock = connection

    def history(self) -> list[StoredTrial]:
        """The finished trials, in the order in which they were told. Trials that a dead run left in flight are
        first ended as LOST, their hold settled at the quote."""
        with self._store._begin() as connection:
            rows = connection.execute(
                sa.select(schema.trials)
                .where(schema.trials.c.study_id == self._study, schema.trials.c.told.is_(None))
                .order_by(schema.trials.c.number)
            ).all()
            clock = connection.execute(
                sa.select(sa.func.max(schema.trials.c.clock_s)).where(schema.trials.c.study_id == self._study)
            ).scalar()
            for row in rows:
                lost = Result(
                    Status.LOST,
                    spent_usd=row.quote_usd,
                    reason="crash",
                    error="the process that ran this trial ended without recording its end",
                )
                self._end(connection, row.number, lost, clock or 0.0)
        return self._store._finished(self._study)

    def start(self, trial: Trial, quote_usd: float) -> None:
        """Before anything is spent."""
        with self._store._begin() as connection:
            connection.execute(
                sa.insert(schema.trials).values(
                    study_id=self._study,
                    number=trial.number,
                    candidate=trial.candidate.key,
                    seed=trial.seed,
                    replicate=trial.replicate,
                    quote_usd=quote_usd,
                    started_at=time.time(),
                )
            )

    def finish(self, trial: Trial, result: Result, clock_s: float) -> None:
        """After; durable when this returns."""
        with self._store._begin() as connection:
            self._end(connection, trial.number, result, clock_s)

    def _end(self, connection: sa.Connection, number: int, result: Result, clock: float) -> None:
        connection.execute(
            sa.update(schema.trials)
            .where(
                schema.trials.c.study_id == self._study,
                schema.trials.c.number == number,
                schema.trials.c.told.is_(None),  # a finished row is never rewritten
            )
            .values(
                finished_at=time.time(),
                told=next(self._told),  # in order; gaps mean nothing
                clock_s=clock,
                spent_usd=result.spent_usd,
                hosts_usd=result.hosts_usd,
                result=json.dumps(result.to_dict(), allow_nan=False),
            )
        )

    def close(self) -> None:
        """Let go of the study; idempotent."""
        lock, self._lock = self._lock, None
        if isinstance(lock, FileLock):
            lock.release()
        elif lock is not None:
            with contextlib.suppress(exc.DBAPIError), lock:  # a server that is gone has let go already
                lock.execute(sa.text("select pg_advisory_unlock(737304, :study)"), {"study": self._study})
                lock.commit()


def _trial(row: Any) -> Trial:
    return Trial(row.number, Candidate.from_key(row.candidate), row.seed, row.replicate)


def _upsert(sqlite: bool) -> Any:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.dialects import sqlite as lite

    return lite.insert(schema.studies) if sqlite else postgresql.insert(schema.studies)


def _sqlite_pragmas(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we write BEGIN ourselves: the driver's own habit hides read-then-write races
    try:
        for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
            connection.execute(f"pragma {pragma}").close()
    except sqlite3.Error:  # not a database, or locked: nobody else will close it
        connection.close()
        raise


def _sqlite_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("begin immediate")
