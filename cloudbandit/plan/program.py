"""The integer program of a plan, over labelled arrays, each limit of the user's a named constraint.

Per pool and step: machines ``x`` and what they can take, ``room``; per pool, source and step the load routed there, ``y``; per
workload, offer and step the machines that ``start``; per reserved offer how many are reserved for the whole horizon; per
workload, source and step what is left unserved and, where work may wait, the backlog.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from cloudbandit.core.errors import need
from cloudbandit.plan.pools import Pool
from cloudbandit.plan.problem import Problem


class Program:
    """Variables, and the constraints that no user set; `cloudbandit.plan.limits` adds those that one did.

    Args:
        problem, pools: what it is made of.
        workloads: only these, by index; None: all.
        elastic: names of limits that may be exceeded; see `slack`.
        whole: False: parts of machines too, the relaxation.

    Raises:
        MissingExtraError: linopy or highspy is not installed.
    """

    def __init__(
        self,
        problem: Problem,
        pools: Sequence[Pool],
        workloads: Collection[int] | None = None,
        *,
        elastic: Collection[str] = (),
        whole: bool = True,
    ) -> None:
        linopy = need("linopy", "plan", "planning")
        import pandas as pd
        import xarray as xr

        linopy.options["semantics"] = "v1"  # its default takes labels that do not match for 0
        self.problem, self.elastic, self.whole = problem, frozenset(elastic), whole
        self.workloads = sorted(range(len(problem.workloads)) if workloads is None else workloads)
        self.pools = [p for p in pools if p.workload in self.workloads]
        self.model = linopy.Model()
        self._array, self._index = xr.DataArray, pd.Index
        self.slacks: dict[str, Any] = {}
        demand = problem.demand
        self.steps, self.step_h = len(demand), demand.step_h
        self.pool = self.names("pool", (p.name for p in self.pools))
        self.time = self.names("time", range(self.steps))
        self.links = [(i, s) for i, p in enumerate(self.pools) for s in p.sources if self._asks(p.workload, s)]
        self.link = self.names("link", (f"{self.pools[i].name} < {demand.sources[s]}" for i, s in self.links))
        self.asks = [(w, s) for w in self.workloads for s in range(len(demand.sources)) if self._asks(w, s)]
        self.ask = self.names("ask", (self.ask_name(w, s) for w, s in self.asks))
        self.groups = list(dict.fromkeys((p.workload, p.rental) for p in self.pools))
        self.group = self.names("group", (self.group_name(w, r) for w, r in self.groups))
        self.reserves = sorted({p.rental for p in self.pools if problem.rentals[p.rental].reserved})
        self._machines()
        self._routing()
        self._starts()
        self._reserved()

    # ── labels ──

    def names(self, dimension: str, names: Iterable[Any]) -> Any:
        """An axis."""
        return self._index(list(names), name=dimension)

    def array(self, values: Any, *axes: Any) -> Any:
        """A labelled array."""
        return self._array(np.asarray(values), coords=list(axes))

    def ask_name(self, workload: int, source: int) -> str:
        return f"{self.problem.workloads[workload].name} < {self.problem.demand.sources[source]}"

    def group_name(self, workload: int, rental: int) -> str:
        return f"{self.problem.workloads[workload].name} @ {self.problem.rentals[rental].machine.name}"

    def _asks(self, workload: int, source: int) -> bool:
        demand = self.problem.demand
        series = demand.load.get((self.problem.workloads[workload].name, demand.sources[source]))
        waits = self.problem.waiting.get((self.problem.workloads[workload].name, demand.sources[source]), ())
        return (series is not None and bool(series.any())) or any(waits)

    def sums(self, expression: Any, axis: Any, labels: Sequence[str], onto: Any) -> Any:
        """Sums of an expression over the members of each group along an axis; every group has one member at least.

        Args:
            labels: the group of each member.
            onto: the axis of the groups.
        """
        by = self.array(np.array(labels, dtype=object), axis).rename(onto.name)
        return (1 * expression).groupby(by).sum().sel({onto.name: list(onto)})

    def moved(self, expression: Any, steps: int) -> Any:
        """An expression so many steps earlier (of the step before: 1); nothing where there is no such step."""
        return (1 * expression).shift(time=steps).fillna(0)

    def add(self, rows: Any, name: str) -> None:
        """A constraint."""
        self.model.add_constraints(rows, name=name)

    def slack(self, limit: str, *axes: Any) -> Any:
        """By how much a limit is exceeded; None: it may not be."""
        if limit not in self.elastic:
            return None
        if limit not in self.slacks:
            self.slacks[limit] = self.model.add_variables(lower=0, coords=list(axes) or None, name=f"slack:{limit}")
        return self.slacks[limit]

    # ── parts ──

    def _machines(self) -> None:
        """Machines, and what they take: reserves for failures and reclaims are kept back where a workload cannot wait."""
        p, m = self.problem, self.model
        most = self.array(np.repeat([[float(q.most)] for q in self.pools], self.steps, 1), self.pool, self.time)
        self.x = m.add_variables(lower=0, upper=most, coords=[self.pool, self.time], integer=self.whole, name="x")
        spare = [p.policy.spare if self._keeps_spare(q) else 0 for q in self.pools]
        self.open = None
        if any(q.opens for q in self.pools) or any(spare):
            bounds = {} if self.whole else {"lower": 0, "upper": 1}
            self.open = m.add_variables(coords=[self.pool, self.time], binary=self.whole, name="open", **bounds)
            self.add(self.x - most * self.open <= 0, "open")
        self.room = m.add_variables(lower=0, coords=[self.pool, self.time], name="room")
        for k in range(max(len(q.lines) for q in self.pools)):
            lines = [q.lines[min(k, len(q.lines) - 1)] for q in self.pools]
            kept = np.array([self.kept(q) for q in self.pools])
            slope = kept * np.array([a for a, _ in lines])
            offset = kept * np.array([b for _, b in lines]) + slope * np.array(spare)
            rows = self.room - self.array(slope, self.pool) * self.x
            if self.open is not None:
                rows = rows + self.array(offset, self.pool) * self.open
            self.add(rows <= 0, f"capacity:{k}")

    def _keeps_spare(self, pool: Pool) -> bool:
        return self.problem.policy.survive == "machine" and self.problem.workloads[pool.workload].deadline_h is None

    def kept(self, pool: Pool) -> float:
        """The share of a pool's capacity that is planned with: all but what may be reclaimed at once."""
        waits = self.problem.workloads[pool.workload].deadline_h is not None
        return 1.0 if waits else 1.0 - self.problem.rentals[pool.rental].reclaimed

    def _routing(self) -> None:
        """Every load goes to a pool, waits where it may, or is left unserved where that is allowed."""
        p, m = self.problem, self.model
        self.y = m.add_variables(lower=0, coords=[self.link, self.time], name="y")
        used = sorted({i for i, _ in self.links})
        some = self.names("pool", (self.pools[i].name for i in used))
        routed = self.sums(self.y, self.link, [self.pools[i].name for i, _ in self.links], some)
        self.add(routed - (1 * self.room).sel(pool=list(some)) <= 0, "routed")
        linked = {(self.pools[i].workload, s) for i, s in self.links}
        served = self.names("ask", (self.ask_name(w, s) for w, s in self.asks if (w, s) in linked))
        labels = [self.ask_name(self.pools[i].workload, s) for i, s in self.links]
        given = self.sums(self.y, self.link, labels, served)
        may = [p.workloads[w].unmet_usd is not None or "unmet" in self.elastic for w, _ in self.asks]
        self.may_miss = [a for a, missing in enumerate(may) if missing]
        self.unmet: Any = None
        if self.may_miss:
            self.unmet = m.add_variables(lower=0, coords=[self._some(self.may_miss), self.time], name="unmet")
        self.backlog: dict[int, Any] = {}
        at_once: dict[tuple[bool, bool], list[int]] = {}
        for a, (w, s) in enumerate(self.asks):
            kind = ((w, s) in linked, may[a])
            if p.workloads[w].deadline_h is None:
                at_once.setdefault(kind, []).append(a)
            else:
                self._waiting(a, self._done(given, [a], *kind))
        for kind, asks in at_once.items():
            asked = [
                p.demand.of(p.workloads[w].name, [p.demand.sources[s]])[0] for w, s in (self.asks[a] for a in asks)
            ]
            rows = self._done(given, asks, *kind)
            self.add(rows == self.array(asked, self._some(asks), self.time), f"demand:{kind[0]:d}{kind[1]:d}")

    def _some(self, asks: Iterable[int]) -> Any:
        """The axis of some asks."""
        return self.names("ask", (self.ask[a] for a in asks))

    def _done(self, given: Any, asks: Sequence[int], linked: bool, may_miss: bool) -> Any:
        """What becomes of the load of some asks that are alike in whether a pool serves them, and whether they may be missed."""
        some = list(self._some(asks))
        routed = given.sel(ask=some) if linked else None
        if not may_miss:
            return routed
        missed = (1 * self.unmet).sel(ask=some)
        return missed if routed is None else routed + missed

    def _waiting(self, a: int, served: Any) -> None:
        """Backlog at the end of each step, bounded so that whatever arrived is served by its deadline, and all by the end."""
        p = self.problem
        w, s = self.asks[a]
        one = self._some([a])
        arriving = p.demand.of(p.workloads[w].name, [p.demand.sources[s]])[0]
        arrived, longest = allowed_backlog(p, w, s, arriving)
        self.backlog[a] = b = self.model.add_variables(lower=0, coords=[one, self.time], name=f"backlog:{one[0]}")
        rows = 1 * b + served - self.moved(b, 1)
        self.add(rows == self.array([arrived], one, self.time), f"arrived:{one[0]}")
        self.add(1 * b <= self.array([longest], one, self.time), f"deadline:{one[0]}")

    def _starts(self) -> None:
        """Machines that start, at least what a step has more than the one before."""
        p, m = self.problem, self.model
        self.start = m.add_variables(lower=0, coords=[self.group, self.time], name="start")
        names = [self.group_name(q.workload, q.rental) for q in self.pools]
        self.in_group = self.sums(self.x, self.pool, names, self.group)
        running = [
            float((p.running or {}).get((p.workloads[w].name, p.rentals[r].machine.name), 0)) for w, r in self.groups
        ]
        before = np.zeros((len(self.groups), self.steps))
        before[:, 0] = running
        rows = 1 * self.start - self.in_group + self.moved(self.in_group, 1)
        self.add(rows >= -self.array(before, self.group, self.time), "start")

    def _reserved(self) -> None:
        self.reserved = None
        rentals = [self.problem.rentals[i] for i in self.reserves]
        if rentals:
            axis = self.names("reserved", (r.machine.name for r in rentals))
            self.reserved = self.model.add_variables(
                lower=self.array([float(r.least) for r in rentals], axis),
                coords=[axis],
                integer=self.whole,
                name="reserved",
            )


def allowed_backlog(problem: Problem, workload: int, source: int, arriving: Any) -> tuple[Any, Any]:
    """What comes in each step, the work that waits from before in the first; and what may be left over at the end of each.

    A step's work may be left over for ⌊deadline / step⌋ − 1 steps, so that its first request is done in time too; nothing is left
    at the end. Work that waits from before is due as `Problem.waiting` says.
    """
    w = problem.workloads[workload]
    assert w.deadline_h is not None
    steps = len(arriving)
    waits = np.zeros(steps)
    given = problem.waiting.get((w.name, problem.demand.sources[source]), ())
    for i, amount in enumerate(given):
        waits[min(i, steps - 1)] += amount
    may = int(w.deadline_h / problem.demand.step_h + 1e-9) - 1
    total = np.cumsum(arriving)
    due = np.concatenate([np.zeros(min(may, steps)), total[: max(steps - may, 0)]])
    longest = total - due + waits.sum() - np.cumsum(waits)
    if not problem.carry:
        longest[-1] = 0.0
    arrived = np.array(arriving, float)
    arrived[0] += waits.sum()
    return arrived, np.maximum(longest, 0.0)
