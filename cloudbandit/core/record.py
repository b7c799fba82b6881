"""The rows of one study, and the claim of the process that runs it.

The claim is two things. A lock of the operating system (SQLite) or of the server (PostgreSQL) keeps a second process out, and
lets go at once when its holder dies. A token in the study's row, checked in the transaction of every write, keeps a process out
that lost its lock without noticing, e.g. with its connection.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import exc

from cloudbandit.core import store_schema as schema
from cloudbandit.core.database import PATIENCE_S, Database
from cloudbandit.core.errors import (
    StoreBusyError,
    StoreCorruptError,
    StudyTakenError,
)
from cloudbandit.core.masking import masked_json
from cloudbandit.core.trial import Candidate, Result, Status, Trial

log = logging.getLogger("cloudbandit")

WRITE_LIMIT_S = PATIENCE_S
"""The result of a trial is kept in memory meanwhile."""
_ADVISORY = 737304


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A finished trial as the store keeps it."""

    trial: Trial
    result: Result
    quote_usd: float
    spent_usd: float
    hosts_usd: float
    clock_s: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the finished trials of a study: how many, and what they and their hosts cost."""

    trials: int
    spent_usd: float
    hosts_usd: float


def finished(database: Database, study: int, number: int | None = None, last: int | None = None) -> list[StoredTrial]:
    """The finished trials of a study in the order told: all, one, or the latest.

    Raises:
        StoreCorruptError: a row that no cloudbandit wrote.
    """
    query = _finished(study).order_by(schema.trials.c.told.desc())
    if number is not None:
        query = query.where(schema.trials.c.number == number)
    if last is not None:
        query = query.limit(last)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [_stored(database, row) for row in reversed(rows)]


def each_finished(database: Database, study: int) -> Iterator[StoredTrial]:
    """The same one by one: a transaction per ten thousand, so that a slow reader holds none open."""
    told = schema.trials.c.told
    after = -1
    while True:
        with database.read() as connection:
            rows = connection.execute(_finished(study).where(told > after).order_by(told).limit(10_000)).all()
        if not rows:
            return
        after = rows[-1].told
        for row in rows:
            yield _stored(database, row)


def totals(database: Database, study: int) -> Totals:
    """Of all finished trials."""
    c = schema.trials.c
    sums = sa.func.count(), sa.func.sum(c.spent_usd), sa.func.sum(c.hosts_usd)
    query = sa.select(*sums).where(c.study_id == study, c.told.is_not(None))
    with database.read() as connection:
        trials, spent_usd, hosts_usd = connection.execute(query).one()
    return Totals(trials, spent_usd or 0.0, hosts_usd or 0.0)


def _finished(study: int) -> sa.Select[Any]:
    return sa.select(schema.trials).where(schema.trials.c.study_id == study, schema.trials.c.told.is_not(None))


def in_flight(database: Database, study: int) -> list[Trial]:
    """Trials that were started and have no end yet."""
    query = sa.select(schema.trials).where(schema.trials.c.study_id == study, schema.trials.c.told.is_(None))
    with database.read() as connection:
        rows = connection.execute(query.order_by(schema.trials.c.number)).all()
    return [_trial(database, row) for row in rows]


def _trial(database: Database, row: Any) -> Trial:
    with _readable(database, row):
        return Trial(row.number, Candidate.from_key(row.candidate), row.seed, row.replicate)


def _stored(database: Database, row: Any) -> StoredTrial:
    trial = _trial(database, row)
    with _readable(database, row):
        result = Result.from_dict(json.loads(row.result))
        return StoredTrial(trial, result, row.quote_usd, row.spent_usd, row.hosts_usd or 0.0, row.clock_s or 0.0)


@contextlib.contextmanager
def _readable(database: Database, row: Any) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreCorruptError(
            f"trial {row.number} in {database.url} is damaged ({type(error).__name__}: {error}). "
            "Cure: restore the store from a backup; it was left as it is"
        ) from error


class StudyRecord:
    """The claim of one running study on its rows. Made by `cloudbandit.core.store.Store.open`.

    Raises:
        StoreBusyError: another process runs the study.
    """

    def __init__(self, database: Database, study: int, name: str) -> None:
        self._database, self._study, self.name = database, study, name
        self._lock: FileLock | sa.Connection | None = None
        self._token = secrets.token_hex(8)
        self._take_lock()
        mine = sa.update(schema.studies).where(schema.studies.c.id == study).values(claim=self._token)
        try:
            self._write(lambda connection: connection.execute(mine), check=False)
            with database.read() as connection:
                told = sa.select(sa.func.max(schema.trials.c.told)).where(schema.trials.c.study_id == study)
                last = connection.execute(told).scalar()
        except BaseException:
            self.close()
            raise
        self._told = itertools.count(0 if last is None else last + 1)

    # ── the claim ──

    def _take_lock(self) -> None:
        busy = StoreBusyError(
            f"the study {self.name!r} in {self._database.url} is being run by another process. "
            "Cure: wait for it, or stop it; a killed process lets go at once"
        )
        if self._database.path is not None:
            lock = FileLock(f"{self._database.path}.study-{self._study}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise busy from None
            self._lock = lock
            return
        with self._database._errors():
            connection = self._database.engine.connect()
            query = sa.text(f"select pg_try_advisory_lock({_ADVISORY}, :study)")
            claimed = connection.execute(query, {"study": self._study}).scalar()
            connection.commit()
        if not claimed:
            connection.close()
            raise busy
        self._lock = connection

    def _hold_lock(self) -> None:
        """PostgreSQL: the lock went with its connection, if that is gone; take it again."""
        if self._database.path is not None:
            return
        if isinstance(self._lock, sa.Connection):
            try:
                self._lock.execute(sa.text("select 1"))
                self._lock.commit()
                return
            except exc.DBAPIError:
                with contextlib.suppress(exc.DBAPIError):
                    self._lock.close()
                self._lock = None
        self._take_lock()

    def _check_claim(self, connection: sa.Connection) -> None:
        row = sa.select(schema.studies.c.claim).where(schema.studies.c.id == self._study).with_for_update()
        if connection.execute(row).scalar() != self._token:
            raise StudyTakenError(
                f"another process has taken over the study {self.name!r} in {self._database.url}. "
                "Cure: stop one of the two; nothing that either recorded is lost"
            )

    def _write(self, work: Callable[[sa.Connection], object], *, check: bool = True) -> None:
        """A transaction, tried again while the store is locked, full, or its server gone, at most for `WRITE_LIMIT_S`."""

        def checked(connection: sa.Connection) -> None:
            if check:
                self._check_claim(connection)
            work(connection)

        self._database.patiently(checked, limit_s=WRITE_LIMIT_S, ready=self._hold_lock)

    # ── rows ──

    def history(self) -> list[StoredTrial]:
        """The finished trials, in the order in which they were told. Trials that a dead run left in flight are
        first ended as LOST, their hold settled at the quote."""
        trials = schema.trials
        flying = sa.select(trials).where(trials.c.study_id == self._study, trials.c.told.is_(None))
        clock = sa.select(sa.func.max(trials.c.clock_s)).where(trials.c.study_id == self._study)

        def end(connection: sa.Connection) -> None:
            clock_s = connection.execute(clock).scalar() or 0.0
            for row in connection.execute(flying.order_by(trials.c.number)).all():
                lost = Result(
                    Status.LOST,
                    spent_usd=row.quote_usd,
                    reason="crash",
                    error="the process that ran this trial ended without recording its end",
                )
                self._end(connection, row.number, lost, clock_s)

        self._write(end)
        return finished(self._database, self._study)

    def start(self, trial: Trial, quote_usd: float) -> None:
        """Before anything is spent. Idempotent: a commit whose answer was lost is made only once."""
        values = {
            "study_id": self._study,
            "number": trial.number,
            "candidate": trial.candidate.key,
            "seed": trial.seed,
            "replicate": trial.replicate,
            "quote_usd": quote_usd,
            "started_at": time.time(),
        }
        insert = self._database.insert(schema.trials).values(values)
        keep = insert.on_conflict_do_nothing(index_elements=["study_id", "number"])
        self._write(lambda connection: connection.execute(keep))

    def keep_spec(self, text: str) -> None:
        """What the study is run with from now on, as JSON."""
        row = sa.update(schema.studies).where(schema.studies.c.id == self._study, schema.studies.c.spec != text)
        self._write(lambda connection: connection.execute(row.values(spec=text)))

    def finish(self, trial: Trial, result: Result, clock_s: float) -> None:
        """After; durable when this returns. Idempotent: a finished row is never rewritten."""
        self._write(lambda connection: self._end(connection, trial.number, result, clock_s))

    def _end(self, connection: sa.Connection, number: int, result: Result, clock_s: float) -> None:
        connection.execute(
            sa.update(schema.trials)
            .where(
                schema.trials.c.study_id == self._study,
                schema.trials.c.number == number,
                schema.trials.c.told.is_(None),
            )
            .values(
                finished_at=time.time(),
                told=next(self._told),  # increases; gaps mean nothing
                clock_s=clock_s,
                spent_usd=result.spent_usd,
                hosts_usd=result.hosts_usd,
                result=masked_json(result.to_dict()),
            )
        )

    def close(self) -> None:
        """Let go of the study; idempotent."""
        lock, self._lock = self._lock, None
        if isinstance(lock, FileLock):
            lock.release()
        elif lock is not None:
            with contextlib.suppress(exc.DBAPIError), lock:  # a server that is gone has let go already
                lock.execute(sa.text(f"select pg_advisory_unlock({_ADVISORY}, :study)"), {"study": self._study})
                lock.commit()
