"""What a table records: runs, and the runs of one candidate under one workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from cloudbandit.core.trial import Candidate, Status

EQUAL = 1.01
"""Rates that differ by less are one price: times and dollars are written with so many digits."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded run. ``line`` is its line in the file, the header being line 1; ``load`` its concurrent users, where the
    manifest names a column of loads."""

    line: int
    status: Status
    reason: str
    metrics: Mapping[str, float]
    usd: float | None
    seconds: float | None
    facts: Mapping[str, float | str]
    load: float | None = None

    @property
    def ok(self) -> bool:
        return self.status is Status.OK


@dataclass(frozen=True, slots=True)
class Cell:
    """All rows of one candidate under one workload."""

    candidate: Candidate
    rows: tuple[Row, ...]

    @property
    def succeeded(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.ok)


def facts_of(cell: Cell) -> dict[str, float | str]:
    """What its rows know; repeats agree, and one may know less."""
    return {name: value for row in reversed(cell.rows) for name, value in row.facts.items()}


def list_price_usd_per_s(cell: Cell) -> float | None:
    """What a second of its trials was paid, where that is a price known beforehand: the same in every repeat, and > 0."""
    paid = [r.usd / r.seconds for r in cell.rows if r.usd is not None and r.seconds]
    return fmean(paid) if paid and 0 < max(paid) <= EQUAL * min(paid) else None


def price_usd_per_s(cell: Cell) -> float | None:
    """What a second of its trials was paid; None where that is not known."""
    paid = [(r.usd, r.seconds) for r in cell.rows if r.usd is not None and r.seconds]
    return sum(u for u, _ in paid) / sum(s for _, s in paid) if paid else None
