"""The stress variant of a table: provider levels re-drawn, so that no provider dominates.

Where one provider wins every workload, a method that learned only that looks clever. Here each (workload, arm) is scaled by a
factor, separately for each metric in seconds or USD, so that the arm's best value becomes a draw from one distribution shared
by all arms of the workload. What is inside an arm keeps its shape.
"""

from __future__ import annotations

import copy
import functools
import math
import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cloudbandit.core.errors import TableError
from cloudbandit.tables.cell import price_usd_per_s
from cloudbandit.tables.columns import Array
from cloudbandit.tables.table import Table

SUFFIX = ":stress"


@functools.lru_cache(maxsize=2)
def stressed(table: Table, seed: int = 0) -> Table:
    """A copy of a table with re-drawn levels.

    The level of arm a in workload w is drawn from a normal distribution around the mean of the workload's log bests, with the
    standard deviation that log bests have around that mean over the whole table.

    Raises:
        TableError: no metric is in seconds or USD.
    """
    units = {name: m.unit.upper() for name, m in table.manifest.metrics.items()}
    metrics = [name for name in table.metrics if units[name] == "S" or units[name].startswith("USD")]
    if not metrics:
        raise TableError(f"the stress variant scales metrics in s or USD, and {table.name!r} has none of those units")
    factors = {metric: _factors(table, metric, seed, i) for i, metric in enumerate(metrics)}
    by_column = {table.manifest.metrics[m].column: m for m in metrics}
    out = copy.copy(table)
    out.name = table.name + SUFFIX
    out.manifest = replace(table.manifest, failed_seconds=None)  # charged in the rows, where the level is known
    records = table.records
    arms = [candidate.arm[0] for candidate in records.candidates]
    where = [(records.workloads[w], arms[c]) for w, c in zip(records.workload, records.candidate, strict=True)]
    levels = {m: np.array([factors[m].get(place, 1.0) for place in where]) for m in metrics}
    usd, seconds = _charged(table)

    def scaled(column: Array | None, of: str) -> Array | None:
        return column * levels[by_column[of]] if column is not None and of in by_column else column

    out.records = replace(
        records,
        metrics={m: v * levels[m] if m in levels else v for m, v in records.metrics.items()},
        usd=scaled(usd, table.manifest.spent_usd),
        seconds=scaled(seconds, table.manifest.spent_seconds),
    )
    return out


def _charged(table: Table) -> tuple[Array | None, Array | None]:
    """USD and seconds of every run, a failed one charged ``failed_seconds`` at its cell's price."""
    records, charge = table.records, table.manifest.failed_seconds
    if charge is None:
        return records.usd, records.seconds
    usd = None if records.usd is None else records.usd.copy()
    seconds = np.full(len(records), np.nan) if records.seconds is None else records.seconds.copy()
    for cells in records.cells.values():
        for cell in cells.in_turn:
            failed = [row.line - 2 for row in cell.rows if not row.ok]
            seconds[failed] = charge
            price = price_usd_per_s(cell)
            if usd is not None and price is not None:
                usd[failed] = price * charge
    return usd, seconds


def _factors(table: Table, metric: str, seed: int, position: int) -> Mapping[tuple[str, str], float]:
    bests: dict[str, dict[str, float]] = {}
    for workload, cells in table.records.cells.items():
        for cell in cells.in_turn:
            values = [row.metrics[metric] for row in cell.succeeded if row.metrics.get(metric, 0.0) > 0]
            if values:
                arm = cell.candidate.arm[0]
                here = bests.setdefault(workload, {})
                here[arm] = min(here.get(arm, math.inf), math.log(sum(values) / len(values)))
    deviations = [b - np.mean(list(here.values())) for here in bests.values() for b in here.values() if len(here) > 1]
    spread = float(np.std(deviations)) if deviations else 0.0
    out = {}
    for workload, here in bests.items():
        rng = np.random.default_rng((seed, zlib.crc32(workload.encode()), position))
        middle = float(np.mean(list(here.values())))
        for arm in table.arms:  # every arm draws, so that a missing one does not shift the others
            drawn = middle + spread * float(rng.standard_normal())
            if arm in here:
                out[workload, arm] = math.exp(drawn - here[arm])
    return out
