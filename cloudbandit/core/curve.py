"""A load curve: the metrics of one engine over increasing load, on one offer; and the rules that read it.

Live trials, recorded tables, load-test files and the surrogate all give one. Source of the rules: LLM-Pilot (Lazuka et al.,
SC 2024, section IV: u_max, the largest load up to which every load meets the SLOs).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import FAILURES, of_fleet, resolve_metric, stand_in
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
        loads: (L,) concurrent users of the engine: whole numbers ≥ 1, increasing.
        metrics: name → (L,); NaN where it was not measured.
        usd_per_h: price of the machine.
        engines: how many such engines run on the machine side by side.

    Raises:
        UsageError: other loads, a metric of another length, a price that is not > 0, or less than one engine.
    """

    loads: tuple[float, ...]
    metrics: Mapping[str, Floats]
    usd_per_h: float
    engines: int = 1

    def __post_init__(self) -> None:
        loads = self.loads
        rising = all(b > a for a, b in itertools.pairwise(loads))
        if not (loads and loads[0] >= 1 and rising and all(float(u).is_integer() for u in loads)):
            raise UsageError(f"the loads of a curve must be whole numbers ≥ 1 and increase, got {list(loads)}")
        for name, values in self.metrics.items():
            if np.shape(values) != (len(loads),):
                raise UsageError(f"{name} of a load curve has {np.size(values)} values for {len(loads)} loads")
        if not (math.isfinite(self.usd_per_h) and self.usd_per_h > 0 and self.engines >= 1):
            raise UsageError(
                f"a load curve is of a machine at {self.usd_per_h!r} USD/h with {self.engines!r} engines; both must be > 0"
            )

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, float]], usd_per_h: float, engines: int = 1) -> LoadCurve:
        """From one row per load: ``users`` and metrics, in any order. A row of ``users`` alone is a load that did not work.

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

    def rows(self) -> list[dict[str, float]]:
        """One row per load: ``users`` and the metrics known there; `of_rows` undoes it."""
        return [
            {USERS: load, **{m: float(v[i]) for m, v in self.metrics.items() if math.isfinite(v[i])}}
            for i, load in enumerate(self.loads)
        ]

    def answered_by(self, metric: str) -> str | None:
        """The metric that answers for this one: itself where every load that is known has it; else what stands in for it
        (`cloudbandit.core.metrics.stand_in`; for the excess of failures the failure rate); None: nothing does."""
        own, other = _known(self.metrics, metric), _known(self.metrics, _instead(metric))
        if other is None or (
            own is not None and not (np.isnan(self.metrics[own]) & ~np.isnan(self.metrics[other])).any()
        ):
            return own
        return other

    def values(self, metric: str) -> Floats:
        """A metric over the loads, (L,); NaN where unknown. See `answers`."""
        return answers(self.metrics, metric, self.loads)

    def meets(self, slos: Sequence[SLO], users: float) -> Bools:
        """(L,): whether each load meets every SLO in a fleet of so many users."""
        every = [meets(slo, self.values(slo.metric), self.loads, users) for slo in slos]
        out: Bools = np.logical_and.reduce([np.ones(len(self.loads), bool), *every])
        return out


def answers(metrics: Mapping[str, Floats], metric: str, loads: npt.ArrayLike) -> Floats:
    """What is known of a metric, load by load: its own value; where that is unknown, its stand-in's.

    Where the excess of the failure rate is unknown, it is `excess` of the failure rate.

    Args:
        metrics: name → (…, L); the median may be called without a statistic.

    Returns:
        (…, L), NaN where unknown; (L,) where nothing is known.
    """
    own, other = _known(metrics, metric), _known(metrics, _instead(metric))
    if own is None and other is None:
        return np.full(len(np.asarray(loads)), np.nan)
    if other is None:
        assert own is not None
        return metrics[own]
    instead = excess(metrics[other], loads) if metric == FAILURES[0] else metrics[other]
    if own is None:
        return instead
    out: Floats = np.where(np.isnan(metrics[own]), instead, metrics[own])
    return out


def _instead(metric: str) -> str | None:
    return FAILURES[1] if metric == FAILURES[0] else stand_in(metric)


def _known(metrics: Mapping[str, Floats], metric: str | None) -> str | None:
    """The name a metric has here."""
    try:
        return None if metric is None else resolve_metric(metric, metrics)
    except UnknownNameError:
        return None


def excess(failure_rate: Floats, loads: npt.ArrayLike) -> Floats:
    """The failure rate beyond a single user's, last axis = loads. Where that was not measured it counts as 0: all failures are
    for want of capacity."""
    if np.asarray(loads)[0] != 1:
        return failure_rate
    single = np.nan_to_num(failure_rate[..., :1], nan=0.0)
    out: Floats = np.maximum(0.0, failure_rate - single)
    return out


def of_the_fleet(metric: str, values: Floats, loads: npt.ArrayLike, users: float) -> Floats:
    """What an engine's metric is for a fleet that serves so many users, each engine at that load: a throughput adds up over the
    engines, anything else is as it is. Last axis = loads."""
    if not of_fleet(metric):
        return values
    with np.errstate(invalid="ignore"):
        out: Floats = values * (users / np.asarray(loads, float))
    return out


def meets(slo: SLO, values: Floats, loads: npt.ArrayLike, users: float) -> Bools:
    """Whether each load meets one SLO. A throughput is the fleet's: ``users`` concurrent users, each engine at that load.

    Args:
        values: the metric of one engine, last axis = loads; NaN where unknown, which is a violated SLO.
    """
    whole = of_the_fleet(slo.metric, values, loads, users)
    with np.errstate(invalid="ignore"):
        return whole <= slo.limit if slo.at_most else whole >= slo.limit


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
        out: Floats = np.ceil(demand / capacity * (1 - 1e-12))  # 2.1 / 0.7 is three, and not four for rounding
    return out
