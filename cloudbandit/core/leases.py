"""The ledger of leases: a row per lease, durable before anything is asked for, and GONE only once a listing showed nothing of it.

    INTENT → ACTIVE → GONE
       ╲        ╲      ╱
        ╲────────╲─ STUCK   (it may still cost money: held until it is seen gone)

A row says where to look and what it may cost; it is never the proof that nothing else stands, which only a listing by tag is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Protocol

import sqlalchemy as sa

from cloudbandit.core import store_schema as schema
from cloudbandit.core.database import Database
from cloudbandit.core.masking import masked


class LeaseState(StrEnum):
    """Of a lease: asked for; accepted; told to go and still there (or nobody can tell); seen gone."""

    INTENT = "intent"
    ACTIVE = "active"
    STUCK = "stuck"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease as the ledger keeps it.

    Args:
        key, run: as in its tags.
        arm: the provider's name in the study.
        offer: the offer's label.
        hold_usd: the most it may be billed while it goes as it should.
        expires: seconds since 1970.
        id, where_at: the provider's own name of the machine, and its region or zone, once the launch was accepted.
        why: of a stuck one.
        usd: its bill, once it is gone.
        asked_at, changed_at: seconds since 1970.
    """

    key: str
    run: str
    arm: str
    offer: str
    hold_usd: float
    expires: float
    state: LeaseState = LeaseState.INTENT
    id: str = ""
    where_at: str = ""
    why: str = ""
    usd: float | None = None
    asked_at: float = 0.0
    changed_at: float = 0.0


class LeaseBook(Protocol):
    """Where the rows are. Safe to call from several threads; what a call did is durable when it returns."""

    def intend(self, row: LeaseRow) -> None:
        """A new lease, before it is asked for. Idempotent."""

    def mark(self, key: str, state: LeaseState, **changes: Any) -> None:
        """What became of it; ``changes``: other columns. A row that is gone stays so; a key nobody intended is passed over."""

    def standing(self, run: str | None = None) -> list[LeaseRow]:
        """Rows that are not gone, the oldest first."""

    def rows(self, run: str | None = None) -> list[LeaseRow]:
        """All of them, the oldest first."""


class MemoryBook:
    """A ledger that ends with this process: for studies without a store, and for tests."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._rows: dict[str, LeaseRow] = {}
        self._clock, self._lock = clock, threading.Lock()

    def intend(self, row: LeaseRow) -> None:
        now = self._clock()
        with self._lock:
            self._rows.setdefault(row.key, replace(row, asked_at=now, changed_at=now))

    def mark(self, key: str, state: LeaseState, **changes: Any) -> None:
        with self._lock:
            row = self._rows.get(key)
            if row is not None and row.state is not LeaseState.GONE:
                self._rows[key] = replace(row, state=state, changed_at=self._clock(), **changes)

    def standing(self, run: str | None = None) -> list[LeaseRow]:
        return [row for row in self.rows(run) if row.state is not LeaseState.GONE]

    def rows(self, run: str | None = None) -> list[LeaseRow]:
        with self._lock:
            return [row for row in self._rows.values() if run in (None, row.run)]


class StoreBook:
    """The ledger in a trial store. Made by `cloudbandit.core.store.Store.leases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend(self, row: LeaseRow) -> None:
        now = time.time()
        values = {**asdict(row), "state": str(row.state), "asked_at": now, "changed_at": now}
        insert = self._database.insert(schema.leases).values(values).on_conflict_do_nothing(index_elements=["key"])
        self._database.patiently(lambda connection: connection.execute(insert))

    def mark(self, key: str, state: LeaseState, **changes: Any) -> None:
        changes = {name: masked(value) if isinstance(value, str) else value for name, value in changes.items()}
        c = schema.leases.c
        update = sa.update(schema.leases).where(c.key == key, c.state != str(LeaseState.GONE))
        values = {**changes, "state": str(state), "changed_at": time.time()}
        self._database.patiently(lambda connection: connection.execute(update.values(values)))

    def standing(self, run: str | None = None) -> list[LeaseRow]:
        return self._read(schema.leases.c.state != str(LeaseState.GONE), run)

    def rows(self, run: str | None = None) -> list[LeaseRow]:
        return self._read(sa.true(), run)

    def _read(self, which: Any, run: str | None) -> list[LeaseRow]:
        query = sa.select(schema.leases).where(which).order_by(schema.leases.c.asked_at, schema.leases.c.key)
        if run is not None:
            query = query.where(schema.leases.c.run == run)
        with self._database.read() as connection:
            found = connection.execute(query).all()
        names = [field.name for field in fields(LeaseRow)]
        return [LeaseRow(**{**{n: getattr(row, n) for n in names}, "state": LeaseState(row.state)}) for row in found]
