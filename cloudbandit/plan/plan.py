"""A plan: how many machines of what serve whom at every step, what that costs, and how good it is known to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cloudbandit.plan.pools import Pool
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.solve import Outcome, relative_gap

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_WHERE = ("provider", "region", "instance_type", "purchase")
FLEET = ("time", "workload", *_WHERE, "machines", "starts", "usd_per_h")
ROUTING = ("time", "workload", "source", *_WHERE, "load")


@dataclass(frozen=True)
class Plan:
    """Machines are whole, and every constraint was checked again.

    Args:
        problem, pools: what it answers, and the pools it speaks of.
        machines: (pools, steps).
        routed: (pools, sources, steps) load, in the workload's unit.
        unmet: (workloads, sources, steps) load that is left unserved; of deferrable work what is given up in a step.
        reserved: rental's name → machines reserved for the whole horizon.
        bound: USD below which no plan of this program is.
        outcome: how the solver ended.
        notes: what a reader must know.
        cpu_s: processor time of the solver.
    """

    problem: Problem = field(repr=False)
    pools: Sequence[Pool] = field(repr=False)
    machines: Ints = field(repr=False)
    routed: Floats = field(repr=False)
    unmet: Floats = field(repr=False)
    reserved: Mapping[str, int]
    bound: float
    outcome: Outcome
    notes: Sequence[str] = ()
    cpu_s: float = 0.0

    @cached_property
    def groups(self) -> dict[tuple[int, int], Ints]:
        """(workload, rental) → machines per step."""
        out: dict[tuple[int, int], Ints] = {}
        for i, p in enumerate(self.pools):
            key = (p.workload, p.rental)
            out[key] = out.get(key, np.zeros(self.machines.shape[1], np.int64)) + self.machines[i]
        return out

    @cached_property
    def starts(self) -> dict[tuple[int, int], Ints]:
        """(workload, rental) → machines that begin to serve in each step and did not in the one before."""
        out = {}
        for (w, r), n in self.groups.items():
            names = self.problem.workloads[w].name, self.problem.rentals[r].machine.name
            before = int((self.problem.running or {}).get(names, 0))
            out[w, r] = np.maximum(0, np.diff(n, prepend=before))
        return out

    @cached_property
    def costs(self) -> dict[str, float]:
        """USD over the horizon: ``machines``, ``reserved``, ``starts``, ``egress``, ``unmet``."""
        p, h = self.problem, self.problem.demand.step_h
        out: dict[str, float] = dict.fromkeys(("machines", "reserved", "starts", "egress", "unmet"), 0.0)
        for (w, r), n in self.groups.items():
            rental = p.rentals[r]
            if not rental.reserved:
                out["machines"] += float(n.sum()) * rental.machine.usd_per_h * h
                out["starts"] += float(self.starts[w, r].sum()) * rental.machine.usd_per_h * rental.start_s / 3600
        for rental in p.rentals:
            held = self.reserved.get(rental.machine.name, 0)
            out["reserved"] += held * rental.machine.usd_per_h * h * len(p.demand)
        for i, pool in enumerate(self.pools):
            gb = p.workloads[pool.workload].egress_gb
            if gb:
                for s, source in enumerate(p.demand.sources):
                    price = p.network.egress(source, p.rentals[pool.rental].place)
                    out["egress"] += float(self.routed[i, s].sum()) * gb * price * h
        for w, workload in enumerate(p.workloads):
            out["unmet"] += float(self.unmet[w].sum()) * (workload.unmet_usd or 0.0) * h
        return out

    @property
    def usd(self) -> float:
        """Over the horizon, what is unserved included at its price."""
        return sum(self.costs.values())

    @property
    def gap(self) -> float:
        """How far the cost may be above the least, as a share of it."""
        return relative_gap(self.usd, self.bound)

    def slack(self) -> dict[str, Floats]:
        """Workload → (steps,): load that its machines could take beyond what is routed to them, by the capacity table."""
        out = {}
        for w, workload in enumerate(self.problem.workloads):
            room = np.zeros(self.machines.shape[1])
            for i, p in enumerate(self.pools):
                if p.workload == w:
                    machine = self.problem.rentals[p.rental].machine
                    takes = {int(n): self._takes(p, machine, int(n)) for n in np.unique(self.machines[i])}
                    room += np.array([takes[int(n)] for n in self.machines[i]]) - self.routed[i].sum(0)
            out[workload.name] = room
        return out

    def _takes(self, pool: Pool, machine: Any, n: int) -> float:
        workload = self.problem.workloads[pool.workload]
        return self.problem.capacity.max_load(workload, machine, n, pool.rtt_ms) if n else 0.0

    def fleet(self) -> pd.DataFrame:
        """A row per step, workload and offer that runs or starts; its columns are `FLEET`."""
        import pandas as pd

        rows = []
        for (w, r), n in self.groups.items():
            machine, starts = self.problem.rentals[r].machine, self.starts[w, r]
            for t in np.flatnonzero((n > 0) | (starts > 0)):
                rows.append(
                    (
                        self.problem.demand.time(int(t)),
                        self.problem.workloads[w].name,
                        machine.provider,
                        machine.region,
                        machine.instance_type,
                        machine.purchase,
                        int(n[t]),
                        int(starts[t]),
                        machine.usd_per_h,
                    )
                )
        return pd.DataFrame(rows, columns=list(FLEET)).sort_values(list(FLEET[:6]), kind="stable", ignore_index=True)

    def routing(self) -> pd.DataFrame:
        """A row per step, workload, source and offer that serves it; its columns are `ROUTING`."""
        import pandas as pd

        rows = []
        for i, p in enumerate(self.pools):
            machine = self.problem.rentals[p.rental].machine
            where = (machine.provider, machine.region, machine.instance_type, machine.purchase)
            for s, t in zip(*np.nonzero(self.routed[i] > 0), strict=True):
                name = self.problem.workloads[p.workload].name
                time = self.problem.demand.time(int(t))
                rows.append((time, name, self.problem.demand.sources[s], *where, float(self.routed[i, s, t])))
        return pd.DataFrame(rows, columns=list(ROUTING)).sort_values(
            list(ROUTING[:7]), kind="stable", ignore_index=True
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        demand = self.problem.demand
        spare = self.slack()
        return {
            "outcome": str(self.outcome),
            "usd": self.usd,
            "bound_usd": self.bound if math.isfinite(self.bound) else None,
            "gap": self.gap if math.isfinite(self.gap) else None,
            "costs_usd": self.costs,
            "start": demand.time(0),
            "step_h": demand.step_h,
            "steps": len(demand),
            "reserved": {name: n for name, n in self.reserved.items() if n},
            "fleet": [
                {
                    "workload": self.problem.workloads[w].name,
                    "offer": self.problem.rentals[r].machine.name,
                    "basis": next(p.basis for p in self.pools if (p.workload, p.rental) == (w, r)),
                    "machines": n.tolist(),
                    "starts": self.starts[w, r].tolist(),
                }
                for (w, r), n in self.groups.items()
                if n.any()
            ],
            "routing": [
                {
                    "workload": self.problem.workloads[p.workload].name,
                    "source": source,
                    "offer": self.problem.rentals[p.rental].machine.name,
                    "rtt_ms": p.rtt_ms,
                    "load": self.routed[i, s].round(6).tolist(),
                }
                for i, p in enumerate(self.pools)
                for s, source in enumerate(demand.sources)
                if self.routed[i, s].any()
            ],
            "unmet": {
                f"{w.name} < {s}": self.unmet[i, j].round(6).tolist()
                for i, w in enumerate(self.problem.workloads)
                for j, s in enumerate(demand.sources)
                if self.unmet[i, j].any()
            },
            "slack": {name: values.round(6).tolist() for name, values in spare.items()},
            "starts": int(sum(s.sum() for s in self.starts.values())),
            "notes": list(self.notes),
            "cpu_s": self.cpu_s,
        }
