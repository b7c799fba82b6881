"""Small plans for tests: random problems, and the least cost by looking at every fleet."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from cloudbandit.core.offer import Offer
from cloudbandit.plan.capacity import RecordedCapacity, kind_of
from cloudbandit.plan.demand import Demand
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.terms import Network, Policy, Quota, Rental
from cloudbandit.plan.workload import Workload

START = datetime(2026, 11, 2, tzinfo=UTC)


def demand_of(load, step_s=3600.0):
    return Demand(START, step_s, {k: np.asarray(v, float) for k, v in load.items()})


def machine(provider="aws", region="us", name="small", usd=1.0, purchase="on-demand", gpus=1):
    return Offer(provider, region, name, usd, purchase, accelerator=name, accelerators=gpus)


def one_kind(load, usd=1.0, takes=10.0, **rental):
    """One workload, one source, one offer."""
    rented = Rental(machine(usd=usd), **rental)
    return Problem(
        [Workload("chat")],
        [rented],
        demand_of({("chat", "us"): load}),
        RecordedCapacity({("chat", "aws/small", 1, 0.0): takes}),
    )


def random_problem(seed, policy=None, steps=2):
    """Two places, one or two workloads, starts that cost, now and then a quota, spot machines, reserved ones."""
    rng = np.random.default_rng(seed)
    prices = [float(rng.uniform(0.2, 3)) if rng.random() < 0.4 else None for _ in range(1 + seed % 2)]
    workloads = [Workload(f"w{i}", unmet_usd=usd) for i, usd in enumerate(prices)]
    rentals, rows = [], {}
    for k in range(2):
        spot = k == 1 and rng.random() < 0.4
        usd, start_s = float(rng.uniform(1, 6)), float(rng.choice([0, 600]))
        offer = machine(f"{'ag'[k]}{seed}", ("us", "eu")[k], f"m{k}", usd, "spot" if spot else "on-demand", 1 + k)
        rentals.append(Rental(offer, start_s=start_s, reclaimed=float(rng.choice([0.0, 0.25])) if spot else 0.0))
        for w in workloads:
            takes = float(rng.uniform(4, 12))
            pooled = takes * (2.0 if rng.random() < 0.6 else float(rng.uniform(2.0, 2.6)))
            rows |= {(w.name, kind_of(offer), 1, 0.0): takes, (w.name, kind_of(offer), 2, 0.0): pooled}
    if rng.random() < 0.3:
        reserved = replace(rentals[0].machine, purchase="reserved", usd_per_h=rentals[0].machine.usd_per_h * 0.6)
        rentals.append(Rental(reserved, most=1))
    sources = ["us", "eu"]
    load = {(w.name, s): rng.uniform(0, 8, steps) for w in workloads for s in sources[: 1 + int(rng.random() < 0.5)]}
    rtt = {(s, r.place): 0.0 for s in sources for r in rentals if rng.random() < 0.85}
    rtt |= {("us", rentals[0].place): 0.0, ("eu", rentals[0].place): 0.0}
    quotas = [Quota(f"q{seed}", float(rng.integers(1, 5)), provider=f"a{seed}")] if rng.random() < 0.4 else []
    running = {("w0", rentals[0].machine.name): 1} if rng.random() < 0.3 else {}
    return Problem(
        workloads,
        rentals,
        demand_of(load),
        RecordedCapacity(rows),
        Network(rtt),
        quotas,
        policy or Policy(),
        running,
        ahead=True,
    )


def together(problems):
    """Problems side by side as one; nothing couples them."""
    first = problems[0]
    named = [(f"{i}:", p) for i, p in enumerate(problems)]
    rows = {}
    for prefix, p in named:
        for (w, kind), by in p.capacity.rows.items():
            rows |= {(prefix + w, kind, n, rtt): load for rtt, sizes in by.items() for n, load in sizes.items()}
    return Problem(
        [replace(w, name=prefix + w.name) for prefix, p in named for w in p.workloads],
        [r for _, p in named for r in p.rentals],
        demand_of({(prefix + w, s): v for prefix, p in named for (w, s), v in p.demand.load.items()}),
        RecordedCapacity(rows),
        Network({k: v for _, p in named for k, v in p.network.rtt_ms.items()}),
        [q for _, p in named for q in p.quotas],
        first.policy,
        {(prefix + w, m): n for prefix, p in named for (w, m), n in p.running.items()},
        ahead=True,
    )


def least_cost(problem, pools, most):
    """By looking at every number of machines up to ``most`` per pool, step by step, and every reservation; None: infeasible."""
    steps, rentals = len(problem.demand), problem.rentals
    every = np.array(list(itertools.product(range(most + 1), repeat=len(pools))))
    groups = list(dict.fromkeys((p.workload, p.rental) for p in pools))
    counts = every @ np.array([[(p.workload, p.rental) == g for g in groups] for p in pools], int)
    before = [problem.running.get((problem.workloads[w].name, rentals[r].machine.name), 0) for w, r in groups]
    price = np.array([0.0 if rentals[r].reserved else rentals[r].machine.usd_per_h for _, r in groups])
    start = np.array([rentals[r].start_s for _, r in groups])
    reserved = [i for i, r in enumerate(rentals) if r.reserved]
    served = [np.array([_serve(problem, pools, x, t) for x in every]) for t in range(steps)]
    best = None
    for held in itertools.product(*(range((rentals[r].most or 0) + 1) for r in reserved)):
        fits = np.array([_rented(problem, pools, x, dict(zip(reserved, held, strict=True))) for x in every])
        value, past = np.zeros(1), np.array([before])
        for t in range(steps):
            begin = np.maximum(0, counts[None] - past[:, None])
            usd = (begin * price * start / 3600).sum(2)
            busy = past[:, None] + np.where(start > 0, begin, 0)
            for q in problem.quotas if t else ():
                used = busy @ np.array([q.weight(rentals[r].machine) for _, r in groups])
                usd = np.where(used <= q.most + 1e-9, usd, np.inf)
            value = (value[:, None] + usd).min(0) + np.where(
                fits, served[t] + counts @ price * problem.demand.step_h, np.inf
            )
            past = counts
        rent = sum(n * rentals[r].machine.usd_per_h for r, n in zip(reserved, held, strict=True))
        total = value.min() + rent * problem.demand.step_h * steps
        best = total if best is None else min(best, total)
    return best if np.isfinite(best) else None


def _rented(problem, pools, x, held):
    used = {}
    for p, n in zip(pools, x, strict=True):
        used[p.rental] = used.get(p.rental, 0) + n
    for r, n in used.items():
        if problem.rentals[r].reserved and n > held[r]:
            return False
    return all(sum(q.weight(problem.rentals[r].machine) * n for r, n in used.items()) <= q.most for q in problem.quotas)


def _serve(problem, pools, x, t):
    """What it costs that a step's load stays unserved with these machines; infinite: that is not allowed."""
    usd = 0.0
    spare = problem.policy.spare if problem.policy.survive == "machine" else 0
    sources = problem.demand.sources
    for w, workload in enumerate(problem.workloads):
        asked = problem.demand.of(workload.name, sources)[:, t]
        room = []
        for p, n in zip(pools, x, strict=True):
            rental = problem.rentals[p.rental]
            if p.workload == w and n:
                room.append((set(p.sources), max(p.takes(n - spare), 0.0) * (1 - rental.reclaimed), rental.spot))
        cap = problem.policy.spot_share * asked.sum()
        served = _most_served(asked, room, cap)
        left = asked.sum() - served
        if left > 1e-7:
            if workload.unmet_usd is None:
                return np.inf
            usd += left * workload.unmet_usd * problem.demand.step_h
    return usd


def _most_served(asked, room, spot_cap):
    """A maximum flow source → pool → (all spot pools together under one cap): the least of all cuts."""
    n = len(asked)
    best = np.inf
    for cut in itertools.product([0, 1], repeat=n):  # 1: the source's own arc is cut
        own = sum(asked[s] for s in range(n) if cut[s])
        open_ = {s for s in range(n) if not cut[s] and asked[s] > 0}
        reached = [(size, spot) for sources, size, spot in room if sources & open_]
        plain = sum(size for size, spot in reached if not spot)
        best = min(best, own + plain + min(spot_cap, sum(size for size, spot in reached if spot)))
    return best
