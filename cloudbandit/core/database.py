"""A database as the trial store sees it: transactions for readers and for writers, and what goes wrong as our errors.

SQLite in WAL mode with full synchronisation, or PostgreSQL. Readers never take the write lock, so that looking at a store cannot
make a paid trial's record fail.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from cloudbandit.core.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreUnreachableError,
    need,
)
from cloudbandit.core.masking import masked

log = logging.getLogger("cloudbandit")

BUSY_SECONDS = 10.0
PATIENCE_S = 120.0
"""A write that finds the store locked, full, or its server gone is tried again for so long."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_READ = "cloudbandit_read"
_FULL = ("disk is full", "No space left on device")
_DAMAGED = ("not a database", "malformed", "corrupt", "disk image")


def _ready() -> None:
    """Nothing has to be done before a write."""


class Database:
    """An address, and transactions on it.

    Args:
        url: see `cloudbandit.core.store.Store`.

    Attributes:
        url: without the password.
        path: of the SQLite file; None for a server.
    """

    def __init__(self, url: str | Path) -> None:
        text = str(url)
        if "://" not in text:
            text = f"sqlite:///{Path(text).expanduser().resolve()}"
        try:
            parsed = sa.make_url(text)
        except (exc.ArgumentError, ValueError):  # whose text would hold the address, and so a password
            raise StoreError(
                "the store's address is no path and no URL; write a path or postgresql://USER@HOST/DB"
            ) from None
        if "@" in (parsed.host or ""):
            raise StoreError("the password in the store's address holds an @; cure: write %40 for it, or use ~/.pgpass")
        if parsed.get_backend_name() == "postgresql":
            need("psycopg", "postgres", "a PostgreSQL store")
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif parsed.get_backend_name() != "sqlite":
            raise StoreError(f"a store is SQLite or PostgreSQL, got {parsed.get_backend_name()!r}")
        self.url = masked(parsed.render_as_string(hide_password=True))
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.path = Path(parsed.database or "") if self.sqlite else None
        self._file: tuple[int, int] | None = None
        if self.path is not None:
            if self.path.is_dir():
                raise StoreError(f"the store {self.path} is a folder; cure: name a file, e.g. {self.path / 'study.db'}")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"the store {self.path} cannot be made: {error.strerror}; cure: name another file"
                ) from error
            self.engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
            sa.event.listen(self.engine, "connect", _sqlite_pragmas)
            sa.event.listen(self.engine, "begin", _sqlite_begin)
        else:
            self.engine = sa.create_engine(parsed, pool_pre_ping=True)  # a server may have dropped an idle connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the store and waits for no writer."""
        with self._errors(), self.engine.connect().execution_options(**{_READ: True}) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that is durable when it ends.

        Raises:
            StoreBusyError: SQLite: locked by another process for more than 10 s.
            StoreFullError: no space is left.
            StoreUnreachableError: PostgreSQL: the connection was lost, or cannot be made.
            StoreError: the file was removed or replaced since it was opened.
        """
        with self._errors(), self.engine.begin() as connection:
            self._same_file()
            yield connection

    def patiently(
        self,
        work: Callable[[sa.Connection], object],
        *,
        limit_s: float | None = None,
        ready: Callable[[], None] = _ready,
    ) -> None:
        """A write that is tried again while the store is locked, full, or its server gone, at most for ``limit_s`` (by default
        `PATIENCE_S`).

        Args:
            ready: called before each attempt.
        """
        limit_s = PATIENCE_S if limit_s is None else limit_s
        until, pause = time.monotonic() + limit_s, _FIRST_PAUSE_S
        while True:
            try:
                ready()
                with self.write() as connection:
                    work(connection)
                return
            except (StoreBusyError, StoreFullError, StoreUnreachableError) as error:
                if time.monotonic() >= until:
                    raise
                if pause == _FIRST_PAUSE_S:
                    log.warning("%s; trying again for %g s, nothing is lost meanwhile", error, limit_s)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def insert(self, table: sa.Table) -> Any:
        """An insert that may say what to do on a conflict."""
        from sqlalchemy.dialects import postgresql
        from sqlalchemy.dialects import sqlite as lite

        return lite.insert(table) if self.sqlite else postgresql.insert(table)

    def _same_file(self) -> None:
        """A removed file can still be written to, and nobody will ever read it."""
        if self.path is None:
            return
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            stat = None
        found = None if stat is None else (stat.st_dev, stat.st_ino)
        if self._file is None:
            self._file = found
        elif found != self._file:
            what = "was removed" if found is None else "was replaced by another file"
            raise StoreError(
                f"the store {self.url} {what} while it was in use; nothing more can be kept in it. "
                "Cure: put the file back, or begin with a new store"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            cause = error.orig
            text = masked(str(cause).strip().splitlines()[0]) if str(cause).strip() else type(cause).__name__
            if self.sqlite and ("locked" in text or "busy" in text):
                raise StoreBusyError(
                    f"the store {self.url} stayed locked for {BUSY_SECONDS:g} s: another program is writing to it. "
                    "Cure: end that program, then resume; nothing recorded is lost"
                ) from error
            if any(word in text for word in _FULL):
                raise StoreFullError(
                    f"no space is left for the store {self.url} ({text}). "
                    "Cure: make some, then resume; what was recorded is kept"
                ) from error
            if isinstance(cause, sqlite3.DatabaseError) and any(word in text for word in _DAMAGED):
                raise StoreCorruptError(
                    f"{self.url} is not a usable store ({text}). Cure: restore it from a backup, or salvage it with "
                    f"sqlite3's .recover; it was left as it is"
                ) from error
            if not self.sqlite and (error.connection_invalidated or isinstance(error, exc.OperationalError)):
                raise StoreUnreachableError(
                    f"the store {self.url} cannot be reached ({text}). Cure: see that the server runs and takes "
                    "connections, then resume; nothing recorded is lost"
                ) from error
            raise StoreError(f"the store {self.url} failed: {text}") from error

    def close(self) -> None:
        self.engine.dispose()


def _sqlite_pragmas(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we write BEGIN ourselves: the driver's own habit hides read-then-write races
    try:
        for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
            connection.execute(f"pragma {pragma}").close()
    except sqlite3.Error:  # not a database, or locked: nobody else will close it
        connection.close()
        raise


def _sqlite_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("begin" if connection.get_execution_options().get(_READ) else "begin immediate")
