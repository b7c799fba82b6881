"""A plan checked again: every constraint, from the problem alone and by other code than the program's."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from cloudbandit.plan.capacity import kind_of
from cloudbandit.plan.plan import Plan
from cloudbandit.plan.workload import Workload

_TOLERANCE = 1e-6
"""Relative to the load in question."""


def check(plan: Plan, without: Collection[str] = ()) -> list[str]:
    """What a plan breaks, in words; empty: nothing.

    Args:
        without: limits that need not hold, by the names of `cloudbandit.plan.limits.limit_names`.
    """
    return [
        *_whole(plan),
        *_routes(plan),
        *_capacity(plan, without),
        *_served(plan),
        *_rented(plan, without),
        *_quotas(plan, without),
        *_shares(plan, without),
        *_survives(plan, without),
        *_time(plan),
    ]


def _near(a: float, b: float, scale: float = 1.0) -> bool:
    """a ≤ b, to the tolerance."""
    return a <= b + _TOLERANCE * max(scale, abs(b), 1e-6)


def _whole(plan: Plan) -> list[str]:
    out = []
    if plan.machines.dtype != np.int64 or (plan.machines < 0).any():
        out.append("machines are not whole numbers ≥ 0")
    if not np.isfinite(plan.routed).all() or (plan.routed < 0).any() or (plan.unmet < 0).any():
        out.append("loads are not finite numbers ≥ 0")
    return out


def _routes(plan: Plan) -> list[str]:
    """Load goes only where the round trip is known and leaves the SLOs room."""
    out, p = [], plan.problem
    for i, pool in enumerate(plan.pools):
        rental, workload = p.rentals[pool.rental], p.workloads[pool.workload]
        for s, source in enumerate(p.demand.sources):
            if plan.routed[i, s].any():
                rtt = p.network.rtt(source, rental.place)
                if rtt is None or (workload.deadline_h is None and rtt > pool.rtt_ms):
                    out.append(f"{pool.name}: {source} is {rtt} ms away, and the pool is for {pool.rtt_ms:g} ms")
    return out


def _takes(plan: Plan, i: int, n: int, waits: bool) -> float:
    """What n machines of a pool may be given, by the capacity table itself."""
    p, pool = plan.problem, plan.pools[i]
    rental = p.rentals[pool.rental]
    if n <= 0:
        return 0.0
    load = p.capacity.max_load(p.workloads[pool.workload], rental.machine, n, pool.rtt_ms)
    return (0.0 if math.isnan(load) else load) * (1.0 if waits else 1.0 - rental.reclaimed)


def _capacity(plan: Plan, without: Collection[str]) -> list[str]:
    out, p = [], plan.problem
    for i, pool in enumerate(plan.pools):
        waits = p.workloads[pool.workload].deadline_h is not None
        spare = p.policy.spare if p.policy.survive == "machine" and not waits and "survive" not in without else 0
        for t, n in enumerate(plan.machines[i]):
            given = float(plan.routed[i, :, t].sum())
            most = _takes(plan, i, int(n) - spare, waits)
            if not _near(given, most, given):
                out.append(f"{pool.name} at step {t}: {given:g} routed to {n} machines that take {most:g}")
    return out


def _served(plan: Plan) -> list[str]:
    out, p = [], plan.problem
    for w, workload in enumerate(p.workloads):
        mine = [i for i, pool in enumerate(plan.pools) if pool.workload == w]
        if workload.unmet_usd is None and plan.unmet[w].any():
            out.append(f"{workload.name}: load is left unserved, and that is not allowed")
        for s, source in enumerate(p.demand.sources):
            asked = p.demand.of(workload.name, [source])[0]
            done = plan.routed[mine, s].sum(0) + plan.unmet[w, s]
            scale = float(asked.max(initial=0.0))
            if workload.deadline_h is None:
                bad = np.flatnonzero(np.abs(done - asked) > _TOLERANCE * max(scale, 1e-6))
                out += [
                    f"{workload.name} from {source} at step {t}: {done[t]:g} served of {asked[t]:g}" for t in bad[:3]
                ]
            else:
                out += _in_time(plan, workload, source, done)
    return out


def _in_time(
    plan: Plan, workload: Workload, source: str, done: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> list[str]:
    """First come, first served: each step's work is done when its deadline comes, and none before it came."""
    p = plan.problem
    asked, waits = p.demand.of(workload.name, [source])[0], p.waiting.get((workload.name, source), ())
    assert workload.deadline_h is not None
    steps = len(asked)
    total_waits = float(sum(waits))
    out = []
    for t in range(steps):
        served, come = float(done[: t + 1].sum()), float(asked[: t + 1].sum()) + total_waits
        if not _near(served, come, come):
            out.append(f"{workload.name} from {source} at step {t}: {served:g} served of {come:g} that came")
        # step k's work is due by the last end of a step that is not after its first request's deadline
        h = p.demand.step_h
        due = sum(float(asked[k]) for k in range(t + 1) if k * h + workload.deadline_h < (t + 2) * h - 1e-9)
        due += sum(float(v) for i, v in enumerate(waits) if min(i, steps - 1) <= t)
        if t == steps - 1 and not p.carry:
            due = come
        if not _near(due, served, come):
            out.append(f"{workload.name} from {source} at step {t}: {served:g} served of {due:g} that was due")
    return out


def _busy(plan: Plan, w: int, r: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Machines of a workload on an offer that serve or start, per step."""
    p = plan.problem
    n, starts = plan.groups[w, r], plan.starts[w, r]
    lead = math.ceil(p.rentals[r].start_s / p.demand.step_s - 1e-9)
    out = n.copy()
    for t in range(len(n)):
        out[t] += starts[t + 1 : t + 1 + lead].sum()
    return out


def _rented(plan: Plan, without: Collection[str]) -> list[str]:
    out, p = [], plan.problem
    for r, rental in enumerate(p.rentals):
        busy = sum(_busy(plan, w, q) for w, q in plan.groups if q == r)
        top, name = int(np.max(busy, initial=0)), rental.machine.name
        if rental.reserved:
            held = plan.reserved.get(name, 0)
            if top > held:
                out.append(f"{top} machines of {name}, and {held} are reserved")
            top = held
            if held < rental.least:
                out.append(f"{held} of {name} are reserved, fewer than {rental.least}")
        if rental.most is not None and top > rental.most and f"most {name}" not in without:
            out.append(f"{top} machines of {name}, more than {rental.most}")
    return out


def _quotas(plan: Plan, without: Collection[str]) -> list[str]:
    out, p = [], plan.problem
    for quota in p.quotas:
        if f"quota {quota.name}" not in without:
            used = np.zeros(len(p.demand))
            for w, r in plan.groups:
                used += quota.weight(p.rentals[r].machine) * _busy(plan, w, r)
            if not _near(float(used.max()), quota.most):
                out.append(f"quota {quota.name}: {used.max():g} of {quota.most:g}")
    return out


def _shares(plan: Plan, without: Collection[str]) -> list[str]:
    out, p = [], plan.problem
    for w, workload in enumerate(p.workloads):
        mine = [i for i, pool in enumerate(plan.pools) if pool.workload == w]
        spot = [i for i in mine if p.rentals[plan.pools[i].rental].spot]
        asked = p.demand.of(workload.name, p.demand.sources).sum(0)
        if workload.deadline_h is None and "spot_share" not in without:
            on_spot = plan.routed[spot].sum((0, 1))
            for t in np.flatnonzero(on_spot > p.policy.spot_share * asked + _TOLERANCE * np.maximum(asked, 1e-6)):
                out.append(f"{workload.name} at step {t}: {on_spot[t]:g} of {asked[t]:g} on spot machines")
        kinds = {kind_of(p.rentals[plan.pools[i].rental].machine) for i in mine if plan.machines[i].any()}
        if p.policy.most_kinds is not None and len(kinds) > p.policy.most_kinds and "most_kinds" not in without:
            out.append(f"{workload.name} runs on {len(kinds)} instance types, more than {p.policy.most_kinds}")
    return out


def _survives(plan: Plan, without: Collection[str]) -> list[str]:
    """A maximum flow for each failure: whether what is left can take what is asked."""
    p = plan.problem
    if p.policy.survive not in ("region", "provider") or "survive" in without:
        return []
    out = []
    for w, workload in enumerate(p.workloads):
        if workload.deadline_h is not None:
            continue
        mine = [i for i, pool in enumerate(plan.pools) if pool.workload == w]
        asked = p.demand.of(workload.name, p.demand.sources) - plan.unmet[w]
        rentals = {i: p.rentals[plan.pools[i].rental] for i in mine}
        names = {r.place if p.policy.survive == "region" else r.machine.provider for r in p.rentals}
        for name in sorted(names):
            left = [i for i in mine if name not in (rentals[i].place, rentals[i].machine.provider)]
            for t in range(len(p.demand)):
                room = {i: _takes(plan, i, int(plan.machines[i, t]), False) for i in left}
                total = float(asked[:, t].sum())
                flow = _flow(asked[:, t], [(plan.pools[i].sources, room[i]) for i in left])
                if not _near(total, flow, total):
                    out.append(f"{workload.name} at step {t}: without {name} {flow:g} of {total:g} are served")
    return out


def _flow(asked: np.ndarray[tuple[int], np.dtype[np.float64]], pools: list[tuple[tuple[int, ...], float]]) -> float:
    """How much can be served at once: a linear program over sources and pools."""
    from scipy.optimize import linprog

    arcs = [(s, i) for i, (sources, _) in enumerate(pools) for s in sources if asked[s] > 0]
    if not arcs:
        return 0.0
    rows = np.zeros((len(asked) + len(pools), len(arcs)))
    for k, (s, i) in enumerate(arcs):
        rows[s, k] = rows[len(asked) + i, k] = 1.0
    found = linprog(-np.ones(len(arcs)), A_ub=rows, b_ub=[*np.maximum(asked, 0.0), *(most for _, most in pools)])
    return -float(found.fun)


def _time(plan: Plan) -> list[str]:
    """Nothing serves before it has started, and what is billed for longer stays up."""
    out, p = [], plan.problem
    for (w, r), n in plan.groups.items():
        rental, starts = p.rentals[r], plan.starts[w, r]
        lead = math.ceil(rental.start_s / p.demand.step_s - 1e-9)
        if p.running is not None and not p.ahead and lead:
            now = p.running.get((p.workloads[w].name, rental.machine.name), 0)
            if (n[:lead] > now).any():
                out.append(f"{rental.machine.name} serves {p.workloads[w].name} before it has started")
        billed = math.ceil(rental.min_bill_s / p.demand.step_s - 1e-9)
        if billed > 1 and not rental.reserved:
            for t in range(len(n)):
                began = int(starts[max(0, t - billed + 1) : t + 1].sum())
                if n[t] < began:
                    out.append(f"{rental.machine.name} at step {t}: {n[t]} are up of {began} that are billed")
    return out
