"""Trials until the measured optimum: the recommender, a bandit over GPUs and controls, in the same study on the same load curves.

    python benchmarks/recommend_study.py [--seeds 10] [--json]

For every LLM with at least five profiles and a set of settings, each method measures sweeps (one profile, eight loads) until its
incumbent is the cheapest there is. n = LLMs × settings × seeds; the recommender is deterministic, so it has one seed. Intervals:
95 % bootstrap over LLMs.
"""

import argparse
import json
import sys

import numpy as np

from cloudbandit import Budget, Study
from cloudbandit.core.fleet import FleetGoal
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.recommend import Recommender, llm_pilot, paper_offers
from cloudbandit.recommend.study import RecordedSweeps, few_shot_factory

SETTINGS = (((100, 50), 200), ((20, 40), 200), ((50, 75), 1000), ((10, 30), 50))
METHODS = ("cloudbandit:gp", "gp", "price-order", "random-wor")
MANY_PROFILES = 5


def trials_to_optimum(report, best):
    """How many sweeps until the incumbent costs what the best does; None: never."""
    for i, o in enumerate(report.observations, 1):
        if o.score is not None and o.score.feasible and o.score.values[0] <= best * (1 + 1e-9):
            return i
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tests, recommender = llm_pilot(), Recommender(engine="tgis")
    found = {}
    for model in tests.names:
        objective = RecordedSweeps(tests.of(model), paper_offers())
        n = len(objective.domain)
        if n < MANY_PROFILES:
            continue
        print(model, n, file=sys.stderr, flush=True)
        for (nttft, itl), users in SETTINGS:
            slos = [f"nttft_ms<={nttft}", f"itl_ms<={itl}"]
            goal = FleetGoal(users, slos)

            def run(factory, seed, goal=goal, objective=objective, n=n):
                return Study(objective.domain, objective, goal, factory, Budget(trials=n), seed=seed).run()

            whole = run(make_factory("exhaustive", n), 0)
            if whole.incumbent is None:
                continue
            best = whole.incumbent.score.values[0]

            def advise(model=model, slos=slos, users=users, objective=objective):
                return recommender.advise(model, objective.offers.values(), slos, users, risk="utility", unseen=True)

            first = run(
                few_shot_factory(advise, lambda c, objective=objective: objective.offer(c).profile, stop_below=0.0), 0
            )
            stopped = run(few_shot_factory(advise, lambda c, objective=objective: objective.offer(c).profile), 0)
            found.setdefault("recommender", {}).setdefault(model, []).append(trials_to_optimum(first, best) or n + 1)
            kept = stopped.incumbent.score.values[0] / best - 1 if stopped.incumbent else 1.0
            found.setdefault("stops after", {}).setdefault(model, []).append(stopped.evaluations)
            found.setdefault("regret when stopped, %", {}).setdefault(model, []).append(100 * kept)
            for method in METHODS:
                for seed in range(args.seeds):
                    report = run(make_factory(method, n), seed)
                    found.setdefault(method, {}).setdefault(model, []).append(trials_to_optimum(report, best) or n + 1)
    out = {}
    rng = np.random.default_rng(0)
    for method, by_model in found.items():
        means = np.array([np.mean(v) for v in by_model.values()])
        drawn = means[rng.integers(len(means), size=(2000, len(means)))].mean(1)
        ci = [round(float(v), 2) for v in np.percentile(drawn, [2.5, 97.5])]
        out[method] = {
            "mean": round(float(means.mean()), 2),
            "ci95": ci,
            "llms": len(means),
            "n": sum(map(len, by_model.values())),
        }
    if args.json:
        print(json.dumps(out))
        return
    for method, row in out.items():
        print(f"{method:24} {row['mean']:6.2f}  {row['ci95']}  n = {row['n']}")


if __name__ == "__main__":
    main()
