"""`rbf` beside the package rbfopt, on the same tasks at equal budget.

    pip install rbfopt==4.3.0 -e .          (in an environment of its own)
    python benchmarks/rbf_parity.py [--tasks 20] [--seeds 3] [--json]

rbfopt's local search wants the solver bonmin, which no package index carries; a stub that fails makes it go on without, which
is how it is used here. It proposes points of the flat grid; a cell the table lacks stands for the most similar recorded config
of that provider, and only configs not seen before count against its budget, so that it gets the better of every doubt.
"""

import argparse
import contextlib
import json
import statistics
import sys

import numpy as np

from cloudbandit.core.errors import DatasetError
from cloudbandit.replay.task import Task, replay, task_seed
from cloudbandit.tables.registry import load_table

BUDGETS = (11, 22, 33)


def stub_solver():
    import rbfopt.rbfopt_aux_problems as problems

    class Solver:
        options = {}  # noqa: RUF012 - pyomo's own interface

        def available(self, *_, **__):
            return True

        def solve(self, *_, **__):
            raise RuntimeError("no solver here")

    problems.pyomo.opt.SolverFactory = lambda *_, **__: Solver()


class Enough(Exception):
    """Ends rbfopt when its budget of new configs is used up."""


def rbfopt_values(task, seed, budget):
    """The values of the first ``budget`` different configs that rbfopt asks for."""
    import rbfopt

    domain = task.objective.domain
    names = [p.name for p in domain.parameters]
    choices = {p.name: list(p.values) for p in domain.parameters}
    seen = {}

    def evaluate(x):
        arm = domain.names[round(x[0])]
        wanted = {n: choices[n][round(v)] for n, v in zip(names, x[1:], strict=True)}
        options = [c for c in domain.candidates if c.arm == (arm,)]
        best = max(options, key=lambda c: sum(wanted[k] == v for k, v in c.config.items()))
        if best not in seen:
            if len(seen) == budget:
                raise Enough
            seen[best] = task.values[best]
        return float(np.log(seen[best]))

    sizes = [len(domain.names), *(len(choices[n]) for n in names)]
    kinds = np.array(["C", *("I" if p.numeric else "C" for p in domain.parameters)])
    box = rbfopt.RbfoptUserBlackBox(len(sizes), np.zeros(len(sizes)), np.array(sizes) - 1.0, kinds, evaluate)
    settings = rbfopt.RbfoptSettings(
        max_evaluations=8 * budget, max_iterations=10_000, rand_seed=seed % 2**31, print_solver_output=False
    )
    algorithm = rbfopt.RbfoptAlgorithm(settings, box)
    algorithm.set_output_stream(open("/dev/null", "w"))  # noqa: SIM115 - closed with the process
    with contextlib.suppress(Enough):
        algorithm.optimize()
    return list(seen.values())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    stub_solver()
    table = load_table("multicloud")
    out = []
    for metric in ("cost_usd", "runtime_s"):
        tasks = [Task(table, w, metric) for w in table.workloads]
        tasks = [t for t in tasks if t.succeeds][: arguments.tasks]
        regrets = {(who, b): [] for who in ("rbf", "rbfopt") for b in BUDGETS}
        for task in tasks:
            for seed in range(arguments.seeds):
                ours = [task.values[o.candidate] for o in replay(task, "rbf", max(BUDGETS), seed).observations]
                theirs = rbfopt_values(task, task_seed(seed, task.workload), max(BUDGETS))
                for b in BUDGETS:
                    regrets["rbf", b].append(task.regret_percent(min(ours[:b])))
                    regrets["rbfopt", b].append(task.regret_percent(min(theirs[:b])))
        for (who, b), some in regrets.items():
            row = {"metric": metric, "who": who, "budget": b, "n": len(some)}
            out.append(row | {"median": statistics.median(some), "mean": statistics.fmean(some)})
    if arguments.json:
        print(json.dumps({"rows": out}))
        return
    for r in out:
        who = f"{r['metric']:10} {r['who']:7} B={r['budget']:2}"
        print(f"{who}  median regret {r['median']:6.1f} %  mean {r['mean']:6.1f} %  n={r['n']}")


if __name__ == "__main__":
    try:
        main()
    except DatasetError as error:
        sys.exit(f"error: {error}")
