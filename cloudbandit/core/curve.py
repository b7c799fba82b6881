"""A load curve: the metrics of one engine over increasing load, on one offer; and the rules that read it.

Live trials, recorded tables, load-test files and the surrogate all give one. Source of the rules: LLM-Pilot (Lazuka et al.,
SC 2024, section IV: u_max, the largest load up to which every load meets the SLOs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import FAILURES, of_fleet, stand_in
from cloudbandit.core.trial import Result

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

USERS = "users"
PRICE = "price_usd_per_h"
ENGINES = "engines"


@dataclass(frozen=True)
class LoadCurve:
    """What one engine does under increasing load.

    Args:
        loads: (L,) concurrent users of the engine, increasing.
        metrics: name → (L,); NaN where it was not measured.
        usd_per_h: price of the machine.
        engines: how many such engines run on the machine side by side.

    Raises:
        UsageError: loads that do not increase, or a metric of another length.
    """

    loads: tuple[float, ...]
    metrics: Mapping[str, Floats]
    usd_per_h: float
    engines: int = 1

    def __post_init__(self) -> None:
        if (
            not self.loads
            or any(b <= a for a, b in zip(self.loads, self.loads[1:], strict=False))
            or self.loads[0] <= 0
        ):
            raise UsageError(f"the loads of a curve must be > 0 and increase, got {list(self.loads)}")
        for name, values in self.metrics.items():
            if len(values) != len(self.loads):
                raise UsageError(f"{name} of a load curve has {len(values)} values for {len(self.loads)} loads")

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, float]], usd_per_h: float, engines: int = 1) -> LoadCurve:
        """From one row per load: ``users`` and metrics, in any order.

        Raises:
            UsageError: no rows, a row without ``users``, or a load twice.
        """
        known = list(rows)
        if not known or any(USERS not in row for row in known):
            raise UsageError(
                "a load curve needs one row per load with the column 'users' (a closed loop); "
                f"got {len(known)} rows with the columns {sorted({k for row in known for k in row})}"
            )
        known.sort(key=lambda row: row[USERS])
        names = dict.fromkeys(name for row in known for name in row if name != USERS)
        metrics = {name: np.array([row.get(name, np.nan) for row in known], float) for name in names}
        return cls(tuple(float(row[USERS]) for row in known), metrics, usd_per_h, engines)

    @classmethod
    def of_result(cls, result: Result) -> LoadCurve:
        """From a result with one row per load, and the metrics ``price_usd_per_h`` and, for several engines, ``engines``.

        Raises:
            UsageError: it has no rows, or no price.
        """
        if PRICE not in result.metrics:
            raise UsageError(f"a result judged as a fleet needs the metric {PRICE}; it has {sorted(result.metrics)}")
        return cls.of_rows(result.rows, result.metrics[PRICE], int(result.metrics.get(ENGINES, 1)))

    def answered_by(self, metric: str) -> str | None:
        """The metric that answers for this one: itself, its stand-in where only that was measured, or None."""
        for name in (metric, stand_in(metric)):
            if name is not None and name in self.metrics:
                return name
        if metric == FAILURES[0] and FAILURES[1] in self.metrics:
            return FAILURES[1]
        return None

    def values(self, metric: str) -> Floats:
        """A metric over the loads, (L,); NaN where unknown.

        Where the excess of the failure rate is unknown, it is the failure rate, less a single user's where that was measured.
        """
        name = self.answered_by(metric)
        if name is None:
            return np.full(len(self.loads), np.nan)
        if metric == FAILURES[0] and name == FAILURES[1]:
            rates = self.metrics[name]
            return np.maximum(0.0, rates - (rates[0] if self.loads[0] == 1 and np.isfinite(rates[0]) else 0.0))
        return self.metrics[name]

    def meets(self, slos: Sequence[SLO], users: float) -> Bools:
        """(L,): whether each load meets every SLO in a fleet of so many users."""
        every = [meets(slo, self.values(slo.metric), self.loads, users) for slo in slos]
        out: Bools = np.logical_and.reduce([np.ones(len(self.loads), bool), *every])
        return out


def meets(slo: SLO, values: Floats, loads: npt.ArrayLike, users: float) -> Bools:
    """Whether each load meets one SLO. A throughput is the fleet's: ``users`` concurrent users, each engine at that load.

    Args:
        values: the metric of one engine, last axis = loads; NaN where unknown, which is a violated SLO.
    """
    if of_fleet(slo.metric):
        values = values * (users / np.asarray(loads, float))
    with np.errstate(invalid="ignore"):
        return values <= slo.limit if slo.at_most else values >= slo.limit


def prefix(ok: Bools) -> Bools:
    """Loads up to the first violation, along the last axis."""
    return np.logical_and.accumulate(ok, axis=-1)


def max_users(ok: Bools, loads: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The largest load up to which every load is ok, along the last axis; 0 if the first is not."""
    count = prefix(ok).sum(-1)
    steps: npt.NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), np.asarray(loads, np.int64)])
    out: npt.NDArray[np.int64] = steps[count]
    return out


def replicas_for(demand: float, per_replica: npt.ArrayLike) -> Floats:
    """⌈demand / per_replica⌉; infinite where a replica takes none."""
    capacity = np.asarray(per_replica, float)
    with np.errstate(divide="ignore"):
        out: Floats = np.ceil(demand / capacity)
    return out
