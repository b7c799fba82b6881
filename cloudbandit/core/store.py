"""The trial store: every trial is kept before and after it is paid for.

One schema for SQLite (the default) and PostgreSQL (a team, by URL). A trial row is written "started", with its quote, before
anything is spent, and "finished", with its result, after. A study is resumed by telling its history again, in the order in
which it was first told. Exactly one process runs a study at a time (`cloudbandit.core.record`); a started trial without an end
therefore belongs to a dead run: it becomes LOST, and its hold is settled at the quote.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cloudbandit.core import record
from cloudbandit.core import store_schema as schema
from cloudbandit.core.database import Database
from cloudbandit.core.errors import (
    StoreCorruptError,
    StoreVersionError,
    StudyMismatchError,
    UnknownNameError,
)
from cloudbandit.core.leases import StoreBook
from cloudbandit.core.masking import masked_data
from cloudbandit.core.record import StoredTrial, StudyRecord, Totals
from cloudbandit.core.trial import Trial

_WHERE_KNOWN = "where_known"


class Store:
    """A database of studies.

    Args:
        url: a path (SQLite), ``sqlite:///PATH``, or ``postgresql://…`` (needs the extra ``postgres``).

    Attributes:
        id: of this store alone, whoever made it where: keys of leased hosts begin with it.
        url: without the password.
        path: of the SQLite file; None for a server.

    Raises:
        StoreVersionError: written by a newer schema version.
        StoreCorruptError: not a database, or damaged.
        StoreBusyError: locked by another process for more than 10 s.
        StoreUnreachableError: the server cannot be reached.
    """

    def __init__(self, url: str | Path) -> None:
        self._database = Database(url)
        self.url, self.path = self._database.url, self._database.path
        try:
            self.id = self._known_id() or self._create()
        except BaseException:
            self._database.close()
            raise

    def _known_id(self) -> str:
        """Of a store that is up to date; empty for any other."""
        if self.path is not None and not self.path.exists():
            return ""
        with self._database.read() as connection:
            up_to_date = sa.inspect(connection).has_table(schema.meta.name) and schema.is_current(connection)
            return schema.store_id(connection) if up_to_date else ""

    def _create(self) -> str:
        with self._database.write() as connection:
            if self.path is None:  # two clients may create or migrate the schema at once
                connection.execute(sa.text("select pg_advisory_xact_lock(737303)"))
            inspector = sa.inspect(connection)
            if not inspector.has_table(schema.meta.name):
                if self.path is not None and inspector.get_table_names():
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
            return schema.store_id(connection)

    def studies(self) -> list[str]:
        """Names of the stored studies, the oldest first."""
        with self._database.read() as connection:
            return list(connection.execute(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)).scalars())

    @property
    def leases(self) -> StoreBook:
        """The ledger of what was rented for its studies."""
        return StoreBook(self._database)

    def spec(self, name: str) -> dict[str, Any]:
        """What the study was last run with, so that it can be rebuilt."""
        return self._json(name, "spec")

    def identity(self, name: str) -> dict[str, Any]:
        """What a resumed study must agree with."""
        return self._json(name, "identity")

    def trials(self, name: str, last: int | None = None) -> list[StoredTrial]:
        """The finished trials of a study, or the ``last`` of them, in the order in which they were told."""
        return record.finished(self._database, int(self._study(name).id), last=last)

    def each_trial(self, name: str) -> Iterator[StoredTrial]:
        """The same one by one, for more of them than fit into memory."""
        return record.each_finished(self._database, int(self._study(name).id))

    def totals(self, name: str) -> Totals:
        """How many finished trials a study has, and what they cost."""
        return record.totals(self._database, int(self._study(name).id))

    def trial(self, name: str, number: int) -> StoredTrial | None:
        """One finished trial; None where there is none of that number."""
        return next(iter(record.finished(self._database, int(self._study(name).id), number)), None)

    def in_flight(self, name: str) -> list[Trial]:
        """Trials that were started and have no end yet."""
        return record.in_flight(self._database, int(self._study(name).id))

    def _study(self, name: str) -> Any:
        query = sa.select(schema.studies).where(schema.studies.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownNameError("study", name, self.studies(), f"(in the store {self.url})")
        return row

    def _json(self, name: str, column: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(getattr(self._study(name), column))
        except json.JSONDecodeError as error:
            raise StoreCorruptError(
                f"the {column} of the study {name!r} in {self.url} is damaged ({error}). "
                "Cure: restore the store from a backup; it was left as it is"
            ) from error
        if not isinstance(found, dict):
            raise StoreCorruptError(
                f"the {column} of the study {name!r} in {self.url} is a {type(found).__name__}, not an object. "
                "Cure: restore the store from a backup; it was left as it is"
            )
        return found

    def open(
        self,
        name: str,
        identity: Mapping[str, Any],
        spec: Mapping[str, Any] | None = None,
        where_known: Mapping[str, Any] | None = None,
    ) -> StudyRecord:
        """Begin a study of this name, or go on with it.

        Args:
            identity: what must be the same when the study is resumed (domain, goal, optimizer, seed).
            spec: kept for `spec`, passwords masked; that of the latest run counts.
            where_known: what must be the same too, where both the stored study and this one know it (machine, engine version).

        Raises:
            StoreBusyError: another process runs this study.
            StudyMismatchError: the stored study was about something else.
        """
        wanted = masked_data(json.loads(json.dumps(dict(identity))))
        known = masked_data(json.loads(json.dumps({k: v for k, v in (where_known or {}).items() if v is not None})))
        text = json.dumps(masked_data(dict(spec or {})))
        kept = json.dumps(wanted | ({_WHERE_KNOWN: known} if known else {}))
        values = {"name": name, "identity": kept, "spec": text, "created_at": time.time()}
        with self._database.write() as connection:
            insert = self._database.insert(schema.studies).values(values)
            connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
        stored = self.identity(name)
        then = stored.pop(_WHERE_KNOWN, {})
        if "budget" not in wanted:
            stored.pop("budget", None)  # replays once had it there; a larger budget goes on with a study
        both = then.keys() & known.keys()
        stored, now = stored | {k: then[k] for k in both}, wanted | {k: known[k] for k in both}
        differing = [k for k in {**stored, **now} if stored.get(k) != now.get(k)]
        if differing:
            details = "; ".join(f"{k}: stored {stored.get(k)!r}, now {now.get(k)!r}" for k in differing)
            raise StudyMismatchError(
                f"the study {name!r} in {self.url} is another one ({details}). "
                "Cure: give this study another name, or run it as it was"
            )
        study = int(self._study(name).id)
        claimed = StudyRecord(self._database, study, name)
        try:
            if spec is not None:
                claimed.keep_spec(text)
        except BaseException:
            claimed.close()
            raise
        return claimed

    def claim(self, name: str) -> StudyRecord:
        """Keep everybody else from running a study, until what is returned is closed.

        Raises:
            StoreBusyError: somebody runs it.
        """
        return StudyRecord(self._database, int(self._study(name).id), name)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
