"""``table.toml``: what the columns of a recorded table mean. The format is documented in docs/tables.md."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cloudbandit.core.errors import TableError
from cloudbandit.core.parameter import Kind
from cloudbandit.core.schema import Section, convert, parse
from cloudbandit.core.trial import Status

_TEXTS = "a text, or a list of texts"
_PARAMETER = 'int, float, bool, choice, or { type = "choice", arm = "A" }'
ColumnKind = Literal["int", "float", "bool", "choice"]


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """A column, or every column with a prefix: its kind, and the arm it belongs to (None: all)."""

    pattern: str
    kind: Kind
    arm: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's column and unit."""

    column: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class StatusRule:
    """Which texts of the status column mean what; patterns as in a shell."""

    column: str
    patterns: Mapping[Status, tuple[str, ...]]
    otherwise: Status | None
    reason: str = ""

    def status(self, text: str) -> Status | None:
        """None: no rule covers it."""
        for status, patterns in self.patterns.items():
            if any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns):
                return status
        return self.otherwise


@dataclass(frozen=True, slots=True)
class CatalogueJoin:
    """``[facts.catalogue]``: which columns say what a row rents, so that the catalogue's facts of it are the row's.

    Attributes:
        on: the column of instance types, as the catalogue calls them.
        provider, region, purchase: columns; an empty ``provider`` is the arm's column. Without ``region`` an instance type must
            have one price in the catalogue; without ``purchase`` it is bought on demand.
        offers: a catalogue of one's own, with the columns of the bundled one; None: the bundled one.
    """

    on: str
    provider: str = ""
    region: str = ""
    purchase: str = ""
    offers: Path | None = None


FactColumns = str | tuple[str, ...]
"""A fact's column; or several, of which each row fills at most one."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed ``table.toml``; see docs/tables.md for every key."""

    file: Path
    context: tuple[str, ...]
    arm: str
    params: tuple[ParameterRule, ...]
    metrics: Mapping[str, Metric]
    spent_usd: str = ""
    spent_seconds: str = ""
    status: StatusRule | None = None
    repeats: str = "mean"
    missing: str = "exclude"
    failed_seconds: float | None = None
    facts: Mapping[str, FactColumns] = field(default_factory=dict)
    catalogue: CatalogueJoin | None = None
    licence: str = ""
    source: str = ""
    description: str = ""
    estimates: bool = False
    load: str = ""
    """The column of concurrent users: rows that differ in it alone are one config's load curve."""
    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"


class _Table(Section):
    file: str
    arm: str = ""
    context: Annotated[str | list[str], Meta(description=_TEXTS)] = msgspec.field(default_factory=list)
    load: str = ""
    separator: Annotated[str, Meta(min_length=1, max_length=1, description="one character")] = ","
    decimal: Annotated[Literal[".", ","], Meta(description='"." or ","')] = "."
    encoding: Annotated[str, Meta(min_length=1, description="the name of an encoding: utf-8, utf-16, latin-1, …")] = (
        "utf-8"
    )
    licence: str = ""
    source: str = ""
    name: str = ""
    description: str = ""
    citation: str = ""
    estimates: bool = False


class _Parameter(Section):
    type: ColumnKind
    arm: str | None = None


class _Metric(Section):
    column: str
    unit: str = ""


class _Spent(Section):
    usd: str = ""
    seconds: str = ""


_Patterns = Annotated[str | Annotated[list[str], Meta(min_length=1)], Meta(description=_TEXTS)]


class _Status(Section):
    column: str
    ok: _Patterns
    failed: _Patterns | None = None
    timeout: _Patterns | None = None
    stopped: _Patterns | None = None
    unavailable: _Patterns | None = None
    interrupted: _Patterns | None = None
    lost: _Patterns | None = None
    reason: str = ""
    otherwise: Annotated[Status | None, Meta(description=", ".join(map(str, Status)))] = None

    def rule(self) -> StatusRule:
        patterns = {s: _several(getattr(self, str(s))) for s in Status if getattr(self, str(s)) is not None}
        return StatusRule(self.column, patterns, self.otherwise, self.reason)


class _Replay(Section):
    repeats: Literal["mean", "draw", "first"] = "mean"
    missing: Literal["exclude", "unavailable"] = "exclude"
    failed_seconds: Annotated[float, Meta(gt=0, description="a number of seconds > 0")] | None = None


class _Catalogue(Section):
    on: str
    provider: str = ""
    region: str = ""
    purchase: str = ""
    offers: str = ""


_Fact = str | Annotated[list[str], Meta(min_length=1)] | _Catalogue
_FACT = 'a column, or a list of columns; catalogue = { on = "instance" } beside them'


class _File(Section):
    table: _Table
    params: Annotated[
        dict[str, Annotated[ColumnKind | _Parameter, Meta(description=_PARAMETER)]],
        Meta(min_length=1, description="at least one parameter"),
    ]
    metrics: Annotated[
        dict[str, Annotated[str | _Metric, Meta(description='{ column = "target_cost", unit = "USD" }')]],
        Meta(min_length=1, description="at least one metric"),
    ]
    spent: _Spent = msgspec.field(default_factory=_Spent)
    status: _Status | None = None
    replay: _Replay = msgspec.field(default_factory=_Replay)
    facts: dict[str, Annotated[_Fact, Meta(description=_FACT)]] = msgspec.field(default_factory=dict)


def read_manifest(path: Path, file: Path | None = None) -> Manifest:
    """Parse a ``table.toml``.

    Args:
        path: the manifest.
        file: where the data are, if not beside the manifest.

    Raises:
        TableError: malformed or self-contradictory; the message names the key, what it holds, and what it may hold.
    """
    raw = parse(path, f"{path} does not exist; a table is a folder with a table.toml (see docs/tables.md)", TableError)
    read = convert(raw, _File, path, TableError)
    params = tuple(
        ParameterRule(name, p.type, p.arm) if isinstance(p, _Parameter) else ParameterRule(name, p)
        for name, p in read.params.items()
    )
    metrics = {n: Metric(m.column, m.unit) if isinstance(m, _Metric) else Metric(m) for n, m in read.metrics.items()}
    context = _several(read.table.context)
    status = read.status.rule() if read.status else None
    roles = {*context, read.table.arm, read.table.load, *(m.column for m in metrics.values())}
    roles |= {read.spent.usd, read.spent.seconds, *((status.column, status.reason) if status else ())}  # outcomes
    twice = [rule.pattern for rule in params if rule.pattern in roles]
    if twice:
        raise TableError(f"{path}: column {twice[0]!r} is a parameter and has another role too")
    facts, catalogue = _facts(path, read.facts)
    outcomes = {*(m.column for m in metrics.values()), *((status.column, status.reason) if status else ())}
    check_no_outcome(path, facts, catalogue, outcomes - {""})
    return Manifest(
        file or path.parent / read.table.file,
        context,
        read.table.arm,
        params,
        metrics,
        read.spent.usd,
        read.spent.seconds,
        status,
        read.replay.repeats,
        read.replay.missing,
        read.replay.failed_seconds,
        facts,
        catalogue,
        read.table.licence,
        read.table.source,
        read.table.description,
        read.table.estimates,
        read.table.load,
        read.table.separator,
        read.table.decimal,
        read.table.encoding,
    )


def _facts(path: Path, given: Mapping[str, _Fact]) -> tuple[dict[str, FactColumns], CatalogueJoin | None]:
    facts: dict[str, FactColumns] = {}
    join = None
    for name, fact in given.items():
        if isinstance(fact, _Catalogue):
            if name != "catalogue":
                raise TableError(f"{path}: facts.{name} is a table; only facts.catalogue may be one. Cure: {_FACT}")
            offers = path.parent / fact.offers if fact.offers else None
            join = CatalogueJoin(fact.on, fact.provider, fact.region, fact.purchase, offers)
        else:
            facts[name] = fact if isinstance(fact, str) else tuple(fact)
    return facts, join


def check_no_outcome(
    source: object, facts: Mapping[str, FactColumns], catalogue: CatalogueJoin | None, outcomes: Collection[str]
) -> None:
    """A fact is known before a trial, so it is nothing that a trial finds out.

    Raises:
        TableError: a fact is a column of a metric, or of the status.
    """
    known = {f"facts.{name}": (c,) if isinstance(c, str) else c for name, c in facts.items()}
    if catalogue is not None:
        known["facts.catalogue"] = (catalogue.on, catalogue.provider, catalogue.region, catalogue.purchase)
    for name, columns in known.items():
        leak = next((c for c in columns if c in outcomes), None)
        if leak is not None:
            raise TableError(
                f"{source}: {name} is the column {leak!r}, which trials measure (a metric, or the status), so it would tell the "
                "optimizer the answer; a fact is known before any trial. Cure: another column, or leave the fact out"
            )


def _several(texts: str | list[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)
