"""Replay of a recorded table: every evaluation is looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

import numpy as np

from cloudbandit.core.errors import TableError, UnknownNameError
from cloudbandit.core.protocols import Quote, Run
from cloudbandit.core.trial import Candidate, Result, Status, Trial
from cloudbandit.tables.cell import Cell, Row
from cloudbandit.tables.manifest import Manifest
from cloudbandit.tables.table import Table

Failures = Literal["strict", "recorded"]


class Recorded:
    """One workload of a table as an objective.

    Args:
        table, workload: what to look up.
        metrics: the metrics that will be minimised or constrained.
        failures: ``"strict"``: a config all of whose runs failed is failed; it is charged ``replay.failed_seconds`` (at its
            price), or what was recorded where the manifest states none; runs that succeeded speak for a config that has
            both. ``"recorded"``: a failed run's values count like any other's.

    Raises:
        UnknownNameError: the table has no such workload or metric.
        TableError: ``failures="recorded"``, and a failed run has no value for one of ``metrics``.
    """

    def __init__(self, table: Table, workload: str, metrics: Sequence[str], failures: Failures = "strict") -> None:
        if failures not in ("strict", "recorded"):
            raise UnknownNameError("failure policy", failures, ("strict", "recorded"))
        for metric in metrics:
            if metric not in table.metrics:
                raise UnknownNameError("metric", metric, table.metrics, f"(in the table {table.name})")
        self.workload = table.workload(workload)
        self.domain = self.workload.domain
        self._manifest: Manifest = table.manifest
        self.failures = failures
        if failures == "recorded":
            for cell in self.workload.cells.values():
                for row in cell.rows:
                    lacking = [m for m in metrics if m not in row.metrics]
                    if lacking:
                        raise TableError(
                            f"{table.name}: the failed run in line {row.line} has no value for {lacking[0]!r}, so "
                            "failed runs cannot count. Cure: failures='strict'"
                        )
        self._results: dict[str, Result] = {}

    def rows(self, cell: Cell) -> tuple[Row, ...]:
        """The rows that speak for a cell under the failure policy."""
        return cell.rows if self.failures == "recorded" else cell.succeeded or cell.rows

    def quote(self, candidate: Candidate) -> Quote:
        cell = self.workload.cells.get(candidate.key)
        if cell is None:
            return Quote()
        if self._manifest.repeats != "draw":
            result = self.true_result(candidate)
            return Quote(result.spent_usd, result.seconds)
        results = [self._result(cell, (row,)) for row in self.rows(cell)]
        return Quote(max(r.spent_usd for r in results), max(r.seconds for r in results))

    def evaluate(self, trial: Trial, run: Run) -> Result:
        cell = self.workload.cells.get(trial.candidate.key)
        if cell is not None and self._manifest.repeats == "draw":
            rows = self.rows(cell)
            drawn = int(np.random.default_rng(trial.seed).integers(len(rows)))
            return self._result(cell, (rows[drawn],))
        return self.true_result(trial.candidate)

    def true_result(self, candidate: Candidate) -> Result:
        """What the table says on average (``repeats = "first"``: in its first row)."""
        found = self._results.get(candidate.key)
        if found is None:
            cell = self.workload.cells.get(candidate.key)
            if cell is None:
                found = Result(Status.UNAVAILABLE, source="recorded", reason="not_recorded")
            else:
                rows = self.rows(cell)
                found = self._result(cell, rows[:1] if self._manifest.repeats == "first" else rows)
            self._results[candidate.key] = found
        return found

    def facts(self, candidate: Candidate) -> Mapping[str, float | str]:
        """The manifest's facts, and the price where trials were paid by time."""
        cell = self.workload.cells.get(candidate.key)
        if cell is None:
            return {}
        facts = dict(cell.rows[0].facts)
        price = _price_usd_per_s(cell)
        if price is not None:
            facts.setdefault("price_usd_per_h", price * 3600)
        return facts

    def _result(self, cell: Cell, rows: Sequence[Row]) -> Result:
        ok = any(row.ok for row in rows)
        if ok or self.failures == "recorded":
            metrics = {
                m: fmean(row.metrics[m] for row in rows) for m in rows[0].metrics if all(m in r.metrics for r in rows)
            }
            usd, seconds = _mean([r.usd for r in rows]), _mean([r.seconds for r in rows])
        else:
            metrics = {}
            usd, seconds = self._charge(cell, rows)
        status = Status.OK if ok else rows[0].status
        reason = "" if ok else rows[0].reason
        return Result(status, metrics, spent_usd=usd, seconds=seconds, source="recorded", reason=reason)

    def _charge(self, cell: Cell, rows: Sequence[Row]) -> tuple[float, float]:
        usd, seconds = _mean([r.usd for r in rows]), _mean([r.seconds for r in rows])
        if self._manifest.failed_seconds is None:
            return usd, seconds
        price = _price_usd_per_s(cell)
        return usd if price is None else price * self._manifest.failed_seconds, self._manifest.failed_seconds


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return fmean(known) if known else 0.0


def _price_usd_per_s(cell: Cell) -> float | None:
    paid = [(r.usd, r.seconds) for r in cell.rows if r.usd is not None and r.seconds]
    return sum(u for u, _ in paid) / sum(s for _, s in paid) if paid else None
