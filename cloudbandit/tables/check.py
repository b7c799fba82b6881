"""What a table holds, and what in it will mislead."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cloudbandit.core.metrics import better
from cloudbandit.tables.table import Table


@dataclass(frozen=True)
class TableCheck:
    """Counts, names and warnings.

    ``repeats``: rows beyond the first of their cell and load. ``missing``: cells (workload × config) without a row,
    over the configs that some workload recorded.
    """

    rows: int
    workloads: list[str]
    arms: list[str]
    configs: int
    repeats: int
    failures: int
    missing: int
    metrics: list[str]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_table(table: Table) -> TableCheck:
    """Count, and look for traps. Errors were raised when the table was loaded."""
    loaded = [table.workload(name) for name in table.workloads]
    cells = [cell for w in loaded for cell in w.cells.values()]
    configs = len(table.candidates)
    return TableCheck(
        rows=table.rows,
        workloads=list(table.workloads),
        arms=list(table.arms),
        configs=configs,
        repeats=table.rows - sum(len({row.load for row in cell.rows}) for cell in cells),
        failures=sum(not row.ok for cell in cells for row in cell.rows),
        missing=configs * len(loaded) - len(cells),
        metrics=sorted(table.metrics),
        warnings=list(_warnings(table)),
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _warnings(table: Table) -> Iterator[str]:
    workloads = [table.workload(name) for name in table.workloads]
    never = [w.name for w in workloads if not w.ever_succeeds]
    if never:
        yield f"{len(never)} workloads never succeed and are dropped under strict failures: {_some(never)}"
    for metric in sorted(table.metrics):
        lured, flat, zero = [], [], []
        best, least = (max, "greatest") if better(metric) == "higher" else (min, "least")
        for w in workloads:
            rows = [(row.metrics[metric], row.ok) for c in w.cells.values() for row in c.rows if metric in row.metrics]
            good = [value for value, ok in rows if ok]
            if rows and not best(rows)[1] and not (good and math.isclose(best(rows)[0], best(good))):
                lured.append(w.name)
            if len(good) > 1 and min(good) == max(good):
                flat.append(w.name)
            if good and best(good) == 0:
                zero.append(w.name)
        if lured:
            yield (
                f"{metric}: the {least} value is a failed run's in {len(lured)} of {len(workloads)} workloads, so "
                f"failures='recorded' would reward crashing there: {_some(lured)}"
            )
        if flat:
            yield f"{metric}: every config is equal in {len(flat)} workloads: {_some(flat)}"
        if zero:
            yield (
                f"{metric}: the optimum is 0 in {len(zero)} workloads, where relative regret is undefined: {_some(zero)}"
            )
    by_arm = {arm: sum(c.arm[0] == arm for c in table.candidates) for arm in table.arms}
    for arm, count in by_arm.items():
        if count == 1:
            yield f"arm {arm!r} has a single config"
    absent = [(w.name, arm) for w in workloads for arm in table.arms if arm not in w.domain.names]
    if absent:
        yield f"{len(absent)} workloads lack an arm entirely: {_some([f'{w} lacks {a}' for w, a in absent])}"
    if len(table.arms) == 1:
        yield "there is only one arm, so there is no provider to choose"
    holes = 0
    for arm in table.arms:
        widths: dict[frozenset[str], dict[str, set[Any]]] = {}
        for c in table.candidates:
            if c.arm[0] == arm:
                grid = widths.setdefault(frozenset(c.config), {})
                for k, v in c.config.items():
                    grid.setdefault(k, set()).add(v)
        holes += sum(math.prod(len(v) for v in grid.values()) for grid in widths.values()) - by_arm[arm]
    if holes:
        yield f"{holes} configs of the nominal grid were never run under any workload"
