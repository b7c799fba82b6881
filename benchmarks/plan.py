"""How fast plans are made, how good they are known to be, and what they save.

    python benchmarks/plan.py --json
    python benchmarks/plan.py --only sageserve --seeds 5

``sageserve``: the published program on random instances, 20 models × 20 regions × 5 GPU types and others, with quotas on every
region and GPU type, to a gap of 1e-3 of the fleet's cost. ``multicloud``: 4 workloads × 3 sources × 27 offers × 24 h with
start-ups, to 2 %, with and without quotas that couple the workloads. ``coverage``: buffers on held-out days of made-up demand.
``week``: three models over three clouds (`cloudbandit.plan.example`), one seed, solved in windows within 100 s of wall time each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from cloudbandit.core.offer import Offer
from cloudbandit.plan.backtest import backtest
from cloudbandit.plan.capacity import RecordedCapacity
from cloudbandit.plan.demand import Demand
from cloudbandit.plan.dominance import needed
from cloudbandit.plan.example import CLOUDS, example_demand, example_week
from cloudbandit.plan.limits import add_limits, add_objective
from cloudbandit.plan.plan import Plan
from cloudbandit.plan.planner import make_plan
from cloudbandit.plan.pools import pools_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.program import Program
from cloudbandit.plan.rolling import roll
from cloudbandit.plan.sageserve import SageServe, solve_sageserve
from cloudbandit.plan.solve import solve
from cloudbandit.plan.terms import Network, Quota, Rental
from cloudbandit.plan.traces import extended
from cloudbandit.plan.workload import Workload

SHAPES = ((4, 3, 1), (4, 3, 3), (20, 20, 5), (40, 30, 3))
START = datetime(2026, 11, 2, tzinfo=UTC)


def sageserve_instance(models, regions, gpus, seed):
    """Random prices, throughputs and loads; quotas from 0.9 to 1.8 times what a plan without them takes."""
    rng = np.random.default_rng(seed)
    alpha = np.exp(rng.uniform(np.log(2), np.log(100), gpus)).round(2)
    theta = alpha * rng.uniform(40, 160, (models, gpus))
    load = np.exp(rng.normal(np.log(8000), 1.0, (models, regions, 1))) * rng.uniform(0.8, 1.2, (models, regions, 4))
    running = rng.poisson(load.max(2)[:, :, None] / theta[:, None, :] / gpus)
    sigma = alpha * rng.uniform(0.02, 0.2, (models, 1))
    free = SageServe(running, load, theta, alpha, sigma)
    used = solve_sageserve(free, 1e-2).fleet.sum(0)
    spare = used.sum(1, keepdims=True) / gpus
    return replace(free, quotas=np.ceil(np.maximum(used, spare * 0.3) * rng.uniform(0.9, 1.8, used.shape)))


def sageserve(seeds):
    rows = []
    for shape in SHAPES:
        runs = []
        for seed in range(seeds):
            problem = sageserve_instance(*shape, seed)
            began = time.process_time()
            found = solve_sageserve(problem, 1e-3, 60)
            took = time.process_time() - began
            binds = None if found.fleet is None else int((found.fleet.sum(0) >= problem.quotas).sum())
            runs.append(
                {"seed": seed, "outcome": str(found.outcome), "gap": found.gap, "cpu_s": round(took, 2), "full": binds}
            )
        rows.append(
            {
                "models": shape[0],
                "regions": shape[1],
                "gpus": shape[2],
                "n": seeds,
                "median_cpu_s": statistics.median(r["cpu_s"] for r in runs),
                "runs": runs,
            }
        )
    return rows


def multicloud_problem(seed, coupled, workloads=4, offers_per_cloud=9, steps=24):
    """Random machines on three clouds with three regions each, three sources, a day with a peak per source."""
    rng = np.random.default_rng(seed)
    served = [Workload(f"w{i}") for i in range(workloads)]
    regions, clouds = ("us", "eu", "asia"), ("aws", "azure", "gcp")
    kinds = [(f"t{k}", float(np.exp(rng.uniform(np.log(2), np.log(40))))) for k in range(offers_per_cloud // 3)]
    rentals, rows = [], {}
    for cloud in clouds:
        for region in regions:
            for name, price in kinds:
                usd = price * rng.uniform(0.85, 1.2)
                offer = Offer(cloud, region, name, usd, accelerator=name, accelerators=int(max(1, price // 4)))
                rentals.append(Rental(offer, start_s=300.0))
        for w in served:
            for name, price in kinds:
                takes = price * rng.uniform(0.6, 1.6)
                rows |= {(w.name, f"{cloud}/{name}", 1, 0.0): takes, (w.name, f"{cloud}/{name}", 1, 120.0): 0.9 * takes}
    hours, load = np.arange(steps), {}
    for w in served:
        base = rng.uniform(20, 200)
        for i, source in enumerate(regions):
            load[w.name, source] = (
                base * (1 + 0.6 * np.sin(2 * np.pi * (hours - 8 * i) / 24)) * rng.uniform(0.9, 1.1, steps)
            )
    rtt = {(s, f"{c}/{r}"): 10.0 if s == r else 100.0 for s in regions for c in clouds for r in regions}
    quotas = [Quota(f"{c}-{n}", 24.0 * max(1, p // 4), c, "", n) for c in clouds for n, p in kinds] if coupled else []
    demand = Demand(START, 3600.0, load)
    return Problem(served, rentals, demand, RecordedCapacity(rows), Network(rtt), quotas)


def multicloud(seeds):
    rows = []
    for coupled in (False, True):
        for seed in range(seeds):
            problem = multicloud_problem(seed, coupled)
            began = time.process_time()
            found = make_plan(problem, gap=0.02, seconds=300)
            made = isinstance(found, Plan)
            rows.append(
                {
                    "seed": seed,
                    "quotas": coupled,
                    "outcome": str(found.outcome),
                    "usd": found.usd if made else None,
                    "gap": found.gap if made else None,
                    "cpu_s": round(time.process_time() - began, 2),
                }
            )
    return rows


def coverage(seeds):
    """Ten weeks, the last five held out, forecast a day at a time."""
    series = [next(iter(extended(5.0, 70, seed=seed).load.values())) for seed in range(seeds)]
    methods = ("naive-daily", "naive-weekly", "fourier")
    return [backtest(series, 24, 24, m, q).to_dict() for m in methods for q in (0.8, 0.9, 0.95)]


def static(problem, seconds=60.0):
    """The cheapest fleet that is the same in every step, with the same purchases; loads may be routed anew in every step."""
    pools = needed(problem, pools_of(problem)[0])
    program = Program(problem, pools)
    add_limits(program)
    later = program.time[1:]
    before = (1 * program.x).isel(time=slice(None, -1)).assign_coords(time=later)
    program.add((1 * program.x).sel(time=list(later)) - before == 0, "static")
    add_objective(program)
    found = solve(program.model, 0.01, seconds)
    return {"usd": found.objective, "gap": found.gap, "cpu_s": round(found.cpu_s, 1)}


def week(seeds, days=7, seconds=100.0):
    """The example's week over all clouds, over each alone with the same purchases, and by a fleet that stays as it is."""
    rows, first = [], example_week()
    for seed in range(min(seeds, 1)):
        demand = example_demand(days, seed)
        for name, clouds in (("all", CLOUDS), *((c, [c]) for c in CLOUDS)):
            problem = example_week(clouds, demand=demand, capacity=first.capacity)
            found = roll(problem, window=16, keep=8, gap=0.02, seconds=seconds)
            made = isinstance(found, Plan)
            rows.append(
                {
                    "seed": seed,
                    "fleet": name,
                    "usd": found.usd if made else None,
                    "bound_usd": found.bound,
                    "gap": found.gap if made else None,
                    "costs_usd": found.costs if made else None,
                    "cpu_s": round(found.cpu_s, 1),
                }
            )
        rows.append(
            {"seed": seed, "fleet": "all, static", **static(example_week(demand=demand, capacity=first.capacity))}
        )
    return rows


PARTS = {"sageserve": sageserve, "multicloud": multicloud, "coverage": coverage, "week": week}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*PARTS], help="one part")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    out = {}
    for name in [args.only] if args.only else PARTS:
        out[name] = PARTS[name](args.seeds)
        if not args.json:
            print(name)
            for row in out[name]:
                print("  ", row)
    if args.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
