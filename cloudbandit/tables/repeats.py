"""Repeats of one config that disagree: what a table does not tell apart is averaged, and the average is nobody's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cloudbandit.core.trial import Candidate
from cloudbandit.tables.columns import grouped
from cloudbandit.tables.records import Records

NOTABLE, STRONG = 1.5, 2.0
"""Repeats that differ by more than this factor deserve a look; by more than that, they are hardly repeats of one config."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The largest ratio of a metric within one config, workload and load, over runs that succeeded."""

    metric: str
    workload: str
    candidate: Candidate
    low: float
    high: float

    @property
    def ratio(self) -> float:
        return self.high / self.low

    def __str__(self) -> str:
        where = f"workload {self.workload!r}, {self.candidate!r}"
        return f"{self.metric} differs by a factor of {self.ratio:.3g} within one config ({self.low:g} … {self.high:g}; {where})"


def disagreements(records: Records, metrics: Iterable[str], least: float = NOTABLE) -> list[Disagreement]:
    """Per metric the repeats that disagree most, where their ratio is above ``least``. Values ≤ 0 have no ratio."""
    load = np.zeros(len(records), dtype=np.intp)
    if records.load is not None:
        load = np.unique(records.load, return_inverse=True)[1]
    group, first = grouped([records.workload, records.candidate, load], len(records))
    out = []
    for metric in metrics:
        values = records.metrics[metric]
        counted = records.ok & (values > 0)
        low, high = np.full(len(first), np.inf), np.zeros(len(first))
        np.minimum.at(low, group[counted], values[counted])
        np.maximum.at(high, group[counted], values[counted])
        worst = int(np.argmax(high / low))
        if high[worst] / low[worst] > least:
            row = int(first[worst])
            workload = records.workloads[records.workload[row]]
            candidate = records.candidates[records.candidate[row]]
            out.append(Disagreement(metric, workload, candidate, float(low[worst]), float(high[worst])))
    return out
