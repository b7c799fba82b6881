"""The tables of the trial store, and how a store written before becomes one of today."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

VERSION = 3
"""1: without ``hosts_usd``, ``claim`` and the store's own id. 2: without leases."""

_all = sa.MetaData()
meta = sa.Table(
    "cloudbandit_meta",
    _all,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(255), nullable=False),
)
studies = sa.Table(
    "cloudbandit_studies",
    _all,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("identity", sa.Text, nullable=False),  # what a resumed study must agree with
    sa.Column("spec", sa.Text, nullable=False),  # how the CLI rebuilds it
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("claim", sa.String(32)),  # a token of the process that runs it, checked at every write
)
trials = sa.Table(
    "cloudbandit_trials",
    _all,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("cloudbandit_studies.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("quote_usd", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.Column("told", sa.Integer),  # increases in the order in which results were told; null while in flight
    sa.Column("clock_s", sa.Float),  # the study's clock when it ended
    sa.Column("spent_usd", sa.Float),
    sa.Column("hosts_usd", sa.Float),
    sa.Column("result", sa.Text),
)
leases = sa.Table(  # see `cloudbandit.core.leases`
    "cloudbandit_leases",
    _all,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(255), nullable=False, index=True),
    sa.Column("arm", sa.String(255), nullable=False),
    sa.Column("offer", sa.String(255), nullable=False),
    sa.Column("hold_usd", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("id", sa.String(255), nullable=False),
    sa.Column("where_at", sa.String(255), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("usd", sa.Float),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
)


def fresh_id() -> str:
    """Eight characters nobody else has; may be part of a cloud's tag."""
    return secrets.token_hex(4)


def create(connection: sa.Connection) -> None:
    """All tables, in a store that is new (or that another client made a moment ago)."""
    _all.create_all(connection)
    if _value(connection, "schema_version") is None:
        _put(connection, schema_version=str(VERSION), store_id=fresh_id())


def migrate(connection: sa.Connection) -> int | str | None:
    """Bring a store of an earlier version up to date within the transaction of ``connection``; the version it then has."""
    found = _value(connection, "schema_version")
    if found not in ("1", "2"):
        return int(found) if found is not None and found.isdigit() else found
    if found == "1":
        connection.execute(sa.text(f"alter table {trials.name} add column hosts_usd float"))
        connection.execute(sa.text(f"alter table {studies.name} add column claim varchar(32)"))
        connection.execute(sa.update(trials).where(trials.c.told.is_not(None)).values(hosts_usd=0.0))
        _put(connection, store_id=fresh_id())
    leases.create(connection, checkfirst=True)
    connection.execute(sa.update(meta).where(meta.c.key == "schema_version").values(value=str(VERSION)))
    return VERSION


def is_current(connection: sa.Connection) -> bool:
    """Whether the store needs no migration."""
    return _value(connection, "schema_version") == str(VERSION)


def store_id(connection: sa.Connection) -> str:
    """The store's own id."""
    return _value(connection, "store_id") or ""


def _value(connection: sa.Connection, key: str) -> str | None:
    return connection.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar()


def _put(connection: sa.Connection, **values: str) -> None:
    connection.execute(sa.insert(meta), [{"key": k, "value": v} for k, v in values.items()])
