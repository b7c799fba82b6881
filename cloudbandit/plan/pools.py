"""Pools: machines of one offer that serve one workload for whoever is near enough, with what n of them take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.capacity import CapacityTable
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.terms import Rental
from cloudbandit.plan.workload import Workload

Floats = npt.NDArray[np.float64]
_SIZES = 64
"""Pool sizes at which a capacity table is asked; beyond them a pool grows as it did last, as far as
the table says so."""
_MOST = 100_000


@dataclass(frozen=True)
class Pool:
    """Machines of one offer for one workload.

    Args:
        workload, rental: by index.
        rtt_ms: of the farthest source it serves; what its engines must make up for.
        sources: that it serves, by index.
        lines: (slope, offset) each: n ≥ 1 machines are planned to take at most min(slope·n − offset), never more than the table
            says.
        most: machines that can be of use at any time.
        basis: what its capacity rests on.
    """

    name: str
    workload: int
    rental: int
    rtt_ms: float
    sources: tuple[int, ...]
    lines: tuple[tuple[float, float], ...]
    most: int
    basis: str

    @property
    def opens(self) -> bool:
        """Whether none of it takes anything only where a binary says so: some line has an offset."""
        return any(b > 0 for _, b in self.lines)

    def takes(self, n: int) -> float:
        """What n machines are planned to take."""
        return max(0.0, min(a * n - b for a, b in self.lines)) if n else 0.0

    @property
    def first(self) -> float:
        """What one machine takes."""
        return self.takes(1)


def lines_below(loads: Floats) -> tuple[tuple[float, float], ...]:
    """The best concave bound that nowhere exceeds a pool's capacity, as lines (slope, offset).

    Args:
        loads: (N,) capacity of 1 … N machines, N ≥ 1.

    Best: with the largest sum over the sizes. One line through 0 where a pool of n takes n times as much as one machine.
    """
    sizes = np.arange(1, len(loads) + 1)
    if len(loads) == 1 or np.allclose(loads, loads[0] * sizes, rtol=1e-9):
        return ((float(loads[0]), 0.0),)
    from scipy.optimize import linprog

    n = len(loads)
    bend = np.zeros((max(n - 2, 0), n))
    for i in range(n - 2):  # a concave bound: second differences ≤ 0
        bend[i, i : i + 3] = 1.0, -2.0, 1.0
    bounds = [(None, float(v)) for v in loads]
    found = linprog(-np.ones(n), A_ub=bend if n > 2 else None, b_ub=np.zeros(n - 2) if n > 2 else None, bounds=bounds)
    g = np.minimum(found.x, loads)
    slopes = np.diff(g)
    lines = [(float(a), float(a * k - v)) for a, k, v in zip(slopes, sizes, g, strict=False)]
    if g[0] >= slopes[0]:
        lines.insert(0, (float(g[0]), 0.0))
    kept: dict[tuple[float, float], tuple[float, float]] = {}
    for slope, offset in lines:
        kept.setdefault((round(slope, 6), round(offset, 6)), (max(slope, 0.0), offset))
    return tuple(kept.values())


def pools_of(problem: Problem) -> tuple[list[Pool], list[str]]:
    """Every pool that may be of use, and what was left out with the reason.

    Of one offer a workload has a pool per distance at which it serves more; a pool that reaches farther and serves as much
    replaces the nearer one.

    Raises:
        UsageError: a workload is left without any pool; the message says why.
    """
    sources = problem.demand.sources
    peaks = {w.name: _peak(problem, w) for w in problem.workloads}
    out: list[Pool] = []
    notes: list[str] = []
    for wi, workload in enumerate(problem.workloads):
        why: dict[str, list[str]] = {}
        mine = []
        for ri, rental in enumerate(problem.rentals):
            pools, reason = _of_one(problem, wi, ri, peaks[workload.name])
            mine += pools
            if reason:
                why.setdefault(reason, []).append(rental.machine.name)
        for reason, names in why.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            notes.append(f"{workload.name}: {reason}: {', '.join(names[:3])}{more}")
        asked = [i for i, s in enumerate(sources) if problem.demand.of(workload.name, [s]).max() > 0]
        lost = [sources[i] for i in asked if not any(i in p.sources for p in mine)]
        if lost and workload.unmet_usd is None:
            said = (
                "; ".join(f"{reason}: {', '.join(names[:3])}" for reason, names in why.items()) or "no source is near"
            )
            raise UsageError(
                f"no offer serves {workload.name} for {', '.join(lost)}. {said}. Cure: offers, SLOs or capacity data"
            )
        if lost:
            notes.append(f"{workload.name}: nothing serves {', '.join(lost)}; all of that load is left unserved")
        out += mine
    return out, notes


def _peak(problem: Problem, workload: Workload) -> float:
    """The most load that a step can be given: of what may wait, all that came within its deadline, and what waits from before."""
    load = problem.demand.of(workload.name, problem.demand.sources).sum(0)
    if workload.deadline_h is None:
        return float(load.max())
    steps = min(int(workload.deadline_h / problem.demand.step_h + 1e-9), len(load))
    waits = sum(float(v) for (w, _), some in problem.waiting.items() if w == workload.name for v in some)
    return waits + float(np.convolve(load, np.ones(steps)).max())


def _of_one(problem: Problem, wi: int, ri: int, peak: float) -> tuple[list[Pool], str]:
    """The pools of one workload on one offer; or why there is none."""
    workload, rental = problem.workloads[wi], problem.rentals[ri]
    sources = problem.demand.sources
    away = {i: problem.network.rtt(s, rental.place) for i, s in enumerate(sources)}
    if workload.deadline_h is not None:  # who may wait for hours does not mind the way
        away = {i: 0.0 if rtt is not None else None for i, rtt in away.items()}
    known = {i: rtt for i, rtt in away.items() if rtt is not None}
    if not known:
        return [], "no round trip is known"
    capacity = problem.capacity
    single = capacity.max_load(workload, rental.machine, 1, 0.0)
    if math.isnan(single):
        return [], "no capacity data"
    out: list[Pool] = []
    for rtt in sorted(set(known.values())):
        reached = tuple(i for i, r in known.items() if r <= rtt)
        loads = _loads(capacity, workload, rental, peak, rtt)
        if not len(loads) or loads.max() <= 0:
            break
        lines = lines_below(loads)
        if max(min(a * n - b for a, b in lines) for n in range(1, len(loads) + 1)) <= 0:
            break
        while out and _serves_as_much(lines, out[-1], len(loads)):
            out.pop()
        most = _most(problem, rental, peak, lines)
        if len(loads) == _SIZES:
            most = _as_far_as_true(capacity, workload, rental, rtt, lines, most)
        name = f"{workload.name} @ {rental.machine.name}" + (f" ≤ {rtt:g} ms" if rtt else "")
        out.append(Pool(name, wi, ri, rtt, reached, lines, most, capacity.basis(workload, rental.machine)))
    out = [p for p in out if p.most > 0]
    if out:
        return out, ""
    if single <= 0:
        return [], "the SLOs are not met by one request"
    nearest = min(known.values())
    if math.isnan(capacity.max_load(workload, rental.machine, 1, nearest)):
        return [], f"too far ({nearest:g} ms), no capacity data from there"
    if not loads_ok(capacity, workload, rental, nearest):
        return [], f"too far ({nearest:g} ms)"
    none = [f"quota {q.name}" for q in problem.quotas if (w := q.weight(rental.machine)) > q.most and w > 0]
    return [], f"none may be rented ({none[0] if none else 'most'})"


def _as_far_as_true(
    capacity: CapacityTable,
    workload: Workload,
    rental: Rental,
    rtt: float,
    lines: Sequence[tuple[float, float]],
    most: int,
) -> int:
    """How many machines the lines hold for, at most ``most``; beyond the sizes asked first a table may say less, or nothing."""

    def holds(n: int) -> bool:
        load = capacity.max_load(workload, rental.machine, n, rtt)
        return load >= min(a * n - b for a, b in lines) - 1e-9 * max(1.0, abs(load))  # an unknown one does not

    known = _SIZES
    while known < most:
        wanted = min(most, 2 * known)
        if holds(wanted):
            known = wanted
            continue
        while wanted - known > 1:
            middle = (known + wanted) // 2
            known, wanted = (middle, wanted) if holds(middle) else (known, middle)
        return known
    return most


def loads_ok(capacity: CapacityTable, workload: Workload, rental: Rental, rtt_ms: float) -> bool:
    """Whether one machine serves anything from so far away."""
    return capacity.max_load(workload, rental.machine, 1, rtt_ms) > 0


def _loads(capacity: CapacityTable, workload: Workload, rental: Rental, peak: float, rtt: float) -> Floats:
    """Of 1, 2, … machines, until they take the peak; none where some size is not known."""
    loads: list[float] = []
    for n in range(1, _SIZES + 1):
        load = capacity.max_load(workload, rental.machine, n, rtt)
        if math.isnan(load):
            break
        loads.append(load)
        if load >= 2 * peak and n >= 4:
            break
    return np.array(loads)


def _serves_as_much(lines: Sequence[tuple[float, float]], nearer: Pool, sizes: int) -> bool:
    return all(min(a * n - b for a, b in lines) >= nearer.takes(n) * (1 - 1e-9) for n in range(1, sizes + 1))


def _most(problem: Problem, rental: Rental, peak: float, lines: Sequence[tuple[float, float]]) -> int:
    """Machines beyond which there is nothing to serve, or nothing to be had."""
    slope, offset = lines[-1]
    share = 1 - rental.reclaimed
    need = _MOST if slope <= 0 else math.ceil((peak / share + offset) / slope) + 1
    if slope <= 0:
        need = next((n for n in range(1, _SIZES + 1) if min(a * n - b for a, b in lines) * share >= peak), _SIZES)
    if problem.policy.survive == "machine":
        need += problem.policy.spare
    limits = [q.most // w for q in problem.quotas if (w := q.weight(rental.machine)) > 0]
    limits += [rental.most] if rental.most is not None else []
    return int(min([need, _MOST, *limits]))
