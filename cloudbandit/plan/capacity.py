"""What a pool of n equal machines serves of a workload within its SLOs: never invented, missing where nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from cloudbandit.core.curve import LoadCurve, prefix
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.files import read_csv
from cloudbandit.core.fleet import parse_slos
from cloudbandit.core.goal import SLO
from cloudbandit.core.offer import Offer
from cloudbandit.plan.workload import Workload

_WITH_WAY = ("ttft", "e2e")
"""Latencies that the way to the place is part of."""


class CapacityTable(Protocol):
    """Where a plan's capacities come from."""

    def max_load(self, workload: Workload, machine: Offer, n: int, rtt_ms: float = 0.0) -> float:
        """The largest load, in the workload's unit, that a pool of n such machines serves within its SLOs, requests coming from
        ``rtt_ms`` away.

        Returns:
            0: not even the least load; NaN: nobody knows.
        """

    def basis(self, workload: Workload, machine: Offer) -> str:
        """What it rests on, in a few words; ``missing``: nobody knows."""


def nearer(slos: Sequence[SLO], rtt_ms: float) -> list[SLO] | None:
    """SLOs as the engine must meet them when the way takes so long; None: it takes as long as an SLO allows."""
    out = []
    for slo in slos:
        limit = slo.limit - rtt_ms if slo.at_most and slo.metric.split("_")[0] in _WITH_WAY else slo.limit
        if limit <= 0 < slo.limit:
            return None
        out.append(SLO(slo.metric, limit, slo.at_most))
    return out


def load_of(curve: LoadCurve, workload: Workload, rtt_ms: float = 0.0) -> float:
    """What one machine takes, in the workload's unit, by its engines' load curve: 0 where the first load violates an SLO."""
    slos = nearer(parse_slos(workload.slos), rtt_ms)
    if slos is None:
        return 0.0
    ok = prefix(curve.meets(slos, np.inf))
    if not ok.any():
        return 0.0
    if workload.unit == "users":
        return curve.engines * float(np.asarray(curve.loads)[ok].max())
    values = curve.values(workload.unit)
    if workload.unit == "requests_per_s" and np.isnan(values[ok]).any():
        values = curve.values("output_tok_per_s") / workload.output_tokens
    if np.isnan(values[ok]).any():
        return math.nan
    return curve.engines * float(values[ok].max())


class MeasuredCapacity:
    """By load curves that were measured; a pool of n serves n times what one machine does, each with its share of the users.

    Args:
        curves: (workload's name, provider/instance type) → the load curves of its layouts there; the one that takes most counts.
    """

    def __init__(self, curves: Mapping[tuple[str, str], Sequence[LoadCurve]]) -> None:
        self.curves = {key: tuple(some) for key, some in curves.items() if some}

    def max_load(self, workload: Workload, machine: Offer, n: int, rtt_ms: float = 0.0) -> float:
        """See `CapacityTable.max_load`."""
        loads = [load_of(c, workload, rtt_ms) for c in self.curves.get((workload.name, kind_of(machine)), ())]
        return n * max((load for load in loads if not math.isnan(load)), default=math.nan)

    def basis(self, workload: Workload, machine: Offer) -> str:
        """See `CapacityTable.basis`."""
        return "missing" if math.isnan(self.max_load(workload, machine, 1)) else "measured"


class RecordedCapacity:
    """By a table of pools: workload, machine (provider/instance type), machines in the pool, load within the SLOs, round trip.

    Between two sizes that were recorded the smaller one's load is what is known; beyond the largest, whole pools of it side by
    side. A round trip that was not recorded is answered by the next longer one.

    Args:
        rows: (workload, machine, n, rtt_ms) → load.

    Raises:
        DataError: a load is negative or not finite, or no pool is of one machine or more.
    """

    def __init__(self, rows: Mapping[tuple[str, str, int, float], float]) -> None:
        self.rows: dict[tuple[str, str], dict[float, dict[int, float]]] = {}
        for (workload, machine, n, rtt), load in rows.items():
            if n < 1 or not (math.isfinite(load) and load >= 0) or not rtt >= 0:
                raise DataError(
                    f"{workload} on {n} × {machine} over {rtt:g} ms serves {load!r}; all must be numbers ≥ 0"
                )
            self.rows.setdefault((workload, machine), {}).setdefault(rtt, {})[n] = load

    @classmethod
    def load(cls, path: str | Path) -> RecordedCapacity:
        """From a CSV file with the columns ``workload, machine, machines, max_load`` and perhaps ``rtt_ms``.

        Raises:
            DataError: the file is wrong; the message names the line.
        """
        path, out = Path(path), {}
        columns = ["workload", "machine", "machines", "max_load"]
        for line, row in read_csv(path, columns, f"there is no capacity table at {path}", DataError):
            try:
                key = (row["workload"], row["machine"], int(row["machines"]), float(row.get("rtt_ms") or 0))
                load = float(row["max_load"])
            except ValueError as error:
                raise DataError(f"{path} line {line}: {error}") from None
            if key in out:
                raise DataError(f"{path} line {line}: {key[0]} on {key[2]} × {key[1]} is there twice")
            out[key] = load
        return cls(out)

    def max_load(self, workload: Workload, machine: Offer, n: int, rtt_ms: float = 0.0) -> float:
        """See `CapacityTable.max_load`."""
        by_rtt = self.rows.get((workload.name, kind_of(machine)), {})
        longer = [r for r in by_rtt if r >= rtt_ms]
        if not longer:
            return math.nan
        sizes = by_rtt[min(longer)]
        most = max(sizes)
        whole, rest = divmod(n, most)
        below = [k for k in sizes if k <= rest]
        if not below and not whole:
            return math.nan
        return whole * sizes[most] + (max(sizes[k] for k in below) if below else 0.0)

    def basis(self, workload: Workload, machine: Offer) -> str:
        """See `CapacityTable.basis`."""
        return "recorded" if (workload.name, kind_of(machine)) in self.rows else "missing"


class FirstOf:
    """The first table that knows a workload on a machine answers for it, whatever the number and the way: what it does not know
    of them is missing, for two tables do not make one pool.

    Raises:
        UsageError: there is none.
    """

    def __init__(self, tables: Iterable[CapacityTable]) -> None:
        self.tables = list(tables)
        if not self.tables:
            raise UsageError("a plan needs a capacity table; it invents no throughput")

    def max_load(self, workload: Workload, machine: Offer, n: int, rtt_ms: float = 0.0) -> float:
        """See `CapacityTable.max_load`."""
        table = self._knows(workload, machine)
        return math.nan if table is None else table.max_load(workload, machine, n, rtt_ms)

    def basis(self, workload: Workload, machine: Offer) -> str:
        """See `CapacityTable.basis`."""
        table = self._knows(workload, machine)
        return "missing" if table is None else table.basis(workload, machine)

    def _knows(self, workload: Workload, machine: Offer) -> CapacityTable | None:
        return next((t for t in self.tables if t.basis(workload, machine) != "missing"), None)


def kind_of(machine: Offer) -> str:
    """``aws/p5.48xlarge``: what serves alike, wherever and however it is bought."""
    return f"{machine.provider}/{machine.instance_type}"
