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
from cloudbandit.tables.cell import Cell, Row
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
    usd, seconds = by_column.get(table.manifest.spent_usd), by_column.get(table.manifest.spent_seconds)
    failed_seconds = table.manifest.failed_seconds
    out = copy.copy(table)
    out.name = table.name + SUFFIX
    out.manifest = replace(table.manifest, failed_seconds=None)  # charged in the rows, where the level is known

    def scaled(workload: str, cell: Cell) -> Cell:
        level = {m: factors[m].get((workload, cell.candidate.arm[0]), 1.0) for m in metrics}
        of_usd, of_seconds = level.get(usd or "", 1.0), level.get(seconds or "", 1.0)
        paid = [(r.usd, r.seconds) for r in cell.rows if r.usd is not None and r.seconds]
        price = sum(u for u, _ in paid) / sum(s for _, s in paid) if paid else None

        def row(r: Row) -> Row:
            r_usd, r_seconds = r.usd, r.seconds
            if not r.ok and failed_seconds is not None:
                r_seconds = failed_seconds
                r_usd = r.usd if price is None else price * failed_seconds
            return replace(
                r,
                metrics={k: v * level.get(k, 1.0) for k, v in r.metrics.items()},
                usd=None if r_usd is None else r_usd * of_usd,
                seconds=None if r_seconds is None else r_seconds * of_seconds,
            )

        return Cell(cell.candidate, tuple(row(r) for r in cell.rows))

    out._cells = {w: {key: scaled(w, cell) for key, cell in cells.items()} for w, cells in table._cells.items()}
    return out


def _factors(table: Table, metric: str, seed: int, position: int) -> Mapping[tuple[str, str], float]:
    bests: dict[str, dict[str, float]] = {}
    for workload, cells in table._cells.items():
        for cell in cells.values():
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
