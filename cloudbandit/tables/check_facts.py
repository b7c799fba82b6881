"""What a table knows of its configs before a trial, and which of it says nothing or misleads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cloudbandit.core.curve import PRICE
from cloudbandit.tables.cell import EQUAL
from cloudbandit.tables.columns import Array, Codes, grouped
from cloudbandit.tables.table import Table


def told_facts(table: Table) -> list[str]:
    """Names of the facts that optimizers are told; sorted."""
    found = {name for known in table.records.facts for name in known}
    rates = _rates(table)
    if rates is not None and any(_listed(*rates)):
        found.add(PRICE)
    return sorted(found)


def of_facts(table: Table) -> Iterator[str]:
    """Warnings."""
    records = table.records
    names = dict.fromkeys(name for known in records.facts for name in known)
    fact = np.zeros(len(records), np.intp) if records.fact is None else records.fact
    of_config = _sets(records.candidate, fact)
    of_workload = _sets(records.workload, fact)
    equal = []
    for name in names:
        values = [known.get(name) for known in records.facts]
        lacking = sum(all(values[i] is None for i in some) for some in of_config)
        if lacking:
            yield f"fact {name!r} is not known of {lacking} of {len(of_config)} configs; an optimizer is told nothing of it there"
        if all(len({values[i] for i in some} - {None}) < 2 for some in of_workload):
            equal.append(name)
    if equal:
        yield f"facts that are the same for every config of a workload tell nothing: {', '.join(equal)}"
    if PRICE not in names:
        yield from _of_prices(table)


def _of_prices(table: Table) -> Iterator[str]:
    """Of prices that follow from what was spent."""
    rates = _rates(table)
    if rates is None:
        return
    low, high, config = rates
    free, differing = int((high <= 0).sum()), int((high > EQUAL * low).sum())
    if free:
        yield f"{free} cells were run at a price ≤ 0, so {PRICE} is not known there; cure: [facts] {PRICE}, or --facts none"
    if differing:
        yield (
            f"spent.usd / spent.seconds differs between repeats in {differing} cells: it was measured, so {PRICE} is not told "
            f"there; cure: [facts] {PRICE} = a column of list prices"
        )
    listed = _listed(low, high)
    most, least = np.zeros(int(config.max()) + 1), np.full(int(config.max()) + 1, np.inf)
    np.maximum.at(most, config[listed], high[listed])
    np.minimum.at(least, config[listed], low[listed])
    moving = int((most > EQUAL * least).sum())
    if moving:
        yield (
            f"{PRICE}, as spent.usd / spent.seconds tells it, differs between workloads for {moving} configs: if it was "
            f"measured, it tells an optimizer the answer. Cure: [facts] {PRICE} = a column of list prices, or --facts none"
        )


def _sets(by: Codes, fact: Codes) -> list[Sequence[int]]:
    """Per group its distinct sets of facts."""
    _, rows = grouped([by, fact], len(by))
    found: dict[int, list[int]] = {}
    for row in rows.tolist():
        found.setdefault(int(by[row]), []).append(int(fact[row]))
    return list(found.values())


def _rates(table: Table) -> tuple[Array, Array, Codes] | None:
    """Per cell the least and the largest USD per second of its runs, and its config; None where a trial's price is unknown."""
    records = table.records
    if records.usd is None or records.seconds is None:
        return None
    paid = np.flatnonzero(np.isfinite(records.usd) & (np.nan_to_num(records.seconds) > 0))
    if not len(paid):
        return None
    rate = records.usd[paid] / records.seconds[paid]
    group, first = grouped([records.workload[paid], records.candidate[paid]], len(paid))
    low, high = np.full(len(first), np.inf), np.zeros(len(first))
    np.minimum.at(low, group, rate)
    np.maximum.at(high, group, rate)
    return low, high, records.candidate[paid][first]


def _listed(low: Array, high: Array, *_: object) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which cells have a price that is the same in every repeat."""
    return np.asarray((high > 0) & (high <= EQUAL * low))
