"""Replay of a recorded table: every evaluation is looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal

import numpy as np

from cloudbandit.core.curve import ENGINES, PRICE, USERS
from cloudbandit.core.errors import TableError, UnknownNameError
from cloudbandit.core.protocols import Quote, Run
from cloudbandit.core.trial import Candidate, Result, Status, Trial
from cloudbandit.tables.cell import Cell, Row, facts_of, list_price_usd_per_s, price_usd_per_s
from cloudbandit.tables.manifest import Manifest
from cloudbandit.tables.table import Table

Failures = Literal["strict", "recorded"]


class Recorded:
    """One workload of a table as an objective.

    With a column of loads (``table.load``) a trial is a sweep over them, and what it costs adds up. Its result has a row per load
    (``users`` and the metrics) and, where known, the machine's price and engines: `cloudbandit.core.fleet.FleetGoal` judges it.

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
            for cell in self.workload.cells.in_turn:
                for row in cell.rows:
                    lacking = [m for m in metrics if m not in row.metrics]
                    if lacking:
                        raise TableError(
                            f"{table.name}: the failed run in line {row.line} has no value for {lacking[0]!r}, so "
                            "failed runs cannot count. Cure: failures='strict'"
                        )
        self._results: dict[str, Result] = {}
        self._known: dict[str, Mapping[str, float | str]] = {}

    def quote(self, candidate: Candidate) -> Quote:
        cell = self.workload.cells.get(candidate.key)
        if cell is None:
            return Quote()
        if self._manifest.repeats != "draw":
            result = self.true_result(candidate)
            return Quote(result.spent_usd, result.seconds)
        drawable = [[self._one(cell, (row,)) for row in rows] for rows in self._by_load(cell).values()]
        return Quote(
            sum(max(r.spent_usd for r in some) for some in drawable),
            sum(max(r.seconds for r in some) for some in drawable),
        )

    def evaluate(self, trial: Trial, run: Run) -> Result:
        cell = self.workload.cells.get(trial.candidate.key)
        if cell is not None and self._manifest.repeats == "draw":
            rng = np.random.default_rng(trial.seed)
            return self._result(cell, lambda rows: (rows[int(rng.integers(len(rows)))],))
        return self.true_result(trial.candidate)

    def true_result(self, candidate: Candidate) -> Result:
        """What the table says on average (``repeats = "first"``: in its first row)."""
        found = self._results.get(candidate.key)
        if found is None:
            cell = self.workload.cells.get(candidate.key)
            if cell is None:
                found = Result(Status.UNAVAILABLE, source="recorded", reason="not_recorded")
            else:
                found = self.true_result_of(cell)
            self._results[candidate.key] = found
        return found

    def true_result_of(self, cell: Cell) -> Result:
        """The same of a cell; not kept."""
        first = self._manifest.repeats == "first"
        return self._result(cell, lambda rows: rows[:1] if first else rows)

    @property
    def units(self) -> Mapping[str, str]:
        """Metric → unit, as far as the manifest tells."""
        return {name: m.unit for name, m in self._manifest.metrics.items() if m.unit}

    def facts(self, candidate: Candidate) -> Mapping[str, float | str]:
        """The manifest's facts, and the price where trials were paid by time, at one price per config."""
        known = self._known.get(candidate.key)
        if known is None:
            cell = self.workload.cells.get(candidate.key)
            known = self._known[candidate.key] = {} if cell is None else self._facts(cell)
        return known

    def _facts(self, cell: Cell) -> dict[str, float | str]:
        facts = facts_of(cell)
        price = list_price_usd_per_s(cell)
        if price is not None:
            facts.setdefault(PRICE, float(f"{price * 3600:.4g}"))  # more digits are those of the clock
        return facts

    def _by_load(self, cell: Cell) -> dict[float | None, tuple[Row, ...]]:
        """The rows that speak for a cell under the failure policy, by increasing load; without loads all under one key."""
        groups: dict[float | None, list[Row]] = {}
        for row in sorted(cell.rows, key=lambda row: row.load or 0.0):
            groups.setdefault(row.load, []).append(row)
        return {load: self._speaking(rows) for load, rows in groups.items()}

    def _speaking(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        succeeded = tuple(row for row in rows if row.ok)
        return tuple(rows) if self.failures == "recorded" or not succeeded else succeeded

    def _result(self, cell: Cell, pick: Callable[[Sequence[Row]], Sequence[Row]]) -> Result:
        """``pick``: of the repeats of a load those that count."""
        if len(cell.rows) == 1 and not self._manifest.load:
            return self._one(cell, cell.rows)
        each = {load: self._one(cell, pick(rows)) for load, rows in self._by_load(cell).items()}
        return self._sweep(cell, each) if self._manifest.load else each[None]

    def _sweep(self, cell: Cell, each: Mapping[float | None, Result]) -> Result:
        """The results of increasing loads as one: a row per load, the metrics of the highest that has some. A load that failed
        is a row without metrics, and ends what the curve serves."""
        results = list(each.values())
        worked = [r for r in results if r.status is Status.OK]
        rows = [{**r.metrics, USERS: load} for load, r in each.items() if load is not None]
        if not worked and self.failures == "strict":
            once = results[:1] if self._manifest.failed_seconds is not None else results
            return replace(results[0], spent_usd=sum(r.spent_usd for r in once), seconds=sum(r.seconds for r in once))
        known, paid = self._facts(cell), price_usd_per_s(cell)
        if paid is not None:
            known.setdefault(PRICE, paid * 3600)  # of a result it may be what was paid, known beforehand or not
        machine = {name: float(known[name]) for name in (PRICE, ENGINES) if name in known}
        highest = [r for r in results if r.metrics][-1]
        return replace(
            worked[-1] if worked else results[0],
            metrics={**machine, **highest.metrics},
            rows=rows,
            spent_usd=sum(r.spent_usd for r in results),
            seconds=sum(r.seconds for r in results),
        )

    def _one(self, cell: Cell, rows: Sequence[Row]) -> Result:
        ok = any(row.ok for row in rows)
        if ok and len(rows) == 1:  # its own mean
            (row,) = rows
            return Result(metrics=row.metrics, spent_usd=row.usd or 0.0, seconds=row.seconds or 0.0, source="recorded")
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
        price = price_usd_per_s(cell)
        return usd if price is None else price * self._manifest.failed_seconds, self._manifest.failed_seconds


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return fmean(known) if known else 0.0
