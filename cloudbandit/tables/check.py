"""What a table holds, and what in it will mislead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cloudbandit.core.metrics import better
from cloudbandit.core.trial import Candidate, Value
from cloudbandit.tables.check_facts import of_facts, told_facts
from cloudbandit.tables.columns import grouped
from cloudbandit.tables.repeats import disagreements
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
    facts: list[str]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_table(table: Table) -> TableCheck:
    """Count, and look for traps. Errors were raised when the table was loaded."""
    records = table.records
    load = np.zeros(len(records)) if records.load is None else records.load
    _, kept = grouped([records.workload, records.candidate, load.astype(np.intp)], len(records))
    configs = len(table.candidates)
    return TableCheck(
        rows=table.rows,
        workloads=list(table.workloads),
        arms=list(table.arms),
        configs=configs,
        repeats=table.rows - len(kept),
        failures=int((~records.ok).sum()),
        missing=configs * len(table.workloads) - sum(map(len, records.cells.values())),
        metrics=sorted(table.metrics),
        facts=told_facts(table),
        warnings=[*_of_columns(table), *_of_values(table), *of_facts(table), *_of_arms(table)],
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _of_columns(table: Table) -> Iterator[str]:
    if table.unused:
        yield (
            f"{len(table.unused)} columns have no role, so rows that differ in them alone count as repeats: "
            f"{_some(table.unused)}"
        )
    repeats = sorted(disagreements(table.records, sorted(table.metrics)), key=lambda d: -d.ratio)
    if repeats:
        others = f" (and {len(repeats) - 1} other metrics do)" if len(repeats) > 1 else ""
        yield f"repeats disagree: {repeats[0]}{others}; is a column missing from [params] or table.context?"
    spent = {"usd": table.manifest.spent_usd, "seconds": table.manifest.spent_seconds}
    lacking = [key for key, column in spent.items() if not column]
    if len(lacking) == 2:
        yield "there is no [spent], so trials cost nothing and take no time, and failed ones are charged nothing"
    elif lacking:
        yield f"spent.{lacking[0]} is missing, so trials count as 0 {'USD' if lacking == ['usd'] else 's'}"


def _of_values(table: Table) -> Iterator[str]:
    records = table.records
    runs = {name: records.cells[name].runs for name in table.workloads}
    never = [name for name, some in runs.items() if not records.ok[some].any()]
    if never:
        yield f"{len(never)} workloads never succeed and are dropped under strict failures: {_some(never)}"
    for metric in sorted(table.metrics):
        lured, flat, zero = [], [], []
        best, least = (np.max, "greatest") if better(metric) == "higher" else (np.min, "least")
        for name, some in runs.items():
            values, ok = records.metrics[metric][some], records.ok[some]
            known = values[~np.isnan(values)]
            good = values[ok]
            if len(known) and not (len(good) and math.isclose(best(known), best(good))):
                lured.append(name)
            if len(good) > 1 and good.min() == good.max():
                flat.append(name)
            if len(good) and best(good) == 0:
                zero.append(name)
        if lured:
            yield (
                f"{metric}: the {least} value is a failed run's in {len(lured)} of {len(runs)} workloads, so "
                f"failures='recorded' would reward crashing there: {_some(lured)}"
            )
        if flat:
            yield f"{metric}: every config is equal in {len(flat)} workloads: {_some(flat)}"
        if zero:
            yield (
                f"{metric}: the optimum is 0 in {len(zero)} workloads, where relative regret is undefined: {_some(zero)}"
            )


def _of_arms(table: Table) -> Iterator[str]:
    by_arm: dict[str, list[Candidate]] = {arm: [] for arm in table.arms}
    for candidate in table.candidates:
        by_arm[candidate.arm[0]].append(candidate)
    for arm, some in by_arm.items():
        if len(some) == 1:
            yield f"arm {arm!r} has a single config"
    if table.manifest.missing == "exclude":
        cells = table.records.cells
        offered = {name: {c.arm[0] for c in cells[name].candidates} for name in table.workloads}
        absent = [f"{name} lacks {arm}" for name, arms in offered.items() for arm in table.arms if arm not in arms]
        if absent:
            yield f"{len(absent)} workloads lack an arm entirely: {_some(absent)}"
    if len(table.arms) == 1:
        yield "there is only one arm, so there is no provider to choose"
    holes = sum(_grid(some) - len(some) for some in by_arm.values())
    if holes:
        yield f"{holes} configs of the nominal grid were never run under any workload"


def _grid(candidates: Sequence[Candidate]) -> int:
    """How many cells their nominal grids have: configs with the same active parameters share a grid."""
    widths: dict[tuple[str, ...], dict[str, set[Value]]] = {}
    for c in candidates:
        names = tuple(c.config)
        grid = widths.get(names)
        if grid is None:
            grid = widths[names] = {name: set() for name in names}
        for name, value in c.config.items():
            grid[name].add(value)
    return sum(math.prod(map(len, grid.values())) for grid in widths.values())
